/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Promises under attack: neighbours who take every page that they can get hold of and never give
 * one back, and what becomes of a group that works in what it was promised.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "epc/group.h"
#include "epc/policy.h"
#include "lib/bare_owner.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { PAGES = 256, MIN = 64, SET = 90, USES = 2000, GREEDY = 20, MEEKS = 3, EACH = SET / MEEKS };

struct attack {
	struct fake_machine m;
	struct epc_group *meek, *greedy;
	struct fake_owner *victim;
	struct epc_owner *taker;
	uint32_t taken, lowest;
	unsigned int failed;
	bool keep;
};

static uint32_t current(struct epc_group *g)
{
	struct epc_group_info info;

	epc_group_read(g, &info);
	return info.current_pages;
}

static struct epc_group *group(struct epc_group *parent, const char *name, uint32_t min,
			       uint32_t max)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct epc_group *g = NULL;

	limits.min_pages = min;
	limits.max_pages = max;
	TAP_MUST(epc_group_create(parent, name, &limits, &g) == 0, "group %s", name);
	return g;
}

static void attack_init(struct attack *a, const char *policy, uint32_t max)
{
	*a = (struct attack){ .lowest = UINT32_MAX };
	fake_machine_create(&a->m, PAGES, policy, NULL, 0);
	a->meek = group(epc_group_root(a->m.epc), "meek", MIN, max);
	a->greedy = group(epc_group_root(a->m.epc), "greedy", 0, EPC_GROUP_NO_LIMIT);
	a->victim = fake_owner_create_in(a->meek, a->m.epc, 1, SET, true);
	a->taker = bare_owner_create(a->m.epc, a->greedy);
	for (uint32_t i = 0; i < MIN; i++)
		a->failed += !fake_use_surely(a->victim, i);
}

static void attack_fini(struct attack *a)
{
	char why[200];

	TAP_CHECK(epc_audit(a->m.epc, false, why, sizeof(why)) == 0, "the audit holds %s", why);
	fake_machine_destroy(&a->m);
}

/* Every page that is free, for good. */
static void take_all(struct attack *a)
{
	struct epc_page *page;

	while (epc_alloc(a->m.epc, a->taker, 0, &page) == 0) {
		if (a->keep || a->taken++ % 2 == 0)
			epc_keep(a->m.epc, page);
		else
			epc_track(a->m.epc, page);
	}
}

static void note_lowest(struct attack *a)
{
	uint32_t now = current(a->meek);

	a->lowest = now < a->lowest ? now : a->lowest;
}

/*
 * Whoever has no more than it was promised evicts its own pages to get others in, and each is its
 * own again.
 */
static void test_taken_at_once(const char *policy, uint32_t max)
{
	struct attack a;

	attack_init(&a, policy, max);
	for (uint32_t i = 0; i < USES; i++) {
		take_all(&a);
		a.failed += !fake_use_surely(a.victim, i % SET);
		note_lowest(&a);
	}
	TAP_CHECK(a.failed == 0 && a.victim->wrong == 0,
		  "%s, max %d: the promised gets on while others keep all the rest: %u uses fail",
		  policy, (int)max, a.failed);
	TAP_CHECK(a.lowest >= MIN, "%s, max %d: and has %u pages all the time", policy, (int)max,
		  a.lowest);
	attack_fini(&a);
}

/* ---- pages that are freed -------------------------------------------------------------------- */

enum { FREED_SET = MIN + 16 };

static unsigned int to_free;

/* Some of its pages are chosen, and then it frees others. */
static void free_some(struct fake_owner *owner, enum fake_op op)
{
	if (op != FAKE_RECLAIM)
		return;
	for (uint32_t i = 0; i < owner->page_nr && to_free > 0; i++) {
		if (owner->page[i].epc_page && fake_remove(owner, i) == 0)
			to_free--;
	}
}

