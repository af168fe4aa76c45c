/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The calls behind our hooks: libc's, or those of another preloaded library.  A hook that has nothing to add
 * ends in one of them, because some are more than their system call: points at which a thread can be cancelled.
 *
 * They are looked up once, before the program runs: a hook may be called from a signal handler, and dlsym() may
 * not.  Until then they are NULL.
 */
#ifndef SWSGX_RUNTIME_NEXT_H
#define SWSGX_RUNTIME_NEXT_H

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <threads.h>
#include <time.h>
#include <ucontext.h>

struct __jmp_buf_tag;

#define NEXT_SPAWN_ARGS                                                                        \
	(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, \
	 char *const[], char *const[])
#define NEXT_PPOLL_ARGS (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *)
#define NEXT_SELECT_ARGS \
	(int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *)

/* type, name, arguments */
#define NEXT_CALLS(X)                                                                            \
	X(int, open, (const char *, int, ...))                                                   \
	X(int, open64, (const char *, int, ...))                                                 \
	X(int, __open, (const char *, int, ...))                                                 \
	X(int, __open64, (const char *, int, ...))                                               \
	X(int, openat, (int, const char *, int, ...))                                            \
	X(int, openat64, (int, const char *, int, ...))                                          \
	X(int, __open_2, (const char *, int))                                                    \
	X(int, __open64_2, (const char *, int))                                                  \
	X(int, __openat_2, (int, const char *, int))                                             \
	X(int, __openat64_2, (int, const char *, int))                                           \
	X(struct dirent *, readdir, (DIR *))                                                     \
	X(void, rewinddir, (DIR *))                                                              \
	X(void, seekdir, (DIR *, long))                                                          \
	X(int, closedir, (DIR *))                                                                \
	X(ssize_t, read, (int, void *, size_t))                                                  \
	X(ssize_t, write, (int, const void *, size_t))                                           \
	X(ssize_t, pread, (int, void *, size_t, off_t))                                          \
	X(ssize_t, pwrite, (int, const void *, size_t, off_t))                                   \
	X(ssize_t, readv, (int, const struct iovec *, int))                                      \
	X(ssize_t, writev, (int, const struct iovec *, int))                                     \
	X(ssize_t, preadv, (int, const struct iovec *, int, off_t))                              \
	X(ssize_t, pwritev, (int, const struct iovec *, int, off_t))                             \
	X(ssize_t, preadv2, (int, const struct iovec *, int, off_t, int))                        \
	X(ssize_t, pwritev2, (int, const struct iovec *, int, off_t, int))                       \
	X(int, close, (int))                                                                     \
	X(int, fcntl, (int, int, ...))                                                           \
	X(int, fcntl64, (int, int, ...))                                                         \
	X(FILE *, fopen, (const char *, const char *))                                           \
	X(FILE *, fopen64, (const char *, const char *))                                         \
	X(FILE *, freopen, (const char *, const char *, FILE *))                                 \
	X(FILE *, freopen64, (const char *, const char *, FILE *))                               \
	X(int, fclose, (FILE *))                                                                 \
	X(char *, realpath, (const char *, char *))                                              \
	X(int, posix_spawn, NEXT_SPAWN_ARGS)                                                     \
	X(int, posix_spawnp, NEXT_SPAWN_ARGS)                                                    \
	X(int, sigsuspend, (const sigset_t *))                                                   \
	X(int, ppoll, NEXT_PPOLL_ARGS)                                                           \
	X(int, __ppoll_chk,                                                                      \
	  (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t))          \
	X(int, pselect, NEXT_SELECT_ARGS)                                                        \
	X(int, epoll_pwait, (int, struct epoll_event *, int, int, const sigset_t *))             \
	X(int, epoll_pwait2,                                                                     \
	  (int, struct epoll_event *, int, const struct timespec *, const sigset_t *))           \
	X(int, __sigsetjmp, (struct __jmp_buf_tag *, int))                                       \
	X(int, setjmp, (struct __jmp_buf_tag *))                                                 \
	X(void, longjmp, (struct __jmp_buf_tag *, int))                                          \
	X(void, _longjmp, (struct __jmp_buf_tag *, int))                                         \
	X(void, siglongjmp, (struct __jmp_buf_tag *, int))                                       \
	X(void, __longjmp_chk, (struct __jmp_buf_tag *, int))                                    \
	X(int, getcontext, (ucontext_t *))                                                       \
	X(int, setcontext, (const ucontext_t *))                                                 \
	X(int, swapcontext, (ucontext_t *, const ucontext_t *))                                  \
	X(int, pthread_attr_getsigmask_np, (const pthread_attr_t *, sigset_t *))                 \
	X(int, sigwait, (const sigset_t *, int *))                                               \
	X(int, sigtimedwait, (const sigset_t *, siginfo_t *, const struct timespec *))           \
	X(int, pthread_create, (pthread_t *, const pthread_attr_t *, void *(*)(void *), void *)) \
	X(int, pthread_cancel, (pthread_t))                                                      \
	X(int, thrd_create, (thrd_t *, thrd_start_t, void *))

struct rt_next {
#define X(type, name, args) type(*name) args;
	NEXT_CALLS(X)
#undef X
};

extern struct rt_next rt_next;

/* Look them up. Not from a signal handler; more than once does no harm. */
void rt_next_init(void);

/* Of a call that has no use before the program runs: it is there, unless libc is older than the call. */
#define NEXT(name) (rt_next.name ? (void)0 : rt_next_init(), rt_next.name)

#endif
