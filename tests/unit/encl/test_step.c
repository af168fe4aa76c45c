/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Steps: instructions whose operands are not in the EPC, in an EPC that barely holds them.
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "epc/epc.h"
#include "lib/tap.h"
#include "lib/thread.h"
#include "lib/world.h"

static void evict_all(struct world *w)
{
	for (int i = 0; i < 100; i++)
		epc_reclaim(w->epc);
}

static uint64_t resident(struct build *b)
{
	struct encl_info info;

	encl_info_read(b->encl, &info);
	return info.resident;
}

static void start(struct world *w, struct build *b, uint32_t epc_pages)
{
	world_init(w, epc_pages, 0);
	TAP_MUST(build_create(b, w, 64 * SGX_PAGE_SIZE, 0) == 0, "created");
	TAP_MUST(thread_pages(b, 0) == 0 && thread_pages(b, 3) == 0 &&
			 build_add_many(b, 6, 20) == 0 && build_init(b) == 0,
		 "built");
}

static void test_enter(void)
{
	struct cpu_outcome out;
	struct thread t;
	struct world w;
	struct build b;

	start(&w, &b, 64);
	thread_init(&t, &b, 0);
	evict_all(&w);
	TAP_CHECK(resident(&b) == 0, "no page is in the EPC");
	out = thread_enter(&t);
	TAP_CHECK(cpu_ok(out) && t.lp->in_enclave, "EENTER brings in what it needs (%u, %u)",
		  out.fault, out.eax);
	evict_all(&w);
	TAP_CHECK(resident(&b) == 1, "a TCS with a thread in it cannot be evicted, all else can");
	out = thread_aex(&t);
	TAP_CHECK(cpu_ok(out) && !t.lp->in_enclave, "an AEX brings its SSA in (%u)", out.fault);
	evict_all(&w);
	TAP_CHECK(resident(&b) == 0, "after the AEX the TCS goes too");
	out = thread_resume(&t);
	TAP_CHECK(cpu_ok(out) && t.lp->in_enclave, "ERESUME after all of it was evicted (%u)",
		  out.fault);
	out = thread_exit(&t);
	TAP_CHECK(cpu_ok(out) && !t.lp->in_enclave, "EEXIT");
	thread_fini(&t);
	build_fini(&b);
	world_fini(&w, "enter");
}

static unsigned int vma_none(void *ctx, uint64_t la) { return 0; }

static unsigned int vma_read(void *ctx, uint64_t la) { return ENCL_R; }

static void test_stands(void)
{
	struct cpu_outcome out;
	struct thread t;
	struct world w;
	struct build b;

	start(&w, &b, 64);
	thread_init(&t, &b, 0);
	t.vma_rwx_at = vma_none;
	out = thread_enter(&t);
	TAP_CHECK(out.fault == CPU_PF && out.pf_addr == t.tcs_la,
		  "EENTER of a TCS that is not mapped: #PF (%u)", out.fault);
	t.vma_rwx_at = vma_read;
	out = thread_enter(&t);
	TAP_CHECK(out.fault == CPU_PF, "EENTER with everything mapped read-only: #PF (%u)",
		  out.fault);
	t.vma_rwx_at = NULL;
	t.tcs_la = b.base + 6 * SGX_PAGE_SIZE;
	out = thread_enter(&t);
	TAP_CHECK(out.fault == CPU_PF && (out.pf_error & SGX_PFEC_P),
		  "EENTER of a page that is no TCS: #PF that stands (%u, %#x)", out.fault,
		  out.pf_error);
	t.tcs_la = b.base;
	TAP_CHECK(cpu_ok(thread_enter(&t)), "and with a TCS it enters");
	/* No page there, and this address space does not map it: not augmented. */
	t.vma_rwx_at = vma_none;
	out = thread_eaccept(&t, 50, FLAGS_RW | SGX_SECINFO_PENDING);
	TAP_CHECK(out.fault == CPU_PF, "EACCEPT with nothing mapped: #PF (%u)", out.fault);
	t.vma_rwx_at = NULL;
	out = thread_eaccept(&t, 50, FLAGS_RW | SGX_SECINFO_PENDING);
	TAP_CHECK(cpu_ok(out), "EACCEPT of a page that does not exist augments it (%u, %u)",
		  out.fault, out.eax);
	TAP_CHECK(cpu_ok(thread_exit(&t)), "EEXIT");
	thread_fini(&t);
	build_fini(&b);
	world_fini(&w, "stands");
}

