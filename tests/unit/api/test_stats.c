/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Numbers of the installed API against what the owners have seen themselves, with sections on nodes and groups below
 * groups; pressure with an owner that says whether it runs; and background reclaim between the watermarks.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <swsgx/stats.h>
#include <unistd.h>

#include "lib/tap.h"

enum { PAGES = 256, BLOCKS = 600, BACKGROUND_MAX = 8 };

struct blocks {
	struct swsgx_owner *owner;
	struct swsgx_page *page[BLOCKS];
	unsigned int allocs, frees, writes, failures, blocks;
	atomic_uint running;
	unsigned int write_us; /* how long a write takes */
	bool fail;
	unsigned int fail_nr, refuse_nr, refused; /* the next so many */
};

static bool get(void *arg, uint64_t i) { return true; }

static bool reclaim(void *arg, uint64_t i, struct swsgx_page *page)
{
	struct blocks *b = arg;

	if (b->refuse_nr == 0)
		return true;
	b->refuse_nr--;
	b->refused++;
	return false;
}

static bool block(void *arg, uint64_t i, struct swsgx_page *page)
{
	struct blocks *b = arg;

	b->blocks++;
	return true;
}

static int save(void *arg, uint64_t i, struct swsgx_page *page)
{
	struct blocks *b = arg;

	if (b->write_us)
		usleep(b->write_us);
	if (b->fail || b->fail_nr > 0) {
		b->fail_nr -= b->fail_nr > 0;
		b->failures++;
		return -EIO;
	}
	b->writes++;
	b->page[i] = NULL;
	return 0;
}

static void put(void *arg, uint64_t i) {}

static unsigned int running(void *arg)
{
	struct blocks *b = arg;

	return atomic_load(&b->running);
}

static const struct swsgx_owner_ops ops = { .name = "counted",
					    .get = get,
					    .reclaim = reclaim,
					    .block = block,
					    .write = save,
					    .put = put,
					    .running = running };

static int bring(struct blocks *b, uint32_t i)
{
	int r;

	if (b->page[i])
		return 0;
	r = swsgx_page_alloc(b->owner, SWSGX_MAY_RECLAIM, &b->page[i]);
	if (r < 0)
		return r;
	b->allocs++;
	swsgx_page_set_cookie(b->page[i], i);
	swsgx_page_track(b->owner, b->page[i]);
	return 0;
}

static void bring_some(struct blocks *b, uint32_t first, uint32_t nr)
{
	unsigned int failed = 0;

	for (uint32_t i = first; i < first + nr; i++)
		failed += bring(b, i) != 0;
	TAP_MUST(failed == 0, "%u pages", nr);
}

static void give_all(struct blocks *b)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		if (!b->page[i] || swsgx_page_untrack(b->owner, b->page[i]) < 0)
			continue;
		swsgx_page_free(b->owner, b->page[i]);
		b->page[i] = NULL;
		b->frees++;
	}
}

static struct swsgx_epc *create(struct blocks *b)
{
	const struct swsgx_section_config section[] = { { .bytes = 192 << 12, .node = 0 },
							{ .bytes = 63 << 12, .node = 7 },
							{ .bytes = 1 << 12, .node = -1 } };
	struct swsgx_epc_config config = { .section = section, .section_nr = 3 };
	struct swsgx_epc *epc;

	memset(b, 0, sizeof(*b));
	TAP_MUST(swsgx_epc_create(&config, &epc) == 0 &&
			 swsgx_owner_create(swsgx_group_root(epc), &ops, b, &b->owner) == 0,
		 "an EPC of three sections");
	return epc;
}

static void destroy(struct swsgx_epc *epc, struct blocks *b)
{
	char why[100];

	TAP_CHECK(swsgx_epc_audit(epc, 0, why, sizeof(why)) == 0, "the audit holds %s", why);
	swsgx_owner_destroy(b->owner);
	swsgx_epc_destroy(epc);
}

/* ---- numbers ------------------------------------------------------------------------------------------ */

