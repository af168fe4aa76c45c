/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Programs that treat themselves as few do: handlers that jump out of an enclave's asynchronous exit, a profiling timer
 * over calls, faults and forks of several threads, filters of system calls that raise signals, memory that nobody may look at.
 * The enclave works all the while.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

enum { HEAP = 300, USED = 200, THREADS = 3, JUMPS = 10, FORKS = 20, TRAPS = 100, ANSWER = 4242 };

static struct client_encl e;
static sigjmp_buf back;
static uint8_t alt[65536];
static volatile int ticks, traps;

static void on_tick(int sig)
{
	(void)sig;
	ticks++;
}

static void jumps(int sig)
{
	(void)sig;
	ticks++;
	siglongjmp(back, 1);
}

static void handle(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
	ticks = 0;
}

/* The EPC is too small for these pages. */
static bool works(void)
{
	for (uint64_t i = 0; i < USED; i += 5) {
		uint64_t la = e.base + e.heap + i * 4096;

		if (client_op(&e, 0, OP_WRITE, la, i + 1, 0) == ~0ull ||
		    *(volatile uint64_t *)la != i + 1)
			return false;
	}
	return true;
}

/* ---- out of an enclave --------------------------------------------------------------------------------- */

static bool spin_until_jump(struct client_encl *encl, enum client_entry how)
{
	struct itimerval soon = { { 0, 0 }, { 0, 3000 } };
	static volatile uint64_t spun;
	static volatile uint32_t stop;
	struct encl_op op = { .nr = OP_SPIN, .arg = { (uint64_t)&stop, (uint64_t)&spun } };

	if (sigsetjmp(back, 1))
		return true;
	setitimer(ITIMER_REAL, &soon, NULL);
	client_call(encl, 0, &op, how);
	return false;
}

static void check_jumps(enum client_entry how)
{
	struct client_conf conf = { .heap_pages = 1, .nssa = 3 };
	struct client_encl left;
	unsigned int wrong = 0;
	sigset_t mask;

	for (int i = 0; i < JUMPS; i++) {
		handle(SIGALRM, jumps, i % 2 ? SA_ONSTACK : 0);
		TAP_MUST(!client_create(&left, &conf), "an enclave to be left");
		wrong += !spin_until_jump(&left, how) || ticks != 1;
		sigprocmask(SIG_BLOCK, NULL, &mask);
		wrong += sigismember(&mask, SIGALRM) != 0 || !works();
		/* There is an SSA frame left for another turn. */
		wrong += client_op(&left, 0, OP_NOP, 0, 0, 0) == ~0ull;
		client_destroy(&left);
	}
	TAP_CHECK(!wrong,
		  "%s: handlers jump out of the enclave, which can be entered again (%u not)",
		  client_entry_name[how], wrong);
}

/* ---- a profiler ------------------------------------------------------------------------------------------ */

static void profile(int us)
{
	struct itimerval every = { { 0, us }, { 0, us } };

	setitimer(ITIMER_PROF, &every, NULL);
}

static void *reads(void *thread)
{
	long wrong = 0;

	for (uint64_t i = 0; i < USED; i++)
		wrong += client_op(&e, (unsigned int)(long)thread, OP_READ,
				   e.base + e.heap + i * 4096, 0, 0) == ~0ull;
	return (void *)wrong;
}

static int forks(void)
{
	pid_t pid = fork();
	int status = -1;

	if (!pid)
		_exit(!works());
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static void check_profile(void)
{
	pthread_t thread[THREADS];
	bool right = true;
	long wrong = 0;
	void *ret;

	handle(SIGPROF, on_tick, SA_RESTART | SA_ONSTACK);
	profile(1000);
	for (int i = 0; i < 3000 && ticks < 50; i++)
		right &= works();
	TAP_CHECK(right && ticks >= 50, "a profiling timer: calls and faults (%d signals)", ticks);
	for (int i = 0; i < FORKS; i++) {
		for (long t = 0; t < THREADS; t++)
			TAP_MUST(!pthread_create(&thread[t], NULL, reads, (void *)(t + 1)),
				 "a thread");
		wrong += forks() != 0;
		for (int t = 0; t < THREADS; t++) {
			pthread_join(thread[t], &ret);
			wrong += (long)ret;
		}
	}
	profile(0);
	TAP_CHECK(!wrong, "and forks among the faults of other threads (%ld wrong)", wrong);
}

/* ---- filters, and memory that is not to be looked at ---------------------------------------------------- */

static void on_trap(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	traps += info->si_code == 1; /* SYS_SECCOMP */
	uc->uc_mcontext.gregs[REG_RAX] = ANSWER;
}

static void check_filter(void)
{
	struct sigaction sa = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(filter) / sizeof(filter[0]), filter };
	int wrong = 0;

	sigaction(SIGSYS, &sa, NULL);
	TAP_MUST(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
			 !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog),
		 "a filter that traps one system call");
	for (int i = 0; i < TRAPS; i++)
		wrong += syscall(SYS_getppid) != ANSWER || (i % 10 == 0 && !works());
	TAP_CHECK(!wrong && traps == TRAPS, "its handler answers each (%d wrong, %d)", wrong,
		  traps);
}

static void check_not_dumpable(void)
{
	pthread_t thread;
	void *wrong = NULL;

	prctl(PR_SET_DUMPABLE, 0);
	TAP_MUST(!pthread_create(&thread, NULL, reads, (void *)1),
		 "a thread of a secretive process");
	pthread_join(thread, &wrong);
	TAP_CHECK(!wrong && works() && forks() == 0, "the enclave works in it, and in its child");
}

int main(void)
{
	struct client_conf conf = { .threads = THREADS + 1, .heap_pages = HEAP };
	const stack_t stack = { .ss_sp = alt, .ss_size = sizeof(alt) };
	struct sigaction now;

	TAP_MUST(!client_create(&e, &conf), "an enclave");
	sigaltstack(&stack, NULL);
	check_jumps(ENTRY_VDSO);
	check_jumps(ENTRY_UD2);
	check_profile();
	handle(SIGSEGV, jumps, (int)(SA_RESETHAND | SA_NODEFER));
	if (!sigsetjmp(back, 1))
		__asm__ volatile("hlt");
	sigaction(SIGSEGV, NULL, &now);
	TAP_CHECK(ticks == 1 && now.sa_handler == SIG_DFL && works(),
		  "a handler that is used once jumps out of a fault of the program's");
	check_filter();
	check_not_dumpable();
	client_destroy(&e);
	return tap_done();
}
