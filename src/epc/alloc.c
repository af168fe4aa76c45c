/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Allocating: a page for an owner, by whatever it takes.
 *
 * An allocation takes a free page, or gets in line (waiter.c) and evicts others' until there is one
 * for it.  It gives up at once when it could have no page that anybody might still give: all are
 * kept by their owners, or have been offered to them LOOK_ROUNDS times and could not go.  While
 * somebody has pages in hand it waits for those: in a batch, for as long as STUCK_NS; with an owner
 * who neither tracks, keeps nor frees them, COMING_NS.  And it gives up when as many writes have
 * failed, of all who want pages of the same group together, as it takes to try each page that could
 * be offered twice, or once where the policy goes round and spares none in between, and UNWRITTEN_MAX
 * at least: the store is full, or fails.  Fewer may all be those of one owner who cannot write, with
 * others' behind them.  Pages that have come meanwhile
 * were not among those that were tried: then all of it begins anew, but not for longer than
 * COMING_NS.  Before that, a group that has no more than it was promised gives one of its own pages
 * for the one that it wants.
 *
 * Not here: which pages are free (section.c), one batch (reclaim.c), whose turn it is (waiter.c).
 */
#include <errno.h>
#include <string.h>

#include "epc/clock_priv.h"
#include "epc/epc_priv.h"
#include "epc/reclaim_priv.h"
#include "epc/waiter_priv.h"

enum {
	LOOK_ROUNDS = 8,     /* two are needed to use up what a page has earned */
	VAIN_ROUNDS = 2,     /* before a group that is at its min gives for itself */
	ALONE_TIMES = 16,    /* that it does so at once, before others are asked again */
	NOTHING_ROUNDS = 16, /* there are pages to offer, and none was met */
	COMING_ROUNDS =
		64, /* beside COMING_NS: where the machine is busy, he who has the page is late as well */
	UNWRITTEN_MAX = 256, /* writes that failed: a small EPC is offered more than once */
	UNDER_WAY_MAX = WINDOW_SLOTS * EPC_BATCH_MAX,
	WRITE_ROUNDS = 2, /* those that could be written may have been spared in the first */
	TURN_PAGES = 15,  /* that an owner may have before others, once it has waited for one */
	TURNS = 4,        /* before it steps back */
};
#define STUCK_NS  (10ull * 1000 * 1000 * 1000)
#define COMING_NS (1000ull * 1000 * 1000)

/* How often pages of some group were tried, in vain. */
struct tries {
	uint64_t looked;
	unsigned int rounds;
};

/* What all batches for @group had come to, when one last evicted anything of it; and pages had to it. */
struct since {
	const struct epc_group *group;
	uint32_t evicted, unwritten, came;
	uint32_t spared, row; /* so many batches had spared some; .unwritten as of then */
};

/* What an allocation has seen since it last freed anything. */
struct search {
	uint64_t
		since_ns; /* or since others last evicted anything of the group whose pages it waits for */
	uint64_t still_ns; /* the pages of @seen have not moved since */
	struct group_pages seen;
	struct tries others, own; /* own: of its groups that have no more than they were promised */
	uint64_t looked_then;     /* others.looked at since_ns */
	struct since since;       /* of the group whose pages it waits for */
	struct since own_since[EPC_GROUP_DEPTH_MAX]; /* of those of @own, by their depth */
	uint64_t batches_then; /* that had begun when there were failures enough; 0: not yet */
	uint64_t vain_ns; /* all had been tried in vain, for the first time since @since.evicted */
	unsigned int still_rounds, vain_rounds;
	bool gave_own; /* those groups have been asked for a page of their own, often enough */
};

static void search_begin(const struct epc *epc, struct search *search)
{
	memset(search, 0, sizeof(*search));
	search->since_ns = search->still_ns = epc_now_ns(epc);
}

/* Every page that could be offered, of so many, has been, often enough. */
static bool is_exhausted(const struct tries *tries, uint32_t tracked)
{
	if (tracked == 0)
		return true;
	if (tries->looked == 0)
		return tries->rounds >= NOTHING_ROUNDS;
	return tries->rounds >= LOOK_ROUNDS && tries->looked >= (uint64_t)LOOK_ROUNDS * tracked;
}

static bool enough_failed(uint64_t unwritten, uint32_t tracked)
{
	return unwritten >= UNWRITTEN_MAX && unwritten >= (uint64_t)WRITE_ROUNDS * tracked;
}

static uint32_t evicted_of(const struct epc_group *group)
{
	return atomic_load_explicit(&group->evicted, memory_order_relaxed);
}

static uint32_t unwritten_of(const struct epc_group *group)
{
	return atomic_load_explicit(&group->unwritten, memory_order_relaxed);
}

static uint32_t spared_of(const struct epc_group *group)
{
	return atomic_load_explicit(&group->spared, memory_order_relaxed);
}

