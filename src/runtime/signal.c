/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Signals: ours come first, and the client's handlers see what they would see on hardware.
 *
 * Every handler that the kernel knows is rt_sigentry (entry.S), on our signal stack.  rt_signal() decides
 * whose business it is; what is the client's is given to it by rt_deliver() (frame.c).
 *
 * Invariant: the critical signals are never blocked in the kernel's mask, and while a thread holds a lock
 * (t->critical) no client code runs on it: asynchronous signals are put off until it lets go.
 */
#include "runtime/signal_priv.h"

#include <string.h>

#include "runtime/direct.h"
#include "runtime/donor.h"
#include "runtime/offsets.h"

#ifndef SYS_USER_DISPATCH
#define SYS_USER_DISPATCH 2
#endif

extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));

/* In our own code: except what a client runs there as its own, the vDSO function, the restorer and the gate. */
static bool in_runtime(uint64_t rip)
{
	return rip >= (uint64_t)__ehdr_start && rip < (uint64_t)etext &&
	       !(rip >= (uint64_t)rt_restorer && rip < (uint64_t)rt_restorer_end) &&
	       !(rip >= (uint64_t)rt_vdso_fast && rip < (uint64_t)rt_vdso_end);
}

/* ---- whose signal is it ----------------------------------------------------------------------- */

static void async(int sig, siginfo_t *info, ucontext_t *uc, struct rt_thread *t, bool in_enclave)
{
	if (rt_client_blocked() & RT_SIGBIT(sig)) {
		rt_client_pend(sig, info);
		return;
	}
	if (in_enclave) {
		rt_interrupt(uc, t);
	} else if (t && t->critical && t->deferred_sig) {
		/* All others are blocked by then: one of those that never are. */
		rt_client_pend(sig, info);
		return;
	} else if (t && t->critical) {
		t->deferred_sig = sig;
		t->deferred_info = *info;
		t->deferred_mask = *uc_mask(uc);
		*uc_mask(uc) = ~RT_SIG_CRITICAL;
		return;
	}
	rt_deliver(sig, info, uc);
}

static uint64_t trapno(const ucontext_t *uc)
{
	return (uint64_t)uc->uc_mcontext.gregs[REG_TRAPNO];
}

static void make_segv(siginfo_t *info, ucontext_t *uc, uint64_t addr, uint64_t err)
{
	memset(info, 0, sizeof(*info));
	info->si_signo = SIGSEGV;
	info->si_code = err & SGX_PFEC_P ? SEGV_ACCERR : SEGV_MAPERR;
	info->si_addr = (void *)addr;
	uc->uc_mcontext.gregs[REG_TRAPNO] = CPU_PF;
	uc->uc_mcontext.gregs[REG_ERR] = (greg_t)err;
	uc->uc_mcontext.gregs[REG_CR2] = (greg_t)addr;
}

static void page_fault(int sig, siginfo_t *info, ucontext_t *uc, struct rt_thread *t,
		       bool in_enclave)
{
	uint64_t addr = (uint64_t)uc->uc_mcontext.gregs[REG_CR2];
	uint64_t err = (uint64_t)uc->uc_mcontext.gregs[REG_ERR];
	uint16_t pf_error = (uint16_t)err;
	struct cpu_event ev = { .vector = CPU_PF, .cr2 = addr };
	enum rt_fault_result r = rt_fault(uc, addr, err, in_enclave, &pf_error);

	if (r == RT_FAULT_DONE)
		return;
	if (!in_enclave && rt_copy_user_fixup(uc))
		return;
	if (r == RT_FAULT_PF) {
		make_segv(info, uc, addr, pf_error);
		sig = SIGSEGV;
	}
	if (r == RT_FAULT_POISON) {
		info->si_code = BUS_MCEERR_AR;
		info->si_addr = (void *)addr;
		info->si_addr_lsb = 12;
	}
	ev.error = pf_error;
	if (in_enclave)
		rt_exception(sig, info, uc, t, ev);
	else
		rt_deliver(sig, info, uc);
}

