/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Numbers: who did what, what of it stays with the group, pages by kind, and time lost to stalls. */
#include "epc/stats.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/epc_priv.h"
#include "epc/owner.h"
#include "lib/bare_owner.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum {
	PAGES = 64,
	PAGES_LEAST = 8,    /* of an EPC: swsgx run wants 9 at least */
	PAGES_SMALL = 238,  /* from so many on 64 bytes a page are enough, and it is 50 and */
	FIXED_BYTES = 9728, /* for the EPC as such in a smaller one, two thirds of it shadows */
	IDLE_BYTES = 320,   /* the ring of uses doubles with them */
	MAPS_BYTES =
		64 *
		1024, /* the ends of mappings, and what the first touch of other things commits */
};

static struct epc_group *group(struct epc_group *parent, const char *name)
{
	struct epc_group *g = NULL;

	TAP_MUST(epc_group_create(parent, name, &EPC_GROUP_UNLIMITED, &g) == 0, "group %s", name);
	return g;
}

static struct epc_group_stats stats_of(struct epc_group *g)
{
	struct epc_group_stats stats;

	epc_group_stats_read(g, &stats);
	return stats;
}

static void test_counts(void)
{
	struct epc_group *outer, *inner;
	struct fake_owner *a, *b;
	struct epc_owner_info info;
	struct epc_group_stats s;
	struct fake_machine m;
	uint64_t evictions;
	uint32_t i;

	fake_machine_create(&m, PAGES, NULL, NULL, 0);
	outer = group(epc_group_root(m.epc), "outer");
	inner = group(outer, "inner");
	a = fake_owner_create_in(inner, m.epc, 7, 100, true);
	b = fake_owner_create_in(outer, m.epc, 8, 10, true);
	for (i = 0; i < 100; i++)
		fake_use_surely(a, i);
	for (i = 0; i < 10; i++)
		fake_use_surely(b, i);
	TAP_CHECK(epc_owner_read(inner, 0, &info) && !strcmp(info.name, "fake") && info.id == 7 &&
			  info.count[EPC_ALLOCS] == 100,
		  "an owner has what it did");
	evictions = info.count[EPC_EVICTIONS];
	TAP_CHECK(evictions >= 46 && info.count[EPC_BLOCKS] == evictions &&
			  info.count[EPC_EVICT_FAILURES] == 0 && info.count[EPC_STALLS] > 0 &&
			  info.count[EPC_DIRECT_RECLAIMS] >= info.count[EPC_STALLS] &&
			  info.count[EPC_STALL_NS] > 0,
		  "%lu evictions, and what they took", (unsigned long)evictions);
	TAP_CHECK(!epc_owner_read(inner, 1, &info) && epc_owner_read(outer, 0, &info) &&
			  info.id == 8 && !epc_owner_read(outer, 1, &info),
		  "owners are listed with their group alone");
	s = stats_of(outer);
	TAP_CHECK(s.count[EPC_ALLOCS] == 110 && stats_of(inner).count[EPC_ALLOCS] == 100,
		  "a group has what its owners did, and those of groups below");
	fake_remove(b, 9);
	fake_owner_put(a);
	s = stats_of(inner);
	TAP_CHECK(s.count[EPC_ALLOCS] == 100 &&
			  s.count[EPC_FREES] + s.count[EPC_EVICTIONS] == 100 &&
			  !epc_owner_read(inner, 0, &info),
		  "what an owner did stays when it has gone");
	TAP_CHECK(stats_of(epc_group_root(m.epc)).count[EPC_ALLOCS] == 110,
		  "the root has everything");
	b->fail_every[FAKE_WRITE] = 1;
	(void)epc_reclaim(m.epc);
	(void)epc_owner_read(outer, 0, &info);
	TAP_CHECK(info.count[EPC_EVICT_FAILURES] > 0 &&
			  info.count[EPC_BLOCKS] ==
				  info.count[EPC_EVICTIONS] + info.count[EPC_EVICT_FAILURES],
		  "what could not be written was blocked in vain");
	fake_owner_put(b);
	TAP_CHECK(epc_group_destroy(inner) == 0 && stats_of(outer).count[EPC_ALLOCS] == 110 &&
			  epc_group_destroy(outer) == 0 &&
			  stats_of(epc_group_root(m.epc)).count[EPC_ALLOCS] == 110,
		  "and what a group did stays with its parent when it has gone");
	for (i = 0; i < EPC_COUNT_NR; i++) {
		if (!epc_count_name(i))
			break;
	}
	TAP_CHECK(i == EPC_COUNT_NR && !epc_count_name(EPC_COUNT_NR), "every count has a name");
	fake_machine_destroy(&m);
}

