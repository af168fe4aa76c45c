/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * One EPC page, as the manager knows it: 32 bytes, so that with the 32 of the EPCM entry the metadata
 * of a page is 64 bytes.  Private to src/epc.
 */
#ifndef SWSGX_EPC_PAGE_H
#define SWSGX_EPC_PAGE_H

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

#define PAGE_AT_HOME UINT32_MAX /* win_page of a page that was not placed */

/* Most that epc_touch() counts. */
enum { PAGE_REF_MAX = 3 };

struct epc_owner;

enum page_flag {
	PAGE_TAKEN = 1,   /* the bytes are on a batch's stage */
	PAGE_NOWHERE = 2, /* not in the window: EPC_UNPLACED, or lent */
};

/*
 * The state says who may write the rest: the owner while OWNED or TRACKED, the batch while IN_BATCH, the section
 * while FREE or DIRTY; and for the links, whoever holds the lock of the list.
 *
 * @state: enum epc_state. Into and out of TRACKED, and from IN_BATCH, under the reclaim lock; into and out of FREE and
 *         DIRTY under the section's
 * @ref: uses seen since the policy looked last; anyone adds, the policy takes away, both relaxed: a lost
 *       one costs a fault at worst
 */
struct epc_page {
	struct epc_owner *owner; /* NULL: nobody's, and not charged */
	_Atomic uint64_t cookie;
	uint32_t next;
	uint32_t prev;
	uint32_t win_page; /* window offset / 4096, or PAGE_AT_HOME */
	_Atomic uint8_t state;
	_Atomic uint8_t poisoned; /* for good: poison.c */
	_Atomic uint8_t ref;
	_Atomic uint8_t flags; /* enum page_flag */
};
static_assert(sizeof(struct epc_page) == 32, "metadata of a page is 64 bytes with its EPCM entry");

#endif
