/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Processes come and go around an enclave: parents that let go at once, children without number, forks
 * that fail, few file descriptors; and a thread of the runtime must not be there for the program to find.
 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define HEAP_PAGES 16

static struct client_encl e;

static int wait_status(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return status;
}

static void make(void)
{
	const struct client_conf conf = { .threads = 2, .heap_pages = HEAP_PAGES };

	int err = client_create(&e, &conf);

	if (err)
		TAP_MUST(!err, "an enclave (%s)", e.failed);
}

/* The child enters when the parent has let go, or is about to. */
static void check_parent_lets_go(void)
{
	int bad = 0;

	for (int i = 0; i < 40; i++) {
		pid_t pid;

		make();
		pid = fork();
		if (!pid) {
			if (i & 1)
				usleep(1000);
			client_op(&e, 0, OP_WRITE, e.base + e.heap, (uint64_t)i, 0);
			_exit(client_op(&e, 0, OP_READ, e.base + e.heap, 0, 0) != (uint64_t)i);
		}
		client_destroy(&e);
		bad += wait_status(pid) != 0;
	}
	TAP_CHECK(!bad, "a child has its enclave although the parent has let go (%d of 40 do not)",
		  bad);
}

/* As shells do it: a child forks on and is gone. */
static void check_orphans(void)
{
	int bad = 0, pipe_fd[2];

	for (int i = 0; i < 20; i++) {
		char ok = 0;

		make();
		if (pipe(pipe_fd))
			break;
		if (!fork()) {
			if (fork())
				_exit(0);
			usleep(1000);
			ok = !client_op(&e, 0, OP_NOP, 0, 0, 0);
			_exit(write(pipe_fd[1], &ok, 1) != 1);
		}
		client_destroy(&e);
		close(pipe_fd[1]);
		wait(NULL);
		bad += read(pipe_fd[0], &ok, 1) != 1 || !ok;
		close(pipe_fd[0]);
	}
	TAP_CHECK(!bad, "and so has a grandchild whose parent is gone (%d of 20 do not)", bad);
}

static void check_many(void)
{
	int bad = 0;

	make();
	for (int i = 0; i < 3000; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		bad += pid < 0 || wait_status(pid);
	}
	TAP_CHECK(!bad, "3,000 children, one after the other (%d failed)", bad);
	TAP_CHECK(!client_op(&e, 0, OP_NOP, 0, 0, 0), "and the enclave is there");
	client_destroy(&e);
}

/* More failures than processes could ever be: each must leave nothing behind. In a child: limits stay. */
static void check_failing_forks(void)
{
	pid_t pid;

	make();
	pid = fork();
	if (!pid) {
		const struct rlimit none = { 0, 0 };
		int came = 0;

		/* The limit is not root's: be somebody else, of whom one is enough. */
		if (!geteuid() && setuid(12345))
			_exit(3);
		setrlimit(RLIMIT_NPROC, &none);
		for (int i = 0; i < 20000; i++) {
			pid_t child = fork();

			if (!child)
				_exit(0);
			came += child > 0;
		}
		_exit(came ? 2 : client_op(&e, 0, OP_NOP, 0, 0, 0) != 0);
	}
	pid = wait_status(pid);
	TAP_CHECK(pid == 0, "20,000 forks that fail (status %#x)", pid);
	pid = fork();
	if (!pid)
		_exit(client_op(&e, 0, OP_NOP, 0, 0, 0) != 0);
	pid = wait_status(pid);
	TAP_CHECK(pid == 0, "and then a child has the enclave (status %#x)", pid);
	client_destroy(&e);
}

/* Again as a program that may have few descriptors: those that it gets are the lowest there are. */
static int few_main(int lowest)
{
	int node = client_open(), next = dup(0);

	if (node != lowest || next != lowest + 1)
		fprintf(stderr, "# lowest %d, node %d, next %d\n", lowest, node, next);
	close(node);
	close(next);
	make();
	if (client_op(&e, 0, OP_NOP, 0, 0, 0))
		return 2;
	return node != lowest || next != lowest + 1;
}

static void check_few_fds(const char *self)
{
	char number[16];
	int fd = dup(0), status;
	pid_t pid;

	close(fd);
	snprintf(number, sizeof(number), "%d", fd);
	pid = fork();
	if (!pid) {
		execl("/bin/sh", "sh", "-c", "ulimit -n 64; exec \"$0\" \"$1\"", self, number,
		      (char *)NULL);
		_exit(127);
	}
	status = wait_status(pid);
	TAP_CHECK(status == 0, "with 64 file descriptors the low ones are the program's (%#x)",
		  status);
}

static void *late(void *arg)
{
	usleep(20000);
	return arg;
}

/* The process ends with its last thread, and has as many as it made. */
static void check_no_hidden_thread(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		pthread_t thread;

		alarm(5);
		make();
		if (!geteuid() && unshare(CLONE_NEWUSER) && errno == EINVAL)
			_exit(4);
		if (pthread_create(&thread, NULL, late, NULL) || pthread_detach(thread))
			_exit(3);
		pthread_exit(NULL);
	}
	status = wait_status(pid);
	TAP_CHECK(status == 0, "a process ends with its last thread (%#x)", status);
}

static int fault_child(void *arg)
{
	if (arg) {
		*(volatile int *)0 = 1;
	} else {
		unsigned int a, b, c, d;

		__cpuid(0, a, b, c, d);
	}
	return 7;
}

/* Such a child has nothing that the runtime knows of. */
static void check_bare_clone(const char *when)
{
	static char stack[65536] __attribute__((aligned(16)));

	for (int fault = 0; fault < 2; fault++)
		for (int vm = 0; vm < 2; vm++) {
			int flags = SIGCHLD | (vm ? CLONE_VM | CLONE_VFORK : 0);
			pid_t pid = clone(fault_child, stack + sizeof(stack), flags,
					  fault ? stack : NULL);
			int status = wait_status(pid);

			TAP_CHECK(fault ? WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV
					: status == 7 << 8,
				  "%s: %s in a child of a bare clone()%s (%#x)", when,
				  fault ? "a fault" : "CPUID", vm ? ", memory shared" : "", status);
		}
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return few_main(atoi(argv[1]));
	alarm(100);
	check_few_fds(argv[0]);
	check_bare_clone("before the first open");
	check_no_hidden_thread();
	check_parent_lets_go();
	check_orphans();
	check_many();
	check_failing_forks();
	make();
	check_bare_clone("with an enclave");
	client_destroy(&e);
	return tap_done();
}
