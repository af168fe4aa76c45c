/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the names of the installed API are in here.  A page or a group is one of the manager; an EPC has its processor and
 * its arena with it; and an owner carries the operations as the API has them.
 */
#ifndef SWSGX_API_PRIV_H
#define SWSGX_API_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "crypto/page_cipher.h"
#include "epc/epc.h"

struct epc_group;
struct swsgx_group;
struct swsgx_owner_ops;
struct swsgx_page;

/* In the arena, and so in every process of the fork tree. */
struct swsgx_epc {
	struct page_key slots_key; /* of what slots.c writes out */
	_Atomic uint64_t slots_version;
	struct arena *arena;
	struct cpu *cpu;
	struct epc *epc;
};

struct swsgx_owner {
	const struct swsgx_owner_ops *ops;
	void *owner;
	struct epc *epc;
	struct epc_owner *epc_owner;
};

static inline struct epc_group *api_group(struct swsgx_group *group)
{
	return (struct epc_group *)group;
}

static inline struct epc_page *api_page(struct swsgx_page *page)
{
	return (struct epc_page *)page;
}

/* Members that a program must leave 0: the others are of a later version. */
static inline bool api_is_zero(const void *p, size_t bytes)
{
	const unsigned char *byte = p;
	size_t i = 0;

	while (i < bytes && byte[i] == 0)
		i++;
	return i == bytes;
}

#endif
