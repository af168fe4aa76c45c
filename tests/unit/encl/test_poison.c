/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Machine checks on the pages of an enclave: one page, its SECS, a VA page, and one of these while others leave; and the
 * frames never come back.
 */
#include <string.h>

#include "arch/sgx.h"
#include "encl/encl_priv.h"
#include "epc/owner.h"
#include "lib/world.h"

enum { NR = 24 };

static bool is_poison(struct build *b, uint64_t idx)
{
	struct encl_fault f = { 0 };

	return touch_page(b->encl, idx, 0, 0, &f) == TOUCH_FAULT && f.kind == ENCL_FAULT_POISON;
}

static void start(struct world *w, struct build *b)
{
	world_init(w, 64, 0);
	TAP_MUST(build_create(b, w, 32 * SGX_PAGE_SIZE, 0) == 0 && build_add_many(b, 0, NR) == 0 &&
			 build_init(b) == 0,
		 "an enclave");
}

static uint64_t poisoned(struct world *w)
{
	struct epc_stats stats;

	epc_stats_read(w->epc, &stats);
	return stats.poisoned;
}

/* What is broken comes off with the enclave, and is all that is not free then. */
static void end(struct world *w, struct build *b, uint64_t broken, const char *name)
{
	struct epc_stats stats;

	build_fini(b);
	epc_stats_read(w->epc, &stats);
	TAP_CHECK(stats.poisoned == broken && stats.free + stats.dirty == stats.pages - broken,
		  "%s: %lu frames are broken, all others free", name, (unsigned long)broken);
	world_audit(w, name);
	world_destroy(w);
}

static void evict_all(struct world *w)
{
	for (unsigned int i = 0; i < 100; i++)
		epc_reclaim(w->epc);
}

static void test_page(void)
{
	unsigned int good = 0;
	struct world w;
	struct build b;

	start(&w, &b);
	TAP_CHECK(touch_page(b.encl, 3, 0, 0, NULL) == TOUCH_OK, "page 3 is here");
	TAP_CHECK(encl_poison(b.encl, b.base + 3 * SGX_PAGE_SIZE) == 0, "a machine check on it");
	TAP_CHECK(is_poison(&b, 3), "a touch is SIGBUS, by the machine check");
	world_audit(&w, "one broken");
	evict_all(&w);
	TAP_CHECK(is_poison(&b, 3), "nor is it evicted");
	for (uint64_t i = 0; i < NR; i++)
		good += touch_page(b.encl, i, 0, 0, NULL) == TOUCH_OK;
	TAP_CHECK(good == NR - 1, "all others go and come");
	TAP_CHECK(poisoned(&w) == 0, "its frame is the enclave's as long as that is there");
	evict_all(&w);
	TAP_CHECK(encl_poison(b.encl, b.base + 5 * SGX_PAGE_SIZE) == -14 &&
			  encl_poison(b.encl, b.base - SGX_PAGE_SIZE) == -14,
		  "a page that is not in the EPC cannot break");
	end(&w, &b, 1, "a page");
}

/* @type: whichever frame of the enclave is of that type. */
static void test_type(uint8_t type, bool evicted, const char *name)
{
	unsigned int broken = 0, good = 0;
	struct cpu_epcm epcm;
	struct world w;
	struct build b;

	start(&w, &b);
	if (evicted)
		evict_all(&w);
	for (uint32_t nr = 0; nr < 64 && !broken; nr++) {
		epcm = cpu_epcm_read(w.cpu, nr);
		if (epcm.valid && epcm.type == type)
			broken = epc_poison(w.epc, nr) == 0;
	}
	TAP_MUST(broken == 1, "a machine check on a %s page", name);
	for (uint64_t i = 0; i < NR; i++)
		good += is_poison(&b, i);
	TAP_CHECK(good == NR, "no page of the enclave can be used");
	evict_all(&w);
	world_audit(&w, name);
	end(&w, &b, 1, name);
}

