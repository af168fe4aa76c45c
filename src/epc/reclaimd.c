/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Background reclaim: when to evict ahead of demand, and in which thread.
 *
 * The manager has no threads.  Whoever wants pages to be free before they are asked for lends it
 * one or more, in epc_background_run(): each sleeps until an allocation leaves fewer than its low
 * watermark free, and then runs batches until the high one is reached.  The first is woken at
 * `low`, the next ones at half of that, a third and so on: one alone keeps up with little demand,
 * and all of them help where there is much.
 *
 * An allocation never waits for them: when no page is free it runs a batch itself (alloc.c).
 *
 * Watermarks grow with the square root of the EPC: what must be in reserve depends on how many may
 * ask at once, which grows with the machine but more slowly.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/epc_priv.h"
#include "epc/reclaim_priv.h"
#include "epc/reclaimd_priv.h"

enum {
	IDLE_MS =
		1000, /* a look at the watermarks at least so often: a wake may die with its sender */
	BACKOFF_MS = 1,    /* when nothing can go, doubled each time up to IDLE_MS */
	LOW_PART_MAX = 16, /* a tiny EPC keeps back next to nothing */
};

void watermarks_init(struct epc *epc)
{
	uint32_t root = 1;

	while ((uint64_t)(root + 1) * (root + 1) <= epc->page_nr)
		root++;
	epc->low = root < epc->page_nr / LOW_PART_MAX ? root : epc->page_nr / LOW_PART_MAX;
	epc->high = 2 * epc->low;
}

static void reclaimer_make(void *made, unsigned int index)
{
	struct reclaimer *reclaimer = made;

	lock_init(&reclaimer->lock, LOCK_TRIED);
	reclaimer->index = index;
}

static void reclaimer_unmake(void *made)
{
	lock_fini(&((struct reclaimer *)made)->lock);
}

static const struct late_kind reclaimer_kind = { sizeof(struct reclaimer), reclaimer_make,
						 reclaimer_unmake };

/* Where they are: the first of them takes it all. */
struct reclaimers {
	struct late at[EPC_RECLAIMERS_MAX];
};

static void reclaimers_make(void *made, unsigned int index) {}
static void reclaimers_unmake(void *made) {}

static const struct late_kind reclaimers_kind = { sizeof(struct reclaimers), reclaimers_make,
						  reclaimers_unmake };

static struct reclaimer *reclaimer_there(const struct epc *epc, unsigned int i)
{
	const struct reclaimers *reclaimers = late_there(&epc->reclaimers);

	return reclaimers ? late_there(&reclaimers->at[i]) : NULL;
}

void reclaimers_fini(struct epc *epc)
{
	struct reclaimers *reclaimers = late_there(&epc->reclaimers);

	for (unsigned int i = 0; reclaimers && i < EPC_RECLAIMERS_MAX; i++)
		late_fini(epc, &reclaimers->at[i], &reclaimer_kind);
	late_fini(epc, &epc->reclaimers, &reclaimers_kind);
}

/* The number of free pages below which the @i-th reclaimer has something to do. */
static uint32_t low_of(const struct epc *epc, unsigned int i)
{
	return epc->low / (i + 1);
}

/* Not private: sleeper and waker may be different processes. */
static void reclaimer_sleep(struct reclaimer *self, uint32_t seen, unsigned int ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	syscall(SYS_futex, &self->wakes, FUTEX_WAIT, seen, &ts, NULL, 0);
}

static void reclaimer_wake(struct reclaimer *self)
{
	bool asleep = true;

	/* One call for each sleep, whoever makes it. */
	if (!atomic_compare_exchange_strong(&self->asleep, &asleep, false))
		return;
	atomic_fetch_add(&self->wakes, 1);
	syscall(SYS_futex, &self->wakes, FUTEX_WAKE, 1, NULL, NULL, 0);
}

