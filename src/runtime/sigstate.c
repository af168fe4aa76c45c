/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the client has told the kernel about signals, as far as the runtime stands between: handlers, masks,
 * signal stacks.
 *
 * The kernel has rt_sigentry for every signal that the client handles (once it uses SGX), blocks the critical signals
 * in no code but the runtime's handlers, and has the runtime's stack.  What the client asked for is kept here, per process (rt.act) or
 * per thread, and shown to it when it asks.
 */
#include "runtime/signal_priv.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/donor.h"

/* Critical signals that the client believes blocked on this thread, and those that somebody sent meanwhile. */
static __thread uint64_t client_blocked __attribute__((tls_model("initial-exec")));
static __thread uint64_t client_pending __attribute__((tls_model("initial-exec")));
static __thread siginfo_t pending_info[6] __attribute__((tls_model("initial-exec")));
static __thread unsigned int elsewhere __attribute__((tls_model("initial-exec")));

uint64_t rt_client_blocked(void)
{
	return client_blocked;
}

static size_t critical_index(int sig)
{
	return (size_t)__builtin_popcountll(RT_SIG_CRITICAL & (RT_SIGBIT(sig) - 1));
}

/* One that waits already is the one that waits. */
void rt_client_pend(int sig, const siginfo_t *info)
{
	if (client_pending & RT_SIGBIT(sig))
		return;
	pending_info[critical_index(sig)] = *info;
	__atomic_fetch_or(&client_pending, RT_SIGBIT(sig), __ATOMIC_RELEASE);
}

/* The kernel has those of @set that wait, from now on.  A handler that comes meanwhile may do the same with the rest. */
static void to_kernel(uint64_t set)
{
	uint64_t now = client_pending & set;

	for (; now; now &= now - 1) {
		int sig = __builtin_ctzll(now) + 1;
		siginfo_t info = pending_info[critical_index(sig)];

		if (!(__atomic_fetch_and(&client_pending, ~RT_SIGBIT(sig), __ATOMIC_ACQ_REL) &
		      RT_SIGBIT(sig)))
			continue;
		sys4(SYS_rt_tgsigqueueinfo, sys(SYS_getpid, 0, 0, 0), sys(SYS_gettid, 0, 0, 0), sig,
		     &info);
	}
}

/* What waited for the client to unblock it comes now. */
void rt_client_unpend(void)
{
	to_kernel(~client_blocked);
}

uint64_t rt_client_lend(uint64_t set)
{
	uint64_t lent = set & client_blocked;

	if (!lent)
		return 0;
	sys4(SYS_rt_sigprocmask, SIG_BLOCK, &lent, 0, 8);
	to_kernel(lent);
	return lent;
}

/* What waits at the kernel comes, and waits here again. */
void rt_client_lend_end(uint64_t lent)
{
	if (lent)
		sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, &lent, 0, 8);
}

/*
 * The kernel has all that the client has blocked, so that frames show it, and opens what @set lets in with the mask of the
 * wait.  That is open in the handlers that run meanwhile, too, as these have that mask.
 */
struct rt_wait rt_client_wait(uint64_t set)
{
	struct rt_wait wait = { .blocked = client_blocked };

	if (!(client_blocked & ~set))
		return wait;
	wait.lent = rt_client_lend(RT_SIG_CRITICAL);
	client_blocked &= set;
	return wait;
}

void rt_client_wait_end(const struct rt_wait *wait)
{
	if (!wait->lent)
		return;
	client_blocked = wait->blocked;
	rt_client_lend_end(wait->lent);
	rt_client_unpend();
}

void rt_client_set_blocked(uint64_t blocked)
{
	client_blocked = blocked & RT_SIG_CRITICAL;
	rt_client_unpend();
}

int rt_client_take(uint64_t set, siginfo_t *ret_info)
{
	uint64_t now = client_pending & set;
	int sig = now ? __builtin_ctzll(now) + 1 : 0;

	if (!sig)
		return 0;
	*ret_info = pending_info[critical_index(sig)];
	__atomic_fetch_and(&client_pending, ~RT_SIGBIT(sig), __ATOMIC_ACQ_REL);
	return sig;
}

