/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * EPCM entries: attributes and holds.
 *
 * The attributes with the linear address are one atomic word, so that an access check sees one
 * moment of the entry without any lock.  Every hold is one compare-and-exchange on one other word;
 * release pairs with acquire there, and orders the contents of the page as well.
 *
 * Not here: what a leaf does on a conflict.
 */
#include "cpu/epcm_priv.h"

#include <assert.h>

#include "cpu/epoch.h"

static_assert(SGX_SECINFO_PENDING == EPCM_PENDING << 1 &&
		      SGX_SECINFO_MODIFIED == EPCM_MODIFIED << 1 && SGX_SECINFO_PR == EPCM_PR << 1,
	      "three bits move together");

#define EPCM_STATE (EPCM_PENDING | EPCM_MODIFIED | EPCM_PR)

uint64_t epcm_to_secinfo(uint64_t attr)
{
	return (attr & EPCM_RWX) >> EPCM_RWX_SHIFT | (attr & EPCM_STATE) << 1 |
	       SGX_SECINFO_TYPE(epcm_pt(attr));
}

uint64_t epcm_from_secinfo(uint64_t flags)
{
	return epcm_rwx_bits(flags) | (flags >> 1 & EPCM_STATE) | (flags & EPCM_PT);
}

uint64_t epcm_change(struct epcm_entry *e, uint64_t clear, uint64_t set)
{
	uint64_t old = atomic_load_explicit(&e->attr, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(&e->attr, &old, (old & ~clear) | set,
						      memory_order_acq_rel, memory_order_relaxed))
		;
	return old;
}

void epcm_stamp(struct epcm_entry *e, const _Atomic uint64_t *track, uint32_t stamp)
{
	uint32_t old = atomic_load_explicit(&e->stamp, memory_order_acquire);

	while (epoch_later(track, stamp, old) &&
	       !atomic_compare_exchange_weak_explicit(&e->stamp, &old, stamp, memory_order_acq_rel,
						      memory_order_acquire))
		;
}

static void place_change(struct epcm_entry *e, uint64_t keep, uint64_t set)
{
	uint64_t old = atomic_load_explicit(&e->place, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(&e->place, &old, (old & keep) | set,
						      memory_order_release, memory_order_relaxed))
		;
}

void epcm_set_secs(struct epcm_entry *e, uint32_t secs)
{
	place_change(e, ~EPCM_SECS, secs & EPCM_SECS);
}

void epcm_set_bytes(struct epcm_entry *e, const void *bytes)
{
	uint64_t at = (uintptr_t)bytes;

	assert(at < EPCM_BYTES_END && at % SGX_PAGE_SIZE == 0);
	place_change(e, EPCM_SECS, at >> EPCM_BYTES_SHIFT << EPCM_SECS_BITS);
}

void epcm_install(struct epcm_entry *e, uint64_t attr, uint32_t secs)
{
	assert(!(epcm_attr(e) & EPCM_VALID));
	epcm_set_secs(e, secs);
	atomic_store_explicit(&e->stamp, 0, memory_order_relaxed);
	atomic_store_explicit(&e->attr, attr | EPCM_VALID, memory_order_release);
}

void epcm_invalidate(struct epcm_entry *e)
{
	atomic_store_explicit(&e->attr, 0, memory_order_release);
}

/* Add @add when none of @against is there. Yields the word as it was seen. */
static uint32_t lock_try(struct epcm_entry *e, uint32_t against, uint32_t add, bool *ret_got)
{
	uint32_t old = atomic_load_explicit(&e->lock, memory_order_relaxed);

	do {
		*ret_got = !(old & against);
		if (!*ret_got)
			return old;
	} while (!atomic_compare_exchange_weak_explicit(
		&e->lock, &old, old + add, memory_order_acquire, memory_order_relaxed));
	return old;
}

static uint32_t lock_drop(struct epcm_entry *e, uint32_t sub)
{
	return atomic_fetch_sub_explicit(&e->lock, sub, memory_order_release);
}

bool epcm_try_shared(struct epcm_entry *e)
{
	bool got;
	uint32_t old = lock_try(e, EPCM_LOCK_EXCLUSIVE, EPCM_LOCK_SHARED, &got);

	assert(!got || (old & EPCM_LOCK_SHARED_NR) != EPCM_LOCK_SHARED_NR);
	return got;
}

void epcm_put_shared(struct epcm_entry *e)
{
	uint32_t old = lock_drop(e, EPCM_LOCK_SHARED);

	assert(old & EPCM_LOCK_SHARED_NR);
}

enum epcm_try epcm_try_exclusive(struct epcm_entry *e)
{
	bool got;
	uint32_t old = lock_try(e, ~0u, EPCM_LOCK_EXCLUSIVE, &got);

	if (got)
		return EPCM_GOT;
	return old & ~EPCM_LOCK_PIN_NR ? EPCM_CONFLICT : EPCM_PINNED;
}

bool epcm_try_exclusive_pinned(struct epcm_entry *e)
{
	bool got;

	lock_try(e, ~EPCM_LOCK_PIN_NR, EPCM_LOCK_EXCLUSIVE, &got);
	return got;
}

void epcm_put_exclusive(struct epcm_entry *e)
{
	uint32_t old = lock_drop(e, EPCM_LOCK_EXCLUSIVE);

	assert(old & EPCM_LOCK_EXCLUSIVE);
}

bool epcm_try_extra(struct epcm_entry *e, uint32_t which)
{
	bool got;

	lock_try(e, which, which, &got);
	return got;
}

void epcm_put_extra(struct epcm_entry *e, uint32_t which)
{
	uint32_t old = lock_drop(e, which);

	assert(old & which);
}

bool epcm_try_pin(struct epcm_entry *e)
{
	bool got;
	uint32_t old = lock_try(e, EPCM_LOCK_EXCLUSIVE, EPCM_LOCK_PIN, &got);

	assert(!got || (old & EPCM_LOCK_PIN_NR) != EPCM_LOCK_PIN_NR);
	return got;
}

void epcm_put_pin(struct epcm_entry *e)
{
	uint32_t old = lock_drop(e, EPCM_LOCK_PIN);

	assert(old & EPCM_LOCK_PIN_NR);
}

unsigned int epcm_pin_nr(const struct epcm_entry *e)
{
	uint32_t word = atomic_load_explicit(&e->lock, memory_order_acquire);

	return (word & EPCM_LOCK_PIN_NR) / EPCM_LOCK_PIN;
}

void epcm_break(struct epcm_entry *e, unsigned int pin_nr)
{
	atomic_store_explicit(&e->lock, pin_nr * EPCM_LOCK_PIN, memory_order_release);
}
