/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * -ENOMEM, and when not: a page that comes free at the last moment, owners who say "not now" while a page is on its
 * way, what all of a group find out together, and evictions that somebody else should know of.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "epc/epc_priv.h"
#include "epc/group.h"
#include "epc/waiter_priv.h"
#include "lib/bare_owner.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

/* ---- the last moment ------------------------------------------------------------------------- */

enum { PAGES = 16, AFTER = 3 /* looks at the clock behind the very last try */ };

/* Time that passes by a microsecond with each look, one of which is that at which a page is freed. */
static struct {
	struct epc *epc;
	struct epc_page *page;
	uint64_t now_ns;
	unsigned int looks, free_at;
} last;

static uint64_t last_now_ns(void)
{
	if (++last.looks == last.free_at) {
		epc_free(last.epc, last.page);
		last.page = NULL;
	}
	return last.now_ns += 1000;
}

static void last_sleep(uint64_t ns) { last.now_ns += ns; }

/* All pages are kept, but the last one is freed at look @free_at; the page that was had then, or NULL. */
static struct epc_page *alloc_at_last(struct fake_machine *m, struct epc_owner *owner,
				      unsigned int free_at)
{
	struct epc_page *page;

	last.looks = 0;
	last.free_at = free_at;
	return epc_alloc(m->epc, owner, EPC_MAY_RECLAIM, &page) == 0 ? page : NULL;
}

static void test_last_moment(void)
{
	static const struct epc_clock clock = { last_now_ns, last_sleep };
	struct epc_config config = { .clock = &clock };
	struct epc_page *page[PAGES], *had;
	unsigned int i, looks, refused = 0;
	struct cpu_config cpu_config;
	struct epc_owner *owner;
	struct fake_machine m;

	last.now_ns = 1000000000;
	cpu_config_default(&cpu_config, PAGES * SGX_PAGE_SIZE);
	TAP_MUST(fake_machine_create_as(&m, &cpu_config, &config) == 0, "an EPC");
	last.epc = m.epc;
	owner = bare_owner_create(m.epc, NULL);
	for (i = 0; i < PAGES; i++) {
		TAP_MUST(epc_alloc(m.epc, owner, 0, &page[i]) == 0, "page %u", i);
		epc_keep(m.epc, page[i]);
	}
	TAP_MUST(!alloc_at_last(&m, owner, 0), "all are kept: -ENOMEM");
	looks = last.looks;
	for (i = 1; i <= looks - AFTER; i++) {
		last.page = page[PAGES - 1];
		had = alloc_at_last(&m, owner, i);
		if (!had) {
			printf("# freed at look %u of %u\n", i, looks);
			refused++;
			TAP_MUST(epc_alloc(m.epc, owner, 0, &had) == 0, "it is free");
		}
		page[PAGES - 1] = had;
		epc_keep(m.epc, had);
	}
	TAP_CHECK(refused == 0 && looks > AFTER + 4,
		  "a page that comes free at any of %u moments before is had", looks - AFTER);
	for (i = 0; i < PAGES; i++)
		epc_free(m.epc, page[i]);
	epc_owner_destroy(owner);
	fake_machine_destroy(&m);
}

/* ---- not now --------------------------------------------------------------------------------- */

enum { ON_ITS_WAY_MS = 800 /* less than the second for which one that may come is waited */ };

/* Time that passes where somebody sleeps; at @free_ns somebody else gives up the page that it had in hand. */
static struct {
	struct epc *epc;
	struct epc_page *page;
	uint64_t now_ns, free_ns;
} slow;

static uint64_t slow_now_ns(void) { return slow.now_ns; }

static void slow_sleep(uint64_t ns)
{
	slow.now_ns += ns;
	if (slow.page && slow.now_ns >= slow.free_ns) {
		epc_free(slow.epc, slow.page);
		slow.page = NULL;
	}
}

