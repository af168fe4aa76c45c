/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* What window.c and window_take.c share. */
#ifndef SWSGX_EPC_WINDOW_PRIV_H
#define SWSGX_EPC_WINDOW_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arch/sgx.h"
#include "base/lock.h"
#include "epc/late_priv.h"
#include "epc/window.h"

enum {
	WINDOW_ORDER_MIN = 12,
	WINDOW_ORDER_MAX = 44,
	WINDOW_ORDERS = WINDOW_ORDER_MAX + 1 - WINDOW_ORDER_MIN,
};

/* How the pages of a slot are held while their mappings go. */
enum window_pin {
	WINDOW_PIN_SPLICE,   /* from the file: no page table is touched */
	WINDOW_PIN_VMSPLICE, /* from the alias: where the kernel copies in splice() */
};

/* How far window_take() has come in a slot: what is left to do when the one who did it has died. */
enum window_take_phase {
	WINDOW_TAKE_IDLE,
	WINDOW_TAKE_PINNING, /* the file still has every page */
	WINDOW_TAKE_MOVING,  /* the pipe, the stage or both have every page */
};

/* What is taken on a slot.  Its pipe is the window's: the same in all processes, made before the first fork. */
struct window_slot {
	uint8_t number; /* constant */
	uint8_t nr;
	/* The part that is in the pipe: one store says that it has gone, or a death between two would take others' pages. */
	uint8_t first, end;
	/* enum window_take_phase. Changed in order with the rest: a process may die between any two instructions. */
	_Atomic uint8_t phase;
	uint8_t order[WINDOW_STAGE_PAGES]; /* by rising offset */
	uint32_t page[WINDOW_STAGE_PAGES]; /* offsets, in pages */
	struct late next;                  /* the slot behind it: window_slot_make() */
};

/*
 * A range that is free.  Those of one order are a tree: the bits of the offset, the lowest first, are the way down to where it is,
 * or to where it would be, so any may stand above those that have the beginning of its way.  A way is no longer than an offset has
 * bits, and mostly as long as there are doublings of ranges.
 *
 * Each step of a change is one store, after which the tree is whole: whoever dies in one loses one range at the most.
 */
struct range {
	struct range *below[2];
	uint64_t offset;
	/* Of the first range of a tree: its order, and the tree of the next order of which any is free. */
	struct range *larger;
	unsigned int order;
};

struct window {
	struct lock lock; /* the free ranges; the last slot */
	struct arena *arena;
	int fd;
	uint8_t pin;        /* enum window_pin */
	uint8_t pipe_pages; /* that one pipe holds */
	bool give_by_alias; /* where write() would bring in huge pages */
	uint32_t homes;
	int pipe[WINDOW_SLOTS + 1][2];
	char *alias;
	char *stage;
	uint64_t span; /* bytes of ranges; the homes come behind */
	/*
	 * Free ranges, a tree for each order of which there are any; and a bit for each order of which the one is free that was so
	 * at the start, which is in no tree.
	 */
	struct range *free_ranges;
	uint64_t first_free;
	struct window_slot first;    /* slot 0, and others behind it */
	struct window_slot unmapped; /* the last one, of window_unmap() */
};

static inline uint64_t window_file_bytes(const struct window *window)
{
	return window->span + (uint64_t)window->homes * SGX_PAGE_SIZE;
}

int window_slots_create(struct window *window);
void window_slots_destroy(struct window *window);
/* Finds out how pages can be pinned here. -EOPNOTSUPP: in no way. */
int window_probe(struct window *window);

#endif
