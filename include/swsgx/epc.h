/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/**
 * @file swsgx/epc.h - the EPC memory manager, for programs that own EPC pages
 *
 * An EPC has a fixed number of pages of 4096 bytes.  An owner takes pages, offers those that may go to the reclaimer,
 * and is asked to write them out when others need them.  What its pages hold, where their contents go and
 * how they come back is the owner's affair: the manager knows it by a table of operations.
 *
 * The life of a page: swsgx_page_alloc() -> OWNED, swsgx_page_track() -> TRACKED, then either swsgx_page_untrack()
 * -> OWNED again and swsgx_page_free(); or the reclaimer takes it into a batch, has it written by its
 * owner, and it is free.
 *
 * Thread safety: every function may be called from any thread, and, with an EPC made before a fork, from any process
 * of the fork tree (owners must lie in memory that all of them share, see swsgx_shared_alloc()).  The manager
 * calls an owner's operations in whatever thread needs a page, with no lock of its own held.
 *
 * Link with: pkg-config --cflags --libs swsgx-epc
 */
#ifndef SWSGX_EPC_H
#define SWSGX_EPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SWSGX_PAGE_SIZE 4096u

struct swsgx_epc;
struct swsgx_group;
struct swsgx_owner;
struct swsgx_page;

/* ---- an EPC --------------------------------------------------------------------------------------- */

/**
 * struct swsgx_epc_config - how large an EPC is to be, and how it reclaims
 * @bytes:  size of the EPC, a multiple of SWSGX_PAGE_SIZE, from 16 pages to 1 TiB
 * @policy: the order of eviction, as `swsgx run --policy` takes it: "adaptive" (the default, as NULL is), "upstream",
 *          "clock", "sieve", "s3fifo", "lirs" or "clockpro"
 */
struct swsgx_epc_config {
	uint64_t bytes;
	const char *policy;
};

/**
 * swsgx_epc_create() - make an EPC
 * @config:  see there; not needed after the call
 * @ret_epc: receives the EPC
 *
 * It takes address space and a few file descriptors; memory is taken as pages are used.
 *
 * Returns 0, or:
 *   -EINVAL  @config->bytes is no multiple of SWSGX_PAGE_SIZE, too small or too large, or there is no such policy
 *   -ENOMEM  no memory or no address space
 *   -errno   of memfd_create(2) or pipe(2), e.g. -EMFILE
 * Since: 0.1
 */
int swsgx_epc_create(const struct swsgx_epc_config *config, struct swsgx_epc **ret_epc);

/**
 * swsgx_epc_destroy() - the end of an EPC
 * @epc: nobody uses it any more, in any process; may be NULL
 *
 * All owners of it have been destroyed. Memory of swsgx_shared_alloc() goes with it.
 * Since: 0.1
 */
void swsgx_epc_destroy(struct swsgx_epc *epc);

/**
 * swsgx_shared_alloc() - memory that forked children see too
 * @epc:   of the EPC; it goes with it
 * @bytes: how much
 *
 * Returns zeroed memory, aligned to 64 bytes, at one address in all processes of the fork tree; NULL when there is
 * no more (64 MiB in all).
 * Since: 0.1
 */
void *swsgx_shared_alloc(struct swsgx_epc *epc, size_t bytes);

/**
 * swsgx_epc_reclaim() - run one batch, whatever is free
 * @epc: the EPC
 *
 * Returns how many pages it freed, 16 at the most.
 * Since: 0.1
 */
unsigned int swsgx_epc_reclaim(struct swsgx_epc *epc);

/**
 * swsgx_epc_recover() - see through the batches of processes that have died
 * @epc: the EPC
 *
 * For an owner that has waited long for one of its pages to leave a batch.  The manager does it by itself whenever it
 * lacks pages.
 * Since: 0.1
 */
void swsgx_epc_recover(struct swsgx_epc *epc);

/**
 * swsgx_epc_audit() - does every page have exactly one state, and do all lists and counts agree?
 * @epc:   the EPC; nobody else may be at work
 * @why:   receives what is wrong first, as a string; empty when nothing is
 * @bytes: size of @why
 *
 * Walks all pages. Returns the number of faults found, 0 when all is well.
 * Since: 0.1
 */
unsigned int swsgx_epc_audit(struct swsgx_epc *epc, char *why, size_t bytes);

/* ---- groups ------------------------------------------------------------------------------------------ */

#define SWSGX_NO_LIMIT UINT32_MAX

