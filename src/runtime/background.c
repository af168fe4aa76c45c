/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Threads for background reclaim (swsgx run --background), one for each NUMA node of the EPC: lent to the manager by the
 * process that uses SGX first.
 *
 * They are not the client's: they take no signal, and end with the process.  But a process with a second thread is not
 * what it was to the kernel (a new user namespace is refused, for one), so they are made only where it is asked for.
 * Forked children have none of their own; the manager serves them alike from their parent's.
 */
#include <pthread.h>
#include <signal.h>

#include "epc/epc.h"
#include "runtime/rt.h"
#include "runtime/sys.h"

static void *lend(void *epc)
{
	(void)epc_background_run(epc);
	return NULL;
}

void rt_background_start(void)
{
	uint64_t all = ~0ull, mask;
	pthread_attr_t attr;
	pthread_t thread;

	if (!rt.background)
		return;
	/* Born with all of them blocked.  Where there can be no thread, allocations reclaim for themselves. */
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, 8);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (unsigned int i = 0; i < epc_node_nr(rt.epc); i++)
		(void)rt_thread_create(&thread, &attr, lend, rt.epc);
	pthread_attr_destroy(&attr);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, 8);
}
