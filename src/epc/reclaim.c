/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Reclaim: turn one batch of cold EPC pages into free ones.
 *
 * A batch goes through its passes over the same array - get and reclaim, block, take, write - and
 * never page by page, because one ETRACK an enclave then serves them all, and one round of
 * shoot-downs.  Between passes no lock of the manager is held; a page in a batch belongs to the
 * batch (EPC_PAGE_IN_BATCH) and is in no order.
 *
 * Invariant: when a batch ends, every page it took is either free or back in the policy's order
 * with its contents where they were.  A failed write puts the page back; it is never dropped.
 *
 * The batch records say how far each page has come, in shared memory: when the process that runs
 * one dies, whoever comes next finds its lock with a dead holder and sees it through.  What dies
 * with the process is at most what its get() calls took and its put() calls had not given back yet:
 * to put twice would be worse.
 *
 * Not here: which pages to try (collect.c), when to run (alloc.c, reclaimd.c), what a page means
 * to its owner (owner.h).
 */
#include <errno.h>

#include "arch/sgx.h"
#include "cpu/cpu.h"
#include "epc/backing.h"
#include "epc/collect_priv.h"
#include "epc/epc_priv.h"
#include "epc/owner.h"
#include "epc/policy_sample.h"
#include "epc/reclaim_priv.h"
#include "epc/refault_priv.h"
#include "epc/waiter_priv.h"
#include "epc/window.h"

/*
 * How deep the calling thread is in batches.  An operation that asked for a page by reclaim would
 * run a batch in the midst of its own, whose operations would, and so on: each of them would look
 * at every page in vain.
 */
static __thread unsigned int in_batches __attribute__((tls_model("initial-exec")));

bool reclaim_is_running(void)
{
	return in_batches > 0;
}

/*
 * Returns how many stay because the store is full, or fails: some owners take their place in it here.  Who
 * merely says "not now" has nothing to do with that, and may say so as often as it likes.
 */
static unsigned int pass_block(struct epc *epc, struct batch *batch)
{
	struct batch_entry *entry;
	struct epc_page *page;
	unsigned int i, unwritten = 0;
	uint64_t refused;

	for (i = 0; i < batch->nr; i++) {
		entry = &batch->entry[i];
		if (entry->phase != BATCH_READY)
			continue;
		page = &epc->pages[entry->nr];
		refused = backing_refused(epc->backing);
		if (!page_ops(page)->block(page)) {
			batch_put_back(epc, entry, POLICY_NOT_NOW, true);
			/* Or somebody else's page was just now: then the store fails as well. */
			unwritten += backing_refused(epc->backing) != refused;
			continue;
		}
		/* Until now the owner could place it elsewhere. */
		entry->win_page = page_win_page(epc, entry->nr);
		entry->phase = BATCH_BLOCKED;
		epc_count(page_owner(page), page, EPC_BLOCKS, 1);
	}
	return unwritten;
}

/* The bytes of blocked pages that others may have mapped, onto the stage. */
static void pass_take(struct epc *epc, struct batch *batch)
{
	uint64_t offsets[EPC_BATCH_MAX], unmap[EPC_BATCH_MAX];
	unsigned int i, nr = 0, unmap_nr = 0;
	struct batch_entry *entry;

	for (i = 0; i < batch->nr; i++) {
		entry = &batch->entry[i];
		if (entry->phase != BATCH_BLOCKED || entry->win_page == PAGE_AT_HOME)
			continue;
		entry->stage = (uint8_t)nr;
		offsets[nr] = (uint64_t)entry->win_page * SGX_PAGE_SIZE;
		/* Mostly it was dropped when the page had come, to see whether it would be used. */
		if (!sample_is_dropped(&epc->pages[entry->nr]))
			unmap[unmap_nr++] = offsets[nr];
		nr++;
		atomic_fetch_or(&epc->pages[entry->nr].flags, PAGE_TAKEN);
	}
	if (epc->unmap && unmap_nr > 1)
		epc->unmap(unmap, unmap_nr);
	window_take(epc->window, batch->slot, offsets, nr);
}

/* The processor finds the bytes of taken pages on the stage. */
static void show_stage(struct epc *epc, struct batch *batch)
{
	unsigned int i;

	for (i = 0; i < batch->nr; i++) {
		if (batch->entry[i].phase == BATCH_BLOCKED && batch->entry[i].stage != NO_STAGE)
			cpu_set_bytes(epc->cpu, batch->entry[i].nr,
				      window_stage(epc->window, batch->slot,
						   batch->entry[i].stage));
	}
}

/* The bytes go back to where they were before pass_take(). */
static void entry_untake(struct epc *epc, struct batch *batch, struct batch_entry *entry)
{
	struct epc_page *page = &epc->pages[entry->nr];
	uint64_t offset = (uint64_t)entry->win_page * SGX_PAGE_SIZE;

	if (entry->stage == NO_STAGE)
		return;
	window_return(epc->window, batch->slot, entry->stage);
	cpu_set_bytes(epc->cpu, entry->nr, window_at(epc->window, offset));
	atomic_fetch_and(&page->flags, (uint8_t)~PAGE_TAKEN);
	entry->stage = NO_STAGE;
}