/* libc or an attribute may have had the kernel block some. */
void rt_client_thread_begins(uint64_t blocked)
{
	client_blocked = blocked;
	rt_signal_reopen();
}

void rt_client_signals_new(struct rt_thread *t, uint64_t blocked)
{
	*(uint64_t *)rt_donor_tls(t, &client_blocked) = blocked;
	*(uint64_t *)rt_donor_tls(t, &client_pending) = 0;
	*(unsigned int *)rt_donor_tls(t, &elsewhere) = 0;
}

void rt_client_fork_child(void)
{
	client_pending = 0;
}

uint64_t rt_pending_critical(void)
{
	return client_pending;
}

void rt_elsewhere_begin(void)
{
	elsewhere++;
	rt_signal_reopen();
}

/* What waited comes when this handler has gone. */
void rt_elsewhere_end(void)
{
	rt_signal_shut();
	if (!--elsewhere)
		rt_client_unpend();
}

bool rt_elsewhere(void)
{
	return elsewhere;
}

/* Install our entry for @sig with those of the client's flags that the kernel acts on. */
void rt_signal_install(int sig, uint64_t client_flags)
{
	struct rt_client_act act = {
		.action = (void (*)(int, siginfo_t *, void *))rt_sigentry,
		.flags = SA_SIGINFO | SA_ONSTACK | SA_RESTORER_FLAG |
			 (client_flags & (SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT)),
		.restorer = rt_restorer,
		.mask = RT_SIG_OPEN & RT_SIGBIT(sig) ? RT_SIG_CRITICAL : ~0ull,
	};

	kernel_act(sig, &act);
}

void rt_signal_reopen(void)
{
	uint64_t critical = RT_SIG_CRITICAL;

	sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, &critical, 0, 8);
}

void rt_signal_shut(void)
{
	uint64_t critical = RT_SIG_CRITICAL;

	sys4(SYS_rt_sigprocmask, SIG_BLOCK, &critical, 0, 8);
}

