/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The pages of a batch: whose they are, who was asked, and where they are when somebody says no. */
#include <string.h>

#include "epc/collect_priv.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { PAGES = 64, SET = 60 };

static struct fake_machine m;
static struct fake_owner *owner;
static struct batch *batch;
static unsigned int calls[FAKE_CALL_NR];

static void count_op(struct fake_owner *unused, enum fake_op op)
{
	(void)unused;
	calls[op]++;
}

/* What is looked at for one batch, while each call of @refused says no. */
static unsigned int collect(struct epc_group *top, enum fake_op refused)
{
	struct collect collect = { .top = top };
	unsigned int looked;

	memset(calls, 0, sizeof(calls));
	owner->on_op = count_op;
	if (refused < FAKE_CALL_NR)
		owner->fail_every[refused] = 1;
	looked = collect_pages(m.epc, batch, &collect);
	if (refused < FAKE_CALL_NR)
		owner->fail_every[refused] = 0;
	return looked;
}

static bool all_are(enum batch_phase phase, enum epc_state state)
{
	for (uint32_t i = 0; i < batch->nr; i++) {
		if (batch->entry[i].phase != phase ||
		    page_state(&m.epc->pages[batch->entry[i].nr]) != state)
			return false;
	}
	return true;
}

static void give_back(void)
{
	for (uint32_t i = 0; i < batch->nr; i++)
		batch_put_back(m.epc, &batch->entry[i], POLICY_REFERENCED, true);
	batch->nr = 0;
}

static void check_kept(const char *what)
{
	unsigned int lost = 0;
	char why[200];

	TAP_CHECK(epc_audit(m.epc, false, why, sizeof(why)) == 0, "%s: the audit holds %s", what,
		  why);
	for (uint32_t i = 0; i < SET; i++)
		lost += !fake_use_surely(owner, i);
	TAP_CHECK(lost == 0 && owner->wrong == 0 && fake_resident(owner) == SET,
		  "%s: every page is where it was", what);
}

static void test_all_agree(void)
{
	unsigned int looked = collect(epc_group_root(m.epc), FAKE_CALL_NR);

	TAP_CHECK(batch->nr == m.epc->batch_nr && looked >= batch->nr &&
			  all_are(BATCH_READY, EPC_PAGE_IN_BATCH),
		  "%u pages, of %u that were looked at", batch->nr, looked);
	TAP_CHECK(calls[FAKE_GET] == batch->nr && calls[FAKE_RECLAIM] == batch->nr &&
			  calls[FAKE_BLOCK] + calls[FAKE_WRITE] + calls[FAKE_PUT] == 0,
		  "their owner is held, and asked once for each");
	TAP_CHECK(m.epc->in_batch_nr == batch->nr, "they are told of as in a batch");
	give_back();
	TAP_CHECK(calls[FAKE_PUT] == calls[FAKE_GET] && m.epc->in_batch_nr == 0,
		  "who is put back is let go of");
	check_kept("all agree");
}

static void test_not_held(void)
{
	unsigned int looked = collect(epc_group_root(m.epc), FAKE_GET);

	TAP_CHECK(batch->nr == 0 && looked >= SET && m.epc->in_batch_nr == 0,
		  "an owner that cannot be held: none of %u", looked);
	TAP_CHECK(calls[FAKE_GET] >= SET && calls[FAKE_RECLAIM] + calls[FAKE_PUT] == 0,
		  "it is asked nothing, and nothing is undone");
	check_kept("not held");
}

static void test_second_chance(void)
{
	uint64_t before = m.epc->counters.second_chances;
	unsigned int looked = collect(epc_group_root(m.epc), FAKE_RECLAIM);

	TAP_CHECK(batch->nr == 0 && looked >= SET && looked < 6 * SET && m.epc->in_batch_nr == 0,
		  "an owner that lets none go: none of %u", looked);
	TAP_CHECK(calls[FAKE_RECLAIM] > 0 && calls[FAKE_PUT] == calls[FAKE_GET] &&
			  m.epc->counters.second_chances == before + calls[FAKE_RECLAIM],
		  "each of %u has a second chance", calls[FAKE_RECLAIM]);
	check_kept("second chance");
}

static void test_other_group(void)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct epc_group *group;

	TAP_MUST(epc_group_create(epc_group_root(m.epc), "empty", &limits, &group) == 0, "a group");
	TAP_CHECK(collect(group, FAKE_CALL_NR) == 0 && batch->nr == 0 && calls[FAKE_GET] == 0,
		  "for a group without pages nobody else is asked");
	epc_group_destroy(group);
	check_kept("another group");
}

/* The analysis does not look into TAP_MUST(). */
LOCK_ATTR(no_thread_safety_analysis) int main(void)
{
	unsigned int failed = 0;

	fake_machine_create(&m, PAGES, "upstream", NULL, 0);
	owner = fake_owner_create(m.epc, 1, SET, true);
	for (uint32_t i = 0; i < SET; i++)
		failed += !fake_use_surely(owner, i);
	batch = batch_at(m.epc, 0);
	TAP_MUST(failed == 0 && batch && lock_try(&batch->lock), "an EPC with %u pages in use",
		 SET);
	test_all_agree();
	test_not_held();
	test_second_chance();
	test_other_group();
	lock_release(&batch->lock);
	owner->on_op = NULL;
	fake_owner_put(owner);
	fake_machine_destroy(&m);
	return tap_done();
}
