/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Programs that the client starts.  On a machine with SGX every program finds it, so: what `swsgx run` put into
 * the environment is handed on even when the client clears the environment, and a program that a preloaded
 * library cannot serve is started by swsgx-exec.  A client that hands LD_PRELOAD on as it was has its way.
 *
 * All of it may run in a child between fork() and exec: system calls only, no heap, no lock.
 */
#include "runtime/exec.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/program.h"
#include "runtime/rt.h"
#include "runtime/sys.h"

#define RUNTIME_NAME "libswsgx_runtime.so"
#define PRELOAD      "LD_PRELOAD="
#define OWN_PREFIX   "SWSGX_"
#define KEPT_MAX     16u

/* A process has one of it, made before the client runs and only read from then on. */
static struct {
	char library[PATH_MAX]; /* the runtime, as LD_PRELOAD names it */
	char loader[PATH_MAX];  /* swsgx-exec; empty: not known */
	char *kept[KEPT_MAX];   /* SWSGX_... */
	size_t kept_nr;
} handed;

/* ---- what there is to hand on ------------------------------------------------------------------ */

/* The element of the list @preload that is the runtime; its length, or 0. */
static size_t find_runtime(const char *preload, const char **ret_at)
{
	while (*preload) {
		size_t n = strcspn(preload, ": ");
		size_t name = sizeof(RUNTIME_NAME) - 1;

		if (n >= name && !memcmp(preload + n - name, RUNTIME_NAME, name)) {
			*ret_at = preload;
			return n;
		}
		preload += n + (preload[n] != 0);
	}
	return 0;
}

void exec_set_loader(const char *path)
{
	if (!handed.loader[0])
		snprintf(handed.loader, sizeof(handed.loader), "%s", path);
}

int exec_init(char *const *envp)
{
	for (; *envp; envp++) {
		const char *at;
		size_t n;

		if (!strncmp(*envp, PRELOAD, sizeof(PRELOAD) - 1)) {
			n = find_runtime(*envp + sizeof(PRELOAD) - 1, &at);
			if (n && n < sizeof(handed.library))
				memcpy(handed.library, at, n);
			continue;
		}
		if (strncmp(*envp, OWN_PREFIX, sizeof(OWN_PREFIX) - 1) != 0)
			continue;
		if (!strncmp(*envp, "SWSGX_EXEC=", 11))
			exec_set_loader(*envp + 11);
		if (handed.kept_nr == KEPT_MAX)
			continue;
		/* A copy: programs write their title over the initial environment. */
		handed.kept[handed.kept_nr] = strdup(*envp);
		if (!handed.kept[handed.kept_nr++])
			return -ENOMEM;
	}
	return 0;
}

/* ---- a plan -------------------------------------------------------------------------------------- */

