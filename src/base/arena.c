/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The shared heap: a bump pointer, and one list of freed blocks for each size class.
 *
 * Sizes are rounded up to multiples of 64 up to 1024 bytes, and to four classes a doubling above, so
 * at most a quarter of a block is lost.  Blocks never change their class: what is here is made of a few kinds of
 * objects in great number.  The pages of a large freed block go back to the system at once.
 *
 * A process that dies inside leaves at worst one block that nobody has: each list changes by one store.
 */
#include "base/arena.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/hide.h"
#include "base/lock.h"

enum {
	UNIT = 64,
	SMALL_BYTES = 1024,
	SMALL_NR = SMALL_BYTES / UNIT,
	CLASS_NR = SMALL_NR + 4 * 54, /* up to any size_t */
	PAGE = 4096,
	GIVE_BACK_BYTES = 128 * 1024,
	HUGE_FROM_BYTES = 8 << 20, /* the translations of less are held anyway */
	HUGE_PAGE = SHARED_HUGE_BYTES,
};

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

struct block {
	struct block *next;
};

struct arena {
	struct look_mark mark;
	int fd; /* -1: not shown */
	struct lock lock;
	size_t bytes_max;
	size_t bump; /* offset of what was never handed out */
	size_t top;  /* and where it ends: behind are the maps */
	size_t used_bytes;
	struct block *freed[CLASS_NR];
};

/* Addresses for @bytes that begin where a huge page does; NULL: there are none. */
static char *reserve_aligned(size_t bytes)
{
	char *p = mmap(NULL, bytes + HUGE_PAGE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (p == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)p % HUGE_PAGE;
	if (before > 0)
		munmap(p, before);
	munmap(p + before + bytes, HUGE_PAGE - before);
	return p + before;
}

/* @fd: of a file, or -1. */
static void *map_shared(size_t bytes, int fd)
{
	int flags = MAP_SHARED | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0);
	void *at = NULL, *p;

	bytes = (bytes + PAGE - 1) / PAGE * PAGE;
	if (bytes >= HUGE_FROM_BYTES)
		at = reserve_aligned(bytes);
	p = mmap(at, bytes, PROT_READ | PROT_WRITE, flags | (at ? MAP_FIXED : 0), fd, 0);
	if (p != MAP_FAILED)
		return p;
	if (at)
		munmap(at, bytes);
	return NULL;
}

/*
 * Huge pages are asked for, and given where the administrator lets shared memory have them; or for one page after the
 * other, see shared_make_huge().  Not those of hugetlbfs: they are reserved for somebody, and as many as the mapping
 * is long would have to be.
 */