static void test_frees_meanwhile(unsigned int nr, bool below)
{
	uint32_t left = FREED_SET - nr, now;
	struct fake_machine m;
	struct fake_owner *owner;
	struct epc_group *g;
	unsigned int failed = 0;
	char why[200];

	fake_machine_create(&m, PAGES, "upstream", NULL, 0);
	g = group(epc_group_root(m.epc), "promised", MIN, EPC_GROUP_NO_LIMIT);
	owner = fake_owner_create_in(below ? group(g, "below", 0, EPC_GROUP_NO_LIMIT) : g, m.epc, 1,
				     FREED_SET, true);
	for (uint32_t i = 0; i < FREED_SET; i++)
		failed += !fake_use_surely(owner, i);
	to_free = nr;
	owner->on_op = free_some;
	/* Every page has earned a second chance. */
	while (atomic_load(&owner->calls[FAKE_RECLAIM]) == 0)
		(void)epc_reclaim(m.epc);
	owner->on_op = NULL;
	now = current(g);
	TAP_CHECK(failed == 0 && to_free == 0 && now == (left < MIN ? left : MIN),
		  "%u of %u pages are freed while others are on their way out: %u stay, promised "
		  "are %u",
		  nr, FREED_SET, now, MIN);
	for (uint32_t i = 0; i < FREED_SET; i++)
		failed += !fake_use_surely(owner, i);
	TAP_CHECK(failed == 0 && owner->wrong == 0 && current(g) == FREED_SET,
		  "and all can be had again");
	TAP_CHECK(epc_audit(m.epc, false, why, sizeof(why)) == 0, "the audit holds %s", why);
	fake_owner_put(owner);
	fake_machine_destroy(&m);
}

/*
 * A group that has what it was promised evicts a page of one below it for one of its own, and the one below frees others in
 * that moment: it has no more than it was promised itself then, and keeps that.
 */
static void test_frees_below(void)
{
	enum { ABOVE = 14, BELOW = MIN - ABOVE, BELOW_MIN = 30, BELOW_FREES = 25 };
	struct fake_owner *above, *below;
	struct epc_group *g;
	struct attack a = { .keep = true };

	fake_machine_create(&a.m, PAGES, "upstream", NULL, 0);
	a.meek = group(epc_group_root(a.m.epc), "above", MIN, EPC_GROUP_NO_LIMIT);
	a.greedy = group(epc_group_root(a.m.epc), "greedy", 0, EPC_GROUP_NO_LIMIT);
	g = group(a.meek, "below", BELOW_MIN, EPC_GROUP_NO_LIMIT);
	above = fake_owner_create_in(a.meek, a.m.epc, 1, ABOVE + 1, true);
	below = fake_owner_create_in(g, a.m.epc, 2, BELOW, true);
	a.taker = bare_owner_create(a.m.epc, a.greedy);
	for (uint32_t i = 0; i < ABOVE; i++)
		a.failed += !fake_use_surely(above, i);
	for (uint32_t i = 0; i < BELOW; i++)
		a.failed += !fake_use_surely(below, i);
	take_all(&a);
	to_free = BELOW_FREES;
	below->on_op = free_some;
	a.failed += !fake_use_surely(above, ABOVE);
	below->on_op = NULL;
	TAP_CHECK(a.failed == 0 && to_free == 0 && current(g) == BELOW - BELOW_FREES,
		  "of %u pages %u are freed while another is to go: %u are left, promised are %u",
		  BELOW, BELOW_FREES, current(g), BELOW_MIN);
	attack_fini(&a);
}

/* ---- pages in use ---------------------------------------------------------------------------- */

enum { WIDE = 1024, WIDE_MIN = 512, WIDE_ROUNDS = 3 };

static uint32_t refusals; /* that are still to come */

static void refuse_some(struct fake_owner *owner, enum fake_op op)
{
	if (op != FAKE_RECLAIM)
		return;
	atomic_store(&owner->fail_every[FAKE_RECLAIM], refusals > 0);
	refusals -= refusals > 0;
}

/* All that a group was promised is in use, as often as it is looked at, so many times. */
static void test_all_used(const char *policy, uint32_t times)
{
	struct attack a = { 0 };
	uint32_t asked;
	int r;

	fake_machine_create(&a.m, WIDE, policy, NULL, 0);
	a.meek = group(epc_group_root(a.m.epc), "meek", WIDE_MIN, EPC_GROUP_NO_LIMIT);
	a.greedy = group(epc_group_root(a.m.epc), "greedy", 0, EPC_GROUP_NO_LIMIT);
	a.victim = fake_owner_create_in(a.meek, a.m.epc, 1, WIDE_MIN + 1, true);
	a.taker = bare_owner_create(a.m.epc, a.greedy);
	for (uint32_t i = 0; i < WIDE_MIN; i++)
		a.failed += !fake_use_surely(a.victim, i);
	a.keep = true;
	take_all(&a);
	refusals = times;
	a.victim->on_op = refuse_some;
	asked = atomic_load(&a.victim->calls[FAKE_RECLAIM]);
	r = fake_use(a.victim, WIDE_MIN, EPC_MAY_RECLAIM);
	asked = atomic_load(&a.victim->calls[FAKE_RECLAIM]) - asked;
	if (times == UINT32_MAX)
		TAP_CHECK(r == -ENOMEM && asked >= 4 * WIDE_MIN && asked <= 16 * WIDE_MIN,
			  "%s: pages that are always in use: %d after asking for %u of %u", policy,
			  r, asked, WIDE_MIN);
	else
		TAP_CHECK(r == 0, "%s: a page when it is asked for the %u-th time: %d", policy,
			  asked, r);
	TAP_CHECK(a.failed == 0 && current(a.meek) == WIDE_MIN, "%s: and it keeps what it has",
		  policy);
	a.victim->on_op = NULL;
	attack_fini(&a);
}

