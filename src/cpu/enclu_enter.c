/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Into an enclave: EENTER and ERESUME.
 *
 * The TCS becomes this logical processor's own by its STATE field, which is taken before the other
 * fields are looked at: nobody else writes them then.  It is given back when a later check fails.
 * It is pinned from the first look at it until the logical processor leaves: it keeps its page (EWB
 * and EREMOVE refuse it), so that leaving needs no translation of it.
 */
#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "cpu/epoch.h"
#include "cpu/secs.h"
#include "cpu/ssa.h"

/* What both leaves find out by their checks. */
struct entry {
	struct cpu *cpu;
	struct cpu_lp *lp;
	const struct cpu_regs *regs;
	uint32_t page;    /* of the TCS */
	uint32_t old_tcs; /* what lp->tcs was */
	uint32_t secs_page;
	struct sgx_tcs *tcs;
	struct secs_page *secs;
	struct ssa_frame frame; /* the one to enter with */
	uint64_t target;
	uint64_t fs_base, gs_base;
	bool notify;
	struct operands ops;
};

#define RFLAGS_TF (1ull << 8)
/* CF PF AF ZF SF DF OF NT RF AC ID: what ERESUME takes from the SSA. */
#define RFLAGS_RESUMED                                                                         \
	(1ull << 0 | 1ull << 2 | 1ull << 4 | 1ull << 6 | 1ull << 7 | 1ull << 10 | 1ull << 11 | \
	 1ull << 14 | 1ull << 16 | 1ull << 18 | 1ull << 21)