static size_t length(char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

static const char *value_of(char *const *envp, const char *name, size_t n)
{
	for (; envp && *envp; envp++)
		if (!strncmp(*envp, name, n))
			return *envp + n;
	return NULL;
}

static void plan_argv(struct exec_plan *plan, char **list, const char *path)
{
	char *const *argv = plan->argv;
	size_t n = length(argv), at = 0;

	list[at++] = handed.loader;
	list[at++] = (char *)"--argv0";
	list[at++] = (char *)(n ? argv[0] : path);
	list[at++] = (char *)path;
	for (size_t i = 1; i < n; i++)
		list[at++] = argv[i];
	list[at] = NULL;
	plan->path = handed.loader;
	plan->argv = list;
}

/* @text takes the new LD_PRELOAD. */
static void plan_envp(struct exec_plan *plan, char **list, char *text, size_t bytes)
{
	char *const *envp = plan->envp;
	const char *theirs = value_of(envp, PRELOAD, sizeof(PRELOAD) - 1);
	size_t at = 0;

	snprintf(text, bytes, PRELOAD "%s%s%s", handed.library, theirs && *theirs ? ":" : "",
		 theirs ? theirs : "");
	list[at++] = text;
	for (size_t i = 0; i < handed.kept_nr; i++) {
		size_t n = strcspn(handed.kept[i], "=") + 1;

		if (!value_of(envp, handed.kept[i], n))
			list[at++] = handed.kept[i];
	}
	for (; envp && *envp; envp++)
		if (strncmp(*envp, PRELOAD, sizeof(PRELOAD) - 1) != 0)
			list[at++] = *envp;
	list[at] = NULL;
	plan->envp = list;
}

int exec_plan(struct exec_plan *plan, const char *path, char *const *argv, char *const *envp)
{
	const char *theirs = value_of(envp, PRELOAD, sizeof(PRELOAD) - 1), *at;
	size_t text = sizeof(PRELOAD) + sizeof(handed.library) + (theirs ? strlen(theirs) : 0) + 2;
	bool env = handed.library[0] && !(theirs && find_runtime(theirs, &at));
	enum program_kind kind = PROGRAM_DYNAMIC;
	size_t args = length(argv) + 5, vars = length(envp) + handed.kept_nr + 2;
	long memory;

	*plan = (struct exec_plan){ .path = path, .argv = argv, .envp = envp };
	if (handed.loader[0] && path && program_kind(path, &kind) < 0)
		kind = PROGRAM_DYNAMIC;
	if (!env && kind != PROGRAM_DIRECT)
		return 0;
	plan->bytes = (args + vars) * sizeof(char *) + text;
	memory = sys6(SYS_mmap, 0, (long)plan->bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory < 0 && memory > -4096)
		return (int)memory;
	plan->memory = (void *)memory;
	if (kind == PROGRAM_DIRECT)
		plan_argv(plan, plan->memory, path);
	if (env)
		plan_envp(plan, (char **)plan->memory + args,
			  (char *)((char **)plan->memory + args + vars), text);
	return 0;
}

void exec_plan_done(struct exec_plan *plan)
{
	if (plan->memory)
		sys(SYS_munmap, plan->memory, plan->bytes, 0);
	plan->memory = NULL;
}

/* ---- running ---------------------------------------------------------------------------------------- */

long exec_run_masked(const char *path, char *const *argv, char *const *envp, const uint64_t *mask,
		     const uint8_t *deferred_nr)
{
	struct exec_plan plan = { .path = path, .argv = argv, .envp = envp };
	uint64_t lent;
	long r;

	/* What may not be executed is the kernel's to refuse, and what it says depends on nothing of ours. */
	r = !path || sys4(SYS_faccessat, AT_FDCWD, path, X_OK, 0) < 0
		    ? 0
		    : exec_plan(&plan, path, argv, envp);
	if (r < 0)
		return r;
	lent = rt_signal_exec_begin();
	r = rt_execve(plan.path, plan.argv, plan.envp, mask, deferred_nr);
	rt_signal_exec_end(lent);
	exec_plan_done(&plan);
	return r;
}

long exec_run(const char *path, char *const *argv, char *const *envp)
{
	return exec_run_masked(path, argv, envp, NULL, NULL);
}

/* A file that the kernel cannot execute is given to the shell. */
static long run_or_shell(const char *path, char *const *argv, char *const *envp)
{
	long r = exec_run(path, argv, envp);
	size_t n = length(argv), bytes = (n + 3) * sizeof(char *);
	long memory;
	char **list;

	if (r != -ENOEXEC)
		return r;
	memory = sys6(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	if (memory < 0 && memory > -4096)
		return memory;
	list = (char **)memory;
	list[0] = (char *)"/bin/sh";
	list[1] = (char *)path;
	for (size_t i = 1; i < n; i++)
		list[i + 1] = argv[i];
	r = exec_run(list[0], list, envp);
	sys(SYS_munmap, memory, bytes, 0);
	return r;
}

long exec_search(const char *name, char *const *argv, char *const *envp)
{
	const char *from = getenv("PATH");
	bool denied = false;
	char path[PATH_MAX];
	long r = -ENOENT;

	if (!*name)
		return -ENOENT;
	if (strchr(name, '/'))
		return run_or_shell(name, argv, envp);
	for (from = from ? from : "/bin:/usr/bin"; from;) {
		size_t n = strcspn(from, ":");

		if ((size_t)snprintf(path, sizeof(path), "%.*s%s%s", (int)n, from, n ? "/" : "",
				     name) < sizeof(path))
			r = run_or_shell(path, argv, envp);
		denied |= r == -EACCES;
		if (r != -EACCES && r != -ENOENT && r != -ENOTDIR && r != -ESTALE && r != -ENODEV &&
		    r != -ETIMEDOUT)
			return r;
		from = from[n] ? from + n + 1 : NULL;
	}
	return denied ? -EACCES : r;
}