static void check_sections(struct swsgx_epc *epc, const struct blocks *b)
{
	static const struct swsgx_section_info want[] = {
		{ .first = 0, .pages = 192, .node = 0 },
		{ .first = 192, .pages = 63, .node = 7 },
		{ .first = 255, .pages = 1, .node = SWSGX_NO_NODE },
	};
	struct swsgx_section_info is, sum = { 0 };
	struct swsgx_group_info all;
	unsigned int wrong = 0;
	uint32_t i, what;

	for (i = 0; swsgx_section_read(epc, i, &is) == 0; i++) {
		wrong += is.first != want[i].first || is.pages != want[i].pages ||
			 is.node != want[i].node;
		sum.allocs += is.allocs;
		sum.frees += is.frees;
		sum.evictions += is.evictions;
		sum.free += is.free + is.dirty;
		sum.poisoned += is.poisoned;
		for (what = 0; what < SWSGX_COUNT_NR; what++)
			sum.count[what] += is.count[what];
	}
	TAP_CHECK(i == 3 && wrong == 0, "three sections, as they were asked for");
	TAP_CHECK(sum.allocs == b->allocs && sum.evictions == b->writes &&
			  sum.frees == b->writes + b->frees,
		  "what happened in them is what the owner saw");
	swsgx_group_read(swsgx_group_root(epc), &all);
	for (what = 0; what < SWSGX_COUNT_NR; what++)
		wrong += sum.count[what] != all.count[what];
	TAP_CHECK(wrong == 0, "each number of sections sums up to the root's");
	TAP_CHECK(sum.free == PAGES - 1 && sum.poisoned == 1,
		  "all is given back, but one that broke");
}

static void check_owner(const struct blocks *b)
{
	struct swsgx_owner_info info;

	swsgx_owner_read(b->owner, &info);
	TAP_CHECK(info.name == ops.name, "its name is that of its operations, and as long there");
	TAP_CHECK(info.count[SWSGX_ALLOCS] == b->allocs && info.count[SWSGX_FREES] == b->frees &&
			  info.count[SWSGX_EVICTIONS] == b->writes &&
			  info.count[SWSGX_EVICT_FAILURES] == b->failures &&
			  info.count[SWSGX_BLOCKS] == b->blocks,
		  "the owner's numbers are what it saw: %u pages, %u written, %u failures",
		  b->allocs, b->writes, b->failures);
	TAP_CHECK(info.count[SWSGX_STALLS] > 0 &&
			  info.count[SWSGX_DIRECT_RECLAIMS] > info.count[SWSGX_STALLS] &&
			  info.count[SWSGX_STALL_NS] > info.count[SWSGX_STALLS],
		  "it had to wait %lu times, and ran %lu batches", info.count[SWSGX_STALLS],
		  info.count[SWSGX_DIRECT_RECLAIMS]);
}

/* What the owner alone knows of is kept by number, and told by name. */
static void check_own_counts(struct swsgx_epc *epc, struct blocks *b)
{
	static const char *const name[] = { "faults",           "loads",
					    "readaheads",       "readahead_used",
					    "readahead_wasted", "tracks",
					    "conflicts" };
	struct swsgx_owner_info info;
	struct swsgx_group_info all;
	unsigned int wrong = 0;
	uint32_t what;

	for (what = SWSGX_FAULTS; what <= SWSGX_CONFLICTS; what++) {
		wrong += swsgx_owner_count(b->owner, NULL, what, what) != 0;
		wrong += strcmp(swsgx_count_name(what), name[what - SWSGX_FAULTS]) != 0;
	}
	swsgx_owner_read(b->owner, &info);
	swsgx_group_read(swsgx_group_root(epc), &all);
	for (what = SWSGX_FAULTS; what <= SWSGX_CONFLICTS; what++)
		wrong += info.count[what] != what || all.count[what] != what;
	for (; what < SWSGX_COUNT_NR; what++)
		wrong += info.count[what] != 0 || all.count[what] != 0;
	TAP_CHECK(wrong == 0, "what only the owner knows of is told as well");
}

