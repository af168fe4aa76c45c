/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * swsgx-exec [--argv0 NAME] PROGRAM [ARGS]: start a program that makes its own system calls. `swsgx run` and
 * the runtime call it; people don't.
 */
#include <stdio.h>
#include <string.h>

#include "runtime/direct.h"

int main(int argc, char **argv, char **envp)
{
	const char *argv0 = NULL;
	const char *path;
	int i = 1, r;

	if (argc > 3 && !strcmp(argv[1], "--argv0")) {
		argv0 = argv[2];
		i = 3;
	}
	if (i >= argc) {
		fputs("usage: swsgx-exec [--argv0 NAME] PROGRAM [ARGS]\n", stderr);
		return 2;
	}
	path = argv[i];
	if (argv0)
		argv[i] = (char *)argv0;
	r = swsgx_direct(path, argv + i, envp);
	fprintf(stderr, "swsgx: cannot start %s: %s\n", path, strerrordesc_np(-r));
	return 126;
}
