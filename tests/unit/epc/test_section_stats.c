/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Numbers of sections: what happened to a page is its section's, what happened to no page is that of the section that the
 * thread would have had one of first, and all of them together are the root group's.
 */
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "epc/clock_priv.h"
#include "epc/epc_priv.h"
#include "epc/owner.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { SECTION = 32, SECTIONS = 3, PAGES = 150, ROUNDS = 3000 };

static unsigned int here;

static unsigned int node_here(void) { return here; }

static unsigned int far(unsigned int from, unsigned int to) { return from == to ? 10 : 20; }

static const struct epc_topology topology = { node_here, far };

static void machine(struct fake_machine *m)
{
	struct epc_config config = { .topology = &topology, .shards = 2 };
	struct cpu_config cpu;

	cpu_config_default(&cpu, SECTION * SGX_PAGE_SIZE);
	cpu.section[0].node = 0;
	for (int i = 1; i < SECTIONS; i++)
		TAP_MUST(cpu_config_add_section(&cpu, SECTION * SGX_PAGE_SIZE, i), "a section");
	TAP_MUST(fake_machine_create_as(m, &cpu, &config) == 0, "an EPC of three sections");
}

static struct epc_section_stats stats_of(struct fake_machine *m, unsigned int i)
{
	struct epc_section_stats stats;

	epc_section_stats_read(m->epc, i, &stats);
	return stats;
}

/* Each number of the root group is the sum of the sections', pressure too as long as one thread stalls at a time. */
static void check_sums(struct fake_machine *m, bool alone, const char *when)
{
	struct epc_group_stats all;
	unsigned int wrong = 0;

	epc_census(m->epc);
	epc_group_stats_read(epc_group_root(m->epc), &all);
	for (unsigned int i = 0; i < SECTIONS; i++) {
		struct epc_section_stats stats = stats_of(m, i);

		for (enum epc_count c = 0; c < EPC_COUNT_NR; c++)
			all.count[c] -= stats.count[c];
		for (enum epc_kind k = 0; k < EPC_KIND_NR; k++)
			all.kind[k] -= stats.kind[k];
		for (unsigned int p = 0; p < EPC_PRESSURE_NR; p++)
			all.pressure[p].total_ns -= stats.pressure[p].total_ns;
	}
	for (enum epc_count c = 0; c < EPC_COUNT_NR; c++)
		wrong += all.count[c] != 0;
	for (enum epc_kind k = 0; k < EPC_KIND_NR; k++)
		wrong += all.kind[k] != 0;
	wrong += alone && (all.pressure[EPC_SOME].total_ns || all.pressure[EPC_FULL].total_ns);
	TAP_CHECK(wrong == 0, "%s: sections sum up to all", when);
}

/* ---- what owners and the manager count ---------------------------------------------------------------- */

static unsigned int section_of(const struct fake_machine *m, const struct epc_page *page)
{
	return epc_page_nr(m->epc, page) / SECTION;
}

/* What this one sees of its pages: where they come to, and from where they go. */
static void test_events(void)
{
	uint64_t want[SECTIONS][EPC_COUNT_NR] = { { 0 } };
	const struct epc_page *was[PAGES] = { NULL };
	struct fake_owner *owner;
	struct fake_machine m;
	unsigned int wrong = 0;
	bool came[PAGES] = { false };
	uint32_t x = 1;

	machine(&m);
	owner = fake_owner_create(m.epc, 1, PAGES, true);
	for (unsigned int n = 0; n < ROUNDS; n++) {
		x = x * 1664525 + 1013904223;
		here = x >> 28 & 1;
		fake_use_surely(owner, (x >> 8) % PAGES);
		for (unsigned int i = 0; i < PAGES; i++) {
			const struct epc_page *now = owner->page[i].epc_page;

			if (now == was[i])
				continue;
			if (was[i])
				want[section_of(&m, was[i])][EPC_EVICTIONS]++;
			if (now)
				want[section_of(&m, now)][EPC_ALLOCS]++;
			if (now && came[i])
				want[section_of(&m, now)][EPC_LOADS]++;
			came[i] = came[i] || now;
			was[i] = now;
		}
	}
	for (unsigned int i = 0; i < SECTIONS; i++) {
		struct epc_section_stats stats = stats_of(&m, i);

		wrong += stats.count[EPC_ALLOCS] != want[i][EPC_ALLOCS] ||
			 stats.count[EPC_EVICTIONS] != want[i][EPC_EVICTIONS] ||
			 stats.count[EPC_BLOCKS] != want[i][EPC_EVICTIONS] ||
			 stats.count[EPC_LOADS] != want[i][EPC_LOADS] ||
			 stats.count[EPC_FREES] != 0 || stats.count[EPC_LOADS] < ROUNDS / 10;
	}
	TAP_CHECK(wrong == 0, "a page is counted where it comes to and where it goes from");
	check_sums(&m, true, "under pressure");
	TAP_CHECK(stats_of(&m, 0).count[EPC_STALLS] > 50 &&
			  stats_of(&m, 1).count[EPC_STALLS] > 50 &&
			  stats_of(&m, 2).count[EPC_STALLS] == 0 &&
			  stats_of(&m, 2).count[EPC_DIRECT_RECLAIMS] == 0 &&
			  stats_of(&m, 2).pressure[EPC_SOME].total_ns == 0 &&
			  stats_of(&m, 0).pressure[EPC_SOME].total_ns > 0 &&
			  stats_of(&m, 0).count[EPC_STALL_NS] > 0,
		  "who waits, waits where it is, and nobody is on the third node");
	owner->fail_every[FAKE_WRITE] = 2;
	for (unsigned int n = 0; n < 20; n++)
		(void)epc_reclaim(m.epc);
	check_sums(&m, true, "some could not be written");
	fake_owner_put(owner);
	check_sums(&m, true, "the owner has gone");
	fake_machine_destroy(&m);
}

