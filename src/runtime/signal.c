/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Signals: ours come first, and the client's handlers see what they would see on hardware.
 *
 * Every handler that the kernel knows is rt_sigentry (entry.S), on our signal stack.  rt_signal() decides
 * whose business it is.  What is the client's is given to it by rt_deliver(), which builds the very frame the
 * kernel would have built, on the stack the kernel would have chosen, in the state after an AEX: so the
 * client returns through the kernel's own sigreturn, may longjmp away, may nest, may edit the context.
 *
 * Invariant: the critical signals are never blocked in the kernel's mask, and while a thread holds a lock
 * (t->critical) no client code runs on it: asynchronous signals are put off until it lets go.
 */
#include "runtime/rt.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/direct.h"
#include "runtime/donor.h"
#include "runtime/sys.h"

#define SA_RESTORER_FLAG 0x04000000ul
#ifndef SYS_USER_DISPATCH
#define SYS_USER_DISPATCH 2
#endif
#define SS_AUTODISARM_FLAG (1u << 31)
#define RFLAGS_TF          0x100
#define RFLAGS_DF          0x400
#define RFLAGS_RF          0x10000
#define MXCSR_INIT         0x1f80u
#define XSTATE_MAGIC1      0x46505853u
#define XSTATE_MAGIC1_AT   464 /* fpx_sw_bytes in the legacy area */

extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));

/* What the kernel puts on the stack for a handler; the XSAVE image lies above it. */
struct kernel_ucontext {
	unsigned long flags;
	void *link;
	stack_t stack;
	mcontext_t mcontext; /* struct sigcontext: 256 bytes */
	uint64_t sigmask;
};
static_assert(sizeof(struct kernel_ucontext) == 304, "struct ucontext");

struct kernel_frame {
	void *pretcode;
	struct kernel_ucontext uc;
	siginfo_t info;
};

/* In our own code: except what a client runs there as its own, the vDSO function, the restorer and the gate. */
static bool in_runtime(uint64_t rip)
{
	return rip >= (uint64_t)__ehdr_start && rip < (uint64_t)etext &&
	       !(rip >= (uint64_t)rt_restorer && rip < (uint64_t)rt_restorer_end) &&
	       !(rip >= (uint64_t)rt_vdso_enter && rip < (uint64_t)rt_vdso_end);
}

void rt_regs_from_uc(struct cpu_regs *regs, const ucontext_t *uc)
{
	const greg_t *g = uc->uc_mcontext.gregs;

	*regs = (struct cpu_regs){
		.rax = (uint64_t)g[REG_RAX],
		.rcx = (uint64_t)g[REG_RCX],
		.rdx = (uint64_t)g[REG_RDX],
		.rbx = (uint64_t)g[REG_RBX],
		.rsp = (uint64_t)g[REG_RSP],
		.rbp = (uint64_t)g[REG_RBP],
		.rsi = (uint64_t)g[REG_RSI],
		.rdi = (uint64_t)g[REG_RDI],
		.r8 = (uint64_t)g[REG_R8],
		.r9 = (uint64_t)g[REG_R9],
		.r10 = (uint64_t)g[REG_R10],
		.r11 = (uint64_t)g[REG_R11],
		.r12 = (uint64_t)g[REG_R12],
		.r13 = (uint64_t)g[REG_R13],
		.r14 = (uint64_t)g[REG_R14],
		.r15 = (uint64_t)g[REG_R15],
		.rflags = (uint64_t)g[REG_EFL],
		.rip = (uint64_t)g[REG_RIP],
	};
}

