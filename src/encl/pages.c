/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The page tree of an enclave: which pages it has, by index (offset / 4096).
 *
 * Two levels: an array of pointers as long as the enclave's range needs, and leaves of 512 pages that come
 * with the first page in them and go with the enclave.  A page's address never changes, so that it
 * can be kept across a drop of the lock by whoever pins it.
 */
#include "encl/encl_priv.h"

#include <assert.h>
#include <errno.h>

#include "base/arena.h"
#include "epc/backing.h"

int pages_create(struct encl *encl)
{
	uint64_t pages = encl->size / SGX_PAGE_SIZE;

	encl->leaf_nr = (pages + ENCL_LEAF_PAGES - 1) / ENCL_LEAF_PAGES;
	encl->leaves = arena_alloc(encl->arena, encl->leaf_nr * sizeof(encl->leaves[0]));
	return encl->leaves ? 0 : -ENOMEM;
}

void pages_destroy(struct encl *encl)
{
	for (uint64_t i = 0; encl->leaves && i < encl->leaf_nr; i++)
		if (encl->leaves[i])
			arena_free(encl->arena, encl->leaves[i],
				   ENCL_LEAF_PAGES * sizeof(struct encl_page));
	if (encl->leaves)
		arena_free(encl->arena, encl->leaves, encl->leaf_nr * sizeof(encl->leaves[0]));
	encl->leaves = NULL;
	/* Last: whoever dies before has it done again. A repair goes on with no pages then. */
	encl->leaf_nr = 0;
}

struct encl_page *pages_find_locked(struct encl *encl, uint64_t idx)
{
	struct encl_page *leaf, *page;

	if (idx / ENCL_LEAF_PAGES >= encl->leaf_nr)
		return NULL;
	leaf = encl->leaves[idx / ENCL_LEAF_PAGES];
	if (!leaf)
		return NULL;
	page = &leaf[idx % ENCL_LEAF_PAGES];
	return page->flags & ENCL_PAGE_EXISTS ? page : NULL;
}

void pages_prefetch(const struct encl *encl, uint64_t idx)
{
	const struct encl_page *leaf;

	if (idx / ENCL_LEAF_PAGES >= encl->leaf_nr)
		return;
	leaf = __atomic_load_n(&encl->leaves[idx / ENCL_LEAF_PAGES], __ATOMIC_RELAXED);
	if (leaf)
		__builtin_prefetch(&leaf[idx % ENCL_LEAF_PAGES]);
}

struct encl_page *pages_next_locked(struct encl *encl, uint64_t *idx, uint64_t end)
{
	while (*idx < end && *idx / ENCL_LEAF_PAGES < encl->leaf_nr) {
		struct encl_page *leaf = encl->leaves[*idx / ENCL_LEAF_PAGES];
		struct encl_page *page;

		if (!leaf) {
			*idx = (*idx / ENCL_LEAF_PAGES + 1) * ENCL_LEAF_PAGES;
			continue;
		}
		page = &leaf[*idx % ENCL_LEAF_PAGES];
		if (page->flags & ENCL_PAGE_EXISTS)
			return page;
		++*idx;
	}
	return NULL;
}

struct encl_page *pages_insert_locked(struct encl *encl, uint64_t idx)
{
	struct encl_page **leaf = &encl->leaves[idx / ENCL_LEAF_PAGES];
	struct encl_page *page;

	assert(idx < encl->size / SGX_PAGE_SIZE);
	if (!*leaf)
		__atomic_store_n(
			leaf, arena_alloc(encl->arena, ENCL_LEAF_PAGES * sizeof(struct encl_page)),
			__ATOMIC_RELEASE);
	if (!*leaf)
		return NULL;
	page = &(*leaf)[idx % ENCL_LEAF_PAGES];
	assert(!(page->flags & ENCL_PAGE_EXISTS));
	/* Not the pins: a step may still hold some from before the page was removed. */
	*page = (struct encl_page){ .pins = page->pins, .backing = BACKING_NO_SLOT };
	/* Whoever dies in between leaves no page that seems to have a slot. */
	atomic_signal_fence(memory_order_release);
	page->flags = ENCL_PAGE_EXISTS;
	encl->page_nr++;
	return page;
}

void pages_erase_locked(struct encl *encl, struct encl_page *page)
{
	assert(page->flags == ENCL_PAGE_EXISTS);
	assert(!page->epc_page && !page->va && page->backing == BACKING_NO_SLOT);
	page->flags = 0;
	encl->page_nr--;
}
