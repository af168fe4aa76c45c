/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Pages that a batch has in hand just when somebody wants them otherwise: they are waited for, and those that a dead
 * reclaimer left half-way are seen through.
 *
 * epc_untrack(), encls_ewb() and lock_release() are the linker's --wrap of them, so that the instant comes when it is asked for.
 */
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu/cpu.h"
#include "encl/encl_priv.h"
#include "epc/epc.h"
#include "lib/tap.h"
#include "lib/thread.h"
#include "lib/world.h"

#define TRIM (SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED)

enum { DATA = 8, DATA_NR = 20, PAGES = 700 };

static struct world w;
static struct build b;

static unsigned int in_hand; /* so many times a page is found to be in a batch */
static unsigned int no_ewb;  /* so many EWBs are refused */
static bool dies;            /* with the enclave's lock just given back, and a VA page leaving */

int __real_epc_untrack(struct epc *epc, struct epc_page *page);
int __wrap_epc_untrack(struct epc *epc, struct epc_page *page);
struct cpu_outcome __real_encls_ewb(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
				    uint32_t va, uint32_t slot, void *out, uint64_t *ret_la);
struct cpu_outcome __wrap_encls_ewb(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
				    uint32_t va, uint32_t slot, void *out, uint64_t *ret_la);
void __real_lock_release(struct lock *l);
void __wrap_lock_release(struct lock *l);

int __wrap_epc_untrack(struct epc *epc, struct epc_page *page)
{
	if (in_hand == 0)
		return __real_epc_untrack(epc, page);
	in_hand--;
	return -EBUSY;
}

struct cpu_outcome __wrap_encls_ewb(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
				    uint32_t va, uint32_t slot, void *out, uint64_t *ret_la)
{
	if (no_ewb == 0)
		return __real_encls_ewb(cpu, pi, page, va, slot, out, ret_la);
	no_ewb--;
	return (struct cpu_outcome){ .fault = CPU_GP };
}

static struct encl_page *va_leaving(const struct encl *encl)
{
	for (struct encl_va *va = va_first(encl); va; va = va_next(va))
		if (va->page.flags & ENCL_PAGE_LEAVING)
			return &va->page;
	return NULL;
}

LOCK_ATTR(no_thread_safety_analysis) void __wrap_lock_release(struct lock *l)
{
	bool ends = dies && l == &b.encl->lock && va_leaving(b.encl);

	__real_lock_release(l);
	if (ends)
		_exit(0);
}

static void start(uint64_t pages)
{
	world_init(&w, 64, 0);
	TAP_MUST(build_create(&b, &w, 1024 * SGX_PAGE_SIZE, 0) == 0, "created");
	TAP_MUST(thread_pages(&b, 0) == 0 && build_add_many(&b, DATA, pages) == 0 &&
			 build_init(&b) == 0,
		 "built");
}

static void evict_all(void)
{
	for (int i = 0; i < 100; i++)
		epc_reclaim(w.epc);
}

/* One page more stays blocked, with its slots. */
static void evict_half(void)
{
	no_ewb = 1;
	for (int i = 0; i < 100 && no_ewb > 0; i++)
		epc_reclaim(w.epc);
	TAP_MUST(no_ewb == 0, "an eviction fails half-way");
}

static bool is_whole(uint64_t pages)
{
	uint64_t good = 0;

	for (uint64_t i = 0; i < pages; i++)
		good += touch_page(b.encl, DATA + i, 0, 0, NULL) == TOUCH_OK;
	return good == pages;
}

static void test_removed(void)
{
	struct encl_fault f = { 0 };
	uint64_t result, count;
	struct thread t;

	start(DATA_NR);
	thread_init(&t, &b, 0);
	TAP_MUST(cpu_ok(thread_enter(&t)), "a thread is in");
	TAP_MUST(encl_modify_types(b.encl, &encl_mm_none, DATA * SGX_PAGE_SIZE, SGX_PAGE_SIZE,
				   SGX_PT_TRIM, &result, &count) == 0 &&
			 cpu_ok(thread_eaccept(&t, DATA, TRIM)),
		 "a page is trimmed");
	in_hand = 3;
	TAP_CHECK(encl_remove_pages(b.encl, &encl_mm_none, DATA * SGX_PAGE_SIZE, SGX_PAGE_SIZE,
				    &count) == 0 &&
			  count == SGX_PAGE_SIZE,
		  "it is removed");
	TAP_CHECK(in_hand == 0, "once no batch has it any more (%u)", in_hand);
	TAP_CHECK(touch_page(b.encl, DATA, 0, 0, &f) == TOUCH_FAULT, "and its contents are gone");
	TAP_CHECK(cpu_ok(thread_exit(&t)), "the thread comes out");
	thread_fini(&t);
	build_fini(&b);
	world_fini(&w, "removed");
}

/* A page that stays blocked as its EWB failed: who touches it ends the eviction, and loads it. */
static void test_blocked(void)
{
	struct encl_fault f = { 0 };
	unsigned int refused = 0;

	start(DATA_NR);
	evict_all();
	TAP_CHECK(is_whole(DATA_NR), "all pages are here, and those of the thread are not");
	evict_half();
	in_hand = 3;
	TAP_CHECK(is_whole(DATA_NR) && in_hand == 0,
		  "a page whose eviction failed comes back once no batch has it (%u)", in_hand);
	evict_all();
	TAP_CHECK(is_whole(DATA_NR), "and it goes and comes as any other");
	evict_half();
	no_ewb = 1;
	for (uint64_t i = 0; i < DATA_NR; i++)
		refused += touch_page(b.encl, DATA + i, 0, 0, &f) == TOUCH_FAULT &&
			   f.kind == ENCL_FAULT_SIGBUS;
	TAP_CHECK(refused == 1 && no_ewb == 0, "while it cannot, a touch of it is a SIGBUS (%u)",
		  refused);
	TAP_CHECK(is_whole(DATA_NR), "and the next one has it");
	build_fini(&b);
	world_fini(&w, "blocked");
}

/* One that was blocked when its reclaimer died is put back by who knows nothing of that. */
static void test_va_page(void)
{
	struct encl_page *va;
	int status = -1;
	pid_t pid;

	start(PAGES);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		dies = true;
		evict_all();
		_exit(1);
	}
	waitpid(pid, &status, 0);
	TAP_CHECK(status == 0, "a process dies with a VA page just blocked");
	evict_all();
	va = va_leaving(b.encl);
	TAP_CHECK(va && va->epc_page && (va->flags & ENCL_PAGE_TRACKED),
		  "it is in the EPC, and leaves no more");
	TAP_CHECK(is_whole(PAGES) && !va_leaving(b.encl), "who needs it sees that through");
	evict_all();
	TAP_CHECK(is_whole(PAGES), "and it goes and comes as any other");
	build_fini(&b);
	world_fini(&w, "VA page");
}

int main(void)
{
	test_removed();
	test_blocked();
	test_va_page();
	return tap_done();
}