static void test_numbers(void)
{
	static struct blocks b;
	struct swsgx_epc *epc = create(&b);
	struct swsgx_epc_info info;
	struct swsgx_group_info all;
	struct swsgx_page *page;
	unsigned int failed = 0, i;

	for (i = 0; i < 3 * BLOCKS; i++)
		failed += bring(&b, i % BLOCKS) != 0;
	TAP_CHECK(failed == 0 && b.writes > 0, "more than there is room for");
	while (swsgx_page_alloc(b.owner, 0, &page) == 0) {
		swsgx_page_free(b.owner, page);
		b.allocs++;
		b.frees++;
		i += bring(&b, i % BLOCKS) == 0;
	}
	b.fail_nr = 16;
	while (b.page[i % BLOCKS])
		i++;
	TAP_CHECK(bring(&b, i % BLOCKS) == 0 && b.fail_nr == 0, "a batch that fails: another one");
	b.fail = true;
	TAP_CHECK(swsgx_epc_reclaim(epc) == 0 && b.failures > 0, "writes that fail");
	b.fail = false;
	b.refuse_nr = 5;
	swsgx_epc_reclaim(epc);
	swsgx_epc_read(epc, &info);
	TAP_CHECK(b.refused == 5 && info.second_chances == 5 &&
			  info.scanned >= b.blocks + b.refused && info.batches > 0,
		  "what was looked at: %lu pages, of which %lu were kept", info.scanned,
		  info.second_chances);
	TAP_CHECK(info.pages == PAGES && info.section_nr == 3 && info.group_nr == 1 &&
			  info.low > 0 && info.high == 2 * info.low,
		  "an EPC, with watermarks %lu and %lu", info.low, info.high);
	TAP_CHECK(info.free + info.dirty + info.owned + info.tracked + info.in_batch +
					  info.poisoned ==
				  PAGES &&
			  info.owned == 0,
		  "its pages sum up");
	swsgx_group_read(swsgx_group_root(epc), &all);
	TAP_CHECK(all.current_pages == info.tracked && all.peak_pages == PAGES - info.free_lowest &&
			  all.owner_nr == 1 && !strcmp(all.name, "root"),
		  "and are the root's");
	TAP_CHECK(swsgx_epc_poison(epc, 3) == 0 && swsgx_epc_poison(epc, 3) == 0, "one breaks");
	give_all(&b);
	swsgx_epc_read(epc, &info);
	TAP_CHECK(info.machine_checks == 1 && info.poisoned == 1, "once");
	check_sections(epc, &b);
	check_owner(&b);
	check_own_counts(epc, &b);
	destroy(epc, &b);
}

/* ---- pressure ------------------------------------------------------------------------------------------- */

/* All pages are taken: for one more the owner stands still, and evicts a batch, which it then takes. */
static void stand_still(struct blocks *b, uint32_t first, struct swsgx_owner_info *ret_info)
{
	struct swsgx_owner_info before;

	swsgx_owner_read(b->owner, &before);
	bring_some(b, first, 16);
	swsgx_owner_read(b->owner, ret_info);
	for (unsigned int i = 0; i < SWSGX_PRESSURE_NR; i++)
		ret_info->pressure[i].total_ns -= before.pressure[i].total_ns;
}

static void test_pressure(void)
{
	static struct blocks b;
	struct swsgx_epc *epc = create(&b);
	struct swsgx_owner_info busy, idle;
	struct swsgx_group_info all;

	bring_some(&b, 0, PAGES);
	b.write_us = 1000;
	atomic_store(&b.running, 1);
	stand_still(&b, PAGES, &busy);
	TAP_CHECK(busy.pressure[SWSGX_SOME].total_ns >= 16000000 &&
			  busy.pressure[SWSGX_FULL].total_ns == 0,
		  "who waits while others run: %lu us, some",
		  busy.pressure[SWSGX_SOME].total_ns / 1000);
	atomic_store(&b.running, 0);
	stand_still(&b, PAGES + 16, &idle);
	TAP_CHECK(idle.pressure[SWSGX_SOME].total_ns >= 16000000 &&
			  idle.pressure[SWSGX_FULL].total_ns == idle.pressure[SWSGX_SOME].total_ns,
		  "and while nobody does: full as well");
	swsgx_group_read(swsgx_group_root(epc), &all);
	TAP_CHECK(all.pressure[SWSGX_SOME].total_ns == busy.pressure[SWSGX_SOME].total_ns +
							       idle.pressure[SWSGX_SOME].total_ns &&
			  all.pressure[SWSGX_FULL].total_ns == idle.pressure[SWSGX_FULL].total_ns,
		  "and all of it is the group's");
	give_all(&b);
	destroy(epc, &b);
}

