/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The installed API (include/swsgx/epc.h) over the manager: owners and their pages.
 *
 * The manager calls one table of operations for all owners of the API, which passes each call on to the owner's own. Their
 * pages are raw memory: no instruction of the processor works on them, so they may be tracked without being valid in
 * the EPCM.  A page that is broken is not shown to @write at all, for what it held is lost.
 */
#include "epc/owner.h"

#include <assert.h>
#include <errno.h>
#include <swsgx/epc.h>

#include "api/api_priv.h"
#include "base/arena.h"
#include "cpu/cpu.h"
#include "epc/group.h"

static_assert(sizeof(struct swsgx_owner_ops) == 80 &&
		      offsetof(struct swsgx_owner_ops, reserved) == 56,
	      "part of the ABI");

/* ---- operations ----------------------------------------------------------------------------------- */

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

	if (epc_page_poisoned(page))
		return -EHWPOISON;
	return owner->ops->write(owner->owner, epc_page_cookie(page), (struct swsgx_page *)page);
}

static void api_put(struct epc_page *page)
{
	struct swsgx_owner *owner = epc_page_owner(page);

	owner->ops->put(owner->owner, epc_page_cookie(page));
}

static unsigned int api_running(void *arg)
{
	struct swsgx_owner *owner = arg;

	return owner->ops->running(owner->owner);
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

/* ---- owners ------------------------------------------------------------------------------------------- */

static bool ops_ok(const struct swsgx_owner_ops *ops)
{
	return ops->name && ops->get && ops->reclaim && ops->block && ops->write && ops->put &&
	       api_is_zero(ops->reserved, sizeof(ops->reserved));
}

int swsgx_owner_create(struct swsgx_group *group, const struct swsgx_owner_ops *ops, void *owner,
		       struct swsgx_owner **ret_owner)
{
	struct epc *epc = epc_group_epc(api_group(group));
	struct epc_owner_config config = { .ops = &api_page_ops, .group = api_group(group) };
	struct swsgx_owner *self;

	if (!ops_ok(ops))
		return -EINVAL;
	self = arena_alloc(epc_arena(epc), sizeof(*self));
	if (!self)
		return -ENOMEM;
	self->ops = ops;
	self->owner = owner;
	self->epc = epc;
	config.owner = self;
	config.name = ops->name;
	config.running = ops->running ? api_running : NULL;
	if (epc_owner_create(epc, &config, &self->epc_owner) < 0) {
		arena_free(epc_arena(epc), self, sizeof(*self));
		return -ENOMEM;
	}
	*ret_owner = self;
	return 0;
}

void swsgx_owner_destroy(struct swsgx_owner *owner)
{
	if (!owner)
		return;
	epc_owner_destroy(owner->epc_owner);
	arena_free(epc_arena(owner->epc), owner, sizeof(*owner));
}

/* ---- pages -------------------------------------------------------------------------------------------- */

static struct epc_page *page_of(const struct swsgx_owner *owner, struct swsgx_page *page)
{
	assert(epc_page_owner(api_page(page)) == owner);
	return api_page(page);
}

int swsgx_page_alloc(struct swsgx_owner *owner, unsigned int flags, struct swsgx_page **ret_page)
{
	struct epc_page *page;
	int r;

	if (flags & ~SWSGX_MAY_RECLAIM)
		return -EINVAL;
	r = epc_alloc(owner->epc, owner->epc_owner, flags ? EPC_MAY_RECLAIM : 0, &page);
	if (r == 0)
		*ret_page = (struct swsgx_page *)page;
	return r;
}

void swsgx_page_free(struct swsgx_owner *owner, struct swsgx_page *page)
{
	epc_free(owner->epc, page_of(owner, page));
}

void swsgx_page_track(struct swsgx_owner *owner, struct swsgx_page *page)
{
	epc_track(owner->epc, page_of(owner, page));
}

void swsgx_page_track_ahead(struct swsgx_owner *owner, struct swsgx_page *page)
{
	epc_track_ahead(owner->epc, page_of(owner, page));
}

int swsgx_page_untrack(struct swsgx_owner *owner, struct swsgx_page *page)
{
	return epc_untrack(owner->epc, page_of(owner, page));
}

void swsgx_page_keep(struct swsgx_owner *owner, struct swsgx_page *page)
{
	epc_keep(owner->epc, page_of(owner, page));
}

/* Whose page it is by now is not asked: it may just have gone. */
void swsgx_page_touch(struct swsgx_owner *owner, struct swsgx_page *page)
{
	epc_touch(owner->epc, api_page(page));
}

void *swsgx_page_bytes(struct swsgx_owner *owner, struct swsgx_page *page)
{
	return cpu_bytes(epc_cpu(owner->epc), epc_page_nr(owner->epc, page_of(owner, page)));
}

void swsgx_page_set_cookie(struct swsgx_page *page, uint64_t cookie)
{
	epc_page_set_cookie(api_page(page), cookie);
}

uint32_t swsgx_page_nr(struct swsgx_owner *owner, struct swsgx_page *page)
{
	return epc_page_nr(owner->epc, page_of(owner, page));
}

bool swsgx_page_poisoned(struct swsgx_owner *owner, struct swsgx_page *page)
{
	return epc_page_poisoned(page_of(owner, page));
}