void background_wake(struct epc *epc)
{
	unsigned int nr = atomic_load_explicit(&epc->reclaimer_nr, memory_order_relaxed), i;
	uint32_t free_nr = section_free_nr(epc);
	struct reclaimer *reclaimer;

	for (i = 0; i < nr && free_nr < low_of(epc, i); i++) {
		reclaimer = reclaimer_there(epc, i);
		if (atomic_load_explicit(&reclaimer->asleep, memory_order_relaxed))
			reclaimer_wake(reclaimer);
	}
}

/* Batches until the high watermark is reached or nothing can go: pages freed. */
static unsigned int fill_reserve(struct epc *epc)
{
	struct reclaim_result result;
	unsigned int freed = 0;
	int r;

	while (section_free_nr(epc) < epc->high &&
	       !atomic_load_explicit(&epc->background_stop, memory_order_relaxed)) {
		r = reclaim_batch(epc, epc_group_root(epc), NULL, &result);
		if (r <= 0)
			break;
		count(&epc->counters.background_batches, 1);
		freed += (unsigned int)r;
	}
	return freed;
}

unsigned int epc_background_once(struct epc *epc)
{
	return section_free_nr(epc) < epc->low ? fill_reserve(epc) : 0;
}

/* A place that nobody has, or whose holder died; its lock is held then. */
LOCK_ATTR(no_thread_safety_analysis) static struct reclaimer *reclaimer_claim(struct epc *epc)
{
	struct reclaimers *reclaimers = late_make(epc, &epc->reclaimers, &reclaimers_kind, 0);
	struct reclaimer *reclaimer;
	uint8_t i, nr;

	for (i = 0; reclaimers && i < EPC_RECLAIMERS_MAX; i++) {
		reclaimer = late_make(epc, &reclaimers->at[i], &reclaimer_kind, i);
		if (!reclaimer)
			break;
		if (!lock_try(&reclaimer->lock))
			continue;
		reclaimer->lock.holder_died = false; /* it protects no data */
		nr = atomic_load(&epc->reclaimer_nr);
		while (nr <= i &&
		       !atomic_compare_exchange_weak(&epc->reclaimer_nr, &nr, (uint8_t)(i + 1)))
			;
		return reclaimer;
	}
	return NULL;
}

/* Until fewer than @low pages are free, or so. */
static void reclaimer_wait(struct epc *epc, struct reclaimer *self, uint32_t seen, uint32_t low)
{
	/* Announced before the last look: an allocation behind that look sees that it must wake. */
	atomic_store(&self->asleep, true);
	if (section_free_nr(epc) >= low)
		reclaimer_sleep(self, seen, IDLE_MS);
	atomic_store(&self->asleep, false);
}

LOCK_ATTR(no_thread_safety_analysis) int epc_background_run(struct epc *epc)
{
	struct reclaimer *self = reclaimer_claim(epc);
	unsigned int pause = BACKOFF_MS;
	uint32_t seen, low;

	if (!self)
		return -EBUSY;
	low = low_of(epc, self->index);
	while (!atomic_load(&epc->background_stop)) {
		seen = atomic_load(&self->wakes);
		if (section_free_nr(epc) >= low) {
			reclaimer_wait(epc, self, seen, low);
		} else if (fill_reserve(epc) > 0) {
			pause = BACKOFF_MS;
		} else {
			/*
			 * Nobody can be told when something may go: try again, more and more
			 * seldom.
			 */
			reclaimer_sleep(self, seen, pause);
			pause = 2 * pause < IDLE_MS ? 2 * pause : IDLE_MS;
		}
	}
	lock_release(&self->lock);
	return 0;
}

void epc_background_stop(struct epc *epc)
{
	struct reclaimer *reclaimer;
	unsigned int i;

	atomic_store(&epc->background_stop, true);
	for (i = 0; i < EPC_RECLAIMERS_MAX; i++) {
		reclaimer = reclaimer_there(epc, i);
		if (!reclaimer)
			break;
		atomic_fetch_add(&reclaimer->wakes, 1);
		syscall(SYS_futex, &reclaimer->wakes, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
}
