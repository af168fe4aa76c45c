/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Signals of faults that a program has blocked, and lets in while it waits: by sigsuspend, ppoll, pselect, epoll_pwait.  What
 * waits already and what comes meanwhile end the wait, run their handler, and are blocked again.  And what a mask is after a
 * jump out of a handler, or into another context.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define BIT(s)    (1ull << ((s)-1))
#define LIBCS_OWN (3ull << 31)

enum { HEAP = 300, ROUNDS = 200 };

/* What lies below the program may raise SIGILL and SIGSYS at the very moment at which another thread sends them. */
static const int kinds[] = { SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGILL, SIGSYS };
#define KINDS      (sizeof(kinds) / sizeof(kinds[0]))
#define SENT_KINDS (KINDS - 2)
#define FAULTS     (BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGTRAP) | BIT(SIGILL) | BIT(SIGSYS))

static struct client_encl e;
static volatile int handled;
static uint64_t mask_within, mask_after;
static bool worked;
static sigjmp_buf back;
static bool jump;
static int epoll = -1, full[2];

static sigset_t set_of(uint64_t word)
{
	sigset_t set;

	sigemptyset(&set);
	memcpy(&set, &word, sizeof(word));
	return set;
}

static uint64_t word_of(const sigset_t *set)
{
	uint64_t word;

	memcpy(&word, set, sizeof(word));
	return word & ~LIBCS_OWN;
}

static uint64_t blocked(void)
{
	sigset_t set;

	pthread_sigmask(SIG_BLOCK, NULL, &set);
	return word_of(&set);
}

static uint64_t block(uint64_t word)
{
	sigset_t set = set_of(word), old;

	pthread_sigmask(SIG_SETMASK, &set, &old);
	return word_of(&old);
}

static uint64_t pending(void)
{
	sigset_t set;

	return sigpending(&set) ? ~0ull : word_of(&set);
}

static bool enclave_works(void)
{
	for (uint64_t i = 0; i < HEAP; i += 7) {
		uint64_t la = e.base + e.heap + i * 4096;

		if (client_op(&e, 0, OP_WRITE, la, i, 0) == ~0ull || *(volatile uint64_t *)la != i)
			return false;
	}
	return true;
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig, (void)info;
	handled++;
	mask_within = blocked();
	memcpy(&mask_after, &uc->uc_sigmask, 8);
	mask_after &= ~LIBCS_OWN;
	worked = enclave_works();
	if (jump)
		siglongjmp(back, 1);
}

static void on_alarm(int sig) { (void)sig; }

/* ---- calls that wait ------------------------------------------------------------------------------------ */

static const struct timespec soon = { 0, 30000000 };

static int by_sigsuspend(const sigset_t *set) { return sigsuspend(set); }
static int by_ppoll(const sigset_t *set) { return ppoll(NULL, 0, NULL, set); }
static int by_pselect(const sigset_t *set) { return pselect(0, NULL, NULL, NULL, NULL, set); }
static int by_epoll(const sigset_t *set)
{
	struct epoll_event ev;

	return epoll_pwait(epoll, &ev, 1, -1, set);
}

static int by_call_pselect(const sigset_t *set)
{
	struct {
		const void *mask;
		size_t bytes;
	} pair = { set, 8 };

	return (int)syscall(SYS_pselect6, 0, NULL, NULL, NULL, NULL, &pair);
}

static int by_call_sigsuspend(const sigset_t *set)
{
	return (int)syscall(SYS_rt_sigsuspend, set, 8);
}

static void check_there_before(const char *name, int (*wait_call)(const sigset_t *))
{
	uint64_t mask = FAULTS | BIT(SIGUSR1), old = block(mask);
	int wrong = 0;

	for (unsigned int i = 0; i < KINDS; i++) {
		sigset_t set = set_of(mask & ~BIT(kinds[i]));

		handled = 0;
		raise(kinds[i]);
		raise(kinds[(i + 1) % KINDS]);
		if (wait_call(&set) != -1 || errno != EINTR || handled != 1 || !worked ||
		    mask_after != mask || !(mask_within & BIT(SIGUSR1)) || blocked() != mask ||
		    pending() != BIT(kinds[(i + 1) % KINDS])) {
			printf("# signal %d: %d, %#llx, %#llx, %#llx\n", kinds[i], handled,
			       (unsigned long long)mask_after, (unsigned long long)mask_within,
			       (unsigned long long)pending());
			wrong++;
		}
		block(0);
		wrong += handled != 2;
		block(mask);
	}
	TAP_CHECK(!wrong, "%s lets in what it is to, which waits (%d wrong)", name, wrong);
	block(old);
}

static pthread_t waiter;

static volatile int waits;

/* The next not before the wait is over: until then they are open in the handler, too. */
static void *sends(void *unused)
{
	for (int i = 0; i < (int)SENT_KINDS; i++) {
		usleep(3000);
		pthread_kill(waiter, kinds[i]);
		while (waits <= i)
			usleep(100);
	}
	return unused;
}

