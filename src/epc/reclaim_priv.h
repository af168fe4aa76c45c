/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * One batch of reclaim, from the choice of pages to their end (reclaim.c).
 */
#ifndef SWSGX_EPC_RECLAIM_PRIV_H
#define SWSGX_EPC_RECLAIM_PRIV_H

#include <stdbool.h>

#include "epc/epc_priv.h"

struct epc_group;
struct epc_owner;
struct epc_page;

/* What one batch came to. */
struct reclaim_result {
	unsigned int looked;    /* pages looked at */
	unsigned int unwritten; /* pages that could not be written, or had no place in the store */
	struct epc_page *page;  /* the taker's; NULL: none */
};
/*
 * One batch of what @top and the groups below it have: pages freed.  -EAGAIN: as many reclaimers as there can be
 * are at work, or the calling thread is in a batch itself.
 *
 * @taker: an owner in one of these groups, who needs a page, or NULL.  Then @top keeps what it was promised: when it has
 * no more than that, one page is evicted and @taker has one for it, so that nobody else can come first.
 */
int reclaim_batch(struct epc *epc, struct epc_group *top, struct epc_owner *taker,
		  struct reclaim_result *ret) EXCLUDES(&epc->reclaim_lock);
/* The calling thread is in a batch: an operation of an owner has called. */
bool reclaim_is_running(void);
/* See through what processes that died have left half-done. */
void reclaim_recover(struct epc *epc);

#endif
