/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The platform file that a program is to have: the default one, and whether one can be used.
 */
#ifndef SWSGX_CLI_PLATFORM_FILE_H
#define SWSGX_CLI_PLATFORM_FILE_H

#include <stddef.h>

struct report;

/* The user's own; folders on the way are made. 0 or -ENAMETOOLONG. */
int platform_file_default(char *path, size_t bytes, struct report *rep);

/* @path is absolute. 0: it can be used, or made. Else -errno, and what is wrong with it in @rep. */
int platform_file_check(const char *path, struct report *rep);

#endif