static void test_kinds(void)
{
	struct epc_section_stats section;
	uint32_t i, sum = 0;
	struct fake_owner *a;
	struct fake_machine m;
	struct epc_page *page;
	struct epc_owner_info info;

	fake_machine_create(&m, PAGES, NULL, NULL, 0);
	a = fake_owner_create(m.epc, 7, 100, true);
	for (i = 0; i < 20; i++)
		fake_use_surely(a, i);
	TAP_MUST(epc_alloc(m.epc, a->epc_owner, 0, &page) == 0, "a page that is nothing yet");
	epc_census(m.epc);
	(void)epc_owner_read(epc_group_root(m.epc), 0, &info);
	epc_section_stats_read(m.epc, 0, &section);
	for (i = 0; i < EPC_KIND_NR; i++)
		sum += section.kind[i];
	TAP_CHECK(info.kind[EPC_VA] == 20 && info.kind[EPC_BLANK] == 1 &&
			  section.kind[EPC_VA] == 20 && section.kind[EPC_BLANK] == 1 && sum == 21 &&
			  stats_of(epc_group_root(m.epc)).kind[EPC_VA] == 20,
		  "pages by what the EPCM says of them");
	epc_free(m.epc, page);
	fake_owner_put(a);
	epc_census(m.epc);
	TAP_CHECK(stats_of(epc_group_root(m.epc)).kind[EPC_VA] == 0, "and none is left");
	fake_machine_destroy(&m);
}

/* Shared memory of this process that is there, in KiB; -1: not told. */
static long shared_kib(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[128];
	long kib = -1;

	while (status && fgets(line, sizeof(line), status))
		(void)sscanf(line, "RssShmem: %ld", &kib);
	if (status)
		fclose(status);
	return kib;
}

static void test_census_of_much(void)
{
	const uint32_t pages = 1u << 20; /* 64 MiB of metadata */
	struct fake_machine m;
	long before, after;

	fake_machine_create(&m, pages, NULL, NULL, 0);
	before = shared_kib();
	epc_census(m.epc);
	after = shared_kib();
	TAP_CHECK(before >= 0 && after - before < 4096,
		  "a census commits nothing of what was never used: %ld KiB", after - before);
	fake_machine_destroy(&m);
}

/* ---- what it costs ------------------------------------------------------------------------------- */

/* All that there is for an EPC of @pages, as the manager says; false: that is not what it allocates. */
static bool footprint_read(uint32_t pages, struct epc_footprint *f)
{
	struct fake_machine m;
	bool ok;

	TAP_MUST(fake_machine_create(&m, pages, NULL, NULL, 0) == 0, "an EPC of %u pages", pages);
	epc_footprint_read(m.epc, f);
	ok = f->rest == arena_used_bytes(m.arena) &&
	     f->epcm + f->pages == (uint64_t)pages * CPU_RECORD_BYTES;
	fake_machine_destroy(&m);
	return ok;
}

static uint64_t footprint_sum(const struct epc_footprint *f)
{
	return f->epcm + f->pages + f->ghosts + f->shadows + f->rest;
}

static uint64_t footprint_of(uint32_t pages)
{
	struct epc_footprint f;
	bool ok = footprint_read(pages, &f);

	TAP_CHECK(
		ok,
		"%u pages: EPCM %lu, pages %lu, ghosts %lu, shadows %lu, the rest %lu: %.2f a page",
		pages, (unsigned long)f.epcm, (unsigned long)f.pages, (unsigned long)f.ghosts,
		(unsigned long)f.shadows, (unsigned long)f.rest, (double)footprint_sum(&f) / pages);
	return footprint_sum(&f);
}

