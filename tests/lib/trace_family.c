/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Families of programs that use pages: seeded, so that a trace is always the same.  None imitates a trace that there is;
 * each is what an algorithm or a habit of programs does to pages.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/page_trace.h"

enum { USES_A_PAGE = 40, USES_MIN = 20000, USES_MAX = 80000, NUMBERS = 1 << 17 };

struct page_gen {
	uint32_t *use;
	size_t nr, max;
	uint64_t rng;
};

static uint32_t *numbers_or_die(size_t n)
{
	uint32_t *p = calloc(n, sizeof(*p));

	if (!p) {
		perror("trace_family");
		exit(1);
	}
	return p;
}

/* ---- what families are made of -------------------------------------------------------------------- */

static uint32_t rnd(struct page_gen *g, uint32_t below)
{
	g->rng = g->rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((g->rng >> 32) * below >> 32);
}

static double rnd_unit(struct page_gen *g) { return (rnd(g, 1u << 30) + 0.5) / (1u << 30); }

static bool goes_on(const struct page_gen *g) { return g->nr < g->max; }

static void use(struct page_gen *g, uint32_t page)
{
	if (g->nr < g->max)
		g->use[g->nr++] = page % NUMBERS;
}

static void sweep(struct page_gen *g, uint32_t first, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		use(g, first + i);
}

static void sweep_back(struct page_gen *g, uint32_t first, uint32_t nr)
{
	for (uint32_t i = nr; i-- > 0;)
		use(g, first + i);
}

/* 0 with the highest probability, by a continuous approximation of Zipf's law. */
static uint32_t zipf(struct page_gen *g, uint32_t n, double s)
{
	double u = rnd_unit(g), x;

	if (fabs(s - 1) < 0.01)
		x = exp(u * log(n + 1.0)) - 1;
	else
		x = pow(u * (pow(n + 1.0, 1 - s) - 1) + 1, 1 / (1 - s)) - 1;
	return x < n ? (uint32_t)x : n - 1;
}

/* The same number is somewhere else: ranks are not neighbours. */
static uint32_t scatter(uint32_t i, uint32_t n)
{
	return (uint32_t)(i * 2654435761ull % 4294967291ull % n);
}

/* ---- loops and scans ------------------------------------------------------------------------------ */

static void make_loop(struct page_gen *g, uint32_t n)
{
	while (goes_on(g))
		sweep(g, 0, n);
}

static void make_loops(struct page_gen *g, uint32_t n)
{
	while (goes_on(g)) {
		for (int i = 0; i < 6; i++)
			sweep(g, 0, n / 5);
		for (int i = 0; i < 3; i++)
			sweep(g, n / 5, n / 3);
		sweep(g, 0, n);
	}
}

static void make_nested(struct page_gen *g, uint32_t n)
{
	while (goes_on(g)) {
		for (uint32_t i = 0; i < n / 2; i += n / 16 + 1) {
			sweep(g, n / 2 + i, n / 16 + 1);
			sweep(g, 0, n / 6);
		}
	}
}

static void make_sawtooth(struct page_gen *g, uint32_t n)
{
	while (goes_on(g)) {
		sweep(g, 0, n);
		sweep_back(g, 0, n);
	}
}

static void make_random_loops(struct page_gen *g, uint32_t n)
{
	while (goes_on(g)) {
		uint32_t len = 1 + zipf(g, n, 0.7), first = rnd(g, n - len + 1);

		for (uint32_t laps = 1 + rnd(g, 6); laps > 0; laps--)
			sweep(g, first, len);
	}
}

static void make_once(struct page_gen *g, uint32_t n)
{
	for (uint32_t i = 0; goes_on(g); i++)
		use(g, i * 2 % 3 ? i / 3 : i / 3 + rnd(g, 3));
}

static void make_hot_and_scans(struct page_gen *g, uint32_t n)
{
	while (goes_on(g)) {
		for (uint32_t i = 0; i < 4 * n; i++)
			use(g, scatter(zipf(g, n / 4, 0.8), n / 4));
		sweep(g, n / 4, n - n / 4);
	}
}

static void make_hot_through_scan(struct page_gen *g, uint32_t n)
{
	for (uint32_t i = 0; goes_on(g); i++)
		use(g, i % 3 ? n / 5 + i / 3 * 2 % (n - n / 5) : rnd(g, n / 5));
}

static void make_growing_loop(struct page_gen *g, uint32_t n)
{
	while (goes_on(g)) {
		for (uint32_t len = n / 16 + 1; len < n; len += len / 8 + 1) {
			sweep(g, 0, len);
			sweep(g, 0, len);
		}
	}
}

