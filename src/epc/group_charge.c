/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Charges: what each group has, and who may take a page more without asking how many there are.
 *
 * A group's pages are counted shard by shard, so that CPUs do not meet; a max, a high and the peak
 * are about the sum.  So each shard is *allowed* some: as long as it has no more than that, nobody
 * looks at the others.  What may be had of each shard, which is what it has or what it is allowed,
 * whichever is more, is never more together than max, high or the peak, so that none of them is
 * passed, or the peak raised, by somebody who does not look.
 *
 * Whoever is allowed nothing more takes charge_lock and makes room: half of what is left over at
 * the shard that has most left is taken from it, and only when nobody has anything left is the sum
 * what it seems.  Then the group is at its max, or the peak rises, page by page.  So limits and peaks are
 * exact, and in a group that is below both all go their own way.  Beyond high nothing is allowed.
 *
 * Threads that are near the peak together would meet at charge_lock for each page.  Once they have met there,
 * the peak is noted only when it rises by EPC_GROUP_PEAK_ERROR, or when somebody asks.
 *
 * A charge comes before its page has an owner and goes after that, allowances are taken before they
 * are given, so who dies leaves too much charged and too little allowed.  The shard is counted anew
 * by whoever has its lock next; what nobody is allowed is there for the next who asks.
 *
 * Not here: who must look (alloc.c), what becomes of him who may not (waiter.c).
 */
#include "epc/epc_priv.h"
#include "epc/waiter_priv.h"

LOCK_ATTR(no_thread_safety_analysis) bool charge_lock(struct epc *epc)
{
	bool alone = lock_try(&epc->charge_lock);

	if (!alone)
		lock_acquire(&epc->charge_lock);
	epc->charge_lock.holder_died = false; /* what it protects is right at any moment */
	return alone;
}

void charge_unlock(struct epc *epc)
{
	lock_release(&epc->charge_lock);
}

static struct charge *charge_at(const struct epc_group *group, unsigned int place)
{
	return (struct charge *)&group->charge[charge_index(group->epc->shard_nr, place)];
}

static uint32_t get(const _Atomic uint32_t *nr)
{
	return atomic_load_explicit(nr, memory_order_relaxed);
}

/* One writer at a time: no locked instruction is needed. */
static void set(_Atomic uint32_t *nr, uint32_t to)
{
	atomic_store_explicit(nr, to, memory_order_relaxed);
}