static void test_footprint(void)
{
	uint64_t sum, pages, quarter;

	/* Sizes between powers of two as well. */
	for (quarter = PAGES_LEAST / 4; quarter <= 1u << 24; quarter *= 2) {
		for (pages = 4 * quarter; pages < 8 * quarter && pages <= 1u << 26;
		     pages += quarter) {
			sum = footprint_of((uint32_t)pages);
			if (pages < PAGES_SMALL)
				TAP_CHECK(
					sum <= 50 * pages + FIXED_BYTES,
					"%lu KiB: 50 bytes a page are, and %u for the EPC as such",
					(unsigned long)pages * 4, FIXED_BYTES);
			else
				TAP_CHECK(sum <= 64 * pages, "%lu KiB: 64 bytes a page are enough",
					  (unsigned long)pages * 4);
		}
	}
}

/* Where shadows get what is left there is no size at which it is more, and none at which much is left that they could use. */
static void test_footprint_small(void)
{
	uint32_t pages, over = 0, wrong = 0, idle = 0;
	struct epc_footprint f;
	uint64_t enough;

	TAP_MUST(footprint_read(4 * PAGES_SMALL, &f), "an EPC of 4 MiB");
	enough = f.shadows;
	for (pages = PAGES_SMALL; pages <= 4 * PAGES_SMALL; pages++) {
		wrong += !footprint_read(pages, &f);
		over += footprint_sum(&f) > 64ull * pages;
		idle += f.shadows < enough && footprint_sum(&f) + IDLE_BYTES < 64ull * pages;
	}
	TAP_CHECK(over == 0 && wrong == 0,
		  "64 bytes a page at each size from 952 KiB to 4 MiB: more at %u of them", over);
	TAP_CHECK(idle == 0, "and shadows have what is left: not at %u sizes", idle);
}

/* ---- stalls -------------------------------------------------------------------------------------- */

/* The memory that is really there when every page is in use. */
static void test_footprint_committed(void)
{
	const uint32_t pages = 16384;
	struct epc_owner *owner;
	struct fake_machine m;
	struct epc_page *page;
	long before, after;
	char name[16];
	size_t used;
	uint32_t i;

	before = shared_kib();
	fake_machine_create(&m, pages, NULL, NULL, 0);
	owner = bare_owner_create(m.epc, NULL);
	for (i = 0; i < pages; i++) {
		epc_alloc(m.epc, owner, EPC_UNPLACED, &page);
		epc_page_set_cookie(page, i);
		epc_track(m.epc, page);
	}
	after = shared_kib();
	TAP_CHECK(before >= 0 && (uint64_t)(after - before) * 1024 <= 64ull * pages + MAPS_BYTES,
		  "%ld KiB are there for %u pages in use", after - before, pages);
	used = arena_used_bytes(m.arena);
	for (i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "g%u", i);
		group(epc_group_root(m.epc), name);
	}
	used = arena_used_bytes(m.arena) - used;
	TAP_CHECK(used <= 100 * 1536, "a group is %zu bytes more", used / 100);
	fake_machine_destroy(&m);
}

static _Atomic unsigned int running;
static _Atomic unsigned int sleep_ms;

static unsigned int how_many_run(void *owner) { return running; }

