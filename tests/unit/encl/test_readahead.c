/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Read-ahead: what it saves where pages are touched at equal distances, that it keeps out of the way where they are not,
 * that the policy is not deceived by it, and that each page it read is counted as used or wasted, once.
 */
#include <stdlib.h>
#include <string.h>

#include "encl/encl_priv.h"
#include "lib/space.h"

enum { EPC_PAGES = 256, PAGES = 600, MANY = 4, SEEDS = 3, PLACES = 8, APART = 25 };

static struct space s;

static uint64_t rng;

static uint64_t rnd(uint64_t below)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (rng >> 33) % below;
}

/* ---- streams ---------------------------------------------------------------------------------- */

/* Most loads are ahead, and hardly any of those in vain. The other faults are for the policy to see uses. */
static void check_saves(const char *name, unsigned int wasted_percent)
{
	unsigned long ahead = space_count(&s, EPC_READAHEADS), loads = space_count(&s, EPC_LOADS);
	unsigned long wasted = space_count(&s, EPC_READAHEAD_WASTED);

	TAP_CHECK(ahead * 4 > loads * 3, "%s: %lu of %lu loads were ahead of %lu touches", name,
		  ahead, loads, s.touches);
	TAP_CHECK(wasted * 100 <= wasted_percent * ahead, "%s: %lu of them in vain", name, wasted);
	space_fini(&s, name);
}

static void test_stride(int64_t stride)
{
	uint64_t apart = (uint64_t)llabs(stride);
	char name[32];

	snprintf(name, sizeof(name), "stride %ld", (long)stride);
	space_init(&s, EPC_PAGES, PAGES * apart, NULL);
	for (unsigned int i = 0; i < 5 * PAGES; i++) {
		uint64_t at = i % PAGES * apart;

		space_touch(&s, stride > 0 ? at : PAGES * apart - 1 - at);
	}
	check_saves(name, 1);
}

/*
 * One array is copied into another, in step, or one up and the other down.  LIRS has few cold pages, and must not let those
 * go that are still to be used.  How many it has depends on the hashes of those that went: of places in the address range
 * one in a few wastes up to 5 % with strides 1 and -2, all others nothing, so what is judged is the sum of some.
 * Where both go the same way, and with a policy that has no hashes, all places are alike to the last page.
 */
static void copy(uint64_t first, int64_t from_stride, int64_t to_stride, const char *policy)
{
	uint64_t from_pages = PAGES * (uint64_t)llabs(from_stride);
	uint64_t to_pages = PAGES * (uint64_t)llabs(to_stride), to = first + from_pages + 1;

	space_create(&s, EPC_PAGES, to + to_pages, policy);
	if (build_add_many(&s.b, first, from_pages) < 0 || build_add_many(&s.b, to, to_pages) < 0)
		s.wrong++;
	space_start(&s);
	for (unsigned int i = 0; i < 5 * PAGES; i++) {
		uint64_t n = i % PAGES;

		space_touch(&s, first + n * (uint64_t)from_stride);
		space_touch(&s, to_stride > 0 ? to + n * (uint64_t)to_stride
					      : to + to_pages - 1 - n * (uint64_t)-to_stride);
	}
}

static void test_copy(int64_t from_stride, int64_t to_stride, const char *policy,
		      unsigned int wasted_percent)
{
	unsigned int places = to_stride < 0 && !strcmp(policy, "lirs") ? PLACES : 1;
	unsigned long ahead = 0, loads = 0, wasted = 0;
	char name[64];

	snprintf(name, sizeof(name), "copied, strides %ld and %ld, %s", (long)from_stride,
		 (long)to_stride, policy);
	for (unsigned int i = 0; i < places; i++) {
		copy((uint64_t)i * APART, from_stride, to_stride, policy);
		ahead += space_count(&s, EPC_READAHEADS);
		loads += space_count(&s, EPC_LOADS);
		wasted += space_count(&s, EPC_READAHEAD_WASTED);
		space_fini(&s, name);
	}
	TAP_CHECK(ahead * 4 > loads * 3, "%s: %lu of %lu loads were ahead", name, ahead, loads);
	TAP_CHECK(wasted * 100 <= wasted_percent * ahead, "%s: %lu of %lu in vain", name, wasted,
		  ahead);
}

/*
 * Four at once, as threads do it.  The default policy may keep fewer new pages than they have ahead; then they are too many,
 * and it must notice.
 */
static void test_streams(void)
{
	unsigned long loads, wasted;

	space_init(&s, MANY * EPC_PAGES, MANY * PAGES, NULL);
	for (unsigned int i = 0; i < 5 * MANY * PAGES; i++)
		space_touch(&s, (i % MANY * PAGES + i / MANY) % (MANY * PAGES));
	loads = space_count(&s, EPC_LOADS);
	wasted = space_count(&s, EPC_READAHEAD_WASTED);
	TAP_CHECK(space_count(&s, EPC_READAHEADS) > 0 && wasted * 20 <= loads,
		  "four streams: %lu faults for %lu touches, %lu of %lu loads in vain", s.faults,
		  s.touches, wasted, loads);
	space_fini(&s, "four streams");
}

