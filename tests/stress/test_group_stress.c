/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Groups under many threads at once: a noisy neighbour that does whatever it can think of, and many
 * small groups on an EPC that has a page for each.
 *
 *   test_group_stress [milliseconds]
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "epc/group.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { EPC_PAGES = 256, MEEK_MIN = 64, NOISY_THREADS = 6, SMALL = 64, USES = 400 };

static unsigned int milliseconds = 1500;

struct worker {
	struct fake_machine *m;
	struct epc_group *group;
	struct fake_owner *owner;
	atomic_bool *stop;
	_Atomic uint64_t uses;
	unsigned int nr, failed, low;
	double done;
	pthread_t thread;
};

static void start(struct worker *w, void *(*work)(void *))
{
	if (pthread_create(&w->thread, NULL, work, w) != 0)
		exit(1);
}

static uint32_t rnd(uint64_t *rng, uint32_t below)
{
	*rng = *rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((*rng >> 33) % below);
}

static uint32_t current(struct epc_group *group)
{
	struct epc_group_info info;

	epc_group_read(group, &info);
	return info.current_pages;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Round and round over more pages than the group may have: nearly every use is a fault. */
static void *use_in_turn(void *arg)
{
	struct worker *w = arg;

	for (w->uses = 0; w->uses < USES; w->uses++)
		w->failed += !fake_use_surely(w->owner, (uint32_t)w->uses % w->owner->page_nr);
	w->done = now();
	return NULL;
}

/* Uses, forces batches, is born and dies, makes groups and sets limits, asks for promises. */
static void *be_noisy(void *arg)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct worker *w = arg;
	uint64_t rng = w->nr * 77 + 1;
	struct fake_owner *owner;
	struct epc_group *group;
	char name[16];
	uint32_t i;

	snprintf(name, sizeof(name), "n%u", w->nr);
	while (!atomic_load(w->stop)) {
		limits.weight = EPC_GROUP_WEIGHT_MAX;
		limits.min_pages = rnd(&rng, EPC_PAGES);
		limits.high_pages = rnd(&rng, EPC_PAGES);
		if (epc_group_create(w->group, name, &limits, &group) < 0) {
			limits.min_pages = 0;
			if (epc_group_create(w->group, name, &limits, &group) < 0)
				continue;
		}
		owner = fake_owner_create_in(group, w->m->epc, w->nr, 150, true);
		for (i = 0; owner && i < 600; i++) {
			w->failed += !fake_use_surely(owner, rnd(&rng, owner->page_nr));
			if (i % 32 == 0)
				(void)epc_reclaim(w->m->epc);
			if (i % 64 == 0) {
				limits.min_pages = 0;
				limits.high_pages = rnd(&rng, EPC_PAGES);
				(void)epc_group_set(group, &limits);
			}
			atomic_fetch_add(&w->uses, 1);
		}
		if (owner)
			fake_owner_put(owner);
		(void)epc_group_destroy(group);
	}
	return NULL;
}

static void *watch(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(w->stop)) {
		w->low += current(w->group) < MEEK_MIN;
		atomic_fetch_add(&w->uses, 1);
		if (w->uses % 1024 == 0)
			sched_yield();
	}
	return NULL;
}

static void test_noisy(void)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct epc_group *meek, *noisy;
	static struct worker n[NOISY_THREADS], watcher;
	struct fake_owner *owner;
	struct fake_machine m;
	unsigned int i, failed = 0;
	atomic_bool stop = false;
	uint64_t uses = 0;
	uint32_t loads;
	char why[200];

	fake_machine_create(&m, EPC_PAGES, NULL, NULL, 0);
	limits.min_pages = MEEK_MIN;
	limits.weight = 1;
	TAP_MUST(epc_group_create(epc_group_root(m.epc), "meek", &limits, &meek) == 0 &&
			 epc_group_create(epc_group_root(m.epc), "noisy", &EPC_GROUP_UNLIMITED,
					  &noisy) == 0,
		 "two groups");
	owner = fake_owner_create_in(meek, m.epc, 99, MEEK_MIN, true);
	for (i = 0; i < MEEK_MIN; i++)
		failed += !fake_use_surely(owner, i);
	loads = owner->loads;
	watcher = (struct worker){ .m = &m, .group = meek, .stop = &stop };
	start(&watcher, watch);
	for (i = 0; i < NOISY_THREADS; i++) {
		n[i] = (struct worker){ .m = &m, .group = noisy, .stop = &stop, .nr = i };
		start(&n[i], be_noisy);
	}
	usleep(milliseconds * 1000);
	for (i = 0; i < 20 * MEEK_MIN; i++)
		failed += !fake_use_surely(owner, i % MEEK_MIN);
	atomic_store(&stop, true);
	for (i = 0; i < NOISY_THREADS; i++) {
		pthread_join(n[i].thread, NULL);
		failed += n[i].failed;
		uses += n[i].uses;
	}
	pthread_join(watcher.thread, NULL);
	TAP_CHECK(failed == 0 && owner->wrong == 0 && uses > 1000, "%lu uses by the noisy",
		  (unsigned long)uses);
	TAP_CHECK(watcher.low == 0, "never once below its min, seen %lu times",
		  (unsigned long)watcher.uses);
	TAP_CHECK(owner->loads == loads, "and not one of its pages went");
	TAP_CHECK(epc_audit(m.epc, false, why, sizeof(why)) == 0, "the audit holds %s", why);
	fake_machine_destroy(&m);
}

/* As many groups with an owner each as there are pages: every one makes progress. */
static void test_small(bool promised)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	static struct worker w[SMALL];
	double began, sum = 0, longest = 0;
	unsigned int i, failed = 0;
	struct fake_machine m;
	char name[16], why[200];

	fake_machine_create(&m, SMALL, NULL, NULL, 0);
	limits.min_pages = promised ? 1 : 0;
	limits.max_pages = 4;
	for (i = 0; i < SMALL; i++) {
		struct epc_group *group;

		/* Not the last ones: some pages are never promised. */
		if (i >= SMALL / 2)
			limits.min_pages = 0;
		snprintf(name, sizeof(name), "s%u", i);
		if (epc_group_create(epc_group_root(m.epc), name, &limits, &group) < 0)
			exit(1);
		w[i] = (struct worker){ .m = &m, .nr = i };
		w[i].owner = fake_owner_create_in(group, m.epc, i, 8, true);
	}
	began = now();
	for (i = 0; i < SMALL; i++)
		start(&w[i], use_in_turn);
	for (i = 0; i < SMALL; i++) {
		pthread_join(w[i].thread, NULL);
		failed += w[i].failed + w[i].owner->wrong;
		sum += w[i].done - began;
		longest = w[i].done - began > longest ? w[i].done - began : longest;
	}
	TAP_CHECK(failed == 0, "%u groups on %u pages%s: all get what they ask for", SMALL, SMALL,
		  promised ? ", half of them with a promise" : "");
	TAP_CHECK(longest <= 4 * sum / SMALL,
		  "the slowest took %.2f s for its %u uses, the mean is %.2f s", longest, USES,
		  sum / SMALL);
	TAP_CHECK(epc_audit(m.epc, false, why, sizeof(why)) == 0, "the audit holds %s", why);
	fake_machine_destroy(&m);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		milliseconds = (unsigned int)strtoul(argv[1], NULL, 0);
	test_noisy();
	test_small(false);
	test_small(true);
	return tap_done();
}
