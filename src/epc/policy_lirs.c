/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * LIRS (Jiang and Zhang, SIGMETRICS 2002) from what software SGX sees, and the default policy, which plays it,
 * Linux's order or CLOCK's, whichever does best (policy_duel.h).
 *
 * LIRS keeps the pages that are used again soonest, by when they were used last and the time before.  Those
 * are *hot*; the others are *cold*, few, and the ones that go.  A page becomes hot when it is used again before the
 * hot page that was not used for longest.  The paper keeps all pages in one stack, which every use changes; here
 * each page has a stamp of when it was last seen to be used, and whether it was used since then is looked up when it
 * matters, as CLOCK does: at the front of each list.  The stamps of evicted pages are with their ghosts.
 *
 * Time counts pages brought in.  A stamp has 8 bits, of which each stands for a sixteenth of the pages: the oldest
 * hot page is looked at often enough that no stamp gets so old that it looks new.
 *
 * Linux's order and CLOCK's on the same two lists: the older of the first pages of both goes first.  In Linux's new pages
 * start as used; those that came before it was known which order it would be do not: to take that chance from
 * each of them would be a look at all pages for the first victim.
 *
 * Which list is the hot one changes when the order does, so that all pages become hot at once.
 */
#include "base/arena.h"
#include "epc/pagelist.h"
#include "epc/policy.h"
#include "epc/policy_duel.h"
#include "epc/policy_ghost.h"
#include "epc/policy_sample.h"

enum {
	COLD_MIN = 18, /* a batch, and room for two that have just come */
	UNSURE_COLD_PART =
		10,        /* one page of so many is cold until LIRS has proved better than Linux */
	GRAINS = 16,       /* of time, in which as many pages come as there are */
	DEMOTE_MAX = 2,    /* hot pages that become cold for one victim, where there are too many */
	STALE = 100,       /* grains: old enough */
	HAND_EVERY = 8,    /* pages that come: then the oldest ones are looked at */
	HAND_MAX = 16,     /* hot pages looked at for one that may become one */
	AHEAD_MAX = 96,    /* cold pages more than otherwise, for those that came ahead */
	AHEAD_KEPT = 64,   /* batches for which there is room for as many as there were once */
	SPARED_MAX = 4096, /* used pages that are spared for one victim: then the next one goes */
};

struct lirs {
	const struct policy_view *view;
	struct duel *duel; /* NULL: LIRS and nothing else */
	struct pagelist list[2];
	unsigned int hot;      /* the list of hot pages; the other has the cold ones */
	enum duel_order order; /* in force */
	bool full;             /* a victim was wanted: until then every page is hot */
	uint32_t capacity;     /* pages there were when victims were wanted */
	uint32_t unwatched;    /* the next to be armed of those that came before there was need */
	uint32_t unwatched_nr; /* and how many, at the most */
	bool watching;         /* uses of new pages are watched for */
	uint32_t came;         /* pages that came in this grain */
	uint32_t to_hand;
	uint32_t spared;     /* since the last victim */
	uint32_t ahead;      /* so many more are cold now */
	uint32_t ahead_most; /* that it had to be, in the last ahead_seen batches */
	uint32_t ahead_seen;
	bool came_ahead; /* a page has, since the last victim */
	uint8_t now;
};

static struct pagelist *hot_list(struct lirs *l)
{
	return &l->list[l->hot];
}

static struct pagelist *cold_list(struct lirs *l)
{
	return &l->list[!l->hot];
}

static uint32_t order_nr(const struct lirs *l)
{
	return l->list[0].nr + l->list[1].nr;
}

static uint8_t stamp_of(const struct lirs *l, uint32_t nr)
{
	return l->view->pages[nr].stamp;
}

static bool newer(uint8_t a, uint8_t b)
{
	return (int8_t)(a - b) > 0;
}

static void add_tail(struct lirs *l, uint32_t nr, bool hot)
{
	unsigned int list = hot ? l->hot : !l->hot;

	sample_set_list(l->view, nr, list);
	pagelist_add_tail(l->view->pages, &l->list[list], nr);
}

static void take_out(struct lirs *l, uint32_t nr)
{
	if (nr == l->unwatched)
		l->unwatched = page_next(l->view->pages, nr);
	pagelist_del(l->view->pages, &l->list[sample_list(l->view, nr)], nr);
}

