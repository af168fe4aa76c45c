/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * See policy_duel.h.
 *
 * A node is a page that at least one shadow knows: one that "has" it, or LIRS as a page it had not long ago.
 * Each shadow has links of its own in the node.  Nodes are in one pool of shared memory, linked by index, and
 * belong to the reclaim lock.
 *
 * A duel has its part of the pool and no more: those that have more when another one joins halve their samples
 * until they have not, and so does one that has used up its part.
 */
#include "epc/policy_duel.h"

#include <assert.h>
#include <string.h>

#include "base/arena.h"
#include "epc/pagelist.h"
#include "epc/policy.h"
#include "epc/policy_sample.h"

enum {
	SHADOW_MAX = 1024, /* pages that a shadow has */
	CAPACITY_MIN = 4,
	SHIFT_MAX = 31,

	POOL_BYTES_A_PAGE = 4, /* of EPC */
	NODE_NR_MIN = 96,
	NODE_NR_MAX = 2560,
	/* Of the least capacity: Linux's, LIRS's, those that LIRS remembers; and the one that comes. */
	PART_MIN = 3 * CAPACITY_MIN + 1,
	NODES_A_BUCKET = 2,
	DUELS_MAX = 256, /* as many as groups */
	NO_NODE = 0xffff,
	SCORE_UNIT = 1 << 16,

	/* Parts and multiples of the pages that there are. */
	MEMORY_TIMES = 16,  /* the lead is over so many faults, the older ones counting less */
	FIRST_PART = 256,   /* behind by that: the first change of mind */
	LATER_PART = 4,     /* each one after it */
	SURE_PART = 64,     /* ahead by that: LIRS need not be careful */
	LEAST_LEAD = 4,     /* each of these, plus so many faults */
	FORGET_TIMES = 256, /* after so many faults what is known of real ones is halved */

	LOSS_PERMILLE = 15, /* real faults above those of Linux's shadow that end a trial of LIRS */
};

enum { UPSTREAM, LIRS, SHADOW_NR };
enum lirs_state { LIRS_NONE, LIRS_HOT, LIRS_COLD, LIRS_GHOST };

struct node {
	uint32_t key;
	uint32_t nr;    /* of the page that it is now, or PAGE_NONE */
	uint32_t stamp; /* LIRS: when it was last used, in its faults */
	uint16_t next[SHADOW_NR], prev[SHADOW_NR];
	uint16_t chain; /* of its bucket, or of the free ones */
	uint8_t duel;   /* whose */
	uint8_t used : SHADOW_NR;
	uint8_t in_upstream : 1;
	uint8_t lirs : 2; /* enum lirs_state */
};
static_assert(sizeof(struct node) == 24, "POOL_BYTES_A_PAGE is for so many");

struct shadows {
	size_t bytes;
	uint16_t node_nr, bucket_nr; /* constant */
	uint16_t free, never_used;
	uint32_t duel_nr;   /* that have joined */
	struct duel *first; /* of them */
	uint64_t numbers[DUELS_MAX / 64];
	struct node node[]; /* and the buckets behind them */
};

struct queue {
	uint16_t first, last;
	uint32_t nr;
};

struct duel {
	struct policy_view view;
	unsigned int shift; /* one page in 2^shift is in the sample */
	uint32_t pages;     /* there is room for */
	uint32_t capacity;  /* of a shadow */
	uint32_t now;       /* LIRS's faults */
	struct queue upstream, hot, cold, ghosts;
	struct node *node; /* of the pool */
	uint32_t node_nr;  /* that it has */
	struct duel *next; /* in the pool */
	bool joined;
	uint8_t number; /* in the pool, when it has joined */

	/* the score */
	bool upstream_wins;
	bool changed;        /* it has, once */
	int64_t lead;        /* LIRS's, of late, in SCORE_UNITs */
	int64_t real_loss;   /* faults that there really were, more than Linux's shadow had */
	int64_t real_faults; /* that Linux's shadow had */
};

/* ---- the pool ----------------------------------------------------------------------------------- */

static uint16_t *pool_buckets(struct shadows *pool)
{
	return (uint16_t *)&pool->node[pool->node_nr];
}

static void shadows_reset(struct shadows *pool)
{
	memset(pool_buckets(pool), 0xff, pool->bucket_nr * sizeof(uint16_t));
	memset(pool->numbers, 0, sizeof(pool->numbers));
	pool->first = NULL;
	pool->duel_nr = 0;
	pool->free = NO_NODE;
	pool->never_used = 0;
}

