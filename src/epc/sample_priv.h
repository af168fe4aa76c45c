/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What policies want to see: the manager's part of epc/policy_sample.h (sample.c).
 */
#ifndef SWSGX_EPC_SAMPLE_PRIV_H
#define SWSGX_EPC_SAMPLE_PRIV_H

#include "epc/epc_priv.h"
#include "epc/policy_sample.h"

/* Policies hear of the uses that were seen. */
void sample_tell_locked(struct epc *epc) REQUIRES(&epc->reclaim_lock);
/* Where in the window armed pages are, when there are @at_least so many: for epc.unmap, without the lock. */
unsigned int sample_collect_locked(struct epc *epc, unsigned int at_least,
				   uint64_t ret_offsets[SAMPLE_BATCH]) REQUIRES(&epc->reclaim_lock);
/* The translations of all armed pages are dropped. */
void sample_drop(struct epc *epc) EXCLUDES(&epc->reclaim_lock);

#endif
