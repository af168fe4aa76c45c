/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Dynamic memory, with an enclave thread that plays its part: restrict, augment, create a TCS, trim, remove.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "cpu/cpu.h"
#include "encl/encl_priv.h"
#include "epc/epc.h"
#include "lib/tap.h"
#include "lib/thread.h"
#include "lib/world.h"

#define TRIM (SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED)

enum { DATA = 8, DATA_NR = 40, HOLE = 60 };

static void start(struct world *w, struct build *b, struct thread *t, uint32_t epc_pages)
{
	world_init(w, epc_pages, 0);
	TAP_MUST(build_create(b, w, 128 * SGX_PAGE_SIZE, 0) == 0, "created");
	TAP_MUST(thread_pages(b, 0) == 0 && build_add_many(b, DATA, DATA_NR) == 0 &&
			 build_init(b) == 0,
		 "built");
	thread_init(t, b, 0);
	TAP_MUST(cpu_ok(thread_enter(t)), "a thread is in");
}

static unsigned int hands_of(const struct encl *encl)
{
	unsigned int nr = 0;

	for (const struct encl_hand *hand = encl->hands; hand; hand = hand->next)
		nr++;
	return nr;
}

static void stop(struct world *w, struct build *b, struct thread *t, const char *name)
{
	TAP_CHECK(hands_of(b->encl) <= 1, "%s: one thread works with one hand, which it gives back",
		  name);
	TAP_CHECK(cpu_ok(thread_exit(t)), "%s: it comes out", name);
	thread_fini(t);
	build_fini(b);
	world_fini(w, name);
}

static uint16_t touch(struct build *b, uint64_t idx, unsigned int access)
{
	struct encl_fault f = encl_fault(b->encl, &encl_mm_none, b->base + idx * SGX_PAGE_SIZE,
					 access, access, true);

	return f.kind == ENCL_FAULT_DONE ? 0 : f.kind == ENCL_FAULT_PF ? f.pf_error : 0xffff;
}

static int restrict_one(struct build *b, uint64_t idx, uint64_t rwx, uint64_t *result)
{
	uint64_t count;

	return encl_restrict_permissions(b->encl, &encl_mm_none, idx * SGX_PAGE_SIZE, SGX_PAGE_SIZE,
					 rwx, result, &count);
}

static int modify(struct build *b, uint64_t idx, uint64_t nr, uint64_t type, uint64_t *count)
{
	uint64_t result;
	int r = encl_modify_types(b->encl, &encl_mm_none, idx * SGX_PAGE_SIZE, nr * SGX_PAGE_SIZE,
				  type, &result, count);

	*count /= SGX_PAGE_SIZE;
	return r;
}

static int remove_some(struct build *b, uint64_t idx, uint64_t nr, uint64_t *count)
{
	int r = encl_remove_pages(b->encl, &encl_mm_none, idx * SGX_PAGE_SIZE, nr * SGX_PAGE_SIZE,
				  count);

	*count /= SGX_PAGE_SIZE;
	return r;
}

static void test_restrict(void)
{
	uint64_t result;
	struct thread t;
	struct world w;
	struct build b;

	start(&w, &b, &t, 64);
	TAP_CHECK(touch(&b, DATA, ENCL_W) == 0, "a page can be written");
	TAP_CHECK(restrict_one(&b, DATA, ENCL_R, &result) == 0 && result == 0, "restricted to R");
	TAP_CHECK(touch(&b, DATA, ENCL_W) == 0x8007, "a write is 0x8007");
	TAP_CHECK(touch(&b, DATA, ENCL_R) == 0, "a read is fine");
	TAP_CHECK(cpu_ok(thread_eaccept(&t, DATA, FLAGS_R | SGX_SECINFO_PR)),
		  "the enclave accepts: tracking was complete");
	TAP_CHECK(cpu_ok(thread_emodpe(&t, DATA, FLAGS_RW)), "and extends it again");
	TAP_CHECK(touch(&b, DATA, ENCL_W) == 0, "a write is fine");
	TAP_CHECK(touch_page(b.encl, DATA, 0, 0, NULL) == TOUCH_OK,
		  "the contents were not touched");
	stop(&w, &b, &t, "restrict");
}

