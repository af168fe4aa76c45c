/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A test that speaks TAP: TAP_CHECK() counts and goes on, tap_done() ends with the plan.
 */
#ifndef SWSGX_TESTS_TAP_H
#define SWSGX_TESTS_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned int tap_nr, tap_failed;

__attribute__((format(printf, 4, 5), unused)) static bool tap_check(bool ok, const char *file,
								    int line, const char *fmt, ...)
{
	va_list ap;

	printf("%sok %u - ", ok ? "" : "not ", ++tap_nr);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	if (!ok) {
		tap_failed++;
		printf("# at %s:%d\n", file, line);
	}
	fflush(stdout);
	return ok;
}

/* Count one check, with a name. Yields whether it held. */
#define TAP_CHECK(cond, ...) tap_check((cond), __FILE__, __LINE__, __VA_ARGS__)

/* The rest of the program makes no sense when this does not hold. */
#define TAP_MUST(cond, ...)                                 \
	do {                                                \
		if (!TAP_CHECK(cond, __VA_ARGS__)) {        \
			printf("Bail out! cannot go on\n"); \
			exit(1);                            \
		}                                           \
	} while (0)

__attribute__((unused)) static void tap_skip(const char *name, const char *why)
{
	printf("ok %u - %s # SKIP %s\n", ++tap_nr, name, why);
}

/* The whole program is skipped, with the reason. */
#define TAP_SKIP_ALL(why)                          \
	do {                                       \
		printf("1..0 # SKIP %s\n", (why)); \
		exit(0);                           \
	} while (0)

__attribute__((unused)) static int tap_done(void)
{
	printf("1..%u\n", tap_nr);
	return tap_failed ? 1 : 0;
}

#endif
