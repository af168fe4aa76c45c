/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Life: opening, references, ends at bad moments, several threads, several processes.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/epc.h"
#include "epc/window.h"
#include "lib/tap.h"
#include "lib/world.h"

static void test_open(void)
{
	struct encl *one, *two, *found;
	struct world w;

	world_init(&w, 16, 0);
	TAP_MUST(encl_open(w.registry, &one) == 0 && encl_open(w.registry, &two) == 0,
		 "open twice");
	found = encl_registry_get(w.registry, 1);
	TAP_CHECK(found == two, "the registry knows the second");
	encl_put(found);
	TAP_CHECK(!encl_registry_get(w.registry, 2), "and no third");
	TAP_CHECK(!encl_created(one) && !encl_initialized(one), "neither is created");
	TAP_CHECK(encl_ioctl_begin(one) && !encl_ioctl_begin(one), "one ioctl at a time");
	TAP_CHECK(encl_ioctl_begin(two), "on each");
	encl_ioctl_end(one);
	TAP_CHECK(encl_ioctl_begin(one), "then the next");
	encl_ioctl_end(one);
	encl_ioctl_end(two);
	encl_get(two);
	encl_put(two);
	encl_put(one);
	found = encl_registry_get(w.registry, 0);
	TAP_CHECK(found == two, "the second lives on by itself");
	encl_put(found);
	encl_put(two);
	TAP_CHECK(encl_put(NULL) == NULL, "put takes NULL");
	world_fini(&w, "open");
}

static void test_create_fails(void)
{
	struct world w;
	struct build b;
	int r;

	world_init(&w, 16, 0);
	r = build_create(&b, &w, 3 * SGX_PAGE_SIZE, 0);
	TAP_CHECK(r == -EINVAL, "a size that is no power of two is -EINVAL (%d)", r);
	build_fini(&b);
	r = build_create(&b, &w, 1ull << 62, 0);
	TAP_CHECK(r == -EIO, "a size that ECREATE refuses is -EIO (%d)", r);
	TAP_CHECK(!encl_created(b.encl), "then it is not created");
	build_fini(&b);
	r = build_create(&b, &w, 32 * SGX_PAGE_SIZE, 1ull << 40);
	TAP_CHECK(r == -EIO, "an attribute that does not exist is -EIO (%d)", r);
	build_fini(&b);
	world_fini(&w, "create fails");
}

/* ---- threads ----------------------------------------------------------------------------------- */

enum { THREADS = 4, SHARED_NR = 48, TOUCHES = 3000 };

struct shared {
	struct build *b;
	pthread_mutex_t locks[SHARED_NR];
	uint64_t versions[SHARED_NR];
	atomic_uint bad;
};

static void *thread_touch(void *arg)
{
	struct shared *s = arg;
	unsigned int seed = (unsigned int)(uintptr_t)pthread_self();

	for (int i = 0; i < TOUCHES; i++) {
		uint64_t idx = (uint64_t)rand_r(&seed) % SHARED_NR;

		pthread_mutex_lock(&s->locks[idx]);
		if (touch_page(s->b->encl, idx, s->versions[idx], s->versions[idx] + 1, NULL) !=
		    TOUCH_OK)
			atomic_fetch_add(&s->bad, 1);
		s->versions[idx]++;
		pthread_mutex_unlock(&s->locks[idx]);
	}
	return NULL;
}

static void test_threads(void)
{
	struct shared *s = calloc(1, sizeof(*s));
	pthread_t threads[THREADS];
	struct world w;
	struct build b;

	world_init(&w, 16, 0);
	TAP_MUST(build_create(&b, &w, 64 * SGX_PAGE_SIZE, 0) == 0, "threads: created");
	TAP_MUST(build_add_many(&b, 0, SHARED_NR) == 0 && build_init(&b) == 0, "threads: built");
	s->b = &b;
	for (int i = 0; i < SHARED_NR; i++)
		pthread_mutex_init(&s->locks[i], NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, thread_touch, s);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	TAP_CHECK(s->bad == 0, "%d threads fault %d pages in an EPC of 16: all as it must be (%u)",
		  THREADS, SHARED_NR, s->bad);
	world_audit(&w, "threads");
	build_fini(&b);
	world_fini(&w, "threads");
	free(s);
}

