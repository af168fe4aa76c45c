/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The version arrays of an enclave: what epc/va.h knows of slots, with the pages that they belong to.
 *
 * Level 0 has the versions of the enclave's pages and of its SECS.
 */
#include "encl/encl_priv.h"

#include <errno.h>

#include "base/arena.h"
#include "epc/epc.h"

struct encl_va *va_first(const struct encl *encl)
{
	return va_of_slots(encl->versions.made);
}

struct encl_va *va_next(const struct encl_va *va)
{
	return va_of_slots(va->slots.next);
}

struct encl_va *va_of_slots(struct va_page *slots)
{
	return slots ? LIST_ENTRY(slots, struct encl_va, slots) : NULL;
}

bool va_is_here(const struct encl_va *va)
{
	return va->page.epc_page && !(va->page.flags & ENCL_PAGE_LEAVING);
}

uint64_t va_cookie(const struct encl *encl, const struct encl_va *va)
{
	return ENCL_COOKIE_VA | (uint64_t)((const char *)va - (const char *)encl->arena);
}

struct encl_va *va_of_cookie(const struct encl *encl, uint64_t cookie)
{
	return (struct encl_va *)((char *)encl->arena + (cookie & ~ENCL_COOKIE_VA));
}

unsigned int va_level_of(const struct encl_page *page)
{
	if (page->type != SGX_PT_VA)
		return 0;
	return LIST_ENTRY(page, struct encl_va, page)->slots.level + 1u;
}

struct va_need va_need_locked(const struct encl *encl)
{
	return (struct va_need){ .pages = encl->page_nr + 1,
				 .here = encl->child_nr + (encl->secs.epc_page != NULL) };
}

int va_add_locked(struct encl *encl, unsigned int level, struct epc_page *frame)
{
	struct encl_va *va = arena_alloc(encl->arena, sizeof(*va));

	if (!va)
		return -ENOMEM;
	if (!cpu_ok(encls_epa(encl->cpu, epc_page_nr(encl->epc, frame)))) {
		arena_free(encl->arena, va, sizeof(*va));
		return -EFAULT;
	}
	va->page = (struct encl_page){ .epc_page = frame,
				       .backing = BACKING_NO_SLOT,
				       .type = SGX_PT_VA,
				       .flags = ENCL_PAGE_EXISTS };
	epc_page_set_cookie(frame, va_cookie(encl, va));
	va_add(&encl->versions, &va->slots, level);
	return 0;
}

void va_track_locked(struct encl *encl)
{
	for (struct encl_va *va = va_first(encl); va; va = va_next(va)) {
		if (!va_is_here(va))
			continue;
		if (!va_is_top(&encl->versions, &va->slots))
			page_track_locked(encl, &va->page);
		else if (!(va->page.flags & ENCL_PAGE_TRACKED))
			epc_keep(encl->epc, va->page.epc_page);
	}
}

bool va_may_go_locked(struct encl *encl, const struct encl_page *page)
{
	return va_may_go(&encl->versions, &LIST_ENTRY(page, struct encl_va, page)->slots,
			 va_need_locked(encl));
}

void va_in_locked(struct encl *encl, struct encl_page *page)
{
	va_in(&encl->versions, &LIST_ENTRY(page, struct encl_va, page)->slots);
}

void va_out_locked(struct encl *encl, struct encl_page *page)
{
	va_out(&encl->versions, &LIST_ENTRY(page, struct encl_va, page)->slots);
}

void va_recount_locked(struct encl *encl)
{
	for (struct encl_va *va = va_first(encl); va; va = va_next(va))
		va->slots.here = va_is_here(va);
	va_recount(&encl->versions);
}

/* A version that cannot be read again would be the end of its page. */
static bool is_usable(const struct va_page *slots)
{
	return !epc_page_poisoned(LIST_ENTRY(slots, struct encl_va, slots)->page.epc_page);
}

bool va_slot_get_locked(struct encl *encl, struct encl_page *page)
{
	uint16_t slot;
	struct va_page *va = va_slot_get(&encl->versions, va_level_of(page), is_usable, &slot);

	if (!va)
		return false;
	/* In this order: whoever dies in between has not taken the slot. */
	page->va_slot = slot;
	atomic_signal_fence(memory_order_release);
	page->va = va_of_slots(va);
	return true;
}

void va_slot_put_locked(struct encl *encl, struct encl_page *page)
{
	va_slot_idle(&page->va->slots);
	va_slot_put(&encl->versions, &page->va->slots, page->va_slot);
	page->va = NULL;
}

void va_mend_locked(struct encl *encl)
{
	struct encl_page *page = encl->mending;

	if (!page)
		return;
	page->va_slot = encl->mended_slot;
	page->va = encl->mended_va;
	atomic_signal_fence(memory_order_seq_cst);
	encl->mending = NULL;
}

bool va_slot_mend_locked(struct encl *encl, struct encl_page *page)
{
	struct encl_va *broken = page->va;
	uint16_t slot, broken_slot = page->va_slot;
	struct va_page *va;

	if (!epc_page_poisoned(broken->page.epc_page))
		return true;
	va = va_slot_get(&encl->versions, va_level_of(page), is_usable, &slot);
	if (!va)
		return false;
	encl->mended_va = va_of_slots(va);
	encl->mended_slot = slot;
	/* Slot and VA page change together: of one of each another page may have the version. */
	atomic_signal_fence(memory_order_seq_cst);
	encl->mending = page;
	atomic_signal_fence(memory_order_seq_cst);
	va_mend_locked(encl);
	va_slot_idle(&broken->slots);
	va_slot_put(&encl->versions, &broken->slots, broken_slot);
	return true;
}
