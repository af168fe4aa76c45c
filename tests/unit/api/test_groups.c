/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Groups of the installed API: each error of making one, changing one and ending one; what a limit means for an
 * allocation that may not reclaim; and the events that are counted for it.
 */
#include <errno.h>
#include <string.h>
#include <swsgx/stats.h>

#include "lib/tap.h"
#include "unit/api/any_owner.h"

enum { PAGES = 64 };

#define NONE SWSGX_NO_LIMIT

static const struct group_row {
	const char *what, *name;
	struct swsgx_group_limits limits;
	int create, set; /* what each answers */
} group_rows[] = {
	{ "no name", "", { NONE, NONE, 0, 100, { 0 } }, -EINVAL, 0 },
	{ "31 letters", "abcdefghijklmnopqrstuvwxyz12345", { NONE, NONE, 0, 100, { 0 } }, 0, 0 },
	{ "32 letters",
	  "abcdefghijklmnopqrstuvwxyz123456",
	  { NONE, NONE, 0, 100, { 0 } },
	  -EINVAL,
	  0 },
	{ "a slash", "a/b", { NONE, NONE, 0, 100, { 0 } }, -EINVAL, 0 },
	{ "every other kind of letter", "aZ09._-", { NONE, NONE, 0, 100, { 0 } }, 0, 0 },
	{ "the root's name", "root", { NONE, NONE, 0, 100, { 0 } }, -EEXIST, 0 },
	{ "a name that is taken", "taken", { NONE, NONE, 0, 100, { 0 } }, -EEXIST, 0 },
	{ "a min above max", "g", { 9, NONE, 10, 100, { 0 } }, -EINVAL, -EINVAL },
	{ "weight 0", "g", { NONE, NONE, 0, 0, { 0 } }, -EINVAL, -EINVAL },
	{ "weight 10001", "g", { NONE, NONE, 0, 10001, { 0 } }, -EINVAL, -EINVAL },
	{ "weight 10000", "g", { NONE, NONE, 0, 10000, { 0 } }, 0, 0 },
	{ "something newer", "g", { NONE, NONE, 0, 100, { 0, 0, 0, 1 } }, -EINVAL, -EINVAL },
	{ "more than there is", "g", { NONE, NONE, PAGES, 100, { 0 } }, -ENOSPC, -ENOSPC },
};

static void check_group(struct swsgx_group *taken, struct swsgx_group *root,
			const struct group_row *row)
{
	struct swsgx_group *const untouched = (void *)&any_ops, *group = untouched;
	int r = swsgx_group_create(root, row->name, &row->limits, &group);

	TAP_CHECK(r == row->create && (r == 0) == (group != untouched), "group, %s: %d", row->what,
		  r);
	if (r == 0)
		TAP_CHECK(swsgx_group_destroy(group) == 0, "and it goes");
	r = swsgx_group_set(taken, &row->limits);
	TAP_CHECK(r == row->set, "set, %s: %d", row->what, r);
	TAP_CHECK(swsgx_group_set(root, &row->limits) == -EINVAL, "never the root");
}

static const struct swsgx_group_limits no_limits = { NONE, NONE, 0, 100, { 0 } };

/* As many groups, and as many levels, as there can be. */
static void test_groups_full(struct swsgx_group *root)
{
	struct swsgx_group *group[255], *below = root, *level[8], *more;
	unsigned int nr = 0;
	char name[16];
	int r = 0;

	for (nr = 0; nr < 8 && r == 0; nr++) {
		snprintf(name, sizeof(name), "level%u", nr);
		r = swsgx_group_create(below, name, &no_limits, &level[nr]);
		below = r == 0 ? level[nr] : below;
	}
	TAP_CHECK(r == -ENOSPC && nr == 8, "seven levels below the root, not eight: %d", r);
	TAP_CHECK(swsgx_group_destroy(level[0]) == -EBUSY, "a group with one below stays");
	for (nr = 7; nr-- > 0;)
		r = swsgx_group_destroy(level[nr]) < 0 ? -1 : r;
	TAP_CHECK(r == -ENOSPC, "from below they all go");
	for (nr = 0, r = 0; nr < 255 && r == 0; nr++) {
		snprintf(name, sizeof(name), "g%u", nr);
		r = swsgx_group_create(root, name, &no_limits, &group[nr]);
	}
	TAP_CHECK(r == 0 && swsgx_group_create(root, "more", &no_limits, &more) == -ENOSPC,
		  "255 groups below the root, not more");
	while (nr-- > 0)
		r = swsgx_group_destroy(group[nr]) < 0 ? -1 : r;
	TAP_CHECK(r == 0, "which all go");
}

