/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A small explicit-state explorer: a guest's program of a few instructions, beside a host that takes its pages and
 * brings them back, in every order.
 *
 * Between any two instructions of the host any number of the guest's may come; each such schedule is run from a fresh
 * machine.  The outcomes must be those that a guest with EPC of its own gets, and in the end so must its pages; at every
 * step the SECS has children exactly when it should, and the frame audit holds.
 */
#ifndef SWSGX_TESTS_EXPLORE_H
#define SWSGX_TESTS_EXPLORE_H

#include "vm.h"

#define EXPLORE_GUEST_MAX 6
#define EXPLORE_HOST_MAX  6
#define EXPLORE_BLOBS     3

/* One instruction of the guest; which fields count depends on the leaf. */
struct guest_op {
	enum sgx_encls leaf;
	uint32_t page, secs;
	uint32_t va, slot, blob; /* EWB, ELDU */
	uint64_t i, flags;       /* EADD */
};

struct scenario {
	const char *name;
	void (*setup)(struct vm *vm);
	struct guest_op guest[EXPLORE_GUEST_MAX];
	unsigned int guest_nr;
	void (*host[EXPLORE_HOST_MAX])(struct vm *vm);
	uint32_t secs;     /* whose children are watched */
	uint32_t pages[8]; /* compared in the end */
	unsigned int page_nr;
	uint32_t epc_pages; /* 0: 16 */
	bool ends;          /* the host ends the guest, and there is nothing to compare */
	bool damaged;       /* outcomes need not be those of a guest that is left alone */
};

/* Every schedule; checks by TAP_CHECK() are the caller's. */
struct explored {
	unsigned long schedules, points; /* most points that one had */
	unsigned long waits, conflicts, evictions;
	char why[300]; /* what went wrong first, and with which schedule */
};
bool explore(const struct scenario *scenario, struct explored *ret);

#endif
