/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A policy by itself: an EPC of so many pages without a manager, evicted in batches as the manager does it, uses seen as
 * the manager shows them.  Or one at a time and all of them, to compare it with what its paper says.
 */
#ifndef SWSGX_TESTS_POLICY_CACHE_H
#define SWSGX_TESTS_POLICY_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "epc/page.h"
#include "epc/policy.h"

enum { POLICY_CACHE_BATCH = 16 };

/**
 * struct policy_cache_config - what is tried
 * @policy:  the policy
 * @frames:  pages of EPC
 * @pages:   pages that a program has
 * @exact:   one victim at a time, and every use is seen
 * @ghosts:  so many times the memory of evicted pages that an EPC of that size has; 0: as 1
 */
struct policy_cache_config {
	const struct epc_policy *policy;
	uint32_t frames, pages;
	bool exact;
	unsigned int ghosts;
};

struct policy_cache {
	struct policy_cache_config config;
	struct policy_view view;
	void *state;
	struct epc_page *page;
	struct epc_owner *owner; /* of all of them */
	uint32_t used;
	uint32_t free[POLICY_CACHE_BATCH], free_nr;
	uint32_t *at; /* frame of each page, or PAGE_NONE */
	unsigned long faults, soft;
};

void policy_cache_open(struct policy_cache *c, const struct policy_cache_config *config);
/* Whether all memory of the policy is free again. */
bool policy_cache_close(struct policy_cache *c);

void policy_cache_use(struct policy_cache *c, uint32_t page);
/* Ahead, before it is used. */
void policy_cache_bring(struct policy_cache *c, uint32_t page);
bool policy_cache_has(const struct policy_cache *c, uint32_t page);

/* The policy hears of uses; what it wants to see next is armed by now. */
void policy_cache_tell(struct policy_cache *c);
/* A page goes: its frame. */
uint32_t policy_cache_evict(struct policy_cache *c);

#endif
