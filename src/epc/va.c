/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * See va.h.
 *
 * A slot is taken where the fewest are free, or nearly so: VA pages that are full cost nothing when they leave.
 */
#include "epc/va.h"

#include <assert.h>

enum {
	/* Of each VA page, where there are several, this many are no room: some have free slots, wherever those are. */
	SPARE_SLOTS = 8,
	/* A VA page with more free slots than SPARE_SLOTS leaves this much slack behind it. */
	SLACK_KEPT = 32,
	/* Slots to spare where a VA page goes for good, so that it does not come and go with every page. */
	ROOM_KEPT = SGX_VA_SLOTS / 2,
};

static uint32_t free_nr(const struct va_page *va)
{
	return SGX_VA_SLOTS - va->used_nr;
}

static void level_clear(struct va_level *level)
{
	*level = (struct va_level){ 0 };
	list_init(&level->with_free);
}

void va_init(struct va_set *set)
{
	set->made = NULL;
	for (unsigned int i = 0; i < VA_LEVELS; i++)
		level_clear(&set->level[i]);
}

/* ---- how many ------------------------------------------------------------------------------------- */

static uint64_t level_pages(const struct va_set *set, unsigned int level, struct va_need need)
{
	return level == 0 ? need.pages : set->level[level - 1].nr;
}

static uint64_t level_pages_here(const struct va_set *set, unsigned int level, struct va_need need)
{
	return level == 0 ? need.here : set->level[level - 1].here_nr;
}

static int64_t level_slack(const struct va_set *set, unsigned int level, struct va_need need)
{
	return (int64_t)set->level[level].free_nr - (int64_t)level_pages_here(set, level, need);
}

static uint64_t room_of(uint64_t nr)
{
	return nr > 1 ? nr * (SGX_VA_SLOTS - SPARE_SLOTS) : nr * SGX_VA_SLOTS;
}

bool va_is_short(const struct va_set *set, unsigned int level, struct va_need need)
{
	return level_pages(set, level, need) + 1 > room_of(set->level[level].nr);
}

unsigned int va_short_level(const struct va_set *set, struct va_need need)
{
	unsigned int level = 0;

	while (level + 1 < VA_LEVELS && set->level[level].nr > 0 &&
	       va_is_short(set, level + 1, need))
		level++;
	return level;
}

struct va_page *va_wanted(const struct va_set *set, unsigned int level, struct va_need need)
{
	int64_t slack = level_slack(set, level, need);
	struct va_page *best = NULL;
	uint32_t least = slack < 1 ? 1 : SPARE_SLOTS + 1;

	if (slack >= SLACK_KEPT / 2)
		return NULL;
	for (struct va_page *va = set->made; va; va = va->next) {
		if (va->level != level || va->here || free_nr(va) < least)
			continue;
		best = va;
		least = free_nr(va) + 1;
	}
	return best;
}

bool va_is_top(const struct va_set *set, const struct va_page *va)
{
	return va->level + 1 == VA_LEVELS || set->level[va->level + 1].nr == 0;
}

bool va_may_go(const struct va_set *set, const struct va_page *va, struct va_need need)
{
	if (va_is_top(set, va) || va->busy_nr > 0)
		return false;
	if (level_pages_here(set, va->level, need) == 0)
		return true;
	return level_slack(set, va->level, need) - (int64_t)free_nr(va) >=
	       (free_nr(va) > SPARE_SLOTS ? SLACK_KEPT : 0);
}

bool va_is_spare(const struct va_set *set, const struct va_page *va, struct va_need need)
{
	uint64_t pages = level_pages(set, va->level, need);

	if (va->used_nr > 0)
		return false;
	if (pages == 0)
		return true;
	if (pages + ROOM_KEPT > room_of(set->level[va->level].nr - 1))
		return false;
	return !va->here || level_slack(set, va->level, need) - (int64_t)free_nr(va) >= SLACK_KEPT;
}

/* ---- VA pages ------------------------------------------------------------------------------------- */

