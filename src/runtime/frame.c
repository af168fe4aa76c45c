/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Signal frames: reading and writing the one that a handler runs on, and giving a signal to the client.
 *
 * rt_deliver() builds the very frame that the kernel would have built, on the stack that the kernel would have
 * chosen, in the state after an AEX: so the client returns through a sigreturn, may longjmp away, may nest, may
 * edit the context.
 */
#include "runtime/signal_priv.h"

#include <assert.h>
#include <string.h>

#define RFLAGS_TF        0x100
#define RFLAGS_DF        0x400
#define RFLAGS_RF        0x10000
#define MXCSR_INIT       0x1f80u
#define XSTATE_MAGIC1    0x46505853u
#define XSTATE_X87       1u
#define XSTATE_SSE       2u
#define XSTATE_PKRU      (1u << 9)
#define XSTATE_MAGIC1_AT 464 /* fpx_sw_bytes in the legacy area */
#define MXCSR_AT         24
#define ST_AT            32
#define XMM_AT           160
#define XMM_END          416

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

/* Bytes of the XSAVE image that the kernel put into the frame. */
static size_t fpstate_bytes(const void *fp)
{
	const uint32_t *sw = (const uint32_t *)((const uint8_t *)fp + XSTATE_MAGIC1_AT);

	return sw[0] == XSTATE_MAGIC1 ? sw[1] : 512;
}

size_t rt_frame_xsave_bytes(const ucontext_t *uc)
{
	size_t bytes = fpstate_bytes(uc->uc_mcontext.fpregs);

	return bytes > 512 ? bytes - 4 : bytes;
}

bool rt_frame_has_xsave(const ucontext_t *uc)
{
	const void *fp = uc->uc_mcontext.fpregs;

	return fp && fpstate_bytes(fp) > 576;
}

static void legacy_to_frame(const struct rt_thread *t, uint8_t *fp)
{
	if (t->xfrm & XSTATE_X87) {
		memcpy(fp, t->xsave, MXCSR_AT);
		memcpy(fp + ST_AT, t->xsave + ST_AT, XMM_AT - ST_AT);
	}
	if (t->xfrm & XSTATE_SSE) {
		memcpy(fp + MXCSR_AT, t->xsave + MXCSR_AT, sizeof(uint32_t));
		memcpy(fp + XMM_AT, t->xsave + XMM_AT, XMM_END - XMM_AT);
	}
}

void rt_xsave_to_frame(struct rt_thread *t, ucontext_t *uc)
{
	const struct cpu_config *config = cpu_get_config(rt.cpu);
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
	size_t bytes = fpstate_bytes(fp);
	uint64_t *bv = (uint64_t *)(fp + 512);

	if (bytes > 512)
		bytes -= 4; /* the kernel's trailing magic */
	if (bytes > rt.xsave_bytes)
		bytes = rt.xsave_bytes;
	if (bytes > 576) {
		uint64_t others = *bv & ~t->xfrm;

		assert(bytes <= RT_XSAVE_BYTES);
		legacy_to_frame(t, fp);
		for (unsigned int i = 2; i < 63; i++)
			if ((t->xfrm >> i & 1) &&
			    config->xsave_offset[i] + config->xsave_size[i] <= bytes)
				memcpy(fp + config->xsave_offset[i],
				       t->xsave + config->xsave_offset[i], config->xsave_size[i]);
		*bv = others | (*(uint64_t *)(t->xsave + 512) & t->xfrm);
	} else {
		legacy_to_frame(t, fp);
	}
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
	rt_client_set_blocked(frame.uc.sigmask);
	memcpy(sw, fp + XSTATE_MAGIC1_AT, sizeof(sw));
	if (from && fp)
		rt_copy_user(fp, from, bytes);
	memcpy(fp + XSTATE_MAGIC1_AT, sw, sizeof(sw));
}

/* ---- giving a signal to the client ----------------------------------------------------------- */

static bool on_slot(const void *p)
{
	return (uint64_t)p - (uint64_t)rt.slots < (uint64_t)RT_SLOT_NR * RT_SLOT_BYTES;
}

/* The signal ends the process, as it would have. */
static void die_of(int sig, siginfo_t *info, ucontext_t *uc)
{
	struct rt_client_act dfl = { .word = 0 };

	kernel_act(sig, &dfl);
	sys4(SYS_rt_tgsigqueueinfo, sys(SYS_getpid, 0, 0, 0), sys(SYS_gettid, 0, 0, 0), sig, info);
	*uc_mask(uc) &= ~RT_SIGBIT(sig);
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
	/* Where its return passes the runtime, what that goes back to is the whole truth. */
	if (t->direct)
		frame.uc.sigmask |= rt_client_blocked();
	frame.info = *info;
	frame.pretcode = t->direct                       ? (void *)rt_direct_restorer
			 : act->flags & SA_RESTORER_FLAG ? (void *)act->restorer
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
		*(uint64_t *)(fp + 512) &= XSTATE_PKRU; /* not the handler's to lose */
	if (fp)
		*(uint32_t *)(fp + 24) = MXCSR_INIT;
}

