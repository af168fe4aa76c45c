/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The backing store: slots of memory, mapped whole; PCMDs and the list of free slots in arrays
 * beside it.  Where there is a file below it, slots move there and come back (backing_file.c).
 *
 * Slots below `grown` have storage: fallocate() made it, so writing to them can neither fail nor
 * raise SIGBUS.  A freed slot keeps its storage and is the next to be used; only where many more
 * are free than in use does the store give storage back, and forget that the slot had any.
 *
 * It knows nothing of what a slot holds, and never reads one.
 */
#include "epc/backing.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/sgx.h"
#include "base/arena.h"
#include "base/hide.h"
#include "epc/backing_priv.h"

enum {
	GROW_SLOTS = 64,
	KEEP_SLOTS = 16384, /* free ones with storage, beside as many as are in use */
	CACHE_LINE = 64,
	PREFETCH_BYTES = 1024, /* of a page: then the processor goes on by itself */
};
#define SLOT_BYTES     (SGX_PAGE_SIZE + (uint64_t)sizeof(struct sgx_pcmd))
#define SLOTS_UNCAPPED (1u << 28) /* 1 TiB */
#define SLOTS_LEAST    (1u << 16)

static void unmap_arrays(struct backing *backing)
{
	if (backing->pages)
		munmap(backing->pages, (size_t)backing->slot_nr_max * SGX_PAGE_SIZE);
	shared_unmap(backing->pcmds, (size_t)backing->slot_nr_max * sizeof(struct sgx_pcmd));
	shared_unmap(backing->next, (size_t)backing->slot_nr_max * sizeof(uint32_t));
	shared_unmap(backing->state, backing->slot_nr_max);
	backing->pages = NULL;
}

/* Address space for slot_nr_max slots; nothing is allocated yet. */
static int map_arrays(struct backing *backing)
{
	size_t file_bytes = (size_t)backing->slot_nr_max * SGX_PAGE_SIZE;
	void *pages;

	if (file_bytes > fd_bytes_max())
		return -EFBIG;
	if (ftruncate(backing->fd, (off_t)file_bytes) < 0)
		return -errno;
	pages = mmap(NULL, file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		     backing->fd, 0);
	backing->pages = pages == MAP_FAILED ? NULL : pages;
	backing->pcmds = shared_map((size_t)backing->slot_nr_max * sizeof(struct sgx_pcmd));
	backing->next = shared_map((size_t)backing->slot_nr_max * sizeof(uint32_t));
	backing->state = backing->file >= 0 ? shared_map(backing->slot_nr_max) : NULL;
	if (!backing->pages || !backing->pcmds || !backing->next ||
	    (backing->file >= 0 && !backing->state)) {
		unmap_arrays(backing);
		return -ENOMEM;
	}
	(void)madvise(backing->pages, file_bytes, MADV_DONTDUMP);
	return 0;
}

/* A cap must be kept to the slot; without one, as much as this process may map. */
static int size_and_map(struct backing *backing, uint64_t bytes_max)
{
	uint64_t slots = bytes_max / SLOT_BYTES;
	int r;

	if (bytes_max && slots < SLOTS_UNCAPPED) {
		backing->slot_nr_max = (uint32_t)slots;
		return slots ? map_arrays(backing) : -ENOSPC;
	}
	backing->slot_nr_max = SLOTS_UNCAPPED;
	do {
		r = map_arrays(backing);
		if (r == 0)
			return 0;
		backing->slot_nr_max /= 2;
	} while (backing->slot_nr_max >= SLOTS_LEAST);
	return r;
}

int backing_create(struct arena *arena, const char *path, uint64_t bytes_max, struct backing **ret)
{
	struct backing *backing;
	int r;

	backing = arena_alloc(arena, sizeof(*backing));
	if (!backing)
		return -ENOMEM;
	backing->arena = arena;
	backing->free_first = backing->bare_first = BACKING_NO_SLOT;
	lock_init(&backing->lock, LOCK_BACKING);
	r = backing_file_open(backing, path);
	if (r < 0)
		goto free_backing;
	r = memfd_create("sgx_backing", MFD_CLOEXEC);
	if (r < 0) {
		r = -errno;
		goto close_file;
	}
	backing->fd = fd_hide(r);
	r = size_and_map(backing, bytes_max);
	if (r < 0)
		goto close_fd;
	*ret = backing;
	return 0;

close_fd:
	close(backing->fd);
close_file:
	backing_file_close(backing);
free_backing:
	lock_fini(&backing->lock);
	arena_free(arena, backing, sizeof(*backing));
	return r;
}

