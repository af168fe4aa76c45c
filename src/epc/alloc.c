/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Allocating: a page for an owner, by whatever it takes.
 *
 * An allocation takes a free page, or evicts others' until there is one.  It gives up when it has offered
 * every tracked page to its owner LOOK_ROUNDS times and none could go, or has slept NOTHING_ROUNDS times with no page
 * tracked, with nobody else's batch under way; when UNWRITTEN_MAX pages in a row could not be written: the store is full, or fails; or when
 * nothing has moved for STUCK_NS, no page been offered that had not been so often: then some process holds pages and
 * does not run.  A page that somebody else takes away under its nose is progress, for somebody, and counts from the
 * beginning.
 *
 * Not here: which pages are free (section.c), one batch (reclaim.c), how to wait (freed.c).
 */
#include <errno.h>
#include <sched.h>
#include <time.h>

#include "epc/epc_priv.h"

enum {
	LOOK_ROUNDS = 8,     /* two are needed to use up what a page has earned */
	NOTHING_ROUNDS = 64, /* of a sleep each, while there is nothing to offer */
	UNWRITTEN_MAX = 256, /* pages that the store did not take */
};
#define STUCK_NS (10ull * 1000 * 1000 * 1000)

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint32_t tracked_nr(struct epc_group *top)
{
	struct epc *epc = top->epc;
	uint32_t nr;

	order_lock(epc);
	nr = group_tracked_locked(top);
	order_unlock(epc);
	return nr;
}

/* What an allocation has seen since anything last moved. */
struct search {
	uint64_t since_ns;
	uint64_t looked, looked_then; /* then: at since_ns */
	uint64_t unwritten;
	unsigned int rounds; /* one after the other with nothing in anybody's hands */
};

static bool has_offered_all(struct epc_group *top, const struct search *search)
{
	return search->looked >= (uint64_t)LOOK_ROUNDS * tracked_nr(top);
}

/* Nothing has moved for long.  To spare many pages takes a while as well, and is a move. */
static bool is_stuck(struct epc_group *top, struct search *search)
{
	uint64_t now = now_ns();

	if (now - search->since_ns <= STUCK_NS)
		return false;
	if (search->looked == search->looked_then || has_offered_all(top, search))
		return true;
	search->since_ns = now;
	search->looked_then = search->looked;
	return false;
}

/* True while it makes sense to try once more. */
static bool may_still_come(struct epc_group *top, struct search *search)
{
	if (is_stuck(top, search))
		return false;
	/* A page that was in somebody's hands is free, or may be tried again. */
	if (search->rounds == 0)
		return true;
	if (search->unwritten >= UNWRITTEN_MAX)
		return false;
	/* Every page is with its owner, maybe on its way in: it will be offered soon, or its owner keeps it. */
	if (search->looked == 0)
		return search->rounds < NOTHING_ROUNDS;
	return search->rounds < LOOK_ROUNDS || !has_offered_all(top, search);
}

/* A page, if there is one and the group may have it; else NULL, and who must give some first. */
static struct epc_page *alloc_try(struct epc_owner *owner, struct epc_group **ret_top)
{
	struct epc *epc = owner->epc;
	bool limited = group_is_limited(owner->group);
	struct epc_page *page = NULL;

	*ret_top = NULL;
	if (limited) {
		lock_acquire(&epc->charge_lock);
		epc->charge_lock.holder_died = false; /* it protects no data */
		*ret_top = group_at_max(owner->group);
	}
	if (!*ret_top)
		page = section_alloc(epc, owner);
	if (limited)
		lock_release(&epc->charge_lock);
	if (!page && !*ret_top)
		*ret_top = epc_group_root(epc);
	return page;
}

/* @top: who must give some, as alloc_try() found. */
static struct epc_page *alloc_reclaiming(struct epc_owner *owner, struct epc_group *top)
{
	struct epc *epc = owner->epc;
	struct stalled *stalled = stall_begin(owner);
	uint64_t start = now_ns();
	struct search search = { .since_ns = start };
	struct reclaim_result result;
	struct epc_page *page;
	bool in_hand;
	int freed;

	count(&epc->counters.stalls, 1);
	epc_count(owner, EPC_STALLS, 1);
	for (;;) {
		freed = reclaim_batch(epc, top, &result);
		if (freed >= 0) {
			count(&epc->counters.direct_reclaims, 1);
			epc_count(owner, EPC_DIRECT_RECLAIMS, 1);
		}
		/* Before the try: of a batch that ends behind it the next can have a page. */
		in_hand = atomic_load(&epc->in_batch_nr) > 0;
		page = alloc_try(owner, &top);
		if (page)
			break;
		if (freed > 0) {
			search = (struct search){ .since_ns = now_ns() };
			continue;
		}
		search.looked += result.looked;
		search.unwritten += result.unwritten;
		in_hand = in_hand || atomic_load(&epc->in_batch_nr) > 0;
		search.rounds = in_hand ? 0 : search.rounds + 1;
		if (!may_still_come(top, &search))
			break;
		/* Others hold pages: let them go on; and if they are dead, do it for them. */
		if (result.looked == 0 || atomic_load(&epc->in_batch_nr) > 0)
			freed_wait(epc, top);
		else
			sched_yield();
		reclaim_recover(epc);
		page = alloc_try(owner, &top);
		if (page)
			break;
	}
	if (!page)
		group_event(top, EPC_GROUP_OOM);
	start = now_ns() - start;
	count(&epc->counters.stall_ns, start);
	epc_count(owner, EPC_STALL_NS, start);
	stall_end(stalled, owner);
	return page;
}

/* Whoever takes a page beyond high makes some of the group's go first; it is no failure when none can. */
static bool alloc_stay_low(struct epc_owner *owner, bool may_reclaim)
{
	struct epc_group *group = group_over_high(owner->group);
	struct reclaim_result result;

	if (!group)
		return true;
	if (!may_reclaim)
		return false;
	group_event(group, EPC_GROUP_HIGH);
	(void)reclaim_batch(owner->epc, group, &result);
	return true;
}

int epc_alloc(struct epc *epc, struct epc_owner *owner, unsigned int flags,
	      struct epc_page **ret_page)
{
	bool may_reclaim = (flags & EPC_MAY_RECLAIM) && !reclaim_is_running();
	struct epc_group *top;
	struct epc_page *page;

	assert(owner->epc == epc);
	if (!alloc_stay_low(owner, may_reclaim))
		return -EBUSY;
	page = alloc_try(owner, &top);
	if (!page && !may_reclaim)
		return -EBUSY;
	if (!page) {
		if (top->parent)
			group_event(top, EPC_GROUP_MAX);
		page = alloc_reclaiming(owner, top);
	}
	if (!page)
		return -ENOMEM;
	page_own(epc, page, flags & EPC_UNPLACED);
	*ret_page = page;
	return 0;
}
