/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What a VMM needs that takes EPC from a running guest: ENCLS_C's ERDINFO and ETRACKC, and ENCLV.
 *
 * Conflicts are codes, never #GP: a VMM meets them as a matter of course.
 *
 * Not here: ELDUC and ELDBC (encls_page.c); non-root operation and its conflict exits (vmx.c).
 */
#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "cpu/epoch.h"
#include "cpu/secs.h"
#include "cpu/vmx_priv.h"

#define RDINFO_ALIGN 32u

#define RDINFO_CHILD     1u
#define RDINFO_VIRTCHILD 2u

/* ---- ERDINFO ------------------------------------------------------------------------------- */

/* A guest does not learn that its VMM has taken pages out: they are children like others. */
static void erdinfo_secs(const struct secs_page *secs, struct sgx_rdinfo *rdinfo, bool virtchild)
{
	if (secs_shows_child(secs, virtchild))
		rdinfo->status |= RDINFO_CHILD;
	if (virtchild)
		return;
	if (atomic_load(&secs->own.virtchildcnt))
		rdinfo->status |= RDINFO_VIRTCHILD;
	rdinfo->enclavecontext = atomic_load(&secs->own.enclavecontext);
}

static void erdinfo_commit(const struct cpu *cpu, uint32_t page, struct sgx_rdinfo *rdinfo,
			   bool virtchild)
{
	const struct epcm_entry *e = &cpu->epcm[page];
	uint64_t attr = epcm_attr(e);
	const struct secs_page *secs;

	*rdinfo = (struct sgx_rdinfo){ .flags = epcm_to_secinfo(attr) };
	if (attr & EPCM_BLOCKED)
		rdinfo->flags |= SGX_RDINFO_BLOCKED;
	if (epcm_is_child(attr)) {
		secs = secs_page(cpu, epcm_secs(e));
		rdinfo->enclavecontext = atomic_load(&secs->own.enclavecontext);
	} else if (epcm_pt(attr) == SGX_PT_SECS) {
		erdinfo_secs(secs_page(cpu, page), rdinfo, virtchild);
	}
}

struct cpu_outcome vmx_erdinfo(struct cpu *cpu, struct sgx_rdinfo *rdinfo, uint32_t page,
			       bool virtchild)
{
	struct cpu_outcome out = cpu_done();
	struct epcm_entry *e;

	if (!(cpu->config.caps & SGX_CPUID_ENCLS_C))
		return cpu_gp();
	if (!cpu_is_aligned(rdinfo, RDINFO_ALIGN))
		return cpu_gp();
	if (!cpu_is_epc(cpu, page))
		return cpu_retired(SGX_PG_NONEPC, CPU_CF);
	e = &cpu->epcm[page];
	if (!epcm_try_shared(e))
		return cpu_fail(SGX_EPC_PAGE_CONFLICT);
	if (!(epcm_attr(e) & EPCM_VALID))
		out = cpu_retired(SGX_PG_INVLD, CPU_CF);
	else
		erdinfo_commit(cpu, page, rdinfo, virtchild);
	epcm_put_shared(e);
	return out;
}

struct cpu_outcome encls_erdinfo(struct cpu *cpu, struct sgx_rdinfo *rdinfo, uint32_t page)
{
	return vmx_erdinfo(cpu, rdinfo, page, false);
}

/* ---- ETRACKC ------------------------------------------------------------------------------- */

/* @page is held shared. */
static struct cpu_outcome etrackc_held(struct cpu *cpu, uint32_t page)
{
	const struct epcm_entry *e = &cpu->epcm[page];
	uint64_t attr = epcm_attr(e);
	struct cpu_outcome out = cpu_done();
	uint32_t secs;

	if (!(attr & EPCM_VALID))
		return cpu_fail(SGX_PG_INVLD);
	if (epcm_is_child(attr))
		secs = epcm_secs(e);
	else if (epcm_pt(attr) == SGX_PT_SECS)
		secs = page;
	else
		return cpu_retired(SGX_TRACK_NOT_REQUIRED, CPU_CF);
	if (!epcm_try_extra(&cpu->epcm[secs], EPCM_LOCK_TRACK))
		return secs_tracking(secs_page(cpu, secs), cpu_fail(SGX_EPC_PAGE_CONFLICT),
				     CPU_TRACKING_RESOURCE);
	if (!epoch_advance(&secs_page(cpu, secs)->own.track))
		out = secs_tracking(secs_page(cpu, secs), cpu_fail(SGX_PREV_TRK_INCMPL),
				    CPU_TRACKING_REFERENCE);
	epcm_put_extra(&cpu->epcm[secs], EPCM_LOCK_TRACK);
	return out;
}

