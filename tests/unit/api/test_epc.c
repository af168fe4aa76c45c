/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The installed API: what each function returns, and what each operation is told. */
#include <errno.h>
#include <string.h>
#include <swsgx/stats.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/tap.h"
#include "unit/api/any_owner.h"

enum { PAGES = 64, BLOCKS = 100 };

struct blocks {
	struct swsgx_owner *owner;
	struct swsgx_page *page[BLOCKS];
	unsigned char saved[BLOCKS];
	unsigned int gets, puts, reclaims, blocks, writes, bad;
	bool refuse_get, refuse_reclaim, refuse_block, fail_write;
};

static bool get(void *arg, uint64_t i)
{
	struct blocks *b = arg;

	b->gets += !b->refuse_get;
	b->bad += i >= BLOCKS;
	return !b->refuse_get;
}

static bool reclaim(void *arg, uint64_t i, struct swsgx_page *page)
{
	struct blocks *b = arg;

	b->reclaims++;
	b->bad += b->page[i] != page;
	return !b->refuse_reclaim;
}

static bool block(void *arg, uint64_t i, struct swsgx_page *page)
{
	struct blocks *b = arg;

	b->blocks++;
	b->bad += b->page[i] != page;
	return !b->refuse_block;
}

static int save(void *arg, uint64_t i, struct swsgx_page *page)
{
	struct blocks *b = arg;

	if (b->fail_write)
		return -EIO;
	b->writes++;
	b->saved[i] = *(unsigned char *)swsgx_page_bytes(b->owner, page);
	b->page[i] = NULL;
	return 0;
}

static void put(void *arg, uint64_t i)
{
	struct blocks *b = arg;

	b->puts++;
	b->bad += i >= BLOCKS;
}

static const struct swsgx_owner_ops ops = {
	.name = "blocks", .get = get, .reclaim = reclaim, .block = block, .write = save, .put = put
};

static int use(struct blocks *b, unsigned int i, unsigned int flags)
{
	unsigned char *bytes;
	int r = 0;

	if (b->page[i]) {
		swsgx_page_touch(b->owner, b->page[i]);
	} else {
		r = swsgx_page_alloc(b->owner, flags, &b->page[i]);
		if (r < 0) {
			b->page[i] = NULL;
			return r;
		}
		memset(swsgx_page_bytes(b->owner, b->page[i]), b->saved[i], SWSGX_PAGE_SIZE);
		swsgx_page_set_cookie(b->page[i], i);
		swsgx_page_track(b->owner, b->page[i]);
	}
	bytes = swsgx_page_bytes(b->owner, b->page[i]);
	b->bad += bytes[0] != bytes[SWSGX_PAGE_SIZE - 1];
	memset(bytes, bytes[0] + 1, SWSGX_PAGE_SIZE);
	return r;
}

/* An operation that asks for a page in the midst of a batch: it gets none by another batch, at any depth. */
static struct swsgx_owner *nested_owner;
static int nested_result;

static int save_and_alloc(void *arg, uint64_t i, struct swsgx_page *page)
{
	struct swsgx_page *more;

	nested_result = swsgx_page_alloc(nested_owner, SWSGX_MAY_RECLAIM, &more);
	if (nested_result == 0)
		swsgx_page_free(nested_owner, more);
	return swsgx_epc_reclaim(arg) > 0 ? -1 : 0;
}

static void test_nested(void)
{
	struct swsgx_owner_ops nested_ops = any_ops;
	struct swsgx_epc_config config = { .bytes = 32 * SWSGX_PAGE_SIZE };
	struct swsgx_page *page;
	struct swsgx_epc *epc;
	unsigned int i, had = 0;

	nested_ops.write = save_and_alloc;
	TAP_MUST(swsgx_epc_create(&config, &epc) == 0 &&
			 swsgx_owner_create(swsgx_group_root(epc), &nested_ops, epc,
					    &nested_owner) == 0,
		 "an owner whose operations ask for pages");
	for (i = 0; i < 100; i++) {
		if (swsgx_page_alloc(nested_owner, SWSGX_MAY_RECLAIM, &page) < 0)
			continue;
		swsgx_page_track(nested_owner, page);
		had++;
	}
	TAP_CHECK(had == 100 && nested_result == -EBUSY,
		  "has -EBUSY there (%d), and the eviction goes on: %u pages", nested_result, had);
	while (swsgx_epc_reclaim(epc) > 0)
		;
	swsgx_owner_destroy(nested_owner);
	swsgx_epc_destroy(epc);
}

