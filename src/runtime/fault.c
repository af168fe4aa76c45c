/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Faults on the device's ranges: the faulting thread brings its page in, here, in its signal handler.
 *
 * What a mapping allows is the VMA's rights and the EPCM's together.  A page that the EPCM gives to nobody
 * (a TCS, a pending or trimmed page) never gets a translation: the enclave is told by a #PF with the SGX
 * bit, and host code reads 0xff and writes into nothing (the abort page), for the one instruction.
 */
#include "runtime/rt.h"

#include <string.h>
#include <sys/mman.h>

#include "epc/epc.h"
#include "epc/window.h"
#include "runtime/sys.h"

#define RFLAGS_TF 0x100

/* ---- what an enclave asks of this address space ------------------------------------------------ */

static int mm_map(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, unsigned int rwx)
{
	struct rt_range *range;
	int r = -EAGAIN;

	lock_acquire(&rt.lock);
	range = rt_range_find_locked(la);
	if (range && range->encl == encl && range->backed) {
		r = rt_range_apply_locked(range, la, rwx);
		if (!r)
			r = rt_uffd_continue(la);
		if (r == -EEXIST)
			r = 0;
		else if (r)
			r = -EAGAIN;
	}
	lock_release(&rt.lock);
	return r;
}

static int mm_place(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, const void *bytes,
		    unsigned int rwx)
{
	struct rt_range *range;
	int r = -ENOENT;

	lock_acquire(&rt.lock);
	range = rt_range_find_locked(la);
	if (range && range->encl == encl && range->backed && !rt_range_apply_locked(range, la, rwx))
		r = rt_uffd_copy(la, bytes);
	lock_release(&rt.lock);
	return !r;
}

static bool mm_signal_pending(void *mm)
{
	struct rt_thread *t = rt_thread_peek();

	return t && t->deferred_nr;
}

static const struct encl_mm_ops mm_ops = {
	.map = mm_map,
	.place = mm_place,
	.signal_pending = mm_signal_pending,
};
const struct encl_mm rt_mm = { .ops = &mm_ops };

/* ---- a fault ------------------------------------------------------------------------------------- */

static unsigned int access_of(uint64_t err)
{
	return err & SGX_PFEC_I ? ENCL_X : err & SGX_PFEC_W ? ENCL_W : ENCL_R;
}

static bool vma_allows(unsigned int vma_rwx, unsigned int access)
{
	/* On x86 a page that can be written or run can be read. */
	return access == ENCL_R ? vma_rwx != 0 : (vma_rwx & access) != 0;
}

static void tell(const char *where, const char *why)
{
	static const char what[] = "swsgx: SIGBUS on a page of ";

	if (!why)
		return;
	sys(SYS_write, 2, what, sizeof(what) - 1);
	sys(SYS_write, 2, where, strlen(where));
	sys(SYS_write, 2, ": ", 2);
	sys(SYS_write, 2, why, strlen(why));
	sys(SYS_write, 2, "\n", 1);
}

/* The page at @la of a range of raw EPC. */
static enum rt_fault_result raw_fault(const struct rt_range *seen, uint64_t la)
{
	int r = vepc_fault(seen->vepc, seen->off + (la - seen->start));
	struct rt_range *range;

	if (r == -ENOMEM) {
		rt_process_reap();
		r = vepc_fault(seen->vepc, seen->off + (la - seen->start));
	}
	if (r == -EHWPOISON)
		return RT_FAULT_POISON;
	if (r < 0) {
		tell("raw EPC",
		     r == -ENOMEM ? "no EPC page can be freed for it" : "what it held is lost");
		return RT_FAULT_BUS;
	}
	lock_acquire(&rt.lock);
	range = rt_range_find_locked(la);
	/* Whatever this comes to, running the instruction again finds out what is there now. */
	if (range && range->vepc == seen->vepc &&
	    range->off - range->start == seen->off - seen->start)
		rt_uffd_continue(la);
	lock_release(&rt.lock);
	return RT_FAULT_DONE;
}

