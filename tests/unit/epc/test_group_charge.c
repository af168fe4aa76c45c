/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Charges and allowances: limits and peaks are exact wherever a group's pages are, whoever takes them at once, whenever a
 * limit changes, and whoever dies.
 *
 * What owners have is counted here, by whoever has just got a page and before he gives it back, so it is never more than
 * there is: the group's own sums are not asked.
 *
 *   test_group_charge [rounds [seed]]
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/epc_priv.h"
#include "epc/group.h"
#include "lib/bare_owner.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { PAGES = 256, SHARDS = 8, THREADS = 3, PROCESSES = 2, LEVELS = 3, HELD = 80 };

static unsigned int rounds = 12;
static uint64_t seed = 1;

static uint32_t rnd(uint64_t *rng, uint32_t below)
{
	*rng = *rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((*rng >> 33) % below);
}

static struct epc_group *group(struct epc_group *parent, const char *name, uint32_t max,
			       uint32_t high)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct epc_group *made = NULL;

	limits.max_pages = max;
	limits.high_pages = high;
	TAP_MUST(epc_group_create(parent, name, &limits, &made) == 0, "group %s", name);
	return made;
}

static void set_max(struct epc_group *g, uint32_t max)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;

	limits.max_pages = max;
	if (epc_group_set(g, &limits) < 0)
		TAP_MUST(false, "a max of %u", max);
}

/* Bare owners' pages have no bytes, which the audit only lets pass of pages on their way. */
static bool sound(struct epc *epc)
{
	char why[200];
	bool ok = epc_audit(epc, true, why, sizeof(why)) == 0;

	if (!ok)
		printf("# %s\n", why);
	return ok;
}

/* Until there is none without giving up another; how many. */
static uint32_t fill(struct epc *epc, struct epc_owner *owner, struct epc_page **page)
{
	uint32_t n = 0;

	while (n < PAGES && epc_alloc(epc, owner, EPC_UNPLACED, &page[n]) == 0)
		n++;
	return n;
}

static void empty(struct epc *epc, struct epc_page **page, uint32_t n)
{
	while (n > 0)
		epc_free(epc, page[--n]);
}

/* ---- by one thread: to the page ------------------------------------------------------------- */

/* Any pages may go before, in any shard: what comes back is as many as the max leaves. */
static void test_exact(void)
{
	struct epc_page *page[PAGES];
	uint32_t n, gone, i, at, wrong = 0, step;
	struct epc_group *outer, *inner;
	struct epc_owner *owner;
	struct fake_machine m;
	uint64_t rng = seed;

	fake_machine_create_sharded(&m, PAGES, NULL, SHARDS);
	outer = group(epc_group_root(m.epc), "outer", 100, EPC_GROUP_NO_LIMIT);
	inner = group(outer, "inner", 150, EPC_GROUP_NO_LIMIT);
	owner = bare_owner_create(m.epc, inner);
	n = fill(m.epc, owner, page);
	TAP_CHECK(n == 100, "a max of 100 is %u pages in %u shards", n, SHARDS);
	for (step = 0; step < 300; step++) {
		gone = rnd(&rng, n + 1);
		for (i = 0; i < gone; i++) {
			at = rnd(&rng, n);
			epc_free(m.epc, page[at]);
			page[at] = page[--n];
		}
		if (step % 10 == 5)
			set_max(outer, 20 + rnd(&rng, 100));
		at = group_limit(&outer->max);
		for (i = n; i < PAGES && epc_alloc(m.epc, owner, EPC_UNPLACED, &page[i]) == 0; i++)
			;
		wrong += i != (n > at ? n : at);
		n = i;
	}
	TAP_CHECK(wrong == 0 && sound(m.epc),
		  "whichever pages go, and whatever the max is then, as many come as it leaves");
	empty(m.epc, page, n);
	set_max(outer, EPC_GROUP_NO_LIMIT);
	n = fill(m.epc, owner, page);
	TAP_CHECK(n == 150, "the max of the group below: %u", n);
	empty(m.epc, page, n);
	fake_machine_destroy(&m);
}

