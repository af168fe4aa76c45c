/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A benchmark that compares with the kernel's own fault says so where there is none, and skips: no ratios to nothing.
 *
 *   test_bench_skips BENCH_FAULT
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/tap.h"

enum { SKIPPED = 77 };

/* From now on there is no userfaultfd. */
static int play_old_kernel(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* In a child: what it printed, and its status; -1 where filters are not to be had. */
static int run(char *program, char *ret_said, size_t bytes)
{
	int fd[2], status;
	size_t done = 0;
	ssize_t nr;
	pid_t pid;

	TAP_MUST(pipe(fd) == 0, "a pipe");
	pid = fork();
	if (pid == 0) {
		dup2(fd[1], STDOUT_FILENO);
		if (play_old_kernel() == 0)
			execv(program, (char *[]){ program, NULL });
		_exit(126);
	}
	close(fd[1]);
	while ((nr = read(fd[0], ret_said + done, bytes - 1 - done)) > 0)
		done += (size_t)nr;
	ret_said[done] = '\0';
	close(fd[0]);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) != 126 ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
	char said[4096];
	int status;

	TAP_MUST(argc == 2, "a benchmark to run");
	status = run(argv[1], said, sizeof(said));
	if (status < 0) {
		tap_skip("a benchmark without userfaultfd", "system calls cannot be filtered here");
		return tap_done();
	}
	TAP_CHECK(status == SKIPPED, "without userfaultfd it skips (%d)", status);
	TAP_CHECK(strstr(said, "SKIP: no userfaultfd"), "and says why");
	return tap_done();
}
