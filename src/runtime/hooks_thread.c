/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The calls at which libc installs signal handlers for itself.  A thread that they find in an enclave has to
 * leave it first, as for any handler, so ours goes in front of them.
 */
#include "runtime/hooks.h"

#include <pthread.h>
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
HOOK int pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *),
			void *arg)
{
	int r = NEXT(pthread_create)(ret_thread, attr, fn, arg);

	rt_signal_wrap_libc();
	return r;
}

HOOK int thrd_create(thrd_t *ret_thread, thrd_start_t fn, void *arg)
{
	int r = NEXT(thrd_create)(ret_thread, fn, arg);

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
