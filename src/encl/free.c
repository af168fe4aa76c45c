/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The end of an enclave: every page EREMOVEd and its frame given back, SECS after its children.
 *
 * Whoever has an open file or a mapping has a reference; a reclaimer has none, but the end waits for each page that is
 * in a batch, so that it always happens in a process that let go of the enclave, never inside a batch.
 *
 * Where a process died with a frame in hand, or in here, the tree does not tell all: then the manager is asked, page
 * by page, which ones are ours.  A reclaimer that does not come back (its process is stopped) costs the enclave's own
 * memory, which it may still look at, and the pages in its hand.  Until the last frame is free the enclave is on the
 * list of all, so that the end of one whose process died in it is found by encl_reap(), and begun once more.
 */
#include "encl/encl_priv.h"

#include <assert.h>

#include "base/arena.h"
#include "epc/backing.h"
#include "epc/epc.h"
#include "epc/window.h"

#define FREE_PATIENCE_NS 10000000000ull

enum { ANNOUNCED = 16 /* pages, together */ };

struct wait {
	unsigned int waits;
	struct patience patience;
};

/* Wait for a batch to let go. False: it has not for so long that it never will. */
static bool free_wait(struct encl *encl, struct wait *w)
{
	if (patience_ends(&w->patience, FREE_PATIENCE_NS))
		return false;
	encl_pause(encl, &w->waits);
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
	struct wait wait = { 0 };
	struct epc_page *frame;
	int r = 0;

	do {
		encl_lock(encl);
		encl_begin_locked(encl, ENCL_CHANGING, NULL, 0);
		frame = page->epc_page;
		if (frame)
			r = page_untrack_locked(encl, page);
		if (frame && r == 0)
			page->epc_page = NULL;
		if (frame && r == 0 && page->flags & ENCL_PAGE_AHEAD)
			readahead_wasted_locked(encl, UINT64_MAX, page, frame);
		encl_end_locked(encl);
		encl_unlock(encl);
		if (!frame)
			return true;
		if (r == 0)
			return free_owned(encl, frame);
	} while (free_wait(encl, &wait));
	return false;
}

/* Of a page, for good. */
static void free_backing(struct encl *encl, struct encl_page *page)
{
	if (page->backing != BACKING_NO_SLOT)
		backing_free(encl->backing, &page->backing);
}

static unsigned int free_vas(struct encl *encl, unsigned int level)
{
	unsigned int left = 0;

	for (struct encl_va *va = va_first(encl); va; va = va_next(va)) {
		if (va->slots.level != level)
			continue;
		left += !free_page(encl, &va->page);
		free_backing(encl, &va->page);
	}
	return left;
}

/* The frames of the next pages. */
static void announce_pages(struct encl *encl, uint64_t idx)
{
	uint64_t pages = encl->size / SGX_PAGE_SIZE;
	struct epc_page *frames[ANNOUNCED];
	struct encl_page *page;
	unsigned int i, nr = 0;

	encl_lock(encl);
	for (i = 0; i < ANNOUNCED && (page = pages_next_locked(encl, &idx, pages)); i++, idx++) {
		if (page->epc_page)
			frames[nr++] = page->epc_page;
	}
	encl_unlock(encl);
	epc_announce(encl->epc, frames, nr);
}

/* From *idx on.  The tree does not change any more, but a batch does what it knows of its pages. */
static struct encl_page *next_page(struct encl *encl, uint64_t *idx, uint64_t pages)
{
	struct encl_page *page;

	encl_lock(encl);
	page = pages_next_locked(encl, idx, pages);
	encl_unlock(encl);
	return page;
}

