/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A thread that is cancelled asynchronously at any instruction on its way into an enclave, in it, and out of it,
 * ends as cancelled.
 *
 * The test forks a program whose threads call an enclave, and traces them as a debugger does: one is stepped through a
 * few calls, which tells every instruction that there is; then one thread for each of these runs into a hardware
 * breakpoint there, is cancelled while it stands, and let go.
 *
 * usage: test_cancel [EVERY [WAY]]: every 37th instruction unless told; of one way only
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define STEPS_MAX 200000u
#define PLACES    8192u /* a power of two */
#define LATE_MS   20000
#define NSSA      12u

/* What the threads of the program do all the time. */
enum way { CALLS, ENCLU_CALLS, SIGNALS, FAULTS, WAY_NR };
static const char *const way_name[WAY_NR] = { "calls by the vDSO", "calls by ENCLU",
					      "signals to an enclave", "pages that are not there" };

static struct shared {
	volatile int tid;
	volatile uint64_t rounds, spun;
	void *volatile result;
	volatile uint32_t function, vector, error;
} * shared;
static int to_program[2], to_thread[2], from_program[2];

static char get(int fd)
{
	char c;

	return read(fd, &c, 1) == 1 ? c : 0;
}

static void put(int fd, char c)
{
	if (write(fd, &c, 1) != 1)
		_exit(3);
}

/* ---- the program ----------------------------------------------------------------------------------- */

static struct client_encl e;
static enum way way;

static void on_signal(int sig) { shared->rounds++; }

static int one_round(struct sgx_enclave_run *run)
{
	struct encl_op op = { .nr = OP_NOP };
	uint32_t stop = 0;

	switch (way) {
	case ENCLU_CALLS:
		client_enclu(&e, 1, &op, ENTRY_UD2);
		return 0;
	case SIGNALS:
		op = (struct encl_op){ .nr = OP_SPIN,
				       .arg = { (uint64_t)&stop, (uint64_t)&shared->spun } };
		break;
	case FAULTS:
		/* More pages than there is EPC. */
		op = (struct encl_op){ .nr = OP_READ,
				       .arg = { e.base + e.heap +
						shared->rounds % e.heap_pages * 4096 } };
		break;
	default:
		break;
	}
	return client_vdso(&e, 1, &op, run);
}

static void *victim(void *arg)
{
	struct sgx_enclave_run run;
	int old, r;

	shared->tid = gettid();
	put(from_program[1], 't');
	get(to_thread[0]);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
	do {
		memset(&run, 0, sizeof(run));
		r = one_round(&run);
		shared->rounds++;
	} while (!r && (way == ENCLU_CALLS || run.function == SGX_EEXIT));
	shared->function = run.function;
	shared->vector = run.exception_vector;
	shared->error = run.exception_error_code;
	return &e;
}

static bool join_late(pthread_t thread)
{
	struct timespec until;
	void *ret = NULL;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LATE_MS / 1000;
	if (pthread_timedjoin_np(thread, &ret, &until))
		return false;
	shared->result = ret;
	return true;
}

/* A thread that is cancelled in the enclave leaves an SSA frame behind for good. */
static void new_enclave(void)
{
	struct client_conf conf = { .threads = 2,
				    .nssa = NSSA,
				    .heap_pages = way == FAULTS ? 700 : 16 };

	if (e.base)
		client_destroy(&e);
	if (client_create(&e, &conf))
		_exit(4);
}

/* One thread after the other; 'c' cancels it, 'j' joins it. */
static void program(void)
{
	unsigned int used = 0;
	pthread_t thread;

	signal(SIGUSR1, on_signal);
	for (char c; (c = get(to_program[0]));) {
		if (c == 'n') {
			if (used++ % (NSSA - 2) == 0)
				new_enclave();
			shared->rounds = 0;
			shared->spun = 0;
			pthread_create(&thread, NULL, victim, NULL);
			continue;
		}
		if (c == 'c')
			pthread_cancel(thread);
		else if (c == 'j' && !join_late(thread))
			c = 'l';
		put(from_program[1], c);
	}
	_exit(0);
}

