/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Signal masks go where POSIX says they go: to new threads, forked children and executed programs, those of the signals
 * of faults among them.  What such a mask holds back is shown, can be waited for, and comes when it is let.  Meanwhile
 * enclaves work.
 *
 * usage: test_masks
 *        test_masks tell BLOCKED IGNORED PENDING: exit with 0 where this is what the program was begun with
 *        test_masks chain NR: where none is blocked, executed NR times more
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define BIT(s)    (1ull << ((s)-1))
#define LIBCS_OWN (3ull << 31)
#define NEVER     (BIT(SIGKILL) | BIT(SIGSTOP) | LIBCS_OWN)
#define ALL       (~NEVER)

enum { HEAP = 300, NEW_THREADS = 40, EXECS = 20 };

/*
 * The last two are left out where another thread sends: what lies below the program may raise them itself, and of two that
 * come at the very same moment the kernel makes one.
 */
static const int kinds[] = { SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGILL, SIGSYS };
#define KINDS      (sizeof(kinds) / sizeof(kinds[0]))
#define SENT_KINDS (KINDS - 2)

#define SENT   (BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGTRAP))
#define FAULTS (SENT | BIT(SIGILL) | BIT(SIGSYS))

static struct client_encl e;
static char self[4096];
static volatile int handled, handled_tid;

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

static uint64_t ignored(void)
{
	struct sigaction sa;
	uint64_t word = 0;

	for (unsigned int i = 0; i < KINDS; i++)
		if (!(sigaction)(kinds[i], NULL, &sa) && sa.sa_handler == SIG_IGN)
			word |= BIT(kinds[i]);
	return word;
}

static void on_signal(int sig)
{
	(void)sig;
	handled++;
	handled_tid = gettid();
}

/* ---- new threads ---------------------------------------------------------------------------------------- */

struct newcomer {
	uint64_t blocked, pending;
	bool works;
	int ret;
};

/* A page of the heap each: the first turn is a fault, and the EPC is too small for all. */
static bool enclave_works(unsigned int thread)
{
	if (!e.size)
		return true; /* there is none yet */
	for (uint64_t i = 0; i < HEAP; i += 7) {
		uint64_t la = e.base + e.heap + i * 4096;

		if (client_op(&e, thread, OP_WRITE, la, i, 0) == ~0ull ||
		    *(volatile uint64_t *)la != i)
			return false;
	}
	return true;
}

static void *looks(void *arg)
{
	struct newcomer *n = arg;

	n->blocked = blocked();
	n->pending = pending();
	n->works = enclave_works(1);
	return n;
}

static int looks_too(void *arg)
{
	looks(arg);
	return 4711;
}

static struct newcomer begin(const pthread_attr_t *attr)
{
	struct newcomer n = { 0 };
	pthread_t thread;
	void *ret = NULL;

	n.ret = pthread_create(&thread, attr, looks, &n);
	if (!n.ret && (pthread_join(thread, &ret) || ret != &n))
		n.ret = -1;
	return n;
}

static struct newcomer begin_c11(void)
{
	struct newcomer n = { 0 };
	thrd_t thread;

	if (thrd_create(&thread, looks_too, &n) != thrd_success ||
	    thrd_join(thread, &n.ret) != thrd_success)
		n.ret = -1;
	return n;
}

static void check_new_thread(uint64_t mask, const char *what)
{
	uint64_t old = block(mask);
	struct newcomer n = begin(NULL), c11 = begin_c11();

	TAP_CHECK(!n.ret && n.blocked == mask, "%s: a thread begins with it (%#llx)", what,
		  (unsigned long long)n.blocked);
	TAP_CHECK(c11.ret == 4711 && c11.blocked == mask, "%s: one of C11 too (%#llx, %d)", what,
		  (unsigned long long)c11.blocked, c11.ret);
	TAP_CHECK(n.works && c11.works, "%s: it enters enclaves and touches their pages", what);
	block(old);
}

