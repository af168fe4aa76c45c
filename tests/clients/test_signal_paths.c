/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Signals on the less trodden paths: in the middle of a fork, to a thread that has not met the device, of timers
 * that are a thread's.
 */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
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

/* ---- a timer of one thread --------------------------------------------------------------------------- */

static volatile int astray, faults;
static volatile bool timer_over;
static uint8_t *page;

static void on_alarm(int sig)
{
	mine++;
	astray += gettid() != getpid();
}

/* While it runs SIGALRM is blocked. */
static void on_fault(int sig) { mprotect(page, 4096, PROT_READ | PROT_WRITE); }

static void *bystander(void *arg)
{
	while (!timer_over)
		usleep(1000);
	return NULL;
}

/* Faults of the program, in whose handlers the timer's signal is blocked. */
static void fault_for_ms(int ms)
{
	uint64_t end = now_ns() + (uint64_t)ms * 1000000u;

	while (now_ns() < end) {
		mprotect(page, 4096, PROT_NONE);
		*(volatile uint8_t *)page = 1;
		faults++;
	}
}

static void check_timer(void)
{
	struct sigaction alarm = { .sa_handler = on_alarm }, fault = { .sa_handler = on_fault };
	struct sigevent to = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };
	struct itimerspec every = { { 0, 20000 }, { 0, 20000 } };
	pthread_t other;
	timer_t timer;

	page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigaddset(&fault.sa_mask, SIGALRM);
	sigaction(SIGALRM, &alarm, NULL);
	sigaction(SIGSEGV, &fault, NULL);
	to._sigev_un._tid = gettid();
	pthread_create(&other, NULL, bystander, NULL);
	TAP_MUST(!timer_create(CLOCK_MONOTONIC, &to, &timer), "a timer of this thread");
	mine = 0;
	timer_settime(timer, 0, &every, NULL);
	fault_for_ms(1500);
	timer_delete(timer);
	timer_over = true;
	pthread_join(other, NULL);
	TAP_CHECK(mine > 0 && !astray,
		  "its signals come to it alone, whatever faults meanwhile (%d, %d astray, %d "
		  "faults)",
		  mine, astray, faults);
	signal(SIGALRM, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
}

int main(void)
{
	struct client_conf conf = { .threads = 2, .heap_pages = 16 };

	TAP_MUST(!client_create(&e, &conf), "an enclave");
	check_fork();
	check_timer();
	client_destroy(&e);
	return tap_done();
}
