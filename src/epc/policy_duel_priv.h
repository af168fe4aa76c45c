/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the files of the duel share: shadows, which are policies that are played without pages (policy_shadow.c), on which
 * of them (policy_pool.c), and who is believed for what they show (policy_duel.c).  Private to src/epc.
 *
 * A node is a page that at least one shadow knows: one that "has" it, or LIRS as a page it had not long ago.
 * Each shadow has links of its own in the node.  Nodes are in one pool of shared memory, linked by index, and
 * belong to the reclaim lock.
 */
#ifndef SWSGX_EPC_POLICY_DUEL_PRIV_H
#define SWSGX_EPC_POLICY_DUEL_PRIV_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "epc/policy.h"
#include "epc/policy_duel.h"

enum {
	DUELS_MAX = 64,    /* that are played at once */
	SHADOW_MAX = 1024, /* pages that a shadow has */
	LINK_BITS = 11,
	NO_NODE = (1 << LINK_BITS) - 1,
	/* Of a node without a page, and of one whose page is no more: the last two in a TiB of EPC are never armed. */
	NODE_NO_PAGE = (1 << 28) - 1,
	NODE_GONE = NODE_NO_PAGE - 1,
};

/* The first ones are queues, and the numbers those of enum duel_order. */
enum { UPSTREAM = DUEL_UPSTREAM, CLOCK = DUEL_CLOCK, FIFO_NR, LIRS = DUEL_LIRS, SHADOW_NR };
static_assert(LIRS == FIFO_NR, "the rest is no queue");

enum lirs_state { LIRS_NONE, LIRS_HOT, LIRS_COLD, LIRS_GHOST };

/* Chains through nodes: the queues of each shadow, and those of a bucket, or of free ones.  They go one way alone. */
enum { CHAIN_BUCKET = SHADOW_NR, CHAIN_NR };

struct node {
	uint32_t key;
	uint32_t nr : 28;          /* of the page that it is now, NODE_NO_PAGE or NODE_GONE */
	uint32_t used : SHADOW_NR; /* a bit for each shadow */
	uint32_t scout : 1;        /* the duel's scout's */
	uint64_t links : CHAIN_NR *LINK_BITS; /* node_next() */
	uint64_t in : FIFO_NR;
	uint64_t lirs : 2;   /* enum lirs_state */
	uint64_t stamp : 10; /* LIRS: when it was last used, in grains of its faults */
	uint64_t duel : 6;   /* whose */
};
static_assert(sizeof(struct node) == 16, "bytes a page are for so many");

static inline uint16_t node_next(const struct node *node, unsigned int chain)
{
	return (uint16_t)(node->links >> chain * LINK_BITS & NO_NODE);
}

static inline void node_set_next(struct node *node, unsigned int chain, uint16_t next)
{
	uint64_t others = node->links & ~((uint64_t)NO_NODE << chain * LINK_BITS);

	node->links = (others | (uint64_t)next << chain * LINK_BITS) &
		      ((1ull << CHAIN_NR * LINK_BITS) - 1);
}

struct shadows {
	uint16_t node_nr, bucket_nr; /* constant */
	uint16_t free, never_used;
	uint32_t duel_nr;   /* that have joined */
	uint32_t uses;      /* of all samples */
	struct duel *first; /* of them */
	struct duel *hand;  /* the next of them that may have to make way; NULL: the first */
	uint64_t numbers;   /* that are taken */
	struct node node[]; /* and the buckets behind them */
};

struct node_queue {
	uint16_t first, last;
	uint16_t nr;
};

struct duel {
	const struct policy_view *view;
	struct node *node;  /* of the pool, when it has joined */
	struct duel *next;  /* in the pool */
	struct duel *scout; /* before it starts. NULL: not there yet, or back */
	uint32_t pages;     /* there is room for */
	uint32_t capacity;  /* of a shadow */
	uint16_t came;      /* LIRS's faults in this grain of its time */
	uint16_t now;       /* and which it is */
	uint16_t believe; /* pages in whose use LIRS's shadow still may, for what it is shown now */
	struct node_queue fifo[FIFO_NR], hot, cold, ghosts;
	uint16_t node_nr;           /* that it has */
	uint16_t gone_nr;           /* of those NODE_GONE, at the most */
	uint32_t faults[SHADOW_NR]; /* of a scout */
	uint32_t uses;              /* of the sample, since it has joined */
	uint32_t last_use;          /* in those of the pool */
	uint8_t shift;              /* one page in 2^shift is in the sample */
	uint8_t may_arm;            /* a scout: loads that it has seen and asked for no use for */
	uint8_t number;             /* in the pool, when it has joined */
	bool is_scout : 1;
	bool joined : 1;
	bool filling : 1; /* the shadows have fewer pages than there really are: they say nothing */
	bool started : 1;

	/* the score, in faults: a scout has none, nor memory for it */
	uint8_t order;            /* enum duel_order */
	int32_t ahead[SHADOW_NR]; /* of the shadow in force, since it was last behind */
	int32_t real_loss;        /* faults that there really were, more than Linux's shadow had */
	int32_t least_loss;       /* the least since then */
	int32_t real_faults;      /* that Linux's shadow had */
	int64_t promise;          /* what the shadow in force has saved Linux's since it is */
	int64_t lead;             /* LIRS's, of late, in SCORE_UNITs */
};

enum { SCOUT_BYTES = offsetof(struct duel, order) };

/* ---- policy_pool.c ------------------------------------------------------------------------------ */

/* Where nodes of @key are, below pool->bucket_nr. */
uint32_t shadows_bucket(const struct shadows *pool, uint32_t key);
/* All of it is free. */
void shadows_reset(struct shadows *pool);
/* A part of the pool, and a number. False: others have all of it, and their turn. */
bool pool_join(struct duel *d);
void pool_leave(struct duel *d);
/* The node of a page that was used, a new one if need be; NO_NODE: the page is not played. */
uint16_t pool_node(struct duel *d, uint32_t key);
/* NO_NODE: no shadow knows it. */
uint16_t node_find(struct duel *d, uint32_t key);
/* It is free, unless a shadow still knows it. */
void node_release(struct duel *d, uint16_t n);

static inline bool sample_has(const struct duel *d, uint32_t key)
{
	return (key & ((1u << d->shift) - 1)) == 0;
}

/* Half of the sample. */
void sample_less(struct duel *d);
/* What a shadow has room for, as the sample is. */
void sample_set_capacity(struct duel *d);
/* Nodes that it may have. */
uint32_t sample_part(const struct duel *d);

/* ---- policy_duel.c ------------------------------------------------------------------------------ */

/* The sample is twice of what it was, or half of it. */
void score_scale(struct duel *d, bool up);

/* ---- policy_shadow.c ---------------------------------------------------------------------------- */

/* The queues of @d are empty. */
void queues_init(struct duel *d);
/*
 * Its page is no more, nobody finds it.  It is in the queues still: links go one way, so those that have gone leave them
 * together, when they are many.
 */
void node_forget(struct duel *d, uint16_t n);
/* No shadow knows those any more that have gone or are not in the sample, or any. */
void shadows_forget(struct duel *d, bool all);
/* Those that have gone; false: they are not worth it. */
bool shadows_forget_gone(struct duel *d);
/* Each has as many pages as it has room for, or a batch less. */
bool shadows_are_full(const struct duel *d);
/* Each shadow uses it; whose use was a fault. */
void shadows_use(struct duel *d, uint16_t n, bool ret_fault[SHADOW_NR]);
bool queues_check(const struct duel *d);

#endif
