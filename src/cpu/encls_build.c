/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Building an enclave: ECREATE, EADD, EEXTEND; and pages without one: EPA, EREMOVE.
 *
 * ECREATE and EADD copy the source into the (still invalid) EPC page first and check the copy, as
 * the SDM does: software cannot change it under the check.  What an invalid page holds is nobody's
 * business, so a fault that follows has changed nothing.
 *
 * Not here: EINIT (encls_einit.c), EAUG (encls_dyn.c).
 */
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "cpu/epoch.h"
#include "cpu/secs.h"
#include "cpu/vmx_priv.h"

/* What is hashed for each leaf: 64 bytes, one block of SHA-256. */
struct measure_record {
	char tag[8];
	union {
		struct {
			uint32_t ssa_frame_size;
			uint8_t size[8]; /* not aligned in the record */
			uint8_t pad[44];
		} create;
		struct {
			uint64_t offset;
			uint8_t secinfo[48];
		} add;
	};
};
static_assert(sizeof(struct measure_record) == 64, "one block");

#define ENCLAVE_SIZE_MIN 8192u

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

/* ---- ECREATE ------------------------------------------------------------------------------- */

static bool secs_reserved_zero(const struct sgx_secs *secs)
{
	return cpu_is_zero(secs->cet_leg_bitmap_offset, sizeof(secs->cet_leg_bitmap_offset)) &&
	       secs->cet_attributes == 0 && cpu_is_zero(secs->reserved1, sizeof(secs->reserved1)) &&
	       cpu_is_zero(secs->reserved2, sizeof(secs->reserved2)) &&
	       cpu_is_zero(secs->reserved3, sizeof(secs->reserved3)) &&
	       cpu_is_zero(secs->reserved4, sizeof(secs->reserved4));
}

static struct cpu_outcome ecreate_check_range(const struct cpu *cpu, const struct sgx_secs *secs)
{
	bool mode64 = secs->attributes.flags & SGX_ATTR_MODE64BIT;
	uint8_t size_log2 = mode64 ? cpu->config.size_64_log2 : cpu->config.size_32_log2;

	if (mode64 && !cpu_canonical(secs->baseaddr))
		return cpu_gp();
	if (!mode64 && secs->baseaddr >> 32)
		return cpu_gp();
	/* CPUID.12H calls 2^n the largest size that is supported; Linux takes it so as well. */
	if (secs->size > 1ull << size_log2)
		return cpu_gp();
	if (secs->size < ENCLAVE_SIZE_MIN || secs->size & (secs->size - 1))
		return cpu_gp();
	if (secs->baseaddr & (secs->size - 1))
		return cpu_gp();
	return cpu_done();
}

/* Everything about the SECS itself, in the EPC page it was copied to. */
static struct cpu_outcome ecreate_check_secs(const struct cpu *cpu, const struct sgx_secs *secs)
{
	struct cpu_outcome out;
	uint64_t frame_bytes = (uint64_t)secs->ssa_frame_size * SGX_PAGE_SIZE;

	if ((secs->attributes.xfrm & SGX_XFRM_LEGACY) != SGX_XFRM_LEGACY)
		return cpu_gp();
	if (!cpu_xfrm_legal(cpu, secs->attributes.xfrm))
		return cpu_gp();
	if (secs->miscselect & ~cpu->config.misc_mask)
		return cpu_gp();
	if (frame_bytes < cpu_xsave_size(cpu, secs->attributes.xfrm) + sizeof(struct sgx_ssa_gpr) +
				  cpu_misc_size(secs->miscselect))
		return cpu_gp();
	out = ecreate_check_range(cpu, secs);
	if (!cpu_passed(out))
		return out;
	if (secs->attributes.flags & ~cpu->config.attr_mask)
		return cpu_gp();
	if (!secs_reserved_zero(secs))
		return cpu_gp();
	if (!(secs->attributes.flags & SGX_ATTR_KSS) &&
	    (secs->configsvn || !cpu_is_zero(secs->configid, sizeof(secs->configid))))
		return cpu_gp();
	return cpu_done();
}

