/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Groups: the tree, what each has been promised and may have, and what it has.
 *
 * The table of groups and each group's parent are the truth, a store each; the links downwards and
 * the lists of owners are found again from those after a death.
 *
 * Invariant: the promises to the groups below one are never more than that group's own, and those
 * below the root never more than the EPC less what reclaim keeps free.
 *
 * Not here: what is charged to groups (group_charge.c), who gives pages (group_share.c).
 */
#include "epc/group.h"

#include <errno.h>
#include <string.h>

#include "base/arena.h"
#include "epc/epc_priv.h"
#include "epc/waiter_priv.h"

enum { OTHER_BYTES = (EPC_GROUPS_MAX - 1) * sizeof(struct epc_group *) };

/* ---- the table and its lock ------------------------------------------------------------------ */

void groups_relink_locked(struct epc *epc)
{
	struct epc_group *group;
	unsigned int i;

	for (i = 0; i < EPC_GROUPS_MAX; i++) {
		group = group_at(epc, i);
		if (group)
			group->child = group->sibling = NULL;
	}
	for (i = 0; i < EPC_GROUPS_MAX; i++) {
		group = group_at(epc, i);
		if (!group || !group->parent)
			continue;
		group->sibling = group->parent->child;
		group->parent->child = group;
	}
}

/* Only the lists of owners: order_lock() mends the tree. */
static void groups_repair_locked(struct epc *epc) REQUIRES(&epc->groups_lock)
{
	struct epc_group *group;
	struct list *pos;
	unsigned int i;

	for (i = 0; i < EPC_GROUPS_MAX; i++) {
		group = group_at(epc, i);
		if (!group)
			continue;
		list_repair(&group->owners);
		group->owner_nr = 0;
		list_for_each (pos, &group->owners)
			group->owner_nr++;
	}
	epc->groups_lock.holder_died = false;
}

