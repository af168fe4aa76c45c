/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The default policy over seeded families of programs, through the real manager: how far it gets from Linux's faults to
 * the optimum's, and where it has more than Linux's.  Counts are the same in every run.
 *
 *   test_policy_families [PAGES...]
 *
 * That no row at all is more than 3 % worse does not hold: the rows that are get printed, and the bounds are
 * what they come to, so that it does not become worse unseen.
 */
#include <math.h>
#include <stdlib.h>

#include "lib/page_trace.h"
#include "lib/tap.h"

enum {
	ROWS_WORSE_PART = 24,
	WAY_PERCENT = 30,
	SAMPLES = 9, /* of the pages, each by another hash: a row is the mean */
};
#define WORST        1.09
#define WORST_SAMPLE 1.40 /* of one sample, which is what a program gets */

struct sums {
	double log_upstream, log_adaptive, worst, worst_sample;
	unsigned int rows, worse;
};

static void row(const char *name, const struct page_trace *trace, uint32_t percent,
		struct sums *sums)
{
	uint32_t epc_pages = trace->pages * percent / 100;
	unsigned long soft, best, upstream, faults, adaptive = 0;
	unsigned int i;
	double ratio;

	if (epc_pages < 16)
		epc_pages = 16;
	best = page_trace_optimum(trace, epc_pages);
	upstream = page_trace_faults(trace, epc_pages, "upstream", &soft);
	for (i = 0; i < SAMPLES; i++) {
		faults = page_trace_faults_of(trace, epc_pages, "adaptive", i, &soft);
		adaptive += faults;
		sums->worst_sample = fmax(sums->worst_sample, (double)faults / (double)upstream);
	}
	adaptive /= SAMPLES;
	ratio = (double)adaptive / (double)upstream;
	if (ratio > 1.03) {
		printf("# %s in %u pages: %lu faults, Linux %lu, the optimum %lu\n", name,
		       epc_pages, adaptive, upstream, best);
		sums->worse++;
	}
	if (ratio > sums->worst)
		sums->worst = ratio;
	sums->log_upstream += log((double)upstream / (double)best);
	sums->log_adaptive += log((double)adaptive / (double)best);
	sums->rows++;
}

static void test_families(uint32_t pages)
{
	static const uint32_t percents[] = { 10, 25, 50, 75 };
	const struct trace_family *family;
	struct sums sums = { 0 };
	struct page_trace trace;
	double upstream, way;
	unsigned int i, k;

	for (i = 0; (family = trace_family_at(i)); i++) {
		page_trace_make(&trace, family, pages, 1);
		for (k = 0; k < 4; k++)
			row(family->name, &trace, percents[k], &sums);
		page_trace_fini(&trace);
	}
	upstream = exp(sums.log_upstream / sums.rows);
	way = 100 * (upstream - exp(sums.log_adaptive / sums.rows)) / (upstream - 1);
	TAP_CHECK(way >= WAY_PERCENT, "%u pages: %.1f %% of the way to the optimum", pages, way);
	TAP_CHECK(sums.worse * ROWS_WORSE_PART <= sums.rows,
		  "%u pages: %u of %u rows are more than 3 %% worse than Linux's", pages,
		  sums.worse, sums.rows);
	TAP_CHECK(sums.worst < WORST, "%u pages: the worst row by %.1f %%", pages,
		  100 * (sums.worst - 1));
	TAP_CHECK(sums.worst_sample < WORST_SAMPLE, "%u pages: in one sample by %.1f %%", pages,
		  100 * (sums.worst_sample - 1));
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		test_families(150);
		test_families(700);
	}
	for (int i = 1; i < argc; i++)
		test_families((uint32_t)strtoul(argv[i], NULL, 10));
	return tap_done();
}