/**
 * struct swsgx_group_limits - how much the owners in a group may have together; in pages
 * @max:    never more: who would go over it evicts some of the group's, and gets -ENOMEM when none can go
 * @high:   more only if nothing of the group can be evicted instead; others who need pages take them here first
 * @min:    nobody outside of the group takes pages from it when it has no more than this
 * @weight: 1 to 10000, 100 is usual: what is promised to nobody is shared in proportion
 *
 * All are of the group with every group below it.
 * Source: docs/groups.md, and the memory controller of Linux's cgroup v2, which the first three are modelled on.
 */
struct swsgx_group_limits {
	uint32_t max;
	uint32_t high;
	uint32_t min;
	uint32_t weight;
};

/**
 * swsgx_group_root() - the group that all others are below
 * @epc: the EPC
 *
 * Returns the group, which is there as long as the EPC and has no limits.
 * Since: 0.1
 */
struct swsgx_group *swsgx_group_root(struct swsgx_epc *epc);

/**
 * swsgx_group_create() - a new group
 * @parent:    the group that it is below
 * @name:      shorter than 32, of letters, digits, '.', '_', '-'; no other group of the EPC has it
 * @limits:    see there
 * @ret_group: receives the group
 *
 * Returns 0, or:
 *   -EINVAL  @name is empty, too long or has another character; @limits->min is more than @limits->max, or
 *            @limits->weight not from 1 to 10000
 *   -EEXIST  the name is taken
 *   -ENOSPC  @limits->min is more than the parent has been promised and not passed on, or, below the root, than there is;
 *            or there are 256 groups, or 8 levels, already
 *   -ENOMEM  no memory
 * Since: 0.1
 */
int swsgx_group_create(struct swsgx_group *parent, const char *name,
		       const struct swsgx_group_limits *limits, struct swsgx_group **ret_group);

/**
 * swsgx_group_set() - change the limits of a group
 * @group:  not the root
 * @limits: from now on.  With more pages than a lower @limits->max the group loses them as it asks for others
 *
 * Returns 0; -EINVAL or -ENOSPC for @limits, as swsgx_group_create(); -EINVAL for the root; -ENOSPC also when more than
 * @limits->min has been promised to groups below.
 * Since: 0.1
 */
int swsgx_group_set(struct swsgx_group *group, const struct swsgx_group_limits *limits);

/**
 * swsgx_group_destroy() - the end of a group
 * @group: the group
 *
 * Returns 0, or -EBUSY while it has an owner or a group below it, and for the root.
 * Since: 0.1
 */
int swsgx_group_destroy(struct swsgx_group *group);

/**
 * swsgx_group_pages() - how many pages the owners in a group and below have now
 * @group: the group
 *
 * Returns a number of pages, which may have changed by then.
 * Since: 0.1
 */
uint32_t swsgx_group_pages(struct swsgx_group *group);

/**
 * swsgx_group_count() - how often something has happened to owners in a group and below
 * @group: the group
 * @name:  a member of "counts" in swsgx-stats(5), e.g. "evictions"; nanoseconds where it ends in _ns
 *
 * Owners that are gone count too. Returns 0 for a name that is none.
 * Since: 0.1
 */
uint64_t swsgx_group_count(struct swsgx_group *group, const char *name);

/* ---- owners ------------------------------------------------------------------------------------------- */

/**
 * struct swsgx_owner_ops - what the reclaimer asks of an owner
 * @name:    for statistics, e.g. "cache"
 * @get:     keep the owner alive for one batch; false when it is going away
 * @reclaim: true when the page may go now; false for one that is in use, or was of late
 * @block:   the page is about to leave: from now on nobody uses it. False: not now
 * @write:   save what the page holds, swsgx_page_bytes(), and forget that the owner has it. 0, or -errno: it stays
 *           with the owner, who may use it again
 * @put:     undo @get. The page may be somebody else's by now, so it is not given
 *
 * @owner is what swsgx_owner_create() was given, @cookie what swsgx_page_set_cookie() was.  For one page the calls are
 * get, reclaim, and then either put alone, or block, write, put.  They are made for a whole batch of pages, one
 * operation after the other, in the thread that needs a page: so that thread must hold none of the locks
 * that they take.  Every member is mandatory.
 *
 * When the process that runs a batch is killed, another goes on with it: then @block and @write may come a second time for
 * a page, whose first call got to any point.
 */
