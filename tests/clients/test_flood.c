/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Other processes that send the signals of faults as fast as they can: no stack is filled with handlers that have not
 * begun, every call does what it should, and afterwards faults are served as ever.  What waits for a thread goes with it.
 */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

enum { SENDERS = 2, PAGES = 300, FLOOD_NS = 150000000, PATIENCE_NS = 2000000000, HEIRS = 20 };

static const int kinds[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS };
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct client_encl e;
static volatile unsigned long handled;
static volatile pid_t *target; /* the thread that is to have them; shared */

static void on_signal(int signo)
{
	(void)signo;
	handled++;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void send_for_ever(pid_t to, int signo)
{
	while (getppid() == to)
		if (!*target)
			kill(to, signo);
		else if (*target > 0)
			syscall(SYS_tgkill, to, *target, signo);
	_exit(0);
}

/* More pages than the EPC has: a word into each by the enclave, and out of it by the host and by the enclave. */
static unsigned int page_through(enum client_entry how, uint64_t end)
{
	uint64_t heap = e.base + e.heap;
	unsigned int wrong = 0;

	for (uint64_t i = 0; i < PAGES && now_ns() < end; i++) {
		struct encl_op in = { .nr = OP_WRITE, .arg = { heap + i * 4096, i + 1 } };
		struct encl_op out = { .nr = OP_READ, .arg = { heap + i * 4096 } };

		wrong += client_call(&e, 0, &in, how) != 0;
		wrong += *(volatile uint64_t *)(heap + i * 4096) != i + 1;
		wrong += client_call(&e, 0, &out, how) != 0 || out.ret != i + 1;
	}
	return wrong;
}

static void flood_begins(int signo, pid_t sender[SENDERS])
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK };

	handled = 0;
	sigaction(signo, &sa, NULL);
	fflush(stdout);
	for (unsigned int i = 0; i < SENDERS; i++) {
		pid_t parent = getpid();

		sender[i] = fork();
		if (!sender[i])
			send_for_ever(parent, signo);
	}
}

static void flood_ends(int signo, const pid_t sender[SENDERS])
{
	for (unsigned int i = 0; i < SENDERS; i++) {
		kill(sender[i], SIGKILL);
		waitpid(sender[i], NULL, 0);
	}
	signal(signo, SIG_DFL);
}

/* On a machine with much to do the senders may not have had a turn. */
static bool goes_on(uint64_t end)
{
	uint64_t now = now_ns();

	return now < end || (!handled && now < end + PATIENCE_NS);
}

static void check_flood(int signo)
{
	uint64_t end = now_ns() + FLOOD_NS;
	unsigned int wrong = 0;
	pid_t sender[SENDERS];

	flood_begins(signo, sender);
	while (goes_on(end))
		wrong += page_through(ENTRY_VDSO, end) + page_through(ENTRY_UD2, end);
	flood_ends(signo, sender);
	TAP_CHECK(!wrong, "signal %d from %d processes: calls do what they should (%u not)", signo,
		  SENDERS, wrong);
	TAP_CHECK(handled > 0, "signal %d: it comes (%lu)", signo, handled);
}

/* The first that this thread has to do with an enclave: half of them have a signal stack. */
static void *new_thread(void *wrong)
{
	static unsigned int nr;
	static uint8_t stack[65536];
	const stack_t own = { .ss_sp = stack, .ss_size = sizeof(stack) };
	uint64_t heap = e.base + e.heap;

	if (nr++ % 2)
		*(unsigned int *)wrong += sigaltstack(&own, NULL) != 0;

	*target = (pid_t)syscall(SYS_gettid);
	for (uint64_t i = 0; i < PAGES; i++)
		*(unsigned int *)wrong += *(volatile uint64_t *)(heap + i * 4096) != i + 1;
	*target = -1;
	return NULL;
}

static void check_new_threads(int signo)
{
	uint64_t end = now_ns() + FLOOD_NS;
	unsigned int wrong = 0, threads = 0;
	pid_t sender[SENDERS];
	pthread_t thread;

	*target = -1;
	flood_begins(signo, sender);
	for (; goes_on(end); threads++) {
		if (pthread_create(&thread, NULL, new_thread, &wrong))
			wrong++;
		else
			pthread_join(thread, NULL);
	}
	flood_ends(signo, sender);
	*target = 0;
	TAP_CHECK(!wrong,
		  "signal %d from %d processes to %u new threads: each finds its pages (%u not)",
		  signo, SENDERS, threads, wrong);
	TAP_CHECK(handled > 0, "signal %d: it comes (%lu)", signo, handled);
}

/* All of @kinds are there, and blocked. */
static void have_all_wait(sigset_t *set)
{
	sigemptyset(set);
	for (unsigned int i = 0; i < KINDS; i++)
		sigaddset(set, kinds[i]);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	for (unsigned int i = 0; i < KINDS; i++)
		syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), kinds[i]);
}

static void *ends_with_them(void *unused)
{
	sigset_t set;

	have_all_wait(&set);
	return unused;
}

static void *forks_with_them(void *ret_status)
{
	sigset_t set;
	pid_t child;

	have_all_wait(&set);
	child = fork();
	if (!child) {
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
		_exit(handled != 0);
	}
	if (waitpid(child, ret_status, 0) != child)
		*(int *)ret_status = -1;
	return NULL;
}

/* A signal that a thread has blocked when it ends is nobody's, whatever of the thread is used again for the next. */
static void check_waiting(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	int status = -1;
	pthread_t thread;

	for (unsigned int i = 0; i < KINDS; i++)
		sigaction(kinds[i], &sa, NULL);
	handled = 0;
	fflush(stdout);
	for (unsigned int i = 0; i < HEIRS; i++)
		if (!pthread_create(&thread, NULL, ends_with_them, NULL))
			pthread_join(thread, NULL);
	TAP_CHECK(!handled, "what waits for a thread that ends does not come to another (%lu)",
		  handled);
	handled = 0;
	if (!pthread_create(&thread, NULL, forks_with_them, &status))
		pthread_join(thread, NULL);
	TAP_CHECK(status == 0, "nor to a child of its process (%d)", status);
	for (unsigned int i = 0; i < KINDS; i++)
		signal(kinds[i], SIG_DFL);
}

int main(void)
{
	struct client_conf conf = { .threads = 1, .heap_pages = PAGES };
	struct encl_op wild = { .nr = OP_READ, .arg = { 8 } }; /* an address of nobody */
	struct sgx_enclave_run run;
	pid_t child;
	int status;

	target = mmap(NULL, sizeof(*target), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	TAP_MUST(target != MAP_FAILED, "memory that the senders share");
	TAP_MUST(!client_create(&e, &conf), "an enclave larger than the EPC");
	for (unsigned int i = 0; i < KINDS; i++)
		check_flood(kinds[i]);
	TAP_CHECK(!page_through(ENTRY_VDSO, UINT64_MAX) && !page_through(ENTRY_UD2, UINT64_MAX),
		  "afterwards: every page is there");
	for (unsigned int i = 0; i < KINDS; i++)
		check_new_threads(kinds[i]);
	check_waiting();
	child = fork();
	if (!child)
		_exit((int)page_through(ENTRY_UD2, UINT64_MAX));
	waitpid(child, &status, 0);
	TAP_CHECK(status == 0, "and in a child");

	memset(&run, 0, sizeof(run));
	client_vdso(&e, 0, &wild, &run);
	TAP_CHECK(run.exception_vector == VEC_PF, "a fault in the enclave is told (%u)",
		  run.exception_vector);
	client_destroy(&e);
	return tap_done();
}
