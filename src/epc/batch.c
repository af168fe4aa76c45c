/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The batches: as many as there are slots of the window, each made with its slot when so many are needed at once
 * for the first time; where there is no memory for another one, it goes on with fewer.
 *
 * They are numbered as they begin, so that whoever waits for what becomes of all that are under way
 * can tell when none of them is any more, though others have begun since.
 *
 * Not here: which pages are in one (collect.c), and what is done with them (reclaim.c).
 */
#include <errno.h>
#include <string.h>

#include "epc/epc_priv.h"
#include "epc/owner.h"
#include "epc/poison_priv.h"
#include "epc/window.h"

static void batch_make(void *made, unsigned int slot)
{
	struct batch *batch = made;

	lock_init(&batch->lock, LOCK_TRIED);
	batch->slot = slot;
}

static void batch_unmake(void *made)
{
	lock_fini(&((struct batch *)made)->lock);
}

static const struct late_kind batch_kind = { sizeof(struct batch), batch_make, batch_unmake };

struct batch *batch_at(struct epc *epc, unsigned int slot)
{
	if (!window_slot_make(epc, epc->window, slot))
		return NULL;
	return late_make(epc, &epc->batch[slot], &batch_kind, slot);
}

int batches_init(struct epc *epc)
{
	return batch_at(epc, 0) ? 0 : -ENOMEM;
}

void batches_fini(struct epc *epc)
{
	for (unsigned int i = 0; i < WINDOW_SLOTS; i++)
		late_fini(epc, &epc->batch[i], &batch_kind);
	window_slots_unmake(epc, epc->window);
}

void batch_begin(struct epc *epc, struct batch *batch)
{
	atomic_store(&batch->begun, atomic_fetch_add(&epc->batches_begun, 1) + 1);
}

uint64_t batches_begun(const struct epc *epc)
{
	return atomic_load(&epc->batches_begun);
}

bool batches_have_ended(const struct epc *epc, uint64_t number)
{
	const struct batch *batch;
	unsigned int i;
	uint64_t begun;

	for (i = 0; i < WINDOW_SLOTS; i++) {
		batch = late_there(&epc->batch[i]);
		begun = batch ? atomic_load(&batch->begun) : 0;
		if (begun && begun <= number)
			return false;
	}
	return true;
}

/* ---- a page in one ---------------------------------------------------------------------------- */

void owner_copy(struct owner_copy *copy, const struct epc_page *page)
{
	memset(copy, 0, sizeof(*copy));
	copy->ops = page_ops(page);
	page_set_owner(&copy->page, page_owner(page));
	page_set_cookie(&copy->page, epc_page_cookie(page));
}

void owner_put(struct owner_copy *copy)
{
	copy->ops->put(&copy->page);
}

/* The record goes first: a page IN_BATCH that is in no record is put back by whoever mends the order. */
void batch_put_back(struct epc *epc, struct batch_entry *entry, enum policy_return why, bool got)
{
	struct epc_page *page = &epc->pages[entry->nr];
	struct epc_group *group = page_owner(page)->group;
	struct owner_copy copy;

	owner_copy(&copy, page);
	order_lock(epc);
	entry->phase = BATCH_NONE;
	page_set_state(page, EPC_PAGE_TRACKED);
	epc->policy->put_back(page_policy_state(page), entry->nr, why);
	page_leave_if_broken_locked(epc, page);
	group->in_batch_nr--;
	if (got && why == POLICY_NOT_NOW)
		group_shun_locked(group);
	atomic_fetch_sub_explicit(&epc->in_batch_nr, 1, memory_order_relaxed);
	order_unlock(epc);
	if (got)
		owner_put(&copy);
}
