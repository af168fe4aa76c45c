/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Signals: ours come first, and the client's handlers see what they would see on hardware.
 *
 * Every handler that the kernel knows is rt_sigentry (entry.S), on our signal stack.  rt_signal() decides
 * whose business it is; what is the client's is given to it by rt_deliver() (frame.c).
 *
 * Invariant: nothing but a handler that has not begun, or that puts a signal off, runs with critical signals blocked, and
 * while a thread holds a lock or is in a handler (t->critical) no client code runs on it: asynchronous signals are put off
 * until it lets go.
 *
 * The kernel begins handler upon handler for as long as a signal is there that is not blocked, without an instruction in
 * between: somebody who sends critical signals fast enough would fill the signal stack.  So they are blocked at the
 * door, and a handler opens it behind itself (rt_signal_reopen()) before it does what may fault.  One that finds another at
 * work puts its signal off and goes back as it came, with the door shut: so there is at most one of these.
 *
 * Most handlers run with all other signals blocked.  Those of an ENCLU and of a page that is not there do not: once the
 * door is open the mask is as it was, and they can leave without a sigreturn.
 */
#include "runtime/signal_priv.h"

#include <assert.h>
#include <string.h>

#include "runtime/direct.h"
#include "runtime/donor.h"
#include "runtime/offsets.h"

#define RFLAGS_TF   0x100
#define RFLAGS_NT   0x4000             /* IRETQ faults on it */
#define CSGSFS_USER 0x002b000000000033 /* in a signal frame: CS, and SS above */
#define KICK_BYTES  2
#define CALL_BYTES  2 /* a SYSCALL */

#ifndef SYS_USER_DISPATCH
#define SYS_USER_DISPATCH 2
#endif

extern const char rt_sigentry_end[], rt_return_check[], rt_return_go[], rt_return_popfq[];
extern const char rt_return_jump[], rt_return_iretq[], rt_return_end[], rt_back[], rt_back_end[];
extern const char rt_go_on[], rt_go_kick[], rt_go_end[];
extern const char rt_execve_begun[], rt_execve_made[], rt_execve_late[];
extern const uint64_t rt_sig_others;

/* All but the critical ones, as the kernel shows it when that is blocked. For entry.S too. */
const uint64_t rt_sig_others __attribute__((visibility("hidden"))) =
	~(RT_SIG_CRITICAL | RT_SIGBIT(SIGKILL) | RT_SIGBIT(SIGSTOP));

