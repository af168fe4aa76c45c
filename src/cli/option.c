/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the commands' options have in common.  Each refusal says what is wrong and what would be right.
 */
#include "cli/option.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "epc/policy.h"

int option_refuse(int c, char *const *argv, const char *command, struct report *rep)
{
	/* The one that was read last; of letters behind one '-' it may not be read to its end yet. */
	const char *text = argv[optind - 1];

	report_hint(rep, "swsgx %s --help lists the options", command);
	if (c == ':')
		return report_fail(rep, -EINVAL, "'%s' needs a value", text);
	if (optopt >= OPTION_LONG)
		return report_fail(rep, -EINVAL, "'%.*s' takes no value", (int)strcspn(text, "="),
				   text);
	if (optopt)
		return report_fail(rep, -EINVAL, "bad option '-%c'", optopt);
	return report_fail(rep, -EINVAL, "bad option '%s'", text);
}

int option_number(const char *text, const char *option, uint64_t min, uint64_t max, uint64_t *ret,
		  struct report *rep)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 10);
	if (!errno && text[0] >= '0' && text[0] <= '9' && !*end && *ret >= min && *ret <= max)
		return 0;
	report_hint(rep, "a number from %llu to %llu", (unsigned long long)min,
		    (unsigned long long)max);
	return report_fail(rep, -EINVAL, "cannot take '%s' for %s", text, option);
}

int option_policy(const char *name, struct report *rep)
{
	char names[OPTION_POLICIES_BYTES];

	if (policy_find(name))
		return 0;
	option_policies(names);
	report_hint(rep, "%s", names);
	return report_fail(rep, -EINVAL, "there is no policy '%s'", name);
}

void option_policies(char text[OPTION_POLICIES_BYTES])
{
	size_t used = 0;

	text[0] = 0;
	for (unsigned int i = 0; policy_at(i) && used < OPTION_POLICIES_BYTES; i++)
		used += (size_t)snprintf(text + used, OPTION_POLICIES_BYTES - used, "%s%s",
					 i ? ", " : "", policy_at(i)->name);
}
