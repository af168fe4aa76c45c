/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Allocations that find no page: who is told so at once, who waits, and in which order pages go to
 * those who do.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "epc/epc_priv.h"
#include "epc/owner.h"
#include "epc/waiter_priv.h"
#include "lib/bare_owner.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { PAGES = 16, MAX = 4, TRIES = 20, LINE = 6, STOPPED_TRIES = 150, ASKERS = 48 };
#define MS 1000000ull

/*
 * An owner that never gives a page, in a group of at most MAX, or in the root; it has all that it
 * can have.
 */
struct full {
	struct fake_machine m;
	struct epc_group *group;
	struct epc_owner *owner;
	struct epc_page *page[PAGES];
	unsigned int nr;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void full_init(struct full *f, bool limited, unsigned int kept)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;

	fake_machine_create(&f->m, PAGES, NULL, NULL, 0);
	limits.max_pages = MAX;
	f->group = epc_group_root(f->m.epc);
	if (limited)
		TAP_MUST(epc_group_create(f->group, "limited", &limits, &f->group) == 0, "a group");
	f->owner = bare_owner_create(f->m.epc, f->group);
	TAP_MUST(f->owner, "an owner");
	for (f->nr = 0; f->nr < (limited ? MAX : PAGES); f->nr++) {
		TAP_MUST(epc_alloc(f->m.epc, f->owner, 0, &f->page[f->nr]) == 0, "page %u", f->nr);
		if (f->nr < kept)
			epc_keep(f->m.epc, f->page[f->nr]);
	}
}

static void full_fini(struct full *f)
{
	char why[200];

	while (f->nr > 0)
		epc_free(f->m.epc, f->page[--f->nr]);
	TAP_CHECK(epc_audit(f->m.epc, false, why, sizeof(why)) == 0, "the audit holds");
	TAP_CHECK(f->m.epc->waiting == 0, "nobody waits any more");
	epc_owner_destroy(f->owner);
	fake_machine_destroy(&f->m);
}

/* The shortest of some tries: others use the machine as well. UINT64_MAX: no -ENOMEM. */
static uint64_t refused_ns(struct full *f, unsigned int tries)
{
	uint64_t best = UINT64_MAX, start;
	struct epc_page *page;

	while (tries-- > 0) {
		start = now_ns();
		if (epc_alloc(f->m.epc, f->owner, EPC_MAY_RECLAIM, &page) != -ENOMEM)
			return UINT64_MAX;
		start = now_ns() - start;
		best = start < best ? start : best;
	}
	return best;
}

static void test_nothing_comes(bool limited)
{
	const char *where = limited ? "a group at its max" : "a full EPC";
	struct full f;
	uint64_t ns;

	full_init(&f, limited, PAGES);
	ns = refused_ns(&f, TRIES);
	TAP_CHECK(ns < 2 * MS, "%s, every page kept: -ENOMEM in %lu us", where,
		  (unsigned long)(ns / 1000));
	epc_free(f.m.epc, f.page[--f.nr]);
	TAP_CHECK(epc_alloc(f.m.epc, f.owner, EPC_MAY_RECLAIM, &f.page[f.nr]) == 0,
		  "%s: one of them is freed, and there is a page", where);
	f.nr++;
	/* Not said of this one: it might be freed. */
	TAP_CHECK(refused_ns(&f, 1) >= 100 * MS,
		  "%s: while somebody has a page in hand, others wait for it", where);
	epc_keep(f.m.epc, f.page[f.nr - 1]);
	TAP_CHECK(refused_ns(&f, TRIES) < 2 * MS, "%s: no longer than until he keeps it", where);
	full_fini(&f);
}

/* A page that broke is no hope. */
static void test_broken(void)
{
	struct full f;

	full_init(&f, true, MAX - 1);
	epc_track(f.m.epc, f.page[MAX - 1]);
	TAP_CHECK(epc_poison(f.m.epc, epc_page_nr(f.m.epc, f.page[MAX - 1])) == 0 &&
			  refused_ns(&f, TRIES) < 2 * MS,
		  "a broken page that its owner has is one that stays");
	full_fini(&f);
}

/* ---- those who wait -------------------------------------------------------------------------- */

struct in_line {
	struct full *f;
	atomic_uint *served;
	struct epc_page *page;
	unsigned int place;
	int r;
	pthread_t thread;
};

static void *get_in_line(void *arg)
{
	struct in_line *l = arg;

	l->r = epc_alloc(l->f->m.epc, l->f->owner, EPC_MAY_RECLAIM, &l->page);
	l->place = atomic_fetch_add(l->served, 1);
	return NULL;
}

