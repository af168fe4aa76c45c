/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The policies by themselves, evicted in batches as the manager does it, uses seen as the manager shows them.
 * What is published of them is checked in tests/sim/test_policy_exact.c, but for what is exact in batches, too.
 */
#include "epc/policy.h"

#include <assert.h>
#include <string.h>

#include "base/arena.h"
#include "epc/pagelist.h"
#include "epc/policy_sample.h"
#include "epc/stats.h"
#include "lib/fake_owner.h"
#include "lib/policy_cache.h"
#include "lib/tap.h"

enum { FRAMES_MAX = 1024, PAGES_MAX = 4096, MANY = 16384 };

static void cache_open(struct policy_cache *c, const struct epc_policy *policy, uint32_t frames)
{
	policy_cache_open(c, &(struct policy_cache_config){
				     .policy = policy, .frames = frames, .pages = PAGES_MAX });
}

static void cache_close(struct policy_cache *c)
{
	TAP_CHECK(policy_cache_close(c), "%s: no memory is left over", c->config.policy->name);
}

static unsigned long faults_of(const struct epc_policy *policy, uint32_t frames,
			       void (*run)(struct policy_cache *c))
{
	static struct policy_cache c;

	cache_open(&c, policy, frames);
	run(&c);
	TAP_CHECK(c.config.policy->nr(c.state) == c.used - c.free_nr &&
			  c.config.policy->check(c.state),
		  "%s: %lu faults, %lu soft ones, the order is whole", policy->name, c.faults,
		  c.soft);
	cache_close(&c);
	return c.faults;
}

/* ---- published numbers ------------------------------------------------------------------------ */

/* Belady, Nelson and Shedler, "An anomaly in space-time characteristics", CACM 1969. */
static void run_anomaly(struct policy_cache *c)
{
	static const uint32_t pages[] = { 1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5 };

	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		policy_cache_use(c, pages[i]);
}

static void test_anomaly(void)
{
	/* FIFO: no page is armed in so few steps, and those that start as used all do. */
	TAP_CHECK(faults_of(&policy_clock, 3, run_anomaly) == 9, "FIFO with 3 frames: 9 faults");
	TAP_CHECK(faults_of(&policy_clock, 4, run_anomaly) == 10, "and with 4 it has 10");
}

/* A loop over more pages than there are: every policy of recency misses always. */
enum { LOOP = 600, LOOP_FRAMES = 480, LAPS = 50 };

static void run_loop(struct policy_cache *c)
{
	for (uint32_t i = 0; i < LOOP * LAPS; i++)
		policy_cache_use(c, i % LOOP);
}

static void test_loop(void)
{
	/* The optimum: all at first, and then in each lap but the frames less one. */
	unsigned long best = LOOP + (LAPS - 1) * (LOOP - LOOP_FRAMES);
	unsigned long faults;

	TAP_CHECK(faults_of(&policy_upstream, LOOP_FRAMES, run_loop) == LOOP * LAPS,
		  "a loop: Linux's order misses always");
	TAP_CHECK(faults_of(&policy_clock, LOOP_FRAMES, run_loop) == LOOP * LAPS,
		  "CLOCK misses always");
	TAP_CHECK(faults_of(&policy_sieve, LOOP_FRAMES, run_loop) == LOOP * LAPS,
		  "SIEVE misses always");
	faults = faults_of(&policy_lirs, LOOP_FRAMES, run_loop);
	TAP_CHECK(faults < best * 12 / 10, "LIRS: %lu, the optimum is about %lu", faults, best);
	faults = faults_of(&policy_clockpro, LOOP_FRAMES, run_loop);
	TAP_CHECK(faults < best * 12 / 10, "CLOCK-Pro: %lu", faults);
	faults = faults_of(&policy_adaptive, LOOP_FRAMES, run_loop);
	TAP_CHECK(faults < best * 12 / 10, "adaptive: %lu", faults);
}

/* ---- the duel ------------------------------------------------------------------------------------ */

static uint32_t rnd(uint64_t *rng, uint32_t below)
{
	*rng = *rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((*rng >> 33) % below);
}

/* A working set that moves on: what was used often will not be used again. */
static void run_drift(struct policy_cache *c)
{
	uint64_t rng = 1;

	for (uint32_t i = 0; i < 60000; i++)
		policy_cache_use(c, (i / 25 + rnd(&rng, 1 + rnd(&rng, 300))) % PAGES_MAX);
}

