/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* One batch: the order of its passes, what it tells, and whose its pages are then. */
#include <errno.h>

#include "epc/epc_priv.h"
#include "epc/reclaim_priv.h"
#include "lib/bare_owner.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { PAGES = 64, SET = 60, MIN = 20 };

struct scene {
	struct fake_machine m;
	struct epc_group *root;
	struct fake_owner *owner;
};

static void scene_init(struct scene *s)
{
	unsigned int failed = 0;

	fake_machine_create(&s->m, PAGES, "upstream", NULL, 0);
	s->root = epc_group_root(s->m.epc);
	s->owner = fake_owner_create(s->m.epc, 1, SET, true);
	for (uint32_t i = 0; i < SET; i++)
		failed += !fake_use_surely(s->owner, i);
	TAP_MUST(failed == 0, "an EPC with %u pages in use", SET);
	/* Every page has been given its second chance. */
	for (uint32_t i = 0; i < 2; i++)
		(void)epc_reclaim(s->m.epc);
}

static void scene_fini(struct scene *s)
{
	unsigned int failed = 0;
	char why[200];

	for (uint32_t i = 0; i < SET; i++)
		failed += !fake_use_surely(s->owner, i);
	TAP_CHECK(failed == 0 && s->owner->wrong == 0, "every page has its contents");
	TAP_CHECK(epc_audit(s->m.epc, false, why, sizeof(why)) == 0, "the audit holds %s", why);
	fake_owner_put(s->owner);
	fake_machine_destroy(&s->m);
}

/* ---- the passes ------------------------------------------------------------------------------ */

static enum fake_op seen[1024];
static unsigned int seen_nr;

static void note_op(struct fake_owner *owner, enum fake_op op)
{
	if (seen_nr < sizeof(seen) / sizeof(seen[0]))
		seen[seen_nr++] = op;
}

/* The first and the last call of @op; false: there was none. */
static bool span(enum fake_op op, unsigned int *ret_first, unsigned int *ret_last)
{
	bool any = false;

	for (unsigned int i = 0; i < seen_nr; i++) {
		if (seen[i] != op)
			continue;
		*ret_first = any ? *ret_first : i;
		*ret_last = i;
		any = true;
	}
	return any;
}

static void test_passes(void)
{
	unsigned int first[FAKE_CALL_NR] = { 0 }, last[FAKE_CALL_NR] = { 0 };
	struct reclaim_result result;
	struct scene s;
	uint32_t left;
	bool all = true;
	int freed;

	scene_init(&s);
	seen_nr = 0;
	s.owner->on_op = note_op;
	freed = reclaim_batch(s.m.epc, s.root, NULL, &result);
	s.owner->on_op = NULL;
	for (enum fake_op op = 0; op < FAKE_CALL_NR; op++)
		all &= span(op, &first[op], &last[op]);
	TAP_CHECK(all && freed == EPC_BATCH_MAX && result.unwritten == 0 && !result.page,
		  "a batch: %d pages", freed);
	TAP_CHECK(first[FAKE_GET] < first[FAKE_RECLAIM] && last[FAKE_RECLAIM] < first[FAKE_BLOCK] &&
			  last[FAKE_BLOCK] < first[FAKE_WRITE] && last[FAKE_WRITE] < last[FAKE_PUT],
		  "all are asked before any is blocked, and all are blocked before any is written");
	left = fake_resident(s.owner);
	s.owner->fail_every[FAKE_WRITE] = 1;
	freed = reclaim_batch(s.m.epc, s.root, NULL, &result);
	s.owner->fail_every[FAKE_WRITE] = 0;
	TAP_CHECK(freed == 0 && result.unwritten == left && result.looked >= left,
		  "a store that takes none: %u of them are told", result.unwritten);
	scene_fini(&s);
}

static int in_op_batch, in_op_alloc;

static void ask_in_op(struct fake_owner *owner, enum fake_op op)
{
	struct reclaim_result result;
	struct epc_page *page;

	if (op != FAKE_RECLAIM || in_op_batch)
		return;
	in_op_batch = reclaim_batch(owner->epc, epc_group_root(owner->epc), NULL, &result);
	while ((in_op_alloc = epc_alloc(owner->epc, owner->epc_owner, EPC_MAY_RECLAIM, &page)) == 0)
		epc_keep(owner->epc, page);
}

