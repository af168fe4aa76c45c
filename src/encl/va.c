/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Version arrays: the 8 bytes in the EPC that make an evicted page's ciphertext good for one load.
 *
 * A VA page is evictable like any other, and then its own version lies in a VA page one level up, as deep as need be:
 * level 0 has the versions of pages and of the SECS, level n + 1 those of the VA pages of level n.  The
 * one VA page of the highest level, the top, stays, so that there is always a way back to all others.
 *
 * Two invariants, for each level.  There are as many slots as pages that may ever want one: va_is_short_locked() says
 * when a new page needs a new VA page first.  And those of the slots that are free and in the EPC (`free_nr`) are as many as
 * the pages that are in the EPC: so a page that must leave always finds one, when there is no EPC to load a VA page
 * with.  Neither an eviction nor a load changes how many more there are (the slack); only a VA page that leaves does.
 *
 * A slot is taken where the fewest are free, or nearly so: VA pages that are full cost nothing when they leave.
 */
#include "encl/encl_priv.h"

#include <assert.h>
#include <errno.h>

#include "base/arena.h"
#include "epc/epc.h"

enum {
	/* Of each VA page, where there are several, this many are no room: some have free slots, wherever those are. */
	SPARE_SLOTS = 8,
	/* A VA page with more free slots than SPARE_SLOTS leaves this much slack behind it. */
	SLACK_KEPT = 32,
};

bool va_is_here(const struct encl_va *va)
{
	return va->page.epc_page && !(va->page.flags & ENCL_PAGE_LEAVING);
}

struct encl_va *va_of_cookie(uint64_t cookie)
{
	return (struct encl_va *)(uintptr_t)(cookie & ~ENCL_COOKIE_VA);
}

static bool va_is_top(const struct encl *encl, const struct encl_va *va)
{
	return va->level + 1 == ENCL_VA_LEVELS || encl->va_level[va->level + 1].nr == 0;
}

unsigned int va_level_of(const struct encl_page *page)
{
	if (page->type != SGX_PT_VA)
		return 0;
	return LIST_ENTRY(page, struct encl_va, page)->level + 1u;
}

/* Pages whose versions are of this level: all of them, and those that are in the EPC. */
static uint64_t level_pages(const struct encl *encl, unsigned int level)
{
	return level == 0 ? encl->page_nr + 1 : encl->va_level[level - 1].nr;
}

static uint64_t level_pages_here(const struct encl *encl, unsigned int level)
{
	return level == 0 ? encl->child_nr + (encl->secs.epc_page != NULL)
			  : encl->va_level[level - 1].here_nr;
}

static int64_t level_slack(const struct encl *encl, unsigned int level)
{
	return (int64_t)encl->va_level[level].free_nr - (int64_t)level_pages_here(encl, level);
}

bool va_is_short_locked(struct encl *encl, unsigned int level)
{
	uint64_t nr = encl->va_level[level].nr;
	uint64_t slots = nr > 1 ? nr * (SGX_VA_SLOTS - SPARE_SLOTS) : nr * SGX_VA_SLOTS;

	return level_pages(encl, level) + 1 > slots;
}

struct encl_va *va_wanted_locked(struct encl *encl, unsigned int level)
{
	int64_t slack = level_slack(encl, level);
	struct encl_va *best = NULL;
	uint32_t least = slack < 1 ? 1 : SPARE_SLOTS + 1;

	if (slack >= SLACK_KEPT / 2)
		return NULL;
	for (struct encl_va *va = encl->va_made; va; va = va->next_made) {
		uint32_t free_nr = SGX_VA_SLOTS - va->used_nr;

		if (va->level != level || va_is_here(va) || free_nr < least)
			continue;
		best = va;
		least = free_nr + 1;
	}
	return best;
}