struct shadows *shadows_create(uint32_t page_nr)
{
	uint64_t node_nr = (uint64_t)page_nr * POOL_BYTES_A_PAGE / sizeof(struct node);
	struct shadows *pool;
	uint64_t bucket_nr;
	size_t bytes;

	if (node_nr < NODE_NR_MIN)
		node_nr = NODE_NR_MIN;
	if (node_nr > NODE_NR_MAX)
		node_nr = NODE_NR_MAX;
	bucket_nr = node_nr / NODES_A_BUCKET;
	bytes = sizeof(*pool) + node_nr * sizeof(struct node) + bucket_nr * sizeof(uint16_t);
	pool = shared_map(bytes);
	if (!pool)
		return NULL;
	pool->bytes = bytes;
	pool->node_nr = (uint16_t)node_nr;
	pool->bucket_nr = (uint16_t)bucket_nr;
	shadows_reset(pool);
	return pool;
}

void shadows_destroy(struct shadows *pool)
{
	if (pool)
		shared_unmap(pool, pool->bytes);
}

size_t shadows_bytes(const struct shadows *pool)
{
	return pool->bytes;
}

/* ---- queues ------------------------------------------------------------------------------------- */

static void queue_init(struct queue *q)
{
	q->first = q->last = NO_NODE;
	q->nr = 0;
}

static void queue_add(struct duel *d, struct queue *q, unsigned int shadow, uint16_t n)
{
	d->node[n].next[shadow] = NO_NODE;
	d->node[n].prev[shadow] = q->last;
	if (q->last == NO_NODE)
		q->first = n;
	else
		d->node[q->last].next[shadow] = n;
	q->last = n;
	q->nr++;
}

static void queue_del(struct duel *d, struct queue *q, unsigned int shadow, uint16_t n)
{
	struct node *node = &d->node[n];

	if (node->prev[shadow] == NO_NODE)
		q->first = node->next[shadow];
	else
		d->node[node->prev[shadow]].next[shadow] = node->next[shadow];
	if (node->next[shadow] == NO_NODE)
		q->last = node->prev[shadow];
	else
		d->node[node->next[shadow]].prev[shadow] = node->prev[shadow];
	q->nr--;
}

static void queue_rotate(struct duel *d, struct queue *q, unsigned int shadow)
{
	uint16_t n = q->first;

	queue_del(d, q, shadow, n);
	queue_add(d, q, shadow, n);
}

/* ---- nodes -------------------------------------------------------------------------------------- */

static uint16_t *bucket_of(struct duel *d, uint32_t key)
{
	struct shadows *pool = d->view.shadows;

	return &pool_buckets(pool)[(key >> 8) % pool->bucket_nr];
}

static uint16_t node_find(struct duel *d, uint32_t key)
{
	uint16_t n = d->joined ? *bucket_of(d, key) : NO_NODE;

	while (n != NO_NODE && (d->node[n].key != key || d->node[n].duel != d->number))
		n = d->node[n].chain;
	return n;
}

/* There is one: access() sees to that. */
static uint16_t node_new(struct duel *d, uint32_t key)
{
	struct shadows *pool = d->view.shadows;
	uint16_t n = pool->free;

	if (n != NO_NODE) {
		pool->free = d->node[n].chain;
	} else {
		assert(pool->never_used < pool->node_nr);
		n = pool->never_used++;
	}
	d->node[n] = (struct node){
		.key = key, .nr = PAGE_NONE, .chain = *bucket_of(d, key), .duel = d->number
	};
	*bucket_of(d, key) = n;
	d->node_nr++;
	return n;
}

/* Unless a shadow still knows it. */
static void node_release(struct duel *d, uint16_t n)
{
	uint16_t *link = bucket_of(d, d->node[n].key);

	if (d->node[n].in_upstream || d->node[n].lirs != LIRS_NONE)
		return;
	while (*link != n)
		link = &d->node[*link].chain;
	*link = d->node[n].chain;
	d->node[n].chain = d->view.shadows->free;
	d->view.shadows->free = n;
	d->node_nr--;
}

static bool is_used(const struct node *node, unsigned int shadow)
{
	return node->used >> shadow & 1;
}

