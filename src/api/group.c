/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The installed API (include/swsgx/epc.h) over the manager: groups, which are the manager's own. */
#include "epc/group.h"

#include <assert.h>
#include <errno.h>
#include <swsgx/epc.h>

#include "api/api_priv.h"

static_assert(SWSGX_NO_LIMIT == EPC_GROUP_NO_LIMIT, "limits go through as they are");
static_assert(SWSGX_GROUP_NAME_BYTES == EPC_GROUP_NAME_BYTES, "so do names");
static_assert(sizeof(struct swsgx_group_limits) == 32, "part of the ABI");

static bool limits_of(const struct swsgx_group_limits *limits, struct epc_group_limits *ret_limits)
{
	*ret_limits = (struct epc_group_limits){ .max_pages = limits->max,
						 .high_pages = limits->high,
						 .min_pages = limits->min,
						 .weight = limits->weight };
	return api_is_zero(limits->reserved, sizeof(limits->reserved));
}

struct swsgx_group *swsgx_group_root(struct swsgx_epc *epc)
{
	return (struct swsgx_group *)epc_group_root(epc->epc);
}

int swsgx_group_create(struct swsgx_group *parent, const char *name,
		       const struct swsgx_group_limits *limits, struct swsgx_group **ret_group)
{
	struct epc_group_limits epc_limits;
	struct epc_group *group;
	int r;

	if (!limits_of(limits, &epc_limits))
		return -EINVAL;
	r = epc_group_create(api_group(parent), name, &epc_limits, &group);
	if (r == 0)
		*ret_group = (struct swsgx_group *)group;
	return r;
}

int swsgx_group_set(struct swsgx_group *group, const struct swsgx_group_limits *limits)
{
	struct epc_group_limits epc_limits;

	if (!limits_of(limits, &epc_limits))
		return -EINVAL;
	return epc_group_set(api_group(group), &epc_limits);
}

int swsgx_group_destroy(struct swsgx_group *group)
{
	return epc_group_destroy(api_group(group));
}