static void check_comes(const char *name, int (*wait_call)(const sigset_t *))
{
	uint64_t mask = FAULTS | BIT(SIGUSR1), old = block(mask);
	sigset_t set = set_of(BIT(SIGUSR1));
	pthread_t thread;
	int wrong = 0;

	handled = waits = 0;
	waiter = pthread_self();
	pthread_create(&thread, NULL, sends, NULL);
	for (unsigned int i = 0; i < SENT_KINDS; i++, waits++)
		wrong += wait_call(&set) != -1 || errno != EINTR || handled != (int)i + 1 ||
			 !worked || blocked() != mask || pending();
	pthread_join(thread, NULL);
	TAP_CHECK(!wrong, "%s is ended by what comes (%d wrong)", name, wrong);
	block(old);
}

/* Sent at any moment: before, in the wait, or behind it. */
static void *sends_many(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		for (volatile int n = i % 50 * 20; n; n--)
			;
		pthread_kill(waiter, SIGSEGV);
		while (waits <= i)
			sched_yield();
	}
	return unused;
}

static void check_any_moment(const char *name, int (*wait_call)(const sigset_t *))
{
	uint64_t old = block(FAULTS);
	sigset_t set = set_of(0);
	int wrong = 0;
	pthread_t thread;

	handled = waits = 0;
	waiter = pthread_self();
	pthread_create(&thread, NULL, sends_many, NULL);
	for (; waits < ROUNDS; waits++)
		wrong += wait_call(&set) != -1 || errno != EINTR || blocked() != FAULTS;
	pthread_join(thread, NULL);
	TAP_CHECK(!wrong && handled == ROUNDS,
		  "%s: each that comes ends one wait, whenever it comes (%d of %d)", name, handled,
		  waits);
	block(old);
}

static void check_jumps_out(const char *name, int (*wait_call)(const sigset_t *))
{
	uint64_t mask = FAULTS | BIT(SIGUSR1), old = block(mask);
	sigset_t set = set_of(BIT(SIGUSR1));

	raise(SIGFPE);
	jump = true;
	if (!sigsetjmp(back, 1))
		wait_call(&set);
	jump = false;
	TAP_CHECK(blocked() == mask && !pending(), "%s: a handler that jumps out of it (%#llx)",
		  name, (unsigned long long)blocked());
	raise(SIGFPE);
	TAP_CHECK(pending() == BIT(SIGFPE), "%s: what was blocked there is", name);
	handled = 0;
	block(old);
	TAP_CHECK(handled == 1 && enclave_works(), "%s: until it is let come", name);
}

/* Without a mask, or with one that cannot be read, nothing is let in. */
static void check_not_let_in(void)
{
	uint64_t old = block(FAULTS);
	struct pollfd ready = { .fd = full[0], .events = POLLIN };
	sigset_t all = set_of(FAULTS), none = set_of(0);
	struct timespec none_at_all = { 0, 0 };

	handled = 0;
	raise(SIGTRAP);
	TAP_CHECK(ppoll(NULL, 0, &soon, NULL) == 0 && !handled, "ppoll without a mask");
	TAP_CHECK(ppoll(NULL, 0, &soon, &all) == 0 && !handled, "ppoll with the same mask");
	TAP_CHECK(pselect(0, NULL, NULL, NULL, &soon, NULL) == 0 && !handled,
		  "pselect without a mask");
	TAP_CHECK(syscall(SYS_ppoll, NULL, 0, &soon, (void *)8, 8) == -1 && errno == EFAULT &&
			  !handled,
		  "a mask that is not there: EFAULT");
	TAP_CHECK(pending() == BIT(SIGTRAP) && blocked() == FAULTS, "it waits on");
	ready.fd = full[0];
	TAP_CHECK(ppoll(&ready, 1, &none_at_all, &all) == 1 && !handled, "what is ready is told");
	ppoll(NULL, 0, &none_at_all, &none);
	TAP_CHECK(handled == 1 && !pending() && blocked() == FAULTS,
		  "one that waits for no time lets it in as well (%d)", handled);
	block(old);
}

/* A wait that is ended by another signal: in its handler they are open. */
static void check_other_ends_it(void)
{
	struct itimerval in20ms = { { 0, 0 }, { 0, 20000 } };
	uint64_t old = block(FAULTS);
	sigset_t set = set_of(BIT(SIGBUS));
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

	handled = 0;
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &in20ms, NULL);
	raise(SIGBUS);
	TAP_CHECK(sigsuspend(&set) == -1 && errno == EINTR && handled == 1 && worked,
		  "another ends it (%d)", handled);
	TAP_CHECK(!(mask_within & (FAULTS & ~BIT(SIGBUS))) && mask_after == FAULTS,
		  "what is let in is open in its handler (%#llx)", (unsigned long long)mask_within);
	TAP_CHECK(pending() == BIT(SIGBUS) && blocked() == FAULTS,
		  "what is not let in waits on (%#llx)", (unsigned long long)pending());
	block(old);
	signal(SIGALRM, on_alarm);
}

