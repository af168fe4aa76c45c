/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * ENCLU and asynchronous exits: the runtime is the microcode.
 *
 * Two ways in: an ENCLU that traps (rt_enclu_trap(), in a signal handler, sigreturn loads the registers) and
 * the vDSO function (rt_vdso_enclu(), entry.S loads them).  Ways out: EEXIT, which always traps, and an AEX,
 * which a fault in the enclave or a signal brings about.
 *
 * Invariant: lp->in_enclave, rlp->encl (with a reference) and t->away agree whenever client or enclave code
 * runs.
 */
#include "runtime/rt.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

#include <asm/prctl.h>

#include "runtime/sys.h"

#define XSAVE_MXCSR  24
#define XSAVE_BV     512
#define XFRM_VECTORS 0xe6u /* SSE, AVX, AVX-512 */

struct step {
	struct rt_thread *t;
	struct cpu_regs *regs;
	void *xsave;
	size_t xsave_bytes;
	const struct cpu_event *event; /* AEX */
	struct rt_range near;          /* as it was when the instruction began; or empty */
};

static struct cpu_outcome step_enclu(void *ctx, struct cpu *cpu, const struct cpu_mmu *mmu)
{
	struct step *s = ctx;

	return cpu_enclu(cpu, s->t->lp, mmu, s->regs, s->xsave, s->xsave_bytes);
}

static struct cpu_outcome step_aex(void *ctx, struct cpu *cpu, const struct cpu_mmu *mmu)
{
	struct step *s = ctx;

	return cpu_aex(cpu, s->t->lp, mmu, s->regs, s->xsave, s->xsave_bytes, s->event);
}

/* What the mappings of this process allow at @la: the PTE's half of an access check. */
static unsigned int vma_rwx_at(void *ctx, uint64_t la)
{
	const struct step *s = ctx;
	struct rt_range *range;
	unsigned int rwx = 0;

	if (la >= s->near.start && la < s->near.end && s->near.backed)
		return s->near.vma_rwx;
	lock_acquire(&rt.lock);
	range = rt_range_find_locked(la);
	if (range && range->encl && range->backed)
		rwx = range->vma_rwx;
	lock_release(&rt.lock);
	return rwx;
}

static void host_bases(struct rt_thread *t)
{
	if (t->fsgsbase) {
		__asm__ volatile("rdfsbase %0" : "=r"(t->home_fs));
		__asm__ volatile("rdgsbase %0" : "=r"(t->home_gs));
		return;
	}
	sys(SYS_arch_prctl, ARCH_GET_FS, &t->home_fs, 0);
	sys(SYS_arch_prctl, ARCH_GET_GS, &t->home_gs, 0);
}

/* The mapping that holds the TCS at @la, with a hold on its enclave; false: none is mapped there. */
static bool range_of_tcs(uint64_t la, struct rt_range *ret_range)
{
	if (!rt_range_get(la, ret_range))
		return false;
	if (ret_range->encl && encl_created(ret_range->encl))
		return true;
	rt_process_unhold(ret_range->hold);
	return false;
}

/* An ENCLU outside of any enclave: EENTER or ERESUME, if anything. On success rlp->encl is set. */
static struct cpu_outcome enter(struct rt_thread *t, struct cpu_regs *regs, void *xsave,
				size_t bytes)
{
	struct step s = { .t = t, .regs = regs, .xsave = xsave, .xsave_bytes = bytes };
	struct cpu_outcome out = { .fault = CPU_GP };

	if (regs->rax != SGX_EENTER && regs->rax != SGX_ERESUME)
		return out;
	if (!rt_thread_stack_ready(t))
		return out; /* in a handler on the signal stack that was there before ours */
	rt_thread_arm_sud(t);
	if (!t->foreign)
		host_bases(t);
	regs->fs_base = t->foreign ? t->away_fs : t->home_fs;
	regs->gs_base = t->foreign ? t->away_gs : t->home_gs;
	if (!range_of_tcs(regs->rbx, &s.near))
		return (struct cpu_outcome){ .fault = CPU_PF,
					     .pf_error = SGX_PFEC_U,
					     .pf_addr = regs->rbx };
	/* Before: whoever dies on the way in has taken the TCS. */
	t->rlp->hold = s.near.hold;
	t->rlp->encl = s.near.encl;
	out = encl_step(s.near.encl, &rt_mm, step_enclu, &s, vma_rwx_at);
	if (out.fault != CPU_NO_FAULT || !t->lp->in_enclave) {
		t->rlp->encl = NULL;
		rt_process_unhold(s.near.hold);
	}
	return out;
}

static void left(struct rt_thread *t, const struct cpu_regs *regs)
{
	t->rlp->encl = NULL;
	t->away_fs = regs->fs_base;
	t->away_gs = regs->gs_base;
	rt_process_unhold(t->rlp->hold);
}

