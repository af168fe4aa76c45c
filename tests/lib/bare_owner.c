/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The manager may ask, and is refused. */
#include "lib/bare_owner.h"

#include <stddef.h>

static bool never(struct epc_page *page) { return false; }

static int never_write(struct epc_page *page) { return -1; }

static void nothing(struct epc_page *page) {}

const struct sgx_epc_page_ops bare_ops = {
	.name = "bare",
	.get = never,
	.reclaim = never,
	.block = never,
	.write = never_write,
	.put = nothing,
	.blanks = true,
};

struct epc_owner *bare_owner_create(struct epc *epc, struct epc_group *group)
{
	struct epc_owner_config config = { .ops = &bare_ops, .owner = epc, .group = group };
	struct epc_owner *owner;

	return epc_owner_create(epc, &config, &owner) == 0 ? owner : NULL;
}