void *shared_map(size_t bytes)
{
	void *p = map_shared(bytes, -1);

	if (p && bytes >= HUGE_FROM_BYTES)
		(void)madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

void shared_unmap(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

void shared_make_huge(void *p, size_t bytes, const void *at)
{
	size_t off = (size_t)((const char *)at - (char *)p) / HUGE_PAGE * HUGE_PAGE;

	if ((uintptr_t)p % HUGE_PAGE == 0 && bytes >= HUGE_FROM_BYTES && bytes - off >= HUGE_PAGE)
		(void)madvise((char *)p + off, HUGE_PAGE, MADV_COLLAPSE);
}

static size_t arena_bytes(size_t bytes_max)
{
	bytes_max = (bytes_max + PAGE - 1) / PAGE * PAGE;
	return bytes_max < 4 * PAGE ? 4 * PAGE : bytes_max;
}

static struct arena *arena_in(size_t bytes_max, int fd)
{
	struct arena *arena = map_shared(bytes_max, fd);

	if (!arena)
		return NULL;
	lock_init(&arena->lock, LOCK_ARENA);
	arena->fd = fd;
	arena->bytes_max = arena->top = bytes_max;
	arena->bump = (sizeof(*arena) + UNIT - 1) / UNIT * UNIT;
	return arena;
}

struct arena *arena_create(size_t bytes_max)
{
	return arena_in(arena_bytes(bytes_max), -1);
}

struct arena *arena_create_shown(size_t bytes_max)
{
	size_t file_bytes = arena_bytes(bytes_max);
	int fd = file_bytes > fd_bytes_max()
			 ? -1
			 : memfd_create(LOOK_FILE_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct arena *arena = NULL;

	if (fd < 0)
		return arena_create(bytes_max);
	fd = fd_hide(fd);
	if (ftruncate(fd, (off_t)file_bytes) == 0 && fcntl(fd, F_ADD_SEALS, LOOK_SEALS) == 0)
		arena = arena_in(file_bytes, fd);
	if (!arena) {
		close(fd);
		return arena_create(bytes_max);
	}
	arena->mark.base = arena;
	arena->mark.bytes = file_bytes;
	atomic_store_explicit(&arena->mark.magic, LOOK_MAGIC, memory_order_release);
	return arena;
}

void arena_destroy(struct arena *arena)
{
	if (!arena)
		return;
	if (arena->fd >= 0)
		close(arena->fd);
	munmap(arena, arena->bytes_max);
}

int arena_fd(const struct arena *arena)
{
	return arena->fd;
}

void arena_show(struct arena *arena, enum look_root which, const void *what, uint64_t layout)
{
	if (arena->fd < 0)
		return;
	arena->mark.root[which].layout = layout;
	atomic_store_explicit(&arena->mark.root[which].at, (uintptr_t)what, memory_order_release);
}

size_t arena_map_bytes(size_t bytes)
{
	return (bytes + PAGE - 1) / PAGE * PAGE + (bytes >= HUGE_FROM_BYTES ? HUGE_PAGE : 0);
}

/* From the end of the arena downwards. */
void *arena_map(struct arena *arena, size_t bytes)
{
	size_t align = bytes >= HUGE_FROM_BYTES ? HUGE_PAGE : PAGE, at;
	void *p = NULL;

	if (!arena || arena->fd < 0)
		return shared_map(bytes);
	lock_acquire(&arena->lock);
	if (bytes < arena->top) {
		at = (arena->top - bytes) / align * align;
		if (at >= arena->bump) {
			arena->top = at;
			p = (char *)arena + at;
		}
	}
	lock_release(&arena->lock);
	if (p && bytes >= HUGE_FROM_BYTES)
		(void)madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

void arena_unmap(struct arena *arena, void *p, size_t bytes)
{
	if (!p)
		return;
	if (!arena || arena->fd < 0) {
		shared_unmap(p, bytes);
		return;
	}
	bytes = (bytes + PAGE - 1) / PAGE * PAGE;
	if (madvise(p, bytes, MADV_REMOVE) < 0)
		memset(p, 0, bytes);
	lock_acquire(&arena->lock);
	if ((size_t)((char *)p - (char *)arena) == arena->top)
		arena->top += bytes;
	lock_release(&arena->lock);
}

/* The class of @bytes, and the size of its blocks. */
static unsigned int size_class(size_t bytes, size_t *ret_block_bytes)
{
	unsigned int log2;
	size_t step;
	size_t rounded;

	if (bytes <= SMALL_BYTES) {
		rounded = bytes ? (bytes + UNIT - 1) / UNIT * UNIT : UNIT;
		*ret_block_bytes = rounded;
		return (unsigned int)(rounded / UNIT - 1);
	}
	log2 = 63 - (unsigned int)__builtin_clzl(bytes - 1); /* 2^log2 < bytes <= 2^(log2 + 1) */
	step = (size_t)1 << (log2 - 2);
	rounded = (bytes + step - 1) / step * step;
	*ret_block_bytes = rounded;
	return SMALL_NR + (log2 - 10) * 4 + (unsigned int)((rounded >> (log2 - 2)) - 5);
}

/* The whole pages inside a large block, but for its first bytes, which hold the link. */
static size_t interior(void *block, size_t bytes, void **ret_start)
{
	uintptr_t start = ((uintptr_t)block + sizeof(struct block) + PAGE - 1) / PAGE * PAGE;
	uintptr_t end = ((uintptr_t)block + bytes) / PAGE * PAGE;

	*ret_start = (void *)start;
	return end > start ? end - start : 0;
}

/* What a freed block held is cleared when it is used again, where the system has not done so. */
static void block_clear(void *block, size_t bytes)
{
	void *start;
	size_t given_back;

	if (bytes < GIVE_BACK_BYTES) {
		memset(block, 0, bytes);
		return;
	}
	given_back = interior(block, bytes, &start);
	memset(block, 0, (size_t)((char *)start - (char *)block));
	memset((char *)start + given_back, 0,
	       (size_t)((char *)block + bytes - ((char *)start + given_back)));
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
	size_t block_bytes;
	unsigned int class;
	struct block *block;
	bool fresh = false;

	if (bytes > arena->bytes_max)
		return NULL;
	class = size_class(bytes, &block_bytes);
	lock_acquire(&arena->lock);
	block = arena->freed[class];
	if (block) {
		arena->freed[class] = block->next;
	} else if (block_bytes <= arena->top - arena->bump) {
		block = (void *)((char *)arena + arena->bump);
		arena->bump += block_bytes;
		fresh = true;
	}
	if (block)
		arena->used_bytes += block_bytes;
	lock_release(&arena->lock);
	if (block && !fresh)
		block_clear(block, block_bytes);
	return block;
}

void arena_free(struct arena *arena, void *p, size_t bytes)
{
	struct block *block = p;
	size_t block_bytes;
	size_t inside;
	void *start;
	unsigned int class;

	if (!p)
		return;
	class = size_class(bytes, &block_bytes);
	assert((char *)p > (char *)arena && (char *)p < (char *)arena + arena->bytes_max);
	if (block_bytes >= GIVE_BACK_BYTES) {
		inside = interior(p, block_bytes, &start);
		if (madvise(start, inside, MADV_REMOVE) < 0)
			memset(start, 0, inside);
	}
	lock_acquire(&arena->lock);
	assert(arena->used_bytes >= block_bytes);
	arena->used_bytes -= block_bytes;
	block->next = arena->freed[class];
	arena->freed[class] = block;
	lock_release(&arena->lock);
}

size_t arena_block_bytes(size_t bytes)
{
	size_t block_bytes;

	(void)size_class(bytes, &block_bytes);
	return block_bytes;
}

size_t arena_used_bytes(struct arena *arena)
{
	size_t used;

	lock_acquire(&arena->lock);
	used = arena->used_bytes;
	lock_release(&arena->lock);
	return used;
}
