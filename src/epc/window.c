/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The window: the memfd, its alias mapping, and who has which range of it.
 *
 * Ranges are handed out by halving: each free block is a power of two long and aligned to that, and
 * joins its other half when both are free, which is found in some steps however many there are.  The last page of the space is never handed out, so that a
 * page number of all ones can mean "nowhere".  The homes of EPC pages come behind the ranges.
 *
 * Bytes are put into the file by pwrite(), not through the alias: a page that has no entry in
 * the alias's page tables costs 0.7 us less to give and 0.5 us less to take.
 *
 * Taking pages out is in window_take.c.
 */
#include "epc/window.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/sgx.h"
#include "base/arena.h"
#include "base/hide.h"
#include "epc/window_priv.h"

/* 16 TiB, or what the address space limit leaves. */
enum { SPAN_ORDER_BEST = 44, SPAN_ORDER_LEAST = 32 };
static_assert((int)SPAN_ORDER_BEST <= (int)WINDOW_ORDER_MAX &&
		      (int)SPAN_ORDER_BEST - (int)WINDOW_ORDER_MIN <= 32,
	      "a list for each order, and numbers of pages have 32 bits");

/* Where the tree of that order is, or would be: before those that are larger. */
static struct range **tree_find(struct window *window, unsigned int order)
{
	struct range **tree = &window->free_ranges;

	while (*tree && (*tree)->order < order)
		tree = &(*tree)->larger;
	return tree;
}

static bool tree_has(struct range *const *tree, unsigned int order)
{
	return *tree && (*tree)->order == order;
}

/* Where the range at @offset is, or would be, in a tree that there is. */
static struct range **range_find(struct range **tree, uint64_t offset)
{
	uint64_t way = offset >> (*tree)->order;
	struct range **at = tree;

	for (; *at && (*at)->offset != offset; way >>= 1)
		at = &(*at)->below[way & 1];
	return at;
}

static int range_add(struct window *window, unsigned int order, uint64_t offset)
{
	struct range **at = tree_find(window, order), *larger = *at, *range;

	if (tree_has(at, order)) {
		at = range_find(at, offset);
		larger = NULL;
		/* Whoever died in this had come so far. */
		if (*at)
			return 0;
	}
	range = arena_alloc(window->arena, sizeof(*range));
	if (!range)
		return -ENOMEM;
	range->offset = offset;
	range->order = order;
	range->larger = larger;
	atomic_signal_fence(memory_order_release);
	*at = range;
	return 0;
}

/* One that has none below it takes the place of the one at @at. */
static void range_delete(struct window *window, struct range **at)
{
	struct range **last = at, *range;

	while ((*last)->below[0] || (*last)->below[1])
		last = &(*last)->below[!(*last)->below[0]];
	range = *last;
	*last = range->larger;
	atomic_signal_fence(memory_order_seq_cst);
	if (last != at)
		(*at)->offset = range->offset;
	arena_free(window->arena, range, sizeof(*range));
}

/* All of the span but its last page: one block of every order, the largest first. */
static void ranges_init(struct window *window, unsigned int span_order)
{
	window->first_free = (1ull << span_order) - (1ull << WINDOW_ORDER_MIN);
}

static uint64_t first_offset(const struct window *window, unsigned int order)
{
	return window->span - (2ull << order);
}

static void ranges_fini(struct window *window)
{
	while (window->free_ranges)
		range_delete(window, &window->free_ranges);
}

static unsigned int order_of(uint64_t bytes)
{
	assert(bytes > 0 && bytes % SGX_PAGE_SIZE == 0);
	return bytes <= SGX_PAGE_SIZE ? WINDOW_ORDER_MIN
				      : 64 - (unsigned int)__builtin_clzll(bytes - 1);
}

/* One that is free, of just that order. */
static bool range_pop_locked(struct window *window, unsigned int order, uint64_t *ret_offset)
	REQUIRES(&window->lock)
{
	struct range **tree = tree_find(window, order);

	if (tree_has(tree, order)) {
		*ret_offset = (*tree)->offset;
		range_delete(window, tree);
		return true;
	}
	if (!(window->first_free >> order & 1))
		return false;
	window->first_free &= ~(1ull << order);
	*ret_offset = first_offset(window, order);
	return true;
}