/*
 * A guest's SECS that has children here, or a TCS that somebody is in, is refused in block each time, and no store has
 * failed: the page that is on its way is waited for.
 */
static void test_not_now(uint32_t pages)
{
	static const struct epc_clock clock = { slow_now_ns, slow_sleep };
	struct epc_config config = { .clock = &clock };
	struct epc_page *page = NULL;
	struct cpu_config cpu_config;
	struct fake_owner *stubborn;
	struct epc_owner *owner;
	struct fake_machine m;
	uint64_t start;
	int r;

	slow.now_ns = start = 1000000000;
	slow.free_ns = start + ON_ITS_WAY_MS * 1000000ull;
	cpu_config_default(&cpu_config, pages * SGX_PAGE_SIZE);
	TAP_MUST(fake_machine_create_as(&m, &cpu_config, &config) == 0, "an EPC");
	slow.epc = m.epc;
	owner = bare_owner_create(m.epc, NULL);
	TAP_MUST(epc_alloc(m.epc, owner, 0, &slow.page) == 0, "a page in somebody's hand");
	stubborn = fake_owner_create(m.epc, 1, pages - 1, true);
	for (uint32_t i = 0; i < pages - 1; i++)
		(void)fake_use_surely(stubborn, i);
	stubborn->fail_every[FAKE_BLOCK] = 1;
	r = epc_alloc(m.epc, owner, EPC_MAY_RECLAIM, &page);
	TAP_CHECK(r == 0 && !slow.page,
		  "%u pages, of which all but one are refused in block: the one that comes is had "
		  "(%d, after %lu ms and %u refusals)",
		  pages, r, (unsigned long)((slow.now_ns - start) / 1000000),
		  atomic_load(&stubborn->calls[FAKE_BLOCK]));
	if (slow.page)
		epc_free(m.epc, slow.page);
	if (r == 0)
		epc_free(m.epc, page);
	slow.page = NULL;
	stubborn->fail_every[FAKE_BLOCK] = 0;
	fake_owner_put(stubborn);
	epc_owner_destroy(owner);
	fake_machine_destroy(&m);
}

/* ---- others cannot be written ---------------------------------------------------------------- */

/*
 * Time that passes with each sleep, however short, and what somebody does meanwhile with the one page that could be
 * written: it has it in hand at first.
 */
static struct {
	struct epc *epc;
	struct epc_page *page;
	uint64_t now_ns, track_ns;
	bool again; /* and takes it in hand again, and so on */
} busy;

static uint64_t busy_now_ns(void) { return busy.now_ns; }

static void busy_sleep(uint64_t ns)
{
	busy.now_ns += ns ? ns : 200000;
	if (!busy.page || busy.now_ns < busy.track_ns)
		return;
	epc_track(busy.epc, busy.page);
	if (busy.again)
		(void)epc_untrack(busy.epc, busy.page);
	else
		busy.page = NULL;
}

/*
 * All pages but one are those of an owner who cannot write, and are all tried in the time in which whoever has the last one
 * does not run.  It is waited for, and tried as well, but not for ever.  @track_ms: until it may be evicted.
 */
