/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Whom to evict: one table of functions for each policy, one file each, and a row in policy.c.
 *
 * A policy orders the TRACKED pages.  All its functions run under the reclaim lock, take the same time however
 * many pages there are, and call nobody.
 */
#ifndef SWSGX_EPC_POLICY_H
#define SWSGX_EPC_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct epc_page;
struct ghosts;
struct samples;
struct shadows;

/*
 * What a policy works on: the same for all orders of an EPC.
 *
 * @pages:   the array that page numbers index
 * @arena:   where what policies need is
 * @samples: which pages to watch, and which were seen to be used (epc/policy_sample.h)
 * @ghosts:  what was evicted of late (epc/policy_ghost.h)
 * @shadows: where two policies are played against each other (epc/policy_duel.h)
 */
struct policy_view {
	struct epc_page *pages;
	uint32_t page_nr;
	struct arena *arena;
	struct samples *samples;
	struct ghosts *ghosts;
	struct shadows *shadows;
};

/*
 * With everything but pages, page_nr and arena, which are there: 0 or -ENOMEM.  It may be done after orders were made of it,
 * when it is known what else there is: shadows are so many that all of it takes no more than @room bytes, if that can be.
 */
int policy_view_init(struct policy_view *view, uint64_t room);
void policy_view_fini(struct policy_view *view);

enum policy_return {
	POLICY_REFERENCED, /* its owner says that it is in use */
	POLICY_NOT_NOW,    /* it could not go for a reason of its own */
};

/**
 * struct epc_policy - an order of eviction
 * @name:    as --policy takes it
 * @batch_part: no more than one page of so many goes at once; 0: POLICY_BATCH_PART
 * @in_rounds: a page that could not go is picked again only when all others have been picked or spared
 * @create:  state for an EPC of that size, which goes before @view does; NULL when there is no memory
 * @destroy: undo @create; the order is empty
 * @insert:  a page became TRACKED
 * @used:    a use of a page in the order was seen; NULL: the page's bit is enough
 * @remove:  a page in the order leaves it and is not evicted
 * @pick:    the next victim, removed from the order; PAGE_NONE when there is none or @ret_looked
 *           pages (at most POLICY_LOOK_MAX, counted always) were looked at and spared
 * @put_back: a picked page stays
 * @evicted: a picked page is gone.  It is still as it was
 * @reset:   all pages leave the order, which may be torn: someone died while he changed it.  All orders of an EPC are
 *           reset together
 * @nr:      pages in the order
 * @check:   the order is whole: for audits, may take its time
 */
struct epc_policy {
	const char *name;
	uint8_t batch_part;
	bool in_rounds;
	void *(*create)(struct arena *arena, const struct policy_view *view);
	void (*destroy)(void *state, struct arena *arena);
	void (*insert)(void *state, uint32_t nr);
	void (*used)(void *state, uint32_t nr);
	void (*remove)(void *state, uint32_t nr);
	uint32_t (*pick)(void *state, unsigned int *ret_looked);
	void (*put_back)(void *state, uint32_t nr, enum policy_return why);
	void (*evicted)(void *state, uint32_t nr);
	void (*reset)(void *state);
	uint32_t (*nr)(const void *state);
	bool (*check)(const void *state);
};

enum {
	POLICY_LOOK_MAX = 64,
	POLICY_BATCH_PART = 16, /* what goes ahead of need is missed, in a small EPC the most */
	/*
	 * Used pages that a rule of one queue spares for one victim: then the next one goes.  So
	 * many are more than a second chance is worth waiting for; 256 MiB of EPC are looked at
	 * whole, as the rules have it.
	 */
	POLICY_SPARED_MAX = 65536,
};

/* By name, or the default for NULL; NULL when there is no such policy. */
const struct epc_policy *policy_find(const char *name);
/* For lists of them: the i-th, NULL behind the last. */
const struct epc_policy *policy_at(unsigned int i);

extern const struct epc_policy policy_adaptive;
extern const struct epc_policy policy_clock;
extern const struct epc_policy policy_clockpro;
extern const struct epc_policy policy_lirs;
extern const struct epc_policy policy_s3fifo;
extern const struct epc_policy policy_sieve;
extern const struct epc_policy policy_upstream;

#endif
