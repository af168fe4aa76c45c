/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Signals as POSIX and Linux have them, in a program that may run above something which takes
 * signals for itself: what was set is what is read back, and every delivery is as without it.
 * With the argument "plain" no enclave is opened.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

static const int ours[] = { SIGSEGV, SIGILL, SIGBUS, SIGFPE, SIGTRAP, SIGSYS, SIGALRM };
static uint8_t alt[64 * 1024];
static volatile int count, last_code, last_signo;
static void *volatile last_addr;
static volatile uintptr_t last_sp;
static sigset_t mask_inside, uc_mask;
static sigjmp_buf back;

/* An address that the compiler knows nothing of. */
static uintptr_t at(uintptr_t addr)
{
	__asm__("" : "+r"(addr));
	return addr;
}

static void handler(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	count++;
	last_signo = signo;
	last_code = info->si_code;
	last_addr = info->si_addr;
	last_sp = (uintptr_t)__builtin_frame_address(0);
	sigprocmask(SIG_BLOCK, NULL, &mask_inside);
	memcpy(&uc_mask, &uc->uc_sigmask, 8);
}

static void plain_handler(int signo)
{
	count++;
	last_signo = signo;
}

static void jumper(int signo, siginfo_t *info, void *context)
{
	(void)context;
	count++;
	last_signo = signo;
	last_code = info->si_code;
	last_addr = info->si_addr;
	siglongjmp(back, 1);
}

static void check_query(void)
{
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		int s = ours[i];
		struct sigaction set = { .sa_sigaction = handler,
					 .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK },
				 got;
		bool done;

		sigaddset(&set.sa_mask, SIGUSR2);
		memset(&got, 0x55, sizeof(got));
		/* Before the check: its arguments are worked out in any order. */
		done = sigaction(s, NULL, &got) == 0;
		TAP_CHECK(done && got.sa_handler == SIG_DFL && !(got.sa_flags & ~0x04000000),
			  "signal %d: at first SIG_DFL, no flags (%#x)", s, got.sa_flags);
		TAP_CHECK(!sigaction(s, &set, &got) && got.sa_handler == SIG_DFL,
			  "signal %d: the old action is returned", s);
		done = sigaction(s, NULL, &got) == 0;
		TAP_CHECK(done && got.sa_sigaction == handler &&
				  (got.sa_flags & ~0x04000000) ==
					  (SA_SIGINFO | SA_NODEFER | SA_ONSTACK) &&
				  sigismember(&got.sa_mask, SIGUSR2) == 1 &&
				  sigismember(&got.sa_mask, SIGUSR1) == 0,
			  "signal %d: what was set is read back (flags %#x)", s, got.sa_flags);
		TAP_CHECK(signal(s, SIG_IGN) == (sighandler_t)(void *)handler &&
				  signal(s, plain_handler) == SIG_IGN &&
				  signal(s, SIG_DFL) == plain_handler,
			  "signal %d: signal() returns the one before", s);
	}
	TAP_CHECK(sigaction(SIGKILL, NULL, NULL) == 0 &&
			  signal(SIGKILL, plain_handler) == SIG_ERR && errno == EINVAL,
		  "SIGKILL cannot be caught: EINVAL");
	TAP_CHECK(signal(0, plain_handler) == SIG_ERR && errno == EINVAL &&
			  signal(65, plain_handler) == SIG_ERR && errno == EINVAL,
		  "signals 0 and 65: EINVAL");
}

static void install(int s, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags };

	sigaction(s, &sa, NULL);
	count = 0;
}

/* docs/deviations.md: in their handlers these stay open in the kernel's mask. */
static bool is_fault(int s)
{
	return s == SIGSEGV || s == SIGILL || s == SIGBUS || s == SIGFPE || s == SIGTRAP ||
	       s == SIGSYS;
}

static void check_blocking(int s)
{
	sigset_t one, old, now;

	install(s, handler, 0);
	sigemptyset(&one);
	sigaddset(&one, s);
	TAP_CHECK(!sigprocmask(SIG_BLOCK, &one, &old) && !sigprocmask(SIG_BLOCK, NULL, &now) &&
			  sigismember(&now, s) == 1,
		  "signal %d: a program may block it, and reads that back", s);
	raise(s);
	TAP_CHECK(count == 0, "signal %d waits while blocked", s);
	sigprocmask(SIG_SETMASK, &old, NULL);
	TAP_CHECK(count == 1, "signal %d comes when unblocked", s);
	TAP_CHECK(!sigprocmask(SIG_BLOCK, NULL, &now) && sigismember(&now, s) == 0,
		  "signal %d: that it is unblocked is read back", s);
}

