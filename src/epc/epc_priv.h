/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the files of src/epc share: the instance, its sections and their shards, its batches.
 *
 * Everything here is in shared memory.  Members are grouped by the lock they belong to.
 */
#ifndef SWSGX_EPC_PRIV_H
#define SWSGX_EPC_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/lock.h"
#include "epc/epc.h"
#include "epc/group_priv.h"
#include "epc/late.h"
#include "epc/page.h"
#include "epc/pagelist.h"
#include "epc/policy.h"
#include "epc/policy_sample.h"
#include "epc/window.h"

enum {
	EPC_SECTIONS_MAX = 8,               /* as CPUID.12H can show here */
	EPC_SHARDS_MAX = EPC_CHARGE_PLACES, /* of all sections: a bit each in epc.with_free */
	EPC_BATCH_MAX = WINDOW_STAGE_PAGES,
	EPC_RECLAIMERS_MAX = EPC_SECTIONS_MAX,
};

/* EPC pages of one NUMA node. Above the blank line all is constant: what changes is in its shards. */
struct section {
	uint32_t first;
	uint32_t nr;
	int node; /* -1: it was not said */
	unsigned int shard_first;
	unsigned int shard_nr;
	unsigned int shard_shift; /* pages of a shard, log2; the last one may have fewer */

	/* groups_lock: its pages, as of the last epc_census() */
	uint32_t kind[EPC_KIND_NR];
	struct pressure pressure; /* of threads that would take a page of it first */
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

/* How far a page in a batch has come.  Whoever finds a batch left by a dead process goes on from here. */
enum batch_phase {
	BATCH_NONE,
	BATCH_PICKED,  /* IN_BATCH */
	BATCH_GOT,     /* and its owner is held */
	BATCH_READY,   /* and the owner lets it go */
	BATCH_BLOCKED, /* and nothing new may begin on it */
	BATCH_WRITTEN, /* and its contents are in the backing store */
	BATCH_RETURNS, /* and could not be written: its bytes go back */
};

struct batch_entry {
	uint32_t nr;
	uint32_t win_page;     /* its bytes were there, or PAGE_AT_HOME */
	_Atomic uint8_t phase; /* enum batch_phase */
	uint8_t stage;         /* of its bytes, or NO_STAGE */
};

enum { NO_STAGE = 0xff };

/* One batch of reclaim.  Made when so many are needed at once for the first time. */
struct batch {
	struct lock lock;
	unsigned int slot;      /* constant: of the window, and its place in epc.batch */
	_Atomic uint32_t nr;    /* entries in use, some of them BATCH_NONE */
	_Atomic uint64_t begun; /* as the how manieth of all batches; 0: nobody is at it */
	struct batch_entry entry[EPC_BATCH_MAX];
};

/* A thread that was lent for background reclaim (reclaimd.c). Made when so many are for the first time. */
struct reclaimer {
	_Alignas(64) struct lock lock; /* of the thread, as long as it runs */
	unsigned int index;            /* constant: its place in epc.reclaimer */
	_Atomic uint32_t wakes;        /* a futex: changes when there is something to do */
	atomic_bool asleep;
};

/* Added to by anyone, relaxed: they are told, nothing depends on them. */
struct epc_counters {
	_Atomic uint64_t evict_failures;
	_Atomic uint64_t direct_reclaims, background_batches, stalls, batches, scanned,
		second_chances;
	_Atomic uint64_t stall_ns, machine_checks, backing_slots_peak, recovered;
};

enum { EPC_WAITERS_MAX = 64 };

/* An allocation that found no page (waiter.c). */
struct waiter {
	struct lock lock; /* of the thread, as long as it waits */
	_Atomic uint64_t ticket;
	_Atomic(struct epc_group *) top; /* whose pages it waits for */
	_Atomic uint32_t wakes;          /* a futex */
	_Atomic uint64_t alive_ns;       /* the last sign of life */
	_Atomic uint32_t missed;         /* others have slept since: see waiter.c */
	atomic_bool late;                /* asleep because of all those before it */
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
	uint32_t early_nr; /* waiters for the same who reclaim at once */
	unsigned int shard_nr;
	uint8_t batch_nr, section_nr, count_slot_nr;
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
	uint32_t stalled_nr;
	_Atomic uint32_t reclaimer_nr; /* as many were there at once, at the most */
	struct lock charge_lock;
	/* that all of it takes, with what was made when it was needed */
	_Atomic size_t arena_bytes;
	struct late reclaimers; /* places for EPC_RECLAIMERS_MAX */

