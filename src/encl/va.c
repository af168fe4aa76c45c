/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Version arrays: the 8 bytes in the EPC that make an evicted page's ciphertext good for one load.
 *
 * Invariant: an enclave has at least as many slots as pages, SECS included, so a page that leaves
 * always finds one; the EPC page for more slots is taken when a page is added, never when one must
 * go.  VA pages stay in the EPC until the enclave goes.
 */
#include "encl/encl_priv.h"

#include <assert.h>
#include <errno.h>

#include "base/arena.h"
#include "cpu/cpu.h"
#include "epc/epc.h"

bool va_is_short_locked(struct encl *encl)
{
	return encl->page_nr + 1 + 1 > encl->va_nr * SGX_VA_SLOTS;
}

int va_add_locked(struct encl *encl, struct epc_page *frame)
{
	struct encl_va *va = arena_alloc(encl->arena, sizeof(*va));

	if (!va)
		return -ENOMEM;
	if (!cpu_ok(encls_epa(encl->cpu, epc_page_nr(encl->epc, frame)))) {
		arena_free(encl->arena, va, sizeof(*va));
		return -EFAULT;
	}
	va->epc_page = frame;
	va->next_made = encl->va_made;
	encl->va_made = va;
	list_add(&encl->va_pages, &va->node);
	encl->va_nr++;
	return 0;
}

void va_slot_get_locked(struct encl *encl, struct encl_va **ret_va, uint16_t *ret_slot)
{
	struct encl_va *va = LIST_ENTRY(list_first(&encl->va_pages), struct encl_va, node);
	unsigned int word = 0, bit;

	assert(encl->va_nr > 0 && va->used_nr < SGX_VA_SLOTS);
	while (va->used[word] == UINT64_MAX)
		word++;
	bit = (unsigned int)__builtin_ctzll(~va->used[word]);
	va->used[word] |= 1ull << bit;
	va->used_nr++;
	if (va->used_nr == SGX_VA_SLOTS) {
		list_del(&va->node);
		list_add_tail(&encl->va_pages, &va->node);
	}
	/* In this order: whoever dies in between has not taken the slot. */
	*ret_slot = (uint16_t)(word * 64 + bit);
	atomic_signal_fence(memory_order_release);
	*ret_va = va;
}

void va_slot_put_locked(struct encl *encl, struct encl_va *va, uint16_t slot)
{
	uint64_t mask = 1ull << (slot % 64);

	assert(va->used[slot / 64] & mask);
	va->used[slot / 64] &= ~mask;
	if (va->used_nr-- == SGX_VA_SLOTS) {
		list_del(&va->node);
		list_add(&encl->va_pages, &va->node);
	}
}
