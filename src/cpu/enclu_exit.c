/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Out of an enclave: EEXIT, the asynchronous exit, EDECCSSA (which moves the frame that the next
 * one will use), and the end of a logical processor that died inside.
 */
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "cpu/epoch.h"
#include "cpu/secs.h"
#include "cpu/ssa.h"

#define RAX_ERESUME 3u
#define RFLAGS_TF   (1ull << 8)
/* CF PF AF ZF SF OF RF: cleared in what the host sees after an AEX. */
#define RFLAGS_CLEARED_BY_AEX \
	(1ull << 0 | 1ull << 2 | 1ull << 4 | 1ull << 6 | 1ull << 7 | 1ull << 11 | 1ull << 16)

/* Last of all: from here on the TCS may be entered again, and the pages may go. */
static void leave(struct cpu *cpu, struct cpu_lp *lp)
{
	struct secs_page *secs = secs_page(cpu, lp->secs);
	struct sgx_tcs *tcs = cpu_contents(cpu, lp->tcs);

	__atomic_store_n(&lp->in_enclave, false, __ATOMIC_RELEASE);
	epoch_leave(&secs->own.track, lp->entry_epoch);
	__atomic_store_n(&tcs->state, 0, __ATOMIC_RELEASE);
	/* Once it is not pinned the TCS, and then the SECS, may leave EPC. */
	epcm_put_pin(&cpu->epcm[lp->tcs]);
}

/* The host's TF, unless the entry left it alone (RFLAGS.TF treatment: debug opt-in). */
static uint64_t host_rflags(const struct cpu_lp *lp, uint64_t rflags)
{
	if (lp->opt_in)
		return rflags;
	return (rflags & ~RFLAGS_TF) | (lp->host_tf ? RFLAGS_TF : 0);
}

/* ---- EEXIT --------------------------------------------------------------------------------- */

struct cpu_outcome enclu_eexit(struct cpu *cpu, struct cpu_lp *lp, struct cpu_regs *regs,
			       uint64_t next_rip)
{
	(void)next_rip;
	if (!lp->in_enclave)
		return cpu_gp();
	if (!cpu_canonical(regs->rbx))
		return cpu_gp();
	regs->rip = regs->rbx;
	regs->rcx = lp->aep;
	regs->rflags = host_rflags(lp, regs->rflags);
	regs->fs_base = lp->host_fs_base;
	regs->gs_base = lp->host_gs_base;
	leave(cpu, lp);
	return cpu_done();
}

/* ---- AEX ----------------------------------------------------------------------------------- */

/* The table "Exception Vectors" of EXITINFO; 0 when nothing is reported. */
static uint32_t exitinfo(const struct cpu_lp *lp, const struct cpu_event *event)
{
	bool exinfo = lp->miscselect & SGX_MISC_EXINFO;
	uint32_t type = event->software ? SGX_EXITINFO_SOFTWARE : SGX_EXITINFO_HARDWARE;

	switch (event->vector) {
	case CPU_DE:
	case CPU_DB:
	case CPU_BP:
	case CPU_BR:
	case CPU_UD:
	case CPU_MF:
	case CPU_AC:
	case CPU_XM:
		break;
	case CPU_GP:
	case CPU_PF:
		if (!exinfo)
			return 0;
		break;
	default:
		return 0;
	}
	return SGX_EXITINFO_VALID | type | event->vector;
}

static void save_gprs(struct sgx_ssa_gpr *gpr, const struct cpu_regs *regs)
{
	static_assert(offsetof(struct sgx_ssa_gpr, ursp) == offsetof(struct cpu_regs, fs_base),
		      "the first eighteen are in one order");
	memcpy(gpr, regs, offsetof(struct sgx_ssa_gpr, ursp));
	gpr->rflags &= ~RFLAGS_TF;
	gpr->fsbase = regs->fs_base;
	gpr->gsbase = regs->gs_base;
}

static void save_exinfo(const struct ssa_frame *frame, const struct cpu_event *event)
{
	struct sgx_exinfo *exinfo = ssa_exinfo(frame);

	switch (event->vector) {
	case CPU_PF:
		*exinfo = (struct sgx_exinfo){ .maddr = event->cr2, .errcd = event->error };
		break;
	case CPU_GP:
		*exinfo = (struct sgx_exinfo){ .errcd = event->error };
		break;
	default:
		break;
	}
}

