/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Patience: when to stop waiting for what should come at once.
 *
 * Time alone does not tell: where the machine stood still, or this thread had no turn, nobody else need have had one
 * either.  So it takes many looks as well.
 */
#ifndef SWSGX_BASE_PATIENCE_H
#define SWSGX_BASE_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

/* Of one who waits for something; all nought where that has come. */
struct patience {
	uint64_t since_ns;
	unsigned int looks;
};

/* One look more in vain. True: for more than @ns now, and often enough. */
bool patience_ends(struct patience *p, uint64_t ns);
/* The same of one who loses nothing by being wrong: true for more than @ns now, however seldom that was looked at. */
bool patience_pauses(struct patience *p, uint64_t ns);

#endif
