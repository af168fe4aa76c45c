/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * See policy_sample.h.
 *
 * Invariant: PAGE_REF_ARMED says that the next use is wanted; whether the translation has been dropped already, or
 * could be, is the manager's.  A process that dies in here loses at most what is in the rings.
 */
#include "epc/policy_sample.h"

#include <string.h>

#include "base/arena.h"
#include "epc/pagelist.h"

enum {
	USED_MIN = 16,
	USED_MAX = 1024,
	ARM_LIST = 256,
	ARM_BITS_MAX = 8192, /* pages: as many bits are as long as the list */
	WORD_BITS = 64,
};

/* A bit beside a page's number. */
#define USED_FIRST        (1u << 31)
#define USED_FIRST_NARROW (1u << 15)
static_assert(PAGE_NR_MAX < USED_FIRST, "a bit beside a page's number");

/*
 * Of a loop that mostly fits all uses come between two faults: there is room for those of the pages that are watched, of
 * which a part is not there to be used.  A power of two: the head may wrap around.
 */
static uint32_t used_size(uint32_t watched)
{
	uint32_t nr = USED_MIN;

	while (2 * nr <= watched && nr < USED_MAX)
		nr *= 2;
	return nr;
}

static size_t used_bytes(const struct samples *samples)
{
	return samples->used_max * (samples->narrow ? sizeof(uint16_t) : sizeof(uint32_t));
}

static size_t arm_bytes(const struct samples *samples)
{
	return samples->arm_words ? samples->arm_words * sizeof(uint64_t)
				  : ARM_LIST * sizeof(uint32_t);
}

static uint64_t *arm_bits(struct samples *samples)
{
	return (uint64_t *)samples->behind;
}

static uint32_t *arm_list(struct samples *samples)
{
	return (uint32_t *)samples->behind;
}

/* A page's number + 1, and USED_FIRST; 0: none, or not yet. */
static _Atomic uint32_t *used_at(struct samples *samples, uint32_t at)
{
	return (_Atomic uint32_t *)(samples->behind + arm_bytes(samples)) + at % samples->used_max;
}

/* The same where those are narrow. */
static _Atomic uint16_t *used_narrow_at(struct samples *samples, uint32_t at)
{
	return (_Atomic uint16_t *)(samples->behind + arm_bytes(samples)) + at % samples->used_max;
}

/* All in one block. */
static size_t block_bytes(const struct samples *samples)
{
	return sizeof(*samples) + arm_bytes(samples) + used_bytes(samples);
}

static struct samples shape_of(uint32_t page_nr, uint32_t watched)
{
	return (struct samples){
		.used_max = (uint16_t)used_size(watched < page_nr ? watched : page_nr),
		.arm_words = page_nr <= ARM_BITS_MAX
				     ? (uint8_t)((page_nr + WORD_BITS - 1) / WORD_BITS)
				     : 0,
		.narrow = page_nr < USED_FIRST_NARROW,
	};
}

size_t samples_bytes(uint32_t page_nr, uint32_t watched)
{
	struct samples shape = shape_of(page_nr, watched);

	return arena_block_bytes(block_bytes(&shape));
}

struct samples *samples_create(struct arena *arena, uint32_t page_nr, uint32_t watched)
{
	struct samples shape = shape_of(page_nr, watched);
	struct samples *samples = arena_alloc(arena, block_bytes(&shape));

	if (!samples)
		return NULL;
	memcpy(samples, &shape, sizeof(shape));
	return samples;
}

void samples_destroy(struct samples *samples, struct arena *arena)
{
	if (samples)
		arena_free(arena, samples, block_bytes(samples));
}

static void note(struct samples *samples, uint32_t nr, bool first)
{
	uint32_t at = atomic_fetch_add_explicit(&samples->used_head, 1, memory_order_relaxed);

	if (samples->narrow)
		atomic_store_explicit(used_narrow_at(samples, at),
				      (uint16_t)((nr + 1) | (first ? USED_FIRST_NARROW : 0)),
				      memory_order_release);
	else
		atomic_store_explicit(used_at(samples, at), (nr + 1) | (first ? USED_FIRST : 0),
				      memory_order_release);
}

/* What note() has put there; PAGE_NONE: nothing, or not yet. */
static uint32_t take_note(struct samples *samples, uint32_t at, bool *ret_first)
{
	uint32_t bit = samples->narrow ? USED_FIRST_NARROW : USED_FIRST, used;

	if (samples->narrow)
		used = atomic_exchange_explicit(used_narrow_at(samples, at), 0,
						memory_order_acquire);
	else
		used = atomic_exchange_explicit(used_at(samples, at), 0, memory_order_acquire);
	*ret_first = used & bit;
	return (used & ~bit) - 1;
}

/* As if it had come now: not a use beside that which all pages come for. */
static void use_first(struct samples *samples, struct epc_page *page, uint32_t nr)
{
	uint8_t ref = atomic_fetch_and_explicit(
		&page->flags, (uint8_t) ~(PAGE_REF_AHEAD | PAGE_REF_ARMED), memory_order_relaxed);

	if ((ref & (PAGE_REF_AHEAD | PAGE_REF_ARMED)) == (PAGE_REF_AHEAD | PAGE_REF_ARMED))
		note(samples, nr, true);
}

void sample_use(struct samples *samples, struct epc_page *page, uint32_t nr)
{
	uint8_t ref = atomic_load_explicit(&page->flags, memory_order_relaxed);

	if (ref & PAGE_REF_AHEAD) {
		use_first(samples, page, nr);
		return;
	}
	if ((ref & (PAGE_REF_USED | PAGE_REF_ARMED)) == PAGE_REF_USED)
		return;
	while (!atomic_compare_exchange_weak_explicit(
		&page->flags, &ref, (uint8_t)((ref | PAGE_REF_USED) & ~PAGE_REF_ARMED),
		memory_order_relaxed, memory_order_relaxed))
		;
	if (ref & PAGE_REF_WATCH)
		note(samples, nr, false);
}