void va_in(struct va_set *set, struct va_page *va)
{
	struct va_level *level = &set->level[va->level];

	va->here = true;
	level->here_nr++;
	level->free_nr += free_nr(va);
	list_init(&va->node);
	if (free_nr(va) > SPARE_SLOTS)
		list_add_tail(&level->with_free, &va->node);
	else if (free_nr(va) > 0)
		list_add(&level->with_free, &va->node);
}

void va_out(struct va_set *set, struct va_page *va)
{
	struct va_level *level = &set->level[va->level];

	va->here = false;
	level->here_nr--;
	level->free_nr -= free_nr(va);
	list_del(&va->node);
}

void va_add(struct va_set *set, struct va_page *va, unsigned int level)
{
	va->level = (uint8_t)level;
	va->next = set->made;
	set->made = va;
	set->level[level].nr++;
	va_in(set, va);
}

void va_remove(struct va_set *set, struct va_page *va)
{
	struct va_page **link = &set->made;

	assert(va->used_nr == 0);
	while (*link != va)
		link = &(*link)->next;
	*link = va->next;
	if (va->here)
		va_out(set, va);
	set->level[va->level].nr--;
}

/* ---- slots ---------------------------------------------------------------------------------------- */

/* One that is not usable goes behind all others, where it is not looked at each time. */
static struct va_page *first_usable(struct va_level *level, va_usable *usable)
{
	struct list *first, *passed = NULL;
	struct va_page *va;

	for (;;) {
		first = list_first(&level->with_free);
		if (!first || first == passed)
			return NULL;
		va = LIST_ENTRY(first, struct va_page, node);
		if (usable(va))
			return va;
		if (!passed)
			passed = first;
		list_del(first);
		list_add_tail(&level->with_free, first);
	}
}

struct va_page *va_slot_get(struct va_set *set, unsigned int nr, va_usable *usable,
			    uint16_t *ret_slot)
{
	struct va_level *level = &set->level[nr];
	struct va_page *va = first_usable(level, usable);
	unsigned int word = 0, bit;

	if (!va)
		return NULL;
	while (va->used[word] == UINT64_MAX)
		word++;
	bit = (unsigned int)__builtin_ctzll(~va->used[word]);
	va->used[word] |= 1ull << bit;
	va->used_nr++;
	va->busy_nr++;
	level->free_nr--;
	if (va->used_nr == SGX_VA_SLOTS)
		list_del(&va->node);
	*ret_slot = (uint16_t)(word * 64 + bit);
	return va;
}

void va_slot_put(struct va_set *set, struct va_page *va, uint16_t slot)
{
	struct va_level *level = &set->level[va->level];
	uint64_t mask = 1ull << (slot % 64);

	assert(va->used[slot / 64] & mask);
	va->used[slot / 64] &= ~mask;
	va->used_nr--;
	if (!va->here)
		return;
	level->free_nr++;
	if (va->used_nr + 1 == SGX_VA_SLOTS)
		list_add(&level->with_free, &va->node);
}

void va_slot_busy(struct va_page *va)
{
	assert(va->here);
	va->busy_nr++;
}

void va_slot_idle(struct va_page *va)
{
	assert(va->here && va->busy_nr > 0);
	va->busy_nr--;
}

/* ---- after a death ---------------------------------------------------------------------------------- */

void va_forget_slots(struct va_set *set)
{
	for (struct va_page *va = set->made; va; va = va->next) {
		va->used_nr = va->busy_nr = 0;
		for (unsigned int i = 0; i < SGX_VA_SLOTS / 64; i++)
			va->used[i] = 0;
	}
}

void va_note_slot(struct va_page *va, uint16_t slot, bool busy)
{
	va->used[slot / 64] |= 1ull << (slot % 64);
	va->used_nr++;
	va->busy_nr += busy;
}

void va_recount(struct va_set *set)
{
	for (unsigned int i = 0; i < VA_LEVELS; i++)
		level_clear(&set->level[i]);
	for (struct va_page *va = set->made; va; va = va->next) {
		set->level[va->level].nr++;
		if (va->here)
			va_in(set, va);
	}
}
