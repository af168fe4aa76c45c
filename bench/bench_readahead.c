/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What read-ahead saves and what it wastes, pattern by pattern: an enclave whose pages are four times the EPC is touched
 * through the real owner, manager and policy, with page tables that are modelled (tests/lib/space.h), once without
 * read-ahead and once with it.  All numbers are for 100 touches, of the second half of them.
 *
 *   bench_readahead [--json] [POLICY]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "epc/policy.h"
#include "lib/space.h"
#include "option.h"
#include "table.h"

enum { EPC_PAGES = 1024, PAGES = 4 * EPC_PAGES, TOUCHES = 16 * PAGES };

static struct space s;
static uint64_t rng;

static uint64_t rnd(uint64_t below)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (rng >> 33) % below;
}

/* ---- patterns: the page of touch @i, of an enclave of @n pages ------------------------------------- */

static uint64_t up(uint64_t i, uint64_t n)
{
	return i % n;
}

static uint64_t down(uint64_t i, uint64_t n)
{
	return n - 1 - i % n;
}

static uint64_t up_and_down(uint64_t i, uint64_t n)
{
	return i / n % 2 ? down(i, n) : up(i, n);
}

/* Every second page, and then again those. */
static uint64_t stride_2(uint64_t i, uint64_t n)
{
	return i * 2 % n;
}

static uint64_t stride_3(uint64_t i, uint64_t n)
{
	return i * 3 % (n - n % 3);
}

static uint64_t stride_8(uint64_t i, uint64_t n)
{
	return i * 8 % n;
}

/* A matrix of 64 pages a row, by columns. */
static uint64_t columns(uint64_t i, uint64_t n)
{
	return i * 64 % n + i * 64 / n % 64;
}

static uint64_t copy(uint64_t i, uint64_t n)
{
	return i % 2 * (n / 2) + i / 2 % (n / 2);
}

static uint64_t reverse(uint64_t i, uint64_t n)
{
	return i % 2 ? n - 1 - i / 2 % (n / 2) : i / 2 % (n / 2);
}

static uint64_t four(uint64_t i, uint64_t n)
{
	return i % 4 * (n / 4) + i / 4 % (n / 4);
}

static uint64_t any(uint64_t i, uint64_t n)
{
	return rnd(n);
}

/* By Zipf's law with an exponent of 0.9; neighbours in rank are not neighbours. */
static uint64_t zipf(uint64_t i, uint64_t n)
{
	double u = (double)rnd(1 << 30) / (1 << 30);
	uint64_t rank = (uint64_t)pow(u * (pow((double)n, 0.1) - 1) + 1, 10) - 1;

	return (rank < n ? rank : n - 1) * 2654435761ull % n;
}

/* Runs of so many pages, anywhere. */
static uint64_t run(uint64_t i, uint64_t n, uint64_t length)
{
	static uint64_t first;

	if (i % length == 0)
		first = rnd(n - length);
	return first + i % length;
}

static uint64_t runs_4(uint64_t i, uint64_t n)
{
	return run(i, n, 4);
}

static uint64_t runs_6(uint64_t i, uint64_t n)
{
	return run(i, n, 6);
}

static uint64_t runs_16(uint64_t i, uint64_t n)
{
	return run(i, n, 16);
}

static uint64_t runs_64(uint64_t i, uint64_t n)
{
	return run(i, n, 64);
}

/* Every other touch goes to a hot eighth, the others go through the rest. */
static uint64_t hot_and_scan(uint64_t i, uint64_t n)
{
	return i % 2 ? rnd(n / 8) : n / 8 + i / 2 % (n - n / 8);
}

/* ---- the table ------------------------------------------------------------------------------------- */