/* Returns how many could not be written. */
static unsigned int pass_write(struct epc *epc, struct batch *batch)
{
	struct batch_entry *entry;
	struct epc_page *page;
	unsigned int i, unwritten = 0;

	for (i = 0; i < batch->nr; i++) {
		entry = &batch->entry[i];
		if (entry->phase != BATCH_BLOCKED)
			continue;
		page = &epc->pages[entry->nr];
		if (page_ops(page)->write(page) == 0) {
			entry->phase = BATCH_WRITTEN;
			continue;
		}
		count(&epc->counters.evict_failures, 1);
		epc_count(page_owner(page), page, EPC_EVICT_FAILURES, 1);
		unwritten++;
		/*
		 * Noted first: until then the owner may have forgotten the page, and another be
		 * where it was.
		 */
		entry->phase = BATCH_RETURNS;
		entry_untake(epc, batch, entry);
		batch_put_back(epc, entry, POLICY_NOT_NOW, true);
	}
	return unwritten;
}

static void note_peak(struct epc *epc)
{
	uint64_t used = backing_used(epc->backing);
	uint64_t peak =
		atomic_load_explicit(&epc->counters.backing_slots_peak, memory_order_relaxed);

	while (used > peak &&
	       !atomic_compare_exchange_weak(&epc->counters.backing_slots_peak, &peak, used))
		;
}

/* The pages are free, or the first is @taker's at once. With charge_lock, where there is one. */
static struct epc_page *free_locked(struct epc *epc, const uint32_t *nr, unsigned int n,
				    struct epc_owner *taker) REQUIRES(&epc->reclaim_lock)
{
	struct epc_page *page = NULL;

	if (taker && n > 0) {
		page = section_exchange(epc, nr[0], taker);
		nr++;
		n--;
	}
	section_free(epc, nr, n);
	return page;
}

static void note(_Atomic uint32_t *nr, uint32_t n)
{
	atomic_fetch_add_explicit(nr, n, memory_order_relaxed);
}

/*
 * Of @group, and so of all above it up to but without @end: whoever counts failures for one of them begins
 * anew.
 */
static void note_evicted(struct epc_group *group, const struct epc_group *end, unsigned int n)
{
	for (; group != end && n > 0; group = group->parent)
		note(&group->evicted, n);
}

/*
 * Written pages are free, but one that @taker needs (NULL: nobody does): an exchange within @top, by which nobody above
 * it gets on.  Returns how many there were.
 */
LOCK_ATTR(no_thread_safety_analysis)
static unsigned int pass_free(struct epc *epc, struct batch *batch, const struct epc_group *top,
			      struct epc_owner *taker, struct epc_page **ret_page)
{
	const struct epc_group *end = NULL;
	struct owner_copy copy[EPC_BATCH_MAX];
	uint32_t freed[EPC_BATCH_MAX];
	struct epc_group *group, *last = NULL;
	struct batch_entry *entry;
	unsigned int i, nr = 0, of_last = 0;
	bool exchange = false;

	for (i = 0; i < batch->nr; i++) {
		entry = &batch->entry[i];
		if (entry->phase != BATCH_WRITTEN)
			continue;
		assert(!cpu_epcm_read(epc->cpu, entry->nr).valid);
		if (entry->stage == NO_STAGE)
			page_drop_bytes(epc, &epc->pages[entry->nr]);
		cpu_set_bytes(epc->cpu, entry->nr, NULL);
		page_set_written(&epc->pages[entry->nr]);
		owner_copy(&copy[nr], &epc->pages[entry->nr]);
		freed[nr++] = entry->nr;
	}
	if (nr > 0)
		refaults_begin(epc);
	if (taker) {
		charge_lock(epc);
		exchange = nr > 0 &&
			   group_may_exchange_locked(taker->group,
						     page_owner(&epc->pages[freed[0]])->group);
		if (exchange)
			end = top->parent;
	}
	order_lock(epc);
	epc->batch_seq++;
	for (i = 0; i < batch->nr; i++)
		batch->entry[i].phase = BATCH_NONE;
	for (i = 0; i < nr; i++) {
		group = page_owner(&epc->pages[freed[i]])->group;
		epc->policy->evicted(group->policy_state, freed[i]);
		refault_gone_locked(epc, freed[i]);
		group->in_batch_nr--;
		group_unshun_locked(group);
		if (group != last) {
			note_evicted(last, end, of_last);
			last = group;
			of_last = 0;
		}
		of_last++;
	}
	note_evicted(last, end, of_last);
	*ret_page = free_locked(epc, freed, nr, exchange ? taker : NULL);
	atomic_fetch_sub_explicit(&epc->in_batch_nr, nr, memory_order_relaxed);
	order_unlock(epc);
	if (taker)
		charge_unlock(epc);
	window_take_done(epc->window, batch->slot);
	batch->nr = 0;
	if (nr > 0)
		note_peak(epc);
	for (i = 0; i < nr; i++)
		owner_put(&copy[i]);
	backing_write_out(epc->backing);
	return nr;
}

