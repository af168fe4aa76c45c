/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * syscall(), and the ways in which a process ends without its destructors.
 */
#include "runtime/hooks.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/rt.h"
#include "runtime/sys.h"

long rt_syscall(long nr, const long a[6])
{
	int handled;
	long r = rt_sys_file(nr, a, &handled);

	if (!handled)
		r = rt_sys_mem(nr, a, &handled);
	if (!handled)
		r = rt_sys_signal(nr, a, &handled);
	if (!handled)
		r = sys6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	return r;
}

HOOK long syscall(long nr, ...)
{
	va_list ap;
	long a[6];

	va_start(ap, nr);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	return sys_errno(rt_syscall(nr, a));
}

HOOK void _exit(int status)
{
	rt_end();
	for (;;)
		sys(SYS_exit_group, status, 0, 0);
}

HOOK void _Exit(int status)
{
	_exit(status);
}
