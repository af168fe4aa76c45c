/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The file below the backing store: where evicted pages go when they are not to stay in memory.
 *
 * A slot is filled in memory, as without a file.  When it is complete it waits for others, and a
 * batch of them is written at once; only when the storage says that it has them does their memory
 * go.  So a write that fails loses nothing: the slots wait on.  When too many wait there are no new
 * slots, and with that no more evictions, until the storage works again: pages stay in the EPC, and
 * allocations are told.
 *
 * The page cache would take any write, and lose it later without a word.  So the file is opened for
 * direct I/O, or where a file system has none, synced with each batch.
 *
 * What comes back from a file that lies is found out by ELDU, like anything else that was changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "arch/sgx.h"
#include "base/arena.h"
#include "base/hide.h"
#include "base/patience.h"
#include "epc/backing_priv.h"

enum { BATCH = 64 /* slots written at once, at the most */ };

/* For one batch of somebody else's. */
#define WRITER_NS 1000000000ull

static off_t offset_of(uint32_t slot)
{
	return (off_t)slot * SGX_PAGE_SIZE;
}

/* ---- storage --------------------------------------------------------------------------------- */

/* Some file systems have no files without a name: one with a name, which it loses at once. */
static int open_and_unlink(const char *folder)
{
	char name[PATH_MAX];
	int fd;

	if ((size_t)snprintf(name, sizeof(name), "%s/swsgx-XXXXXX", folder) >= sizeof(name))
		return -ENAMETOOLONG;
	fd = mkostemp(name, O_CLOEXEC);
	/* The folder is there: a file system that has only files of its own. */
	if (fd < 0)
		return errno == ENOENT ? -EOPNOTSUPP : -errno;
	unlink(name);
	return fd;
}

int backing_open(const char *path)
{
	struct stat st;
	int fd;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
			return open_and_unlink(path);
		return fd < 0 ? -errno : fd;
	}
	fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

int backing_file_open(struct backing *backing, const char *path)
{
	int fd;

	backing->file = -1;
	lock_init(&backing->write_lock, LOCK_TRIED);
	if (!path)
		return 0;
	backing->waiting = arena_alloc(backing->arena, BACKING_QUEUE * sizeof(*backing->waiting));
	if (!backing->waiting)
		return -ENOMEM;
	fd = backing_open(path);
	if (fd < 0) {
		arena_free(backing->arena, backing->waiting,
			   BACKING_QUEUE * sizeof(*backing->waiting));
		return fd;
	}
	backing->direct = fcntl(fd, F_SETFL, O_DIRECT) == 0;
	backing->file = fd_hide(fd);
	return 0;
}

void backing_file_close(struct backing *backing)
{
	if (backing->file >= 0) {
		close(backing->file);
		arena_free(backing->arena, backing->waiting,
			   BACKING_QUEUE * sizeof(*backing->waiting));
	}
	lock_fini(&backing->write_lock);
}

/* The C library would do it by single bytes, which direct I/O refuses. */
static int fill_with_zeros(int fd, off_t at, off_t bytes)
{
	static const _Alignas(SGX_PAGE_SIZE) char zeros[SGX_PAGE_SIZE];
	off_t done = 0;
	ssize_t n;

	while (done < bytes) {
		n = pwrite(fd, zeros, SGX_PAGE_SIZE, at + done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n != (ssize_t)SGX_PAGE_SIZE)
			return n < 0 ? errno : ENOSPC;
		done += n;
	}
	return 0;
}

int backing_reserve(int fd, uint32_t first, uint32_t nr)
{
	off_t bytes = (off_t)nr * SGX_PAGE_SIZE;
	int err;

	do
		err = fallocate(fd, 0, offset_of(first), bytes) < 0 ? errno : 0;
	while (err == EINTR);
	/* A file system that cannot reserve. Slots without storage hold nothing yet. */
	if (err == EOPNOTSUPP)
		err = fill_with_zeros(fd, offset_of(first), bytes);
	if (err == ENOMEM || err == EFBIG || err == EDQUOT)
		err = ENOSPC;
	return -err;
}

