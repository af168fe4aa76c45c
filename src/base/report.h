/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A failure told to a person: what could not be done, why, what to try.
 *
 * It is filled where the cause is known and printed once, at the edge.  Libraries never print.
 */
#ifndef SWSGX_BASE_REPORT_H
#define SWSGX_BASE_REPORT_H

#include <stddef.h>

struct report {
	int err; /* negative errno, 0: nothing to tell */
	char what[160];
	char hint[160];
};

void report_init(struct report *rep);
/* Fill @rep (may be NULL) and return @err, so that callers can return it. Keeps a hint. */
int report_fail(struct report *rep, int err, const char *what, ...)
	__attribute__((format(printf, 3, 4)));
void report_hint(struct report *rep, const char *hint, ...) __attribute__((format(printf, 2, 3)));
/* "WHAT: WHY", without a newline, cut to @bytes; @buf is returned. */
const char *report_text(const struct report *rep, char *buf, size_t bytes);

#endif
