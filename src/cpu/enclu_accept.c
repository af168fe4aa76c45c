/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The enclave's side of SGX2: EACCEPT, EMODPE, EACCEPTCOPY.
 *
 * The target page is pinned and held MODIFY while it is looked at and changed; a conflict is #GP, as
 * in the SDM's tables.  SECINFO is read once.
 */
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "cpu/enclu_priv.h"
#include "cpu/epoch.h"
#include "cpu/operand.h"
#include "cpu/secs.h"

#define SECINFO_ALIGN 64u

struct accept {
	struct cpu *cpu;
	const struct cpu_lp *lp;
	struct operands ops;
	struct sgx_secinfo secinfo;
	uint64_t la; /* of the target */
	uint32_t page;
};

static bool secinfo_reserved_zero(const struct sgx_secinfo *secinfo)
{
	return !(secinfo->flags & SGX_SECINFO_RESERVED) &&
	       cpu_is_zero(secinfo->reserved, sizeof(secinfo->reserved));
}

static enum sgx_page_type secinfo_pt(const struct sgx_secinfo *secinfo)
{
	return (enum sgx_page_type)((secinfo->flags & SGX_SECINFO_TYPE_MASK) >>
				    SGX_SECINFO_TYPE_SHIFT);
}

static struct cpu_outcome read_secinfo(struct accept *a, uint64_t la)
{
	void *bytes;
	struct cpu_outcome out = operand_pin(&a->ops, la, SGX_SECINFO_R, &bytes);

	if (cpu_passed(out)) {
		memcpy(&a->secinfo, bytes, sizeof(a->secinfo));
		operands_put(&a->ops);
	}
	return out;
}

/* The EPCM refuses the target. */
static struct cpu_outcome refuse(const struct accept *a, unsigned int access)
{
	return operand_settle(a->ops.mmu, a->la, access, a->page, operand_refused(a->la, access));
}

/* Another leaf holds the target. */
static struct cpu_outcome conflict(const struct accept *a, unsigned int access)
{
	return operand_settle(a->ops.mmu, a->la, access, a->page, cpu_gp());
}

static bool is_ours(const struct accept *a, uint64_t attr)
{
	return attr & EPCM_VALID && epcm_secs(&a->cpu->epcm[a->page]) == a->lp->secs;
}

/* ---- EACCEPT ------------------------------------------------------------------------------- */

static bool eaccept_request_legal(uint64_t flags, enum sgx_page_type pt)
{
	bool pr = flags & SGX_SECINFO_PR, pending = flags & SGX_SECINFO_PENDING;
	bool modified = flags & SGX_SECINFO_MODIFIED;

	if (pt == SGX_PT_REG)
		return (pr || pending) && !modified;
	return (pt == SGX_PT_TCS || pt == SGX_PT_TRIM) && !pr && !pending && modified;
}

static bool eaccept_matches(const struct accept *a, uint64_t attr)
{
	const uint64_t compared = EPCM_PENDING | EPCM_MODIFIED | EPCM_RWX | EPCM_PT;

	return (attr & EPCM_LA) == a->la &&
	       (attr & compared) == (epcm_from_secinfo(a->secinfo.flags) & compared);
}

/*
 * All who could use the page as it was before have left.  A pin besides our own is somebody who has
 * not: an operand in use, or a logical processor that is in the TCS.
 */
static bool eaccept_tracked(const struct accept *a, uint64_t attr)
{
	const struct epcm_entry *e = &a->cpu->epcm[a->page];
	const struct secs_page *secs = secs_page(a->cpu, a->lp->secs);
	uint32_t stamp = atomic_load_explicit(&e->stamp, memory_order_acquire);

	if (!epoch_tracked(&secs->own.track, stamp))
		return false;
	return !(attr & EPCM_MODIFIED) || epcm_pin_nr(e) == 1;
}

static struct cpu_outcome eaccept_check_tcs(const struct accept *a)
{
	const struct sgx_tcs *tcs = cpu_contents(a->cpu, a->page);

	if (!cpu_is_zero(tcs->reserved, sizeof(tcs->reserved)) || tcs->prevssp ||
	    tcs->flags & ~cpu_tcs_flags(a->cpu))
		return cpu_gp();
	if (tcs->flags & SGX_TCS_DBGOPTIN || tcs->cssa >= tcs->nssa || tcs->aep || tcs->state)
		return cpu_gp();
	return cpu_done();
}

static struct cpu_outcome eaccept_held(struct accept *a)
{
	struct epcm_entry *e = &a->cpu->epcm[a->page];
	uint64_t attr = epcm_attr(e);
	struct cpu_outcome out = cpu_done();