static void test_augment(void)
{
	struct thread t;
	struct world w;
	struct build b;

	start(&w, &b, &t, 64);
	TAP_CHECK(touch(&b, HOLE, ENCL_W) == 0x8007, "a write to a hole: augmented, 0x8007");
	TAP_CHECK(cpu_ok(thread_eaccept(&t, HOLE, FLAGS_RW | SGX_SECINFO_PENDING)), "accepted");
	TAP_CHECK(touch(&b, HOLE, ENCL_W) == 0, "a write is fine");
	/* Evicted while PENDING, it is still PENDING. */
	TAP_CHECK(touch(&b, HOLE + 1, ENCL_W) == 0x8007, "another");
	for (int i = 0; i < 50; i++)
		epc_reclaim(w.epc);
	TAP_CHECK(touch(&b, HOLE + 1, ENCL_W) == 0x8007, "evicted and loaded it still is 0x8007");
	for (int i = 0; i < 50; i++)
		epc_reclaim(w.epc);
	TAP_CHECK(cpu_ok(thread_eaccept(&t, HOLE + 1, FLAGS_RW | SGX_SECINFO_PENDING)),
		  "accepted straight from the backing store");
	TAP_CHECK(touch(&b, HOLE + 1, ENCL_W) == 0, "a write is fine");
	stop(&w, &b, &t, "augment");
}

static void test_tcs(void)
{
	uint64_t count;
	struct thread t, second;
	struct world w;
	struct build b;
	unsigned int bad = 0;

	start(&w, &b, &t, 64);
	/* TCS, SSA, operand page, all augmented; the TCS image is written before the page becomes one. */
	for (uint64_t i = 0; i < 3; i++)
		bad += !cpu_ok(thread_eaccept(&t, HOLE + i, FLAGS_RW | SGX_SECINFO_PENDING));
	TAP_CHECK(bad == 0, "three pages accepted");
	TAP_MUST(touch(&b, HOLE, ENCL_W) == 0, "the first is resident");
	for (uint32_t nr = 0; nr < 64; nr++) {
		struct cpu_epcm epcm = cpu_epcm_read(w.cpu, nr);

		if (epcm.valid && epcm.la == b.base + HOLE * SGX_PAGE_SIZE)
			thread_tcs(cpu_bytes(w.cpu, nr), HOLE);
	}
	TAP_CHECK(modify(&b, HOLE, 1, SGX_PT_TCS, &count) == 0 && count == 1, "it becomes a TCS");
	TAP_CHECK(touch(&b, HOLE, ENCL_R) == 0x8005, "which nobody can read");
	thread_init(&second, &b, HOLE);
	TAP_CHECK(!cpu_ok(thread_enter(&second)), "nor enter by, before it is accepted");
	TAP_CHECK(cpu_ok(thread_eaccept(&t, HOLE,
					SGX_SECINFO_TYPE(SGX_PT_TCS) | SGX_SECINFO_MODIFIED)),
		  "accepted");
	TAP_CHECK(cpu_ok(thread_enter(&second)), "a second thread enters by it");
	TAP_CHECK(cpu_ok(thread_exit(&second)), "and leaves");
	TAP_CHECK(modify(&b, HOLE, 1, SGX_PT_TCS, &count) == -EINVAL && count == 0,
		  "a TCS cannot become a TCS");
	TAP_CHECK(modify(&b, HOLE, 3, SGX_PT_TRIM, &count) == 0 && count == 3, "all three trimmed");
	TAP_CHECK(touch(&b, HOLE + 1, ENCL_R) == 0x8005, "a trimmed page is 0x8005");
	TAP_CHECK(remove_some(&b, HOLE, 3, &count) == -EPERM && count == 0,
		  "not to be removed before the enclave agrees");
	for (uint64_t i = 0; i < 3; i++)
		bad += !cpu_ok(thread_eaccept(&t, HOLE + i, TRIM));
	TAP_CHECK(bad == 0, "it agrees");
	TAP_CHECK(touch(&b, HOLE + 1, ENCL_R) == 0x8005, "still 0x8005");
	TAP_CHECK(remove_some(&b, HOLE, 3, &count) == 0 && count == 3, "removed, a thread inside");
	TAP_CHECK(touch(&b, HOLE + 1, ENCL_W) == 0x8007, "a touch makes a new page, PENDING");
	TAP_CHECK(cpu_ok(thread_eaccept(&t, HOLE + 1, FLAGS_RW | SGX_SECINFO_PENDING)),
		  "to be accepted");
	thread_fini(&second);
	stop(&w, &b, &t, "TCS");
}

