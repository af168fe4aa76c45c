/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Pages on their way out and in: EBLOCK, ETRACK, EWB, ELDU, ELDB, ELDUC, ELDBC.
 *
 * A page leaves as AES-GCM ciphertext bound to its address, type, permissions, enclave and to a
 * version that is given out once and kept in a VA slot.  It comes back only with all of them.
 * The cipher works between the EPC page and software's buffer: there is no copy in between.
 */
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "cpu/epoch.h"
#include "cpu/secs.h"
#include "cpu/vmx_priv.h"

/* What the MAC covers besides the page: the MAC header of the SDM. */
struct mac_header {
	struct sgx_secinfo secinfo;
	uint64_t linaddr;
	uint64_t eid;
	uint8_t reserved[40]; /* of PCMD: EWB writes zeros, so nothing else passes */
	uint64_t zero;
};
static_assert(sizeof(struct mac_header) == PAGE_AAD_BYTES, "MAC header");

#define PCMD_ALIGN 128u

/* ---- EBLOCK -------------------------------------------------------------------------------- */

static struct cpu_outcome eblock_check(const struct cpu *cpu, const struct epcm_entry *e)
{
	uint64_t attr = epcm_attr(e);

	if (!(attr & EPCM_VALID))
		return cpu_fail(SGX_PG_INVLD);
	if (!epcm_is_child(attr))
		return cpu_retired(epcm_pt(attr) == SGX_PT_SECS ? SGX_PG_IS_SECS : SGX_NOTBLOCKABLE,
				   CPU_CF);
	if (attr & EPCM_BLOCKED)
		return cpu_retired(SGX_BLKSTATE, CPU_CF);
	/* Somebody holds the epoch: an ETRACK is at work on the SECS. */
	if (atomic_load_explicit(&cpu->epcm[epcm_secs(e)].lock, memory_order_relaxed) &
	    EPCM_LOCK_TRACK)
		return cpu_fail(SGX_ENTRYEPOCH_LOCKED);
	return cpu_done();
}

/*
 * First blocked, then the epoch: whoever enters later than it cannot get a translation.  Two may have come so far
 * with one page: the first of them has blocked it.
 */
static struct cpu_outcome eblock_commit(const struct cpu *cpu, struct epcm_entry *e)
{
	struct secs_page *secs = secs_page(cpu, epcm_secs(e));

	if (epcm_change(e, 0, EPCM_BLOCKED) & EPCM_BLOCKED)
		return cpu_retired(SGX_BLKSTATE, CPU_CF);
	epcm_stamp(e, &secs->own.track, epoch_stamp(&secs->own.track));
	return cpu_done();
}

struct cpu_outcome encls_eblock(struct cpu *cpu, uint32_t page)
{
	struct cpu_outcome out;
	struct epcm_entry *e;

	if (!cpu_is_epc(cpu, page))
		return cpu_pf_page(cpu, page);
	e = &cpu->epcm[page];
	if (!epcm_try_shared(e))
		return cpu_fail(SGX_EPC_PAGE_CONFLICT);
	out = eblock_check(cpu, e);
	if (cpu_passed(out))
		out = eblock_commit(cpu, e);
	epcm_put_shared(e);
	return out;
}

/* ---- ETRACK -------------------------------------------------------------------------------- */

struct cpu_outcome encls_etrack(struct cpu *cpu, uint32_t secs)
{
	struct cpu_outcome out = cpu_done();
	struct epcm_entry *e;
	uint64_t attr;

	if (!cpu_is_epc(cpu, secs))
		return cpu_pf_page(cpu, secs);
	e = &cpu->epcm[secs];
	if (!epcm_try_shared(e))
		return cpu_gp();
	attr = epcm_attr(e);
	if (!(attr & EPCM_VALID) || epcm_pt(attr) != SGX_PT_SECS) {
		out = cpu_pf_page(cpu, secs);
	} else if (!epcm_try_extra(e, EPCM_LOCK_TRACK)) {
		out = secs_tracking(secs_page(cpu, secs), cpu_gp(), CPU_TRACKING_RESOURCE);
	} else {
		if (!epoch_advance(&secs_page(cpu, secs)->own.track))
			out = secs_tracking(secs_page(cpu, secs), cpu_fail(SGX_PREV_TRK_INCMPL),
					    CPU_TRACKING_REFERENCE);
		epcm_put_extra(e, EPCM_LOCK_TRACK);
	}
	epcm_put_shared(e);
	return out;
}

/* ---- EWB ----------------------------------------------------------------------------------- */

