/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the files of src/epc know of groups and owners.
 *
 * A page is charged exactly while it has an owner.  Each group counts its pages shard by shard of
 * the sections, under the shard's lock, as that gives pages an owner and takes it away: so a charge
 * and its page change in one step, and whoever mends a shard counts its pages anew.  What a group
 * has is the sum over the shards.  The root is charged for nothing: it has what is not free.
 *
 * What is looked at before a charge, and when, is in group_charge.c.
 */
#ifndef SWSGX_EPC_GROUP_PRIV_H
#define SWSGX_EPC_GROUP_PRIV_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/lock.h"
#include "epc/group.h"
#include "epc/stats_priv.h"

struct epc_owner;
struct waiter;

enum { EPC_CHARGE_PLACES = 64 /* shards of sections, at most */ };

/*
 * What a group has of one shard, with all groups below: written under the shard's lock, read by
 * anyone; and how many it may have of it before somebody must look at the sum: written under
 * charge_lock and the shard's, read with either.
 */
struct charge {
	_Atomic uint32_t nr, allowed;
};

struct epc_group {
	/* constant */
	struct epc *epc;
	struct epc_group *parent;
	char name[EPC_GROUP_NAME_BYTES];

	/* written with groups_lock and reclaim_lock, read with either */
	struct epc_group *child,
		*sibling; /* the tree downwards, made anew from parents after a death */

	/* groups_lock */
	struct list owners;
	uint32_t owner_nr;

	/* written under charge_lock, read by anyone */
	_Atomic uint32_t peak;
	bool crowded : 1; /* several have asked for room at once: the peak is noted less often */
	bool over : 1;    /* it may come to more than its peak without a look: for a moment */

	/* constant, but that a new group gets its index under groups_lock */
	uint8_t depth;
	uint16_t index;

	/* written under reclaim_lock, read by anyone: how often a page of it, or below, was tracked */
	_Atomic uint32_t came;

	/* groups_lock */
	uint64_t retired[EPC_COUNT_NR]; /* of its owners that have gone */
	struct pressure pressure;

	/* written under groups_lock, read by anyone */
	_Atomic uint32_t max, high, min, weight;

	/* reclaim_lock */
	void *policy_state;     /* of its own pages that are TRACKED */
	uint32_t in_batch_nr;   /* of its own */
	uint32_t kept_nr;       /* likewise */
	uint64_t shunned_until; /* epc.batch_seq: what it gave last could not go */

	/* relaxed; only differences are of use: what batches came to that were run for pages of it */
	_Atomic uint32_t evicted, unwritten, spared;

	/* relaxed, for people */
	_Atomic uint64_t event[EPC_GROUP_EVENT_NR];

	/* charge_places() of them, which the root has not; by charge_index() */
	_Alignas(64) struct charge charge[];
};

enum { CHARGES_A_LINE = 64 / sizeof(struct charge) };
static_assert(EPC_CHARGE_PLACES == 8 * CHARGES_A_LINE, "charge_lines() are enough for all");

/* Cache lines of charges, log2. */
static inline unsigned int charge_lines(unsigned int shard_nr)
{
	if (shard_nr > 4 * CHARGES_A_LINE)
		return 3;
	return shard_nr > 2 ? 2 : shard_nr - 1;
}

static inline unsigned int charge_places(unsigned int shard_nr)
{
	return CHARGES_A_LINE << charge_lines(shard_nr);
}

/*
 * Shards next to each other are those of different CPUs: their numbers are on different cache
 * lines.
 */
static inline unsigned int charge_index(unsigned int shard_nr, unsigned int place)
{
	unsigned int lines = charge_lines(shard_nr);

	return (place & ((1u << lines) - 1)) * CHARGES_A_LINE + (place >> lines);
}

/* Whose a page is. */
struct epc_owner {
	/* constant */
	const struct sgx_epc_page_ops *ops;
	void *owner;
	struct epc *epc;
	struct epc_group *group;
	char name[EPC_OWNER_NAME_BYTES];
	uint32_t id;
	int pid;
	uint64_t number; /* in the order of their making, never given again: policies go by it */
	struct epc_owner
		*told_as; /* whose numbers its are: its own, or of the one that it is a part of */

	unsigned int (*running)(void *owner);

	/* groups_lock */
	struct list node; /* group.owners */
	struct pressure pressure;
	uint32_t kind[EPC_KIND_NR],
		kind_seen[EPC_KIND_NR]; /* as of the last epc_census(), and so far */

	/* alloc.c; by its threads, without order */
	_Atomic uint32_t turn_left;
	_Atomic uint16_t turns;
	_Atomic uint16_t alone; /* times that it gave pages for itself, as nobody else had any */

	struct counts counts[]; /* epc.count_slot_nr of them */
};

static inline uint32_t group_limit(const _Atomic uint32_t *limit)
{
	return atomic_load_explicit(limit, memory_order_relaxed);
}

