/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Process-shared, robust mutexes that check their rank.
 *
 * A holder that died leaves its lock to the next one who asks: lock_acquire() returns as usual, the lock
 * is whole again and holder_died tells that what it protects may be half done.
 *
 * The ranks that a thread holds are one word of bits, not a stack: changing it is one store, so a signal
 * handler that comes in between, and takes and releases locks of its own, leaves the
 * word as it found it.  The word is initial-exec TLS because a handler may not run into the dynamic
 * loader's lazy allocation of TLS blocks.
 *
 * Before it sleeps, a thread tries a while: what these locks protect takes less time than a wake-up,
 * which costs tens of microseconds on virtual machines: as long as that, and no longer.
 */
#include "base/lock.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPIN_TRIES = 1000 };

static const char *const rank_names[] = {
	[LOCK_TRIED] = "LOCK_TRIED",       [LOCK_PROCESS] = "LOCK_PROCESS",
	[LOCK_REGISTRY] = "LOCK_REGISTRY", [LOCK_OWNER] = "LOCK_OWNER",
	[LOCK_RECLAIM] = "LOCK_RECLAIM",   [LOCK_SECTION] = "LOCK_SECTION",
	[LOCK_WINDOW] = "LOCK_WINDOW",     [LOCK_LEDGER] = "LOCK_LEDGER",
	[LOCK_BACKING] = "LOCK_BACKING",   [LOCK_ARENA] = "LOCK_ARENA",
	[LOCK_GROUPS] = "LOCK_GROUPS",     [LOCK_CHARGE] = "LOCK_CHARGE",
};
enum { RANK_NR = sizeof(rank_names) / sizeof(rank_names[0]) };

/* write(), not stdio: this may be a signal handler, and the next thing is abort(). */
static _Noreturn void tell_and_abort(const char *text, size_t bytes)
{
	if (write(STDERR_FILENO, text, bytes) < 0)
		abort();
	abort();
}

/* The id that pthread compares with: another's, where FS is not this thread's. */
static int tid_by_tls(void)
{
	pthread_mutex_t own = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
	int tid;

	pthread_mutex_lock(&own);
	tid = own.__data.__owner;
	pthread_mutex_unlock(&own);
	return tid;
}

/*
 * pthread refuses what the ranks have let pass.  That may not come again, so all is said by which the causes differ: a
 * mutex that was written over or destroyed, one that another thread holds, and a thread that is not the one that its
 * TLS is of.
 */
static _Noreturn void mutex_abort(const struct lock *l, const char *what, int r)
{
	const struct __pthread_mutex_s *m = &l->mutex.__data;
	const char *error = strerrorname_np(r);
	char text[320];
	int len = snprintf(
		text, sizeof(text),
		"swsgx: lock at %p, %s: %s: %s; its word %#x, owner %d, count %u, users %u, "
		"kind %#x; this is thread %d, by its TLS at %#lx %d\n",
		(const void *)l,
		(unsigned int)l->rank < RANK_NR ? rank_names[l->rank] : "of no rank", what,
		error ? error : "?", (unsigned int)m->__lock, m->__owner, m->__count, m->__nusers,
		(unsigned int)m->__kind, (int)syscall(SYS_gettid), (unsigned long)pthread_self(),
		tid_by_tls());

	tell_and_abort(text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

#ifdef SWSGX_LOCK_RANKS
static __thread uint32_t held_ranks __attribute__((tls_model("initial-exec")));
static_assert(RANK_NR <= 32, "held_ranks has a bit for each");

static _Noreturn void rank_abort(enum lock_rank want, enum lock_rank held, const char *what)
{
	char text[128];
	int len = snprintf(text, sizeof(text), "swsgx: lock order: %s %s while holding %s\n", what,
			   rank_names[want], rank_names[held]);

	tell_and_abort(text, (size_t)len);
}

static void rank_check(const struct lock *l)
{
	uint32_t deeper = held_ranks >> l->rank;

	if (l->rank != LOCK_TRIED && deeper)
		rank_abort(l->rank, (enum lock_rank)(l->rank + __builtin_ctz(deeper)), "wants");
}

static void rank_push(const struct lock *l)
{
	if (l->rank != LOCK_TRIED)
		held_ranks |= 1u << l->rank;
}

static void rank_pop(const struct lock *l)
{
	if (l->rank == LOCK_TRIED)
		return;
	if (!(held_ranks & (1u << l->rank)))
		rank_abort(l->rank, l->rank, "releases, without");
	held_ranks &= ~(1u << l->rank);
}
#else
static void rank_check(const struct lock *l) {}

static void rank_push(const struct lock *l) {}

static void rank_pop(const struct lock *l) {}
#endif

void lock_init(struct lock *l, enum lock_rank rank)
{
	pthread_mutexattr_t attr;
	int r;

	memset(l, 0, sizeof(*l));
	l->rank = rank;
	r = pthread_mutexattr_init(&attr);
	assert(r == 0);
	r = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	assert(r == 0);
	r = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	assert(r == 0);
	r = pthread_mutex_init(&l->mutex, &attr);
	assert(r == 0);
	pthread_mutexattr_destroy(&attr);
}

void lock_fini(struct lock *l)
{
	pthread_mutex_destroy(&l->mutex);
}

/* True when @r says that the mutex is ours now. */
static bool lock_got(struct lock *l, int r)
{
	if (r == EOWNERDEAD) {
		r = pthread_mutex_consistent(&l->mutex);
		if (r)
			mutex_abort(l, "pthread_mutex_consistent", r);
		l->holder_died = true;
	}
	if (r && r != EBUSY)
		mutex_abort(l, "pthread_mutex_lock", r);
	return r == 0;
}

__thread void (*lock_before_first)(void) __attribute__((tls_model("initial-exec")));

static void before_first(void)
{
	void (*then)(void) = lock_before_first;

	if (__builtin_expect(then != NULL, 0)) {
		lock_before_first = NULL;
		then();
	}
}

/* The analysis cannot see through pthread's return codes. */
LOCK_ATTR(no_thread_safety_analysis) void lock_acquire(struct lock *l)
{
	unsigned int i;

	assert(l->rank != LOCK_TRIED);
	rank_check(l);
	before_first();
	for (i = 0; i < SPIN_TRIES; i++) {
		if (lock_got(l, pthread_mutex_trylock(&l->mutex)))
			goto got;
		__builtin_ia32_pause();
	}
	if (!lock_got(l, pthread_mutex_lock(&l->mutex)))
		abort();
got:
	rank_push(l);
}

LOCK_ATTR(no_thread_safety_analysis) bool lock_try(struct lock *l)
{
	rank_check(l);
	before_first();
	if (!lock_got(l, pthread_mutex_trylock(&l->mutex)))
		return false;
	rank_push(l);
	return true;
}

LOCK_ATTR(no_thread_safety_analysis) void lock_release(struct lock *l)
{
	int r;

	rank_pop(l);
	r = pthread_mutex_unlock(&l->mutex);
	if (r)
		mutex_abort(l, "pthread_mutex_unlock", r);
}

LOCK_ATTR(no_thread_safety_analysis) void lock_forget(struct lock *l)
{
	rank_pop(l);
	lock_init(l, l->rank);
}
