/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What is counted of pages, by owner and by shard (stats_count.c).
 */
#ifndef SWSGX_EPC_COUNT_PRIV_H
#define SWSGX_EPC_COUNT_PRIV_H

#include <stdint.h>

#include "epc/section_priv.h"
#include "epc/stats.h"

struct epc;
struct epc_owner;

/* Something happened to a page of @shard and to its owner, with the lock of the shard, under which alone @what is counted. */
void counts_page_locked(struct shard *shard, struct epc_owner *owner, enum epc_count what)
	REQUIRES(&shard->lock);
/* What was counted of the pages of @shard, to @sum, of EPC_COUNT_NR. */
void shard_counts_add(const struct shard *shard, uint64_t *sum);
void section_counts_add(const struct epc *epc, const struct section *section, uint64_t *sum);

#endif
