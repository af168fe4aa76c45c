/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * CLOCK-Pro (Jiang, Chen and Zhang, USENIX ATC 2005): LIRS's question, asked only when there is a fault, and with as many
 * cold pages as pay.
 *
 * A page that comes is *cold*, and *in its test*.  Should it be used again before its test ends it becomes *hot*,
 * also when it was evicted meanwhile; cold pages go first.  A test ends when the hand of the hot pages, which
 * stands at the one that was looked at longest ago, has gone past where the cold page was put.  A use in a test says that more
 * cold pages would have saved a fault, so there is one more of them from then on, and a test that ends without, one less.
 *
 * The paper has one ring of all pages, in the order in which they were put at its head, and three hands.  Here are two
 * lists in that same order, hot and cold, whose first pages are where two of the hands stand; evicted pages are ghosts;
 * and which is before which across the three is told by stamps of when a page was put, in grains of a sixteenth of
 * the pages.  The third hand ends the tests of those evicted longest ago when more than there are pages are being tested.
 *
 * Invariant: no test is open that began in grain @passed or before, and @testing counts those of evicted pages.
 */
#include <string.h>

#include "base/arena.h"
#include "epc/pagelist.h"
#include "epc/policy.h"
#include "epc/policy_ghost.h"
#include "epc/policy_sample.h"

enum { COLD, HOT, LIST_NR };

enum {
	COLD_MIN = 18,   /* a batch, and room for two that have just come */
	COLD_PART = 100, /* and one page of so many */
	GRAINS = 16,     /* of time, in which as many pages come as there are */
	GRAIN_NR = 256,  /* that a stamp tells apart; of two, the newer one within half of them */
	STALE = 100,     /* grains: no hand falls behind further */
	DEMOTE_MAX = 2,  /* hot pages that become cold for one victim, where there are too many */
	HAND_EVERY = 8,  /* pages that come: then the hot hand is looked after */
	HAND_MAX = 16,   /* hot pages looked at for one that may become one */
};

struct clockpro {
	const struct policy_view *view;
	struct pagelist list[LIST_NR];
	bool full;         /* a victim was wanted: until then every page is hot */
	uint32_t capacity; /* pages there were when victims were wanted */
	uint32_t cold;     /* of which so many are to be cold, within cold_min() and all but that */
	uint32_t came;     /* pages that came in this grain */
	uint32_t to_hand;
	uint32_t spared; /* since the last victim */
	uint8_t now;
	uint8_t passed;
	uint32_t testing_nr;
	uint32_t testing[GRAIN_NR]; /* evicted pages by the grain in which their tests began */
};

static uint32_t order_nr(const struct clockpro *cp)
{
	return cp->list[COLD].nr + cp->list[HOT].nr;
}

static bool newer(uint8_t a, uint8_t b)
{
	return (int8_t)(a - b) > 0;
}

static void take_out(struct clockpro *cp, uint32_t nr)
{
	pagelist_del(cp->view->pages, &cp->list[sample_list(cp->view, nr)], nr);
}

static void put(struct clockpro *cp, uint32_t nr, unsigned int list, uint8_t stamp)
{
	cp->view->pages[nr].stamp = stamp;
	sample_set_list(cp->view, nr, list);
	pagelist_add_tail(cp->view->pages, &cp->list[list], nr);
}

/* ---- how many are cold -------------------------------------------------------------------------- */

static uint32_t cold_min(const struct clockpro *cp)
{
	uint32_t nr = cp->capacity, least = nr / 4 + 2 < COLD_MIN ? nr / 4 + 2 : COLD_MIN;

	return nr / COLD_PART > least ? nr / COLD_PART : least;
}

static uint32_t hot_max(const struct clockpro *cp)
{
	return cp->capacity > cp->cold ? cp->capacity - cp->cold : 0;
}

static void want_colder(struct clockpro *cp)
{
	uint32_t least = cold_min(cp);

	if (cp->cold + least < cp->capacity)
		cp->cold++;
}

static void want_hotter(struct clockpro *cp, uint32_t by)
{
	uint32_t least = cold_min(cp);

	cp->cold = cp->cold > least + by ? cp->cold - by : least;
}

/* ---- tests, and the hands that end them ------------------------------------------------------------ */

