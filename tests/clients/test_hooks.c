/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Calls of libc that are more than their system call: points at which a thread can be cancelled, signals that libc
 * sends to its own threads, descriptors that it closes by itself, masks that hold while a call waits.
 */
/* Old calls are called on purpose. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define LATE_MS 10000

static struct client_encl e;
static char fifo[64];
static int locked_fd;

static void pause_ms(long ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/* Joined within the time; a thread that cannot be cancelled is left behind. */
static bool join(pthread_t thread, void **ret)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LATE_MS / 1000;
	return pthread_timedjoin_np(thread, ret, &until) == 0;
}

/* ---- cancellation -------------------------------------------------------------------------------- */

static void *waits_in_open(void *arg)
{
	open(fifo, O_RDONLY);
	return arg;
}

static void *waits_in_openat(void *arg)
{
	openat(AT_FDCWD, fifo, O_RDONLY);
	return arg;
}

static void *waits_in_fcntl(void *arg)
{
	struct flock lock = { .l_type = F_WRLCK };

	fcntl(locked_fd, F_SETLKW, &lock);
	return arg;
}

static void *is_cancelled_at_close(void *arg)
{
	int fd = dup(0);

	pthread_cancel(pthread_self());
	close(fd);
	return arg;
}

static void check_cancel(const char *name, void *(*fn)(void *))
{
	void *ret = NULL;
	pthread_t thread;

	pthread_create(&thread, NULL, fn, NULL);
	pause_ms(100);
	pthread_cancel(thread);
	if (!TAP_CHECK(join(thread, &ret), "%s: a thread in it can be cancelled", name))
		exit(tap_done());
	TAP_CHECK(ret == PTHREAD_CANCELED, "%s: and says that it was", name);
}

