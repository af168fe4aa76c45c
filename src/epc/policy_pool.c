/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The pool of nodes that shadows are made of, and which pages each duel plays with its part of it.
 *
 * All groups share one pool.  A duel has its part and no more: those that have more when another one joins halve their
 * samples until they have not, and so does one that has used up its part; a sample that would fit twice grows again.
 * There are no more parts than are worth one: where more duels want one they take turns, and one that does nothing
 * makes way first.  A duel without a part keeps the order that it has.
 *
 * Not here: how the shadows are played (policy_shadow.c), and what follows from it (policy_duel.c).
 */
#include "base/arena.h"
#include "epc/policy_duel_priv.h"
#include "epc/policy_sample.h"

enum {
	/*
	 * Shadows of a whole EPC take no more than NODES_A_PAGE, and NODE_NR_ENOUGH are enough for
	 * one group: with 512 the traces are a little further on the way, but more pages are armed
	 * and there are more soft faults.  More are for the groups that share the pool.
	 */
	NODES_A_PAGE = 3,
	NODE_NR_ENOUGH = 384,
	POOL_BYTES_A_PAGE = 2,
	NODE_NR_MAX = NO_NODE,
	NODES_A_BUCKET = 4,

	CAPACITY_MIN = 4,
	SHIFT_MAX = 31,
	NEED_TIMES =
		4, /* nodes for each page of a shadow: two queues, LIRS's, those that LIRS remembers */
	PART_MIN = 2 * NEED_TIMES * CAPACITY_MIN,
	TURN_TIMES = 64, /* uses for each page of a shadow: a turn, when others wait for theirs */
	ASK_EVERY = 256, /* uses: then another duel is asked whether it has still something to do */
	IDLE_USES = 1 << 14, /* that others had since its last: it has not */
	SCOUT_NODES_PART =
		5, /* of the pool: until it is back its duel needs less than half of it */
};

/* ---- nodes -------------------------------------------------------------------------------------- */

static uint16_t *pool_buckets(struct shadows *pool)
{
	return (uint16_t *)&pool->node[pool->node_nr];
}