static unsigned int waiting_nr(struct full *f)
{
	return (unsigned int)__builtin_popcountll(atomic_load(&f->m.epc->waiting));
}

/* They come one after the other, and pages are freed one by one. */
static void test_order(bool limited)
{
	struct in_line line[LINE];
	atomic_uint served = 0;
	unsigned int i, ok = 0, in_order = 0;
	struct full f;

	full_init(&f, limited, 0);
	for (i = 0; i < LINE; i++) {
		line[i] = (struct in_line){ .f = &f, .served = &served };
		pthread_create(&line[i].thread, NULL, get_in_line, &line[i]);
		while (waiting_nr(&f) < i + 1)
			usleep(100);
	}
	for (i = 0; i < LINE; i++) {
		/* The pages of those who have come first are freed for those who came last. */
		epc_free(f.m.epc, i < MAX ? f.page[i] : line[i - MAX].page);
		while (atomic_load(&served) < i + 1)
			usleep(100);
	}
	for (i = 0; i < LINE; i++) {
		pthread_join(line[i].thread, NULL);
		ok += line[i].r == 0;
		in_order += line[i].place == i;
	}
	TAP_CHECK(ok == LINE && in_order == LINE,
		  "%s: %u of %u get a page, %u of them in the order in which they came",
		  limited ? "a group" : "the EPC", ok, LINE, in_order);
	for (i = 0; i < MAX; i++)
		f.page[i] = line[LINE - MAX + i].page;
	full_fini(&f);
}

/* What somebody has in hand is tracked in the end: others take it, as soon as that. */
static void test_tracked_later(void)
{
	struct fake_owner *owner;
	atomic_uint served = 0;
	struct in_line l;
	struct full f;
	uint64_t start;

	full_init(&f, false, PAGES - 2);
	epc_free(f.m.epc, f.page[--f.nr]);
	owner = fake_owner_create(f.m.epc, 1, 4, false);
	TAP_CHECK(fake_use(owner, 0, 0) == 0, "the last free page is an owner's");
	TAP_CHECK(epc_untrack(f.m.epc, owner->page[0].epc_page) == 0, "who has it in hand");
	l = (struct in_line){ .f = &f, .served = &served };
	pthread_create(&l.thread, NULL, get_in_line, &l);
	while (waiting_nr(&f) == 0)
		usleep(100);
	usleep(20000);
	start = now_ns();
	epc_track(f.m.epc, owner->page[0].epc_page);
	pthread_join(l.thread, NULL);
	TAP_CHECK(l.r == 0, "it is evicted for whoever waits, within %lu us",
		  (unsigned long)((now_ns() - start) / 1000));
	if (l.r == 0)
		f.page[f.nr++] = l.page;
	fake_owner_put(owner);
	full_fini(&f);
}

static void *want_forever(void *arg)
{
	struct full *f = arg;
	struct epc_page *page;

	for (;;)
		(void)epc_alloc(f->m.epc, f->owner, EPC_MAY_RECLAIM, &page);
	return NULL;
}

/* In a process of their own. */
static pid_t others_wait(struct full *f, unsigned int threads)
{
	unsigned int i;
	pthread_t thread;
	pid_t pid = fork();

	if (pid == 0) {
		for (i = 0; i < threads; i++)
			if (pthread_create(&thread, NULL, want_forever, f) != 0)
				_exit(1);
		pause();
	}
	while (waiting_nr(f) < threads)
		usleep(100);
	return pid;
}

/* Every place in line is a dead thread's: there is nobody left in it to find that out. */
static void test_all_dead(void)
{
	struct epc_page *page;
	struct full f;
	pid_t pid;

	full_init(&f, false, 0);
	pid = others_wait(&f, EPC_WAITERS_MAX);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	TAP_CHECK(waiting_nr(&f) == EPC_WAITERS_MAX, "%u threads wait in line, and are killed",
		  EPC_WAITERS_MAX);
	epc_free(f.m.epc, f.page[--f.nr]);
	alarm(10);
	TAP_CHECK(epc_alloc(f.m.epc, f.owner, EPC_MAY_RECLAIM, &page) == 0,
		  "whoever comes next gets the page that is free");
	alarm(0);
	f.page[f.nr++] = page;
	full_fini(&f);
}

/* False: one of them has just one of the manager's locks, which is another matter. */
static bool stop(struct full *f, pid_t pid)
{
	struct lock *lock[] = { &f->m.epc->groups_lock, &f->m.epc->charge_lock,
				&f->m.epc->reclaim_lock, &f->m.epc->shard[0].lock };
	unsigned int i, had = 0;

	kill(pid, SIGSTOP);
	waitpid(pid, NULL, WUNTRACED);
	for (i = 0; i < 4; i++) {
		if (!lock_try(lock[i]))
			continue;
		lock_release(lock[i]);
		had++;
	}
	if (had < 4)
		kill(pid, SIGCONT);
	return had == 4;
}

