/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * New threads: what they inherit, where the kernel does not know of it.  And the calls at which libc installs signal
 * handlers for itself: a thread that they find in an enclave has to leave it first, as for any handler, so ours goes in
 * front of them.
 */
#include "runtime/hooks.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#include "runtime/donor.h"
#include "runtime/next.h"
#include "runtime/rt.h"
#include "runtime/sys.h"

static void wrap(int sig)
{
	struct rt_client_act act;

	if (sys4(SYS_rt_sigaction, sig, NULL, &act, 8) < 0 || act.word <= (uint64_t)SIG_IGN ||
	    act.word == (uint64_t)rt_sigentry)
		return;
	rt.act[sig] = act;
	rt_signal_install(sig, act.flags);
}

void rt_signal_wrap_libc(void)
{
	if (!rt.used)
		return;
	wrap(RT_SIGCANCEL);
	wrap(RT_SIGSETXID);
}

/* libc's SIGSETXID handler comes with the first thread, and again with one in a forked child. */
int rt_thread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *),
		     void *arg)
{
	int r = NEXT(pthread_create)(ret_thread, attr, fn, arg);

	rt_signal_wrap_libc();
	return r;
}

/* A thread that begins with critical signals blocked, as the client sees it. */
struct newcomer {
	void *(*fn)(void *);
	thrd_start_t fn_c11;
	void *arg;
	uint64_t blocked;
};

static struct newcomer *newcomer(uint64_t blocked, void *arg)
{
	struct newcomer *n = malloc(sizeof(*n));

	if (n)
		*n = (struct newcomer){ .arg = arg, .blocked = blocked };
	return n;
}

static struct newcomer begin(void *arg)
{
	struct newcomer n = *(struct newcomer *)arg;

	free(arg);
	rt_client_thread_begins(n.blocked);
	return n;
}

static void *begins(void *arg)
{
	struct newcomer n = begin(arg);

	return n.fn(n.arg);
}

static int begins_c11(void *arg)
{
	struct newcomer n = begin(arg);

	return n.fn_c11(n.arg);
}

/* Its creator's mask, unless the attributes have one, which libc gives to the kernel as it is. */
static uint64_t first_blocked(const pthread_attr_t *attr)
{
	uint64_t word;
	sigset_t set;

	if (!attr || !NEXT(pthread_attr_getsigmask_np) ||
	    rt_next.pthread_attr_getsigmask_np(attr, &set) != 0)
		return rt_client_blocked();
	memcpy(&word, &set, sizeof(word));
	return word & RT_SIG_CRITICAL;
}

HOOK int pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *),
			void *arg)
{
	uint64_t blocked = rt.ready ? first_blocked(attr) : 0, lent;
	struct newcomer *n;
	int r;

	if (!blocked)
		return rt_thread_create(ret_thread, attr, fn, arg);
	n = newcomer(blocked, arg);
	if (!n)
		return EAGAIN;
	n->fn = fn;
	/* Born with them blocked, so that what is sent to it waits for it to begin. */
	lent = rt_client_lend(blocked);
	r = rt_thread_create(ret_thread, attr, begins, n);
	rt_client_lend_end(lent);
	if (r)
		free(n);
	return r;
}

HOOK int thrd_create(thrd_t *ret_thread, thrd_start_t fn, void *arg)
{
	struct newcomer *n = NULL;
	uint64_t lent = 0;
	int r;

	if (rt.ready && rt_client_blocked()) {
		n = newcomer(rt_client_blocked(), arg);
		if (!n)
			return thrd_nomem;
		n->fn_c11 = fn;
		lent = rt_client_lend(n->blocked);
	}
	r = NEXT(thrd_create)(ret_thread, n ? begins_c11 : fn, n ? n : arg);
	rt_client_lend_end(lent);
	if (r != thrd_success)
		free(n);
	rt_signal_wrap_libc();
	return r;
}

/* A thread that is there to be cancelled, and takes no notice. */
static void *decoy(void *arg)
{
	pthread_mutex_t *hold = arg;
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	pthread_mutex_lock(hold);
	pthread_mutex_unlock(hold);
	return NULL;
}

static void cancel_decoy(void)
{
	pthread_mutex_t hold = PTHREAD_MUTEX_INITIALIZER;
	pthread_t thread;

	pthread_mutex_lock(&hold);
	if (NEXT(pthread_create)(&thread, NULL, decoy, &hold) == 0) {
		NEXT(pthread_cancel)(thread);
		pthread_mutex_unlock(&hold);
		pthread_join(thread, NULL);
	}
}

/*
 * The first pthread_cancel() installs the handler and sends the signal at once, perhaps to a thread in an enclave,
 * where libc's handler by itself finds neither its stack nor its FS: the enclave would end by an exception.  So the
 * first is of nobody, as a thread may not be to be had: what comes after it finds the handler wrapped.
 */
static void first_cancel(void)
{
	/* The client's handlers are not for a decoy; libc's two are for every thread. */
	uint64_t all = ~(RT_SIG_CRITICAL | RT_SIGBIT(RT_SIGCANCEL) | RT_SIGBIT(RT_SIGSETXID));
	uint64_t mask;
	void *nobody;

	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, 8);
	nobody = rt_donor_nobody();
	if (nobody)
		NEXT(pthread_cancel)((pthread_t)nobody);
	else
		cancel_decoy();
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
}

HOOK int pthread_cancel(pthread_t thread)
{
	struct rt_client_act act = { .word = 0 };

	if (rt.used) {
		sys4(SYS_rt_sigaction, RT_SIGCANCEL, NULL, &act, 8);
		if (act.word <= (uint64_t)SIG_IGN)
			first_cancel();
		/* Another thread may be at its first just now. */
		rt_signal_wrap_libc();
	}
	return NEXT(pthread_cancel)(thread);
}