/* ---- background reclaim ------------------------------------------------------------------------------- */

struct lent {
	pthread_t thread;
	struct swsgx_epc *epc;
	atomic_int answer; /* 1: none yet */
};

static void *lend(void *arg)
{
	struct lent *lent = arg;

	lent->answer = swsgx_background_run(lent->epc);
	return NULL;
}

/* @nr threads more. */
static void lend_more(struct swsgx_epc *epc, struct lent *lent, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		lent[i].epc = epc;
		lent[i].answer = 1;
		TAP_MUST(pthread_create(&lent[i].thread, NULL, lend, &lent[i]) == 0, "a thread");
	}
}

static unsigned int answers(const struct lent *lent, unsigned int nr, int answer)
{
	unsigned int sum = 0;

	for (unsigned int i = 0; i < nr; i++)
		sum += lent[i].answer == answer;
	return sum;
}

/* So many pages are free, or come to be within ten seconds. */
static bool comes_to(struct swsgx_epc *epc, uint64_t nr)
{
	struct swsgx_epc_info info;

	for (int i = 0; i < 10000; i++) {
		swsgx_epc_read(epc, &info);
		if (info.free + info.dirty >= nr)
			return true;
		usleep(1000);
	}
	return false;
}

static void test_background(void)
{
	static struct blocks b;
	static struct lent lent[BACKGROUND_MAX + 1];
	struct swsgx_epc *epc = create(&b);
	struct swsgx_epc_info before, after;
	struct swsgx_page *page;
	unsigned int i;

	bring_some(&b, 0, PAGES);
	TAP_CHECK(swsgx_page_alloc(b.owner, 0, &page) == -EBUSY, "all are taken");
	swsgx_epc_read(epc, &before);
	lend_more(epc, lent, 1);
	TAP_CHECK(comes_to(epc, before.high), "a thread frees pages up to the high watermark, %lu",
		  before.high);
	swsgx_epc_read(epc, &after);
	TAP_CHECK(after.background_batches > 0 &&
			  after.background_batches == after.batches - before.batches &&
			  after.free <= before.high + 16,
		  "and no more: %lu, in %lu batches", after.free, after.background_batches);
	TAP_CHECK(swsgx_page_alloc(b.owner, 0, &page) == 0, "nobody has to wait");
	swsgx_page_free(b.owner, page);

	lend_more(epc, lent + 1, BACKGROUND_MAX);
	for (i = 0; i < 10000 && answers(lent, BACKGROUND_MAX + 1, -EBUSY) == 0; i++)
		usleep(1000);
	TAP_CHECK(answers(lent, BACKGROUND_MAX + 1, 1) == BACKGROUND_MAX &&
			  answers(lent, BACKGROUND_MAX + 1, -EBUSY) == 1,
		  "eight do so, of nine: one gets -EBUSY");
	swsgx_background_stop(epc);
	for (i = 0; i < BACKGROUND_MAX + 1; i++)
		pthread_join(lent[i].thread, NULL);
	TAP_CHECK(answers(lent, BACKGROUND_MAX + 1, 0) == BACKGROUND_MAX &&
			  swsgx_background_run(epc) == 0,
		  "they return, and a later one at once");
	give_all(&b);
	destroy(epc, &b);
}

int main(void)
{
	test_numbers();
	test_pressure();
	test_background();
	return tap_done();
}
