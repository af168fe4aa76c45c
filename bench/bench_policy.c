/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Faults of each eviction policy over page traces, beside the optimum that knows the future (Belady's), through
 * the real manager: real batches, real watermarks, pages without contents.
 *
 *   bench_policy TRACE...          a page number a line; .zst is read by way of zstd(1)
 *   bench_policy --families PAGES  those that tests/lib/trace_family.c makes, of about so many pages
 *
 * A row is a trace at an EPC of so many per cent of its pages.  "way" is how far a policy goes from upstream's
 * faults to the optimum's, on the geometric mean over the traces; "way, cost" is the same of what faults and soft faults
 * cost together, for which the optimum pays nothing.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "epc/policy.h"
#include "lib/page_trace.h"

enum { POLICIES_MAX = 16, PERCENTS = 4, SOFT_PART = 3 /* of a fault costs a soft one */ };
static const unsigned int percents[PERCENTS] = { 10, 25, 50, 75 };

/* ---- the table ----------------------------------------------------------------------------- */

struct sums {
	double log_ratio[POLICIES_MAX]; /* of faults to the optimum's */
	double worst[POLICIES_MAX];     /* faults against upstream's */
	double soft[POLICIES_MAX];      /* soft faults for one fault, to see uses */
	double log_cost[POLICIES_MAX]; /* of faults and what the soft ones cost, to the optimum's */
	unsigned int nr;
};

static const char *short_name(const char *path)
{
	static char name[15];
	const char *slash = strrchr(path, '/');

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(slash ? slash + 1 : path, "."),
		 slash ? slash + 1 : path);
	return name;
}

static void row(const char *name, const struct page_trace *trace, unsigned int percent,
		struct sums *sums)
{
	uint32_t epc_pages = (uint32_t)((uint64_t)trace->pages * percent / 100);
	unsigned long best, upstream, faults, soft;
	unsigned int p;

	if (epc_pages < 16)
		epc_pages = 16;
	best = page_trace_optimum(trace, epc_pages);
	upstream = page_trace_faults(trace, epc_pages, "upstream", &soft);
	printf("%-14.14s %3u%% %8lu", name, percent, best);
	for (p = 0; policy_at(p); p++) {
		faults = page_trace_faults(trace, epc_pages, policy_at(p)->name, &soft);
		printf(" %10.3f", (double)faults / (double)best);
		sums->soft[p] += (double)soft / (double)faults;
		sums->log_ratio[p] += log((double)faults / (double)best);
		sums->log_cost[p] +=
			log(((double)faults + (double)soft / SOFT_PART) / (double)best);
		if ((double)faults / (double)upstream > sums->worst[p])
			sums->worst[p] = (double)faults / (double)upstream;
	}
	putchar('\n');
	sums->nr++;
}

/* From upstream's to the optimum, which has 1. */
static void way(const double log_sum[POLICIES_MAX], unsigned int nr, const char *name)
{
	double upstream = 1;
	unsigned int p;

	for (p = 0; policy_at(p); p++) {
		if (!strcmp(policy_at(p)->name, "upstream"))
			upstream = exp(log_sum[p] / nr);
	}
	printf("\n%-14s %13s", "", name);
	for (p = 0; policy_at(p); p++)
		printf(" %9.0f%%", 100 * (upstream - exp(log_sum[p] / nr)) / (upstream - 1));
}

static void means(const struct sums *sums, const char *name)
{
	unsigned int p;

	printf("%-14s %13s", name, "mean");
	for (p = 0; policy_at(p); p++)
		printf(" %10.3f", exp(sums->log_ratio[p] / sums->nr));
	way(sums->log_ratio, sums->nr, "way");
	printf("\n%-14s %13s", "", "worst");
	for (p = 0; policy_at(p); p++)
		printf(" %9.1f%%", 100 * (sums->worst[p] - 1));
	printf("\n%-14s %13s", "", "soft");
	for (p = 0; policy_at(p); p++)
		printf(" %10.2f", sums->soft[p] / sums->nr);
	way(sums->log_cost, sums->nr, "way, cost");
	putchar('\n');
}

static void rows(const char *name, struct page_trace *trace, struct sums *sums)
{
	unsigned int k;

	for (k = 0; k < PERCENTS; k++)
		row(name, trace, percents[k], &sums[k]);
	page_trace_fini(trace);
}

static void all_means(const struct sums *sums)
{
	struct sums all = { .nr = 0 };
	unsigned int p, k;
	char name[20];

	for (k = 0; k < PERCENTS && sums[k].nr; k++) {
		snprintf(name, sizeof(name), "all at %u%%", percents[k]);
		means(&sums[k], name);
		for (p = 0; policy_at(p); p++) {
			all.log_ratio[p] += sums[k].log_ratio[p];
			all.log_cost[p] += sums[k].log_cost[p];
			all.soft[p] += sums[k].soft[p];
			if (sums[k].worst[p] > all.worst[p])
				all.worst[p] = sums[k].worst[p];
		}
		all.nr += sums[k].nr;
	}
	if (all.nr)
		means(&all, "all");
}

int main(int argc, char **argv)
{
	static struct sums sums[PERCENTS];
	bool families = argc == 3 && !strcmp(argv[1], "--families");
	unsigned long pages = families ? strtoul(argv[2], NULL, 10) : 0;
	struct page_trace trace;
	unsigned int p;
	int i;

	if (families && (pages < 64 || pages > 10000)) {
		fprintf(stderr, "bench_policy: 64 to 10000 pages\n");
		return 1;
	}
	printf("faults by those of the optimum\n%-14s %4s %8s", "trace", "EPC", "optimum");
	for (p = 0; policy_at(p); p++)
		printf(" %10s", policy_at(p)->name);
	putchar('\n');
	for (p = 0; families && trace_family_at(p); p++) {
		page_trace_make(&trace, trace_family_at(p), (uint32_t)pages, 1);
		rows(trace_family_at(p)->name, &trace, sums);
	}
	for (i = 1; i < argc && !families; i++) {
		if (!page_trace_read(&trace, argv[i])) {
			fprintf(stderr, "bench_policy: cannot read %s\n", argv[i]);
			return 1;
		}
		rows(short_name(argv[i]), &trace, sums);
	}
	all_means(sums);
	return 0;
}