static void ecreate_commit(struct cpu *cpu, uint32_t page, uint64_t context)
{
	struct secs_page *secs = secs_page(cpu, page);
	struct measure_record record = { .tag = "ECREATE" };

	memset(secs->arch.mrenclave, 0, sizeof(secs->arch.mrenclave));
	memset(secs->arch.mrsigner, 0, sizeof(secs->arch.mrsigner));
	secs->arch.isvprodid = 0;
	secs->arch.isvsvn = 0;

	record.create.ssa_frame_size = secs->arch.ssa_frame_size;
	memcpy(record.create.size, &secs->arch.size, sizeof(record.create.size));
	sha256_init(&secs->own.measurement);
	sha256_update(&secs->own.measurement, &record, sizeof(record));

	secs->own.eid = atomic_fetch_add_explicit(&cpu->next_eid, 1, memory_order_relaxed);
	epoch_init(&secs->own.track);
	atomic_init(&secs->own.enclavecontext, context);
	epcm_install(&cpu->epcm[page], epcm_pt_bits(SGX_PT_SECS), CPU_NO_PAGE);
}

struct cpu_outcome vmx_ecreate(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
			       uint64_t context)
{
	struct epcm_entry *e;
	struct sgx_secinfo secinfo;
	struct cpu_outcome out;

	if (!cpu_is_epc(cpu, page))
		return cpu_pf_page(cpu, page);
	if (!cpu_is_aligned(pi->srcpge, SGX_PAGE_SIZE) || !cpu_is_aligned(pi->secinfo, 64))
		return cpu_gp();
	if (pi->linaddr != 0 || pi->secs != CPU_NO_PAGE)
		return cpu_gp();
	secinfo = *pi->secinfo;
	if (!secinfo_reserved_zero(&secinfo) || secinfo_pt(&secinfo) != SGX_PT_SECS)
		return cpu_gp();

	e = &cpu->epcm[page];
	if (!epcm_try_exclusive_pinned(e))
		return cpu_gp_conflict();
	if (epcm_attr(e) & EPCM_VALID) {
		out = cpu_pf_page(cpu, page);
	} else {
		memcpy(cpu_contents(cpu, page), pi->srcpge, SGX_PAGE_SIZE);
		out = ecreate_check_secs(cpu, cpu_contents(cpu, page));
	}
	if (cpu_passed(out))
		ecreate_commit(cpu, page, context);
	epcm_put_exclusive(e);
	return out;
}

struct cpu_outcome encls_ecreate(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page)
{
	return vmx_ecreate(cpu, pi, page, cpu_physical(page));
}

/* ---- EADD ---------------------------------------------------------------------------------- */

static bool tcs_reserved_zero(const struct cpu *cpu, const struct sgx_tcs *tcs)
{
	return !(tcs->flags & ~cpu_tcs_flags(cpu)) && tcs->prevssp == 0 &&
	       cpu_is_zero(tcs->reserved, sizeof(tcs->reserved));
}

static bool limits_fit(const struct sgx_secs *secs, const struct sgx_tcs *tcs)
{
	if (secs->attributes.flags & SGX_ATTR_MODE64BIT)
		return true;
	return (tcs->fslimit & 0xfff) == 0xfff && (tcs->gslimit & 0xfff) == 0xfff;
}

/* With the contents in place and the SECS held. */
static struct cpu_outcome eadd_check_page(const struct cpu *cpu, const struct cpu_pageinfo *pi,
					  const struct sgx_secinfo *secinfo, uint32_t page)
{
	const struct sgx_secs *secs = &secs_page(cpu, pi->secs)->arch;

	if (secinfo_pt(secinfo) == SGX_PT_TCS) {
		const struct sgx_tcs *tcs = cpu_contents(cpu, page);

		if (!tcs_reserved_zero(cpu, tcs) || !limits_fit(secs, tcs))
			return cpu_gp();
	} else if ((secinfo->flags & SGX_SECINFO_RWX & ~SGX_SECINFO_X) == SGX_SECINFO_W) {
		return cpu_gp();
	}
	if (!secs_in_range(secs, pi->linaddr))
		return cpu_gp();
	return cpu_done();
}

static void eadd_commit(struct cpu *cpu, const struct cpu_pageinfo *pi, struct sgx_secinfo *secinfo,
			uint32_t page)
{
	struct secs_page *secs = secs_page(cpu, pi->secs);
	enum sgx_page_type pt = secinfo_pt(secinfo);
	struct measure_record record = { .tag = "EADD" };

	if (pt == SGX_PT_TCS) {
		struct sgx_tcs *tcs = cpu_contents(cpu, page);

		secinfo->flags &= ~(uint64_t)SGX_SECINFO_RWX;
		tcs->flags &= ~SGX_TCS_DBGOPTIN;
		tcs->cssa = 0;
		tcs->aep = 0;
		tcs->state = 0;
	}
	record.add.offset = pi->linaddr - secs->arch.baseaddr;
	memcpy(record.add.secinfo, secinfo, sizeof(record.add.secinfo));
	sha256_update(&secs->own.measurement, &record, sizeof(record));

	secs_add_child(secs);
	epcm_install(&cpu->epcm[page],
		     pi->linaddr | epcm_pt_bits(pt) | epcm_rwx_bits(secinfo->flags), pi->secs);
}