/* ---- where there are none --------------------------------------------------------------------------- */

static void test_random(uint64_t seed)
{
	unsigned long ahead, loads;

	rng = seed;
	space_init(&s, EPC_PAGES, PAGES, NULL);
	for (unsigned int i = 0; i < 10 * PAGES; i++)
		space_touch(&s, rnd(PAGES));
	ahead = space_count(&s, EPC_READAHEADS);
	loads = space_count(&s, EPC_LOADS);
	TAP_CHECK(ahead * 100 <= loads, "random: %lu of %lu loads were ahead", ahead, loads);
	space_fini(&s, "random");
}

/* Runs that end when they are believed: it must find out, and stay away. */
static void test_deceived(unsigned int run)
{
	unsigned long before = 0, ahead, loads;
	uint64_t at = 0;

	rng = run;
	space_init(&s, EPC_PAGES, PAGES, NULL);
	for (unsigned int i = 0; i < 40 * PAGES; i++) {
		if (i % run == 0)
			at = rnd(PAGES - run);
		space_touch(&s, at++);
		if (i == 20 * PAGES)
			before = space_count(&s, EPC_READAHEADS);
	}
	ahead = space_count(&s, EPC_READAHEADS);
	loads = space_count(&s, EPC_LOADS);
	TAP_CHECK((ahead - before) * 50 <= loads / 2 ||
			  space_count(&s, EPC_READAHEAD_USED) > ahead / 2,
		  "runs of %u: %lu read ahead after %lu, of %lu loads, %lu were used", run,
		  ahead - before, before, loads,
		  (unsigned long)space_count(&s, EPC_READAHEAD_USED));
	space_fini(&s, "deceived");
}

/* What it has lost it wins back. */
static void test_again(void)
{
	unsigned long loads, ahead;
	uint64_t at = 0;
	unsigned int i;

	rng = 1;
	space_init(&s, EPC_PAGES, PAGES, NULL);
	for (i = 0; i < 10 * PAGES; i++) {
		if (i % 3 == 0)
			at = rnd(PAGES - 3);
		space_touch(&s, at++);
	}
	for (i = 0; i < 2 * PAGES; i++)
		space_touch(&s, i % PAGES);
	loads = space_count(&s, EPC_LOADS);
	ahead = space_count(&s, EPC_READAHEADS);
	for (i = 0; i < 2 * PAGES; i++)
		space_touch(&s, i % PAGES);
	loads = space_count(&s, EPC_LOADS) - loads;
	ahead = space_count(&s, EPC_READAHEADS) - ahead;
	TAP_CHECK(ahead * 4 > loads * 3, "after all that, in order: %lu of %lu loads are ahead",
		  ahead, loads);
	space_fini(&s, "again");
}

/* ---- where they end ----------------------------------------------------------------------------------- */

enum { HOLE = 100, BEHIND_HOLE = 110, READ_ONLY = 200, REST = 300 };

static unsigned int nr_here(uint64_t first, uint64_t end) LOCK_ATTR(no_thread_safety_analysis)
{
	struct encl_page *page;
	unsigned int nr = 0;

	for (uint64_t i = first; i < end; i++) {
		page = pages_find_locked(s.b.encl, i);
		nr += page && page->epc_page;
	}
	return nr;
}

static void walk(uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i != to; i += from < to ? 1 : -1ull)
		space_touch(&s, i);
	space_touch(&s, to);
}

static void test_ends(void)
{
	unsigned long before;
	uint64_t i;

	space_create(&s, EPC_PAGES, REST + PAGES, NULL);
	for (i = 0; i < REST + PAGES; i++) {
		if (i >= HOLE && i < BEHIND_HOLE)
			continue;
		if (build_add(&s.b, i, NULL, i >= READ_ONLY && i < REST ? FLAGS_R : FLAGS_RW) < 0)
			s.wrong++;
	}
	space_start(&s);
	walk(REST, REST + PAGES - 1);
	while (nr_here(0, REST) > 0 && epc_reclaim(s.w.epc) > 0)
		;
	TAP_CHECK(nr_here(0, REST) == 0, "they are away");
	before = space_count(&s, EPC_READAHEADS);
	walk(50, HOLE - 1);
	TAP_CHECK(space_count(&s, EPC_READAHEADS) > before && nr_here(BEHIND_HOLE, REST) == 0,
		  "nothing is read from behind a hole");
	walk(BEHIND_HOLE + 50, READ_ONLY - 1);
	TAP_CHECK(nr_here(READ_ONLY, REST) == 0, "nor pages of other permissions");
	walk(BEHIND_HOLE + 30, BEHIND_HOLE);
	TAP_CHECK(nr_here(0, 50) == 0, "nor downwards");
	while (nr_here(0, READ_ONLY) > 0 && epc_reclaim(s.w.epc) > 0)
		;
	walk(60, 0);
	walk(REST + 100, REST);
	walk(REST + PAGES - 60, REST + PAGES - 1);
	TAP_CHECK(nr_here(0, 61) == 61, "and both ends of the enclave are its ends");
	space_fini(&s, "ends");
}

