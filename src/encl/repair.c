/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Repair: see through what a process was doing when it was killed with an enclave's lock held.
 *
 * The kernel of a machine with SGX ends what it began for a process that is killed, so no enclave is ever lost with
 * one that shares it.  Here everything is made to agree again: what the EPCM says of a frame is the truth, and
 * the page tree, the version slots and all counts follow from it.  A page that came by ELDU or EAUG is kept.  One that was
 * being added is taken back, and MRENCLAVE with it: the measurement of half a page could not be gone on with.
 *
 * Each pass can be repeated: whoever dies in a repair leaves encl.doing as it was to the next one.
 */
#include "encl/encl_priv.h"

#include <assert.h>

#include "epc/backing.h"
#include "epc/epc.h"
#include "epc/window.h"

static struct cpu_epcm frame_epcm(const struct encl *encl, const struct epc_page *frame)
{
	return cpu_epcm_read(encl->cpu, epc_page_nr(encl->epc, frame));
}

/* A frame of ours, or one that was becoming ours. */
static bool frame_is_ours(const struct encl *encl, const struct epc_page *frame)
{
	const void *owner = epc_page_owner(frame);

	return owner && (owner == encl || owner == encl->doing_hand);
}

void repair_leaves_locked(struct encl *encl)
{
	uint32_t page_nr = cpu_get_config(encl->cpu)->page_nr;
	uint32_t secs = CPU_NO_PAGE;

	gates_shut_locked(encl);
	for (uint32_t nr = 0; nr < page_nr; nr++) {
		struct cpu_epcm epcm = cpu_epcm_read(encl->cpu, nr);

		if (!frame_is_ours(encl, epc_page_at(encl->epc, nr)))
			continue;
		if (epcm.valid && epcm.type == SGX_PT_SECS)
			secs = nr;
		else
			cpu_repair_page(encl->cpu, nr);
	}
	if (secs != CPU_NO_PAGE)
		cpu_repair_page(encl->cpu, secs);
	gates_open_locked(encl);
}

/* ECREATE that did not come to its end has not begun. */
static void repair_create_locked(struct encl *encl) REQUIRES(&encl->lock)
{
	encl->secs.epc_page = NULL;
	pages_destroy(encl);
	encl_range_free(encl);
	encl->base = 0;
	encl->size = 0;
}

/* The page that a frame which is valid in the EPCM is, or was becoming; NULL: none. */
static struct encl_page *repair_find_locked(struct encl *encl, const struct epc_page *frame,
					    const struct cpu_epcm *epcm, uint64_t *ret_cookie)
	REQUIRES(&encl->lock)
{
	uint64_t cookie = epc_page_cookie(frame);

	*ret_cookie = cookie;
	if (epcm->type == SGX_PT_VA) {
		for (struct encl_va *va = va_first(encl); va; va = va_next(va))
			if (cookie == va_cookie(encl, va))
				return &va->page;
		return NULL;
	}
	if (!encl_created(encl))
		return NULL;
	*ret_cookie = ENCL_COOKIE_SECS;
	if (epcm->type == SGX_PT_SECS)
		return &encl->secs;
	*ret_cookie = (epcm->la - encl->base) / SGX_PAGE_SIZE;
	return pages_find_locked(encl, *ret_cookie);
}

/* A frame that is valid in the EPCM: the tree has it, or has it from now on. False: it must go. */
static bool repair_adopt_locked(struct encl *encl, struct epc_page *frame,
				const struct cpu_epcm *epcm) REQUIRES(&encl->lock)
{
	uint64_t cookie;
	struct encl_page *page = repair_find_locked(encl, frame, epcm, &cookie);

	if (!page)
		return false;
	if (page->epc_page)
		return page->epc_page == frame;
	if (!page->va && encl->doing == ENCL_ADDING)
		return false;
	page->flags &= (uint8_t)~ENCL_PAGE_TRACKED;
	epc_page_set_cookie(frame, cookie);
	page->epc_page = frame;
	return true;
}