/* The SECS is held shared, the page exclusive. */
static struct cpu_outcome eadd_held(struct cpu *cpu, const struct cpu_pageinfo *pi,
				    struct sgx_secinfo *secinfo, uint32_t page)
{
	struct epcm_entry *secs_entry = &cpu->epcm[pi->secs];
	uint64_t attr = epcm_attr(secs_entry);
	struct cpu_outcome out;

	if (!(attr & EPCM_VALID) || epcm_pt(attr) != SGX_PT_SECS)
		return cpu_pf_page(cpu, pi->secs);
	memcpy(cpu_contents(cpu, page), pi->srcpge, SGX_PAGE_SIZE);
	out = eadd_check_page(cpu, pi, secinfo, page);
	if (!cpu_passed(out))
		return out;
	if (!epcm_try_extra(secs_entry, EPCM_LOCK_MEASURE))
		return cpu_gp();
	if (secs_is_initialized(secs_page(cpu, pi->secs)))
		out = cpu_gp();
	if (cpu_passed(out))
		eadd_commit(cpu, pi, secinfo, page);
	epcm_put_extra(secs_entry, EPCM_LOCK_MEASURE);
	return out;
}

struct cpu_outcome encls_eadd(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page)
{
	struct epcm_entry *e;
	struct sgx_secinfo secinfo;
	struct cpu_outcome out;
	enum sgx_page_type pt;

	if (!cpu_is_epc(cpu, page))
		return cpu_pf_page(cpu, page);
	if (!cpu_is_aligned(pi->srcpge, SGX_PAGE_SIZE) || !cpu_is_aligned(pi->secinfo, 64) ||
	    pi->linaddr & (SGX_PAGE_SIZE - 1))
		return cpu_gp();
	if (!cpu_is_epc(cpu, pi->secs))
		return cpu_pf_page(cpu, pi->secs);
	secinfo = *pi->secinfo;
	pt = secinfo_pt(&secinfo);
	if (!secinfo_reserved_zero(&secinfo) || (pt != SGX_PT_REG && pt != SGX_PT_TCS))
		return cpu_gp();

	e = &cpu->epcm[page];
	if (!epcm_try_exclusive_pinned(e))
		return cpu_gp_conflict();
	if (epcm_attr(e) & EPCM_VALID) {
		out = cpu_pf_page(cpu, page);
	} else if (!epcm_try_shared(&cpu->epcm[pi->secs])) {
		out = cpu_gp();
	} else {
		out = eadd_held(cpu, pi, &secinfo, page);
		epcm_put_shared(&cpu->epcm[pi->secs]);
	}
	epcm_put_exclusive(e);
	return out;
}

/* ---- EEXTEND ------------------------------------------------------------------------------- */

/* Record and data are hashed in one go: a call costs as much as a block. */
static void eextend_commit(const struct cpu *cpu, struct secs_page *secs, uint32_t page,
			   uint32_t offset)
{
	struct {
		struct measure_record record;
		uint8_t data[SGX_EXTEND_BYTES];
	} update = { .record.tag = "EEXTEND" };
	const uint8_t *bytes = cpu_contents(cpu, page);
	uint64_t la = epcm_attr(&cpu->epcm[page]) & EPCM_LA;

	update.record.add.offset = la - secs->arch.baseaddr + offset;
	memcpy(update.data, bytes + offset, sizeof(update.data));
	sha256_update(&secs->own.measurement, &update, sizeof(update));
}

/* @page is held shared. @nr blocks from @offset on. */
static struct cpu_outcome eextend_held(struct cpu *cpu, uint32_t secs, uint32_t page,
				       uint32_t offset, unsigned int nr)
{
	uint64_t attr = epcm_attr(&cpu->epcm[page]);
	struct epcm_entry *secs_entry = &cpu->epcm[secs];
	struct cpu_outcome out = cpu_done();

	if (!(attr & EPCM_VALID))
		return cpu_pf_page(cpu, page);
	if (epcm_pt(attr) != SGX_PT_REG && epcm_pt(attr) != SGX_PT_TCS)
		return cpu_pf_page(cpu, page);
	if (epcm_secs(&cpu->epcm[page]) != secs)
		return cpu_gp();
	if (!epcm_try_extra(secs_entry, EPCM_LOCK_MEASURE))
		return cpu_gp();
	if (secs_is_initialized(secs_page(cpu, secs)))
		out = cpu_gp();
	for (unsigned int i = 0; i < nr && cpu_passed(out); i++)
		eextend_commit(cpu, secs_page(cpu, secs), page, offset + i * SGX_EXTEND_BYTES);
	epcm_put_extra(secs_entry, EPCM_LOCK_MEASURE);
	return out;
}

