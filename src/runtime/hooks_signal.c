/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * sigaction and its kin: the client's handlers are kept in rt.act, the kernel has ours (signal.c).
 */
#include "runtime/hooks.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "runtime/next.h"
#include "runtime/rt.h"
#include "runtime/sys.h"

#define SA_RESTORER_FLAG 0x04000000ul

/* @set, as far as it can be read. */
static uint64_t word_of(const void *set)
{
	uint64_t word = 0;

	rt_copy_user(&word, set, sizeof(word));
	return word;
}

/* What waits with the runtime can be waited for as what waits at the kernel. */
static long sys_sigtimedwait(const long a[6])
{
	uint64_t lent = rt_client_lend(word_of((void *)a[0]));
	long r = sys6(SYS_rt_sigtimedwait, a[0], a[1], a[2], a[3], 0, 0);

	rt_client_lend_end(lent);
	return r;
}

long rt_sigpending(void *ret_set, size_t bytes, uint64_t blocked)
{
	uint64_t word = 0;
	long r;

	if (bytes > sizeof(word))
		return -EINVAL;
	r = sys(SYS_rt_sigpending, &word, sizeof(word), 0);
	if (r < 0)
		return r;
	word = (word & blocked) | rt_pending_critical();
	return rt_copy_user(ret_set, &word, bytes);
}

/*
 * A call that waits with a mask of its own.  The critical signals in it are as it says once every handler is the runtime's; until
 * then a handler may execute CPUID, or open the device, under the kernel's mask.
 */
struct waiting {
	const void *mask; /* what the kernel is to be given */
	uint64_t copy[sizeof(sigset_t) / 8];
	struct rt_wait wait;
};

/* A wild pointer is the kernel's to refuse. */
static void waiting_begin(struct waiting *w, const void *mask)
{
	*w = (struct waiting){ .mask = mask };
	if (!mask || !rt.ready || rt_copy_user(w->copy, mask, sizeof(w->copy[0])))
		return;
	w->wait = rt_client_wait(w->copy[0]);
	if (!rt.used)
		w->copy[0] &= ~RT_SIG_CRITICAL;
	w->mask = w->copy;
}

static void waiting_end(void *waiting)
{
	const struct waiting *w = waiting;

	rt_client_wait_end(&w->wait);
}

/* The argument that is the mask's, of a call that waits with one; -1: it is no such call. */
static int mask_argument(long nr)
{
	switch (nr) {
	case SYS_rt_sigsuspend:
		return 0;
	case SYS_ppoll:
		return 3;
	case SYS_epoll_pwait:
	case RT_SYS_EPOLL_PWAIT2:
		return 4;
	case SYS_pselect6:
		return 5;
	default:
		return -1;
	}
}

static long sys_waiting(long nr, const long a[6], int *ret_handled)
{
	long b[6] = { a[0], a[1], a[2], a[3], a[4], a[5] };
	long pair[2] = { 0 }; /* pselect6: mask and size */
	int at = mask_argument(nr);
	bool paired = nr == SYS_pselect6;
	struct waiting w;
	long r;

	*ret_handled = at >= 0;
	if (at < 0)
		return -ENOSYS;
	if (paired && (!a[5] || rt_copy_user(pair, (void *)a[5], sizeof(pair))))
		return sys6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	waiting_begin(&w, (const void *)(paired ? pair[0] : a[at]));
	if (paired)
		pair[0] = (long)w.mask;
	b[at] = paired ? (long)pair : (long)w.mask;
	r = sys6(nr, b[0], b[1], b[2], b[3], b[4], b[5]);
	waiting_end(&w);
	return r;
}

