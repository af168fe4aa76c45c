/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Pages that a machine check has broken (poison.c).
 */
#ifndef SWSGX_EPC_POISON_PRIV_H
#define SWSGX_EPC_POISON_PRIV_H

#include <stdint.h>

#include "epc/epc_priv.h"
#include "epc/section_priv.h"

struct epc_page;

/* A page that nobody has, and that is on no list. */
void poison_shelve_locked(struct epc *epc, struct shard *shard, uint32_t nr) REQUIRES(&shard->lock);
/* A TRACKED page with the mark is OWNED from now on, and every translation of it goes: nobody can use it. */
void page_leave_if_broken_locked(struct epc *epc, struct epc_page *page)
	REQUIRES(&epc->reclaim_lock);

#endif