static void check_delivery(void)
{
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		int s = ours[i];

		install(s, handler, 0);
		kill(getpid(), s);
		TAP_CHECK(count == 1 && last_signo == s && last_code == SI_USER,
			  "signal %d by kill: SI_USER (%d, code %d)", s, count, last_code);
		TAP_CHECK((is_fault(s) || sigismember(&mask_inside, s) == 1) &&
				  sigismember(&uc_mask, s) == 0,
			  "signal %d is blocked in its handler only", s);
		raise(s);
		TAP_CHECK(count == 2 && last_code == SI_TKILL, "signal %d by raise: SI_TKILL", s);
		check_blocking(s);
		count = 3;
		signal(s, SIG_IGN);
		raise(s);
		TAP_CHECK(count == 3, "signal %d: SIG_IGN ignores", s);
		install(s, handler, SA_RESETHAND);
		raise(s);
		TAP_CHECK(count == 1 && signal(s, SIG_DFL) == SIG_DFL,
			  "signal %d: SA_RESETHAND resets", s);
		install(s, handler, SA_ONSTACK);
		raise(s);
		TAP_CHECK(last_sp - (uintptr_t)alt < sizeof(alt), "signal %d: SA_ONSTACK", s);
		install(s, handler, SA_NODEFER);
		raise(s);
		TAP_CHECK(sigismember(&mask_inside, s) == 0 &&
				  last_sp - (uintptr_t)alt >= sizeof(alt),
			  "signal %d: SA_NODEFER, and on the program's own stack", s);
		signal(s, SIG_DFL);
	}
}

static void check_altstack(void)
{
	stack_t ss = { .ss_sp = alt, .ss_size = sizeof(alt) }, got,
		off = { .ss_flags = SS_DISABLE };

	TAP_CHECK(!sigaltstack(NULL, &got) && got.ss_flags == SS_DISABLE,
		  "at first there is no alternate stack");
	TAP_CHECK(!sigaltstack(&ss, &got) && got.ss_flags == SS_DISABLE, "one is set");
	TAP_CHECK(!sigaltstack(NULL, &got) && got.ss_sp == alt && got.ss_size == sizeof(alt) &&
			  !got.ss_flags,
		  "and read back");
	TAP_CHECK(!sigaltstack(&off, NULL) && !sigaltstack(NULL, &got) &&
			  got.ss_flags == SS_DISABLE,
		  "and taken away");
	ss.ss_size = 64;
	TAP_CHECK(sigaltstack(&ss, NULL) == -1 && errno == ENOMEM, "too small: ENOMEM");
	ss.ss_size = sizeof(alt);
	sigaltstack(&ss, NULL);
}

/* Faults of the program itself. */
static void check_faults(void)
{
	volatile char *ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	install(SIGSEGV, jumper, 0);
	if (!sigsetjmp(back, 1))
		(void)*(volatile char *)at(0x123);
	TAP_CHECK(count == 1 && last_code == SEGV_MAPERR && last_addr == (void *)0x123,
		  "read of nothing: SEGV_MAPERR at it");
	if (!sigsetjmp(back, 1))
		ro[5] = 1;
	TAP_CHECK(count == 2 && last_code == SEGV_ACCERR && last_addr == (void *)(ro + 5),
		  "write to a read-only page: SEGV_ACCERR at it");
	if (!sigsetjmp(back, 1))
		(void)*(volatile char *)0x8000000000000000ull;
	TAP_CHECK(count == 3 && last_code == SI_KERNEL, "a non-canonical address: SI_KERNEL");
	if (!sigsetjmp(back, 1))
		__asm__ volatile("hlt");
	TAP_CHECK(count == 4 && last_code == SI_KERNEL, "hlt: SI_KERNEL");
	install(SIGILL, jumper, 0);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("ud2");
	TAP_CHECK(count == 1 && last_code == ILL_ILLOPN, "ud2: ILL_ILLOPN");
	install(SIGFPE, jumper, 0);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("xor %%ecx, %%ecx; xor %%edx, %%edx; div %%ecx"
				 :
				 :
				 : "rax", "rcx", "rdx");
	TAP_CHECK(count == 1 && last_code == FPE_INTDIV, "division by zero: FPE_INTDIV");
	install(SIGTRAP, handler, 0);
	__asm__ volatile("int3");
	TAP_CHECK(count == 1 && last_signo == SIGTRAP && last_code == SI_KERNEL, "int3: SIGTRAP");
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		signal(ours[i], SIG_DFL);
}

