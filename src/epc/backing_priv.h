/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What backing.c (slots, and memory for them) and backing_file.c (the file below) share.
 */
#ifndef SWSGX_EPC_BACKING_PRIV_H
#define SWSGX_EPC_BACKING_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "epc/backing.h"

enum {
	BACKING_UNWRITTEN_MAX =
		256, /* slots that wait in memory for the file: then there are no new ones */
	BACKING_QUEUE =
		BACKING_UNWRITTEN_MAX + 128, /* and those that were had before, by all reclaimers */
	BACKING_WRITE_MIN = 16,              /* a batch: fewer are not worth a call */
};

/* Of a slot in use, where there is a file. */
enum slot_state {
	SLOT_MEMORY,  /* it is being filled, or was fetched: the file has it not */
	SLOT_WAITING, /* complete, in memory, in the queue for the file */
	SLOT_WRITING, /* and on its way */
	SLOT_FILE,    /* in the file, and not in memory */
};

struct backing {
	struct lock lock; /* the members down to the blank line */
	uint32_t grown;
	uint32_t free_first; /* chain of free slots with storage */
	uint32_t free_nr;
	uint32_t bare_first; /* and without */
	/* Whose slot is changing hands, for whoever finds that its holder died; NULL: none is. */
	uint32_t *moving;
	uint32_t moving_slot;
	_Atomic uint32_t used;
	_Atomic uint32_t waiting_nr;
	int16_t fail;
	/* BACKING_QUEUE, some of which may have been freed meanwhile; where there is a file */
	uint32_t *waiting;

	struct arena *arena;
	int (*_Atomic answer)(enum backing_call call); /* for tests: NULL */
	int fd;                                        /* memory */
	uint32_t slot_nr_max;
	unsigned char *pages;
	struct sgx_pcmd *pcmds;
	uint32_t *next;

	/* Where there is a file. */
	_Atomic uint8_t *state;  /* of each slot: enum slot_state, written under the lock */
	struct lock write_lock;  /* the right to write to the file */
	_Atomic int write_error; /* of the last try, 0: it worked */
	int file;                /* -1: none */
	bool direct;
	atomic_bool fault_lies; /* struct backing_faults */
	_Atomic int16_t fault_write, fault_read;
	_Atomic uint64_t written, read, write_errors, read_errors;
	_Atomic uint64_t refused; /* with a file or without */
};

/* 0, or what a test wants to come of it. */
static inline int backing_may(const struct backing *backing, enum backing_call call)
{
	int (*answer)(enum backing_call call) =
		atomic_load_explicit(&backing->answer, memory_order_relaxed);

	return answer ? answer(call) : 0;
}

/* Open @path: 0 or -errno.  Nothing, for NULL. */
int backing_file_open(struct backing *backing, const char *path);
void backing_file_close(struct backing *backing);
/*
 * Storage for @nr slots from @first on in @fd.  Errors of a file system that has no memory or room:
 * -ENOSPC.
 */
int backing_reserve(int fd, uint32_t first, uint32_t nr);
/* The memory of a slot goes back to the system. */
void backing_punch(int fd, uint32_t slot);
/* As backing_stats_read(), without its lock: what was freed of late may still wait. */
void backing_counters(const struct backing *backing, struct backing_stats *ret_stats);
/* A new slot can be written out some time; else why not. Called without the lock. */
int backing_file_ready(struct backing *backing);

#endif