static uint32_t came_to(const struct epc_group *group)
{
	return atomic_load_explicit(&group->came, memory_order_relaxed);
}

static void since_begin(struct since *since, const struct epc_group *group)
{
	*since = (struct since){ .group = group,
				 .evicted = evicted_of(group),
				 .unwritten = unwritten_of(group),
				 .came = came_to(group),
				 .spared = spared_of(group) };
	since->row = since->unwritten;
}

static bool has_evicted(const struct since *since, const struct epc_group *group)
{
	return since->group != group || since->evicted != evicted_of(group);
}

/* Failures of all together, in batches for @group, since one last evicted anything of it. */
static uint32_t failed_since(struct since *since, const struct epc_group *group)
{
	if (has_evicted(since, group))
		since_begin(since, group);
	return unwritten_of(group) - since->unwritten;
}

/* The same since one last spared a page: those that were could be written, perhaps. */
static uint32_t failed_in_row(struct since *since, const struct epc_group *group)
{
	uint32_t unwritten = unwritten_of(group), spared = spared_of(group);

	if (since->spared != spared) {
		since->spared = spared;
		since->row = unwritten;
	}
	return unwritten - since->row;
}

/* One look at each page was a failure, but those of batches that were under way when it began. */
static bool has_gone_round(struct search *search, const struct epc_group *top)
{
	const struct group_pages *pages = &search->seen;
	uint64_t row = failed_in_row(&search->since, top);

	return pages->in_rounds && row >= UNWRITTEN_MAX &&
	       row >= (uint64_t)pages->tracked + pages->in_batch + UNDER_WAY_MAX;
}

/*
 * Of the pages of @top each could be tried WRITE_ROUNDS times, by all together, or once in a row, and none was
 * evicted; and nobody has any in hand of whom that is not known yet.  Where many try there are
 * pages in somebody's batch all the time, and each for itself would have to find out.
 */
static bool none_is_written(const struct epc_group *top, struct search *search)
{
	uint64_t failed = failed_since(&search->since, top);

	if (!enough_failed(failed, search->seen.tracked) && !has_gone_round(search, top)) {
		search->batches_then = 0;
		return false;
	}
	if (search->batches_then == 0)
		search->batches_then = batches_begun(top->epc);
	return batches_have_ended(top->epc, search->batches_then) &&
	       evicted_of(top) == search->since.evicted;
}

static void tries_add(struct tries *tries, const struct reclaim_result *result)
{
	tries->looked += result->looked;
	tries->rounds++;
}

static bool has_offered_all(const struct search *search)
{
	return search->others.looked >= (uint64_t)LOOK_ROUNDS * search->seen.tracked;
}

static void search_goes_on(struct search *search, uint64_t now)
{
	search->since_ns = now;
	search->looked_then = search->others.looked;
}

/* Nothing has moved for long.  To spare many pages takes a while as well, and is a move. */
static bool is_stuck(struct search *search, uint64_t now)
{
	if (now - search->since_ns <= STUCK_NS)
		return false;
	if (search->others.looked == search->looked_then || has_offered_all(search))
		return true;
	search_goes_on(search, now);
	return false;
}

enum verdict { LOOK_AGAIN, WAIT, GIVE_OWN, GIVE_UP };

/*
 * All that was there has been tried, and none could go.  What has come since then was not there, and
 * what is in somebody's hand is not yet: it may be the only one that can go, and whoever has it may
 * be late.  Where writes fail others go on trying, so nothing ever stands still.
 */
static enum verdict judge_in_vain(const struct epc_group *top, struct search *search, uint64_t now,
				  bool unwritten)
{
	uint64_t since_ns = unwritten ? search->vain_ns : search->still_ns;
	unsigned int rounds = unwritten ? search->vain_rounds : search->still_rounds;

	if (search->since.came != came_to(top) && now - search->vain_ns < COMING_NS) {
		since_begin(&search->since, top);
		search->others = (struct tries){ 0 };
		search->batches_then = 0;
		return LOOK_AGAIN;
	}
	if (search->seen.coming == 0)
		return GIVE_UP;
	return now - since_ns < COMING_NS || rounds < COMING_ROUNDS ? WAIT : GIVE_UP;
}

/* @busy: as many reclaim as can. */
static enum verdict judge(struct epc_group *top, struct search *search, bool busy)
{
	struct group_pages pages = group_pages(top);
	uint64_t now = epc_now_ns(top->epc);
	bool unwritten;