static void synthetic_state(const struct cpu_lp *lp, const struct sgx_ssa_gpr *gpr,
			    struct cpu_regs *regs)
{
	*regs = (struct cpu_regs){
		.rax = RAX_ERESUME,
		.rbx = lp->tcs_la,
		.rcx = lp->aep,
		.rsp = gpr->ursp,
		.rbp = gpr->urbp,
		.rflags = host_rflags(lp, regs->rflags & ~RFLAGS_CLEARED_BY_AEX),
		.rip = lp->aep,
		.fs_base = lp->host_fs_base,
		.gs_base = lp->host_gs_base,
	};
}

struct cpu_outcome cpu_aex(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
			   struct cpu_regs *regs, void *xsave, size_t xsave_bytes,
			   const struct cpu_event *event)
{
	struct ssa_frame frame = { .la = lp->xsave_la, .gpr_la = lp->gpr_la };
	struct secs_page *secs;
	struct operands ops;
	struct cpu_outcome out;
	struct sgx_tcs *tcs;

	assert(lp->in_enclave);
	secs = secs_page(cpu, lp->secs);
	operands_init(&ops, cpu, mmu, lp->secs);
	out = ssa_pin_unchecked(&ops, &secs->arch, &frame);
	if (cpu_passed(out)) {
		tcs = cpu_contents(cpu, lp->tcs);
		save_gprs(frame.gpr, regs);
		frame.gpr->exitinfo = exitinfo(lp, event);
		if (lp->miscselect & SGX_MISC_EXINFO)
			save_exinfo(&frame, event);
		ssa_save_extended(cpu, &frame, lp->xfrm, xsave, xsave_bytes);
		ssa_synthesize(event->vector, xsave, xsave_bytes);
		synthetic_state(lp, frame.gpr, regs);
		tcs->cssa++;
	}
	operands_put(&ops);
	if (cpu_passed(out))
		leave(cpu, lp);
	return out;
}

/* It died on its way in or out: the TCS is its own, but it is not inside. */
static void free_tcs_of(const struct cpu *cpu, const struct cpu_lp *lp)
{
	uint64_t owner = (uint64_t)(uintptr_t)lp, attr;
	struct sgx_tcs *tcs;

	if (!cpu_is_epc(cpu, lp->tcs))
		return;
	attr = epcm_attr(&cpu->epcm[lp->tcs]);
	if (!epcm_has_tcs(attr))
		return;
	tcs = cpu_contents(cpu, lp->tcs);
	/* What else it left behind is for cpu_repair_page(). */
	__atomic_compare_exchange_n(&tcs->state, &owner, 0, false, __ATOMIC_RELEASE,
				    __ATOMIC_RELAXED);
}

void cpu_lp_reset(struct cpu *cpu, struct cpu_lp *lp)
{
	if (lp->in_enclave)
		leave(cpu, lp);
	else
		free_tcs_of(cpu, lp);
}

/* ---- EDECCSSA ------------------------------------------------------------------------------ */

struct cpu_outcome enclu_edeccssa(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				  struct cpu_regs *regs)
{
	struct ssa_frame frame;
	struct secs_page *secs;
	struct operands ops;
	struct cpu_outcome out;
	struct sgx_tcs *tcs;

	(void)regs;
	if (!lp->in_enclave || !(cpu->config.caps & SGX_CPUID_EDECCSSA))
		return cpu_gp();
	/* The pin of entry stands, but somebody may be changing the page's type. */
	if (!epcm_try_pin(&cpu->epcm[lp->tcs]))
		return cpu_gp();
	tcs = cpu_contents(cpu, lp->tcs);
	secs = secs_page(cpu, lp->secs);
	operands_init(&ops, cpu, mmu, lp->secs);
	if (tcs->cssa == 0) {
		out = cpu_gp();
	} else {
		ssa_locate(&secs->arch, tcs, tcs->cssa - 1, &frame);
		out = ssa_pin(&ops, &secs->arch, &frame);
	}
	if (cpu_passed(out)) {
		tcs->cssa--;
		lp->gpr_la = frame.gpr_la;
		lp->xsave_la = frame.la;
	}
	operands_put(&ops);
	epcm_put_pin(&cpu->epcm[lp->tcs]);
	return out;
}