static bool in_test(const struct clockpro *cp, uint8_t stamp)
{
	return newer(stamp, cp->passed);
}

static void pass_one_grain(struct clockpro *cp)
{
	cp->passed++;
	want_hotter(cp, cp->testing[cp->passed]);
	cp->testing_nr -= cp->testing[cp->passed];
	cp->testing[cp->passed] = 0;
}

/* The hot hand goes on to the hot page that is first now.  A stamp that is ahead of time is very old. */
static void hot_hand_moved(struct clockpro *cp)
{
	uint32_t nr = cp->list[HOT].first;

	while (nr != PAGE_NONE && newer(cp->view->pages[nr].stamp, cp->passed) &&
	       newer(cp->now, cp->passed))
		pass_one_grain(cp);
}

/* It stands at a page that was used since it came by: that one is put anew. */
static bool hot_hand_spares(struct clockpro *cp)
{
	uint32_t nr = cp->list[HOT].first;

	if (nr == PAGE_NONE || !sample_test_and_arm(cp->view, nr))
		return false;
	take_out(cp, nr);
	put(cp, nr, HOT, cp->now);
	hot_hand_moved(cp);
	return true;
}

static void hot_hand_demotes(struct clockpro *cp)
{
	uint32_t nr = cp->list[HOT].first;

	take_out(cp, nr);
	hot_hand_moved(cp);
	put(cp, nr, COLD, cp->passed); /* it is in no test */
}

/* The hand is to stop at a page that is not used; when it gets to where the test began, the test is over. */
static bool proves_hot(struct clockpro *cp, uint8_t stamp)
{
	unsigned int i;

	for (i = 0; in_test(cp, stamp); i++) {
		if (i == HAND_MAX)
			return false;
		if (!hot_hand_spares(cp))
			return true;
	}
	return false;
}

static void time_passes(struct clockpro *cp)
{
	uint32_t first;

	if (++cp->came >= order_nr(cp) / GRAINS) {
		cp->came = 0;
		cp->now++;
		while ((uint8_t)(cp->now - cp->passed) > STALE)
			pass_one_grain(cp);
	}
	if (++cp->to_hand < HAND_EVERY)
		return;
	/* No stamp gets so old that it looks new: those of both first pages stay behind @passed. */
	cp->to_hand = 0;
	(void)hot_hand_spares(cp);
	for (unsigned int i = 0; i < LIST_NR; i++) {
		first = cp->list[i].first;
		if (first != PAGE_NONE && !in_test(cp, cp->view->pages[first].stamp))
			cp->view->pages[first].stamp = cp->passed;
	}
}

/* ---- the table ------------------------------------------------------------------------------------ */

static void *clockpro_create(struct arena *arena, const struct policy_view *view)
{
	struct clockpro *cp = arena_alloc(arena, sizeof(*cp));

	if (!cp)
		return NULL;
	cp->view = view;
	pagelist_init(&cp->list[COLD]);
	pagelist_init(&cp->list[HOT]);
	return cp;
}

static void clockpro_destroy(void *p, struct arena *arena)
{
	arena_free(arena, p, sizeof(struct clockpro));
}

static void clockpro_insert(void *p, uint32_t nr)
{
	struct clockpro *cp = p;
	bool ghost, hot = !cp->full;
	uint8_t stamp;

	time_passes(cp);
	ghost = ghost_take(cp->view->ghosts, ghost_key(cp->view, nr), &stamp);
	if (ghost && in_test(cp, stamp) && cp->testing[stamp] > 0) {
		cp->testing[stamp]--;
		cp->testing_nr--;
		want_colder(cp);
		hot = hot || proves_hot(cp, stamp);
	}
	sample_set(cp->view, nr, false);
	sample_arm_new(cp->view, nr);
	put(cp, nr, hot ? HOT : COLD, cp->now);
}

static void clockpro_remove(void *p, uint32_t nr)
{
	take_out(p, nr);
}

/* A cold page was used: in its test it becomes hot, else its test begins. */
static void cold_was_used(struct clockpro *cp, uint32_t nr)
{
	uint8_t stamp = cp->view->pages[nr].stamp;
	bool hot = false;

	if (in_test(cp, stamp)) {
		want_colder(cp);
		hot = proves_hot(cp, stamp);
	}
	take_out(cp, nr);
	put(cp, nr, hot ? HOT : COLD, cp->now);
}