/* An operation that needs a page gets a free one, or none. */
static void test_in_operation(void)
{
	struct scene s;

	scene_init(&s);
	in_op_batch = 0;
	s.owner->on_op = ask_in_op;
	(void)epc_reclaim(s.m.epc);
	s.owner->on_op = NULL;
	TAP_CHECK(in_op_batch == -EAGAIN && in_op_alloc == -EBUSY,
		  "no batch in the midst of a batch: %d, and nobody waits there: %d", in_op_batch,
		  in_op_alloc);
	fake_machine_destroy(&s.m);
}

/* ---- whose the pages are --------------------------------------------------------------------- */

static void test_exchange(void)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct reclaim_result result;
	struct epc_group *group;
	struct fake_owner *owner;
	uint32_t free_nr, i;
	struct scene s;
	int freed;

	scene_init(&s);
	limits.min_pages = MIN;
	TAP_MUST(epc_group_create(s.root, "promised", &limits, &group) == 0, "a group");
	owner = fake_owner_create_in(group, s.m.epc, 2, SET, true);
	for (i = 0; i < MIN + 2; i++)
		(void)fake_use_surely(owner, i);
	freed = reclaim_batch(s.m.epc, group, owner->epc_owner, &result);
	TAP_CHECK(freed == 2 && !result.page && group_current(group) == MIN,
		  "a batch of one's own ends at what was promised: %d", freed);
	free_nr = section_free_nr(s.m.epc);
	freed = reclaim_batch(s.m.epc, group, owner->epc_owner, &result);
	TAP_MUST(freed == 1 && result.page && page_owner(result.page) == owner->epc_owner,
		 "below that one page goes, and the taker has one for it");
	TAP_CHECK(group_current(group) == MIN && section_free_nr(s.m.epc) == free_nr,
		  "which is never free");
	epc_free(s.m.epc, result.page);
	limits.min_pages = limits.max_pages = MIN - 5;
	TAP_CHECK(epc_group_set(group, &limits) == 0 &&
			  reclaim_batch(s.m.epc, group, owner->epc_owner, &result) == 4 &&
			  !result.page && group_current(group) == MIN - 5,
		  "what is over a max that was lowered goes for nothing");
	fake_owner_put(owner);
	scene_fini(&s);
}

/* The page that goes is a sibling's: the taker's own group, which is at its max, does not get it. */
static void test_exchange_at_max(void)
{
	enum { EACH = 6 };
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct epc_group *outer, *full, *other;
	struct reclaim_result result = { 0 };
	struct fake_owner *taker, *giver;
	unsigned int tries, i;
	struct scene s;
	int freed = 0;

	scene_init(&s);
	limits.min_pages = 2 * EACH;
	TAP_MUST(epc_group_create(s.root, "outer", &limits, &outer) == 0, "a promise");
	limits = EPC_GROUP_UNLIMITED;
	TAP_MUST(epc_group_create(outer, "other", &limits, &other) == 0, "a group in it");
	limits.max_pages = EACH;
	TAP_MUST(epc_group_create(outer, "full", &limits, &full) == 0, "and one with a max");
	taker = fake_owner_create_in(full, s.m.epc, 2, SET, true);
	giver = fake_owner_create_in(other, s.m.epc, 3, SET, true);
	for (i = 0; i < EACH; i++) {
		(void)fake_use_surely(taker, i);
		(void)fake_use_surely(giver, i);
	}
	taker->fail_every[FAKE_GET] = 1;
	for (tries = 0; tries < 50 && freed == 0; tries++)
		freed = reclaim_batch(s.m.epc, outer, taker->epc_owner, &result);
	TAP_CHECK(freed == 1 && !result.page && group_current(full) == EACH &&
			  group_current(other) == EACH - 1,
		  "nobody is given a page in exchange that goes beyond his group's max");
	fake_owner_put(taker);
	fake_owner_put(giver);
	scene_fini(&s);
}

int main(void)
{
	test_passes();
	test_in_operation();
	test_exchange();
	test_exchange_at_max();
	return tap_done();
}
