/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Eviction: what comes back is what left, or nothing; SECS last out and first in; a backing store that
 * fails costs nobody a page.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "epc/backing.h"
#include "epc/epc.h"
#include "lib/tap.h"
#include "lib/world.h"

enum { NR = 24 };

static void start(struct world *w, struct build *b, uint32_t epc_pages)
{
	world_init(w, epc_pages, 0);
	TAP_MUST(build_create(b, w, 32 * SGX_PAGE_SIZE, 0) == 0, "created");
	TAP_MUST(build_add_many(b, 0, NR) == 0 && build_init(b) == 0, "built and initialised");
}

/* Reclaim until page @idx is out: its slot. */
static uint32_t evict(struct world *w, struct build *b, uint64_t idx)
{
	uint32_t slot = BACKING_NO_SLOT;

	for (int i = 0; i < 100 && slot == BACKING_NO_SLOT; i++) {
		epc_reclaim(w->epc);
		slot = encl_backing_slot(b->encl, idx * SGX_PAGE_SIZE);
	}
	return slot;
}

/* Reclaim until no more can go. */
static void evict_all(struct world *w)
{
	for (int i = 0; i < 100; i++)
		epc_reclaim(w->epc);
}

static uint64_t in_use(struct world *w)
{
	struct epc_stats stats;

	epc_stats_read(w->epc, &stats);
	return stats.owned + stats.tracked + stats.in_batch;
}

static bool is_bus(struct build *b, uint64_t idx, uint64_t version)
{
	struct encl_fault f;

	return touch_page(b->encl, idx, version, version, &f) == TOUCH_FAULT &&
	       f.kind == ENCL_FAULT_SIGBUS && strstr(f.why, "backing store");
}

static void test_tamper(void)
{
	struct backing *backing;
	struct world w;
	struct build b;
	uint8_t *bytes;
	uint32_t slot;

	start(&w, &b, 64);
	backing = epc_backing(w.epc);
	slot = evict(&w, &b, 3);
	TAP_MUST(slot != BACKING_NO_SLOT, "page 3 was evicted");
	bytes = backing_page(backing, slot);
	bytes[1234] ^= 0x10;
	TAP_CHECK(is_bus(&b, 3, 0), "one bit of ciphertext flipped: SIGBUS that says so");
	TAP_CHECK(is_bus(&b, 3, 0), "and again");
	world_audit(&w, "tampered");
	bytes[1234] ^= 0x10;
	bytes = (uint8_t *)backing_pcmd(backing, slot);
	for (unsigned int i = 0; i < 128; i++) {
		/* ENCLAVEID tells software whose the page is; the MAC is over the SECS's own. */
		if (i >= offsetof(struct sgx_pcmd, enclaveid) &&
		    i < offsetof(struct sgx_pcmd, reserved))
			continue;
		bytes[i] ^= 1;
		if (!is_bus(&b, 3, 0)) {
			/* Gone for good: EWB wrote it, ELDU took it although it was changed. */
			TAP_CHECK(false, "PCMD byte %u flipped was not noticed", i);
			break;
		}
		bytes[i] ^= 1;
	}
	TAP_CHECK(touch_page(b.encl, 3, 0, 0, NULL) == TOUCH_OK, "put right: it loads");
	build_fini(&b);
	world_fini(&w, "tamper");
}

static void test_replay(void)
{
	struct backing *backing;
	uint8_t page[SGX_PAGE_SIZE], pcmd[128];
	struct world w;
	struct build b;
	uint32_t slot;

	start(&w, &b, 64);
	backing = epc_backing(w.epc);
	slot = evict(&w, &b, 5);
	TAP_MUST(slot != BACKING_NO_SLOT, "page 5 was evicted");
	memcpy(page, backing_page(backing, slot), sizeof(page));
	memcpy(pcmd, backing_pcmd(backing, slot), sizeof(pcmd));
	TAP_CHECK(touch_page(b.encl, 5, 0, 1, NULL) == TOUCH_OK, "it is loaded, and changed");
	slot = evict(&w, &b, 5);
	TAP_MUST(slot != BACKING_NO_SLOT, "and evicted once more");
	TAP_CHECK(memcmp(page, backing_page(backing, slot), sizeof(page)) != 0,
		  "to other ciphertext");
	memcpy(backing_page(backing, slot), page, sizeof(page));
	memcpy(backing_pcmd(backing, slot), pcmd, sizeof(pcmd));
	TAP_CHECK(is_bus(&b, 5, 0), "its older version is refused");
	build_fini(&b);
	world_fini(&w, "replay");
}