void rt_regs_to_uc(ucontext_t *uc, const struct cpu_regs *r)
{
	greg_t *g = uc->uc_mcontext.gregs;

	g[REG_RAX] = (greg_t)r->rax;
	g[REG_RCX] = (greg_t)r->rcx;
	g[REG_RDX] = (greg_t)r->rdx;
	g[REG_RBX] = (greg_t)r->rbx;
	g[REG_RSP] = (greg_t)r->rsp;
	g[REG_RBP] = (greg_t)r->rbp;
	g[REG_RSI] = (greg_t)r->rsi;
	g[REG_RDI] = (greg_t)r->rdi;
	g[REG_R8] = (greg_t)r->r8;
	g[REG_R9] = (greg_t)r->r9;
	g[REG_R10] = (greg_t)r->r10;
	g[REG_R11] = (greg_t)r->r11;
	g[REG_R12] = (greg_t)r->r12;
	g[REG_R13] = (greg_t)r->r13;
	g[REG_R14] = (greg_t)r->r14;
	g[REG_R15] = (greg_t)r->r15;
	g[REG_EFL] = (greg_t)r->rflags;
	g[REG_RIP] = (greg_t)r->rip;
}

/* Critical signals that the client believes blocked on this thread, and those that somebody sent meanwhile. */
static __thread uint64_t client_blocked __attribute__((tls_model("initial-exec")));
static __thread uint64_t client_pending __attribute__((tls_model("initial-exec")));
static __thread siginfo_t pending_info[6] __attribute__((tls_model("initial-exec")));

static size_t critical_index(int sig)
{
	return (size_t)__builtin_popcountll(RT_SIG_CRITICAL & (RT_SIGBIT(sig) - 1));
}

static void pend(int sig, const siginfo_t *info)
{
	client_pending |= RT_SIGBIT(sig);
	pending_info[critical_index(sig)] = *info;
}

/* What waited for the client to unblock it comes now. */
static void unpend(void)
{
	uint64_t now = client_pending & ~client_blocked;

	client_pending &= ~now;
	for (; now; now &= now - 1) {
		int sig = __builtin_ctzll(now) + 1;

		sys4(SYS_rt_tgsigqueueinfo, sys(SYS_getpid, 0, 0, 0), sys(SYS_gettid, 0, 0, 0), sig,
		     &pending_info[critical_index(sig)]);
	}
}

uint64_t rt_pending_critical(void)
{
	return client_pending;
}

/* ---- giving a signal to the client ----------------------------------------------------------- */

static bool on_slot(const void *p)
{
	return (uint64_t)p - (uint64_t)rt.slots < (uint64_t)RT_SLOT_NR * RT_SLOT_BYTES;
}

static uint64_t *uc_mask(ucontext_t *uc)
{
	return (uint64_t *)&uc->uc_sigmask;
}

/* Bytes of the XSAVE image that the kernel put into the frame. */
static size_t fpstate_bytes(const void *fp)
{
	const uint32_t *sw = (const uint32_t *)((const uint8_t *)fp + XSTATE_MAGIC1_AT);

	return sw[0] == XSTATE_MAGIC1 ? sw[1] : 512;
}

static void kernel_act(int sig, const struct rt_client_act *act)
{
	sys4(SYS_rt_sigaction, sig, act, 0, 8);
}

/* The signal ends the process, as it would have. */
static void die_of(int sig, siginfo_t *info, ucontext_t *uc)
{
	struct rt_client_act dfl = { .word = 0 };

	kernel_act(sig, &dfl);
	sys4(SYS_rt_tgsigqueueinfo, sys(SYS_getpid, 0, 0, 0), sys(SYS_gettid, 0, 0, 0), sig, info);
	*uc_mask(uc) &= ~RT_SIGBIT(sig);
}

static bool on_stack(const stack_t *stack, uint64_t sp)
{
	return sp - (uint64_t)stack->ss_sp < stack->ss_size;
}

static uint64_t client_stack_top(struct rt_thread *t, const struct rt_client_act *act, uint64_t rsp)
{
	const stack_t *alt = &t->client_stack;

	if ((act->flags & SA_ONSTACK) && alt->ss_sp && !(alt->ss_flags & SS_DISABLE) &&
	    !on_stack(alt, rsp))
		return (uint64_t)alt->ss_sp + alt->ss_size;
	return rsp - 128;
}

