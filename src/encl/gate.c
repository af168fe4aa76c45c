/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Gates: the way out of an enclave without its lock.
 *
 * EEXIT touches nothing but its TCS and the count in the SECS, and both stay where they are until it is done, so it need
 * not wait for the enclave's lock, which is held over EWB and backing I/O.  Only a repair may not meet it: that counts who
 * is inside.  So EEXIT goes through the gate of its logical processor, and a repair shuts all of them first.  A gate
 * that is taken is no reason to wait: then EEXIT takes the enclave's lock, which a repair holds.
 *
 * A gate whose holder died tells that somebody was half out; it is asked by encl_lp_reset().
 */
#include "encl/encl_priv.h"

#include <sched.h>

static struct lock *gate_of(struct encl *encl, const struct cpu_lp *lp)
{
	uint64_t mixed = ((uintptr_t)lp >> 4) * 0x9e3779b97f4a7c15ull;

	return &encl->gate[mixed >> 60].lock;
}

void gates_init(struct encl *encl)
{
	static_assert(ENCL_GATES == 16, "four bits of a hash");
	for (unsigned int i = 0; i < ENCL_GATES; i++)
		lock_init(&encl->gate[i].lock, LOCK_TRIED);
}

void gates_fini(struct encl *encl)
{
	for (unsigned int i = 0; i < ENCL_GATES; i++)
		lock_fini(&encl->gate[i].lock);
}

LOCK_ATTR(no_thread_safety_analysis) static void gate_shut(struct lock *gate)
{
	while (!lock_try(gate))
		sched_yield();
}

void gates_shut_locked(struct encl *encl)
{
	for (unsigned int i = 0; i < ENCL_GATES; i++)
		gate_shut(&encl->gate[i].lock);
}

LOCK_ATTR(no_thread_safety_analysis) void gates_open_locked(struct encl *encl)
{
	for (unsigned int i = 0; i < ENCL_GATES; i++) {
		encl->gate[i].lock.holder_died = false;
		lock_release(&encl->gate[i].lock);
	}
}

LOCK_ATTR(no_thread_safety_analysis)
bool gate_holder_died_locked(struct encl *encl, const struct cpu_lp *lp)
{
	struct lock *gate = gate_of(encl, lp);
	bool died;

	gate_shut(gate);
	died = gate->holder_died;
	lock_release(gate);
	return died;
}

LOCK_ATTR(no_thread_safety_analysis)
struct cpu_outcome encl_eexit(struct encl *encl, struct cpu_lp *lp, struct cpu_regs *regs)
{
	struct lock *gate = gate_of(encl, lp);
	struct cpu_outcome out;

	if (lock_try(gate)) {
		out = enclu_eexit(encl->cpu, lp, regs, 0);
		lock_release(gate);
		return out;
	}
	encl_lock(encl);
	out = enclu_eexit(encl->cpu, lp, regs, 0);
	encl_unlock(encl);
	return out;
}
