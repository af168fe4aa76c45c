/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The end of a raw EPC file: every page EREMOVEd and its frame given back.
 *
 * Two passes, because a SECS may come before its children; and a SECS whose children are in a file that is
 * still open makes its own file a zombie, which has nothing but that page.  Every end of a file may have
 * set a zombie's page free, so each tries them all.
 */
#include "vepc/vepc_priv.h"

#include <sched.h>

#include "base/arena.h"
#include "base/patience.h"
#include "cpu/cpu.h"
#include "epc/epc.h"
#include "epc/owner.h"
#include "epc/window.h"

#define FREE_PATIENCE_NS 10000000000ull

/*
 * The lock is held, though nobody else uses the page: EREMOVE counts it off its SECS, which may be in another file of the
 * keeper's, and who mends that may not meet a leaf.
 */
static bool frame_remove_locked(struct vepc *vepc, struct epc_page *frame)
{
	if (!cpu_ok(encls_eremove(vepc->cpu, epc_page_nr(vepc->epc, frame))))
		return false;
	epc_free(vepc->epc, frame);
	return true;
}

/* One pass. True when no page is left. */
static bool free_pass(struct vepc *vepc)
{
	struct vepc_page *page;
	uint64_t idx = 0;
	bool all = true;

	for (;; idx++) {
		vepc_lock(vepc);
		page = vepc_page_next_locked(vepc, &idx);
		vepc_unlock(vepc);
		if (!page)
			return all;
		if (vepc->ops)
			vepc->ops->drop(vepc->keeper, vepc, idx, page);
		vepc_lock(vepc);
		if (page->frame && frame_remove_locked(vepc, page->frame))
			vepc_page_empty_locked(vepc, page);
		if (page->frame)
			all = false;
		vepc_unlock(vepc);
	}
}

/* Frames that somebody took for the file and died with. */
static void free_strays(struct vepc *vepc)
{
	uint32_t page_nr = cpu_get_config(vepc->cpu)->page_nr;

	vepc_lock(vepc);
	for (uint32_t nr = 0; nr < page_nr; nr++) {
		struct epc_page *frame = epc_page_at(vepc->epc, nr);
		uint64_t idx;

		if (epc_page_owner(frame) == vepc && !vepc_page_of_locked(vepc, frame, &idx))
			(void)frame_remove_locked(vepc, frame);
	}
	vepc_unlock(vepc);
}

/*
 * Single stores all, in an order that leaves a frame without a page at worst.  Those that somebody still had in hand
 * wait for the end of the file: he may be alive.
 */
void vepc_repair_locked(struct vepc *vepc)
{
	uint32_t page_nr = cpu_get_config(vepc->cpu)->page_nr;
	struct vepc_page *page;
	uint64_t idx = 0;

	list_repair(&vepc->chunks);
	vepc->died = true;
	vepc->resident = 0;
	for (; (page = vepc_page_next_locked(vepc, &idx)); idx++)
		vepc->resident += page->frame != NULL;
	for (uint32_t nr = 0; nr < page_nr; nr++) {
		struct epc_page *frame = epc_page_at(vepc->epc, nr);

		if (epc_page_owner(frame) != vepc || epc_page_state(frame) != EPC_PAGE_OWNED ||
		    epc_page_cookie(frame) == VEPC_COOKIE_NONE)
			continue;
		if (!vepc_page_of_locked(vepc, frame, &idx))
			(void)frame_remove_locked(vepc, frame);
	}
}

static void vepc_destroy(struct vepc *vepc)
{
	/* First: until then the keeper may look at all its files, to mend them. */
	if (vepc->ops)
		vepc->ops->end(vepc->keeper, vepc);
	chunks_free(vepc);
	lock_fini(&vepc->own_lock);
	epc_owner_destroy(vepc->epc_owner);
	arena_free(vepc->arena, vepc, sizeof(*vepc));
}

static void zombies_retry_locked(struct vepc_registry *registry) REQUIRES(&registry->lock)
{
	struct list *pos, *tmp;

	list_for_each_safe (pos, tmp, &registry->zombies) {
		struct vepc *zombie = LIST_ENTRY(pos, struct vepc, node);

		if (!free_pass(zombie))
			continue;
		list_del(&zombie->node);
		vepc_destroy(zombie);
	}
}

/*
 * False: after a long time a reclaimer is still between get and put.  It is stopped, or died where that could
 * not be noted; then it costs the file's own memory, which it may still look at.
 */
static bool stop_reclaim(struct vepc *vepc)
{
	struct patience patience = { 0 };

	/* Pairs with vepc_batch_get(). */
	atomic_store(&vepc->going, true);
	while (atomic_load(&vepc->batch_nr) > 0) {
		if (patience_ends(&patience, FREE_PATIENCE_NS))
			return false;
		sched_yield();
		epc_recover(vepc->epc);
	}
	return true;
}

void vepc_free(struct vepc *vepc)
{
	struct vepc_registry *registry = vepc->registry;
	bool all, quiet, died;

	if (vepc->ops)
		vepc->ops->going(vepc->keeper, vepc);
	quiet = stop_reclaim(vepc);
	/* Notices a holder that died. */
	vepc_lock(vepc);
	died = vepc->died;
	vepc_unlock(vepc);
	if (died || atomic_load(&vepc->hand_nr) > 0)
		free_strays(vepc);
	all = free_pass(vepc) || free_pass(vepc);

	lock_acquire(&registry->lock);
	if (registry->lock.holder_died) {
		list_repair(&registry->zombies);
		registry->lock.holder_died = false;
	}
	if (!all)
		list_add_tail(&registry->zombies, &vepc->node);
	zombies_retry_locked(registry);
	lock_release(&registry->lock);
	if (all && quiet)
		vepc_destroy(vepc);
}

uint32_t vepc_zombie_nr(struct vepc_registry *registry)
{
	struct list *pos;
	uint32_t nr = 0;

	lock_acquire(&registry->lock);
	list_for_each (pos, &registry->zombies)
		nr += (uint32_t)vepc_resident(LIST_ENTRY(pos, struct vepc, node));
	lock_release(&registry->lock);
	return nr;
}