/* @page is held exclusive, @va shared. */
static struct cpu_outcome ewb_check(const struct cpu *cpu, uint32_t page, uint32_t va,
				    bool virtchild)
{
	const struct epcm_entry *e = &cpu->epcm[page];
	uint64_t attr = epcm_attr(e), va_attr = epcm_attr(&cpu->epcm[va]);

	if (!(attr & EPCM_VALID))
		return cpu_pf_page(cpu, page);
	if (!(va_attr & EPCM_VALID) || epcm_pt(va_attr) != SGX_PT_VA)
		return cpu_pf_page(cpu, va);
	if (epcm_is_child(attr)) {
		const struct secs_page *secs = secs_page(cpu, epcm_secs(e));
		uint32_t stamp = atomic_load_explicit(&e->stamp, memory_order_acquire);

		if (!(attr & EPCM_BLOCKED))
			return cpu_fail(SGX_PAGE_NOT_BLOCKED);
		if (!epoch_tracked(&secs->own.track, stamp))
			return cpu_fail(SGX_NOT_TRACKED);
	} else if (epcm_pt(attr) == SGX_PT_SECS &&
		   secs_shows_child(secs_page(cpu, page), virtchild)) {
		return cpu_fail(SGX_CHILD_PRESENT);
	}
	return cpu_done();
}

/* Yields OK, or VA_SLOT_OCCUPIED with CF: the page is out all the same. */
static struct cpu_outcome ewb_commit(struct cpu *cpu, struct sgx_pcmd *pcmd, uint32_t page,
				     uint64_t *slot, void *out, uint64_t *ret_linaddr)
{
	struct epcm_entry *e = &cpu->epcm[page];
	uint64_t attr = epcm_attr(e);
	struct secs_page *secs = NULL;
	struct mac_header header = {
		.secinfo.flags = epcm_to_secinfo(attr),
		.linaddr = attr & EPCM_LA,
	};
	uint64_t version, before;

	memset(pcmd, 0, sizeof(*pcmd));
	pcmd->secinfo.flags = header.secinfo.flags;
	if (epcm_is_child(attr)) {
		secs = secs_page(cpu, epcm_secs(e));
		header.eid = secs->own.eid;
		pcmd->enclaveid = secs->own.eid;
	} else if (epcm_pt(attr) == SGX_PT_SECS) {
		pcmd->enclaveid = secs_page(cpu, page)->own.eid;
	}
	version = atomic_fetch_add_explicit(&cpu->next_version, 1, memory_order_relaxed);
	page_encrypt(&cpu->paging_key, version, (const uint8_t *)&header, cpu_contents(cpu, page),
		     out, pcmd->mac);
	*ret_linaddr = header.linaddr;
	before = __atomic_exchange_n(slot, version, __ATOMIC_ACQ_REL);
	epcm_invalidate(e);
	if (secs)
		secs_drop_child(secs);
	return before ? cpu_retired(SGX_VA_SLOT_OCCUPIED, CPU_CF) : cpu_done();
}

/*
 * A translation is in use this very moment, or the page is the TCS of a logical processor that is
 * inside: on hardware neither could have been tracked.
 */
static struct cpu_outcome ewb_pinned(const struct epcm_entry *e)
{
	return cpu_fail(epcm_attr(e) & EPCM_BLOCKED ? SGX_NOT_TRACKED : SGX_PAGE_NOT_BLOCKED);
}

static uint64_t *va_slot(const struct cpu *cpu, uint32_t va, uint32_t slot)
{
	return (uint64_t *)cpu_contents(cpu, va) + slot;
}

struct cpu_outcome vmx_ewb(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
			   uint32_t va, uint32_t slot, void *out, uint64_t *ret_linaddr,
			   bool virtchild)
{
	struct cpu_outcome end;

	if (!cpu_is_epc(cpu, page))
		return cpu_pf_page(cpu, page);
	if (slot >= SGX_VA_SLOTS)
		return cpu_gp();
	if (!cpu_is_epc(cpu, va))
		return cpu_pf_page(cpu, va);
	if (page == va)
		return cpu_gp();
	if (pi->linaddr != 0 || pi->secs != CPU_NO_PAGE)
		return cpu_gp();
	if (!cpu_is_aligned(pi->pcmd, PCMD_ALIGN) || !cpu_is_aligned(out, SGX_PAGE_SIZE))
		return cpu_gp();

	switch (epcm_try_exclusive(&cpu->epcm[page])) {
	case EPCM_GOT:
		break;
	case EPCM_CONFLICT:
		return cpu_gp_conflict();
	case EPCM_PINNED:
		return ewb_pinned(&cpu->epcm[page]);
	}
	if (!epcm_try_shared(&cpu->epcm[va])) {
		end = cpu_gp();
	} else {
		end = ewb_check(cpu, page, va, virtchild);
		if (cpu_passed(end))
			end = ewb_commit(cpu, pi->pcmd, page, va_slot(cpu, va, slot), out,
					 ret_linaddr);
		epcm_put_shared(&cpu->epcm[va]);
	}
	epcm_put_exclusive(&cpu->epcm[page]);
	return end;
}

