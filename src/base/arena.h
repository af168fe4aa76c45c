/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Memory that a process and its forked children see alike: a shared mapping made before the first
 * fork, at the same address in all of them, so that pointers into it are good everywhere.
 *
 * Everything that two processes must agree on (EPCM, frames, enclaves, their locks) lives here.
 * The pages are committed on first touch, so a large arena costs nothing until used.
 */
#ifndef SWSGX_BASE_ARENA_H
#define SWSGX_BASE_ARENA_H

#include <stddef.h>

struct arena;

/* A new arena of at most @bytes_max bytes; NULL when the mapping is refused (errno is set). */
struct arena *arena_create(size_t bytes_max);
/* Unmap it in this process. Takes NULL. */
void arena_destroy(struct arena *arena);

/*
 * @bytes zeroed bytes, aligned to 64; NULL when the arena is full.  Any thread, any process.
 * arena_free() takes the same @bytes again: blocks carry no header.
 */
void *arena_alloc(struct arena *arena, size_t bytes);
void arena_free(struct arena *arena, void *p, size_t bytes);

/* What a block of @bytes counts for. */
size_t arena_block_bytes(size_t bytes);
/* Bytes handed out and not given back: a test that ends above where it began has a leak. */
size_t arena_used_bytes(struct arena *arena);

/* A shared, zeroed, lazily committed mapping of its own, for the big arrays. NULL on failure. */
void *shared_map(size_t bytes);
/* Takes NULL. */
void shared_unmap(void *p, size_t bytes);

#endif