/* Copy the frame to the client's stack. Its address, or 0 when the stack cannot be written. */
static uint64_t frame_build(struct rt_thread *t, const struct rt_client_act *act, siginfo_t *info,
			    ucontext_t *uc)
{
	uint64_t sp = client_stack_top(t, act, (uint64_t)uc->uc_mcontext.gregs[REG_RSP]);
	void *fp = uc->uc_mcontext.fpregs;
	struct kernel_frame frame;

	memcpy(&frame.uc, uc, sizeof(frame.uc));
	frame.info = *info;
	frame.pretcode = act->flags & SA_RESTORER_FLAG && !t->direct ? (void *)act->restorer
								     : (void *)rt_restorer;
	if (fp) {
		size_t bytes = fpstate_bytes(fp);

		sp = (sp - bytes) & ~63ull;
		if (rt_copy_user((void *)sp, fp, bytes))
			return 0;
		frame.uc.mcontext.fpregs = (void *)sp;
	}
	sp = ((sp - sizeof(frame)) & ~15ull) - 8;
	if (rt_copy_user((void *)sp, &frame, sizeof(frame)))
		return 0;
	return sp;
}

/* The handler begins with what the ABI promises: no TF, no DF, and a fresh floating-point state. */
static void enter_handler(ucontext_t *uc, int sig, uint64_t sp, const struct rt_client_act *act,
			  uint64_t blocked)
{
	greg_t *g = uc->uc_mcontext.gregs;
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;

	g[REG_RSP] = (greg_t)sp;
	g[REG_RIP] = (greg_t)act->word;
	g[REG_RAX] = 0;
	g[REG_RDI] = sig;
	g[REG_RSI] = (greg_t)(sp + offsetof(struct kernel_frame, info));
	g[REG_RDX] = (greg_t)(sp + offsetof(struct kernel_frame, uc));
	g[REG_EFL] &= ~(greg_t)(RFLAGS_TF | RFLAGS_DF | RFLAGS_RF);
	*uc_mask(uc) = blocked;
	if (fp && fpstate_bytes(fp) > 576)
		*(uint64_t *)(fp + 512) = 0;
	if (fp)
		*(uint32_t *)(fp + 24) = MXCSR_INIT;
}

/*
 * On our signal stack: the frame is built where the client wants it, and our own sigreturn goes to the handler.
 * A thread that had no block when the signal came has the frame where the kernel put it for the client anyway.
 */
void rt_deliver(int sig, siginfo_t *info, ucontext_t *uc)
{
	struct rt_thread *t = rt_thread_peek();
	struct rt_client_act act = rt.act[sig];
	uint64_t blocked = *uc_mask(uc) | act.mask | (act.flags & SA_NODEFER ? 0 : RT_SIGBIT(sig));
	bool forced = info->si_code > 0 && (RT_SIG_CRITICAL & RT_SIGBIT(sig));
	uint64_t sp;

	if (act.word == (uint64_t)SIG_IGN && !forced)
		return;
	if (act.word <= (uint64_t)SIG_IGN || (forced && (client_blocked & RT_SIGBIT(sig)))) {
		die_of(sig, info, uc);
		return;
	}
	if (act.flags & SA_RESETHAND) {
		struct rt_client_act dfl = { .word = 0 };

		rt.act[sig] = dfl;
		if (!(RT_SIG_CRITICAL & RT_SIGBIT(sig)))
			kernel_act(sig, &dfl);
	}
	blocked &= ~RT_SIG_CRITICAL;
	if (on_slot(uc)) {
		sp = frame_build(t, &act, info, uc);
		if (sp)
			enter_handler(uc, sig, sp, &act, blocked);
		else
			die_of(SIGSEGV, info, uc);
		return;
	}
	/* From here on the handler may enter enclaves, and its return must not undo our signal stack. */
	rt_thread_self();
	rt_thread_show_stack(uc);
	sp = (uint64_t)uc - offsetof(struct kernel_frame, uc);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &blocked, 0, 8);
	rt_call_client(sig, info, uc, (void *)act.word, sp);
}

/* ---- whose signal is it ----------------------------------------------------------------------- */