/* ---- chance ----------------------------------------------------------------------------------------- */

static void make_uniform(struct page_gen *g, uint32_t n)
{
	while (goes_on(g))
		use(g, rnd(g, n));
}

static void make_zipf(struct page_gen *g, uint32_t n, double s)
{
	while (goes_on(g))
		use(g, zipf(g, n, s));
}

static void make_zipf_flat(struct page_gen *g, uint32_t n) { make_zipf(g, n, 0.5); }

static void make_zipf_usual(struct page_gen *g, uint32_t n) { make_zipf(g, n, 0.9); }

static void make_zipf_steep(struct page_gen *g, uint32_t n) { make_zipf(g, n, 1.3); }

/* What is popular changes all at once, each so many uses. */
static void zipf_moves(struct page_gen *g, uint32_t n, uint32_t uses)
{
	for (uint32_t shift = 0; goes_on(g); shift += rnd(g, n)) {
		for (uint32_t i = 0; i < uses; i++)
			use(g, (scatter(zipf(g, n, 1.0), n) + shift) % n);
	}
}

static void make_fashion_fast(struct page_gen *g, uint32_t n) { zipf_moves(g, n, n); }

static void make_fashion_slow(struct page_gen *g, uint32_t n) { zipf_moves(g, n, 8 * n); }

/* By distance in a stack of pages: what Linux's order likes best. */
static void stack_distances(struct page_gen *g, uint32_t n, double s, uint32_t page_new)
{
	uint32_t *stack = numbers_or_die(n), depth, page, next = n;

	for (page = 0; page < n; page++)
		stack[page] = page;
	while (goes_on(g)) {
		depth = zipf(g, n, s);
		page = stack[depth];
		if (page_new && rnd(g, page_new) == 0) {
			depth = n - 1;
			page = next++;
		}
		memmove(stack + 1, stack, depth * sizeof(uint32_t));
		stack[0] = page;
		use(g, page);
	}
	free(stack);
}

static void make_stack_near(struct page_gen *g, uint32_t n) { stack_distances(g, n, 1.2, 0); }

static void make_stack_far(struct page_gen *g, uint32_t n) { stack_distances(g, n, 0.7, 0); }

static void make_stack_new(struct page_gen *g, uint32_t n) { stack_distances(g, n / 4, 1.0, 20); }

static void drift(struct page_gen *g, uint32_t n, uint32_t width, uint32_t uses)
{
	for (uint32_t i = 0; goes_on(g); i++)
		use(g, (i / uses + rnd(g, 1 + rnd(g, width))) % n);
}

static void make_drift_fast(struct page_gen *g, uint32_t n) { drift(g, n, n / 4, 6); }

static void make_drift_slow(struct page_gen *g, uint32_t n) { drift(g, n, n / 3, 25); }

static void make_walk(struct page_gen *g, uint32_t n)
{
	for (uint32_t at = n / 2; goes_on(g);) {
		use(g, at % n);
		at += n + rnd(g, 9) - 4;
		if (rnd(g, 500) == 0)
			at = rnd(g, n);
	}
}

/* Used twice within a short time, and then not for long. */
static void make_pairs(struct page_gen *g, uint32_t n)
{
	uint32_t late[64] = { 0 };

	for (uint32_t i = 0; goes_on(g); i++) {
		uint32_t page = rnd(g, n);

		use(g, page);
		use(g, late[i % 64]);
		late[i % 64] = page;
	}
}

/* ---- phases ------------------------------------------------------------------------------------------ */

static void phases(struct page_gen *g, uint32_t n, uint32_t uses)
{
	uint32_t i, first, len;

	while (goes_on(g)) {
		first = rnd(g, n / 2);
		len = n / 8 + rnd(g, 3 * n / 8);
		switch (rnd(g, 4)) {
		case 0:
			for (i = 0; i < uses; i++)
				use(g, first + i % len);
			break;
		case 1:
			for (i = 0; i < uses; i++)
				use(g, first + zipf(g, len, 0.9));
			break;
		case 2:
			for (i = 0; i < uses; i++)
				use(g, first + (i / 8 + rnd(g, n / 8)) % len);
			break;
		default:
			for (i = 0; i < uses; i++)
				use(g, first + rnd(g, len));
		}
	}
}

static void make_phases_short(struct page_gen *g, uint32_t n) { phases(g, n, n); }

static void make_phases_long(struct page_gen *g, uint32_t n) { phases(g, n, 9 * n); }