/* An entry that was moved and is still where it was: only one of the two counts. */
static void drop_copies(struct batch *batch)
{
	unsigned int i, j;

	for (i = 0; i < EPC_BATCH_MAX; i++) {
		for (j = i + 1; j < EPC_BATCH_MAX && batch->entry[i].phase != BATCH_NONE; j++) {
			if (batch->entry[j].phase != BATCH_NONE &&
			    batch->entry[j].nr == batch->entry[i].nr)
				batch->entry[j].phase = BATCH_NONE;
		}
	}
}

/*
 * Who died in entry_untake() may have left the bytes in both places, and those on the stage are
 * whole.
 */
static void pass_return(struct epc *epc, struct batch *batch)
{
	struct batch_entry *entry;

	for (entry = batch->entry; entry < batch->entry + EPC_BATCH_MAX; entry++) {
		if (entry->phase != BATCH_RETURNS)
			continue;
		entry_untake(epc, batch, entry);
		batch_put_back(epc, entry, POLICY_NOT_NOW, true);
	}
}

/*
 * A batch whose runner died.  Every page in it is at one of the phases; those that nothing was done
 * to go back.
 */
static void batch_recover(struct epc *epc, struct batch *batch) REQUIRES(&batch->lock)
{
	struct batch_entry *entry;
	struct epc_page *none;
	unsigned int i;

	count(&epc->counters.recovered, 1);
	in_batches++;
	batch->nr = EPC_BATCH_MAX;
	drop_copies(batch);
	for (i = 0; i < EPC_BATCH_MAX; i++) {
		entry = &batch->entry[i];
		if (entry->phase == BATCH_PICKED)
			batch_put_back(epc, entry, POLICY_NOT_NOW, false);
		else if (entry->phase == BATCH_GOT)
			batch_put_back(epc, entry, POLICY_NOT_NOW, true);
	}
	/* Some that are READY were blocked, and that could not be noted any more. */
	(void)pass_block(epc, batch);
	if (!window_take_resume(epc->window, batch->slot))
		pass_take(epc, batch);
	pass_return(epc, batch);
	show_stage(epc, batch);
	(void)pass_write(epc, batch);
	(void)pass_free(epc, batch, NULL, NULL, &none);
	in_batches--;
	atomic_store(&batch->begun, 0);
	batch->lock.holder_died = false;
}

/* A batch that nobody else is at, its lock held; NULL when all are in use. */
LOCK_ATTR(no_thread_safety_analysis) static struct batch *batch_claim(struct epc *epc)
{
	struct batch *batch;
	unsigned int i;

	for (i = 0; i < WINDOW_SLOTS; i++) {
		batch = batch_at(epc, i);
		if (!batch)
			break;
		if (!lock_try(&batch->lock))
			continue;
		if (batch->lock.holder_died)
			batch_recover(epc, batch);
		return batch;
	}
	return NULL;
}

LOCK_ATTR(no_thread_safety_analysis) void reclaim_recover(struct epc *epc)
{
	struct batch *batch;
	unsigned int i;

	for (i = 0; i < WINDOW_SLOTS; i++) {
		batch = late_there(&epc->batch[i]);
		if (!batch || !lock_try(&batch->lock))
			continue;
		if (batch->lock.holder_died)
			batch_recover(epc, batch);
		lock_release(&batch->lock);
	}
}

LOCK_ATTR(no_thread_safety_analysis)
int reclaim_batch(struct epc *epc, struct epc_group *top, struct epc_owner *taker,
		  struct reclaim_result *ret)
{
	struct batch *batch = reclaim_is_running() ? NULL : batch_claim(epc);
	struct collect collect = { .top = top, .taker = taker };
	unsigned int freed = 0;

	*ret = (struct reclaim_result){ 0 };
	if (!batch)
		return -EAGAIN;
	in_batches++;
	batch_begin(epc, batch);
	ret->looked = collect_pages(epc, batch, &collect);
	if (batch->nr > 0) {
		count(&epc->counters.batches, 1);
		collect_promises(epc, batch, &collect);
		ret->unwritten = pass_block(epc, batch);
		pass_take(epc, batch);
		show_stage(epc, batch);
		ret->unwritten += pass_write(epc, batch);
		freed = pass_free(epc, batch, top, collect.exchange ? taker : NULL, &ret->page);
	}
	/* First: whoever counts failures in a row begins anew with those of this batch. */
	note(&top->spared, ret->looked > ret->unwritten + freed);
	note(&top->unwritten, ret->unwritten);
	atomic_store(&batch->begun, 0);
	in_batches--;
	count(&epc->counters.scanned, ret->looked);
	lock_release(&batch->lock);
	/* What could not go may be tried by others, or they give up. */
	if (ret->looked > 0 && atomic_load_explicit(&epc->hungry, memory_order_relaxed))
		waiters_offer(epc);
	/*
	 * Somebody else's pages: those of the living take a few tries of locks, those of the dead
	 * are seen through.
	 */
	if (atomic_load_explicit(&epc->in_batch_nr, memory_order_relaxed) > 0)
		reclaim_recover(epc);
	return (int)freed;
}