	/* reclaim_lock */
	_Alignas(64) struct lock reclaim_lock;
	_Atomic uint32_t in_batch_nr; /* written under it, read by anyone */
	atomic_bool background_stop;
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

/*
 * The locks of the manager.  Where the last holder died, what it left half-done is mended first
 * (repair.c), so whoever has the lock finds everything whole.
 */
void order_lock(struct epc *epc) ACQUIRES(&epc->reclaim_lock);
void order_unlock(struct epc *epc) RELEASES(&epc->reclaim_lock);
void groups_lock(struct epc *epc) ACQUIRES(&epc->groups_lock);
void groups_unlock(struct epc *epc) RELEASES(&epc->groups_lock);
void charge_lock(struct epc *epc) ACQUIRES(&epc->charge_lock);
void charge_unlock(struct epc *epc) RELEASES(&epc->charge_lock);
void shard_lock(struct epc *epc, struct shard *shard) ACQUIRES(&shard->lock);
void shard_unlock(struct shard *shard) RELEASES(&shard->lock);

/* section.c */
/* 0 or -ENOMEM. */
int sections_init(struct epc *epc, unsigned int shards);
void sections_fini(struct epc *epc);
/* A page in state OWNED, sanitised, and charged to its owner; NULL when none is free. */
struct epc_page *section_alloc(struct epc *epc, struct epc_owner *owner);
/* Pages in state OWNED or IN_BATCH become FREE. */
void section_free(struct epc *epc, const uint32_t *nr, unsigned int n);
/* The same, and @owner has a page for it before anybody else can; NULL: it broke, and there is no other. */
struct epc_page *section_exchange(struct epc *epc, uint32_t nr, struct epc_owner *owner);
uint32_t section_free_nr(const struct epc *epc);
uint32_t section_poisoned_nr(struct epc *epc);
/* Fewest that were free at once: the sum of the shards' fewest, so maybe less than there ever were. */
uint32_t section_lowest_nr(const struct epc *epc);
void shard_count_locked(struct epc *epc, struct shard *shard) REQUIRES(&shard->lock);
struct shard *shard_of(struct epc *epc, uint32_t nr);
/* DIRTY pages of @shard. */
uint32_t shard_dirty_nr(const struct shard *shard);

/* peek.c */
/* Changes with the layout of what peek.c looks at. */
uint64_t peek_layout(void);

/* clock.c */
uint64_t epc_now_ns(const struct epc *epc);
/* Sleep for less than a second. */
void nap(const struct epc *epc, uint64_t ns);
/* Others may run first. */
void give_way(const struct epc *epc);

/* stats_count.c */
/* Something happened to a page of @shard and to its owner, with the lock of the shard, under which alone @what is counted. */
void counts_page_locked(struct shard *shard, struct epc_owner *owner, enum epc_count what)
	REQUIRES(&shard->lock);
/* What was counted of the pages of @shard, to @sum, of EPC_COUNT_NR. */
void shard_counts_add(const struct shard *shard, uint64_t *sum);
void section_counts_add(const struct epc *epc, const struct section *section, uint64_t *sum);

/* node.c */
/* 0 or -ENOMEM. The sections are there. */
int nodes_init(struct epc *epc, const struct epc_topology *topology);
void nodes_fini(struct epc *epc);
/* The sections in the order in which the calling thread tries them. */
const uint8_t *nodes_order(const struct epc *epc);

/* poison.c */
/* A page that nobody has, and that is on no list. */
void poison_shelve_locked(struct epc *epc, struct shard *shard, uint32_t nr) REQUIRES(&shard->lock);
/* A TRACKED page with the mark is OWNED from now on, and every translation of it goes: nobody can use it. */
void page_leave_if_broken_locked(struct epc *epc, struct epc_page *page)
	REQUIRES(&epc->reclaim_lock);

/* waiter.c */
void waiters_init(struct epc *epc);
void waiters_fini(struct epc *epc);
/*
 * Get in line for a page of @top, or of any group where it is the root; and out of it.  @outside: what to be where there is
 * no place.
 */
struct waiter *waiter_begin(struct epc *epc, struct epc_group *top, struct waiter *outside);
void waiter_end(struct epc *epc, struct waiter *self);
/* It needs one of @top now, its place in line stays; and it lives. */
void waiter_wants(struct waiter *self, struct epc_group *top);
/* How many pages of @top are for others than @self, or than somebody who is not in line. */
uint32_t waiters_before(const struct epc *epc, const struct waiter *self,
			const struct epc_group *top);
/* One of the first: who sees to it that there are pages. */
bool waiter_is_early(const struct epc *epc, const struct waiter *self);
/* Until there is a page for @self, or something to reclaim, or for a moment. */
void waiter_sleep(struct epc *epc, struct waiter *self);
/* There are pages, or fewer waiters: whoever's turn it is. */
void waiters_wake(struct epc *epc);
/* There is something to reclaim, or less to hope for. */
void waiters_offer(struct epc *epc);
/* @group goes: whoever still waits for its pages is dead. */
void waiters_forget(struct epc *epc, const struct epc_group *group);

static inline struct epc_group *waiter_top(const struct waiter *waiter)
{
	return atomic_load_explicit(&waiter->top, memory_order_relaxed);
}

/* reclaimd.c */
void watermarks_init(struct epc *epc);
void reclaimers_fini(struct epc *epc);
/* After an allocation that left few pages: background reclaim, where somebody lends a thread to it. */
void background_wake(struct epc *epc);

/* page.c */
#define PAGE_AT_HOME UINT32_MAX /* where a page is that was not placed */
/* Window offset / 4096 of its bytes, or PAGE_AT_HOME. */
uint32_t page_win_page(const struct epc *epc, uint32_t nr);
void page_own(struct epc *epc, struct epc_page *page, bool unplaced);
/* Its bytes are not needed any more, wherever they are (but on a stage). */
void page_drop_bytes(struct epc *epc, struct epc_page *page);

/* It is kept from now on; it is not any more. */
void page_keep_locked(struct epc *epc, struct epc_page *page) REQUIRES(&epc->reclaim_lock);
void page_unkeep_locked(struct epc *epc, struct epc_page *page) REQUIRES(&epc->reclaim_lock);

/* sample.c: what policies want to see (epc/policy_sample.h) */
/* Policies hear of the uses that were seen. */
void sample_tell_locked(struct epc *epc) REQUIRES(&epc->reclaim_lock);
/* Where in the window armed pages are, when there are @at_least so many: for epc.unmap, without the lock. */
unsigned int sample_collect_locked(struct epc *epc, unsigned int at_least,
				   uint64_t ret_offsets[SAMPLE_BATCH]) REQUIRES(&epc->reclaim_lock);
/* The translations of all armed pages are dropped. */
void sample_drop(struct epc *epc) EXCLUDES(&epc->reclaim_lock);

/* batch.c */
/* 0 or -ENOMEM. */
int batches_init(struct epc *epc);
void batches_fini(struct epc *epc);
/* The one of @slot; NULL: no memory for it, when it is needed for the first time. */
struct batch *batch_at(struct epc *epc, unsigned int slot);
void batch_begin(struct epc *epc, struct batch *batch);
/* How many batches have begun so far; whether none of the first @number of them is under way any more. */
uint64_t batches_begun(const struct epc *epc);
bool batches_have_ended(const struct epc *epc, uint64_t number);

/* reclaim.c */
/* What one batch came to. */
struct reclaim_result {
	unsigned int looked;    /* pages looked at */
	unsigned int unwritten; /* pages that their owner could not write */
	struct epc_page *page;  /* the taker's; NULL: none */
};
/*
 * One batch of what @top and the groups below it have: pages freed.  -EAGAIN: as many reclaimers as there can be
 * are at work, or the calling thread is in a batch itself.
 *
 * @taker: an owner in one of these groups, who needs a page, or NULL.  Then @top keeps what it was promised: when it has
 * no more than that, one page is evicted and @taker has one for it, so that nobody else can come first.
 */
int reclaim_batch(struct epc *epc, struct epc_group *top, struct epc_owner *taker,
		  struct reclaim_result *ret) EXCLUDES(&epc->reclaim_lock);
/* The calling thread is in a batch: an operation of an owner has called. */
bool reclaim_is_running(void);
/* See through what processes that died have left half-done. */
void reclaim_recover(struct epc *epc);

#endif