/* One after the other, several times: loops, then a working set that moves. */
static void run_changing(struct policy_cache *c)
{
	for (int i = 0; i < 3; i++) {
		run_drift(c);
		run_loop(c);
	}
}

static void test_duel(void)
{
	unsigned long upstream, lirs, adaptive;

	upstream = faults_of(&policy_upstream, 250, run_drift);
	lirs = faults_of(&policy_lirs, 250, run_drift);
	adaptive = faults_of(&policy_adaptive, 250, run_drift);
	TAP_CHECK(lirs > upstream * 11 / 10, "a set that moves: LIRS %lu, Linux %lu", lirs,
		  upstream);
	TAP_CHECK(adaptive < upstream * 103 / 100, "and the duel costs less than 3 %%: %lu",
		  adaptive);
	upstream = faults_of(&policy_upstream, LOOP_FRAMES, run_changing);
	adaptive = faults_of(&policy_adaptive, LOOP_FRAMES, run_changing);
	TAP_CHECK(adaptive < upstream * 103 / 100, "phases of both kinds: %lu, Linux %lu", adaptive,
		  upstream);
	TAP_CHECK(faults_of(&policy_adaptive, 250, run_drift) ==
			  faults_of(&policy_adaptive, 250, run_drift),
		  "the same again, to the fault");
}

/* Where recency pays it has more cold pages, where pages come round fewer: LIRS, which it is otherwise, has always as many. */
static void test_cold_part(void)
{
	unsigned long upstream, lirs, clockpro;

	upstream = faults_of(&policy_upstream, 250, run_drift);
	lirs = faults_of(&policy_lirs, 250, run_drift);
	clockpro = faults_of(&policy_clockpro, 250, run_drift);
	TAP_CHECK(clockpro - upstream < (lirs - upstream) / 2,
		  "a set that moves: CLOCK-Pro %lu, LIRS %lu, Linux %lu", clockpro, lirs, upstream);
	upstream = faults_of(&policy_upstream, LOOP_FRAMES, run_changing);
	clockpro = faults_of(&policy_clockpro, LOOP_FRAMES, run_changing);
	TAP_CHECK(clockpro < upstream, "phases of both kinds: CLOCK-Pro %lu, Linux %lu", clockpro,
		  upstream);
}

/* Walks in step, each with so many pages read ahead of it: all come round, and none is there from last time. */
static void run_walks(struct policy_cache *c)
{
	enum { WALKS = 4, AHEAD = 16, LENGTH = 1000, TOUCHES = 40000 };
	uint32_t i, k, at, start;

	for (i = 0; i < TOUCHES; i++) {
		start = i % WALKS * LENGTH;
		at = i / WALKS % LENGTH;
		policy_cache_use(c, start + at);
		for (k = 1; at % AHEAD == 0 && k < AHEAD; k++)
			policy_cache_bring(c, start + (at + k) % LENGTH);
	}
}

/* One touch of 16 waits for a page, unless pages go before they are used. */
static void test_ahead(void)
{
	unsigned long faults = faults_of(&policy_clockpro, 250, run_walks);

	TAP_CHECK(faults <= 40000 / 16, "CLOCK-Pro, pages read ahead for four: %lu faults", faults);
}

/*
 * LIRS: those that were read ahead and wait make room among the cold pages, and what they leave behind is for some time only.
 * A lap of the loop that follows misses what is cold.
 */
static unsigned long last_lap(bool waited)
{
	enum { FRAMES = 1000, LAP = 1200, MANY_AHEAD = 90, SHORT = 1500, LAST = 12 };
	static struct policy_cache c;
	unsigned long before = 0, faults;
	uint32_t i, k;

	cache_open(&c, &policy_lirs, FRAMES);
	for (i = 0; i < LAP; i++)
		policy_cache_use(&c, i);
	for (k = 0; waited && k < MANY_AHEAD; k++)
		policy_cache_bring(&c, 2 * LAP + k);
	/* Some that do not wait: unless one comes ahead nobody looks how many do. */
	for (i = 0; i < (LAST + 1) * LAP; i++) {
		if (i == LAST * LAP)
			before = c.faults;
		if (i % 16 == 0) {
			policy_cache_bring(&c, 2 * LAP + MANY_AHEAD + i / 16 % SHORT);
			policy_cache_use(&c, 2 * LAP + MANY_AHEAD + i / 16 % SHORT);
		}
		policy_cache_use(&c, i % LAP);
	}
	faults = c.faults - before;
	cache_close(&c);
	return faults;
}