static void test_in_hand(uint32_t pages, uint64_t track_ms, bool again)
{
	static const struct epc_clock clock = { busy_now_ns, busy_sleep };
	struct epc_config config = { .clock = &clock };
	struct fake_owner *bad, *good;
	struct cpu_config cpu_config;
	bool comes = track_ms < ON_ITS_WAY_MS && !again;
	struct fake_machine m;
	uint64_t start, ms;
	int r;

	busy.now_ns = start = 1000000000;
	cpu_config_default(&cpu_config, pages * SGX_PAGE_SIZE);
	TAP_MUST(fake_machine_create_as(&m, &cpu_config, &config) == 0, "an EPC");
	bad = fake_owner_create(m.epc, 1, pages - 1, true);
	good = fake_owner_create(m.epc, 2, 2, true);
	TAP_MUST(fake_use_surely(good, 0), "a page that could be written");
	for (uint32_t i = 0; i < pages - 1; i++)
		(void)fake_use_surely(bad, i);
	bad->fail_every[FAKE_WRITE] = 1;
	if (again)
		good->fail_every[FAKE_WRITE] = 1;
	TAP_MUST(epc_untrack(m.epc, good->page[0].epc_page) == 0, "it is in somebody's hand");
	busy.epc = m.epc;
	busy.page = good->page[0].epc_page;
	busy.track_ns = start + track_ms * 1000000;
	busy.again = again;
	r = fake_use(good, 1, EPC_MAY_RECLAIM);
	ms = (busy.now_ns - start) / 1000000;
	if (comes)
		TAP_CHECK(r == 0 && ms < 1000,
			  "%u pages, all but one cannot be written: that one is waited for (%d, "
			  "%lu ms)",
			  pages, r, (unsigned long)ms);
	else
		TAP_CHECK(r == -ENOMEM && ms >= 1000 && ms < 3000,
			  "%u pages, and it %s: -ENOMEM (%d, %lu ms)", pages,
			  again ? "comes and goes" : "stays in hand", r, (unsigned long)ms);
	if (busy.page)
		epc_track(m.epc, busy.page);
	busy.page = NULL;
	bad->fail_every[FAKE_WRITE] = good->fail_every[FAKE_WRITE] = 0;
	fake_owner_put(good);
	fake_owner_put(bad);
	fake_machine_destroy(&m);
}

/* ---- a store that fails ---------------------------------------------------------------------- */

enum { STORE_PAGES = 1024 };

/* Which pages were tried. */
static bool tried[STORE_PAGES];
static bool last_can; /* be written: the one that is tried last */
static unsigned int tried_nr;

static void note_try(struct fake_owner *owner, enum fake_op op)
{
	uint32_t nr;

	if (op != FAKE_WRITE)
		return;
	nr = epc_page_nr(owner->epc, owner->called_for);
	tried_nr += !tried[nr];
	tried[nr] = true;
	owner->fail_every[FAKE_WRITE] = !(last_can && tried_nr == STORE_PAGES);
}

/*
 * Nobody gives up before each page has been tried; where the policy goes round once is enough, and twice it is
 * never more.  @laps: what was used before, so that some are spared at first.
 */
static void test_tries(const struct epc_policy *policy, unsigned int laps)
{
	uint32_t most = policy->in_rounds ? STORE_PAGES + 300 : 2 * STORE_PAGES + 100;
	struct fake_owner *owner;
	struct fake_machine m;
	unsigned int tries;
	uint32_t i;
	int r;

	fake_machine_create(&m, STORE_PAGES, policy->name, NULL, 0);
	owner = fake_owner_create(m.epc, 1, STORE_PAGES + 1, true);
	for (i = 0; i < STORE_PAGES; i++)
		(void)fake_use_surely(owner, i);
	for (i = 0; i < laps * STORE_PAGES; i += 3)
		(void)fake_use_surely(owner, i % STORE_PAGES);
	for (last_can = false;; last_can = true) {
		memset(tried, 0, sizeof(tried));
		tried_nr = 0;
		owner->fail_every[FAKE_WRITE] = 1;
		owner->on_op = note_try;
		tries = atomic_load(&owner->calls[FAKE_WRITE]);
		r = fake_use(owner, STORE_PAGES, EPC_MAY_RECLAIM);
		tries = atomic_load(&owner->calls[FAKE_WRITE]) - tries;
		owner->on_op = NULL;
		owner->fail_every[FAKE_WRITE] = 0;
		if (last_can)
			break;
		TAP_CHECK(r == -ENOMEM && tried_nr == STORE_PAGES && tries <= most,
			  "%s: %u of %d pages are tried, %u times together, until it gives up",
			  policy->name, tried_nr, STORE_PAGES, tries);
	}
	TAP_CHECK(r == 0, "%s: and the last one is found that can be written (%u)", policy->name,
		  tries);
	fake_owner_put(owner);
	fake_machine_destroy(&m);
}

