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
 * Not here: which pages to try (policy_*.c), when to run (alloc.c, reclaimd.c), what a page means
 * to its owner (owner.h).
 */
#include <errno.h>
#include <string.h>

#include "arch/sgx.h"
#include "cpu/cpu.h"
#include "epc/backing.h"
#include "epc/epc_priv.h"
#include "epc/owner.h"
#include "epc/pagelist.h"
#include "epc/poison_priv.h"
#include "epc/policy_ghost.h"
#include "epc/policy_sample.h"
#include "epc/reclaim_priv.h"
#include "epc/sample_priv.h"
#include "epc/waiter_priv.h"
#include "epc/window.h"

enum { LOOK_MAX = 256 /* pages of a group looked at for one batch */ };

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
 * Undo get().  The page may be anybody's by now, so the owner is shown a copy of what it was: it is
 * the owner's reference that keeps alive what the copy points to.
 */
struct owner_copy {
	const struct sgx_epc_page_ops *ops;
	struct epc_page page;
};

static void owner_copy(struct owner_copy *copy, const struct epc_page *page)
{
	memset(copy, 0, sizeof(*copy));
	copy->ops = page_ops(page);
	page_set_owner(&copy->page, page_owner(page));
	page_set_cookie(&copy->page, epc_page_cookie(page));
}

static void owner_put(struct owner_copy *copy)
{
	copy->ops->put(&copy->page);
}

/*
 * An entry's page stays resident.  @got: its owner is held.  The record goes first: a page IN_BATCH
 * that is in no record is put back by whoever mends the order.
 */
static void entry_put_back(struct epc *epc, struct batch_entry *entry, enum policy_return why,
			   bool got)
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

/*
 * Whose pages a batch takes: @looked at so far of each group, and those that have nothing more to
 * give.
 */
struct collect {
	struct epc_group *top;
	struct epc_owner *taker; /* as of reclaim_batch() */
	bool exchange;           /* the batch is one page, and the taker has it */
	struct epc_group *group; /* of the last pick_more(); NULL: no group gives anything */
	struct group_set done;
	uint16_t looked[EPC_GROUPS_MAX];
};

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
			entry_put_back(epc, entry, POLICY_NOT_NOW, false);
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
		entry_put_back(epc, entry, POLICY_REFERENCED, true);
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

static unsigned int pass_collect(struct epc *epc, struct batch *batch, struct collect *collect)
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

/*
 * Since its pages were picked a group may have freed others, and need some of these to have what it
 * was promised.  What it frees from now on is its own affair: a page that is blocked can only be
 * written.
 */
static void pass_promises(struct epc *epc, struct batch *batch, const struct collect *collect)
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
			entry_put_back(epc, entry, POLICY_REFERENCED, true);
	}
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
			entry_put_back(epc, entry, POLICY_NOT_NOW, true);
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
		entry_put_back(epc, entry, POLICY_NOT_NOW, true);
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

/* The pages are free, or the first is @taker's at once. */
static struct epc_page *free_locked(struct epc *epc, const uint32_t *nr, unsigned int n,
				    struct epc_owner *taker) REQUIRES(&epc->reclaim_lock)
{
	struct epc_page *page = NULL;

	if (taker && n > 0 && !group_is_over_max(taker->group)) {
		page = section_exchange(epc, nr[0], taker);
		nr++;
		n--;
	}
	section_free(epc, nr, n);
	return page;
}

/* Of @group, and so of all above it: whoever counts failures for one of them begins anew. */
static void note_evicted(struct epc_group *group, unsigned int n)
{
	for (; group && n > 0; group = group->parent)
		count(&group->evicted, n);
}

/*
 * Written pages are free, but one that @taker needs (NULL: nobody does). Returns how many there
 * were.
 */
LOCK_ATTR(no_thread_safety_analysis)
static unsigned int pass_free(struct epc *epc, struct batch *batch, struct epc_owner *taker,
			      struct epc_page **ret_page)
{
	bool limited = taker && group_is_limited(taker->group);
	struct owner_copy copy[EPC_BATCH_MAX];
	uint32_t freed[EPC_BATCH_MAX];
	struct epc_group *group, *last = NULL;
	struct batch_entry *entry;
	unsigned int i, nr = 0, of_last = 0;

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
	if (limited)
		charge_lock(epc);
	order_lock(epc);
	epc->batch_seq++;
	for (i = 0; i < batch->nr; i++)
		batch->entry[i].phase = BATCH_NONE;
	for (i = 0; i < nr; i++) {
		group = page_owner(&epc->pages[freed[i]])->group;
		epc->policy->evicted(group->policy_state, freed[i]);
		group->in_batch_nr--;
		group_unshun_locked(group);
		if (group != last) {
			note_evicted(last, of_last);
			last = group;
			of_last = 0;
		}
		of_last++;
	}
	note_evicted(last, of_last);
	*ret_page = free_locked(epc, freed, nr, taker);
	atomic_fetch_sub_explicit(&epc->in_batch_nr, nr, memory_order_relaxed);
	order_unlock(epc);
	if (limited)
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
		entry_put_back(epc, entry, POLICY_NOT_NOW, true);
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
			entry_put_back(epc, entry, POLICY_NOT_NOW, false);
		else if (entry->phase == BATCH_GOT)
			entry_put_back(epc, entry, POLICY_NOT_NOW, true);
	}
	/* Some that are READY were blocked, and that could not be noted any more. */
	(void)pass_block(epc, batch);
	if (!window_take_resume(epc->window, batch->slot))
		pass_take(epc, batch);
	pass_return(epc, batch);
	show_stage(epc, batch);
	(void)pass_write(epc, batch);
	(void)pass_free(epc, batch, NULL, &none);
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
	ret->looked = pass_collect(epc, batch, &collect);
	if (batch->nr > 0) {
		count(&epc->counters.batches, 1);
		pass_promises(epc, batch, &collect);
		ret->unwritten = pass_block(epc, batch);
		pass_take(epc, batch);
		show_stage(epc, batch);
		ret->unwritten += pass_write(epc, batch);
		freed = pass_free(epc, batch, collect.exchange ? taker : NULL, &ret->page);
	}
	count(&top->unwritten, ret->unwritten);
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