/* STATE tells whose it is, so that cpu_lp_reset() can free it when its taker died half way in. */
static bool tcs_take(struct sgx_tcs *tcs, const struct cpu_lp *lp)
{
	uint64_t idle = 0;

	return __atomic_compare_exchange_n(&tcs->state, &idle, (uint64_t)(uintptr_t)lp, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void tcs_give_back(struct entry *in)
{
	__atomic_store_n(&in->tcs->state, 0, __ATOMIC_RELEASE);
	in->lp->tcs = in->old_tcs;
}

/* The EPCM conditions on a TCS. */
static bool tcs_usable(uint64_t attr, uint64_t la)
{
	return attr & EPCM_VALID && !(attr & (EPCM_BLOCKED | EPCM_PENDING | EPCM_MODIFIED)) &&
	       (attr & EPCM_LA) == la && epcm_pt(attr) == SGX_PT_TCS;
}

/* From RBX to a TCS page that is pinned. */
static struct cpu_outcome find_tcs(struct entry *in, const struct cpu_mmu *mmu)
{
	const unsigned int access = SGX_SECINFO_R | SGX_SECINFO_W;
	uint64_t la = in->regs->rbx;
	struct epcm_entry *e;
	struct cpu_outcome out;

	if (la & (SGX_PAGE_SIZE - 1))
		return cpu_gp();
	out = operand_walk(mmu, la, access, &in->page);
	if (!cpu_passed(out))
		return out;
	if (!cpu_canonical(in->regs->rcx))
		return cpu_gp();
	e = &in->cpu->epcm[in->page];
	/* Before the pin and with it: see operand.c. */
	if (!tcs_usable(epcm_attr(e), la))
		return operand_settle(mmu, la, access, in->page, operand_refused(la, access));
	if (!epcm_try_pin(e))
		return operand_settle(mmu, la, access, in->page, cpu_gp());
	if (!tcs_usable(epcm_attr(e), la)) {
		epcm_put_pin(e);
		return operand_absent(la, access);
	}
	in->secs_page = epcm_secs(e);
	return cpu_done();
}

/* EDBGWR may write them at any time: they are read once for each question. */
static uint64_t tcs_flags(const struct sgx_tcs *tcs)
{
	return __atomic_load_n(&tcs->flags, __ATOMIC_RELAXED);
}

static struct cpu_outcome check_tcs(const struct entry *in)
{
	const struct sgx_tcs *tcs = in->tcs;
	const struct sgx_secs *secs = &in->secs->arch;
	uint64_t flags = tcs_flags(tcs);
	bool notify_wanted = secs->attributes.flags & SGX_ATTR_AEXNOTIFY;

	if (tcs->ossa & (SGX_PAGE_SIZE - 1))
		return cpu_gp();
	if ((tcs->ofsbasgx | tcs->ogsbasgx) & (SGX_PAGE_SIZE - 1))
		return cpu_gp();
	if (flags & ~cpu_tcs_flags(in->cpu))
		return cpu_gp();
	if (!secs_is_initialized(in->secs))
		return cpu_gp();
	if (!(secs->attributes.flags & SGX_ATTR_MODE64BIT))
		return cpu_gp();
	if (!(flags & SGX_TCS_DBGOPTIN) && !!(flags & SGX_TCS_AEXNOTIFY) != notify_wanted)
		return cpu_gp();
	return cpu_done();
}

/* Look at the SECS and the TCS; the latter is ours when this passes. */
static struct cpu_outcome open_tcs(struct entry *in)
{
	struct cpu_outcome out;

	in->tcs = cpu_contents(in->cpu, in->page);
	in->secs = secs_page(in->cpu, in->secs_page);
	in->old_tcs = in->lp->tcs;
	in->lp->tcs = in->page;
	if (!tcs_take(in->tcs, in->lp)) {
		in->lp->tcs = in->old_tcs;
		return cpu_gp();
	}
	in->fs_base = in->secs->arch.baseaddr + in->tcs->ofsbasgx;
	in->gs_base = in->secs->arch.baseaddr + in->tcs->ogsbasgx;
	out = check_tcs(in);
	if (!cpu_passed(out))
		tcs_give_back(in);
	return out;
}

static bool bases_canonical(const struct entry *in)
{
	return cpu_canonical(in->fs_base) && cpu_canonical(in->gs_base);
}

/* Also what ERESUME does that notifies; that one looks at the bases last. */
static struct cpu_outcome eenter_check(struct entry *in)
{
	const struct sgx_secs *secs = &in->secs->arch;
	struct cpu_outcome out;

	if (!in->notify && !bases_canonical(in))
		return cpu_gp();
	if (in->tcs->cssa >= in->tcs->nssa)
		return cpu_gp();
	ssa_locate(secs, in->tcs, in->tcs->cssa, &in->frame);
	out = ssa_pin(&in->ops, secs, &in->frame);
	if (!cpu_passed(out))
		return out;
	in->target = secs->baseaddr + in->tcs->oentry;
	return cpu_canonical(in->target) && bases_canonical(in) ? cpu_done() : cpu_gp();
}

/*
 * ERESUME looks at the frame below the current one.  When its owner asked to be told of AEXs, the
 * frame stays and the enclave is entered as by EENTER, with the next frame.
 */
static struct cpu_outcome eresume_check(struct entry *in, struct ssa_frame *ret_saved)
{
	const struct sgx_secs *secs = &in->secs->arch;
	const struct sgx_tcs *tcs = in->tcs;
	struct cpu_outcome out;

	if (tcs->cssa == 0)
		return cpu_gp();
	ssa_locate(secs, tcs, tcs->cssa - 1, ret_saved);
	out = ssa_pin(&in->ops, secs, ret_saved);
	if (!cpu_passed(out))
		return out;
	in->notify = tcs_flags(tcs) & SGX_TCS_AEXNOTIFY && ret_saved->gpr->aexnotify & 1;
	if (in->notify) {
		operands_put(&in->ops);
		return eenter_check(in);
	}
	in->frame = *ret_saved;
	in->target = ret_saved->gpr->rip;
	in->fs_base = ret_saved->gpr->fsbase;
	in->gs_base = ret_saved->gpr->gsbase;
	if (!cpu_canonical(in->target) || !bases_canonical(in))
		return cpu_gp();
	if (!ssa_extended_legal(in->cpu, ret_saved, secs->attributes.xfrm))
		return cpu_gp();
	return cpu_done();
}

/* The logical processor is inside from here on; it has been counted. */
static void enter_commit(const struct entry *in, struct cpu_lp *lp, uint64_t entry_epoch)
{
	const struct sgx_secs *secs = &in->secs->arch;

	/* lp->tcs stands already.  Field by field, and in_enclave last: we may die at any of them. */
	lp->aexnotify_pending = false;
	lp->opt_in = tcs_flags(in->tcs) & SGX_TCS_DBGOPTIN;
	lp->host_tf = in->regs->rflags & RFLAGS_TF;
	lp->secs = in->secs_page;
	lp->tcs_la = in->regs->rbx;
	lp->elrange_base = secs->baseaddr;
	lp->elrange_size = secs->size;
	lp->attributes_flags = secs->attributes.flags;
	lp->xfrm = secs->attributes.xfrm;
	lp->miscselect = secs->miscselect;
	lp->ssa_frame_size = secs->ssa_frame_size;
	lp->entry_epoch = entry_epoch;
	lp->aep = in->regs->rcx;
	lp->host_fs_base = in->regs->fs_base;
	lp->host_gs_base = in->regs->gs_base;
	lp->gpr_la = in->frame.gpr_la;
	lp->xsave_la = in->frame.la;
	__atomic_store_n(&lp->in_enclave, true, __ATOMIC_RELEASE);
	in->tcs->aep = in->regs->rcx;
}

static void enter_fresh_commit(const struct entry *in, struct cpu_regs *regs, uint64_t rcx)
{
	in->frame.gpr->ursp = regs->rsp;
	in->frame.gpr->urbp = regs->rbp;
	regs->rax = in->tcs->cssa;
	regs->rcx = rcx;
	regs->rip = in->target;
	regs->fs_base = in->fs_base;
	regs->gs_base = in->gs_base;
	if (!in->lp->opt_in)
		regs->rflags &= ~RFLAGS_TF;
}

/* Once find_tcs() has passed. */
static struct cpu_outcome end_entry(struct entry *in, struct cpu_outcome out)
{
	if (!cpu_passed(out))
		epcm_put_pin(&in->cpu->epcm[in->page]);
	return out;
}

/* Once open_tcs() has passed. */
static struct cpu_outcome close_tcs(struct entry *in, struct cpu_outcome out)
{
	operands_put(&in->ops);
	if (!cpu_passed(out))
		tcs_give_back(in);
	return end_entry(in, out);
}

struct cpu_outcome enclu_eenter(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				struct cpu_regs *regs, uint64_t next_rip)
{
	struct entry in = { .cpu = cpu, .lp = lp, .regs = regs };
	struct cpu_outcome out;
	uint64_t entry_epoch;

	if (lp->in_enclave)
		return cpu_gp();
	out = find_tcs(&in, mmu);
	if (!cpu_passed(out))
		return out;
	out = open_tcs(&in);
	if (!cpu_passed(out))
		return end_entry(&in, out);
	operands_init(&in.ops, cpu, mmu, in.secs_page);
	out = eenter_check(&in);
	if (cpu_passed(out) && !epoch_enter(&in.secs->own.track, &entry_epoch))
		out = cpu_gp();
	if (cpu_passed(out)) {
		enter_commit(&in, lp, entry_epoch);
		enter_fresh_commit(&in, regs, next_rip);
	}
	return close_tcs(&in, out);
}

/* GPRs, flags, extended state: as AEX left them. */
static void resume_commit(const struct entry *in, struct cpu_regs *regs, void *xsave,
			  size_t xsave_bytes)
{
	const struct sgx_ssa_gpr *gpr = in->frame.gpr;
	const uint64_t mask = RFLAGS_RESUMED;

	/* With opt-in TF stays what it is: whoever steps through the host steps on in the enclave. */
	if (!in->lp->opt_in)
		regs->rflags &= ~RFLAGS_TF;
	*regs = (struct cpu_regs){
		.rax = gpr->rax,
		.rcx = gpr->rcx,
		.rdx = gpr->rdx,
		.rbx = gpr->rbx,
		.rsp = gpr->rsp,
		.rbp = gpr->rbp,
		.rsi = gpr->rsi,
		.rdi = gpr->rdi,
		.r8 = gpr->r8,
		.r9 = gpr->r9,
		.r10 = gpr->r10,
		.r11 = gpr->r11,
		.r12 = gpr->r12,
		.r13 = gpr->r13,
		.r14 = gpr->r14,
		.r15 = gpr->r15,
		.rflags = (regs->rflags & ~mask) | (gpr->rflags & mask),
		.rip = in->target,
		.fs_base = in->fs_base,
		.gs_base = in->gs_base,
	};
	ssa_load_extended(in->cpu, &in->frame, in->secs->arch.attributes.xfrm, xsave, xsave_bytes);
	in->tcs->cssa--;
}

struct cpu_outcome enclu_eresume(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				 struct cpu_regs *regs, void *xsave, size_t xsave_bytes)
{
	struct entry in = { .cpu = cpu, .lp = lp, .regs = regs };
	struct ssa_frame saved;
	struct cpu_outcome out;
	uint64_t entry_epoch;

	if (lp->in_enclave)
		return cpu_gp();
	out = find_tcs(&in, mmu);
	if (!cpu_passed(out))
		return out;
	out = open_tcs(&in);
	if (!cpu_passed(out))
		return end_entry(&in, out);
	operands_init(&in.ops, cpu, mmu, in.secs_page);
	out = eresume_check(&in, &saved);
	if (cpu_passed(out) && !epoch_enter(&in.secs->own.track, &entry_epoch))
		out = cpu_gp();
	if (cpu_passed(out)) {
		enter_commit(&in, lp, entry_epoch);
		if (in.notify)
			enter_fresh_commit(&in, regs, in.target);
		else
			resume_commit(&in, regs, xsave, xsave_bytes);
	}
	return close_tcs(&in, out);
}
