/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the files of the duel share: shadows, which are policies that are played without pages (policy_shadow.c), and who
 * is believed for what they show (policy_duel.c).  Private to src/epc.
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
	DUELS_MAX = 256, /* as many as groups */
	NO_NODE = 0xffff,
};

/* The first ones are queues, and the numbers those of enum duel_order. */
enum { UPSTREAM = DUEL_UPSTREAM, CLOCK = DUEL_CLOCK, FIFO_NR, LIRS = DUEL_LIRS, SHADOW_NR };
static_assert(LIRS == FIFO_NR, "the rest is no queue");

enum lirs_state { LIRS_NONE, LIRS_HOT, LIRS_COLD, LIRS_GHOST };

struct node {
	uint32_t key;
	uint32_t nr;    /* of the page that it is now, or PAGE_NONE */
	uint32_t stamp; /* LIRS: when it was last used, in its faults */
	uint16_t next[SHADOW_NR], prev[SHADOW_NR];
	uint16_t chain; /* of its bucket, or of the free ones */
	uint8_t duel;   /* whose */
	uint8_t used : SHADOW_NR;
	uint8_t in : FIFO_NR;
	uint8_t lirs : 2;  /* enum lirs_state */
	uint8_t scout : 1; /* the duel's scout's */
};
static_assert(sizeof(struct node) == 28, "bytes a page are for so many");

struct shadows {
	size_t bytes;
	uint16_t node_nr, bucket_nr; /* constant */
	uint16_t free, never_used;
	uint32_t duel_nr;   /* that have joined */
	struct duel *first; /* of them */
	uint64_t numbers[DUELS_MAX / 64];
	struct node node[]; /* and the buckets behind them */
};

struct node_queue {
	uint16_t first, last;
	uint32_t nr;
};

struct duel {
	struct policy_view view;
	unsigned int shift; /* one page in 2^shift is in the sample */
	uint32_t pages;     /* there is room for */
	uint32_t capacity;  /* of a shadow */
	uint32_t now;       /* LIRS's faults */
	struct node_queue fifo[FIFO_NR], hot, cold, ghosts;
	struct node *node; /* of the pool */
	uint32_t node_nr;  /* that it has */
	struct duel *next; /* in the pool */
	bool joined;
	bool is_scout;
	uint8_t number; /* in the pool, when it has joined */

	/* before it starts */
	bool started;
	struct duel *scout;         /* NULL: not there yet, or back */
	uint64_t faults[SHADOW_NR]; /* of a scout */

	/* the score, in faults */
	enum duel_order order;
	int64_t lead;             /* LIRS's, of late, in SCORE_UNITs */
	int64_t ahead[SHADOW_NR]; /* of the shadow in force, since it was last behind */
	int64_t promise;          /* what the shadow in force has saved Linux's since it is */
	int64_t real_loss;        /* faults that there really were, more than Linux's shadow had */
	int64_t least_loss;       /* the least since then */
	int64_t real_faults;      /* that Linux's shadow had */
};

/* policy_shadow.c */
/* All of it is free. */
void shadows_reset(struct shadows *pool);
/* The queues of @d are empty. */
void queues_init(struct duel *d);
/* NO_NODE: no shadow knows it. */
uint16_t node_find(struct duel *d, uint32_t key);
/* There is one in the pool. */
uint16_t node_new(struct duel *d, uint32_t key);
/* No shadow knows it any more. */
void node_forget(struct duel *d, uint16_t n);
/* Each shadow uses it; whose use was a fault. */
void shadows_use(struct duel *d, uint16_t n, bool ret_fault[SHADOW_NR]);
bool queues_check(const struct duel *d);

#endif
