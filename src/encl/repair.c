/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Repair: what to do when a process was killed while it held an enclave's lock.
 *
 * Whoever only looked has left nothing half done, but perhaps a leaf of the processor that holds pages.  Whoever
 * was evicting a page was, as likely as not, no user of the enclave at all, only in need of an EPC page: so that is
 * mended, from what the EPCM and the tree say, and the manager asks for the step again.  Any other change may
 * be half measured or half placed: the enclave is dead.
 */
#include "encl/encl_priv.h"

#include "epc/epc.h"

void repair_leaves(struct encl *encl)
{
	uint32_t page_nr = cpu_get_config(encl->cpu)->page_nr;
	uint32_t secs = CPU_NO_PAGE;

	for (uint32_t nr = 0; nr < page_nr; nr++) {
		struct cpu_epcm epcm = cpu_epcm_read(encl->cpu, nr);

		if (epc_page_owner(epc_page_at(encl->epc, nr)) != encl)
			continue;
		if (epcm.valid && epcm.type == SGX_PT_SECS)
			secs = nr;
		else
			cpu_repair_page(encl->cpu, nr);
	}
	if (secs != CPU_NO_PAGE)
		cpu_repair_page(encl->cpu, secs);
}

/* EWB was done, but not noted: see it through. */
static void repair_page_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock)
{
	if (page->epc_page &&
	    !cpu_epcm_read(encl->cpu, epc_page_nr(encl->epc, page->epc_page)).valid) {
		page->epc_page = NULL;
		page->flags = ENCL_PAGE_EXISTS;
		encl->evictions++;
	}
	if (page->va) {
		page->va->used[page->va_slot / 64] |= 1ull << (page->va_slot % 64);
		page->va->used_nr++;
	}
}

/* The lists of version slots, made anew from who has one. */
static void repair_vas_locked(struct encl *encl) REQUIRES(&encl->lock)
{
	list_init(&encl->va_pages);
	for (struct encl_va *va = encl->va_made; va; va = va->next_made) {
		if (va->used_nr < SGX_VA_SLOTS)
			list_add(&encl->va_pages, &va->node);
		else
			list_add_tail(&encl->va_pages, &va->node);
	}
}

static void repair_eviction_locked(struct encl *encl) REQUIRES(&encl->lock)
{
	struct encl_page *secs = &encl->secs, *page;
	uint64_t pages = encl->size / SGX_PAGE_SIZE;

	for (struct encl_va *va = encl->va_made; va; va = va->next_made) {
		va->used_nr = 0;
		for (unsigned int i = 0; i < SGX_VA_SLOTS / 64; i++)
			va->used[i] = 0;
	}
	encl->child_nr = 0;
	for (uint64_t idx = 0; (page = pages_next_locked(encl, &idx, pages)); idx++) {
		repair_page_locked(encl, page);
		encl->child_nr += page->epc_page != NULL;
	}
	repair_page_locked(encl, secs);
	repair_vas_locked(encl);
	if (!secs->epc_page)
		return;
	secs->flags &= (uint8_t)~ENCL_PAGE_TRACKED;
	if (epc_page_state(secs->epc_page) != EPC_PAGE_OWNED)
		secs->flags |= ENCL_PAGE_TRACKED;
	else if (encl->child_nr == 0 && (encl_flags(encl) & ENCL_INITIALIZED))
		page_track_locked(encl, secs);
}

void repair_locked(struct encl *encl)
{
	enum encl_doing doing = encl->doing;

	encl->doing = ENCL_LOOKING;
	repair_leaves(encl);
	if (doing == ENCL_CHANGING)
		encl_set_dead_locked(encl);
	else if (doing == ENCL_EVICTING)
		repair_eviction_locked(encl);
}