/* Its stamp says now, and it is the last of its kind. */
static void requeue(struct lirs *l, uint32_t nr, bool hot)
{
	take_out(l, nr);
	l->view->pages[nr].stamp = l->now;
	add_tail(l, nr, hot);
}

/* ---- time --------------------------------------------------------------------------------------- */

/* The first of a list cannot be left alone for so long that its stamp looks new. */
static void look_at_oldest(struct lirs *l, const struct pagelist *list, bool hot)
{
	uint32_t nr = list->first;
	uint8_t age;

	if (nr == PAGE_NONE)
		return;
	age = (uint8_t)(l->now - stamp_of(l, nr));
	if (hot && sample_is_used(l->view, nr)) {
		sample_test_and_arm(l->view, nr);
		requeue(l, nr, true);
	} else if (age > STALE) {
		l->view->pages[nr].stamp = (uint8_t)(l->now - STALE);
	}
}

static void time_passes(struct lirs *l)
{
	/* As long as pages only come nobody knows how many there will be; were time to go by those that are there, the
	 * first ones would be too old for a stamp. */
	if (++l->came >= (l->full ? order_nr(l) : l->view->page_nr) / GRAINS) {
		l->came = 0;
		l->now++;
	}
	if (++l->to_hand >= HAND_EVERY) {
		l->to_hand = 0;
		look_at_oldest(l, hot_list(l), l->order == DUEL_LIRS);
		look_at_oldest(l, cold_list(l), false);
	}
}

/*
 * A program that fits pays nothing.  From a quarter full on uses are watched for: those of each page that comes, and
 * of one that was there before.
 */
static void watch(struct lirs *l, uint32_t nr)
{
	if (!l->watching) {
		if (!l->full && order_nr(l) < l->view->page_nr / 4)
			return;
		l->watching = true;
		if (l->duel && !l->full)
			duel_watch(l->duel);
		l->unwatched_nr = order_nr(l);
		l->unwatched = l->list[0].nr >= l->list[1].nr ? l->list[0].first : l->list[1].first;
	}
	if (l->unwatched != PAGE_NONE && l->unwatched_nr > 0) {
		l->unwatched_nr--;
		sample_arm(l->view, l->unwatched);
		l->unwatched = page_next(l->view->pages, l->unwatched);
	}
	if (l->order != DUEL_UPSTREAM || duel_is_sampled(l->duel, ghost_key(l->view, nr)))
		sample_arm_new(l->view, nr);
}

/* ---- hot and cold --------------------------------------------------------------------------------- */

static uint32_t hot_max(const struct lirs *l)
{
	bool sure = !l->duel || duel_lirs_is_sure(l->duel);
	uint32_t nr = l->capacity, cold = nr / (sure ? DUEL_COLD_PART : UNSURE_COLD_PART);
	uint32_t least = nr / 4 + 2 < COLD_MIN ? nr / 4 + 2 : COLD_MIN;

	if (cold < least)
		cold = least;
	cold += l->ahead < nr / 4 ? l->ahead : nr / 4;
	return nr > cold ? nr - cold : 0;
}

/*
 * Pages that were read ahead go by, as a scan's do, but not before they are used: so there is room behind them for as many
 * as came since the oldest that waits, if it is one of many: a few may wait in vain.  Room that comes and goes with each
 * batch would make hot pages of whatever comes next.
 */
static void see_ahead(struct lirs *l)
{
	uint32_t nr = cold_list(l)->last, looked, waiting = 0, room = 0;

	for (looked = 1; nr != PAGE_NONE && looked <= AHEAD_MAX; looked++) {
		if (sample_is_ahead(l->view, nr)) {
			waiting++;
			room = looked < 2 * waiting ? looked : 2 * waiting;
		}
		nr = page_prev(l->view->pages, nr);
	}
	if (room > l->ahead_most)
		l->ahead_most = room;
	if (room > l->ahead)
		l->ahead = room;
	if (++l->ahead_seen < AHEAD_KEPT)
		return;
	l->ahead = l->ahead_most;
	l->ahead_most = l->ahead_seen = 0;
}

