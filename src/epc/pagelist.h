/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Lists of EPC pages, by page number: a page is on at most one, and its two links take 7 bytes of it.
 * Every operation costs the same, however long the list.
 *
 * From page to page is a wait for memory where the EPC is large, one after the other.  Who will take pages from the
 * front can have it before: pagelist_fetch() goes one page further each time, which by the next time is there.
 */
#ifndef SWSGX_EPC_PAGELIST_H
#define SWSGX_EPC_PAGELIST_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "epc/page.h"

#define PAGE_NONE UINT32_MAX

enum { PAGELIST_FETCH_MAX = 32 /* two batches */ };

struct pagelist {
	uint32_t first;
	uint32_t last;
	uint32_t nr;
	uint32_t fetched;    /* the last one of the first pages that are in the cache */
	uint32_t fetched_nr; /* those, about; 0: none */
};

static inline void pagelist_init(struct pagelist *list)
{
	list->first = list->last = PAGE_NONE;
	list->nr = 0;
	list->fetched_nr = 0;
}

/* The page behind @nr, and the one before it: PAGE_NONE at the ends, where the link is to the page itself. */
static inline uint32_t page_next(const struct epc_page *pages, uint32_t nr)
{
	return pages[nr].next == nr ? PAGE_NONE : (uint32_t)pages[nr].next;
}

static inline uint32_t page_prev(const struct epc_page *pages, uint32_t nr)
{
	return pages[nr].prev == nr ? PAGE_NONE : (uint32_t)pages[nr].prev;
}

static inline void page_set_next(struct epc_page *pages, uint32_t nr, uint32_t next)
{
	pages[nr].next = (next == PAGE_NONE ? nr : next) % PAGE_NR_MAX;
}

static inline void page_set_prev(struct epc_page *pages, uint32_t nr, uint32_t prev)
{
	pages[nr].prev = (prev == PAGE_NONE ? nr : prev) % PAGE_NR_MAX;
}

static inline void pagelist_add_tail(struct epc_page *pages, struct pagelist *list, uint32_t nr)
{
	page_set_next(pages, nr, PAGE_NONE);
	page_set_prev(pages, nr, list->last);
	if (list->last == PAGE_NONE)
		list->first = nr;
	else
		page_set_next(pages, list->last, nr);
	list->last = nr;
	list->nr++;
}

static inline void pagelist_add(struct epc_page *pages, struct pagelist *list, uint32_t nr)
{
	page_set_prev(pages, nr, PAGE_NONE);
	page_set_next(pages, nr, list->first);
	if (list->first == PAGE_NONE)
		list->last = nr;
	else
		page_set_prev(pages, list->first, nr);
	list->first = nr;
	list->nr++;
}

/* Of a list that nothing is fetched of. */
static inline void pagelist_add_before(struct epc_page *pages, struct pagelist *list, uint32_t nr,
				       uint32_t next)
{
	uint32_t prev = page_prev(pages, next);

	assert(list->fetched_nr == 0);
	if (prev == PAGE_NONE) {
		pagelist_add(pages, list, nr);
		return;
	}
	page_set_prev(pages, nr, prev);
	page_set_next(pages, nr, next);
	page_set_next(pages, prev, nr);
	page_set_prev(pages, next, nr);
	list->nr++;
}

/* The page leaves the list.  One from among those that were fetched is still counted, until the last of them goes. */
static inline void pagelist_unfetch(struct pagelist *list, uint32_t nr, uint32_t prev)
{
	if (list->fetched_nr == 0)
		return;
	if (prev == PAGE_NONE)
		list->fetched_nr--;
	if (nr == list->fetched) {
		list->fetched = prev;
		list->fetched_nr = prev == PAGE_NONE ? 0 : list->fetched_nr;
	}
}

/* Once for each page that will be taken from the front, some time before. */
static inline void pagelist_fetch(const struct epc_page *pages, struct pagelist *list)
{
	uint32_t nr = list->first;

	if (list->fetched_nr >= PAGELIST_FETCH_MAX)
		return;
	if (list->fetched_nr > 0)
		nr = page_next(pages, list->fetched);
	if (nr == PAGE_NONE)
		return;
	page_prefetch(&pages[nr]);
	list->fetched = nr;
	list->fetched_nr++;
}

static inline void pagelist_del(struct epc_page *pages, struct pagelist *list, uint32_t nr)
{
	uint32_t prev = page_prev(pages, nr), next = page_next(pages, nr);

	assert(list->nr > 0);
	pagelist_unfetch(list, nr, prev);
	if (prev == PAGE_NONE) {
		assert(list->first == nr);
		list->first = next;
	} else {
		assert(pages[prev].next == nr);
		page_set_next(pages, prev, next);
	}
	if (next == PAGE_NONE) {
		assert(list->last == nr);
		list->last = prev;
	} else {
		assert(pages[next].prev == nr);
		page_set_prev(pages, next, prev);
	}
	list->nr--;
}

/* PAGE_NONE when the list is empty. */
static inline uint32_t pagelist_pop(struct epc_page *pages, struct pagelist *list)
{
	uint32_t nr = list->first;

	if (nr != PAGE_NONE)
		pagelist_del(pages, list, nr);
	return nr;
}

/* The links agree with each other and with the count, and what was fetched is on it: for audits, walks the list. */
static inline bool pagelist_check(const struct epc_page *pages, const struct pagelist *list)
{
	uint32_t prev = PAGE_NONE, nr = list->first, count = 0;
	bool fetched = list->fetched_nr == 0;

	while (nr != PAGE_NONE && count < list->nr) {
		if (page_prev(pages, nr) != prev)
			return false;
		fetched = fetched || nr == list->fetched;
		prev = nr;
		nr = page_next(pages, nr);
		count++;
	}
	return nr == PAGE_NONE && count == list->nr && prev == list->last && fetched;
}

#endif
