/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Locks: exclusion between threads and processes, a holder that dies, what is said of a mutex that fails, ranks. */
#include "base/lock.h"

#include <asm/prctl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "lib/tap.h"

struct shared {
	struct lock outer, inner, other, tried, tried_too;
	int pipe[2];
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

static unsigned int firsts;
static struct lock *first;

LOCK_ATTR(no_thread_safety_analysis) static void on_first(void)
{
	bool is_free = lock_try(first);

	if (is_free)
		lock_release(first);
	firsts += is_free;
}

LOCK_ATTR(no_thread_safety_analysis) static void test_before_first(struct shared *s)
{
	first = &s->tried;
	lock_init(&s->tried, LOCK_TRIED);
	lock_before_first = on_first;
	lock_acquire(&s->outer);
	lock_acquire(&s->inner);
	lock_release(&s->inner);
	lock_release(&s->outer);
	TAP_CHECK(firsts == 1, "before a thread's first lock it is told, once (%u)", firsts);
	lock_before_first = on_first;
	if (lock_try(&s->tried))
		lock_release(&s->tried);
	TAP_CHECK(firsts == 2, "and before the lock is taken, tried or not (%u)", firsts);
}

#ifndef __SANITIZE_THREAD__
/* What a lock says of itself before it ends the process, and what is true. */
struct last_words {
	char text[2048];
	int holder, releaser; /* threads, as who did it has told */
	unsigned int word;
	int thread, by_tls;
};

LOCK_ATTR(no_thread_safety_analysis) static void *hold_other(void *arg)
{
	struct shared *s = arg;
	long self = syscall(SYS_gettid);

	if (lock_try(&s->tried) && write(s->pipe[1], &self, sizeof(self)) < 0)
		_exit(1);
	for (;;)
		pause();
}

/* Another thread, which has s->tried: a lock without a rank, so it is the mutex that finds things out. */
static pthread_t holder_begin(struct shared *s)
{
	pthread_t thread;
	long self;

	pthread_create(&thread, NULL, hold_other, s);
	if (read(s->pipe[0], &self, sizeof(self)) < 0)
		_exit(1);
	fprintf(stderr, "%ld %ld\n", self, syscall(SYS_gettid));
	return thread;
}

LOCK_ATTR(no_thread_safety_analysis) static void release_anothers(struct shared *s)
{
	holder_begin(s);
	lock_release(&s->tried);
}

/* As where a handler has not put back FS. */
LOCK_ATTR(no_thread_safety_analysis) static void release_by_others_tls(struct shared *s)
{
	pthread_t other = holder_begin(s);

	if (!lock_try(&s->tried_too))
		_exit(1);
	syscall(SYS_arch_prctl, ARCH_SET_FS, other);
	lock_release(&s->tried_too);
}

LOCK_ATTR(no_thread_safety_analysis) static void release_destroyed(struct shared *s)
{
	fprintf(stderr, "0 0\n");
	if (!lock_try(&s->tried))
		_exit(1);
	lock_fini(&s->tried);
	lock_release(&s->tried);
}

/* All that a child that does @what writes before it aborts; nothing, where it does not abort. */
static struct last_words last_words_of(struct shared *s, void (*what)(struct shared *s))
{
	struct last_words words = { .thread = -1 };
	ssize_t n, bytes = 0;
	int status, fds[2];
	const char *at;
	pid_t pid;

	TAP_MUST(pipe(fds) == 0 && pipe(s->pipe) == 0, "pipes");
	lock_init(&s->tried, LOCK_TRIED);
	lock_init(&s->tried_too, LOCK_TRIED);
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		what(s);
		_exit(0);
	}
	close(fds[1]);
	while ((n = read(fds[0], words.text + bytes, sizeof(words.text) - 1 - (size_t)bytes)) > 0)
		bytes += n;
	waitpid(pid, &status, 0);
	close(fds[0]);
	close(s->pipe[0]);
	close(s->pipe[1]);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
		words.text[0] = 0;
	sscanf(words.text, "%d %d", &words.holder, &words.releaser);
	for (char *end; (end = strchr(words.text, '\n'));)
		*end = ' ';
	at = strstr(words.text, "word ");
	if (at)
		sscanf(at, "word %x", &words.word);
	at = strstr(words.text, "this is thread ");
	if (at)
		sscanf(at, "this is thread %d, by its TLS at %*x %d", &words.thread, &words.by_tls);
	return words;
}

static void test_last_words(struct shared *s)
{
	struct last_words w = last_words_of(s, release_anothers);

	TAP_CHECK(strstr(w.text, "LOCK_TRIED: pthread_mutex_unlock: EPERM"),
		  "who releases another thread's lock ends: %s", w.text);
	TAP_CHECK(w.holder > 0 && w.word == (unsigned int)w.holder && w.thread == w.releaser &&
			  w.by_tls == w.releaser,
		  "and it is said who has it, and who released it");
	w = last_words_of(s, release_by_others_tls);
	TAP_CHECK(strstr(w.text, "EPERM") && w.word == (unsigned int)w.releaser &&
			  w.thread == w.releaser && w.by_tls == w.holder && w.holder > 0,
		  "a thread with the TLS of another one is told from that: %s", w.text);
	w = last_words_of(s, release_destroyed);
	TAP_CHECK(strstr(w.text, "EINVAL") && strstr(w.text, "kind 0xffffffff"),
		  "and a lock that was destroyed: %s", w.text);
}
#endif

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
	test_before_first(s);
#ifdef __SANITIZE_THREAD__
	tap_skip("what is said of a mutex that fails", "TSan says it first");
#else
	test_last_words(s);
#endif
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