/* Used since the oldest hot page was.  When too many of those have been used since they were looked at: no. */
static bool is_hotter(struct lirs *l, uint8_t stamp)
{
	struct pagelist *hot = hot_list(l);
	unsigned int i;

	for (i = 0; i < HAND_MAX; i++) {
		if (hot->first == PAGE_NONE)
			return true;
		if (!newer(stamp, stamp_of(l, hot->first)))
			return false;
		if (!sample_test_and_arm(l->view, hot->first))
			return true;
		requeue(l, hot->first, true);
	}
	return false;
}

static uint32_t lirs_victim(struct lirs *l, unsigned int *looked)
{
	struct pagelist *hot = hot_list(l), *cold = cold_list(l);
	unsigned int demoted = 0;
	uint32_t nr;
	uint8_t stamp;

	while (*looked < POLICY_LOOK_MAX && order_nr(l) > 0) {
		if (cold->nr == 0 || (hot->nr > hot_max(l) && demoted < DEMOTE_MAX)) {
			nr = hot->first;
			if (sample_test_and_arm(l->view, nr)) {
				++*looked;
				requeue(l, nr, true);
			} else {
				demoted++;
				take_out(l, nr);
				add_tail(l, nr, false);
			}
			continue;
		}
		nr = cold->first;
		++*looked;
		if (!sample_test_and_arm(l->view, nr))
			return nr;
		stamp = stamp_of(l, nr);
		requeue(l, nr, is_hotter(l, stamp));
	}
	return PAGE_NONE;
}

/* ---- Linux's order, and CLOCK's -------------------------------------------------------------------- */

/* PAGE_NONE: there are none. */
static uint32_t first_of_all(struct lirs *l)
{
	uint32_t a = hot_list(l)->first, b = cold_list(l)->first;

	if (a == PAGE_NONE || (b != PAGE_NONE && newer(stamp_of(l, a), stamp_of(l, b))))
		return b;
	return a;
}

static uint32_t fifo_victim(struct lirs *l, unsigned int *looked)
{
	uint32_t nr;

	while (*looked < POLICY_LOOK_MAX && order_nr(l) > 0) {
		++*looked;
		nr = first_of_all(l);
		if (!sample_test_and_arm(l->view, nr))
			return nr;
		sample_arm(l->view, nr);
		requeue(l, nr, false);
	}
	return PAGE_NONE;
}

/* The one that the shadows recommend, from now on. */
static void choose_order(struct lirs *l)
{
	enum duel_order order = l->duel ? duel_order(l->duel) : DUEL_LIRS;

	if (l->order != DUEL_LIRS && order == DUEL_LIRS && cold_list(l)->nr > hot_list(l)->nr)
		l->hot = !l->hot;
	l->order = order;
}

/* The first time that a victim is wanted. */
static void is_full(struct lirs *l)
{
	l->full = true;
	if (l->duel)
		duel_start(l->duel);
}

/* ---- the table ------------------------------------------------------------------------------------ */

static void *create(struct arena *arena, const struct policy_view *view, bool duel)
{
	struct lirs *l = arena_alloc(arena, sizeof(*l));

	if (!l)
		return NULL;
	l->view = view;
	l->order = DUEL_LIRS;
	l->unwatched = PAGE_NONE;
	pagelist_init(&l->list[0]);
	pagelist_init(&l->list[1]);
	if (!duel)
		return l;
	l->duel = duel_create(arena, view);
	if (l->duel)
		return l;
	arena_free(arena, l, sizeof(*l));
	return NULL;
}

static void *lirs_create(struct arena *arena, const struct policy_view *view)
{
	return create(arena, view, false);
}

static void *adaptive_create(struct arena *arena, const struct policy_view *view)
{
	return create(arena, view, true);
}

static void lirs_destroy(void *p, struct arena *arena)
{
	struct lirs *l = p;

	if (l->duel)
		duel_destroy(l->duel, arena);
	arena_free(arena, l, sizeof(*l));
}