static void test_ahead_forgotten(void)
{
	unsigned long none = last_lap(false), once = last_lap(true);

	TAP_CHECK(once < none + 16, "LIRS: of %s, a lap has %lu faults, and %lu without",
		  "90 pages that once waited", once, none);
}

/* ---- what the manager relies on -------------------------------------------------------------------- */

/* An order, and the pages that should be in it. */
struct churn {
	struct policy_cache c;
	bool in[FRAMES_MAX];
	uint32_t nr, frames;
	uint64_t rng;
};

static bool churn_pick(struct churn *churn)
{
	const struct epc_policy *policy = churn->c.config.policy;
	unsigned int looked;
	uint32_t nr = policy->pick(churn->c.state, &looked);

	if (looked > POLICY_LOOK_MAX)
		return false;
	if (nr == PAGE_NONE)
		return churn->nr == 0 || looked > 0;
	if (!churn->in[nr])
		return false;
	if (rnd(&churn->rng, 3) == 0) {
		policy->put_back(churn->c.state, nr,
				 rnd(&churn->rng, 2) ? POLICY_REFERENCED : POLICY_NOT_NOW);
		return true;
	}
	policy->evicted(churn->c.state, nr);
	churn->in[nr] = false;
	churn->nr--;
	return true;
}

/* Somebody died: everything is made anew. */
static void churn_reset(struct churn *churn)
{
	uint32_t nr;

	churn->c.config.policy->reset(churn->c.state);
	for (nr = 0; nr < churn->frames; nr++) {
		if (churn->in[nr])
			churn->c.config.policy->insert(churn->c.state, nr);
	}
}

static bool churn_step(struct churn *churn)
{
	const struct epc_policy *policy = churn->c.config.policy;
	uint32_t nr = rnd(&churn->rng, churn->frames), what = rnd(&churn->rng, 8000);

	if (what < 2)
		churn_reset(churn);
	else if (what < 1000)
		return churn_pick(churn);
	else if (what < 1500 && churn->in[nr])
		policy->remove(churn->c.state, nr);
	else if (what >= 4000 && !churn->in[nr])
		policy->insert(churn->c.state, nr);
	else if (churn->in[nr])
		sample_use(churn->c.view.samples, &churn->c.page[nr], nr);
	if (what >= 1000 && what < 1500 && churn->in[nr]) {
		churn->in[nr] = false;
		churn->nr--;
	} else if (what >= 4000 && !churn->in[nr]) {
		churn->in[nr] = true;
		churn->nr++;
	}
	policy_cache_tell(&churn->c);
	return true;
}

static void test_operations(const struct epc_policy *policy)
{
	static struct churn churn;
	unsigned int looked, i;
	bool ok = true;
	uint32_t nr;

	cache_open(&churn.c, policy, 200);
	memset(churn.in, 0, sizeof(churn.in));
	churn.nr = 0;
	churn.frames = 200;
	churn.rng = 7;
	for (nr = 0; nr < churn.frames; nr++) {
		page_set_owner(&churn.c.page[nr], churn.c.owner);
		atomic_store(&churn.c.page[nr].cookie, nr);
	}
	for (i = 0; i < 40000 && ok; i++)
		ok = churn_step(&churn) && policy->nr(churn.c.state) == churn.nr &&
		     (i % 16 || policy->check(churn.c.state));
	TAP_CHECK(ok, "%s: whatever happens, the pages in the order are those that should be",
		  policy->name);
	while (churn.nr > 0 && churn.in[nr = policy_cache_evict(&churn.c)]) {
		churn.in[nr] = false;
		churn.nr--;
	}
	TAP_CHECK(churn.nr == 0 && policy->pick(churn.c.state, &looked) == PAGE_NONE && looked == 0,
		  "%s: all can be evicted", policy->name);
	cache_close(&churn.c);
}

