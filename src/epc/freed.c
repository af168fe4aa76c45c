/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Waiting for pages that others are about to free.
 *
 * Whoever finds that others have every page in hand sleeps.  Giving up the processor by sched_yield() instead starves: a
 * thread that yields pays a whole time slice for it, and one that has a page never yields.
 *
 * No wake is relied upon: it may die with its sender, so a sleep is short.
 */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "epc/epc_priv.h"

#define SLEEP_NS 1000000

void freed_wait(struct epc *epc, struct epc_group *top)
{
	bool any = top == epc_group_root(epc);
	const struct timespec ts = { .tv_nsec = SLEEP_NS };
	uint32_t seen = atomic_load(&epc->freed_seq);

	/* Announced before the last look: who frees a page behind that look sees that it is wanted. */
	atomic_store(&epc->freed_wanted, true);
	/* What is free elsewhere does not help a group at its max. */
	if (!any || !atomic_load(&epc->with_free))
		syscall(SYS_futex, &epc->freed_seq, FUTEX_WAIT, seen, &ts, NULL, 0);
}

void freed_wake(struct epc *epc, unsigned int n)
{
	long woken;

	if (!atomic_load_explicit(&epc->freed_wanted, memory_order_relaxed) ||
	    !atomic_exchange(&epc->freed_wanted, false))
		return;
	atomic_fetch_add(&epc->freed_seq, 1);
	woken = syscall(SYS_futex, &epc->freed_seq, FUTEX_WAKE, n, NULL, NULL, 0);
	/* There may be more of them. */
	if (woken == (long)n)
		atomic_store(&epc->freed_wanted, true);
}