/* Whoever takes a page beyond high has to evict: without that it is -EBUSY. */
static void test_high_exact(void)
{
	struct epc_page *page[PAGES];
	struct epc_owner *owner;
	uint32_t n, i, at, wrong = 0, step;
	struct fake_machine m;
	uint64_t rng = seed;

	fake_machine_create_sharded(&m, PAGES, NULL, SHARDS);
	owner = bare_owner_create(m.epc,
				  group(epc_group_root(m.epc), "high", EPC_GROUP_NO_LIMIT, 70));
	n = fill(m.epc, owner, page);
	TAP_CHECK(n == 70, "a high of 70 is %u pages without eviction", n);
	for (step = 0; step < 300; step++) {
		/* Over it for a while, as nobody can be made to give any. */
		for (i = rnd(&rng, 10); i > 0 && n < PAGES; i--)
			wrong += epc_alloc(m.epc, owner, EPC_UNPLACED | EPC_MAY_RECLAIM,
					   &page[n++]) < 0;
		for (i = rnd(&rng, 30); i > 0 && n > 0; i--) {
			at = rnd(&rng, n);
			epc_free(m.epc, page[at]);
			page[at] = page[--n];
		}
		for (i = n; i < PAGES && epc_alloc(m.epc, owner, EPC_UNPLACED, &page[i]) == 0; i++)
			;
		wrong += i != (n > 70 ? n : 70);
		n = i;
	}
	TAP_CHECK(wrong == 0 && sound(m.epc), "nobody is allowed pages beyond high");
	empty(m.epc, page, n);
	fake_machine_destroy(&m);
}

/* ---- at one moment --------------------------------------------------------------------------- */

static struct epc_page *take_one(struct epc *epc, struct epc_owner *owner)
{
	struct epc_page *page = NULL;

	if (epc_alloc(epc, owner, EPC_UNPLACED, &page) < 0)
		TAP_MUST(false, "a page");
	return page;
}

/* Between the look at the sums and the charge somebody gives a page of another shard back, and takes one there again. */
static void test_peak_exact(void)
{
	enum { EACH = 5, SHARD = 16 };
	struct epc_page *page[2 * EACH + 2], *others[SHARD];
	struct epc_owner *owner, *other;
	struct epc_group_info info;
	struct fake_machine m;
	struct epc_group *g;
	uint32_t i;

	fake_machine_create_sharded(&m, 2 * SHARD, NULL, 1);
	g = group(epc_group_root(m.epc), "g", EPC_GROUP_NO_LIMIT, EPC_GROUP_NO_LIMIT);
	owner = bare_owner_create(m.epc, g);
	other = bare_owner_create(m.epc, NULL);
	for (i = 0; i < EACH; i++)
		page[i] = take_one(m.epc, owner);
	for (i = 0; i < SHARD - EACH; i++)
		others[i] = take_one(m.epc, other);
	for (i = EACH; i < 2 * EACH; i++)
		page[i] = take_one(m.epc, owner);
	TAP_MUST(shard_of(m.epc, epc_page_nr(m.epc, page[0])) !=
			 shard_of(m.epc, epc_page_nr(m.epc, page[EACH])),
		 "pages in two shards");
	charge_lock(m.epc);
	TAP_MUST(!group_make_room_locked(g, NULL, true), "room");
	epc_free(m.epc, page[0]);
	others[SHARD - EACH] = take_one(m.epc, other);
	page[2 * EACH] = section_alloc(m.epc, owner, true);
	charge_unlock(m.epc);
	epc_free(m.epc, others[SHARD - EACH]);
	page[0] = take_one(m.epc, owner);
	for (i = 0; i <= 2 * EACH; i++)
		epc_free(m.epc, page[i]);
	empty(m.epc, others, SHARD - EACH);
	epc_group_read(g, &info);
	TAP_CHECK(info.peak_pages == 2 * EACH + 1, "a peak of %u is told as %u", 2 * EACH + 1,
		  info.peak_pages);
	fake_machine_destroy(&m);
}

struct end {
	struct epc_group *group;
	atomic_bool over;
	pthread_t thread;
};

static void *end_group(void *arg)
{
	struct end *end = arg;

	(void)epc_group_destroy(end->group);
	atomic_store(&end->over, true);
	return NULL;
}

