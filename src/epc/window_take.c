/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Taking pages out of the window, with the very last bytes that anyone wrote.
 *
 * Copying first and removing then would lose what a thread writes in between; removing first loses the
 * contents.  So the pages are pinned first, by reference, in a pipe: splice() from the file moves
 * no bytes.  Then the hole is punched: the kernel removes the page from every page table of every process
 * and shoots down the translations.  From then on only the pipe has the page, and reading the pipe
 * copies bytes that nobody can change any more.
 *
 * That splice() is by reference is no promise of any manual, so window_probe() proves it at start,
 * and falls back on vmsplice() from the alias, which pins what page tables map.
 *
 * Each slot has a pipe of its own, made before the first fork: one that is left half-way by a process that
 * died can be seen through by another (window_take_resume()), for the pipe still has the bytes.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "arch/sgx.h"
#include "base/arena.h"
#include "base/hide.h"
#include "epc/window_priv.h"

enum {
	RETRIES = 1000,
	UNMAP_SLOT = WINDOW_SLOTS,
	SLOT_NR = WINDOW_SLOTS + 1,
};

static int pipe_init(int pipe[2], uint8_t *pipe_pages)
{
	int bytes;

	pipe[0] = pipe[1] = -1;
	if (pipe2(pipe, O_CLOEXEC) < 0)
		return -errno;
	pipe[0] = fd_hide(pipe[0]);
	pipe[1] = fd_hide(pipe[1]);
	bytes = fcntl(pipe[1], F_GETPIPE_SZ);
	/* A user with many pipes gets small ones. */
	if (bytes > 0 && (unsigned int)bytes / SGX_PAGE_SIZE < *pipe_pages)
		*pipe_pages = (uint8_t)((unsigned int)bytes / SGX_PAGE_SIZE);
	assert(*pipe_pages > 0);
	return 0;
}

int window_slots_create(struct window *window)
{
	unsigned int i;
	int r;

	for (i = 0; i < SLOT_NR; i++)
		window->pipe[i][0] = window->pipe[i][1] = -1;
	window->unmapped.number = UNMAP_SLOT;
	window->stage = shared_map((size_t)SLOT_NR * WINDOW_STAGE_PAGES * SGX_PAGE_SIZE);
	if (!window->stage)
		return -ENOMEM;
	window->pipe_pages = WINDOW_STAGE_PAGES;
	for (i = 0; i < SLOT_NR; i++) {
		r = pipe_init(window->pipe[i], &window->pipe_pages);
		if (r < 0) {
			window_slots_destroy(window);
			return r;
		}
	}
	return 0;
}

void window_slots_destroy(struct window *window)
{
	unsigned int i;

	for (i = 0; i < SLOT_NR; i++) {
		if (window->pipe[i][0] >= 0) {
			close(window->pipe[i][0]);
			close(window->pipe[i][1]);
		}
	}
	shared_unmap(window->stage, (size_t)SLOT_NR * WINDOW_STAGE_PAGES * SGX_PAGE_SIZE);
}

static void slot_make(void *made, unsigned int number)
{
	((struct window_slot *)made)->number = (uint8_t)number;
}

static void slot_unmake(void *made) {}

static const struct late_kind slot_kind = { sizeof(struct window_slot), slot_make, slot_unmake };

/* NULL: it was never needed. */
static struct window_slot *slot_there(struct window *window, unsigned int nr)
{
	struct window_slot *slot = nr == UNMAP_SLOT ? &window->unmapped : &window->first;

	assert(nr < SLOT_NR);
	while (slot && slot->number < nr)
		slot = late_there(&slot->next);
	return slot;
}

static struct window_slot *slot_at(struct window *window, unsigned int nr)
{
	struct window_slot *slot = slot_there(window, nr);

	assert(slot);
	return slot;
}

bool window_slot_make(struct epc *epc, struct window *window, unsigned int nr)
{
	return nr == 0 || late_make(epc, &slot_at(window, nr - 1)->next, &slot_kind, nr);
}

