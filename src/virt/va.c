/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Version arrays for a guest's evicted pages, which are the host's own: the guest has no idea of them.
 *
 * There are always slots for all pages of the guest (epc/va.h), so a page that leaves finds one.  Only EPC pages are set
 * aside for that: they are made VA pages when the first page leaves, so that a guest that nobody takes from costs no
 * instruction.  One without a single version goes when the rest is enough.  How they leave and come is in va_move.c.
 */
#include "virt/virt_priv.h"

#include <assert.h>
#include <errno.h>

#include "base/arena.h"
#include "epc/backing.h"
#include "epc/epc.h"
#include "epc/owner.h"

/* Of a frame that is a VA page's, or is about to be. */
#define COOKIE_KNOWN 1u

struct va *guest_va_of(struct va_page *page)
{
	return page ? LIST_ENTRY(page, struct va, page) : NULL;
}

struct va *guest_va_first_locked(const struct virt_guest *guest)
{
	return guest_va_of(guest->versions.made);
}

struct va *guest_va_next_locked(const struct va *va)
{
	return guest_va_of(va->page.next);
}

struct va_need guest_va_need_locked(const struct virt_guest *guest)
{
	return (struct va_need){ .pages = guest->page_nr, .here = guest->page_nr - guest->away };
}

/* ---- VA pages ------------------------------------------------------------------------------------- */

int guest_va_frame_alloc(struct virt_guest *guest, unsigned int flags, struct epc_page **ret_frame)
{
	return epc_alloc(guest->epc, guest->va_owner, flags, ret_frame);
}

int guest_va_add_locked(struct virt_guest *guest, unsigned int level, struct epc_page *frame)
{
	struct va *va = arena_alloc(guest->arena, sizeof(*va));

	if (!va)
		return -ENOMEM;
	va->frame = frame;
	va->slots.backing = BACKING_NO_SLOT;
	/* Whoever dies here has left a frame that is known, or one that says that it should be. */
	epc_page_set_cookie(frame, COOKIE_KNOWN);
	va_add(&guest->versions, &va->page, level);
	/* What was the top may not be it any more. */
	guest_va_track_locked(guest);
	return 0;
}

static bool va_make_locked(struct virt_guest *guest, struct va *va)
{
	if (va->made)
		return true;
	guest_next(guest, "EPA");
	va->made = cpu_ok(encls_epa(guest->cpu, epc_page_nr(guest->epc, va->frame)));
	if (va->made)
		guest_va_track_locked(guest);
	return va->made;
}

/* False: it is in a batch, or in use. */
static bool va_unmake_locked(struct virt_guest *guest, struct va *va)
{
	if (!va->frame)
		return true;
	if (guest_va_untrack_locked(guest, va) < 0)
		return false;
	if (!va->made)
		return true;
	guest_next(guest, "EREMOVE");
	if (cpu_ok(encls_eremove(guest->cpu, epc_page_nr(guest->epc, va->frame))))
		return true;
	guest_va_track_locked(guest);
	return false;
}

static bool va_free_locked(struct virt_guest *guest, struct va *va)
{
	struct epc_page *frame = va->frame;

	if ((va->flags & KEPT_LEAVING) || guest_is_pinned_locked(guest, va) ||
	    !va_is_spare(&guest->versions, &va->page, guest_va_need_locked(guest)) ||
	    !va_unmake_locked(guest, va))
		return false;
	guest_slots_put_locked(guest, &va->slots);
	va_remove(&guest->versions, &va->page);
	if (frame)
		epc_free(guest->epc, frame);
	arena_free(guest->arena, va, sizeof(*va));
	return true;
}

void guest_va_trim_locked(struct virt_guest *guest)
{
	/* From below: those above have the versions of what goes first. */
	for (unsigned int level = 0; level < VA_LEVELS && guest->versions.level[level].nr > 0;
	     level++) {
		struct va *va, *next;

		for (va = guest_va_first_locked(guest); va; va = next) {
			next = guest_va_next_locked(va);
			if (va->page.level == level)
				(void)va_free_locked(guest, va);
		}
	}
}

/* ---- slots ---------------------------------------------------------------------------------------- */

/* A version that cannot be read again would be the end of its page. */
static bool is_usable(const struct va_page *page)
{
	return !epc_page_poisoned(LIST_ENTRY(page, struct va, page)->frame);
}

static bool slot_get_locked(struct virt_guest *guest, unsigned int level, struct slots *slots)
{
	uint16_t slot;
	struct va *va = guest_va_of(va_slot_get(&guest->versions, level, is_usable, &slot));

	if (!va)
		return false;
	if (!va_make_locked(guest, va)) {
		va_slot_idle(&va->page);
		va_slot_put(&guest->versions, &va->page, slot);
		return false;
	}
	/* In this order: whoever dies in between has not taken the slot. */
	slots->slot = slot;
	slots->busy = true;
	atomic_signal_fence(memory_order_release);
	slots->va = va;
	return true;
}

bool guest_slots_get_locked(struct virt_guest *guest, unsigned int level, struct slots *slots)
{
	if (backing_alloc(guest->backing, &slots->backing) < 0) {
		slots->backing = BACKING_NO_SLOT;
		return false;
	}
	if (slot_get_locked(guest, level, slots))
		return true;
	guest_slots_put_locked(guest, slots);
	return false;
}