/* Who mends a shard counts for every group, and looks at them under that shard's lock alone. */
static void test_end(void)
{
	struct end end = { .over = false };
	struct fake_machine m;
	struct shard *shard;

	fake_machine_create_sharded(&m, PAGES, NULL, SHARDS);
	end.group = group(epc_group_root(m.epc), "g", 10, EPC_GROUP_NO_LIMIT);
	shard = &m.epc->shard[m.epc->shard_nr - 1];
	shard_lock(m.epc, shard);
	TAP_MUST(pthread_create(&end.thread, NULL, end_group, &end) == 0, "a thread");
	/* Long enough for one that does not wait. */
	usleep(200000);
	TAP_CHECK(!atomic_load(&end.over), "a group does not end under who is at a shard");
	shard_unlock(shard);
	pthread_join(end.thread, NULL);
	TAP_CHECK(!epc_group_find(m.epc, "g"), "but behind him");
	fake_machine_destroy(&m);
}

/* ---- by many at once ------------------------------------------------------------------------- */

/* In shared memory: what the threads of all processes have, told to be had no sooner than it is. */
struct crowd {
	struct fake_machine m;
	struct epc_group *group[LEVELS + 1]; /* from the top; the last two are siblings */
	struct epc_owner *owner[2];          /* of those */
	_Atomic uint32_t held[LEVELS + 1], max[LEVELS + 1];
	/* at the least, as held, and at the most, with those that are being taken or given back */
	_Atomic uint32_t most[LEVELS + 1], about[LEVELS + 1], most_about[LEVELS + 1];
	_Atomic uint32_t above, refused;
	_Atomic uint32_t changes; /* of a max: odd while there is one */
	_Atomic uint64_t taken;
	atomic_bool stop;
};

struct hand {
	struct crowd *c;
	unsigned int side;
	uint64_t rng;
	pthread_t thread;
};

static void note(_Atomic uint32_t *most, uint32_t nr)
{
	uint32_t seen = atomic_load(most);

	while (nr > seen && !atomic_compare_exchange_weak(most, &seen, nr))
		;
}

static const unsigned int levels[2][LEVELS] = { { 0, 1, 2 }, { 0, 1, 3 } };

/* A page more of @side is had, up to the top. */
static void had(struct crowd *c, unsigned int side)
{
	for (unsigned int i = 0; i < LEVELS; i++) {
		uint32_t changes = atomic_load(&c->changes);
		uint32_t nr = atomic_fetch_add(&c->held[levels[side][i]], 1) + 1;

		note(&c->most[levels[side][i]], nr);
		/* A number that is older than the max says nothing of it. */
		if (nr > c->max[levels[side][i]] && changes % 2 == 0 &&
		    changes == atomic_load(&c->changes))
			atomic_fetch_add(&c->above, 1);
	}
}

static void had_no_more(struct crowd *c, unsigned int side)
{
	for (unsigned int i = 0; i < LEVELS; i++)
		atomic_fetch_sub(&c->held[levels[side][i]], 1);
}

/* One is about to be taken, or has been given back. */
static void about(struct crowd *c, unsigned int side, bool more)
{
	for (unsigned int i = 0; i < LEVELS; i++) {
		_Atomic uint32_t *nr = &c->about[levels[side][i]];

		if (more)
			note(&c->most_about[levels[side][i]], atomic_fetch_add(nr, 1) + 1);
		else
			atomic_fetch_sub(nr, 1);
	}
}

static bool take(struct crowd *c, unsigned int side, struct epc_page **page)
{
	about(c, side, true);
	if (epc_alloc(c->m.epc, c->owner[side], EPC_UNPLACED, page) == 0) {
		had(c, side);
		return true;
	}
	about(c, side, false);
	return false;
}

static void give(struct crowd *c, unsigned int side, struct epc_page *page)
{
	had_no_more(c, side);
	epc_free(c->m.epc, page);
	about(c, side, false);
}

/* The sums that are told are not above a max either. */
static void look(struct crowd *c)
{
	struct epc_group_info info;

	for (unsigned int i = 0; i <= LEVELS; i++) {
		epc_group_read(c->group[i], &info);
		if (info.current_pages > atomic_load(&c->max[i]) ||
		    info.peak_pages > atomic_load(&c->max[i]))
			atomic_fetch_add(&c->above, 1);
	}
}