/* The last one first: each is found by way of those before it. */
void window_slots_unmake(struct epc *epc, struct window *window)
{
	for (unsigned int nr = WINDOW_SLOTS; nr-- > 1;) {
		if (slot_there(window, nr - 1))
			late_fini(epc, &slot_at(window, nr - 1)->next, &slot_kind);
	}
}

void *window_stage(const struct window *window, unsigned int slot, unsigned int i)
{
	assert(slot < SLOT_NR && i < WINDOW_STAGE_PAGES);
	return window->stage + ((size_t)slot * WINDOW_STAGE_PAGES + i) * SGX_PAGE_SIZE;
}

/* What cannot happen while our descriptors are ours: say which call it was, for the next step is the end. */
static _Noreturn void give_up(const char *call)
{
	char text[128];
	int len = snprintf(text, sizeof(text),
			   "swsgx: cannot take EPC pages: %s: %s; were our descriptors closed?\n",
			   call, strerrordesc_np(errno));

	if (write(STDERR_FILENO, text, (size_t)len) < 0)
		abort();
	abort();
}

/* Short of memory, when a page has to come back from swap: it will pass. */
static bool again(unsigned int *tries)
{
	if (errno == EINTR)
		return true;
	if (errno != ENOMEM && errno != EAGAIN)
		return false;
	sched_yield();
	return ++*tries < RETRIES;
}

static uint64_t offset_of(const struct window_slot *slot, unsigned int i)
{
	return (uint64_t)slot->page[i] * SGX_PAGE_SIZE;
}

/* Sorted position @pos, and how many pages follow it in the file, it included. */
static unsigned int run_length(const struct window_slot *slot, unsigned int pos, unsigned int end)
{
	unsigned int n = 1;

	while (pos + n < end &&
	       slot->page[slot->order[pos + n]] == slot->page[slot->order[pos]] + n)
		n++;
	return n;
}

/* Some of the @bytes at @offset into the pipe, by reference if that is what it does: how many, or -1. */
static ssize_t pin_some(const struct window *window, const struct window_slot *slot,
			uint64_t offset, size_t bytes)
{
	loff_t from = (loff_t)offset;
	struct iovec iov = { .iov_base = window->alias + offset, .iov_len = bytes };

	return window->pin == WINDOW_PIN_SPLICE
		       ? splice(window->fd, &from, window->pipe[slot->number][1], NULL, bytes, 0)
		       : vmsplice(window->pipe[slot->number][1], &iov, 1, 0);
}

static void pin_run(const struct window *window, const struct window_slot *slot, uint64_t offset,
		    size_t bytes)
{
	unsigned int tries = 0;
	ssize_t done;

	while (bytes > 0) {
		done = pin_some(window, slot, offset, bytes);
		if (done < 0 && !again(&tries))
			give_up("splice");
		if (done > 0) {
			offset += (uint64_t)done;
			bytes -= (size_t)done;
		}
	}
}

static void pin_part(const struct window *window, const struct window_slot *slot)
{
	unsigned int pos, n;

	for (pos = slot->first; pos < slot->end; pos += n) {
		n = run_length(slot, pos, slot->end);
		pin_run(window, slot, offset_of(slot, slot->order[pos]), (size_t)n * SGX_PAGE_SIZE);
	}
}

static void punch_part(struct window *window, const struct window_slot *slot)
{
	unsigned int pos, n;

	for (pos = slot->first; pos < slot->end; pos += n) {
		n = run_length(slot, pos, slot->end);
		window_drop(window, offset_of(slot, slot->order[pos]), n);
	}
}

/* The bytes in the pipe of @slot: the last so many of the part that went in. */
static size_t pipe_bytes(const struct window *window, const struct window_slot *slot)
{
	int bytes = 0;

	if (ioctl(window->pipe[slot->number][0], FIONREAD, &bytes) < 0)
		give_up("FIONREAD");
	return (size_t)bytes;
}