static uint32_t pages_of(struct swsgx_group *group)
{
	struct swsgx_group_info info;

	swsgx_group_read(group, &info);
	return info.current_pages;
}

static void test_pages(struct swsgx_epc *epc, struct blocks *b)
{
	unsigned int i, failed = 0, full = 0;
	struct swsgx_group_info all;
	char why[100];

	for (i = 0; i < 10 * BLOCKS; i++)
		failed += use(b, i % BLOCKS, SWSGX_MAY_RECLAIM) != 0;
	TAP_CHECK(failed == 0 && b->bad == 0 && b->writes > 0, "%u pages were written", b->writes);
	for (i = 0; i < BLOCKS; i++)
		failed += (b->page[i] ? *(unsigned char *)swsgx_page_bytes(b->owner, b->page[i])
				      : b->saved[i]) != 10;
	TAP_CHECK(failed == 0, "none of them was lost");
	TAP_CHECK(b->gets == b->puts && b->reclaims == b->gets && b->blocks == b->writes,
		  "each operation in its turn");
	swsgx_group_read(swsgx_group_root(epc), &all);
	TAP_CHECK(all.count[SWSGX_EVICTIONS] == b->writes && all.count[SWSGX_BLOCKS] == b->blocks,
		  "and counted");
	for (i = 0; i < BLOCKS; i++)
		full |= use(b, i, 0) == -EBUSY;
	TAP_CHECK(full, "without leave to reclaim: -EBUSY");
	TAP_CHECK(swsgx_epc_audit(epc, 0, why, sizeof(why)) == 0, "the audit holds %s", why);
	TAP_CHECK(swsgx_epc_reclaim(epc) > 0, "a batch when asked for");
}

static void test_refusals(struct swsgx_epc *epc, struct blocks *b)
{
	unsigned int writes = b->writes, i;

	for (i = 0; use(b, i, 0) == 0 && i < BLOCKS - 1; i++)
		;
	b->refuse_get = true;
	TAP_CHECK(use(b, i, SWSGX_MAY_RECLAIM) == -ENOMEM, "an owner that is going");
	b->refuse_get = false;
	b->refuse_reclaim = true;
	TAP_CHECK(use(b, i, SWSGX_MAY_RECLAIM) == -ENOMEM, "pages in use");
	b->refuse_reclaim = false;
	b->refuse_block = true;
	TAP_CHECK(use(b, i, SWSGX_MAY_RECLAIM) == -ENOMEM, "pages that cannot be blocked");
	b->refuse_block = false;
	b->fail_write = true;
	TAP_CHECK(use(b, i, SWSGX_MAY_RECLAIM) == -ENOMEM && b->writes == writes,
		  "pages that cannot be written");
	b->fail_write = false;
	TAP_CHECK(use(b, i, SWSGX_MAY_RECLAIM) == 0 && b->gets == b->puts && b->bad == 0,
		  "and all are as they were");
	for (i = 0; i < BLOCKS; i++) {
		if (b->page[i] && swsgx_page_untrack(b->owner, b->page[i]) == 0) {
			swsgx_page_free(b->owner, b->page[i]);
			b->page[i] = NULL;
		}
	}
	TAP_CHECK(pages_of(swsgx_group_root(epc)) == 0, "all are given back");
}

