/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The instance: struct epc, how its parts are found, and its locks.
 *
 * Each other noun of src/epc has a header of its own, with what its file offers: section_priv.h, batch_priv.h, reclaim_priv.h,
 * reclaimd_priv.h, waiter_priv.h, group_priv.h, stats_priv.h, count_priv.h, sample_priv.h, late_priv.h, node_priv.h, clock_priv.h,
 * poison_priv.h, refault_priv.h.
 *
 * Everything here is in shared memory.  Members are grouped by the lock they belong to.
 */
#ifndef SWSGX_EPC_PRIV_H
#define SWSGX_EPC_PRIV_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/lock.h"
#include "epc/batch_priv.h"
#include "epc/epc.h"
#include "epc/group_priv.h"
#include "epc/late_priv.h"
#include "epc/page.h"
#include "epc/policy.h"
#include "epc/section_priv.h"

/* Added to by anyone, relaxed: they are told, nothing depends on them. */
struct epc_counters {
	_Atomic uint64_t evict_failures;
	_Atomic uint64_t direct_reclaims, background_batches, stalls, batches, scanned,
		second_chances;
	_Atomic uint64_t stall_ns, machine_checks, backing_slots_peak, recovered;
};

struct epc {
	/* constant */
	struct arena *arena;
	struct cpu *cpu;
	struct window *window;
	struct backing *backing;
	struct epc_page *pages;
	uint32_t page_nr;
	uint32_t low, high;
	unsigned int shard_nr;
	uint8_t batch_nr, section_nr, count_slot_nr;
	uint8_t early_nr;    /* waiters for the same who reclaim at once */
	uint32_t stalled_nr; /* groups_lock: see @stalled */
	struct shard *shard;
	struct nodes *nodes; /* NULL: there is one section, and no choice */
	const struct epc_policy *policy;
	struct policy_view view;
	void (*unmap)(const uint64_t *win_offs, unsigned int nr);
	const struct epc_clock *clock; /* NULL: the system's */
	struct section *section;       /* section_nr of them */

	/* the table: groups_lock; the links: group_priv.h */
	struct lock groups_lock;
	uint64_t owner_numbers;      /* that were given */
	_Atomic uint64_t groups_seq; /* odd while somebody has it: for those who look (peek.c) */
	struct epc_group *root;
	struct epc_group *_Atomic
		*_Atomic other;  /* by index, less one; NULL: there never was one */
	struct stalled *stalled; /* stalled_nr of them; none before the first stall */
	struct late refaults;    /* struct refaults */
	struct lock charge_lock;
	/* that all of it takes, with what was made when it was needed */
	_Atomic size_t arena_bytes;
	struct late reclaimers; /* places for EPC_RECLAIMERS_MAX */

	/* reclaim_lock */
	_Alignas(64) struct lock reclaim_lock;
	_Atomic uint32_t in_batch_nr; /* written under it, read by anyone */
	atomic_bool background_stop;
	_Atomic uint8_t reclaimer_nr; /* as many were there at once, at the most */
	uint64_t batch_seq;
	_Atomic uint64_t batches_begun;
	struct lock census_lock; /* of who counts pages by kind */
	struct late line;        /* EPC_WAITERS_MAX waiters */

	/* A bit for each shard with a page to be had: written under the shard's lock, when that changes. */
	_Alignas(64) _Atomic uint64_t with_free;
	/* A bit for each waiter; those that sleep; those of them who would reclaim, if there were anything. */
	_Atomic uint64_t waiting, asleep, hungry;
	_Atomic uint64_t tickets;
	struct epc_counters counters;
	struct late batch[WINDOW_SLOTS];
};

/* Something of @bytes was needed for the first time, and stays. */
static inline void epc_grew(struct epc *epc, size_t bytes)
{
	atomic_fetch_add_explicit(&epc->arena_bytes, arena_block_bytes(bytes),
				  memory_order_relaxed);
}

/* The root is the first; NULL: none of that index. */
static inline struct epc_group *group_at(const struct epc *epc, unsigned int i)
{
	struct epc_group *_Atomic *other = atomic_load_explicit(&epc->other, memory_order_acquire);

	if (i == 0)
		return epc->root;
	return other ? atomic_load_explicit(&other[i - 1], memory_order_relaxed) : NULL;
}

static inline uint32_t page_index(const struct epc *epc, const struct epc_page *page)
{
	assert(page >= epc->pages && page < epc->pages + epc->page_nr);
	return (uint32_t)(page - epc->pages);
}

static inline enum epc_state page_state(const struct epc_page *page)
{
	return (enum epc_state)(atomic_load_explicit(&page->state, memory_order_acquire) &
				~PAGE_STATE_KEPT);
}

static inline void page_set_state(struct epc_page *page, enum epc_state state)
{
	atomic_store_explicit(&page->state, (uint8_t)state, memory_order_release);
}

static inline const struct sgx_epc_page_ops *page_ops(const struct epc_page *page)
{
	return page_owner(page)->ops;
}

/* The order that the page is in, when it is in one. */
static inline void *page_policy_state(const struct epc_page *page)
{
	return page_owner(page)->group->policy_state;
}

static inline void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ---- its locks: repair.c, group.c, group_charge.c ------------------------------------------------------------ */

/*
 * The locks of the manager.  Where the last holder died, what it left half-done is mended first
 * (repair.c), so whoever has the lock finds everything whole.
 */
void order_lock(struct epc *epc) ACQUIRES(&epc->reclaim_lock);
void order_unlock(struct epc *epc) RELEASES(&epc->reclaim_lock);
void groups_lock(struct epc *epc) ACQUIRES(&epc->groups_lock);
void groups_unlock(struct epc *epc) RELEASES(&epc->groups_lock);
bool charge_lock(struct epc *epc) ACQUIRES(&epc->charge_lock); /* false: somebody else had it */
void charge_unlock(struct epc *epc) RELEASES(&epc->charge_lock);
void shard_lock(struct epc *epc, struct shard *shard) ACQUIRES(&shard->lock);
void shard_unlock(struct shard *shard) RELEASES(&shard->lock);

/* ---- where bytes of pages are, and pages that are kept: page.c -------------------------------- */

#define PAGE_AT_HOME UINT32_MAX /* where a page is that was not placed */
/* Window offset / 4096 of its bytes, or PAGE_AT_HOME. */
uint32_t page_win_page(const struct epc *epc, uint32_t nr);
void page_own(struct epc *epc, struct epc_page *page, bool unplaced);
/* Its bytes are not needed any more, wherever they are (but on a stage). */
void page_drop_bytes(struct epc *epc, struct epc_page *page);

/* It is kept from now on; it is not any more. */
void page_keep_locked(struct epc *epc, struct epc_page *page) REQUIRES(&epc->reclaim_lock);
void page_unkeep_locked(struct epc *epc, struct epc_page *page) REQUIRES(&epc->reclaim_lock);

#endif