static void lirs_insert(void *p, uint32_t nr)
{
	struct lirs *l = p;
	uint64_t key = ghost_key(l->view, nr);
	bool ghost, hot;
	uint8_t stamp;

	time_passes(l);
	sample_set(l->view, nr, l->order == DUEL_UPSTREAM);
	if (l->duel)
		duel_load(l->duel, key, nr);
	watch(l, nr);
	l->came_ahead |= sample_is_ahead(l->view, nr);
	l->view->pages[nr].stamp = l->now;
	ghost = ghost_take(l->view->ghosts, key, &stamp);
	if (l->order != DUEL_LIRS)
		hot = false;
	else if (!l->full || hot_list(l)->nr < hot_max(l))
		hot = true;
	else
		hot = ghost && is_hotter(l, stamp);
	add_tail(l, nr, hot);
	if (l->full) {
		pagelist_fetch(l->view->pages, &l->list[0]);
		pagelist_fetch(l->view->pages, &l->list[1]);
	}
}

static void lirs_used(void *p, uint32_t nr)
{
	struct lirs *l = p;

	if (l->duel)
		duel_use(l->duel, ghost_key(l->view, nr), nr);
}

static void lirs_remove(void *p, uint32_t nr)
{
	struct lirs *l = p;

	take_out(l, nr);
	if (l->duel)
		duel_forget(l->duel, ghost_key(l->view, nr));
}

static uint32_t lirs_pick(void *p, unsigned int *ret_looked)
{
	struct lirs *l = p;
	uint32_t nr = order_nr(l);

	*ret_looked = 0;
	/* A batch takes some; then as many come. */
	if (nr > l->capacity)
		l->capacity = nr;
	else
		l->capacity -= (l->capacity - nr) / 64;
	if (l->duel)
		duel_set_capacity(l->duel, l->capacity);
	if (!l->full)
		is_full(l);
	choose_order(l);
	if (l->came_ahead && l->order == DUEL_LIRS)
		see_ahead(l);
	l->came_ahead = false;
	nr = l->order == DUEL_LIRS ? lirs_victim(l, ret_looked) : fifo_victim(l, ret_looked);
	l->spared += *ret_looked;
	if (nr == PAGE_NONE && l->spared >= SPARED_MAX)
		nr = first_of_all(l);
	if (nr != PAGE_NONE) {
		take_out(l, nr);
		l->spared = 0;
	}
	return nr;
}

/*
 * To where it does not come up again at once: the cold ones are few, and if none of them can go, others must be
 * looked at.
 */
static void lirs_put_back(void *p, uint32_t nr, enum policy_return why)
{
	struct lirs *l = p;

	l->view->pages[nr].stamp = l->now;
	add_tail(l, nr, l->order == DUEL_LIRS);
}

static void lirs_evicted(void *p, uint32_t nr)
{
	struct lirs *l = p;
	uint64_t key = ghost_key(l->view, nr);

	ghost_put(l->view->ghosts, key, stamp_of(l, nr));
	if (l->duel)
		duel_evicted(l->duel, key);
}

static void lirs_reset(void *p)
{
	struct lirs *l = p;

	l->unwatched = PAGE_NONE;
	pagelist_init(&l->list[0]);
	pagelist_init(&l->list[1]);
	if (l->duel)
		duel_reset(l->duel);
}

static uint32_t lirs_nr(const void *p)
{
	return order_nr(p);
}

static bool lirs_check(const void *p)
{
	const struct lirs *l = p;

	return pagelist_check(l->view->pages, &l->list[0]) &&
	       pagelist_check(l->view->pages, &l->list[1]) && (!l->duel || duel_check(l->duel));
}

const struct epc_policy policy_lirs = {
	.name = "lirs",
	.in_rounds = true,
	.create = lirs_create,
	.destroy = lirs_destroy,
	.insert = lirs_insert,
	.remove = lirs_remove,
	.pick = lirs_pick,
	.put_back = lirs_put_back,
	.evicted = lirs_evicted,
	.reset = lirs_reset,
	.nr = lirs_nr,
	.check = lirs_check,
};

const struct epc_policy policy_adaptive = {
	.name = "adaptive",
	.in_rounds = true,
	.create = adaptive_create,
	.destroy = lirs_destroy,
	.insert = lirs_insert,
	.used = lirs_used,
	.remove = lirs_remove,
	.pick = lirs_pick,
	.put_back = lirs_put_back,
	.evicted = lirs_evicted,
	.reset = lirs_reset,
	.nr = lirs_nr,
	.check = lirs_check,
};