static uint64_t rip_of(const ucontext_t *uc)
{
	return (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
}

static bool is_between(const ucontext_t *uc, const void *start, const void *end)
{
	return rip_of(uc) - (uint64_t)start < (uint64_t)end - (uint64_t)start;
}

/* Of this thread's own making, not somebody's that sends it. */
static bool is_fault(int sig, const siginfo_t *info)
{
	return info->si_code > 0 && (RT_SIG_CRITICAL & RT_SIGBIT(sig));
}

/* ---- calls that are made for programs (direct.c) ------------------------------------------------- */

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
		back -= CALL_BYTES;
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

/* What waits at rt_gate, or is about to, has a handler to run first: it is over. */
static void end_wait(ucontext_t *uc)
{
	greg_t *g = uc->uc_mcontext.gregs;

	if (g[REG_RIP] != (greg_t)rt_gate)
		return;
	g[REG_RIP] += CALL_BYTES;
	g[REG_RAX] = -EINTR;
	leave_gate(uc);
}

/* The program was found at @uc: at a call of its own, perhaps, which may be one that waits. */
static void at_gate(int sig, const siginfo_t *info, ucontext_t *uc, struct rt_thread *t)
{
	const greg_t *g = uc->uc_mcontext.gregs;
	bool before = g[REG_RIP] == (greg_t)rt_gate;

	if (!before &&
	    !(g[REG_RIP] == (greg_t)rt_gate + CALL_BYTES && g[REG_RAX] == (greg_t)-EINTR))
		t->let_in = 0; /* it waits no more */
	if (!is_fault(sig, info) && (t->let_in & RT_SIGBIT(sig)))
		end_wait(uc);
	if (in_gate(uc))
		leave_gate(uc);
}

/* ---- whose signal is it ----------------------------------------------------------------------- */

/*
 * What it is to interrupt blocks it, but the handler that found it did not: it is the kernel's again.  To this
 * thread: whether it was to the thread or to the process nobody can say, but this one has been chosen.
 */
static void send_back(int sig, siginfo_t *info)
{
	uint64_t bit = RT_SIGBIT(sig);

	sys4(SYS_rt_sigprocmask, SIG_BLOCK, &bit, 0, 8);
	sys4(SYS_rt_tgsigqueueinfo, rt.pid, sys(SYS_gettid, 0, 0, 0), sig, info);
}

/* @late: it did not find @uc, but a handler that goes back there. */
static void async(int sig, siginfo_t *info, ucontext_t *uc, struct rt_thread *t, bool in_enclave,
		  bool late)
{
	/* It and the one before are one, as two that wait are; else whoever sends many fills the stack with frames. */
	if ((RT_SIG_CRITICAL & RT_SIGBIT(sig)) && !in_enclave && rt_frame_waits(sig, uc))
		return;
	if (rt_client_blocked() & ~(t ? t->let_in : 0) & RT_SIGBIT(sig)) {
		rt_client_pend(sig, info);
		return;
	}
	if (t && (t->let_in & RT_SIGBIT(sig)))
		end_wait(uc);
	/* One that found it was let in: by sigsuspend(), say, until whose end the mask is another (of the critical ones
	 * rt_client_blocked() knows that). */
	if (late && (*uc_mask(uc) & ~RT_SIG_CRITICAL & RT_SIGBIT(sig))) {
		send_back(sig, info);
		return;
	}
	if (in_enclave)
		rt_interrupt(uc, t);
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

	if (r == RT_FAULT_DONE) {
		if (t)
			t->quick = !t->abort_nr;
		return;
	}
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
		if (rt_is_cpuid(op, uc))
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

/* The thread was in rt_go(), on its way to where t->regs says: let it have arrived. */
static void arrive(struct rt_thread *t, ucontext_t *uc)
{
	rt_regs_to_uc(uc, &t->regs);
	t->away_fs = t->regs.fs_base;
	t->away_gs = t->regs.gs_base;
	/* After EENTER the vector state is the host's, and it is in the frame already. */
	if (t->load_xsave && uc->uc_mcontext.fpregs)
		rt_xsave_to_frame(t, uc);
	t->critical = 1; /* this handler's; it will not come back to what was critical */
}

/* ---- handlers upon handlers (entry.S) ----------------------------------------------------------- */

static ucontext_t *uc_of(struct rt_back *back)
{
	return (ucontext_t *)((uint8_t *)back + RT_B_UC);
}

/* What the handler that @uc interrupted on its way back keeps; NULL: it was not on its way back. */
static struct rt_back *interrupted_return(const ucontext_t *uc)
{
	uint64_t rip = rip_of(uc), rsp = (uint64_t)uc->uc_mcontext.gregs[REG_RSP];

	if (is_between(uc, rt_back, rt_back_end))
		return (struct rt_back *)(rip == (uint64_t)rt_back ? rsp : rsp - RT_B_UC);
	/* At the jump nothing of its stack is needed any more, and it has been used again. */
	if (!is_between(uc, rt_return_go, rt_return_end) || rip == (uint64_t)rt_return_jump)
		return NULL;
	if (rip == (uint64_t)rt_return_popfq)
		rsp += 8;
	else if (rip == (uint64_t)rt_return_iretq)
		rsp -= RT_B_IRET;
	return (struct rt_back *)rsp;
}

/* The one at the bottom, where handlers lie upon each other. */
static struct rt_back *lowest_return(const ucontext_t *uc)
{
	struct rt_back *back = NULL, *next = interrupted_return(uc);

	while (next) {
		back = next;
		next = interrupted_return(uc_of(back));
	}
	return back;
}

static bool at_entry(const ucontext_t *uc)
{
	return is_between(uc, rt_sigentry, rt_sigentry_end);
}

/* Below this handler, which goes back to @uc, is something that signals wait for. */
static bool must_wait(const ucontext_t *uc, const struct rt_thread *t)
{
	return t->critical > 1 || at_entry(uc);
}

/* How to go back where the bases are what they were, or @away: the enclave's or the program's. */
static unsigned int way_back(struct rt_thread *t, bool ours)
{
	t->away_selector = t->lp->in_enclave || t->direct;
	return !ours && (t->lp->in_enclave || t->foreign) ? RT_BACK_AWAY : 0;
}

/* A signal found @uc: with bases that are not the runtime's (@away), or maybe the runtime at work for such. @late: async(). */
static unsigned int one_signal(int sig, siginfo_t *info, ucontext_t *uc, struct rt_thread *t,
			       bool away, bool late)
{
	bool ours = !away && (t->lp->in_enclave || t->foreign);

	if (is_fault(sig, info))
		sync_signal(sig, info, uc, t, away && t->lp->in_enclave);
	else if (must_wait(uc, t) || t->deferred_nr)
		rt_critical_defer(t, sig, info);
	else
		async(sig, info, uc, t, away && t->lp->in_enclave, late);
	if (t->critical == 1)
		rt_donor_locks_end(t);
	return way_back(t, ours);
}

/* A handler that has changed no more than registers: no sigreturn is needed to load them, where all else is as usual. */
static unsigned int by_hand(ucontext_t *uc, struct rt_back *back)
{
	const greg_t *g = uc->uc_mcontext.gregs;

	if (!rt_frame_has_xsave(uc) || (g[REG_EFL] & (RFLAGS_TF | RFLAGS_NT)) ||
	    g[REG_CSGSFS] != CSGSFS_USER)
		return 0;
	if ((uint64_t)g[REG_RIP] == rt_vdso_resume)
		return RT_BACK_HAND | RT_BACK_JUMP;
	back->iret.rip = (uint64_t)g[REG_RIP];
	back->iret.cs = (uint64_t)g[REG_CSGSFS] & 0xffff;
	back->iret.rflags = (uint64_t)g[REG_EFL];
	back->iret.rsp = (uint64_t)g[REG_RSP];
	back->iret.ss = (uint64_t)g[REG_CSGSFS] >> 48;
	return RT_BACK_HAND;
}

/* What this handler has to do may fault, unless it only puts its signal off. */
static void open_door(int sig, const siginfo_t *info, const struct rt_thread *t)
{
	if (t->critical == 1 || is_fault(sig, info))
		rt_signal_reopen();
}

/*
 * @uc is a handler on its way back: it goes once more, to what this one makes of where it goes to.  That way and this
 * one's have the door shut, or there could be another upon each.
 */
static void upon_return(int sig, siginfo_t *info, ucontext_t *uc, struct rt_thread *t)
{
	struct rt_back *next = interrupted_return(uc), *back = lowest_return(uc);

	/* One that goes back as it came has every signal blocked from its beginning to its end. */
	assert(!(back->code & RT_BACK_FOUND));
	open_door(sig, info, t);
	back->code = one_signal(sig, info, uc_of(back), t, back->code & RT_BACK_AWAY, true);
	rt_signal_shut();
	/* What is blocked there is not to come in between. */
	*uc_mask(uc) |= *uc_mask(uc_of(back)) | RT_SIG_CRITICAL;
	uc->uc_mcontext.gregs[REG_RSP] = (greg_t)next;
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)rt_return_go;
}

/* Is it one of the runtime's own traps? Then the signal has done its work: what was deferred comes next. */
static bool is_kick(const siginfo_t *info, const ucontext_t *uc)
{
	return info->si_code > 0 &&
	       (rip_of(uc) == (uint64_t)rt_kick || rip_of(uc) == (uint64_t)rt_go_kick);
}

static unsigned int in_program(int sig, siginfo_t *info, ucontext_t *uc, struct rt_back *back,
			       bool away)
{
	struct rt_thread *t = back->t;
	bool kick = is_kick(info, uc), going = is_between(uc, rt_go_on, rt_go_end);
	bool below = t->quick;
	unsigned int code;

	if (away) {
		t->away_fs = back->fs;
		t->away_gs = back->gs;
	}
	if (going)
		arrive(t, uc);
	open_door(sig, info, t);
	if (going)
		away = true;
	else if (away && t->direct)
		at_gate(sig, info, uc, t);
	else if (kick)
		uc->uc_mcontext.gregs[REG_RIP] += KICK_BYTES;
	if (kick)
		return way_back(t, !away);
	/* Not upon another handler, which may be at that. */
	if (t->foreign && t->critical == 1)
		rt_donor_keep_spare();
	t->quick = false;
	code = one_signal(sig, info, uc, t, away, false);
	if (t->quick && (RT_SIG_OPEN & RT_SIGBIT(sig)))
		code |= by_hand(uc, back);
	t->quick = below;
	return code;
}

static unsigned int on_slot(int sig, siginfo_t *info, ucontext_t *uc, struct rt_back *back,
			    bool away)
{
	struct rt_thread *t = back->t;

	if (interrupted_return(uc)) {
		upon_return(sig, info, uc, t);
		return 0;
	}
	if (at_entry(uc)) {
		rt_critical_defer(t, sig, info);
		return away ? RT_BACK_FOUND : 0;
	}
	if (rip_of(uc) == (uint64_t)rt_return_jump)
		uc->uc_mcontext.gregs[REG_RIP] = (greg_t)rt_vdso_resume;
	else if (is_between(uc, rt_return_check, rt_return_go)) /* it may have looked already */
		uc->uc_mcontext.gregs[REG_RIP] = (greg_t)rt_return_check;
	return in_program(sig, info, uc, back, away);
}

/* On a stack of the client's. */
static void off_slot(int sig, siginfo_t *info, ucontext_t *uc)
{
	rt_elsewhere_begin();
	if (is_fault(sig, info))
		sync_signal(sig, info, uc, NULL, false);
	else
		async(sig, info, uc, NULL, false, false);
	rt_elsewhere_end();
	if (rt_thread_peek())
		rt_thread_show_stack(uc);
}

unsigned int rt_signal(int sig, siginfo_t *info, ucontext_t *uc, struct rt_back *back, bool away)
{
	int saved_errno = errno;
	unsigned int code = 0;

	if (rt_elsewhere() && (RT_SIG_CRITICAL & RT_SIGBIT(sig)) && !is_fault(sig, info)) {
		/* There is nothing else yet that could tell the handler below of it. */
		rt_client_pend(sig, info);
		code = away ? RT_BACK_FOUND : 0;
	} else if (back)
		code = on_slot(sig, info, uc, back, away);
	else
		off_slot(sig, info, uc);
	errno = saved_errno;
	return code;
}

/* No other signal comes before what is critical has ended. */
static void hold_all(ucontext_t *uc, struct rt_thread *t)
{
	uint64_t mask = *uc_mask(uc) & ~RT_SIG_CRITICAL;

	if (mask != rt_sig_others || !t->deferred_masked)
		t->deferred_mask = mask;
	t->deferred_masked = true;
	*uc_mask(uc) |= rt_sig_others;
	if (is_between(uc, rt_execve_begun, rt_execve_made))
		uc->uc_mcontext.gregs[REG_RIP] = (greg_t)rt_execve_late;
}

static void release_all(ucontext_t *uc, struct rt_thread *t)
{
	if (*uc_mask(uc) == rt_sig_others && t->deferred_masked)
		*uc_mask(uc) = t->deferred_mask;
	t->deferred_masked = false;
}

bool rt_signal_drain(struct rt_back *top)
{
	struct rt_thread *t = top->t;
	struct rt_back *under = lowest_return(uc_of(top)), *back = under ? under : top;
	ucontext_t *uc = uc_of(back);
	bool ours = !(back->code & RT_BACK_AWAY) && (t->lp->in_enclave || t->foreign);
	int saved_errno = errno;
	struct rt_deferred d;

	if (must_wait(uc, t)) {
		hold_all(uc, t);
		back->code &= ~(uint64_t)RT_BACK_HAND;
		return false;
	}
	if (under)
		rt_signal_reopen();
	release_all(uc, t);
	while (rt_critical_take(t, &d)) {
		async(d.sig, &d.info, uc, t, !ours && t->lp->in_enclave, true);
		back->code = way_back(t, ours);
	}
	/* One that came upon this very loop has been taken by it, and held nothing but this handler. */
	t->deferred_masked = false;
	rt_donor_locks_end(t);
	if (under)
		rt_signal_shut();
	errno = saved_errno;
	return true;
}
