/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * An enclave 512 times as large as the EPC: its VA pages are evicted as well, and found again.
 *
 *   test_deep [pages [EPC pages]]
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "epc/stats.h"
#include "lib/tap.h"
#include "lib/thread.h"
#include "lib/world.h"

static uint64_t nr = 8192;
static uint32_t epc_nr = 16;

static unsigned int frames_used(struct world *w)
{
	struct epc_stats stats;

	epc_stats_read(w->epc, &stats);
	return (unsigned int)(stats.owned + stats.tracked + stats.in_batch);
}

/* What it took is told as the enclave's alone, whichever threads' hands the pages went through. */
static void check_numbers(struct world *w)
{
	struct epc_owner_info info, other;
	uint64_t here = 0;

	epc_census(w->epc);
	TAP_MUST(epc_owner_read(epc_group_root(w->epc), 0, &info) &&
			 !epc_owner_read(epc_group_root(w->epc), 1, &other),
		 "there is one owner to tell of");
	for (unsigned int i = 0; i < EPC_KIND_NR; i++)
		here += info.kind[i];
	TAP_CHECK(here == frames_used(w) && info.count[EPC_ALLOCS] - info.count[EPC_FREES] -
							    info.count[EPC_EVICTIONS] ==
						    here,
		  "its pages are what it took less what it gave and what was evicted: %lu - %lu - "
		  "%lu = "
		  "%lu",
		  (unsigned long)info.count[EPC_ALLOCS], (unsigned long)info.count[EPC_FREES],
		  (unsigned long)info.count[EPC_EVICTIONS], (unsigned long)here);
	TAP_CHECK(info.count[EPC_LOADS] > nr && info.count[EPC_STALLS] > 0 &&
			  info.count[EPC_DIRECT_RECLAIMS] >= info.count[EPC_STALLS] &&
			  info.count[EPC_STALL_NS] > 0 && info.pressure[EPC_SOME].total_ns > 0,
		  "and it waited for pages: %lu times, %lu ms of all threads, %lu of the clock",
		  (unsigned long)info.count[EPC_STALLS],
		  (unsigned long)info.count[EPC_STALL_NS] / 1000000,
		  (unsigned long)info.pressure[EPC_SOME].total_ns / 1000000);
}

static uint64_t pick(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x % nr;
}

/* Two processes, each with the pages of one parity, at random. */
static unsigned int both_at_once(struct build *b, uint8_t *version)
{
	uint64_t x = 88172645463325252ull;
	unsigned int bad = 0;
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 4000; i++)
			bad += touch_page(b->encl, (pick(&x) & ~1ull) + 1, 1, 1, NULL) != TOUCH_OK;
		_exit(bad != 0);
	}
	for (int i = 0; i < 4000; i++) {
		uint64_t idx = pick(&x) & ~1ull;

		bad += touch_page(b->encl, idx, version[idx], version[idx] + 1u, NULL) != TOUCH_OK;
		version[idx]++;
	}
	waitpid(pid, &status, 0);
	return bad + (status != 0);
}

