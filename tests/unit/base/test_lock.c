/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Locks: exclusion between threads and processes, a holder that dies, ranks. */
#include "base/lock.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "lib/tap.h"

struct shared {
	struct lock outer, inner, other;
	long counter;
};

enum { ROUNDS = 20000, THREADS = 4 };

static void *count(void *arg)
{
	struct shared *s = arg;
	unsigned int i;

	for (i = 0; i < ROUNDS; i++) {
		lock_acquire(&s->outer);
		s->counter++;
		lock_release(&s->outer);
	}
	return NULL;
}

static void test_exclusion(struct shared *s)
{
	pthread_t threads[THREADS];
	unsigned int i;
	pid_t pid;

	s->counter = 0;
	pid = fork();
	if (pid == 0) {
		count(s);
		_exit(0);
	}
	for (i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, count, s);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	waitpid(pid, NULL, 0);
	TAP_CHECK(s->counter == (THREADS + 1) * ROUNDS,
		  "4 threads and a process exclude each other");
}

LOCK_ATTR(no_thread_safety_analysis)
static void test_try(struct shared *s)
{
	int status;
	pid_t pid;

	lock_acquire(&s->outer);
	pid = fork();
	if (pid == 0) {
		/* The child inherits the memory of a held rank: it asks from a fresh thread of its own. */
		_exit(pthread_mutex_trylock(&s->outer.mutex) != 0);
	}
	waitpid(pid, &status, 0);
	TAP_CHECK(WEXITSTATUS(status) == 1, "another process cannot have a held lock");
	lock_release(&s->outer);
	TAP_CHECK(lock_try(&s->outer), "a free lock can be had by trying");
	lock_release(&s->outer);
}

LOCK_ATTR(no_thread_safety_analysis)
static void test_holder_died(struct shared *s)
{
	pid_t pid = fork();

	if (pid == 0) {
		lock_acquire(&s->outer);
		raise(SIGKILL);
	}
	waitpid(pid, NULL, 0);
	lock_acquire(&s->outer);
	TAP_CHECK(s->outer.holder_died, "a killed holder is told of");
	s->outer.holder_died = false;
	lock_release(&s->outer);
	lock_acquire(&s->outer);
	TAP_CHECK(!s->outer.holder_died, "once");
	lock_release(&s->outer);

	pid = fork();
	if (pid == 0) {
		lock_acquire(&s->outer);
		raise(SIGKILL);
	}
	waitpid(pid, NULL, 0);
	TAP_CHECK(lock_try(&s->outer) && s->outer.holder_died, "trying tells of it too");
	s->outer.holder_died = false;
	lock_release(&s->outer);
}

#ifdef SWSGX_LOCK_RANKS
/* How a child that does @what ends: the signal, or 0. */
static int ends_with(struct shared *s, void (*what)(struct shared *s))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		close(STDERR_FILENO);
		what(s);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

LOCK_ATTR(no_thread_safety_analysis) static void downwards(struct shared *s)
{
	lock_acquire(&s->outer);
	lock_acquire(&s->inner);
	lock_release(&s->outer);
	lock_release(&s->inner);
}

LOCK_ATTR(no_thread_safety_analysis) static void upwards(struct shared *s)
{
	lock_acquire(&s->inner);
	lock_acquire(&s->outer);
}

LOCK_ATTR(no_thread_safety_analysis) static void same_rank(struct shared *s)
{
	lock_acquire(&s->inner);
	lock_acquire(&s->other);
}

LOCK_ATTR(no_thread_safety_analysis) static void twice(struct shared *s)
{
	lock_acquire(&s->inner);
	lock_acquire(&s->inner);
}

LOCK_ATTR(no_thread_safety_analysis) static void not_held(struct shared *s)
{
	lock_release(&s->inner);
}

LOCK_ATTR(no_thread_safety_analysis) static void up_again(struct shared *s)
{
	downwards(s);
	downwards(s);
}

static struct shared *handler_shared;

static void take_in_handler(int sig) { downwards(handler_shared); }

static void in_handler(struct shared *s)
{
	handler_shared = s;
	signal(SIGUSR1, take_in_handler);
	raise(SIGUSR1);
	downwards(s);
}

static void in_handler_upwards(struct shared *s)
{
	lock_acquire(&s->other);
	in_handler(s);
	lock_release(&s->other);
}

static void test_ranks(struct shared *s)
{
	TAP_CHECK(ends_with(s, downwards) == 0, "locks are taken downwards, released in any order");
	TAP_CHECK(ends_with(s, up_again) == 0, "and again");
	TAP_CHECK(ends_with(s, upwards) == SIGABRT, "upwards aborts");
	TAP_CHECK(ends_with(s, same_rank) == SIGABRT, "two of one rank abort");
	TAP_CHECK(ends_with(s, twice) == SIGABRT, "one lock twice aborts");
	TAP_CHECK(ends_with(s, not_held) == SIGABRT, "releasing what is not held aborts");
	TAP_CHECK(ends_with(s, in_handler) == 0, "a signal handler may take locks");
	TAP_CHECK(ends_with(s, in_handler_upwards) == SIGABRT,
		  "a signal handler is held to what its thread holds");
}
#endif

int main(void)
{
	struct arena *arena = arena_create(1 << 16);
	struct shared *s = arena_alloc(arena, sizeof(*s));

	lock_init(&s->outer, LOCK_OWNER);
	lock_init(&s->inner, LOCK_BACKING);
	lock_init(&s->other, LOCK_BACKING);
	test_exclusion(s);
	test_try(s);
	test_holder_died(s);
#ifdef SWSGX_LOCK_RANKS
	test_ranks(s);
#else
	tap_skip("ranks", "built without lock_ranks");
#endif
	lock_fini(&s->outer);
	lock_fini(&s->inner);
	lock_fini(&s->other);
	arena_destroy(arena);
	return tap_done();
}