/* Pages that cannot go do not keep those from going that can. */
static void test_stuck(const struct epc_policy *policy)
{
	static struct policy_cache c;
	unsigned int looked, tries;
	uint32_t nr;

	cache_open(&c, policy, 300);
	for (uint32_t i = 0; i < 300; i++)
		policy_cache_use(&c, i);
	for (tries = 0; tries < 2000; tries++) {
		nr = policy->pick(c.state, &looked);
		if (nr == 299)
			break;
		if (nr != PAGE_NONE)
			policy->put_back(c.state, nr, POLICY_REFERENCED);
	}
	TAP_CHECK(nr == 299, "%s: the only page that can go is found, after %u others",
		  policy->name, tries);
	policy->put_back(c.state, nr, POLICY_NOT_NOW);
	cache_close(&c);
}

/* ---- the pool of the default's shadows ----------------------------------------------------------- */

enum { ORDERS = 60, ORDER_FRAMES = 8 };

/* Every order has as many pages as there is room for, and a few more come. */
static bool orders_run(struct policy_cache *c, void *const *order, unsigned int nr,
		       uint32_t *cookie)
{
	unsigned int i, looked;
	bool ok = true;
	uint32_t page;

	for (i = 0; i < 4000 && ok; i++) {
		void *state = order[i * 7 % nr];

		page = i * 7 % nr * ORDER_FRAMES + c->config.policy->nr(state);
		if (c->config.policy->nr(state) == ORDER_FRAMES) {
			page = c->config.policy->pick(state, &looked);
			if (page == PAGE_NONE)
				continue;
			c->config.policy->evicted(state, page);
		}
		atomic_store(&c->page[page].cookie, (uint64_t)page << 32 | ++*cookie % 32);
		c->config.policy->insert(state, page);
		ok = c->config.policy->check(state);
	}
	return ok;
}

static void test_pool(void)
{
	static struct policy_cache c;
	void *order[ORDERS];
	uint32_t cookie = 0;
	unsigned int i;
	bool ok = true;

	cache_open(&c, &policy_adaptive, ORDERS * ORDER_FRAMES);
	order[0] = c.state;
	for (i = 0; i < c.config.frames; i++)
		page_set_owner(&c.page[i], c.owner);
	for (i = 1; i < ORDERS; i++) {
		ok = ok && orders_run(&c, order, i, &cookie);
		order[i] = c.config.policy->create(c.view.arena, &c.view);
	}
	TAP_CHECK(ok && orders_run(&c, order, ORDERS, &cookie),
		  "%u orders share the pool of an EPC of %u pages", ORDERS, c.config.frames);
	for (i = 0; i < ORDERS; i++)
		c.config.policy->reset(order[i]);
	for (i = 0; i < ORDERS; i++)
		ok = ok && c.config.policy->nr(order[i]) == 0 && c.config.policy->check(order[i]);
	TAP_CHECK(ok && orders_run(&c, order, ORDERS, &cookie), "after a reset, too");
	for (i = ORDERS - 1; i > 0; i--) {
		ok = ok && orders_run(&c, order, i, &cookie);
		c.config.policy->destroy(order[i], c.view.arena);
	}
	TAP_CHECK(ok && orders_run(&c, order, 1, &cookie), "and one that is left alone");
	cache_close(&c);
}

/* ---- samples ----------------------------------------------------------------------------------------- */

