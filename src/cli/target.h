/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The program that is to be run: where it is, and whether it can be served.
 */
#ifndef SWSGX_CLI_TARGET_H
#define SWSGX_CLI_TARGET_H

#include <stddef.h>

#include "runtime/program.h"

struct report;

/*
 * Find @name as execvp() does, into @path.
 *
 *   -ENOENT  there is none
 *   -EACCES  it may not be executed
 */
int target_find(const char *name, char *path, size_t bytes, struct report *rep);

/* What kind of file @path is; -errno when it cannot be read. */
int target_kind(const char *path, enum program_kind *ret_kind, struct report *rep);

/* 0, or -EPERM when exec would switch to secure mode, in which LD_PRELOAD is ignored. */
int target_check_privilege(const char *path, struct report *rep);

#endif
