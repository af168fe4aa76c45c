/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The window: one memfd, mapped whole at one address in every process of the fork tree, that holds
 * the bytes of all EPC pages.
 *
 * It is sparse, and much larger than the EPC.  Each owner that has a linear range (an enclave, a raw
 * EPC file) takes a range of offsets as long as that; page p of the owner *is* in the EPC when the
 * memfd holds a page there.  Clients map the memfd at that offset (under userfaultfd), so linear
 * ranges stay linear.  The manager reaches the same bytes through the alias, window_at(), which is
 * never under userfaultfd.
 *
 * The one thing that must never happen is touching the alias at an offset that is not in use: that
 * would allocate a page that nobody counts.
 */
#ifndef SWSGX_EPC_WINDOW_H
#define SWSGX_EPC_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct epc;
struct window;

#define WINDOW_STAGE_PAGES 16u
#define WINDOW_SLOTS       8u /* window_take() at once, each on a slot of its own */

/* 0, or -errno of memfd_create or mmap. @homes: pages that get an offset of their own (window_home()). */
int window_create(struct arena *arena, uint32_t homes, struct window **ret_window);
void window_destroy(struct window *window);

int window_fd(const struct window *window);
/* The memfd, or an end of one of the pipes: a program may not close it. */
bool window_owns_fd(const struct window *window, int fd);
void *window_at(const struct window *window, uint64_t offset);
/* The reverse: WINDOW_NOWHERE when @p is not in the alias. */
#define WINDOW_NOWHERE UINT64_MAX
uint64_t window_offset(const struct window *window, const void *p);
/* Offset of the home of EPC page @nr. */
uint64_t window_home(const struct window *window, uint32_t nr);

/* A range of @bytes (page multiple), aligned to @bytes rounded up to a power of two; -ENOSPC. */
int window_range_alloc(struct window *window, uint64_t bytes, uint64_t *ret_offset);
/* Its pages go back to the system, mapped or not. */
void window_range_free(struct window *window, uint64_t offset, uint64_t bytes);

/*
 * What the slot needs, when it is needed for the first time; those before it have it.  Slot 0 has it from the start.
 * False: no memory.
 */
bool window_slot_make(struct epc *epc, struct window *window, unsigned int slot);
void window_slots_unmake(struct epc *epc, struct window *window);

/*
 * Take @nr pages (at most WINDOW_STAGE_PAGES) out of the memfd: every mapping in every process is
 * gone when it returns, and window_stage(@slot, i) holds the last bytes that anyone wrote to page i.
 * The host kernel's shoot-down makes that true, so this is also what IPIs do on hardware.
 *
 * One caller at a time uses a slot; whoever hands out the slots sees to that.  It cannot fail for want of
 * memory: the pages are there already.  A closed descriptor is a programming error.
 */
void window_take(struct window *window, unsigned int slot, const uint64_t *offsets,
		 unsigned int nr);
/* The caller of window_take(@slot) died in it, or after: see it through. False: it had taken nothing. */
bool window_take_resume(struct window *window, unsigned int slot);
/* Page i of what was taken goes back to its offset. It waits for memory rather than fail. */
void window_return(struct window *window, unsigned int slot, unsigned int i);
/* What was taken is not needed any more: window_take_resume() would find nothing. */
void window_take_done(struct window *window, unsigned int slot);
/* Shared memory, page aligned, @i < WINDOW_STAGE_PAGES. */
void *window_stage(const struct window *window, unsigned int slot, unsigned int i);
/* The reverse for one page: the memfd holds @bytes at @offset. 0 or -ENOMEM. */
int window_give(struct window *window, uint64_t offset, const void *bytes);
/* Does the memfd hold a page at @offset? */
bool window_has(const struct window *window, uint64_t offset);
/* The memfd holds zeroed pages from @offset on; quicker than touching them one by one. 0 or -ENOMEM. */
int window_populate(struct window *window, uint64_t offset, uint64_t pages);
/* Drop pages and their contents from everywhere. */
void window_drop(struct window *window, uint64_t offset, uint64_t pages);
/* Remove every mapping in every process, keep the contents: the next touch faults again. */
void window_unmap(struct window *window, uint64_t offset, uint64_t pages);

#endif
