/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Groups of owners, and how much of the EPC each may have.
 *
 * Groups are a tree.  Each owner of pages belongs to one group, for good, and each page that it has
 * is charged to that group and to all above it, the root included.  What a group may have is told
 * by four numbers, which are about the group with everything below it:
 *
 *   max     never more: who would go over it gives up pages of the group first, and gets -ENOMEM when it has none
 *           to give
 *   high    more only if need be: whoever takes a page beyond it evicts a batch of the group's first, and
 *           others who need pages take them here before anywhere else
 *   min     a promise: nobody outside of the group makes it give a page when it has no more than that.  Promises
 *           are kept because no more is ever promised than there is.  When nobody else gives a page, the group's own
 *           owners get one for one of the group's
 *   weight  what is not promised is shared in proportion: the group that gives is the one that has most for its
 *           weight among its siblings
 *
 * The pages of owners that are in a group which has groups below it count as one more group beside
 * those, with the usual weight and no promise.
 */
#ifndef SWSGX_EPC_GROUP_H
#define SWSGX_EPC_GROUP_H

#include <stdint.h>

struct epc;
struct epc_group;

enum {
	EPC_GROUPS_MAX = 256, /* with the root */
	EPC_GROUP_DEPTH_MAX = 8,
	EPC_GROUP_NAME_BYTES = 32,
	EPC_GROUP_WEIGHT = 100, /* the usual one */
	EPC_GROUP_WEIGHT_MAX = 10000,
	EPC_GROUP_PEAK_ERROR = 32,
};
#define EPC_GROUP_NO_LIMIT UINT32_MAX

struct epc_group_limits {
	uint32_t max_pages;  /* EPC_GROUP_NO_LIMIT: none */
	uint32_t high_pages; /* likewise */
	uint32_t min_pages;
	uint32_t weight; /* 1 to EPC_GROUP_WEIGHT_MAX */
};
#define EPC_GROUP_UNLIMITED                                           \
	((struct epc_group_limits){ .max_pages = EPC_GROUP_NO_LIMIT,  \
				    .high_pages = EPC_GROUP_NO_LIMIT, \
				    .weight = EPC_GROUP_WEIGHT })

/* Where every owner is that nobody put anywhere else.  It cannot be limited. */
struct epc_group *epc_group_root(struct epc *epc);
/*
 * @name: shorter than EPC_GROUP_NAME_BYTES, of letters, digits, '.', '_' and '-'.  0, or:
 *
 *   -EINVAL  a name or limits that make no sense (min above max, weight out of range)
 *   -EEXIST  the name is taken
 *   -ENOSPC  more would be promised than the parent has been, or than there is; or there are EPC_GROUPS_MAX
 *            groups, or EPC_GROUP_DEPTH_MAX levels
 *   -ENOMEM
 */
int epc_group_create(struct epc_group *parent, const char *name,
		     const struct epc_group_limits *limits, struct epc_group **ret_group);
struct epc *epc_group_epc(const struct epc_group *group);
/* Must have no owner and no group below it: else -EBUSY. */
int epc_group_destroy(struct epc_group *group);
/*
 * New limits, from now on: a group that has more than its new max gives up pages as it asks for
 * others.  0, -EINVAL or -ENOSPC as above, also for a min below what has been promised to groups
 * below.
 */
int epc_group_set(struct epc_group *group, const struct epc_group_limits *limits);
/* NULL when there is none of that name. */
struct epc_group *epc_group_find(struct epc *epc, const char *name);

enum epc_group_event {
	EPC_GROUP_MIN,  /* a reclaim passed it by: it has no more than was promised */
	EPC_GROUP_HIGH, /* somebody in it evicted some of it, to stay below high */
	EPC_GROUP_MAX,  /* somebody in it met its max */
	EPC_GROUP_OOM,  /* and got -ENOMEM */
	EPC_GROUP_EVENT_NR,
};

struct epc_group_info {
	char name[EPC_GROUP_NAME_BYTES];
	struct epc_group *parent; /* NULL: the root */
	struct epc_group_limits limits;
	uint32_t current_pages; /* with all below it */
	/*
	 * The most there were; once threads that took pages at the same moment have met, up to
	 * EPC_GROUP_PEAK_ERROR fewer.
	 */
	uint32_t peak_pages;
	uint32_t owner_nr; /* of its own */
	uint64_t event[EPC_GROUP_EVENT_NR];
};
void epc_group_read(struct epc_group *group, struct epc_group_info *ret_info);
/*
 * The groups, parents before children; NULL behind the last.  Groups that come or go meanwhile may
 * be missed.
 */
struct epc_group *epc_group_next(struct epc *epc, struct epc_group *group);

#endif