/* How a child that does @how ends. */
static int death(int how)
{
	pid_t pid = fork();
	int status = -1;

	if (!pid) {
		if (how == SIGSEGV)
			(void)*(volatile char *)at(0x10);
		else if (how == SIGILL)
			__asm__ volatile("ud2");
		else if (how == SIGFPE)
			__asm__ volatile("xor %%ecx, %%ecx; xor %%edx, %%edx; div %%ecx"
					 :
					 :
					 : "rax", "rcx", "rdx");
		else if (how == SIGTRAP)
			__asm__ volatile("int3");
		else if (how)
			raise(how);
		_exit(33);
	}
	waitpid(pid, &status, 0);
	return status;
}

static void check_deaths(void)
{
	static const int signals[] = { SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS, SIGTERM, SIGSYS };
	int status;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		status = death(signals[i]);
		TAP_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == signals[i],
			  "a child dies of signal %d (status %#x)", signals[i], status);
	}
	status = death(0);
	TAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 33, "and one exits with 33");
}

static void check_waiting(void)
{
	sigset_t set;
	siginfo_t info;
	struct timespec zero = { 0, 0 };
	struct signalfd_siginfo si;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = 4711 });
	TAP_CHECK(sigtimedwait(&set, &info, &zero) == SIGRTMIN + 2 &&
			  info.si_value.sival_int == 4711,
		  "sigtimedwait takes a queued signal with its value");
	raise(SIGUSR1);
	TAP_CHECK(sigtimedwait(&set, &info, &zero) == SIGUSR1, "sigtimedwait takes SIGUSR1 too");
	fd = signalfd(-1, &set, SFD_NONBLOCK);
	raise(SIGUSR1);
	TAP_CHECK(read(fd, &si, sizeof(si)) == sizeof(si) && si.ssi_signo == SIGUSR1,
		  "signalfd takes SIGUSR1");
	close(fd);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void check_restart(int flags, bool restarts)
{
	struct itimerval once = { { 0, 0 }, { 0, 20000 } };
	int p[2];
	char byte = 0;
	pid_t pid;
	ssize_t n;

	TAP_MUST(!pipe(p), "a pipe");
	pid = fork();
	if (!pid) {
		usleep(150000);
		_exit(write(p[1], "x", 1) != 1);
	}
	install(SIGALRM, handler, flags);
	setitimer(ITIMER_REAL, &once, NULL);
	n = read(p[0], &byte, 1);
	TAP_CHECK(count == 1 && (restarts ? n == 1 && byte == 'x' : n == -1 && errno == EINTR),
		  "read: %s", restarts ? "SA_RESTART restarts it" : "EINTR without SA_RESTART");
	waitpid(pid, NULL, 0);
	close(p[0]);
	close(p[1]);
	signal(SIGALRM, SIG_DFL);
}

static void change_mask(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signo, (void)info;
	count++;
	sigaddset(&uc->uc_sigmask, SIGUSR2);
}

static void skip_ud2(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signo, (void)info;
	count++;
	uc->uc_mcontext.gregs[REG_RIP] += 2;
	uc->uc_mcontext.gregs[REG_R8] = 0x888;
}

static void check_context(void)
{
	sigset_t now;
	uint64_t r8;

	install(SIGILL, skip_ud2, 0);
	__asm__ volatile("mov $5, %%r8d; ud2; mov %%r8, %0" : "=r"(r8) : : "r8");
	TAP_CHECK(count == 1 && r8 == 0x888, "a handler changes RIP and R8 in its context");
	install(SIGILL, change_mask, 0);
	raise(SIGILL);
	sigprocmask(SIG_BLOCK, NULL, &now);
	TAP_CHECK(sigismember(&now, SIGUSR2) == 1, "a handler changes uc_sigmask");
	sigdelset(&now, SIGUSR2);
	sigprocmask(SIG_SETMASK, &now, NULL);
	signal(SIGILL, SIG_DFL);
}

/* A signal's default is fatal even when the fault is in a thread. */
static void *fault_thread(void *arg)
{
	(void)arg;
	(void)*(volatile char *)at(0x10);
	return NULL;
}

static void check_thread_death(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		pthread_t t;

		pthread_create(&t, NULL, fault_thread, NULL);
		pthread_join(t, NULL);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	TAP_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
		  "a fault in a thread kills the process");
}

int main(int argc, char **argv)
{
	struct client_conf conf = { .heap_pages = 1 };
	struct client_encl e;

	if (argc < 2 || strcmp(argv[1], "plain")) {
		TAP_MUST(!client_create(&e, &conf), "an enclave");
		TAP_CHECK(!client_op(&e, 0, OP_NOP, 0, 0, 0), "that works");
	}
	check_query();
	check_altstack();
	check_delivery();
	check_faults();
	check_deaths();
	check_waiting();
	check_restart(SA_RESTART, true);
	check_restart(0, false);
	check_context();
	check_thread_death();
	return tap_done();
}