static void repair_frames_locked(struct encl *encl) REQUIRES(&encl->lock)
{
	uint32_t page_nr = cpu_get_config(encl->cpu)->page_nr;

	for (uint32_t nr = 0; nr < page_nr; nr++) {
		struct epc_page *frame = epc_page_at(encl->epc, nr);
		struct cpu_epcm epcm = cpu_epcm_read(encl->cpu, nr);

		if (!epcm.valid || !frame_is_ours(encl, frame) ||
		    epc_page_state(frame) != EPC_PAGE_OWNED)
			continue;
		if (repair_adopt_locked(encl, frame, &epcm)) {
			epc_page_hand_on(frame, encl->epc_owner);
		} else {
			struct cpu_outcome out = encls_eremove(encl->cpu, nr);

			assert(cpu_ok(out));
		}
	}
}

/* Frames that are nothing any more, now that the tree does not name them. */
static void repair_free_locked(struct encl *encl) REQUIRES(&encl->lock)
{
	uint32_t page_nr = cpu_get_config(encl->cpu)->page_nr;

	for (uint32_t nr = 0; nr < page_nr; nr++) {
		struct epc_page *frame = epc_page_at(encl->epc, nr);

		if (frame_is_ours(encl, frame) && epc_page_state(frame) == EPC_PAGE_OWNED &&
		    !cpu_epcm_read(encl->cpu, nr).valid)
			epc_free(encl->epc, frame);
	}
}

/* What became of the page: EWB and EREMOVE that were done are noted. False: there is no such page any more. */
static bool repair_note_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock)
{
	if (page->epc_page && !frame_epcm(encl, page->epc_page).valid) {
		page->epc_page = NULL;
		if (page->flags & ENCL_PAGE_AHEAD)
			readahead_wasted_locked(encl, UINT64_MAX, page, NULL);
		page->flags = ENCL_PAGE_EXISTS;
	}
	if (!page->va && page->backing != BACKING_NO_SLOT)
		backing_free(encl->backing, &page->backing);
	if (page->va)
		va_note_slot(&page->va->slots, page->va_slot, page->epc_page != NULL);
	if (page->epc_page) {
		page->flags &= (uint8_t)~ENCL_PAGE_TRACKED;
		if (epc_page_state(page->epc_page) != EPC_PAGE_OWNED)
			page->flags |= ENCL_PAGE_TRACKED;
	}
	return page->epc_page || page->va;
}

static void repair_tree_locked(struct encl *encl) REQUIRES(&encl->lock)
{
	uint64_t pages = encl->size / SGX_PAGE_SIZE;
	struct encl_page *page;

	va_forget_slots(&encl->versions);
	encl->child_nr = 0;
	encl->page_nr = 0;
	for (uint64_t idx = 0; (page = pages_next_locked(encl, &idx, pages)); idx++) {
		if (repair_note_locked(encl, page)) {
			encl->child_nr += page->epc_page != NULL;
			encl->page_nr++;
			continue;
		}
		/* It was coming or going, and is not. */
		window_drop(encl->window, encl->win_off + idx * SGX_PAGE_SIZE, 1);
		page->flags = 0;
	}
	repair_note_locked(encl, &encl->secs);
	for (struct encl_va *va = va_first(encl); va; va = va_next(va))
		repair_note_locked(encl, &va->page);
}

static void repair_vas_locked(struct encl *encl) REQUIRES(&encl->lock)
{
	struct encl_va *va;

	for (va = va_first(encl); va; va = va_next(va))
		if (!(va->page.flags & ENCL_PAGE_TRACKED))
			va->page.flags &= (uint8_t)~ENCL_PAGE_LEAVING;
	va_recount_locked(encl);
	for (va = va_first(encl); va; va = va_next(va))
		if (va->page.va && va_is_here(va))
			evict_slots_put_locked(encl, &va->page);
	va_track_locked(encl);
}

