/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The system's side of SGX2: EAUG, EMODPR, EMODT.  Each leaves a page that the enclave must accept
 * (enclu_accept.c); EMODPR and EMODT stamp it, so that EACCEPT can ask for tracking.
 */
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "cpu/epoch.h"
#include "cpu/secs.h"

/* ---- EAUG ---------------------------------------------------------------------------------- */

/* The page is held exclusive, the SECS shared. */
static struct cpu_outcome eaug_check(const struct cpu *cpu, const struct cpu_pageinfo *pi)
{
	uint64_t attr = epcm_attr(&cpu->epcm[pi->secs]);
	const struct secs_page *secs;

	if (!(attr & EPCM_VALID) || epcm_pt(attr) != SGX_PT_SECS)
		return cpu_pf_page(cpu, pi->secs);
	secs = secs_page(cpu, pi->secs);
	if (!secs_is_initialized(secs))
		return cpu_gp();
	if (!secs_in_range(&secs->arch, pi->linaddr))
		return cpu_gp();
	return cpu_done();
}

static void eaug_commit(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page)
{
	memset(cpu_contents(cpu, page), 0, SGX_PAGE_SIZE);
	secs_add_child(secs_page(cpu, pi->secs));
	epcm_install(&cpu->epcm[page],
		     pi->linaddr | epcm_pt_bits(SGX_PT_REG) | EPCM_R | EPCM_W | EPCM_PENDING,
		     pi->secs);
}

struct cpu_outcome encls_eaug(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page)
{
	struct epcm_entry *e;
	struct cpu_outcome out;

	if (!(cpu->config.caps & SGX_CPUID_SGX2))
		return cpu_gp();
	if (!cpu_is_epc(cpu, page))
		return cpu_pf_page(cpu, page);
	if (pi->linaddr & (SGX_PAGE_SIZE - 1))
		return cpu_gp();
	if (pi->srcpge || !cpu_is_aligned(pi->secinfo, 64))
		return cpu_gp();
	if (!cpu_is_epc(cpu, pi->secs))
		return cpu_pf_page(cpu, pi->secs);

	e = &cpu->epcm[page];
	if (!epcm_try_exclusive_pinned(e))
		return cpu_gp_conflict();
	if (epcm_attr(e) & EPCM_VALID) {
		out = cpu_pf_page(cpu, page);
	} else if (pi->secinfo || !epcm_try_shared(&cpu->epcm[pi->secs])) {
		/* A SECINFO asks for a shadow stack, and there is no CET. */
		out = cpu_gp();
	} else {
		out = eaug_check(cpu, pi);
		if (cpu_passed(out))
			eaug_commit(cpu, pi, page);
		epcm_put_shared(&cpu->epcm[pi->secs]);
	}
	epcm_put_exclusive(e);
	return out;
}

/* ---- EMODPR -------------------------------------------------------------------------------- */

static bool secinfo_reserved_zero(const struct sgx_secinfo *secinfo)
{
	return !(secinfo->flags & SGX_SECINFO_RESERVED) &&
	       cpu_is_zero(secinfo->reserved, sizeof(secinfo->reserved));
}

/* New attributes first, then the epoch: see eblock_commit(). */
static void change_and_stamp(const struct cpu *cpu, struct epcm_entry *e, uint64_t clear,
			     uint64_t set)
{
	struct secs_page *secs = secs_page(cpu, epcm_secs(e));

	epcm_change(e, clear, set);
	epcm_stamp(e, &secs->own.track, epoch_stamp(&secs->own.track));
}

/* With MODIFY held. */
static struct cpu_outcome emodpr_check(const struct cpu *cpu, const struct epcm_entry *e,
				       uint32_t page)
{
	uint64_t attr = epcm_attr(e);

	if (attr & (EPCM_PENDING | EPCM_MODIFIED))
		return cpu_fail(SGX_PAGE_NOT_MODIFIABLE);
	if (epcm_pt(attr) != SGX_PT_REG)
		return cpu_pf_page(cpu, page);
	if (!secs_is_initialized(secs_page(cpu, epcm_secs(e))))
		return cpu_gp();
	return cpu_done();
}

