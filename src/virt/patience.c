/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Patience: when to stop waiting for what should come at once.
 *
 * Time alone does not tell: where the machine stood still, or this thread had no turn, nobody else need have had one
 * either.  So it takes many looks as well.
 */
#include <time.h>

#include "virt/virt_priv.h"

enum { LOOKS = 64 };

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool patience_ends(struct patience *p, uint64_t ns)
{
	if (!p->looks++)
		p->since_ns = now_ns();
	return p->looks > LOOKS && now_ns() - p->since_ns > ns;
}