static void set_used(struct node *node, unsigned int shadow, bool used)
{
	unsigned int others = node->used & ~(1u << shadow);

	node->used = (others | (unsigned int)used << shadow) & 3u;
}

/* The shadow wants to know of the next use. */
static void node_arm(struct duel *d, uint16_t n, unsigned int shadow)
{
	set_used(&d->node[n], shadow, false);
	if (d->node[n].nr != PAGE_NONE)
		sample_arm(&d->view, d->node[n].nr);
}

/* ---- Linux's shadow: each returns true for a fault ------------------------------------------------ */

static void upstream_evict(struct duel *d)
{
	uint16_t n = d->upstream.first;

	/* Ends: each round takes a page's one chance away. */
	while (is_used(&d->node[n], UPSTREAM)) {
		node_arm(d, n, UPSTREAM);
		queue_rotate(d, &d->upstream, UPSTREAM);
		n = d->upstream.first;
	}
	queue_del(d, &d->upstream, UPSTREAM, n);
	d->node[n].in_upstream = false;
	node_arm(d, n, UPSTREAM);
	node_release(d, n);
}

static bool upstream_access(struct duel *d, uint16_t n)
{
	set_used(&d->node[n], UPSTREAM, true);
	if (d->node[n].in_upstream)
		return false;
	while (d->upstream.nr >= d->capacity)
		upstream_evict(d);
	d->node[n].in_upstream = true;
	queue_add(d, &d->upstream, UPSTREAM, n);
	return true;
}

/* ---- LIRS's shadow: as policy_lirs.c ---------------------------------------------------------------- */

static uint32_t hot_max(const struct duel *d)
{
	uint32_t cold = d->capacity / DUEL_COLD_PART;

	return d->capacity - (cold < 2 ? 2 : cold);
}

static void hot_rotate(struct duel *d)
{
	uint16_t n = d->hot.first;

	node_arm(d, n, LIRS);
	d->node[n].stamp = d->now;
	queue_rotate(d, &d->hot, LIRS);
}

/* Used since the hot page that was not used for longest. */
static bool is_hotter(struct duel *d, uint32_t stamp)
{
	const struct node *oldest;

	while (d->hot.nr > 0) {
		oldest = &d->node[d->hot.first];
		if ((int32_t)(stamp - oldest->stamp) <= 0)
			return false;
		if (!is_used(oldest, LIRS))
			return true;
		hot_rotate(d);
	}
	return true;
}

static void lirs_demote(struct duel *d)
{
	uint16_t n;

	while (is_used(&d->node[d->hot.first], LIRS))
		hot_rotate(d);
	n = d->hot.first;
	queue_del(d, &d->hot, LIRS, n);
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
	uint16_t n = d->ghosts.first;

	queue_del(d, &d->ghosts, LIRS, n);
	d->node[n].lirs = LIRS_NONE;
	node_release(d, n);
}

