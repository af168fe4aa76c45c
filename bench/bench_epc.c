/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the manager costs by itself: an owner's work (crypto, page tables) is left out or is a plain copy.  What an
 * operation costs in EPCs of different sizes is in bench_scale.c.
 *
 *   bench_epc [--json] [--seconds S] [--threads]
 */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/arena.h"
#include "epc/group.h"
#include "epc/owner.h"
#include "epc/window.h"
#include "lib/bare_owner.h"
#include "lib/fake_owner.h"
#include "option.h"
#include "table.h"

struct asked {
	double row_seconds;
	bool threads_alone;
};

/* The thread's own time: what others do on the machine is not the manager's cost. */
static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double wall(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static const struct table_label what[TABLE_LABELS_MAX] = { { "what", 48 } };

#define COLUMNS(columns) columns, sizeof(columns) / sizeof((columns)[0])

/* ---- the window: what one page costs to take, give, drop --------------------------------- */

static void bench_take(struct table *table, struct window *window, double seconds, const char *name,
		       unsigned int batch, unsigned int stride, bool mapped)
{
	uint64_t base, offsets[WINDOW_STAGE_PAGES];
	double start = now(), giving = 0, taking = 0, value[2], t;
	unsigned long n = 0;
	unsigned int i;
	char page[4096] = { 1 };
	char *map;

	window_range_alloc(window, (uint64_t)batch * stride * 4096, &base);
	map = mmap(NULL, (size_t)batch * stride * 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
		   window_fd(window), (off_t)base);
	while (now() - start < seconds) {
		t = now();
		for (i = 0; i < batch; i++) {
			offsets[i] = base + (uint64_t)i * stride * 4096;
			window_give(window, offsets[i], page);
		}
		giving += now() - t;
		for (i = 0; mapped && i < batch; i++)
			((volatile char *)map)[(size_t)i * stride * 4096] = 1;
		t = now();
		window_take(window, 0, offsets, batch);
		window_take_done(window, 0);
		taking += now() - t;
		n += batch;
	}
	value[0] = taking * 1e9 / (double)n;
	value[1] = giving * 1e9 / (double)n;
	table_row(table, name, NULL, value);
	munmap(map, (size_t)batch * stride * 4096);
	window_range_free(window, base, (uint64_t)batch * stride * 4096);
}

static void bench_window(struct table *table, double seconds)
{
	static const struct table_column columns[] = { { "take", "ns", 0 }, { "give", "ns", 0 } };
	struct window *window;
	struct fake_machine m;

	fake_machine_create(&m, 64, NULL, NULL, 0);
	window = epc_window(m.epc);
	table_begin(table, "The window: ns a page", what, COLUMNS(columns));
	bench_take(table, window, seconds, "16, scattered, mapped", 16, 7, true);
	bench_take(table, window, seconds, "16, scattered, not mapped", 16, 7, false);
	bench_take(table, window, seconds, "16, in a row, mapped", 16, 1, true);
	bench_take(table, window, seconds, "1, mapped", 1, 1, true);
	fake_machine_destroy(&m);
}

/* ---- pages that nobody offers: free ones alone --------------------------------------------- */

/* Nothing is walked at start, and sanitising is lazy: one page is had as soon as of any other EPC. */
static void bench_huge(struct table *table)
{
	static const struct table_column columns[] = { { "ready", "us", 0 },
						       { "a page", "ns", 0 } };
	double start = now(), value[2];
	struct epc_owner *owner;
	struct epc_page *page;
	struct fake_machine m;
	unsigned int i;

	table_begin(table, "A large EPC: us until it is ready, ns for each of its first 1000 pages",
		    what, COLUMNS(columns));
	if (fake_machine_create(&m, 1u << 28, NULL, NULL, 0) < 0) {
		table_row(table, "1 TiB: no address space", NULL, (double[]){ NAN, NAN });
		return;
	}
	value[0] = (now() - start) * 1e6;
	owner = bare_owner_create(m.epc, NULL);
	start = now();
	for (i = 0; i < 1000; i++)
		epc_alloc(m.epc, owner, EPC_UNPLACED, &page);
	value[1] = (now() - start) * 1e9 / 1000;
	table_row(table, "1 TiB", NULL, value);
	fake_machine_destroy(&m);
}

/* ---- threads that allocate and free at once ------------------------------------------------ */

struct churn {
	struct fake_machine *m;
	struct epc_owner *owner;
	pthread_barrier_t *barrier;
	int cpu;
	double cpu_ns, wall_ns; /* an operation */
};

static void *churn(void *arg)
{
	enum { HELD = 64, ROUNDS = 4000 };
	struct epc_page *page[HELD];
	struct churn *c = arg;
	double start, wall_start;
	cpu_set_t set;
	unsigned int r, i;

	CPU_ZERO(&set);
	CPU_SET(c->cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	pthread_barrier_wait(c->barrier);
	start = now();
	wall_start = wall();
	for (r = 0; r < ROUNDS; r++) {
		for (i = 0; i < HELD; i++)
			epc_alloc(c->m->epc, c->owner, EPC_UNPLACED, &page[i]);
		for (i = 0; i < HELD; i++)
			epc_free(c->m->epc, page[i]);
	}
	c->cpu_ns = (now() - start) * 1e9 / (ROUNDS * HELD);
	c->wall_ns = (wall() - wall_start) * 1e9 / (ROUNDS * HELD);
	return NULL;
}

/* So many threads once, thread i on @m[i]: ns a pair of allocate and free in each. */
static double churn_once(struct fake_machine *const m[2], struct epc_owner *const owner[2],
			 unsigned int threads, double *ret_cpu_ns)
{
	struct churn c[2];
	pthread_t thread[2];
	pthread_barrier_t barrier;
	double wall_ns = 0;
	unsigned int i;

	*ret_cpu_ns = 0;
	pthread_barrier_init(&barrier, NULL, threads);
	for (i = 0; i < threads; i++) {
		c[i] = (struct churn){
			.m = m[i], .owner = owner[i], .barrier = &barrier, .cpu = (int)i
		};
		pthread_create(&thread[i], NULL, churn, &c[i]);
	}
	for (i = 0; i < threads; i++) {
		pthread_join(thread[i], NULL);
		*ret_cpu_ns += c[i].cpu_ns / threads;
		wall_ns += c[i].wall_ns / threads;
	}
	pthread_barrier_destroy(&barrier);
	return wall_ns;
}

enum { CHURN_ROUNDS = 15 };

/*
 * Where the threads' owner is; @max: of each of the @depth groups, one below another.  @apart: each thread has an EPC of its
 * own, so that nothing is shared but what the machine's two CPUs share: no manager can do better.
 */
struct place {
	const char *name;
	bool apart;
	unsigned int depth;
	uint32_t max;
	struct fake_machine own[2], *m[2];
	struct epc_owner *owner[2];
	double cpu[3][CHURN_ROUNDS], wall[3][CHURN_ROUNDS]; /* by the number of threads */
};

static struct epc_owner *owner_make(const struct place *place, struct fake_machine *m)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct epc_group *group;
	char name[16];

	fake_machine_create(m, 65536, NULL, NULL, 0);
	limits.max_pages = place->max;
	group = epc_group_root(m->epc);
	for (unsigned int i = 0; i < place->depth; i++) {
		snprintf(name, sizeof(name), "g%u", i);
		epc_group_create(group, name, &limits, &group);
	}
	return bare_owner_create(m->epc, group);
}

static void place_make(struct place *place)
{
	for (unsigned int i = 0; i < 2; i++) {
		place->m[i] = &place->own[place->apart ? i : 0];
		place->owner[i] =
			i == 0 || place->apart ? owner_make(place, place->m[i]) : place->owner[0];
	}
}

static void place_destroy(struct place *place)
{
	fake_machine_destroy(&place->own[0]);
	if (place->apart)
		fake_machine_destroy(&place->own[1]);
}

static int rising(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *of)
{
	qsort(of, CHURN_ROUNDS, sizeof(*of), rising);
	return of[CHURN_ROUNDS / 2];
}

/* All places take turns, with one thread and with two, so that all have the same neighbours. */
static void bench_all_threads(struct table *table)
{
	static const struct table_column columns[] = {
		{ "one", "ns", 0 },
		{ "two, each", "ns", 0 },
		{ "two / one", NULL, 2 },
		{ "by CPU time", NULL, 2 },
	};
	struct place place[] = {
		{ .name = "the limit: an EPC each", .apart = true },
		{ .name = "in the root group" },
		{ .name = "in a group", .depth = 1, .max = EPC_GROUP_NO_LIMIT },
		{ .name = "in a group with a max", .depth = 1, .max = 32768 },
		{ .name = "in the fourth of nested groups, with a max each",
		  .depth = 4,
		  .max = 32768 },
	};
	enum { PLACES = sizeof(place) / sizeof(place[0]) };
	unsigned int i, round, n;
	double one, two;

	table_begin(table, "Threads that allocate and free: ns a pair of these", what,
		    COLUMNS(columns));
	for (i = 0; i < PLACES; i++)
		place_make(&place[i]);
	for (round = 0; round < CHURN_ROUNDS; round++) {
		for (i = 0; i < PLACES; i++) {
			for (n = 1; n <= 2; n++)
				place[i].wall[n][round] = churn_once(place[i].m, place[i].owner, n,
								     &place[i].cpu[n][round]);
		}
	}
	for (i = 0; i < PLACES; i++) {
		one = median(place[i].wall[1]);
		two = median(place[i].wall[2]);
		table_row(table, place[i].name, NULL,
			  (double[]){ one, two, 2 * one / two,
				      2 * median(place[i].cpu[1]) / median(place[i].cpu[2]) });
		place_destroy(&place[i]);
	}
}

/* ---- a fault with a fake owner: allocation, eviction in batches, copy in and out ---------- */

static void bench_faults(struct table *table, double seconds, const char *policy, bool random)
{
	struct fake_owner *owner;
	struct fake_machine m;
	double start, taken;
	unsigned long n = 0, loads;
	uint64_t rng = 1;
	uint32_t i = 0;
	char name[80];

	fake_machine_create(&m, 4096, policy, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 8192, true);
	for (i = 0; i < 8192; i++)
		fake_use_surely(owner, i);
	loads = owner->loads;
	start = now();
	while (now() - start < seconds) {
		for (unsigned int j = 0; j < 100; j++, n++) {
			rng = rng * 6364136223846793005ull + 1442695040888963407ull;
			i = random ? (uint32_t)(rng >> 33) % 8192 : (i + 1) % 8192;
			fake_use_surely(owner, i);
		}
	}
	taken = now() - start;
	loads = owner->loads - loads;
	snprintf(name, sizeof(name), "%s, %s", policy, random ? "random" : "in order");
	table_row(table, name, NULL,
		  (double[]){ taken * 1e9 / (double)loads, 100.0 * (double)loads / (double)n });
	fake_owner_put(owner);
	fake_machine_destroy(&m);
}

static void bench_all_faults(struct table *table, double seconds)
{
	static const struct table_column columns[] = { { "a fault", "ns", 0 },
						       { "of uses", "%", 0 } };

	table_begin(table, "Faults of a fake owner, twice the EPC: ns, % of uses", what,
		    COLUMNS(columns));
	bench_faults(table, seconds, "adaptive", false);
	bench_faults(table, seconds, "adaptive", true);
	bench_faults(table, seconds, "clock", false);
	bench_faults(table, seconds, "clock", true);
}

/* ---- background reclaim ahead of demand --------------------------------------------------- */

static void *lend(void *epc)
{
	epc_background_run(epc);
	return NULL;
}

/*
 * A working set of twice the EPC, used at random.  @busy_us: what the program does between two uses, besides.  How
 * many of the faults had to wait for a page to be evicted, without and with a thread lent.
 */
static void bench_background(struct table *table, double seconds, unsigned int threads,
			     double busy_us)
{
	pthread_t thread[8];
	struct fake_owner *owner;
	struct epc_stats before, after;
	struct fake_machine m;
	double start, until;
	unsigned long loads;
	uint64_t rng = 1;
	unsigned int i;
	uint32_t page;
	char name[80];

	fake_machine_create(&m, 16384, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 32768, true);
	for (page = 0; page < 32768; page++)
		fake_use_surely(owner, page);
	for (i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, lend, m.epc);
	epc_stats_read(m.epc, &before);
	loads = owner->loads;
	start = wall();
	while (wall() - start < 3 * seconds) {
		rng = rng * 6364136223846793005ull + 1442695040888963407ull;
		fake_use_surely(owner, (uint32_t)(rng >> 33) % 32768);
		for (until = wall() + busy_us / 1e6; busy_us > 0 && wall() < until;)
			;
	}
	start = wall() - start;
	epc_stats_read(m.epc, &after);
	loads = owner->loads - loads;
	snprintf(name, sizeof(name), "%u threads lent, %.0f us of work a use", threads, busy_us);
	table_row(table, name, NULL,
		  (double[]){ (double)loads / start,
			      100.0 * (double)(after.stalls - before.stalls) / (double)loads });
	epc_background_stop(m.epc);
	for (i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	fake_owner_put(owner);
	fake_machine_destroy(&m);
}

static void bench_all_background(struct table *table, double seconds)
{
	static const struct table_column columns[] = { { "faults", "1/s", 0 }, { "wait", "%", 2 } };
	unsigned int i;

	table_begin(table,
		    "Background reclaim, working set twice the EPC: faults a second, % that wait",
		    what, COLUMNS(columns));
	for (i = 0; i <= 2; i++) {
		bench_background(table, seconds, i, 0);
		bench_background(table, seconds, i, 10);
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct asked *asked = state->input;
	char *end;

	switch (key) {
	case 's':
		asked->row_seconds = strtod(arg, &end);
		if (*end || !(asked->row_seconds > 0))
			argp_error(state, "--seconds: '%s' is no number above 0", arg);
		return 0;
	case 't':
		asked->threads_alone = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "seconds", 's', "S", 0, "for each row (0.3)", 0 },
		{ "threads", 't', NULL, 0, "threads that allocate and free, and nothing else", 0 },
		{ 0 },
	};
	static const struct argp own = { .options = options, .parser = parse };
	struct asked asked = { .row_seconds = 0.3 };
	struct table table;

	table_open(&table,
		   option_parse(argc, argv, "What the EPC manager costs by itself.", &own, &asked));
	if (!asked.threads_alone) {
		bench_window(&table, asked.row_seconds);
		bench_all_faults(&table, asked.row_seconds);
		bench_all_background(&table, asked.row_seconds);
	}
	bench_all_threads(&table);
	if (!asked.threads_alone)
		bench_huge(&table);
	table_close(&table);
	return 0;
}
