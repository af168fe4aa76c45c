/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Failures told to a person.  Texts that do not fit are cut: a report never fails itself.
 */
#include "base/report.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void report_init(struct report *rep)
{
	memset(rep, 0, sizeof(*rep));
}

int report_fail(struct report *rep, int err, const char *what, ...)
{
	va_list ap;

	assert(err < 0);
	if (!rep)
		return err;
	rep->err = err;
	va_start(ap, what);
	vsnprintf(rep->what, sizeof(rep->what), what, ap);
	va_end(ap);
	return err;
}

void report_hint(struct report *rep, const char *hint, ...)
{
	va_list ap;

	if (!rep)
		return;
	va_start(ap, hint);
	vsnprintf(rep->hint, sizeof(rep->hint), hint, ap);
	va_end(ap);
}

const char *report_text(const struct report *rep, char *buf, size_t bytes)
{
	const char *why = strerrordesc_np(-rep->err);

	assert(bytes > 0);
	snprintf(buf, bytes, "%s: %s", rep->what, why ? why : "unknown error");
	return buf;
}
