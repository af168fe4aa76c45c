/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the manager costs by itself: an owner's work (crypto, page tables) is left out or is a plain copy.
 *
 *   bench_epc [seconds for each row]
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/arena.h"
#include "epc/owner.h"
#include "epc/window.h"
#include "lib/fake_owner.h"

static double row_seconds = 0.3;

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

static void row(const char *name, double seconds, unsigned long n)
{
	printf("%-52s %10.0f ns\n", name, seconds * 1e9 / (double)n);
}

/* ---- the window: what one page costs to take, give, drop --------------------------------- */

static void bench_take(struct window *window, const char *name, unsigned int batch,
		       unsigned int stride, bool mapped)
{
	uint64_t base, offsets[WINDOW_STAGE_PAGES];
	double start = now(), giving = 0, taking = 0, t;
	unsigned long n = 0;
	unsigned int i;
	char page[4096] = { 1 };
	char *map;

	window_range_alloc(window, (uint64_t)batch * stride * 4096, &base);
	map = mmap(NULL, (size_t)batch * stride * 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
		   window_fd(window), (off_t)base);
	while (now() - start < row_seconds) {
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
	printf("%-52s %10.0f ns  (give %.0f)\n", name, taking * 1e9 / (double)n,
	       giving * 1e9 / (double)n);
	munmap(map, (size_t)batch * stride * 4096);
	window_range_free(window, base, (uint64_t)batch * stride * 4096);
}

/* ---- bookkeeping at every size: contents are left out ------------------------------------- */

static bool yes(struct epc_page *page)
{
	return true;
}

static struct cpu *bench_cpu;
static struct epc *bench_epc;

static int forget(struct epc_page *page)
{
	encls_eremove(bench_cpu, epc_page_nr(bench_epc, page));
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
};

static void bench_size(uint64_t mib)
{
	uint32_t pages = (uint32_t)(mib * 256), i;
	struct fake_machine m;
	struct epc_owner *owner;
	struct epc_page *page;
	unsigned long n = 0;
	double start, create, fill, pair, evict;

	start = now();
	if (fake_machine_create(&m, pages, NULL, NULL, 0) < 0) {
		printf("%8lu MiB: no memory\n", (unsigned long)mib);
		return;
	}
	create = now() - start;
	bench_cpu = m.cpu;
	bench_epc = m.epc;
	if (epc_owner_create(m.epc, &(struct epc_owner_config){ .ops = &bare_ops, .owner = &m },
			     &owner) < 0)
		exit(1);
	start = now();
	for (i = 0; i < pages; i++) {
		epc_alloc(m.epc, owner, EPC_UNPLACED, &page);
		epc_track(m.epc, page);
	}
	fill = now() - start;
	/*
	 * 16384 pages in turn, spread over the whole EPC: as many cache lines at every size, so
	 * that a difference is the manager's and not the memory's.
	 */
	start = now();
	while (now() - start < row_seconds) {
		for (i = 0; i < 1000; i++, n++) {
			page = epc_page_at(m.epc, (uint32_t)(n % 16384 * (pages / 16384)));
			epc_untrack(m.epc, page);
			epc_free(m.epc, page);
			epc_alloc(m.epc, owner, EPC_UNPLACED, &page);
			epc_touch(m.epc, page);
			epc_track(m.epc, page);
		}
	}
	pair = (now() - start) / (double)n;
	n = 0;
	start = now();
	while (now() - start < row_seconds) {
		for (i = 0; i < 1000; i++, n++) {
			epc_alloc(m.epc, owner, EPC_UNPLACED | EPC_MAY_RECLAIM, &page);
			epc_track(m.epc, page);
		}
	}
	evict = (now() - start) / (double)n;
	printf("%8lu MiB %10.2f ms %10.0f ns %10.0f ns %10.0f ns\n", (unsigned long)mib,
	       create * 1e3, fill * 1e9 / pages, pair * 1e9, evict * 1e9);
	fake_machine_destroy(&m);
}

/* ---- a fault with a fake owner: allocation, eviction in batches, copy in and out ---------- */

static void bench_faults(const char *policy, bool random)
{
	struct fake_owner *owner;
	struct fake_machine m;
	struct epc_stats stats;
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
	while (now() - start < row_seconds) {
		for (unsigned int j = 0; j < 100; j++, n++) {
			rng = rng * 6364136223846793005ull + 1442695040888963407ull;
			i = random ? (uint32_t)(rng >> 33) % 8192 : (i + 1) % 8192;
			fake_use_surely(owner, i);
		}
	}
	taken = now() - start;
	epc_stats_read(m.epc, &stats);
	loads = owner->loads - loads;
	snprintf(name, sizeof(name), "fault, %s, %s (%.0f%% of uses)", stats.pages ? policy : "",
		 random ? "random" : "in order", 100.0 * (double)loads / (double)n);
	row(name, taken, loads);
	fake_owner_put(owner);
	fake_machine_destroy(&m);
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
static void bench_background(unsigned int threads, double busy_us)
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

	fake_machine_create(&m, 16384, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 32768, true);
	for (page = 0; page < 32768; page++)
		fake_use_surely(owner, page);
	for (i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, lend, m.epc);
	epc_stats_read(m.epc, &before);
	loads = owner->loads;
	start = wall();
	while (wall() - start < 3 * row_seconds) {
		rng = rng * 6364136223846793005ull + 1442695040888963407ull;
		fake_use_surely(owner, (uint32_t)(rng >> 33) % 32768);
		for (until = wall() + busy_us / 1e6; busy_us > 0 && wall() < until;)
			;
	}
	start = wall() - start;
	epc_stats_read(m.epc, &after);
	loads = owner->loads - loads;
	printf("%u threads lent, %4.0f us of work a use: %9.0f faults/s, %6.2f%% of them wait\n",
	       threads, busy_us, (double)loads / start,
	       100.0 * (double)(after.stalls - before.stalls) / (double)loads);
	epc_background_stop(m.epc);
	for (i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	fake_owner_put(owner);
	fake_machine_destroy(&m);
}

int main(int argc, char **argv)
{
	static const uint64_t sizes[] = { 64, 1024, 16384 };
	struct fake_machine m;
	unsigned int i;

	if (argc > 1)
		row_seconds = strtod(argv[1], NULL);
	printf("the window, a page:\n");
	fake_machine_create(&m, 64, NULL, NULL, 0);
	bench_take(epc_window(m.epc), "take 16, scattered, mapped", 16, 7, true);
	bench_take(epc_window(m.epc), "take 16, scattered, not mapped", 16, 7, false);
	bench_take(epc_window(m.epc), "take 16, in a row, mapped", 16, 1, true);
	bench_take(epc_window(m.epc), "take 1, mapped", 1, 1, true);
	fake_machine_destroy(&m);
	printf("faults of a fake owner, twice the EPC:\n");
	bench_faults("clock", false);
	bench_faults("clock", true);
	printf("background reclaim, working set twice the EPC:\n");
	for (i = 0; i <= 2; i++) {
		bench_background(i, 0);
		bench_background(i, 10);
	}
	printf("bookkeeping alone: create; alloc + track; untrack + free + alloc + touch + track; "
	       "alloc by eviction\n");
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		bench_size(sizes[i]);
	return 0;
}