/* The first cold page that was not used. */
static uint32_t unused_page(struct clockpro *cp, unsigned int *looked)
{
	unsigned int demoted = 0, spared = 0;
	uint32_t nr;

	while (*looked < POLICY_LOOK_MAX && order_nr(cp) > 0) {
		if (cp->list[COLD].nr == 0 ||
		    (cp->list[HOT].nr > hot_max(cp) && demoted < DEMOTE_MAX && spared < HAND_MAX)) {
			if (hot_hand_spares(cp)) {
				spared++;
				++*looked;
			} else {
				demoted++;
				hot_hand_demotes(cp);
			}
			continue;
		}
		nr = cp->list[COLD].first;
		++*looked;
		if (!sample_test_and_arm(cp->view, nr))
			return nr;
		cold_was_used(cp, nr);
	}
	return PAGE_NONE;
}

/* The next one to be looked at, used or not. */
static uint32_t any_page(struct clockpro *cp)
{
	if (cp->list[COLD].nr == 0)
		hot_hand_demotes(cp);
	return cp->list[COLD].first;
}

static uint32_t clockpro_pick(void *p, unsigned int *ret_looked)
{
	struct clockpro *cp = p;
	uint32_t nr = order_nr(cp);

	/* A batch takes some; then as many come. */
	if (nr > cp->capacity)
		cp->capacity = nr;
	else
		cp->capacity -= (cp->capacity - nr) / 64;
	cp->full = true;
	want_hotter(cp, 0);
	*ret_looked = 0;
	nr = unused_page(cp, ret_looked);
	cp->spared += *ret_looked;
	if (nr == PAGE_NONE && cp->spared >= POLICY_SPARED_MAX && order_nr(cp) > 0)
		nr = any_page(cp);
	if (nr != PAGE_NONE) {
		take_out(cp, nr);
		cp->spared = 0;
	}
	return nr;
}

/* As hot: the cold ones are few, and if none of them can go, others must be looked at. */
static void clockpro_put_back(void *p, uint32_t nr, enum policy_return why)
{
	struct clockpro *cp = p;

	put(cp, nr, HOT, cp->now);
}

static void clockpro_evicted(void *p, uint32_t nr)
{
	struct clockpro *cp = p;
	uint8_t stamp = cp->view->pages[nr].stamp;

	/* Read ahead, and nobody came: later somebody may have, as in a test. */
	if (sample_is_ahead(cp->view, nr))
		want_colder(cp);
	if (!in_test(cp, stamp))
		return;
	ghost_put(cp->view->ghosts, ghost_key(cp->view, nr), stamp);
	cp->testing[stamp]++;
	cp->testing_nr++;
	while (cp->testing_nr > cp->capacity)
		pass_one_grain(cp);
}

static void clockpro_reset(void *p)
{
	struct clockpro *cp = p;

	pagelist_init(&cp->list[COLD]);
	pagelist_init(&cp->list[HOT]);
	memset(cp->testing, 0, sizeof(cp->testing));
	cp->testing_nr = 0;
	cp->spared = 0;
	cp->passed = cp->now;
}

static uint32_t clockpro_nr(const void *p)
{
	return order_nr(p);
}

static bool clockpro_check(const void *p)
{
	const struct clockpro *cp = p;
	uint32_t grain, nr = 0;

	for (grain = 0; grain < GRAIN_NR; grain++) {
		nr += cp->testing[grain];
		if (cp->testing[grain] > 0 && !in_test(cp, (uint8_t)grain))
			return false;
	}
	return nr == cp->testing_nr && pagelist_check(cp->view->pages, &cp->list[COLD]) &&
	       pagelist_check(cp->view->pages, &cp->list[HOT]);
}

const struct epc_policy policy_clockpro = {
	.name = "clockpro",
	.in_rounds = true,
	.create = clockpro_create,
	.destroy = clockpro_destroy,
	.insert = clockpro_insert,
	.remove = clockpro_remove,
	.pick = clockpro_pick,
	.put_back = clockpro_put_back,
	.evicted = clockpro_evicted,
	.reset = clockpro_reset,
	.nr = clockpro_nr,
	.check = clockpro_check,
};