/* A page that an instruction of the kernel asks for is used by that. */
static void test_asked(void) LOCK_ATTR(no_thread_safety_analysis)
{
	struct encl_page *page = NULL;
	uint64_t i, result, count, used;

	space_init(&s, EPC_PAGES, PAGES, NULL);
	for (i = 0; i < 100 && space_ahead(&s) == 0; i++)
		space_touch(&s, i);
	while (i < PAGES &&
	       (!(page = pages_find_locked(s.b.encl, i)) || !(page->flags & ENCL_PAGE_AHEAD)))
		i++;
	TAP_MUST(i < PAGES, "page %lu is ahead", (unsigned long)i);
	used = space_count(&s, EPC_READAHEAD_USED);
	TAP_CHECK(encl_modify_types(s.b.encl, &encl_mm_none, i * SGX_PAGE_SIZE, SGX_PAGE_SIZE,
				    SGX_PT_TRIM, &result, &count) == 0 &&
			  !(page->flags & ENCL_PAGE_AHEAD) &&
			  space_count(&s, EPC_READAHEAD_USED) == used + 1,
		  "trimmed, it is used");
	space_fini(&s, "asked for");
}

/* ---- the policy ---------------------------------------------------------------------------------------- */

/*
 * Loads for a hundred touches of a loop through @pages pages, when it has gone round for a while.  From its fourth lap on all
 * are alike; that they stay so is seen with few pages.
 */
static unsigned int loop_loads(uint32_t epc_pages, uint64_t pages, const char *policy, bool ahead)
{
	unsigned int laps = epc_pages > EPC_PAGES ? 8 : 16;
	unsigned long loads = 0, touches = 0;

	space_init(&s, epc_pages, pages, policy);
	if (!ahead)
		space_no_readahead(&s);
	for (unsigned int lap = 0; lap < laps; lap++) {
		if (lap == laps / 2) {
			loads = space_count(&s, EPC_LOADS);
			touches = s.touches;
		}
		for (uint64_t i = 0; i < pages; i++)
			space_touch(&s, i);
	}
	loads = (space_count(&s, EPC_LOADS) - loads) * 100 / (s.touches - touches);
	space_fini(&s, "loop");
	return (unsigned int)loads;
}

/*
 * A page that came ahead and is then touched was not used twice: the policy has to see the same as without, and do as
 * well.  Best is to load what does not fit.
 */
static void test_loop(uint32_t epc_pages, unsigned int quarters, const char *policy)
{
	uint64_t pages = (uint64_t)epc_pages * quarters / 4;
	unsigned int best = 100 - 400 / quarters;
	unsigned int without = loop_loads(epc_pages, pages, policy, false);
	unsigned int with = loop_loads(epc_pages, pages, policy, true);

	TAP_CHECK(
		with <= without + 3 && with <= best + 12,
		"a loop through %lu pages in %u: %u loads for 100 touches, %u without read-ahead, "
		"%u at the least",
		(unsigned long)pages, epc_pages, with, without, best);
}

int main(void)
{
	static const int64_t strides[] = { 1, -1, 2, -2, 3, 8, -13, 64 };
	unsigned int i;

	for (i = 0; i < sizeof(strides) / sizeof(strides[0]); i++)
		test_stride(strides[i]);
	for (i = 0; i < 2; i++) {
		test_copy(1, 1, i ? "lirs" : "upstream", i ? 3 : 1);
		test_copy(1, -1, i ? "lirs" : "upstream", i ? 3 : 1);
		test_copy(2, 1, i ? "lirs" : "upstream", i ? 3 : 1);
		test_copy(1, -2, i ? "lirs" : "upstream", i ? 3 : 1);
	}
	test_streams();
	for (i = 1; i <= SEEDS; i++)
		test_random(i);
	test_deceived(3);
	test_deceived(4);
	test_deceived(6);
	test_deceived(12);
	test_again();
	test_ends();
	test_asked();
	for (i = 5; i <= 16; i += i < 8 ? 1 : 4) {
		test_loop(EPC_PAGES, i, NULL);
		test_loop(4 * EPC_PAGES, i, NULL);
	}
	test_loop(4 * EPC_PAGES, 8, "lirs");
	return tap_done();
}