/* Instructions that are #UD in an enclave although user mode gets #GP or something else for them. */
static bool illegal_in_enclave(const uint8_t op[3])
{
	switch (op[0]) {
	case 0xcd: /* INT n */
	case 0xe4:
	case 0xe5:
	case 0xe6:
	case 0xe7: /* IN, OUT */
	case 0xec:
	case 0xed:
	case 0xee:
	case 0xef:
	case 0x6c:
	case 0x6d:
	case 0x6e:
	case 0x6f: /* INS, OUTS */
	case 0xcf: /* IRET */
		return true;
	case 0x0f: /* CPUID, RDPMC, INVD .. VMFUNC and the like */
		return op[1] == 0xa2 || op[1] == 0x33;
	default:
		return false;
	}
}

/*
 * Some processors with SGX switched off look at an operand of ENCLU before they refuse it: a #PF in one of
 * its pages, which is for the leaf to judge.
 */
static bool fault_of_enclu(const ucontext_t *uc)
{
	const greg_t *g = uc->uc_mcontext.gregs;
	uint64_t page = (uint64_t)g[REG_CR2] >> SGX_PAGE_SHIFT;
	uint8_t op[3] = { 0 };

	if ((g[REG_ERR] & SGX_PFEC_I) || (page != (uint64_t)g[REG_RBX] >> SGX_PAGE_SHIFT &&
					  page != (uint64_t)g[REG_RCX] >> SGX_PAGE_SHIFT))
		return false;
	return !rt_copy_user(op, (void *)g[REG_RIP], sizeof(op)) && op[0] == 0x0f &&
	       op[1] == 0x01 && op[2] == 0xd7;
}

/* What came is #UD to an enclave. SIGILL. */
static int make_ud(siginfo_t *info, ucontext_t *uc, struct cpu_event *ev)
{
	memset(info, 0, sizeof(*info));
	info->si_signo = SIGILL;
	info->si_code = ILL_ILLOPN;
	uc->uc_mcontext.gregs[REG_TRAPNO] = CPU_UD;
	uc->uc_mcontext.gregs[REG_ERR] = 0;
	*ev = (struct cpu_event){ .vector = CPU_UD };
	return SIGILL;
}

static void illegal(int sig, siginfo_t *info, ucontext_t *uc, struct rt_thread *t, bool in_enclave)
{
	uint8_t op[3] = { 0 };
	struct cpu_event ev = { .vector = (uint8_t)trapno(uc),
				.error = (uint32_t)uc->uc_mcontext.gregs[REG_ERR] };

	rt_copy_user(op, (void *)uc->uc_mcontext.gregs[REG_RIP], sizeof(op));
	if (op[0] == 0x0f && op[1] == 0x01 && op[2] == 0xd7) {
		if (!t && rt_come_again(sig, info, uc))
			return;
		if (t)
			rt_enclu_trap(info, uc, t, in_enclave);
		else
			rt_deliver(sig, info, uc);
		return;
	}
	if (!in_enclave) {
		if (op[0] == 0x0f && op[1] == 0xa2 && trapno(uc) == CPU_GP)
			rt_cpuid_trap(uc);
		else
			rt_deliver(sig, info, uc);
		return;
	}
	if (ev.vector == CPU_UD || illegal_in_enclave(op))
		sig = make_ud(info, uc, &ev);
	rt_exception(sig, info, uc, t, ev);
}

/* SYSCALL or INT 80H in the enclave: RIP is behind it, and RCX and R11 are as SYSCALL leaves them. */
static void system_call(siginfo_t *info, ucontext_t *uc, struct rt_thread *t, bool in_enclave)
{
	struct cpu_event ev;

	if (!in_enclave && t && t->direct && info->si_code == SYS_USER_DISPATCH) {
		rt_direct_syscall(uc, t);
		return;
	}
	if (!in_enclave) {
		rt_deliver(SIGSYS, info, uc);
		return;
	}
	uc->uc_mcontext.gregs[REG_RIP] -= 2;
	rt_exception(make_ud(info, uc, &ev), info, uc, t, ev);
}

