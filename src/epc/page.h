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

/* See epc/policy_sample.h. */
enum page_ref {
	PAGE_REF_USED = 1,  /* since a policy looked last */
	PAGE_REF_ARMED = 2, /* its next use will be seen */
	PAGE_REF_WATCH = 4, /* and a policy is told of it */
	PAGE_REF_LIST = 8,  /* a policy's own */
};

struct epc_owner;

enum page_flag {
	PAGE_TAKEN = 1,    /* the bytes are on a batch's stage */
	PAGE_NOWHERE = 2,  /* not in the window: EPC_UNPLACED, or lent */
	PAGE_POISONED = 4, /* for good: poison.c */
};

/*
 * The state says who may write the rest: the owner while OWNED or TRACKED, the batch while IN_BATCH, the section
 * while FREE or DIRTY; and for the links, whoever holds the lock of the list.
 *
 * @state: enum epc_state. Into and out of TRACKED, and from IN_BATCH, under the reclaim lock; into and out of FREE and
 *         DIRTY under the section's
 * @ref: enum page_ref. Anyone says that it was used, all else is the policy's; each in one step
 * @stamp: the policy's, while TRACKED and until evicted
 */
struct epc_page {
	struct epc_owner *owner; /* NULL: nobody's, and not charged */
	_Atomic uint64_t cookie;
	uint32_t next;
	uint32_t prev;
	uint32_t win_page; /* window offset / 4096, or PAGE_AT_HOME */
	_Atomic uint8_t state;
	uint8_t stamp;
	_Atomic uint8_t ref;
	_Atomic uint8_t flags; /* enum page_flag */
};
static_assert(sizeof(struct epc_page) == 32, "metadata of a page is 64 bytes with its EPCM entry");

#endif
