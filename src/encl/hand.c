/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Hands: what a thread has of an enclave while it does not hold the lock.
 *
 * That is a frame which is no page yet, and the pages that its instruction has walked to.  Both would be lost with
 * the thread, so they are written down in shared memory: the frame's owner is the hand, and the hand's lock is held by
 * the thread, so that whoever tries it finds out that the thread is dead.  A hand is never freed before its enclave,
 * and used again by the next thread.
 *
 * Invariant: a frame whose owner is a hand is in no page tree, but for moments with the enclave's lock held.
 */
#include "encl/encl_priv.h"

#include <assert.h>
#include <errno.h>

#include "base/arena.h"
#include "epc/epc.h"

/* Frames in hand are never offered to the reclaimer. */
static bool never(struct epc_page *frame)
{
	return false;
}

static int never_write(struct epc_page *frame)
{
	return -EPERM;
}

static void nothing_to_put(struct epc_page *frame) {}

static const struct sgx_epc_page_ops hand_page_ops = {
	.name = "encl-hand",
	.get = never,
	.reclaim = never,
	.block = never,
	.write = never_write,
	.put = nothing_to_put,
};

/* Its thread is dead, and what it had under the lock has been seen to. */
static void hand_empty_locked(struct encl *encl, struct encl_hand *hand) REQUIRES(&encl->lock)
{
	uint32_t page_nr = cpu_get_config(encl->cpu)->page_nr;

	while (hand->pin_nr > 0)
		hand_unpin_locked(encl, hand);
	for (uint32_t nr = 0; hand->filled && nr < page_nr; nr++) {
		struct epc_page *frame = epc_page_at(encl->epc, nr);

		if (epc_page_owner(frame) == hand && epc_page_state(frame) == EPC_PAGE_OWNED)
			epc_free(encl->epc, frame);
	}
	hand->filled = false;
	hand->lock.holder_died = false;
}

/* False: somebody living has it. */
LOCK_ATTR(no_thread_safety_analysis)
static bool hand_try_locked(struct encl *encl, struct encl_hand *hand) REQUIRES(&encl->lock)
{
	if (!lock_try(&hand->lock))
		return false;
	if (hand->lock.holder_died)
		hand_empty_locked(encl, hand);
	return true;
}

/* Who runs is told by the enclave. */
static unsigned int nobody_runs(void *owner)
{
	return 0;
}

LOCK_ATTR(no_thread_safety_analysis) struct encl_hand *hand_get_locked(struct encl *encl)
{
	struct epc_owner_config config = { .ops = &hand_page_ops,
					   .id = encl->id,
					   .running = nobody_runs };
	struct encl_hand *hand;

	for (hand = encl->hands; hand; hand = hand->next)
		if (hand_try_locked(encl, hand))
			return hand;
	hand = arena_alloc(encl->arena, sizeof(*hand));
	if (!hand)
		return NULL;
	config.owner = hand;
	config.group = epc_owner_group(encl->epc_owner);
	config.part_of = encl->epc_owner;
	if (epc_owner_create(encl->epc, &config, &hand->epc_owner) < 0) {
		arena_free(encl->arena, hand, sizeof(*hand));
		return NULL;
	}
	lock_init(&hand->lock, LOCK_TRIED);
	hand->next = encl->hands;
	encl->hands = hand;
	return hand_try_locked(encl, hand) ? hand : NULL;
}

LOCK_ATTR(no_thread_safety_analysis) void hand_put(struct encl_hand *hand)
{
	assert(!hand->filled && hand->pin_nr == 0);
	lock_release(&hand->lock);
}

LOCK_ATTR(no_thread_safety_analysis) void hands_reap_locked(struct encl *encl)
{
	for (struct encl_hand *hand = encl->hands; hand; hand = hand->next)
		if (hand_try_locked(encl, hand))
			lock_release(&hand->lock);
}

int hand_fill(struct encl *encl, struct encl_hand *hand, unsigned int flags,
	      struct epc_page **ret_frame)
{
	int r;

	/* Before there is a frame: whoever dies in between leaves a hand that is looked into. */
	hand->filled = true;
	r = epc_alloc(encl->epc, hand->epc_owner, flags, ret_frame);
	if (r == 0) {
		epc_page_set_cookie(*ret_frame, ENCL_COOKIE_NONE);
		return 0;
	}
	hand->filled = false;
	return r;
}

void hand_drop(struct encl *encl, struct encl_hand *hand, struct epc_page *frame)
{
	epc_free(encl->epc, frame);
	hand->filled = false;
}

void hand_pass(struct encl *encl, struct encl_hand *hand, struct epc_page *frame)
{
	epc_page_hand_on(frame, encl->epc_owner);
	hand->filled = false;
}

bool hand_pin_locked(struct encl *encl, struct encl_hand *hand, struct encl_page *page)
{
	for (unsigned int i = 0; i < hand->pin_nr; i++)
		if (hand->pinned[i] == page)
			return true;
	if (hand->pin_nr == ENCL_HAND_PINS || page->pins == UINT8_MAX)
		return false;
	/* In this order: whoever dies in between has pinned nothing, or what hands_repin_locked() counts. */
	hand->pinned[hand->pin_nr] = page;
	atomic_signal_fence(memory_order_release);
	hand->pin_nr++;
	page->pins++;
	return true;
}

void hand_unpin_locked(struct encl *encl, struct encl_hand *hand)
{
	struct encl_page *page = hand->pinned[hand->pin_nr - 1];

	assert(page->pins > 0);
	page->pins--;
	hand->pin_nr--;
}

void hands_repin_locked(struct encl *encl)
{
	encl->secs.pins = 0;
	for (struct encl_va *va = va_first(encl); va; va = va_next(va))
		va->page.pins = 0;
	/* Those that were removed while they were pinned, too. */
	for (uint64_t i = 0; i < encl->leaf_nr; i++)
		for (unsigned int j = 0; encl->leaves[i] && j < ENCL_LEAF_PAGES; j++)
			encl->leaves[i][j].pins = 0;
	for (struct encl_hand *hand = encl->hands; hand; hand = hand->next)
		for (unsigned int i = 0; i < hand->pin_nr; i++)
			hand->pinned[i]->pins++;
}

void hands_free(struct encl *encl)
{
	while (encl->hands) {
		struct encl_hand *hand = encl->hands;

		encl->hands = hand->next;
		lock_fini(&hand->lock);
		epc_owner_destroy(hand->epc_owner);
		arena_free(encl->arena, hand, sizeof(*hand));
	}
}
