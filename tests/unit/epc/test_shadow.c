/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The pool of the default policy's shadows: who has a part of it, how large a sample it is good for, and that more
 * groups than it has parts all have their turn.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "epc/group_priv.h"
#include "epc/page.h"
#include "epc/pagelist.h"
#include "epc/policy_duel_priv.h"
#include "epc/policy_sample.h"
#include "lib/tap.h"

static void view_open(struct policy_view *view, struct epc_page *pages, uint32_t page_nr)
{
	*view = (struct policy_view){ .pages = pages,
				      .page_nr = page_nr,
				      .arena = arena_create(4 << 20) };
	TAP_MUST(policy_view_init(view, UINT64_MAX) == 0, "a pool for %u pages", page_nr);
}

static void view_close(struct policy_view *view)
{
	policy_view_fini(view);
	TAP_CHECK(arena_used_bytes(view->arena) == 0, "no memory is left over");
	arena_destroy(view->arena);
}

/* ---- buckets ------------------------------------------------------------------------------------- */

/* Of as many keys as there are buckets, three fifths meet nobody before them where chance decides. */
static void test_buckets(void)
{
	struct shadows *pool = shadows_create(1 << 20, UINT64_MAX);
	static bool taken[UINT16_MAX];
	unsigned int shift;
	uint32_t i, nr;

	for (shift = 0; shift <= 20; shift += 4) {
		memset(taken, 0, sizeof(taken));
		for (i = nr = 0; i < pool->bucket_nr; i++) {
			bool *at = &taken[shadows_bucket(pool, (i * 2654435769u) << shift)];

			nr += !*at;
			*at = true;
		}
		TAP_CHECK(nr > pool->bucket_nr / 2u,
			  "one page in 2^%u: nodes are in %u of %u buckets", shift, nr,
			  pool->bucket_nr);
	}
	shadows_destroy(pool);
}

/* ---- samples ------------------------------------------------------------------------------------- */

enum { DUELS = 12, DUEL_PAGES = 64, PAGES = 4096 };

/* So many uses of pages, of twice as many as there is room for. */
static bool duel_play(struct duel *d, unsigned int uses, uint64_t *rng)
{
	bool ok = true;

	while (uses-- > 0) {
		*rng = *rng * 6364136223846793005ull + 1442695040888963407ull;
		duel_load(d, (*rng >> 33) % (2 * DUEL_PAGES) * 0x9e3779b97f4a7c15ull >> 7, 0);
		ok = ok && duel_check(d);
	}
	return ok;
}

static unsigned int full_samples(struct duel *const *d)
{
	unsigned int i, nr = 0;

	for (i = 0; i < DUELS; i++)
		nr += d[i] && d[i]->joined && d[i]->shift == 0;
	return nr;
}

/* @leave: the others are destroyed; else they have nothing to do any more. */
static void test_sample(bool leave)
{
	static struct epc_page pages[PAGES];
	struct policy_view view;
	struct duel *d[DUELS];
	unsigned int i, round;
	uint64_t rng = 1;
	bool ok = true;

	view_open(&view, pages, PAGES);
	for (i = 0; i < DUELS; i++) {
		d[i] = duel_create(view.arena, &view);
		duel_set_capacity(d[i], DUEL_PAGES);
		duel_start(d[i]);
	}
	ok = duel_play(d[0], 4000, &rng);
	TAP_CHECK(ok && d[0]->shift == 0, "one group alone plays all of its pages");
	for (round = 0; round < 100; round++) {
		for (i = 0; i < DUELS; i++)
			ok = ok && duel_play(d[i], 40, &rng);
	}
	TAP_CHECK(ok && full_samples(d) == 0, "where there are %u, each plays a part", DUELS);
	for (i = 1; leave && i < DUELS; i++) {
		duel_destroy(d[i], view.arena);
		d[i] = NULL;
	}
	ok = ok && duel_play(d[0], 80000, &rng);
	TAP_CHECK(ok && d[0]->shift == 0 && full_samples(d) == 1,
		  "and when the others %s, the one that is left plays all again",
		  leave ? "have gone" : "do nothing");
	for (i = 0; i < DUELS; i++) {
		if (d[i])
			duel_destroy(d[i], view.arena);
	}
	view_close(&view);
}