static void test_where(void)
{
	struct fake_owner *owner;
	struct epc_page *page;
	struct fake_machine m;
	unsigned int wrong = 0;

	machine(&m);
	owner = fake_owner_create(m.epc, 1, 1, true);
	here = 1;
	TAP_MUST(epc_alloc(m.epc, owner->epc_owner, 0, &page) == 0, "a page of the second section");
	here = 2;
	for (enum epc_count c = 0; c < EPC_COUNT_NR; c++) {
		struct epc_section_stats before[SECTIONS], after;

		for (unsigned int i = 0; i < SECTIONS; i++)
			before[i] = stats_of(&m, i);
		epc_count(owner->epc_owner, page, c, 5);
		epc_count(owner->epc_owner, NULL, c, 7);
		for (unsigned int i = 0; i < SECTIONS; i++) {
			after = stats_of(&m, i);
			before[i].count[c] += i == 1 ? 5 : i == 2 ? 7 : 0;
			wrong += memcmp(after.count, before[i].count, sizeof(after.count)) != 0;
		}
	}
	TAP_CHECK(wrong == 0, "with a page its section counts, without one that of the thread");
	check_sums(&m, true, "whoever counts");
	epc_free(m.epc, page);
	fake_owner_put(owner);
	fake_machine_destroy(&m);
}

/* ---- pressure ------------------------------------------------------------------------------------------ */

static uint64_t some_ns(struct fake_machine *m, unsigned int i)
{
	return stats_of(m, i).pressure[EPC_SOME].total_ns;
}

static void wait_ms(long ms)
{
	struct timespec ts = { .tv_nsec = ms * 1000000 };

	nanosleep(&ts, NULL);
}

/* Threads on two nodes stand still, from different moments on, and one of them dies in it. */
static void test_pressure(void)
{
	uint64_t first, second, all;
	struct fake_owner *owner;
	struct stalled *stalled;
	struct fake_machine m;
	int status;
	pid_t pid;

	machine(&m);
	owner = fake_owner_create(m.epc, 1, 1, true);
	here = 0;
	stalled = stall_begin(owner->epc_owner);
	wait_ms(20);
	pid = fork();
	if (pid == 0) {
		here = 1;
		stalled = stall_begin(owner->epc_owner);
		wait_ms(20);
		/* It ended there, whenever that is found out: it gave no sign of life since. */
		stall_goes_on(stalled, epc_now_ns(m.epc));
		_exit(0);
	}
	waitpid(pid, &status, 0);
	here = 2; /* where it ends does not matter */
	second = some_ns(&m, 1);
	wait_ms(10);
	TAP_CHECK(some_ns(&m, 1) == second && second >= 19000000,
		  "who has died stands still no more: %lu us", second / 1000);
	stall_end(stalled, owner->epc_owner);
	first = some_ns(&m, 0);
	wait_ms(10);
	all = stats_of(&m, 0).pressure[EPC_SOME].total_ns;
	TAP_CHECK(first >= second + 30000000 && all == first && some_ns(&m, 2) == 0,
		  "a section has the time of those that would have had a page of it: %lu us",
		  first / 1000);
	stalled = stall_begin(owner->epc_owner);
	fake_owner_put(owner);
	first = some_ns(&m, 2);
	wait_ms(10);
	TAP_CHECK(stalled && some_ns(&m, 2) == first, "and none when the owner has gone");
	check_sums(&m, false, "in the end");
	fake_machine_destroy(&m);
}

int main(void)
{
	test_events();
	test_where();
	test_pressure();
	return tap_done();
}
