/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Lists of EPC pages, by page number: a page is on at most one, and its two links take 8 bytes of it.
 * Every operation costs the same, however long the list.
 */
#ifndef SWSGX_EPC_PAGELIST_H
#define SWSGX_EPC_PAGELIST_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "epc/page.h"

#define PAGE_NONE UINT32_MAX

struct pagelist {
	uint32_t first;
	uint32_t last;
	uint32_t nr;
};

static inline void pagelist_init(struct pagelist *list)
{
	list->first = list->last = PAGE_NONE;
	list->nr = 0;
}

static inline void pagelist_add_tail(struct epc_page *pages, struct pagelist *list, uint32_t nr)
{
	pages[nr].next = PAGE_NONE;
	pages[nr].prev = list->last;
	if (list->last == PAGE_NONE)
		list->first = nr;
	else
		pages[list->last].next = nr;
	list->last = nr;
	list->nr++;
}

static inline void pagelist_add(struct epc_page *pages, struct pagelist *list, uint32_t nr)
{
	pages[nr].prev = PAGE_NONE;
	pages[nr].next = list->first;
	if (list->first == PAGE_NONE)
		list->last = nr;
	else
		pages[list->first].prev = nr;
	list->first = nr;
	list->nr++;
}

static inline void pagelist_del(struct epc_page *pages, struct pagelist *list, uint32_t nr)
{
	struct epc_page *page = &pages[nr];

	assert(list->nr > 0);
	if (page->prev == PAGE_NONE) {
		assert(list->first == nr);
		list->first = page->next;
	} else {
		assert(pages[page->prev].next == nr);
		pages[page->prev].next = page->next;
	}
	if (page->next == PAGE_NONE) {
		assert(list->last == nr);
		list->last = page->prev;
	} else {
		assert(pages[page->next].prev == nr);
		pages[page->next].prev = page->prev;
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

/* The links agree with each other and with the count: for audits, walks the list. */
static inline bool pagelist_check(const struct epc_page *pages, const struct pagelist *list)
{
	uint32_t prev = PAGE_NONE, nr = list->first, count = 0;

	while (nr != PAGE_NONE && count < list->nr) {
		if (pages[nr].prev != prev)
			return false;
		prev = nr;
		nr = pages[nr].next;
		count++;
	}
	return nr == PAGE_NONE && count == list->nr && prev == list->last;
}

#endif
