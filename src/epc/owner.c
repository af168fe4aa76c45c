/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Owners: who a page is charged to, and whose operations the reclaimer calls.
 */
#include "epc/owner.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/epc_priv.h"
#include "epc/refault_priv.h"

static size_t owner_bytes(const struct epc *epc)
{
	return sizeof(struct epc_owner) + epc->count_slot_nr * sizeof(struct counts);
}

int epc_owner_create(struct epc *epc, const struct epc_owner_config *config,
		     struct epc_owner **ret_owner)
{
	const struct sgx_epc_page_ops *ops = config->ops;
	struct epc_owner *owner = arena_alloc(epc->arena, owner_bytes(epc));

	assert(ops->name && ops->get && ops->reclaim && ops->block && ops->write && ops->put);
	if (!owner)
		return -ENOMEM;
	owner->epc = epc;
	owner->ops = ops;
	owner->owner = config->owner;
	owner->group = config->group ? config->group : epc_group_root(epc);
	strncpy(owner->name, config->name ? config->name : ops->name, sizeof(owner->name) - 1);
	owner->id = config->id;
	owner->pid = getpid();
	owner->told_as = config->part_of ? config->part_of : owner;
	assert(owner->told_as->group == owner->group);
	owner->running = config->running;
	groups_lock(epc);
	owner->number = ++epc->owner_numbers;
	list_add_tail(&owner->group->owners, &owner->node);
	owner->group->owner_nr++;
	groups_unlock(epc);
	*ret_owner = owner;
	return 0;
}

void epc_owner_destroy(struct epc_owner *owner)
{
	struct epc *epc;

	if (!owner)
		return;
	epc = owner->epc;
	refaults_forget(epc, owner);
	groups_lock(epc);
	stalls_forget_locked(owner);
	counts_retire(owner);
	list_del(&owner->node);
	owner->group->owner_nr--;
	groups_unlock(epc);
	arena_free(epc->arena, owner, owner_bytes(epc));
}

struct epc_group *epc_owner_group(const struct epc_owner *owner)
{
	return owner->group;
}
