/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The EPC memory manager: who has which EPC page, and who gives one up when there is none left.
 *
 * It never learns what an enclave is: an owner is a table of operations (epc/owner.h).  One instance
 * lives in shared memory and serves every process of a fork tree.
 *
 * A page is in exactly one state, always (enum epc_state); epc_audit() counts them.
 *
 * Where the bytes of a page are: see epc/window.h.  A page that nobody maps (SECS, VA) lives in its
 * own home in the window, from epc_alloc() on; an owner that maps pages moves them with
 * epc_page_place().
 */
#ifndef SWSGX_EPC_EPC_H
#define SWSGX_EPC_EPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "epc/refault.h"

struct arena;
struct cpu;
struct epc;
struct epc_owner;
struct epc_page;
struct epc_policy;
struct window;
struct backing;

enum epc_state {
	EPC_PAGE_DIRTY, /* not yet sanitised */
	EPC_PAGE_FREE,
	EPC_PAGE_OWNED,    /* resident with its owner, not offered to the reclaimer */
	EPC_PAGE_TRACKED,  /* resident with its owner, the reclaimer may take it */
	EPC_PAGE_IN_BATCH, /* the reclaimer has it in hand */
	EPC_PAGE_POISONED,
	EPC_PAGE_STATE_NR,
};

/*
 * Where threads run and how far it is from there: for tests.  The system answers otherwise.
 *
 * @node:     of the calling thread
 * @distance: as in the ACPI SLIT: 10 is local
 */
struct epc_topology {
	unsigned int (*node)(void);
	unsigned int (*distance)(unsigned int from, unsigned int to);
};

/*
 * What time it is, and how it passes: for tests.  The system's clock otherwise, and sleep that a free page ends.
 *
 * @now_ns: since whenever, not 0, and never less than before
 * @sleep:  instead of waiting for @ns that others give up a page; 0: instead of letting them run first
 */
struct epc_clock {
	uint64_t (*now_ns)(void);
	void (*sleep)(uint64_t ns);
};

struct epc_config {
	struct cpu *cpu; /* its pages are ours from now on, and were nobody's before */
	struct arena *arena;
	const char *policy;         /* name of a policy (epc/policy.h), NULL for the default */
	const char *backing_path;   /* NULL: memory */
	uint64_t backing_bytes_max; /* 0: no limit */
	/*
	 * A hint, or NULL: the calling process may drop its translations of the @nr pages at @win_offs in one
	 * go, which is one shoot-down instead of one a page.  All are blocked; what it leaves is dropped
	 * page by page.  Called with a batch in hand.
	 */
	void (*unmap)(const uint64_t *win_offs, unsigned int nr);
	const struct epc_topology *topology; /* NULL: the system's */
	const struct epc_clock *clock;       /* likewise */
	unsigned int shards; /* of each section; 0: as many as its size is good for */
};

/* 0, -ENOMEM, -EINVAL for an unknown policy or more than 1 TiB, or what the backing store said. */
int epc_create(const struct epc_config *config, struct epc **ret_epc);
/* The last process calls it. */
void epc_destroy(struct epc *epc);

struct window *epc_window(struct epc *epc);
struct backing *epc_backing(struct epc *epc);
struct cpu *epc_cpu(struct epc *epc);
struct arena *epc_arena(struct epc *epc);
/* @fd is one that the manager needs in every process of the tree: keep the program from closing it. */
bool epc_owns_fd(const struct epc *epc, int fd);

#define EPC_MAY_RECLAIM 1u /* evict others' pages when none is free */
#define EPC_UNPLACED \
	2u /* no home: it has no bytes before epc_page_place(). Saves the clearing of the home */

/*
 * A page for @owner (epc/owner.h), in state OWNED, contents undefined, bytes in its home.  No lock of any owner
 * may be held with EPC_MAY_RECLAIM.
 *
 *   -ENOMEM  none is free, or its group may have no more, and nothing can be reclaimed (or a bounded number
 *            of tries freed none)
 *   -EBUSY   some page must be reclaimed first, and the caller forbade that, or is an operation of an owner that a batch calls
 */
int epc_alloc(struct epc *epc, struct epc_owner *owner, unsigned int flags,
	      struct epc_page **ret_page);
/* Give back a page in state OWNED whose EPCM entry is invalid (EREMOVE, EWB). Its bytes are dropped. */
void epc_free(struct epc *epc, struct epc_page *page);

/* A page OWNED is another part's of the same owner from now on (epc/owner.h): cookie, contents and charge stay. */
void epc_page_hand_on(struct epc_page *page, struct epc_owner *to);

/*
 * The caller will soon give up these pages: what is known of them is fetched into the cache, all at once.  For
 * whoever goes through many pages, which in a large EPC are waited for one by one otherwise.
 */
void epc_announce(struct epc *epc, struct epc_page *const *pages, unsigned int nr);

/* OWNED <-> TRACKED.  untrack: -EBUSY while the page is IN_BATCH.  A poisoned page stays OWNED. */
void epc_track(struct epc *epc, struct epc_page *page);
/*
 * The same of a page that nobody has asked for yet.  Its first epc_touch() tells that somebody has: the policy, which heard of
 * it when it came, takes it for the use that the page came for, and not for one more.
 */
void epc_track_ahead(struct epc *epc, struct epc_page *page);
int epc_untrack(struct epc *epc, struct epc_page *page);
/*
 * A page OWNED stays with its owner for longer than others can be made to wait for it, until it is tracked or freed.
 * An allocation that finds no other page fails then at once, and not after a second.
 */
void epc_keep(struct epc *epc, struct epc_page *page);
/*
 * For the last step of an owner that nobody can get any more: TRACKED -> OWNED, after waiting for a
 * batch to let go of the page, and for one that was left by a process that died, in its stead.  No lock may be held.
 */
