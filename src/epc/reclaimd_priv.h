/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Reclaim ahead of demand: watermarks, and the threads that are lent for it (reclaimd.c).
 */
#ifndef SWSGX_EPC_RECLAIMD_PRIV_H
#define SWSGX_EPC_RECLAIMD_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "epc/section_priv.h"

struct epc;

enum { EPC_RECLAIMERS_MAX = EPC_SECTIONS_MAX };

/* A thread that was lent for background reclaim (reclaimd.c). Made when so many are for the first time. */
struct reclaimer {
	_Alignas(64) struct lock lock; /* of the thread, as long as it runs */
	unsigned int index;            /* constant: its place in epc.reclaimer */
	_Atomic uint32_t wakes;        /* a futex: changes when there is something to do */
	atomic_bool asleep;
};

void watermarks_init(struct epc *epc);
void reclaimers_fini(struct epc *epc);
/* After an allocation that left few pages: background reclaim, where somebody lends a thread to it. */
void background_wake(struct epc *epc);

#endif
