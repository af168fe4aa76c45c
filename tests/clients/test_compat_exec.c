/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Programs that start programs: launchers, shells, services that clear the environment.  Whoever is started, and
 * however, is on the machine with SGX still.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

static char dynamic[4200], fixed[4200], folder[4096];
static char *const args[] = { (char *)"zero", (char *)"one", NULL };
static char *const nothing[] = { NULL };
static char *const something[] = { (char *)"LD_PRELOAD=", (char *)"HOME=/", NULL };

static void find_programs(void)
{
	ssize_t n = readlink("/proc/self/exe", folder, sizeof(folder) - 64);

	TAP_MUST(n > 0, "this program knows where it is");
	*strrchr(folder, '/') = 0;
	snprintf(dynamic, sizeof(dynamic), "%s/compat_probe", folder);
	snprintf(fixed, sizeof(fixed), "%s/compat_probe_static", folder);
}

static int status_of(pid_t pid)
{
	int status = -1;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

enum how { EXECVE, EXECV, EXECL, EXECLE, EXECVP, EXECVPE, FEXECVE, SYSCALL, VFORK, HOW_NR };
static const char *const how_name[HOW_NR] = { "execve()",  "execv()",   "execl()",
					      "execle()",  "execvp()",  "execvpe()",
					      "fexecve()", "syscall()", "vfork()" };

static void become(const char *path, enum how how)
{
	const char *name = strrchr(path, '/') + 1;

	switch (how) {
	case EXECV:
		execv(path, args);
		break;
	case EXECL:
		execl(path, "zero", "one", NULL);
		break;
	case EXECLE:
		execle(path, "zero", "one", NULL, nothing);
		break;
	case EXECVP:
		setenv("PATH", folder, 1);
		execvp(name, args);
		break;
	case EXECVPE:
		setenv("PATH", folder, 1);
		execvpe(name, args, something);
		break;
	case FEXECVE:
		fexecve(open(path, O_RDONLY | O_CLOEXEC), args, nothing);
		break;
	case SYSCALL:
		syscall(SYS_execve, path, args, nothing);
		break;
	default:
		execve(path, args, nothing);
		break;
	}
	_exit(99);
}

static void test_exec(const char *path, const char *what)
{
	for (int how = 0; how < HOW_NR; how++) {
		pid_t pid = how == VFORK ? vfork() : fork();
		int status;

		if (!pid)
			become(path, (enum how)how);
		status = status_of(pid);
		TAP_CHECK(!status, "%s: %s finds SGX (%d)", how_name[how], what, status);
	}
}

static void test_spawn(const char *path, const char *what)
{
	pid_t pid;

	TAP_CHECK(!posix_spawn(&pid, path, NULL, NULL, args, nothing) && !status_of(pid),
		  "posix_spawn(): %s finds SGX", what);
	setenv("PATH", folder, 1);
	TAP_CHECK(!posix_spawnp(&pid, strrchr(path, '/') + 1, NULL, NULL, args, something) &&
			  !status_of(pid),
		  "posix_spawnp(): %s finds SGX", what);
}

static void test_errors(void)
{
	int fd[2];

	TAP_CHECK(execve("/nonexistent", args, nothing) == -1 && errno == ENOENT,
		  "a program that is not there: ENOENT");
	TAP_CHECK(execve("/", args, nothing) == -1 && errno == EACCES, "a folder: EACCES");
	TAP_CHECK(execvp("", args) == -1 && errno == ENOENT, "no name: ENOENT");
	TAP_CHECK(execvp("no-such-program-anywhere", args) == -1 && errno == ENOENT,
		  "a name that is not in $PATH: ENOENT");
	TAP_CHECK(!pipe(fd), "a pipe");
	TAP_CHECK(fexecve(fd[0], args, nothing) == -1 && errno == EACCES, "a pipe: EACCES");
	close(fd[0]);
	close(fd[1]);
}

/* What the child of vfork() closes, its parent still has. */
static void test_vfork(void)
{
	struct sgx_enclave_restrict_permissions none = { 0 };
	int fd = client_open();
	pid_t pid;

	TAP_MUST(fd >= 0, "the device is open");
	pid = vfork();
	if (!pid) {
		close(fd);
		_exit(0);
	}
	TAP_CHECK(!status_of(pid), "the child of vfork() closes it");
	errno = 0;
	TAP_CHECK(ioctl(fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &none) == -1 &&
			  (errno == EINVAL || errno == ENODEV),
		  "its parent speaks to the device still");
	close(fd);
}

static void test_fork_by_number(void)
{
	pid_t pid = (pid_t)syscall(SYS_fork);

	if (!pid)
		_exit(client_open() < 0);
	TAP_CHECK(!status_of(pid), "a child of SYS_fork finds SGX");
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		_exit(client_open() < 0);
	TAP_CHECK(!status_of(pid), "and one of SYS_clone");
}

/* A shell in a long build: many children, one after the other, that never use SGX. */
static void test_many(void)
{
	int bad = 0;

	for (int i = 0; i < 2500; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		bad += status_of(pid) != 0;
	}
	TAP_CHECK(!bad, "2500 children, one after the other");
}

int main(void)
{
	find_programs();
	test_exec(dynamic, "a dynamic program");
	test_exec(fixed, "a static program");
	test_spawn(dynamic, "a dynamic program");
	test_spawn(fixed, "a static program");
	test_errors();
	test_vfork();
	test_fork_by_number();
	test_many();
	return tap_done();
}
