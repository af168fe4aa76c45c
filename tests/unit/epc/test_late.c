/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What is made at first need: once, whoever comes at the same time; counted; and not at all where
 * there is no memory.
 */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/epc_priv.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { THREADS = 8, ROUNDS = 300, BYTES = 200 };

struct thing {
	unsigned int index;
	bool whole;
};

static _Atomic unsigned int made_nr, unmade_nr;

static void make(void *made, unsigned int index)
{
	struct thing *thing = made;

	thing->index = index;
	thing->whole = true;
	made_nr++;
}

static void unmake(void *made)
{
	struct thing *thing = made;

	thing->whole = false;
	unmade_nr++;
}

static const struct late_kind kind = { BYTES, make, unmake };

struct race {
	struct epc *epc;
	struct late *late; /* ROUNDS of them */
	pthread_barrier_t *start;
	struct thing *got[ROUNDS];
	pthread_t thread;
};

static void *need(void *arg)
{
	struct race *race = arg;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(race->start);
		race->got[i] = late_make(race->epc, &race->late[i], &kind, i);
	}
	return NULL;
}

static void test_once(void)
{
	unsigned int differ = 0, broken = 0, i, t;
	static struct race race[THREADS];
	struct epc_footprint before, after;
	pthread_barrier_t start;
	struct fake_machine m;
	struct late *late;
	size_t used;

	fake_machine_create(&m, 64, NULL, NULL, 0);
	late = arena_alloc(m.arena, ROUNDS * sizeof(*late));
	used = arena_used_bytes(m.arena);
	epc_footprint_read(m.epc, &before);
	pthread_barrier_init(&start, NULL, THREADS);
	for (t = 0; t < THREADS; t++) {
		race[t] = (struct race){ .epc = m.epc, .late = late, .start = &start };
		pthread_create(&race[t].thread, NULL, need, &race[t]);
	}
	for (t = 0; t < THREADS; t++)
		pthread_join(race[t].thread, NULL);
	pthread_barrier_destroy(&start);
	for (i = 0; i < ROUNDS; i++) {
		for (t = 1; t < THREADS; t++)
			differ += race[t].got[i] != race[0].got[i];
		broken += !race[0].got[i]->whole || race[0].got[i]->index != i;
	}
	TAP_CHECK(differ == 0 && broken == 0 && made_nr - unmade_nr == ROUNDS,
		  "%u threads at once have one and the same, whole (%u were made in vain)", THREADS,
		  unmade_nr);
	epc_footprint_read(m.epc, &after);
	TAP_CHECK(after.rest - before.rest == arena_used_bytes(m.arena) - used,
		  "and it is told what they take");
	for (i = 0; i < ROUNDS; i++)
		late_fini(m.epc, &late[i], &kind);
	TAP_CHECK(made_nr == unmade_nr && arena_used_bytes(m.arena) == used,
		  "nothing is left in the end");
	fake_machine_destroy(&m);
}

/* Another process finds what one has made. */
static void test_forked(void)
{
	struct fake_machine m;
	struct late *late;
	struct thing *thing;
	int status;
	pid_t pid;

	fake_machine_create(&m, 64, NULL, NULL, 0);
	late = arena_alloc(m.arena, sizeof(*late));
	pid = fork();
	if (pid == 0)
		_exit(late_make(m.epc, late, &kind, 7) ? 0 : 1);
	waitpid(pid, &status, 0);
	thing = late_there(late);
	TAP_CHECK(status == 0 && thing && thing->index == 7 &&
			  late_make(m.epc, late, &kind, 8) == thing,
		  "what a child has made is there for its parent");
	late_fini(m.epc, late, &kind);
	fake_machine_destroy(&m);
}

static void test_no_memory(void)
{
	struct fake_machine m;
	struct late *late;

	fake_machine_create(&m, 64, NULL, NULL, 0);
	late = arena_alloc(m.arena, sizeof(*late));
	for (size_t bytes = 1u << 20; bytes >= 64; bytes /= 2) {
		while (arena_alloc(m.arena, bytes))
			;
	}
	TAP_CHECK(!late_make(m.epc, late, &kind, 0) && !late_there(late), "no memory, no thing");
	late_fini(m.epc, late, &kind);
	fake_machine_destroy(&m);
}

int main(void)
{
	test_once();
	test_forked();
	test_no_memory();
	return tap_done();
}