/* ---- the debugger ------------------------------------------------------------------------------------ */

static pid_t child;

static void start_program(enum way which)
{
	if (pipe(to_program) || pipe(to_thread) || pipe(from_program))
		exit(5);
	way = which;
	child = fork();
	if (child)
		return;
	close(to_program[1]);
	close(from_program[0]);
	program();
}

static void end_program(void)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	for (int i = 0; i < 2; i++) {
		close(to_program[i]);
		close(to_thread[i]);
		close(from_program[i]);
	}
}

/* A new thread of the program, which waits to be let go: traced, and stopped. */
static int new_thread(void)
{
	int tid, status;

	put(to_program[1], 'n');
	if (get(from_program[0]) != 't')
		return -1;
	tid = shared->tid;
	if (ptrace(PTRACE_SEIZE, tid, 0, 0) || ptrace(PTRACE_INTERRUPT, tid, 0, 0) ||
	    waitpid(tid, &status, __WALL) != tid)
		return -1;
	return tid;
}

#define RUNS  (-1)
#define ENDED (-2)

static bool may_trace(void)
{
	int status;

	return !ptrace(PTRACE_SEIZE, child, 0, 0) && !ptrace(PTRACE_INTERRUPT, child, 0, 0) &&
	       waitpid(child, &status, __WALL) == child && !ptrace(PTRACE_DETACH, child, 0, 0);
}

/* The next stop of @tid within the time: its signal, 0 for a stop without one; or RUNS, ENDED. */
static int next_stop(int tid, int ms)
{
	struct timespec t = { .tv_nsec = 50000 };
	int status;

	for (int i = 0; i < ms * 20; i++) {
		int r = waitpid(tid, &status, __WALL | WNOHANG);

		if (r == tid)
			return !WIFSTOPPED(status) ? ENDED : status >> 16 ? 0 : WSTOPSIG(status);
		if (i < 50)
			sched_yield();
		else
			nanosleep(&t, NULL);
	}
	return RUNS;
}

static uint64_t rip_of(int tid)
{
	struct user_regs_struct regs;

	return ptrace(PTRACE_GETREGS, tid, 0, &regs) ? 0 : regs.rip;
}

static void break_at(int tid, uint64_t at)
{
	ptrace(PTRACE_POKEUSER, tid, offsetof(struct user, u_debugreg[7]), 0);
	ptrace(PTRACE_POKEUSER, tid, offsetof(struct user, u_debugreg[0]), at);
	if (at)
		ptrace(PTRACE_POKEUSER, tid, offsetof(struct user, u_debugreg[7]), 1);
}

/* Stop @tid, which runs. */
static void stop(int tid)
{
	ptrace(PTRACE_INTERRUPT, tid, 0, 0);
	for (int sig; (sig = next_stop(tid, LATE_MS)) > 0;)
		ptrace(PTRACE_CONT, tid, 0, sig == SIGTRAP ? 0 : sig);
}

/* @tid stands: cancel it, let it go. */
static bool cancel_and_join(int tid)
{
	bool ok;
	char c;

	put(to_program[1], 'c');
	ok = get(from_program[0]) == 'c';
	break_at(tid, 0);
	ptrace(PTRACE_DETACH, tid, 0, 0);
	shared->result = NULL;
	put(to_program[1], 'j');
	c = get(from_program[0]);
	return ok && c == 'j' && shared->result == PTHREAD_CANCELED;
}

/* The instructions that a thread comes by. */
static uint64_t place[PLACES], seen[PLACES * 2];
static unsigned int place_nr;

static void add_place(uint64_t at)
{
	unsigned int i = (unsigned int)(at * 0x9e3779b97f4a7c15ull >> 40) % (PLACES * 2);

	for (; seen[i]; i = (i + 1) % (PLACES * 2))
		if (seen[i] == at)
			return;
	if (place_nr == PLACES)
		return;
	seen[i] = at;
	place[place_nr++] = at;
}

