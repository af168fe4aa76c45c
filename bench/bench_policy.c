/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Faults of each eviction policy over page traces, beside the optimum that knows the future (Belady's), through
 * the real manager: real batches, real watermarks, pages without contents.
 *
 *   bench_policy [OPTION] TRACE...          a page number a line; .zst is read by way of zstd(1)
 *   bench_policy [OPTION] --families PAGES  those that tests/lib/trace_family.c makes, of about so many pages
 *
 *   --sample N   the pages are those of the N-th owner, from 0: another sample of them is played, other ghosts collide
 *   --samples N  the default policy alone, in N samples: each of them, and the means of rows over all
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

enum {
	POLICIES_MAX = 16,
	PERCENTS = 4,
	SAMPLES_MAX = 64,
	SOFT_PART = 3 /* of a fault costs a soft one */
};
static const unsigned int percents[PERCENTS] = { 10, 25, 50, 75 };

/* ---- the table ----------------------------------------------------------------------------- */

struct sums {
	double log_ratio[POLICIES_MAX]; /* of faults to the optimum's */
	double worst[POLICIES_MAX];     /* faults against upstream's */
	double soft[POLICIES_MAX];      /* soft faults for one fault, to see uses */
	double log_cost[POLICIES_MAX]; /* of faults and what the soft ones cost, to the optimum's */
	unsigned int nr;
};

static double cost_of(unsigned long faults, unsigned long soft)
{
	return (double)faults + (double)soft / SOFT_PART;
}

static const char *short_name(const char *path)
{
	static char name[15];
	const char *slash = strrchr(path, '/');

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(slash ? slash + 1 : path, "."),
		 slash ? slash + 1 : path);
	return name;
}

static uint32_t epc_pages_of(const struct page_trace *trace, unsigned int percent)
{
	uint32_t nr = (uint32_t)((uint64_t)trace->pages * percent / 100);

	return nr < 16 ? 16 : nr;
}