/* ---- many at once ---------------------------------------------------------------------------- */

struct greedy {
	struct attack *a;
	pthread_t thread;
	unsigned int nr;
	uint32_t seen;
	unsigned long uses;
	unsigned int failed;
};

static atomic_bool stop;

/*
 * As fast as it can: in line with the others, for pages that it keeps, refuses to give, or has in
 * hand for ever.
 */
static void *be_greedy(void *arg)
{
	struct greedy *g = arg;
	struct epc_page *page;

	while (!stop) {
		if (epc_alloc(g->a->m.epc, g->a->taker, EPC_MAY_RECLAIM, &page) < 0)
			continue;
		if (g->nr % 3 == 0)
			epc_keep(g->a->m.epc, page);
		else if (g->nr % 3 == 1)
			epc_track(g->a->m.epc, page);
	}
	return NULL;
}

static void *be_meek(void *arg)
{
	struct greedy *g = arg;

	/*
	 * Each in a part of its own: two who bring in one page give one back, which is anybody's.
	 */
	for (uint32_t i = 0; !stop; i++) {
		g->failed += !fake_use_surely(g->a->victim, g->nr * EACH + i % EACH);
		g->uses++;
	}
	return NULL;
}

static void *watch(void *arg)
{
	struct greedy *g = arg;
	uint32_t now;

	for (g->seen = UINT32_MAX; !stop; sched_yield()) {
		now = current(g->a->meek);
		g->seen = now < g->seen ? now : g->seen;
	}
	return NULL;
}

/* The same with many in line, who wait for pages that never come. */
static void test_taken_in_line(const char *policy, uint32_t max)
{
	struct greedy greedy[GREEDY], meek[MEEKS], watcher;
	unsigned long uses = 0, least = ULONG_MAX;
	unsigned int i, failed = 0;
	struct attack a;

	attack_init(&a, policy, max);
	watcher.a = &a;
	stop = false;
	for (i = 0; i < GREEDY; i++) {
		greedy[i] = (struct greedy){ .a = &a, .nr = i };
		pthread_create(&greedy[i].thread, NULL, be_greedy, &greedy[i]);
	}
	for (i = 0; i < MEEKS; i++) {
		meek[i] = (struct greedy){ .a = &a, .nr = i };
		pthread_create(&meek[i].thread, NULL, be_meek, &meek[i]);
	}
	pthread_create(&watcher.thread, NULL, watch, &watcher);
	usleep(700000);
	stop = true;
	pthread_join(watcher.thread, NULL);
	for (i = 0; i < MEEKS; i++) {
		pthread_join(meek[i].thread, NULL);
		failed += meek[i].failed;
		uses += meek[i].uses;
		least = meek[i].uses < least ? meek[i].uses : least;
	}
	for (i = 0; i < GREEDY; i++)
		pthread_join(greedy[i].thread, NULL);
	TAP_CHECK(failed == 0 && a.victim->wrong == 0,
		  "%s, max %d: the promised gets on while %u threads are after every page: %u fail",
		  policy, (int)max, GREEDY, failed);
	TAP_CHECK(watcher.seen + MEEKS >= MIN && least > 0,
		  "%s, max %d: %u pages at the least, but for those that change hands; %lu uses, "
		  "%lu by "
		  "the slowest",
		  policy, (int)max, watcher.seen, uses, least);
	attack_fini(&a);
}

int main(void)
{
	for (unsigned int i = 0; policy_at(i); i++) {
		test_taken_at_once(policy_at(i)->name, EPC_GROUP_NO_LIMIT);
		test_taken_at_once(policy_at(i)->name, MIN);
		test_taken_at_once(policy_at(i)->name, MIN + 20);
		test_taken_in_line(policy_at(i)->name, EPC_GROUP_NO_LIMIT);
		test_taken_in_line(policy_at(i)->name, MIN);
		test_all_used(policy_at(i)->name, WIDE_ROUNDS * WIDE_MIN);
		test_all_used(policy_at(i)->name, UINT32_MAX);
	}
	for (unsigned int i = 0; i < 2; i++) {
		test_frees_meanwhile(0, i);
		test_frees_meanwhile(6, i);
		test_frees_meanwhile(30, i);
	}
	test_frees_below();
	return tap_done();
}
