/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Who gives pages when some are needed.
 *
 * Down the tree from the group that needs them, at each level the one that has most for its weight,
 * of those that are over their high if there are such.  When the EPC is full that one is over its
 * share of it: not all can be below.  Passed by are those that have no more than their min; pages
 * that are already on their way out count as gone.  A group that needs pages of its own is not
 * protected from itself, but each that it was promised is then exchanged for the one that it needs
 * (reclaim_batch()).
 *
 * A group whose pages were taken in hand and could not go is left alone for some batches if there
 * is another: it may well be the one that has most, and would be asked in vain for ever.
 *
 * Each call looks at every group once, however many pages they have; a batch makes a few calls.
 */
#include <string.h>

#include "epc/epc_priv.h"

/*
 * A group gives at most this part of what it has before the next look, so that small ones are not
 * emptied.
 */
enum { QUOTA_PART = 8, SHUN_BATCHES = 16 };

/* One among its siblings: a group with all below it, or what owners in their parent itself have. */
struct sharer {
	uint32_t current;
	uint32_t in_batch;
	uint32_t weight;
	struct epc_group *giver; /* of it or of those below, NULL: none */
	uint32_t may_give;       /* at the most, by the min of all on the way to the giver */
	bool over_high;
};

static uint32_t less(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* @a rather than @b. */
static bool rather(const struct sharer *a, const struct sharer *b)
{
	if (!a->giver || !b->giver)
		return a->giver;
	if (a->over_high != b->over_high)
		return a->over_high;
	return (uint64_t)(a->current - less(a->current, a->in_batch)) * b->weight >
	       (uint64_t)(b->current - less(b->current, b->in_batch)) * a->weight;
}

/* What owners in @group itself have. @below: what groups below it have. */
static struct sharer sharer_self(struct epc_group *group, uint32_t current, uint32_t below,
				 const struct group_set *skip) REQUIRES(&group->epc->reclaim_lock)
{
	struct sharer self = {
		.current = current - less(current, below),
		.in_batch = group->in_batch_nr,
		.weight = EPC_GROUP_WEIGHT,
	};

	if (group_set_has(skip, group) || group->epc->policy->nr(group->policy_state) == 0)
		return self;
	self.giver = group;
	self.may_give = UINT32_MAX;
	return self;
}

/* The min and the high of @group, which @sharer is about. */
static void sharer_limit(struct epc_group *group, struct sharer *sharer)
{
	uint32_t left = sharer->current - less(sharer->current, sharer->in_batch);
	uint32_t min = group_limit(&group->min), high = group_limit(&group->high);

	if (left <= min) {
		if (sharer->giver)
			group_event(group, EPC_GROUP_MIN);
		sharer->giver = NULL;
		return;
	}
	sharer->may_give = less(sharer->may_give, left - min);
	if (left > high) {
		sharer->over_high = true;
		sharer->may_give = less(sharer->may_give, left - high);
	}
}

static struct sharer sharer_group(struct epc_group *group, const struct group_set *skip,
				  unsigned int *giver_nr) REQUIRES(&group->epc->reclaim_lock)
{
	struct sharer sum = { .current = group_current(group), .in_batch = group->in_batch_nr };
	struct sharer best = { 0 }, other;
	uint32_t below = 0;

	for (struct epc_group *child = group->child; child; child = child->sibling) {
		other = sharer_group(child, skip, giver_nr);
		sharer_limit(child, &other);
		other.weight = group_limit(&child->weight);
		sum.in_batch += other.in_batch;
		below += other.current;
		if (rather(&other, &best))
			best = other;
	}
	other = sharer_self(group, sum.current, below, skip);
	*giver_nr += other.giver != NULL;
	if (rather(&other, &best))
		best = other;
	sum.giver = best.giver;
	sum.may_give = best.may_give;
	sum.over_high = best.over_high;
	return sum;
}

void group_shun_locked(struct epc_group *group)
{
	group->shunned_until = group->epc->batch_seq + SHUN_BATCHES;
}

void group_unshun_locked(struct epc_group *group)
{
	group->shunned_until = 0;
}

/* @skip and those that are left alone. */
static void skip_shunned(struct epc *epc, struct group_set *skip) REQUIRES(&epc->reclaim_lock)
{
	unsigned int i;

	for (i = 0; i < EPC_GROUPS_MAX; i++) {
		if (group_at(epc, i) && group_at(epc, i)->shunned_until > epc->batch_seq)
			group_set_add(skip, group_at(epc, i));
	}
}

struct epc_group *group_choose_locked(struct epc_group *top, const struct group_set *skip,
				      uint32_t *ret_quota) REQUIRES(&top->epc->reclaim_lock)
{
	struct group_set more = *skip;
	unsigned int giver_nr = 0;
	struct sharer best;
	uint32_t part;

	if (top->child)
		skip_shunned(top->epc, &more);
	best = sharer_group(top, &more, &giver_nr);
	if (!best.giver)
		best = sharer_group(top, skip, &giver_nr);
	if (!best.giver)
		return NULL;
	*ret_quota = best.may_give;
	if (giver_nr > 1) {
		part = group_current(best.giver) / QUOTA_PART;
		*ret_quota = less(best.may_give, part ? part : 1);
	}
	return best.giver;
}

static uint32_t in_batch_locked(const struct epc_group *group) REQUIRES(&group->epc->reclaim_lock)
{
	uint32_t nr = group->in_batch_nr;

	for (const struct epc_group *child = group->child; child; child = child->sibling)
		nr += in_batch_locked(child);
	return nr;
}

/* What it has when those have gone that are on their way out. */
static uint32_t left_locked(const struct epc_group *group) REQUIRES(&group->epc->reclaim_lock)
{
	uint32_t current = group_current(group);

	return current - less(current, in_batch_locked(group));
}

uint32_t group_spare_locked(const struct epc_group *top) REQUIRES(&top->epc->reclaim_lock)
{
	uint32_t spare = UINT32_MAX, left;

	for (; top->parent; top = top->parent) {
		left = left_locked(top);
		spare = less(spare, left - less(left, group_limit(&top->min)));
	}
	return spare;
}

bool group_gives_promised_locked(const struct epc_group *group, const struct epc_group *end)
	REQUIRES(&group->epc->reclaim_lock)
{
	while (group != end && left_locked(group) >= group_limit(&group->min))
		group = group->parent;
	return group != end;
}

uint32_t group_tracked_locked(const struct epc_group *group)
{
	uint32_t nr = group->epc->policy->nr(group->policy_state);

	for (const struct epc_group *child = group->child; child; child = child->sibling)
		nr += group_tracked_locked(child);
	return nr;
}

/* ---- what may still come --------------------------------------------------------------------- */

/*
 * Pages of a group and of all below it; of those that are tracked, those that a reclaim may offer.
 */
struct account {
	uint32_t tracked, offered, in_batch, kept;
};

static struct account add_up_locked(const struct epc_group *group)
	REQUIRES(&group->epc->reclaim_lock)
{
	struct account sum = { .tracked = group->epc->policy->nr(group->policy_state),
			       .in_batch = group->in_batch_nr,
			       .kept = group->kept_nr };
	struct account of;
	uint32_t current;

	sum.offered = sum.tracked;
	for (const struct epc_group *child = group->child; child; child = child->sibling) {
		of = add_up_locked(child);
		sum.tracked += of.tracked;
		sum.in_batch += of.in_batch;
		sum.kept += of.kept;
		current = group_current(child);
		/*
		 * As a reclaim would pass it by: to wait for its pages would be in vain, however
		 * many they are.
		 */
		if (current - less(current, of.in_batch) > group_limit(&child->min))
			sum.offered += of.offered;
	}
	return sum;
}

/*
 * The charge lock keeps others from taking pages of a group at its max meanwhile: what it has only
 * gets less.
 */
struct group_pages group_pages(struct epc_group *top)
{
	struct epc *epc = top->epc;
	struct group_pages pages;
	struct account sum;
	uint32_t current, known;

	memset(&pages, 0, sizeof(pages));
	charge_lock(epc);
	order_lock(epc);
	sum = add_up_locked(top);
	current = top->parent ? group_current(top) : epc->page_nr - section_poisoned_nr(epc);
	pages.in_rounds = epc->policy->in_rounds && !top->child;
	known = sum.tracked + sum.in_batch + sum.kept;
	order_unlock(epc);
	charge_unlock(epc);
	pages.tracked = sum.offered;
	pages.in_batch = sum.in_batch;
	pages.coming = current - less(current, known);
	pages.room = top->parent && current < group_limit(&top->max);
	return pages;
}
