/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Each policy against its paper: the port with every use seen and one victim at a time, beside an exact model
 * (tests/lib/policy_model.c), fault for fault; and the models against what is published.
 *
 *   test_policy_exact [--traces FOLDER] [PAGES...]
 *
 * PAGES: over families of programs of about so many pages.  FOLDER: the traces that others publish numbers of, as
 * bench_policy takes them; they are not in the repository, and what needs them is skipped where they are not.
 *
 * LIRS and CLOCK-Pro keep stamps of 8 bits in place of an order, so their ports are near their models and not equal.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "epc/group_priv.h"
#include "epc/policy_ghost.h"
#include "lib/policy_cache.h"
#include "lib/policy_model.h"
#include "lib/tap.h"

enum { PERCENTS = 4, PATH_LEN = 512 };
static const uint32_t percents[PERCENTS] = { 10, 25, 50, 75 };

/* ---- ports and models ------------------------------------------------------------------------- */

/* What evicted pages are remembered by is the EPC's, not the policy's: smaller than S3-FIFO's own, and a hash table. */
struct port_memory {
	struct policy_view view;
	struct epc_page page;
	struct epc_owner *owner;
	struct model_memory memory;
};

static uint64_t memory_key(struct port_memory *m, uint32_t page)
{
	page_set_cookie(&m->page, page);
	return ghost_key(&m->view, 0);
}

static void memory_put(void *p, uint32_t page)
{
	struct port_memory *m = p;

	ghost_put(m->view.ghosts, memory_key(m, page), 0);
}

static bool memory_take(void *p, uint32_t page)
{
	struct port_memory *m = p;
	uint8_t stamp;

	return ghost_take(m->view.ghosts, memory_key(m, page), &stamp);
}

static void memory_open(struct port_memory *m, uint32_t frames)
{
	memset(m, 0, sizeof(*m));
	m->view.pages = &m->page;
	m->view.page_nr = frames;
	m->view.ghosts = ghosts_create(frames);
	m->owner = calloc(1, sizeof(*m->owner));
	assert(m->view.ghosts && m->owner);
	page_set_owner(&m->page, m->owner);
	m->memory = (struct model_memory){ .put = memory_put, .take = memory_take, .state = m };
}

static void memory_close(struct port_memory *m)
{
	ghosts_destroy(m->view.ghosts);
	free(m->owner);
}

static unsigned long s3fifo_faults(const struct page_trace *trace, uint32_t frames)
{
	struct port_memory m;
	unsigned long faults;

	memory_open(&m, frames);
	/* There is one bit to see: a use is a use. */
	faults = model_s3fifo(
		trace, frames,
		&(struct model_s3){ .use_max = 1, .uses_to_main = 1, .memory = &m.memory }, NULL);
	memory_close(&m);
	return faults;
}

/* Cold pages, at the least: one in so many, and enough for a batch. */
static uint32_t cold_min(uint32_t frames, uint32_t part)
{
	uint32_t least = frames / 4 + 2 < 18 ? frames / 4 + 2 : 18;

	return frames / part > least ? frames / part : least;
}

static unsigned long upstream_model(const struct page_trace *trace, uint32_t frames)
{
	return model_queue(trace, frames, MODEL_UPSTREAM, NULL);
}

static unsigned long clock_model(const struct page_trace *trace, uint32_t frames)
{
	return model_queue(trace, frames, MODEL_CLOCK, NULL);
}

static unsigned long sieve_model(const struct page_trace *trace, uint32_t frames)
{
	return model_sieve(trace, frames, NULL);
}

static unsigned long lirs_model(const struct page_trace *trace, uint32_t frames)
{
	return model_lirs(trace, frames, cold_min(frames, 50), NULL);
}

static unsigned long clockpro_model(const struct page_trace *trace, uint32_t frames)
{
	return model_clockpro(trace, frames, cold_min(frames, 100), NULL);
}

/* @exact: equal to the fault, when all is seen; else near in the mean. */
static const struct port {
	const struct epc_policy *policy;
	unsigned long (*model)(const struct page_trace *trace, uint32_t frames);
	bool exact;
} ports[] = {
	{ &policy_upstream, upstream_model, true }, { &policy_clock, clock_model, true },
	{ &policy_sieve, sieve_model, true },       { &policy_s3fifo, s3fifo_faults, true },
	{ &policy_lirs, lirs_model, false },        { &policy_clockpro, clockpro_model, false },
};
enum { PORTS = sizeof(ports) / sizeof(ports[0]) };