static void *hammer(void *arg)
{
	struct hand *h = arg;
	struct crowd *c = h->c;
	struct epc_page *page[HELD];
	uint32_t n = 0, want, at;
	bool full;

	while (!atomic_load(&c->stop)) {
		want = rnd(&h->rng, HELD);
		for (full = false; n < want && !full;) {
			full = !take(c, h->side, &page[n]);
			if (full)
				atomic_fetch_add(&c->refused, 1);
			n += !full;
		}
		atomic_fetch_add(&c->taken, n);
		if (c->max[0] != EPC_GROUP_NO_LIMIT && rnd(&h->rng, 64) == 0)
			look(c);
		if (rnd(&h->rng, 16) == 0)
			sched_yield();
		for (want = rnd(&h->rng, n + 1); n > want;) {
			at = rnd(&h->rng, n);
			give(c, h->side, page[at]);
			page[at] = page[--n];
		}
	}
	while (n > 0)
		give(c, h->side, page[--n]);
	return NULL;
}

static void crowd_process(struct crowd *c, uint64_t rng)
{
	struct hand hand[THREADS];

	for (unsigned int i = 0; i < THREADS; i++) {
		hand[i] = (struct hand){ .c = c, .side = i % 2, .rng = rng + i * 7919 };
		if (pthread_create(&hand[i].thread, NULL, hammer, &hand[i]) != 0)
			_exit(1);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(hand[i].thread, NULL);
}

static struct crowd *crowd_create(bool limited)
{
	static const uint32_t limit[LEVELS + 1] = { 140, 120, 70, 90 };
	uint32_t max;
	struct fake_machine m;
	struct crowd *c;
	char name[8];

	fake_machine_create_sharded(&m, PAGES, NULL, SHARDS);
	c = arena_alloc(m.arena, sizeof(*c));
	TAP_MUST(c, "memory");
	c->m = m;
	for (unsigned int i = 0; i <= LEVELS; i++) {
		snprintf(name, sizeof(name), "g%u", i);
		max = limited ? limit[i] : EPC_GROUP_NO_LIMIT;
		c->max[i] = max;
		c->group[i] = group(i == 0 ? epc_group_root(m.epc) : c->group[i < 2 ? 0 : 1], name,
				    max, EPC_GROUP_NO_LIMIT);
	}
	for (unsigned int i = 0; i < 2; i++)
		c->owner[i] = bare_owner_create(m.epc, c->group[2 + i]);
	return c;
}

/* When nobody has anything, all of each max is there for who comes: no allowance is lost. */
static bool whole(struct crowd *c)
{
	struct epc_page *page[PAGES], *more[PAGES];
	uint32_t n, m, both;

	n = fill(c->m.epc, c->owner[0], page);
	m = fill(c->m.epc, c->owner[1], more);
	empty(c->m.epc, page, n);
	both = fill(c->m.epc, c->owner[1], page);
	empty(c->m.epc, page, both);
	empty(c->m.epc, more, m);
	if (n != 70 || m != 50 || m + both != 90)
		printf("# %u, %u and %u pages\n", n, m, both);
	return n == 70 && m == 50 && m + both == 90;
}

static void test_crowd(void)
{
	struct crowd *c = crowd_create(true);
	pid_t pid[PROCESSES];
	unsigned int i, failed = 0;
	struct fake_machine m;
	int status;

	for (i = 0; i < PROCESSES; i++) {
		pid[i] = fork();
		if (pid[i] == 0) {
			crowd_process(c, seed + i * 104729);
			_exit(0);
		}
	}
	for (i = 0; i < rounds * 10; i++) {
		usleep(5000);
		look(c);
		failed += epc_audit(c->m.epc, true, NULL, 0) > 0;
	}
	atomic_store(&c->stop, true);
	for (i = 0; i < PROCESSES; i++) {
		waitpid(pid[i], &status, 0);
		failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
	}
	TAP_CHECK(c->above == 0 && failed == 0 && c->refused > 0,
		  "never above a max of three levels, with %u threads of %u processes: %u refused",
		  THREADS, PROCESSES, c->refused);
	TAP_CHECK(sound(c->m.epc) && whole(c), "and all is there when they have gone");
	m = c->m;
	fake_machine_destroy(&m);
}

/*
 * The max of a group of two others goes up and down while they are at it.  From when it is set on there are no more than it says,
 * or than there were.
 */
static void test_changed(void)
{
	struct crowd *c = crowd_create(true);
	pid_t pid[PROCESSES];
	struct fake_machine m;
	uint64_t rng = seed;
	uint32_t max, were;
	unsigned int i, changes;

	/* Nobody looks: the peak is of the time before. */
	c->max[0] = EPC_GROUP_NO_LIMIT;
	for (i = 0; i < PROCESSES; i++) {
		pid[i] = fork();
		if (pid[i] == 0) {
			crowd_process(c, seed + i * 104729);
			_exit(0);
		}
	}
	for (changes = 0; changes < rounds * 50; changes++) {
		usleep(rnd(&rng, 2000));
		max = 1 + rnd(&rng, 140);
		atomic_fetch_add(&c->changes, 1);
		atomic_store(&c->max[1], EPC_GROUP_NO_LIMIT);
		set_max(c->group[1], max);
		were = atomic_load(&c->about[1]);
		atomic_store(&c->max[1], were > max ? were : max);
		atomic_fetch_add(&c->changes, 1);
	}
	atomic_store(&c->stop, true);
	for (i = 0; i < PROCESSES; i++)
		waitpid(pid[i], NULL, 0);
	TAP_CHECK(c->above == 0 && c->refused > 0, "nor when the max has changed %u times",
		  changes);
	set_max(c->group[1], 120);
	TAP_CHECK(sound(c->m.epc) && whole(c), "and all is there when they have gone");
	m = c->m;
	fake_machine_destroy(&m);
}

/* Nobody looks while they are at it: that would note the peak. */
static void test_peaks(void)
{
	struct crowd *c = crowd_create(false);
	struct epc_group_info info;
	pid_t pid[PROCESSES];
	struct fake_machine m;
	unsigned int i;

	for (i = 0; i < PROCESSES; i++) {
		pid[i] = fork();
		if (pid[i] == 0) {
			crowd_process(c, seed + i * 104729);
			_exit(0);
		}
	}
	usleep(rounds * 20000);
	atomic_store(&c->stop, true);
	for (i = 0; i < PROCESSES; i++)
		waitpid(pid[i], NULL, 0);
	for (i = 0; i <= LEVELS; i++) {
		epc_group_read(c->group[i], &info);
		TAP_CHECK(info.current_pages == 0 &&
				  info.peak_pages + EPC_GROUP_PEAK_ERROR >= c->most[i] &&
				  info.peak_pages <= c->most_about[i],
			  "%s: a peak of %u, where %u to %u were had", info.name, info.peak_pages,
			  c->most[i], c->most_about[i]);
	}
	m = c->m;
	fake_machine_destroy(&m);
}

/* Others die at it, at any moment; what the dead had is given back for them. */
static unsigned int reap(struct crowd *c)
{
	struct epc *epc = c->m.epc;
	struct epc_page *page;
	unsigned int nr = 0;

	for (uint32_t i = 0; i < PAGES; i++) {
		page = &epc->pages[i];
		if (!page_owner(page))
			continue;
		epc_free(epc, page);
		nr++;
	}
	return nr;
}

static void test_deaths(void)
{
	unsigned int i, round, failed = 0, reaped = 0;
	struct crowd *c = crowd_create(true);
	pid_t pid[PROCESSES];
	uint64_t rng = seed;
	struct fake_machine m;

	for (round = 0; round < rounds * 4; round++) {
		for (i = 0; i < PROCESSES; i++) {
			pid[i] = fork();
			if (pid[i] == 0) {
				crowd_process(c, seed + round * 31 + i);
				_exit(0);
			}
		}
		for (i = 0; i < PROCESSES; i++) {
			usleep(500 + rnd(&rng, 5000));
			kill(pid[i], SIGKILL);
			waitpid(pid[i], NULL, 0);
			look(c);
		}
		failed += !sound(c->m.epc);
		/* Each was told of after it was had, and not any more before it was given back. */
		look(c);
		reaped += reap(c);
		for (i = 0; i <= LEVELS; i++)
			c->held[i] = 0;
		failed += !whole(c);
	}
	TAP_CHECK(c->above == 0 && failed == 0 && reaped > 0,
		  "nor when %u processes are killed at it, with %u pages", round * PROCESSES,
		  reaped);
	m = c->m;
	fake_machine_destroy(&m);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		rounds = (unsigned int)strtoul(argv[1], NULL, 0);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 0);
	printf("# seed %llu\n", (unsigned long long)seed);
	test_exact();
	test_high_exact();
	test_peak_exact();
	test_end();
	test_crowd();
	test_changed();
	test_peaks();
	test_deaths();
	return tap_done();
}
