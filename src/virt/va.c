/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Version arrays for a guest's evicted pages, which are the host's own: the guest has no idea of them.
 *
 * Invariant: there are at least as many slots as pages of the guest that are resident or away, so a page that
 * leaves always finds one.  A VA page without a single version goes when the rest is enough.
 */
#include "virt/virt_priv.h"

#include <assert.h>
#include <errno.h>

#include "base/arena.h"
#include "epc/epc.h"
#include "epc/owner.h"

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
	if (!cpu_ok(encls_epa(guest->cpu, epc_page_nr(guest->epc, frame)))) {
		arena_free(guest->arena, va, sizeof(*va));
		return -EFAULT;
	}
	va->frame = frame;
	list_add(&guest->va_pages, &va->node);
	guest->va_nr++;
	return 0;
}

void guest_va_slot_get_locked(struct virt_guest *guest, struct kept *kept)
{
	struct va *va = LIST_ENTRY(list_first(&guest->va_pages), struct va, node);
	unsigned int word = 0, bit;

	assert(guest->va_nr > 0 && va->used_nr < SGX_VA_SLOTS);
	while (va->used[word] == UINT64_MAX)
		word++;
	bit = (unsigned int)__builtin_ctzll(~va->used[word]);
	va->used[word] |= 1ull << bit;
	if (++va->used_nr == SGX_VA_SLOTS) {
		list_del(&va->node);
		list_add_tail(&guest->va_pages, &va->node);
	}
	kept->va = va;
	kept->va_slot = (uint16_t)(word * 64 + bit);
}

void guest_va_slot_put_locked(struct virt_guest *guest, struct kept *kept)
{
	struct va *va = kept->va;
	uint64_t mask = 1ull << (kept->va_slot % 64);

	assert(va->used[kept->va_slot / 64] & mask);
	va->used[kept->va_slot / 64] &= ~mask;
	if (va->used_nr-- == SGX_VA_SLOTS) {
		list_del(&va->node);
		list_add(&guest->va_pages, &va->node);
	}
	kept->va = NULL;
}

void guest_va_trim_locked(struct virt_guest *guest)
{
	struct list *pos, *tmp;

	list_for_each_safe (pos, tmp, &guest->va_pages) {
		struct va *va = LIST_ENTRY(pos, struct va, node);

		/* Half a page of slots to spare, so that it does not come and go with every page. */
		if (guest->page_nr > 0 &&
		    guest->page_nr + PAGES_OF_SLOTS / 2 > (guest->va_nr - 1) * PAGES_OF_SLOTS)
			return;
		if (va->used_nr > 0 ||
		    !cpu_ok(encls_eremove(guest->cpu, epc_page_nr(guest->epc, va->frame))))
			continue;
		epc_free(guest->epc, va->frame);
		list_del(&va->node);
		guest->va_nr--;
		arena_free(guest->arena, va, sizeof(*va));
	}
}