struct swsgx_owner_ops {
	const char *name;
	bool (*get)(void *owner, uint64_t cookie);
	bool (*reclaim)(void *owner, uint64_t cookie, struct swsgx_page *page);
	bool (*block)(void *owner, uint64_t cookie, struct swsgx_page *page);
	int (*write)(void *owner, uint64_t cookie, struct swsgx_page *page);
	void (*put)(void *owner, uint64_t cookie);
};

/**
 * swsgx_owner_create() - a new owner of pages
 * @group:     where its pages are charged, for good; swsgx_group_root() for no limits
 * @ops:       constant, and as long there as the owner
 * @owner:     passed to the operations
 * @ret_owner: receives the owner
 *
 * Returns 0 or -ENOMEM.
 * Since: 0.1
 */
int swsgx_owner_create(struct swsgx_group *group, const struct swsgx_owner_ops *ops, void *owner,
		       struct swsgx_owner **ret_owner);

/**
 * swsgx_owner_destroy() - the end of an owner
 * @owner: has no page any more; may be NULL
 *
 * Since: 0.1
 */
void swsgx_owner_destroy(struct swsgx_owner *owner);

/* ---- pages -------------------------------------------------------------------------------------------- */

#define SWSGX_MAY_RECLAIM 1u

/**
 * swsgx_page_alloc() - a page for an owner
 * @owner:    who gets it
 * @flags:    0; or SWSGX_MAY_RECLAIM: evict pages when none can be had.  That may call the operations of any owner,
 *            @owner's too, so the caller holds no lock that they take
 * @ret_page: receives the page. Its contents are undefined, its cookie is 0, it is not offered to the reclaimer
 *
 * Returns 0, or:
 *   -EBUSY   a page would have to be evicted first, and @flags forbid that; or one of an owner's operations has called,
 *            in the midst of an eviction
 *   -ENOMEM  no page can be evicted, or of none that the owner's group may have more of
 * Since: 0.1
 */
int swsgx_page_alloc(struct swsgx_owner *owner, unsigned int flags, struct swsgx_page **ret_page);

/**
 * swsgx_page_free() - give a page back
 * @owner: whose it is
 * @page:  not tracked. What it holds is lost
 *
 * Since: 0.1
 */
void swsgx_page_free(struct swsgx_owner *owner, struct swsgx_page *page);

/**
 * swsgx_page_track() - offer a page to the reclaimer
 * @owner: whose it is
 * @page:  not tracked. From now on the operations may be called for it
 *
 * Since: 0.1
 */
void swsgx_page_track(struct swsgx_owner *owner, struct swsgx_page *page);

/**
 * swsgx_page_untrack() - take an offer back
 * @owner: whose it is
 * @page:  tracked
 *
 * Returns 0, or -EBUSY while the page is in a batch: it will be free, or tracked again, soon.
 * Since: 0.1
 */
int swsgx_page_untrack(struct swsgx_owner *owner, struct swsgx_page *page);

/**
 * swsgx_page_keep() - a page stays with its owner
 * @owner: whose it is
 * @page:  not tracked
 *
 * Until it is tracked or freed, nobody waits for it: an allocation that finds no page but such ones fails at once.  For
 * pages that are in nobody's hand but are not offered either.  Without this call it is assumed for a second
 * that a page which is not tracked will be, or will be freed.
 *
 * Since: 0.1
 */
void swsgx_page_keep(struct swsgx_owner *owner, struct swsgx_page *page);

/**
 * swsgx_page_touch() - a tracked page was used
 * @owner: whose it is
 * @page:  the page
 *
 * The reclaimer takes pages that were touched later. Cheap; any lock may be held.
 * Since: 0.1
 */
void swsgx_page_touch(struct swsgx_owner *owner, struct swsgx_page *page);

/**
 * swsgx_page_bytes() - what a page holds
 * @owner: whose it is
 * @page:  the page
 *
 * Returns SWSGX_PAGE_SIZE bytes, page aligned, shared by all processes of the fork tree.  They may be used until the page is
 * freed or written.
 * Since: 0.1
 */
void *swsgx_page_bytes(struct swsgx_owner *owner, struct swsgx_page *page);

/**
 * swsgx_page_set_cookie() - a number for the owner's use
 * @page:   the page
 * @cookie: handed to the operations, until the page is freed
 *
 * Since: 0.1
 */
void swsgx_page_set_cookie(struct swsgx_page *page, uint64_t cookie);

#ifdef __cplusplus
}
#endif

#endif