static void make_loop_then_drift(struct page_gen *g, uint32_t n)
{
	uint32_t i;

	while (goes_on(g)) {
		for (i = 0; i < 6; i++)
			sweep(g, 0, n / 2);
		for (i = 0; i < 6 * n; i++)
			use(g, (i / 12 + rnd(g, 1 + rnd(g, n / 4))) % n);
	}
}

/* ---- algorithms ----------------------------------------------------------------------------------------- */

/* Rows of A, columns of B: a page holds part of a row. */
static void matmul(struct page_gen *g, uint32_t n, uint32_t tile)
{
	uint32_t side = (uint32_t)sqrt(n / 3.0), i, j, k, ii, jj, kk;

	while (goes_on(g)) {
		for (ii = 0; ii < side; ii += tile)
			for (jj = 0; jj < side; jj += tile)
				for (kk = 0; kk < side; kk += tile)
					for (i = ii; i < ii + tile && i < side; i++)
						for (j = jj; j < jj + tile && j < side; j++) {
							for (k = kk; k < kk + tile && k < side;
							     k++) {
								use(g, i * side + k);
								use(g, side * side + k * side + j);
							}
							use(g, 2 * side * side + i * side + j);
						}
	}
}

static void make_matmul(struct page_gen *g, uint32_t n) { matmul(g, n, n); }

static void make_matmul_tiled(struct page_gen *g, uint32_t n) { matmul(g, n, 6); }

static void make_stencil(struct page_gen *g, uint32_t n)
{
	uint32_t row = (uint32_t)sqrt(n / 2.0), from = 0, i;

	for (; goes_on(g); from = n / 2 - from) {
		for (i = row; i + row < n / 2; i++) {
			use(g, from + i - row);
			use(g, from + i);
			use(g, from + i + row);
			use(g, n / 2 - from + i);
		}
	}
}

static void make_triangle(struct page_gen *g, uint32_t n)
{
	uint32_t side = (uint32_t)sqrt(n), i, j, k;

	while (goes_on(g)) {
		for (k = 0; k < side; k++) {
			for (i = k; i < side; i++) {
				for (j = k; j < side; j++) {
					use(g, i * side + j);
					use(g, k * side + j);
				}
			}
		}
	}
}

static void make_butterflies(struct page_gen *g, uint32_t n)
{
	uint32_t stride, i;

	while (goes_on(g)) {
		for (stride = 1; stride < n; stride *= 2) {
			for (i = 0; i < n; i++) {
				if (i & stride)
					continue;
				use(g, i);
				use(g, (i | stride) % n);
			}
		}
	}
}

/* A root, nodes and leaves; keys uniform or not. */
static void btree(struct page_gen *g, uint32_t n, double s)
{
	uint32_t inner = n / 20 + 1, leaves = n - inner - 1, leaf;

	while (goes_on(g)) {
		leaf = s > 0 ? scatter(zipf(g, leaves, s), leaves) : rnd(g, leaves);
		use(g, 0);
		use(g, 1 + (uint32_t)((uint64_t)leaf * inner / leaves));
		use(g, 1 + inner + leaf);
		if (rnd(g, 50) == 0)
			sweep(g, 1 + inner + leaf, leaves - leaf < 12 ? leaves - leaf : 12);
	}
}

static void make_btree(struct page_gen *g, uint32_t n) { btree(g, n, 0); }

static void make_btree_popular(struct page_gen *g, uint32_t n) { btree(g, n, 0.8); }

static void make_hash_join(struct page_gen *g, uint32_t n)
{
	uint32_t table = n / 4, i;

	while (goes_on(g)) {
		for (i = 0; i < 3 * n / 4; i++) {
			use(g, table + i / 3);
			use(g, rnd(g, table));
		}
		for (i = 0; i < 6 * n / 4; i++) {
			use(g, table + n / 4 + i / 3);
			use(g, rnd(g, table));
		}
	}
}

static void make_merge_sort(struct page_gen *g, uint32_t n)
{
	uint32_t half = n / 2, run, at, i, from = 0;

	while (goes_on(g)) {
		for (run = 1; run < half; run *= 2) {
			for (at = 0; at < half; at += 2 * run) {
				for (i = 0; i < run; i++) {
					use(g, from + (at + i) % half);
					use(g, from + (at + run + i) % half);
					use(g, half - from + (at + 2 * i) % half);
					use(g, half - from + (at + 2 * i + 1) % half);
				}
			}
			from = half - from;
		}
	}
}

static void quick_sort(struct page_gen *g, uint32_t first, uint32_t nr)
{
	uint32_t a = first, b = first + nr, left;

	while (a + 1 < b) {
		use(g, rnd(g, 2) ? a++ : --b);
		use(g, a);
	}
	if (nr < 3 || !goes_on(g))
		return;
	left = nr / 4 + rnd(g, nr / 2);
	quick_sort(g, first, left);
	quick_sort(g, first + left, nr - left);
}