uint32_t sample_next_used(const struct policy_view *view)
{
	struct samples *samples = view->samples;
	uint32_t head = atomic_load_explicit(&samples->used_head, memory_order_relaxed);
	uint32_t nr;
	bool first;

	if (head - samples->used_tail > samples->used_max)
		samples->used_tail = head - samples->used_max;
	while (samples->used_tail != head) {
		nr = take_note(samples, samples->used_tail++, &first);
		if (first)
			sample_arm_new(view, nr);
		else if (nr != PAGE_NONE)
			return nr;
	}
	return PAGE_NONE;
}

/* The last ones, in the order in which they came: those of pages side by side are dropped together. */
static unsigned int take_listed(struct samples *samples, uint32_t nr[SAMPLE_BATCH])
{
	unsigned int n = samples->arm_nr < SAMPLE_BATCH ? samples->arm_nr : SAMPLE_BATCH;

	samples->arm_nr = (uint16_t)(samples->arm_nr - n);
	memcpy(nr, arm_list(samples) + samples->arm_nr, n * sizeof(*nr));
	return n;
}

/* From where the last look ended, in the order of pages. */
static unsigned int take_bits(struct samples *samples, uint32_t nr[SAMPLE_BATCH])
{
	uint32_t left = samples->arm_words, at = samples->arm_at;
	unsigned int n = 0;
	uint64_t *word;

	while (n < SAMPLE_BATCH && samples->arm_nr > 0) {
		word = &arm_bits(samples)[at];
		if (*word) {
			samples->arm_nr--;
			atomic_signal_fence(memory_order_release);
			nr[n++] = at * WORD_BITS + (uint32_t)__builtin_ctzll(*word);
			*word &= *word - 1;
		} else if (left-- > 0) {
			at = at + 1 < samples->arm_words ? at + 1 : 0;
		} else {
			samples->arm_nr = 0;
		}
	}
	samples->arm_at = (uint8_t)at;
	return n;
}

unsigned int sample_take_armed(struct samples *samples, uint32_t nr[SAMPLE_BATCH])
{
	return samples->arm_words ? take_bits(samples, nr) : take_listed(samples, nr);
}

static void want_bit(struct samples *samples, uint32_t nr)
{
	uint64_t *word = &arm_bits(samples)[nr / WORD_BITS], bit = 1ull << nr % WORD_BITS;

	if (*word & bit)
		return;
	*word |= bit;
	atomic_signal_fence(memory_order_release);
	samples->arm_nr++;
}

/* A page for which there is no room is not armed, though it counts as that. */
static void want(struct samples *samples, uint32_t nr)
{
	if (samples->arm_words)
		want_bit(samples, nr);
	else if (samples->arm_nr < ARM_LIST)
		arm_list(samples)[samples->arm_nr++] = nr;
}

void sample_arm(const struct policy_view *view, uint32_t nr)
{
	uint8_t was = atomic_fetch_or_explicit(&view->pages[nr].flags, PAGE_REF_ARMED,
					       memory_order_relaxed);

	/* Of one that has come ahead the next use is the first: sample_tell_locked() arms it behind that. */
	if (!(was & (PAGE_REF_ARMED | PAGE_REF_AHEAD)))
		want(view->samples, nr);
}

bool sample_test_and_arm(const struct policy_view *view, uint32_t nr)
{
	if (!sample_is_used(view, nr))
		return false;
	sample_arm(view, nr);
	atomic_fetch_and_explicit(&view->pages[nr].flags, (uint8_t)~PAGE_REF_USED,
				  memory_order_relaxed);
	return true;
}

/*
 * The newest is not armed with the others: its translation is yet to be made, and would be dropped under the
 * very instruction that it is for.
 */
void sample_arm_new(const struct policy_view *view, uint32_t nr)
{
	struct samples *samples = view->samples;
	_Atomic uint8_t *ref = &view->pages[nr].flags;
	unsigned int i;

	if (atomic_load_explicit(ref, memory_order_relaxed) & PAGE_REF_AHEAD) {
		sample_arm(view, nr);
		return;
	}
	samples->new_page[samples->new_nr] = nr;
	if (samples->new_nr + 1 < SAMPLE_BATCH) {
		samples->new_nr++;
		return;
	}
	for (i = 0; i + 1 < SAMPLE_BATCH; i++)
		sample_arm(view, samples->new_page[i]);
	samples->new_page[0] = nr;
	samples->new_nr = 1;
}

void sample_set(const struct policy_view *view, uint32_t nr, bool used)
{
	_Atomic uint8_t *ref = &view->pages[nr].flags;

	atomic_fetch_and_explicit(ref, (uint8_t) ~(PAGE_REF_ARMED | PAGE_REF_USED | PAGE_REF_WATCH),
				  memory_order_relaxed);
	if (used)
		atomic_fetch_or_explicit(ref, PAGE_REF_USED, memory_order_relaxed);
}

void sample_watch(const struct policy_view *view, uint32_t nr)
{
	atomic_fetch_or_explicit(&view->pages[nr].flags, PAGE_REF_WATCH, memory_order_relaxed);
}

void sample_set_list(const struct policy_view *view, uint32_t nr, unsigned int list)
{
	_Atomic uint8_t *ref = &view->pages[nr].flags;

	if (list)
		atomic_fetch_or_explicit(ref, PAGE_REF_LIST, memory_order_relaxed);
	else
		atomic_fetch_and_explicit(ref, (uint8_t)~PAGE_REF_LIST, memory_order_relaxed);
}
