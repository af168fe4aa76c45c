/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Shadows: policies that are played without pages, to see how they would do.  See policy_duel_priv.h.
 *
 * They are as their models are in what matters for the number of faults: they evict as many pages at once as a batch
 * does, and see no use that the manager would not see.
 *
 * Not here: which pages are played (policy_pool.c), and what follows from it (policy_duel.c).
 */
#include "epc/pagelist.h"
#include "epc/policy_duel_priv.h"
#include "epc/policy_sample.h"

enum {
	BATCH_NR = 16,

	/* As policy_lirs.c has them, in finer grains: a sample has few pages. */
	GRAINS = 64,
	STALE = 400,
	STAMP_MASK = (1 << 10) - 1,

	GONE_PART = 4,          /* of a duel's nodes may be of pages that are no more */
	GONE_PART_FULL = 16,    /* where nodes are short: all are looked at for so many */
	SCOUT_LOADS_AN_ARM = 2, /* so many pages come for each use that a scout may ask for */
};

/* ---- queues ------------------------------------------------------------------------------------- */

static void queue_init(struct node_queue *q)
{
	q->first = q->last = NO_NODE;
	q->nr = 0;
}

static void queue_add(struct duel *d, struct node_queue *q, unsigned int shadow, uint16_t n)
{
	node_set_next(&d->node[n], shadow, NO_NODE);
	if (q->nr == 0)
		q->first = n;
	else
		node_set_next(&d->node[q->last], shadow, n);
	q->last = n;
	q->nr++;
}

/* The node behind @prev in the queue, its first one for NO_NODE, leaves it. */
static void queue_del(struct duel *d, struct node_queue *q, unsigned int shadow, uint16_t prev)
{
	uint16_t n = prev == NO_NODE ? q->first : node_next(&d->node[prev], shadow);
	uint16_t next = node_next(&d->node[n], shadow);

	if (prev == NO_NODE)
		q->first = next;
	else
		node_set_next(&d->node[prev], shadow, next);
	if (q->last == n)
		q->last = prev;
	q->nr--;
}

static uint16_t queue_pop(struct duel *d, struct node_queue *q, unsigned int shadow)
{
	uint16_t n = q->first;

	queue_del(d, q, shadow, NO_NODE);
	return n;
}

/* From anywhere.  Links go one way: it is looked for among as many as a shadow has, which are few. */
static void queue_take(struct duel *d, struct node_queue *q, unsigned int shadow, uint16_t n)
{
	uint16_t prev = NO_NODE, at;

	for (at = q->first; at != n; at = node_next(&d->node[at], shadow))
		prev = at;
	queue_del(d, q, shadow, prev);
}

static void queue_rotate(struct duel *d, struct node_queue *q, unsigned int shadow)
{
	queue_add(d, q, shadow, queue_pop(d, q, shadow));
}

/* ---- nodes -------------------------------------------------------------------------------------- */

static bool is_used(const struct node *node, unsigned int shadow)
{
	return node->used >> shadow & 1;
}

static void set_used(struct node *node, unsigned int shadow, bool used)
{
	unsigned int others = node->used & ~(1u << shadow);

	node->used = (others | (unsigned int)used << shadow) & 7u;
}

/* The shadow does not know it any more; it is in none of its queues. */
static void leave(struct duel *d, uint16_t n, unsigned int shadow)
{
	struct node *node = &d->node[n];

	if (shadow == LIRS)
		node->lirs = LIRS_NONE;
	else
		node->in &= (uint8_t) ~(1u << shadow) & 3u;
}

/* As the manager does it: so many pages go at once. */
static uint32_t batch(const struct duel *d)
{
	uint32_t nr = d->pages / POLICY_BATCH_PART;

	if (nr > BATCH_NR)
		nr = BATCH_NR;

	nr >>= d->shift;
	if (nr > d->capacity / 4)
		nr = d->capacity / 4;
	return nr ? nr : 1;
}

/*
 * The shadow wants to know of the next use.  A scout may ask for few: it plays an EPC that is small for the program, and
 * would ask for the same pages again and again.
 */
static void node_arm(struct duel *d, uint16_t n, unsigned int shadow)
{
	uint32_t nr = d->node[n].nr;

	set_used(&d->node[n], shadow, false);
	if (nr >= NODE_GONE || sample_is_armed(d->view, nr))
		return;
	if (d->is_scout) {
		if (d->may_arm < SCOUT_LOADS_AN_ARM)
			return;
		d->may_arm -= SCOUT_LOADS_AN_ARM;
	}
	sample_arm(d->view, nr);
}

/* ---- Linux's shadow and CLOCK's: each returns true for a fault --------------------------------------- */

