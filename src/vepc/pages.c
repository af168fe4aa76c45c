/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The sparse file: chunks by number, in each a tree of pages two levels deep.
 *
 * A chunk and a leaf are there for good once they are there, so a pointer to a page outlives the lock.
 */
#include "vepc/vepc_priv.h"

#include <assert.h>
#include <errno.h>

#include "base/arena.h"
#include "epc/epc.h"
#include "epc/window.h"

struct vepc_chunk *chunk_find(struct vepc *vepc, uint64_t nr)
{
	const struct list *pos = &vepc->chunks;

	while ((pos = __atomic_load_n(&pos->next, __ATOMIC_ACQUIRE)) != &vepc->chunks) {
		struct vepc_chunk *chunk = LIST_ENTRY(pos, struct vepc_chunk, node);

		if (chunk->nr >= nr)
			return chunk->nr == nr ? chunk : NULL;
	}
	return NULL;
}

int chunk_need_locked(struct vepc *vepc, uint64_t nr)
{
	struct vepc_chunk *chunk = chunk_find(vepc, nr);
	struct list *pos;

	if (chunk)
		return 0;
	chunk = arena_alloc(vepc->arena, sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	if (window_range_alloc(vepc->window, VEPC_CHUNK_BYTES, &chunk->win_off) < 0) {
		arena_free(vepc->arena, chunk, sizeof(*chunk));
		return -ENOMEM;
	}
	chunk->nr = nr;
	list_for_each (pos, &vepc->chunks)
		if (LIST_ENTRY(pos, struct vepc_chunk, node)->nr > nr)
			break;
	list_add_tail(pos, &chunk->node);
	return 0;
}

struct vepc_page *vepc_page_locked(struct vepc *vepc, uint64_t idx)
{
	struct vepc_chunk *chunk = chunk_find(vepc, idx / VEPC_CHUNK_PAGES);
	struct vepc_page **leaf;

	assert(chunk);
	leaf = &chunk->leaf[idx % VEPC_CHUNK_PAGES / VEPC_LEAF_PAGES];
	if (!*leaf)
		*leaf = arena_alloc(vepc->arena, VEPC_LEAF_PAGES * sizeof(struct vepc_page));
	return *leaf ? &(*leaf)[idx % VEPC_LEAF_PAGES] : NULL;
}

/* In @chunk from its page *@at on. */
static struct vepc_page *chunk_next(const struct vepc_chunk *chunk, uint64_t *at)
{
	while (*at < VEPC_CHUNK_PAGES) {
		struct vepc_page *leaf = chunk->leaf[*at / VEPC_LEAF_PAGES];
		struct vepc_page *page;

		if (!leaf) {
			*at = (*at / VEPC_LEAF_PAGES + 1) * VEPC_LEAF_PAGES;
			continue;
		}
		page = &leaf[*at % VEPC_LEAF_PAGES];
		if (page->frame || page->kept)
			return page;
		++*at;
	}
	return NULL;
}

struct vepc_page *vepc_page_next_locked(struct vepc *vepc, uint64_t *idx)
{
	struct vepc_page *page;
	struct list *pos;

	list_for_each (pos, &vepc->chunks) {
		struct vepc_chunk *chunk = LIST_ENTRY(pos, struct vepc_chunk, node);
		uint64_t first = chunk->nr * VEPC_CHUNK_PAGES, at;

		if (first + VEPC_CHUNK_PAGES <= *idx)
			continue;
		at = *idx > first ? *idx - first : 0;
		page = chunk_next(chunk, &at);
		if (page) {
			*idx = first + at;
			return page;
		}
	}
	return NULL;
}

struct vepc_page *vepc_page_of_locked(struct vepc *vepc, struct epc_page *frame, uint64_t *ret_idx)
{
	uint64_t cookie = epc_page_cookie(frame);
	struct vepc_page *page;

	if (cookie == VEPC_COOKIE_NONE)
		return NULL;
	*ret_idx = cookie - 1;
	/* The first from its own number on, if it is one. */
	page = vepc_page_next_locked(vepc, ret_idx);
	return page && page->frame == frame ? page : NULL;
}

void chunks_free(struct vepc *vepc)
{
	struct list *pos, *tmp;

	list_for_each_safe (pos, tmp, &vepc->chunks) {
		struct vepc_chunk *chunk = LIST_ENTRY(pos, struct vepc_chunk, node);

		list_del(&chunk->node);
		window_range_free(vepc->window, chunk->win_off, VEPC_CHUNK_BYTES);
		for (unsigned int i = 0; i < VEPC_LEAVES; i++)
			if (chunk->leaf[i])
				arena_free(vepc->arena, chunk->leaf[i],
					   VEPC_LEAF_PAGES * sizeof(struct vepc_page));
		arena_free(vepc->arena, chunk, sizeof(*chunk));
	}
}
