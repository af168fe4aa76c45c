/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * CLOCK-Pro as its paper has it (section 4): one list of all pages, in the order in which they were put at its head, hot
 * ones, resident cold ones, and cold ones that were evicted in their tests; and three hands that go over it.
 *
 * Where the paper leaves a choice it is the authors' simulator's: the first pages are hot; a hot page that becomes cold
 * goes to the head, in no test; a page is promoted only when the hot hand finds a hot page to demote before it gets to the
 * page itself; and a test that ends without a use counts when the page has been evicted meanwhile.
 */
#include <assert.h>
#include <stdlib.h>

#include "lib/policy_model.h"

struct pro {
	struct model_list ring; /* the head is the newest */
	bool *hot, *resident, *test, *used;
	uint32_t frames, cold_min;
	uint32_t cold; /* of the frames, so many are to be cold */
	uint32_t hot_nr, resident_nr, gone_nr;
	uint32_t hot_hand;  /* the oldest hot page: older ones are in no test */
	uint32_t cold_hand; /* no resident cold page is older, and so on */
	uint32_t test_hand;
};

/* No hand is left at a page that leaves its place: it goes to the next newer one. */
static void leave(struct pro *p, uint32_t page)
{
	if (p->hot_hand == page)
		p->hot_hand = p->ring.next[page];
	if (p->cold_hand == page)
		p->cold_hand = p->ring.next[page];
	if (p->test_hand == page)
		p->test_hand = p->ring.next[page];
	model_list_del(&p->ring, page);
}

/* A hand that has gone past everything is at the end, where the next one will come. */
static void put(struct pro *p, uint32_t page)
{
	model_list_add(&p->ring, page);
	if (p->hot_hand == p->ring.end)
		p->hot_hand = page;
	if (p->cold_hand == p->ring.end)
		p->cold_hand = page;
	if (p->test_hand == p->ring.end)
		p->test_hand = page;
}

static void to_head(struct pro *p, uint32_t page, bool hot, bool test)
{
	if (model_list_has(&p->ring, page))
		leave(p, page);
	p->hot_nr += hot;
	p->hot_nr -= p->hot[page];
	p->hot[page] = hot;
	p->test[page] = test;
	p->used[page] = false;
	put(p, page);
}

static void adapt(struct pro *p, bool more)
{
	if (more && p->cold + p->cold_min < p->frames)
		p->cold++;
	else if (!more && p->cold > p->cold_min)
		p->cold--;
}

static void end_test(struct pro *p, uint32_t page)
{
	if (!p->test[page])
		return;
	p->test[page] = false;
	if (!p->resident[page])
		adapt(p, false);
	if (!p->resident[page]) {
		leave(p, page);
		p->gone_nr--;
	}
}

/* Ends the tests of the cold pages it goes past. */
static void hot_hand_to_hot(struct pro *p)
{
	uint32_t page;

	while (p->hot_hand != p->ring.end && !p->hot[p->hot_hand]) {
		page = p->hot_hand;
		p->hot_hand = p->ring.next[page];
		end_test(p, page);
	}
}

/* A hot page older than @page becomes cold: false when there is none that was not used. */
static bool demote(struct pro *p, uint32_t page)
{
	uint32_t at;

	for (;;) {
		at = p->hot_hand;
		if (at == p->ring.end || at == page)
			return false;
		if (!p->hot[at]) {
			p->hot_hand = p->ring.next[at];
			end_test(p, at);
		} else if (p->used[at]) {
			to_head(p, at, true, false);
		} else {
			to_head(p, at, false, false);
			hot_hand_to_hot(p);
			return true;
		}
	}
}

static bool promote(struct pro *p, uint32_t page)
{
	adapt(p, true);
	while (p->hot_nr >= p->frames - p->cold) {
		if (!demote(p, page) || !p->test[page])
			return false;
	}
	return true;
}

static void run_test_hand(struct pro *p)
{
	uint32_t page;

	while (p->gone_nr > p->frames) {
		page = p->test_hand;
		assert(page != p->ring.end);
		p->test_hand = p->ring.next[page];
		end_test(p, page);
	}
}

static void evict_one(struct pro *p)
{
	uint32_t page;

	while (p->resident_nr == p->frames) {
		while (p->hot[p->cold_hand] || !p->resident[p->cold_hand])
			p->cold_hand = p->ring.next[p->cold_hand];
		page = p->cold_hand;
		if (p->used[page]) {
			to_head(p, page, p->test[page] && promote(p, page), true);
			p->test[page] = !p->hot[page];
			continue;
		}
		p->resident[page] = false;
		p->resident_nr--;
		if (p->test[page]) {
			p->cold_hand = p->ring.next[page];
			p->gone_nr++;
		} else {
			leave(p, page);
		}
		run_test_hand(p);
	}
}

static void miss(struct pro *p, uint32_t page)
{
	bool hot = p->resident_nr + p->cold_min < p->frames;

	evict_one(p);
	if (model_list_has(&p->ring, page)) {
		hot = promote(p, page);
		if (model_list_has(&p->ring, page))
			p->gone_nr--;
	}
	to_head(p, page, hot, !hot);
	p->resident[page] = true;
	p->resident_nr++;
}

unsigned long model_clockpro(const struct page_trace *trace, uint32_t frames, uint32_t cold_min,
			     bool *ret_in)
{
	struct pro p = { .frames = frames, .cold_min = cold_min, .cold = cold_min };
	unsigned long faults = 0;
	uint32_t page;
	size_t i;

	p.hot = model_alloc(trace->pages, sizeof(bool));
	p.resident = model_alloc(trace->pages, sizeof(bool));
	p.test = model_alloc(trace->pages, sizeof(bool));
	p.used = model_alloc(trace->pages, sizeof(bool));
	model_list_init(&p.ring, trace->pages);
	p.hot_hand = p.cold_hand = p.test_hand = p.ring.end;
	for (i = 0; i < trace->nr; i++) {
		page = trace->ref[i];
		if (p.resident[page]) {
			p.used[page] = p.used[page] || i == 0 || page != trace->ref[i - 1];
			continue;
		}
		faults++;
		miss(&p, page);
	}
	for (page = 0; ret_in && page < trace->pages; page++)
		ret_in[page] = p.resident[page];
	model_list_fini(&p.ring);
	free(p.hot);
	free(p.resident);
	free(p.test);
	free(p.used);
	return faults;
}
