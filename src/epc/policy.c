/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The policies there are.  The first is the default. */
#include "epc/policy.h"

#include <string.h>

static const struct epc_policy *const policies[] = {
	&policy_clock,
	&policy_upstream,
	NULL,
};

const struct epc_policy *policy_at(unsigned int i)
{
	return i < sizeof(policies) / sizeof(policies[0]) ? policies[i] : NULL;
}

const struct epc_policy *policy_find(const char *name)
{
	unsigned int i;

	if (!name)
		return policies[0];
	for (i = 0; policies[i]; i++) {
		if (!strcmp(policies[i]->name, name))
			return policies[i];
	}
	return NULL;
}
