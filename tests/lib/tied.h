/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A child that ends with the test, however that ends: one that works until it is killed would go on for ever otherwise.
 */
#ifndef SWSGX_TESTS_TIED_H
#define SWSGX_TESTS_TIED_H

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

static inline pid_t fork_tied(void)
{
	pid_t parent = getpid(), pid;

	fflush(stdout);
	pid = fork();
	/* The second: it may have ended before the first. */
	if (pid == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
		_exit(1);
	return pid;
}

#endif