/* ---- what all of a group find out together --------------------------------------------------- */

enum { EPC_PAGES = 512, MIN = 200, THREADS = 16 };

struct asker {
	struct fake_owner *owner;
	uint32_t page;
	int r;
	pthread_t thread;
};

static void fail_slowly(struct fake_owner *owner, enum fake_op op)
{
	if (op == FAKE_WRITE)
		usleep(200);
}

static void *ask(void *arg)
{
	struct asker *a = arg;

	do {
		a->r = fake_use(a->owner, a->page, EPC_MAY_RECLAIM);
	} while (a->r == -EAGAIN);
	return NULL;
}

/*
 * A group has no more than it was promised, everybody else keeps theirs, and it cannot write its own: how often that is
 * tried until so many threads of it know.
 */
static uint32_t tries_of_own(unsigned int threads)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct asker asker[THREADS];
	struct fake_owner *owner;
	struct epc_group *group;
	struct fake_machine m;
	struct epc_owner *other;
	struct epc_page *page;
	unsigned int i, told = 0;
	uint32_t tries;

	fake_machine_create(&m, EPC_PAGES, NULL, NULL, 0);
	limits.min_pages = MIN;
	TAP_MUST(epc_group_create(epc_group_root(m.epc), "promised", &limits, &group) == 0,
		 "a group");
	owner = fake_owner_create_in(group, m.epc, 1, MIN + THREADS, true);
	other = bare_owner_create(m.epc, NULL);
	for (i = 0; i < MIN; i++)
		(void)fake_use_surely(owner, i);
	while (epc_alloc(m.epc, other, 0, &page) == 0)
		epc_keep(m.epc, page);
	owner->fail_every[FAKE_WRITE] = 1;
	owner->on_op = fail_slowly;
	for (i = 0; i < threads; i++) {
		asker[i] = (struct asker){ .owner = owner, .page = MIN + i };
		pthread_create(&asker[i].thread, NULL, ask, &asker[i]);
	}
	for (i = 0; i < threads; i++) {
		pthread_join(asker[i].thread, NULL);
		told += asker[i].r == -ENOMEM;
	}
	tries = atomic_load(&owner->calls[FAKE_WRITE]);
	TAP_CHECK(told == threads && tries > MIN,
		  "%u of %u threads know after %u tries to write one of %d pages", told, threads,
		  tries, MIN);
	fake_machine_destroy(&m);
	return tries;
}

static void test_own_pages(void)
{
	uint32_t alone = tries_of_own(1), all = tries_of_own(THREADS);

	TAP_CHECK(all < 4 * alone, "%d threads find out together: %.1f times as many as one",
		  THREADS, (double)all / alone);
}

/* ---- evictions ------------------------------------------------------------------------------- */

enum { MAX = 32, USES = 100 };

static uint64_t evicted(const struct epc_group *group) { return atomic_load(&group->evicted); }

/* What goes from a group goes from those above it, whoever ran the batch. */
static void test_evicted(void)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct epc_group *root, *outer, *inner;
	struct fake_owner *owner;
	struct fake_machine m;
	uint64_t by_max;
	unsigned int failed = 0, freed = 0;
	int r;

	fake_machine_create(&m, EPC_PAGES, NULL, NULL, 0);
	root = epc_group_root(m.epc);
	TAP_MUST(epc_group_create(root, "outer", &limits, &outer) == 0, "a group");
	limits.max_pages = MAX;
	TAP_MUST(epc_group_create(outer, "inner", &limits, &inner) == 0, "and one in it");
	owner = fake_owner_create_in(inner, m.epc, 1, USES, true);
	for (unsigned int i = 0; i < USES; i++)
		failed += !fake_use_surely(owner, i);
	by_max = evicted(inner);
	TAP_CHECK(failed == 0 && by_max >= USES - MAX && evicted(outer) == by_max &&
			  evicted(root) == by_max,
		  "at its max a group evicts %lu: those above know of %lu and %lu",
		  (unsigned long)by_max, (unsigned long)evicted(outer),
		  (unsigned long)evicted(root));
	for (unsigned int i = 0; i < 100 && freed < 8; i++) {
		r = epc_reclaim(m.epc);
		freed += r > 0 ? (unsigned int)r : 0;
	}
	TAP_CHECK(freed >= 8 && evicted(inner) == by_max + freed && evicted(root) == by_max + freed,
		  "%u that go for anybody are known below: %lu", freed,
		  (unsigned long)(evicted(inner) - by_max));
	fake_owner_put(owner);
	fake_machine_destroy(&m);
}

