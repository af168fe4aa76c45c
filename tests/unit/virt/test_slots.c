/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Versions, and regions under a guest that runs: VA pages of the host's, which come late and go again; VA pages of
 * the guest's, which are taken and brought back with what is in them; and a VMM that moves, deletes and makes
 * anew a region all the time.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "vepc/keeper.h"
#include "virt/virt_priv.h"
#include "vm.h"

enum { SECS = 0, OWN_PAGES = 60, OWN_VA = 200, CHILDREN = 20 };

static struct vm vm;

static uint64_t va_pages(void)
{
	struct virt_info info;

	virt_info_read(vm.guest, &info);
	return info.va_pages;
}

static uint64_t away(void)
{
	struct virt_info info;

	virt_info_read(vm.guest, &info);
	return info.away;
}

/* Page i of the guest's memory, of 2 * VM_PAGES that there are. */
static uint32_t nth(uint32_t i) { return i < VM_PAGES ? i : VM_SECOND + i - VM_PAGES; }

static void test_host(void)
{
	bool ok = true;

	vm_init(&vm, 64);
	TAP_MUST(vm_ecreate(&vm, SECS), "an enclave");
	for (uint32_t i = 1; i < 2 * VM_PAGES; i++)
		ok = ok && vm_eadd(&vm, SECS, nth(i), i, FLAGS_RW);
	TAP_CHECK(ok && va_pages() == 1, "512 pages, most of them away: one VA page");
	vm_reclaim(&vm);
	TAP_CHECK(away() == 2 * VM_PAGES && va_pages() == 1,
		  "all of them: the same one, it is full");
	for (uint32_t i = 1; ok && i < 2 * VM_PAGES; i += 7)
		ok = vm_is_intact(&vm, nth(i), i, FLAGS_RW);
	TAP_CHECK(ok, "they come back");
	TAP_CHECK(vepc_remove_all(vm.file[0]) + vepc_remove_all(vm.file[1]) <= 1 &&
			  vepc_remove_all(vm.file[0]) + vepc_remove_all(vm.file[1]) == 0,
		  "the guest is reset");
	vm_reclaim(&vm);
	TAP_CHECK(va_pages() == 0, "nothing of it is away or here: the VA page is free again");
	TAP_CHECK(vm_epa(&vm, 3) && vm_touch(&vm, 3) == 0 && va_pages() == 1,
		  "it comes back with the first page");
	vm_fini(&vm, "the host's VA pages");
}

static void test_guest(void)
{
	static struct vm_evicted out[OWN_PAGES];
	bool ok = true;

	vm_init(&vm, 64);
	TAP_MUST(vm_ecreate(&vm, SECS) && vm_epa(&vm, OWN_VA) && vm_epa(&vm, OWN_VA + 1),
		 "an enclave, and two VA pages of the guest's");
	for (uint32_t i = 0; i < OWN_PAGES; i++)
		ok = ok && vm_eadd(&vm, SECS, 1 + i, i, FLAGS_RW);
	for (uint32_t i = 0; ok && i < OWN_PAGES; i++) {
		ok = cpu_ok(vm_simple(&vm, SGX_EBLOCK, 1 + i)) &&
		     cpu_ok(vm_simple(&vm, SGX_ETRACK, SECS)) &&
		     cpu_ok(vm_ewb(&vm, 1 + i, OWN_VA + i % 2, 511 - i, &out[i]));
		vm_reclaim(&vm);
	}
	TAP_CHECK(ok && away() == 3, "the guest evicts all, while the host takes its VA pages");
	for (uint32_t i = OWN_PAGES; ok && i-- > 0;) {
		uint32_t k = i * 7 % OWN_PAGES;

		ok = cpu_ok(vm_eldu(&vm, 1 + k, SECS, OWN_VA + k % 2, 511 - k, &out[k]));
		vm_reclaim(&vm);
	}
	TAP_CHECK(ok, "and loads all, in another order: each version was there");
	for (uint32_t i = 0; ok && i < OWN_PAGES; i++)
		ok = vm_is_intact(&vm, 1 + i, i, FLAGS_RW);
	TAP_CHECK(ok, "with what was in them");
	for (uint32_t i = 0; ok && i < OWN_PAGES; i++)
		ok = cpu_ok(vm_simple(&vm, SGX_EREMOVE, 1 + i)) &&
		     !cpu_ok(vm_eldu(&vm, 1 + i, SECS, OWN_VA + i % 2, 511 - i, &out[i]));
	TAP_CHECK(ok, "none of them a second time");
	vm_fini(&vm, "the guest's VA pages");
}