static void trap(int sig, siginfo_t *info, ucontext_t *uc, struct rt_thread *t, bool in_enclave)
{
	struct cpu_event ev = { .vector = (uint8_t)trapno(uc), .software = trapno(uc) == CPU_BP };

	if (!in_enclave) {
		if (t && trapno(uc) == CPU_DB && rt_abort_page_trap(t, uc))
			return;
		rt_deliver(sig, info, uc);
		return;
	}
	if (ev.vector == CPU_BP)
		uc->uc_mcontext.gregs[REG_RIP]--; /* a fault, in an enclave */
	if (ev.vector == CPU_BP && !t->lp->opt_in)
		sig = make_ud(info, uc, &ev);
	/* The kernel reads the code off the synthetic state: FSW 8081H, MXCSR 1F01H. */
	if (sig == SIGFPE && (ev.vector == CPU_MF || ev.vector == CPU_XM))
		info->si_code = FPE_FLTINV;
	rt_exception(sig, info, uc, t, ev);
}

static void sync_signal(int sig, siginfo_t *info, ucontext_t *uc, struct rt_thread *t,
			bool in_enclave)
{
	if (sig == SIGSYS)
		system_call(info, uc, t, in_enclave);
	else if (sig == SIGTRAP || sig == SIGFPE)
		trap(sig, info, uc, t, in_enclave);
	else if (trapno(uc) == CPU_PF && !fault_of_enclu(uc))
		page_fault(sig, info, uc, t, in_enclave);
	else
		illegal(sig, info, uc, t, in_enclave);
}

/* The thread was on its way to where t->regs says when the signal came: let it have arrived. */
static void arrive(struct rt_thread *t, ucontext_t *uc)
{
	rt_regs_to_uc(uc, &t->regs);
	t->away_fs = t->regs.fs_base;
	t->away_gs = t->regs.gs_base;
	/* After EENTER the vector state is the host's, and it is in the frame already. */
	if (t->load_xsave && uc->uc_mcontext.fpregs)
		rt_xsave_to_frame(t, uc);
	/* It will not come back to rt_critical_leave(). */
	if (t->critical) {
		t->critical = 0;
		if (t->deferred_sig) {
			rt_critical_resend(t);
			*uc_mask(uc) = t->deferred_mask;
		}
	}
}

/*
 * A call that is made for a program of direct.c was interrupted, or is about to be made: let it be at the
 * program's own SYSCALL, or behind it.  Programs look: a library OS so finds out whether it still has to wait.
 */
static void leave_gate(ucontext_t *uc)
{
	greg_t *g = uc->uc_mcontext.gregs;
	uint64_t back;

	if (g[REG_RIP] == (greg_t)rt_gate_jump) {
		g[REG_RIP] = g[REG_RCX];
		return;
	}
	if (rt_copy_user(&back, (void *)g[REG_RSP], sizeof(back)))
		return;
	if (g[REG_RIP] == (greg_t)rt_gate)
		back -= 2;
	else
		g[REG_RCX] = (greg_t)back;
	g[REG_RIP] = (greg_t)back;
	g[REG_RSP] += RT_GATE_BYTES;
}

static bool in_gate(const ucontext_t *uc)
{
	uint64_t rip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];

	return rip >= (uint64_t)rt_gate && rip <= (uint64_t)rt_gate_jump;
}

void rt_signal(int sig, siginfo_t *info, ucontext_t *uc, struct rt_thread *t)
{
	bool in_enclave = t && t->away && t->lp->in_enclave;
	/* It interrupted the runtime at work for an enclave: that goes on with its own bases. */
	bool nested = t && !t->away && (t->lp->in_enclave || t->foreign);
	int saved_errno = errno;

	if (t && t->away && in_runtime((uint64_t)uc->uc_mcontext.gregs[REG_RIP]))
		arrive(t, uc);
	else if (t && t->away && t->direct && in_gate(uc))
		leave_gate(uc);
	if (t)
		t->away = 0; /* a nested fault is the runtime's */
	if (t && t->foreign)
		rt_donor_keep_spare();
	if (info->si_code > 0 && (RT_SIG_CRITICAL & RT_SIGBIT(sig)))
		sync_signal(sig, info, uc, t, in_enclave);
	else
		async(sig, info, uc, t, in_enclave);
	errno = saved_errno;
	if (!t && rt_thread_peek())
		rt_thread_show_stack(uc);
	if (t && !nested) {
		t->away = t->lp->in_enclave || t->foreign;
		t->away_selector = t->lp->in_enclave || t->direct;
	}
}