	if (!is_ours(a, attr))
		return refuse(a, SGX_SECINFO_R);
	if (!eaccept_matches(a, attr))
		return cpu_fail(SGX_PAGE_ATTRIBUTES_MISMATCH);
	if (!eaccept_tracked(a, attr))
		return cpu_fail(SGX_NOT_TRACKED);
	if (epcm_pt(attr) == SGX_PT_TCS)
		out = eaccept_check_tcs(a);
	if (cpu_passed(out))
		epcm_change(e, EPCM_PENDING | EPCM_MODIFIED | EPCM_PR | EPCM_WAS_TCS, 0);
	return out;
}

static struct cpu_outcome eaccept_target(struct accept *a)
{
	struct epcm_entry *e;
	struct cpu_outcome out;
	uint64_t attr;

	if (!enclu_operand_legal(a->lp, a->la, SGX_PAGE_SIZE))
		return cpu_gp();
	out = operand_walk(a->ops.mmu, a->la, SGX_SECINFO_R, &a->page);
	if (!cpu_passed(out))
		return out;
	if (!eaccept_request_legal(a->secinfo.flags, secinfo_pt(&a->secinfo)))
		return cpu_gp();
	e = &a->cpu->epcm[a->page];
	attr = epcm_attr(e);
	if (!is_ours(a, attr) || attr & EPCM_BLOCKED || !epcm_is_child(attr))
		return refuse(a, SGX_SECINFO_R);
	if (!epcm_try_pin(e))
		return conflict(a, SGX_SECINFO_R);
	if (!epcm_try_extra(e, EPCM_LOCK_MODIFY)) {
		out = cpu_gp();
	} else {
		out = eaccept_held(a);
		epcm_put_extra(e, EPCM_LOCK_MODIFY);
	}
	epcm_put_pin(e);
	return out;
}

struct cpu_outcome enclu_eaccept(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				 struct cpu_regs *regs)
{
	struct accept a = { .cpu = cpu, .lp = lp, .la = regs->rcx };
	struct cpu_outcome out;

	if (!lp->in_enclave || !(cpu->config.caps & SGX_CPUID_SGX2))
		return cpu_gp();
	if (!enclu_operand_legal(lp, regs->rbx, SECINFO_ALIGN))
		return cpu_gp();
	operands_init(&a.ops, cpu, mmu, lp->secs);
	out = read_secinfo(&a, regs->rbx);
	if (cpu_passed(out))
		out = secinfo_reserved_zero(&a.secinfo) ? eaccept_target(&a) : cpu_gp();
	return enclu_retire(out, regs);
}

/* ---- EMODPE -------------------------------------------------------------------------------- */

static bool emodpe_target_ok(const struct accept *a, uint64_t attr)
{
	const uint64_t closed = EPCM_PENDING | EPCM_MODIFIED | EPCM_BLOCKED;

	return is_ours(a, attr) && !(attr & closed) && epcm_pt(attr) == SGX_PT_REG;
}

/* With MODIFY held. */
static struct cpu_outcome emodpe_held(struct accept *a)
{
	struct epcm_entry *e = &a->cpu->epcm[a->page];
	uint64_t attr = epcm_attr(e);

	if (!emodpe_target_ok(a, attr) || (attr & EPCM_LA) != a->la)
		return refuse(a, SGX_SECINFO_R);
	if (!(attr & EPCM_R) && !(a->secinfo.flags & SGX_SECINFO_R) &&
	    a->secinfo.flags & SGX_SECINFO_W)
		return cpu_gp();
	epcm_change(e, 0, epcm_rwx_bits(a->secinfo.flags));
	return cpu_done();
}

static struct cpu_outcome emodpe_target(struct accept *a)
{
	struct epcm_entry *e = &a->cpu->epcm[a->page];
	struct cpu_outcome out;

	if (!secinfo_reserved_zero(&a->secinfo))
		return cpu_gp();
	if (!emodpe_target_ok(a, epcm_attr(e)))
		return refuse(a, SGX_SECINFO_R);
	if (!epcm_try_pin(e))
		return operand_absent(a->la, SGX_SECINFO_R);
	if (!epcm_try_extra(e, EPCM_LOCK_MODIFY)) {
		out = cpu_gp();
	} else {
		out = emodpe_held(a);
		epcm_put_extra(e, EPCM_LOCK_MODIFY);
	}
	epcm_put_pin(e);
	return out;
}

struct cpu_outcome enclu_emodpe(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				struct cpu_regs *regs)
{
	struct accept a = { .cpu = cpu, .lp = lp, .la = regs->rcx };
	struct cpu_outcome out;

