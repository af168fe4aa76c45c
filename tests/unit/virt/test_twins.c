/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Twins: two guests execute the same random instructions, one with EPC of its own, one whose EPC the host takes
 * away all the time.  Every outcome must be the same, and in the end every page; but for one: a page that the guest has
 * blocked and not tracked may be tracked by the host's own cycle (as on hardware, where cycles belong to the enclave), so
 * its EWB works at once.
 */
#include <stdlib.h>
#include <string.h>

#include "vm.h"

#define PAGE_NR 20u
#define OUT_NR  8u
#define SEEDS   12u
#define STEPS   600u

static struct vm twin[2];
static struct vm_evicted out[2][OUT_NR];
static uint32_t out_slot[OUT_NR], out_va[OUT_NR];
static bool out_used[OUT_NR];
static uint64_t rng;

static uint32_t pick(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 20) % n;
}

/* Half of the pages are in the other region. */
static uint32_t some_page(void)
{
	uint32_t i = pick(PAGE_NR);

	return i % 2 ? VM_SECOND + i / 2 : i / 2;
}

static bool same(struct cpu_outcome a, struct cpu_outcome b)
{
	return a.fault == b.fault && a.eax == b.eax && a.rflags == b.rflags &&
	       a.pf_error == b.pf_error;
}

static bool simple(enum sgx_encls leaf, uint32_t page)
{
	return same(vm_simple(&twin[0], leaf, page), vm_simple(&twin[1], leaf, page));
}

/* ETRACK on the SECS that @page really has. */
static void track_own(struct vm *vm, uint32_t page)
{
	uint32_t secs = cpu_epcm_read(vm->w.cpu, vm_nr(vm, page)).secs;

	for (uint32_t i = 0; i < PAGE_NR; i++) {
		uint32_t other = i % 2 ? VM_SECOND + i / 2 : i / 2;

		if (vm_nr(vm, other) == secs)
			vm_simple(vm, SGX_ETRACK, other);
	}
}

static bool evict(uint32_t page, uint32_t secs, uint32_t va)
{
	uint32_t k = pick(OUT_NR), slot = pick(512);
	struct cpu_outcome a, b;

	if (out_used[k] || page == va)
		return true;
	if (!simple(SGX_EBLOCK, page) || !simple(SGX_ETRACK, secs))
		return false;
	a = vm_ewb(&twin[0], page, va, slot, &out[0][k]);
	b = vm_ewb(&twin[1], page, va, slot, &out[1][k]);
	if (a.fault == CPU_NO_FAULT && a.eax == SGX_NOT_TRACKED && b.eax != SGX_NOT_TRACKED) {
		track_own(&twin[0], page);
		a = vm_ewb(&twin[0], page, va, slot, &out[0][k]);
	}
	if (cpu_ok(a)) {
		out_used[k] = true;
		out_slot[k] = slot;
		out_va[k] = va;
	}
	return same(a, b) && (!cpu_ok(a) || out[0][k].la == out[1][k].la);
}

static bool load(uint32_t page, uint32_t secs)
{
	uint32_t k = pick(OUT_NR);
	struct cpu_outcome a, b;

	if (!out_used[k] || page == secs || page == out_va[k])
		return true;
	if (pick(4) == 0)
		secs = VM_NONE;
	a = vm_eldu(&twin[0], page, secs, out_va[k], out_slot[k], &out[0][k]);
	b = vm_eldu(&twin[1], page, secs, out_va[k], out_slot[k], &out[1][k]);
	if (cpu_ok(a) || pick(3) == 0)
		out_used[k] = false;
	return same(a, b);
}

/* A SECS is in page 0 or 1 mostly, a VA page in 2, so that much works and much does not. */
static bool step(void)
{
	uint32_t page = some_page(), secs = pick(8) ? pick(2) : some_page(), i = pick(16);
	uint32_t va = pick(8) ? 2 : some_page();

	switch (pick(12)) {
	case 0:
		return vm_ecreate(&twin[0], secs) == vm_ecreate(&twin[1], secs);
	case 1:
	case 2:
	case 3:
		if (page == secs)
			return true;
		return vm_eadd(&twin[0], secs, page, i, FLAGS_RW) ==
		       vm_eadd(&twin[1], secs, page, i, FLAGS_RW);
	case 4:
		return simple(SGX_EPA, va);
	case 5:
		return simple(SGX_EREMOVE, page);
	case 6:
		return simple(SGX_EBLOCK, page);
	case 7:
		return simple(SGX_ETRACK, secs);
	case 8:
	case 9:
		return evict(page, secs, va);
	default:
		return load(page, secs);
	}
}

/* Every page in both: valid or not, what it is, and, where it is an enclave's, what is in it. */
static bool pages_same(void)
{
	for (uint32_t i = 0; i < PAGE_NR; i++) {
		uint32_t page = i % 2 ? VM_SECOND + i / 2 : i / 2, nr[2];
		struct cpu_epcm e[2];

		for (int t = 0; t < 2; t++) {
			if (vm_touch(&twin[t], page) != 0)
				return false;
			nr[t] = vm_nr(&twin[t], page);
			e[t] = cpu_epcm_read(twin[t].w.cpu, nr[t]);
		}
		if (e[0].valid != e[1].valid)
			return false;
		if (!e[0].valid)
			continue;
		if (e[0].type != e[1].type || e[0].rwx != e[1].rwx || e[0].la != e[1].la ||
		    e[0].blocked != e[1].blocked || e[0].pending != e[1].pending)
			return false;
		if (e[0].type == SGX_PT_REG &&
		    memcmp(cpu_bytes(twin[0].w.cpu, nr[0]), cpu_bytes(twin[1].w.cpu, nr[1]), 4096))
			return false;
	}
	return true;
}

static void run(uint64_t seed)
{
	struct virt_info info;
	unsigned int i;
	bool ok = true;

	rng = seed * 0x9e3779b97f4a7c15ull;
	memset(out_used, 0, sizeof(out_used));
	vm_init(&twin[0], 128);
	vm_init(&twin[1], 32);
	for (i = 0; ok && i < STEPS; i++) {
		ok = step();
		/* The instructions' own randomness must not depend on it: same number of picks for both. */
		for (uint32_t n = pick(6); n > 3; n--)
			epc_reclaim(twin[1].w.epc);
	}
	virt_info_read(twin[1].guest, &info);
	TAP_CHECK(ok, "seed %u: %u steps, the same outcome for both", (unsigned int)seed, i);
	TAP_CHECK(pages_same(), "seed %u: and the same pages in the end", (unsigned int)seed);
	TAP_CHECK(info.evictions > 20 && info.lost == 0, "seed %u: with %llu evictions on the way",
		  (unsigned int)seed, (unsigned long long)info.evictions);
	vm_fini(&twin[0], "one");
	vm_fini(&twin[1], "the other");
}

int main(void)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run(seed);
	return tap_done();
}
