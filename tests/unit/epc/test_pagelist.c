/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Lists of pages: any mix of operations leaves them whole, and what was fetched stays among the first pages. */
#include "epc/pagelist.h"

#include <string.h>

#include "lib/tap.h"

enum { PAGES = 200, STEPS = 200000 };

static struct epc_page pages[PAGES];

struct lists {
	struct pagelist list[2];
	uint8_t on[PAGES]; /* 0 or 1; 2: on none */
	uint64_t rng;
};

static uint32_t rnd(struct lists *l, uint32_t below)
{
	l->rng = l->rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((l->rng >> 33) % below);
}

/* One page comes, goes, or changes its place. */
static void step(struct lists *l)
{
	uint32_t nr = rnd(l, PAGES), list = rnd(l, 2);

	if (rnd(l, 4) == 0) {
		pagelist_fetch(pages, &l->list[list]);
		return;
	}
	if (rnd(l, 3) == 0 && l->list[list].nr > 0)
		nr = l->list[list].first;
	if (l->on[nr] < 2) {
		pagelist_del(pages, &l->list[l->on[nr]], nr);
		l->on[nr] = 2;
		if (rnd(l, 2))
			return;
	}
	l->on[nr] = (uint8_t)list;
	if (rnd(l, 8) == 0)
		pagelist_add(pages, &l->list[list], nr);
	else
		pagelist_add_tail(pages, &l->list[list], nr);
}

static void test_operations(void)
{
	struct lists l = { .rng = 1 };
	bool whole = true, few = true;
	unsigned int i;

	memset(l.on, 2, sizeof(l.on));
	pagelist_init(&l.list[0]);
	pagelist_init(&l.list[1]);
	for (i = 0; i < STEPS; i++) {
		step(&l);
		whole &= pagelist_check(pages, &l.list[0]) && pagelist_check(pages, &l.list[1]);
		few &= l.list[0].fetched_nr <= PAGELIST_FETCH_MAX &&
		       l.list[1].fetched_nr <= PAGELIST_FETCH_MAX;
	}
	TAP_CHECK(whole, "%u operations leave both lists whole", STEPS);
	TAP_CHECK(few, "and no more is fetched than will be needed");
}

/* As they are used: pages come at the end and go from the front. */
static void test_queue(void)
{
	struct pagelist list;
	bool ahead = true;
	uint32_t nr;

	pagelist_init(&list);
	for (nr = 0; nr < PAGES; nr++)
		pagelist_add_tail(pages, &list, nr);
	for (nr = 0; nr < 2 * PAGELIST_FETCH_MAX; nr++)
		pagelist_fetch(pages, &list);
	TAP_CHECK(list.fetched == PAGELIST_FETCH_MAX - 1, "the first %u are fetched",
		  PAGELIST_FETCH_MAX);
	for (nr = 0; nr < PAGES * 10; nr++) {
		ahead &= list.fetched_nr == PAGELIST_FETCH_MAX;
		pagelist_add_tail(pages, &list, pagelist_pop(pages, &list));
		pagelist_fetch(pages, &list);
	}
	TAP_CHECK(ahead, "and so many stay, one for each that goes");
	while (list.nr > 0)
		pagelist_pop(pages, &list);
	pagelist_fetch(pages, &list);
	TAP_CHECK(list.fetched_nr == 0, "none, where there are none");
}

int main(void)
{
	test_operations();
	test_queue();
	return tap_done();
}
