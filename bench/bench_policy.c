/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Faults of each eviction policy over page traces, beside the optimum that knows the future (Belady's), through
 * the real manager: real batches, real watermarks, pages without contents.
 *
 *   bench_policy [OPTION...] TRACE...          a page number a line; .zst is read by way of zstd(1)
 *   bench_policy [OPTION...] --families PAGES  those that tests/lib/trace_family.c makes, of about so many pages
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
#include "option.h"
#include "table.h"

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
		unsigned int sample, struct table *table, struct sums *sums)
{
	uint32_t epc_pages = epc_pages_of(trace, percent);
	unsigned long best, upstream, faults, soft;
	double value[1 + POLICIES_MAX];
	char size[8];
	unsigned int p;

	best = page_trace_optimum(trace, epc_pages);
	upstream = page_trace_faults(trace, epc_pages, "upstream", &soft);
	value[0] = (double)best;
	for (p = 0; policy_at(p); p++) {
		faults = page_trace_faults_of(trace, epc_pages, policy_at(p)->name, sample, &soft);
		value[1 + p] = (double)faults / (double)best;
		sums->soft[p] += (double)soft / (double)faults;
		sums->log_ratio[p] += log((double)faults / (double)best);
		sums->log_cost[p] += log(cost_of(faults, soft) / (double)best);
		if ((double)faults / (double)upstream > sums->worst[p])
			sums->worst[p] = (double)faults / (double)upstream;
	}
	snprintf(size, sizeof(size), "%u%%", percent);
	table_row(table, name, size, value);
	sums->nr++;
}

/* From upstream's to the optimum, which has 1. */
static double part_of_way(double log_upstream, double log_sum, unsigned int nr)
{
	double upstream = exp(log_upstream / nr);

	return 100 * (upstream - exp(log_sum / nr)) / (upstream - 1);
}

static unsigned int upstream_index(void)
{
	unsigned int p = 0;

	while (strcmp(policy_at(p)->name, "upstream") != 0)
		p++;
	return p;
}

static void means(struct table *table, const struct sums *sums, const char *name)
{
	double mean[1 + POLICIES_MAX] = { NAN }, soft[1 + POLICIES_MAX] = { NAN };
	double way[POLICIES_MAX], cost[POLICIES_MAX], worst[POLICIES_MAX];
	unsigned int upstream = upstream_index(), p;

	for (p = 0; policy_at(p); p++) {
		mean[1 + p] = exp(sums->log_ratio[p] / sums->nr);
		soft[1 + p] = sums->soft[p] / sums->nr;
		way[p] = part_of_way(sums->log_ratio[upstream], sums->log_ratio[p], sums->nr);
		cost[p] = part_of_way(sums->log_cost[upstream], sums->log_cost[p], sums->nr);
		worst[p] = 100 * (sums->worst[p] - 1);
	}
	table_row(table, name, "mean", mean);
	table_row_percent(table, name, "way", way, p);
	table_row_percent(table, name, "worst", worst, p);
	table_row(table, name, "soft", soft);
	table_row_percent(table, name, "way, cost", cost, p);
}