static uint32_t less(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t more(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* ---- a page comes and goes ------------------------------------------------------------------- */

bool group_is_allowed(const struct epc_group *group, unsigned int place)
{
	const struct charge *charge;

	for (; group->parent; group = group->parent) {
		charge = charge_at(group, place);
		if (get(&charge->nr) >= get(&charge->allowed))
			return false;
	}
	return true;
}

void group_charge(struct epc_group *group, unsigned int place)
{
	struct charge *charge;

	for (; group->parent; group = group->parent) {
		charge = charge_at(group, place);
		set(&charge->nr, get(&charge->nr) + 1);
	}
}

void group_uncharge(struct epc_group *group, unsigned int place)
{
	struct charge *charge;

	for (; group->parent; group = group->parent) {
		charge = charge_at(group, place);
		set(&charge->nr, get(&charge->nr) - 1);
	}
}

void groups_recharge(struct epc *epc, unsigned int place, const uint32_t *has)
{
	struct epc_group *group;
	struct charge *charge;
	unsigned int i;

	for (i = 1; i < EPC_GROUPS_MAX; i++) {
		/* One that is going does not go before the shard's lock is free. */
		group = group_at(epc, i);
		if (!group)
			continue;
		/* Never less meanwhile: others add up. */
		charge = charge_at(group, place);
		if (get(&charge->nr) != has[i])
			set(&charge->nr, has[i]);
	}
}

uint32_t group_current(const struct epc_group *group)
{
	const struct epc *epc = group->epc;
	uint32_t nr = 0;
	unsigned int i;

	if (!group->parent)
		return epc->page_nr -
		       section_free_nr(epc); /* broken ones included: nobody else can have them */
	for (i = 0; i < epc->shard_nr; i++)
		nr += get(&charge_at(group, i)->nr);
	return nr;
}

/* ---- room ------------------------------------------------------------------------------------ */

/* What a group may come to without another look. */
static uint32_t reach_locked(const struct epc_group *group) REQUIRES(&group->epc->charge_lock)
{
	uint32_t reach = 0;
	unsigned int i;

	for (i = 0; i < group->epc->shard_nr; i++)
		reach += more(get(&charge_at(group, i)->nr), get(&charge_at(group, i)->allowed));
	return reach;
}

/* What it may come to at the most so. */
static uint32_t bound(const struct epc_group *group)
{
	uint32_t peak = get(&group->peak) + (group->crowded ? EPC_GROUP_PEAK_ERROR : 0);

	return less(peak, less(group_limit(&group->max), group_limit(&group->high)));
}

/* Half of what is left over at the shard that has most left; false: nobody has any. */
static bool take_back_locked(struct epc_group *group) REQUIRES(&group->epc->charge_lock)
{
	unsigned int i, place = 0;
	uint32_t left, most = 0;
	struct charge *charge;

	for (i = 0; i < group->epc->shard_nr; i++) {
		charge = charge_at(group, i);
		left = get(&charge->allowed) - less(get(&charge->nr), get(&charge->allowed));
		if (left > most) {
			most = left;
			place = i;
		}
	}
	if (most == 0)
		return false;
	charge = charge_at(group, place);
	shard_lock(group->epc, &group->epc->shard[place]);
	left = get(&charge->allowed) - less(get(&charge->nr), get(&charge->allowed));
	set(&charge->allowed, get(&charge->allowed) - (left + 1) / 2);
	shard_unlock(&group->epc->shard[place]);
	return true;
}

void group_disallow_locked(struct epc_group *group) REQUIRES(&group->epc->charge_lock)
{
	unsigned int i;

	for (i = 0; i < group->epc->shard_nr; i++) {
		if (get(&charge_at(group, i)->allowed) == 0)
			continue;
		shard_lock(group->epc, &group->epc->shard[i]);
		set(&charge_at(group, i)->allowed, 0);
		shard_unlock(&group->epc->shard[i]);
	}
}

/* One page more in @group; false: it is at its max, and nobody has anything left over. */
static bool make_room_locked(struct epc_group *group) REQUIRES(&group->epc->charge_lock)
{
	/* What goes from now on is not to come back without a look. */
	if (group_current(group) >= group_limit(&group->high))
		group_disallow_locked(group);
	while (reach_locked(group) >= bound(group) && take_back_locked(group))
		;
	return reach_locked(group) < group_limit(&group->max);
}

struct epc_group *group_make_room_locked(struct epc_group *group, const struct waiter *self,
					 bool alone) REQUIRES(&group->epc->charge_lock)
{
	uint32_t max;

	for (; group->parent; group = group->parent) {
		group->crowded |= !alone;
		max = group_limit(&group->max);
		if (max != EPC_GROUP_NO_LIMIT &&
		    group_current(group) + waiters_before(group->epc, self, group) >= max)
			return group;
		if (!make_room_locked(group))
			return group;
	}
	return NULL;
}

/* @group is @of or above it. */
static bool is_around(const struct epc_group *group, const struct epc_group *of)
{
	while (of && of != group)
		of = of->parent;
	return of;
}

bool group_may_exchange_locked(struct epc_group *group, const struct epc_group *from)
	REQUIRES(&group->epc->charge_lock)
{
	for (; group->parent; group = group->parent) {
		/* It has as many as before, which may be too many: its max was lowered. */
		if (is_around(group, from) ? group_current(group) > group_limit(&group->max)
					   : !make_room_locked(group))
			return false;
	}
	return true;
}

static void note_peak_locked(struct epc_group *group) REQUIRES(&group->epc->charge_lock)
{
	uint32_t current = group_current(group);

	set(&group->peak, more(current, get(&group->peak)));
}

void group_settle_locked(struct epc_group *group, unsigned int place)
	REQUIRES(&group->epc->charge_lock)
{
	struct charge *charge;
	uint32_t reach;

	for (; group->parent; group = group->parent) {
		reach = reach_locked(group);
		if (reach > get(&group->peak))
			note_peak_locked(group);
		/* All that is left: the next who asks takes half of what is not used by then. */
		charge = charge_at(group, place);
		if (reach <= bound(group))
			set(&charge->allowed,
			    more(get(&charge->nr), get(&charge->allowed)) + bound(group) - reach);
		/* Others gave pages back since room was made, and could have them again, and one more than there were. */
		group->over = reach > bound(group);
	}
}

void group_settled_locked(struct epc_group *group) REQUIRES(&group->epc->charge_lock)
{
	for (; group->parent; group = group->parent) {
		if (!group->over)
			continue;
		group_disallow_locked(group);
		note_peak_locked(group);
		group->over = false;
	}
}

bool group_allows_too_many_locked(const struct epc_group *group) REQUIRES(&group->epc->charge_lock)
{
	bool any = false;
	unsigned int i;

	for (i = 0; i < group->epc->shard_nr && group->parent; i++)
		any |= get(&charge_at(group, i)->allowed) > 0;
	return any && reach_locked(group) > group_limit(&group->max);
}
