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
#include <stdint.h>

#include "base/look.h"

struct arena;

/* A new arena of at most @bytes_max bytes; NULL when the mapping is refused (errno is set). */
struct arena *arena_create(size_t bytes_max);
/*
 * The same in a file without a name, which other processes find by the descriptor that this one keeps of it, and look
 * at (base/look.h).  Where there can be no such file it is an arena like any other.
 */
struct arena *arena_create_shown(size_t bytes_max);
/* Unmap it in this process. Takes NULL. */
void arena_destroy(struct arena *arena);

/* The descriptor; -1: nobody can look. */
int arena_fd(const struct arena *arena);
/*
 * What others begin with.  They understand nothing of it unless their @layout is the same number: it changes with the
 * layout of what @what leads to.  NULL: there is nothing any more.  Does nothing where nobody can look.
 */
void arena_show(struct arena *arena, enum look_root which, const void *what, uint64_t layout);

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

enum { SHARED_HUGE_BYTES = 2 << 20 };

/*
 * Of such a mapping, or one of arena_map(): what @at is in becomes one huge page, of which something was touched.  For
 * large arrays that fill up from one end, so that what is used of them needs few translations.  Nothing happens where they
 * are not large, or the system cannot (Linux before 6.1, no such page free).  May take milliseconds.
 */
void shared_make_huge(void *p, size_t bytes, const void *at);
/*
 * The same where those who look at the arena see it too.  @arena may be NULL.  What is unmapped gives its
 * memory back, and its addresses when nothing was mapped after it.
 */
void *arena_map(struct arena *arena, size_t bytes);
void arena_unmap(struct arena *arena, void *p, size_t bytes);
/* What the first such mapping takes of an arena, at the most. */
size_t arena_map_bytes(size_t bytes);

#endif