/* All fault the same page, which does not exist yet: one EAUG, nobody is told anything else. */
static void *thread_same(void *arg)
{
	struct shared *s = arg;

	for (uint64_t idx = 1; idx < SHARED_NR; idx++) {
		struct encl_fault f =
			encl_fault(s->b->encl, &encl_mm_none, s->b->base + idx * SGX_PAGE_SIZE,
				   ENCL_R, SGX_SECINFO_RWX, true);

		if (f.kind != ENCL_FAULT_PF || f.pf_error != 0x8005)
			atomic_fetch_add(&s->bad, 1);
	}
	return NULL;
}

static void test_augment_race(void)
{
	struct shared *s = calloc(1, sizeof(*s));
	pthread_t threads[THREADS];
	struct encl_info info;
	struct world w;
	struct build b;

	world_init(&w, 16, 0);
	TAP_MUST(build_create(&b, &w, 64 * SGX_PAGE_SIZE, 0) == 0, "race: created");
	TAP_MUST(build_add_many(&b, 0, 1) == 0 && build_init(&b) == 0, "race: built");
	s->b = &b;
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, thread_same, s);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	encl_info_read(b.encl, &info);
	TAP_CHECK(s->bad == 0 && info.pages == SHARED_NR,
		  "%d threads augment the same pages: each page once", THREADS);
	build_fini(&b);
	world_fini(&w, "race");
	free(s);
}

/* ---- an end while a batch has the pages in hand --------------------------------------------------- */

struct reclaim_for_ever {
	struct world *w;
	atomic_bool stop;
};

static void *thread_reclaim(void *arg)
{
	struct reclaim_for_ever *r = arg;

	while (!atomic_load(&r->stop))
		epc_reclaim(r->w->epc);
	return NULL;
}

static void test_close_in_batch(void)
{
	struct reclaim_for_ever r = { 0 };
	pthread_t threads[2];
	struct world w;
	struct build b;
	unsigned int bad = 0;

	world_init(&w, 64, 0);
	r.w = &w;
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, thread_reclaim, &r);
	for (int round = 0; round < 100; round++) {
		bad += build_create(&b, &w, 32 * SGX_PAGE_SIZE, 0) != 0;
		bad += build_add_many(&b, 0, 20) != 0;
		for (uint64_t i = 0; i < 20; i += 3)
			bad += touch_page(b.encl, i, 0, 1, NULL) != TOUCH_OK;
		build_fini(&b);
	}
	atomic_store(&r.stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	TAP_CHECK(bad == 0, "100 enclaves come and go under two reclaimers that never rest");
	world_fini(&w, "close in batch");
}

/* Many small enclaves on an EPC that cannot even hold their SECSs. */
struct owner {
	struct world *w;
	struct build b;
	unsigned int bad;
};

static void *thread_owner(void *arg)
{
	struct owner *o = arg;
	unsigned int seed = (unsigned int)(uintptr_t)o;
	uint64_t versions[6] = { 0 };

	for (int i = 0; i < 300; i++) {
		uint64_t idx = (uint64_t)rand_r(&seed) % 6;

		if (touch_page(o->b.encl, idx, versions[idx], versions[idx] + 1, NULL) != TOUCH_OK)
			o->bad++;
		versions[idx]++;
	}
	return NULL;
}

static void test_many_owners(void)
{
	enum { OWNERS = 40 };
	static struct owner owners[OWNERS];
	pthread_t threads[OWNERS];
	unsigned int bad = 0;
	struct world w;

	world_init(&w, 48, 0);
	for (int i = 0; i < OWNERS; i++) {
		owners[i].w = &w;
		owners[i].bad = 0;
		bad += build_create(&owners[i].b, &w, 8 * SGX_PAGE_SIZE, 0) != 0;
		bad += build_add_many(&owners[i].b, 0, 6) != 0;
		bad += build_init(&owners[i].b) != 0;
	}
	TAP_MUST(bad == 0, "%d enclaves: their VA pages leave 8 frames of 48 for all the rest",
		 OWNERS);
	for (int i = 0; i < OWNERS; i++)
		pthread_create(&threads[i], NULL, thread_owner, &owners[i]);
	for (int i = 0; i < OWNERS; i++) {
		pthread_join(threads[i], NULL);
		bad += owners[i].bad;
	}
	TAP_CHECK(bad == 0, "all of them fault at once, none is refused (%u)", bad);
	world_audit(&w, "many owners");
	for (int i = 0; i < OWNERS; i++)
		build_fini(&owners[i].b);
	world_fini(&w, "many owners");
}

