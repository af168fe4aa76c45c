/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Owners that end while others reclaim from them, in the four steps of docs/owners.md: behind the last of them no operation
 * comes any more.  And blocks that two threads use while a third evicts them, by the three rules there.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <swsgx/epc.h>

#include "lib/tap.h"

enum { PAGES = 32, BLOCKS = 40, LIVES = 2000, ALIVE = 0x11fe, USES = 20000 };

static struct swsgx_epc *epc;
static atomic_bool stop;
static atomic_uint late; /* operations of an owner that is no more */

struct owner {
	atomic_uint alive;
	pthread_mutex_t lock;
	bool going;
	atomic_uint gets, puts;
	struct swsgx_owner *owner;
	struct swsgx_page *page[BLOCKS];
	unsigned int saved[BLOCKS];
};

static bool get(void *arg, uint64_t i)
{
	struct owner *o = arg;
	bool yes;

	late += o->alive != ALIVE;
	pthread_mutex_lock(&o->lock);
	yes = !o->going;
	o->gets += yes;
	pthread_mutex_unlock(&o->lock);
	return yes;
}

static bool may_go(void *arg, uint64_t i, struct swsgx_page *page)
{
	struct owner *o = arg;

	late += o->alive != ALIVE;
	return true;
}

static int save(void *arg, uint64_t i, struct swsgx_page *page)
{
	struct owner *o = arg;

	late += o->alive != ALIVE;
	pthread_mutex_lock(&o->lock);
	o->saved[i] = *(unsigned int *)swsgx_page_bytes(o->owner, page);
	o->page[i] = NULL;
	pthread_mutex_unlock(&o->lock);
	return 0;
}

static void put(void *arg, uint64_t i)
{
	struct owner *o = arg;

	late += o->alive != ALIVE;
	o->puts++;
}

static const struct swsgx_owner_ops ops = {
	.name = "mortal", .get = get, .reclaim = may_go, .block = may_go, .write = save, .put = put
};

static int create(struct owner *o)
{
	memset(o, 0, sizeof(*o));
	o->alive = ALIVE;
	pthread_mutex_init(&o->lock, NULL);
	return swsgx_owner_create(swsgx_group_root(epc), &ops, o, &o->owner);
}

/* Block @i counts its uses. */
static int use(struct owner *o, unsigned int i)
{
	struct swsgx_page *page = NULL;
	int r;

	pthread_mutex_lock(&o->lock);
	while (!o->page[i]) {
		pthread_mutex_unlock(&o->lock);
		r = swsgx_page_alloc(o->owner, SWSGX_MAY_RECLAIM, &page);
		if (r < 0)
			return r;
		pthread_mutex_lock(&o->lock);
		if (o->page[i]) {
			swsgx_page_free(o->owner, page); /* another thread was quicker */
			continue;
		}
		*(unsigned int *)swsgx_page_bytes(o->owner, page) = o->saved[i];
		swsgx_page_set_cookie(page, i);
		o->page[i] = page;
		swsgx_page_track(o->owner, page);
	}
	++*(unsigned int *)swsgx_page_bytes(o->owner, o->page[i]);
	swsgx_page_touch(o->owner, o->page[i]);
	pthread_mutex_unlock(&o->lock);
	return 0;
}

static int give_up(struct owner *o, unsigned int i)
{
	int r = 0;

	pthread_mutex_lock(&o->lock);
	if (o->page[i])
		r = swsgx_page_untrack(o->owner, o->page[i]);
	if (o->page[i] && r == 0) {
		swsgx_page_free(o->owner, o->page[i]);
		o->page[i] = NULL;
	}
	pthread_mutex_unlock(&o->lock);
	return r;
}

static void destroy(struct owner *o)
{
	pthread_mutex_lock(&o->lock);
	o->going = true;
	pthread_mutex_unlock(&o->lock);
	for (unsigned int i = 0; i < BLOCKS; i++) {
		while (give_up(o, i) == -EBUSY)
			sched_yield();
	}
	while (o->puts != o->gets)
		sched_yield();
	swsgx_owner_destroy(o->owner);
	o->alive = 0;
	pthread_mutex_destroy(&o->lock);
}

static void *reclaim(void *arg)
{
	while (!stop) {
		if (swsgx_epc_reclaim(epc) == 0)
			sched_yield();
	}
	return NULL;
}

static void test_lives(void)
{
	static struct owner o;
	unsigned int failed = 0, evicted = 0;
	pthread_t thread[2];

	pthread_create(&thread[0], NULL, reclaim, NULL);
	pthread_create(&thread[1], NULL, reclaim, NULL);
	for (unsigned int n = 0; n < LIVES; n++) {
		failed += create(&o) != 0;
		for (unsigned int i = 0; i < BLOCKS; i++)
			failed += use(&o, i) != 0;
		destroy(&o);
		evicted += o.puts > 0;
	}
	stop = true;
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	TAP_CHECK(failed == 0 && late == 0, "%u owners ended, and no operation came after that",
		  LIVES);
	TAP_CHECK(evicted > 0, "while others reclaimed from %u of them", evicted);
}

static void *use_all(void *arg)
{
	struct owner *o = arg;
	uintptr_t failed = 0;

	for (unsigned int n = 0; n < USES; n++)
		failed += use(o, n % BLOCKS) != 0;
	return (void *)failed;
}

static void test_threads(void)
{
	static struct owner o;
	pthread_t thread[3];
	unsigned int wrong = 0;
	void *failed[2];
	char why[100] = "";
	int faults = 0;

	TAP_MUST(create(&o) == 0, "an owner with two threads");
	stop = false;
	pthread_create(&thread[2], NULL, reclaim, NULL);
	pthread_create(&thread[0], NULL, use_all, &o);
	pthread_create(&thread[1], NULL, use_all, &o);
	for (unsigned int n = 0; n < 200 && faults == 0; n++)
		faults = swsgx_epc_audit(epc, SWSGX_AUDIT_LIVE, why, sizeof(why));
	TAP_CHECK(faults == 0, "the audit holds while they run %s", why);
	pthread_join(thread[0], &failed[0]);
	pthread_join(thread[1], &failed[1]);
	stop = true;
	pthread_join(thread[2], NULL);
	for (unsigned int i = 0; i < BLOCKS; i++) {
		if (o.page[i])
			o.saved[i] = *(unsigned int *)swsgx_page_bytes(o.owner, o.page[i]);
		wrong += o.saved[i] != 2 * USES / BLOCKS;
	}
	TAP_CHECK(!failed[0] && !failed[1] && wrong == 0 && o.puts > 0,
		  "every use of theirs counts, over %u evictions", o.puts);
	destroy(&o);
}

int main(void)
{
	struct swsgx_epc_config config = { .bytes = PAGES * SWSGX_PAGE_SIZE };
	char why[100];

	TAP_MUST(swsgx_epc_create(&config, &epc) == 0, "an EPC");
	test_lives();
	test_threads();
	TAP_CHECK(swsgx_epc_audit(epc, 0, why, sizeof(why)) == 0, "the audit holds %s", why);
	swsgx_epc_destroy(epc);
	return tap_done();
}