struct cpu_outcome encls_etrackc(struct cpu *cpu, uint32_t page)
{
	struct cpu_outcome out;

	if (!(cpu->config.caps & SGX_CPUID_ENCLS_C))
		return cpu_gp();
	if (!cpu_is_epc(cpu, page))
		return cpu_pf_page(cpu, page);
	if (!epcm_try_shared(&cpu->epcm[page]))
		return cpu_fail(SGX_EPC_PAGE_CONFLICT);
	out = etrackc_held(cpu, page);
	epcm_put_shared(&cpu->epcm[page]);
	return out;
}

/* ---- EINCVIRTCHILD, EDECVIRTCHILD ---------------------------------------------------------- */

static bool count_up(_Atomic uint64_t *counter)
{
	uint64_t old = atomic_load(counter);

	do {
		if (old == UINT64_MAX)
			return false;
	} while (!atomic_compare_exchange_weak(counter, &old, old + 1));
	return true;
}

static bool count_down(_Atomic uint64_t *counter)
{
	uint64_t old = atomic_load(counter);

	do {
		if (old == 0)
			return false;
	} while (!atomic_compare_exchange_weak(counter, &old, old - 1));
	return true;
}

/* @page is held shared. */
static struct cpu_outcome virtchild_held(struct cpu *cpu, uint32_t page, uint32_t secs,
					 bool (*count)(_Atomic uint64_t *counter))
{
	const struct epcm_entry *e = &cpu->epcm[page];
	uint64_t attr = epcm_attr(e);
	uint32_t parent;

	if (!(attr & EPCM_VALID))
		return cpu_pf_page(cpu, page);
	if (epcm_is_child(attr))
		parent = epcm_secs(e);
	else if (epcm_pt(attr) == SGX_PT_SECS)
		parent = page;
	else
		return cpu_pf_page(cpu, page);
	if (parent != secs)
		return cpu_gp();
	return count(&secs_page(cpu, secs)->own.virtchildcnt) ? cpu_done()
							      : cpu_fail(SGX_INVALID_COUNTER);
}

static struct cpu_outcome virtchild(struct cpu *cpu, uint32_t page, uint32_t secs,
				    bool (*count)(_Atomic uint64_t *counter))
{
	struct cpu_outcome out;

	if (!(cpu->config.caps & SGX_CPUID_ENCLV))
		return cpu_ud();
	if (!cpu_is_epc(cpu, page))
		return cpu_pf_page(cpu, page);
	if (!cpu_is_epc(cpu, secs))
		return cpu_pf_page(cpu, secs);
	if (!epcm_try_shared(&cpu->epcm[page]))
		return cpu_fail(SGX_EPC_PAGE_CONFLICT);
	out = virtchild_held(cpu, page, secs, count);
	epcm_put_shared(&cpu->epcm[page]);
	return out;
}

struct cpu_outcome enclv_eincvirtchild(struct cpu *cpu, uint32_t page, uint32_t secs)
{
	return virtchild(cpu, page, secs, count_up);
}

struct cpu_outcome enclv_edecvirtchild(struct cpu *cpu, uint32_t page, uint32_t secs)
{
	return virtchild(cpu, page, secs, count_down);
}

/* ---- ESETCONTEXT --------------------------------------------------------------------------- */

struct cpu_outcome enclv_esetcontext(struct cpu *cpu, uint32_t secs, const uint64_t *context)
{
	struct cpu_outcome out = cpu_done();
	struct epcm_entry *e;
	uint64_t value, attr;

	if (!(cpu->config.caps & SGX_CPUID_ENCLV))
		return cpu_ud();
	if (!cpu_is_epc(cpu, secs))
		return cpu_pf_page(cpu, secs);
	if (!cpu_is_aligned(context, sizeof(*context)))
		return cpu_gp();
	value = *context;
	e = &cpu->epcm[secs];
	if (!epcm_try_shared(e))
		return cpu_fail(SGX_EPC_PAGE_CONFLICT);
	attr = epcm_attr(e);
	if (!(attr & EPCM_VALID) || epcm_pt(attr) != SGX_PT_SECS)
		out = cpu_pf_page(cpu, secs);
	else
		atomic_store(&secs_page(cpu, secs)->own.enclavecontext, value);
	epcm_put_shared(e);
	return out;
}