static void test_samples(void)
{
	static struct epc_page pages[FRAMES_MAX];
	struct arena *arena = arena_create(1 << 20);
	struct policy_view view = { .pages = pages, .page_nr = FRAMES_MAX, .arena = arena };
	uint32_t nr[SAMPLE_BATCH], i, n;

	TAP_MUST(policy_view_init(&view, UINT64_MAX) == 0, "samples");
	sample_set(&view, 5, false);
	TAP_CHECK(!sample_test_and_arm(&view, 5) && sample_take_armed(view.samples, nr) == 0,
		  "a page that was not used is not armed by asking");
	sample_arm(&view, 5);
	sample_arm(&view, 5);
	TAP_CHECK(sample_take_armed(view.samples, nr) == 1 && nr[0] == 5, "armed once");
	sample_use(view.samples, &pages[5], 5);
	sample_use(view.samples, &pages[5], 5);
	TAP_CHECK(sample_is_used(&view, 5) && sample_next_used(&view) == PAGE_NONE,
		  "a use is in the page's bit; nobody watches");
	sample_arm(&view, 5);
	TAP_CHECK(sample_is_used(&view, 5), "what is known stays known");
	sample_watch(&view, 5);
	sample_use(view.samples, &pages[5], 5);
	TAP_CHECK(sample_next_used(&view) == 5 && sample_next_used(&view) == PAGE_NONE,
		  "whoever watches is told");
	TAP_CHECK(sample_test_and_arm(&view, 5) && !sample_is_used(&view, 5), "test and arm");
	while (sample_take_armed(view.samples, nr))
		;
	for (i = 0; i + 1 < SAMPLE_BATCH; i++)
		sample_arm_new(&view, 100 + i);
	TAP_CHECK(sample_take_armed(view.samples, nr) == 0, "new pages are armed together");
	sample_arm_new(&view, 100 + i);
	n = sample_take_armed(view.samples, nr);
	for (i = 0; i < n && nr[i] == 100 + i; i++)
		;
	TAP_CHECK(n == SAMPLE_BATCH - 1 && i == n, "all but the newest, in their order");
	for (i = 0; i < FRAMES_MAX; i++) {
		sample_arm(&view, i);
		sample_watch(&view, i);
	}
	for (i = 0; i < 3 * view.samples->used_max; i++) {
		sample_arm(&view, i % FRAMES_MAX);
		sample_use(view.samples, &pages[i % FRAMES_MAX], i % FRAMES_MAX);
	}
	for (n = 0; sample_next_used(&view) != PAGE_NONE; n++)
		;
	TAP_CHECK(n == view.samples->used_max, "a ring that overflows has the newest");
	while (sample_take_armed(view.samples, nr))
		;
	/* One that has come ahead: its first use is what it came for, and then it is as new. */
	sample_set_ahead(&pages[6]);
	sample_set(&view, 6, false);
	sample_watch(&view, 6);
	sample_arm(&view, 6);
	sample_arm_new(&view, 6);
	TAP_CHECK(sample_take_armed(view.samples, nr) == 0 && !sample_is_dropped(&pages[6]),
		  "its translation stays until then");
	sample_use(view.samples, &pages[6], 6);
	TAP_CHECK(!sample_is_used(&view, 6) && sample_next_used(&view) == PAGE_NONE,
		  "which is no use beside the one that it came for");
	for (i = 0; i + 1 < SAMPLE_BATCH; i++)
		sample_arm_new(&view, 200 + i);
	n = sample_take_armed(view.samples, nr);
	for (i = 0; i < n && nr[i] != 6; i++)
		;
	TAP_CHECK(i < n, "armed with the new ones");
	sample_use(view.samples, &pages[6], 6);
	TAP_CHECK(sample_is_used(&view, 6) && sample_next_used(&view) == 6, "and then used");
	policy_view_fini(&view);
	arena_destroy(arena);
}

/* An EPC whose shadows play all of its pages. */
enum { MAPPED_NR = 700, UNMAP_FRAMES = 128 };

static unsigned int unmapped, unmapped_elsewhere, unmapped_again;
static unsigned char unmaps_of[MAPPED_NR];
static const struct fake_owner *mapped;

static void note_unmap(const uint64_t *win_offs, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		uint64_t page = (win_offs[i] - mapped->win_off) / SGX_PAGE_SIZE;

		unmapped++;
		if (page < MAPPED_NR)
			unmapped_again += unmaps_of[page]++ > 0;
		else
			unmapped_elsewhere++;
	}
}

/* The manager drops the translations of what policies want to see, from a quarter full on. */
static void test_unmap(void)
{
	struct epc_config config = { .unmap = note_unmap };
	struct cpu_config cpu_config;
	struct fake_owner *owner;
	struct fake_machine m;
	uint32_t i;

	cpu_config_default(&cpu_config, UNMAP_FRAMES * SGX_PAGE_SIZE);
	TAP_MUST(fake_machine_create_as(&m, &cpu_config, &config) == 0, "a manager");
	mapped = owner = fake_owner_create(m.epc, 1, MAPPED_NR, true);
	for (i = 0; i < UNMAP_FRAMES / 4 - 2; i++)
		fake_use_surely(owner, i);
	TAP_CHECK(unmapped == 0, "an EPC with room to spare: nothing is unmapped");
	for (; i < UNMAP_FRAMES; i++)
		fake_use_surely(owner, i);
	TAP_CHECK(unmapped > UNMAP_FRAMES * 3 / 5 && unmapped <= UNMAP_FRAMES &&
			  unmapped_elsewhere == 0,
		  "and then, before it is full, %u pages have been", unmapped);
	for (; i < MAPPED_NR; i++)
		fake_use_surely(owner, i);
	TAP_CHECK(unmapped > 600 && unmapped_again == 0,
		  "%u of %u pages that go after one use each, %u of them again as they went",
		  unmapped, i, unmapped_again);
	fake_owner_put(owner);
	fake_machine_destroy(&m);
}