struct cpu_outcome encls_ewb(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
			     uint32_t va, uint32_t slot, void *out, uint64_t *ret_linaddr)
{
	return vmx_ewb(cpu, pi, page, va, slot, out, ret_linaddr, false);
}

/* ---- ELDU, ELDB ---------------------------------------------------------------------------- */

struct load {
	const struct cpu_pageinfo *pi;
	struct sgx_pcmd pcmd; /* software's, read once */
	uint32_t page, va, slot;
	uint64_t context; /* of a SECS that comes in: its new ENCLAVECONTEXT */
	bool blocked;     /* ELDB, ELDBC */
	bool code;        /* ELDBC, ELDUC: a conflict is SGX_EPC_PAGE_CONFLICT, not #GP */
};

static struct cpu_outcome load_conflict(const struct load *l)
{
	return l->code ? cpu_fail(SGX_EPC_PAGE_CONFLICT) : cpu_gp();
}

/* By the whole PAGE_TYPE field: one that EWB never writes has no parent, and no right MAC. */
static bool load_is_child(const struct load *l)
{
	uint64_t pt = (l->pcmd.secinfo.flags & SGX_SECINFO_TYPE_MASK) >> SGX_SECINFO_TYPE_SHIFT;

	return pt == SGX_PT_REG || pt == SGX_PT_TCS || pt == SGX_PT_TRIM;
}

/* The target is held exclusive, the VA page shared. */
static struct cpu_outcome load_check(const struct cpu *cpu, const struct load *l)
{
	uint64_t va_attr = epcm_attr(&cpu->epcm[l->va]);

	if (epcm_attr(&cpu->epcm[l->page]) & EPCM_VALID)
		return cpu_pf_page(cpu, l->page);
	if (!(va_attr & EPCM_VALID) || epcm_pt(va_attr) != SGX_PT_VA)
		return cpu_pf_page(cpu, l->va);
	return cpu_done();
}

static struct cpu_outcome load_check_secs(const struct cpu *cpu, uint32_t secs)
{
	uint64_t attr = epcm_attr(&cpu->epcm[secs]);

	if (!(attr & EPCM_VALID) || epcm_pt(attr) != SGX_PT_SECS)
		return cpu_pf_page(cpu, secs);
	return cpu_done();
}

/* The cipher is the last check; the plaintext is gone again when it says no. */
static struct cpu_outcome load_decrypt(struct cpu *cpu, const struct load *l,
				       const struct secs_page *secs, uint64_t version)
{
	struct mac_header header = {
		.secinfo = l->pcmd.secinfo,
		.linaddr = l->pi->linaddr,
		.eid = secs ? secs->own.eid : 0,
	};

	memcpy(header.reserved, l->pcmd.reserved, sizeof(header.reserved));
	if (!page_decrypt(&cpu->paging_key, version, (const uint8_t *)&header, l->pi->srcpge,
			  cpu_contents(cpu, l->page), l->pcmd.mac))
		return cpu_fail(SGX_MAC_COMPARE_FAIL);
	return cpu_done();
}

/*
 * The version is used up.  The VA page is held shared, so another thread may have been at the same slot
 * ("other instructions modifying VA slot"): of two that load one page, one finds its version gone.  Until the
 * page is there the slot keeps it, marked: whoever dies in between has lost nothing (repair.c).
 */
static struct cpu_outcome load_take_version(struct cpu *cpu, const struct load *l, uint64_t version)
{
	if (__atomic_compare_exchange_n(va_slot(cpu, l->va, l->slot), &version,
					version | CPU_VERSION_TAKEN, false, __ATOMIC_ACQ_REL,
					__ATOMIC_RELAXED))
		return cpu_done();
	explicit_bzero(cpu_contents(cpu, l->page), SGX_PAGE_SIZE);
	return load_conflict(l);
}