static void fifo_evict(struct duel *d, unsigned int shadow)
{
	struct node_queue *fifo = &d->fifo[shadow];
	uint16_t n = fifo->first;

	/* Ends: each round takes a page's one chance away. */
	while (is_used(&d->node[n], shadow)) {
		node_arm(d, n, shadow);
		queue_rotate(d, fifo, shadow);
		n = fifo->first;
	}
	(void)queue_pop(d, fifo, shadow);
	leave(d, n, shadow);
	node_arm(d, n, shadow);
	node_release(d, n);
}

static bool fifo_access(struct duel *d, uint16_t n, unsigned int shadow)
{
	struct node *node = &d->node[n];

	if (node->in >> shadow & 1) {
		set_used(node, shadow, true);
		return false;
	}
	if (d->fifo[shadow].nr >= d->capacity) {
		while (d->fifo[shadow].nr > d->capacity - batch(d))
			fifo_evict(d, shadow);
	}
	set_used(node, shadow, shadow == UPSTREAM);
	node->in |= (uint8_t)(1u << shadow) & 3u;
	queue_add(d, &d->fifo[shadow], shadow, n);
	return true;
}

/* ---- LIRS's shadow: as policy_lirs.c ---------------------------------------------------------------- */

static uint32_t hot_max(const struct duel *d)
{
	uint32_t cold = d->capacity / DUEL_COLD_PART;

	return d->capacity - (cold < batch(d) + 1 ? batch(d) + 1 : cold);
}

/* Linux's shadow has seen a use since it asked last, and will ask again. */
static bool is_asked_for(const struct node *node)
{
	return (node->in >> UPSTREAM & 1) && is_used(node, UPSTREAM);
}

/*
 * The hand is at the node: was it used since it was there last?  If so, the next use has to be seen.  But one question is enough
 * for two shadows: where Linux's will ask, LIRS's believes that the page is still in use, and learns from that answer.
 * As often as there are pages at the most, so that the hand gets somewhere.
 */
static bool lirs_spares(struct duel *d, uint16_t n)
{
	const struct node *node = &d->node[n];

	if (!is_used(node, LIRS))
		return false;
	if (d->believe > 0 && node->nr < NODE_GONE && is_asked_for(node))
		d->believe--;
	else
		node_arm(d, n, LIRS);
	return true;
}

static void hot_rotate(struct duel *d)
{
	uint16_t n = d->hot.first;

	d->node[n].stamp = d->now & STAMP_MASK;
	queue_rotate(d, &d->hot, LIRS);
}

static unsigned int age_of(const struct duel *d, uint16_t stamp)
{
	return (d->now - stamp) & STAMP_MASK;
}

/* No stamp gets so old that it looks new. */
static void lirs_age(struct duel *d, const struct node_queue *q)
{
	uint16_t n;

	for (n = q->first; n != NO_NODE; n = node_next(&d->node[n], LIRS)) {
		if (age_of(d, d->node[n].stamp) > STALE)
			d->node[n].stamp = (d->now - STALE) & STAMP_MASK;
	}
}

static void lirs_time_passes(struct duel *d)
{
	if (++d->came < d->capacity / GRAINS)
		return;
	d->came = 0;
	d->now++;
	if (d->now % GRAINS > 0)
		return;
	lirs_age(d, &d->hot);
	lirs_age(d, &d->cold);
	lirs_age(d, &d->ghosts);
}

/* Used since the hot page that was not used for longest. */
static bool is_hotter(struct duel *d, uint16_t stamp)
{
	while (d->hot.nr > 0) {
		if (age_of(d, stamp) >= age_of(d, d->node[d->hot.first].stamp))
			return false;
		if (!lirs_spares(d, d->hot.first))
			return true;
		hot_rotate(d);
	}
	return true;
}

static void lirs_demote(struct duel *d)
{
	uint16_t n;

	while (lirs_spares(d, d->hot.first))
		hot_rotate(d);
	n = queue_pop(d, &d->hot, LIRS);
	d->node[n].lirs = LIRS_COLD;
	queue_add(d, &d->cold, LIRS, n);
}

static void lirs_add(struct duel *d, uint16_t n, bool hot)
{
	d->node[n].lirs = hot ? LIRS_HOT : LIRS_COLD;
	queue_add(d, hot ? &d->hot : &d->cold, LIRS, n);
	while (d->hot.nr > hot_max(d))
		lirs_demote(d);
}

static void lirs_forget_oldest(struct duel *d)
{
	uint16_t n = queue_pop(d, &d->ghosts, LIRS);

	d->node[n].lirs = LIRS_NONE;
	node_release(d, n);
}

/* One step towards room for a page. */
static void lirs_evict_step(struct duel *d)
{
	uint16_t stamp;
	uint16_t n;

	if (d->cold.nr == 0)
		lirs_demote(d);
	n = queue_pop(d, &d->cold, LIRS);
	if (lirs_spares(d, n)) {
		stamp = d->node[n].stamp;
		d->node[n].stamp = d->now & STAMP_MASK;
		lirs_add(d, n, is_hotter(d, stamp));
		return;
	}
	d->node[n].lirs = LIRS_GHOST;
	queue_add(d, &d->ghosts, LIRS, n);
	node_arm(d, n, LIRS);
	while (d->ghosts.nr > d->capacity)
		lirs_forget_oldest(d);
}

