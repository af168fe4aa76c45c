/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Does an operation of the manager cost the same, however large the EPC?
 *
 *   bench_scale [ROUNDS [MIB]]     EPCs of 64 MiB, 1 GiB, 16 GiB, and up to MIB (16384; 262144 takes 4 GiB)
 *
 * Every EPC is full of pages of one owner, without contents.  A working set of so many of them is used, on each EPC in
 * turn, round after round; a figure is the least of all rounds, in CPU time of the thread, which is what others on the
 * machine disturb least.
 *
 *   next to each other   as the manager hands pages out: each set is a run of numbers
 *   all over             no two pages of the set near each other, which is the worst that can be
 *
 * With the set the same, what differs between two sizes is what the manager does more; and all over, how far its metadata
 * are apart: pages of one set share neither cache lines nor translations.  The row "memory" tells that part: it reads and
 * writes the same words of the same pages, and nothing else.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "epc/epc.h"
#include "epc/owner.h"
#include "epc/page.h"
#include "lib/fake_owner.h"

enum { BATCH = 64, SIZES_MAX = 4, OPS_A_ROUND = 65536 };

enum op { OP_UNTRACK, OP_FREE, OP_ALLOC, OP_TRACK, OP_TOUCH, OP_EVICT, OP_MEMORY, OP_NR };
static const char *const op_name[OP_NR] = { "untrack", "free",  "allocate", "track",
					    "touch",   "evict", "memory" };

struct set {
	const char *name;
	uint32_t pages;
	bool spread;
};
static const struct set sets[] = {
	{ "512 pages, all over", 512, true },
	{ "16384 pages, next to each other", 16384, false },
	{ "16384 pages, all over", 16384, true },
};
enum { SET_NR = sizeof(sets) / sizeof(sets[0]) };