/* Time that passes with each sleep, in which a group exchanges one of its pages for another. */
static struct {
	struct fake_owner *owner;
	uint64_t now_ns;
	uint32_t next, nr;
	bool at_it;
} swap;

static uint64_t swap_now_ns(void) { return swap.now_ns; }

static void swap_sleep(uint64_t ns)
{
	swap.now_ns += ns ? ns : 200000;
	if (swap.at_it || !swap.owner)
		return;
	swap.at_it = true;
	swap.nr += fake_use_surely(swap.owner, swap.next++ % USES);
	swap.at_it = false;
}

/*
 * A group has what it was promised, and exchanges that page by page.  None of it is for others, whose own cannot be written: they
 * are not kept waiting by it.
 */
static void test_exchanges(void)
{
	static const struct epc_clock clock = { swap_now_ns, swap_sleep };
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct epc_config config = { .clock = &clock };
	struct fake_owner *good, *bad;
	struct cpu_config cpu_config;
	struct fake_machine m;
	struct epc_group *group;
	uint64_t start, before;
	uint32_t i;
	int r;

	swap.owner = NULL;
	swap.now_ns = start = 1000000000;
	cpu_config_default(&cpu_config, EPC_PAGES * SGX_PAGE_SIZE);
	TAP_MUST(fake_machine_create_as(&m, &cpu_config, &config) == 0, "an EPC");
	limits.min_pages = MAX;
	TAP_MUST(epc_group_create(epc_group_root(m.epc), "promised", &limits, &group) == 0,
		 "a group");
	good = fake_owner_create_in(group, m.epc, 1, USES, true);
	bad = fake_owner_create(m.epc, 2, EPC_PAGES, true);
	for (i = 0; i < MAX; i++)
		(void)fake_use_surely(good, i);
	for (i = 0; i < EPC_PAGES - MAX; i++)
		(void)fake_use_surely(bad, i);
	bad->fail_every[FAKE_WRITE] = 1;
	before = evicted(group);
	swap.next = MAX;
	swap.nr = 0;
	swap.owner = good;
	r = fake_use(bad, i, EPC_MAY_RECLAIM);
	swap.owner = NULL;
	TAP_CHECK(r == -ENOMEM && swap.nr > 0 && evicted(group) - before >= swap.nr,
		  "others cannot write, and are told so beside %u exchanges of a group", swap.nr);
	TAP_CHECK(swap.now_ns - start < 500000000, "after %lu ms",
		  (unsigned long)((swap.now_ns - start) / 1000000));
	TAP_CHECK(evicted(epc_group_root(m.epc)) == 0, "who knows of none of them");
	bad->fail_every[FAKE_WRITE] = 0;
	fake_owner_put(good);
	fake_owner_put(bad);
	fake_machine_destroy(&m);
}

/* ---- behind others --------------------------------------------------------------------------- */

enum { LONG_MS = 30000, EARLY = 2 };