/* The handler's frame lies on the signal stack that is to be changed: that has to wait until it has returned. */
static bool by_stub(struct rt_thread *t, ucontext_t *uc)
{
	greg_t *g = uc->uc_mcontext.gregs;
	uint64_t words[2] = { (uint64_t)&t->change, (uint64_t)g[REG_RIP] };
	uint64_t sp = (uint64_t)g[REG_RSP] - 128 - sizeof(words);

	if (rt_copy_user((void *)sp, words, sizeof(words)))
		return false;
	t->change = (struct rt_stack_change){ .stack = rt_thread_stack(t), .mask = *uc_mask(uc) };
	t->stack_missing = false;
	g[REG_RSP] = (greg_t)sp;
	g[REG_RIP] = (greg_t)rt_stack_stub;
	*uc_mask(uc) = ~0ull;
	return true;
}

/*
 * The signal found a thread without a block, on a stack of the client's.  Give it one, and let the signal come
 * again: a fault does so by itself when the handler returns, which also puts our stack in place.  False when that
 * is not to be had: the thread stood on the client's signal stack already, which the kernel then won't change.
 */
bool rt_come_again(int sig, siginfo_t *info, ucontext_t *uc)
{
	static const uint64_t faults =
		RT_SIGBIT(SIGSEGV) | RT_SIGBIT(SIGBUS) | RT_SIGBIT(SIGILL) | RT_SIGBIT(SIGFPE);
	bool known = rt_thread_peek();
	stack_t *alt = &rt_thread_self()->client_stack;
	uint64_t bit = RT_SIGBIT(sig);

	if (!known) { /* on its own stack, the kernel would not have told what it is */
		*alt = uc->uc_stack;
		alt->ss_flags &= ~SS_ONSTACK;
	}
	rt_use();
	if (on_stack(alt, (uint64_t)uc->uc_mcontext.gregs[REG_RSP]))
		return false;
	if (!on_stack(alt, (uint64_t)uc))
		rt_thread_show_stack(uc);
	else if (!by_stub(rt_thread_self(), uc))
		return false;
	if (info->si_code > 0 && (faults & bit))
		return true;
	/* Not before we return. */
	sys4(SYS_rt_sigprocmask, SIG_BLOCK, &bit, 0, 8);
	sys4(SYS_rt_tgsigqueueinfo, sys(SYS_getpid, 0, 0, 0), sys(SYS_gettid, 0, 0, 0), sig, info);
	return true;
}

bool rt_frame_waits(int sig, const ucontext_t *uc)
{
	const greg_t *g = uc->uc_mcontext.gregs;

	if ((uint64_t)g[REG_RIP] - (uint64_t)rt_call_client <
	    (uint64_t)rt_call_client_end - (uint64_t)rt_call_client)
		return g[REG_RBX] == sig;
	/* No call of the handler by the program leaves these in the registers. */
	return (uint64_t)g[REG_RIP] == rt.act[sig].word && g[REG_RDI] == sig &&
	       g[REG_RSI] == g[REG_RSP] + (greg_t)offsetof(struct kernel_frame, info) &&
	       g[REG_RDX] == g[REG_RSP] + (greg_t)offsetof(struct kernel_frame, uc);
}

/*
 * On our signal stack: the frame is built where the client wants it, and our own sigreturn goes to the handler.
 * Elsewhere (rt_come_again()) the frame stays where the kernel has put it for the client.
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
	if (act.word <= (uint64_t)SIG_IGN || (forced && (rt_client_blocked() & RT_SIGBIT(sig)))) {
		die_of(sig, info, uc);
		return;
	}
	if (!on_slot(uc) && rt_come_again(sig, info, uc))
		return;
	if (act.flags & SA_RESETHAND) {
		struct rt_client_act dfl = { .word = 0 };

		rt.act[sig] = dfl;
		if (!(RT_SIG_CRITICAL & RT_SIGBIT(sig)))
			kernel_act(sig, &dfl);
	}
	blocked &= ~RT_SIG_CRITICAL;
	if (on_slot(uc)) {
		t = rt_thread_self();
		sp = frame_build(t, &act, info, uc);
		if (sp && t->direct)
			rt_client_set_blocked(rt_client_blocked() & ~t->let_in);
		t->let_in = 0;
		if (sp)
			enter_handler(uc, sig, sp, &act, blocked);
		else
			die_of(SIGSEGV, info, uc);
		return;
	}
	sp = (uint64_t)uc - offsetof(struct kernel_frame, uc);
	rt_elsewhere_end();
	rt_call_client(sig, info, uc, (void *)act.word, sp, &blocked);
}
