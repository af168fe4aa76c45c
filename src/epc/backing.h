/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The backing store: where ciphertext rests.  A slot is 4096 bytes of it and the 128 of its PCMD.
 * Nothing but ciphertext and PCMD ever comes here.
 */
#ifndef SWSGX_EPC_BACKING_H
#define SWSGX_EPC_BACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct backing;
struct sgx_pcmd;

#define BACKING_NO_SLOT UINT32_MAX

/*
 * @path: a file that does not exist yet, or a directory; whatever happens, no file is left behind: it loses its
 * name as soon as it is open.  NULL: memory.  @bytes_max: 0, no cap.
 *
 * 0, -ENOMEM, -ENOSPC for a cap below one slot, or -errno of the file.
 */
int backing_create(struct arena *arena, const char *path, uint64_t bytes_max, struct backing **ret);
/*
 * The file that backing_create() makes of @path, open: its descriptor, or -errno. To find out
 * whether it can be had.
 */
int backing_open(const char *path);
void backing_destroy(struct backing *backing);

/*
 * *@ret_slot, in shared memory, says who has a slot: it is written in one step with the slot's
 * taking, whoever dies meanwhile, and cleared in one with its giving back.
 *
 * A slot whose memory is there, and room for it in the file: writing to it cannot fail any more.
 * -ENOSPC: full, or the disk is; -EIO and others: the file does not take what waits for it.
 */
int backing_alloc(struct backing *backing, uint32_t *ret_slot);
/* *@slot is BACKING_NO_SLOT from now on. */
void backing_free(struct backing *backing, uint32_t *slot);
/* The slot has been filled: it may go to the file when its turn comes. */
void backing_complete(struct backing *backing, uint32_t slot);
/*
 * Before a slot is read: it is in memory from now on.  0, or what the file said (-EIO); then it
 * still is in the file.
 */
int backing_fetch(struct backing *backing, uint32_t slot);
/*
 * After a batch: write out what waits, if it is enough.  No lock may be held but LOCK_TRIED ones.
 */
void backing_write_out(struct backing *backing);
/* The slot is about to be read: its first lines and its PCMD are on their way into the cache. */
void backing_prefetch(const struct backing *backing, uint32_t slot);
/* Good until the slot is completed, and again after it was fetched. */
void *backing_page(struct backing *backing, uint32_t slot);
struct sgx_pcmd *backing_pcmd(struct backing *backing, uint32_t slot);
/* The file behind it: a program may not close it. */
bool backing_owns_fd(const struct backing *backing, int fd);
uint32_t backing_used(const struct backing *backing);
/* Slots that could not be had, since it was made. */
uint64_t backing_refused(const struct backing *backing);

struct backing_stats {
	uint64_t waiting; /* slots that the file does not have yet */
	uint64_t written, read;
	uint64_t write_errors, read_errors; /* batches, slots */
	uint64_t refused;                   /* slots that could not be had */
};
void backing_stats_read(struct backing *backing, struct backing_stats *ret_stats);

/*
 * For tests: what the file does from now on. Negative errnos, 0: as it is. @lies: it takes
 * everything and keeps nothing.
 */
struct backing_faults {
	int write, read;
	bool lies;
};
void backing_fail_file(struct backing *backing, const struct backing_faults *faults);
/*
 * For tests: @answer is asked at each thing that storage could refuse, and what it says (0 or a
 * negative errno) comes true.  It may be called with the store's lock held.  NULL: it is not asked
 * any more.
 */
enum backing_call {
	BACKING_SLOT,  /* a slot for a page */
	BACKING_ROOM,  /* room for slots, or for the memory of one */
	BACKING_WRITE, /* slots to the file */
	BACKING_READ,  /* a slot from it */
	BACKING_CALL_NR,
};
void backing_on_call(struct backing *backing, int (*answer)(enum backing_call call));
/* For tests: from now on every backing_alloc() fails with @err (negative errno), 0 ends it. */
void backing_fail(struct backing *backing, int err);

#endif