/* From the pipe into the stage, beginning where an earlier read, of whomever, has ended. */
static void drain_part(const struct window *window, const struct window_slot *slot, size_t left)
{
	struct iovec iov[WINDOW_STAGE_PAGES];
	unsigned int nr, pos, tries = 0;
	size_t done_bytes, skip;
	ssize_t done;

	while (left > 0) {
		done_bytes = (size_t)(slot->end - slot->first) * SGX_PAGE_SIZE - left;
		pos = slot->first + (unsigned int)(done_bytes / SGX_PAGE_SIZE);
		skip = done_bytes % SGX_PAGE_SIZE;
		for (nr = 0; pos < slot->end; nr++, pos++) {
			iov[nr].iov_base =
				(char *)window_stage(window, slot->number, slot->order[pos]) + skip;
			iov[nr].iov_len = SGX_PAGE_SIZE - skip;
			skip = 0;
		}
		done = readv(window->pipe[slot->number][0], iov, (int)nr);
		if (done < 0 && !again(&tries))
			give_up("readv");
		if (done > 0)
			left -= (size_t)done;
	}
}

/* What an unfinished pinning left behind. */
static void pipe_discard(const struct window *window, struct window_slot *slot)
{
	size_t left = pipe_bytes(window, slot);
	unsigned int tries = 0;
	ssize_t done;

	while (left > 0) {
		done = read(window->pipe[slot->number][0], window_stage(window, slot->number, 0),
			    left < SGX_PAGE_SIZE ? left : SGX_PAGE_SIZE);
		if (done < 0 && !again(&tries))
			give_up("read");
		if (done > 0)
			left -= (size_t)done;
	}
}

static void slot_sort(struct window_slot *slot, const uint64_t *offsets, unsigned int nr)
{
	unsigned int i, j;

	slot->nr = (uint8_t)nr;
	for (i = 0; i < nr; i++) {
		slot->page[i] = (uint32_t)(offsets[i] / SGX_PAGE_SIZE);
		for (j = i; j > 0 && offsets[slot->order[j - 1]] > offsets[i]; j--)
			slot->order[j] = slot->order[j - 1];
		slot->order[j] = (uint8_t)i;
	}
}

/* The parts from slot->first on. */
static void take_parts(struct window *window, struct window_slot *slot)
{
	while (slot->first < slot->nr) {
		slot->phase = WINDOW_TAKE_PINNING;
		slot->end = slot->nr;
		if (slot->end > slot->first + window->pipe_pages)
			slot->end = (uint8_t)(slot->first + window->pipe_pages);
		pin_part(window, slot);
		slot->phase = WINDOW_TAKE_MOVING;
		punch_part(window, slot);
		drain_part(window, slot, (size_t)(slot->end - slot->first) * SGX_PAGE_SIZE);
		slot->first = slot->end;
	}
}

void window_take(struct window *window, unsigned int slot_nr, const uint64_t *offsets,
		 unsigned int nr)
{
	struct window_slot *slot = slot_at(window, slot_nr);

	assert(nr <= WINDOW_STAGE_PAGES);
	assert(slot->phase == WINDOW_TAKE_IDLE);
	slot_sort(slot, offsets, nr);
	slot->first = 0;
	take_parts(window, slot);
}

bool window_take_resume(struct window *window, unsigned int slot_nr)
{
	struct window_slot *slot = slot_at(window, slot_nr);

	if (slot->phase == WINDOW_TAKE_IDLE)
		return false;
	if (slot->phase == WINDOW_TAKE_PINNING) {
		pipe_discard(window, slot);
		if (slot->first == 0) {
			slot->phase = WINDOW_TAKE_IDLE;
			return false;
		}
	} else if (slot->first < slot->end) {
		punch_part(window, slot);
		drain_part(window, slot, pipe_bytes(window, slot));
		slot->first = slot->end;
	}
	take_parts(window, slot);
	return true;
}

void window_take_done(struct window *window, unsigned int slot_nr)
{
	slot_at(window, slot_nr)->phase = WINDOW_TAKE_IDLE;
}