	if (memcmp(&pages, &search->seen, sizeof(pages)) != 0) {
		search->still_ns = now;
		search->still_rounds = 0;
	}
	search->seen = pages;
	search->still_rounds++;
	if (has_evicted(&search->since, top))
		search->vain_rounds = 0;
	/* Others are before this one, perhaps, and it is its turn when they have theirs. */
	if (search->since.group == top && has_evicted(&search->since, top))
		search_goes_on(search, now);
	if (is_stuck(search, now))
		return GIVE_UP;
	unwritten = none_is_written(top, search);
	/* With room there is a page for somebody who has waited longer, or has died. */
	if (!unwritten && (pages.in_batch > 0 || pages.room || busy))
		return WAIT;
	if (!unwritten && !is_exhausted(&search->others, pages.tracked))
		return LOOK_AGAIN;
	if (!search->gave_own)
		return GIVE_OWN;
	if (search->vain_rounds++ == 0)
		search->vain_ns = now;
	return judge_in_vain(top, search, now, unwritten);
}

/* There are fewer than those who have waited longer than @self want. */
static bool is_for_others(struct epc *epc, const struct waiter *self)
{
	uint32_t before = waiters_before(epc, self, epc_group_root(epc));

	return before > 0 && section_free_nr(epc) <= before;
}

/* Its turn goes on: it has just waited for a page, and may have some more before others. */
static bool has_turn(struct epc_owner *owner)
{
	uint32_t left = atomic_load_explicit(&owner->turn_left, memory_order_relaxed);

	if (left == 0 || !atomic_load_explicit(&owner->epc->waiting, memory_order_relaxed))
		return false;
	atomic_store_explicit(&owner->turn_left, left - 1, memory_order_relaxed);
	return true;
}

/*
 * A page that is free and may be had without a look at any sum, where nobody waits who may have come
 * first.
 */
static struct epc_page *alloc_quick(struct epc_owner *owner)
{
	if (atomic_load_explicit(&owner->epc->waiting, memory_order_relaxed))
		return NULL;
	return section_alloc(owner->epc, owner, false);
}

/*
 * A page, if there is one that is not for somebody else, and the group may have it; or NULL, and
 * who must give some first.  @self: NULL for somebody who has just come.
 */
LOCK_ATTR(no_thread_safety_analysis)
static struct epc_page *alloc_try(struct epc_owner *owner, const struct waiter *self,
				  struct epc_group **ret_top)
{
	struct epc *epc = owner->epc;
	bool turn = (!self && has_turn(owner)) || !is_for_others(epc, self);
	bool limited = group_is_limited(owner->group);
	struct epc_page *page = NULL;
	bool alone;

	*ret_top = NULL;
	if (turn && !limited)
		page = section_alloc(epc, owner, false);
	if (limited || (!page && owner->group->parent && section_free_nr(epc) > 0)) {
		alone = charge_lock(epc);
		*ret_top = group_make_room_locked(owner->group, self, alone);
		if (!*ret_top && turn)
			page = section_alloc(epc, owner, true);
		charge_unlock(epc);
	}
	if (!page && !*ret_top)
		*ret_top = epc_group_root(epc);
	return page;
}

/* The same for one in line, who waits for something else from now on if need be. */
static struct epc_page *alloc_next(struct epc_owner *owner, struct waiter *self)
{
	struct epc_group *top;
	struct epc_page *page = alloc_try(owner, self, &top);

	if (!page)
		waiter_wants(self, top);
	else if (atomic_load_explicit(&owner->alone, memory_order_relaxed) > 0)
		atomic_store_explicit(&owner->alone, 0, memory_order_relaxed);
	return page;
}

/* One batch of what @top has: pages freed, or as reclaim_batch(). */
static int alloc_evict(struct epc_owner *owner, struct epc_group *top, struct search *search,
		       struct epc_page **ret_page)
{
	struct epc *epc = owner->epc;
	struct reclaim_result result;
	int freed = reclaim_batch(epc, top, owner, &result);

	*ret_page = result.page;
	if (freed >= 0) {
		count(&epc->counters.direct_reclaims, 1);
		epc_count(owner, NULL, EPC_DIRECT_RECLAIMS, 1);
	}
	/* All batches are in use: none was tried. */
	if (freed >= 0)
		tries_add(&search->others, &result);
	if (freed > 0)
		search_begin(epc, search);
	return freed;
}

/*
 * Others have nothing to give, and some of the groups of @owner are passed by, because they have no
 * more than they were promised: a page of theirs for another.
 */
static struct epc_page *alloc_own(struct epc_owner *owner, const struct epc_group *top,
				  struct search *search)
{
	struct epc_group *group = NULL;
	struct reclaim_result result;
	uint64_t failed = 0;
	uint32_t tracked = 0;
	bool again = false;
	int freed;

