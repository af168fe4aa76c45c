/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Death right behind a leaf, with the enclave's lock: a page that came is kept, one that was being added has never been.
 *
 * The leaves and window_give() are the linker's --wrap of them.
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu/cpu.h"
#include "encl/encl_priv.h"
#include "epc/epc.h"
#include "epc/window.h"
#include "lib/tap.h"
#include "lib/thread.h"
#include "lib/world.h"

enum { NR = 20, ONE = 5, ADDED = 30, THREAD = 40 };

static struct world w;
static struct build b;

static enum cut {
	NOWHERE,
	AFTER_EADD,
	AFTER_ELDU,
	AFTER_EAUG,
	AFTER_EMODT,
	BEFORE_GIVE,
	HALF_GIVEN
} cut;
static unsigned int no_give; /* so many times the window has no memory */

struct cpu_outcome __real_encls_eadd(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page);
struct cpu_outcome __wrap_encls_eadd(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page);
struct cpu_outcome __real_encls_eldu(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
				     uint32_t va, uint32_t slot);
struct cpu_outcome __wrap_encls_eldu(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
				     uint32_t va, uint32_t slot);
struct cpu_outcome __real_encls_eaug(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page);
struct cpu_outcome __wrap_encls_eaug(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page);
struct cpu_outcome __real_encls_emodt(struct cpu *cpu, const struct sgx_secinfo *secinfo,
				      uint32_t page);
struct cpu_outcome __wrap_encls_emodt(struct cpu *cpu, const struct sgx_secinfo *secinfo,
				      uint32_t page);
int __real_window_give(struct window *window, uint64_t offset, const void *bytes);
int __wrap_window_give(struct window *window, uint64_t offset, const void *bytes);

static void here(enum cut at)
{
	if (cut == at)
		_exit(0);
}

struct cpu_outcome __wrap_encls_eadd(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page)
{
	struct cpu_outcome out = __real_encls_eadd(cpu, pi, page);

	here(AFTER_EADD);
	return out;
}

struct cpu_outcome __wrap_encls_eldu(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
				     uint32_t va, uint32_t slot)
{
	struct cpu_outcome out = __real_encls_eldu(cpu, pi, page, va, slot);

	here(AFTER_ELDU);
	return out;
}

struct cpu_outcome __wrap_encls_eaug(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page)
{
	struct cpu_outcome out = __real_encls_eaug(cpu, pi, page);

	here(AFTER_EAUG);
	return out;
}

struct cpu_outcome __wrap_encls_emodt(struct cpu *cpu, const struct sgx_secinfo *secinfo,
				      uint32_t page)
{
	struct cpu_outcome out = __real_encls_emodt(cpu, secinfo, page);

	here(AFTER_EMODT);
	return out;
}

int __wrap_window_give(struct window *window, uint64_t offset, const void *bytes)
{
	uint8_t half[SGX_PAGE_SIZE] = { 0 };

	here(BEFORE_GIVE);
	if (cut == HALF_GIVEN) {
		memcpy(half, bytes, sizeof(half) / 2);
		_exit(__real_window_give(window, offset, half) == 0 ? 0 : 1);
	}
	if (no_give == 0)
		return __real_window_give(window, offset, bytes);
	no_give--;
	return -ENOMEM;
}

static void add(void) { (void)build_add(&b, ADDED, NULL, FLAGS_RW); }

/* Where no mapping shows it the enclave itself gives the window the bytes. */
static void load(void)
{
	(void)encl_fault(b.encl, &encl_mm_none, b.base + ONE * SGX_PAGE_SIZE, ENCL_R, ENCL_R, true);
}

static void augment(void)
{
	(void)encl_fault(b.encl, &encl_mm_none, b.base + ADDED * SGX_PAGE_SIZE, ENCL_W,
			 SGX_SECINFO_RWX, true);
}

static int modify(uint64_t idx, uint64_t type)
{
	uint64_t result, count;

	return encl_modify_types(b.encl, &encl_mm_none, idx * SGX_PAGE_SIZE, SGX_PAGE_SIZE, type,
				 &result, &count);
}

static void trim(void) { (void)modify(ONE, SGX_PT_TRIM); }

static void make_tcs(void) { (void)modify(ADDED, SGX_PT_TCS); }

/* A process that does @what is no more at @at. */
static void cut_short(void (*what)(void), enum cut at, const char *name)
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		cut = at;
		what();
		_exit(1);
	}
	waitpid(pid, &status, 0);
	TAP_CHECK(status == 0, "%s: a process dies there", name);
}

static void start(void)
{
	world_init(&w, 64, 0);
	TAP_MUST(build_create(&b, &w, 64 * SGX_PAGE_SIZE, 0) == 0 && build_add_many(&b, 0, NR) == 0,
		 "an enclave");
}

static void evict_all(void)
{
	for (int i = 0; i < 100; i++)
		epc_reclaim(w.epc);
}

/* All have left, but the SECS, its VA page and page 0 are here again. */
static void start_away(void)
{
	start();
	TAP_MUST(build_init(&b) == 0, "initialised");
	evict_all();
	TAP_MUST(touch_page(b.encl, 0, 0, 0, NULL) == TOUCH_OK, "one page is here");
}

