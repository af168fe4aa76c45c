/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Paging: enclaves much larger than the EPC keep every byte, whatever the order of use.
 */
#include <stdlib.h>

#include "cpu/cpu.h"
#include "epc/epc.h"
#include "lib/tap.h"
#include "lib/world.h"

static uint64_t random_state = 88172645463325252ull;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static uint64_t pow2_pages(uint64_t pages)
{
	uint64_t p = 2;

	while (p < pages)
		p *= 2;
	return p;
}

/* Touch with a random stride, each time checking and changing the page. False at the first surprise. */
static bool shuffle(struct build *b, uint64_t *versions, uint64_t nr, uint64_t touches)
{
	for (uint64_t i = 0; i < touches; i++) {
		uint64_t idx = random_next() % nr;
		uint64_t next = versions[idx] + (random_next() & 1);

		if (touch_page(b->encl, idx, versions[idx], next, NULL) != TOUCH_OK) {
			printf("# page %llu at touch %llu\n", (unsigned long long)idx,
			       (unsigned long long)i);
			return false;
		}
		versions[idx] = next;
	}
	return true;
}

static bool sweep(struct build *b, uint64_t *versions, uint64_t nr)
{
	for (uint64_t idx = 0; idx < nr; idx++) {
		if (touch_page(b->encl, idx, versions[idx], versions[idx] + 1, NULL) != TOUCH_OK) {
			printf("# page %llu\n", (unsigned long long)idx);
			return false;
		}
		versions[idx]++;
	}
	return true;
}

static void oversubscribe(uint32_t epc_pages, uint64_t nr)
{
	uint64_t *versions = calloc(nr, sizeof(*versions));
	struct encl_info info;
	struct world w;
	struct build b;
	char name[64];

	snprintf(name, sizeof(name), "%llu pages in an EPC of %u", (unsigned long long)nr,
		 epc_pages);
	world_init(&w, epc_pages, 0);
	TAP_MUST(build_create(&b, &w, pow2_pages(nr) * SGX_PAGE_SIZE, 0) == 0, "%s: created", name);
	TAP_MUST(build_add_many(&b, 0, nr) == 0, "%s: every page added", name);
	world_audit(&w, name);
	TAP_CHECK(sweep(&b, versions, nr), "%s: a sweep before EINIT", name);
	TAP_MUST(build_init(&b) == 0, "%s: initialised, so the measurement is right", name);
	TAP_CHECK(sweep(&b, versions, nr) && sweep(&b, versions, nr), "%s: two sweeps", name);
	TAP_CHECK(shuffle(&b, versions, nr, 4 * nr), "%s: a random walk", name);
	encl_info_read(b.encl, &info);
	TAP_CHECK(info.pages == nr && info.resident <= epc_pages &&
			  info.loads >= 2 * (nr - epc_pages),
		  "%s: it was paged for that, %llu loads", name, (unsigned long long)info.loads);
	world_audit(&w, name);
	build_fini(&b);
	world_fini(&w, name);
	free(versions);
}

/* Pages that EAUG makes are paged like others, and stay PENDING over it. */
static void augment(uint32_t epc_pages, uint64_t nr)
{
	struct encl_fault f;
	struct encl_info info;
	struct world w;
	struct build b;
	uint64_t good = 0;

	world_init(&w, epc_pages, 0);
	TAP_MUST(build_create(&b, &w, pow2_pages(nr) * SGX_PAGE_SIZE, 0) == 0, "augment: created");
	TAP_MUST(build_add(&b, 0, NULL, FLAGS_RW) == 0 && build_init(&b) == 0,
		 "augment: initialised");
	for (int round = 0; round < 2; round++) {
		for (uint64_t idx = 1; idx < nr; idx++) {
			f = encl_fault(b.encl, &encl_mm_none, b.base + idx * SGX_PAGE_SIZE, ENCL_W,
				       SGX_SECINFO_RWX, true);
			good += f.kind == ENCL_FAULT_PF && f.pf_error == 0x8007;
		}
	}
	TAP_CHECK(good == 2 * (nr - 1), "augment: %llu of %llu touches are 0x8007, PENDING",
		  (unsigned long long)good, (unsigned long long)(2 * (nr - 1)));
	encl_info_read(b.encl, &info);
	TAP_CHECK(info.pages == nr, "augment: one page each, not one a touch");
	TAP_CHECK(info.va_pages == (nr + 1 + 503) / 504 + 1,
		  "augment: a VA page for each 504, and one for those (%llu)",
		  (unsigned long long)info.va_pages);
	TAP_CHECK(touch_page(b.encl, 0, 0, 0, NULL) == TOUCH_OK, "augment: the old page is whole");
	build_fini(&b);
	world_fini(&w, "augment");
}

/* Where an EPC is too small: an error, soon, and nothing is lost. */
static void too_small(void)
{
	struct world w;
	struct build b;
	int r;

	world_init(&w, 2, 0);
	r = build_create(&b, &w, 16 * SGX_PAGE_SIZE, 0);
	TAP_CHECK(r == -12, "2 pages hold VA page and SECS, and could never run it: -ENOMEM (%d)",
		  r);
	build_fini(&b);
	world_fini(&w, "too small");
}

int main(void)
{
	oversubscribe(16, 16);
	oversubscribe(16, 256);
	oversubscribe(16, 1600);
	oversubscribe(64, 64);
	oversubscribe(64, 1024);
	oversubscribe(64, 6400);
	augment(16, 700);
	too_small();
	return tap_done();
}
