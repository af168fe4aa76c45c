/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What is made when it is needed for the first time, and stays as long as the EPC: batches and their slots of the window,
 * reclaimers, the line of waiters.  Most machines need one of each at the most.
 */
#ifndef SWSGX_EPC_LATE_PRIV_H
#define SWSGX_EPC_LATE_PRIV_H

#include <stdatomic.h>
#include <stddef.h>

struct epc;

struct late {
	void *_Atomic there; /* NULL: it never was needed */
};

struct late_kind {
	size_t bytes;
	void (*init)(void *made, unsigned int index);
	void (*fini)(void *made);
};

static inline void *late_there(const struct late *late)
{
	return atomic_load_explicit(&late->there, memory_order_acquire);
}

/* The @index-th of its kind, if need be a new one.  NULL: no memory. */
void *late_make(struct epc *epc, struct late *late, const struct late_kind *kind,
		unsigned int index);
void late_fini(struct epc *epc, struct late *late, const struct late_kind *kind);

#endif