/* Of a holder that died it is odd already. */
static void seq_begin_locked(struct epc *epc) REQUIRES(&epc->groups_lock)
{
	uint64_t seq = atomic_load_explicit(&epc->groups_seq, memory_order_relaxed);

	atomic_store_explicit(&epc->groups_seq, seq | 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
}

static void seq_end_locked(struct epc *epc) REQUIRES(&epc->groups_lock)
{
	uint64_t seq = atomic_load_explicit(&epc->groups_seq, memory_order_relaxed);

	atomic_store_explicit(&epc->groups_seq, seq + 1, memory_order_release);
}

void groups_lock(struct epc *epc)
{
	lock_acquire(&epc->groups_lock);
	seq_begin_locked(epc);
	if (epc->groups_lock.holder_died)
		groups_repair_locked(epc);
}

void groups_unlock(struct epc *epc)
{
	seq_end_locked(epc);
	lock_release(&epc->groups_lock);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static bool limits_ok(const struct epc_group_limits *limits)
{
	return limits->min_pages <= limits->max_pages && limits->weight >= 1 &&
	       limits->weight <= EPC_GROUP_WEIGHT_MAX;
}

/* What has been promised to the groups right below @parent, but to @except. */
static uint64_t promised_locked(const struct epc_group *parent, const struct epc_group *except)
	REQUIRES(&parent->epc->groups_lock)
{
	const struct epc_group *group;
	uint64_t sum = 0;

	for (group = parent->child; group; group = group->sibling) {
		if (group != except)
			sum += group_limit(&group->min);
	}
	return sum;
}

static void limits_store(struct epc_group *group, const struct epc_group_limits *limits)
{
	atomic_store_explicit(&group->max, limits->max_pages, memory_order_relaxed);
	atomic_store_explicit(&group->high, limits->high_pages, memory_order_relaxed);
	atomic_store_explicit(&group->min, limits->min_pages, memory_order_relaxed);
	atomic_store_explicit(&group->weight, limits->weight, memory_order_relaxed);
}

int epc_group_set(struct epc_group *group, const struct epc_group_limits *limits)
{
	int r = 0;

	if (!group->parent || !limits_ok(limits))
		return -EINVAL;
	groups_lock(group->epc);
	if (promised_locked(group->parent, group) + limits->min_pages >
		    group_limit(&group->parent->min) ||
	    promised_locked(group, NULL) > limits->min_pages)
		r = -ENOSPC;
	if (r == 0) {
		charge_lock(group->epc);
		/* First: who dies in between leaves nobody allowed what the new ones forbid. */
		group_disallow_locked(group);
		limits_store(group, limits);
		charge_unlock(group->epc);
	}
	groups_unlock(group->epc);
	return r;
}

bool group_is_limited(const struct epc_group *group)
{
	for (; group; group = group->parent) {
		if (group_limit(&group->max) != EPC_GROUP_NO_LIMIT)
			return true;
	}
	return false;
}

bool group_is_promised(const struct epc_group *group, const struct epc_group *end)
{
	while (group != end && group_limit(&group->min) == 0)
		group = group->parent;
	return group != end;
}

bool group_is_at_min(const struct epc_group *group)
{
	uint32_t min = group->parent ? group_limit(&group->min) : 0;

	return min > 0 && group_current(group) <= min;
}

struct epc_group *group_over_high(struct epc_group *group)
{
	uint32_t high;

	for (; group; group = group->parent) {
		high = group_limit(&group->high);
		if (high != EPC_GROUP_NO_LIMIT && group_current(group) >= high)
			return group;
	}
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static size_t group_bytes(const struct epc *epc, const struct epc_group *parent)
{
	size_t charges = parent ? charge_places(epc->shard_nr) : 0;

	return sizeof(struct epc_group) + charges * sizeof(struct charge);
}

static struct epc_group *group_new(struct epc *epc, struct epc_group *parent, const char *name,
				   const struct epc_group_limits *limits)
{
	struct epc_group *group = arena_alloc(epc->arena, group_bytes(epc, parent));

	if (!group)
		return NULL;
	group->epc = epc;
	group->parent = parent;
	group->depth = parent ? (uint8_t)(parent->depth + 1) : 0;
	strncpy(group->name, name, sizeof(group->name) - 1);
	list_init(&group->owners);
	limits_store(group, limits);
	group->policy_state = epc->policy->create(epc->arena, &epc->view);
	if (group->policy_state)
		return group;
	arena_free(epc->arena, group, group_bytes(epc, parent));
	return NULL;
}

static void group_delete(struct epc_group *group)
{
	struct epc *epc = group->epc;

	epc->policy->destroy(group->policy_state, epc->arena);
	arena_free(epc->arena, group, group_bytes(epc, group->parent));
}

int groups_init(struct epc *epc)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;

	/* Promises are about pages that can be freed in time: reclaim keeps some to itself. */
	limits.min_pages = epc->page_nr - epc->high;
	lock_init(&epc->groups_lock, LOCK_GROUPS);
	lock_init(&epc->charge_lock, LOCK_CHARGE);
	lock_init(&epc->census_lock, LOCK_TRIED);
	epc->root = group_new(epc, NULL, "root", &limits);
	if (epc->root)
		return 0;
	groups_fini(epc);
	return -ENOMEM;
}

void groups_fini(struct epc *epc)
{
	unsigned int i;

	for (i = 0; i < EPC_GROUPS_MAX; i++) {
		if (group_at(epc, i))
			group_delete(group_at(epc, i));
	}
	arena_free(epc->arena, (void *)epc->other, OTHER_BYTES);
	stalls_fini(epc);
	lock_fini(&epc->census_lock);
	lock_fini(&epc->charge_lock);
	lock_fini(&epc->groups_lock);
}

static struct epc_group *find_locked(struct epc *epc, const char *name) REQUIRES(&epc->groups_lock)
{
	unsigned int i;

	for (i = 0; i < EPC_GROUPS_MAX; i++) {
		if (group_at(epc, i) && !strcmp(group_at(epc, i)->name, name))
			return group_at(epc, i);
	}
	return NULL;
}

/* Into the table, and into the tree. */
static int insert_locked(struct epc_group *group) REQUIRES(&group->epc->groups_lock)
{
	struct epc *epc = group->epc;
	struct epc_group *_Atomic *table;
	uint16_t i = 1;

	/* A machine without groups has no table of them. */
	if (!epc->other) {
		table = arena_alloc(epc->arena, OTHER_BYTES);
		if (!table)
			return -ENOMEM;
		epc_grew(epc, OTHER_BYTES);
		atomic_store_explicit(&epc->other, table, memory_order_release);
	}
	while (i < EPC_GROUPS_MAX && group_at(epc, i))
		i++;
	if (i == EPC_GROUPS_MAX)
		return -ENOSPC;
	group->index = i;
	order_lock(epc);
	epc->other[i - 1] = group;
	group->sibling = group->parent->child;
	group->parent->child = group;
	order_unlock(epc);
	return 0;
}

static bool name_ok(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-";

	return name[0] && strlen(name) < EPC_GROUP_NAME_BYTES &&
	       name[strspn(name, letters)] == '\0';
}

int epc_group_create(struct epc_group *parent, const char *name,
		     const struct epc_group_limits *limits, struct epc_group **ret_group)
{
	struct epc *epc = parent->epc;
	struct epc_group *group;
	int r = 0;

	if (!name_ok(name) || !limits_ok(limits))
		return -EINVAL;
	if (parent->depth + 1 >= EPC_GROUP_DEPTH_MAX)
		return -ENOSPC;
	group = group_new(epc, parent, name, limits);
	if (!group)
		return -ENOMEM;
	groups_lock(epc);
	if (find_locked(epc, name))
		r = -EEXIST;
	else if (promised_locked(parent, NULL) + limits->min_pages > group_limit(&parent->min))
		r = -ENOSPC;
	else
		r = insert_locked(group);
	groups_unlock(epc);
	if (r < 0) {
		group_delete(group);
		return r;
	}
	*ret_group = group;
	return 0;
}

/* Who mends a shard goes by the table, with no other lock: behind this nobody does so who has seen what is not in it any more. */
static void pass_shards(struct epc *epc)
{
	unsigned int i;

	for (i = 0; i < epc->shard_nr; i++) {
		shard_lock(epc, &epc->shard[i]);
		shard_unlock(&epc->shard[i]);
	}
}

int epc_group_destroy(struct epc_group *group)
{
	struct epc *epc = group->epc;
	int r = 0;

	groups_lock(epc);
	if (group->child || group->owner_nr > 0 || !group->parent)
		r = -EBUSY;
	if (r == 0) {
		waiters_forget(epc, group);
		group_counts_retire_locked(group);
		order_lock(epc);
		epc->other[group->index - 1] = NULL;
		groups_relink_locked(epc);
		pass_shards(epc);
		/* What it shares with other orders it gives back. */
		group_delete(group);
		order_unlock(epc);
	}
	groups_unlock(epc);
	return r;
}

/* ---- looking --------------------------------------------------------------------------------- */

struct epc_group *epc_group_root(struct epc *epc)
{
	return epc->root;
}

struct epc *epc_group_epc(const struct epc_group *group)
{
	return group->epc;
}

struct epc_group *epc_group_find(struct epc *epc, const char *name)
{
	struct epc_group *group;

	groups_lock(epc);
	group = find_locked(epc, name);
	groups_unlock(epc);
	return group;
}

struct epc_group *epc_group_next(struct epc *epc, struct epc_group *group)
{
	struct epc_group *next;

	if (!group)
		return epc_group_root(epc);
	groups_lock(epc);
	next = group->child;
	for (; !next && group; group = group->parent)
		next = group->sibling;
	groups_unlock(epc);
	return next;
}

void epc_group_read(struct epc_group *group, struct epc_group_info *ret_info)
{
	unsigned int i;

	memset(ret_info, 0, sizeof(*ret_info));
	memcpy(ret_info->name, group->name, sizeof(ret_info->name));
	ret_info->parent = group->parent;
	ret_info->limits = (struct epc_group_limits){
		.max_pages = group_limit(&group->max),
		.high_pages = group_limit(&group->high),
		.min_pages = group->parent ? group_limit(&group->min) : 0,
		.weight = group_limit(&group->weight),
	};
	/* What one may have another gives up first, with this lock: so no page is added up twice. */
	charge_lock(group->epc);
	ret_info->current_pages = group_current(group);
	ret_info->peak_pages = atomic_load_explicit(&group->peak, memory_order_relaxed);
	if (ret_info->peak_pages < ret_info->current_pages) {
		ret_info->peak_pages = ret_info->current_pages;
		atomic_store_explicit(&group->peak, ret_info->peak_pages, memory_order_relaxed);
	}
	charge_unlock(group->epc);
	/* The root's is told by the fewest free pages. */
	if (!group->parent)
		ret_info->peak_pages = group->epc->page_nr - section_lowest_nr(group->epc);
	groups_lock(group->epc);
	ret_info->owner_nr = group->owner_nr;
	groups_unlock(group->epc);
	for (i = 0; i < EPC_GROUP_EVENT_NR; i++)
		ret_info->event[i] = atomic_load_explicit(&group->event[i], memory_order_relaxed);
}
