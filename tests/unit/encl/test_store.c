/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Enclaves over a store that takes nothing any more, slowly: whoever touches a page that is away is told,
 * however many do so at once; and everything is there when it takes pages again.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "epc/backing.h"
#include "epc/epc_priv.h"
#include "lib/world.h"

enum { FRAMES = 64, NR = 160, ASKERS = 48 };
#define MS 1000000ull

struct asker {
	struct encl *encl;
	uint64_t idx, ns;
	struct encl_fault fault;
	enum touch r;
	pthread_t thread;
};

static atomic_bool full;

/* It needs its time to say so: there are always pages in somebody's batch. */
static int answer(enum backing_call call)
{
	if (call != BACKING_SLOT || !atomic_load(&full))
		return 0;
	usleep(300);
	return -28; /* ENOSPC */
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void *ask(void *arg)
{
	struct asker *a = arg;
	uint64_t start = now_ns();

	a->r = touch_page(a->encl, a->idx, 0, 0, &a->fault);
	a->ns = now_ns() - start;
	return NULL;
}

static bool is_away(struct build *b, uint64_t idx)
{
	uint32_t nr;

	for (nr = 0; nr < FRAMES; nr++) {
		struct cpu_epcm epcm = cpu_epcm_read(b->world->cpu, nr);

		if (epcm.valid && epcm.type == SGX_PT_REG &&
		    epcm.la == b->base + idx * SGX_PAGE_SIZE)
			return false;
	}
	return true;
}

/* So many threads touch a page each that is away. How many were told that there is no EPC, and after how long at most. */
static unsigned int ask_all(struct build *b, unsigned int threads, uint64_t *ret_longest)
{
	struct asker asker[ASKERS];
	unsigned int i, told = 0;
	uint64_t idx = 0;

	*ret_longest = 0;
	for (i = 0; i < threads; i++, idx++) {
		while (idx < b->size / SGX_PAGE_SIZE && !is_away(b, idx))
			idx++;
		TAP_MUST(idx < b->size / SGX_PAGE_SIZE, "a page that is away, for thread %u", i);
		asker[i] = (struct asker){ .encl = b->encl, .idx = idx };
	}
	for (i = 0; i < threads; i++)
		pthread_create(&asker[i].thread, NULL, ask, &asker[i]);
	for (i = 0; i < threads; i++) {
		pthread_join(asker[i].thread, NULL);
		told += asker[i].r == TOUCH_FAULT && asker[i].fault.kind == ENCL_FAULT_OOM;
		*ret_longest = asker[i].ns > *ret_longest ? asker[i].ns : *ret_longest;
	}
	return told;
}

/* @alone: what one alone took, 0: this is that one.  Returns how long it took at most. */
static uint64_t test_full(unsigned int threads, uint64_t alone)
{
	unsigned int told, good = 0;
	struct world w;
	struct build b;
	uint64_t longest, idx;

	world_init(&w, FRAMES, 0);
	TAP_MUST(build_create(&b, &w, 256 * SGX_PAGE_SIZE, 0) == 0 &&
			 build_add_many(&b, 0, NR) == 0 && build_init(&b) == 0,
		 "an enclave");
	atomic_store(&full, true);
	backing_on_call(epc_backing(w.epc), answer);
	/* What is free is taken first. */
	for (idx = 0; touch_page(b.encl, idx, 0, 0, NULL) == TOUCH_OK; idx++)
		;
	told = ask_all(&b, threads, &longest);
	TAP_CHECK(told == threads && (!alone || longest < 3 * alone),
		  "a store that takes nothing: %u of %u threads are told, after %lu ms at most",
		  told, threads, (unsigned long)(longest / MS));
	atomic_store(&full, false);
	for (uint64_t i = 0; i < NR; i++)
		good += touch_page(b.encl, i, 0, 0, NULL) == TOUCH_OK;
	TAP_CHECK(good == NR, "every page is there when it takes some again");
	build_fini(&b);
	world_fini(&w, "a full store");
	return longest;
}

int main(void)
{
	uint64_t alone = test_full(1, 0);

	(void)test_full(ASKERS, alone);
	return tap_done();
}
