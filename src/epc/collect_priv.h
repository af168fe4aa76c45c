/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Whose pages a batch takes, and which.
 */
#ifndef SWSGX_EPC_COLLECT_PRIV_H
#define SWSGX_EPC_COLLECT_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "epc/batch_priv.h"
#include "epc/epc_priv.h"
#include "epc/group_priv.h"

/* @looked at so far of each group, and those that have nothing more to give. */
struct collect {
	struct epc_group *top;
	struct epc_owner *taker; /* as of reclaim_batch() */
	bool exchange;           /* the batch is one page, and the taker has it */
	struct epc_group *group; /* of the last pick_more(); NULL: no group gives anything */
	struct group_set done;
	uint16_t looked[EPC_GROUPS_MAX];
};

/* READY pages into @batch, which is empty.  How many were looked at. */
unsigned int collect_pages(struct epc *epc, struct batch *batch, struct collect *collect);
/*
 * Since its pages were picked a group may have freed others, and need some of these to have what it
 * was promised.  What it frees from now on is its own affair: a page that is blocked can only be
 * written.
 */
void collect_promises(struct epc *epc, struct batch *batch, const struct collect *collect);

#endif