static void make_quick_sort(struct page_gen *g, uint32_t n)
{
	while (goes_on(g))
		quick_sort(g, 0, n);
}

/* A mutator, a nursery, and now and then a mark through everything in no order and a sweep. */
static void make_collector(struct page_gen *g, uint32_t n)
{
	uint32_t nursery = n / 10, heap = n - nursery, alloc = 0, i;

	while (goes_on(g)) {
		for (i = 0; i < 6 * n; i++) {
			if (i % 3 == 0)
				use(g, heap + alloc++ / 4 % nursery);
			else
				use(g, scatter(zipf(g, heap, 1.0), heap));
		}
		for (i = 0; i < heap; i++)
			use(g, scatter(i, heap));
		sweep(g, 0, heap);
	}
}

static void make_stack_and_heap(struct page_gen *g, uint32_t n)
{
	uint32_t depth = 0, stack = n / 8, heap = n - stack;

	while (goes_on(g)) {
		depth += rnd(g, 3);
		depth -= depth > 0 ? rnd(g, 3) % (depth + 1) : 0;
		depth %= stack;
		use(g, depth);
		use(g, stack + zipf(g, heap, 0.8));
	}
}

/* Keys that live for some time: popular ones are looked up, and all end. */
static void make_time_to_live(struct page_gen *g, uint32_t n)
{
	for (uint32_t i = 0; goes_on(g); i++) {
		uint32_t newest = i / 10;

		if (i % 10 == 0)
			use(g, newest);
		else
			use(g, newest + n / 2 - scatter(zipf(g, n / 2, 0.9), n / 2));
	}
}

/* Breadth first through a graph whose degrees follow a power law: a queue, marks, and neighbours anywhere. */
static void make_graph(struct page_gen *g, uint32_t n)
{
	uint32_t marks = n / 10, edges = n - 2 * marks, i, k;

	while (goes_on(g)) {
		for (i = 0; i < 4 * marks; i++) {
			use(g, i / 4);
			for (k = 1 + zipf(g, 12, 1.2); k > 0; k--) {
				use(g, 2 * marks + scatter(i * 16 + k, edges));
				use(g, marks + zipf(g, marks, 0.7));
			}
		}
	}
}

static void make_sparse(struct page_gen *g, uint32_t n)
{
	uint32_t vector = n / 4, i;

	while (goes_on(g)) {
		for (i = 0; i < n - vector; i++) {
			use(g, vector + i);
			use(g, scatter(zipf(g, vector, 0.5), vector));
			use(g, i * vector / (n - vector));
		}
	}
}

static void make_chase(struct page_gen *g, uint32_t n)
{
	for (uint32_t at = 0; goes_on(g); at++)
		use(g, scatter(at % n, n));
}

/* Short programs one after the other, with a library that is theirs in common. */
static void make_builds(struct page_gen *g, uint32_t n)
{
	uint32_t shared = n / 4, own = n / 12 + 1, i;

	for (uint32_t first = shared; goes_on(g); first += own) {
		for (i = 0; i < 10 * own; i++) {
			use(g, zipf(g, shared, 0.7));
			use(g, first + i / 12 % own + zipf(g, 4, 1.0));
		}
	}
}

static void make_ring(struct page_gen *g, uint32_t n)
{
	for (uint32_t i = 0; goes_on(g); i++) {
		use(g, i / 3 % n);
		use(g, (i / 3 + n - n / 3) % n);
		if (i % 4 == 0)
			use(g, n + rnd(g, n / 10 + 1));
	}
}

/* A log that grows, an index, and check points that write back what was changed. */
static void make_database(struct page_gen *g, uint32_t n)
{
	uint32_t log = 0, i;

	while (goes_on(g)) {
		for (i = 0; i < 4 * n; i++) {
			uint32_t record = scatter(zipf(g, 3 * n / 4, 0.9), 3 * n / 4);

			use(g, record / 16);
			use(g, n / 8 + record);
			if (rnd(g, 3) == 0)
				use(g, n + log++ / 8);
		}
		for (i = 0; i < 3 * n / 4; i += 1 + rnd(g, 3))
			use(g, n / 8 + i);
	}
}

/* ---- two at once --------------------------------------------------------------------------------------- */