/* Two evicted pages trade places. */
static void test_swap(void)
{
	struct backing *backing;
	uint8_t page[SGX_PAGE_SIZE], pcmd[128];
	uint32_t one, two;
	struct world w;
	struct build b;

	start(&w, &b, 64);
	backing = epc_backing(w.epc);
	evict_all(&w);
	one = encl_backing_slot(b.encl, 1 * SGX_PAGE_SIZE);
	two = encl_backing_slot(b.encl, 2 * SGX_PAGE_SIZE);
	TAP_MUST(one != BACKING_NO_SLOT && two != BACKING_NO_SLOT, "two pages are out");
	memcpy(page, backing_page(backing, one), sizeof(page));
	memcpy(pcmd, backing_pcmd(backing, one), sizeof(pcmd));
	memcpy(backing_page(backing, one), backing_page(backing, two), sizeof(page));
	memcpy(backing_pcmd(backing, one), backing_pcmd(backing, two), sizeof(pcmd));
	memcpy(backing_page(backing, two), page, sizeof(page));
	memcpy(backing_pcmd(backing, two), pcmd, sizeof(pcmd));
	TAP_CHECK(is_bus(&b, 1, 0) && is_bus(&b, 2, 0), "each refused in the other's place");
	build_fini(&b);
	world_fini(&w, "swap");
}

static void test_secs(void)
{
	struct epc_stats stats;
	struct encl_info info;
	struct world w;
	struct build b;

	world_init(&w, 64, 0);
	TAP_MUST(build_create(&b, &w, 32 * SGX_PAGE_SIZE, 0) == 0, "created");
	TAP_MUST(build_add_many(&b, 0, NR) == 0, "added");
	evict_all(&w);
	TAP_CHECK(in_use(&w) == 2, "before EINIT the SECS stays, with the VA page");
	TAP_MUST(build_init(&b) == 0, "initialised");
	evict_all(&w);
	encl_info_read(b.encl, &info);
	TAP_CHECK(info.resident == 0 && in_use(&w) == 1,
		  "after it the SECS follows its last child: only the VA page is left");
	epc_stats_read(w.epc, &stats);
	TAP_CHECK(stats.backing_slots == NR + 1, "all are in the backing store");
	world_audit(&w, "SECS out");
	for (uint64_t i = 0; i < NR; i++)
		if (touch_page(b.encl, NR - 1 - i, 0, 1, NULL) != TOUCH_OK)
			TAP_CHECK(false, "page %llu came back", (unsigned long long)(NR - 1 - i));
	epc_stats_read(w.epc, &stats);
	TAP_CHECK(in_use(&w) == NR + 2 && stats.backing_slots == 0, "SECS and all pages are back");
	evict_all(&w);
	TAP_CHECK(in_use(&w) == 1, "and out again");
	/* The end of an enclave whose SECS is not in the EPC. */
	build_fini(&b);
	world_fini(&w, "SECS");
}

static void test_secs_tamper(void)
{
	struct world w;
	struct build b;

	start(&w, &b, 64);
	evict_all(&w);
	for (uint32_t slot = 0; slot < backing_used(epc_backing(w.epc)); slot++)
		((uint8_t *)backing_page(epc_backing(w.epc), slot))[0] ^= 1;
	TAP_CHECK(is_bus(&b, 0, 0), "a SECS that was tampered with: every page is SIGBUS");
	build_fini(&b);
	world_fini(&w, "SECS tampered with");
}

