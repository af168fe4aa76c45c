/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Processes killed at any instruction while they page: who else uses the EPC, or the same enclave, goes on, and
 * nothing is lost.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/tap.h"
#include "lib/tied.h"
#include "lib/world.h"

enum { ROUNDS = 60, NR = 40, CHILDREN = 2 };

/* Pages far beyond the EPC, of the enclave that it shares with the others, until it is killed. */
static void child(struct build *b, unsigned int seed)
{
	srand(seed);
	for (;;) {
		uint64_t idx = (uint64_t)rand() % NR;

		if (rand() % 8 == 0)
			encl_fault(b->encl, &encl_mm_none,
				   b->base + (NR + idx % 20) * SGX_PAGE_SIZE, ENCL_R,
				   SGX_SECINFO_RWX, true);
		else
			encl_fault(b->encl, &encl_mm_none, b->base + idx * SGX_PAGE_SIZE, ENCL_R,
				   ENCL_R, true);
	}
}

struct tally {
	unsigned int bad, bystander_bad;
};

static void check_victim(struct build *b, struct tally *t)
{
	struct encl_fault f;

	for (uint64_t i = 0; i < NR; i++) {
		if (touch_page(b->encl, i, 0, 0, &f) == TOUCH_OK)
			continue;
		printf("# page %llu: kind %d %s\n", (unsigned long long)i, f.kind,
		       f.why ? f.why : "-");
		t->bad++;
	}
}

static void kill_some(struct build *victim, struct build *bystander, struct tally *t,
		      unsigned int round)
{
	pid_t pids[CHILDREN];

	for (unsigned int i = 0; i < CHILDREN; i++) {
		pids[i] = fork_tied();
		if (pids[i] == 0)
			child(victim, round * CHILDREN + i + 1);
	}
	usleep((useconds_t)(rand() % 3000));
	for (unsigned int i = 0; i < CHILDREN; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
		usleep((useconds_t)(rand() % 500));
	}
	for (uint64_t i = 0; i < 10; i++)
		t->bystander_bad +=
			touch_page(bystander->encl, i, round, round + 1, NULL) != TOUCH_OK;
}

int main(void)
{
	struct tally t = { 0 };
	struct build victim, bystander;
	struct world_left left;
	struct world w;

	srand(1);
	world_init(&w, 24, 0);
	TAP_MUST(build_create(&bystander, &w, 16 * SGX_PAGE_SIZE, 0) == 0 &&
			 build_add_many(&bystander, 0, 10) == 0 && build_init(&bystander) == 0,
		 "a bystander");
	for (unsigned int round = 0; round < ROUNDS; round++) {
		int r = build_create(&victim, &w, 64 * SGX_PAGE_SIZE, 0);

		if (r == 0)
			r = build_add_many(&victim, 0, NR);
		if (r == 0)
			r = build_init(&victim);
		if (r != 0)
			TAP_MUST(false, "round %u: a victim (%d)", round, r);
		kill_some(&victim, &bystander, &t, round);
		check_victim(&victim, &t);
		build_fini(&victim);
	}
	TAP_CHECK(t.bad == 0, "the enclave that they shared is whole each time (%u)", t.bad);
	TAP_CHECK(t.bystander_bad == 0, "the bystander never noticed (%u)", t.bystander_bad);
	build_fini(&bystander);
	world_audit(&w, "killed");
	world_left(&w, &left);
	TAP_CHECK(left.frames == 0 && left.slots == 0,
		  "of %d processes nothing is left over (%llu frames, %llu slots, %llu bytes)",
		  ROUNDS * CHILDREN, (unsigned long long)left.frames,
		  (unsigned long long)left.slots, (unsigned long long)left.bytes);
	world_destroy(&w);
	return tap_done();
}