static void async(int sig, siginfo_t *info, ucontext_t *uc, struct rt_thread *t, bool in_enclave)
{
	if (client_blocked & RT_SIGBIT(sig)) {
		pend(sig, info);
		return;
	}
	if (in_enclave) {
		rt_interrupt(uc, t);
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
		if (!t)
			rt_thread_self(); /* trap again, on its stack */
		else
			rt_enclu_trap(info, uc, t, in_enclave);
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
}

void rt_signal(int sig, siginfo_t *info, ucontext_t *uc, struct rt_thread *t)
{
	bool in_enclave = t && t->away && t->lp->in_enclave;
	/* It interrupted the runtime at work for an enclave: that goes on with its own bases. */
	bool nested = t && !t->away && (t->lp->in_enclave || t->foreign);
	int saved_errno = errno;

	if (t && t->away && in_runtime((uint64_t)uc->uc_mcontext.gregs[REG_RIP]))
		arrive(t, uc);
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

void rt_xsave_to_frame(struct rt_thread *t, ucontext_t *uc)
{
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
	size_t bytes = fpstate_bytes(fp);
	uint8_t sw[48];
	uint64_t *bv = (uint64_t *)(fp + 512);

	if (bytes > 512)
		bytes -= 4; /* the kernel's trailing magic */
	if (bytes > rt.xsave_bytes)
		bytes = rt.xsave_bytes;
	memcpy(sw, fp + XSTATE_MAGIC1_AT, sizeof(sw));
	if (bytes > 576) {
		uint64_t others = *bv & ~t->xfrm;

		assert(bytes <= RT_XSAVE_BYTES);
		memcpy(fp, t->xsave, 512);
		memcpy(fp + 576, t->xsave + 576, bytes - 576);
		*bv = others | (*(uint64_t *)(t->xsave + 512) & t->xfrm);
	} else {
		memcpy(fp, t->xsave, 512);
	}
	memcpy(fp + XSTATE_MAGIC1_AT, sw, sizeof(sw));
}

size_t rt_frame_xsave_bytes(const ucontext_t *uc)
{
	size_t bytes = fpstate_bytes(uc->uc_mcontext.fpregs);

	return bytes > 512 ? bytes - 4 : bytes;
}

/* ---- what the kernel is told ------------------------------------------------------------------ */

/* Install our entry for @sig with those of the client's flags that the kernel acts on. */
void rt_signal_install(int sig, uint64_t client_flags)
{
	struct rt_client_act act = {
		.action = (void (*)(int, siginfo_t *, void *))rt_sigentry,
		.flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTORER_FLAG |
			 (client_flags & (SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT)),
		.restorer = rt_restorer,
		.mask = ~RT_SIG_CRITICAL,
	};

	kernel_act(sig, &act);
}

void rt_signal_init(void)
{
	for (int sig = 1; sig < RT_NSIG; sig++) {
		if (!(RT_SIG_CRITICAL & RT_SIGBIT(sig)))
			continue;
		sys4(SYS_rt_sigaction, sig, 0, &rt.act[sig], 8);
		rt_signal_install(sig, 0);
	}
	uint64_t critical = RT_SIG_CRITICAL;

	sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, &critical, 0, 8);
}

void rt_signal_use(void)
{
	for (int sig = 1; sig < RT_NSIG; sig++)
		if (!(RT_SIG_CRITICAL & RT_SIGBIT(sig)) && rt.act[sig].word > (uint64_t)SIG_IGN)
			rt_signal_install(sig, rt.act[sig].flags);
}

/* sigaction() of the client, in the kernel's terms. */
long rt_sigaction(int sig, const struct rt_client_act *act, struct rt_client_act *ret_old)
{
	struct rt_client_act old;
	long r = 0;

	if (sig < 1 || sig >= RT_NSIG || ((sig == SIGKILL || sig == SIGSTOP) && act))
		return -EINVAL;
	if (!(RT_SIG_CRITICAL & RT_SIGBIT(sig))) {
		/* What was inherited over exec, or set without us, is the kernel's to tell. */
		r = sys4(SYS_rt_sigaction, sig, 0, &old, 8);
		if (r < 0)
			return r;
		if (old.word == (uint64_t)rt_sigentry)
			old = rt.act[sig];
	} else {
		old = rt.act[sig];
	}
	if (act) {
		struct rt_client_act copy = *act;

		rt.act[sig] = copy;
		if (RT_SIG_CRITICAL & RT_SIGBIT(sig))
			; /* ours stays */
		else if (rt.used && copy.word > (uint64_t)SIG_IGN)
			rt_signal_install(sig, copy.flags);
		else
			r = sys4(SYS_rt_sigaction, sig, &copy, 0, 8);
	}
	if (ret_old)
		*ret_old = old;
	return r;
}

static uint64_t mask_changed(int how, uint64_t mask, uint64_t set)
{
	return how == SIG_BLOCK ? mask | set : how == SIG_UNBLOCK ? mask & ~set : set;
}

long rt_sigprocmask_virtual(int how, const uint64_t *set, uint64_t *mask, uint64_t *ret_old)
{
	*ret_old = *mask | client_blocked;
	if (!set)
		return 0;
	if (how != SIG_BLOCK && how != SIG_UNBLOCK && how != SIG_SETMASK)
		return -EINVAL;
	*mask = mask_changed(how, *mask, *set) & ~RT_SIG_CRITICAL;
	client_blocked = mask_changed(how, client_blocked, *set) & RT_SIG_CRITICAL;
	unpend();
	return 0;
}

long rt_sigprocmask(int how, const uint64_t *set, uint64_t *ret_old)
{
	uint64_t mask = 0, old;
	long r = sys4(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);

	if (!r)
		r = rt_sigprocmask_virtual(how, set, &mask, &old);
	if (!r && set)
		r = sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
	if (!r && ret_old)
		*ret_old = old;
	return r;
}

long rt_sigaltstack_at(const stack_t *stack_at, stack_t *old_at, uint64_t rsp)
{
	struct rt_thread *t = rt_thread_peek();
	stack_t old = t->client_stack, stack;
	bool on;

	if (!old.ss_sp)
		old.ss_flags = SS_DISABLE;
	on = !(old.ss_flags & SS_DISABLE) && on_stack(&old, rsp);
	if (stack_at) {
		if (rt_copy_user(&stack, stack_at, sizeof(stack)))
			return -EFAULT;
		if (on)
			return -EPERM;
		if (stack.ss_flags & ~(SS_DISABLE | SS_ONSTACK | (int)SS_AUTODISARM_FLAG))
			return -EINVAL;
		if (stack.ss_flags & SS_DISABLE)
			stack = (stack_t){ .ss_flags = SS_DISABLE };
		else if (stack.ss_size < 2048)
			return -ENOMEM;
		stack.ss_flags &= ~SS_ONSTACK;
		t->client_stack = stack;
	}
	if (on)
		old.ss_flags |= SS_ONSTACK;
	return old_at ? rt_copy_user(old_at, &old, sizeof(old)) : 0;
}

long rt_sigaltstack(const stack_t *stack, stack_t *ret_old)
{
	if (!rt_thread_peek())
		return sys(SYS_sigaltstack, stack, ret_old, 0);
	return rt_sigaltstack_at(stack, ret_old, (uint64_t)__builtin_frame_address(0));
}

void rt_frame_restore(ucontext_t *uc, uint64_t at)
{
	struct kernel_frame frame;
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
	const uint8_t *from;
	size_t bytes = fpstate_bytes(fp);
	uint8_t sw[48];

	if (rt_copy_user(&frame, (void *)at, offsetof(struct kernel_frame, info))) {
		siginfo_t info = { .si_signo = SIGSEGV, .si_code = SI_KERNEL };

		rt_deliver(SIGSEGV, &info, uc);
		return;
	}
	from = (const uint8_t *)frame.uc.mcontext.fpregs;
	memcpy(uc->uc_mcontext.gregs, frame.uc.mcontext.gregs,
	       REG_EFL * sizeof(greg_t) + sizeof(greg_t));
	*uc_mask(uc) = frame.uc.sigmask & ~RT_SIG_CRITICAL;
	memcpy(sw, fp + XSTATE_MAGIC1_AT, sizeof(sw));
	if (from && fp)
		rt_copy_user(fp, from, bytes);
	memcpy(fp + XSTATE_MAGIC1_AT, sw, sizeof(sw));
}