void backing_punch(int fd, uint32_t slot)
{
	(void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset_of(slot),
			SGX_PAGE_SIZE);
}

/* ---- writing --------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* All of it or an error. */
static int write_run(struct backing *backing, uint32_t first, uint32_t nr)
{
	size_t bytes = (size_t)nr * SGX_PAGE_SIZE, done = 0;
	ssize_t n;
	int r;

	r = atomic_load(&backing->fault_write);
	if (r == 0)
		r = backing_may(backing, BACKING_WRITE);
	if (r < 0 || atomic_load(&backing->fault_lies))
		return r;
	while (done < bytes) {
		n = pwrite(backing->file, (char *)backing_page(backing, first) + done, bytes - done,
			   offset_of(first) + (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

/* Slots that follow each other in one call. */
static int write_slots(struct backing *backing, uint32_t *slot, unsigned int nr)
{
	unsigned int i, first;
	int r = 0;

	qsort(slot, nr, sizeof(*slot), by_number);
	for (i = 0; i < nr && r == 0; i++) {
		first = i;
		while (i + 1 < nr && slot[i + 1] == slot[i] + 1)
			i++;
		r = write_run(backing, slot[first], i - first + 1);
	}
	if (r == 0 && !backing->direct && fdatasync(backing->file) < 0)
		r = -errno;
	return r;
}

/* Who was written, fetched or freed does not wait any more. */
static void queue_tidy_locked(struct backing *backing) REQUIRES(&backing->lock)
{
	unsigned int i, kept = 0;
	uint32_t slot;

	for (i = 0; i < backing->waiting_nr; i++) {
		slot = backing->waiting[i];
		if (backing->state[slot] == SLOT_WAITING || backing->state[slot] == SLOT_WRITING)
			backing->waiting[kept++] = slot;
	}
	backing->waiting_nr = kept;
}

/* The first slots of the queue, which they leave when they are written. */
static unsigned int take_batch(struct backing *backing, uint32_t *slot)
{
	unsigned int nr;

	lock_acquire(&backing->lock);
	queue_tidy_locked(backing);
	for (nr = 0; nr < BATCH && nr < backing->waiting_nr; nr++) {
		slot[nr] = backing->waiting[nr];
		backing->state[slot[nr]] = SLOT_WRITING;
	}
	lock_release(&backing->lock);
	return nr;
}

/* @r: how it went. Slots that were freed or fetched meanwhile are not what was written any more. */
static void batch_done(struct backing *backing, const uint32_t *slot, unsigned int nr, int r)
{
	unsigned int i;

	lock_acquire(&backing->lock);
	for (i = 0; i < nr; i++) {
		if (backing->state[slot[i]] != SLOT_WRITING)
			continue;
		if (r < 0) {
			backing->state[slot[i]] = SLOT_WAITING;
			continue;
		}
		backing_punch(backing->fd, slot[i]);
		backing->state[slot[i]] = SLOT_FILE;
		atomic_fetch_add(&backing->written, 1);
	}
	queue_tidy_locked(backing);
	lock_release(&backing->lock);
	atomic_store(&backing->write_error, r);
	if (r < 0)
		atomic_fetch_add(&backing->write_errors, 1);
}

/* One batch, if there are @min waiting and nobody else is writing. */
LOCK_ATTR(no_thread_safety_analysis)
static void write_batch(struct backing *backing, unsigned int min)
{
	uint32_t slot[BATCH];
	unsigned int nr;

	if (atomic_load(&backing->waiting_nr) < min || !lock_try(&backing->write_lock))
		return;
	backing->write_lock.holder_died =
		false; /* slots that he had in hand are WRITING: see take_batch() */
	nr = take_batch(backing, slot);
	if (nr > 0)
		batch_done(backing, slot, nr, write_slots(backing, slot, nr));
	lock_release(&backing->write_lock);
}

void backing_write_out(struct backing *backing)
{
	if (backing->file >= 0)
		write_batch(backing, BACKING_WRITE_MIN);
}

/*
 * Where somebody else is writing what waits, that is no failure: it is waited for, or a busy machine and a slow disk would
 * look like a store that is full.  Not for ever: he may be stopped.
 */
int backing_file_ready(struct backing *backing)
{
	const struct timespec moment = { .tv_nsec = 100000 };
	struct patience patience = { 0 };
	int r;

	if (backing->file < 0)
		return 0;
	while (atomic_load(&backing->waiting_nr) >= BACKING_UNWRITTEN_MAX) {
		write_batch(backing, 1);
		if (atomic_load(&backing->waiting_nr) < BACKING_UNWRITTEN_MAX)
			break;
		r = atomic_load(&backing->write_error);
		if (r < 0)
			return r;
		if (patience_ends(&patience, WRITER_NS))
			return -EAGAIN;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
	}
	return 0;
}

void backing_complete(struct backing *backing, uint32_t slot)
{
	if (backing->file < 0)
		return;
	lock_acquire(&backing->lock);
	if (backing->waiting_nr < BACKING_QUEUE) {
		backing->state[slot] = SLOT_WAITING;
		backing->waiting[backing->waiting_nr] = slot;
		backing->waiting_nr++;
	}
	lock_release(&backing->lock);
}

/* ---- reading --------------------------------------------------------------------------------- */

static int read_slot(struct backing *backing, uint32_t slot)
{
	char *to = backing_page(backing, slot);
	size_t done = 0;
	ssize_t n;
	int r;

	r = atomic_load(&backing->fault_read);
	if (r == 0)
		r = backing_may(backing, BACKING_READ);
	if (r == 0)
		r = backing_may(backing, BACKING_ROOM);
	if (r == 0)
		r = backing_reserve(backing->fd, slot, 1);
	while (r == 0 && done < SGX_PAGE_SIZE) {
		n = pread(backing->file, to + done, SGX_PAGE_SIZE - done,
			  offset_of(slot) + (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			r = n < 0 ? -errno : -EIO;
		else
			done += (size_t)n;
	}
	return r;
}

int backing_fetch(struct backing *backing, uint32_t slot)
{
	bool in_file;
	int r;

	if (backing->file < 0)
		return 0;
	lock_acquire(&backing->lock);
	in_file = backing->state[slot] == SLOT_FILE;
	/* From now on it stays in memory: the caller is about to read it. */
	if (!in_file)
		backing->state[slot] = SLOT_MEMORY;
	lock_release(&backing->lock);
	if (!in_file)
		return 0;
	r = read_slot(backing, slot);
	if (r < 0) {
		backing_punch(backing->fd, slot);
		atomic_fetch_add(&backing->read_errors, 1);
		return r;
	}
	atomic_fetch_add(&backing->read, 1);
	return 0;
}

void backing_fail_file(struct backing *backing, const struct backing_faults *faults)
{
	atomic_store(&backing->fault_write, (int16_t)faults->write);
	atomic_store(&backing->fault_read, (int16_t)faults->read);
	atomic_store(&backing->fault_lies, faults->lies);
}

void backing_stats_read(struct backing *backing, struct backing_stats *ret_stats)
{
	if (backing->file >= 0) {
		lock_acquire(&backing->lock);
		queue_tidy_locked(backing);
		lock_release(&backing->lock);
	}
	backing_counters(backing, ret_stats);
}

void backing_counters(const struct backing *backing, struct backing_stats *ret_stats)
{
	*ret_stats = (struct backing_stats){
		.waiting = atomic_load(&backing->waiting_nr),
		.written = atomic_load(&backing->written),
		.read = atomic_load(&backing->read),
		.write_errors = atomic_load(&backing->write_errors),
		.read_errors = atomic_load(&backing->read_errors),
		.refused = atomic_load(&backing->refused),
	};
}