/* Whichever it is, what grows with the EPC and what does not are together within what a page may take. */
static void test_memory(const struct epc_policy *policy)
{
	enum { PAGES = 16384 };
	struct epc_footprint f;
	struct fake_machine m;
	uint64_t sum;

	TAP_MUST(fake_machine_create(&m, PAGES, policy->name, NULL, 0) == 0, "%s: a manager",
		 policy->name);
	epc_footprint_read(m.epc, &f);
	sum = f.epcm + f.pages + f.ghosts + f.shadows + f.rest;
	TAP_CHECK(f.rest == arena_used_bytes(m.arena) && sum <= 64 * PAGES,
		  "%s: %.2f bytes a page at 64 MiB", policy->name, (double)sum / PAGES);
	fake_machine_destroy(&m);
}

/* However many pages there are, and though all have been used, a victim is found without a look at all of them. */
static void test_first_victim(bool used)
{
	unsigned int looked, looks = 0;
	struct policy_cache c;
	uint32_t page, nr;

	policy_cache_open(&c, &(struct policy_cache_config){
				      .policy = policy_find(NULL), .frames = MANY, .pages = MANY });
	for (page = 0; page < MANY; page++)
		policy_cache_use(&c, page);
	for (page = 0; used && page < MANY; page++)
		policy_cache_use(&c, page);
	do {
		nr = c.config.policy->pick(c.state, &looked);
		looks += looked;
	} while (nr == PAGE_NONE && looks < MANY);
	TAP_CHECK(nr != PAGE_NONE && looks <= (used ? MANY / 2 : POLICY_LOOK_MAX),
		  "the first victim of %u pages%s takes %u looks", MANY,
		  used ? " that were all used again" : "", looks);
	TAP_CHECK(!used || nr + 1 >= looks, "and is none of those that were just spared: %u", nr);
	cache_close(&c);
}

enum { ALL_USED = 4 * POLICY_SPARED_MAX };

/* Each rule by itself: no queue is walked whole, and not for the next victims. */
static void test_victims_bounded(const struct epc_policy *policy)
{
	unsigned int looked, looks, most = 0;
	struct policy_cache c;
	uint32_t page, nr;

	policy_cache_open(&c, &(struct policy_cache_config){
				      .policy = policy, .frames = ALL_USED, .pages = ALL_USED });
	for (page = 0; page < ALL_USED; page++)
		policy_cache_use(&c, page);
	policy_cache_tell(&c);
	for (page = 0; page < ALL_USED; page++)
		policy_cache_use(&c, page);
	policy_cache_tell(&c);
	for (unsigned int victims = 0; victims < 8; victims++) {
		looks = 0;
		do {
			nr = c.config.policy->pick(c.state, &looked);
			looks += looked;
		} while (nr == PAGE_NONE && looks <= ALL_USED);
		most = looks > most ? looks : most;
	}
	TAP_CHECK(most <= POLICY_SPARED_MAX + POLICY_LOOK_MAX && most > POLICY_LOOK_MAX,
		  "%s: a victim of %u pages that were all used takes %u looks at the most",
		  policy->name, ALL_USED, most);
	cache_close(&c);
}

int main(void)
{
	unsigned int i;

	test_samples();
	test_unmap();
	test_anomaly();
	for (i = 0; policy_at(i); i++) {
		test_operations(policy_at(i));
		test_stuck(policy_at(i));
		test_memory(policy_at(i));
		test_victims_bounded(policy_at(i));
	}
	test_first_victim(false);
	test_first_victim(true);
	test_loop();
	test_duel();
	test_cold_part();
	test_ahead();
	test_ahead_forgotten();
	test_pool();
	return tap_done();
}