/* Go on at the vDSO's exception exit. */
static void report(ucontext_t *uc, unsigned int vector, uint32_t error, uint64_t addr)
{
	greg_t *g = uc->uc_mcontext.gregs;

	g[REG_RDI] = vector;
	g[REG_RSI] = (uint16_t)error;
	g[REG_RDX] = (greg_t)addr;
	g[REG_RIP] = (greg_t)rt_vdso_exception_at();
}

/* Host-mode fault of the ENCLU itself, as the client would see it. */
static void deliver_fault(siginfo_t *info, ucontext_t *uc, struct cpu_outcome out)
{
	int sig = out.fault == ENCL_STEP_BUS ? SIGBUS : out.fault == CPU_UD ? SIGILL : SIGSEGV;

	memset(info, 0, sizeof(*info));
	info->si_signo = sig;
	uc->uc_mcontext.gregs[REG_TRAPNO] = out.fault == ENCL_STEP_BUS ? CPU_PF : out.fault;
	uc->uc_mcontext.gregs[REG_ERR] = 0;
	switch (out.fault) {
	case CPU_PF:
	case ENCL_STEP_BUS:
		info->si_code = sig == SIGBUS               ? BUS_ADRERR
				: out.pf_error & SGX_PFEC_P ? SEGV_ACCERR
							    : SEGV_MAPERR;
		info->si_addr = (void *)out.pf_addr;
		uc->uc_mcontext.gregs[REG_ERR] = out.pf_error;
		uc->uc_mcontext.gregs[REG_CR2] = (greg_t)out.pf_addr;
		break;
	case CPU_UD:
		info->si_code = ILL_ILLOPN;
		info->si_addr = (void *)uc->uc_mcontext.gregs[REG_RIP];
		break;
	default:
		info->si_code = SI_KERNEL;
		break;
	}
	rt_deliver(sig, info, uc);
}

static void host_enclu(siginfo_t *info, ucontext_t *uc, struct rt_thread *t)
{
	uint64_t at = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
	bool by_vdso = rt_vdso_is_enclu(at);
	struct cpu_regs regs;
	struct cpu_outcome out;

	rt_regs_from_uc(&regs, uc);
	out = enter(t, &regs, uc->uc_mcontext.fpregs, rt_frame_xsave_bytes(uc));
	if (out.fault != CPU_NO_FAULT) {
		if (by_vdso)
			report(uc, out.fault == ENCL_STEP_BUS ? CPU_PF : out.fault,
			       out.fault == CPU_GP ? 0 : out.pf_error,
			       out.fault == CPU_GP ? 0 : out.pf_addr);
		else
			deliver_fault(info, uc, out);
		return;
	}
	t->entered_by_vdso = by_vdso;
	t->quick = (uint32_t)uc->uc_mcontext.gregs[REG_RAX] == SGX_EENTER;
	rt_regs_to_uc(uc, &regs);
	t->away_fs = regs.fs_base;
	t->away_gs = regs.gs_base;
}

/* The event that a fault of an ENCLU inside the enclave is. */
static struct cpu_event event_of(struct cpu_outcome out)
{
	return (struct cpu_event){
		.vector = out.fault == ENCL_STEP_BUS ? CPU_PF : out.fault,
		.error = out.fault == CPU_GP ? 0 : out.pf_error,
		.cr2 = out.pf_addr,
	};
}

static void enclave_enclu(siginfo_t *info, ucontext_t *uc, struct rt_thread *t)
{
	struct cpu_regs regs;
	struct step s = { .t = t,
			  .regs = &regs,
			  .xsave = uc->uc_mcontext.fpregs,
			  .xsave_bytes = rt_frame_xsave_bytes(uc) };
	struct cpu_outcome out;

	rt_regs_from_uc(&regs, uc);
	regs.fs_base = t->away_fs;
	regs.gs_base = t->away_gs;
	if ((uint32_t)regs.rax == SGX_EEXIT)
		out = encl_eexit(t->rlp->encl, t->lp, &regs);
	else
		out = encl_step(t->rlp->encl, &rt_mm, step_enclu, &s, vma_rwx_at);
	if (out.fault != CPU_NO_FAULT) {
		int sig = out.fault == ENCL_STEP_BUS ? SIGBUS
			  : out.fault == CPU_UD      ? SIGILL
						     : SIGSEGV;

		memset(info, 0, sizeof(*info));
		info->si_signo = sig;
		info->si_code = sig == SIGBUS         ? BUS_ADRERR
				: sig == SIGILL       ? ILL_ILLOPN
				: out.fault == CPU_GP ? SI_KERNEL
						      : SEGV_ACCERR;
		info->si_addr = out.fault == CPU_GP ? NULL : (void *)out.pf_addr;
		uc->uc_mcontext.gregs[REG_TRAPNO] = event_of(out).vector;
		uc->uc_mcontext.gregs[REG_ERR] = event_of(out).error;
		uc->uc_mcontext.gregs[REG_CR2] = (greg_t)out.pf_addr;
		rt_exception(sig, info, uc, t, event_of(out));
		return;
	}
	rt_regs_to_uc(uc, &regs);
	if (!t->lp->in_enclave) {
		t->quick = true;
		left(t, &regs);
	}
}