static inline void group_event(struct epc_group *group, enum epc_group_event event)
{
	atomic_fetch_add_explicit(&group->event[event], 1, memory_order_relaxed);
}

/* The root: 0 or -ENOMEM.  All groups but the root have gone before groups_fini(). */
int groups_init(struct epc *epc);
void groups_fini(struct epc *epc);

/* ---- charges: @place is the number of the shard, whose lock is held ------------------------ */

/* It and all above it may have one page more of @place, whatever the sums are. */
bool group_is_allowed(const struct epc_group *group, unsigned int place);
void group_charge(struct epc_group *group, unsigned int place);
void group_uncharge(struct epc_group *group, unsigned int place);
/*
 * After a charge for which room was made: notes the peaks, and allows what may be had of @place from now
 * on.  With charge_lock.
 */
void group_settle_locked(struct epc_group *group, unsigned int place);
/* And then, with charge_lock and no lock of a shard: where others took pages back meanwhile, nobody is allowed any. */
void group_settled_locked(struct epc_group *group);
/* @has: of each group, by its index, the pages of the shard: they were counted anew. */
void groups_recharge(struct epc *epc, unsigned int place, const uint32_t *has);
/* Pages of the group and of all below it.  No lock is needed; with charge_lock it is never above max. */
uint32_t group_current(const struct epc_group *group);

/* ---- room: with charge_lock, and no lock of a shard ------------------------------------------ */

/*
 * Sees to it that one page may be charged to @group and to all above it, wherever it is; or the
 * lowest of them that may have no page more, or not for @self (waiter.c).  @alone: as charge_lock() said.
 */
struct epc_group *group_make_room_locked(struct epc_group *group, const struct waiter *self,
					 bool alone);
/* The same for a page that is about to be @from's no more, whoever waits. */
bool group_may_exchange_locked(struct epc_group *group, const struct epc_group *from);
/* Nothing is allowed any more: the limits will be others. */
void group_disallow_locked(struct epc_group *group);
/* As many as may be had without a look at the sum are too many: for the audit. */
bool group_allows_too_many_locked(const struct epc_group *group);

/* ---- limits ---------------------------------------------------------------------------------- */

/* True where a max may stand in the way. */
bool group_is_limited(const struct epc_group *group);
/* The lowest of @group and those above it that has its high, or more; NULL: none. */
struct epc_group *group_over_high(struct epc_group *group);
/* Pages were promised to it, or to one above it, up to but without @end. */
bool group_is_promised(const struct epc_group *group, const struct epc_group *end);
/* It was promised pages, and has no more than those. */
bool group_is_at_min(const struct epc_group *group);

/* ---- reclaim: under reclaim_lock ----------------------------------------------------------- */

/* Groups that a batch has found to have nothing to give. */
struct group_set {
	uint64_t bit[EPC_GROUPS_MAX / 64];
};

static inline void group_set_add(struct group_set *set, const struct epc_group *group)
{
	set->bit[group->index / 64] |= 1ull << group->index % 64;
}

static inline bool group_set_has(const struct group_set *set, const struct epc_group *group)
{
	return set->bit[group->index / 64] >> group->index % 64 & 1;
}

/* The owner of a page of @group did not let it go after all; or did. */
void group_shun_locked(struct epc_group *group);
void group_unshun_locked(struct epc_group *group);

/*
 * Who of @top and all below it gives pages, without those in @skip, and at the most how many before
 * the next one should be asked for; NULL: nobody has any that he may be asked for.
 */
struct epc_group *group_choose_locked(struct epc_group *top, const struct group_set *skip,
				      uint32_t *ret_quota);
/*
 * How many pages of @top and all below it may go before it, or one above it, has less than it was
 * promised.
 */
uint32_t group_spare_locked(const struct epc_group *top);
/*
 * One of @group and those above it, up to but without @end, will have less than it was promised
 * when its batches end.
 */
bool group_gives_promised_locked(const struct epc_group *group, const struct epc_group *end);
/* TRACKED pages of the group and of all below it. */
uint32_t group_tracked_locked(const struct epc_group *group);
/*
 * What may become of the pages of a group and of all below it; of the root's: of all.
 *
 * @tracked:  may be offered to their owners: not those of a group below that has no more than its min
 * @in_batch: may be free soon
 * @coming:   are with owners who have not said what will become of them: they may be free or tracked soon.  For the root
 *            those that are free count as well
 * @room:     the group may have another page after all
 * @in_rounds: one that could not go is offered again only when all others have been, or were spared
 *
 * All others are kept (epc_keep()).  True of one moment.
 */
struct group_pages {
	uint32_t tracked, in_batch, coming;
	bool room, in_rounds;
};
struct group_pages group_pages(struct epc_group *top);
/* The links downwards, from those upwards: after a death. */
void groups_relink_locked(struct epc *epc);

#endif
