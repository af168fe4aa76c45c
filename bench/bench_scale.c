/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Does an operation of the manager cost the same, however large the EPC?
 *
 *   bench_scale [--json] [--rounds N] [--scattered] [MIB...]
 *
 * EPCs of so many MiB, five at the most (64 1024 16384; 262144 takes 7 GiB of memory).
 *
 * Every EPC is full of pages of one owner, without contents, which came in the order in which the manager hands them out, or, with
 * --scattered, each far from the one before, as nothing but years of coming and going could make it.  A working set of so many of them is used, on each EPC in
 * turn, round after round; a figure is the least of all rounds, in CPU time of the thread, which is what others on the
 * machine disturb least.
 *
 *   next to each other   as the manager hands pages out: each set is a run of numbers
 *   all over             no two pages of the set near each other, which is the worst that can be
 *   in no order          and each time in another order than the last, so that beside a page in the order of eviction there
 *                        are others than those that are given up with it
 *
 * The first eviction in a full EPC has a row, because whoever needed a look at all pages would need it there, and so have
 * the evictions of all the pages that there were (one round, which takes most of a minute at 262144).  The row "evict" is of those behind them.
 *
 * An owner that goes through many pages announces them (epc_announce()); the row "untrack, alone" is of one that does not.
 *
 * With the set the same, what differs between two sizes is what the manager does more; and how far its metadata are apart:
 * all over, pages of one set share neither cache lines nor translations.  The rows "memory" tell that part: a word each of the
 * page's struct, its EPCM entry and its ghost's place is read and written, one page after the other, and nothing else.
 * The row "plain array" is what the machine takes: a word of an array of as many bytes as the records, in pages of 4 KiB,
 * in the order of the evictions.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "epc/epc.h"
#include "epc/owner.h"
#include "epc/page.h"
#include "lib/fake_owner.h"
#include "option.h"
#include "table.h"

enum { BATCH = 64, SIZES_MAX = 5, OPS_A_ROUND = 65536 };

enum op {
	OP_UNTRACK,
	OP_FREE,
	OP_ALLOC,
	OP_TRACK,
	OP_TOUCH,
	OP_LAST = OP_TOUCH, /* of those that a page goes through in a round */
	OP_UNTRACK_ALONE,
	OP_MEMORY,
	OP_MEMORY_ALONE,
	OP_EVICT,
	OP_FIRST,
	OP_TURN,
	OP_MEMORY_CHAIN,
	OP_PLAIN_CHAIN,
	OP_NR
};
static const char *const op_name[OP_NR] = {
	[OP_UNTRACK] = "untrack",
	[OP_FREE] = "free",
	[OP_ALLOC] = "allocate",
	[OP_TRACK] = "name and track",
	[OP_TOUCH] = "touch",
	[OP_UNTRACK_ALONE] = "untrack, alone",
	[OP_MEMORY] = "memory",
	[OP_MEMORY_ALONE] = "memory, alone",
	[OP_EVICT] = "evict",
	[OP_FIRST] = "the first one",
	[OP_TURN] = "once each",
	[OP_MEMORY_CHAIN] = "memory",
	[OP_PLAIN_CHAIN] = "plain array",
};

struct set {
	const char *name;
	uint32_t pages;
	bool spread, shuffled;
};
static const struct set sets[] = {
	{ "512 pages, all over", 512, true, false },
	{ "16384 pages, next to each other", 16384, false, false },
	{ "16384 pages, all over", 16384, true, false },
	{ "16384 all over, in no order", 16384, true, true },
};
enum { SET_NR = sizeof(sets) / sizeof(sets[0]) };

struct asked {
	unsigned int rounds;
	bool scattered;
	unsigned int size_nr;
	unsigned long mib[SIZES_MAX];
};

