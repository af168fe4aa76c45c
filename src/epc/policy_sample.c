/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * See policy_sample.h.
 *
 * Invariant: PAGE_REF_ARMED says that the next use is wanted; whether the translation has been dropped already, or
 * could be, is the manager's.  A process that dies in here loses at most what is in the rings.
 */
#include "epc/policy_sample.h"

#include "base/arena.h"
#include "epc/pagelist.h"

enum { RING_MIN = 64, ARM_MAX = 256, USED_ENOUGH = 512, USED_PART = 8, USED_MAX = 1024 };

/* A bit beside a page's number. */
#define USED_FIRST        (1u << 31)
#define USED_FIRST_NARROW (1u << 15)
static_assert(PAGE_NR_MAX < USED_FIRST, "a bit beside a page's number");

/* A power of two: a ring's head may wrap around. */
static uint32_t ring_size(uint32_t wanted, uint32_t most)
{
	uint32_t nr = RING_MIN;

	while (nr < wanted && nr < most)
		nr *= 2;
	return nr;
}

/*
 * Of a loop that mostly fits all uses come between two faults: there is room for those of all pages that are watched,
 * which are all of a small EPC, and few of a large one.
 */
static uint32_t used_size(uint32_t page_nr)
{
	return ring_size(page_nr, page_nr / USED_PART > USED_ENOUGH ? USED_MAX : USED_ENOUGH);
}

/*
 * Shadows arm most of a small EPC at once; a page for which there is no room is not armed, though it counts as that.
 * It is no ring, and as long as it need be.
 */
static uint32_t arm_size(uint32_t page_nr)
{
	uint32_t most = page_nr / 4 * 3;

	if (most < RING_MIN)
		return RING_MIN;
	return most < ARM_MAX ? most : ARM_MAX;
}

static size_t ring_bytes(const struct samples *samples, uint32_t nr)
{
	return nr * (samples->narrow ? sizeof(uint16_t) : sizeof(uint32_t));
}

struct samples *samples_create(struct arena *arena, uint32_t page_nr)
{
	struct samples *samples = arena_alloc(arena, sizeof(*samples));

	if (!samples)
		return NULL;
	samples->used_max = used_size(page_nr);
	samples->arm_max = arm_size(page_nr);
	samples->narrow = page_nr < USED_FIRST_NARROW;
	samples->used = arena_alloc(arena, ring_bytes(samples, samples->used_max));
	samples->arm = arena_alloc(arena, ring_bytes(samples, samples->arm_max));
	if (samples->used && samples->arm)
		return samples;
	samples_destroy(samples, arena);
	return NULL;
}

void samples_destroy(struct samples *samples, struct arena *arena)
{
	arena_free(arena, (void *)samples->used, ring_bytes(samples, samples->used_max));
	arena_free(arena, samples->arm, ring_bytes(samples, samples->arm_max));
	arena_free(arena, samples, sizeof(*samples));
}

static void note(struct samples *samples, uint32_t nr, bool first)
{
	uint32_t at = atomic_fetch_add_explicit(&samples->used_head, 1, memory_order_relaxed) %
		      samples->used_max;

	if (samples->narrow)
		atomic_store_explicit(&samples->used_narrow[at],
				      (uint16_t)((nr + 1) | (first ? USED_FIRST_NARROW : 0)),
				      memory_order_release);
	else
		atomic_store_explicit(&samples->used[at], (nr + 1) | (first ? USED_FIRST : 0),
				      memory_order_release);
}

/* What note() has put there; PAGE_NONE: nothing, or not yet. */
static uint32_t take_note(struct samples *samples, uint32_t at, bool *ret_first)
{
	uint32_t bit = samples->narrow ? USED_FIRST_NARROW : USED_FIRST, used;

	at %= samples->used_max;
	if (samples->narrow)
		used = atomic_exchange_explicit(&samples->used_narrow[at], 0, memory_order_acquire);
	else
		used = atomic_exchange_explicit(&samples->used[at], 0, memory_order_acquire);
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
unsigned int sample_take_armed(struct samples *samples, uint32_t nr[SAMPLE_BATCH])
{
	unsigned int i, n = samples->arm_nr < SAMPLE_BATCH ? samples->arm_nr : SAMPLE_BATCH;

	samples->arm_nr -= n;
	for (i = 0; i < n; i++)
		nr[i] = samples->narrow ? samples->arm_narrow[samples->arm_nr + i]
					: samples->arm[samples->arm_nr + i];
	return n;
}

static void want(struct samples *samples, uint32_t nr)
{
	if (samples->arm_nr == samples->arm_max)
		return;
	if (samples->narrow)
		samples->arm_narrow[samples->arm_nr] = (uint16_t)nr;
	else
		samples->arm[samples->arm_nr] = nr;
	samples->arm_nr++;
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
