/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * How many loads a larger EPC would have.
 *
 * A page that comes back would not have gone from an EPC that is larger by the pages which went after it and are still away: by
 * its refault distance, as Linux's mm/workingset.c has it, but that pages which came back meanwhile do not count.  In an order
 * by last use that is exact (Mattson et al., "Evaluation techniques for storage hierarchies", 1970: the pages that are away, in
 * the order in which they went, go on where the EPC ends); of other policies it tells what the EPC needs for an order that goes
 * on as theirs ends.  Of many pages a part is noted, chosen by a hash of their names, that is as large as there is room for
 * (Waldspurger et al., "Efficient MRC construction with SHARDS", 2015).  An EPC of less than 4 MiB has no room for it.
 */
#ifndef SWSGX_EPC_REFAULT_H
#define SWSGX_EPC_REFAULT_H

#include <stdint.h>

enum {
	EPC_LARGER_NR = 36,        /* sizes that are told, up to 512 times the EPC */
	EPC_LARGER_A_DOUBLING = 4, /* 1.25, 1.5, 1.75, 2, 2.5, 3, ... times the EPC */
};

/*
 * Loads that were seen to come back, in all, and of those the ones that an EPC of epc_larger_pages() would not have had.  An
 * estimate: where a part of the pages is noted each of them stands for as many as there are.
 */
struct epc_larger {
	uint64_t loads;
	uint64_t spared[EPC_LARGER_NR]; /* never less than in the next smaller one */
};

/* Pages of the @i-th size that is larger than @page_nr. */
uint64_t epc_larger_pages(uint64_t page_nr, unsigned int i);
/* The part of its loads that the @i-th would have, 0 to 1; 1 where nothing is known. */
double epc_larger_loads(const struct epc_larger *larger, unsigned int i);

#endif