enum rt_fault_result rt_fault(ucontext_t *uc, uint64_t addr, uint64_t err, bool in_enclave,
			      uint16_t *ret_pf_error)
{
	enum rt_fault_result result = RT_FAULT_DONE;
	uint64_t la = addr & ~4095ull;
	struct rt_thread *t;
	struct rt_range range;
	struct encl_fault f;

	if (addr < rt.range_low || addr >= rt.range_high || !rt_range_get(addr, &range))
		return RT_FAULT_NOT_OURS;
	if (!vma_allows(range.vma_rwx, access_of(err))) {
		result = RT_FAULT_NOT_OURS;
		goto put;
	}
	if (range.encl && !range.backed) {
		/* A page of no enclave, or of one that another process has created meanwhile. */
		if (encl_created(range.encl) && la >= encl_base(range.encl) &&
		    la - encl_base(range.encl) < encl_size(range.encl))
			rt_range_back(range.encl);
		else
			result = RT_FAULT_BUS;
		goto put;
	}
	if (range.vepc) {
		result = raw_fault(&range, la);
		goto put;
	}
	t = rt_thread_peek();
	if (in_enclave && t->rlp->encl != range.encl)
		in_enclave = false;
	f = encl_fault(range.encl, &rt_mm, la, access_of(err), range.vma_rwx, in_enclave);
	switch (f.kind) {
	case ENCL_FAULT_DONE:
		break;
	case ENCL_FAULT_PF:
		*ret_pf_error = f.pf_error;
		result = RT_FAULT_PF;
		if (!in_enclave && rt_abort_page_step(rt_thread_self(), uc, la, &range))
			result = RT_FAULT_DONE;
		break;
	case ENCL_FAULT_POISON:
		result = RT_FAULT_POISON;
		break;
	case ENCL_FAULT_SIGBUS:
	case ENCL_FAULT_OOM:
		tell("an enclave", f.why);
		result = RT_FAULT_BUS;
		break;
	}
put:
	rt_process_unhold(range.hold);
	return result;
}

/* ---- the abort page ------------------------------------------------------------------------------- */

static bool show_ones(uint64_t la)
{
	long r = sys6(SYS_mmap, (long)la, 4096, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (r < 0 && r > -4096)
		return false;
	memset((void *)la, 0xff, 4096);
	return true;
}

/*
 * Show a page of 0xff at @la, run one instruction, and take it away: reads see ones, writes are dropped,
 * however the instruction is made.  Signals wait for that instruction.
 */
bool rt_abort_page_step(struct rt_thread *t, ucontext_t *uc, uint64_t la, struct rt_range *range)
{
	uint64_t *mask = (uint64_t *)&uc->uc_sigmask;
	const struct rt_range *now;
	bool same, shown;

	if (t->abort_nr == sizeof(t->abort_page) / sizeof(t->abort_page[0]))
		return false;
	lock_acquire(&rt.lock);
	now = rt_range_find_locked(la);
	same = now && now->encl == range->encl;
	shown = same && show_ones(la);
	lock_release(&rt.lock);
	if (!shown)
		return !same; /* something else is mapped: the instruction looks at that */
	if (!t->abort_nr) {
		t->abort_tf = (uint64_t)uc->uc_mcontext.gregs[REG_EFL] & RFLAGS_TF;
		t->abort_mask = *mask;
	}
	t->abort_page[t->abort_nr++].la = la;
	uc->uc_mcontext.gregs[REG_EFL] |= RFLAGS_TF;
	*mask = ~RT_SIG_CRITICAL;
	return true;
}

bool rt_abort_page_trap(struct rt_thread *t, ucontext_t *uc)
{
	if (!t->abort_nr)
		return false;
	lock_acquire(&rt.lock);
	for (unsigned int i = 0; i < t->abort_nr; i++)
		rt_range_restore_locked(t->abort_page[i].la);
	lock_release(&rt.lock);
	t->abort_nr = 0;
	*(uint64_t *)&uc->uc_sigmask = t->abort_mask;
	if (t->abort_tf)
		return false; /* the client single-steps as well: its trap */
	uc->uc_mcontext.gregs[REG_EFL] &= ~RFLAGS_TF;
	return true;
}
