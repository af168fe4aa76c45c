/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the example does with the store: a sequence of operations that depends on a seed alone, and
 * a model that knows each answer beforehand.
 *
 * A key belongs to one thread (its number modulo the threads), which does that key's operations
 * in their order.  So however the threads interleave, every answer is determined, and so is the
 * digest, a sum.
 */
#ifndef KV_HOST_WORKLOAD_H
#define KV_HOST_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "client.h"

struct workload {
	uint64_t seed;
	uint32_t keys;
	uint64_t ops;
	uint32_t *versions; /* the model: how often a key was put, and WORKLOAD_ABSENT */
	uint64_t answer;    /* digest of all that the enclave said, atomic */
	uint64_t failures;  /* answers that were wrong, atomic */
	uint64_t done;      /* operations, for the progress, atomic */
};

#define WORKLOAD_ABSENT 0x80000000u

/* How many keys fill a heap of that size comfortably. */
uint32_t workload_keys(uint64_t heap_bytes);
bool workload_init(struct workload *work, uint64_t seed, uint32_t keys, uint64_t ops);
void workload_fini(struct workload *work);

/* The share of thread @thread of @threads in each phase. A client of NULL: only the model. */
void workload_fill(struct workload *work, struct client *client, unsigned int thread,
		   unsigned int threads);
void workload_run(struct workload *work, struct client *client, unsigned int thread,
		  unsigned int threads);
/* Look at every key; @ret_state: digest of this thread's share of the state. */
void workload_verify(struct workload *work, struct client *client, unsigned int thread,
		     unsigned int threads, uint64_t *ret_state);
/* Entries that the model has. */
uint32_t workload_entries(const struct workload *work);

#endif