/* They are all alive, and nobody waits for them for ever, nor again and again. */
static void test_all_stopped(unsigned int threads)
{
	unsigned int i, failed = 0, slow = 0;
	struct epc_page *page;
	struct full f;
	uint64_t start;
	pid_t pid;

	full_init(&f, false, 0);
	pid = others_wait(&f, threads);
	while (!stop(&f, pid) || waiting_nr(&f) < threads) {
		kill(pid, SIGCONT);
		usleep(1000);
	}
	epc_free(f.m.epc, f.page[--f.nr]);
	alarm(60);
	for (i = 0; i < STOPPED_TRIES; i++) {
		start = now_ns();
		if (epc_alloc(f.m.epc, f.owner, EPC_MAY_RECLAIM, &page) == 0)
			epc_free(f.m.epc, page);
		else
			failed++;
		slow += now_ns() - start > 100 * MS;
	}
	alarm(0);
	TAP_CHECK(failed == 0 && slow <= STOPPED_TRIES / 50,
		  "%u threads in line are stopped: %u of %u others fail, %u wait for those",
		  threads, failed, STOPPED_TRIES, slow);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	TAP_CHECK(epc_alloc(f.m.epc, f.owner, EPC_MAY_RECLAIM, &f.page[f.nr]) == 0,
		  "and then they are dead");
	f.nr++;
	TAP_CHECK(refused_ns(&f, 1) >= 100 * MS, "whoever waits next finds that out");
	full_fini(&f);
}

/* ---- who stands in the way ------------------------------------------------------------------- */

enum { MANY = 1024 };

/* Half of the EPC is an owner's whose every write fails, and it is the colder half. */
static void test_one_cannot_write(const char *policy)
{
	struct fake_owner *bad, *good;
	struct fake_machine m;
	unsigned int failed = 0;
	uint32_t i;

	fake_machine_create(&m, MANY, policy, NULL, 0);
	bad = fake_owner_create(m.epc, 1, MANY / 2, true);
	good = fake_owner_create(m.epc, 2, MANY, true);
	bad->fail_every[FAKE_WRITE] = 1;
	for (i = 0; i < MANY / 2; i++)
		fake_use(bad, i, 0);
	for (i = 0; i < MANY; i++)
		failed += !fake_use_surely(good, i);
	TAP_CHECK(bad->failed[FAKE_WRITE] > 0 && fake_resident(bad) == MANY / 2,
		  "%s: an owner cannot write what it is asked for", policy);
	TAP_CHECK(failed == 0 && good->wrong == 0,
		  "%s: others, who can, get pages all the same (%u failures)", policy, failed);
	fake_owner_put(good);
	fake_owner_put(bad);
	fake_machine_destroy(&m);
}

/*
 * Many pages that are promised to a group, and few that cannot go: those few are asked, not the
 * many waited for.
 */
static void test_promised(enum fake_op refused)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct fake_owner *safe, *few, *other;
	struct epc_group *group;
	struct fake_machine m;
	uint32_t i, nr;
	int r;

	fake_machine_create(&m, 16 * MANY, NULL, NULL, 0);
	limits.min_pages = 15 * MANY;
	TAP_MUST(epc_group_create(epc_group_root(m.epc), "safe", &limits, &group) == 0, "a group");
	safe = fake_owner_create_in(group, m.epc, 1, 15 * MANY, false);
	few = fake_owner_create(m.epc, 2, MANY, false);
	other = fake_owner_create(m.epc, 3, 1, false);
	few->fail_every[refused] = 1;
	for (i = 0; i < 15 * MANY; i++)
		fake_use(safe, i, 0);
	for (nr = 0; nr < MANY && fake_use(few, nr, 0) == 0; nr++)
		;
	r = fake_use(other, 0, EPC_MAY_RECLAIM);
	i = atomic_load(&few->calls[refused]);
	TAP_CHECK(r == -ENOMEM && fake_resident(safe) == 15 * MANY && i >= nr && i <= 16 * nr,
		  "%u pages promised, %u that cannot go: -ENOMEM after asking for those %u times",
		  15 * MANY, nr, i);
	fake_owner_put(other);
	fake_owner_put(few);
	fake_owner_put(safe);
	fake_machine_destroy(&m);
}

/* ---- a store that takes nothing -------------------------------------------------------------- */

struct asker {
	struct fake_owner *owner;
	uint32_t page;
	int r;
	uint64_t ns;
	pthread_t thread;
};

