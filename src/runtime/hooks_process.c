/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * syscall(), and the ways in which a process ends without its destructors.
 */
#include "runtime/hooks.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/exec.h"
#include "runtime/rt.h"
#include "runtime/sys.h"

static long fork_or_errno(void)
{
	int pid = fork();

	return pid < 0 ? -errno : pid;
}

long rt_syscall(long nr, const long a[6])
{
	int handled;
	long r;

	switch (nr) {
	case SYS_fork:
	case SYS_vfork:
		return fork_or_errno();
	case SYS_clone: /* of a process, as fork() does it */
		if (rt.ready && !(a[0] & ~0xffl) && (a[0] & 0xff) == SIGCHLD && !a[1])
			return fork_or_errno();
		break;
	case SYS_execve:
		return exec_run((const char *)a[0], (char *const *)a[1], (char *const *)a[2]);
	default:
		break;
	}
	r = rt_sys_file(nr, a, &handled);
	if (!handled)
		r = rt_sys_stat(nr, a, &handled);
	if (!handled)
		r = rt_sys_link(nr, a, &handled);
	if (!handled)
		r = rt_sys_rw(nr, a, &handled);
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