static struct cpu_outcome emodpr_held(struct cpu *cpu, const struct sgx_secinfo *secinfo,
				      uint32_t page)
{
	struct epcm_entry *e = &cpu->epcm[page];
	struct cpu_outcome out;

	if (!(epcm_attr(e) & EPCM_VALID))
		return cpu_pf_page(cpu, page);
	if (!epcm_try_extra(e, EPCM_LOCK_MODIFY))
		return cpu_fail(SGX_EPC_PAGE_CONFLICT);
	out = emodpr_check(cpu, e, page);
	if (cpu_passed(out))
		change_and_stamp(cpu, e, EPCM_RWX & ~epcm_rwx_bits(secinfo->flags), EPCM_PR);
	epcm_put_extra(e, EPCM_LOCK_MODIFY);
	return out;
}

struct cpu_outcome encls_emodpr(struct cpu *cpu, const struct sgx_secinfo *secinfo, uint32_t page)
{
	struct sgx_secinfo once;
	struct cpu_outcome out;

	if (!(cpu->config.caps & SGX_CPUID_SGX2))
		return cpu_gp();
	if (!cpu_is_aligned(secinfo, 64))
		return cpu_gp();
	if (!cpu_is_epc(cpu, page))
		return cpu_pf_page(cpu, page);
	once = *secinfo;
	if (!secinfo_reserved_zero(&once) ||
	    (!(once.flags & SGX_SECINFO_R) && once.flags & SGX_SECINFO_W))
		return cpu_gp();
	if (!epcm_try_shared(&cpu->epcm[page]))
		return cpu_gp();
	out = emodpr_held(cpu, &once, page);
	epcm_put_shared(&cpu->epcm[page]);
	return out;
}

/* ---- EMODT --------------------------------------------------------------------------------- */

static enum sgx_page_type secinfo_pt(const struct sgx_secinfo *secinfo)
{
	return (enum sgx_page_type)((secinfo->flags & SGX_SECINFO_TYPE_MASK) >>
				    SGX_SECINFO_TYPE_SHIFT);
}

static struct cpu_outcome emodt_check(const struct cpu *cpu, const struct epcm_entry *e,
				      enum sgx_page_type to, uint32_t page)
{
	uint64_t attr = epcm_attr(e);
	enum sgx_page_type from = epcm_pt(attr);

	if (from != SGX_PT_REG && !(from == SGX_PT_TCS && to == SGX_PT_TRIM))
		return cpu_pf_page(cpu, page);
	if (attr & (EPCM_PENDING | EPCM_MODIFIED))
		return cpu_fail(SGX_PAGE_NOT_MODIFIABLE);
	if (!secs_is_initialized(secs_page(cpu, epcm_secs(e))))
		return cpu_gp();
	return cpu_done();
}

static struct cpu_outcome emodt_held(struct cpu *cpu, enum sgx_page_type to, uint32_t page)
{
	struct epcm_entry *e = &cpu->epcm[page];
	struct cpu_outcome out;
	uint64_t was;

	if (!(epcm_attr(e) & EPCM_VALID))
		return cpu_pf_page(cpu, page);
	if (!epcm_try_extra(e, EPCM_LOCK_MODIFY))
		return cpu_fail(SGX_EPC_PAGE_CONFLICT);
	was = epcm_pt(epcm_attr(e)) == SGX_PT_TCS ? EPCM_WAS_TCS : 0;
	out = emodt_check(cpu, e, to, page);
	if (cpu_passed(out))
		change_and_stamp(cpu, e, EPCM_PR | EPCM_RWX | EPCM_PT,
				 EPCM_MODIFIED | epcm_pt_bits(to) | was);
	epcm_put_extra(e, EPCM_LOCK_MODIFY);
	return out;
}

struct cpu_outcome encls_emodt(struct cpu *cpu, const struct sgx_secinfo *secinfo, uint32_t page)
{
	struct sgx_secinfo once;
	struct cpu_outcome out;

	if (!(cpu->config.caps & SGX_CPUID_SGX2))
		return cpu_gp();
	if (!cpu_is_aligned(secinfo, 64))
		return cpu_gp();
	if (!cpu_is_epc(cpu, page))
		return cpu_pf_page(cpu, page);
	once = *secinfo;
	if (!secinfo_reserved_zero(&once) ||
	    (secinfo_pt(&once) != SGX_PT_TCS && secinfo_pt(&once) != SGX_PT_TRIM))
		return cpu_gp();
	/* The contents stay: an implicit operand elsewhere is no conflict. */
	if (!epcm_try_exclusive_pinned(&cpu->epcm[page]))
		return cpu_because(cpu_fail(SGX_EPC_PAGE_CONFLICT), CPU_PAGE_ERROR);
	out = emodt_held(cpu, secinfo_pt(&once), page);
	epcm_put_exclusive(&cpu->epcm[page]);
	return out;
}