static bool lirs_access(struct duel *d, uint16_t n)
{
	struct node *node = &d->node[n];
	bool ghost = node->lirs == LIRS_GHOST;

	d->believe = (uint16_t)d->capacity;
	if (node->lirs == LIRS_HOT || node->lirs == LIRS_COLD) {
		set_used(node, LIRS, true);
		return false;
	}
	lirs_time_passes(d);
	if (ghost)
		queue_take(d, &d->ghosts, LIRS, n);
	node->lirs = LIRS_NONE;
	if (d->hot.nr + d->cold.nr >= d->capacity) {
		while (d->hot.nr + d->cold.nr > d->capacity - batch(d))
			lirs_evict_step(d);
	}
	ghost = ghost && is_hotter(d, node->stamp);
	node->stamp = d->now & STAMP_MASK;
	set_used(node, LIRS, false);
	lirs_add(d, n, ghost || d->hot.nr < hot_max(d));
	return true;
}

/* ---- all of them ---------------------------------------------------------------------------------- */

void node_forget(struct duel *d, uint16_t n)
{
	d->node[n].nr = NODE_GONE;
	if (++d->gone_nr > d->node_nr / GONE_PART)
		shadows_forget(d, false);
}

/* Nodes of @q. */
static void queue_forget(struct duel *d, struct node_queue *q, unsigned int shadow, bool all)
{
	uint16_t prev = NO_NODE, n = q->first, next;

	for (; n != NO_NODE; n = next) {
		next = node_next(&d->node[n], shadow);
		if (!all && d->node[n].nr != NODE_GONE && sample_has(d, d->node[n].key)) {
			prev = n;
			continue;
		}
		queue_del(d, q, shadow, prev);
		leave(d, n, shadow);
		node_release(d, n);
	}
}

void shadows_forget(struct duel *d, bool all)
{
	queue_forget(d, &d->fifo[UPSTREAM], UPSTREAM, all);
	queue_forget(d, &d->fifo[CLOCK], CLOCK, all);
	queue_forget(d, &d->hot, LIRS, all);
	queue_forget(d, &d->cold, LIRS, all);
	queue_forget(d, &d->ghosts, LIRS, all);
	d->gone_nr = 0;
}

bool shadows_forget_gone(struct duel *d)
{
	if (d->gone_nr <= d->node_nr / GONE_PART_FULL)
		return false;
	shadows_forget(d, false);
	return true;
}

bool shadows_are_full(const struct duel *d)
{
	uint32_t nr = d->capacity - batch(d);

	return d->fifo[UPSTREAM].nr >= nr && d->fifo[CLOCK].nr >= nr &&
	       d->hot.nr + d->cold.nr >= nr;
}

void shadows_use(struct duel *d, uint16_t n, bool ret_fault[SHADOW_NR])
{
	ret_fault[UPSTREAM] = fifo_access(d, n, UPSTREAM);
	ret_fault[CLOCK] = fifo_access(d, n, CLOCK);
	ret_fault[LIRS] = lirs_access(d, n);
}

void queues_init(struct duel *d)
{
	queue_init(&d->fifo[UPSTREAM]);
	queue_init(&d->fifo[CLOCK]);
	queue_init(&d->hot);
	queue_init(&d->cold);
	queue_init(&d->ghosts);
	d->node_nr = d->gone_nr = 0;
}

static bool queue_check(const struct duel *d, const struct node_queue *q, unsigned int shadow)
{
	uint16_t last = NO_NODE, n = q->first;
	uint32_t count = 0;

	while (n != NO_NODE && count < q->nr) {
		last = n;
		n = node_next(&d->node[n], shadow);
		count++;
	}
	return n == NO_NODE && count == q->nr && last == q->last;
}

bool queues_check(const struct duel *d)
{
	uint32_t lirs_nr = d->hot.nr + d->cold.nr + d->ghosts.nr;
	uint32_t fifo_nr = d->fifo[UPSTREAM].nr + d->fifo[CLOCK].nr;

	return queue_check(d, &d->fifo[UPSTREAM], UPSTREAM) &&
	       queue_check(d, &d->fifo[CLOCK], CLOCK) && queue_check(d, &d->hot, LIRS) &&
	       queue_check(d, &d->cold, LIRS) && queue_check(d, &d->ghosts, LIRS) &&
	       d->node_nr <= fifo_nr + lirs_nr && 2 * d->node_nr >= fifo_nr &&
	       d->node_nr >= lirs_nr;
}