/* A lock on the file that this process cannot have: a child holds it. */
static pid_t lock_file(char *path)
{
	struct flock lock = { .l_type = F_WRLCK };
	int ready[2];
	pid_t pid;
	char c;

	locked_fd = mkstemp(path);
	if (pipe(ready) < 0)
		return -1;
	pid = fork();
	if (!pid) {
		fcntl(locked_fd, F_SETLK, &lock);
		if (write(ready[1], "x", 1) == 1)
			pause_ms(120000);
		_exit(0);
	}
	if (read(ready[0], &c, 1) != 1)
		return -1;
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void check_cancellation(const char *folder)
{
	char path[64];
	pid_t pid;

	snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
	snprintf(path, sizeof(path), "%s/lockXXXXXX", folder);
	mkfifo(fifo, 0600);
	pid = lock_file(path);
	check_cancel("open", waits_in_open);
	check_cancel("openat", waits_in_openat);
	check_cancel("fcntl", waits_in_fcntl);
	check_cancel("close", is_cancelled_at_close);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(locked_fd);
	unlink(path);
	unlink(fifo);
}

/* ---- libc's own signals, to a thread in an enclave ------------------------------------------------- */

static volatile uint32_t stop;
static volatile uint64_t turns;
static struct sgx_enclave_run spin_run;

static void *spin(void *arg)
{
	struct encl_op op = { .nr = OP_SPIN, .arg = { (uint64_t)&stop, (uint64_t)&turns } };
	int old;

	memset(&spin_run, 0, sizeof(spin_run));

	if (arg)
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
	client_vdso(&e, 1, &op, &spin_run);
	return spin_run.function == SGX_EEXIT ? &e : NULL;
}

static pthread_t start_spinning(void *async)
{
	pthread_t thread;

	stop = 0;
	turns = 0;
	pthread_create(&thread, NULL, spin, async);
	while (!turns)
		pause_ms(1);
	return thread;
}

static void *set_group(void *arg) { return (void *)(long)setgid(getgid()); }

static void check_setgid(void)
{
	pthread_t thread = start_spinning(NULL), caller;
	void *ret = NULL;
	uint64_t before;

	pthread_create(&caller, NULL, set_group, NULL);
	if (!TAP_CHECK(join(caller, &ret), "setgid returns while a thread is in an enclave"))
		exit(tap_done());
	TAP_CHECK(ret == NULL, "and succeeds");
	before = turns;
	for (int i = 0; i < 10000 && turns == before; i++)
		pause_ms(1);
	TAP_CHECK(turns != before, "the thread goes on in the enclave");
	stop = 1;
	TAP_CHECK(join(thread, &ret) && ret == &e, "and leaves it when it is done");
}

static void check_cancel_inside(void)
{
	pthread_t thread = start_spinning(&e);
	void *ret = NULL;

	pthread_cancel(thread);
	if (!TAP_CHECK(join(thread, &ret), "a thread in an enclave can be cancelled"))
		exit(tap_done());
	if (!TAP_CHECK(ret == PTHREAD_CANCELED, "and says that it was"))
		printf("# %p; function %u, vector %u, error %#x, address %#llx\n", ret,
		       spin_run.function, spin_run.exception_vector, spin_run.exception_error_code,
		       (unsigned long long)spin_run.exception_addr);
}

/* ---- descriptors that libc closes ------------------------------------------------------------------ */

static bool is_device(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISCHR(st.st_mode);
}

static void check_fclose(void)
{
	int fd = open("/dev/sgx_enclave", O_RDWR), again;
	FILE *file = fdopen(fd, "r+");

	TAP_CHECK(is_device(fd), "a stream on the device");
	TAP_CHECK(fclose(file) == 0, "fclose closes it");
	again = epoll_create1(0);
	TAP_CHECK(again == fd && !is_device(again), "and the number is an epoll instance's now");
	close(again);

	fd = open("/dev/sgx_enclave", O_RDWR);
	file = fdopen(fd, "r+");
	file = freopen("/dev/null", "r", file);
	TAP_CHECK(file && fgetc(file) == EOF, "freopen opens another file");
	fclose(file);
	again = epoll_create1(0);
	TAP_CHECK(again == fd && !is_device(again), "and the device is forgotten");
	close(again);
}

static void check_paths(void)
{
	char *wild = (char *)4096;
	struct stat st;

	__asm__("" : "+r"(wild));
	TAP_CHECK(fstatat(e.fd, "", &st, AT_EMPTY_PATH) == 0 && S_ISCHR(st.st_mode),
		  "fstatat of the descriptor itself");
	TAP_CHECK(fstatat(e.fd, wild, &st, AT_EMPTY_PATH) == -1 && errno == EFAULT,
		  "with a wild path: EFAULT");
	TAP_CHECK(dup2(e.fd, e.fd) == e.fd && is_device(e.fd), "dup2 onto itself changes nothing");
}

/* ---- handlers and locks ---------------------------------------------------------------------------- */

static struct client_encl other;
static volatile sig_atomic_t ticks, wrong;

static void enter_other(int sig)
{
	int saved_errno = errno;

	ticks++;
	if (client_op(&other, 0, OP_READ, other.base + other.heap + (uint64_t)(ticks % 64) * 4096,
		      0, 0))
		wrong++;
	errno = saved_errno;
}

/* The handler wants the enclaves' locks, wherever it comes. */
static void check_handler_at_close(void)
{
	struct sigaction sa = { .sa_handler = enter_other, .sa_flags = SA_RESTART };
	struct itimerval soon = { { 0, 0 }, { 0, 0 } }, never = { { 0, 0 }, { 0, 0 } };
	struct client_conf conf = { .heap_pages = 64 }, large = { .heap_pages = 300 };
	struct client_encl victim;
	int r = client_create(&other, &conf);

	client_op(&other, 0, OP_NOP, 0, 0, 0);
	sigaction(SIGALRM, &sa, NULL);
	for (int i = 0; i < 200 && !r; i++) {
		int fd;

		r = client_create(&victim, &large);
		if (r)
			break;
		soon.it_value.tv_usec = 1 + i;
		setitimer(ITIMER_REAL, &soon, NULL);
		fd = dup(victim.fd);
		close(fd);
		client_destroy(&victim);
		setitimer(ITIMER_REAL, &never, NULL);
	}
	TAP_CHECK(!r && ticks > 0 && !wrong,
		  "a handler that enters an enclave, while others end (%d, %d times, %d wrong)", r,
		  (int)ticks, (int)wrong);
	signal(SIGALRM, SIG_DFL);
	client_destroy(&other);
}

/* ---- masks and the older calls ----------------------------------------------------------------------- */

/* Enters the enclave in the middle of a wait with every other signal blocked. */
static void touch(int sig)
{
	ticks++;
	if (client_op(&e, 0, OP_READ, e.base + e.heap, 0, 0))
		wrong++;
}

static void check_wait(const char *name, int (*wait_call)(const sigset_t *))
{
	struct itimerval soon = { { 0, 0 }, { 0, 20000 } };
	sigset_t all_but;
	int r;

	sigfillset(&all_but);
	sigdelset(&all_but, SIGALRM);
	ticks = wrong = 0;
	setitimer(ITIMER_REAL, &soon, NULL);
	r = wait_call(&all_but);
	TAP_CHECK(r == -1 && errno == EINTR && ticks == 1 && !wrong,
		  "%s with nearly all signals blocked: the handler enters an enclave (%d, %d, %d "
		  "times, %d wrong)",
		  name, r, errno, (int)ticks, (int)wrong);
}

static int by_ppoll(const sigset_t *set) { return ppoll(NULL, 0, NULL, set); }

static int by_pselect(const sigset_t *set) { return pselect(0, NULL, NULL, NULL, NULL, set); }

static int by_epoll_pwait(const sigset_t *set)
{
	struct epoll_event event;
	int fd = epoll_create1(0), r = epoll_pwait(fd, &event, 1, -1, set), saved = errno;

	close(fd);
	errno = saved;
	return r;
}

static void check_masks(void)
{
	struct sigaction sa = { .sa_handler = touch };
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all;
	void *ret = NULL;

	sigaction(SIGALRM, &sa, NULL);
	check_wait("sigsuspend", sigsuspend);
	check_wait("ppoll", by_ppoll);
	check_wait("pselect", by_pselect);
	check_wait("epoll_pwait", by_epoll_pwait);
	signal(SIGALRM, SIG_DFL);

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setsigmask_np(&attr, &all);
	stop = 1;
	pthread_create(&thread, &attr, spin, NULL);
	TAP_CHECK(join(thread, &ret) && ret == &e,
		  "a thread that begins with all signals blocked enters an enclave");
	pthread_attr_destroy(&attr);
}

static void count(int sig) { ticks++; }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
int __sigpause(int sig_or_word, int is_sig);

#define BIT(sig) (1 << ((sig)-1))

static bool blocks(int sig)
{
	sigset_t set;

	sigprocmask(SIG_BLOCK, NULL, &set);
	return sigismember(&set, sig) == 1;
}

/* BSD's, of which sigprocmask() knows and the other way round; masks of SIGSEGV are the runtime's, of SIGUSR1 the kernel's. */
static void check_bsd_masks(void)
{
	const int both = BIT(SIGSEGV) | BIT(SIGUSR1);
	sigset_t set;

	ticks = 0;
	TAP_CHECK(sigblock(both) == 0 && sigblock(0) == both && blocks(SIGSEGV) && blocks(SIGUSR1),
		  "sigblock blocks, and says so");
	TAP_CHECK(sigsetmask(0) == both && sigblock(0) == 0 && !blocks(SIGSEGV) && !blocks(SIGUSR1),
		  "sigsetmask unblocks");
	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	TAP_CHECK((sigblock(0) & both) == both && sigsetmask(BIT(SIGSEGV)) != 0 &&
			  sigblock(0) == BIT(SIGSEGV),
		  "what sigprocmask has blocked too");
	TAP_CHECK(ssignal(SIGSEGV, count) == SIG_DFL && raise(SIGSEGV) == 0 && ticks == 0 &&
			  client_op(&e, 0, OP_READ, e.base + e.heap + 8192, 0, 0) == 0,
		  "one that ssignal has a handler for waits, and enclaves work");
	TAP_CHECK(__sigpause(BIT(SIGUSR1), 0) == -1 && errno == EINTR && ticks == 1 &&
			  sigblock(0) == BIT(SIGSEGV),
		  "BSD's sigpause lets it come, and blocks it again");
	raise(SIGSEGV);
	TAP_CHECK(sigpause(SIGSEGV) == -1 && errno == EINTR && ticks == 2 &&
			  sigblock(0) == BIT(SIGSEGV),
		  "X/Open's, too");
	TAP_CHECK(sigpause(0) == -1 && errno == EINVAL, "and refuses what is no signal");
	sigsetmask(0);
	ticks = 0;
	signal(SIGSEGV, SIG_DFL);
}
#pragma GCC diagnostic pop

static void check_older_calls(void)
{
	struct sigaction got;

	check_bsd_masks();
	TAP_CHECK(sigset(SIGSEGV, count) == SIG_DFL && sigset(SIGSEGV, SIG_HOLD) == count &&
			  sigset(SIGSEGV, count) == SIG_HOLD,
		  "sigset of SIGSEGV says what was before");
	ticks = 0;
	TAP_CHECK(sighold(SIGSEGV) == 0 && raise(SIGSEGV) == 0 && ticks == 0 &&
			  sigrelse(SIGSEGV) == 0 && ticks == 1,
		  "sighold holds it, sigrelse lets it come");
	TAP_CHECK(client_op(&e, 0, OP_READ, e.base + e.heap, 0, 0) == 0, "and enclaves work");
	TAP_CHECK(sigignore(SIGSEGV) == 0 &&
			  client_op(&e, 0, OP_READ, e.base + e.heap + 4096, 0, 0) == 0,
		  "they do with SIGSEGV ignored");
	TAP_CHECK(sigaction(SIGSEGV, NULL, &got) == 0 && got.sa_handler == SIG_IGN,
		  "which is what sigaction says");
	signal(SIGSEGV, SIG_DFL);

	signal(SIGUSR1, count);
	TAP_CHECK(siginterrupt(SIGUSR1, 1) == 0 && sigaction(SIGUSR1, NULL, &got) == 0 &&
			  !(got.sa_flags & SA_RESTART) && got.sa_handler == count,
		  "siginterrupt: no SA_RESTART");
	signal(SIGUSR1, count);
	TAP_CHECK(sigaction(SIGUSR1, NULL, &got) == 0 && !(got.sa_flags & SA_RESTART),
		  "signal() remembers that");
	TAP_CHECK(siginterrupt(SIGUSR1, 0) == 0 && sigaction(SIGUSR1, NULL, &got) == 0 &&
			  (got.sa_flags & SA_RESTART),
		  "and back");
	TAP_CHECK(siginterrupt(0, 1) == -1 && errno == EINVAL, "of signal 0: EINVAL");
	signal(SIGUSR1, SIG_DFL);
}

/* ---- masks that hold while a call waits ------------------------------------------------------------- */

static volatile uint64_t entered, entered_wrong;

static void enters(int sig)
{
	struct encl_op op = { .nr = OP_NOP };

	(void)sig;
	entered++;
	entered_wrong += client_call(&e, 0, &op, ENTRY_UD2) != 0;
}

/* Everything blocked but SIGALRM; its handler enters an enclave, which raises what is blocked. */
static void check_waiting(void)
{
	struct sigaction act = { .sa_handler = enters };
	struct itimerval soon = { { 0, 0 }, { 0, 20000 } };
	struct timespec second = { 5, 0 };
	uint64_t mask = ~(1ull << (SIGALRM - 1));
	struct {
		const void *mask;
		size_t bytes;
	} pair = { &mask, 8 };
	struct epoll_event event;
	int ep = epoll_create1(0);

	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	syscall(SYS_ppoll, NULL, 0, &second, &mask, 8);
	setitimer(ITIMER_REAL, &soon, NULL);
	syscall(SYS_pselect6, 0, NULL, NULL, NULL, &second, &pair);
	setitimer(ITIMER_REAL, &soon, NULL);
	syscall(SYS_epoll_pwait, ep, &event, 1, 5000, &mask, (size_t)8);
	setitimer(ITIMER_REAL, &soon, NULL);
	syscall(SYS_rt_sigsuspend, &mask, 8);
	close(ep);
	signal(SIGALRM, SIG_DFL);
	TAP_CHECK(entered == 4 && !entered_wrong,
		  "a handler enters an enclave while syscall() waits (%d, %d wrong)", (int)entered,
		  (int)entered_wrong);
}

int main(void)
{
	struct client_conf conf = { .threads = 2, .heap_pages = 64 };
	char folder[] = "/tmp/hooksXXXXXX";

	TAP_MUST(mkdtemp(folder) != NULL, "a folder");
	TAP_MUST(!client_create(&e, &conf), "an enclave");
	check_setgid();
	check_cancel_inside();
	check_cancellation(folder);
	check_waiting();
	rmdir(folder);
	check_fclose();
	check_paths();
	check_masks();
	check_older_calls();
	check_handler_at_close();
	client_destroy(&e);
	return tap_done();
}