static void sleep_in_op(struct fake_owner *owner, enum fake_op op)
{
	unsigned int ms = op == FAKE_GET ? atomic_exchange(&sleep_ms, 0) : 0;
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	if (ms > 0)
		nanosleep(&ts, NULL);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct stall_test {
	struct fake_machine m;
	struct epc_group *group, *other;
	struct fake_owner *victim;
	struct epc_owner *who;
	struct epc_page *page[PAGES];
};

/* An owner whose next allocation takes as long as is wanted. */
static void stall_test_init(struct stall_test *t)
{
	struct epc_owner_config config = { .running = how_many_run, .id = 9 };

	fake_machine_create(&t->m, PAGES, NULL, NULL, 0);
	t->group = group(epc_group_root(t->m.epc), "stalled");
	t->other = group(epc_group_root(t->m.epc), "other");
	t->victim = fake_owner_create_in(t->other, t->m.epc, 1, PAGES, true);
	t->victim->on_op = sleep_in_op;
	for (uint32_t i = 0; i < PAGES; i++)
		fake_use_surely(t->victim, i);
	config.ops = &bare_ops;
	config.owner = t;
	config.group = t->group;
	TAP_MUST(epc_owner_create(t->m.epc, &config, &t->who) == 0, "an owner");
}

static void *refill_and_stall(void *arg)
{
	struct stall_test *t = arg;
	struct epc_page *page;

	/* Whatever is free goes first. */
	while (sleep_ms) {
		if (epc_alloc(t->m.epc, t->who, EPC_MAY_RECLAIM, &page) < 0)
			break;
		epc_free(t->m.epc, page);
		for (uint32_t i = 0; sleep_ms && i < PAGES; i++)
			(void)fake_use(t->victim, i, 0);
	}
	return NULL;
}

static bool about(uint64_t ns, uint64_t ms, uint64_t wall_ns)
{
	return ns >= ms * 1000000 && ns <= wall_ns;
}

static bool near(double a, double b) { return a > b * 0.95 && a < b * 1.05; }

static void test_pressure(void)
{
	double share;
	struct epc_group_stats s, root;
	struct stall_test t;
	struct epc_owner_info info;
	uint64_t start;

	stall_test_init(&t);
	start = now_ns();
	running = 1;
	sleep_ms = 100;
	refill_and_stall(&t);
	s = stats_of(t.group);
	TAP_CHECK(about(s.pressure[EPC_SOME].total_ns, 100, now_ns() - start) &&
			  s.pressure[EPC_FULL].total_ns == 0,
		  "a stall while others run is some: %lu us",
		  (unsigned long)s.pressure[EPC_SOME].total_ns / 1000);
	TAP_CHECK(stats_of(t.other).pressure[EPC_SOME].total_ns < s.pressure[EPC_SOME].total_ns / 2,
		  "and not that of who gave the pages");
	running = 0;
	sleep_ms = 100;
	refill_and_stall(&t);
	s = stats_of(t.group);
	root = stats_of(epc_group_root(t.m.epc));
	TAP_CHECK(about(s.pressure[EPC_FULL].total_ns, 100, now_ns() - start) &&
			  s.pressure[EPC_SOME].total_ns >= s.pressure[EPC_FULL].total_ns,
		  "a stall when nobody runs is full");
	(void)epc_owner_read(t.group, 0, &info);
	TAP_CHECK(about(info.pressure[EPC_SOME].total_ns, 200, now_ns() - start) &&
			  about(info.pressure[EPC_FULL].total_ns, 100, now_ns() - start) &&
			  about(info.count[EPC_STALL_NS], 200, now_ns() - start),
		  "so for the owner");
	TAP_CHECK(about(root.pressure[EPC_SOME].total_ns, 200, now_ns() - start) &&
			  root.pressure[EPC_FULL].total_ns == 0,
		  "and of the root, where somebody cannot tell whether it runs, some alone");
	while (now_ns() - start < 2100000000)
		usleep(10000);
	s = stats_of(t.group);
	/* The share of two seconds, of which an average takes up 1 - exp(-2/10), -2/60, -2/300. */
	share = (double)s.pressure[EPC_SOME].total_ns / 2e9;
	TAP_CHECK(near(s.pressure[EPC_SOME].avg[0], share * 18.127) &&
			  near(s.pressure[EPC_SOME].avg[1], share * 3.278) &&
			  near(s.pressure[EPC_SOME].avg[2], share * 0.664),
		  "averages of 10, 60 and 300 s: %.2f %.2f %.2f %%", s.pressure[EPC_SOME].avg[0],
		  s.pressure[EPC_SOME].avg[1], s.pressure[EPC_SOME].avg[2]);
	fake_machine_destroy(&t.m);
}

/* Two stalls at once are one time lost; and one whose process dies in it ends with it. */
static void test_pressure_many(void)
{
	struct epc_group_stats before, after;
	struct stall_test *t;
	pthread_t thread;
	uint64_t start;
	pid_t pid;

	t = calloc(1, sizeof(*t));
	stall_test_init(t);
	start = now_ns();
	running = 1;
	sleep_ms = 60;
	pthread_create(&thread, NULL, refill_and_stall, t);
	refill_and_stall(t);
	pthread_join(thread, NULL);
	after = stats_of(t->group);
	TAP_CHECK(about(after.pressure[EPC_SOME].total_ns, 60, now_ns() - start),
		  "of two threads: %lu us of %lu",
		  (unsigned long)after.pressure[EPC_SOME].total_ns / 1000,
		  (unsigned long)(now_ns() - start) / 1000);
	sleep_ms = 10000;
	pid = fork();
	if (pid == 0) {
		refill_and_stall(t);
		_exit(0);
	}
	start = now_ns();
	do {
		usleep(1000);
		before = stats_of(t->group);
	} while (before.pressure[EPC_SOME].total_ns <
			 after.pressure[EPC_SOME].total_ns + 30000000 &&
		 now_ns() - start < 5000000000);
	TAP_CHECK(now_ns() - start < 5000000000, "a stall that goes on is told of");
	kill(pid, SIGKILL);
	/* Nobody looks for a while, and nobody has waited for the process: it is a zombie. */
	usleep(300000);
	after = stats_of(t->group);
	TAP_CHECK(after.pressure[EPC_SOME].total_ns <
			  before.pressure[EPC_SOME].total_ns + 100000000,
		  "the stall of a process that was killed ends then, and not when it is found out: "
		  "%lu ms",
		  (unsigned long)(after.pressure[EPC_SOME].total_ns -
				  before.pressure[EPC_SOME].total_ns) /
			  1000000);
	usleep(50000);
	before = stats_of(t->group);
	TAP_CHECK(after.pressure[EPC_SOME].total_ns == before.pressure[EPC_SOME].total_ns,
		  "and does not go on");
	waitpid(pid, NULL, 0);
	sleep_ms = 0;
	fake_machine_destroy(&t->m);
	free(t);
}

/* There are places for so many stalls; those of the dead are had again at once. */
static void test_places(void)
{
	unsigned int i, n, had = 0;
	struct stalled *stalled[EPC_STALLED_MAX + 1];
	struct fake_machine m;
	struct epc_owner *owner;
	pid_t pid;

	fake_machine_create(&m, 16384, NULL, NULL, 0);
	owner = bare_owner_create(m.epc, NULL);
	TAP_CHECK(m.epc->stalled_nr == 0, "before anybody stands still there is no room for that");
	stall_end(stall_begin(owner), owner);
	n = m.epc->stalled_nr;
	for (i = 0; i <= n; i++) {
		stalled[i] = stall_begin(owner);
		had += stalled[i] != NULL;
	}
	TAP_CHECK(n == EPC_STALLED_MAX && had == n && !stalled[n], "%u stalls at once are told", n);
	pid = fork();
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	for (i = 0; i < n; i++) {
		stalled[i]->tid = (uint32_t)pid;
		stalled[i]->seen_ms -= 1000;
	}
	stalled[n] = stall_begin(owner);
	TAP_CHECK(stalled[n], "and another when those are dead");
	stall_end(stalled[n], owner);
	TAP_CHECK(!owner->pressure.now[EPC_SOME], "and then nobody stands still");
	epc_owner_destroy(owner);
	fake_machine_destroy(&m);
}

int main(void)
{
	test_counts();
	test_kinds();
	test_census_of_much();
	test_footprint();
	test_footprint_small();
	test_footprint_committed();
	test_pressure();
	test_pressure_many();
	test_places();
	return tap_done();
}