/*
 * The bytes of a page that had just come are on the stage, or in the window already: there since a
 * mapping may show it, they count; where they were only being written, they are written again.
 */
static bool repair_place_locked(struct encl *encl, struct encl_page *page, uint64_t idx)
	REQUIRES(&encl->lock)
{
	uint64_t off = encl->win_off + idx * SGX_PAGE_SIZE;
	uint32_t nr = epc_page_nr(encl->epc, page->epc_page);

	if (cpu_bytes(encl->cpu, nr) != window_at(encl->window, off)) {
		if (frame_epcm(encl, page->epc_page).blocked)
			return false;
		if ((encl->giving || !window_has(encl->window, off)) &&
		    bring_give_locked(encl, idx) < 0)
			return false;
	}
	bring_place_locked(encl, page->epc_page, idx);
	return true;
}

/* A page that is in the EPC is as one that nobody was at. */
static void repair_resident_locked(struct encl *encl, struct encl_page *page, uint64_t idx)
	REQUIRES(&encl->lock)
{
	struct cpu_epcm epcm = frame_epcm(encl, page->epc_page);

	if (page->type != epcm.type && epcm.type == SGX_PT_TCS)
		page->max_rwx = ENCL_R | ENCL_W;
	page->type = epcm.type;
	if (!(page->flags & ENCL_PAGE_TRACKED)) {
		page->flags &= (uint8_t)~ENCL_PAGE_LEAVING;
		if (!repair_place_locked(encl, page, idx)) {
			load_undo_locked(encl, page);
			return;
		}
	}
	if (page->va && !epcm.blocked && !(page->flags & ENCL_PAGE_LEAVING))
		evict_slots_put_locked(encl, page);
	page_track_locked(encl, page);
}

static void repair_secs_locked(struct encl *encl) REQUIRES(&encl->lock)
{
	struct encl_page *secs = &encl->secs;

	if (!secs->epc_page)
		return;
	if (cpu_initialized(encl->cpu, epc_page_nr(encl->epc, secs->epc_page)))
		atomic_fetch_or(&encl->flags, ENCL_INITIALIZED);
	if (!(secs->flags & ENCL_PAGE_TRACKED))
		secs->flags &= (uint8_t)~ENCL_PAGE_LEAVING;
	if (secs->va && !(secs->flags & ENCL_PAGE_LEAVING))
		evict_slots_put_locked(encl, secs);
	if (encl->child_nr == 0 && encl_initialized(encl))
		page_track_locked(encl, secs);
}

static void repair_changes_locked(struct encl *encl) REQUIRES(&encl->lock)
{
	uint64_t pages = encl->size / SGX_PAGE_SIZE;
	struct encl_page *page;

	va_mend_locked(encl);
	if (!encl_created(encl))
		repair_create_locked(encl);
	repair_frames_locked(encl);
	repair_tree_locked(encl);
	repair_vas_locked(encl);
	repair_secs_locked(encl);
	for (uint64_t idx = 0; (page = pages_next_locked(encl, &idx, pages)); idx++)
		if (page->epc_page)
			repair_resident_locked(encl, page, idx);
	encl->giving = false;
	repair_free_locked(encl);
	if (encl->doing == ENCL_MODIFYING && encl->secs.epc_page) {
		window_unmap(encl->window, encl->win_off + encl->doing_idx * SGX_PAGE_SIZE, 1);
		(void)encl_etrack_locked(encl, NULL);
	}
}

void repair_locked(struct encl *encl)
{
	/* Before EINIT the SECS stays. */
	if (encl->doing == ENCL_ADDING)
		cpu_measurement_restore(encl->cpu, epc_page_nr(encl->epc, encl->secs.epc_page),
					&encl->measurement);
	repair_leaves_locked(encl);
	if (encl->doing != ENCL_LOOKING)
		repair_changes_locked(encl);
	hands_repin_locked(encl);
	encl_end_locked(encl);
	hands_reap_locked(encl);
}
