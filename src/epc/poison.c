/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Poisoned pages: memory that a machine check has found broken.
 *
 * The mark is made once and stays.  A page that is free goes to its shard's poison list; one in use when its owner
 * frees it, or when a batch has evicted it.  Until then the owner keeps it, but it is in no order of eviction
 * any more, because EWB would have to read it; its bytes are dropped, so that whoever touches it asks the owner.
 *
 * Invariant: a page with the mark is never handed out, and never TRACKED.  Every step looks at the mark
 * behind the lock that the one before it took, so it does not matter how far a process that dies has come.
 */
#include <errno.h>

#include "cpu/cpu.h"
#include "epc/epc_priv.h"
#include "epc/pagelist.h"
#include "epc/poison_priv.h"

bool epc_page_poisoned(const struct epc_page *page)
{
	return atomic_load_explicit(&page->flags, memory_order_acquire) & PAGE_POISONED;
}

void poison_shelve_locked(struct epc *epc, struct shard *shard, uint32_t nr)
{
	page_begin(&epc->pages[nr], NULL, EPC_PAGE_POISONED);
	pagelist_add(epc->pages, &shard->poisoned, nr);
	if (nr >= shard->dirty_next)
		shard->poisoned_ahead++;
}

/* Nobody has it: 0; else -EBUSY. */
static int poison_free_page(struct epc *epc, uint32_t nr)
{
	struct shard *shard = shard_of(epc, nr);
	int r = 0;

	shard_lock(epc, shard);
	switch (page_state(&epc->pages[nr])) {
	case EPC_PAGE_FREE:
		pagelist_del(epc->pages, &shard->free, nr);
		poison_shelve_locked(epc, shard, nr);
		break;
	case EPC_PAGE_DIRTY:
		if (nr < shard->dirty_next)
			pagelist_del(epc->pages, &shard->deferred, nr);
		/* Broken or not, it must be removed: a SECS cannot go before all its children have. */
		(void)encls_eremove(epc->cpu, nr);
		poison_shelve_locked(epc, shard, nr);
		break;
	case EPC_PAGE_POISONED:
		break;
	default:
		r = -EBUSY;
		break;
	}
	shard_count_locked(epc, shard);
	shard_unlock(shard);
	return r;
}

void page_leave_if_broken_locked(struct epc *epc, struct epc_page *page)
{
	if (page_state(page) != EPC_PAGE_TRACKED || !epc_page_poisoned(page))
		return;
	/* Somebody may have been shown it since the machine check came, by an owner who had it in hand. */
	page_drop_bytes(epc, page);
	epc->policy->remove(page_policy_state(page), page_index(epc, page));
	page_set_state(page, EPC_PAGE_OWNED);
	page_keep_locked(epc, page);
}

int epc_poison(struct epc *epc, uint32_t nr)
{
	if (nr >= epc->page_nr)
		return -EINVAL;
	/*
	 * Under the lock from the mark on: whoever finds its holder dead goes through the orders for marks.  It keeps a page
	 * with its owner, too; one that the owner or a batch has in hand leaves the order as soon as it comes into it.
	 */
	order_lock(epc);
	if (!(atomic_fetch_or(&epc->pages[nr].flags, PAGE_POISONED) & PAGE_POISONED))
		count(&epc->counters.machine_checks, 1);
	if (poison_free_page(epc, nr) < 0)
		page_leave_if_broken_locked(epc, &epc->pages[nr]);
	order_unlock(epc);
	return 0;
}