long rt_sys_signal(long nr, const long a[6], int *ret_handled)
{
	*ret_handled = 1;
	if (rt.ready && nr == SYS_rt_sigaction)
		return rt_sigaction((int)a[0], (const struct rt_client_act *)a[1],
				    (struct rt_client_act *)a[2]);
	if (rt.ready && nr == SYS_rt_sigprocmask)
		return rt_sigprocmask((int)a[0], (const uint64_t *)a[1], (uint64_t *)a[2]);
	if (rt.ready && nr == SYS_sigaltstack)
		return rt_sigaltstack((const stack_t *)a[0], (stack_t *)a[1]);
	if (rt.ready && nr == SYS_rt_sigpending)
		return rt_sigpending((void *)a[0], (size_t)a[1], ~0ull);
	if (rt.ready && nr == SYS_rt_sigtimedwait)
		return sys_sigtimedwait(a);
	return sys_waiting(nr, a, ret_handled);
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
	to->sa_flags = (int)from->flags; /* SA_RESTORER too: the C library shows it */
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

	if (sig == RT_SIGCANCEL || sig == RT_SIGSETXID)
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

static bool is_signal(int sig)
{
	return sig > 0 && sig < RT_NSIG && sig != RT_SIGCANCEL && sig != RT_SIGSETXID;
}

HOOK __sighandler_t signal(int sig, __sighandler_t handler)
{
	bool interrupts = is_signal(sig) && (rt.interrupting & RT_SIGBIT(sig));

	return simple(sig, handler, interrupts ? 0 : SA_RESTART);
}

__sighandler_t bsd_signal(int sig, __sighandler_t handler);
HOOK __sighandler_t bsd_signal(int sig, __sighandler_t handler)
{
	return signal(sig, handler);
}

HOOK __sighandler_t ssignal(int sig, __sighandler_t handler)
{
	return signal(sig, handler);
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
	if (!rt.ready)
		return (int)sys_errno(sys(SYS_rt_sigpending, ret_set, 8, 0));
	return (int)sys_errno(rt_sigpending(ret_set, 8, ~0ull));
}

/* ---- the older calls ----------------------------------------------------------------------------- */

HOOK int siginterrupt(int sig, int interrupt)
{
	struct sigaction act;

	if (sigaction(sig, NULL, &act) < 0)
		return -1;
	if (interrupt) {
		rt.interrupting |= RT_SIGBIT(sig);
		act.sa_flags &= ~SA_RESTART;
	} else {
		rt.interrupting &= ~RT_SIGBIT(sig);
		act.sa_flags |= SA_RESTART;
	}
	return sigaction(sig, &act, NULL);
}

HOOK int sigignore(int sig)
{
	struct sigaction act = { .sa_handler = SIG_IGN };

	return sigaction(sig, &act, NULL);
}

static int mask_one(int how, int sig, bool *ret_was_blocked)
{
	sigset_t set, old;
	long r;

	if (!is_signal(sig))
		return (int)sys_errno(-EINVAL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	r = mask_call(how, &set, &old);
	if (!r)
		*ret_was_blocked = sigismember(&old, sig) == 1;
	return (int)sys_errno(r);
}

HOOK int sighold(int sig)
{
	bool was;

	return mask_one(SIG_BLOCK, sig, &was);
}

HOOK int sigrelse(int sig)
{
	bool was;

	return mask_one(SIG_UNBLOCK, sig, &was);
}

HOOK __sighandler_t sigset(int sig, __sighandler_t handler)
{
	bool hold = handler == SIG_HOLD, was;
	struct sigaction act = { .sa_handler = handler }, old;

	if (handler == SIG_ERR || (hold && mask_one(SIG_BLOCK, sig, &was)) ||
	    sigaction(sig, hold ? NULL : &act, &old) ||
	    (!hold && mask_one(SIG_UNBLOCK, sig, &was))) {
		errno = EINVAL;
		return SIG_ERR;
	}
	return was ? SIG_HOLD : old.sa_handler;
}

/* BSD's masks, of the first 32 signals.  Shells have them still: Debian's sh lets in by sigsetmask() what its vfork() was blocked for. */
static int mask_word(int how, int word)
{
	uint64_t new = (unsigned int)word, old = 0;
	sigset_t set, ret;

	sigemptyset(&set);
	memcpy(&set, &new, sizeof(new));
	if (sys_errno(mask_call(how, &set, &ret)))
		return -1;
	memcpy(&old, &ret, sizeof(old));
	return (int)(unsigned int)old;
}

HOOK int sigblock(int word)
{
	return mask_word(SIG_BLOCK, word);
}

HOOK int sigsetmask(int word)
{
	return mask_word(SIG_SETMASK, word);
}

HOOK int siggetmask(void)
{
	return mask_word(SIG_BLOCK, 0);
}

/* ---- masks for a while --------------------------------------------------------------------------- */

static void lend_end(void *lent)
{
	rt_client_lend_end(*(uint64_t *)lent);
}

/* These wait, and a thread may be cancelled while it does: libc's part, not ours. */
HOOK int sigtimedwait(const sigset_t *set, siginfo_t *ret_info, const struct timespec *timeout)
{
	uint64_t lent = rt.ready ? rt_client_lend(word_of(set)) : 0;
	int r;

	pthread_cleanup_push(lend_end, &lent);
	r = NEXT(sigtimedwait)(set, ret_info, timeout);
	pthread_cleanup_pop(true);
	return r;
}

HOOK int sigwaitinfo(const sigset_t *set, siginfo_t *ret_info)
{
	return sigtimedwait(set, ret_info, NULL);
}

HOOK int sigwait(const sigset_t *set, int *ret_sig)
{
	uint64_t lent = rt.ready ? rt_client_lend(word_of(set)) : 0;
	int r;

	pthread_cleanup_push(lend_end, &lent);
	r = NEXT(sigwait)(set, ret_sig);
	pthread_cleanup_pop(true);
	return r;
}

/* libc's word of eight bytes or a whole set: it gives the kernel the first eight. */
#define WAITING(set, call)                     \
	struct waiting w;                      \
	int r;                                 \
                                               \
	waiting_begin(&w, set);                \
	pthread_cleanup_push(waiting_end, &w); \
	r = call;                              \
	pthread_cleanup_pop(true);             \
	return r

HOOK int sigsuspend(const sigset_t *set)
{
	WAITING(set, NEXT(sigsuspend)(w.mask));
}

int __sigsuspend(const sigset_t *set);
HOOK int __sigsuspend(const sigset_t *set)
{
	return sigsuspend(set);
}

/* X/Open's takes a signal out of the mask, BSD's is given a mask: one name in libc, the other in what was compiled. */
int __sigpause(int sig_or_word, int is_sig);
HOOK int __sigpause(int sig_or_word, int is_sig)
{
	uint64_t word = (unsigned int)sig_or_word;
	sigset_t set;

	sigemptyset(&set);
	if (!is_sig)
		memcpy(&set, &word, sizeof(word));
	else if (mask_call(SIG_BLOCK, NULL, &set) || sigdelset(&set, sig_or_word))
		return (int)sys_errno(-EINVAL);
	return sigsuspend(&set);
}

int __xpg_sigpause(int sig);
HOOK int __xpg_sigpause(int sig)
{
	return __sigpause(sig, 1);
}

#undef sigpause
int bsd_sigpause(int word) __asm__("sigpause");
HOOK int bsd_sigpause(int word)
{
	return __sigpause(word, 0);
}

HOOK int ppoll(struct pollfd *fds, nfds_t nr, const struct timespec *timeout, const sigset_t *set)
{
	WAITING(set, NEXT(ppoll)(fds, nr, timeout, w.mask));
}

int __ppoll_chk(struct pollfd *fds, nfds_t nr, const struct timespec *timeout, const sigset_t *set,
		size_t bytes);
HOOK int __ppoll_chk(struct pollfd *fds, nfds_t nr, const struct timespec *timeout,
		     const sigset_t *set, size_t bytes)
{
	WAITING(set, NEXT(__ppoll_chk)(fds, nr, timeout, w.mask, bytes));
}

HOOK int pselect(int nr, fd_set *in, fd_set *out, fd_set *except, const struct timespec *timeout,
		 const sigset_t *set)
{
	WAITING(set, NEXT(pselect)(nr, in, out, except, timeout, w.mask));
}

HOOK int epoll_pwait(int fd, struct epoll_event *events, int nr, int timeout, const sigset_t *set)
{
	WAITING(set, NEXT(epoll_pwait)(fd, events, nr, timeout, w.mask));
}

HOOK int epoll_pwait2(int fd, struct epoll_event *events, int nr, const struct timespec *timeout,
		      const sigset_t *set)
{
	if (!NEXT(epoll_pwait2))
		return (int)sys_errno(-ENOSYS);
	WAITING(set, NEXT(epoll_pwait2)(fd, events, nr, timeout, w.mask));
}
