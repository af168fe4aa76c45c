/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Guests that misbehave, each beside one that does not and a host enclave, in an EPC that is too small for all: they get
 * what the processor gives them, and nobody else loses a page or waits for them.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu/cpu_priv.h"
#include "cpu/epoch.h"
#include "cpu/secs.h"
#include "vm.h"

enum { SECS = 0, CHILDREN = 12, HOST_PAGES = 24, EPC_PAGES = 40, VA = 50 };
#define PATIENCE_S 20

static struct world w;
static struct vepc_registry *registry;
static struct vm good, bad;
static struct build host;

static bool build(struct vm *vm)
{
	bool ok = vm_ecreate(vm, SECS);

	for (uint32_t i = 0; i < CHILDREN; i++)
		ok = ok && vm_eadd(vm, SECS, 1 + i, i, FLAGS_RW);
	return ok;
}

static void begin(const char *name)
{
	world_init_caps(&w, EPC_PAGES, 0, SGX_CPUID_ENCLV | SGX_CPUID_ENCLS_C);
	TAP_MUST(vepc_registry_create(w.epc, &registry) == 0, "%s", name);
	vm_join(&good, &w, registry);
	vm_join(&bad, &w, registry);
	TAP_MUST(build(&good) && build(&bad) && build_create(&host, &w, 1 << 20, 0) == 0 &&
			 build_add_many(&host, 0, HOST_PAGES) == 0 && build_init(&host) == 0,
		 "two guests, a host enclave");
}

static bool intact(struct vm *vm)
{
	for (uint32_t i = 0; i < CHILDREN; i++)
		if (!vm_is_intact(vm, 1 + i, i, FLAGS_RW))
			return false;
	return true;
}

/* The others go through all their pages some times, which takes the bad one's EPC; and do not wait. */
static void check_others(const char *name)
{
	time_t start = time(NULL);
	bool ok = true;

	for (int round = 0; ok && round < 5; round++) {
		ok = intact(&good);
		for (uint64_t i = 0; ok && i < HOST_PAGES; i++)
			ok = touch_page(host.encl, i, 0, 0, NULL) == TOUCH_OK;
	}
	TAP_CHECK(ok, "%s: the other guest and the host enclave have all their pages", name);
	TAP_CHECK(time(NULL) - start < PATIENCE_S, "%s: and did not wait", name);
	world_audit(&w, name);
}

static void end(const char *name)
{
	vm_leave(&bad);
	vm_leave(&good);
	build_fini(&host);
	TAP_CHECK(vepc_zombie_nr(registry) == 0, "%s: no zombie", name);
	vepc_registry_destroy(registry);
	world_fini(&w, name);
}

static uint64_t evictions(struct vm *vm)
{
	struct virt_info info;

	virt_info_read(vm->guest, &info);
	return info.evictions;
}

static void test_blocks(void)
{
	static const char *const name = "blocks everything and evicts nothing";
	bool ok = true;

	begin(name);
	for (uint32_t i = 0; i < CHILDREN; i++)
		ok = ok && cpu_ok(vm_simple(&bad, SGX_EBLOCK, 1 + i));
	TAP_CHECK(ok, "%s: EBLOCK of each page", name);
	check_others(name);
	TAP_CHECK(evictions(&bad) > 0, "%s: its pages were taken all the same", name);
	for (uint32_t i = 0; i < CHILDREN; i++)
		ok = ok && vm_simple(&bad, SGX_EBLOCK, 1 + i).eax == SGX_BLKSTATE;
	TAP_CHECK(ok, "%s: they are blocked, for all that it can see", name);
	end(name);
}

static void test_busy_secs(void)
{
	static const char *const name = "holds its SECS busy";
	struct epcm_entry *secs;

	begin(name);
	vm_touch(&bad, SECS);
	secs = &w.cpu->epcm[vm_nr(&bad, SECS)];
	TAP_MUST(epcm_try_exclusive(secs) == EPCM_GOT, "a leaf on its SECS does not end");
	check_others(name);
	/* No child of it is here any more: a touch of one needs the SECS. */
	TAP_CHECK(vm_nr(&bad, CHILDREN) == CPU_NO_PAGE && vm_touch(&bad, CHILDREN) == -EBUSY,
		  "%s: its own touch of a page waits, but not for ever", name);
	check_others(name);
	epcm_put_exclusive(secs);
	TAP_CHECK(intact(&bad), "%s: it has its pages when that ends", name);
	check_others(name);
	end(name);
}

static void test_remove_secs(void)
{
	static const char *const name = "removes its SECS";
	bool ok = true;

	begin(name);
	vm_reclaim(&bad);
	for (int i = 0; i < 50; i++)
		ok = ok && vm_simple(&bad, SGX_EREMOVE, SECS).eax == SGX_CHILD_PRESENT;
	TAP_CHECK(ok, "%s: CHILD_PRESENT, though the host has taken the children", name);
	check_others(name);
	for (uint32_t i = 0; i < CHILDREN; i++)
		ok = ok && cpu_ok(vm_simple(&bad, SGX_EREMOVE, 1 + i));
	TAP_CHECK(ok && cpu_ok(vm_simple(&bad, SGX_EREMOVE, SECS)),
		  "%s: after its children it can be removed", name);
	end(name);
}