static void check_pending_is_not_handed_on(void)
{
	uint64_t old = block(FAULTS);
	struct newcomer n;

	syscall(SYS_tgkill, getpid(), gettid(), SIGBUS);
	n = begin(NULL);
	TAP_CHECK(n.blocked == FAULTS && !n.pending && pending() == BIT(SIGBUS),
		  "what waits for a thread does not for one that it begins (%#llx)",
		  (unsigned long long)n.pending);
	handled = 0;
	block(old);
	TAP_CHECK(handled == 1, "it comes when it is let (%d)", handled);
}

/* A mask of the attributes' goes before the creator's. */
static void check_attributes(void)
{
	uint64_t want = BIT(SIGSEGV) | BIT(SIGTRAP) | BIT(SIGUSR1), old = block(BIT(SIGBUS));
	sigset_t set = set_of(want), got;
	pthread_attr_t attr;
	struct newcomer n;

	pthread_attr_init(&attr);
	TAP_CHECK(!pthread_attr_setsigmask_np(&attr, &set) &&
			  !pthread_attr_getsigmask_np(&attr, &got) && word_of(&got) == want,
		  "a mask in a thread's attributes is read back (%#llx)",
		  (unsigned long long)word_of(&got));
	n = begin(&attr);
	TAP_CHECK(!n.ret && n.blocked == want && n.works, "and the thread begins with it (%#llx)",
		  (unsigned long long)n.blocked);
	TAP_CHECK(blocked() == BIT(SIGBUS), "which is not its creator's");
	set = set_of(0);
	pthread_attr_setsigmask_np(&attr, &set);
	n = begin(&attr);
	TAP_CHECK(!n.ret && !n.blocked && n.works, "nor does an empty one add the creator's");
	pthread_attr_setsigmask_np(&attr, NULL);
	n = begin(&attr);
	TAP_CHECK(!n.ret && n.blocked == BIT(SIGBUS), "without one it is the creator's again");
	pthread_attr_destroy(&attr);
	block(old);
}

static volatile bool go_on;

/* Is sent what it has blocked since it began; then it lets it come. */
static void *waits_blocked(void *ret_wrong)
{
	int *wrong = ret_wrong;

	while (!go_on)
		__builtin_ia32_pause();
	*wrong += !enclave_works(1);
	*wrong += pending() != SENT || blocked() != ALL || handled;
	block(ALL & ~FAULTS);
	*wrong += handled != (int)SENT_KINDS || handled_tid != gettid();
	return NULL;
}

static void check_sent_early(void)
{
	uint64_t old = block(ALL);
	int wrong = 0;

	for (int i = 0; i < NEW_THREADS; i++) {
		pthread_t thread;

		go_on = false;
		handled = 0;
		if (pthread_create(&thread, NULL, waits_blocked, &wrong)) {
			wrong++;
			continue;
		}
		for (unsigned int k = 0; k < SENT_KINDS; k++)
			wrong += pthread_kill(thread, kinds[k]) != 0;
		go_on = true;
		pthread_join(thread, NULL);
	}
	TAP_CHECK(!wrong, "what is sent to a thread that has just begun waits for it (%d wrong)",
		  wrong);
	block(old);
}

/* ---- waiting ---------------------------------------------------------------------------------------------- */

static long raw_pending(uint64_t *word, size_t bytes)
{
	return syscall(SYS_rt_sigpending, word, bytes);
}

static void check_shown(void)
{
	uint64_t old = block(FAULTS | BIT(SIGUSR2)), word = 0;
	uint32_t half[2] = { 0, 0x5555 };

	TAP_CHECK(!pending(), "nothing waits at first");
	for (unsigned int i = 0; i < KINDS; i++)
		raise(kinds[i]);
	raise(SIGUSR2);
	TAP_CHECK(pending() == (FAULTS | BIT(SIGUSR2)), "what waits is shown (%#llx)",
		  (unsigned long long)pending());
	TAP_CHECK(!raw_pending(&word, 8) && word == (FAULTS | BIT(SIGUSR2)),
		  "by the system call, too (%#llx)", (unsigned long long)word);
	TAP_CHECK(!raw_pending((uint64_t *)half, 4) && half[0] == (uint32_t)word &&
			  half[1] == 0x5555,
		  "a part of it, to who asks for a part");
	TAP_CHECK(raw_pending(&word, 16) == -1 && errno == EINVAL, "a longer one: EINVAL");
	TAP_CHECK(raw_pending((uint64_t *)8, 8) == -1 && errno == EFAULT, "to nowhere: EFAULT");
	handled = 0;
	block(old);
	TAP_CHECK(handled == KINDS + 1 && !pending(), "all of them come when they are let (%d)",
		  handled);
}