/* The host's VA page, the only one that there is. */
static bool break_va(void)
{
	struct cpu_epcm epcm;

	for (uint32_t nr = 0; nr < 64; nr++) {
		epcm = cpu_epcm_read(vm.w.cpu, nr);
		if (epcm.valid && epcm.type == SGX_PT_VA &&
		    !epc_page_poisoned(epc_page_at(vm.w.epc, nr)))
			return epc_poison(vm.w.epc, nr) == 0;
	}
	return false;
}

static unsigned int blocked, broken;

/* A machine check between EBLOCK and EWB. */
static void on_leaf(void *ctx, const char *before)
{
	if (!strcmp(before, "EBLOCK") && ++blocked == 3)
		broken += break_va();
}

/* An enclave whose VA page breaks when three of its pages are blocked. */
static bool break_in_batch(void)
{
	bool ok = true;

	vm_init(&vm, 64);
	TAP_MUST(vm_ecreate(&vm, SECS), "an enclave");
	for (uint32_t i = 1; i <= CHILDREN; i++)
		ok = ok && vm_eadd(&vm, SECS, i, i, FLAGS_RW);
	blocked = broken = 0;
	virt_set_hook(vm.guest, on_leaf, NULL);
	vm_reclaim(&vm);
	virt_set_hook(vm.guest, NULL, NULL);
	return ok && broken == 1;
}

/* What would have gone into it is not written there: all pages that are in the EPC are as they were. */
static void test_broken(void)
{
	bool ok = break_in_batch();

	TAP_CHECK(ok && away() == 0, "a VA page breaks before any version is in it");
	for (uint32_t i = 1; ok && i <= CHILDREN; i++)
		ok = vm_is_intact(&vm, i, i, FLAGS_RW);
	TAP_CHECK(ok, "no page is lost");
	vm_reclaim(&vm);
	TAP_CHECK(away() > CHILDREN && va_pages() == 2, "they go into another one");
	for (uint32_t i = 1; ok && i <= CHILDREN; i++)
		ok = vm_is_intact(&vm, i, i, FLAGS_RW);
	TAP_CHECK(ok, "and come back from there");
	vm_fini(&vm, "a VA page that broke");
}

/* ---- a slot that changes -------------------------------------------------------------------------------- */

/* The first page that has its version's slot, number @slot or another one, in @va. */
static struct kept *kept_with(struct va *va, uint16_t slot)
{
	for (uint32_t i = 1; i <= CHILDREN; i++) {
		struct vepc_page *page = vepc_page_locked(vm.file[0], i);
		struct kept *kept = page ? kept_of(page) : NULL;

		if (kept && kept->slots.va == va && kept->slots.slot == slot)
			return kept;
	}
	return NULL;
}

static bool is_usable(const struct va_page *page) { return true; }

/* No slot is noted twice. */
static bool slots_add_up(void)
{
	for (struct va *va = guest_va_first_locked(vm.guest); va; va = guest_va_next_locked(va)) {
		uint32_t nr = 0;

		for (unsigned int i = 0; i < SGX_VA_SLOTS / 64; i++)
			nr += (uint32_t)__builtin_popcountll(va->page.used[i]);
		if (nr != va->page.used_nr)
			return false;
	}
	return true;
}

/* Somebody dies while a page gets another slot, which has the number of another page's in the old VA page: @stores were done. */
static void test_mended(unsigned int stores)
{
	struct va *old, *other;
	struct kept *kept;
	bool ok = break_in_batch();
	uint16_t slot;

	old = guest_va_first_locked(vm.guest);
	kept = kept_with(old, 1);
	TAP_MUST(ok && kept && vm_touch(&vm, (uint32_t)kept->idx) == 0,
		 "three pages have slots of a VA page that broke; one moves to another");
	guest_lock(vm.guest);
	kept = kept_with(old, 2);
	other = guest_va_of(va_slot_get(&vm.guest->versions, 0, is_usable, &slot));
	while (other == old)
		other = guest_va_of(va_slot_get(&vm.guest->versions, 0, is_usable, &slot));
	TAP_MUST(kept && kept_with(old, 0) && other && slot == 0, "the next is about to");
	vm.guest->mends_to = (struct slots){ .va = other, .slot = slot };
	vm.guest->mending = &kept->slots;
	if (stores > 0)
		kept->slots.slot = slot;
	if (stores > 1)
		kept->slots.va = other;
	guest_repair_locked(vm.guest);
	TAP_CHECK(slots_add_up() && kept->slots.va == other && kept->slots.slot == slot &&
			  !vm.guest->mending,
		  "after a death behind %u stores every slot is noted once", stores);
	guest_unlock(vm.guest);
	for (uint32_t i = 1; ok && i <= CHILDREN; i++)
		ok = vm_is_intact(&vm, i, i, FLAGS_RW);
	TAP_CHECK(ok, "and no page is lost");
	vm_fini(&vm, "a slot that changes");
}