bool va_may_go_locked(struct encl *encl, const struct encl_page *page)
{
	const struct encl_va *va = LIST_ENTRY(page, struct encl_va, page);
	uint32_t free_nr = SGX_VA_SLOTS - va->used_nr;

	if (va_is_top(encl, va) || va->busy_nr > 0)
		return false;
	if (level_pages_here(encl, va->level) == 0)
		return true;
	return level_slack(encl, va->level) - (int64_t)free_nr >=
	       (free_nr > SPARE_SLOTS ? SLACK_KEPT : 0);
}

void va_in_locked(struct encl *encl, struct encl_page *page)
{
	struct encl_va *va = LIST_ENTRY(page, struct encl_va, page);
	struct encl_va_level *level = &encl->va_level[va->level];
	uint32_t free_nr = SGX_VA_SLOTS - va->used_nr;

	level->here_nr++;
	level->free_nr += free_nr;
	list_init(&va->node);
	if (free_nr > SPARE_SLOTS)
		list_add_tail(&level->with_free, &va->node);
	else if (free_nr > 0)
		list_add(&level->with_free, &va->node);
}

void va_out_locked(struct encl *encl, struct encl_page *page)
{
	struct encl_va *va = LIST_ENTRY(page, struct encl_va, page);
	struct encl_va_level *level = &encl->va_level[va->level];

	level->here_nr--;
	level->free_nr -= SGX_VA_SLOTS - va->used_nr;
	list_del(&va->node);
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
	va->level = (uint8_t)level;
	epc_page_set_cookie(frame, ENCL_COOKIE_VA | (uintptr_t)va);
	va->next_made = encl->va_made;
	encl->va_made = va;
	encl->va_level[level].nr++;
	va_in_locked(encl, &va->page);
	return 0;
}

void va_track_locked(struct encl *encl)
{
	for (struct encl_va *va = encl->va_made; va; va = va->next_made)
		if (va_is_here(va) && !va_is_top(encl, va))
			page_track_locked(encl, &va->page);
}

void va_recount_locked(struct encl *encl)
{
	for (unsigned int i = 0; i < ENCL_VA_LEVELS; i++) {
		encl->va_level[i] = (struct encl_va_level){ 0 };
		list_init(&encl->va_level[i].with_free);
	}
	for (struct encl_va *va = encl->va_made; va; va = va->next_made) {
		encl->va_level[va->level].nr++;
		if (va_is_here(va))
			va_in_locked(encl, &va->page);
	}
}

bool va_slot_get_locked(struct encl *encl, struct encl_page *page)
{
	struct encl_va_level *level = &encl->va_level[va_level_of(page)];
	struct list *first = list_first(&level->with_free);
	unsigned int word = 0, bit;
	struct encl_va *va;

	if (!first)
		return false;
	va = LIST_ENTRY(first, struct encl_va, node);
	while (va->used[word] == UINT64_MAX)
		word++;
	bit = (unsigned int)__builtin_ctzll(~va->used[word]);
	va->used[word] |= 1ull << bit;
	va->used_nr++;
	va->busy_nr++;
	level->free_nr--;
	if (va->used_nr == SGX_VA_SLOTS)
		list_del(&va->node);
	/* In this order: whoever dies in between has not taken the slot. */
	page->va_slot = (uint16_t)(word * 64 + bit);
	atomic_signal_fence(memory_order_release);
	page->va = va;
	return true;
}

void va_slot_put_locked(struct encl *encl, struct encl_page *page)
{
	struct encl_va *va = page->va;
	struct encl_va_level *level = &encl->va_level[va->level];
	uint64_t mask = 1ull << (page->va_slot % 64);

	assert(va_is_here(va) && va->busy_nr > 0 && va->used[page->va_slot / 64] & mask);
	va->used[page->va_slot / 64] &= ~mask;
	va->busy_nr--;
	level->free_nr++;
	if (va->used_nr-- == SGX_VA_SLOTS)
		list_add(&level->with_free, &va->node);
	page->va = NULL;
}