static void two(struct page_gen *g, uint32_t n, void (*a)(struct page_gen *, uint32_t),
		void (*b)(struct page_gen *, uint32_t), uint32_t turn)
{
	struct page_gen part[2] = { *g, *g };
	size_t at[2] = { 0 };
	unsigned int who = 0;

	for (unsigned int i = 0; i < 2; i++) {
		part[i].use = numbers_or_die(g->max);
		part[i].rng += i;
		(i ? b : a)(&part[i], n / 2);
	}
	while (goes_on(g)) {
		for (uint32_t i = 0; i < turn && at[who] < part[who].nr; i++)
			use(g, part[who].use[at[who]++] + who * (NUMBERS / 2));
		who = !who;
	}
	free(part[0].use);
	free(part[1].use);
}

static void make_loop_and_zipf(struct page_gen *g, uint32_t n)
{
	two(g, n, make_loop, make_zipf_usual, 3);
}

static void make_scan_and_stack(struct page_gen *g, uint32_t n)
{
	two(g, n, make_once, make_stack_far, 10);
}

static void make_drift_and_loop(struct page_gen *g, uint32_t n)
{
	two(g, n, make_drift_slow, make_loop, 200);
}

static void make_tree_and_sort(struct page_gen *g, uint32_t n)
{
	two(g, n, make_btree_popular, make_merge_sort, 50);
}

static const struct trace_family families[] = {
	{ "loop", false, make_loop },
	{ "loops", true, make_loops },
	{ "nested", false, make_nested },
	{ "sawtooth", true, make_sawtooth },
	{ "random loops", false, make_random_loops },
	{ "once", true, make_once },
	{ "hot and scans", false, make_hot_and_scans },
	{ "hot through scan", true, make_hot_through_scan },
	{ "growing loop", false, make_growing_loop },
	{ "uniform", true, make_uniform },
	{ "zipf 0.5", false, make_zipf_flat },
	{ "zipf 0.9", true, make_zipf_usual },
	{ "zipf 1.3", false, make_zipf_steep },
	{ "fashion, fast", true, make_fashion_fast },
	{ "fashion, slow", false, make_fashion_slow },
	{ "stack, near", true, make_stack_near },
	{ "stack, far", false, make_stack_far },
	{ "stack, new", true, make_stack_new },
	{ "drift, fast", false, make_drift_fast },
	{ "drift, slow", true, make_drift_slow },
	{ "walk", false, make_walk },
	{ "pairs", true, make_pairs },
	{ "phases, short", false, make_phases_short },
	{ "phases, long", true, make_phases_long },
	{ "loop then drift", false, make_loop_then_drift },
	{ "matmul", true, make_matmul },
	{ "matmul, tiled", false, make_matmul_tiled },
	{ "stencil", true, make_stencil },
	{ "triangle", false, make_triangle },
	{ "butterflies", true, make_butterflies },
	{ "btree", false, make_btree },
	{ "btree, popular", true, make_btree_popular },
	{ "hash join", false, make_hash_join },
	{ "merge sort", true, make_merge_sort },
	{ "quick sort", false, make_quick_sort },
	{ "collector", true, make_collector },
	{ "stack and heap", false, make_stack_and_heap },
	{ "time to live", true, make_time_to_live },
	{ "graph", false, make_graph },
	{ "sparse", true, make_sparse },
	{ "chase", false, make_chase },
	{ "builds", true, make_builds },
	{ "ring", false, make_ring },
	{ "database", true, make_database },
	{ "loop and zipf", false, make_loop_and_zipf },
	{ "scan and stack", true, make_scan_and_stack },
	{ "drift and loop", false, make_drift_and_loop },
	{ "tree and sort", true, make_tree_and_sort },
};

const struct trace_family *trace_family_at(unsigned int i)
{
	return i < sizeof(families) / sizeof(families[0]) ? &families[i] : NULL;
}

void page_trace_make(struct page_trace *trace, const struct trace_family *family, uint32_t pages,
		     uint64_t seed)
{
	uint32_t uses = pages * USES_A_PAGE, *number = numbers_or_die(NUMBERS);
	struct page_gen g = { .rng = seed * 0x9e3779b97f4a7c15ull + 1 };

	uses = uses < USES_MIN ? USES_MIN : uses > USES_MAX ? USES_MAX : uses;
	g.max = uses;
	g.use = numbers_or_die(uses);
	(void)rnd(&g, 1);
	family->make(&g, pages);
	*trace = (struct page_trace){ .ref = g.use, .nr = g.nr };
	for (size_t i = 0; i < g.nr; i++) {
		if (number[g.use[i]] == 0)
			number[g.use[i]] = ++trace->pages;
		g.use[i] = number[g.use[i]] - 1;
	}
	free(number);
}