static unsigned long port_faults(const struct port *port, const struct page_trace *trace,
				 uint32_t frames)
{
	struct policy_cache c;
	size_t i;

	policy_cache_open(&c, &(struct policy_cache_config){ .policy = port->policy,
							     .frames = frames,
							     .pages = trace->pages,
							     .exact = true });
	for (i = 0; i < trace->nr; i++) {
		if (port->exact || i == 0 || trace->ref[i] != trace->ref[i - 1])
			policy_cache_use(&c, trace->ref[i]);
	}
	policy_cache_close(&c);
	return c.faults;
}

/* ---- examples of the papers ------------------------------------------------------------------------- */

static void trace_of(struct page_trace *trace, const char *letters)
{
	*trace = (struct page_trace){ .nr = strlen(letters), .pages = 26 };
	trace->ref = model_alloc((uint32_t)trace->nr, sizeof(*trace->ref));
	for (size_t i = 0; i < trace->nr; i++)
		trace->ref[i] = (uint32_t)(letters[i] - 'A');
}

static bool holds(const bool in[26], const char *letters)
{
	uint32_t i;

	for (i = 0; i < 26; i++) {
		if (in[i] != (strchr(letters, (int)('A' + i)) != NULL))
			return false;
	}
	return true;
}

static void test_examples(void)
{
	struct policy_cache c;
	struct page_trace trace;
	bool in[26];
	uint32_t i;

	trace_of(&trace, "ABCDABEABCDE");
	TAP_CHECK(model_queue(&trace, 3, MODEL_FIFO, NULL) == 9 &&
			  model_queue(&trace, 4, MODEL_FIFO, NULL) == 10,
		  "FIFO: Belady's anomaly, 9 faults with 3 frames and 10 with 4");
	page_trace_fini(&trace);

	/* cachemon.github.io/SIEVE-website: H pushes out C, I pushes out E, J pushes out F. */
	trace_of(&trace, "AABBCDEFGGHADIBJ");
	model_sieve(&trace, 7, in);
	TAP_CHECK(holds(in, "ABDGHIJ"), "SIEVE: the example of its site");
	policy_cache_open(
		&c, &(struct policy_cache_config){
			    .policy = &policy_sieve, .frames = 7, .pages = 26, .exact = true });
	for (i = 0; i < trace.nr; i++)
		policy_cache_use(&c, trace.ref[i]);
	for (i = 0; i < 26; i++)
		in[i] = policy_cache_has(&c, i);
	TAP_CHECK(holds(in, "ABDGHIJ"), "and of the port");
	policy_cache_close(&c);
	page_trace_fini(&trace);

	/* Table 1 of LIRS at time 9: A and B are LIR, E is the resident HIR page; and then D, whose IRR is less than B's recency. */
	trace_of(&trace, "ABCBADAE");
	model_lirs(&trace, 3, 1, in);
	TAP_CHECK(holds(in, "ABE"), "LIRS: the example of its paper at time 9");
	page_trace_fini(&trace);
	trace_of(&trace, "ABCBADAED");
	model_lirs(&trace, 3, 1, in);
	TAP_CHECK(holds(in, "ABD"), "and at time 10: E goes");
	model_queue(&trace, 3, MODEL_LRU, in);
	TAP_CHECK(holds(in, "ADE"), "where LRU would have let B go");
	page_trace_fini(&trace);
}

/* ---- fault for fault --------------------------------------------------------------------------------- */

/* Of one port, over rows; and of the same through the manager, with its batches and its samples. */
struct nearness {
	unsigned int rows, differ;
	double log_port, log_manager, worst;
};

static void row(const struct port *port, struct nearness *n, const char *name,
		const struct page_trace *trace, uint32_t frames)
{
	unsigned long soft, model = port->model(trace, frames);
	unsigned long faults = port_faults(port, trace, frames);
	double ratio = (double)faults / (double)model;

	n->rows++;
	n->differ += faults != model;
	n->log_port += log(ratio);
	n->log_manager += log((double)page_trace_faults(trace, frames, port->policy->name, &soft) /
			      (double)model);
	if (fabs(log(ratio)) > n->worst)
		n->worst = fabs(log(ratio));
	if (port->exact && faults != model)
		printf("# %s, %s in %u pages: %lu faults, the model %lu\n", port->policy->name,
		       name, frames, faults, model);
}

static void rows(struct nearness n[PORTS], const char *name, const struct page_trace *trace)
{
	uint32_t frames;
	unsigned int i, k;

	for (k = 0; k < PERCENTS; k++) {
		frames = (uint32_t)((uint64_t)trace->pages * percents[k] / 100);
		for (i = 0; i < PORTS; i++)
			row(&ports[i], &n[i], name, trace, frames < 16 ? 16 : frames);
	}
}

