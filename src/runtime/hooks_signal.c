/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * sigaction and its kin: the client's handlers are kept in rt.act, the kernel has ours (signal.c).
 */
#include "runtime/hooks.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "runtime/rt.h"
#include "runtime/sys.h"

#define SA_RESTORER_FLAG 0x04000000ul

long rt_sys_signal(long nr, const long a[6], int *ret_handled)
{
	*ret_handled = rt.ready && (nr == SYS_rt_sigaction || nr == SYS_rt_sigprocmask ||
				    nr == SYS_sigaltstack);
	if (!*ret_handled)
		return -ENOSYS;
	if (nr == SYS_rt_sigaction)
		return rt_sigaction((int)a[0], (const struct rt_client_act *)a[1],
				    (struct rt_client_act *)a[2]);
	if (nr == SYS_rt_sigprocmask)
		return rt_sigprocmask((int)a[0], (const uint64_t *)a[1], (uint64_t *)a[2]);
	return rt_sigaltstack((const stack_t *)a[0], (stack_t *)a[1]);
}

static void from_libc(struct rt_client_act *to, const struct sigaction *from)
{
	*to = (struct rt_client_act){ .handler = from->sa_handler,
				      .flags = (unsigned int)from->sa_flags | SA_RESTORER_FLAG,
				      .restorer = rt_restorer };
	memcpy(&to->mask, &from->sa_mask, sizeof(to->mask));
}

static void to_libc(struct sigaction *to, const struct rt_client_act *from)
{
	memset(to, 0, sizeof(*to));
	to->sa_handler = from->handler;
	to->sa_flags = (int)(from->flags & ~SA_RESTORER_FLAG);
	memcpy(&to->sa_mask, &from->mask, sizeof(from->mask));
}

/* Without the runtime: the kernel's call with its own structures. */
static long plain_sigaction(int sig, const struct rt_client_act *act, struct rt_client_act *ret_old)
{
	return sys4(SYS_rt_sigaction, sig, act, ret_old, 8);
}

HOOK int sigaction(int sig, const struct sigaction *act, struct sigaction *ret_old)
{
	struct rt_client_act new, old;
	long r;

	if (sig == 32 || sig == 33)
		return (int)sys_errno(-EINVAL); /* libc's own */
	if (act)
		from_libc(&new, act);
	r = (rt.ready ? rt_sigaction : plain_sigaction)(sig, act ? &new : NULL, &old);
	if (!r && ret_old)
		to_libc(ret_old, &old);
	return (int)sys_errno(r);
}

int __sigaction(int sig, const struct sigaction *act, struct sigaction *ret_old);
HOOK int __sigaction(int sig, const struct sigaction *act, struct sigaction *ret_old)
{
	return sigaction(sig, act, ret_old);
}

static __sighandler_t simple(int sig, __sighandler_t handler, int flags)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = flags }, old;

	if (!(flags & SA_NODEFER))
		sigaddset(&act.sa_mask, sig);
	return sigaction(sig, &act, &old) ? SIG_ERR : old.sa_handler;
}

HOOK __sighandler_t signal(int sig, __sighandler_t handler)
{
	return simple(sig, handler, SA_RESTART);
}

__sighandler_t bsd_signal(int sig, __sighandler_t handler);
HOOK __sighandler_t bsd_signal(int sig, __sighandler_t handler)
{
	return simple(sig, handler, SA_RESTART);
}

HOOK __sighandler_t sysv_signal(int sig, __sighandler_t handler)
{
	return simple(sig, handler, (int)(SA_RESETHAND | SA_NODEFER));
}

HOOK __sighandler_t __sysv_signal(int sig, __sighandler_t handler)
{
	return sysv_signal(sig, handler);
}

static long mask_call(int how, const sigset_t *set, sigset_t *ret_old)
{
	uint64_t new = 0, old = 0;
	long r;

	if (set) {
		memcpy(&new, set, sizeof(new));
		new &= ~(3ull << 31); /* libc's own two */
	}
	if (rt.ready)
		r = rt_sigprocmask(how, set ? &new : NULL, &old);
	else
		r = sys4(SYS_rt_sigprocmask, how, set ? &new : NULL, &old, 8);
	if (!r && ret_old) {
		memset(ret_old, 0, sizeof(*ret_old));
		memcpy(ret_old, &old, sizeof(old));
	}
	return r;
}

HOOK int sigprocmask(int how, const sigset_t *set, sigset_t *ret_old)
{
	return (int)sys_errno(mask_call(how, set, ret_old));
}

HOOK int pthread_sigmask(int how, const sigset_t *set, sigset_t *ret_old)
{
	return (int)-mask_call(how, set, ret_old);
}

HOOK int sigaltstack(const stack_t *stack, stack_t *ret_old)
{
	if (!rt.ready)
		return (int)sys_errno(sys(SYS_sigaltstack, stack, ret_old, 0));
	return (int)sys_errno(rt_sigaltstack(stack, ret_old));
}

HOOK int sigpending(sigset_t *ret_set)
{
	long r = sys(SYS_rt_sigpending, ret_set, 8, 0);

	if (!r && rt.ready)
		*(uint64_t *)ret_set |= rt_pending_critical();
	return (int)sys_errno(r);
}
