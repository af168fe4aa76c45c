/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Where the runtime is: beside the tool in a build folder, or where it was installed.
 */
#ifndef SWSGX_CLI_RUNTIME_PATH_H
#define SWSGX_CLI_RUNTIME_PATH_H

#include <stddef.h>

struct report;

#define RUNTIME_PATH_MAX 4096

/*
 * The library, at a path that LD_PRELOAD can name: that of a link in /tmp where its own has blanks or colons in it.
 *
 *   -ENOENT  it is nowhere
 *   other    no such link can be made
 */
int runtime_path(char *path, size_t bytes, struct report *rep);

/* swsgx-exec, which loads programs that make their own system calls. -ENOENT as above. */
int runtime_exec_path(char *path, size_t bytes, struct report *rep);

/* swsgx-guest, the kernel of the guests of 'swsgx vm'. -ENOENT as above. */
int guest_kernel_path(char *path, size_t bytes, struct report *rep);

#endif