/* The whole heap trimmed in one call, in an EPC that holds a third of it. */
static void test_oversubscribed(void)
{
	unsigned int bad = 0;
	uint64_t count;
	struct encl_info info;
	struct thread t;
	struct world w;
	struct build b;

	start(&w, &b, &t, 16);
	TAP_CHECK(modify(&b, DATA, DATA_NR, SGX_PT_TRIM, &count) == 0 && count == DATA_NR,
		  "all of the heap trimmed in one call");
	for (uint64_t i = 0; i < DATA_NR; i++)
		bad += !cpu_ok(thread_eaccept(&t, DATA + i, TRIM));
	TAP_CHECK(bad == 0, "all of it accepted");
	TAP_CHECK(remove_some(&b, DATA, DATA_NR, &count) == 0 && count == DATA_NR,
		  "all of it removed in one call");
	encl_info_read(b.encl, &info);
	TAP_CHECK(info.pages == 3, "only the thread's three pages are left");
	stop(&w, &b, &t, "oversubscribed");
}

struct stopper {
	unsigned int calls, at;
};

static int stop_map(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, unsigned int rwx)
{
	return 0;
}

static int stop_place(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, const void *bytes,
		      unsigned int rwx)
{
	return encl_mm_none.ops->place(NULL, encl, la, win_off, bytes, rwx);
}

static bool stop_signal(void *mm)
{
	struct stopper *s = mm;

	return s->calls++ >= s->at;
}

static void test_signal(void)
{
	static const struct encl_mm_ops ops = {
		.map = stop_map,
		.place = stop_place,
		.signal_pending = stop_signal,
	};
	struct stopper s = { 0 };
	struct encl_mm mm = { .ops = &ops, .ctx = &s };
	uint64_t result, count = 1;
	struct thread t;
	struct world w;
	struct build b;
	int r;

	start(&w, &b, &t, 64);
	r = encl_modify_types(b.encl, &mm, DATA * SGX_PAGE_SIZE, 8 * SGX_PAGE_SIZE, SGX_PT_TRIM,
			      &result, &count);
	TAP_CHECK(r == -ENCL_ERESTARTSYS && count == 0,
		  "a signal at once: -ERESTARTSYS, nothing done");
	s = (struct stopper){ .at = 3 };
	r = encl_modify_types(b.encl, &mm, DATA * SGX_PAGE_SIZE, 8 * SGX_PAGE_SIZE, SGX_PT_TRIM,
			      &result, &count);
	TAP_CHECK(r == 0 && count == 3 * SGX_PAGE_SIZE, "a signal later: 0 and what was done");
	stop(&w, &b, &t, "signal");
}

/* ---- a page removed and augmented at the same time ------------------------------------------------- */

struct race {
	struct build *b;
	atomic_bool stop;
	atomic_uint bad;
};

static void *thread_fault(void *arg)
{
	struct race *race = arg;

	while (!atomic_load(&race->stop)) {
		uint16_t error = touch(race->b, HOLE, ENCL_W);

		/* Absent, pending, accepted or trimmed: never a SIGBUS. */
		if (error != 0x8007 && error != 0)
			atomic_fetch_add(&race->bad, 1);
	}
	return NULL;
}

static void test_remove_race(void)
{
	struct race race = { 0 };
	pthread_t thread;
	uint64_t count;
	struct thread t;
	struct world w;
	struct build b;
	unsigned int bad = 0;

	start(&w, &b, &t, 16);
	race.b = &b;
	pthread_create(&thread, NULL, thread_fault, &race);
	for (int i = 0; i < 200; i++) {
		bad += !cpu_ok(thread_eaccept(&t, HOLE, FLAGS_RW | SGX_SECINFO_PENDING));
		bad += modify(&b, HOLE, 1, SGX_PT_TRIM, &count) != 0;
		bad += !cpu_ok(thread_eaccept(&t, HOLE, TRIM));
		bad += remove_some(&b, HOLE, 1, &count) != 0;
	}
	atomic_store(&race.stop, true);
	pthread_join(thread, NULL);
	TAP_CHECK(bad == 0 && race.bad == 0,
		  "a page comes and goes 200 times while another thread touches it (%u, %u)", bad,
		  race.bad);
	stop(&w, &b, &t, "remove race");
}

int main(void)
{
	test_restrict();
	test_augment();
	test_tcs();
	test_oversubscribed();
	test_signal();
	test_remove_race();
	return tap_done();
}