struct machine {
	struct fake_machine m;
	struct epc_owner *owner;
	uint64_t mib;
	uint32_t pages;
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

/* The i-th page of the set: without order, each once before any comes again. */
static uint32_t nth_page(const struct machine *machine, const struct set *set, uint32_t i)
{
	uint32_t part = i * 40503u % set->pages; /* odd: a permutation below a power of two */

	if (!set->spread)
		return machine->pages - set->pages + part;
	return (uint32_t)((uint64_t)part * machine->pages / set->pages) +
	       part * 2654435761u % (machine->pages / set->pages);
}

static bool machine_create(struct machine *machine, uint64_t mib)
{
	struct epc_owner_config config = { .ops = &bare_ops, .owner = machine };
	struct epc_page *page;
	uint32_t i;

	machine->mib = mib;
	machine->pages = (uint32_t)(mib * 256);
	if (fake_machine_create(&machine->m, machine->pages, NULL, NULL, 0) < 0 ||
	    epc_owner_create(machine->m.epc, &config, &machine->owner) < 0)
		return false;
	for (i = 0; i < machine->pages; i++) {
		if (epc_alloc(machine->m.epc, machine->owner, EPC_UNPLACED, &page) < 0)
			return false;
		epc_page_set_cookie(page, i);
		epc_track(machine->m.epc, page);
	}
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

/* What becomes of pages one by one: they are given up, and as many come, in batches so that each operation has a clock. */
static void round_of_pages(struct machine *machine, unsigned int set)
{
	struct epc *epc = machine->m.epc;
	double spent[OP_NR] = { 0 }, t[OP_EVICT + 1];
	uint32_t i, at[BATCH];
	struct epc_page *page[BATCH];
	unsigned int n, b;

	for (n = 0; n < OPS_A_ROUND; n += BATCH) {
		for (b = 0; b < BATCH; b++) {
			at[b] = nth_page(machine, &sets[set], (n + b) % sets[set].pages);
			page[b] = epc_page_at(epc, at[b]);
		}
		t[OP_UNTRACK] = now();
		for (i = 0; i < BATCH; i++)
			epc_untrack(epc, page[i]);
		t[OP_FREE] = now();
		for (i = 0; i < BATCH; i++)
			epc_free(epc, page[i]);
		t[OP_ALLOC] = now();
		for (i = 0; i < BATCH; i++) {
			epc_alloc(epc, machine->owner, EPC_UNPLACED, &page[i]);
			epc_page_set_cookie(page[i], at[i]);
		}
		t[OP_TRACK] = now();
		for (i = 0; i < BATCH; i++)
			epc_track(epc, page[i]);
		t[OP_TOUCH] = now();
		for (i = 0; i < BATCH; i++)
			epc_touch(epc, page[i]);
		t[OP_EVICT] = now();
		for (i = OP_UNTRACK; i <= OP_TOUCH; i++)
			spent[i] += t[i + 1] - t[i];
	}
	note(machine, set, spent, OPS_A_ROUND);
}

/* The same words of the same pages, read and written. */
static void round_of_memory(struct machine *machine, unsigned int set)
{
	double spent[OP_NR] = { 0 };
	unsigned int n;

	spent[OP_MEMORY] = now();
	for (n = 0; n < OPS_A_ROUND; n++) {
		uint32_t nr = nth_page(machine, &sets[set], n % sets[set].pages);
		struct epc_page *page = epc_page_at(machine->m.epc, nr);

		atomic_fetch_or_explicit(&page->flags, 0, memory_order_relaxed);
		cpu_set_bytes(machine->m.cpu, nr, cpu_bytes(machine->m.cpu, nr));
	}
	spent[OP_MEMORY] = now() - spent[OP_MEMORY];
	note(machine, set, spent, OPS_A_ROUND);
}

/* The EPC is full, and stays so: whoever comes evicts.  Which page goes is the policy's choice, whatever the set. */
static void round_of_evictions(struct machine *machine)
{
	double spent[OP_NR] = { 0 };
	struct epc_page *page;
	unsigned int n;

	spent[OP_EVICT] = now();
	for (n = 0; n < OPS_A_ROUND; n++) {
		epc_alloc(machine->m.epc, machine->owner, EPC_UNPLACED | EPC_MAY_RECLAIM, &page);
		epc_page_set_cookie(page, n);
		epc_track(machine->m.epc, page);
	}
	spent[OP_EVICT] = now() - spent[OP_EVICT];
	note(machine, 0, spent, OPS_A_ROUND);
}

static void print_row(const struct machine *machine, unsigned int size_nr, const char *set,
		      const char *what, const double *ns)
{
	unsigned int i;

	printf("%-32s %-9s", set, what);
	for (i = 0; i < size_nr; i++)
		printf(" %8.0f", ns[i]);
	printf("   %5.2f\n", ns[size_nr - 1] / ns[0]);
}

static void print_table(const struct machine *machine, unsigned int size_nr)
{
	double ns[SIZES_MAX], sum[SIZES_MAX];
	unsigned int set, op, i;

	printf("ns an operation, EPC of %17s", "MiB:");
	for (i = 0; i < size_nr; i++)
		printf(" %8lu", (unsigned long)machine[i].mib);
	printf("   last / first\n");
	for (set = 0; set < SET_NR; set++) {
		memset(sum, 0, sizeof(sum));
		for (op = 0; op <= OP_TOUCH; op++) {
			for (i = 0; i < size_nr; i++) {
				ns[i] = machine[i].best[set][op];
				sum[i] += ns[i];
			}
			print_row(machine, size_nr, sets[set].name, op_name[op], ns);
		}
		print_row(machine, size_nr, sets[set].name, "all five", sum);
		for (i = 0; i < size_nr; i++)
			ns[i] = machine[i].best[set][OP_MEMORY];
		print_row(machine, size_nr, sets[set].name, op_name[OP_MEMORY], ns);
	}
	for (i = 0; i < size_nr; i++)
		ns[i] = machine[i].best[0][OP_EVICT];
	print_row(machine, size_nr, "an allocation that evicts", "", ns);
}

static void print_footprint(const struct machine *machine)
{
	double pages = machine->pages;
	struct epc_footprint f;

	epc_footprint_read(machine->m.epc, &f);
	printf("%8lu MiB: %.2f bytes of metadata a page; EPCM %.2f, pages %.2f, ghosts %.2f, "
	       "shadows %.2f, the rest %.2f\n",
	       (unsigned long)machine->mib,
	       (double)(f.epcm + f.pages + f.ghosts + f.shadows + f.rest) / pages,
	       (double)f.epcm / pages, (double)f.pages / pages, (double)f.ghosts / pages,
	       (double)f.shadows / pages, (double)f.rest / pages);
}

int main(int argc, char **argv)
{
	static const uint64_t sizes[SIZES_MAX] = { 64, 1024, 16384, 262144 };
	static struct machine machine[SIZES_MAX];
	unsigned int rounds = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 0) : 20;
	uint64_t mib_max = argc > 2 ? strtoul(argv[2], NULL, 0) : 16384;
	unsigned int size_nr = 0, round, set, i;

	while (size_nr < SIZES_MAX && sizes[size_nr] <= mib_max) {
		if (!machine_create(&machine[size_nr], sizes[size_nr])) {
			printf("%lu MiB: no memory\n", (unsigned long)sizes[size_nr]);
			return 1;
		}
		size_nr++;
	}
	for (round = 0; round < rounds; round++) {
		for (set = 0; set < SET_NR; set++) {
			for (i = 0; i < size_nr; i++) {
				round_of_pages(&machine[i], set);
				round_of_memory(&machine[i], set);
			}
		}
	}
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < size_nr; i++)
			round_of_evictions(&machine[i]);
	}
	print_table(machine, size_nr);
	for (i = 0; i < size_nr; i++)
		print_footprint(&machine[i]);
	for (i = 0; i < size_nr; i++)
		fake_machine_destroy(&machine[i].m);
	return 0;
}