/* Promises that were passed on. */
static void test_promises(struct swsgx_group *root)
{
	struct swsgx_group_limits limits = { NONE, NONE, 10, 100, { 0 } };
	struct swsgx_group *parent, *child, *more;

	TAP_MUST(swsgx_group_create(root, "parent", &limits, &parent) == 0 &&
			 swsgx_group_create(parent, "child", &limits, &child) == 0,
		 "a promise is passed on whole");
	limits.min = 1;
	TAP_CHECK(swsgx_group_create(parent, "more", &limits, &more) == -ENOSPC,
		  "there is nothing left to promise");
	limits.min = 9;
	TAP_CHECK(swsgx_group_set(parent, &limits) == -ENOSPC, "what was passed on stays promised");
	limits.min = 11;
	TAP_CHECK(swsgx_group_set(child, &limits) == -ENOSPC, "no more than the parent has");
	TAP_CHECK(swsgx_group_destroy(child) == 0 && swsgx_group_destroy(parent) == 0, "they go");
}

/* A group at its max, and one over its high: who may not reclaim gets nothing. */
static void test_limits(struct swsgx_epc *epc)
{
	struct swsgx_group_limits limits = { 4, NONE, 0, 100, { 0 } };
	struct swsgx_page *page[4], *more;
	struct swsgx_group_info info;
	struct swsgx_owner *owner;
	struct swsgx_group *group;
	unsigned int i;

	TAP_MUST(swsgx_group_create(swsgx_group_root(epc), "limited", &limits, &group) == 0 &&
			 swsgx_owner_create(group, &any_ops, NULL, &owner) == 0,
		 "a group of 4 pages");
	for (i = 0; i < 4 && swsgx_page_alloc(owner, 0, &page[i]) == 0; i++)
		swsgx_page_keep(owner, page[i]);
	TAP_CHECK(i == 4 && swsgx_page_alloc(owner, 0, &more) == -EBUSY, "alloc, at max: -EBUSY");
	TAP_CHECK(swsgx_page_alloc(owner, SWSGX_MAY_RECLAIM, &more) == -ENOMEM &&
			  swsgx_page_alloc(owner, SWSGX_MAY_RECLAIM, &more) == -ENOMEM,
		  "and none of the group's can go: -ENOMEM");
	swsgx_page_track(owner, page[3]);
	TAP_CHECK(swsgx_page_alloc(owner, SWSGX_MAY_RECLAIM, &page[3]) == 0, "one can: 0");
	swsgx_page_keep(owner, page[3]);
	limits = (struct swsgx_group_limits){ .max = NONE, .high = 4, .weight = 100 };
	TAP_CHECK(swsgx_group_set(group, &limits) == 0 &&
			  swsgx_page_alloc(owner, 0, &more) == -EBUSY,
		  "alloc, over high: -EBUSY");
	TAP_CHECK(swsgx_page_alloc(owner, SWSGX_MAY_RECLAIM, &more) == 0,
		  "but with leave to reclaim, even if none can go: 0");
	swsgx_group_read(group, &info);
	TAP_CHECK(info.event[SWSGX_GROUP_MAX] == 3 && info.event[SWSGX_GROUP_OOM] == 2 &&
			  info.event[SWSGX_GROUP_HIGH] == 1 && info.event[SWSGX_GROUP_MIN] == 0 &&
			  info.current_pages == 5 && info.peak_pages == 5,
		  "each counted where it belongs");
	swsgx_page_free(owner, more);
	while (i-- > 0)
		swsgx_page_free(owner, page[i]);
	swsgx_owner_destroy(owner);
	TAP_CHECK(swsgx_group_destroy(group) == 0, "the group goes");
}

static void test_groups(void)
{
	struct swsgx_epc_config config = { .bytes = PAGES * SWSGX_PAGE_SIZE };
	struct swsgx_group *root, *taken;
	struct swsgx_owner *owner;
	struct swsgx_epc_info info;
	struct swsgx_epc *epc;

	TAP_MUST(swsgx_epc_create(&config, &epc) == 0, "an EPC for groups");
	root = swsgx_group_root(epc);
	TAP_MUST(swsgx_group_create(root, "taken", &no_limits, &taken) == 0, "and a group");
	for (size_t i = 0; i < sizeof(group_rows) / sizeof(group_rows[0]); i++)
		check_group(taken, root, &group_rows[i]);
	test_promises(root);
	test_limits(epc);
	TAP_MUST(swsgx_owner_create(taken, &any_ops, NULL, &owner) == 0, "an owner");
	TAP_CHECK(swsgx_group_destroy(taken) == -EBUSY, "which keeps its group");
	swsgx_owner_destroy(owner);
	TAP_CHECK(swsgx_group_destroy(root) == -EBUSY, "the root stays");
	TAP_CHECK(swsgx_group_destroy(taken) == 0, "the group goes");
	test_groups_full(root);
	swsgx_epc_read(epc, &info);
	TAP_CHECK(info.group_nr == 1, "only the root is left");
	swsgx_epc_destroy(epc);
}

int main(void)
{
	test_groups();
	return tap_done();
}