static void test_deep(void)
{
	uint8_t *version = calloc(1, nr);
	struct encl_info info;
	unsigned int bad = 0;
	struct world w;
	struct build b;

	world_init(&w, epc_nr, 0);
	TAP_MUST(build_create(&b, &w, nr * SGX_PAGE_SIZE, 0) == 0, "an enclave of %lu pages",
		 (unsigned long)nr);
	TAP_MUST(build_add_many(&b, 0, nr) == 0, "built in an EPC of %u", epc_nr);
	TAP_MUST(build_init(&b) == 0, "its measurement is right");
	world_audit(&w, "built");
	for (uint64_t i = 0; i < nr; i++) {
		bad += touch_page(b.encl, i, 0, 1, NULL) != TOUCH_OK;
		version[i] = 1;
	}
	TAP_CHECK(bad == 0, "each page is read and written, in order (%u)", bad);
	bad = both_at_once(&b, version);
	TAP_CHECK(bad == 0, "two processes at once, at random (%u)", bad);
	for (uint64_t i = nr; i-- > 0;)
		bad += touch_page(b.encl, i, version[i], version[i], NULL) != TOUCH_OK;
	TAP_CHECK(bad == 0, "each page is what it was last, backwards (%u)", bad);
	check_numbers(&w);
	encl_info_read(b.encl, &info);
	TAP_CHECK(info.va_pages >= (nr + 1 + 511) / 512 + 1, "%lu VA pages, with a level above",
		  (unsigned long)info.va_pages);
	for (int i = 0; i < 200; i++)
		epc_reclaim(w.epc);
	encl_info_read(b.encl, &info);
	TAP_CHECK(info.va_resident == 1 && frames_used(&w) == 1,
		  "all but the top VA page can go (%lu here, %u frames)",
		  (unsigned long)info.va_resident, frames_used(&w));
	TAP_CHECK(touch_page(b.encl, 0, version[0], 0, NULL) == TOUCH_OK, "and come back");
	world_audit(&w, "deep");
	build_fini(&b);
	world_fini(&w, "deep");
	free(version);
}

/* A thread needs pages of all over the enclave at once: TCS, SSA, operands. */
static void test_deep_step(void)
{
	unsigned int bad = 0;
	struct world w;
	struct build b;
	struct thread t;

	world_init(&w, epc_nr, 0);
	TAP_MUST(build_create(&b, &w, nr * SGX_PAGE_SIZE, 0) == 0 && thread_pages(&b, 0) == 0 &&
			 build_add_many(&b, 3, 3000) == 0 && build_init(&b) == 0,
		 "deep: an enclave with a thread");
	thread_init(&t, &b, 0);
	for (uint64_t i = 3; i < 3000; i += 250) {
		for (uint64_t j = 0; j < 20; j++)
			bad += touch_page(b.encl, i + j, 0, 0, NULL) != TOUCH_OK;
		bad += !cpu_ok(thread_enter(&t));
		for (uint64_t j = 0; j < 20; j++)
			bad += touch_page(b.encl, i + j, 0, 0, NULL) != TOUCH_OK;
		bad += !cpu_ok(thread_aex(&t)) || !cpu_ok(thread_resume(&t));
		bad += !cpu_ok(thread_exit(&t));
	}
	TAP_CHECK(bad == 0, "it enters, is interrupted, resumes and leaves (%u)", bad);
	thread_fini(&t);
	build_fini(&b);
	world_fini(&w, "deep step");
}

/* So small that nothing could run: said at once. */
static void test_too_small(void)
{
	struct build b[8];
	struct world w;
	int r;

	world_init(&w, 8, 0);
	r = build_create(&b[0], &w, 16 * SGX_PAGE_SIZE, 0);
	TAP_CHECK(r == -ENOMEM, "an EPC of 8 pages is too small for an enclave (%d)", r);
	build_fini(&b[0]);
	world_fini(&w, "too small");

	world_init(&w, 12, 0);
	for (unsigned int i = 0; i < 4; i++)
		TAP_CHECK(build_create(&b[i], &w, 16 * SGX_PAGE_SIZE, 0) == 0 &&
				  build_add_many(&b[i], 0, 10) == 0 && build_init(&b[i]) == 0,
			  "number %u fits", i);
	r = build_create(&b[4], &w, 16 * SGX_PAGE_SIZE, 0);
	TAP_CHECK(r == -ENOMEM, "so many that the rest is too small: said at once (%d)", r);
	build_fini(&b[4]);
	build_fini(&b[0]);
	TAP_CHECK(build_create(&b[0], &w, 16 * SGX_PAGE_SIZE, 0) == 0, "with one less it fits");
	for (unsigned int i = 0; i < 4; i++)
		build_fini(&b[i]);
	world_fini(&w, "many");
}

int main(int argc, char **argv)
{
	if (argc > 1)
		nr = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		epc_nr = (uint32_t)strtoul(argv[2], NULL, 0);
	test_deep();
	test_deep_step();
	test_too_small();
	return tap_done();
}
