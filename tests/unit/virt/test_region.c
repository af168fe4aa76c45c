/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Memory regions: what KVM_SET_USER_MEMORY_REGION takes and refuses, and addresses both ways.
 */
#include <errno.h>

#include "lib/tap.h"
#include "lib/world.h"
#include "vepc/vepc.h"
#include "virt/virt.h"

#define PAGE ((uint64_t)SGX_PAGE_SIZE)
#define GPA  0x100000000ull
#define HVA  0x7f0000000000ull

static struct world w;
static struct vepc_registry *registry;
static struct virt_guest *guest;
static struct vepc *vepc, *other;

static struct virt_region region(uint32_t slot, uint64_t gpa, uint64_t pages, uint64_t off)
{
	return (struct virt_region){ .slot = slot,
				     .gpa = gpa,
				     .bytes = pages * PAGE,
				     .hva = HVA + off,
				     .vepc = vepc,
				     .off = off };
}

static int set(struct virt_region r) { return virt_set_region(guest, &r); }

static bool leads(uint64_t gpa, uint64_t hva)
{
	uint64_t got_hva = 0, got_gpa = 0;

	return virt_gpa_to_hva(guest, gpa, &got_hva) == 0 && got_hva == hva &&
	       virt_hva_to_gpa(guest, hva, &got_gpa) == 0 && got_gpa == gpa;
}

static bool nowhere(uint64_t gpa)
{
	uint64_t hva;

	return virt_gpa_to_hva(guest, gpa, &hva) == -ENOENT;
}

static void test_create(void)
{
	struct virt_region bad;

	TAP_CHECK(set(region(0, GPA, 16, 0)) == 0, "create");
	TAP_CHECK(leads(GPA, HVA) && leads(GPA + 15 * PAGE + 5, HVA + 15 * PAGE + 5),
		  "first and last page lead to the host and back");
	TAP_CHECK(nowhere(GPA - 1) && nowhere(GPA + 16 * PAGE), "but not what is beside them");
	TAP_CHECK(set(region(VIRT_SLOTS, 0, 1, 0)) == -EINVAL, "no such slot");
	bad = region(1, 0, 1, 0);
	bad.flags = 0x80;
	TAP_CHECK(set(bad) == -EINVAL, "no such flag");
	TAP_CHECK(set(region(1, 0x123, 1, 0)) == -EINVAL, "a gpa that is no page's");
	bad = region(1, 0, 1, 0);
	bad.hva = HVA + 1;
	TAP_CHECK(set(bad) == -EINVAL, "an hva that is no page's");
	TAP_CHECK(set(region(1, UINT64_MAX - PAGE + 1, 2, 0)) == -EINVAL,
		  "past the end of all addresses");
	bad = region(1, 0, 1, 0);
	bad.vepc = other;
	TAP_CHECK(set(bad) == -EINVAL, "memory that the guest does not keep");
	bad.vepc = NULL;
	TAP_CHECK(set(bad) == -EINVAL, "no memory at all");
	TAP_CHECK(set(region(1, 1ull << 52, 1, 0)) == -EINVAL &&
			  set(region(1, (1ull << 52) - PAGE, 2, 0)) == -EINVAL,
		  "past what any processor has of addresses");
	TAP_CHECK(set(region(1, 0, 1ull << 31, 0)) == -EINVAL, "2^31 pages");
	bad = region(1, 0, 1, 0);
	bad.bytes += 5;
	TAP_CHECK(set(bad) == -EINVAL, "a size that is no page's");
}

static void test_overlap(void)
{
	TAP_CHECK(set(region(1, GPA + 15 * PAGE, 2, 32 * PAGE)) == -EEXIST, "overlap at the end");
	TAP_CHECK(set(region(1, GPA - PAGE, 2, 32 * PAGE)) == -EEXIST, "at the beginning");
	TAP_CHECK(set(region(1, GPA + 4 * PAGE, 1, 32 * PAGE)) == -EEXIST, "inside");
	TAP_CHECK(set(region(1, GPA - PAGE, 99, 32 * PAGE)) == -EEXIST, "around");
	TAP_CHECK(set(region(1, GPA + 16 * PAGE, 8, 32 * PAGE)) == 0, "right behind: no overlap");
	TAP_CHECK(set(region(2, GPA + 64 * PAGE, 4, 0)) == 0,
		  "the same memory at another gpa, too");
}

