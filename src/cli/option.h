/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the commands' options have in common: which are refused, and how that is said.
 *
 * Values that getopt_long() returns for long options are OPTION_LONG and more, so that they are told from
 * letters.
 */
#ifndef SWSGX_CLI_OPTION_H
#define SWSGX_CLI_OPTION_H

#include <stdint.h>

struct report;

enum { OPTION_LONG = 256 };

/* getopt_long() returned '?' or ':' for @argv, of @command. -EINVAL, and what is wrong in @rep. */
int option_refuse(int c, char *const *argv, const char *command, struct report *rep);

/* A decimal number from @min to @max. 0, or -EINVAL and what is wrong with it in @rep. */
int option_number(const char *text, const char *option, uint64_t min, uint64_t max, uint64_t *ret,
		  struct report *rep);

/* 0, or -EINVAL and those that there are in @rep. @name may be NULL: the default. */
int option_policy(const char *name, struct report *rep);

enum { OPTION_POLICIES_BYTES = 128 };

/* "adaptive, upstream, ...": the default first. */
void option_policies(char text[OPTION_POLICIES_BYTES]);

#endif
