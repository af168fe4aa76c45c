/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The end of an enclave: every page EREMOVEd and its frame given back, SECS after its children.
 *
 * Whoever has an open file or a mapping has a reference; a reclaimer has none, but the end waits for each page that is
 * in a batch, so that it always happens in a process that let go of the enclave, never inside a batch.
 *
 * Where a process died in the middle of something, the tree may not tell all: then the manager is asked, page
 * by page, which ones are ours.  A reclaimer that does not come back (its process is stopped) costs the enclave's own
 * memory, which it may still look at, and the pages in its hand.
 */
#include "encl/encl_priv.h"

#include <assert.h>

#include "base/arena.h"
#include "epc/backing.h"
#include "epc/epc.h"
#include "epc/window.h"

#define FREE_PATIENCE_NS 10000000000ull

struct patience {
	unsigned int waits;
	uint64_t start_ns;
};

/* Wait for a batch to let go. False: it has not for so long that it never will. */
static bool free_wait(struct encl *encl, struct patience *p)
{
	if (p->waits == ENCL_WAITS_LONG)
		p->start_ns = encl_now_ns();
	if (p->start_ns && encl_now_ns() - p->start_ns > FREE_PATIENCE_NS)
		return false;
	encl_pause(encl, &p->waits);
	return true;
}

/* EREMOVE of a frame that is OWNED. */
static bool free_owned(struct encl *encl, struct epc_page *frame)
{
	uint32_t nr = epc_page_nr(encl->epc, frame);

	if (cpu_epcm_read(encl->cpu, nr).valid && !cpu_ok(encls_eremove(encl->cpu, nr)))
		return false;
	epc_free(encl->epc, frame);
	return true;
}

/*
 * A batch that has the page in hand may write it out under the lock; then it is no more our business.  With
 * the lock held a page that has a frame is OWNED, TRACKED or IN_BATCH.
 */
static bool free_page(struct encl *encl, struct encl_page *page)
{
	struct patience patience = { 0 };
	struct epc_page *frame;
	int r = 0;

	do {
		encl_lock(encl);
		frame = page->epc_page;
		if (frame)
			r = page_untrack_locked(encl, page);
		if (frame && r == 0)
			page->epc_page = NULL;
		encl_unlock(encl);
		if (!frame)
			return true;
		if (r == 0)
			return free_owned(encl, frame);
	} while (free_wait(encl, &patience));
	return false;
}

/*
 * Backing slots, and the frames that the tree knows of; of a dead enclave it may not know all, or know wrong.
 * Returns how many frames could not be freed.
 */
static unsigned int free_pages(struct encl *encl, bool frames)
	LOCK_ATTR(no_thread_safety_analysis) /* the tree does not change any more */
{
	uint64_t pages = encl->size / SGX_PAGE_SIZE;
	struct encl_page *page;
	unsigned int left = 0;

	for (uint64_t idx = 0; (page = pages_next_locked(encl, &idx, pages)); idx++) {
		if (frames)
			left += !free_page(encl, page);
		if (page->backing != BACKING_NO_SLOT)
			backing_free(encl->backing, page->backing);
	}
	if (frames)
		left += !free_page(encl, &encl->secs);
	if (encl->secs.backing != BACKING_NO_SLOT)
		backing_free(encl->backing, encl->secs.backing);
	for (struct encl_va *va = encl->va_made; frames && va; va = va->next_made)
		left += !free_owned(encl, va->epc_page);
	return left;
}

/* Of ours: how many are in a batch that began before encl_free(). */
static unsigned int free_in_batch(struct encl *encl)
{
	uint32_t page_nr = cpu_get_config(encl->cpu)->page_nr;
	unsigned int nr_in_batch = 0;

	for (uint32_t nr = 0; nr < page_nr; nr++) {
		struct epc_page *frame = epc_page_at(encl->epc, nr);

		nr_in_batch +=
			epc_page_owner(frame) == encl && epc_page_state(frame) == EPC_PAGE_IN_BATCH;
	}
	return nr_in_batch;
}

/*
 * Every frame that the manager has down as ours: the SECS goes in the second round.  Once no batch has one, none will
 * free one: a reclaimer that picks one from now on is refused.
 */
static unsigned int free_sweep(struct encl *encl)
{
	uint32_t page_nr = cpu_get_config(encl->cpu)->page_nr;
	struct patience patience = { 0 };
	unsigned int left = 0;

	while (free_in_batch(encl) > 0)
		if (!free_wait(encl, &patience))
			return 1;
	for (int round = 0; round < 2; round++) {
		left = 0;
		for (uint32_t nr = 0; nr < page_nr; nr++) {
			struct epc_page *frame = epc_page_at(encl->epc, nr);

			if (epc_page_owner(frame) != encl || epc_page_state(frame) == EPC_PAGE_FREE)
				continue;
			if (epc_page_state(frame) != EPC_PAGE_OWNED)
				epc_untrack_wait(encl->epc, frame);
			left += !free_owned(encl, frame);
		}
	}
	return left;
}

static void free_va_structs(struct encl *encl)
{
	while (encl->va_made) {
		struct encl_va *va = encl->va_made;

		encl->va_made = va->next_made;
		arena_free(encl->arena, va, sizeof(*va));
	}
}

void encl_free(struct encl *encl)
{
	struct encl_registry *registry = encl->registry;
	unsigned int left;
	bool dead;

	lock_acquire(&registry->lock);
	list_del(&encl->node);
	lock_release(&registry->lock);

	/* Reclaimers that pick a page from now on are refused; see evict_get(). */
	atomic_store(&encl->going, true);
	/* Notices a holder that died. */
	encl_lock(encl);
	encl_unlock(encl);
	dead = encl_flags(encl) & ENCL_DEAD;
	if (dead)
		repair_leaves(encl);
	left = free_pages(encl, !dead);
	if (left > 0 || dead || atomic_load(&encl->hand_nr) > 0)
		left = free_sweep(encl);

	if (encl_flags(encl) & ENCL_CREATED)
		window_range_free(encl->window, encl->win_off, encl->size);
	if (left > 0)
		return;
	free_va_structs(encl);
	pages_destroy(encl);
	lock_fini(&encl->lock);
	epc_owner_destroy(encl->epc_owner);
	arena_free(encl->arena, encl->buffer_block, ENCL_BUFFER_BLOCK_BYTES);
	arena_free(encl->arena, encl, sizeof(*encl));
}