/* Slots of a broken VA page are not written to: what would need one stays. */
static void test_va_evict(void)
{
	unsigned int good = 0;
	struct world w;
	struct build b;

	start(&w, &b);
	for (uint32_t nr = 0; nr < 64; nr++) {
		struct cpu_epcm epcm = cpu_epcm_read(w.cpu, nr);

		if (epcm.valid && epcm.type == SGX_PT_VA)
			epc_poison(w.epc, nr);
	}
	evict_all(&w);
	for (uint64_t i = 0; i < NR; i++)
		good += touch_page(b.encl, i, 0, 0, NULL) == TOUCH_OK;
	TAP_CHECK(good == NR, "with its only VA page broken, every page stays");
	end(&w, &b, 1, "VA before eviction");
}

enum { MANY = 600, MANY_FRAMES = 700 }; /* in two VA pages of level 0, at least */

/* Others have room: what is evicted has its slot there.  Returns false when there is no @nth VA page. */
static bool one_of_many(unsigned int nth)
{
	unsigned int good = 0, seen = 0, broken = 0;
	struct encl_info info;
	struct world w;
	struct build b;

	world_init(&w, MANY_FRAMES, 0);
	TAP_MUST(build_create(&b, &w, 1024 * SGX_PAGE_SIZE, 0) == 0 &&
			 build_add_many(&b, 0, MANY) == 0 && build_init(&b) == 0,
		 "an enclave of %u pages", MANY);
	for (uint32_t nr = 0; nr < MANY_FRAMES && !broken; nr++) {
		struct cpu_epcm epcm = cpu_epcm_read(w.cpu, nr);

		if (epcm.valid && epcm.type == SGX_PT_VA && seen++ == nth)
			broken = epc_poison(w.epc, nr) == 0;
	}
	if (broken) {
		evict_all(&w);
		encl_info_read(b.encl, &info);
		TAP_CHECK(info.evictions >= SGX_VA_SLOTS / 2,
			  "VA page %u is broken, and %lu pages go", nth,
			  (unsigned long)info.evictions);
		for (uint64_t i = 0; i < MANY; i++)
			good += touch_page(b.encl, i, 0, 0, NULL) == TOUCH_OK;
		TAP_CHECK(good == MANY, "and come back (%u)", good);
	}
	end(&w, &b, broken, "one VA page of several");
	return broken > 0;
}

static void test_va_of_many(void)
{
	unsigned int nth = 0;

	while (one_of_many(nth))
		nth++;
	TAP_CHECK(nth >= 2, "each of %u VA pages was broken once", nth);
}

/* ---- between block and write -------------------------------------------------------------------------- */

enum { FIRST = 8 };

/*
 * Somebody whose page is in the batches too, and never goes: when it is asked, some of the enclave's pages are blocked
 * and none is written.
 */
static struct trick {
	struct world *w;
	struct encl *encl;
	unsigned int
		level; /* the first time that so many pages with versions of that level are leaving, */
	unsigned int leaving; /* their VA page breaks */
	unsigned int broke;   /* with so many of them on their way */
	unsigned int gone; /* and versions of so many pages in it, or in what has its own there */
} trick;

static bool trick_yes(struct epc_page *frame) { return true; }

static int trick_write(struct epc_page *frame) { return -1; }

static void trick_put(struct epc_page *frame) {}

/* The pages on their way whose versions are of the level; and the VA page of one of them. */
static unsigned int leaving_locked(struct encl *encl, unsigned int level, struct encl_va **ret_va)
	REQUIRES(&encl->lock)
{
	struct encl_page *page;
	unsigned int nr = 0;

	for (uint64_t i = 0; level == 0 && i < encl->size / SGX_PAGE_SIZE; i++) {
		page = pages_find_locked(encl, i);
		if (page && page->flags & ENCL_PAGE_LEAVING) {
			*ret_va = page->va;
			nr++;
		}
	}
	for (struct encl_va *va = va_first(encl); level > 0 && va; va = va_next(va)) {
		if (va_level_of(&va->page) == level && va->page.flags & ENCL_PAGE_LEAVING) {
			*ret_va = va->page.va;
			nr++;
		}
	}
	return nr;
}

/* Pages that cannot be had without what is in @va. */
static unsigned int gone_locked(struct encl *encl, const struct encl_va *va) REQUIRES(&encl->lock)
{
	const struct encl_page *page;
	unsigned int nr = 0;

	for (uint64_t i = 0; i < encl->size / SGX_PAGE_SIZE; i++) {
		page = pages_find_locked(encl, i);
		for (; page && !page->epc_page; page = &page->va->page) {
			if (page->va == va) {
				nr++;
				break;
			}
		}
	}
	return nr;
}

