/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Programs with manners of their own about file descriptors: daemons close every number there is, others put
 * their files on numbers that they like.  None of it may disturb enclaves, or be refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

static bool enclave_works(void)
{
	struct client_conf conf = { .heap_pages = 300 };
	struct client_encl e;
	uint64_t bad = 0;

	int r = client_create(&e, &conf);

	if (r) {
		printf("# %s: %s\n", e.failed, strerrordesc_np(-r));
		return false;
	}
	for (uint64_t i = 0; i < 300; i++)
		bad += client_op(&e, 0, OP_WRITE, e.base + e.heap + i * 4096, i, 0) != 0;
	for (uint64_t i = 0; i < 300; i++)
		bad += client_op(&e, 0, OP_READ, e.base + e.heap + i * 4096, 0, 0) != i;
	client_destroy(&e);
	return !bad;
}

static void test_numbers(struct rlimit limit)
{
	int refused = 0, top = (int)sysconf(_SC_OPEN_MAX);

	for (int fd = 10; fd < 1024 && fd < top; fd++)
		if (dup2(STDOUT_FILENO, fd) != fd)
			refused++;
	TAP_CHECK(!refused || limit.rlim_max < 1100,
		  "a file can be put on any number below 1024 (%d refused)", refused);
	TAP_CHECK(enclave_works(), "and enclaves work");
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	TAP_CHECK(enclave_works(), "so they do when all are closed again");
}

static void in_child(const char *what, bool (*run)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(!run());
	waitpid(pid, &status, 0);
	TAP_CHECK(status == 0, "%s (%x)", what, (unsigned int)status);
}

static bool closed_one_by_one(void)
{
	setsid();
	for (int fd = 0; fd < 65536; fd++)
		close(fd);
	open("/dev/null", O_RDWR);
	return enclave_works();
}

static bool closed_from(void)
{
	closefrom(0);
	return enclave_works();
}

static bool closed_range(void) { return !close_range(0, ~0u, 0) && enclave_works(); }

static bool few(void)
{
	struct rlimit few = { 16, 16 };

	return !setrlimit(RLIMIT_NOFILE, &few) && enclave_works();
}

static bool grandchild(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(!closed_one_by_one());
	waitpid(pid, &status, 0);
	return status == 0;
}

int main(void)
{
	struct rlimit limit;

	TAP_CHECK(!getrlimit(RLIMIT_NOFILE, &limit), "the limit is known");
	test_numbers(limit);
	in_child("a daemon that closes all numbers makes an enclave", closed_one_by_one);
	in_child("the same by closefrom()", closed_from);
	in_child("the same by close_range()", closed_range);
	in_child("a process that may have 16 files", few);
	in_child("a daemon that forks twice", grandchild);
	return tap_done();
}
