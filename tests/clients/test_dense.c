/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Signals so dense that they meet every instruction on the way into an enclave, in it, and on the way out: of
 * those that a program uses for itself, and of those that a fault raises too.  None may be lost, none may change what
 * comes of a call, and those that queue come in the order in which they were sent.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define WINDOW_NS 600000000ull

static struct client_encl e;
static volatile sig_atomic_t ticks, faults, out_of_order;
static volatile int last_value;
static const void *own_tls; /* the one thread's */

static void on_tick(int signo, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	uint64_t rip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];

	(void)signo;
	if (info->si_code > 0 || rip - e.base < e.size || __builtin_thread_pointer() != own_tls)
		faults++;
	ticks++;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static timer_t start_timer(int sig, long ns)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = sig };
	struct itimerspec every = { { 0, ns }, { 0, ns } };
	timer_t timer;

	TAP_MUST(!timer_create(CLOCK_MONOTONIC, &ev, &timer), "a timer");
	TAP_MUST(!timer_settime(timer, 0, &every, NULL), "that runs");
	return timer;
}

static bool still_ticks(void)
{
	sig_atomic_t before = ticks;

	for (int i = 0; i < 500 && ticks == before; i++)
		usleep(1000);
	return ticks > before;
}

/* Calls that do nothing, or an exception's. The last two of arg: the registers that OP_REGS compares. */
static uint64_t calls(enum client_entry how)
{
	struct encl_op op = { .nr = OP_NOP };
	uint64_t end = now_ns() + WINDOW_NS, bad = 0;
	static uint32_t stop = 1;

	while (now_ns() < end) {
		for (int i = 0; i < 50; i++)
			bad += client_call(&e, 0, &op, how) != 0;
		op = (struct encl_op){ .nr = OP_REGS, .arg = { (uintptr_t)&stop, 200, 0 } };
		bad += client_call(&e, 0, &op, how) != 0 || op.ret != 0;
		op = (struct encl_op){ .nr = OP_NOP };
	}
	return bad;
}

static void check_signal(int sig, long ns, enum client_entry how)
{
	struct sigaction sa = { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART };
	uint64_t bad;
	sigset_t mask;
	timer_t timer;

	ticks = faults = 0;
	sigaction(sig, &sa, NULL);
	timer = start_timer(sig, ns);
	bad = calls(how);
	TAP_CHECK(!bad, "signal %d, %s: every call does what it should (%llu not)", sig,
		  client_entry_name[how], (unsigned long long)bad);
	TAP_CHECK(still_ticks(), "signal %d, %s: it still ticks after %d", sig,
		  client_entry_name[how], (int)ticks);
	TAP_CHECK(!faults, "signal %d, %s: no handler saw a fault, or the enclave (%d)", sig,
		  client_entry_name[how], (int)faults);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	TAP_CHECK(!sigismember(&mask, sig) && !sigismember(&mask, SIGALRM),
		  "signal %d, %s: no mask stays behind", sig, client_entry_name[how]);
	timer_delete(timer);
	usleep(1000);
	signal(sig, SIG_DFL);
}

/* Two at once: handlers come upon handlers. */
static void check_two(int a, int b)
{
	struct sigaction sa = { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART };
	timer_t ta, tb;
	uint64_t bad;

	ticks = faults = 0;
	sigaction(a, &sa, NULL);
	sigaction(b, &sa, NULL);
	ta = start_timer(a, 170000);
	tb = start_timer(b, 230000);
	bad = calls(ENTRY_VDSO) + calls(ENTRY_UD2);
	TAP_CHECK(!bad && !faults, "signals %d and %d: every call does what it should (%llu not)",
		  a, b, (unsigned long long)bad);
	TAP_CHECK(still_ticks(), "signals %d and %d: they still tick", a, b);
	timer_delete(ta);
	timer_delete(tb);
	usleep(1000);
	signal(a, SIG_DFL);
	signal(b, SIG_DFL);
}

static void tell_failures(FILE *from)
{
	char line[256];

	rewind(from);
	while (fgets(line, sizeof(line), from))
		if (strncmp(line, "ok", 2) != 0)
			printf("# in the child: %s", line);
}