void epc_untrack_wait(struct epc *epc, struct epc_page *page);
/* The owner saw a use of a TRACKED page. Cheap; any lock may be held. */
void epc_touch(struct epc *epc, struct epc_page *page);

/* One batch of reclaim when fewer than the low watermark are free, as Linux's sgx_reclaim_direct(). */
void epc_reclaim_direct(struct epc *epc);
/* One batch, whatever is free: pages freed. */
unsigned int epc_reclaim(struct epc *epc);

/*
 * A machine check: the memory of page @nr is broken.  The page is never handed out again.  Where it is in use its
 * owner keeps it until he frees it, finds epc_page_poisoned() when he is asked for it, and every use of it has to end in
 * SIGBUS (BUS_MCEERR_AR), as in Linux; what was in it is lost.  0, or -EINVAL: there is no such page.
 */
int epc_poison(struct epc *epc, uint32_t nr);
bool epc_page_poisoned(const struct epc_page *page);

/*
 * Background reclaim: evict ahead of demand in the calling thread, from the low watermark up to the high one, until
 * epc_background_stop().  Several threads may do so at once, of any processes; one for each node is plenty (epc_node_nr()).
 * Such a thread may be killed.  0, or -EBUSY: there are eight.
 */
int epc_background_run(struct epc *epc);
/* For good: epc_background_run() returns in each of them, soon. */
void epc_background_stop(struct epc *epc);
/* One round of it for someone with no thread to lend: pages freed. */
unsigned int epc_background_once(struct epc *epc);

/* See through the batches of processes that have died. For someone who has waited long for a page. */
void epc_recover(struct epc *epc);

uint32_t epc_page_nr(const struct epc *epc, const struct epc_page *page); /* for cpu.h */
struct epc_page *epc_page_at(const struct epc *epc, uint32_t nr);
void *epc_page_owner(const struct epc_page *page); /* NULL: free */
enum epc_state epc_page_state(const struct epc_page *page);
uint64_t epc_page_cookie(const struct epc_page *page); /* a word for the owner's use */
/* Of a page that is the caller's. */
void epc_page_set_cookie(struct epc_page *page, uint64_t cookie);

/*
 * The bytes of a page are at offset @win_off of the window from now on.  With @move its contents go
 * there; without, whatever is there is the contents.  A page freed or taken for eviction leaves the
 * offset, and the memory goes back to the system.
 */
void epc_page_place(struct epc *epc, struct epc_page *page, uint64_t win_off, bool move);
/*
 * The contents of a page OWNED that nobody has written to yet are at @bytes, which is the caller's shared memory,
 * until the page is placed or freed.  Saves the home's memory and its clearing.
 */
void epc_page_lend(struct epc *epc, struct epc_page *page, void *bytes);
/* True while the bytes are at a placed offset (not in the home, not in a batch's hands). */
bool epc_page_placed(const struct epc_page *page);

/* Counters, since creation. */
struct epc_stats {
	uint64_t pages, free, owned, tracked, in_batch, poisoned, dirty;
	uint64_t low, high; /* watermarks, pages */
	uint64_t allocs, frees;
	uint64_t evictions;       /* pages written out */
	uint64_t evict_failures;  /* pages put back */
	uint64_t loads;           /* counted by owners: epc/stats.h */
	uint64_t faults;          /* likewise */
	uint64_t direct_reclaims; /* batches run by an allocating thread */
	uint64_t stalls;          /* allocations that found no page free, and had to wait for one */
	uint64_t background_batches;
	uint64_t batches;
	uint64_t scanned, second_chances;
	uint64_t
		free_lowest; /* fewest free at once; a sum over shards, so maybe less than ever was */
	uint64_t backing_slots, backing_slots_peak;
	uint64_t backing_waiting;               /* of those, not yet in the file */
	uint64_t backing_written, backing_read; /* pages, to and from the file */
	uint64_t backing_write_errors, backing_read_errors;
	uint64_t
		backing_refused; /* times that a page found no slot: full, or the file takes nothing */
	uint64_t stall_ns;       /* time allocating threads spent reclaiming */
	uint64_t machine_checks;
	uint64_t recovered; /* times that the work of a dead process was seen through */
	struct epc_larger larger;
};
void epc_stats_read(struct epc *epc, struct epc_stats *ret_stats);

/* What the EPC costs, in bytes, whatever is in it: what grows with it, and the rest. */
struct epc_footprint {
	uint64_t epcm;
	uint64_t pages;   /* what the manager knows of each */
	uint64_t ghosts;  /* what policies remember of those that have gone */
	uint64_t shadows; /* of the default policy, for all groups */
	uint64_t rest; /* locks, shards, a batch, samples, the window, the store, the root group */
};
void epc_footprint_read(const struct epc *epc, struct epc_footprint *ret_footprint);

/* A section, as CPUID leaf 12H enumerates them. */
struct epc_section_info {
	uint32_t first, pages; /* page numbers */
	int node;              /* -1: none was named */
	uint64_t free, dirty, poisoned;
	uint64_t allocs, frees;
	uint64_t evictions; /* of those freed */
};
unsigned int epc_section_nr(const struct epc *epc);
/* Nodes that sections are on; those of none are on one. */
unsigned int epc_node_nr(const struct epc *epc);
void epc_section_read(struct epc *epc, unsigned int i, struct epc_section_info *ret_info);

/*
 * The frame audit: 0 when every page is in exactly one state, the lists agree with the states, and
 * the EPCM agrees with both; otherwise the number of faults found, the first told in @why.
 * Nobody else may be at work meanwhile, unless @live, which checks what holds at any moment.
 */
unsigned int epc_audit(struct epc *epc, bool live, char *why, size_t why_bytes);

#endif