struct machine {
	struct fake_machine m;
	struct epc_owner *owner;
	uint64_t mib;
	uint32_t pages;
	bool scattered;
	uint32_t order;   /* in which a set is gone through */
	uint32_t *ghosts; /* as large as theirs */
	char *plain;      /* as large as the records */
	uint64_t chained; /* pages of the order that round_of_chain() went through */
	double best[SET_NR][OP_NR];
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static bool yes(struct epc_page *page)
{
	return true;
}

static int forget(struct epc_page *page)
{
	struct machine *machine = epc_page_owner(page);

	encls_eremove(machine->m.cpu, epc_page_nr(machine->m.epc, page));
	return 0;
}

static void nothing(struct epc_page *page) {}

static const struct sgx_epc_page_ops bare_ops = {
	.name = "bare",
	.get = yes,
	.reclaim = yes,
	.block = yes,
	.write = forget,
	.put = nothing,
	.blanks = true,
};

static void must(int r)
{
	if (r == 0)
		return;
	fprintf(stderr, "bench_scale: %s\n", strerror(-r));
	abort();
}

/* The i-th page of the set: without order, each once before any comes again. */
static uint32_t nth_page(const struct machine *machine, const struct set *set, uint32_t i)
{
	/* Odd: a permutation below a power of two. */
	uint32_t part = i * (40503u + (set->shuffled ? 15838u * machine->order : 0)) % set->pages;

	if (!set->spread)
		return machine->pages - set->pages + part;
	return (uint32_t)((uint64_t)part * machine->pages / set->pages) +
	       part * 2654435761u % (machine->pages / set->pages);
}

/* The page that is tracked, and evicted, as the i-th.  A prime is no divisor, so each comes once. */
static uint32_t in_order(const struct machine *machine, uint64_t i)
{
	return (uint32_t)(i * (machine->scattered ? 2654435761u : 1) % machine->pages);
}

static size_t plain_bytes(const struct machine *machine)
{
	return (size_t)machine->pages * sizeof(struct epc_page);
}

static bool machine_create(struct machine *machine, uint64_t mib, bool scattered)
{
	struct epc_owner_config config = { .ops = &bare_ops, .owner = machine };
	struct epc_page *page;
	uint32_t i;

	machine->mib = mib;
	machine->scattered = scattered;
	machine->pages = (uint32_t)(mib * 256);
	if (fake_machine_create(&machine->m, machine->pages, NULL, NULL, 0) < 0 ||
	    epc_owner_create(machine->m.epc, &config, &machine->owner) < 0)
		return false;
	machine->ghosts = shared_map(machine->pages * 2ul);
	if (!machine->ghosts)
		return false;
	memset(machine->ghosts, 0, machine->pages * 2ul);
	machine->plain = malloc(plain_bytes(machine));
	if (!machine->plain)
		return false;
	memset(machine->plain, 1, plain_bytes(machine));
	for (i = 0; i < machine->pages; i++) {
		if (epc_alloc(machine->m.epc, machine->owner, EPC_UNPLACED, &page) < 0)
			return false;
		epc_page_set_cookie(page, epc_page_nr(machine->m.epc, page));
	}
	for (i = 0; i < machine->pages; i++)
		epc_track(machine->m.epc, epc_page_at(machine->m.epc, in_order(machine, i)));
	for (i = 0; i < SET_NR * OP_NR; i++)
		machine->best[i / OP_NR][i % OP_NR] = 1e9;
	return true;
}

static void note(struct machine *machine, unsigned int set, const double *spent, unsigned int ops)
{
	for (unsigned int op = 0; op < OP_NR; op++) {
		if (spent[op] > 0 && spent[op] / ops < machine->best[set][op])
			machine->best[set][op] = spent[op] / ops;
	}
}

/*
 * What becomes of pages one by one: they are given up, and as many come, in batches so that each operation has a clock.
 */
static void round_of_pages(struct machine *machine, unsigned int set, bool alone)
{
	struct epc *epc = machine->m.epc;
	double spent[OP_NR] = { 0 }, t[OP_LAST + 2];
	uint32_t i, at[BATCH];
	struct epc_page *page[BATCH];
	unsigned int n;

	for (n = 0; n < OPS_A_ROUND; n += BATCH) {
		machine->order += n % sets[set].pages == 0;
		for (i = 0; i < BATCH; i++) {
			at[i] = nth_page(machine, &sets[set], (n + i) % sets[set].pages);
			page[i] = epc_page_at(epc, at[i]);
		}
		t[OP_UNTRACK] = now();
		if (!alone)
			epc_announce(epc, page, BATCH);
		for (i = 0; i < BATCH; i++)
			must(epc_untrack(epc, page[i]));
		t[OP_FREE] = now();
		for (i = 0; i < BATCH; i++)
			epc_free(epc, page[i]);
		t[OP_ALLOC] = now();
		for (i = 0; i < BATCH; i++)
			must(epc_alloc(epc, machine->owner, EPC_UNPLACED, &page[i]));
		t[OP_TRACK] = now();
		/* In between an owner would load the pages. */
		for (i = 0; i < BATCH; i++)
			epc_page_set_cookie(page[i], at[i]);
		for (i = 0; i < BATCH; i++)
			epc_track(epc, page[i]);
		t[OP_TOUCH] = now();
		for (i = 0; i < BATCH; i++)
			epc_touch(epc, page[i]);
		t[OP_LAST + 1] = now();
		for (i = OP_UNTRACK; i <= OP_LAST; i++)
			spent[i] += t[i + 1] - t[i];
	}
	if (alone) {
		spent[OP_UNTRACK_ALONE] = spent[OP_UNTRACK];
		spent[OP_UNTRACK] = 0;
	}
	note(machine, set, spent, OPS_A_ROUND);
}

/* Words of the same pages, read and written. */
static void round_of_memory(struct machine *machine, unsigned int set, bool alone)
{
	enum op op = alone ? OP_MEMORY_ALONE : OP_MEMORY;
	double spent[OP_NR] = { 0 }, start;
	struct epc_page *page[BATCH];
	uint32_t i, at[BATCH];
	unsigned int n;

	for (n = 0; n < OPS_A_ROUND; n += BATCH) {
		for (i = 0; i < BATCH; i++) {
			at[i] = nth_page(machine, &sets[set], (n + i) % sets[set].pages);
			page[i] = epc_page_at(machine->m.epc, at[i]);
		}
		start = now();
		if (!alone)
			epc_announce(machine->m.epc, page, BATCH);
		for (i = 0; i < BATCH; i++) {
			atomic_fetch_or_explicit(&page[i]->flags, 0, memory_order_relaxed);
			cpu_set_bytes(machine->m.cpu, at[i], cpu_bytes(machine->m.cpu, at[i]));
			machine->ghosts[at[i] / 2]++;
		}
		spent[op] += now() - start;
	}
	note(machine, set, spent, OPS_A_ROUND);
}

/*
 * The EPC is full, and stays so: whoever comes evicts.  Which page goes is the policy's choice, whatever the set.  A page is
 * tracked when it was loaded, which here takes no time but that of the next page's eviction.
 */
static void round_of_evictions(struct machine *machine, enum op op, unsigned int nr)
{
	double spent[OP_NR] = { 0 };
	struct epc_page *page, *loading = NULL;
	unsigned int n;

	spent[op] = now();
	for (n = 0; n < nr; n++) {
		must(epc_alloc(machine->m.epc, machine->owner, EPC_UNPLACED | EPC_MAY_RECLAIM,
			       &page));
		epc_page_set_cookie(page, n);
		if (loading)
			epc_track(machine->m.epc, loading);
		loading = page;
	}
	epc_track(machine->m.epc, loading);
	spent[op] = now() - spent[op];
	note(machine, 0, spent, nr);
}

/* A word of each of those.  Returns 0, which nobody knows before one was there. */
static unsigned int touch_words(struct machine *machine, uint32_t nr)
{
	struct epc_page *page = epc_page_at(machine->m.epc, nr);

	cpu_set_bytes(machine->m.cpu, nr, cpu_bytes(machine->m.cpu, nr));
	machine->ghosts[nr / 2]++;
	return atomic_fetch_or_explicit(&page->flags, 0, memory_order_relaxed) / PAGE_POISONED & 1u;
}

static unsigned int touch_plain(struct machine *machine, uint32_t nr)
{
	volatile char *word = &machine->plain[nr * sizeof(struct epc_page)];

	*word = *word; /* 1 */
	return *word / 2u & 1u;
}

/* Words of pages in the order in which they are evicted: which one is next is not known before the last one was seen. */
static void round_of_chain(struct machine *machine, enum op op)
{
	double spent[OP_NR] = { 0 };
	unsigned int n, seen;
	uint32_t nr;

	spent[op] = now();
	for (n = 0; n < OPS_A_ROUND; n++) {
		nr = in_order(machine, machine->chained);
		seen = op == OP_PLAIN_CHAIN ? touch_plain(machine, nr) : touch_words(machine, nr);
		machine->chained += 1 + (seen);
	}
	spent[op] = now() - spent[op];
	note(machine, 0, spent, OPS_A_ROUND);
}

static void print_op(struct table *table, const struct machine *machine, unsigned int size_nr,
		     unsigned int set, const char *name, enum op op, double *sum)
{
	double ns[SIZES_MAX + 1];
	unsigned int i;

	for (i = 0; i < size_nr; i++) {
		ns[i] = machine[i].best[set][op];
		if (sum)
			sum[i] += ns[i];
	}
	ns[size_nr] = ns[size_nr - 1] / ns[0];
	table_row(table, name, op_name[op], ns);
}

/* The columns: one for each size, whose names are kept in @name. */
static void begin(struct table *table, const struct machine *machine, unsigned int size_nr,
		  char name[SIZES_MAX][24])
{
	static const struct table_label label[TABLE_LABELS_MAX] = { { "pages", 31 },
								    { "operation", 15 } };
	struct table_column column[SIZES_MAX + 1];
	unsigned int i;

	for (i = 0; i < size_nr; i++) {
		snprintf(name[i], sizeof(name[i]), "%lu MiB", (unsigned long)machine[i].mib);
		column[i] = (struct table_column){ name[i], "ns", 0 };
	}
	column[size_nr] = (struct table_column){ "last / first", NULL, 2 };
	table_begin(table, "ns an operation", label, column, size_nr + 1);
}

static void print_table(struct table *table, const struct machine *machine, unsigned int size_nr)
{
	static const char evicts[] = "an allocation that evicts";
	char name[SIZES_MAX][24];
	double sum[SIZES_MAX + 1];
	unsigned int set, op;

	begin(table, machine, size_nr, name);
	for (set = 0; set < SET_NR; set++) {
		memset(sum, 0, sizeof(sum));
		for (op = 0; op <= OP_LAST; op++)
			print_op(table, machine, size_nr, set, sets[set].name, op, sum);
		sum[size_nr] = sum[size_nr - 1] / sum[0];
		table_row(table, sets[set].name, "all five", sum);
		for (; op <= OP_MEMORY_ALONE; op++)
			print_op(table, machine, size_nr, set, sets[set].name, op, NULL);
	}
	print_op(table, machine, size_nr, 0, evicts, OP_EVICT, NULL);
	print_op(table, machine, size_nr, 0, evicts, OP_MEMORY_CHAIN, NULL);
	print_op(table, machine, size_nr, 0, evicts, OP_PLAIN_CHAIN, NULL);
	print_op(table, machine, size_nr, 0, evicts, OP_TURN, NULL);
	print_op(table, machine, size_nr, 0, evicts, OP_FIRST, NULL);
}

static void print_footprints(struct table *table, const struct machine *machine,
			     unsigned int size_nr)
{
	static const struct table_column column[] = {
		{ "all", "bytes", 2 },    { "EPCM", "bytes", 2 },    { "pages", "bytes", 2 },
		{ "ghosts", "bytes", 2 }, { "shadows", "bytes", 2 }, { "the rest", "bytes", 2 },
	};
	struct epc_footprint f;
	double pages;
	char name[24];

	table_begin(table, "bytes of metadata a page",
		    (struct table_label[TABLE_LABELS_MAX]){ { "EPC", 15 } }, column, 6);
	for (; size_nr > 0; size_nr--, machine++) {
		pages = machine->pages;
		epc_footprint_read(machine->m.epc, &f);
		snprintf(name, sizeof(name), "%lu MiB", (unsigned long)machine->mib);
		table_row(table, name, NULL,
			  (double[]){ (double)(f.epcm + f.pages + f.ghosts + f.shadows + f.rest) /
					      pages,
				      (double)f.epcm / pages, (double)f.pages / pages,
				      (double)f.ghosts / pages, (double)f.shadows / pages,
				      (double)f.rest / pages });
	}
}

/* Of sets from @first on: behind those that are in no order nothing is in an order any more. */
static void rounds_of_sets(struct machine *machine, unsigned int size_nr, unsigned int first,
			   unsigned int end, unsigned int rounds)
{
	unsigned int round, set, i;

	for (round = 0; round < 2 * rounds; round++) {
		for (set = first; set < end; set++) {
			for (i = 0; i < size_nr; i++) {
				round_of_pages(&machine[i], set, round % 2);
				round_of_memory(&machine[i], set, round % 2);
			}
		}
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct asked *asked = state->input;

	switch (key) {
	case 'r':
		asked->rounds = (unsigned int)option_number(state, "--rounds", arg);
		return 0;
	case 's':
		asked->scattered = true;
		return 0;
	case ARGP_KEY_ARG:
		if (asked->size_nr == SIZES_MAX)
			return ARGP_ERR_UNKNOWN;
		asked->mib[asked->size_nr] = option_number(state, "MIB", arg);
		if (asked->mib[asked->size_nr] < 64 || asked->mib[asked->size_nr] > 1048576)
			argp_error(state, "MIB: from 64 to 1048576, and not %s", arg);
		asked->size_nr++;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void measure_all(struct machine *machine, const struct asked *asked)
{
	unsigned int size_nr = asked->size_nr, round, i;

	rounds_of_sets(machine, size_nr, 0, SET_NR - 1, asked->rounds);
	rounds_of_sets(machine, size_nr, SET_NR - 1, SET_NR, asked->rounds);
	for (i = 0; i < size_nr; i++)
		round_of_evictions(&machine[i], OP_FIRST, 1);
	/* Then all pages that there were go once: a policy does other things with the first ones than with later ones. */
	for (i = 0; i < size_nr; i++)
		round_of_evictions(&machine[i], OP_TURN, machine[i].pages);
	for (round = 0; round < asked->rounds; round++) {
		for (i = 0; i < size_nr; i++)
			round_of_evictions(&machine[i], OP_EVICT, OPS_A_ROUND);
		for (i = 0; i < size_nr; i++)
			round_of_chain(&machine[i], OP_MEMORY_CHAIN);
		for (i = 0; i < size_nr; i++)
			round_of_chain(&machine[i], OP_PLAIN_CHAIN);
	}
}

int main(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "rounds", 'r', "N", 0, "a figure is the least of so many (20)", 0 },
		{ "scattered", 's', NULL, 0, "pages that come after each other are far apart", 0 },
		{ 0 },
	};
	static const struct argp own = { .options = options,
					 .parser = parse,
					 .args_doc = "[MIB...]" };
	struct asked asked = { .rounds = 20 };
	static struct machine machine[SIZES_MAX];
	struct table table;
	unsigned int i;

	table_open(
		&table,
		option_parse(argc, argv,
			     "What an operation of the EPC manager takes in EPCs of so many MiB.",
			     &own, &asked));
	if (asked.size_nr == 0) {
		asked.size_nr = 3;
		memcpy(asked.mib, (unsigned long[]){ 64, 1024, 16384 }, 3 * sizeof(asked.mib[0]));
	}
	for (i = 0; i < asked.size_nr; i++) {
		if (!machine_create(&machine[i], asked.mib[i], asked.scattered)) {
			fprintf(stderr, "bench_scale: no memory for an EPC of %lu MiB\n",
				asked.mib[i]);
			return 1;
		}
	}
	measure_all(machine, &asked);
	print_table(&table, machine, asked.size_nr);
	print_footprints(&table, machine, asked.size_nr);
	table_close(&table);
	for (i = 0; i < asked.size_nr; i++) {
		shared_unmap(machine[i].ghosts, machine[i].pages * 2ul);
		free(machine[i].plain);
		fake_machine_destroy(&machine[i].m);
	}
	return 0;
}
