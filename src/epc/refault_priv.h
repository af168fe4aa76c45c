/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* What the manager tells of pages that go and come, and how the numbers lie in its memory: see refault.h. */
#ifndef SWSGX_EPC_REFAULT_PRIV_H
#define SWSGX_EPC_REFAULT_PRIV_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/lock.h"
#include "epc/epc_priv.h"
#include "epc/refault.h"

/* A page that is away, and noted. */
struct refault_gone {
	uint32_t name;
	uint32_t owner; /* the low half of its number; 0: it has come back */
};

/* reclaim_lock; the numbers are read by anyone. */
struct refaults {
	_Atomic uint64_t beyond;                /* loads that no size spares */
	_Atomic uint64_t spared[EPC_LARGER_NR]; /* by the smallest size that does */
	uint32_t max, nr; /* of @gone: nr are in use, in the order in which they went */
	uint32_t away;    /* of those, no holes */
	uint32_t shift;   /* one page in 2^shift is noted */
	struct refault_gone gone[];
};

/* The first pages are about to go: room for what is noted of them.  Without memory nothing is noted. */
void refaults_begin(struct epc *epc);
void refaults_fini(struct epc *epc);
/* A page has been evicted, and is still as it was. */
void refault_gone_locked(struct epc *epc, uint32_t nr) REQUIRES(&epc->reclaim_lock);
/* A page is there, with its name: it has come back, or not. */
void refault_came_locked(struct epc *epc, uint32_t nr) REQUIRES(&epc->reclaim_lock);
/* The pages of an owner that ends will not come back. */
void refaults_forget(struct epc *epc, const struct epc_owner *owner);

/* What @refaults has (NULL: nothing), added up. */
void refaults_sum(const struct refaults *refaults, struct epc_larger *ret_larger);

#endif
