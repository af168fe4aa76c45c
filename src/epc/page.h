/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * One EPC page, as the manager knows it: 24 bytes, in one record with the 24 of its EPCM entry (cpu_records()), so
 * that everything else that grows with the EPC has room in 64 bytes a page (docs/limits.md).  Private to src/epc.
 *
 * Where its bytes are is not here: the processor knows it (cpu_bytes()).
 */
#ifndef SWSGX_EPC_PAGE_H
#define SWSGX_EPC_PAGE_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/cpu.h"

#define PAGE_NR_MAX (1u << 28) /* what a link can tell apart */

struct epc_owner;

/* A byte, each change of it one step. */
enum page_flag {
	/* See epc/policy_sample.h: anyone says that it was used, all else is the policy's. */
	PAGE_REF_USED = 1,  /* since a policy looked last */
	PAGE_REF_ARMED = 2, /* its next use will be seen */
	PAGE_REF_WATCH = 4, /* and a policy is told of it */
	PAGE_REF_LIST = 8,  /* a policy's own */

	PAGE_PLACED =
		16, /* the bytes are where its owner wants them, or were when a batch took them */
	PAGE_TAKEN = 32,    /* the bytes are on a batch's stage: see page_is_written() */
	PAGE_POISONED = 64, /* for good: poison.c */

	PAGE_REF_AHEAD = 128, /* brought before it was asked for, and no use is known */
};

/*
 * The state says who may write the rest: the owner while OWNED or TRACKED, the batch while IN_BATCH, the section
 * while FREE or DIRTY; and for links and stamp, whoever holds the lock of the list.
 *
 * @epcm:  the processor's, not looked at here
 * @word:  all of the below in one, and the owner above: what a page is changes together
 * @state: enum epc_state, and whether it is kept. Into and out of TRACKED, and from IN_BATCH, under the reclaim lock; into and out of FREE and
 *         DIRTY under the section's
 * @next, @prev: of a list (epc/pagelist.h)
 * @stamp: the policy's, while TRACKED and until evicted
 */
struct epc_page {
	unsigned char epcm[CPU_EPCM_BYTES];
	union {
		_Atomic uint64_t word;
		struct {
			_Atomic uint8_t state;
			_Atomic uint8_t flags; /* enum page_flag */
		};
	};
	_Atomic uint64_t cookie;
	uint64_t next : 28;
	uint64_t prev : 28;
	uint64_t stamp : 8;
};
static_assert(sizeof(struct epc_page) == CPU_RECORD_BYTES, "a record");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "state and flags are the low bytes");

enum { PAGE_FLAGS_SHIFT = 8, PAGE_OWNER_SHIFT = 16 };

/* The record will be needed soon: where the EPC is large, it is in no cache.  It may begin in one line and end in the next. */
static inline void page_prefetch(const struct epc_page *page)
{
	__builtin_prefetch(page, 1);
	__builtin_prefetch((const char *)(page + 1) - 1, 1);
}

/* NULL: nobody's, and not charged.  Anybody's page may be asked, at any moment. */
static inline struct epc_owner *page_owner(const struct epc_page *page)
{
	return (struct epc_owner *)(atomic_load_explicit(&page->word, memory_order_acquire) >>
				    PAGE_OWNER_SHIFT);
}

/* Bits that @keep has stay, @set has the others. */
static inline void page_change(struct epc_page *page, uint64_t keep, uint64_t set)
{
	uint64_t old = atomic_load_explicit(&page->word, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(&page->word, &old, (old & keep) | set,
						      memory_order_release, memory_order_relaxed))
		;
}

/* Another owner's from now on. Everything else stays. */
static inline void page_set_owner(struct epc_page *page, const struct epc_owner *owner)
{
	uint64_t bits = (uintptr_t)owner;

	assert(bits >> (64 - PAGE_OWNER_SHIFT) == 0);
	page_change(page, (1ull << PAGE_OWNER_SHIFT) - 1, bits << PAGE_OWNER_SHIFT);
}

static inline void page_set_cookie(struct epc_page *page, uint64_t cookie)
{
	atomic_store_explicit(&page->cookie, cookie, memory_order_relaxed);
}

/*
 * Of a batch, with the page's record still there: from now on the page is nobody's, record or not.  No other page is TAKEN
 * and not PLACED.
 */
static inline void page_set_written(struct epc_page *page)
{
	uint8_t flags = atomic_load_explicit(&page->flags, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(
		&page->flags, &flags, (uint8_t)((flags | PAGE_TAKEN) & ~PAGE_PLACED),
		memory_order_release, memory_order_relaxed))
		;
}

static inline bool page_is_written(const struct epc_page *page)
{
	uint8_t flags = atomic_load_explicit(&page->flags, memory_order_acquire);

	return (flags & (PAGE_TAKEN | PAGE_PLACED)) == PAGE_TAKEN;
}

/*
 * OWNED, and it stays so, as its owner says (epc_keep()): a bit of the state, so whatever becomes of the page it is not kept
 * any more.  Changed under the reclaim lock, by which the group counts them.
 */
enum { PAGE_STATE_KEPT = 0x80 };

static inline bool page_is_kept(const struct epc_page *page)
{
	return atomic_load_explicit(&page->state, memory_order_relaxed) & PAGE_STATE_KEPT;
}

/* Begins a new life: of its flags, only the one that is for good is left. */
static inline void page_begin(struct epc_page *page, const struct epc_owner *owner, uint8_t state)
{
	uint64_t bits = (uintptr_t)owner;

	assert(bits >> (64 - PAGE_OWNER_SHIFT) == 0);
	page_change(page, (uint64_t)PAGE_POISONED << PAGE_FLAGS_SHIFT,
		    bits << PAGE_OWNER_SHIFT | state);
}

#endif
