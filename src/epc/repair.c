/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The locks of the manager, and what to do when a holder of one was killed.
 *
 * What a page is is told by its state, one store; lists and counts only find pages of a state
 * quickly.  So after a death in the middle of a change the lists are made anew from the states.
 * That walks all pages: it happens once for a process killed within some hundred nanoseconds.
 */
#include "cpu/cpu.h"
#include "epc/epc_priv.h"
#include "epc/pagelist.h"
#include "epc/poison_priv.h"
#include "epc/window.h"

/* True when a batch, of whomever, answers for page @nr. */
static bool in_some_batch(struct epc *epc, uint32_t nr)
{
	const struct batch_entry *entry;
	const struct batch *batch;
	unsigned int i, j;

	for (i = 0; i < WINDOW_SLOTS; i++) {
		batch = late_there(&epc->batch[i]);
		for (j = 0; batch && j < EPC_BATCH_MAX; j++) {
			entry = &batch->entry[j];
			if (atomic_load(&entry->phase) != BATCH_NONE && entry->nr == nr)
				return true;
		}
	}
	return false;
}

/*
 * On its way into a batch, or out of one, when its process died.  The EPCM is not asked whether it
 * was written: blank pages, which are never valid there, have owners who count on them.
 */
static void order_stray_locked(struct epc *epc, uint32_t nr) REQUIRES(&epc->reclaim_lock)
{
	if (page_is_written(&epc->pages[nr])) {
		section_free(epc, &nr, 1);
		return;
	}
	page_set_state(&epc->pages[nr], EPC_PAGE_TRACKED);
	epc->policy->insert(page_policy_state(&epc->pages[nr]), nr);
	page_leave_if_broken_locked(epc, &epc->pages[nr]);
}

/* Every order is empty. */
static void groups_reset_locked(struct epc *epc) REQUIRES(&epc->reclaim_lock)
{
	unsigned int i;

	for (i = 0; i < EPC_GROUPS_MAX; i++) {
		if (!group_at(epc, i))
			continue;
		epc->policy->reset(group_at(epc, i)->policy_state);
		group_at(epc, i)->in_batch_nr = group_at(epc, i)->kept_nr = 0;
	}
}

static void order_repair_locked(struct epc *epc) REQUIRES(&epc->reclaim_lock)
{
	uint32_t nr, in_batch = 0;

	groups_relink_locked(epc);
	groups_reset_locked(epc);
	for (nr = 0; nr < epc->page_nr; nr++) {
		switch (page_state(&epc->pages[nr])) {
		case EPC_PAGE_TRACKED:
			epc->policy->insert(page_policy_state(&epc->pages[nr]), nr);
			page_leave_if_broken_locked(epc, &epc->pages[nr]);
			break;
		case EPC_PAGE_IN_BATCH:
			if (!in_some_batch(epc, nr)) {
				order_stray_locked(epc, nr);
				break;
			}
			in_batch++;
			page_owner(&epc->pages[nr])->group->in_batch_nr++;
			break;
		case EPC_PAGE_OWNED:
			if (page_is_kept(&epc->pages[nr]))
				page_owner(&epc->pages[nr])->group->kept_nr++;
			break;
		default:
			break;
		}
	}
	epc->in_batch_nr = in_batch;
	count(&epc->counters.recovered, 1);
	epc->reclaim_lock.holder_died = false;
}

static void shard_repair_locked(struct epc *epc, struct shard *shard) REQUIRES(&shard->lock)
{
	unsigned int place = (unsigned int)(shard - epc->shard);
	uint32_t has[EPC_GROUPS_MAX] = { 0 }; /* of each group */
	const struct epc_group *group;
	struct epc_page *page;
	uint32_t nr;

	pagelist_init(&shard->free);
	pagelist_init(&shard->deferred);
	pagelist_init(&shard->poisoned);
	shard->poisoned_ahead = 0;
	for (nr = shard->first; nr < shard->first + shard->nr; nr++) {
		page = &epc->pages[nr];
		if (page_state(page) == EPC_PAGE_POISONED) {
			poison_shelve_locked(epc, shard, nr);
		} else if (nr >= shard->dirty_next) {
			continue;
		} else if (page_state(page) == EPC_PAGE_FREE) {
			pagelist_add(epc->pages, &shard->free, nr);
		} else if (page_state(&epc->pages[nr]) == EPC_PAGE_DIRTY) {
			cpu_repair_page(epc->cpu, nr); /* who died may have been at its EREMOVE */
			pagelist_add_tail(epc->pages, &shard->deferred, nr);
		} else if (page_owner(page)) {
			for (group = page_owner(page)->group; group->parent; group = group->parent)
				has[group->index]++;
		}
	}
	groups_recharge(epc, place, has);
	shard_count_locked(epc, shard);
	count(&epc->counters.recovered, 1);
	shard->lock.holder_died = false;
}

void order_lock(struct epc *epc)
{
	lock_acquire(&epc->reclaim_lock);
	if (epc->reclaim_lock.holder_died)
		order_repair_locked(epc);
}

void order_unlock(struct epc *epc)
{
	lock_release(&epc->reclaim_lock);
}

void shard_lock(struct epc *epc, struct shard *shard)
{
	lock_acquire(&shard->lock);
	if (shard->lock.holder_died)
		shard_repair_locked(epc, shard);
}

void shard_unlock(struct shard *shard)
{
	lock_release(&shard->lock);
}
