/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The numbers of an EPC that others run, while they run it: read from their memory, without a lock and without a word
 * to them (base/look.h).
 *
 * What one sample has of pages was counted page by page, so the states sum up to all pages; but it took a moment, and a
 * page that changed meanwhile is counted as one of the things that it was.  That is not done for every sample: several have what was
 * counted last.  Each event counter is right at some moment of the sample, and never less than in the one before.  Groups,
 * owners and their pressure are of one moment, or the sample says that they are not.
 */
#ifndef SWSGX_EPC_PEEK_H
#define SWSGX_EPC_PEEK_H

#include <stdbool.h>
#include <stdint.h>

#include "epc/epc.h"
#include "epc/group.h"
#include "epc/stats.h"

struct epc_peek;
struct look;

enum { EPC_SAMPLE_SECTIONS = 8 };

struct epc_sample {
	uint64_t at_ns, counted_ns; /* CLOCK_MONOTONIC; when pages were counted */
	bool torn; /* somebody changed groups and owners all the time, or died while he did */
	struct epc_stats stats;
	unsigned int section_nr, group_nr, owner_nr;
	struct epc_sample_section {
		struct epc_section_info info;
		struct epc_section_stats stats;
	} section[EPC_SAMPLE_SECTIONS];
	/* Parents before children. info.parent means nothing here. */
	struct epc_sample_group {
		struct epc_group_info info;
		int parent; /* its place here, -1: it is the root */
		unsigned int depth;
		struct epc_group_stats stats;
	} * group;
	/* Group by group. */
	struct epc_sample_owner {
		struct epc_owner_info info;
		unsigned int group;
		uint64_t key; /* the same in each sample; after it has gone another may get it */
	} * owner;
};

/*
 * @look stays the caller's, and stays open.  0, or:
 *   -ESRCH   there is no EPC in it, or no more
 *   -EPROTO  it is another version's
 *   -ENOMEM
 */
int epc_peek_open(const struct look *look, struct epc_peek **ret_peek);
/* Takes NULL. */
void epc_peek_close(struct epc_peek *peek);
/*
 * Pages are counted again when that was so long ago, and a multiple of what it took: a quarter of a second.  0: for each
 * sample, whatever it costs.
 */
void epc_peek_count_every(struct epc_peek *peek, uint64_t ns);
/* 0, -ESRCH or -ENOMEM. The sample is @peek's, until the next call for it. */
int epc_peek_read(struct epc_peek *peek, const struct epc_sample **ret_sample);

#endif
