/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Programs that the client starts: they find the machine that it has.
 */
#ifndef SWSGX_RUNTIME_EXEC_H
#define SWSGX_RUNTIME_EXEC_H

#include <stddef.h>
#include <stdint.h>

/* What to give to execve() instead of what was asked for. */
struct exec_plan {
	const char *path;
	char *const *argv;
	char *const *envp;
	void *memory; /* behind argv and envp; NULL: none */
	size_t bytes;
};

/* Before the client runs: keep what was handed down in @envp. 0 or -errno. */
int exec_init(char *const *envp);
/* swsgx-exec is at @path; for when the environment did not say. */
void exec_set_loader(const char *path);
/* Needs no heap and no lock: a forked child may ask. 0 or -ENOMEM. */
int exec_plan(struct exec_plan *ret_plan, const char *path, char *const *argv, char *const *envp);
void exec_plan_done(struct exec_plan *plan);
/* execve() by a plan: -errno. */
long exec_run(const char *path, char *const *argv, char *const *envp);
/*
 * The same in a signal handler, for a program that is to begin with the signal mask *@mask, which this may leave set:
 * -EINTR where *@deferred_nr signals wait for the handler's end.
 */
long exec_run_masked(const char *path, char *const *argv, char *const *envp, const uint64_t *mask,
		     const uint8_t *deferred_nr);
/* exec_run(), searching $PATH as execvp() does. */
long exec_search(const char *name, char *const *argv, char *const *envp);

#endif
