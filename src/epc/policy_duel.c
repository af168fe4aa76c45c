/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * See policy_duel.h.
 *
 * Not here: how the shadows are played (policy_shadow.c), and on which pages (policy_pool.c).
 */
#include "epc/policy_duel.h"

#include <string.h>

#include "base/arena.h"
#include "epc/pagelist.h"
#include "epc/policy_duel_priv.h"
#include "epc/policy_sample.h"

enum {
	SCOUT_PART = 8, /* of the EPC's pages has a scout */

	SCORE_UNIT = 1 << 16,
	MEMORY_TIMES = 16,  /* as many faults as pages: the lead is over so many */
	SURE_PART = 64,     /* of the pages, ahead by that: LIRS need not be careful */
	FORGET_TIMES = 256, /* as many faults as pages: then what is known of real ones is halved */

	/* A lead, and a loss, of so many faults and one for so many pages says something. */
	LEAST_LEAD = 4,
	LEAD_PART = 64,
	LIRS_TIMES = 4, /* as much of a lead: its contents are others */
	BEAR_PART =
		2, /* of the least lead may be lost beside it: a change itself costs something */

	LOSS_PERMILLE = 10, /* real faults above those of Linux's shadow that can be afforded */
	LOSS_TIMES = 2,     /* of what is above that: the lead that is asked for in addition */
	PROMISE_PART = 8,   /* of what a shadow saves, and */
	SAVED_PART = 4,     /* of what was really saved, may be lost in vain */
};

/* ---- the score ------------------------------------------------------------------------------------ */

static int64_t least_lead(const struct duel *d)
{
	return d->capacity / LEAD_PART + LEAST_LEAD;
}

static void change_order(struct duel *d, enum duel_order order)
{
	d->promise = order == DUEL_UPSTREAM ? 0 : d->ahead[order];
	d->least_loss = d->real_loss;
	d->ahead[CLOCK] = d->ahead[LIRS] = 0;
	d->order = (uint8_t)order;
}

/* The order in force, which is not Linux's, really has more faults than Linux's would, and has not earned them. */
static bool is_losing(struct duel *d)
{
	int64_t bear = least_lead(d) + least_lead(d) / BEAR_PART;

	if (d->real_loss < d->least_loss)
		d->least_loss = d->real_loss;
	if (d->promise > 0)
		bear += d->promise / PROMISE_PART;
	if (d->least_loss < 0)
		bear -= d->least_loss / SAVED_PART;
	return d->real_loss - d->least_loss > bear;
}

/* What has been lost in vain before makes every further trial dearer. */
static int64_t needed_lead(const struct duel *d)
{
	int64_t over = d->real_loss - d->real_faults * LOSS_PERMILLE / 1000;

	return least_lead(d) + (over > 0 ? over * LOSS_TIMES : 0);
}

static void score_real(struct duel *d, bool real, const bool fault[SHADOW_NR])
{
	int64_t limit = (int64_t)FORGET_TIMES * d->capacity;

	d->real_loss += (int)real - (int)fault[UPSTREAM];
	d->real_faults += fault[UPSTREAM];
	if (d->real_faults > limit || d->real_loss > limit) {
		d->real_loss /= 2;
		d->least_loss /= 2;
		d->real_faults /= 2;
	}
	d->lead -= d->lead / ((int64_t)MEMORY_TIMES * d->capacity);
	d->lead += ((int)fault[UPSTREAM] - (int)fault[LIRS]) * SCORE_UNIT;
}

static void score(struct duel *d, bool real, const bool fault[SHADOW_NR])
{
	int64_t needed;
	unsigned int s;

	for (s = 0; s < SHADOW_NR; s++)
		d->faults[s] += fault[s];
	if (!d->started)
		return;
	score_real(d, real, fault);
	if (d->order != DUEL_UPSTREAM) {
		d->promise += (int)fault[UPSTREAM] - (int)fault[d->order];
		if (is_losing(d)) {
			change_order(d, DUEL_UPSTREAM);
			return;
		}
	}
	needed = needed_lead(d);
	for (s = CLOCK; s <= LIRS; s++) {
		d->ahead[s] += (int)fault[d->order] - (int)fault[s];
		if (d->ahead[s] < 0)
			d->ahead[s] = 0;
		if (s != d->order && d->ahead[s] > (s == LIRS ? LIRS_TIMES : 1) * needed) {
			change_order(d, (enum duel_order)s);
			return;
		}
	}
}

enum duel_order duel_order(const struct duel *d)
{
	return (enum duel_order)d->order;
}

bool duel_lirs_is_sure(const struct duel *d)
{
	return d->lead > (int64_t)(d->capacity / SURE_PART + LEAST_LEAD) * SCORE_UNIT;
}

void score_scale(struct duel *d, bool up)
{
	int32_t *const score[] = { &d->real_loss, &d->real_faults, &d->least_loss, &d->ahead[CLOCK],
				   &d->ahead[LIRS] };
	unsigned int i;

	if (d->is_scout)
		return;
	for (i = 0; i < sizeof(score) / sizeof(score[0]); i++)
		*score[i] = up ? *score[i] * 2 : *score[i] / 2;
	d->lead = up ? d->lead * 2 : d->lead / 2;
	d->promise = up ? d->promise * 2 : d->promise / 2;
}

