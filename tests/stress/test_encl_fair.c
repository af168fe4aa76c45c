/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What test_epc_fair does with owners that are enclaves: 48 of them on an EPC of 64 pages, each
 * with a thread.  One VA page of each stays, which leaves 16 pages for all the rest.  A touch
 * brings in the SECS, the VA page and the page, all of which are encrypted, and somebody else's go
 * for them.  Until the slowest has had its touches the others have four times as many at the most,
 * on the average; on all CPUs, and on one.
 *
 *   test_encl_fair [touches of each]
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "lib/tap.h"
#include "lib/world.h"

enum {
	ENCLAVES = 48,
	EPC_PAGES = 64,
	PAGES = 40, /* of each, which is more than there are for all of them: every touch is a load */
	SECONDS_MAX = 60,
};

struct fair;

struct worker {
	struct fair *fair;
	struct build b;
	pthread_t thread;
	unsigned int nr, bad;
	_Atomic uint64_t done;
};

struct fair {
	struct world w;
	struct worker worker[ENCLAVES];
	pthread_barrier_t start;
	atomic_bool stop;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t version[PAGES] = { 0 };

	pthread_barrier_wait(&w->fair->start);
	for (uint64_t i = w->nr; !atomic_load(&w->fair->stop); i++) {
		uint64_t page = i % PAGES;

		w->bad += touch_page(w->b.encl, page, version[page], version[page] + 1, NULL) !=
			  TOUCH_OK;
		version[page]++;
		atomic_fetch_add_explicit(&w->done, 1, memory_order_relaxed);
	}
	return NULL;
}

/* Until each has done @least, or for so long. */
static void wait_for(struct fair *fair, uint64_t least)
{
	const struct timespec ts = { .tv_nsec = 500000 };
	time_t start = time(NULL);
	unsigned int i = 0;

	while (i < ENCLAVES && time(NULL) - start < SECONDS_MAX) {
		if (fair->worker[i].done >= least)
			i++;
		else
			nanosleep(&ts, NULL);
	}
}

static void on_one_cpu(cpu_set_t *ret_before)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	TAP_MUST(sched_getaffinity(0, sizeof(*ret_before), ret_before) == 0 &&
			 sched_setaffinity(0, sizeof(one), &one) == 0,
		 "all threads on one CPU");
}

static void run(const char *name, uint64_t touches)
{
	static struct fair fair;
	uint64_t done, sum = 0, least = UINT64_MAX;
	unsigned int bad = 0;

	fair = (struct fair){ 0 };
	world_init(&fair.w, EPC_PAGES, 0);
	pthread_barrier_init(&fair.start, NULL, ENCLAVES);
	for (unsigned int i = 0; i < ENCLAVES; i++) {
		struct worker *w = &fair.worker[i];

		w->fair = &fair;
		w->nr = i;
		bad += build_create(&w->b, &fair.w, 64 * SGX_PAGE_SIZE, 0) != 0 ||
		       build_add_many(&w->b, 0, PAGES) != 0 || build_init(&w->b) != 0;
	}
	TAP_MUST(bad == 0, "%s: %u enclaves on %u pages", name, ENCLAVES, EPC_PAGES);
	for (unsigned int i = 0; i < ENCLAVES; i++)
		pthread_create(&fair.worker[i].thread, NULL, work, &fair.worker[i]);
	wait_for(&fair, touches);
	for (unsigned int i = 0; i < ENCLAVES; i++) {
		done = fair.worker[i].done;
		sum += done;
		least = done < least ? done : least;
	}
	atomic_store(&fair.stop, true);
	for (unsigned int i = 0; i < ENCLAVES; i++) {
		pthread_join(fair.worker[i].thread, NULL);
		bad += fair.worker[i].bad;
	}
	pthread_barrier_destroy(&fair.start);
	TAP_CHECK(bad == 0, "%s: every touch finds its page as it was left (%u not)", name, bad);
	TAP_CHECK(least >= touches && least * 4 >= sum / ENCLAVES,
		  "%s: the slowest had %lu touches, the mean is %lu", name, (unsigned long)least,
		  (unsigned long)(sum / ENCLAVES));
	for (unsigned int i = 0; i < ENCLAVES; i++)
		build_fini(&fair.worker[i].b);
	world_fini(&fair.w, name);
}

int main(int argc, char **argv)
{
	uint64_t touches = argc > 1 ? strtoul(argv[1], NULL, 0) : 100;
	cpu_set_t before;

	run("all CPUs", touches);
	on_one_cpu(&before);
	run("one CPU", touches);
	run("one CPU, longer", 4 * touches);
	return tap_done();
}