void shadows_reset(struct shadows *pool)
{
	uint32_t i;

	for (i = 0; i < pool->bucket_nr; i++)
		pool_buckets(pool)[i] = NO_NODE;
	pool->numbers = 0;
	pool->first = pool->hand = NULL;
	pool->duel_nr = 0;
	pool->free = NO_NODE;
	pool->never_used = 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t bucket_nr_for(uint64_t node_nr)
{
	return (node_nr + NODES_A_BUCKET - 1) / NODES_A_BUCKET;
}

static size_t pool_bytes(uint64_t node_nr)
{
	return sizeof(struct shadows) + node_nr * sizeof(struct node) +
	       bucket_nr_for(node_nr) * sizeof(uint16_t);
}

/*
 * As many as are good for the EPC, if they fit into @room with the samples that they need, or as many as do.  Where there
 * is no room for one duel, the EPC is so small that a sample says little and all of it is played: what does not fit is not
 * worth what it would lose.
 */
static uint64_t nodes_for(uint32_t page_nr, uint64_t room)
{
	uint64_t nr = least((uint64_t)page_nr * NODES_A_PAGE, NODE_NR_ENOUGH), fit;
	uint64_t shared =
		least((uint64_t)page_nr * POOL_BYTES_A_PAGE / sizeof(struct node), NODE_NR_MAX);

	if (nr < shared)
		nr = shared;
	fit = nr;
	while (fit >= PART_MIN && samples_bytes(page_nr, (uint32_t)fit) + pool_bytes(fit) > room)
		fit--;
	return fit >= PART_MIN ? fit : nr;
}

struct shadows *shadows_create(uint32_t page_nr, uint64_t room)
{
	uint64_t node_nr = nodes_for(page_nr, room);
	struct shadows *pool = shared_map(pool_bytes(node_nr));

	if (!pool)
		return NULL;
	pool->node_nr = (uint16_t)node_nr;
	pool->bucket_nr = (uint16_t)bucket_nr_for(node_nr);
	shadows_reset(pool);
	return pool;
}

void shadows_destroy(struct shadows *pool)
{
	if (pool)
		shared_unmap(pool, shadows_bytes(pool));
}

size_t shadows_bytes(const struct shadows *pool)
{
	return pool_bytes(pool->node_nr);
}

uint32_t shadows_node_nr(const struct shadows *pool)
{
	return pool->node_nr;
}

/* By all bits of the key: in a small sample the low ones are the same in all. */
uint32_t shadows_bucket(const struct shadows *pool, uint32_t key)
{
	uint64_t spread = (key * 0x9e3779b1u) & UINT32_MAX;

	return (uint32_t)(spread * pool->bucket_nr >> 32);
}

static uint16_t *bucket_of(struct duel *d, uint32_t key)
{
	struct shadows *pool = d->view->shadows;

	return &pool_buckets(pool)[shadows_bucket(pool, key)];
}

static bool is_node_of(const struct duel *d, const struct node *node, uint32_t key)
{
	return node->key == key && node->nr != NODE_GONE && node->duel == d->number &&
	       node->scout == d->is_scout;
}

uint16_t node_find(struct duel *d, uint32_t key)
{
	uint16_t n = d->joined ? *bucket_of(d, key) : NO_NODE;

	while (n != NO_NODE && !is_node_of(d, &d->node[n], key))
		n = node_next(&d->node[n], CHAIN_BUCKET);
	return n;
}

/* There is one. */
static uint16_t node_new(struct duel *d, uint32_t key)
{
	struct shadows *pool = d->view->shadows;
	uint16_t n = pool->free;

	if (n != NO_NODE) {
		pool->free = node_next(&d->node[n], CHAIN_BUCKET);
	} else {
		assert(pool->never_used < pool->node_nr);
		n = pool->never_used++;
	}
	d->node[n] = (struct node){ .key = key,
				    .nr = NODE_NO_PAGE,
				    .duel = d->number & (DUELS_MAX - 1),
				    .scout = d->is_scout };
	node_set_next(&d->node[n], CHAIN_BUCKET, *bucket_of(d, key));
	*bucket_of(d, key) = n;
	d->node_nr++;
	return n;
}

void node_release(struct duel *d, uint16_t n)
{
	struct shadows *pool = d->view->shadows;
	struct node *node = &d->node[n];
	uint16_t *first = bucket_of(d, node->key), at = *first;

	if (node->in || node->lirs != LIRS_NONE)
		return;
	if (at == n) {
		*first = node_next(node, CHAIN_BUCKET);
	} else {
		while (node_next(&d->node[at], CHAIN_BUCKET) != n)
			at = node_next(&d->node[at], CHAIN_BUCKET);
		node_set_next(&d->node[at], CHAIN_BUCKET, node_next(node, CHAIN_BUCKET));
	}
	node_set_next(node, CHAIN_BUCKET, pool->free);
	pool->free = n;
	d->node_nr--;
}

/* ---- samples ------------------------------------------------------------------------------------ */

void sample_set_capacity(struct duel *d)
{
	d->capacity = d->pages >> d->shift;
	if (d->capacity < CAPACITY_MIN)
		d->capacity = CAPACITY_MIN;
}

void sample_less(struct duel *d)
{
	if (d->shift < SHIFT_MAX)
		d->shift++;
	sample_set_capacity(d);
	shadows_forget(d, d->shift == SHIFT_MAX);
	score_scale(d, false);
}

uint32_t sample_part(const struct duel *d)
{
	const struct shadows *pool = d->view->shadows;
	uint32_t part = pool->node_nr / (pool->duel_nr ? pool->duel_nr : 1);
	uint32_t of_scout = pool->node_nr / SCOUT_NODES_PART;

	if (!d->is_scout)
		return part;
	return of_scout < part / 2 ? of_scout : part / 2;
}

/* Where it will do: the shadows of twice the sample cannot use up the part. */
static void sample_grow(struct duel *d)
{
	uint32_t twice = 2 * d->capacity;

	if (d->shift == 0 || twice >= SHADOW_MAX || NEED_TIMES * twice + 1 > sample_part(d))
		return;
	d->shift--;
	sample_set_capacity(d);
	score_scale(d, true);
	d->filling = d->started;
}

static void sample_fit(struct duel *d)
{
	while (d->node_nr > sample_part(d))
		sample_less(d);
}

/* ---- turns -------------------------------------------------------------------------------------- */

static uint32_t duels_max(const struct shadows *pool)
{
	uint32_t nr = pool->node_nr / PART_MIN;

	if (nr == 0)
		return 1;
	return nr < DUELS_MAX ? nr : DUELS_MAX;
}

void pool_leave(struct duel *d)
{
	struct shadows *pool = d->view->shadows;
	struct duel **link = &pool->first;

	if (d->scout)
		shadows_forget(d->scout, true);
	d->scout = NULL;
	shadows_forget(d, true);
	while (*link != d)
		link = &(*link)->next;
	*link = d->next;
	if (pool->hand == d)
		pool->hand = d->next;
	pool->numbers &= ~(1ull << d->number);
	pool->duel_nr--;
	d->joined = false;
}

/*
 * The next of those that play is asked: it makes way when it has nothing to do, or, if others @wait, when it has had
 * its turn.
 */
static bool ask_next(struct shadows *pool, bool wait)
{
	struct duel *d = pool->hand ? pool->hand : pool->first;

	pool->hand = d->next;
	if (pool->uses - d->last_use < IDLE_USES &&
	    !(wait && d->uses >= (uint64_t)TURN_TIMES * d->capacity))
		return false;
	pool_leave(d);
	return true;
}

bool pool_join(struct duel *d)
{
	struct shadows *pool = d->view->shadows;
	struct duel *other;

	if (pool->duel_nr >= duels_max(pool) && !ask_next(pool, true))
		return false;
	d->number = (uint8_t)__builtin_ctzll(~pool->numbers);
	pool->numbers |= 1ull << d->number;
	d->next = pool->first;
	pool->first = d;
	pool->duel_nr++;
	d->joined = true;
	d->node = pool->node;
	d->uses = 0;
	d->last_use = pool->uses;
	d->filling = d->started;
	for (other = pool->first; other; other = other->next) {
		sample_fit(other);
		if (other->scout)
			sample_fit(other->scout);
	}
	return true;
}

/* For a node of @key.  False: it is not in the sample, which had to become smaller. */
static bool make_room(struct duel *d, uint32_t key)
{
	const struct shadows *pool = d->view->shadows;

	while (d->node_nr >= sample_part(d) ||
	       (pool->free == NO_NODE && pool->never_used == pool->node_nr)) {
		if (d->node_nr == 0)
			return false;
		if (!shadows_forget_gone(d))
			sample_less(d);
	}
	return sample_has(d, key);
}

uint16_t pool_node(struct duel *d, uint32_t key)
{
	struct shadows *pool = d->view->shadows;
	uint16_t n;

	if (!sample_has(d, key))
		return NO_NODE;
	pool->uses++;
	if (!d->joined && !pool_join(d))
		return NO_NODE;
	d->last_use = pool->uses;
	if (++d->uses % ASK_EVERY == 0)
		(void)ask_next(pool, false);
	sample_grow(d);
	n = node_find(d, key);
	if (n == NO_NODE && make_room(d, key))
		n = node_new(d, key);
	return n;
}
