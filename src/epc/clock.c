/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Time, by which stalls are told and patience is measured; a test may bring its own (struct epc_clock).
 *
 * Not here: sleep that somebody ends (waiter.c), threads that are lent for background reclaim, which no test fakes.
 */
#include <sched.h>
#include <time.h>

#include "epc/clock_priv.h"
#include "epc/epc_priv.h"

uint64_t epc_now_ns(const struct epc *epc)
{
	struct timespec ts;

	if (epc->clock)
		return epc->clock->now_ns();
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void nap(const struct epc *epc, uint64_t ns)
{
	const struct timespec ts = { .tv_nsec = (long)ns };

	if (epc->clock)
		epc->clock->sleep(ns);
	else
		nanosleep(&ts, NULL);
}

void give_way(const struct epc *epc)
{
	if (epc->clock)
		epc->clock->sleep(0);
	else
		sched_yield();
}
