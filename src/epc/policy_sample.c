/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * See policy_sample.h.
 *
 * Invariant: PAGE_REF_ARMED says that the next use is wanted; whether the translation has been dropped already, or
 * could be, is the manager's.  A process that dies in here loses at most what is in the rings.
 */
#include "epc/policy_sample.h"

#include "epc/pagelist.h"

void sample_use(struct samples *samples, struct epc_page *page, uint32_t nr)
{
	uint8_t ref = atomic_load_explicit(&page->flags, memory_order_relaxed);
	uint32_t at;

	if ((ref & (PAGE_REF_USED | PAGE_REF_ARMED)) == PAGE_REF_USED)
		return;
	while (!atomic_compare_exchange_weak_explicit(
		&page->flags, &ref, (uint8_t)((ref | PAGE_REF_USED) & ~PAGE_REF_ARMED),
		memory_order_relaxed, memory_order_relaxed))
		;
	if (!(ref & PAGE_REF_WATCH))
		return;
	at = atomic_fetch_add_explicit(&samples->used_head, 1, memory_order_relaxed);
	atomic_store_explicit(&samples->used[at % SAMPLE_USED_MAX], nr + 1, memory_order_release);
}

uint32_t sample_next_used(struct samples *samples)
{
	uint32_t head = atomic_load_explicit(&samples->used_head, memory_order_relaxed);
	uint32_t used;

	if (head - samples->used_tail > SAMPLE_USED_MAX)
		samples->used_tail = head - SAMPLE_USED_MAX;
	while (samples->used_tail != head) {
		used = atomic_exchange_explicit(
			&samples->used[samples->used_tail++ % SAMPLE_USED_MAX], 0,
			memory_order_acquire);
		if (used)
			return used - 1;
	}
	return PAGE_NONE;
}

/* The last ones, in the order in which they came: those of pages side by side are dropped together. */
unsigned int sample_take_armed(struct samples *samples, uint32_t nr[SAMPLE_BATCH])
{
	unsigned int i, n = samples->arm_nr < SAMPLE_BATCH ? samples->arm_nr : SAMPLE_BATCH;

	samples->arm_nr -= n;
	for (i = 0; i < n; i++)
		nr[i] = samples->arm[samples->arm_nr + i];
	return n;
}

static void want(struct samples *samples, uint32_t nr)
{
	if (samples->arm_nr < SAMPLE_ARM_MAX) {
		samples->arm[samples->arm_nr] = nr;
		samples->arm_nr++;
	}
}

void sample_arm(const struct policy_view *view, uint32_t nr)
{
	uint8_t was = atomic_fetch_or_explicit(&view->pages[nr].flags, PAGE_REF_ARMED,
					       memory_order_relaxed);

	if (!(was & PAGE_REF_ARMED))
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
	unsigned int i;

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