void window_return(struct window *window, unsigned int slot_nr, unsigned int i)
{
	const struct window_slot *slot = slot_at(window, slot_nr);
	unsigned int tries = 0;

	assert(i < slot->nr);
	/* The memory was the page's own a moment ago: if it is short now, that will pass. */
	while (window_give(window, offset_of(slot, i), window_stage(window, slot_nr, i)) < 0) {
		errno = ENOMEM;
		if (!again(&tries))
			give_up("pwrite");
	}
}

/* All of the stage goes back to where it was taken from. */
static void give_back(struct window *window, unsigned int slot_nr)
{
	unsigned int i, nr = slot_at(window, slot_nr)->nr;

	for (i = 0; i < nr; i++)
		window_return(window, slot_nr, i);
	window_take_done(window, slot_nr);
}

/* The pages from @offset on that the file has, at most a stage full, before @end; *@offset moves on. */
static unsigned int present_pages(const struct window *window, uint64_t *offset, uint64_t end,
				  uint64_t *ret_offsets)
{
	unsigned int nr = 0;
	off_t found;

	while (*offset < end && nr < WINDOW_STAGE_PAGES) {
		found = lseek(window->fd, (off_t)*offset, SEEK_DATA);
		if (found < 0 || (uint64_t)found >= end) {
			*offset = end;
			break;
		}
		ret_offsets[nr++] = (uint64_t)found;
		*offset = (uint64_t)found + SGX_PAGE_SIZE;
	}
	return nr;
}

void window_unmap(struct window *window, uint64_t offset, uint64_t pages)
{
	uint64_t end = offset + pages * SGX_PAGE_SIZE;
	uint64_t offsets[WINDOW_STAGE_PAGES];
	unsigned int nr;

	lock_acquire(&window->lock);
	/* Left by someone who died: the bytes are still to be put back. */
	if (window->lock.holder_died) {
		if (window_take_resume(window, UNMAP_SLOT))
			give_back(window, UNMAP_SLOT);
		window->lock.holder_died = false;
	}
	while ((nr = present_pages(window, &offset, end, offsets)) > 0) {
		window_take(window, UNMAP_SLOT, offsets, nr);
		give_back(window, UNMAP_SLOT);
	}
	lock_release(&window->lock);
}

/* One page written, pinned, written again and removed: true when the pipe gives the last words. */
static bool pin_works(struct window *window, enum window_pin pin)
{
	struct window_slot *slot = &window->unmapped;
	volatile unsigned char *stage = window_stage(window, UNMAP_SLOT, 0);
	volatile unsigned char *page = (void *)window->alias;
	uint64_t offset = 0;
	bool ok;

	window->pin = (uint8_t)pin;
	stage[0] = 'a';
	if (window_give(window, 0, (void *)stage) < 0)
		return false;
	slot_sort(slot, &offset, 1);
	slot->first = 0;
	slot->end = 1;
	/* Where the call is not there at all, or forbidden, it is the other's turn. */
	if (pin_some(window, slot, 0, SGX_PAGE_SIZE) != (ssize_t)SGX_PAGE_SIZE) {
		pipe_discard(window, slot);
		window_drop(window, 0, 1);
		return false;
	}
	page[0] = 'b';
	punch_part(window, slot);
	drain_part(window, slot, SGX_PAGE_SIZE);
	ok = stage[0] == 'b' && lseek(window->fd, 0, SEEK_DATA) != 0;
	slot->first = slot->end;
	window_drop(window, 0, 1);
	return ok;
}

int window_probe(struct window *window)
{
	struct stat st;

	/* Where the system makes shared memory of huge pages, write() would bring in one of those. */
	if (window_give(window, 0, window_stage(window, UNMAP_SLOT, 0)) < 0 ||
	    fstat(window->fd, &st) < 0)
		return -ENOMEM;
	window_drop(window, 0, 1);
	window->give_by_alias = st.st_blocks * 512 > (blkcnt_t)SGX_PAGE_SIZE;
	if (pin_works(window, WINDOW_PIN_SPLICE) || pin_works(window, WINDOW_PIN_VMSPLICE))
		return 0;
	return -EOPNOTSUPP;
}
