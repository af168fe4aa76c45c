/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Locks that work between processes, survive the death of their holder, and know their rank.
 *
 * Lock order: locks are taken downwards in this list, never upwards, and never two of one rank.
 * Debug builds (SWSGX_LOCK_RANKS) abort on a violation and name both.
 *
 *   rank            lock               protects                      may be held across
 *   --------------  -----------------  ----------------------------  --------------------------
 *   LOCK_REGISTRY   encl registry      the list of all enclaves      LOCK_OWNER and below
 *   LOCK_OWNER      encl.lock          an enclave's pages, VA slots  EWB, ELDU, backing I/O
 *   LOCK_PROCESS    rt.lock            list of mapped ranges         mmap, mprotect, userfaultfd
 *   LOCK_LEDGER     rt ledger          what each process holds       nothing
 *   LOCK_GROUPS     epc.groups_lock    groups, lists of owners       LOCK_RECLAIM and below
 *   LOCK_CHARGE     epc.charge_lock    what groups are allowed       LOCK_RECLAIM and below
 *   LOCK_RECLAIM    epc.reclaim_lock   the policies' lists           list moves only
 *   LOCK_SECTION    section.lock       the free list                 list moves only
 *   LOCK_WINDOW     window.lock        ranges, and who unmaps        a page out of the memfd and back
 *   LOCK_BACKING    backing.lock       free slots of the store       slot moves, its file's growth
 *   LOCK_ARENA      arena.lock         the shared heap               nothing
 *   LOCK_TRIED      epc batch.lock     one batch of reclaim          anything: it is never waited for,
 *                                                                    so it has no place in the order
 */
#ifndef SWSGX_BASE_LOCK_H
#define SWSGX_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>

#if defined(__clang__)
#define LOCK_ATTR(x) __attribute__((x))
#else
#define LOCK_ATTR(x)
#endif
#define ACQUIRES(l)         LOCK_ATTR(acquire_capability(l))
#define RELEASES(l)         LOCK_ATTR(release_capability(l))
#define REQUIRES(l)         LOCK_ATTR(requires_capability(l))
#define EXCLUDES(l)         LOCK_ATTR(locks_excluded(l))
#define TRY_ACQUIRES(ok, l) LOCK_ATTR(try_acquire_capability(ok, l))

enum lock_rank {
	LOCK_TRIED = 0,
	LOCK_REGISTRY,
	LOCK_OWNER,
	LOCK_PROCESS,
	LOCK_LEDGER,
	LOCK_GROUPS,
	LOCK_CHARGE,
	LOCK_RECLAIM,
	LOCK_SECTION,
	LOCK_WINDOW,
	LOCK_BACKING,
	LOCK_ARENA,
};

struct LOCK_ATTR(capability("mutex")) lock {
	pthread_mutex_t mutex;
	enum lock_rank rank;
	bool holder_died; /* set when a holder died; whoever can repair the noun clears it */
};

/*
 * When a holder dies the kernel tells who waits, if the list of its locks is the one that it knows for that thread.  Where it
 * may know another this is set: it is called before the thread takes a lock, and NULL from then on.
 */
extern __thread void (*lock_before_first)(void) __attribute__((tls_model("initial-exec")));

void lock_init(struct lock *l, enum lock_rank rank);
void lock_fini(struct lock *l);
void lock_acquire(struct lock *l) ACQUIRES(l);
/* False, and nothing taken, when somebody holds it. */
bool lock_try(struct lock *l) TRY_ACQUIRES(true, l);
void lock_release(struct lock *l) RELEASES(l);
/*
 * In a forked child: @l lies in private memory and the forking thread held it, so that nobody was half way
 * through what it protects.  The child's copy is free again; lock_release() would fail, the holder was the parent.
 */
void lock_forget(struct lock *l) RELEASES(l);

#endif
