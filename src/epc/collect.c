/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The pages of a batch: candidates that the policy of one group after the other picks, held by their owners
 * and let go by them.
 *
 * No lock of the manager is held while an owner is asked.  No group loses by it what it was promised, but page by page, into
 * the hand of whoever of it needs one.
 *
 * Not here: which group is next (group_share.c), which of its pages (policy_*.c), what becomes of them (reclaim.c).
 */
#include "epc/collect_priv.h"

#include "epc/owner.h"
#include "epc/policy_ghost.h"
#include "epc/sample_priv.h"

enum { LOOK_MAX = 256 /* pages of a group looked at for one batch */ };

/*
 * How many of @quota pages may be taken where somebody in the top group needs some.  What it was
 * promised goes page by page, into the hand of whoever needs it.
 */
static uint32_t spare_locked(struct collect *collect, uint32_t picked, uint32_t quota)
	REQUIRES(&collect->top->epc->reclaim_lock)
{
	uint32_t spare = collect->taker ? group_spare_locked(collect->top) : UINT32_MAX;

	if (picked == 0)
		collect->exchange = spare == 0;
	if (collect->exchange)
		return picked == 0;
	return spare < quota ? spare : quota;
}

/* Candidates of one group into the free entries of @batch. Returns how many. */
static unsigned int pick_more(struct epc *epc, struct batch *batch, struct collect *collect)
{
	struct batch_entry *entry;
	unsigned int picked = 0;
	struct epc_group *group;
	uint16_t *looked;
	unsigned int look;
	uint32_t nr, quota;

	order_lock(epc);
	sample_tell_locked(epc);
	group = collect->group = group_choose_locked(collect->top, &collect->done, &quota);
	if (!group) {
		order_unlock(epc);
		return 0;
	}
	quota = spare_locked(collect, batch->nr, quota);
	looked = &collect->looked[group->index];
	while (picked < quota && batch->nr < epc->batch_nr && *looked < LOOK_MAX) {
		nr = epc->policy->pick(group->policy_state, &look);
		*looked = (uint16_t)(*looked + (look ? look : 1));
		if (nr == PAGE_NONE && look == 0)
			break;
		if (nr == PAGE_NONE)
			continue;
		assert(page_state(&epc->pages[nr]) == EPC_PAGE_TRACKED);
		ghost_prefetch(&epc->view, nr);
		entry = &batch->entry[batch->nr];
		entry->nr = nr;
		entry->stage = NO_STAGE;
		page_set_state(&epc->pages[nr], EPC_PAGE_IN_BATCH);
		entry->phase = BATCH_PICKED;
		batch->nr++;
		group->in_batch_nr++;
		atomic_fetch_add_explicit(&epc->in_batch_nr, 1, memory_order_relaxed);
		picked++;
	}
	/* Still under the lock: without a page in hand there is nothing that keeps the group. */
	if (quota == 0)
		collect->group = NULL;
	else if (picked == 0 || *looked >= LOOK_MAX)
		group_set_add(&collect->done, group);
	order_unlock(epc);
	return picked;
}

/*
 * The owners' consent for the entries from @first on.  First every owner is held, then each is
 * asked: an owner that dies by our own put must not wait for a page of its own that we have merely
 * picked.
 */
static void ask_owners(struct epc *epc, struct batch *batch, unsigned int first)
{
	struct batch_entry *entry;
	struct epc_page *page;
	unsigned int i;

	for (i = first; i < batch->nr; i++) {
		entry = &batch->entry[i];
		page = &epc->pages[entry->nr];
		if (page_ops(page)->get(page))
			entry->phase = BATCH_GOT;
		else
			batch_put_back(epc, entry, POLICY_NOT_NOW, false);
	}
	for (i = first; i < batch->nr; i++) {
		entry = &batch->entry[i];
		if (entry->phase != BATCH_GOT)
			continue;
		page = &epc->pages[entry->nr];
		if (page_ops(page)->reclaim(page)) {
			entry->phase = BATCH_READY;
			continue;
		}
		count(&epc->counters.second_chances, 1);
		batch_put_back(epc, entry, POLICY_REFERENCED, true);
	}
}

/* Entries that have gone make room for others. */
static void compact(struct batch *batch)
{
	uint32_t from, to = 0;

	for (from = 0; from < batch->nr; from++) {
		if (batch->entry[from].phase == BATCH_NONE)
			continue;
		if (to != from) {
			/* In both places for a moment: batch_recover() knows. */
			batch->entry[to].nr = batch->entry[from].nr;
			batch->entry[to].win_page = batch->entry[from].win_page;
			batch->entry[to].stage = batch->entry[from].stage;
			batch->entry[to].phase = batch->entry[from].phase;
			batch->entry[from].phase = BATCH_NONE;
		}
		to++;
	}
	batch->nr = to;
}

unsigned int collect_pages(struct epc *epc, struct batch *batch, struct collect *collect)
{
	unsigned int looked = 0, first, i;

	do {
		first = batch->nr;
		(void)pick_more(epc, batch, collect);
		ask_owners(epc, batch, first);
		compact(batch);
	} while (collect->group && batch->nr < epc->batch_nr);
	sample_drop(epc);
	for (i = 0; i < EPC_GROUPS_MAX; i++)
		looked += collect->looked[i];
	return looked;
}

void collect_promises(struct epc *epc, struct batch *batch, const struct collect *collect)
{
	/* By an exchange the top group loses nothing. */
	const struct epc_group *end =
		collect->taker && !collect->exchange ? epc->root : collect->top;
	const struct epc_group *group;
	struct batch_entry *entry;
	bool gives;

	for (entry = batch->entry; entry < batch->entry + batch->nr; entry++) {
		group = page_owner(&epc->pages[entry->nr])->group;
		if (entry->phase != BATCH_READY || !group_is_promised(group, end))
			continue;
		order_lock(epc);
		gives = group_gives_promised_locked(group, end);
		order_unlock(epc);
		if (gives)
			batch_put_back(epc, entry, POLICY_REFERENCED, true);
	}
}
