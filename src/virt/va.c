/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Version arrays for a guest's evicted pages, which are the host's own: the guest has no idea of them.
 *
 * Invariant: there are at least as many slots as pages of the guest that are resident or away, so a page that
 * leaves always finds one.  Only EPC pages are set aside for that: they are made VA pages when the first page leaves.
 * One without a single version goes when the rest is enough.
 */
#include "virt/virt_priv.h"

#include <assert.h>
#include <errno.h>

#include "base/arena.h"
#include "epc/epc.h"
#include "epc/owner.h"

/* Of a frame that is in guest.va_first, or is about to be. */
#define COOKIE_KNOWN 1u

static bool never(struct epc_page *page)
{
	return false;
}

static int never_write(struct epc_page *page)
{
	return -EPERM;
}

static void nothing_to_put(struct epc_page *page) {}

const struct sgx_epc_page_ops guest_va_page_ops = {
	.name = "virt-va",
	.get = never,
	.reclaim = never,
	.block = never,
	.write = never_write,
	.put = nothing_to_put,
};

bool guest_va_is_short_locked(const struct virt_guest *guest)
{
	return guest->page_nr + 1 > guest->va_nr * PAGES_OF_SLOTS;
}

int guest_va_frame_alloc(struct virt_guest *guest, unsigned int flags, struct epc_page **ret_frame)
{
	return epc_alloc(guest->epc, guest->va_owner, flags, ret_frame);
}

int guest_va_add_locked(struct virt_guest *guest, struct epc_page *frame)
{
	struct va *va = arena_alloc(guest->arena, sizeof(*va));

	if (!va)
		return -ENOMEM;
	va->frame = frame;
	va->next = guest->va_first;
	/* Whoever dies here has left a frame that is known, or one that says that it should be. */
	epc_page_set_cookie(frame, COOKIE_KNOWN);
	guest->va_first = va;
	guest->va_nr++;
	return 0;
}

static bool va_make_locked(struct virt_guest *guest, struct va *va)
{
	uint32_t nr = epc_page_nr(guest->epc, va->frame);

	guest_next(guest, "EPA");
	va->made = va->made || cpu_ok(encls_epa(guest->cpu, nr));
	return va->made;
}

/* One with a free slot: where the last one was, else any, and one that is a VA page already before others. */
static struct va *va_with_room_locked(struct virt_guest *guest)
{
	struct va *found = NULL;

	if (guest->va_hint && guest->va_hint->used_nr < SGX_VA_SLOTS)
		return guest->va_hint;
	for (struct va *va = guest->va_first; va && !(found && found->made); va = va->next)
		if (va->used_nr < SGX_VA_SLOTS && (!found || va->made))
			found = va;
	assert(found);
	guest->va_hint = found;
	return found;
}

bool guest_va_slot_get_locked(struct virt_guest *guest, struct kept *kept)
{
	struct va *va = va_with_room_locked(guest);
	unsigned int word = 0, bit;

	if (!va->made && !va_make_locked(guest, va))
		return false;
	while (va->used[word] == UINT64_MAX)
		word++;
	bit = (unsigned int)__builtin_ctzll(~va->used[word]);
	va->used[word] |= 1ull << bit;
	va->used_nr++;
	/* In this order: whoever dies in between has not taken the slot. */
	kept->va_slot = (uint16_t)(word * 64 + bit);
	atomic_signal_fence(memory_order_release);
	kept->va = va;
	return true;
}

void guest_va_slot_put_locked(struct virt_guest *guest, struct kept *kept)
{
	struct va *va = kept->va;
	uint64_t mask = 1ull << (kept->va_slot % 64);

	assert(va->used[kept->va_slot / 64] & mask);
	kept->va = NULL;
	va->used[kept->va_slot / 64] &= ~mask;
	va->used_nr--;
}

static bool va_unmake_locked(struct virt_guest *guest, struct va *va)
{
	uint32_t nr = epc_page_nr(guest->epc, va->frame);

	if (!va->made)
		return true;
	guest_next(guest, "EREMOVE");
	return cpu_ok(encls_eremove(guest->cpu, nr));
}

void guest_va_trim_locked(struct virt_guest *guest)
{
	struct va **link = &guest->va_first, *va;

	while ((va = *link)) {
		/* Half a page of slots to spare, so that it does not come and go with every page. */
		if (guest->page_nr > 0 &&
		    guest->page_nr + PAGES_OF_SLOTS / 2 > (guest->va_nr - 1) * PAGES_OF_SLOTS)
			return;
		if (va->used_nr > 0 || !va_unmake_locked(guest, va)) {
			link = &va->next;
			continue;
		}
		if (guest->va_hint == va)
			guest->va_hint = NULL;
		*link = va->next;
		guest->va_nr--;
		epc_free(guest->epc, va->frame);
		arena_free(guest->arena, va, sizeof(*va));
	}
}

/* ---- after a death --------------------------------------------------------------------------------- */

void guest_va_leaf_locked(struct virt_guest *guest)
{
	for (struct va *va = guest->va_first; va; va = va->next)
		cpu_repair_page(guest->cpu, epc_page_nr(guest->epc, va->frame));
}

void guest_va_forget_slots_locked(struct virt_guest *guest)
{
	guest->va_nr = 0;
	guest->va_hint = NULL;
	for (struct va *va = guest->va_first; va; va = va->next) {
		guest->va_nr++;
		va->made = cpu_epcm_read(guest->cpu, epc_page_nr(guest->epc, va->frame)).valid;
		va->used_nr = 0;
		for (unsigned int i = 0; i < SGX_VA_SLOTS / 64; i++)
			va->used[i] = 0;
	}
}

void guest_va_note_slot_locked(struct kept *kept)
{
	kept->va->used[kept->va_slot / 64] |= 1ull << (kept->va_slot % 64);
	kept->va->used_nr++;
}

bool guest_va_is_known_locked(const struct virt_guest *guest, const struct epc_page *frame)
{
	for (const struct va *va = guest->va_first; va; va = va->next)
		if (va->frame == frame)
			return true;
	return false;
}

/* @in_hand: those as well that somebody took and has not made known, which is for when nobody is left. */
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
