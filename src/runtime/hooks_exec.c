/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The exec and spawn families, and vfork(): what they do differently is in exec.c.
 */
#include "runtime/hooks.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/exec.h"
#include "runtime/next.h"
#include "runtime/rt.h"
#include "runtime/sys.h"

HOOK int execve(const char *path, char *const argv[], char *const envp[])
{
	return (int)sys_errno(exec_run(path, argv, envp));
}

HOOK int execv(const char *path, char *const argv[])
{
	return execve(path, argv, environ);
}

HOOK int execvpe(const char *name, char *const argv[], char *const envp[])
{
	return (int)sys_errno(exec_search(name, argv, envp));
}

HOOK int execvp(const char *name, char *const argv[])
{
	return execvpe(name, argv, environ);
}

/* The arguments of a call that lists them, on the caller's stack. */
#define LISTED(first, argv, ap, last)                             \
	size_t nr = 1;                                            \
	va_list ap;                                               \
	va_start(ap, first);                                      \
	while (va_arg(ap, char *))                                \
		nr++;                                             \
	va_end(ap);                                               \
	char **argv = __builtin_alloca((nr + 1) * sizeof(*argv)); \
	va_start(ap, first);                                      \
	argv[0] = (char *)first;                                  \
	for (size_t at = 1; at <= nr; at++)                       \
		argv[at] = va_arg(ap, char *);                    \
	last;                                                     \
	va_end(ap)

HOOK int execl(const char *path, const char *arg, ...)
{
	LISTED(arg, argv, ap, (void)0);
	return execv(path, argv);
}

HOOK int execlp(const char *name, const char *arg, ...)
{
	LISTED(arg, argv, ap, (void)0);
	return execvp(name, argv);
}

HOOK int execle(const char *path, const char *arg, ...)
{
	char *const *envp;

	LISTED(arg, argv, ap, envp = va_arg(ap, char *const *));
	return execve(path, argv, envp);
}

/* By its name when it has one, so that it can be looked at. */
HOOK int fexecve(int fd, char *const argv[], char *const envp[])
{
	char link[32], path[4096];
	long n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = sys(SYS_readlink, link, path, sizeof(path) - 1);
	if (n > 0 && path[0] == '/') {
		path[n] = 0;
		if (sys4(SYS_faccessat, AT_FDCWD, path, X_OK, 0) == 0)
			return execve(path, argv, envp);
	}
	return (int)sys_errno(sys6(SYS_execveat, fd, (long)"", (long)argv, (long)envp,
				   0x1000 /* AT_EMPTY_PATH */, 0));
}

typedef int spawn_fn(pid_t *, const char *, const posix_spawn_file_actions_t *,
		     const posix_spawnattr_t *, char *const[], char *const[]);

static int spawn(spawn_fn *next, pid_t *pid, const char *path,
		 const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
		 char *const argv[], char *const envp[])
{
	struct exec_plan plan;
	int r = exec_plan(&plan, path, argv, envp);
	uint64_t lent;

	if (r < 0)
		return -r;
	lent = rt_signal_exec_begin();
	r = next(pid, plan.path, actions, attr, plan.argv, plan.envp);
	rt_signal_exec_end(lent);
	exec_plan_done(&plan);
	return r;
}

HOOK int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
		     const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	return spawn(NEXT(posix_spawn), pid, path, actions, attr, argv, envp);
}

/* The first of $PATH that can be executed; @name itself when there is none. */
static const char *in_path(const char *name, char *path, size_t bytes)
{
	const char *from = getenv("PATH");

	if (strchr(name, '/'))
		return name;
	for (from = from ? from : "/bin:/usr/bin"; from;) {
		size_t n = strcspn(from, ":");

		if ((size_t)snprintf(path, bytes, "%.*s%s%s", (int)n, from, n ? "/" : "", name) <
			    bytes &&
		    access(path, X_OK) == 0)
			return path;
		from = from[n] ? from + n + 1 : NULL;
	}
	return name;
}

HOOK int posix_spawnp(pid_t *pid, const char *name, const posix_spawn_file_actions_t *actions,
		      const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	char path[4096];

	return spawn(NEXT(posix_spawnp), pid, in_path(name, path, sizeof(path)), actions, attr,
		     argv, envp);
}

/*
 * The child of vfork() would run our hooks on the parent's memory, and what it closes there the parent would
 * have closed.  It execs or exits, which is all that it may do, and a copy can do that as well.
 */
HOOK pid_t vfork(void)
{
	return fork();
}
