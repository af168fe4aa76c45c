/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The calls that the runtime takes over from libc, one file a family.
 * Each is its system call with the device's part in front; sys_* below take and return what the kernel does,
 * so that the syscall() hook and any interception below libc share them.
 */
#ifndef SWSGX_RUNTIME_HOOKS_H
#define SWSGX_RUNTIME_HOOKS_H

#include <stdint.h>

#define HOOK __attribute__((visibility("default")))

/* The call @nr with @a, whatever family it is of: -errno as the kernel. */
long rt_syscall(long nr, const long a[6]);

long rt_sys_stat(long nr, const long a[6], int *ret_handled);
long rt_sys_file(long nr, const long a[6], int *ret_handled);
/* Handled only where it is /proc/self/mem. */
long rt_sys_rw(long nr, const long a[6], int *ret_handled);
/* Handled only where the link is one of ours. */
long rt_sys_link(long nr, const long a[6], int *ret_handled);
long rt_sys_mem(long nr, const long a[6], int *ret_handled);
long rt_sys_signal(long nr, const long a[6], int *ret_handled);

#define RT_SIGCANCEL 32 /* libc's own */
#define RT_SIGSETXID 33

/* Put our handler in front of those that libc has installed for itself, once the device is used. */
void rt_signal_wrap_libc(void);

#endif
