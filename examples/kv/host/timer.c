/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The timer and the bookkeeping of its handler.
 *
 * The handler counts twice: in a thread-local and in a shared counter.  When all threads have
 * left, the two must agree; and a thread's data must bear the thread's own id.
 */
#include "timer.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* File scope, since a signal handler has nothing else. */
static __thread struct {
	volatile pid_t tid;
	volatile uint64_t ticks;
} mine;
static uint64_t ticks_seen;    /* atomic, by the handler */
static uint64_t ticks_counted; /* atomic, by timer_leave() */
static uint64_t strangers;     /* atomic: signals that found another thread's data */
static timer_t timer;
static bool timer_is_on;

static void on_tick(int sig)
{
	__atomic_fetch_add(&ticks_seen, 1, __ATOMIC_RELAXED);
	mine.ticks++;
	if (mine.tid != 0 && mine.tid != gettid())
		__atomic_fetch_add(&strangers, 1, __ATOMIC_RELAXED);
}

bool timer_begin(unsigned int hz)
{
	struct sigaction action = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	struct itimerspec period = { 0 };

	period.it_interval.tv_sec = hz == 1;
	period.it_interval.tv_nsec = hz == 1 ? 0 : 1000000000 / hz;
	period.it_value = period.it_interval;
	if (sigaction(SIGALRM, &action, NULL) < 0 ||
	    timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 ||
	    timer_settime(timer, 0, &period, NULL) < 0) {
		perror("kv: timer");
		return false;
	}
	timer_is_on = true;
	return true;
}

void timer_end(void)
{
	if (timer_is_on)
		timer_delete(timer);
	timer_is_on = false;
	timer_block(true);
}

void timer_join(void)
{
	mine.tid = gettid();
}

void timer_block(bool block)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

void timer_leave(void)
{
	timer_block(true);
	__atomic_fetch_add(&ticks_counted, mine.ticks, __ATOMIC_RELAXED);
	mine.ticks = 0;
}

bool timer_check(uint64_t *ret_ticks)
{
	uint64_t seen = __atomic_load_n(&ticks_seen, __ATOMIC_RELAXED);
	uint64_t counted = __atomic_load_n(&ticks_counted, __ATOMIC_RELAXED);
	uint64_t wrong = __atomic_load_n(&strangers, __ATOMIC_RELAXED);

	*ret_ticks = seen;
	if (wrong)
		fprintf(stderr, "kv: %llu signals found another thread's data\n",
			(unsigned long long)wrong);
	if (seen != counted)
		fprintf(stderr, "kv: %llu signals, but the threads counted %llu\n",
			(unsigned long long)seen, (unsigned long long)counted);
	return wrong == 0 && seen == counted;
}
