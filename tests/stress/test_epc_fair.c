/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * 64 owners, each with a thread, on an EPC of 64 pages, which walk through 80 pages each: all fault all the time, and
 * every page that one gets somebody has to give.  Until the slowest has done its part the others do four times that at the
 * most, on the average: in runs of a hundred faults each as in long ones.
 *
 *   test_epc_fair [faults of each [owners]]
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/policy.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { OWNERS_MAX = 64, EPC_PAGES = 64, PAGES = 80, STILL_SECONDS_MAX = 60 };

struct fair {
	struct fake_machine m;
	pthread_barrier_t start;
	atomic_bool stop;
	atomic_uint failed;
	_Atomic uint64_t done[OWNERS_MAX];
	struct fake_owner *owner[OWNERS_MAX];
};

struct worker {
	struct fair *fair;
	unsigned int nr;
	pthread_t thread;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct fair *fair = w->fair;
	uint32_t i;

	pthread_barrier_wait(&fair->start);
	for (i = w->nr; !atomic_load(&fair->stop); i++) {
		if (!fake_use_surely(fair->owner[w->nr], i % PAGES))
			atomic_fetch_add(&fair->failed, 1);
		atomic_fetch_add_explicit(&fair->done[w->nr], 1, memory_order_relaxed);
	}
	return NULL;
}

static void *lend(void *epc)
{
	epc_background_run(epc);
	return NULL;
}

/* Until each has done @least, or one of those who have not stands still. */
static void wait_for(struct fair *fair, unsigned int owners, uint64_t least)
{
	const struct timespec ts = { .tv_nsec = 500000 };
	time_t moved = time(NULL);
	uint64_t done, before = 0;
	unsigned int i = 0;

	while (i < owners && time(NULL) - moved < STILL_SECONDS_MAX) {
		done = fair->done[i];
		if (done != before)
			moved = time(NULL);
		before = done;
		if (done >= least)
			i++;
		else
			nanosleep(&ts, NULL);
	}
}

static void run(const char *policy, unsigned int owners, uint64_t faults, bool background)
{
	static struct worker w[OWNERS_MAX];
	static struct fair fair;
	uint64_t done, sum = 0, least = UINT64_MAX, loads = 0, wrong = 0;
	pthread_t lent;
	unsigned int i;
	char why[200];

	memset(&fair, 0, sizeof(fair));
	TAP_MUST(fake_machine_create(&fair.m, EPC_PAGES, policy, NULL, 0) == 0,
		 "%s: %u owners on %u pages%s, %lu faults", policy, owners, EPC_PAGES,
		 background ? ", with background reclaim" : "", (unsigned long)faults);
	for (i = 0; i < owners; i++)
		fair.owner[i] = fake_owner_create(fair.m.epc, i, PAGES, i % 2);
	pthread_barrier_init(&fair.start, NULL, owners);
	for (i = 0; i < owners; i++) {
		w[i] = (struct worker){ .fair = &fair, .nr = i };
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	}
	if (background)
		pthread_create(&lent, NULL, lend, fair.m.epc);
	wait_for(&fair, owners, faults);
	/* All of one moment: who is late to hear of the stop does more. */
	for (i = 0; i < owners; i++) {
		done = fair.done[i];
		sum += done;
		least = done < least ? done : least;
	}
	atomic_store(&fair.stop, true);
	for (i = 0; i < owners; i++)
		pthread_join(w[i].thread, NULL);
	epc_background_stop(fair.m.epc);
	if (background)
		pthread_join(lent, NULL);
	for (i = 0; i < owners; i++) {
		loads += fair.owner[i]->loads;
		wrong += fair.owner[i]->wrong;
	}
	TAP_CHECK(least >= faults, "each gets on: %lu", (unsigned long)least);
	TAP_CHECK(fair.failed == 0 && wrong == 0, "no page is lost, no allocation fails (%u)",
		  fair.failed);
	TAP_CHECK(least * 4 >= sum / owners, "the slowest did %lu, the mean is %lu",
		  (unsigned long)least, (unsigned long)(sum / owners));
	TAP_CHECK(epc_audit(fair.m.epc, false, why, sizeof(why)) == 0, "the audit: %s", why);
	TAP_CHECK(loads * 10 >= sum * 9, "nearly all uses are faults");
	pthread_barrier_destroy(&fair.start);
	printf("# %lu uses, %lu of them faults\n", (unsigned long)sum, (unsigned long)loads);
	for (i = 0; i < owners; i++)
		fake_owner_put(fair.owner[i]);
	fake_machine_destroy(&fair.m);
}

int main(int argc, char **argv)
{
	static const uint64_t lengths[] = { 100, 400, 2500 };
	unsigned int owners = argc > 2 ? (unsigned int)strtoul(argv[2], NULL, 0) : OWNERS_MAX;
	unsigned int i;

	if (owners > OWNERS_MAX)
		owners = OWNERS_MAX;
	if (argc > 1) {
		run(policy_find(NULL)->name, owners, strtoul(argv[1], NULL, 0), false);
		return tap_done();
	}
	/* Short runs as well: nobody is to be far behind at any time. */
	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		run(policy_find(NULL)->name, owners, lengths[i], false);
		run(policy_find(NULL)->name, owners, lengths[i], true);
		run("upstream", owners, lengths[i], false);
	}
	return tap_done();
}
