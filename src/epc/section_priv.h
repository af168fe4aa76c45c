/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Sections, their shards, and which pages of them are free (section.c).
 *
 * All is in shared memory.
 */
#ifndef SWSGX_EPC_SECTION_PRIV_H
#define SWSGX_EPC_SECTION_PRIV_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/lock.h"
#include "epc/group_priv.h"
#include "epc/pagelist.h"
#include "epc/stats_priv.h"

struct epc;
struct epc_owner;
struct epc_page;

enum {
	EPC_SECTIONS_MAX = 8,               /* as CPUID.12H can show here */
	EPC_SHARDS_MAX = EPC_CHARGE_PLACES, /* of all sections: a bit each in epc.with_free */
};

/* EPC pages of one NUMA node. Above the blank line all is constant: what changes is in its shards. */
struct section {
	uint32_t first;
	uint32_t nr;
	int node; /* -1: it was not said */
	unsigned int shard_first;
	unsigned int shard_nr;
	unsigned int shard_shift; /* pages of a shard, log2; the last one may have fewer */
	/* of threads that would take a page of it first; of the only section the root's, which is the same */
	struct pressure *pressure;

	/* groups_lock: its pages, as of the last epc_census() */
	uint32_t kind[EPC_KIND_NR];
};

/*
 * A run of a section's pages: threads on different CPUs begin at different ones, so that they meet at no lock.
 * Pages from dirty_next on were never handed out.
 */
struct shard {
	_Alignas(64) struct lock lock;
	uint32_t first;              /* constant */
	uint32_t nr;                 /* constant */
	_Atomic uint32_t dirty_next; /* written under the lock; a census reads it without */
	/* FREE and DIRTY ones, and the fewest of them: written under the lock, read by anyone. */
	_Atomic uint32_t avail, lowest;
	struct pagelist free;
	struct pagelist deferred; /* DIRTY: a SECS that had children when it was its turn */
	struct pagelist poisoned; /* never to be handed out */
	uint32_t poisoned_ahead;  /* those of them from dirty_next on */
	/* What happened to its pages, as their owners count it (counts_page_locked(), epc_count()). */
	_Atomic uint64_t count[EPC_COUNT_NR];
};

/* 0 or -ENOMEM. */
int sections_init(struct epc *epc, unsigned int shards);
void sections_fini(struct epc *epc);
/*
 * A page in state OWNED, sanitised, and charged to its owner; NULL when none is free. @room: was made for it
 * (group_make_room_locked()), and charge_lock is held; else NULL as well when it may not be had without.
 */
struct epc_page *section_alloc(struct epc *epc, struct epc_owner *owner, bool room);
/* Pages in state OWNED or IN_BATCH become FREE. */
void section_free(struct epc *epc, const uint32_t *nr, unsigned int n);
/*
 * The same, and @owner has a page for it before anybody else can, who may (group_may_exchange_locked()); NULL: it broke, and
 * there is no other.
 */
struct epc_page *section_exchange(struct epc *epc, uint32_t nr, struct epc_owner *owner);
uint32_t section_free_nr(const struct epc *epc);
uint32_t section_poisoned_nr(struct epc *epc);
/* Fewest that were free at once: the sum of the shards' fewest, so maybe less than there ever were. */
uint32_t section_lowest_nr(const struct epc *epc);
void shard_count_locked(struct epc *epc, struct shard *shard) REQUIRES(&shard->lock);
struct shard *shard_of(struct epc *epc, uint32_t nr);
/* DIRTY pages of @shard. */
uint32_t shard_dirty_nr(const struct shard *shard);

#endif
