/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
#include "base/patience.h"

#include <time.h>

enum { LOOKS = 16 }; /* one may be a whole allocation, which waits as well */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool patience_pauses(struct patience *p, uint64_t ns)
{
	if (!p->looks++)
		p->since_ns = now_ns();
	return p->looks > 1 && now_ns() - p->since_ns > ns;
}

bool patience_ends(struct patience *p, uint64_t ns)
{
	return patience_pauses(p, ns) && p->looks > LOOKS;
}
