/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What peek.c (groups, owners, the whole) and peek_pages.c (pages) share.
 */
#ifndef SWSGX_EPC_PEEK_PRIV_H
#define SWSGX_EPC_PEEK_PRIV_H

#include <stdint.h>

#include "base/look.h"
#include "epc/epc_priv.h"
#include "epc/peek.h"

/* An owner as it was found, in its group's list. */
struct found {
	uint64_t at;
	uint64_t count[EPC_COUNT_NR];
	unsigned int group;
	struct epc_owner owner; /* but for its counts */
};

/* Whose numbers, by place in the sample, the owner's at @at are; UINT32_MAX: nobody's. */
struct named {
	uint64_t at;
	unsigned int told;
};

/* Pages as they were counted last. */
struct counted {
	uint64_t at_ns, took_ns; /* 0: never */
	struct {
		uint64_t state[EPC_PAGE_STATE_NR];
		uint32_t kind[EPC_KIND_NR];
	} section[EPC_SECTIONS_MAX];
	unsigned int owner_nr;
	/* by key, which is found again whatever has come between */
	struct counted_owner {
		uint64_t key; /* struct epc_sample_owner */
		uint32_t kind[EPC_KIND_NR];
	} * owner;
};

struct epc_peek {
	const struct look *look;
	/* Where it is, for what changes; and a copy, for what is constant, which is checked and then relied upon. */
	const struct epc *live;
	struct epc epc;
	struct epc_sample sample;
	uint64_t every_ns;
	unsigned int group_nr, found_nr, found_max;
	struct found *found;
	struct named *named; /* found_nr of them, by address */
	struct counted counted;
	struct {
		uint64_t at;
		unsigned int first; /* of its owners in @found, where they follow each other */
		uint32_t charged;
		struct epc_group group; /* but for its charges */
	} group[EPC_GROUPS_MAX];
	struct epc_sample_group told_group[EPC_GROUPS_MAX];
	unsigned int place[EPC_GROUPS_MAX]; /* of a group in the sample */
};

/* Changes with the layout of what peek.c looks at. */
uint64_t peek_layout(void);
/* CLOCK_MONOTONIC */
uint64_t peek_now_ns(void);
/* The owner at that address; NULL: none was found there. */
struct named *peek_find(const struct epc_peek *peek, uint64_t at);
/*
 * Into the sample, in which owners are: sections, states, kinds of sections and owners.  0, -ESRCH: it is no EPC, or
 * -ENOMEM.
 */
int peek_pages(struct epc_peek *peek);

#endif
