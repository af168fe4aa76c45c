/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The installed API (include/swsgx/epc.h) over the manager.
 *
 * A page or a group of the API is one of the manager; an EPC has its processor and its arena with it; and an owner carries
 * the operations as the API has them, which those that the manager calls pass on.  Pages of such owners are
 * raw memory: no instruction of the processor works on them, so they may be tracked without being valid in the EPCM.
 */
#include <swsgx/epc.h>

#include <errno.h>
#include <string.h>

#include "arch/sgx.h"
#include "base/arena.h"
#include "cpu/cpu.h"
#include "epc/epc.h"
#include "epc/group.h"
#include "epc/owner.h"
#include "epc/stats.h"

#define API __attribute__((visibility("default")))

#define ARENA_BYTES   (64ull << 20)
#define EPC_PAGES_MIN 16u
#define EPC_BYTES_MAX (1ull << 40) /* as of swsgx run; pages are numbered in 32 bits */

struct swsgx_epc {
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

static struct epc_page *page_of(struct swsgx_page *page)
{
	return (struct epc_page *)page;
}

static struct epc_group *group_of(struct swsgx_group *group)
{
	return (struct epc_group *)group;
}

/* ---- an EPC --------------------------------------------------------------------------------------- */

API int swsgx_epc_create(const struct swsgx_epc_config *config, struct swsgx_epc **ret_epc)
{
	struct epc_config epc_config = { .policy = config->policy };
	struct cpu_config cpu_config;
	struct swsgx_epc *epc;
	struct arena *arena;
	int r = -ENOMEM;

	if (config->bytes % SGX_PAGE_SIZE || config->bytes < EPC_PAGES_MIN * SGX_PAGE_SIZE ||
	    config->bytes > EPC_BYTES_MAX)
		return -EINVAL;
	cpu_config_default(&cpu_config, config->bytes);
	arena = arena_create(ARENA_BYTES);
	if (!arena)
		return -ENOMEM;
	epc = arena_alloc(arena, sizeof(*epc));
	if (!epc)
		goto destroy_arena;
	epc->arena = arena;
	epc->cpu = cpu_create(&cpu_config);
	if (!epc->cpu)
		goto destroy_arena;
	epc_config.cpu = epc->cpu;
	epc_config.arena = arena;
	r = epc_create(&epc_config, &epc->epc);
	if (r < 0)
		goto destroy_cpu;
	*ret_epc = epc;
	return 0;

destroy_cpu:
	cpu_destroy(epc->cpu);
destroy_arena:
	arena_destroy(arena);
	return r;
}

API void swsgx_epc_destroy(struct swsgx_epc *epc)
{
	if (!epc)
		return;
	epc_destroy(epc->epc);
	cpu_destroy(epc->cpu);
	arena_destroy(epc->arena);
}

API void *swsgx_shared_alloc(struct swsgx_epc *epc, size_t bytes)
{
	return arena_alloc(epc->arena, bytes);
}

API unsigned int swsgx_epc_reclaim(struct swsgx_epc *epc)
{
	return epc_reclaim(epc->epc);
}

API void swsgx_epc_recover(struct swsgx_epc *epc)
{
	epc_recover(epc->epc);
}

API unsigned int swsgx_epc_audit(struct swsgx_epc *epc, char *why, size_t bytes)
{
	return epc_audit(epc->epc, false, why, bytes);
}

/* ---- groups ------------------------------------------------------------------------------------------ */

static struct epc_group_limits limits_of(const struct swsgx_group_limits *limits)
{
	return (struct epc_group_limits){ .max_pages = limits->max,
					  .high_pages = limits->high,
					  .min_pages = limits->min,
					  .weight = limits->weight };
}

API struct swsgx_group *swsgx_group_root(struct swsgx_epc *epc)
{
	return (struct swsgx_group *)epc_group_root(epc->epc);
}

API int swsgx_group_create(struct swsgx_group *parent, const char *name,
			   const struct swsgx_group_limits *limits, struct swsgx_group **ret_group)
{
	struct epc_group_limits epc_limits = limits_of(limits);
	struct epc_group *group;
	int r = epc_group_create(group_of(parent), name, &epc_limits, &group);

	if (r == 0)
		*ret_group = (struct swsgx_group *)group;
	return r;
}

API int swsgx_group_set(struct swsgx_group *group, const struct swsgx_group_limits *limits)
{
	struct epc_group_limits epc_limits = limits_of(limits);

	return epc_group_set(group_of(group), &epc_limits);
}

API int swsgx_group_destroy(struct swsgx_group *group)
{
	return epc_group_destroy(group_of(group));
}

API uint32_t swsgx_group_pages(struct swsgx_group *group)
{
	struct epc_group_info info;

	epc_group_read(group_of(group), &info);
	return info.current_pages;
}

API uint64_t swsgx_group_count(struct swsgx_group *group, const char *name)
{
	struct epc_group_stats stats;

	epc_group_stats_read(group_of(group), &stats);
	for (enum epc_count c = 0; c < EPC_COUNT_NR; c++) {
		if (!strcmp(epc_count_name(c), name))
			return stats.count[c];
	}
	return 0;
}

/* ---- owners ------------------------------------------------------------------------------------------- */

static bool api_get(struct epc_page *page)
{
	struct swsgx_owner *owner = epc_page_owner(page);

	return owner->ops->get(owner->owner, epc_page_cookie(page));
}

static bool api_reclaim(struct epc_page *page)
{
	struct swsgx_owner *owner = epc_page_owner(page);

	return owner->ops->reclaim(owner->owner, epc_page_cookie(page), (struct swsgx_page *)page);
}

static bool api_block(struct epc_page *page)
{
	struct swsgx_owner *owner = epc_page_owner(page);

	return owner->ops->block(owner->owner, epc_page_cookie(page), (struct swsgx_page *)page);
}

static int api_write(struct epc_page *page)
{
	struct swsgx_owner *owner = epc_page_owner(page);

	return owner->ops->write(owner->owner, epc_page_cookie(page), (struct swsgx_page *)page);
}

static void api_put(struct epc_page *page)
{
	struct swsgx_owner *owner = epc_page_owner(page);

	owner->ops->put(owner->owner, epc_page_cookie(page));
}

static const struct sgx_epc_page_ops api_page_ops = {
	.name = "api",
	.get = api_get,
	.reclaim = api_reclaim,
	.block = api_block,
	.write = api_write,
	.put = api_put,
	.blanks = true,
};

API int swsgx_owner_create(struct swsgx_group *group, const struct swsgx_owner_ops *ops,
			   void *owner, struct swsgx_owner **ret_owner)
{
	struct epc *epc = epc_group_epc(group_of(group));
	struct swsgx_owner *self = arena_alloc(epc_arena(epc), sizeof(*self));
	struct epc_owner_config config = {
		.ops = &api_page_ops, .owner = self, .group = group_of(group), .name = ops->name
	};

	if (!self)
		return -ENOMEM;
	self->ops = ops;
	self->owner = owner;
	self->epc = epc;
	if (epc_owner_create(epc, &config, &self->epc_owner) < 0) {
		arena_free(epc_arena(epc), self, sizeof(*self));
		return -ENOMEM;
	}
	*ret_owner = self;
	return 0;
}

API void swsgx_owner_destroy(struct swsgx_owner *owner)
{
	if (!owner)
		return;
	epc_owner_destroy(owner->epc_owner);
	arena_free(epc_arena(owner->epc), owner, sizeof(*owner));
}

/* ---- pages -------------------------------------------------------------------------------------------- */

API int swsgx_page_alloc(struct swsgx_owner *owner, unsigned int flags,
			 struct swsgx_page **ret_page)
{
	struct epc_page *page;
	int r = epc_alloc(owner->epc, owner->epc_owner,
			  flags & SWSGX_MAY_RECLAIM ? EPC_MAY_RECLAIM : 0, &page);

	if (r == 0)
		*ret_page = (struct swsgx_page *)page;
	return r;
}

API void swsgx_page_free(struct swsgx_owner *owner, struct swsgx_page *page)
{
	epc_free(owner->epc, page_of(page));
}

API void swsgx_page_track(struct swsgx_owner *owner, struct swsgx_page *page)
{
	epc_track(owner->epc, page_of(page));
}

API int swsgx_page_untrack(struct swsgx_owner *owner, struct swsgx_page *page)
{
	return epc_untrack(owner->epc, page_of(page));
}

API void swsgx_page_keep(struct swsgx_owner *owner, struct swsgx_page *page)
{
	epc_keep(owner->epc, page_of(page));
}

API void swsgx_page_touch(struct swsgx_owner *owner, struct swsgx_page *page)
{
	epc_touch(owner->epc, page_of(page));
}

API void *swsgx_page_bytes(struct swsgx_owner *owner, struct swsgx_page *page)
{
	return cpu_bytes(epc_cpu(owner->epc), epc_page_nr(owner->epc, page_of(page)));
}

API void swsgx_page_set_cookie(struct swsgx_page *page, uint64_t cookie)
{
	epc_page_set_cookie(page_of(page), cookie);
}