	if (!lp->in_enclave || !(cpu->config.caps & SGX_CPUID_SGX2))
		return cpu_gp();
	if (!enclu_operand_legal(lp, regs->rbx, SECINFO_ALIGN) ||
	    !enclu_operand_legal(lp, regs->rcx, SGX_PAGE_SIZE))
		return cpu_gp();
	operands_init(&a.ops, cpu, mmu, lp->secs);
	out = operand_walk(mmu, regs->rbx, SGX_SECINFO_R, &a.page);
	if (cpu_passed(out))
		out = operand_walk(mmu, a.la, SGX_SECINFO_R, &a.page);
	if (cpu_passed(out))
		out = read_secinfo(&a, regs->rbx);
	return cpu_passed(out) ? emodpe_target(&a) : out;
}

/* ---- EACCEPTCOPY --------------------------------------------------------------------------- */

static bool copy_target_ok(const struct accept *a, uint64_t attr)
{
	return is_ours(a, attr) && attr & EPCM_PENDING && !(attr & EPCM_MODIFIED) &&
	       !(attr & EPCM_BLOCKED) && epcm_pt(attr) == SGX_PT_REG;
}

/* With MODIFY held, and a pin. */
static struct cpu_outcome copy_held(struct accept *a, const void *source)
{
	struct epcm_entry *e = &a->cpu->epcm[a->page];
	uint64_t attr = epcm_attr(e);

	if (!copy_target_ok(a, attr) || (attr & EPCM_RWX) != (EPCM_R | EPCM_W) ||
	    (attr & EPCM_LA) != a->la)
		return cpu_fail(SGX_PAGE_ATTRIBUTES_MISMATCH);
	memcpy(cpu_contents(a->cpu, a->page), source, SGX_PAGE_SIZE);
	epcm_change(e, EPCM_RWX | EPCM_PENDING, epcm_rwx_bits(a->secinfo.flags));
	return cpu_done();
}

static struct cpu_outcome copy_target(struct accept *a, const void *source)
{
	struct epcm_entry *e = &a->cpu->epcm[a->page];
	struct cpu_outcome out;

	if (!copy_target_ok(a, epcm_attr(e)))
		return cpu_fail(SGX_PAGE_ATTRIBUTES_MISMATCH);
	if (!epcm_try_pin(e))
		return operand_absent(a->la, SGX_SECINFO_W);
	if (!epcm_try_extra(e, EPCM_LOCK_MODIFY)) {
		out = cpu_gp();
	} else {
		out = copy_held(a, source);
		epcm_put_extra(e, EPCM_LOCK_MODIFY);
	}
	epcm_put_pin(e);
	return out;
}

/* All three are there, before the EPCM is asked about any. */
static struct cpu_outcome copy_walk(struct accept *a, const struct cpu_regs *regs)
{
	struct cpu_outcome out;
	uint32_t page;

	out = operand_walk(a->ops.mmu, regs->rbx, SGX_SECINFO_R, &page);
	if (cpu_passed(out))
		out = operand_walk(a->ops.mmu, a->la, SGX_SECINFO_R | SGX_SECINFO_W, &a->page);
	if (cpu_passed(out))
		out = operand_walk(a->ops.mmu, regs->rdx, SGX_SECINFO_R, &page);
	return out;
}

static struct cpu_outcome eacceptcopy(struct accept *a, const struct cpu_regs *regs)
{
	struct cpu_outcome out;
	void *source;

	out = copy_walk(a, regs);
	if (cpu_passed(out))
		out = read_secinfo(a, regs->rbx);
	if (!cpu_passed(out))
		return out;
	if (!secinfo_reserved_zero(&a->secinfo) ||
	    (!(a->secinfo.flags & SGX_SECINFO_R) && a->secinfo.flags & SGX_SECINFO_W) ||
	    secinfo_pt(&a->secinfo) != SGX_PT_REG)
		return cpu_gp();
	out = operand_pin(&a->ops, regs->rdx, SGX_SECINFO_R, &source);
	if (!cpu_passed(out))
		return out;
	return copy_target(a, source);
}

struct cpu_outcome enclu_eacceptcopy(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				     struct cpu_regs *regs)
{
	struct accept a = { .cpu = cpu, .lp = lp, .la = regs->rcx };
	struct cpu_outcome out;

	if (!lp->in_enclave || !(cpu->config.caps & SGX_CPUID_SGX2))
		return cpu_gp();
	if (!enclu_operand_legal(lp, regs->rbx, SECINFO_ALIGN) ||
	    !enclu_operand_legal(lp, regs->rcx, SGX_PAGE_SIZE) ||
	    !enclu_operand_legal(lp, regs->rdx, SGX_PAGE_SIZE))
		return cpu_gp();
	operands_init(&a.ops, cpu, mmu, lp->secs);
	out = eacceptcopy(&a, regs);
	operands_put(&a.ops);
	return enclu_retire(out, regs);
}