static void all_means(struct table *table, const struct sums *sums)
{
	struct sums all = { .nr = 0 };
	unsigned int p, k;
	char name[20];

	for (k = 0; k < PERCENTS && sums[k].nr; k++) {
		snprintf(name, sizeof(name), "all at %u%%", percents[k]);
		means(table, &sums[k], name);
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
		means(table, &all, "all");
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

static void sample_print(struct table *table, const struct samples *s, const char *name,
			 const struct sample *one)
{
	table_row(table, name, one->worst_row,
		  (double[]){
			  part_of_way(s->upstream.log_ratio, one->log_ratio, s->rows),
			  part_of_way(s->upstream.log_cost, one->log_cost, s->rows),
			  one->worse,
			  one->soft / s->rows,
			  100 * (one->worst - 1),
		  });
}

static void samples_print(struct table *table, const struct samples *s)
{
	static const struct table_label label[TABLE_LABELS_MAX] = { { "sample", 8 },
								    { "worst row", 16 } };
	static const struct table_column column[] = {
		{ "way", "%", 1 },   { "way, cost", "%", 1 }, { "over 3 %", NULL, 0 },
		{ "soft", NULL, 2 }, { "worst", "%", 1 },
	};
	char name[48];

	snprintf(name, sizeof(name), "%s, %u rows", policy_at(0)->name, s->rows);
	table_begin(table, name, label, column, sizeof(column) / sizeof(column[0]));
	for (unsigned int i = 0; i < s->nr; i++) {
		snprintf(name, sizeof(name), "%u", i);
		sample_print(table, s, name, &s->one[i]);
	}
	sample_print(table, s, "means", &s->mean);
}

/* ---- what is asked for ----------------------------------------------------------------------- */

struct asked {
	unsigned int sample;
	unsigned long family_pages; /* 0: there are traces */
	unsigned int trace_nr;
	char **trace;
	struct samples samples; /* of none: the table is */
	struct sums sums[PERCENTS];
};

static void rows(const char *name, struct page_trace *trace, struct asked *asked,
		 struct table *table)
{
	unsigned int k;

	for (k = 0; k < PERCENTS; k++) {
		if (asked->samples.nr)
			samples_row(name, trace, percents[k], &asked->samples);
		else
			row(name, trace, percents[k], asked->sample, table, &asked->sums[k]);
	}
	page_trace_fini(trace);
}

static void head(const struct asked *asked, struct table *table)
{
	const struct table_label label[TABLE_LABELS_MAX] = {
		{ "trace", asked->family_pages ? 32 : 14 },
		{ "EPC", 9 },
	};
	struct table_column column[1 + POLICIES_MAX] = { { "optimum", "faults", 0 } };
	unsigned int p;

	if (asked->samples.nr)
		return;
	for (p = 0; policy_at(p); p++)
		column[1 + p] = (struct table_column){ policy_at(p)->name, NULL, 3 };
	table_begin(table, "faults by those of the optimum", label, column, 1 + p);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct asked *asked = state->input;
	char *end;

	switch (key) {
	case 'f':
		asked->family_pages = option_number(state, "--families", arg);
		if (asked->family_pages < 64 || asked->family_pages > 10000)
			argp_error(state, "--families: from 64 to 10000 pages, and not %s", arg);
		return 0;
	case 's':
		asked->sample = (unsigned int)strtoul(arg, &end, 10);
		if (end == arg || *end || *arg == '-')
			argp_error(state, "--sample: '%s' is no number", arg);
		return 0;
	case 'n':
		asked->samples.nr = (unsigned int)option_number(state, "--samples", arg);
		if (asked->samples.nr > SAMPLES_MAX)
			argp_error(state, "--samples: %u at the most", SAMPLES_MAX);
		return 0;
	case ARGP_KEY_ARGS:
		asked->trace = state->argv + state->next;
		asked->trace_nr = (unsigned int)(state->argc - state->next);
		return 0;
	case ARGP_KEY_END:
		if ((asked->family_pages != 0) == (asked->trace_nr != 0))
			argp_error(state, "traces, or --families PAGES");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "families", 'f', "PAGES", 0, "programs that are made up, of about so many pages",
		  0 },
		{ "sample", 's', "N", 0,
		  "the pages of the N-th owner, from 0: others of them are played, other ghosts "
		  "collide",
		  0 },
		{ "samples", 'n', "N", 0,
		  "the default policy alone, in N samples: each, and the means of rows over all",
		  0 },
		{ 0 },
	};
	static const struct argp own = { .options = options,
					 .parser = parse,
					 .args_doc = "[TRACE...]" };
	static struct asked asked;
	struct page_trace trace;
	struct table table;
	unsigned int i;

	table_open(&table,
		   option_parse(argc, argv,
				"Faults of each policy over page traces, beside Belady's optimum.",
				&own, &asked));
	head(&asked, &table);
	for (i = 0; asked.family_pages && trace_family_at(i); i++) {
		page_trace_make(&trace, trace_family_at(i), (uint32_t)asked.family_pages, 1);
		rows(trace_family_at(i)->name, &trace, &asked, &table);
	}
	for (i = 0; i < asked.trace_nr; i++) {
		if (!page_trace_read(&trace, asked.trace[i])) {
			fprintf(stderr, "bench_policy: cannot read %s\n", asked.trace[i]);
			return 1;
		}
		rows(short_name(asked.trace[i]), &trace, &asked, &table);
	}
	if (asked.samples.nr)
		samples_print(&table, &asked.samples);
	else
		all_means(&table, asked.sums);
	table_close(&table);
	return 0;
}