/* Pages that are no more have nodes for a while, but nobody's sample becomes smaller for those. */
static void test_gone(void)
{
	enum { ROOM = 256, KEYS = 460, STEPS = 40000 };
	static struct epc_page pages[PAGES];
	struct policy_view view;
	uint64_t rng = 1, key;
	unsigned int i, gone = 0;
	struct duel *d;
	bool ok = true;

	view_open(&view, pages, PAGES);
	d = duel_create(view.arena, &view);
	duel_set_capacity(d, ROOM);
	duel_start(d);
	for (i = 0; i < STEPS && ok; i++) {
		rng = rng * 6364136223846793005ull + 1442695040888963407ull;
		key = (rng >> 33) % KEYS * 0x9e3779b97f4a7c15ull >> 7;
		if (i % 2 == 0)
			duel_forget(d, key);
		duel_load(d, key, 0);
		gone = d->gone_nr > gone ? d->gone_nr : gone;
		ok = duel_check(d);
	}
	TAP_CHECK(ok && d->joined && sample_part(d) > KEYS && gone > 1,
		  "a part of %u nodes for %u pages, of which some have gone", sample_part(d), KEYS);
	TAP_CHECK(d->shift == 0, "they have room, and all are played");
	duel_destroy(d, view.arena);
	view_close(&view);
}

/* ---- turns --------------------------------------------------------------------------------------- */

enum { ORDERS = 200, FRAMES = 16, LOOP = 20, ROUNDS = 1000, LAST_ROUNDS = 50 };

/* Groups of so many pages, each with a program that goes round a loop which is a little longer. */
struct groups {
	struct policy_view view;
	struct epc_page page[ORDERS * FRAMES];
	void *order[ORDERS];
	struct epc_owner *owner[ORDERS];
	uint32_t at[ORDERS][LOOP]; /* page, or PAGE_NONE */
	uint32_t used[ORDERS];
	unsigned int faults[ORDERS];
};

static uint32_t frame_for(struct groups *g, const struct epc_policy *policy, unsigned int o)
{
	unsigned int looked;
	uint32_t nr;

	if (g->used[o] < FRAMES)
		return o * FRAMES + g->used[o]++;
	do
		nr = policy->pick(g->order[o], &looked);
	while (nr == PAGE_NONE);
	policy->evicted(g->order[o], nr);
	g->at[o][g->page[nr].cookie] = PAGE_NONE;
	return nr;
}

static void group_use(struct groups *g, const struct epc_policy *policy, unsigned int o, uint32_t c)
{
	uint32_t nr = g->at[o][c], ignored[SAMPLE_BATCH], used;
	bool fault = nr == PAGE_NONE;
	struct epc_page *page;

	if (fault)
		nr = g->at[o][c] = frame_for(g, policy, o);
	page = &g->page[nr];
	if (fault) {
		g->faults[o]++;
		page_set_owner(page, g->owner[o]);
		page_set_cookie(page, c);
		policy->insert(g->order[o], nr);
	} else if (page->flags & PAGE_REF_ARMED) {
		sample_use(g->view.samples, page, nr);
	}
	while ((used = sample_next_used(&g->view)) != PAGE_NONE) {
		if (policy->used)
			policy->used(g->order[used / FRAMES], used);
	}
	while (sample_take_armed(g->view.samples, ignored))
		;
}

static void test_turns(void)
{
	static struct groups g;
	const struct epc_policy *policy = &policy_adaptive;
	unsigned int i, o, c, better = 0, sum = 0;
	bool ok = true;

	memset(g.at, 0xff, sizeof(g.at));
	view_open(&g.view, g.page, ORDERS * FRAMES);
	for (o = 0; o < ORDERS; o++) {
		g.order[o] = policy->create(g.view.arena, &g.view);
		g.owner[o] = calloc(1, sizeof(*g.owner[o]));
		TAP_MUST(g.order[o] && g.owner[o], "a group");
		g.owner[o]->number = o + 1;
	}
	for (i = 0; i < ROUNDS; i++) {
		if (i == ROUNDS - LAST_ROUNDS)
			memset(g.faults, 0, sizeof(g.faults));
		for (o = 0; o < ORDERS; o++) {
			for (c = 0; c < LOOP; c++)
				group_use(&g, policy, o, c);
		}
	}
	for (o = 0; o < ORDERS; o++) {
		ok = ok && policy->check(g.order[o]);
		better += g.faults[o] < LAST_ROUNDS * LOOP * 3 / 4;
		sum += g.faults[o];
		policy->destroy(g.order[o], g.view.arena);
		free(g.owner[o]);
	}
	/* In Linux's order each use of such a loop is a fault. */
	TAP_CHECK(ok && better == ORDERS,
		  "of %u groups %u have found out that Linux's order is not for them: %u %% of its "
		  "faults",
		  ORDERS, better, sum * 100 / (ORDERS * LAST_ROUNDS * LOOP));
	view_close(&g.view);
}

int main(void)
{
	test_buckets();
	test_sample(true);
	test_sample(false);
	test_gone();
	test_turns();
	return tap_done();
}
