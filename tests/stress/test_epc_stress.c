/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The manager under many threads at once, for the race detector too: owners that are used, shrink,
 * die and are born while others evict their pages, operations that fail, and an auditor that looks
 * on.  Then the same with all that the simulation has (tests/sim/test_epc_sim.c): a file that
 * fails, machine checks, pages that their owner keeps a while, groups with limits.  There a use may
 * fail, but what can be had is right.
 *
 *   test_epc_stress [milliseconds [threads [operations]]]
 *
 * So long and so many operations at least, for each policy and each of two sizes of the EPC.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/backing.h"
#include "epc/group.h"
#include "epc/policy.h"
#include "epc/window.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { SHARED = 4, GROUPS = 3, THREADS_MAX = 64, SECONDS_MAX = 20, OPERATIONS_SECONDS_MAX = 300 };

struct stress {
	struct fake_machine m;
	struct fake_owner *shared[SHARED];
	atomic_bool stop;
	bool harsh;
	struct epc_group *group[GROUPS];
	atomic_uint next_id, gave_up, audit_faults, audits, lives;
	atomic_uint refused;
	_Atomic uint64_t uses[THREADS_MAX];
	char why[200];
};

struct length {
	unsigned int ms, threads;
	uint64_t operations;
};

struct worker {
	struct stress *s;
	unsigned int nr;
	uint64_t rng;
	pthread_t thread;
};

static uint32_t rnd(struct worker *w, uint32_t below)
{
	w->rng = w->rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((w->rng >> 33) % below);
}

/* Who cannot have a page, because the store fails or the page broke, starts it anew some time. */
static void use(struct worker *w, struct fake_owner *owner, uint32_t i)
{
	if (fake_use_surely(owner, i))
		return;
	if (!w->s->harsh) {
		atomic_fetch_add(&w->s->gave_up, 1);
		return;
	}
	atomic_fetch_add(&w->s->refused, 1);
	if (rnd(w, 4) == 0)
		(void)fake_remove(owner, i);
}

/* Its owner keeps a page for as long as it holds its own lock. */
static void keep(struct fake_owner *owner, uint32_t i)
{
	struct epc_page *page;

	lock_acquire(&owner->lock);
	page = owner->page[i].epc_page;
	if (page && !epc_page_poisoned(page) && epc_untrack(owner->epc, page) == 0)
		epc_track(owner->epc, page);
	lock_release(&owner->lock);
}

/* One time in four the file fails; and pages break, until there are ten. */
static void harm(struct stress *s, unsigned int nr)
{
	struct backing_faults faults = { .write = nr % 4 == 0 ? -EIO : 0,
					 .read = nr % 4 == 1 ? -EIO : 0 };

	backing_fail_file(epc_backing(s->m.epc), &faults);
	if (nr < 10)
		(void)epc_poison(s->m.epc, nr * 7 % cpu_get_config(s->m.cpu)->page_nr);
}

/* An owner of this thread alone lives and dies while others evict its pages. */
static void one_life(struct worker *w)
{
	struct fake_owner *owner =
		fake_owner_create_in(w->s->group[rnd(w, GROUPS)], w->s->m.epc,
				     atomic_fetch_add(&w->s->next_id, 1), 20, rnd(w, 2));
	uint32_t i;

	if (!owner) {
		atomic_fetch_add(&w->s->gave_up, 1000);
		return;
	}
	for (i = 0; i < 40; i++)
		use(w, owner, i % 20);
	if (owner->wrong)
		atomic_fetch_add(&w->s->gave_up, 1000);
	fake_owner_put(owner);
	atomic_fetch_add(&w->s->lives, 1);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct stress *s = w->s;
	struct fake_owner *owner;
	uint32_t what;

	while (!atomic_load(&s->stop)) {
		owner = s->shared[rnd(w, SHARED)];
		what = rnd(w, 1000);
		if (what < 940)
			use(w, owner, rnd(w, owner->page_nr));
		else if (what < 980)
			(void)fake_remove(owner, rnd(w, owner->page_nr));
		else if (what < 985)
			(void)epc_reclaim(s->m.epc);
		else if (what < 990)
			owner->fail_every[rnd(w, FAKE_OP_NR)] = rnd(w, 2) ? 3 : 0;
		else if (s->harsh && what < 996)
			keep(owner, rnd(w, owner->page_nr));
		else
			one_life(w);
		atomic_fetch_add_explicit(&s->uses[w->nr], 1, memory_order_relaxed);
	}
	return NULL;
}

static void *audit(void *arg)
{
	struct stress *s = arg;
	struct epc_stats stats;

	while (!atomic_load(&s->stop)) {
		if (epc_audit(s->m.epc, true, s->why, sizeof(s->why)) > 0) {
			atomic_fetch_add(&s->audit_faults, 1);
			break;
		}
		epc_stats_read(s->m.epc, &stats);
		if (stats.free + stats.dirty + stats.owned + stats.tracked + stats.in_batch +
			    stats.poisoned !=
		    stats.pages)
			atomic_fetch_add(&s->audit_faults, 1);
		if (s->harsh)
			harm(s, s->audits);
		atomic_fetch_add(&s->audits, 1);
		usleep(500);
	}
	return NULL;
}

static void *lend(void *arg)
{
	epc_background_run(arg);
	return NULL;
}

/*
 * For so long and so many operations; and where the machine is busy, until it has let each thread
 * do its part, or for SECONDS_MAX.
 */