/* ---- processes --------------------------------------------------------------------------------------- */

static void test_fork(void)
{
	unsigned int bad = 0;
	struct world w;
	struct build b;
	int status;
	pid_t pid;

	world_init(&w, 16, 0);
	TAP_MUST(build_create(&b, &w, 64 * SGX_PAGE_SIZE, 0) == 0, "fork: created");
	TAP_MUST(build_add_many(&b, 0, 40) == 0 && build_init(&b) == 0, "fork: built");
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		/* The child takes odd pages, the parent even ones, both at the same time. */
		for (uint64_t round = 0; round < 20; round++)
			for (uint64_t i = 1; i < 40; i += 2)
				bad += touch_page(b.encl, i, round, round + 1, NULL) != TOUCH_OK;
		_exit(bad ? 1 : 0);
	}
	for (uint64_t round = 0; round < 20; round++)
		for (uint64_t i = 0; i < 40; i += 2)
			bad += touch_page(b.encl, i, round, round + 1, NULL) != TOUCH_OK;
	waitpid(pid, &status, 0);
	TAP_CHECK(bad == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0,
		  "two processes page one enclave at once");
	for (uint64_t i = 0; i < 40; i++)
		bad += touch_page(b.encl, i, 20, 20, NULL) != TOUCH_OK;
	TAP_CHECK(bad == 0, "and each sees what the other wrote");
	build_fini(&b);
	world_fini(&w, "fork");
}

static int map_and_die(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, unsigned int rwx)
{
	raise(SIGKILL);
	return 0;
}

static int place_and_die(void *mm, struct encl *encl, uint64_t la, uint64_t win_off,
			 const void *bytes, unsigned int rwx)
{
	raise(SIGKILL);
	return 0;
}

static bool no_signal(void *mm) { return false; }

/* Fault page 0 in another process, which does not live to tell. */
static void fault_in_child(struct build *b, const struct encl_mm *mm)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		encl_fault(b->encl, mm, b->base, ENCL_R, ENCL_R, true);
		_exit(1);
	}
	waitpid(pid, NULL, 0);
}

/* Killed with the enclave's lock held: who shares the enclave notices nothing. */
static void test_killed_holder(void)
{
	static const struct encl_mm_ops ops = {
		.map = map_and_die,
		.place = place_and_die,
		.signal_pending = no_signal,
	};
	struct encl_mm mm = { .ops = &ops };
	struct encl_fault f;
	struct build victim, other;
	struct world w;

	world_init(&w, 64, 0);
	TAP_MUST(build_create(&victim, &w, 16 * SGX_PAGE_SIZE, 0) == 0, "killed: a victim");
	TAP_MUST(build_add_many(&victim, 0, 10) == 0 && build_init(&victim) == 0, "killed: built");
	TAP_MUST(build_create(&other, &w, 16 * SGX_PAGE_SIZE, 0) == 0, "killed: a bystander");
	TAP_MUST(build_add_many(&other, 0, 10) == 0 && build_init(&other) == 0, "killed: built");
	fault_in_child(&victim, &mm);
	TAP_CHECK(touch_page(victim.encl, 1, 0, 0, &f) == TOUCH_OK,
		  "killed while it mapped a page: nothing was half done, the enclave lives on");
	for (int i = 0; i < 100; i++)
		epc_reclaim(w.epc);
	fault_in_child(&victim, &mm);
	TAP_CHECK(touch_page(victim.encl, 1, 0, 0, &f) == TOUCH_OK &&
			  touch_page(victim.encl, 0, 0, 0, &f) == TOUCH_OK,
		  "killed while it placed a page: that is seen through, and all pages are there");
	for (int i = 0; i < 20; i++)
		epc_reclaim(w.epc);
	TAP_CHECK(touch_page(other.encl, 1, 0, 1, NULL) == TOUCH_OK, "the other enclave lives on");
	build_fini(&victim);
	build_fini(&other);
	world_fini(&w, "killed");
}

int main(void)
{
	test_open();
	test_create_fails();
	test_threads();
	test_augment_race();
	test_close_in_batch();
	test_many_owners();
	test_fork();
	test_killed_holder();
	return tap_done();
}
