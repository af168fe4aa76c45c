/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Patience, by a clock of our own. */
#include <time.h>

#include "base/patience.h"
#include "lib/tap.h"

enum { LONG_NS = 1000 };

static uint64_t clock_ns = 1;

int clock_gettime(clockid_t clock, struct timespec *ret_ts)
{
	(void)clock;
	*ret_ts = (struct timespec){ .tv_nsec = (long)clock_ns };
	return 0;
}

static void check_time(void)
{
	struct patience p = { 0 };
	unsigned int ended = 0;

	for (unsigned int i = 0; i < 10000; i++)
		ended += patience_ends(&p, LONG_NS);
	TAP_CHECK(ended == 0, "it does not end by looks alone");
	clock_ns += LONG_NS;
	TAP_CHECK(!patience_ends(&p, LONG_NS), "nor at the end of its time");
	clock_ns++;
	TAP_CHECK(patience_ends(&p, LONG_NS), "but behind it");
	p = (struct patience){ 0 };
	TAP_CHECK(!patience_ends(&p, LONG_NS), "what has come begins it anew");
}

static void check_stop(void)
{
	struct patience p = { 0 }, brief = { 0 };
	unsigned int looks = 1;

	TAP_CHECK(!patience_ends(&p, LONG_NS), "the first look");
	TAP_CHECK(!patience_pauses(&brief, LONG_NS), "and of one who loses nothing");
	clock_ns += 100 * LONG_NS;
	while (looks < 1000 && !patience_ends(&p, LONG_NS))
		looks++;
	TAP_CHECK(looks == 16, "a machine that stood still does not end it: %u looks", looks);
	TAP_CHECK(patience_pauses(&brief, LONG_NS), "but it does that of one who loses nothing");
}

int main(void)
{
	check_time();
	check_stop();
	return tap_done();
}