static const struct pattern {
	const char *name;
	uint64_t (*page)(uint64_t i, uint64_t n);
	uint64_t pages;
} patterns[] = {
	{ "up", up, PAGES },
	{ "down", down, PAGES },
	{ "up and down", up_and_down, PAGES },
	{ "stride 2", stride_2, 2 * PAGES },
	{ "stride 3", stride_3, 3 * PAGES },
	{ "stride 8", stride_8, 8 * PAGES },
	{ "columns of a matrix", columns, PAGES },
	{ "two streams", copy, PAGES },
	{ "two, one downwards", reverse, PAGES },
	{ "four streams", four, PAGES },
	{ "loop of 1.25 EPCs", up, 5 * EPC_PAGES / 4 },
	{ "loop of 2 EPCs", up, 2 * EPC_PAGES },
	{ "hot set and scan", hot_and_scan, PAGES },
	{ "random", any, PAGES },
	{ "Zipf", zipf, PAGES },
	{ "runs of 4", runs_4, PAGES },
	{ "runs of 6", runs_6, PAGES },
	{ "runs of 16", runs_16, PAGES },
	{ "runs of 64", runs_64, PAGES },
};

struct counts {
	double faults, loads, ahead, used, wasted;
};

static struct counts counts_now(void)
{
	return (struct counts){
		.faults = (double)s.faults,
		.loads = (double)space_count(&s, EPC_LOADS),
		.ahead = (double)space_count(&s, EPC_READAHEADS),
		.used = (double)space_count(&s, EPC_READAHEAD_USED),
		.wasted = (double)space_count(&s, EPC_READAHEAD_WASTED),
	};
}

static struct counts measure(const struct pattern *p, const char *policy, bool ahead)
{
	const double scale = 100.0 / (TOUCHES / 2);
	struct counts before, c;

	rng = 1;
	space_init(&s, EPC_PAGES, p->pages, policy);
	if (!ahead)
		space_no_readahead(&s);
	for (uint64_t i = 0; i < TOUCHES / 2; i++)
		space_touch(&s, p->page(i, p->pages));
	before = counts_now();
	for (uint64_t i = TOUCHES / 2; i < TOUCHES; i++)
		space_touch(&s, p->page(i, p->pages));
	c = counts_now();
	if (s.wrong) {
		fprintf(stderr, "bench_readahead: a touch did not find what it had to\n");
		exit(1);
	}
	build_fini(&s.b);
	world_destroy(&s.w);
	space_destroy(&s);
	return (struct counts){ .faults = (c.faults - before.faults) * scale,
				.loads = (c.loads - before.loads) * scale,
				.ahead = (c.ahead - before.ahead) * scale,
				.used = (c.used - before.used) * scale,
				.wasted = (c.wasted - before.wasted) * scale };
}

/* "wait" are faults that wait for a page, "soft" those by which the policy sees a use. */
static const struct table_column numbers[] = {
	{ "wait off", NULL, 1 }, { "soft off", NULL, 1 }, { "wait", NULL, 1 },
	{ "soft", NULL, 1 },     { "loads", NULL, 1 },    { "ahead", NULL, 1 },
	{ "used", NULL, 1 },     { "wasted", NULL, 1 },
};

static void row(struct table *table, const struct pattern *p, const char *policy)
{
	struct counts off = measure(p, policy, false), on = measure(p, policy, true);
	const double value[] = {
		off.loads,
		off.faults - off.loads,
		on.loads - on.ahead,
		on.faults - (on.loads - on.ahead),
		on.loads,
		on.ahead,
		on.used,
		on.wasted,
	};

	table_row(table, p->name, NULL, value);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	const char **policy = state->input;

	if (key != ARGP_KEY_ARG || *policy)
		return ARGP_ERR_UNKNOWN;
	if (!policy_find(arg))
		argp_error(state, "there is no policy '%s'", arg);
	*policy = arg;
	return 0;
}

int main(int argc, char **argv)
{
	static const struct argp own = { .parser = parse, .args_doc = "[POLICY]" };
	const char *policy = NULL;
	struct table table;

	table_open(&table,
		   option_parse(argc, argv,
				"What read-ahead saves and what it wastes, pattern by pattern.",
				&own, &policy));
	table_begin(&table, "for 100 touches, without read-ahead (off) and with it",
		    (struct table_label[TABLE_LABELS_MAX]){ { "pattern", 20 } }, numbers,
		    sizeof(numbers) / sizeof(numbers[0]));
	for (unsigned int i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		row(&table, &patterns[i], policy);
	table_close(&table);
	return 0;
}