/* What was begun is ended, by whomever. */
static void mend_locked(struct virt_guest *guest)
{
	struct slots *slots = guest->mending;

	if (!slots)
		return;
	slots->slot = guest->mends_to.slot;
	slots->va = guest->mends_to.va;
	slots->busy = true;
	atomic_signal_fence(memory_order_seq_cst);
	guest->mending = NULL;
}

bool guest_slots_mend_locked(struct virt_guest *guest, unsigned int level, struct slots *slots)
{
	struct slots other = { .backing = BACKING_NO_SLOT }, broken = *slots;

	if (!epc_page_poisoned(slots->va->frame))
		return true;
	if (!slot_get_locked(guest, level, &other))
		return false;
	/* Slot and VA page change together: of one of each another page may have the version. */
	guest->mends_to = other;
	atomic_signal_fence(memory_order_seq_cst);
	guest->mending = slots;
	atomic_signal_fence(memory_order_seq_cst);
	mend_locked(guest);
	broken.backing = BACKING_NO_SLOT;
	guest_slots_put_locked(guest, &broken);
	return true;
}

void guest_slots_put_locked(struct virt_guest *guest, struct slots *slots)
{
	struct va *va = slots->va;

	if (va) {
		guest_slots_idle_locked(slots);
		slots->va = NULL;
		va_slot_put(&guest->versions, &va->page, slots->slot);
	}
	if (slots->backing != BACKING_NO_SLOT)
		backing_free(guest->backing, &slots->backing);
}

void guest_slots_idle_locked(struct slots *slots)
{
	if (slots->busy)
		va_slot_idle(&slots->va->page);
	slots->busy = false;
}

void guest_slots_busy_locked(struct slots *slots)
{
	assert(!slots->busy);
	va_slot_busy(&slots->va->page);
	slots->busy = true;
}

/* ---- after a death --------------------------------------------------------------------------------- */

void guest_va_leaf_locked(struct virt_guest *guest)
{
	for (struct va *va = guest_va_first_locked(guest); va; va = guest_va_next_locked(va))
		if (va->frame)
			cpu_repair_page(guest->cpu, epc_page_nr(guest->epc, va->frame));
}

/* The frame is no VA page any more. Where a batch has it, the manager frees it when that is seen through. */
static void part_with_frame(struct virt_guest *guest, struct va *va)
{
	struct epc_page *frame = va->frame;

	va->frame = NULL;
	if (epc_page_state(frame) == EPC_PAGE_OWNED)
		epc_free(guest->epc, frame);
}

static void repair_one(struct virt_guest *guest, struct va *va)
{
	bool valid =
		va->frame && cpu_epcm_read(guest->cpu, epc_page_nr(guest->epc, va->frame)).valid;

	if (va->frame && !(va->flags & KEPT_AWAY) && !valid && (va->flags & KEPT_LEAVING))
		va->flags = KEPT_AWAY; /* EWB was done */
	if ((va->flags & KEPT_AWAY) && valid)
		va->flags = 0; /* ELDU was */
	if ((va->flags & KEPT_AWAY) && va->frame)
		part_with_frame(guest, va);
	va->tracked = va->frame && epc_page_state(va->frame) != EPC_PAGE_OWNED;
	if (!va->tracked)
		va->flags &= (uint16_t)~KEPT_LEAVING;
	va->made = valid || (va->flags & KEPT_AWAY);
}

void guest_va_repair_locked(struct virt_guest *guest)
{
	struct va *va;

	mend_locked(guest);
	for (va = guest_va_first_locked(guest); va; va = guest_va_next_locked(va))
		repair_one(guest, va);
	va_forget_slots(&guest->versions);
	for (va = guest_va_first_locked(guest); va; va = guest_va_next_locked(va))
		guest_slots_note_locked(&va->slots, va->frame != NULL);
}

void guest_slots_note_locked(struct slots *slots, bool busy)
{
	slots->busy = busy && slots->va;
	if (slots->va)
		va_note_slot(&slots->va->page, slots->slot, busy);
}

void guest_va_recount_locked(struct virt_guest *guest)
{
	struct va *va;

	for (va = guest_va_first_locked(guest); va; va = guest_va_next_locked(va))
		va->page.here = va->frame && !(va->flags & KEPT_LEAVING);
	va_recount(&guest->versions);
	for (va = guest_va_first_locked(guest); va; va = guest_va_next_locked(va))
		if (va->page.here)
			guest_slots_put_locked(guest, &va->slots);
	guest_va_track_locked(guest);
}

bool guest_va_is_known_locked(const struct virt_guest *guest, const struct epc_page *frame)
{
	for (struct va *va = guest_va_first_locked(guest); va; va = guest_va_next_locked(va))
		if (va->frame == frame)
			return true;
	return false;
}

void guest_va_strays_locked(struct virt_guest *guest, bool in_hand)
{
	uint32_t page_nr = cpu_get_config(guest->cpu)->page_nr;

	for (uint32_t nr = 0; nr < page_nr; nr++) {
		struct epc_page *frame = epc_page_at(guest->epc, nr);

		if (epc_page_owner(frame) != guest || epc_page_state(frame) != EPC_PAGE_OWNED ||
		    guest_va_is_known_locked(guest, frame) ||
		    (!in_hand && epc_page_cookie(frame) != COOKIE_KNOWN))
			continue;
		if (cpu_ok(encls_eremove(guest->cpu, nr)))
			epc_free(guest->epc, frame);
	}
}