static void *ask(void *arg)
{
	struct asker *a = arg;
	uint64_t start = now_ns();

	do {
		a->r = fake_use(a->owner, a->page, EPC_MAY_RECLAIM);
	} while (a->r == -EAGAIN);
	a->ns = now_ns() - start;
	return NULL;
}

/*
 * So many threads ask for a page each, from @first on; how many had -ENOMEM, and after how long at
 * most.
 */
static unsigned int ask_all(struct fake_owner *owner, uint32_t first, unsigned int threads,
			    uint64_t *ret_longest)
{
	struct asker asker[ASKERS];
	unsigned int i, refused = 0;

	*ret_longest = 0;
	for (i = 0; i < threads; i++) {
		asker[i] = (struct asker){ .owner = owner, .page = first + i };
		pthread_create(&asker[i].thread, NULL, ask, &asker[i]);
	}
	for (i = 0; i < threads; i++) {
		pthread_join(asker[i].thread, NULL);
		refused += asker[i].r == -ENOMEM;
		*ret_longest = asker[i].ns > *ret_longest ? asker[i].ns : *ret_longest;
	}
	return refused;
}

/* A store that needs its time to fail: there are always pages in somebody's batch. */
static void fail_slowly(struct fake_owner *owner, enum fake_op op)
{
	if (op == FAKE_WRITE)
		usleep(300);
}

/*
 * They are told soon, however many there are, each of whom has pages in a batch when another looks:
 * within some times what one alone takes, which is returned.
 */
static uint64_t test_failing_store(unsigned int threads, uint64_t alone)
{
	struct fake_owner *owner;
	struct fake_machine m;
	unsigned int refused;
	uint64_t longest;

	fake_machine_create(&m, PAGES, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, PAGES + ASKERS, true);
	for (uint32_t i = 0; i < PAGES; i++)
		(void)fake_use_surely(owner, i);
	owner->fail_every[FAKE_WRITE] = 1;
	owner->on_op = fail_slowly;
	refused = ask_all(owner, PAGES, threads, &longest);
	TAP_CHECK(refused == threads && (!alone || longest < 20 * alone),
		  "a store that takes nothing: %u of %u threads have -ENOMEM, after %lu ms at most",
		  refused, threads, (unsigned long)(longest / MS));
	owner->fail_every[FAKE_WRITE] = 0;
	owner->on_op = NULL;
	TAP_CHECK(fake_use_surely(owner, PAGES), "and a page when it takes some again");
	fake_owner_put(owner);
	fake_machine_destroy(&m);
	return longest;
}

static void write_slowly(struct fake_owner *owner, enum fake_op op)
{
	if (op == FAKE_WRITE)
		usleep(30000);
}

/*
 * One owner's writes fail at once, another's need their time and work: nobody is refused what is on
 * its way.
 */
static void test_one_writes_slowly(void)
{
	struct fake_owner *bad, *slow;
	struct fake_machine m;
	unsigned int refused;
	uint64_t longest;
	uint32_t i;

	fake_machine_create(&m, MANY, NULL, NULL, 0);
	bad = fake_owner_create(m.epc, 1, MANY, true);
	slow = fake_owner_create(m.epc, 2, ASKERS + 2, true);
	for (i = 0; i < MANY - 2; i++)
		(void)fake_use_surely(bad, i);
	for (i = 0; i < 2; i++)
		(void)fake_use_surely(slow, i);
	bad->fail_every[FAKE_WRITE] = 1;
	slow->on_op = write_slowly;
	refused = ask_all(slow, 2, 8, &longest);
	TAP_CHECK(refused == 0, "%u writes fail in the time that one takes: %u of 8 refused", MANY,
		  refused);
	TAP_CHECK(bad->failed[FAKE_WRITE] > 0, "(%u did)", bad->failed[FAKE_WRITE]);
	slow->on_op = NULL;
	fake_owner_put(slow);
	fake_owner_put(bad);
	fake_machine_destroy(&m);
}

int main(void)
{
	unsigned int i;
	uint64_t alone;

	test_nothing_comes(true);
	test_nothing_comes(false);
	test_broken();
	test_order(true);
	test_order(false);
	test_tracked_later();
	test_all_dead();
	test_all_stopped(1);
	test_all_stopped(8);
	test_all_stopped(EPC_WAITERS_MAX);
	for (i = 0; policy_at(i); i++)
		test_one_cannot_write(policy_at(i)->name);
	test_promised(FAKE_RECLAIM);
	test_promised(FAKE_WRITE);
	alone = test_failing_store(1, 0);
	(void)test_failing_store(4, alone);
	(void)test_failing_store(ASKERS, alone);
	test_one_writes_slowly();
	return tap_done();
}
