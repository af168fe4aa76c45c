/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The end of an enclave: every page EREMOVEd and its frame given back, SECS after its children.
 *
 * Whoever has an open file or a mapping has a reference; a reclaimer only keeps the end from being completed
 * while it has a page in hand (batch_nr), so that the end always happens in a process that let go of the
 * enclave, never inside a batch.
 *
 * Where a process died in the middle of something, the tree may not tell all: then the manager is asked, page
 * by page, which ones are ours.  A reclaimer that does not come back (its process is stopped, or died where it could
 * not be noted) costs the enclave's own memory, which it may still look at, and the pages in its hand.
 */
#include "encl/encl_priv.h"

#include <assert.h>

#include "base/arena.h"
#include "epc/backing.h"
#include "epc/epc.h"
#include "epc/window.h"

#define FREE_PATIENCE_NS 10000000000ull

/* False: after a long time a batch still has a page of ours in hand. */
static bool free_stop_reclaim(struct encl *encl)
{
	unsigned int waits = 0;
	uint64_t start = 0;

	/* Pairs with evict_get(). */
	atomic_store(&encl->going, true);
	while (atomic_load(&encl->batch_nr) > 0) {
		if (waits == ENCL_WAITS_LONG)
			start = encl_now_ns();
		if (start && encl_now_ns() - start > FREE_PATIENCE_NS)
			return false;
		encl_pause(encl, &waits);
	}
	return true;
}

/* OWNED, so that it can be freed.  False: a batch that does not come back has it. */
static bool free_untrack(struct encl *encl, struct epc_page *frame)
{
	unsigned int waits = 0;
	uint64_t start = 0;

	if (epc_page_state(frame) == EPC_PAGE_OWNED)
		return true;
	/* A reclaimer that had picked it is about to hear that we are going. */
	while (epc_untrack(encl->epc, frame) < 0) {
		if (waits == ENCL_WAITS_LONG)
			start = encl_now_ns();
		if (start && encl_now_ns() - start > FREE_PATIENCE_NS)
			return false;
		encl_pause(encl, &waits);
	}
	return true;
}

static bool free_frame(struct encl *encl, struct epc_page *frame)
{
	uint32_t nr = epc_page_nr(encl->epc, frame);

	if (!free_untrack(encl, frame))
		return false;
	if (cpu_epcm_read(encl->cpu, nr).valid && !cpu_ok(encls_eremove(encl->cpu, nr)))
		return false;
	epc_free(encl->epc, frame);
	return true;
}

/* Backing slots and frames that the tree knows of. Returns how many frames could not be freed. */
static unsigned int free_pages(struct encl *encl)
	LOCK_ATTR(no_thread_safety_analysis) /* nobody else is left */
{
	uint64_t pages = encl->size / SGX_PAGE_SIZE;
	struct encl_page *page;
	unsigned int left = 0;

	for (uint64_t idx = 0; (page = pages_next_locked(encl, &idx, pages)); idx++) {
		if (page->epc_page)
			left += !free_frame(encl, page->epc_page);
		if (page->backing != BACKING_NO_SLOT)
			backing_free(encl->backing, page->backing);
	}
	if (encl->secs.epc_page)
		left += !free_frame(encl, encl->secs.epc_page);
	if (encl->secs.backing != BACKING_NO_SLOT)
		backing_free(encl->backing, encl->secs.backing);
	return left;
}

/* Every frame that the manager has down as ours: the SECS goes in the second round. */
static unsigned int free_sweep(struct encl *encl)
{
	uint32_t page_nr = cpu_get_config(encl->cpu)->page_nr;
	unsigned int left = 0;

	for (int round = 0; round < 2; round++) {
		left = 0;
		for (uint32_t nr = 0; nr < page_nr; nr++) {
			struct epc_page *frame = epc_page_at(encl->epc, nr);

			if (epc_page_owner(frame) == encl)
				left += !free_frame(encl, frame);
		}
	}
	return left;
}

/* The structs; a list that somebody left half changed is let be. */
static void free_va_structs(struct encl *encl)
{
	struct list *pos, *tmp;

	if (!list_check(&encl->va_pages, encl->va_nr + 1))
		return;
	list_for_each_safe (pos, tmp, &encl->va_pages) {
		struct encl_va *va = LIST_ENTRY(pos, struct encl_va, node);

		list_del(&va->node);
		arena_free(encl->arena, va, sizeof(*va));
	}
}

static unsigned int free_va_frames(struct encl *encl)
{
	unsigned int left = 0;
	struct list *pos;

	list_for_each (pos, &encl->va_pages)
		left += !free_frame(encl, LIST_ENTRY(pos, struct encl_va, node)->epc_page);
	return left;
}

void encl_free(struct encl *encl)
{
	struct encl_registry *registry = encl->registry;
	unsigned int left = 0;
	bool quiet;

	lock_acquire(&registry->lock);
	list_del(&encl->node);
	lock_release(&registry->lock);

	quiet = free_stop_reclaim(encl);
	/* Notices a holder that died. */
	encl_lock(encl);
	encl_unlock(encl);
	left += free_pages(encl);
	if (!(encl_flags(encl) & ENCL_DEAD))
		left += free_va_frames(encl);
	if (left > 0 || (encl_flags(encl) & ENCL_DEAD) || atomic_load(&encl->hand_nr) > 0)
		left = free_sweep(encl);

	if (encl_flags(encl) & ENCL_CREATED)
		window_range_free(encl->window, encl->win_off, encl->size);
	if (left > 0 || !quiet)
		return;
	free_va_structs(encl);
	pages_destroy(encl);
	lock_fini(&encl->lock);
	arena_free(encl->arena, encl->buffer_block, ENCL_BUFFER_BLOCK_BYTES);
	arena_free(encl->arena, encl, sizeof(*encl));
}