static struct cpu_outcome eextend(struct cpu *cpu, uint32_t secs, uint32_t page, uint32_t offset,
				  unsigned int nr)
{
	struct cpu_outcome out;

	if (!cpu_is_epc(cpu, secs))
		return cpu_pf_page(cpu, secs);
	if (offset & (SGX_EXTEND_BYTES - 1) || offset >= SGX_PAGE_SIZE)
		return cpu_gp();
	if (!cpu_is_epc(cpu, page))
		return cpu_pf_page(cpu, page);
	if (!epcm_try_shared(&cpu->epcm[page]))
		return cpu_gp();
	out = eextend_held(cpu, secs, page, offset, nr);
	epcm_put_shared(&cpu->epcm[page]);
	return out;
}

struct cpu_outcome encls_eextend(struct cpu *cpu, uint32_t secs, uint32_t page, uint32_t offset)
{
	return eextend(cpu, secs, page, offset, 1);
}

struct cpu_outcome encls_eextend_page(struct cpu *cpu, uint32_t secs, uint32_t page)
{
	return eextend(cpu, secs, page, 0, SGX_PAGE_SIZE / SGX_EXTEND_BYTES);
}

/* ---- EPA ----------------------------------------------------------------------------------- */

struct cpu_outcome encls_epa(struct cpu *cpu, uint32_t page)
{
	struct cpu_outcome out = cpu_done();
	struct epcm_entry *e;

	if (!cpu_is_epc(cpu, page))
		return cpu_pf_page(cpu, page);
	e = &cpu->epcm[page];
	if (!epcm_try_exclusive_pinned(e))
		return cpu_gp_conflict();
	if (epcm_attr(e) & EPCM_VALID)
		out = cpu_pf_page(cpu, page);
	if (cpu_passed(out)) {
		memset(cpu_contents(cpu, page), 0, SGX_PAGE_SIZE);
		epcm_install(e, epcm_pt_bits(SGX_PT_VA), CPU_NO_PAGE);
	}
	epcm_put_exclusive(e);
	return out;
}

/* ---- EREMOVE ------------------------------------------------------------------------------- */

static struct cpu_outcome eremove_check(const struct cpu *cpu, const struct epcm_entry *e,
					uint32_t page, bool virtchild)
{
	uint64_t attr = epcm_attr(e);

	switch (epcm_pt(attr)) {
	case SGX_PT_VA:
		return cpu_done();
	case SGX_PT_SECS:
		return secs_shows_child(secs_page(cpu, page), virtchild)
			       ? cpu_fail(SGX_CHILD_PRESENT)
			       : cpu_done();
	case SGX_PT_TRIM:
		if (!(attr & EPCM_MODIFIED))
			return cpu_done();
		break;
	case SGX_PT_TCS:
	case SGX_PT_REG:
		break;
	}
	if (epoch_active_nr(&secs_page(cpu, epcm_secs(e))->own.track))
		return cpu_fail(SGX_ENCLAVE_ACT);
	return cpu_done();
}

static void eremove_commit(struct cpu *cpu, struct epcm_entry *e)
{
	if (epcm_is_child(epcm_attr(e)))
		secs_drop_child(secs_page(cpu, epcm_secs(e)));
	epcm_invalidate(e);
}

struct cpu_outcome vmx_eremove(struct cpu *cpu, uint32_t page, bool virtchild)
{
	struct cpu_outcome out = cpu_done();
	struct epcm_entry *e;

	if (!cpu_is_epc(cpu, page))
		return cpu_pf_page(cpu, page);
	e = &cpu->epcm[page];
	switch (epcm_try_exclusive(e)) {
	case EPCM_GOT:
		break;
	case EPCM_CONFLICT:
		return cpu_gp_conflict();
	case EPCM_PINNED:
		/* Only a logical processor that is in the enclave, or entering it, pins. */
		return cpu_fail(SGX_ENCLAVE_ACT);
	}
	if (epcm_attr(e) & EPCM_VALID) {
		out = eremove_check(cpu, e, page, virtchild);
		if (cpu_passed(out))
			eremove_commit(cpu, e);
	}
	epcm_put_exclusive(e);
	return out;
}

struct cpu_outcome encls_eremove(struct cpu *cpu, uint32_t page)
{
	return vmx_eremove(cpu, page, false);
}
