/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Reference bits without an accessed bit.
 *
 * Software sees a use of a resident page only when the page has no translation: the use faults, softly, and
 * the owner says so with epc_touch().  So a page is *armed*: its translation is dropped, its next use is seen, and
 * those after that are not until it is armed again.  Dropping costs a tenth of a microsecond a page in
 * batches and each soft fault a few, so pages are armed only when a policy wants to know.
 *
 * struct samples is one per EPC, in shared memory: the pages whose translations are to be dropped, which the manager
 * does outside of its locks, and the pages whose use has been seen, in order, of which policies hear before
 * they next decide, where they watch a page.  Those are a ring that forgets when it overflows: what is forgotten is a use that is
 * only seen in the page's bit.  The others are a bit each in a small EPC, and in a large one a list, in which there may be no room: then
 * the use is not seen.
 */
#ifndef SWSGX_EPC_POLICY_SAMPLE_H
#define SWSGX_EPC_POLICY_SAMPLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "epc/page.h"
#include "epc/policy.h"

enum {
	SAMPLE_BATCH = 16, /* pages armed by one shoot-down */
};

struct samples {
	/* constant: whether numbers of pages have 16 bits in the ring, and not 32 */
	uint16_t used_max;
	uint8_t arm_words; /* of bits; 0: there is a list */
	bool narrow;

	/* anyone */
	_Atomic uint32_t used_head;

	/* reclaim_lock */
	uint32_t used_tail;
	uint16_t arm_nr;
	uint8_t arm_at; /* the word of bits to look at next */
	uint8_t new_nr;
	uint32_t new_page[SAMPLE_BATCH];

	/* and behind it the bits, as many as arm_nr of which are set, or one more after a death, or the list; and the ring */
	_Alignas(uint64_t) unsigned char behind[];
};

/* ---- for the manager --------------------------------------------------------------------------- */

/* @watched: pages that are watched, at the most.  NULL: no memory. */
struct samples *samples_create(struct arena *arena, uint32_t page_nr, uint32_t watched);
void samples_destroy(struct samples *samples, struct arena *arena);
/* What they would take. */
size_t samples_bytes(uint32_t page_nr, uint32_t watched);
/* A use of the page was seen. Any lock may be held. */
void sample_use(struct samples *samples, struct epc_page *page, uint32_t nr);
/*
 * The next page that is watched and whose use was seen, in order; PAGE_NONE: no more.  Pages that were brought ahead and whose
 * first use this is are not named, but are as those that sample_arm_new() is told of from now on.
 */
uint32_t sample_next_used(const struct policy_view *view);
/* It comes before anybody has asked for it. Before a policy hears of it. */
static inline void sample_set_ahead(struct epc_page *page)
{
	atomic_fetch_or_explicit(&page->flags, PAGE_REF_AHEAD, memory_order_relaxed);
}
/* Its translations are dropped, or are in the ring for that, and no use was seen since. */
static inline bool sample_is_dropped(const struct epc_page *page)
{
	uint8_t flags = atomic_load_explicit(&page->flags, memory_order_relaxed);

	return (flags & (PAGE_REF_ARMED | PAGE_REF_USED | PAGE_REF_AHEAD)) == PAGE_REF_ARMED;
}

/* Up to SAMPLE_BATCH pages to drop the translations of. */
unsigned int sample_take_armed(struct samples *samples, uint32_t nr[SAMPLE_BATCH]);

/* ---- for policies: under reclaim_lock ------------------------------------------------------------ */

static inline bool sample_is_used(const struct policy_view *view, uint32_t nr)
{
	return atomic_load_explicit(&view->pages[nr].flags, memory_order_relaxed) & PAGE_REF_USED;
}

/* Its next use will be seen. */
static inline bool sample_is_armed(const struct policy_view *view, uint32_t nr)
{
	return atomic_load_explicit(&view->pages[nr].flags, memory_order_relaxed) & PAGE_REF_ARMED;
}

/* It came before it was asked for, and no use is known. */
static inline bool sample_is_ahead(const struct policy_view *view, uint32_t nr)
{
	return atomic_load_explicit(&view->pages[nr].flags, memory_order_relaxed) & PAGE_REF_AHEAD;
}

/* Its next use will be seen. What is known of earlier ones stays known. */
void sample_arm(const struct policy_view *view, uint32_t nr);
/* The same after the instruction that the page was brought in for: when the next such pages have come. */
void sample_arm_new(const struct policy_view *view, uint32_t nr);
/* True when it was used since the last call; then its next use will be seen. */
bool sample_test_and_arm(const struct policy_view *view, uint32_t nr);
/* As it comes: as if it had been used, or not; and not watched. */
void sample_set(const struct policy_view *view, uint32_t nr, bool used);
/* From now on each use of it that is seen is told, in order, by the policy's used(). */
void sample_watch(const struct policy_view *view, uint32_t nr);

/* A bit that belongs to the policy: which of two lists the page is on. */
static inline unsigned int sample_list(const struct policy_view *view, uint32_t nr)
{
	return (atomic_load_explicit(&view->pages[nr].flags, memory_order_relaxed) &
		PAGE_REF_LIST) != 0;
}
void sample_set_list(const struct policy_view *view, uint32_t nr, unsigned int list);

#endif