static void check_waited_for(void)
{
	uint64_t old = block(ALL);
	struct timespec none = { 0, 0 };
	sigset_t set = set_of(FAULTS);
	unsigned int wrong = 0;
	siginfo_t info;
	int sig;

	handled = 0;
	TAP_CHECK(sigtimedwait(&set, NULL, &none) == -1 && errno == EAGAIN,
		  "nothing waits: EAGAIN");
	for (unsigned int i = 0; i < KINDS; i++) {
		raise(kinds[i]);
		memset(&info, 0, sizeof(info));
		wrong += sigtimedwait(&set, &info, &none) != kinds[i] ||
			 info.si_signo != kinds[i] ||
			 info.si_code != SI_USER /* libc's word for SI_TKILL */ ||
			 info.si_pid != getpid();
		raise(kinds[i]);
		wrong += sigwaitinfo(&set, NULL) != kinds[i];
		raise(kinds[i]);
		wrong += sigwait(&set, &sig) != 0 || sig != kinds[i];
	}
	TAP_CHECK(!wrong && !pending() && !handled,
		  "what waits can be waited for (%u not, %d handled)", wrong, handled);
	wrong = 0;
	for (unsigned int i = 0; i < KINDS; i++)
		raise(kinds[i]);
	for (unsigned int i = 0; i < KINDS; i++)
		wrong += sigtimedwait(&set, NULL, &none) <= 0;
	TAP_CHECK(!wrong && sigtimedwait(&set, NULL, &none) == -1 && errno == EAGAIN,
		  "each of them once (%u not)", wrong);
	TAP_CHECK(enclave_works(0), "and enclaves work");
	block(old);
	TAP_CHECK(!handled, "nothing is left of them (%d)", handled);
}

static void *waits_for_them(void *arg)
{
	sigset_t set = set_of(FAULTS);
	long sum = 0;

	*(volatile bool *)arg = true;
	for (unsigned int i = 0; i < SENT_KINDS; i++)
		sum += sigwaitinfo(&set, NULL);
	return (void *)sum;
}

static void check_waiting_thread(void)
{
	uint64_t old = block(ALL);
	volatile bool begun = false;
	pthread_t thread;
	void *sum = NULL;
	long want = 0;

	pthread_create(&thread, NULL, waits_for_them, (void *)&begun);
	while (!begun)
		sched_yield();
	for (unsigned int i = 0; i < SENT_KINDS; i++) {
		pthread_kill(thread, kinds[i]);
		want += kinds[i];
		if (i % 2)
			usleep(2000);
	}
	pthread_join(thread, &sum);
	TAP_CHECK((long)sum == want, "a thread that waits is woken by each (%ld of %ld)", (long)sum,
		  want);
	pthread_create(&thread, NULL, waits_for_them, (void *)&begun);
	pthread_cancel(thread);
	pthread_join(thread, &sum);
	TAP_CHECK(sum == PTHREAD_CANCELED, "and by its being cancelled");
	block(old);
}

/* ---- masks for a while -------------------------------------------------------------------------------------- */

static sigset_t mask_after;
static bool worked;

static void on_let_in(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig, (void)info;
	handled++;
	memcpy(&mask_after, &uc->uc_sigmask, 8);
	worked = enclave_works(0);
}

static int by_sigsuspend(const sigset_t *set) { return sigsuspend(set); }
static int by_ppoll(const sigset_t *set) { return ppoll(NULL, 0, NULL, set); }
static int by_pselect(const sigset_t *set) { return pselect(0, NULL, NULL, NULL, NULL, set); }