/* Step a thread until it has come round three times. */
static bool trace_places(void)
{
	int tid = new_thread(), sig = 0;
	unsigned int steps = 0;

	place_nr = 0;
	memset(seen, 0, sizeof(seen));
	if (tid < 0)
		return false;
	put(to_thread[1], 'g');
	while (steps++ < STEPS_MAX && shared->rounds < 3) {
		if (way == SIGNALS && steps % 4000 == 3999)
			syscall(SYS_tgkill, child, tid, SIGUSR1);
		if (ptrace(PTRACE_SINGLESTEP, tid, 0, sig))
			return false;
		sig = next_stop(tid, LATE_MS);
		if (sig < 0)
			return false;
		if (sig == SIGTRAP)
			sig = 0;
		add_place(rip_of(tid));
	}
	printf("# %s: %u places in %u steps\n", way_name[way], place_nr, steps);
	return cancel_and_join(tid);
}

/* Let @tid run until it comes to @at. It may have stopped elsewhere, when it does not come by in time. */
static bool run_to(int tid, uint64_t at)
{
	int sig = 0;

	break_at(tid, at);
	ptrace(PTRACE_CONT, tid, 0, 0);
	put(to_thread[1], 'g');
	for (int tries = 0; tries < 60; tries++) {
		if (way == SIGNALS && shared->spun)
			syscall(SYS_tgkill, child, tid, SIGUSR1);
		sig = next_stop(tid, 5);
		if (sig == ENDED)
			return false;
		if (sig == RUNS)
			continue;
		if (sig == SIGTRAP)
			return rip_of(tid) == at;
		ptrace(PTRACE_CONT, tid, 0, sig);
	}
	stop(tid);
	return false;
}

static void check_way(enum way which, unsigned int every)
{
	unsigned int met = 0, missed = 0, wrong = 0, i;

	start_program(which);
	if (!may_trace()) {
		tap_skip(way_name[which], "nobody may be traced here");
		end_program();
		return;
	}
	TAP_MUST(trace_places(), "%s: a thread is stepped through them, and cancelled",
		 way_name[which]);
	for (i = which; i < place_nr && wrong < 10; i += every) {
		int tid = new_thread();

		if (tid < 0)
			TAP_MUST(false, "a thread can be made and traced");
		if (run_to(tid, place[i]))
			met++;
		else
			missed++;
		if (cancel_and_join(tid))
			continue;
		wrong++;
		printf("# cancelled at %#llx: %p; function %u, vector %u, error %#x\n",
		       (unsigned long long)place[i], shared->result, shared->function,
		       shared->vector, shared->error);
	}
	TAP_CHECK(!wrong, "%s: cancelled at %u instructions (and %u elsewhere): as cancelled",
		  way_name[which], met, missed);
	end_program();
}

/* ---- where no thread can be made ---------------------------------------------------------------------- */

/* This thread makes no others any more: the limit is not for the superuser. */
static void no_more_threads(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_NPROC, &none);
	if (!geteuid())
		syscall(SYS_setresuid, 65534, 65534, 65534);
}

/* The first pthread_cancel() of a process: libc has not installed its handler yet. */
static void check_first(void)
{
	pthread_t thread, other;
	pid_t pid;
	int status;

	way = SIGNALS;
	pid = fork();
	if (!pid) {
		new_enclave();
		put(to_thread[1], 'g');
		pthread_create(&thread, NULL, victim, NULL);
		while (!shared->spun)
			sched_yield();
		no_more_threads();
		if (!pthread_create(&other, NULL, victim, NULL))
			_exit(77);
		pthread_cancel(thread);
		_exit(join_late(thread) && shared->result == PTHREAD_CANCELED ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	if (status == 77 << 8)
		tap_skip("the first cancellation", "the number of threads cannot be limited");
	else
		TAP_CHECK(!status, "the first one, where no thread can be made: as cancelled (%#x)",
			  status);
}

int main(int argc, char **argv)
{
	unsigned int every = argc > 1 ? (unsigned int)atoi(argv[1]) : 37;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (pipe(to_thread) || pipe(from_program))
		return 1;
	check_first();
	for (int w = argc > 2 ? atoi(argv[2]) : 0; w < (argc > 2 ? atoi(argv[2]) + 1 : WAY_NR); w++)
		check_way((enum way)w, every);
	return tap_done();
}
