/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * An owner that gives no page and does nothing with those that it has: for what the manager does by itself.
 */
#ifndef SWSGX_TESTS_BARE_OWNER_H
#define SWSGX_TESTS_BARE_OWNER_H

#include "epc/owner.h"

extern const struct sgx_epc_page_ops bare_ops;

/* @group: NULL for the root.  NULL: no memory. */
struct epc_owner *bare_owner_create(struct epc *epc, struct epc_group *group);

#endif