/* @manager: the mean distance through the manager in per cent, at the most. */
static void check(const struct nearness n[PORTS], const char *what, double manager)
{
	double port, all;
	unsigned int i;

	for (i = 0; i < PORTS; i++) {
		port = 100 * (exp(n[i].log_port / n[i].rows) - 1);
		all = 100 * (exp(n[i].log_manager / n[i].rows) - 1);
		if (ports[i].exact)
			TAP_CHECK(n[i].differ == 0, "%s: %s equals its model in %u rows", what,
				  ports[i].policy->name, n[i].rows);
		else
			TAP_CHECK(fabs(port) < 2,
				  "%s: %s is at %+.1f %% of its model's faults, %.0f %% at most",
				  what, ports[i].policy->name, port, 100 * (exp(n[i].worst) - 1));
		TAP_CHECK(fabs(all) < manager, "%s: %s through the manager is at %+.1f %%", what,
			  ports[i].policy->name, all);
	}
}

static void test_families(uint32_t pages)
{
	struct nearness n[PORTS] = { 0 };
	const struct trace_family *family;
	struct page_trace trace;
	char what[40];
	unsigned int i;

	for (i = 0; (family = trace_family_at(i)); i++) {
		page_trace_make(&trace, family, pages, 1);
		rows(n, family->name, &trace);
		page_trace_fini(&trace);
	}
	snprintf(what, sizeof(what), "families of %u pages", pages);
	/* In an EPC of 16 to 100 pages a batch is much of it. */
	check(n, what, pages < 500 ? 11 : 5);
}

/* ---- traces that others have, too --------------------------------------------------------------------- */

static bool read_trace(struct page_trace *trace, const char *folder, const char *name)
{
	char path[PATH_LEN];

	snprintf(path, sizeof(path), "%s/%s.pages.zst", folder, name);
	return page_trace_read(trace, path);
}

static bool miss_ratio_is(unsigned long faults, const struct page_trace *trace, double ratio)
{
	return fabs((double)faults / (double)trace->nr - ratio) <= 0.000051;
}

/* libCacheSim's sample; hits are those in the tests of a simulator that is built on it. */
static void test_cloudphysics(const struct page_trace *trace)
{
	enum { FRAMES = 100 };

	TAP_CHECK(trace->nr == 113872 && trace->pages == 48974,
		  "cloudphysics is libCacheSim's: as many requests and objects");
	TAP_CHECK(model_queue(trace, FRAMES, MODEL_FIFO, NULL) == trace->nr - 12377,
		  "FIFO has libCacheSim's 12377 hits");
	TAP_CHECK(model_queue(trace, FRAMES, MODEL_LRU, NULL) == trace->nr - 13657,
		  "LRU its 13657");
	TAP_CHECK(model_queue(trace, FRAMES, MODEL_CLOCK, NULL) == trace->nr - 13825,
		  "CLOCK its 13825");
	TAP_CHECK(port_faults(&ports[1], trace, FRAMES) == trace->nr - 13825,
		  "and so has the port");
}

/* libCacheSim's miss ratios of LRU, of which four digits are known. */
static void test_lru(const struct page_trace *trace, const char *name, const uint32_t *frames,
		     const double *ratio, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		TAP_CHECK(miss_ratio_is(model_queue(trace, frames[i], MODEL_LRU, NULL), trace,
					ratio[i]),
			  "%s: LRU in %u pages misses %.4f of all, as libCacheSim's", name,
			  frames[i], ratio[i]);
}

/* Caffeine's simulator, whose CLOCK-Pro was made after the authors' program, has 48.86 % hits in 500 pages. */
static void test_loop(const struct page_trace *trace)
{
	unsigned long hits = trace->nr - model_clockpro(trace, 500, 5, NULL);

	TAP_CHECK(fabs(100 * (double)hits / (double)trace->nr - 48.86) <= 0.0051,
		  "loop: CLOCK-Pro in 500 pages has Caffeine's 48.86 %% hits");
	/* All but the cold ones stay. */
	TAP_CHECK(trace->nr - model_lirs(trace, 500, 5, NULL) == 499 * 495, "LIRS as many");
}

static void test_published(const char *folder)
{
	static const uint32_t pools[] = { 250, 500, 1000, 2000, 4000 };
	static const double pools_lru[] = { 0.5829, 0.4894, 0.4558, 0.4067, 0.3148 };
	static const uint32_t loop[] = { 125, 250, 500, 1000, 2000 };
	static const double loop_lru[] = { 1, 1, 1, 1, 0.0020 };
	struct page_trace trace;

	if (read_trace(&trace, folder, "cloudphysics")) {
		test_cloudphysics(&trace);
		page_trace_fini(&trace);
	}
	if (read_trace(&trace, folder, "2_pools")) {
		test_lru(&trace, "2_pools", pools, pools_lru, 5);
		page_trace_fini(&trace);
	}
	if (read_trace(&trace, folder, "loop")) {
		test_lru(&trace, "loop", loop, loop_lru, 5);
		test_loop(&trace);
		page_trace_fini(&trace);
	}
}

