/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * System calls without libc: no errno, no TLS, no cancellation, no hook of ours in between.
 * They return -errno as the kernel does.
 */
#ifndef SWSGX_RUNTIME_SYS_H
#define SWSGX_RUNTIME_SYS_H

#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>

#define RT_SYS_EPOLL_PWAIT2 441 /* younger than some headers */

static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

#define SYS_ARG(x)           ((long)(x))
#define sys(nr, a, b, c)     sys6((nr), SYS_ARG(a), SYS_ARG(b), SYS_ARG(c), 0, 0, 0)
#define sys4(nr, a, b, c, d) sys6((nr), SYS_ARG(a), SYS_ARG(b), SYS_ARG(c), SYS_ARG(d), 0, 0)

/* What libc makes of a kernel's return value. */
static inline long sys_errno(long r)
{
	if (r < 0 && r > -4096) {
		errno = (int)-r;
		return -1;
	}
	return r;
}

#endif
