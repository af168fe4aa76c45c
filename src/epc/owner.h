/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the manager needs from the owner of an EPC page.
 */
#ifndef SWSGX_EPC_OWNER_H
#define SWSGX_EPC_OWNER_H

#include <stdbool.h>
#include <stdint.h>

struct epc;
struct epc_group;
struct epc_owner;
struct epc_page;

/**
 * struct sgx_epc_page_ops - the reclaimer's only view of an owner
 * @name:    for statistics, e.g. "encl"
 * @get:     keep the owner alive for one batch; false when it is going away, or cannot be reached
 *           from this process
 * @reclaim: true when the page may go now: of a kind that can, not in use, not touched of late
 * @block:   the page is about to leave: EBLOCK it, let no new use begin.  False: not now
 * @write:   EWB the page to the backing store; 0, or -errno and the page is resident and usable as
 *           before.  -EHWPOISON, always, for a page that is epc_page_poisoned(): there is nothing to read
 * @put:     undo @get.  The page may be somebody else's by now, so this is a copy of what it was: only
 *           epc_page_owner() and epc_page_cookie() may be asked of it, and what they lead to must be kept
 *           alive by @get's reference
 * @blanks:  pages that are not valid in the EPCM may be tracked: whoever uses them says when they are
 *
 * For one page the calls are always get, reclaim, and then either put alone, or block, write, put.
 * The manager runs each stage over the whole batch, so that one ETRACK an enclave serves it, and
 * between block and write it removes every mapping of the batch's pages in every process: after
 * that no thread can reach the bytes.  No lock of the manager is held; each callback takes its
 * owner's (LOCK_OWNER).  Every member is mandatory.
 *
 * Where the process that ran a batch was killed, another sees it through: @block or @write may then be
 * called a second time for a page, whose first call may have come to any point.  A reference of @get's may be lost with
 * the process, and no @put comes twice.  Whoever waits long for a
 * page that is in a batch calls epc_recover().
 *
 * After @write has returned 0 the manager frees the EPC page; the owner must have forgotten it.
 */
struct sgx_epc_page_ops {
	const char *name;
	bool (*get)(struct epc_page *page);
	bool (*reclaim)(struct epc_page *page);
	bool (*block)(struct epc_page *page);
	int (*write)(struct epc_page *page);
	void (*put)(struct epc_page *page);
	bool blanks;
};

/**
 * struct epc_owner_config - a new owner
 * @ops:   of its pages
 * @owner: what epc_page_owner() says of them; in shared memory
 * @group: where its pages are charged (epc/group.h), NULL for the root
 * @name:  for statistics; NULL: @ops->name
 * @id:    likewise
 * @part_of: an owner of the same group that outlives this one, or NULL.  What this one counts and waits for is told as that
 *           one's, and this one is not listed
 * @running: how many logical processors run in it now, or NULL when it cannot tell.  For statistics; called with locks of
 *           the manager held, so it takes none and only looks
 */
struct epc_owner_config {
	const struct sgx_epc_page_ops *ops;
	void *owner;
	struct epc_group *group;
	const char *name;
	uint32_t id;
	struct epc_owner *part_of;
	unsigned int (*running)(void *owner);
};

/* 0 or -ENOMEM. */
int epc_owner_create(struct epc *epc, const struct epc_owner_config *config,
		     struct epc_owner **ret_owner);
/* It has no page any more, and none of its pages is in a batch. Takes NULL. */
void epc_owner_destroy(struct epc_owner *owner);
struct epc_group *epc_owner_group(const struct epc_owner *owner);

#endif