static void wait_for(struct stress *s, const struct length *length)
{
	struct timespec ts = { length->ms / 1000, (long)(length->ms % 1000) * 1000000 };
	time_t start = time(NULL), passed;
	uint64_t sum, least;
	unsigned int i;

	do {
		nanosleep(&ts, NULL);
		ts = (struct timespec){ .tv_nsec = 5000000 };
		for (i = 0, sum = 0, least = UINT64_MAX; i < length->threads; i++) {
			sum += s->uses[i];
			least = s->uses[i] < least ? s->uses[i] : least;
		}
		passed = time(NULL) - start;
	} while ((sum < length->operations && passed < OPERATIONS_SECONDS_MAX) ||
		 (least * 20 * length->threads < sum && passed < SECONDS_MAX));
}

/*
 * Over memory; harsh: over a file, and owners in a group that may have some pages and in one that
 * should have few.
 */
static int machine_create(struct stress *s, const char *policy, uint32_t epc_pages)
{
	struct epc_config config = { .policy = policy, .shards = 3, .backing_path = "/dev/shm" };
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct cpu_config cpu;

	if (!s->harsh)
		return fake_machine_create_sharded(&s->m, epc_pages, policy, 3);
	cpu_config_default(&cpu, (uint64_t)epc_pages * SGX_PAGE_SIZE);
	if (fake_machine_create_as(&s->m, &cpu, &config) < 0)
		return -ENOMEM;
	limits.max_pages = epc_pages / 3;
	limits.min_pages = epc_pages / 8;
	if (epc_group_create(epc_group_root(s->m.epc), "max", &limits, &s->group[1]) < 0)
		return -EINVAL;
	limits = EPC_GROUP_UNLIMITED;
	limits.high_pages = epc_pages / 4;
	return epc_group_create(s->group[1], "high", &limits, &s->group[2]);
}

static void run(const char *policy, uint32_t epc_pages, const struct length *length, bool harsh)
{
	static const struct backing_faults none;
	unsigned int threads = length->threads;
	static struct stress s;
	static struct worker w[THREADS_MAX];
	uint64_t sum = 0, least = UINT64_MAX, wrong = 0;
	pthread_t auditor, background;
	struct epc_stats stats;
	unsigned int i;
	char why[200];

	memset(&s, 0, sizeof(s));
	s.harsh = harsh;
	TAP_MUST(machine_create(&s, policy, epc_pages) == 0, "%s, %u pages, %u threads, %u ms%s",
		 policy, epc_pages, threads, length->ms, harsh ? ", all that can fail" : "");
	for (i = 0; i < SHARED; i++)
		s.shared[i] = fake_owner_create_in(s.group[i % GROUPS], s.m.epc, i, 100, i != 0);
	s.next_id = SHARED;
	for (i = 0; i < threads; i++) {
		w[i] = (struct worker){ .s = &s, .nr = i, .rng = i + 1 };
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	}
	pthread_create(&auditor, NULL, audit, &s);
	pthread_create(&background, NULL, lend, s.m.epc);
	wait_for(&s, length);
	atomic_store(&s.stop, true);
	for (i = 0; i < threads; i++) {
		pthread_join(w[i].thread, NULL);
		sum += s.uses[i];
		least = s.uses[i] < least ? s.uses[i] : least;
	}
	pthread_join(auditor, NULL);
	epc_background_stop(s.m.epc);
	pthread_join(background, NULL);
	backing_fail_file(epc_backing(s.m.epc), &none);
	for (i = 0; i < SHARED; i++) {
		wrong += s.shared[i]->wrong;
		fake_owner_put(s.shared[i]);
	}
	TAP_CHECK(wrong == 0 && s.gave_up == 0, "no page is lost, no allocation fails (%lu, %u)",
		  (unsigned long)wrong, s.gave_up);
	TAP_CHECK(s.audit_faults == 0 && s.audits > 0, "%u live audits hold%s%s", s.audits,
		  s.audit_faults ? ": " : "", s.why);
	TAP_CHECK(least * 20 * threads >= sum, "the slowest thread did %lu of %lu",
		  (unsigned long)least, (unsigned long)(sum / threads));
	TAP_CHECK(epc_audit(s.m.epc, false, why, sizeof(why)) == 0, "the audit at the end: %s",
		  why);
	TAP_CHECK(backing_used(epc_backing(s.m.epc)) == 0, "the store is empty");
	TAP_CHECK(sum >= length->operations, "%lu operations are done", (unsigned long)sum);
	epc_stats_read(s.m.epc, &stats);
	TAP_CHECK(!harsh || (s.refused > 0 && stats.machine_checks > 0 &&
			     stats.backing_write_errors + stats.backing_read_errors > 0),
		  "what was to fail has failed, %u times", s.refused);
	printf("# %lu operations, %u lives, %u refused\n", (unsigned long)sum, s.lives, s.refused);
	fake_machine_destroy(&s.m);
}

int main(int argc, char **argv)
{
	struct length length = {
		.ms = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 0) : 400,
		.threads = argc > 2 ? (unsigned int)strtoul(argv[2], NULL, 0) : 8,
		.operations = argc > 3 ? strtoul(argv[3], NULL, 0) : 0,
	};
	/* Where the store fails half of the time an operation takes as long as many. */
	struct length harsh = { length.ms, length.threads, length.operations / 20 };
	unsigned int i;

	for (i = 0; policy_at(i); i++) {
		run(policy_at(i)->name, 100, &length, false);
		run(policy_at(i)->name, 24, &length, false);
		run(policy_at(i)->name, 64, &harsh, true);
	}
	return tap_done();
}
