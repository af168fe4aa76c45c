/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Faults: one row a situation of the fault handler; what the mapping denies, what Linux makes SIGBUS, what the
 * EPCM denies.
 */
#include <stddef.h>

#include "cpu/cpu.h"
#include "lib/tap.h"
#include "lib/world.h"

#define R   ENCL_R
#define W   ENCL_W
#define X   ENCL_X
#define RWX SGX_SECINFO_RWX

enum { PAGE_RW, PAGE_R, PAGE_RX, PAGE_TCS, PAGE_ABSENT, PAGE_ABSENT_2 };

static const struct {
	const char *name;
	bool initialized, sgx2;
	int64_t page; /* index, or beyond the enclave */
	unsigned int access, vma;
	enum encl_fault_kind kind;
	uint16_t error;
} cases[] = {
	/* What the mapping denies comes first, and has no SGX bit. */
	{ "write, mapping R", true, true, PAGE_RW, W, R, ENCL_FAULT_PF, 0x7 },
	{ "fetch, mapping R", true, true, PAGE_RX, X, R, ENCL_FAULT_PF, 0x15 },
	{ "read, mapping none", true, true, PAGE_RW, R, 0, ENCL_FAULT_PF, 0x5 },
	{ "write to no page, mapping R", true, true, PAGE_ABSENT, W, R, ENCL_FAULT_PF, 0x6 },
	/* SIGBUS. */
	{ "below the enclave", true, true, -1, R, R, ENCL_FAULT_SIGBUS, 0 },
	{ "behind the enclave", true, true, 16, R, R, ENCL_FAULT_SIGBUS, 0 },
	{ "no page, not initialised", false, true, PAGE_ABSENT, R, R, ENCL_FAULT_SIGBUS, 0 },
	{ "no page, no SGX2", true, false, PAGE_ABSENT, R, R, ENCL_FAULT_SIGBUS, 0 },
	{ "mapping RW of an R page", true, true, PAGE_R, R, R | W, ENCL_FAULT_SIGBUS, 0 },
	{ "mapping RX of an RW page", true, true, PAGE_RW, R, R | X, ENCL_FAULT_SIGBUS, 0 },
	{ "mapping RX of a TCS", true, true, PAGE_TCS, R, R | X, ENCL_FAULT_SIGBUS, 0 },
	/* What the EPCM denies has the SGX bit. */
	{ "read of a TCS", true, true, PAGE_TCS, R, R | W, ENCL_FAULT_PF, 0x8005 },
	{ "write of a TCS", true, true, PAGE_TCS, W, R | W, ENCL_FAULT_PF, 0x8007 },
	{ "read of an augmented page", true, true, PAGE_ABSENT, R, RWX, ENCL_FAULT_PF, 0x8005 },
	{ "write of an augmented page", true, true, PAGE_ABSENT, W, RWX, ENCL_FAULT_PF, 0x8007 },
	{ "fetch of an augmented page", true, true, PAGE_ABSENT, X, RWX, ENCL_FAULT_PF, 0x8015 },
	/* And what is fine. */
	{ "read of an RW page", true, true, PAGE_RW, R, R, ENCL_FAULT_DONE, 0 },
	{ "write of an RW page", true, true, PAGE_RW, W, R | W, ENCL_FAULT_DONE, 0 },
	{ "read of an R page", true, true, PAGE_R, R, R, ENCL_FAULT_DONE, 0 },
	{ "fetch of an RX page", true, true, PAGE_RX, X, R | X, ENCL_FAULT_DONE, 0 },
	{ "read before EINIT", false, true, PAGE_RW, R, R, ENCL_FAULT_DONE, 0 },
};

struct seen {
	unsigned int maps, rwx;
};

static int see_map(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, unsigned int rwx)
{
	struct seen *seen = mm;

	seen->maps++;
	seen->rwx = rwx;
	return 0;
}

static int see_place(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, const void *bytes,
		     unsigned int rwx)
{
	return encl_mm_none.ops->place(NULL, encl, la, win_off, bytes, rwx);
}

static bool see_signal(void *mm) { return false; }

static const struct encl_mm_ops see_ops = {
	.map = see_map,
	.place = see_place,
	.signal_pending = see_signal,
};

static void run(size_t i)
{
	struct seen seen = { 0 };
	struct encl_mm mm = { .ops = &see_ops, .ctx = &seen };
	struct encl_fault f;
	struct world w;
	struct build b;

	world_init(&w, 32, cases[i].sgx2 ? 0 : SGX_CPUID_SGX2);
	TAP_MUST(build_create(&b, &w, 16 * SGX_PAGE_SIZE, 0) == 0, "created");
	if (build_add(&b, PAGE_RW, NULL, FLAGS_RW) || build_add(&b, PAGE_R, NULL, FLAGS_R) ||
	    build_add(&b, PAGE_RX, NULL, FLAGS_RX))
		TAP_MUST(false, "pages added");
	static struct sgx_tcs tcs = { .ossa = 4096, .nssa = 1 };
	TAP_MUST(build_add(&b, PAGE_TCS, &tcs, FLAGS_TCS) == 0, "TCS added");
	if (cases[i].initialized)
		TAP_MUST(build_init(&b) == 0, "initialised");
	f = encl_fault(b.encl, &mm, b.base + (uint64_t)cases[i].page * SGX_PAGE_SIZE + 8,
		       cases[i].access, cases[i].vma, true);
	TAP_CHECK(f.kind == cases[i].kind && f.pf_error == cases[i].error, "%s (%d, %#x)",
		  cases[i].name, f.kind, f.pf_error);
	TAP_CHECK((f.kind == ENCL_FAULT_SIGBUS) == (f.why != NULL), "%s: says why: %s",
		  cases[i].name, f.why ? f.why : "-");
	TAP_CHECK(seen.maps == (f.kind == ENCL_FAULT_DONE), "%s: mapped, or not", cases[i].name);
	build_fini(&b);
	world_fini(&w, cases[i].name);
}

/* The mapping gets what the EPCM has, not what was asked for. */
static void rights(void)
{
	struct seen seen = { 0 };
	struct encl_mm mm = { .ops = &see_ops, .ctx = &seen };
	struct world w;
	struct build b;

	world_init(&w, 32, 0);
	TAP_MUST(build_create(&b, &w, 16 * SGX_PAGE_SIZE, 0) == 0, "created");
	TAP_MUST(build_add(&b, 0, NULL, FLAGS_RWX) == 0 && build_add(&b, 1, NULL, FLAGS_RX) == 0,
		 "added");
	encl_fault(b.encl, &mm, b.base, R, R, true);
	TAP_CHECK(seen.rwx == RWX, "an RWX page is shown with RWX, the mapping narrows it");
	encl_fault(b.encl, &mm, b.base + SGX_PAGE_SIZE, R, R, true);
	TAP_CHECK(seen.rwx == (R | X), "an RX page with RX");
	build_fini(&b);
	world_fini(&w, "rights");
}

int main(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run(i);
	rights();
	return tap_done();
}