/* ---- the sample ------------------------------------------------------------------------------------- */

/* The half that is of the page alone: which set of ghosts it has says little where those are few. */
static uint32_t short_key(uint64_t key)
{
	return (uint32_t)key;
}

bool duel_is_sampled(const struct duel *d, uint64_t key)
{
	return sample_has(d, short_key(key));
}

static void access(struct duel *d, uint64_t key64, uint32_t nr, bool real)
{
	uint16_t n = pool_node(d, short_key(key64));
	bool fault[SHADOW_NR];

	if (n == NO_NODE)
		return;
	d->node[n].nr = nr < NODE_GONE ? nr & NODE_NO_PAGE : NODE_NO_PAGE;
	if (real && d->may_arm < UINT8_MAX)
		d->may_arm++;
	shadows_use(d, n, fault);
	if (d->filling)
		d->filling = !shadows_are_full(d);
	else
		score(d, real, fault);
	while (d->fifo[UPSTREAM].nr >= SHADOW_MAX || d->fifo[CLOCK].nr >= SHADOW_MAX ||
	       d->hot.nr + d->cold.nr >= SHADOW_MAX)
		sample_less(d);
}

/* ---- what happens to real pages --------------------------------------------------------------------- */

void duel_load(struct duel *d, uint64_t key, uint32_t nr)
{
	access(d, key, nr, true);
	if (d->scout)
		access(d->scout, key, nr, true);
	if (duel_is_sampled(d, key) || (d->scout && duel_is_sampled(d->scout, key)))
		sample_watch(d->view, nr);
}

void duel_use(struct duel *d, uint64_t key, uint32_t nr)
{
	access(d, key, nr, false);
	if (d->scout)
		access(d->scout, key, nr, false);
}

void duel_evicted(struct duel *d, uint64_t key)
{
	uint16_t n = node_find(d, short_key(key));

	if (n != NO_NODE)
		d->node[n].nr = NODE_NO_PAGE;
}

void duel_forget(struct duel *d, uint64_t key)
{
	uint16_t n = node_find(d, short_key(key));

	if (n != NO_NODE)
		node_forget(d, n);
	if (d->scout)
		duel_forget(d->scout, key);
}

void duel_set_capacity(struct duel *d, uint32_t pages)
{
	d->pages = pages;
	sample_set_capacity(d);
	while (d->capacity >= SHADOW_MAX)
		sample_less(d);
}

/* ---- life ------------------------------------------------------------------------------------------- */

static void duel_init(struct duel *d, const struct policy_view *view)
{
	d->view = view;
	d->pages = view->page_nr;
	d->joined = false;
	d->scout = NULL;
	queues_init(d);
	sample_set_capacity(d);
}

/* Its memory is behind that of its duel, whose number it has. */
void duel_watch(struct duel *d)
{
	struct duel *scout = &d[1];

	if (!d->joined && !pool_join(d))
		return;
	memset(scout, 0, SCOUT_BYTES);
	duel_init(scout, d->view);
	scout->is_scout = true;
	scout->joined = true;
	scout->node = d->node;
	scout->number = d->number;
	scout->pages = d->view->page_nr / SCOUT_PART;
	sample_set_capacity(scout);
	d->scout = scout;
}

static void scout_forget(struct duel *d)
{
	if (d->scout)
		shadows_forget(d->scout, true);
	d->scout = NULL;
}

/* Without a scout, or where what it saw was the same for all: Linux's. */
void duel_start(struct duel *d)
{
	const struct duel *scout = d->scout;
	int64_t clock = 0, lirs = 0, needed = 0;

	if (scout) {
		clock = (int64_t)scout->faults[UPSTREAM] - scout->faults[CLOCK];
		lirs = (int64_t)scout->faults[UPSTREAM] - scout->faults[LIRS];
		needed = least_lead(scout);
	}
	if (lirs > needed && lirs >= clock)
		d->order = DUEL_LIRS;
	else if (clock > needed)
		d->order = DUEL_CLOCK;
	d->started = true;
	scout_forget(d);
}

void duel_reset(struct duel *d)
{
	shadows_reset(d->view->shadows);
	duel_init(d, d->view);
}

struct duel *duel_create(struct arena *arena, const struct policy_view *view)
{
	struct duel *d = arena_alloc(arena, sizeof(*d) + SCOUT_BYTES);

	if (d)
		duel_init(d, view);
	return d;
}

void duel_destroy(struct duel *d, struct arena *arena)
{
	scout_forget(d);
	if (d->joined)
		pool_leave(d);
	arena_free(arena, d, sizeof(*d) + SCOUT_BYTES);
}

bool duel_check(const struct duel *d)
{
	return queues_check(d) && (!d->joined || d->node_nr <= sample_part(d)) &&
	       (!d->scout || duel_check(d->scout));
}
