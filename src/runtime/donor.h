/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Threads that libc does not know, and the TLS they borrow (donor.c).
 */
#ifndef SWSGX_RUNTIME_DONOR_H
#define SWSGX_RUNTIME_DONOR_H

#include <signal.h>
#include <stdbool.h>
#include <ucontext.h>

#define RT_NO_THREAD 0x7fffffff /* the kernel's ids end before */

struct rt_thread;

/* -ENOSYS: this libc keeps the thread id where it can't be found. */
int rt_donor_init(void);
/* A foreign thread's block, not yet any thread's; NULL when there is none to be had. */
struct rt_thread *rt_donor_thread(void);
/* Where the thread-local variable @ours of the caller's is in the TLS that @t lends. */
void *rt_donor_tls(const struct rt_thread *t, void *ours);
/* See to it that one is spare. On a thread with a TLS of its own. */
void rt_donor_keep_spare(void);
void rt_donor_fork_child(void);
/* A pthread_t whose thread is none: libc finds that it is gone. It is not given back. NULL where we can't make one. */
void *rt_donor_nobody(void);
/*
 * The kernel's list of the locks that @t has if it dies is the program's again, where a lock of the runtime's has made it
 * the runtime's: on a foreign thread that has none.
 */
void rt_donor_locks_end(struct rt_thread *t);
/* @t->tid has been set: its borrowed TLS is to say the same. */
void rt_donor_name(struct rt_thread *t);

/* FS is that of this thread's libc block. Touches no TLS. */
bool rt_thread_known(void);
/* Called by entry.S for a thread that is not, with no block: no TLS may be touched. */
void rt_thread_borrow(int sig, siginfo_t *info, ucontext_t *uc);

#endif