/* What is blocked all the time but in these calls: as programs wait that want to miss none. */
static void check_let_in(const char *name, int (*wait_call)(const sigset_t *))
{
	struct sigaction sa = { .sa_sigaction = on_let_in, .sa_flags = SA_SIGINFO };
	uint64_t mask = BIT(SIGALRM) | BIT(SIGUSR1), old = block(mask);
	struct itimerval soon = { { 0, 0 }, { 0, 20000 } };
	sigset_t set = set_of(BIT(SIGUSR1));

	sigaction(SIGALRM, &sa, NULL);
	handled = 0;
	raise(SIGALRM);
	TAP_CHECK(wait_call(&set) == -1 && errno == EINTR && handled == 1,
		  "%s lets in what waits (%d)", name, handled);
	TAP_CHECK(worked && word_of(&mask_after) == mask && blocked() == mask && !pending(),
		  "%s: the handler enters an enclave, and goes back to the mask before (%#llx)",
		  name, (unsigned long long)word_of(&mask_after));
	setitimer(ITIMER_REAL, &soon, NULL);
	TAP_CHECK(wait_call(&set) == -1 && errno == EINTR && handled == 2 && worked,
		  "%s lets in what comes (%d)", name, handled);
	block(old);
	signal(SIGALRM, SIG_DFL);
}

/* ---- processes ---------------------------------------------------------------------------------------------- */

static int status_of(pid_t pid)
{
	int status = -1;

	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status)
									       : 1000 + status;
}

enum way { EXEC, SPAWN, SPAWN_MASK, THREAD_EXEC, FAILED_EXEC };

struct told {
	char text[3][24];
	char *argv[6];
};

static char *const *ask(struct told *told, uint64_t mask, uint64_t ign, uint64_t pend)
{
	uint64_t word[3] = { mask, ign, pend };

	told->argv[0] = self;
	told->argv[1] = (char *)"tell";
	for (unsigned int i = 0; i < 3; i++) {
		snprintf(told->text[i], sizeof(told->text[i]), "%llx", (unsigned long long)word[i]);
		told->argv[2 + i] = told->text[i];
	}
	told->argv[5] = NULL;
	return told->argv;
}

static void *execs(void *argv)
{
	execve(self, argv, environ);
	return NULL;
}

static int become(enum way way, uint64_t mask)
{
	uint64_t waits = FAULTS & mask;
	pthread_t thread;
	struct told told;
	pid_t pid = fork();

	if (pid)
		return status_of(pid);
	for (unsigned int i = 0; i < KINDS; i++)
		signal(kinds[i], kinds[i] == SIGTRAP && way != THREAD_EXEC ? SIG_IGN : on_signal);
	block(mask);
	for (unsigned int i = 0; i < KINDS && way != THREAD_EXEC; i++)
		if (waits & BIT(kinds[i]))
			raise(kinds[i]);
	if (way == THREAD_EXEC) {
		if (!pthread_create(&thread, NULL, execs, (void *)ask(&told, mask, 0, 0)))
			pthread_join(thread, NULL);
		_exit(99);
	}
	if (way == FAILED_EXEC && (execl("/", "/", NULL) != -1 || pending() != waits ||
				   blocked() != mask || !enclave_works(0)))
		_exit(98);
	execve(self, (char **)ask(&told, mask, BIT(SIGTRAP), waits), environ);
	_exit(97);
}

static int spawn(enum way way, uint64_t mask)
{
	uint64_t old = block(way == SPAWN ? mask : BIT(SIGFPE));
	sigset_t set = set_of(mask);
	posix_spawnattr_t attr;
	struct told told;
	pid_t pid = -1;
	int r;

	posix_spawnattr_init(&attr);
	if (way == SPAWN_MASK) {
		posix_spawnattr_setsigmask(&attr, &set);
		posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	}
	r = posix_spawn(&pid, self, NULL, &attr, (char **)ask(&told, mask, 0, 0), environ);
	posix_spawnattr_destroy(&attr);
	r = r ? r : status_of(pid);
	if (!enclave_works(0))
		r = 96;
	block(old);
	return r;
}

