/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Somebody who reads this program's numbers all the time with 'swsgx stat', and stops doing so when told.
 */
#ifndef SWSGX_BENCH_READER_H
#define SWSGX_BENCH_READER_H

#include <sched.h>

struct reader {
	int pid;
	int out;
};

/* A hundred times a second, on another of @cpus than the first, from its first sample on. 0 or -1. */
int reader_start(struct reader *reader, const char *swsgx, const cpu_set_t *cpus);
void reader_pause(struct reader *reader);
void reader_go_on(struct reader *reader);
/* How many samples it has read. */
unsigned long reader_stop(struct reader *reader);

#endif