static void row(const char *name, const struct page_trace *trace, unsigned int percent,
		unsigned int sample, struct sums *sums)
{
	uint32_t epc_pages = epc_pages_of(trace, percent);
	unsigned long best, upstream, faults, soft;
	unsigned int p;

	best = page_trace_optimum(trace, epc_pages);
	upstream = page_trace_faults(trace, epc_pages, "upstream", &soft);
	printf("%-14.14s %3u%% %8lu", name, percent, best);
	for (p = 0; policy_at(p); p++) {
		faults = page_trace_faults_of(trace, epc_pages, policy_at(p)->name, sample, &soft);
		printf(" %10.3f", (double)faults / (double)best);
		sums->soft[p] += (double)soft / (double)faults;
		sums->log_ratio[p] += log((double)faults / (double)best);
		sums->log_cost[p] += log(cost_of(faults, soft) / (double)best);
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

/* ---- samples --------------------------------------------------------------------------------- */

/* Of the default policy, over rows. */
struct sample {
	double log_ratio, log_cost;
	double worst; /* faults against upstream's */
	char worst_row[24];
	double soft;
	unsigned int worse; /* rows that are more than 3 % worse */
};

struct samples {
	unsigned int nr, rows;
	struct sample one[SAMPLES_MAX];
	struct sample mean;     /* of each row's means */
	struct sample upstream; /* the same in all */
};

static void sample_add(struct sample *s, const char *row, double faults, double soft,
		       unsigned long best, unsigned long upstream)
{
	double ratio = faults / (double)upstream;

	s->log_ratio += log(faults / (double)best);
	s->log_cost += log((faults + soft / SOFT_PART) / (double)best);
	s->soft += soft / faults;
	s->worse += ratio > 1.03;
	if (ratio > s->worst) {
		s->worst = ratio;
		snprintf(s->worst_row, sizeof(s->worst_row), "%s", row);
	}
}

static void samples_row(const char *name, const struct page_trace *trace, unsigned int percent,
			struct samples *s)
{
	uint32_t epc_pages = epc_pages_of(trace, percent);
	unsigned long best = page_trace_optimum(trace, epc_pages), upstream, faults, soft;
	double all = 0, all_soft = 0;
	char row[24];
	unsigned int i;

	snprintf(row, sizeof(row), "%.15s %u%%", name, percent);
	upstream = page_trace_faults(trace, epc_pages, "upstream", &soft);
	sample_add(&s->upstream, row, (double)upstream, (double)soft, best, upstream);
	for (i = 0; i < s->nr; i++) {
		faults = page_trace_faults_of(trace, epc_pages, policy_at(0)->name, i, &soft);
		all += (double)faults;
		all_soft += (double)soft;
		sample_add(&s->one[i], row, (double)faults, (double)soft, best, upstream);
	}
	sample_add(&s->mean, row, all / s->nr, all_soft / s->nr, best, upstream);
	s->rows++;
}

static double part_of_way(double log_upstream, double log_sum, unsigned int nr)
{
	double upstream = exp(log_upstream / nr);

	return 100 * (upstream - exp(log_sum / nr)) / (upstream - 1);
}

static void sample_print(const struct samples *s, const char *name, const struct sample *one)
{
	printf("%-8s %6.1f%% %10.1f%% %8u %6.2f %+7.1f%%  %s\n", name,
	       part_of_way(s->upstream.log_ratio, one->log_ratio, s->rows),
	       part_of_way(s->upstream.log_cost, one->log_cost, s->rows), one->worse,
	       one->soft / s->rows, 100 * (one->worst - 1), one->worst_row);
}

static void samples_print(const struct samples *s)
{
	char name[16];

	printf("%s, %u rows\n%-8s %7s %11s %8s %6s %8s\n", policy_at(0)->name, s->rows, "sample",
	       "way", "way, cost", "over 3%", "soft", "worst");
	for (unsigned int i = 0; i < s->nr; i++) {
		snprintf(name, sizeof(name), "%u", i);
		sample_print(s, name, &s->one[i]);
	}
	sample_print(s, "means", &s->mean);
}

/* ---- what is asked for ----------------------------------------------------------------------- */

struct asked {
	unsigned int sample;
	struct samples samples; /* of none: the table is */
	struct sums sums[PERCENTS];
};

static void rows(const char *name, struct page_trace *trace, struct asked *asked)
{
	unsigned int k;

	for (k = 0; k < PERCENTS; k++) {
		if (asked->samples.nr)
			samples_row(name, trace, percents[k], &asked->samples);
		else
			row(name, trace, percents[k], asked->sample, &asked->sums[k]);
	}
	page_trace_fini(trace);
}

static void head(const struct asked *asked)
{
	unsigned int p;

	if (asked->samples.nr)
		return;
	printf("faults by those of the optimum\n%-14s %4s %8s", "trace", "EPC", "optimum");
	for (p = 0; policy_at(p); p++)
		printf(" %10s", policy_at(p)->name);
	putchar('\n');
}

/* The first argument that is no option; 0: wrong. */
static int options(struct asked *asked, int argc, char **argv)
{
	unsigned long nr;

	if (argc < 2)
		return 0;
	if (strcmp(argv[1], "--sample") != 0 && strcmp(argv[1], "--samples") != 0)
		return 1;
	if (argc < 4)
		return 0;
	nr = strtoul(argv[2], NULL, 10);
	if (nr > SAMPLES_MAX)
		return 0;
	if (!strcmp(argv[1], "--sample"))
		asked->sample = (unsigned int)nr;
	else
		asked->samples.nr = (unsigned int)nr;
	return 3;
}

int main(int argc, char **argv)
{
	static struct asked asked;
	int i = options(&asked, argc, argv);
	bool families = i > 0 && argc == i + 2 && !strcmp(argv[i], "--families");
	unsigned long pages = families ? strtoul(argv[i + 1], NULL, 10) : 0;
	struct page_trace trace;
	unsigned int p;

	if (i == 0 || (families && (pages < 64 || pages > 10000))) {
		fprintf(stderr,
			"bench_policy [--sample N | --samples N] TRACE... | --families PAGES\n"
			"so many samples: %u at the most; 64 to 10000 pages\n",
			SAMPLES_MAX);
		return 1;
	}
	head(&asked);
	for (p = 0; families && trace_family_at(p); p++) {
		page_trace_make(&trace, trace_family_at(p), (uint32_t)pages, 1);
		rows(trace_family_at(p)->name, &trace, &asked);
	}
	for (; i < argc && !families; i++) {
		if (!page_trace_read(&trace, argv[i])) {
			fprintf(stderr, "bench_policy: cannot read %s\n", argv[i]);
			return 1;
		}
		rows(short_name(argv[i]), &trace, &asked);
	}
	if (asked.samples.nr)
		samples_print(&asked.samples);
	else
		all_means(asked.sums);
	return 0;
}