/* ---- ETRACK -------------------------------------------------------------------------------------------- */

static _Atomic bool stop;
static _Atomic unsigned long tracked, strange;

static void *flood(void *arg)
{
	while (!stop) {
		struct cpu_outcome out = vm_simple(&bad, SGX_ETRACK, SECS);

		tracked++;
		if (out.fault != CPU_NO_FAULT ||
		    (out.eax != SGX_OK && out.eax != SGX_PREV_TRK_INCMPL))
			strange++;
		sched_yield();
	}
	return NULL;
}

static void test_flood(bool inside)
{
	const char *name = inside ? "floods ETRACK, with a thread inside" : "floods ETRACK";
	uint64_t before, epoch = 0;
	pthread_t thread;

	begin(name);
	vm_touch(&bad, SECS);
	if (inside)
		epoch_enter(&secs_page(w.cpu, vm_nr(&bad, SECS))->own.track, &epoch);
	stop = false;
	tracked = strange = 0;
	before = evictions(&bad);
	pthread_create(&thread, NULL, flood, NULL);
	while (tracked < 100)
		sched_yield();
	check_others(name);
	stop = true;
	pthread_join(thread, NULL);
	TAP_CHECK(strange == 0, "%s: %lu times, and only what the processor says to it", name,
		  (unsigned long)tracked);
	TAP_CHECK(evictions(&bad) > before, "%s: its pages were taken all the same", name);
	if (inside) {
		vm_touch(&bad, SECS);
		epoch_leave(&secs_page(w.cpu, vm_nr(&bad, SECS))->own.track, epoch);
	}
	TAP_CHECK(intact(&bad), "%s: and come back", name);
	end(name);
}

/* ---- garbage ------------------------------------------------------------------------------------------- */

static void test_garbage(void)
{
	static const char *const name = "maps garbage";
	struct virt_region r = {
		.slot = 5, .gpa = 64 * VM_GPA, .bytes = VM_PAGES * SGX_PAGE_SIZE, .hva = VM_HVA
	};
	struct cpu_operands ops = { .leaf = SGX_EREMOVE };
	uint64_t was, nowhere = 0x123456789000ull;

	begin(name);
	r.vepc = bad.file[0];
	TAP_CHECK(virt_set_region(bad.guest, &r) == 0, "%s: its EPC a second time elsewhere", name);
	was = bad.gpa[0];
	bad.gpa[0] = r.gpa;
	TAP_CHECK(vm_ecreate(&bad, 30), "%s: a SECS at one address", name);
	bad.gpa[0] = was;
	TAP_CHECK(vm_eadd(&bad, 30, 31, 0, FLAGS_RW), "%s: a child of it at another", name);
	bad.gpa[0] = nowhere;
	TAP_CHECK(vm_encls(&bad, &ops, 1, VM_NONE, VM_NONE).fault == CPU_UD,
		  "%s: a page where there is no memory: the VMM is told", name);
	bad.gpa[0] = was;
	check_others(name);
	TAP_CHECK(intact(&bad) && vm_is_intact(&bad, 31, 0, FLAGS_RW),
		  "%s: what it has is what it was", name);
	/* Its SECS is known by an address that leads nowhere any more: a VMM that is wrong, or worse. */
	TAP_CHECK(vm_ecreate(&bad, 32) && vm_eadd(&bad, 32, 33, 1, FLAGS_RW), "%s: another", name);
	enclv_esetcontext(w.cpu, vm_nr(&bad, 32), &nowhere);
	check_others(name);
	TAP_CHECK(vm_is_intact(&bad, 33, 1, FLAGS_RW) && intact(&bad),
		  "%s: a SECS that nobody can find: its pages stay", name);
	r.bytes = 0;
	TAP_CHECK(virt_set_region(bad.guest, &r) == 0, "%s: one of the two regions goes", name);
	check_others(name);
	TAP_CHECK(intact(&bad) && vm_is_intact(&bad, 31, 0, FLAGS_RW), "%s: all is there", name);
	end(name);
}

/* Dirty on purpose: a vCPU that is gone in the middle of a leaf leaves its holds behind. */
static void test_dies(void)
{
	static const char *const name = "dies in the middle of an instruction";
	struct epcm_entry *secs, *child;

	begin(name);
	vm_touch(&bad, SECS);
	vm_touch(&bad, 1);
	secs = &w.cpu->epcm[vm_nr(&bad, SECS)];
	child = &w.cpu->epcm[vm_nr(&bad, 1)];
	TAP_MUST(epcm_try_shared(secs) && epcm_try_exclusive(child) == EPCM_GOT,
		 "EADD that does not end");
	check_others(name);
	cpu_repair_page(w.cpu, vm_nr(&bad, 1));
	cpu_repair_page(w.cpu, vm_nr(&bad, SECS));
	TAP_CHECK(intact(&bad), "%s: what it left is mended, and nothing was lost", name);
	check_others(name);
	end(name);
}

int main(void)
{
	test_blocks();
	test_busy_secs();
	test_remove_secs();
	test_flood(false);
	test_flood(true);
	test_garbage();
	test_dies();
	return tap_done();
}