void backing_destroy(struct backing *backing)
{
	unmap_arrays(backing);
	close(backing->fd);
	backing_file_close(backing);
	lock_fini(&backing->lock);
	arena_free(backing->arena, backing, sizeof(*backing));
}

/* Storage for @nr slots from @first on, where they will rest. */
static int slots_fill(const struct backing *backing, uint32_t first, uint32_t nr)
{
	int r = backing_may(backing, BACKING_ROOM);

	if (r < 0)
		return r;
	if ((uint64_t)(first + nr) * SGX_PAGE_SIZE > fd_bytes_max())
		return -ENOSPC;
	return backing_reserve(backing->file >= 0 ? backing->file : backing->fd, first, nr);
}

/* Changes stay in this order where the process is killed between them. */
static void in_order(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

static uint32_t chain_nr(struct backing *backing, uint32_t first)
{
	uint32_t nr = 0;

	for (; first != BACKING_NO_SLOT; first = backing->next[first]) {
		if (first >= backing->grown)
			backing->grown = first + 1;
		nr++;
	}
	return nr;
}

/*
 * A slot is in the hands of its record or on a chain: what was begun is ended, and the rest
 * counted.
 */
static void backing_repair_locked(struct backing *backing) REQUIRES(&backing->lock)
{
	uint32_t slot = backing->moving_slot, bare_nr;
	bool held, free;

	if (backing->moving) {
		held = *backing->moving == slot;
		free = backing->free_first == slot;
		if (held && free)
			backing->free_first = backing->next[slot];
		else if (!held && !free && backing->bare_first != slot) {
			backing->next[slot] = backing->free_first;
			in_order();
			backing->free_first = slot;
		}
		in_order();
		backing->moving = NULL;
	}
	backing->free_nr = chain_nr(backing, backing->free_first);
	bare_nr = chain_nr(backing, backing->bare_first);
	atomic_store(&backing->used, backing->grown - backing->free_nr - bare_nr);
	backing->lock.holder_died = false;
}

static void backing_lock(struct backing *backing) ACQUIRES(&backing->lock)
{
	lock_acquire(&backing->lock);
	if (backing->lock.holder_died)
		backing_repair_locked(backing);
}

static void free_push_locked(struct backing *backing, uint32_t slot) REQUIRES(&backing->lock)
{
	backing->next[slot] = backing->free_first;
	in_order();
	backing->free_first = slot;
	backing->free_nr++;
}

/* One more slot with storage at least, or why not. */
static int grow_locked(struct backing *backing) REQUIRES(&backing->lock)
{
	uint32_t slot = backing->bare_first;
	uint32_t nr = backing->slot_nr_max - backing->grown;
	int r;

	if (slot != BACKING_NO_SLOT) {
		r = slots_fill(backing, slot, 1);
		if (r < 0)
			return r;
		/* From chain to chain, with a record that never says that it has the slot: no slot is behind itself. */
		backing->moving_slot = slot;
		in_order();
		backing->moving = &backing->next[slot];
		in_order();
		backing->bare_first = backing->next[slot];
		in_order();
		free_push_locked(backing, slot);
		in_order();
		backing->moving = NULL;
		return 0;
	}
	if (nr == 0)
		return -ENOSPC;
	if (nr > GROW_SLOTS)
		nr = GROW_SLOTS;
	r = slots_fill(backing, backing->grown, nr);
	if (r < 0 && nr > 1) {
		nr = 1; /* the last corners of a disk */
		r = slots_fill(backing, backing->grown, nr);
	}
	if (r < 0)
		return r;
	/* All of them come to the chain at once: of some a death would leave the others to nobody. */
	for (slot = backing->grown; slot + 1 < backing->grown + nr; slot++)
		backing->next[slot] = slot + 1;
	backing->next[slot] = backing->free_first;
	in_order();
	backing->free_first = backing->grown;
	in_order();
	backing->grown += nr;
	backing->free_nr += nr;
	return 0;
}

/* It is said by *@record whose it is, from here on. */
static void hand_out_locked(struct backing *backing, uint32_t *record) REQUIRES(&backing->lock)
{
	uint32_t slot = backing->free_first;

	if (backing->file >= 0)
		backing->state[slot] = SLOT_MEMORY;
	backing->moving_slot = slot;
	in_order();
	backing->moving = record;
	in_order();
	*record = slot;
	in_order();
	backing->free_first = backing->next[slot];
	in_order();
	backing->moving = NULL;
	backing->free_nr--;
	atomic_fetch_add_explicit(&backing->used, 1, memory_order_relaxed);
}

static int slot_alloc(struct backing *backing, uint32_t *ret_slot)
{
	int r;

	r = backing_file_ready(backing);
	if (r < 0)
		return r;
	backing_lock(backing);
	r = backing->fail;
	if (r == 0)
		r = backing_may(backing, BACKING_SLOT);
	if (r == 0 && backing->free_first == BACKING_NO_SLOT)
		r = grow_locked(backing);
	/* Its memory went to the system when it was last free, or in the file. */
	if (r == 0 && backing->file >= 0)
		r = backing_may(backing, BACKING_ROOM);
	if (r == 0 && backing->file >= 0)
		r = backing_reserve(backing->fd, backing->free_first, 1);
	if (r == 0)
		hand_out_locked(backing, ret_slot);
	lock_release(&backing->lock);
	return r;
}

int backing_alloc(struct backing *backing, uint32_t *ret_slot)
{
	int r = slot_alloc(backing, ret_slot);

	if (r < 0)
		atomic_fetch_add_explicit(&backing->refused, 1, memory_order_relaxed);
	return r;
}

/* Its storage goes back to the system. */
static bool strip_locked(const struct backing *backing, uint32_t slot) REQUIRES(&backing->lock)
{
	return fallocate(backing->file >= 0 ? backing->file : backing->fd,
			 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)slot * SGX_PAGE_SIZE,
			 SGX_PAGE_SIZE) == 0;
}

