/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Signals on the less trodden paths: in the middle of a fork, to a thread that has not met the device, of timers
 * that are a thread's, in floods.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

static struct client_encl e;
static __thread volatile int mine; /* signals that came to this thread */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void wait_until(uint64_t ns)
{
	while (now_ns() < ns)
		;
}

/* ---- the first signal of a thread comes while it forks ---------------------------------------------- */

static volatile int sender_done;

/* It wants what a fork has locked. */
static void enters(int sig) { mine += client_op(&e, 1, OP_READ, e.base + e.heap, 0, 0) == 0; }

static void *forks_once(void *arg)
{
	pid_t pid;

	__atomic_store_n((int *)arg, 1, __ATOMIC_RELEASE);
	pid = fork();
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	while (!sender_done)
		sched_yield();
	pthread_kill(pthread_self(), SIGUSR1);
	return (void *)(long)mine;
}

static void check_fork(void)
{
	struct timespec until;
	long wrong = 0;

	signal(SIGUSR1, enters);
	for (int i = 0; i < 200; i++) {
		int begun = sender_done = 0;
		pthread_t thread;
		uint64_t start;
		void *ret;

		pthread_create(&thread, NULL, forks_once, &begun);
		while (!__atomic_load_n(&begun, __ATOMIC_ACQUIRE))
			sched_yield();
		start = now_ns();
		wait_until(start + (uint64_t)i * 2000);
		pthread_kill(thread, SIGUSR1);
		sender_done = 1;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 10;
		if (pthread_timedjoin_np(thread, &ret, &until))
			TAP_MUST(false, "a handler in the middle of a fork enters an enclave");
		wrong += (long)ret != 2;
	}
	TAP_CHECK(!wrong,
		  "a handler in the middle of a fork enters an enclave, and later (%ld wrong)",
		  wrong);
}

int main(void)
{
	struct client_conf conf = { .threads = 2, .heap_pages = 16 };

	TAP_MUST(!client_create(&e, &conf), "an enclave");
	check_fork();
	client_destroy(&e);
	return tap_done();
}