void rt_enclu_trap(siginfo_t *info, ucontext_t *uc, struct rt_thread *t, bool in_enclave)
{
	if (in_enclave)
		enclave_enclu(info, uc, t);
	else
		host_enclu(info, uc, t);
}

/* ---- asynchronous exits ----------------------------------------------------------------------- */

static void aex(ucontext_t *uc, struct rt_thread *t, const struct cpu_event *event)
{
	struct cpu_regs regs;
	struct step s = { .t = t,
			  .regs = &regs,
			  .xsave = uc->uc_mcontext.fpregs,
			  .xsave_bytes = rt_frame_xsave_bytes(uc),
			  .event = event };
	struct cpu_outcome out;

	rt_regs_from_uc(&regs, uc);
	regs.fs_base = t->away_fs;
	regs.gs_base = t->away_gs;
	out = encl_step(t->rlp->encl, &rt_mm, step_aex, &s, NULL);
	if (out.fault != CPU_NO_FAULT) {
		/* The SSA frame cannot be loaded: hardware would have lost the enclave; so do we. */
		static const char why[] =
			"swsgx: an SSA frame could not be brought back into the EPC; "
			"the thread cannot leave its enclave\n";

		sys(SYS_write, 2, why, sizeof(why) - 1);
		sys(SYS_tgkill, rt.pid, t->tid, SIGKILL);
	}
	rt_regs_to_uc(uc, &regs);
	left(t, &regs);
}

void rt_interrupt(ucontext_t *uc, struct rt_thread *t)
{
	struct cpu_event none = { .vector = CPU_NO_FAULT };

	aex(uc, t, &none);
}

void rt_exception(int sig, siginfo_t *info, ucontext_t *uc, struct rt_thread *t,
		  struct cpu_event ev)
{
	aex(uc, t, &ev);
	/* Linux fixes up no #DB and no #BP: they are the debugger's, and go as signals. */
	if (t->entered_by_vdso && ev.vector != CPU_DB && ev.vector != CPU_BP) {
		report(uc, ev.vector, ev.error, ev.cr2 & ~(uint64_t)(SGX_PAGE_SIZE - 1));
		return;
	}
	if (ev.vector == CPU_PF) { /* of the address, hardware tells the page */
		uc->uc_mcontext.gregs[REG_CR2] &= ~(greg_t)(SGX_PAGE_SIZE - 1);
		info->si_addr =
			(void *)((uintptr_t)info->si_addr & ~(uintptr_t)(SGX_PAGE_SIZE - 1));
	} else if (ev.vector != CPU_GP && ev.vector != CPU_BP) {
		info->si_addr = (void *)uc->uc_mcontext.gregs[REG_RIP]; /* the AEP */
		if (ev.vector == CPU_MF || ev.vector == CPU_XM)
			info->si_code = FPE_FLTINV; /* as the synthetic FSW and MXCSR say */
	}
	rt_deliver(sig, info, uc);
}

/* ---- the vDSO's ENCLU --------------------------------------------------------------------------- */

void rt_vdso_enclu(struct cpu_regs *regs);

/*
 * EENTER takes the vector registers along, and the caller's are not there any more: initial ones, and none of the
 * runtime's.  MXCSR and the x87's are the caller's still.
 */
static void initial_vectors(struct rt_thread *t)
{
	uint64_t none = 0;
	uint32_t mxcsr;

	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	memcpy(t->xsave + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
	memcpy(t->xsave + XSAVE_BV, &none, sizeof(none));
	t->xfrm = cpu_get_config(rt.cpu)->xfrm_mask & XFRM_VECTORS;
}

/* Called by entry.S. It comes back only when the ENCLU faults, and tells in @regs. */
void rt_vdso_enclu(struct cpu_regs *regs)
{
	struct rt_thread *t = rt_thread_self();
	uint64_t leaf = regs->rax;
	struct cpu_outcome out;
	int saved_errno = errno;

	t->stack_page = (uint64_t)regs >> SGX_PAGE_SHIFT;
	rt_critical_enter(t);
	out = enter(t, regs, t->xsave, rt.xsave_bytes);
	if (out.fault != CPU_NO_FAULT) {
		regs->rax = leaf;
		regs->rdi = out.fault == ENCL_STEP_BUS ? CPU_PF : out.fault;
		regs->rsi = out.fault == CPU_GP ? 0 : out.pf_error;
		regs->rdx = out.fault == CPU_GP ? 0 : out.pf_addr;
		errno = saved_errno;
		rt_critical_leave(t);
		return;
	}
	errno = saved_errno;
	t->entered_by_vdso = true;
	t->load_xsave = true;
	t->below_rsp = leaf == SGX_EENTER;
	if (leaf == SGX_EENTER)
		initial_vectors(t);
	else
		t->xfrm = t->lp->xfrm;
	t->regs = *regs;
	rt_jump_from_regs(t, regs);
	t->away_fs = regs->fs_base;
	t->away_gs = regs->gs_base;
	t->away_selector = 1;
	rt_go(t);
}