int window_range_alloc(struct window *window, uint64_t bytes, uint64_t *ret_offset)
{
	unsigned int want, order;
	uint64_t offset = 0;
	int r = -ENOSPC;

	if (bytes > window->span)
		return -ENOSPC;
	want = order_of(bytes);
	lock_acquire(&window->lock);
	for (order = want; order <= WINDOW_ORDER_MAX; order++) {
		if (range_pop_locked(window, order, &offset))
			break;
	}
	if (order > WINDOW_ORDER_MAX)
		goto unlock;
	/* Where the heap is full, the other half is not offered again. */
	while (order > want) {
		order--;
		if (range_add(window, order, offset + (1ull << order)) < 0)
			break;
	}
	*ret_offset = offset;
	r = 0;
unlock:
	lock_release(&window->lock);
	return r;
}

/* The free range of that order at @offset is free no more. False: there is none. */
static bool range_take_locked(struct window *window, unsigned int order, uint64_t offset)
	REQUIRES(&window->lock)
{
	struct range **at;

	if (window->first_free >> order & 1 && offset == first_offset(window, order)) {
		window->first_free &= ~(1ull << order);
		return true;
	}
	at = tree_find(window, order);
	if (!tree_has(at, order))
		return false;
	at = range_find(at, offset);
	if (!*at)
		return false;
	range_delete(window, at);
	return true;
}

void window_range_free(struct window *window, uint64_t offset, uint64_t bytes)
{
	unsigned int order = order_of(bytes);

	assert(offset % (1ull << order) == 0 && offset + bytes <= window->span);
	window_drop(window, offset, bytes / SGX_PAGE_SIZE);
	lock_acquire(&window->lock);
	while (order < WINDOW_ORDER_MAX) {
		if (!range_take_locked(window, order, offset ^ (1ull << order)))
			break;
		offset &= ~(1ull << order);
		order++;
	}
	/* A full heap loses the range (of a space of terabytes), not memory. */
	if (offset == first_offset(window, order))
		window->first_free |= 1ull << order;
	else
		(void)range_add(window, order, offset);
	lock_release(&window->lock);
}

/* The file and its alias, as large as this process may have them. */
static int map_file(struct window *window, unsigned int *ret_span_order)
{
	uint64_t bytes_max = fd_bytes_max();
	unsigned int order;
	int r = -ENOMEM;
	void *alias;

	for (order = SPAN_ORDER_BEST; order >= SPAN_ORDER_LEAST; order -= 2) {
		window->span = 1ull << order;
		if (window_file_bytes(window) > bytes_max) {
			r = -EFBIG;
			continue;
		}
		if (ftruncate(window->fd, (off_t)window_file_bytes(window)) < 0) {
			r = -errno;
			continue;
		}
		alias = mmap(NULL, window_file_bytes(window), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_NORESERVE, window->fd, 0);
		if (alias == MAP_FAILED) {
			r = -errno;
			continue;
		}
		/* Advice: a core dump of terabytes helps nobody, a huge page is not one EPC page. */
		(void)madvise(alias, window_file_bytes(window), MADV_DONTDUMP);
		(void)madvise(alias, window_file_bytes(window), MADV_NOHUGEPAGE);
		window->alias = alias;
		*ret_span_order = order;
		return 0;
	}
	return r;
}