static void test_no_sgx2(void)
{
	struct cpu_outcome out;
	struct thread t;
	struct world w;
	struct build b;

	world_init(&w, 32, 0);
	TAP_MUST(build_create(&b, &w, 64 * SGX_PAGE_SIZE, 0) == 0, "created");
	TAP_MUST(thread_pages(&b, 0) == 0, "built");
	thread_init(&t, &b, 0);
	out = thread_enter(&t);
	TAP_CHECK(out.fault == CPU_GP, "EENTER before EINIT: #GP (%u)", out.fault);
	t.tcs_la = b.base + 40 * SGX_PAGE_SIZE;
	out = thread_enter(&t);
	TAP_CHECK(out.fault == ENCL_STEP_BUS, "EENTER of no page before EINIT: a SIGBUS (%#x)",
		  out.fault);
	thread_fini(&t);
	build_fini(&b);
	world_fini(&w, "no page");
}

struct runner {
	struct thread t;
	uint64_t spare; /* pages of its own that it accepts */
	unsigned int bad;
};

static void *run(void *arg)
{
	struct runner *r = arg;

	for (uint64_t i = 0; i < 60; i++) {
		struct cpu_outcome out;

		out = thread_enter(&r->t);
		r->bad += !cpu_ok(out);
		if (i < 10) {
			out = thread_eaccept(&r->t, r->spare + i, FLAGS_RW | SGX_SECINFO_PENDING);
			r->bad += !cpu_ok(out);
		}
		out = thread_aex(&r->t);
		r->bad += !cpu_ok(out);
		out = thread_resume(&r->t);
		r->bad += !cpu_ok(out);
		out = thread_exit(&r->t);
		r->bad += !cpu_ok(out);
	}
	return NULL;
}

/* VA page, SECS, two busy TCSs, two SSAs, two operand pages, two targets: 10. */
static void test_crowd(void)
{
	static struct runner runners[2];
	pthread_t threads[2];
	struct world w;
	struct build b;

	start(&w, &b, 12);
	for (uint64_t i = 0; i < 2; i++) {
		thread_init(&runners[i].t, &b, 3 * i);
		runners[i].spare = 30 + 10 * i;
	}
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, run, &runners[i]);
	for (uint64_t i = 0; i < 400; i++)
		if (touch_page(b.encl, 6 + i % 20, 0, 0, NULL) == TOUCH_WRONG)
			TAP_CHECK(false, "page %llu is what it was",
				  (unsigned long long)(6 + i % 20));
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		TAP_CHECK(runners[i].bad == 0,
			  "thread %d enters, accepts, is interrupted, resumes (%u)", i,
			  runners[i].bad);
		thread_fini(&runners[i].t);
	}
	build_fini(&b);
	world_fini(&w, "crowd");
}

/* A thread that died inside: once its processor is reset, the enclave's end is as any other. */
static void test_died_inside(void)
{
	struct thread t;
	struct world w;
	struct build b;

	start(&w, &b, 64);
	thread_init(&t, &b, 0);
	TAP_MUST(cpu_ok(thread_enter(&t)), "a thread goes in and never comes back");
	thread_fini(&t);
	build_fini(&b);
	world_fini(&w, "died inside");
}

static struct hog hog;

static void *give_back(void *world)
{
	usleep(200000);
	hog_fini(&hog, world);
	return NULL;
}

/* Somebody else has all there is: the step waits for it for a while, without its pins, and then is a SIGBUS. */
static void test_starved(void)
{
	struct cpu_outcome out;
	pthread_t thread;
	struct thread t;
	struct world w;
	struct build b;

	start(&w, &b, 64);
	thread_init(&t, &b, 0);
	evict_all(&w);
	hog_init(&hog, &w);
	out = thread_enter(&t);
	TAP_CHECK(out.fault == ENCL_STEP_BUS && out.pf_addr == t.tcs_la && !t.lp->in_enclave,
		  "EENTER while all EPC is somebody's who keeps it: a SIGBUS (%#x)", out.fault);
	pthread_create(&thread, NULL, give_back, &w);
	out = thread_enter(&t);
	TAP_CHECK(cpu_ok(out) && t.lp->in_enclave,
		  "and it enters when that is given back in time (%u, %u)", out.fault, out.eax);
	pthread_join(thread, NULL);
	TAP_CHECK(cpu_ok(thread_exit(&t)), "EEXIT");
	thread_fini(&t);
	build_fini(&b);
	world_fini(&w, "starved");
}

int main(void)
{
	test_enter();
	test_stands();
	test_no_sgx2();
	test_starved();
	test_crowd();
	test_died_inside();
	return tap_done();
}