static void load_commit(struct cpu *cpu, const struct load *l, struct secs_page *secs,
			uint64_t version)
{
	uint64_t attr = epcm_from_secinfo(l->pcmd.secinfo.flags);
	uint64_t taken = version | CPU_VERSION_TAKEN;

	if (l->blocked && epcm_is_child(attr))
		attr |= EPCM_BLOCKED;
	if (secs)
		secs_add_child(secs);
	else if (epcm_pt(attr) == SGX_PT_SECS)
		atomic_store_explicit(&secs_page(cpu, l->page)->own.enclavecontext, l->context,
				      memory_order_relaxed);
	epcm_install(&cpu->epcm[l->page], (l->pi->linaddr & EPCM_LA) | attr,
		     secs ? l->pi->secs : CPU_NO_PAGE);
	/* Unless an EWB has used the slot meanwhile. */
	__atomic_compare_exchange_n(va_slot(cpu, l->va, l->slot), &taken, 0, false,
				    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

static struct cpu_outcome load_held(struct cpu *cpu, const struct load *l)
{
	uint32_t secs = l->pi->secs;
	struct secs_page *secs_bytes = NULL;
	struct cpu_outcome out = load_check(cpu, l);
	uint64_t version;

	if (!cpu_passed(out))
		return out;
	version = __atomic_load_n(va_slot(cpu, l->va, l->slot), __ATOMIC_ACQUIRE);
	if (load_is_child(l)) {
		if (!cpu_is_epc(cpu, secs))
			return cpu_pf_page(cpu, secs);
		if (secs == l->page || !epcm_try_shared(&cpu->epcm[secs]))
			return load_conflict(l);
		out = load_check_secs(cpu, secs);
		if (cpu_passed(out))
			secs_bytes = secs_page(cpu, secs);
	} else if (secs != CPU_NO_PAGE) {
		return cpu_gp();
	}
	if (cpu_passed(out) && (version & CPU_VERSION_TAKEN))
		out = load_conflict(l);
	if (cpu_passed(out))
		out = load_decrypt(cpu, l, secs_bytes, version);
	if (cpu_passed(out))
		out = load_take_version(cpu, l, version);
	if (cpu_passed(out))
		load_commit(cpu, l, secs_bytes, version);
	if (load_is_child(l))
		epcm_put_shared(&cpu->epcm[secs]);
	return out;
}

static struct cpu_outcome load(struct cpu *cpu, struct load *l)
{
	struct cpu_outcome out;

	if (!cpu_is_epc(cpu, l->page))
		return cpu_pf_page(cpu, l->page);
	if (l->slot >= SGX_VA_SLOTS)
		return cpu_gp();
	if (!cpu_is_epc(cpu, l->va))
		return cpu_pf_page(cpu, l->va);
	if (!cpu_is_aligned(l->pi->srcpge, SGX_PAGE_SIZE) ||
	    !cpu_is_aligned(l->pi->pcmd, PCMD_ALIGN))
		return cpu_gp();
	l->pcmd = *l->pi->pcmd;
	if (!epcm_try_exclusive_pinned(&cpu->epcm[l->page]))
		return cpu_because(load_conflict(l), l->code ? CPU_PAGE_ERROR : CPU_PAGE_EXCEPTION);
	if (!epcm_try_shared(&cpu->epcm[l->va])) {
		out = load_conflict(l);
	} else {
		out = load_held(cpu, l);
		epcm_put_shared(&cpu->epcm[l->va]);
	}
	epcm_put_exclusive(&cpu->epcm[l->page]);
	return out;
}

struct cpu_outcome vmx_eld(struct cpu *cpu, enum sgx_encls leaf, const struct cpu_pageinfo *pi,
			   uint32_t page, uint32_t va, uint32_t slot, uint64_t context)
{
	struct load l = {
		.pi = pi,
		.page = page,
		.va = va,
		.slot = slot,
		.context = context,
		.blocked = leaf == SGX_ELDB || leaf == SGX_ELDBC,
		.code = leaf == SGX_ELDUC || leaf == SGX_ELDBC,
	};

	if (l.code && !(cpu->config.caps & SGX_CPUID_ENCLS_C))
		return cpu_gp();
	return load(cpu, &l);
}

struct cpu_outcome encls_eldu(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
			      uint32_t va, uint32_t slot)
{
	return vmx_eld(cpu, SGX_ELDU, pi, page, va, slot, cpu_physical(page));
}

struct cpu_outcome encls_eldb(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
			      uint32_t va, uint32_t slot)
{
	return vmx_eld(cpu, SGX_ELDB, pi, page, va, slot, cpu_physical(page));
}

struct cpu_outcome encls_elduc(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
			       uint32_t va, uint32_t slot)
{
	return vmx_eld(cpu, SGX_ELDUC, pi, page, va, slot, cpu_physical(page));
}

struct cpu_outcome encls_eldbc(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
			       uint32_t va, uint32_t slot)
{
	return vmx_eld(cpu, SGX_ELDBC, pi, page, va, slot, cpu_physical(page));
}
