/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What others want of a processor: an interrupt, a pause, the end.
 *
 * They set it in its atomics, or the machine's, and send its thread a signal, which is blocked but while KVM_RUN
 * runs: so none is lost, and there is no handler.  The processor looks before each KVM_RUN.
 *
 * It takes an interrupt, or pauses, out of an enclave: an AEX comes first.  That needs it to be at an instruction of
 * the enclave, and not in our code at CPL 0 or half way in an access; until then it runs on.
 */
#include "vmm/vmm_priv.h"

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RFLAGS_IF 0x200u

static bool has_ended(const struct vmm *vmm)
{
	return atomic_load(&vmm->end) != END_NONE;
}

static void futex_wait(void *word, int value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(void *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void vcpu_kick(struct vcpu *vcpu)
{
	atomic_store(&vcpu->wake, 1);
	futex_wake(&vcpu->wake);
	if (atomic_load(&vcpu->reachable))
		pthread_kill(vcpu->self, VCPU_KICK);
}

void vcpu_interrupt(struct vcpu *vcpu, uint8_t vector)
{
	atomic_fetch_or(&vcpu->irqs[vector / 64], 1ull << vector % 64);
	vcpu_kick(vcpu);
}

/* The highest that is wanted, or -1. */
static int wanted(const struct vcpu *vcpu)
{
	for (int i = 3; i >= 0; i--) {
		uint64_t word = atomic_load(&vcpu->irqs[i]);

		if (word)
			return i * 64 + 63 - __builtin_clzll(word);
	}
	return -1;
}

/* ---- pause ---------------------------------------------------------------------------------------- */

static void park(struct vmm *vmm)
{
	atomic_fetch_add(&vmm->parked, 1);
	futex_wake(&vmm->parked);
	while (atomic_load(&vmm->paused) && !has_ended(vmm))
		futex_wait(&vmm->paused, 1);
	atomic_fetch_sub(&vmm->parked, 1);
}

void event_pause(struct vmm *vmm)
{
	unsigned int parked;

	atomic_store(&vmm->paused, 1);
	/* One that has ended does not park; it is not running either. */
	while ((parked = atomic_load(&vmm->parked)) < atomic_load(&vmm->running) &&
	       !has_ended(vmm)) {
		struct timespec wait = { .tv_nsec = 10000000 };

		/* Each time: one that was not at rest has run on, and need not come out by itself. */
		for (unsigned int i = 0; i < vmm->config.vcpus; i++)
			vcpu_kick(&vmm->vcpu[i]);
		syscall(SYS_futex, &vmm->parked, FUTEX_WAIT_PRIVATE, parked, &wait, NULL, 0);
	}
}

void event_resume(struct vmm *vmm)
{
	atomic_store(&vmm->paused, 0);
	futex_wake(&vmm->paused);
	while (atomic_load(&vmm->parked) > 0 && !has_ended(vmm))
		sched_yield();
}

/* ---- what the processor does ------------------------------------------------------------------------ */

/* It is between two instructions, and not in our code at CPL 0. A fault that is on its way comes first. */
static bool is_at_rest(const struct vcpu *vcpu)
{
	return !vcpu->faulted && !vcpu->unfinished &&
	       !(vcpu->lp->in_enclave && vcpu->run->s.regs.sregs.ss.dpl != 3);
}

static bool is_interruptible(const struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;

	return is_at_rest(vcpu) && run->ready_for_interrupt_injection && run->if_flag &&
	       (run->s.regs.regs.rflags & RFLAGS_IF);
}

/* With the other events, so that neither undoes the other. */
static void interrupt(struct vcpu *vcpu, unsigned int vector)
{
	struct kvm_vcpu_events *events = &vcpu->run->s.regs.events;

	events->interrupt.injected = 1;
	events->interrupt.nr = (uint8_t)vector;
	events->interrupt.soft = 0;
	vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
	atomic_fetch_and(&vcpu->irqs[vector / 64], ~(1ull << vector % 64));
	count(&vcpu->counts.interrupts);
}

/* Not in an enclave any more, and not running. */
static int rest(struct vcpu *vcpu)
{
	int r = vcpu->lp->in_enclave ? enclave_interrupt(vcpu) : 0;

	if (r == 0)
		park(vcpu->vmm);
	return r;
}

int event_take(struct vcpu *vcpu)
{
	int vector, r = 0;

	vcpu->run->request_interrupt_window = 0;
	if (atomic_load(&vcpu->vmm->paused) && is_at_rest(vcpu))
		r = rest(vcpu);
	vector = wanted(vcpu);
	if (r < 0 || vector < 0)
		return r;
	if (!is_interruptible(vcpu)) {
		vcpu->run->request_interrupt_window = 1;
		return 0;
	}
	if (vcpu->lp->in_enclave)
		r = enclave_interrupt(vcpu);
	if (r == 0)
		interrupt(vcpu, (unsigned int)vector);
	return r;
}

void event_halt(struct vcpu *vcpu)
{
	struct vmm *vmm = vcpu->vmm;

	while (!has_ended(vmm) && wanted(vcpu) < 0) {
		atomic_store(&vcpu->wake, 0);
		if (atomic_load(&vmm->paused))
			park(vmm);
		else if (!has_ended(vmm) && wanted(vcpu) < 0)
			futex_wait(&vcpu->wake, 0);
	}
}