/* Time that passes with each sleep, in which those who come first live, and have pages: @on. */
static struct {
	struct epc *epc;
	struct waiter *waiter[EARLY];
	unsigned int waiter_nr;
	struct fake_owner *owner;
	uint64_t now_ns, end_ns;
	uint32_t next, pages;
	bool on;
} ahead;

static uint64_t ahead_now_ns(void) { return ahead.now_ns; }

static void ahead_sleep(uint64_t ns)
{
	unsigned int i;

	ahead.now_ns += ns ? ns : 200000;
	for (i = 0; i < ahead.waiter_nr; i++)
		waiter_wants(ahead.waiter[i], epc_group_root(ahead.epc));
	if (ahead.on)
		(void)epc_reclaim(ahead.epc);
	while (section_free_nr(ahead.epc) > 0) {
		atomic_store(&ahead.owner->epc_owner->turn_left, 1);
		if (fake_use(ahead.owner, ahead.next++ % ahead.pages, 0) < 0)
			break;
	}
	while (ahead.now_ns >= ahead.end_ns && ahead.waiter_nr > 0)
		waiter_end(ahead.epc, ahead.waiter[--ahead.waiter_nr]);
}

/* One is so far behind that it never comes to a batch of its own; others get pages all the time, or nobody does. */
static void test_behind(bool on)
{
	static const struct epc_clock clock = { ahead_now_ns, ahead_sleep };
	struct epc_config config = { .clock = &clock };
	struct fake_owner *owner, *behind;
	struct waiter outside = { 0 };
	struct cpu_config cpu_config;
	struct fake_machine m;
	uint64_t start, ms;
	int r;

	memset(&ahead, 0, sizeof(ahead));
	ahead.now_ns = start = 1000000000;
	ahead.end_ns = start + LONG_MS * 1000000ull;
	cpu_config_default(&cpu_config, EPC_PAGES * SGX_PAGE_SIZE);
	TAP_MUST(fake_machine_create_as(&m, &cpu_config, &config) == 0, "an EPC");
	m.epc->early_nr = EARLY;
	ahead.epc = m.epc;
	ahead.pages = 2 * EPC_PAGES;
	ahead.owner = owner = fake_owner_create(m.epc, 1, ahead.pages, false);
	behind = fake_owner_create(m.epc, 2, 1, false);
	while (fake_use(owner, ahead.next, 0) == 0)
		ahead.next++;
	while (ahead.waiter_nr < EARLY)
		ahead.waiter[ahead.waiter_nr++] =
			waiter_begin(m.epc, epc_group_root(m.epc), &outside);
	ahead.on = on;
	r = fake_use(behind, 0, EPC_MAY_RECLAIM);
	ms = (ahead.now_ns - start) / 1000000;
	if (on)
		TAP_CHECK(r == 0 && ms >= LONG_MS,
			  "while others have pages, whoever is behind them waits for its turn (%d, "
			  "%lu ms)",
			  r, (unsigned long)ms);
	else
		TAP_CHECK(r == -ENOMEM && ms >= 10000 && ms < 11000,
			  "where nobody has any it gives up (%d, %lu ms)", r, (unsigned long)ms);
	TAP_CHECK(owner->wrong == 0 && behind->wrong == 0, "and none is lost");
	while (ahead.waiter_nr > 0)
		waiter_end(m.epc, ahead.waiter[--ahead.waiter_nr]);
	fake_owner_put(behind);
	fake_owner_put(owner);
	fake_machine_destroy(&m);
}

int main(void)
{
	test_last_moment();
	test_not_now(16);
	test_not_now(375);
	test_in_hand(16, 100, false);
	test_in_hand(1024, 100, false);
	test_in_hand(1024, UINT32_MAX, false);
	test_in_hand(1024, 0, true);
	for (unsigned int i = 0; policy_at(i); i++) {
		test_tries(policy_at(i), 0);
		test_tries(policy_at(i), 2);
	}
	test_own_pages();
	test_evicted();
	test_exchanges();
	test_behind(true);
	test_behind(false);
	return tap_done();
}