/* Through the manager, at each of the sizes: by the optimum's faults. */
static double real(const struct page_trace *trace, const char *policy, unsigned int k)
{
	uint32_t frames = (uint32_t)((uint64_t)trace->pages * percents[k] / 100);
	unsigned long soft;

	return (double)page_trace_faults(trace, frames, policy, &soft) /
	       (double)page_trace_optimum(trace, frames);
}

/* LIRS, 2002: in loops LRU and its like miss always, and LIRS keeps what fits. CLOCK-Pro, 2005: so does it. */
static void test_loops(const struct page_trace *trace, const char *name)
{
	bool same = true, near = true;
	unsigned int k;

	for (k = 0; k < PERCENTS; k++) {
		same = same && real(trace, "clock", k) == real(trace, "upstream", k) &&
		       real(trace, "sieve", k) == real(trace, "upstream", k);
		near = near && real(trace, "lirs", k) < 1.08 && real(trace, "clockpro", k) < 1.08;
	}
	TAP_CHECK(same, "%s: Linux's order, CLOCK and SIEVE are the same", name);
	TAP_CHECK(near, "%s: LIRS and CLOCK-Pro are within 8 %% of the optimum", name);
}

/* The same: sprite is LRU's best case, and the price of LIRS's fixed cold part; CLOCK-Pro has no such part. */
static void test_sprite(const struct page_trace *trace)
{
	bool lirs = true, clockpro = true;
	unsigned int k;

	for (k = 0; k < PERCENTS; k++) {
		lirs = lirs && real(trace, "lirs", k) > real(trace, "upstream", k) * 1.1;
		clockpro =
			clockpro && real(trace, "clockpro", k) < real(trace, "upstream", k) * 1.1;
	}
	TAP_CHECK(lirs, "sprite: LIRS has a tenth more faults than Linux's order at each size");
	TAP_CHECK(clockpro, "sprite: CLOCK-Pro has not");
	TAP_CHECK(real(trace, "sieve", 0) > real(trace, "lirs", 0),
		  "sprite: SIEVE is the worst at a tenth, being no match for scans (2024)");
}

static void test_pools(const struct page_trace *trace)
{
	bool same = true;
	unsigned int i, k;

	for (k = 0; k < PERCENTS; k++) {
		for (i = 0; i < PORTS; i++)
			same = same && fabs(real(trace, ports[i].policy->name, k) /
						    real(trace, "upstream", k) -
					    1) < 0.01;
	}
	TAP_CHECK(same, "2_pools: all are within 1 %%");
}

static void test_relations(const char *folder)
{
	struct page_trace trace;
	unsigned int k;

	if (read_trace(&trace, folder, "loop")) {
		test_loops(&trace, "loop");
		page_trace_fini(&trace);
	}
	if (read_trace(&trace, folder, "cs")) {
		test_loops(&trace, "cs");
		page_trace_fini(&trace);
	}
	if (read_trace(&trace, folder, "sprite")) {
		test_sprite(&trace);
		page_trace_fini(&trace);
	}
	if (read_trace(&trace, folder, "2_pools")) {
		test_pools(&trace);
		page_trace_fini(&trace);
	}
	if (!read_trace(&trace, folder, "cloudphysics"))
		return;
	for (k = 0; k < 2; k++)
		TAP_CHECK(real(&trace, "s3fifo", k) < real(&trace, "sieve", k) &&
				  real(&trace, "sieve", k) < real(&trace, "clock", k),
			  "cloudphysics at %u %%: S3-FIFO is ahead of SIEVE, and that of CLOCK",
			  percents[k]);
	page_trace_fini(&trace);
}

static void test_traces(const char *folder)
{
	static const char *const names[] = { "2_pools", "cloudphysics", "cs", "gcc",   "gzip",
					     "loop",    "multi1",       "ps", "sprite" };
	struct nearness n[PORTS] = { 0 };
	struct page_trace trace;
	unsigned int i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!read_trace(&trace, folder, names[i])) {
			tap_skip(names[i], "the trace is not there");
			return;
		}
		rows(n, names[i], &trace);
		page_trace_fini(&trace);
	}
	check(n, "traces", 3);
	test_published(folder);
	test_relations(folder);
}

int main(int argc, char **argv)
{
	int i;

	test_examples();
	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--traces") && i + 1 < argc)
			test_traces(argv[++i]);
		else
			test_families((uint32_t)strtoul(argv[i], NULL, 10));
	}
	return tap_done();
}