static bool trick_block(struct epc_page *frame)
{
	struct encl_va *va = NULL;
	unsigned int nr;

	encl_lock(trick.encl);
	nr = leaving_locked(trick.encl, trick.level, &va);
	if (!trick.broke && nr >= trick.leaving)
		trick.gone = gone_locked(trick.encl, va);
	encl_unlock(trick.encl);
	if (trick.broke || nr < trick.leaving)
		return false;
	if (epc_poison(trick.w->epc, epc_page_nr(trick.w->epc, va->page.epc_page)) == 0)
		trick.broke = nr;
	return false;
}

/* What the enclave knows of its slots is what can be counted. */
static bool versions_are_right(struct encl *encl)
{
	struct va_level before[VA_LEVELS];
	bool same = true;

	encl_lock(encl);
	memcpy(before, encl->versions.level, sizeof(before));
	va_recount_locked(encl);
	for (unsigned int i = 0; i < VA_LEVELS; i++) {
		const struct va_level *level = &encl->versions.level[i];

		same = same && level->nr == before[i].nr && level->here_nr == before[i].here_nr &&
		       level->free_nr == before[i].free_nr;
	}
	encl_unlock(encl);
	return same;
}

static void test_va_in_batch(unsigned int level, uint32_t pages, uint32_t frames,
			     unsigned int leaving, const char *name)
{
	static const struct sgx_epc_page_ops ops = { .name = "trick",
						     .get = trick_yes,
						     .reclaim = trick_yes,
						     .block = trick_block,
						     .write = trick_write,
						     .put = trick_put,
						     .blanks = true };
	struct epc_config policy = { .policy = "upstream" };
	struct epc_owner_config config = { .ops = &ops };
	unsigned int good = 0, lost = 0;
	struct epc_owner *owner;
	struct epc_page *frame;
	struct world w;
	struct build b;

	world_init_epc(&w, frames, &policy);
	TAP_MUST(build_create(&b, &w, 1024 * SGX_PAGE_SIZE, 0) == 0 &&
			 build_add_many(&b, 0, FIRST) == 0,
		 "%s: an enclave", name);
	trick = (struct trick){ .w = &w, .encl = b.encl, .level = level, .leaving = leaving };
	config.owner = &trick;
	TAP_MUST(epc_owner_create(w.epc, &config, &owner) == 0 &&
			 epc_alloc(w.epc, owner, 0, &frame) == 0,
		 "%s: and somebody else in the midst of its pages", name);
	epc_track(w.epc, frame);
	TAP_MUST(build_add_many(&b, FIRST, pages - FIRST) == 0 && build_init(&b) == 0,
		 "%s: all of them", name);
	evict_all(&w);
	TAP_CHECK(trick.broke >= leaving, "%s: with %u pages on their way, their VA page broke",
		  name, trick.broke);
	world_audit(&w, name);
	TAP_CHECK(versions_are_right(b.encl), "%s: the slots are counted right", name);
	for (uint64_t i = 0; i < pages; i++) {
		good += touch_page(b.encl, i, 0, 0, NULL) == TOUCH_OK;
		lost += is_poison(&b, i);
	}
	/* What is leaving has its version in another one. */
	TAP_CHECK(good + lost == pages && lost == trick.gone,
		  "%s: %u pages are what they were, %u, whose versions were there, are lost", name,
		  good, lost);
	TAP_CHECK(versions_are_right(b.encl), "%s: the slots still are", name);
	while (epc_untrack(w.epc, frame) < 0)
		;
	epc_free(w.epc, frame);
	epc_owner_destroy(owner);
	end(&w, &b, 1, name);
}

int main(void)
{
	test_page();
	test_type(SGX_PT_SECS, false, "SECS");
	test_type(SGX_PT_VA, true, "VA");
	test_va_evict();
	test_va_of_many();
	test_va_in_batch(0, NR, 64, 4, "pages leave");
	test_va_in_batch(1, MANY, MANY_FRAMES, 1, "VA pages leave");
	return tap_done();
}
