/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Version arrays without any EPC: pages come, leave, come back and go for good at random, VA pages as well.  A page
 * that must leave always finds a slot, and all that is away can be found again.
 */
#include <stdlib.h>
#include <string.h>

#include "epc/va.h"
#include "lib/tap.h"

enum { PAGES = 6000, VA_NR = 64, STEPS = 60000, SEEDS = 6 };

/* Of anything that may be away. */
struct version {
	struct va *va; /* NULL: it is here, or there is no such page */
	uint16_t slot;
};

struct va {
	struct va_page page;
	struct version version;
	bool there;
};

static struct va_set set;
static struct va va_pages[VA_NR];
static struct version version[PAGES];
static bool there[PAGES];
static struct va_need need;
static uint64_t rng;
static unsigned int bad, depth;

static uint32_t pick(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 20) % n;
}

static struct va *of(struct va_page *page)
{
	return page ? LIST_ENTRY(page, struct va, page) : NULL;
}

static bool any(const struct va_page *page) { return page != NULL; }

static void leave(struct version *v, unsigned int level)
{
	struct va_page *page = va_slot_get(&set, level, any, &v->slot);

	bad += !page || !page->here || page->level != level;
	if (!page)
		return;
	v->va = of(page);
	va_slot_idle(page);
}

static void come(struct version *v)
{
	va_slot_busy(&v->va->page);
	va_slot_idle(&v->va->page);
	va_slot_put(&set, &v->va->page, v->slot);
	v->va = NULL;
}

/* Of the way from @va up the part that is away, from above. */
static void bring(struct va *va)
{
	if (va->page.here)
		return;
	depth = va->page.level + 1u > depth ? va->page.level + 1u : depth;
	bring(va->version.va);
	va_in(&set, &va->page);
	come(&va->version);
}

static void bring_wanted(unsigned int level)
{
	struct va_page *wanted = va_wanted(&set, level, need);

	if (wanted)
		bring(of(wanted));
}

static void make_va(void)
{
	for (unsigned int i = 0; i < VA_NR; i++) {
		if (va_pages[i].there)
			continue;
		memset(&va_pages[i], 0, sizeof(va_pages[i]));
		va_pages[i].there = true;
		va_add(&set, &va_pages[i].page, va_short_level(&set, need));
		return;
	}
	bad++;
}

static void page_new(uint32_t i)
{
	while (va_is_short(&set, 0, need))
		make_va();
	bring_wanted(0);
	there[i] = true;
	need.pages++;
	need.here++;
}

static void page_go(uint32_t i)
{
	if (version[i].va)
		va_slot_put(&set, &version[i].va->page, version[i].slot);
	else
		need.here--;
	version[i].va = NULL;
	there[i] = false;
	need.pages--;
}

static void page_move(uint32_t i)
{
	if (version[i].va) {
		bring(version[i].va);
		bring_wanted(0);
		come(&version[i]);
		need.here++;
	} else {
		leave(&version[i], 0);
		need.here--;
	}
}

static void va_move(struct va *va)
{
	if (!va->there)
		return;
	if (va_is_spare(&set, &va->page, need)) {
		if (!va->page.here)
			va_slot_put(&set, &va->version.va->page, va->version.slot);
		va_remove(&set, &va->page);
		va->there = false;
	} else if (va->page.here && va_may_go(&set, &va->page, need)) {
		va_out(&set, &va->page);
		leave(&va->version, va->page.level + 1u);
	}
}

/* What the lists say is what there is. */
static bool counts_hold(void)
{
	struct va_level before[VA_LEVELS];
	bool ok = true;

	memcpy(before, set.level, sizeof(before));
	va_forget_slots(&set);
	for (uint32_t i = 0; i < PAGES; i++)
		if (version[i].va)
			va_note_slot(&version[i].va->page, version[i].slot, false);
	for (unsigned int i = 0; i < VA_NR; i++)
		if (va_pages[i].there && !va_pages[i].page.here)
			va_note_slot(&va_pages[i].version.va->page, va_pages[i].version.slot,
				     false);
	va_recount(&set);
	for (unsigned int i = 0; i < VA_LEVELS; i++) {
		uint64_t here = i ? set.level[i - 1].here_nr : need.here;

		ok = ok && before[i].nr == set.level[i].nr &&
		     before[i].here_nr == set.level[i].here_nr &&
		     before[i].free_nr == set.level[i].free_nr;
		ok = ok && (set.level[i].nr == 0 || set.level[i].free_nr >= here);
	}
	return ok;
}

static void step(uint32_t pages)
{
	uint32_t i = pick(pages);

	if (pick(8) == 0)
		va_move(&va_pages[pick(VA_NR)]);
	if (!there[i])
		page_new(i);
	else if (pick(4) == 0)
		page_go(i);
	else
		page_move(i);
}

static void run(uint64_t seed)
{
	bool hold = true;

	va_init(&set);
	rng = seed * 0x9e3779b97f4a7c15ull;
	bad = depth = 0;
	/* It grows, and shrinks again. */
	for (uint32_t i = 0; i < STEPS; i++) {
		step(i < STEPS / 2 ? PAGES : PAGES / 8);
		if (i % 1000 == 0)
			hold = hold && counts_hold();
	}
	TAP_CHECK(bad == 0, "seed %u: whoever leaves finds a slot", (unsigned int)seed);
	TAP_CHECK(hold, "seed %u: as many slots are free and here as pages are here",
		  (unsigned int)seed);
	TAP_CHECK(depth > 0 && set.level[1].nr > 0, "seed %u: VA pages leave and come",
		  (unsigned int)seed);
	for (uint32_t i = 0; i < PAGES; i++)
		if (there[i])
			page_go(i);
	for (unsigned int level = 0; level < VA_LEVELS; level++)
		for (unsigned int i = 0; i < VA_NR; i++)
			va_move(&va_pages[i]);
	TAP_CHECK(!set.made, "seed %u: nothing is left when nothing needs it", (unsigned int)seed);
}

int main(void)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run(seed);
	return tap_done();
}