/* ---- regions that come and go --------------------------------------------------------------------------- */

static _Atomic bool stop;
static _Atomic unsigned int changes;

/* The second region stays where it is, and so do the pages that are looked at. */
static void *vcpu(void *arg)
{
	unsigned long wrong = 0;

	for (uint32_t i = 0; i < 3000; i++) {
		struct cpu_outcome out = vm_simple(&vm, SGX_EBLOCK, SECS);

		/* The region is there, or it is not. */
		if (out.fault != CPU_UD && out.eax != SGX_PG_IS_SECS)
			wrong++;
		if (vm_touch(&vm, VM_SECOND + i % CHILDREN) != 0 || vm_touch(&vm, SECS) != 0)
			wrong++;
		sched_yield();
	}
	return (void *)(uintptr_t)wrong;
}

static void *reclaimer(void *arg)
{
	while (!stop)
		epc_reclaim(vm.w.epc);
	return NULL;
}

static void *mover(void *arg)
{
	struct virt_region r = {
		.slot = 0, .bytes = VM_PAGES * SGX_PAGE_SIZE, .hva = VM_HVA, .vepc = vm.file[0]
	};
	unsigned long wrong = 0;

	while (!stop) {
		unsigned int n = changes++;

		/* Away, there, back, and gone altogether for a moment. */
		r.gpa = (n % 2 ? 1 : 9) * VM_GPA;
		if (virt_set_region(vm.guest, &r) != 0)
			wrong++;
		if (n % 4 == 1) {
			r.bytes = 0;
			wrong += virt_set_region(vm.guest, &r) != 0;
			sched_yield();
			r.bytes = VM_PAGES * SGX_PAGE_SIZE;
			wrong += virt_set_region(vm.guest, &r) != 0;
		}
		sched_yield();
	}
	return (void *)(uintptr_t)wrong;
}

static void test_regions(void)
{
	pthread_t cpus[2], taker, vmm;
	void *wrong[2], *vmm_wrong;
	bool ok = true;

	/* Small enough that pages go and come all the time. */
	vm_init(&vm, 16);
	TAP_MUST(vm_ecreate(&vm, SECS), "an enclave whose SECS is in the region that moves");
	for (uint32_t i = 0; i < CHILDREN; i++)
		ok = ok && vm_eadd(&vm, SECS, VM_SECOND + i, i, FLAGS_RW);
	TAP_MUST(ok, "and its children in one that stays");
	stop = false;
	changes = 0;
	pthread_create(&taker, NULL, reclaimer, NULL);
	pthread_create(&vmm, NULL, mover, NULL);
	while (!changes) /* however late it gets a CPU */
		sched_yield();
	for (int i = 0; i < 2; i++)
		pthread_create(&cpus[i], NULL, vcpu, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(cpus[i], &wrong[i]);
	stop = true;
	pthread_join(vmm, &vmm_wrong);
	pthread_join(taker, NULL);
	TAP_CHECK(!wrong[0] && !wrong[1] && !vmm_wrong && changes > 0,
		  "two vCPUs, a reclaimer, and a region that was changed %u times", changes);
	for (uint32_t i = 0; ok && i < CHILDREN; i++)
		ok = vm_is_intact(&vm, VM_SECOND + i, i, FLAGS_RW);
	TAP_CHECK(ok, "every page is what it was");
	vm_fini(&vm, "regions that come and go");
}

int main(void)
{
	test_host();
	test_guest();
	test_broken();
	for (unsigned int stores = 0; stores <= 2; stores++)
		test_mended(stores);
	test_regions();
	return tap_done();
}