static void test_groups(struct swsgx_epc *epc)
{
	struct swsgx_group_limits limits = { SWSGX_NO_LIMIT, SWSGX_NO_LIMIT, 10, 100, { 0 } };
	struct swsgx_group_info info;
	struct swsgx_group *group, *below;
	struct swsgx_owner *owner;
	struct swsgx_page *page[6];
	static struct blocks none;
	unsigned int i, nr = 0;

	TAP_CHECK(swsgx_group_create(swsgx_group_root(epc), "a/b", &limits, &group) == -EINVAL,
		  "no name");
	TAP_CHECK(swsgx_group_create(swsgx_group_root(epc), "g", &limits, &group) == 0, "a group");
	TAP_CHECK(swsgx_group_create(group, "g", &limits, &below) == -EEXIST, "its name is taken");
	limits.min = 11;
	TAP_CHECK(swsgx_group_create(group, "h", &limits, &below) == -ENOSPC,
		  "more than was promised cannot be passed on");
	limits.min = 0;
	limits.max = 5;
	TAP_CHECK(swsgx_group_set(group, &limits) == 0 &&
			  swsgx_group_set(swsgx_group_root(epc), &limits) == -EINVAL,
		  "limits change, but for the root's");
	TAP_MUST(swsgx_owner_create(group, &ops, &none, &owner) == 0, "an owner in it");
	TAP_CHECK(swsgx_group_destroy(group) == -EBUSY, "which keeps it");
	for (i = 0; i < 6; i++)
		nr += swsgx_page_alloc(owner, SWSGX_MAY_RECLAIM, &page[i]) == 0;
	TAP_CHECK(nr == 5 && pages_of(group) == 5, "no more than max");
	for (i = 0; i < 5; i++)
		swsgx_page_free(owner, page[i]);
	swsgx_owner_destroy(owner);
	swsgx_group_read(group, &info);
	TAP_CHECK(info.count[SWSGX_ALLOCS] == 5 && info.peak_pages == 5 &&
			  info.event[SWSGX_GROUP_OOM] == 1 && info.limits.max == 5 &&
			  !strcmp(info.name, "g"),
		  "it remembers");
	TAP_CHECK(swsgx_group_destroy(group) == 0, "and goes");
}

/* A page that a child took and the parent gives back. */
static void test_fork(struct swsgx_epc *epc)
{
	struct shared {
		struct swsgx_owner *owner;
		struct swsgx_page *page;
	} *s = swsgx_shared_alloc(epc, sizeof(*s));
	static struct blocks none;
	int status;

	TAP_MUST(s && swsgx_owner_create(swsgx_group_root(epc), &ops, &none, &s->owner) == 0,
		 "shared memory");
	if (fork() == 0) {
		if (swsgx_page_alloc(s->owner, 0, &s->page) < 0)
			_exit(1);
		strcpy(swsgx_page_bytes(s->owner, s->page), "from the child");
		_exit(0);
	}
	wait(&status);
	TAP_CHECK(status == 0 && !strcmp(swsgx_page_bytes(s->owner, s->page), "from the child"),
		  "a page of a child is the parent's too");
	swsgx_page_free(s->owner, s->page);
	swsgx_owner_destroy(s->owner);
}

/* Pages that came before they were asked for, and then were, have been used once; others that were touched, twice. */
static void test_ahead(void)
{
	struct swsgx_epc_config config = { .bytes = 64 * SWSGX_PAGE_SIZE, .policy = "clock" };
	struct blocks b = { 0 };
	struct swsgx_epc *epc;
	unsigned int ahead = 0, got = 0, i;

	TAP_MUST(swsgx_epc_create(&config, &epc) == 0 &&
			 swsgx_owner_create(swsgx_group_root(epc), &ops, &b, &b.owner) == 0,
		 "an EPC with CLOCK");
	for (i = 0; i < 64; i++) {
		got += swsgx_page_alloc(b.owner, 0, &b.page[i]) == 0;
		swsgx_page_set_cookie(b.page[i], i);
		if (i % 2)
			swsgx_page_track_ahead(b.owner, b.page[i]);
		else
			swsgx_page_track(b.owner, b.page[i]);
		swsgx_page_touch(b.owner, b.page[i]);
	}
	swsgx_epc_reclaim(epc);
	for (i = 0; i < 64; i++)
		ahead += !b.page[i] && i % 2;
	TAP_CHECK(got == 64 && b.writes > 0 && ahead == b.writes,
		  "of %u that go %u were read ahead", b.writes, ahead);
	while (swsgx_epc_reclaim(epc) > 0)
		;
	swsgx_owner_destroy(b.owner);
	swsgx_epc_destroy(epc);
}

int main(void)
{
	struct swsgx_epc_config config = { .bytes = PAGES * SWSGX_PAGE_SIZE };
	static struct blocks b;
	struct swsgx_epc *epc;

	test_nested();
	test_ahead();
	TAP_MUST(swsgx_epc_create(&config, &epc) == 0 &&
			 swsgx_owner_create(swsgx_group_root(epc), &ops, &b, &b.owner) == 0,
		 "an EPC and an owner");
	test_pages(epc, &b);
	test_refusals(epc, &b);
	swsgx_owner_destroy(b.owner);
	test_groups(epc);
	test_fork(epc);
	swsgx_epc_destroy(epc);
	return tap_done();
}