int window_create(struct arena *arena, uint32_t homes, struct window **ret_window)
{
	unsigned int span_order = 0;
	struct window *window;
	int r;

	window = arena_alloc(arena, sizeof(*window));
	if (!window)
		return -ENOMEM;
	window->arena = arena;
	window->homes = homes;
	lock_init(&window->lock, LOCK_WINDOW);
	/* The name is what programs look for in /proc/self/maps. */
	window->fd = memfd_create("sgx_enclave", MFD_CLOEXEC);
	if (window->fd < 0) {
		r = -errno;
		goto free_window;
	}
	window->fd = fd_hide(window->fd);
	r = map_file(window, &span_order);
	if (r < 0)
		goto close_fd;
	ranges_init(window, span_order);
	r = window_slots_create(window);
	if (r < 0)
		goto free_ranges;
	r = window_probe(window);
	if (r < 0)
		goto destroy_slots;
	*ret_window = window;
	return 0;

destroy_slots:
	window_slots_destroy(window);
free_ranges:
	ranges_fini(window);
	munmap(window->alias, window_file_bytes(window));
close_fd:
	close(window->fd);
free_window:
	lock_fini(&window->lock);
	arena_free(arena, window, sizeof(*window));
	return r;
}

void window_destroy(struct window *window)
{
	struct arena *arena = window->arena;

	window_slots_destroy(window);
	ranges_fini(window);
	munmap(window->alias, window_file_bytes(window));
	close(window->fd);
	lock_fini(&window->lock);
	arena_free(arena, window, sizeof(*window));
}

int window_fd(const struct window *window)
{
	return window->fd;
}

bool window_owns_fd(const struct window *window, int fd)
{
	unsigned int i;

	if (fd == window->fd)
		return true;
	for (i = 0; i < WINDOW_SLOTS + 1; i++) {
		if (fd == window->pipe[i][0] || fd == window->pipe[i][1])
			return true;
	}
	return false;
}

void *window_at(const struct window *window, uint64_t offset)
{
	assert(offset < window_file_bytes(window));
	return window->alias + offset;
}

uint64_t window_offset(const struct window *window, const void *p)
{
	uint64_t offset = (uint64_t)((uintptr_t)p - (uintptr_t)window->alias);

	return offset < window_file_bytes(window) ? offset : WINDOW_NOWHERE;
}

uint64_t window_home(const struct window *window, uint32_t nr)
{
	assert(nr < window->homes);
	return window->span + (uint64_t)nr * SGX_PAGE_SIZE;
}

int window_give(struct window *window, uint64_t offset, const void *bytes)
{
	ssize_t done;

	assert(offset % SGX_PAGE_SIZE == 0 && offset < window_file_bytes(window));
	if (window->give_by_alias) {
		memcpy(window->alias + offset, bytes, SGX_PAGE_SIZE);
		return 0;
	}
	do
		done = pwrite(window->fd, bytes, SGX_PAGE_SIZE, (off_t)offset);
	while (done < 0 && errno == EINTR);
	assert(done == SGX_PAGE_SIZE || (done < 0 && errno != EBADF && errno != EINVAL));
	return done == SGX_PAGE_SIZE ? 0 : -ENOMEM;
}

bool window_has(const struct window *window, uint64_t offset)
{
	assert(offset % SGX_PAGE_SIZE == 0 && offset < window_file_bytes(window));
	return lseek(window->fd, (off_t)offset, SEEK_DATA) == (off_t)offset;
}

/* A signal that is waiting makes fallocate() give up; it is delivered on the way out, and then we go on. */
static int file_allocate(const struct window *window, int mode, uint64_t offset, uint64_t bytes)
{
	int r;

	assert(offset % SGX_PAGE_SIZE == 0 && offset + bytes <= window_file_bytes(window));
	do
		r = fallocate(window->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int window_populate(struct window *window, uint64_t offset, uint64_t pages)
{
	uint64_t i;

	if (window->give_by_alias) {
		for (i = 0; i < pages; i++)
			memset(window->alias + offset + i * SGX_PAGE_SIZE, 0, SGX_PAGE_SIZE);
		return 0;
	}
	return file_allocate(window, 0, offset, pages * SGX_PAGE_SIZE) < 0 ? -ENOMEM : 0;
}

void window_drop(struct window *window, uint64_t offset, uint64_t pages)
{
	int r = file_allocate(window, FALLOC_FL_PUNCH_HOLE, offset, pages * SGX_PAGE_SIZE);

	/* It frees memory: a file without seals cannot refuse that. */
	assert(r == 0);
}