/* A forked child waits with its signals where its parent does. */
static void check_child(void)
{
	FILE *said = tmpfile();
	unsigned int failed_before = tap_failed;
	int status = -1;
	pid_t pid;

	TAP_MUST(said, "a file for what the child says");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		dup2(fileno(said), 1); /* its checks are not the parent's */
		check_signal(SIGALRM, 150000, ENTRY_UD2);
		check_two(SIGSEGV, SIGALRM);
		fflush(stdout);
		_exit(tap_failed != failed_before);
	}
	waitpid(pid, &status, 0);
	if (status != 0)
		tell_failures(said);
	fclose(said);
	TAP_CHECK(status == 0, "the same in a child (status %#x)", status);
}

/* Signals upon handlers upon calls, and now and then a fork: the child's mask is its parent's, which is empty. */
static void check_masks(void)
{
	static const int kinds[] = { SIGILL, SIGBUS, SIGTRAP };
	struct sigaction sa = { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART };
	uint64_t end = now_ns() + 3 * WINDOW_NS;
	unsigned int forks = 0, wrong = 0;
	timer_t timer[3];

	for (unsigned int i = 0; i < 3; i++) {
		sigaction(kinds[i], &sa, NULL);
		timer[i] = start_timer(kinds[i], 50000 + 7000 * i);
	}
	for (; now_ns() < end; forks++) {
		struct encl_op op = { .nr = OP_NOP };
		int status = -1;
		sigset_t mask;
		pid_t pid;

		for (int i = 0; i < 20; i++)
			client_call(&e, 0, &op, i % 2 ? ENTRY_VDSO : ENTRY_UD2);
		pid = fork();
		if (!pid) {
			sigprocmask(SIG_BLOCK, NULL, &mask);
			_exit(!sigisemptyset(&mask));
		}
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		wrong += status != 0;
	}
	for (unsigned int i = 0; i < 3; i++) {
		timer_delete(timer[i]);
		usleep(1000);
		signal(kinds[i], SIG_DFL);
	}
	TAP_CHECK(!wrong, "%u of %u forked children begin with signals blocked", wrong, forks);
}

static void on_value(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)context;
	out_of_order += info->si_value.sival_int != last_value + 1;
	last_value = info->si_value.sival_int;
}

static void *send_values(void *arg)
{
	uint64_t end = now_ns() + 3 * WINDOW_NS;
	int value = 0;

	while (now_ns() < end) {
		for (int i = 0; i < 3; i++) {
			union sigval v = { .sival_int = value + 1 };

			value += pthread_sigqueue(*(pthread_t *)arg, SIGRTMIN + 3, v) == 0;
		}
		usleep(100);
	}
	*(pthread_t *)arg = 0;
	return (void *)(intptr_t)value;
}

/* Queued signals of one number come in the order in which they were sent. */
static void check_order(void)
{
	struct sigaction sa = { .sa_sigaction = on_value, .sa_flags = SA_SIGINFO | SA_RESTART };
	volatile pthread_t self = pthread_self();
	pthread_t thread;
	uint64_t bad = 0;
	void *sent;

	last_value = out_of_order = 0;
	sigaction(SIGRTMIN + 3, &sa, NULL);
	pthread_create(&thread, NULL, send_values, (void *)&self);
	while (self)
		for (int i = 0; i < 50; i++)
			bad += client_op(&e, 0, OP_NOP, 0, 0, 0) != 0;
	pthread_join(thread, &sent);
	for (int i = 0; i < 500 && last_value != (intptr_t)sent; i++)
		usleep(1000);
	TAP_CHECK(!bad, "calls under queued signals");
	TAP_CHECK(last_value == (intptr_t)sent, "every one of %d came (%d)", (int)(intptr_t)sent,
		  last_value);
	TAP_CHECK(!out_of_order, "and in their order (%d not)", (int)out_of_order);
}

int main(void)
{
	static const int kinds[] = { SIGALRM, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS };
	struct client_conf conf = { .threads = 1 };

	own_tls = __builtin_thread_pointer();
	TAP_MUST(!client_create(&e, &conf), "an enclave");
	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		check_signal(kinds[i], 150000, ENTRY_VDSO);
		check_signal(kinds[i], 150000, ENTRY_UD2);
	}
	check_two(SIGALRM, SIGUSR1);
	check_two(SIGSEGV, SIGALRM);
	check_two(SIGILL, SIGBUS);
	check_child();
	check_masks();
	check_order();
	client_destroy(&e);
	return tap_done();
}