/* One step towards room for a page. */
static void lirs_evict_step(struct duel *d)
{
	uint32_t stamp;
	uint16_t n;

	if (d->cold.nr == 0)
		lirs_demote(d);
	n = d->cold.first;
	queue_del(d, &d->cold, LIRS, n);
	if (is_used(&d->node[n], LIRS)) {
		stamp = d->node[n].stamp;
		d->node[n].stamp = d->now;
		node_arm(d, n, LIRS);
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

	if (node->lirs == LIRS_HOT || node->lirs == LIRS_COLD) {
		set_used(node, LIRS, true);
		return false;
	}
	d->now++;
	if (ghost)
		queue_del(d, &d->ghosts, LIRS, n);
	node->lirs = LIRS_NONE;
	while (d->hot.nr + d->cold.nr >= d->capacity)
		lirs_evict_step(d);
	ghost = ghost && is_hotter(d, node->stamp);
	node->stamp = d->now;
	set_used(node, LIRS, false);
	lirs_add(d, n, ghost || d->hot.nr < hot_max(d));
	return true;
}

/* ---- the score ------------------------------------------------------------------------------------ */

static int64_t lead_to_change(const struct duel *d, unsigned int part)
{
	return (int64_t)(d->capacity / part + LEAST_LEAD) * SCORE_UNIT;
}

static void change_mind(struct duel *d)
{
	d->upstream_wins = !d->upstream_wins;
	d->changed = true;
}

static void score(struct duel *d, bool real, bool upstream, bool lirs)
{
	int64_t slack;

	d->real_loss += (int)real - (int)upstream;
	d->real_faults += upstream;
	if (d->real_faults > (int64_t)FORGET_TIMES * d->capacity) {
		d->real_loss /= 2;
		d->real_faults /= 2;
	}
	if (!upstream && !lirs)
		return;
	d->lead -= d->lead / ((int64_t)MEMORY_TIMES * d->capacity);
	d->lead += ((int)upstream - (int)lirs) * SCORE_UNIT;
	slack = d->real_faults * LOSS_PERMILLE / 1000;
	if (d->upstream_wins) {
		if (d->lead > lead_to_change(d, LATER_PART) && d->real_loss < slack / 2)
			change_mind(d);
	} else if (d->lead < -lead_to_change(d, d->changed ? LATER_PART : FIRST_PART) ||
		   (d->changed && d->lead < 0 && d->real_loss > slack)) {
		change_mind(d);
	}
}

bool duel_upstream_wins(const struct duel *d)
{
	return d->upstream_wins;
}

bool duel_lirs_is_sure(const struct duel *d)
{
	return d->lead > lead_to_change(d, SURE_PART);
}

/* ---- what happens to real pages --------------------------------------------------------------------- */

/* The half that is of the page alone: which set of ghosts it has says little where those are few. */
static uint32_t short_key(uint64_t key)
{
	return (uint32_t)key;
}

static bool is_sampled(const struct duel *d, uint32_t key)
{
	return (key & ((1u << d->shift) - 1)) == 0;
}

bool duel_is_sampled(const struct duel *d, uint64_t key)
{
	return is_sampled(d, short_key(key));
}

static void node_forget(struct duel *d, uint16_t n)
{
	struct node *node = &d->node[n];
	struct queue *const lirs[] = {
		[LIRS_HOT] = &d->hot, [LIRS_COLD] = &d->cold, [LIRS_GHOST] = &d->ghosts
	};

	if (node->in_upstream)
		queue_del(d, &d->upstream, UPSTREAM, n);
	if (node->lirs != LIRS_NONE)
		queue_del(d, lirs[node->lirs], LIRS, n);
	node->in_upstream = false;
	node->lirs = LIRS_NONE;
	node_release(d, n);
}

static void set_capacity(struct duel *d)
{
	d->capacity = d->pages >> d->shift;
	if (d->capacity < CAPACITY_MIN)
		d->capacity = CAPACITY_MIN;
}

/* Nodes of @q that are not in the sample, or all of them. */
static void queue_forget(struct duel *d, const struct queue *q, unsigned int shadow, bool all)
{
	uint16_t n = q->first, next;

	for (; n != NO_NODE; n = next) {
		next = d->node[n].next[shadow];
		if (all || !is_sampled(d, d->node[n].key))
			node_forget(d, n);
	}
}

static void queues_forget(struct duel *d, bool all)
{
	queue_forget(d, &d->upstream, UPSTREAM, all);
	queue_forget(d, &d->hot, LIRS, all);
	queue_forget(d, &d->cold, LIRS, all);
	queue_forget(d, &d->ghosts, LIRS, all);
}

/* Half of the sample. */
static void sample_less(struct duel *d)
{
	if (d->shift < SHIFT_MAX)
		d->shift++;
	set_capacity(d);
	queues_forget(d, d->shift == SHIFT_MAX);
	d->lead /= 2;
	d->real_loss /= 2;
	d->real_faults /= 2;
}

/* Nodes that each duel may have. */
static uint32_t pool_part(const struct shadows *pool)
{
	uint32_t part = pool->node_nr / pool->duel_nr;

	return part < PART_MIN ? PART_MIN : part;
}

static void join(struct duel *d)
{
	struct shadows *pool = d->view.shadows;
	struct duel *other;

	d->number = 0;
	while (pool->numbers[d->number / 64] >> d->number % 64 & 1)
		d->number++;
	pool->numbers[d->number / 64] |= 1ull << d->number % 64;
	d->next = pool->first;
	pool->first = d;
	pool->duel_nr++;
	d->joined = true;
	for (other = pool->first; other; other = other->next) {
		while (other->node_nr > pool_part(pool))
			sample_less(other);
	}
}

static void leave(struct duel *d)
{
	struct shadows *pool = d->view.shadows;
	struct duel **link = &pool->first;

	queues_forget(d, true);
	while (*link != d)
		link = &(*link)->next;
	*link = d->next;
	pool->numbers[d->number / 64] &= ~(1ull << d->number % 64);
	pool->duel_nr--;
	d->joined = false;
}

/* For a node of @key.  False: it is not in the sample, which had to become smaller. */
static bool make_room(struct duel *d, uint32_t key)
{
	const struct shadows *pool = d->view.shadows;

	while (d->node_nr >= pool_part(pool) ||
	       (pool->free == NO_NODE && pool->never_used == pool->node_nr)) {
		if (d->node_nr == 0)
			return false;
		sample_less(d);
	}
	return is_sampled(d, key);
}

static void access(struct duel *d, uint64_t key64, uint32_t nr, bool real)
{
	uint32_t key = short_key(key64);
	bool upstream, lirs;
	uint16_t n;

	if (!is_sampled(d, key))
		return;
	if (!d->joined)
		join(d);
	n = node_find(d, key);
	if (n == NO_NODE && !make_room(d, key))
		return;
	if (n == NO_NODE)
		n = node_new(d, key);
	d->node[n].nr = nr;
	upstream = upstream_access(d, n);
	lirs = lirs_access(d, n);
	score(d, real, upstream, lirs);
	while (d->upstream.nr >= SHADOW_MAX || d->hot.nr + d->cold.nr >= SHADOW_MAX)
		sample_less(d);
}

void duel_load(struct duel *d, uint64_t key, uint32_t nr)
{
	access(d, key, nr, true);
	if (duel_is_sampled(d, key))
		sample_watch(&d->view, nr);
}

void duel_use(struct duel *d, uint64_t key, uint32_t nr)
{
	access(d, key, nr, false);
}

void duel_evicted(struct duel *d, uint64_t key)
{
	uint16_t n = node_find(d, short_key(key));

	if (n != NO_NODE)
		d->node[n].nr = PAGE_NONE;
}

void duel_forget(struct duel *d, uint64_t key)
{
	uint16_t n = node_find(d, short_key(key));

	if (n != NO_NODE)
		node_forget(d, n);
}

void duel_set_capacity(struct duel *d, uint32_t pages)
{
	d->pages = pages;
	set_capacity(d);
	while (d->capacity >= SHADOW_MAX)
		sample_less(d);
}

/* ---- life ------------------------------------------------------------------------------------------- */

static void duel_init(struct duel *d)
{
	queue_init(&d->upstream);
	queue_init(&d->hot);
	queue_init(&d->cold);
	queue_init(&d->ghosts);
	d->node_nr = 0;
	d->joined = false;
	d->pages = d->view.page_nr;
	set_capacity(d);
}

void duel_reset(struct duel *d)
{
	shadows_reset(d->view.shadows);
	duel_init(d);
}

struct duel *duel_create(struct arena *arena, const struct policy_view *view)
{
	struct duel *d = arena_alloc(arena, sizeof(*d));

	if (d) {
		d->view = *view;
		d->node = view->shadows->node;
		duel_init(d);
	}
	return d;
}

void duel_destroy(struct duel *d, struct arena *arena)
{
	if (d->joined)
		leave(d);
	arena_free(arena, d, sizeof(*d));
}

static bool queue_check(const struct duel *d, const struct queue *q, unsigned int shadow)
{
	uint16_t prev = NO_NODE, n = q->first;
	uint32_t count = 0;

	while (n != NO_NODE && count < q->nr) {
		if (d->node[n].prev[shadow] != prev)
			return false;
		prev = n;
		n = d->node[n].next[shadow];
		count++;
	}
	return n == NO_NODE && count == q->nr && prev == q->last;
}

bool duel_check(const struct duel *d)
{
	uint32_t lirs_nr = d->hot.nr + d->cold.nr + d->ghosts.nr;

	return queue_check(d, &d->upstream, UPSTREAM) && queue_check(d, &d->hot, LIRS) &&
	       queue_check(d, &d->cold, LIRS) && queue_check(d, &d->ghosts, LIRS) &&
	       d->node_nr <= d->upstream.nr + lirs_nr && d->node_nr >= d->upstream.nr &&
	       d->node_nr >= lirs_nr && (!d->joined || d->node_nr <= pool_part(d->view.shadows));
}
