/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What an EPC says of larger ones (epc/refault.h), against what they do: each trace is run at some sizes, and again at each of the
 * larger ones that the first told of.
 *
 *   bench_larger [OPTION...] TRACE...          a page number a line; .zst is read by way of zstd(1)
 *   bench_larger [OPTION...] --families PAGES  those that tests/lib/trace_family.c makes, of about so many pages
 *
 * Rows are policies.  Loads are told and had in per cent of those of the smaller EPC, and compared by their difference.
 */
#include <math.h>
#include <string.h>

#include "epc/policy.h"
#include "lib/page_trace.h"
#include "option.h"
#include "table.h"

enum { POLICIES_MAX = 16, PERCENTS = 3, EVERY = 2 /* of the sizes that are told */ };
static const unsigned int percents[PERCENTS] = { 10, 30, 50 };

struct sums {
	double off, more;
	double worst;
	unsigned int nr;
};

static void compare(const struct page_trace *trace, uint32_t epc_pages, const char *policy,
		    struct sums *sums)
{
	struct epc_larger larger, other;
	unsigned long loads = page_trace_larger(trace, epc_pages, policy, &larger) - trace->pages;
	unsigned int i;
	uint64_t pages;
	double off;

	for (i = 1; i < EPC_LARGER_NR && larger.loads > 0 && loads > 0; i += EVERY) {
		pages = epc_larger_pages(epc_pages, i);
		if (pages >= trace->pages)
			break;
		off = 100 * epc_larger_loads(&larger, i) -
		      100 *
			      (double)(page_trace_larger(trace, (uint32_t)pages, policy, &other) -
				       trace->pages) /
			      (double)loads;
		sums->off += fabs(off);
		sums->more += off;
		sums->worst = fabs(off) > fabs(sums->worst) ? off : sums->worst;
		sums->nr++;
	}
}

struct asked {
	unsigned long family_pages; /* 0: there are traces */
	unsigned int trace_nr;
	char **trace;
	struct sums sums[POLICIES_MAX];
};

static void compare_all(struct asked *asked, struct page_trace *trace)
{
	unsigned int k, p;

	for (k = 0; k < PERCENTS; k++) {
		for (p = 0; policy_at(p); p++)
			compare(trace, (uint32_t)((uint64_t)trace->pages * percents[k] / 100),
				policy_at(p)->name, &asked->sums[p]);
	}
	page_trace_fini(trace);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct asked *asked = state->input;

	switch (key) {
	case 'f':
		asked->family_pages = option_number(state, "--families", arg);
		if (asked->family_pages < 10000 || asked->family_pages > 100000)
			argp_error(state, "--families: from 10000 to 100000 pages, and not %s",
				   arg);
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

static void print(const struct asked *asked, bool json)
{
	static const struct table_label label[TABLE_LABELS_MAX] = { { "policy", 10 } };
	static const struct table_column column[] = {
		{ "sizes", NULL, 0 },
		{ "off, mean", "%", 1 },
		{ "too many", "%", 1 },
		{ "worst", "%", 1 },
	};
	struct table table;

	table_open(&table, json);
	table_begin(&table, "loads in larger EPCs, as told less as they are", label, column,
		    sizeof(column) / sizeof(column[0]));
	for (unsigned int p = 0; policy_at(p); p++) {
		const struct sums *s = &asked->sums[p];

		table_row(&table, policy_at(p)->name, NULL,
			  (double[]){ s->nr, s->nr ? s->off / s->nr : NAN,
				      s->nr ? s->more / s->nr : NAN, s->nr ? s->worst : NAN });
	}
	table_close(&table);
}

int main(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "families", 'f', "PAGES", 0, "programs that are made up, of about so many pages",
		  0 },
		{ 0 },
	};
	static const struct argp own = { .options = options,
					 .parser = parse,
					 .args_doc = "[TRACE...]" };
	static struct asked asked;
	struct page_trace trace;
	unsigned int i;
	bool json;

	json = option_parse(argc, argv, "What an EPC says of larger ones, against what they do.",
			    &own, &asked);
	for (i = 0; i < asked.trace_nr; i++) {
		if (!page_trace_read(&trace, asked.trace[i])) {
			fprintf(stderr, "bench_larger: %s: cannot be read, or has no page\n",
				asked.trace[i]);
			return 1;
		}
		compare_all(&asked, &trace);
	}
	for (i = 0; asked.family_pages && trace_family_at(i); i++) {
		page_trace_make(&trace, trace_family_at(i), (uint32_t)asked.family_pages, 1);
		compare_all(&asked, &trace);
	}
	print(&asked, json);
	return 0;
}