/* Backing slots, and the frames that the tree knows of. Returns how many frames could not be freed. */
static unsigned int free_pages(struct encl *encl)
	LOCK_ATTR(no_thread_safety_analysis) /* the tree does not change any more */
{
	uint64_t pages = encl->size / SGX_PAGE_SIZE;
	struct encl_page *page;
	unsigned int left = 0, done = 0;

	for (uint64_t idx = 0; (page = next_page(encl, &idx, pages)); idx++) {
		if (done++ % ANNOUNCED == 0)
			announce_pages(encl, idx);
		left += !free_page(encl, page);
		free_backing(encl, page);
	}
	left += !free_page(encl, &encl->secs);
	free_backing(encl, &encl->secs);
	/* From below: one that is in a batch needs the next level. */
	for (unsigned int level = 0; level < VA_LEVELS && left == 0; level++)
		left += free_vas(encl, level);
	if (va_first(encl) && !encl->top_gone)
		atomic_fetch_sub(&encl->registry->top_nr, 1);
	encl->top_gone = true;
	return left;
}

static bool free_is_ours(const struct encl *encl, const struct epc_page *frame)
{
	const void *owner = epc_page_owner(frame);

	if (owner == encl)
		return true;
	for (const struct encl_hand *hand = encl->hands; hand; hand = hand->next)
		if (owner == hand)
			return true;
	return false;
}

/* Of ours: how many are in a batch that began before encl_free(). */
static unsigned int free_in_batch(struct encl *encl)
{
	uint32_t page_nr = cpu_get_config(encl->cpu)->page_nr;
	unsigned int nr_in_batch = 0;

	for (uint32_t nr = 0; nr < page_nr; nr++) {
		struct epc_page *frame = epc_page_at(encl->epc, nr);

		nr_in_batch +=
			free_is_ours(encl, frame) && epc_page_state(frame) == EPC_PAGE_IN_BATCH;
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
	struct wait wait = { 0 };
	unsigned int left = 0;

	while (free_in_batch(encl) > 0)
		if (!free_wait(encl, &wait))
			return 1;
	for (int round = 0; round < 2; round++) {
		left = 0;
		for (uint32_t nr = 0; nr < page_nr; nr++) {
			struct epc_page *frame = epc_page_at(encl->epc, nr);

			if (!free_is_ours(encl, frame) || epc_page_state(frame) == EPC_PAGE_FREE)
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
	struct encl_va *va;

	while ((va = va_first(encl))) {
		encl->versions.made = va->slots.next;
		arena_free(encl->arena, va, sizeof(*va));
	}
}

static bool free_hands_filled(const struct encl *encl)
{
	for (const struct encl_hand *hand = encl->hands; hand; hand = hand->next)
		if (hand->filled)
			return true;
	return false;
}

static void free_structs(struct encl *encl)
{
	free_va_structs(encl);
	hands_free(encl);
	pages_destroy(encl);
	lock_fini(&encl->lock);
	lock_fini(&encl->ioctl_lock);
	lock_fini(&encl->end_lock);
	gates_fini(encl);
	epc_owner_destroy(encl->epc_owner);
	arena_free(encl->arena, encl->buffer_block, ENCL_BUFFER_BLOCK_BYTES);
	arena_free(encl->arena, encl, sizeof(*encl));
}

/*
 * Who dies in it loses a range.  To free one twice would be worse: the first time it may have joined its other half, and
 * then the same offsets would be in two ranges, and be handed out twice.
 */
void encl_range_free(struct encl *encl)
{
	uint64_t win_off = encl->win_off;

	encl->win_off = ENCL_NO_RANGE;
	atomic_signal_fence(memory_order_seq_cst);
	if (win_off != ENCL_NO_RANGE)
		window_range_free(encl->window, win_off, encl->size);
}

LOCK_ATTR(no_thread_safety_analysis) void encl_free(struct encl *encl)
{
	bool again = encl->end_lock.holder_died;
	unsigned int left;

	/* Reclaimers that pick a page from now on are refused; see evict_get(). */
	atomic_store(&encl->going, true);
	/* Notices a holder that died. */
	encl_lock(encl);
	if (again)
		repair_leaves_locked(encl);
	encl_unlock(encl);
	left = free_pages(encl);
	if (left > 0 || again || free_hands_filled(encl))
		left = free_sweep(encl);

	encl_range_free(encl);
	registry_forget(encl);
	encl->end_lock.holder_died = false;
	lock_release(&encl->end_lock);
	if (left == 0)
		free_structs(encl);
}