static void check_processes(uint64_t mask, const char *what)
{
	int r = become(EXEC, mask);

	TAP_CHECK(!r, "%s: an executed program begins with it, and with what waits (%d)", what, r);
	r = become(FAILED_EXEC, mask);
	TAP_CHECK(!r, "%s: also after an exec that failed (%d)", what, r);
	r = become(THREAD_EXEC, mask);
	TAP_CHECK(!r, "%s: executed by a thread (%d)", what, r);
	r = spawn(SPAWN, mask);
	TAP_CHECK(!r, "%s: by posix_spawn() (%d)", what, r);
	r = spawn(SPAWN_MASK, mask);
	TAP_CHECK(!r, "%s: as an attribute of posix_spawn() (%d)", what, r);
}

static int chain(unsigned long nr)
{
	char text[24];
	char *const next[] = { self, (char *)"chain", text, NULL };

	if (blocked())
		return 1;
	if (!nr)
		return 0;
	signal(SIGWINCH, on_signal);
	snprintf(text, sizeof(text), "%lu", nr - 1);
	execve(self, next, environ);
	return 2;
}

/* Where signals come all the while, and are ignored by who has just begun. */
static void check_signals_while_executing(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(chain(EXECS));
	while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0) {
		kill(pid, SIGWINCH);
		usleep(20);
	}
	TAP_CHECK(status == 0, "a mask is handed on whatever comes meanwhile (%#x)", status);
}

static atomic_bool at_rest;

static void *works_on(void *unused)
{
	bool ok = true;

	while (!atomic_load(&at_rest))
		ok &= enclave_works(1);
	return ok ? unused : NULL;
}

/* What a fault in an enclave is to the runtime is no signal of the program's, which ignores it. */
static void check_spawning_beside_work(void)
{
	char *const nothing[] = { self, (char *)"chain", (char *)"0", NULL };
	void *ok = NULL;
	pthread_t thread;
	int wrong = 0;
	pid_t pid;

	signal(SIGSEGV, SIG_IGN);
	signal(SIGBUS, SIG_IGN);
	atomic_store(&at_rest, false);
	TAP_MUST(!pthread_create(&thread, NULL, works_on, self), "a thread that is at work");
	for (unsigned int i = 0; i < EXECS; i++)
		wrong += posix_spawn(&pid, self, NULL, NULL, nothing, environ) != 0 ||
			 status_of(pid) != 0;
	atomic_store(&at_rest, true);
	pthread_join(thread, &ok);
	TAP_CHECK(!wrong && ok, "SIGSEGV and SIGBUS are ignored: others are spawned beside it (%d)",
		  wrong);
	signal(SIGSEGV, on_signal);
	signal(SIGBUS, on_signal);
}

static int tell(char **argv)
{
	uint64_t want[3];

	for (int i = 0; i < 3; i++)
		want[i] = strtoull(argv[2 + i], NULL, 16);
	return (blocked() != want[0]) | (ignored() != want[1]) << 1 | (pending() != want[2]) << 2;
}

int main(int argc, char **argv)
{
	struct client_conf conf = { .threads = 2, .heap_pages = HEAP };
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (argc > 4)
		return tell(argv);
	if (argc > 2)
		return chain(strtoul(argv[2], NULL, 10));
	TAP_MUST(n > 0, "this program knows where it is");
	for (unsigned int i = 0; i < KINDS; i++)
		signal(kinds[i], on_signal);
	signal(SIGUSR2, on_signal);
	check_processes(ALL, "all, before the device is open");
	TAP_MUST(!client_create(&e, &conf), "an enclave");
	check_new_thread(0, "none");
	check_new_thread(ALL, "all");
	check_new_thread(FAULTS, "faults");
	check_new_thread(BIT(SIGUSR1) | BIT(SIGILL), "two");
	check_pending_is_not_handed_on();
	check_attributes();
	check_sent_early();
	check_shown();
	check_waited_for();
	check_waiting_thread();
	check_let_in("sigsuspend", by_sigsuspend);
	check_let_in("ppoll", by_ppoll);
	check_let_in("pselect", by_pselect);
	check_processes(0, "none");
	check_processes(ALL, "all");
	check_processes(BIT(SIGSEGV) | BIT(SIGUSR1), "two");
	check_signals_while_executing();
	check_spawning_beside_work();
	TAP_CHECK(!blocked() && enclave_works(0), "nothing is left blocked");
	client_destroy(&e);
	return tap_done();
}