static void test_backing_fails(void)
{
	struct epc_stats before, after;
	struct encl_fault f;
	struct world w;
	struct build b;
	unsigned int bad = 0;
	int r;

	world_init(&w, 16, 0);
	TAP_MUST(build_create(&b, &w, 32 * SGX_PAGE_SIZE, 0) == 0, "created");
	backing_fail(epc_backing(w.epc), -28);
	TAP_MUST(build_add_many(&b, 0, 14) == 0, "14 pages, VA page and SECS fill an EPC of 16");
	epc_stats_read(w.epc, &before);
	TAP_CHECK(before.free == 0, "no frame is free");
	r = build_add(&b, 14, NULL, FLAGS_RW);
	TAP_CHECK(r == -12, "the store is full: no 15th page, -ENOMEM (%d)", r);
	epc_stats_read(w.epc, &after);
	TAP_CHECK(after.evictions == before.evictions && after.free == 0, "nothing was evicted");
	for (uint64_t i = 0; i < 14; i++)
		bad += touch_page(b.encl, i, 0, 1, &f) != TOUCH_OK;
	TAP_CHECK(bad == 0, "every page is usable as before");
	world_audit(&w, "store full");
	backing_fail(epc_backing(w.epc), 0);
	TAP_CHECK(build_add(&b, 14, NULL, FLAGS_RW) == 0, "the store has room: there is a 15th");
	for (uint64_t i = 0; i < 14; i++)
		bad += touch_page(b.encl, i, 1, 1, &f) != TOUCH_OK;
	TAP_CHECK(bad == 0, "with the others' contents kept");
	build_fini(&b);
	world_fini(&w, "store full");
}

/* With pages out and the store full, what is out cannot come in, and what is in stays. */
static void test_backing_fails_on_load(void)
{
	struct encl_fault f;
	struct world w;
	struct build b;
	unsigned int bad = 0;

	start(&w, &b, 16);
	backing_fail(epc_backing(w.epc), -28);
	/* Some of them: a page that cannot come in takes a second to say so. */
	for (uint64_t i = 0; i < NR; i += 5) {
		enum touch t = touch_page(b.encl, i, 0, 0, &f);

		bad += t == TOUCH_WRONG || (t == TOUCH_FAULT && f.kind != ENCL_FAULT_OOM);
	}
	TAP_CHECK(bad == 0, "each page is there, or is an honest out-of-memory");
	backing_fail(epc_backing(w.epc), 0);
	for (uint64_t i = 0; i < NR; i++)
		bad += touch_page(b.encl, i, 0, 1, &f) != TOUCH_OK;
	TAP_CHECK(bad == 0, "and all are there once the store works");
	build_fini(&b);
	world_fini(&w, "store full on load");
}

static int refuse_map(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, unsigned int rwx)
{
	return 0;
}

static int refuse_place(void *mm, struct encl *encl, uint64_t la, uint64_t win_off,
			const void *bytes, unsigned int rwx)
{
	return -12;
}

static bool refuse_signal(void *mm) { return false; }

/* No memory where the loaded page must go: it goes back, and is whole. */
static void test_no_memory_on_load(void)
{
	static const struct encl_mm_ops ops = {
		.map = refuse_map,
		.place = refuse_place,
		.signal_pending = refuse_signal,
	};
	struct encl_mm mm = { .ops = &ops };
	struct encl_fault f;
	struct world w;
	struct build b;
	unsigned int bad = 0;

	start(&w, &b, 64);
	evict_all(&w);
	for (int round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < NR; i++) {
			f = encl_fault(b.encl, &mm, b.base + i * SGX_PAGE_SIZE, ENCL_R, ENCL_R,
				       true);
			bad += f.kind != ENCL_FAULT_OOM ||
			       encl_backing_slot(b.encl, i * SGX_PAGE_SIZE) == BACKING_NO_SLOT;
		}
		world_audit(&w, "no memory");
	}
	TAP_CHECK(bad == 0, "no memory for a page: out of memory, and it stays in the store (%u)",
		  bad);
	for (uint64_t i = 0; i < NR; i++)
		bad += touch_page(b.encl, i, 0, 1, NULL) != TOUCH_OK;
	TAP_CHECK(bad == 0, "with memory all pages are there");
	build_fini(&b);
	world_fini(&w, "no memory");
}

int main(void)
{
	test_tamper();
	test_replay();
	test_swap();
	test_secs();
	test_secs_tamper();
	test_backing_fails();
	test_backing_fails_on_load();
	test_no_memory_on_load();
	return tap_done();
}