/* What has come through an exec is blocked, and waits, still. */
void rt_signal_init(void)
{
	uint64_t mask = 0;

	sys4(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
	client_blocked = mask & RT_SIG_CRITICAL;
	for (int sig = 1; sig < RT_NSIG; sig++) {
		if (!(RT_SIG_CRITICAL & RT_SIGBIT(sig)))
			continue;
		sys4(SYS_rt_sigaction, sig, 0, &rt.act[sig], 8);
		rt_signal_install(sig, 0);
	}
	rt_signal_reopen();
}

/* This process has no other thread. Where /proc does not say so, it may have. */
static bool is_single_threaded(void)
{
	struct stat st;

	/* Two names beside those of the threads. */
	return sys4(SYS_newfstatat, AT_FDCWD, "/proc/self/task", &st, 0) == 0 && st.st_nlink == 3;
}

/*
 * Critical signals that the client ignores: to ignore one drops it where it waits at the kernel, so this comes first.
 * Meanwhile a thread that is at work in an enclave would end the process, so none is handed on where there are others.
 */
static void ignore(bool really)
{
	const struct rt_client_act act = { .handler = SIG_IGN };

	for (int sig = 1; sig < RT_NSIG; sig++) {
		if (!(RT_SIG_CRITICAL & RT_SIGBIT(sig)) || rt.act[sig].handler != SIG_IGN)
			continue;
		if (really && !is_single_threaded())
			return;
		if (really)
			kernel_act(sig, &act);
		else
			rt_signal_install(sig, 0);
	}
}

uint64_t rt_signal_exec_begin(void)
{
	ignore(true);
	return rt_client_lend(RT_SIG_CRITICAL);
}

void rt_signal_exec_end(uint64_t lent)
{
	ignore(false);
	rt_client_lend_end(lent);
}

void rt_signal_use(void)
{
	for (int sig = 1; sig < RT_NSIG; sig++)
		if (!(RT_SIG_CRITICAL & RT_SIGBIT(sig)) && rt.act[sig].word > (uint64_t)SIG_IGN)
			rt_signal_install(sig, rt.act[sig].flags);
}

/* sigaction() of the client, in the kernel's terms. */
long rt_sigaction(int sig, const struct rt_client_act *act, struct rt_client_act *ret_old)
{
	struct rt_client_act old;
	long r = 0;

	if (sig < 1 || sig >= RT_NSIG || ((sig == SIGKILL || sig == SIGSTOP) && act))
		return -EINVAL;
	if (!(RT_SIG_CRITICAL & RT_SIGBIT(sig))) {
		/* What was inherited over exec, or set without us, is the kernel's to tell. */
		r = sys4(SYS_rt_sigaction, sig, 0, &old, 8);
		if (r < 0)
			return r;
		if (old.word == (uint64_t)rt_sigentry)
			old = rt.act[sig];
	} else {
		old = rt.act[sig];
	}
	if (act) {
		struct rt_client_act copy = *act;

		rt.act[sig] = copy;
		if (RT_SIG_CRITICAL & RT_SIGBIT(sig))
			; /* ours stays */
		else if (rt.used && copy.word > (uint64_t)SIG_IGN)
			rt_signal_install(sig, copy.flags);
		else
			r = sys4(SYS_rt_sigaction, sig, &copy, 0, 8);
	}
	if (ret_old)
		*ret_old = old;
	return r;
}

static uint64_t mask_changed(int how, uint64_t mask, uint64_t set)
{
	return how == SIG_BLOCK ? mask | set : how == SIG_UNBLOCK ? mask & ~set : set;
}

long rt_sigprocmask_virtual(int how, const uint64_t *set, uint64_t *mask, uint64_t *ret_old)
{
	*ret_old = *mask | client_blocked;
	if (!set)
		return 0;
	if (how != SIG_BLOCK && how != SIG_UNBLOCK && how != SIG_SETMASK)
		return -EINVAL;
	*mask = mask_changed(how, *mask, *set) & ~RT_SIG_CRITICAL;
	client_blocked = mask_changed(how, client_blocked, *set) & RT_SIG_CRITICAL;
	rt_client_unpend();
	return 0;
}

long rt_sigprocmask(int how, const uint64_t *set, uint64_t *ret_old)
{
	uint64_t mask = 0, old;
	long r = sys4(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);

	if (!r)
		r = rt_sigprocmask_virtual(how, set, &mask, &old);
	if (!r && set)
		r = sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
	if (!r && ret_old)
		*ret_old = old;
	return r;
}

long rt_sigaltstack_at(const stack_t *stack_at, stack_t *old_at, uint64_t rsp)
{
	struct rt_thread *t = rt_thread_peek();
	stack_t old = t->client_stack, stack;
	bool on;

	if (!old.ss_sp)
		old.ss_flags = SS_DISABLE;
	on = !(old.ss_flags & SS_DISABLE) && on_stack(&old, rsp);
	if (stack_at) {
		if (rt_copy_user(&stack, stack_at, sizeof(stack)))
			return -EFAULT;
		if (on)
			return -EPERM;
		if (stack.ss_flags & ~(SS_DISABLE | SS_ONSTACK)) /* no SS_AUTODISARM */
			return -EINVAL;
		if (stack.ss_flags & SS_DISABLE)
			stack = (stack_t){ .ss_flags = SS_DISABLE };
		else if (stack.ss_size < 2048)
			return -ENOMEM;
		stack.ss_flags &= ~SS_ONSTACK;
		t->client_stack = stack;
	}
	if (on)
		old.ss_flags |= SS_ONSTACK;
	return old_at ? rt_copy_user(old_at, &old, sizeof(old)) : 0;
}

long rt_sigaltstack(const stack_t *stack, stack_t *ret_old)
{
	if (!rt_thread_peek())
		return sys(SYS_sigaltstack, stack, ret_old, 0);
	return rt_sigaltstack_at(stack, ret_old, (uint64_t)__builtin_frame_address(0));
}