static void check_timeout_first(void)
{
	uint64_t old = block(FAULTS);
	static const struct timespec bad[] = { { 0, 1000000000 }, { 0, -1 }, { -1, 0 } };
	sigset_t set = set_of(FAULTS);
	int wrong = 0;

	raise(SIGSEGV);
	for (unsigned int i = 0; i < 3; i++)
		wrong += sigtimedwait(&set, NULL, &bad[i]) != -1 || errno != EINVAL;
	TAP_CHECK(!wrong && pending() == BIT(SIGSEGV),
		  "sigtimedwait looks at its time first: EINVAL, and what waits does so (%d)",
		  wrong);
	TAP_CHECK(sigtimedwait(&set, NULL, &soon) == SIGSEGV && !pending(), "and then it is taken");
	block(old);
}

/* ---- jumps and contexts ---------------------------------------------------------------------------------- */

static void check_siglongjmp(void)
{
	uint64_t old = block(BIT(SIGBUS) | BIT(SIGUSR2));
	volatile int turns = 0;
	sigjmp_buf maskless;

	if (!sigsetjmp(back, 1)) {
		block(BIT(SIGSEGV));
		siglongjmp(back, 1);
	}
	TAP_CHECK(blocked() == (BIT(SIGBUS) | BIT(SIGUSR2)),
		  "siglongjmp goes back to the mask of sigsetjmp (%#llx)",
		  (unsigned long long)blocked());
	handled = 0;
	if (!sigsetjmp(back, 1)) {
		block(BIT(SIGSEGV) | BIT(SIGBUS));
		raise(SIGSEGV);
		siglongjmp(back, 1);
	}
	TAP_CHECK(handled == 1 && !pending(), "which lets in what waits (%d)", handled);
	block(0);
	if (!sigsetjmp(maskless, 0)) {
		block(BIT(SIGFPE));
		siglongjmp(maskless, 1);
	}
	TAP_CHECK(blocked() == BIT(SIGFPE), "one without a mask leaves it");
	block(0);
	if (!sigsetjmp(back, 1))
		turns = 1;
	block(BIT(SIGILL));
	if (turns++ < 3)
		longjmp(back, 1);
	block(BIT(SIGILL));
	TAP_CHECK(turns == 4, "longjmp to it (%d)", turns);
	block(old);
}

static ucontext_t here, there;
static uint64_t mask_there;
static char there_stack[65536];

static void other_context(void)
{
	mask_there = blocked();
	block(FAULTS);
	swapcontext(&there, &here);
}

static void check_contexts(void)
{
	uint64_t old = block(BIT(SIGTRAP));
	volatile int turns = 0;

	getcontext(&here);
	if (!turns++) {
		block(BIT(SIGSEGV));
		setcontext(&here);
	}
	TAP_CHECK(turns == 2 && blocked() == BIT(SIGTRAP),
		  "setcontext goes back to the mask of getcontext (%#llx)",
		  (unsigned long long)blocked());
	getcontext(&there);
	there.uc_stack.ss_sp = there_stack;
	there.uc_stack.ss_size = sizeof(there_stack);
	makecontext(&there, other_context, 0);
	block(BIT(SIGBUS));
	swapcontext(&here, &there);
	TAP_CHECK(mask_there == BIT(SIGTRAP), "swapcontext to the other's (%#llx)",
		  (unsigned long long)mask_there);
	TAP_CHECK(blocked() == BIT(SIGBUS), "and back to its own (%#llx)",
		  (unsigned long long)blocked());
	getcontext(&there);
	there.uc_stack.ss_sp = there_stack;
	there.uc_stack.ss_size = sizeof(there_stack);
	sigemptyset(&there.uc_sigmask);
	sigaddset(&there.uc_sigmask, SIGFPE);
	makecontext(&there, other_context, 0);
	swapcontext(&here, &there);
	TAP_CHECK(mask_there == BIT(SIGFPE), "to one that was written into it (%#llx)",
		  (unsigned long long)mask_there);
	TAP_CHECK(enclave_works(), "enclaves work");
	block(old);
}

static void check_calls(const char *name, int (*wait_call)(const sigset_t *))
{
	check_there_before(name, wait_call);
	check_comes(name, wait_call);
	check_any_moment(name, wait_call);
	check_jumps_out(name, wait_call);
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	struct client_conf conf = { .threads = 1, .heap_pages = HEAP };

	for (unsigned int i = 0; i < KINDS; i++)
		sigaction(kinds[i], &sa, NULL);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	TAP_MUST(epoll >= 0 && !pipe(full) && write(full[1], "x", 1) == 1, "files to wait for");
	TAP_MUST(!client_create(&e, &conf), "an enclave");
	check_calls("sigsuspend", by_sigsuspend);
	check_calls("ppoll", by_ppoll);
	check_calls("pselect", by_pselect);
	check_calls("epoll_pwait", by_epoll);
	check_calls("syscall(rt_sigsuspend)", by_call_sigsuspend);
	check_calls("syscall(pselect6)", by_call_pselect);
	check_not_let_in();
	check_other_ends_it();
	check_timeout_first();
	check_siglongjmp();
	check_contexts();
	TAP_CHECK(!blocked() && !pending() && enclave_works(), "nothing is left blocked");
	client_destroy(&e);
	return tap_done();
}