void backing_free(struct backing *backing, uint32_t *record)
{
	uint32_t slot = *record, used;
	bool bare;

	assert(slot < backing->slot_nr_max);
	backing_lock(backing);
	assert(slot < backing->grown);
	used = atomic_fetch_sub_explicit(&backing->used, 1, memory_order_relaxed) - 1;
	assert(used < backing->slot_nr_max);
	if (backing->file >= 0) {
		/* Not what waits for the file any more. */
		backing->state[slot] = SLOT_MEMORY;
		backing_punch(backing->fd, slot);
	}
	backing->moving_slot = slot;
	in_order();
	backing->moving = record;
	in_order();
	*record = BACKING_NO_SLOT;
	in_order();
	bare = backing->free_nr >= KEEP_SLOTS + used && strip_locked(backing, slot);
	if (bare) {
		backing->next[slot] = backing->bare_first;
		in_order();
		backing->bare_first = slot;
	} else {
		free_push_locked(backing, slot);
	}
	in_order();
	backing->moving = NULL;
	lock_release(&backing->lock);
}

void backing_prefetch(const struct backing *backing, uint32_t slot)
{
	const char *page = (const char *)backing->pages + (size_t)slot * SGX_PAGE_SIZE;
	const char *pcmd = (const char *)&backing->pcmds[slot];
	unsigned int i;

	assert(slot < backing->slot_nr_max);
	for (i = 0; i < sizeof(struct sgx_pcmd); i += CACHE_LINE)
		__builtin_prefetch(pcmd + i);
	for (i = 0; i < PREFETCH_BYTES; i += CACHE_LINE)
		__builtin_prefetch(page + i);
}

void *backing_page(struct backing *backing, uint32_t slot)
{
	assert(slot < backing->slot_nr_max);
	return backing->pages + (size_t)slot * SGX_PAGE_SIZE;
}

struct sgx_pcmd *backing_pcmd(struct backing *backing, uint32_t slot)
{
	assert(slot < backing->slot_nr_max);
	return &backing->pcmds[slot];
}

bool backing_owns_fd(const struct backing *backing, int fd)
{
	return fd == backing->fd || (backing->file >= 0 && fd == backing->file);
}

uint32_t backing_used(const struct backing *backing)
{
	return atomic_load_explicit(&backing->used, memory_order_relaxed);
}

uint64_t backing_refused(const struct backing *backing)
{
	return atomic_load_explicit(&backing->refused, memory_order_relaxed);
}

void backing_on_call(struct backing *backing, int (*answer)(enum backing_call call))
{
	atomic_store(&backing->answer, answer);
}

void backing_fail(struct backing *backing, int err)
{
	assert(err <= 0);
	lock_acquire(&backing->lock);
	backing->fail = (int16_t)err;
	lock_release(&backing->lock);
}