static struct encl_info info_now(void)
{
	struct encl_info info;

	/* Whoever has the lock next sees it through. */
	encl_lock(b.encl);
	encl_unlock(b.encl);
	encl_info_read(b.encl, &info);
	return info;
}

static bool is_whole(void)
{
	uint64_t good = 0;

	for (uint64_t i = 0; i < NR; i++)
		good += touch_page(b.encl, i, 0, 0, NULL) == TOUCH_OK;
	return good == NR;
}

static void end(const char *name)
{
	TAP_CHECK(is_whole(), "%s: all pages are what they were", name);
	build_fini(&b);
	world_fini(&w, name);
}

static void test_added(void)
{
	start();
	cut_short(add, AFTER_EADD, "EADD");
	TAP_CHECK(info_now().pages == NR, "EADD: the page has never been");
	TAP_CHECK(build_add(&b, ADDED, NULL, FLAGS_RW) == 0 && build_init(&b) == 0,
		  "EADD: it can be added, and the measurement is right");
	TAP_CHECK(touch_page(b.encl, ADDED, 0, 0, NULL) == TOUCH_OK, "EADD: and is as any other");
	end("EADD");
}

static void test_loaded(void)
{
	start_away();
	cut_short(load, AFTER_ELDU, "ELDU");
	TAP_CHECK(info_now().resident == 2, "ELDU: the page has come");
	end("ELDU");
}

/* What comes first where nothing is here is the SECS; nobody uses it any more. */
static void test_secs_loaded(void)
{
	start();
	TAP_MUST(build_init(&b) == 0, "initialised");
	evict_all();
	TAP_CHECK(!b.encl->secs.epc_page, "SECS: it is away, as all that it has");
	cut_short(load, AFTER_ELDU, "SECS");
	TAP_CHECK(info_now().resident == 0 && b.encl->secs.epc_page, "SECS: it has come alone");
	evict_all();
	TAP_CHECK(!b.encl->secs.epc_page, "SECS: it can leave");
	end("SECS");
}

static void test_augmented(void)
{
	struct encl_fault f;
	struct encl_info info;

	start_away();
	cut_short(augment, AFTER_EAUG, "EAUG");
	info = info_now();
	TAP_CHECK(info.pages == NR + 1 && info.resident == 2, "EAUG: the page has come");
	f = encl_fault(b.encl, &encl_mm_none, b.base + ADDED * SGX_PAGE_SIZE, ENCL_W,
		       SGX_SECINFO_RWX, true);
	TAP_CHECK(f.kind == ENCL_FAULT_PF && f.pf_error == 0x8007, "EAUG: and is PENDING");
	evict_all();
	TAP_CHECK(info_now().resident == 0, "EAUG: it can leave");
	end("EAUG");
}

/* Its bytes are on the stage alone, and the window has no memory for them: it leaves again. */
static void test_not_given(void)
{
	struct encl_info info;

	start_away();
	cut_short(load, BEFORE_GIVE, "no memory");
	no_give = 1;
	info = info_now();
	TAP_CHECK(no_give == 0 && info.pages == NR && info.resident == 1,
		  "no memory: the page is away again");
	end("no memory");
}

static void test_half_given(void)
{
	start_away();
	cut_short(load, HALF_GIVEN, "half given");
	TAP_CHECK(info_now().resident == 2, "half given: the page has come");
	end("half given");
}

/* The type is what the EPCM says, and tracking is complete, which EACCEPT asks for. */
static void test_modified(void)
{
	struct encl_page *page;
	struct thread t;
	uint64_t count;

	start();
	TAP_MUST(build_add(&b, ADDED, NULL, FLAGS_RWX) == 0 && thread_pages(&b, THREAD) == 0 &&
			 build_init(&b) == 0,
		 "initialised");
	thread_init(&t, &b, THREAD);
	TAP_MUST(cpu_ok(thread_enter(&t)), "a thread is in");
	cut_short(make_tcs, AFTER_EMODT, "EMODT");
	cut_short(trim, AFTER_EMODT, "EMODT");
	(void)info_now();
	encl_lock(b.encl);
	page = pages_find_locked(b.encl, ADDED);
	TAP_CHECK(page->type == SGX_PT_TCS && page->max_rwx == (ENCL_R | ENCL_W),
		  "EMODT: a page is a TCS, which nobody executes");
	encl_unlock(b.encl);
	TAP_CHECK(cpu_ok(thread_eaccept(&t, ONE,
					SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED)),
		  "EMODT: the enclave accepts that another is trimmed");
	TAP_CHECK(encl_remove_pages(b.encl, &encl_mm_none, ONE * SGX_PAGE_SIZE, SGX_PAGE_SIZE,
				    &count) == 0,
		  "EMODT: and it can be removed");
	TAP_CHECK(cpu_ok(thread_exit(&t)), "EMODT: the thread comes out");
	thread_fini(&t);
	build_fini(&b);
	world_fini(&w, "EMODT");
}

int main(void)
{
	test_added();
	test_loaded();
	test_secs_loaded();
	test_augmented();
	test_not_given();
	test_half_given();
	test_modified();
	return tap_done();
}