static void test_change(void)
{
	struct virt_region r;

	TAP_CHECK(set(region(0, GPA, 17, 0)) == -EINVAL, "another size: EINVAL");
	r = region(0, GPA, 16, 0);
	r.hva += PAGE;
	TAP_CHECK(set(r) == -EINVAL, "another hva: EINVAL");
	r = region(0, GPA, 16, 0);
	r.flags = VIRT_READONLY;
	TAP_CHECK(set(r) == -EINVAL, "read-only, which it was not: EINVAL");
	r.flags = VIRT_LOG_DIRTY;
	TAP_CHECK(set(r) == 0 && leads(GPA, HVA), "logging on: the same otherwise");
	TAP_CHECK(set(r) == 0, "nothing to change: 0");
	r.gpa = 3 * GPA;
	r.flags = VIRT_READONLY;
	TAP_CHECK(set(r) == -EINVAL && leads(GPA, HVA), "a move and read-only at once: EINVAL");
	TAP_CHECK(set(region(0, GPA, 16, 0)) == 0, "and off");
	TAP_CHECK(set(region(0, GPA + 16 * PAGE, 16, 0)) == -EEXIST, "a move onto another: EEXIST");
	TAP_CHECK(leads(GPA, HVA), "then it has not moved");
	TAP_CHECK(set(region(0, 2 * GPA, 16, 0)) == 0 && leads(2 * GPA + PAGE, HVA + PAGE) &&
			  nowhere(GPA),
		  "a move");
	TAP_CHECK(set(region(0, 2 * GPA + PAGE, 16, 0)) == 0 && nowhere(2 * GPA),
		  "a move onto a part of itself");
}

static void test_delete(void)
{
	TAP_CHECK(set(region(5, 0, 0, 0)) == -EINVAL, "delete what is not there: EINVAL");
	TAP_CHECK(set(region(0, 0, 0, 0)) == 0 && nowhere(2 * GPA + PAGE), "delete");
	TAP_CHECK(set(region(0, GPA, 8, 0)) == 0 && leads(GPA + 7 * PAGE, HVA + 7 * PAGE) &&
			  nowhere(GPA + 8 * PAGE),
		  "and anew, of another size");
	TAP_CHECK(leads(GPA + 16 * PAGE, HVA + 32 * PAGE), "the others are as they were");
}

int main(void)
{
	world_init(&w, 64, 0);
	TAP_CHECK(virt_create(w.epc, &guest) == -EOPNOTSUPP,
		  "without ENCLV there is no such thing");
	world_fini(&w, "no ENCLV");
	world_init_caps(&w, 64, 0, SGX_CPUID_ENCLV | SGX_CPUID_ENCLS_C);
	TAP_MUST(vepc_registry_create(w.epc, &registry) == 0 && vepc_open(registry, &vepc) == 0 &&
			 vepc_open(registry, &other) == 0 && virt_create(w.epc, &guest) == 0,
		 "a guest");
	TAP_CHECK(virt_keep(guest, vepc) == 0 && virt_keep(guest, vepc) == -EEXIST,
		  "a file is kept once");
	TAP_CHECK(vepc_reserve(other, 0, PAGE) == 0 && virt_keep(guest, other) == -EEXIST,
		  "and not after it was mapped");
	test_create();
	test_overlap();
	test_change();
	test_delete();
	vepc_put(vepc);
	TAP_CHECK(nowhere(GPA) && nowhere(GPA + 16 * PAGE), "regions end with their file");
	vepc_put(other);
	virt_put(guest);
	vepc_registry_destroy(registry);
	world_fini(&w, "regions");
	return tap_done();
}
