/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The tracking word of a SECS (see epoch.h).
 *
 *   bits  0-13  now: logical processors that count for the present epoch
 *   bits 14-27  before: those of the epoch before that are still inside
 *   bit  28     flushed: those who entered before the present epoch count for it too
 *   bits 29-63  the epoch
 *
 * Invariant: flushed implies before == 0.  ETRACK needs before == 0, so everybody inside is of the
 * present epoch or of the one before; no third kind exists, and two counts are enough.
 */
#include "cpu/epoch.h"

#include <assert.h>

#define NOW_ONE     1ull
#define NOW_MASK    0x3fffull
#define BEFORE_ONE  (1ull << 14)
#define BEFORE_MASK (0x3fffull << 14)
#define FLUSHED     (1ull << 28)
#define EPOCH_SHIFT 29
#define STAMP_MASK  0x7fffffffu /* of the epoch, in a stamp */

static uint64_t load(const _Atomic uint64_t *track)
{
	return atomic_load_explicit(track, memory_order_seq_cst);
}

/* Sequentially consistent: BLOCKED is set before the stamp is read, entry comes before the check. */
static bool swap(_Atomic uint64_t *track, uint64_t *old, uint64_t new)
{
	return atomic_compare_exchange_weak_explicit(track, old, new, memory_order_seq_cst,
						     memory_order_seq_cst);
}

void epoch_init(_Atomic uint64_t *track)
{
	atomic_store_explicit(track, 1ull << EPOCH_SHIFT, memory_order_relaxed);
}

bool epoch_enter(_Atomic uint64_t *track, uint64_t *ret_entry_epoch)
{
	uint64_t old = load(track);

	do {
		uint64_t inside = (old & NOW_MASK) + ((old & BEFORE_MASK) / BEFORE_ONE);

		if (inside == NOW_MASK)
			return false;
	} while (!swap(track, &old, old + NOW_ONE));
	*ret_entry_epoch = old >> EPOCH_SHIFT;
	return true;
}

void epoch_leave(_Atomic uint64_t *track, uint64_t entry_epoch)
{
	uint64_t old = load(track), new;

	do {
		if (old & FLUSHED || entry_epoch == old >> EPOCH_SHIFT) {
			assert(old & NOW_MASK);
			new = old - NOW_ONE;
		} else {
			assert(old & BEFORE_MASK);
			new = old - BEFORE_ONE;
		}
	} while (!swap(track, &old, new));
}

uint32_t epoch_active_nr(const _Atomic uint64_t *track)
{
	uint64_t word = load(track);

	return (uint32_t)((word & NOW_MASK) + (word & BEFORE_MASK) / BEFORE_ONE);
}

bool epoch_advance(_Atomic uint64_t *track)
{
	uint64_t old = load(track), new;

	do {
		if (old & BEFORE_MASK)
			return false;
		new = ((old >> EPOCH_SHIFT) + 1) << EPOCH_SHIFT | (old & NOW_MASK) * BEFORE_ONE;
	} while (!swap(track, &old, new));
	return true;
}

bool epoch_cycle_complete(const _Atomic uint64_t *track)
{
	return !(load(track) & BEFORE_MASK);
}

void epoch_flush(_Atomic uint64_t *track)
{
	uint64_t old = load(track), new;

	do {
		new = (old & ~BEFORE_MASK) + (old & BEFORE_MASK) / BEFORE_ONE;
		new |= FLUSHED;
	} while (!swap(track, &old, new));
}

void epoch_recount(_Atomic uint64_t *track, uint32_t nr)
{
	uint64_t old = load(track);

	assert(nr <= NOW_MASK);
	while (!swap(track, &old, old >> EPOCH_SHIFT << EPOCH_SHIFT | FLUSHED | nr))
		;
}

uint32_t epoch_stamp(const _Atomic uint64_t *track)
{
	return (uint32_t)(load(track) >> EPOCH_SHIFT) << 1 | 1;
}

/* How many epochs ago, as far as a stamp can tell: never more than there were. */
static uint32_t age(uint64_t word, uint32_t stamp)
{
	return ((uint32_t)(word >> EPOCH_SHIFT) - (stamp >> 1)) & STAMP_MASK;
}

/*
 * By their ages now, which is no earlier than either was read from the same word.  So neither age is of an epoch to come, and
 * the one that seems younger is the one that has to wait longer, even where it seems so because it is ancient.
 */
bool epoch_later(const _Atomic uint64_t *track, uint32_t stamp, uint32_t than)
{
	uint64_t word = load(track);

	return !than || age(word, stamp) < age(word, than);
}

bool epoch_tracked(const _Atomic uint64_t *track, uint32_t stamp)
{
	uint64_t word = load(track);

	if (!stamp)
		return true;
	if (age(word, stamp) == 0)
		return false;
	return age(word, stamp) > 1 || !(word & BEFORE_MASK);
}