	for (; group != owner->group && top != owner->group; top = group) {
		for (group = owner->group; group->parent != top;)
			group = group->parent;
		if (!group_is_at_min(group))
			continue;
		freed = reclaim_batch(owner->epc, group, owner, &result);
		if (freed > 0 && result.page) {
			atomic_fetch_add_explicit(&owner->alone, 1, memory_order_relaxed);
			return result.page;
		}
		/* All batches are in use, or what went was no exchange any more. */
		again |= freed != 0;
		if (freed == 0)
			tries_add(&search->own, &result);
		tracked += group_pages(group).tracked;
		failed += failed_since(&search->own_since[group->depth], group);
	}
	/* Used pages are spared, and may be all that it has. */
	search->gave_own =
		!again && (is_exhausted(&search->own, tracked) || enough_failed(failed, tracked));
	return NULL;
}

/* In line, until there is a page or none can come. */
static struct epc_page *alloc_in_line(struct epc_owner *owner, struct waiter *self,
				      struct stalled *stalled)
{
	struct epc *epc = owner->epc;
	uint32_t alone = atomic_load_explicit(&owner->alone, memory_order_relaxed);
	unsigned int vain = alone % ALONE_TIMES ? VAIN_ROUNDS - 1 : 0;
	struct search search;
	struct epc_page *page;
	int freed;

	for (search_begin(epc, &search);;) {
		page = NULL;
		freed = waiter_is_early(epc, self)
				? alloc_evict(owner, waiter_top(self), &search, &page)
				: -EAGAIN;
		if (!page)
			page = alloc_next(owner, self);
		if (page)
			return page;
		if (freed > 0)
			continue;
		stall_goes_on(stalled, epc_now_ns(epc));
		if (++vain >= VAIN_ROUNDS)
			page = alloc_own(owner, waiter_top(self), &search);
		if (page)
			return page;
		switch (judge(waiter_top(self), &search, freed < 0)) {
		case GIVE_UP:
			/* Others may have freed one while it was being looked. */
			return alloc_next(owner, self);
		case GIVE_OWN: /* in the next round */
			vain = VAIN_ROUNDS;
			give_way(epc);
			break;
		case WAIT:
			waiter_sleep(epc, self);
			break;
		case LOOK_AGAIN:
			give_way(epc);
			break;
		}
		/* Who had the pages may be dead: what he had in mind is done for him. */
		reclaim_recover(epc);
		page = alloc_next(owner, self);
		if (page)
			return page;
	}
}

/*
 * The system lets a thread run for milliseconds, in which it could have thousands of pages while
 * others, who want some as well, are not even asleep.  Here it has nothing in hand that anybody
 * waits for.
 */
static void step_back(struct epc_owner *owner)
{
	if (!atomic_load_explicit(&owner->epc->waiting, memory_order_relaxed))
		return;
	if (atomic_fetch_add_explicit(&owner->turns, 1, memory_order_relaxed) % TURNS == TURNS - 1)
		give_way(owner->epc);
}

/* @top: who must give some, as alloc_try() found. */
static struct epc_page *alloc_reclaiming(struct epc_owner *owner, struct epc_group *top)
{
	struct epc *epc = owner->epc;
	/* What pressure has of it lies within, whenever this thread is kept from running. */
	uint64_t start = epc_now_ns(epc);
	struct stalled *stalled = stall_begin(owner);
	struct waiter *self, outside = { 0 };
	struct epc_page *page;

	count(&epc->counters.stalls, 1);
	epc_count(owner, NULL, EPC_STALLS, 1);
	step_back(owner);
	self = waiter_begin(epc, top, &outside);
	page = alloc_in_line(owner, self, stalled);
	top = waiter_top(self);
	waiter_end(epc, self);
	atomic_store_explicit(&owner->turn_left, page ? TURN_PAGES : 0, memory_order_relaxed);
	if (!page)
		group_event(top, EPC_GROUP_OOM);
	stall_end(stalled, owner);
	start = epc_now_ns(epc) - start;
	count(&epc->counters.stall_ns, start);
	epc_count(owner, NULL, EPC_STALL_NS, start);
	return page;
}

/*
 * Whoever takes a page beyond high makes some of the group's go first; it is no failure when none
 * can.
 */
static bool alloc_stay_low(struct epc_owner *owner, bool may_reclaim)
{
	struct epc_group *group = group_over_high(owner->group);
	struct reclaim_result result;

	if (!group)
		return true;
	if (!may_reclaim)
		return false;
	group_event(group, EPC_GROUP_HIGH);
	(void)reclaim_batch(owner->epc, group, NULL, &result);
	return true;
}

int epc_alloc(struct epc *epc, struct epc_owner *owner, unsigned int flags,
	      struct epc_page **ret_page)
{
	bool may_reclaim = (flags & EPC_MAY_RECLAIM) && !reclaim_is_running();
	struct epc_group *top = NULL;
	struct epc_page *page;

	assert(owner->epc == epc);
	page = alloc_quick(owner);
	if (!page && !alloc_stay_low(owner, may_reclaim))
		return -EBUSY;
	if (!page)
		page = alloc_try(owner, NULL, &top);
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
