/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What can happen to a page of a guest whose EPC is oversubscribed: each case by itself, in a model of a
 * virtual machine, with what the guest sees afterwards.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cpu/cpu_priv.h"
#include "cpu/secs.h"
#include "epc/backing.h"
#include "vm.h"

static struct vm vm;

static bool away(uint32_t page) { return vm_nr(&vm, page) == CPU_NO_PAGE; }

static uint64_t away_nr(void)
{
	struct virt_info info;

	virt_info_read(vm.guest, &info);
	return info.away;
}

/* A SECS at page @secs, and @nr REG pages from @first on. */
static void build(uint32_t secs, uint32_t first, uint32_t nr)
{
	TAP_MUST(vm_ecreate(&vm, secs), "an enclave, SECS in page %u", secs);
	for (uint32_t i = 0; i < nr; i++)
		if (!vm_eadd(&vm, secs, first + i, i, FLAGS_RW))
			TAP_MUST(false, "EADD of page %u", first + i);
}

static bool intact(uint32_t first, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		if (!vm_is_intact(&vm, first + i, i, FLAGS_RW))
			return false;
	return true;
}

/* 1 */
static void test_invalid(void)
{
	uint32_t nr;

	vm_init(&vm, 64);
	vm_touch(&vm, 3);
	memset(cpu_bytes(vm.w.cpu, vm_nr(&vm, 3)), 0x5a, 4096);
	vm_reclaim(&vm);
	TAP_CHECK(away(3) && away_nr() == 0,
		  "a page without contents is taken, and nothing written");
	TAP_CHECK(vm_touch(&vm, 3) == 0 && (nr = vm_nr(&vm, 3)) != CPU_NO_PAGE &&
			  !cpu_epcm_read(vm.w.cpu, nr).valid,
		  "the next touch gets a fresh one");
	TAP_CHECK(vm_epa(&vm, 3), "which can be used");
	vm_fini(&vm, "invalid page");
}

/* 2 */
static void test_resident(void)
{
	struct sgx_secinfo trim = { .flags = SGX_SECINFO_TYPE(SGX_PT_TRIM) };
	struct cpu_operands ops = { .leaf = SGX_EMODT, .secinfo = &trim };
	struct cpu_epcm before, after;

	vm_init(&vm, 64);
	build(0, 1, 3);
	TAP_MUST(vm_eadd(&vm, 0, 4, 3, FLAGS_TCS) && vm_eadd(&vm, 0, 5, 4, FLAGS_RX),
		 "a TCS, code");
	/* Only an enclave that runs has pages trimmed: say that it does. */
	atomic_store(&secs_page(vm.w.cpu, vm_nr(&vm, 0))->own.initialized, 1);
	TAP_MUST(cpu_ok(vm_encls(&vm, &ops, 3, VM_NONE, VM_NONE)), "a page on its way to TRIM");
	before = cpu_epcm_read(vm.w.cpu, vm_nr(&vm, 3));
	vm_reclaim(&vm);
	TAP_CHECK(away(0) && away(1) && away(2) && away(3) && away(4) && away(5) && away_nr() == 6,
		  "REG, TCS and TRIM pages go, and after them the SECS");
	world_audit(&vm.w, "all away");
	TAP_CHECK(vm_is_intact(&vm, 1, 0, FLAGS_RW) && vm_is_intact(&vm, 2, 1, FLAGS_RW) &&
			  vm_is_intact(&vm, 4, 3, FLAGS_TCS) && vm_is_intact(&vm, 5, 4, FLAGS_RX),
		  "each comes back as it was, types, rights and bytes, and not blocked");
	TAP_CHECK(vm_touch(&vm, 3) == 0, "so does the TRIM page");
	after = cpu_epcm_read(vm.w.cpu, vm_nr(&vm, 3));
	TAP_CHECK(after.valid && after.type == before.type && after.modified == before.modified &&
			  after.la == before.la,
		  "with its MODIFIED bit");
	TAP_CHECK(away_nr() == 0 && !(vm_rdinfo(&vm, 0).status & VM_VIRTCHILD),
		  "then the SECS has no virtual children");
	vm_fini(&vm, "REG, TCS, TRIM");
}

/* 3 */
static void test_guest_blocked(void)
{
	static struct vm_evicted out;

	vm_init(&vm, 64);
	build(0, 1, 2);
	TAP_MUST(vm_epa(&vm, 10) && cpu_ok(vm_simple(&vm, SGX_EBLOCK, 1)),
		 "the guest is about to evict page 1");
	vm_reclaim(&vm);
	TAP_CHECK(away(1), "the host takes it all the same");
	TAP_CHECK(cpu_ok(vm_simple(&vm, SGX_ETRACK, 0)), "the guest goes on: ETRACK");
	TAP_CHECK(vm_simple(&vm, SGX_EBLOCK, 1).eax == SGX_BLKSTATE,
		  "the page is blocked, as it left it");
	vm_reclaim(&vm);
	TAP_CHECK(cpu_ok(vm_ewb(&vm, 1, 10, 0, &out)), "EWB, which brings it back first");
	TAP_CHECK(cpu_ok(vm_eldu(&vm, 1, 0, 10, 0, &out)) && intact(1, 2),
		  "and ELDU: it has what it had");
	vm_fini(&vm, "blocked by the guest");
}

/* 4 */
static void test_va(void)
{
	static struct vm_evicted out, again;

	vm_init(&vm, 64);
	build(0, 1, 2);
	TAP_MUST(vm_epa(&vm, 10) && cpu_ok(vm_simple(&vm, SGX_EBLOCK, 1)) &&
			 cpu_ok(vm_simple(&vm, SGX_ETRACK, 0)) &&
			 cpu_ok(vm_ewb(&vm, 1, 10, 7, &out)),
		 "the guest evicts a page itself");
	vm_reclaim(&vm);
	TAP_CHECK(away(10) && away(0), "the host takes its VA page, and the SECS");
	TAP_CHECK(cpu_ok(vm_eldu(&vm, 1, 0, 10, 7, &out)) && intact(1, 2),
		  "the guest's ELDU finds the version in it");
	again = out;
	vm_reclaim(&vm);
	TAP_CHECK(vm_simple(&vm, SGX_EREMOVE, 1).eax == SGX_OK &&
			  !cpu_ok(vm_eldu(&vm, 1, 0, 10, 7, &again)),
		  "and not a second time");
	vm_fini(&vm, "VA page");
}

/* 5 */
static void test_secs_alone(void)
{
	vm_init(&vm, 64);
	build(0, 1, 0);
	TAP_CHECK(vm_rdinfo(&vm, 0).enclavecontext == vm_gpa(&vm, 0),
		  "a SECS that the guest has made is named by its guest-physical address");
	vm_reclaim(&vm);
	TAP_CHECK(away(0), "without children it goes");
	TAP_CHECK(vm_eadd(&vm, 0, 1, 0, FLAGS_RW) && (vm_rdinfo(&vm, 0).enclavecontext & 1),
		  "EADD brings it back, with a name that is the host's");
	TAP_CHECK(intact(1, 1), "and adds its page");
	vm_fini(&vm, "SECS without children");
}

/* 6 */
static void test_secs_virtual(void)
{
	vm_init(&vm, 64);
	build(0, 1, 8);
	vm_reclaim(&vm);
	TAP_CHECK(away(0) && away_nr() == 9, "a SECS all of whose children are away goes, too");
	vm_touch(&vm, 0);
	TAP_CHECK(vm_rdinfo(&vm, 0).status == VM_VIRTCHILD, "it has counted them on its way");
	vm_reclaim(&vm);
	TAP_CHECK(away(0) && vm_touch(&vm, 5) == 0 && !away(0), "a touch of a child brings both");
	TAP_CHECK(vm_rdinfo(&vm, 0).status == (VM_CHILD | VM_VIRTCHILD), "one is real, others not");
	TAP_CHECK(intact(1, 8) && vm_rdinfo(&vm, 0).status == VM_CHILD, "in the end all are real");
	vm_fini(&vm, "SECS with virtual children");
}

/* 7 */
static void test_secs_real(void)
{
	struct epcm_entry *child;

	vm_init(&vm, 64);
	build(0, 1, 4);
	child = &vm.w.cpu->epcm[vm_nr(&vm, 2)];
	TAP_MUST(epcm_try_shared(child), "another processor works on page 2 and does not end");
	vm_reclaim(&vm);
	TAP_CHECK(!away(2) && !away(0) && away(1) && away(3) && away(4),
		  "it stays, and its SECS; the others go");
	TAP_CHECK(vm_rdinfo(&vm, 0).status == (VM_CHILD | VM_VIRTCHILD), "the SECS knows of all");
	epcm_put_shared(child);
	TAP_CHECK(intact(1, 4), "nothing was lost");
	vm_reclaim(&vm);
	TAP_CHECK(away(2) && away(0), "later they can go");
	vm_fini(&vm, "SECS with a real child");
}

/* 8 */
static void test_two_files(void)
{
	vm_init(&vm, 64);
	build(VM_SECOND + 3, 0, 6);
	vm_reclaim(&vm);
	TAP_CHECK(away_nr() == 7, "children in one file, their SECS in another: all go");
	TAP_CHECK(intact(0, 6) && !away(VM_SECOND + 3), "and come back");
	TAP_CHECK(vepc_remove_all(vm.file[1]) == 1,
		  "REMOVE_ALL of the SECS's file: it has children");
	vm_reclaim(&vm);
	TAP_CHECK(vepc_remove_all(vm.file[1]) == 1, "also when all are away");
	TAP_CHECK(vepc_remove_all(vm.file[0]) == 0 && vepc_remove_all(vm.file[1]) == 0,
		  "of both, then: none is left");
	TAP_CHECK(away_nr() == 0 && vm_ecreate(&vm, 0), "and all can be used anew");
	vm_fini(&vm, "SECS in another file");
}

/* 9 */
static void test_contexts(void)
{
	static struct vm_evicted out;

	vm_init(&vm, 64);
	build(0, 1, 0);
	TAP_MUST(vm_epa(&vm, 10), "a VA page");
	vm_reclaim(&vm);
	TAP_CHECK(cpu_ok(vm_ewb(&vm, 0, 10, 0, &out)),
		  "the guest evicts a SECS that the host had taken before");
	TAP_CHECK(cpu_ok(vm_eldu(&vm, 20, VM_NONE, 10, 0, &out)) &&
			  vm_rdinfo(&vm, 20).enclavecontext == vm_gpa(&vm, 20),
		  "and loads it elsewhere: named by the address there");
	TAP_MUST(vm_eadd(&vm, 20, 1, 0, FLAGS_RW), "a child");
	vm_reclaim(&vm);
	TAP_CHECK(away(1) && away(20) && intact(1, 1) && (vm_rdinfo(&vm, 20).enclavecontext & 1),
		  "which goes and comes with it");
	vm_fini(&vm, "names of a SECS");
}

/* ---- 10: the guest's tracking and the host's ------------------------------------------------------- */

static struct {
	const char *at;
	struct cpu_outcome out;
	struct cpu_exit exit;
	unsigned int calls;
	bool busy; /* the host's ETRACKC is in the middle of its work */
} guest_track;

static uint32_t track_secs;

static void track_hook(void *ctx, const char *before)
{
	struct cpu_operands ops = { .leaf = SGX_ETRACK, .page = track_secs };
	struct epcm_entry *e = &vm.w.cpu->epcm[track_secs];

	if (strcmp(before, guest_track.at) != 0 || guest_track.calls++ > 0)
		return;
	if (guest_track.busy)
		epcm_try_extra(e, EPCM_LOCK_TRACK);
	guest_track.out = vm_encls_raw(&vm, &ops, 0);
	guest_track.exit = vm.exit;
	if (guest_track.busy)
		epcm_put_extra(e, EPCM_LOCK_TRACK);
}

static void test_track(void)
{
	vm_init(&vm, 64);
	build(0, 1, 4);
	track_secs = vm_nr(&vm, 0);
	memset(&guest_track, 0, sizeof(guest_track));
	guest_track.at = "ETRACKC";
	virt_set_hook(vm.guest, track_hook, NULL);
	vm_reclaim(&vm);
	TAP_CHECK(guest_track.calls > 0 && cpu_ok(guest_track.out) && away(1) && away(4),
		  "the guest's ETRACK comes first: it works, and the host evicts all the same");
	TAP_CHECK(intact(1, 4), "and the pages come back");

	track_secs = vm_nr(&vm, 0);
	guest_track.calls = 0;
	guest_track.busy = true;
	vm_reclaim(&vm);
	virt_set_hook(vm.guest, NULL, NULL);
	TAP_CHECK(guest_track.calls > 0 && guest_track.out.fault == CPU_VM_EXIT &&
			  guest_track.exit.reason == CPU_EXIT_SGX_CONFLICT &&
			  guest_track.exit.code == 0,
		  "it comes in the middle of the host's: an exit, code 0");
	TAP_CHECK(virt_conflict_is_ours(vm.guest, &guest_track.exit, &vm.told),
		  "the host was in the way: the guest runs it again");
	TAP_CHECK(!virt_conflict_is_ours(vm.guest, &guest_track.exit, &vm.told) &&
			  virt_conflict_outcome(&guest_track.exit, SGX_ETRACK).fault == CPU_GP,
		  "another one would be the guest's own doing: #GP");
	TAP_CHECK(cpu_ok(vm_simple(&vm, SGX_ETRACK, 0)) && intact(1, 4), "run again it works");
	vm_fini(&vm, "two that track");
}

/* Conflicts between vCPUs of the guest alone: what they would be natively. */
static void test_own_conflicts(void)
{
	struct epcm_entry *e;
	struct cpu_outcome out;

	vm_init(&vm, 64);
	build(0, 1, 2);
	e = &vm.w.cpu->epcm[vm_nr(&vm, 1)];
	TAP_MUST(epcm_try_shared(e), "another vCPU works on page 1");
	out = vm_simple(&vm, SGX_EREMOVE, 1);
	TAP_CHECK(vm.exits == 1 && vm.exit.code == 2 && vm.reruns == 0 && out.fault == CPU_GP,
		  "EREMOVE: exit 2, the guest gets #GP");
	epcm_put_shared(e);
	e = &vm.w.cpu->epcm[vm_nr(&vm, 0)];
	TAP_MUST(epcm_try_extra(e, EPCM_LOCK_TRACK), "another vCPU is in ETRACK");
	out = vm_simple(&vm, SGX_ETRACK, 0);
	TAP_CHECK(vm.exits == 2 && vm.exit.code == 0 && vm.reruns == 0 && out.fault == CPU_GP,
		  "ETRACK: exit 0, #GP");
	epcm_put_extra(e, EPCM_LOCK_TRACK);
	TAP_CHECK(cpu_ok(vm_simple(&vm, SGX_EREMOVE, 1)), "then EREMOVE works");
	vm_fini(&vm, "conflicts of the guest's own");
}

/* 11 */
static void test_remove_secs(void)
{
	static struct vm_evicted out;

	vm_init(&vm, 64);
	build(0, 1, 3);
	TAP_MUST(vm_epa(&vm, 10), "a VA page");
	vm_reclaim(&vm);
	TAP_CHECK(vm_simple(&vm, SGX_EREMOVE, 0).eax == SGX_CHILD_PRESENT,
		  "EREMOVE of a SECS whose children the host took: CHILD_PRESENT");
	vm_reclaim(&vm);
	TAP_CHECK(vm_ewb(&vm, 0, 10, 0, &out).eax == SGX_CHILD_PRESENT, "EWB, too");
	for (uint32_t page = 1; page <= 3; page++)
		TAP_CHECK(cpu_ok(vm_simple(&vm, SGX_EREMOVE, page)), "EREMOVE of child %u", page);
	TAP_CHECK(cpu_ok(vm_simple(&vm, SGX_EREMOVE, 0)), "then EREMOVE of the SECS");
	vm_fini(&vm, "EREMOVE of a SECS");
}

/* 12: the prototype gave the whole guest up. */
static void test_moved(void)
{
	struct virt_region r = { .slot = 0, .bytes = VM_PAGES * SGX_PAGE_SIZE, .hva = VM_HVA };

	vm_init(&vm, 64);
	r.vepc = vm.file[0];
	build(0, 1, 4);
	vm_reclaim(&vm);
	TAP_MUST(intact(1, 2) && away(3) && away(4), "two children here, two away");
	r.gpa = vm.gpa[0] = 9 * VM_GPA;
	TAP_CHECK(virt_set_region(vm.guest, &r) == 0, "the region moves");
	vm_reclaim(&vm);
	TAP_CHECK(away_nr() == 5 && intact(1, 4), "all go and come, from there");
	build(100, 101, 2);
	r.gpa = vm.gpa[0] = 11 * VM_GPA;
	TAP_CHECK(virt_set_region(vm.guest, &r) == 0 && (vm_rdinfo(&vm, 100).enclavecontext & 1),
		  "a SECS of the guest's gets a name that does not move");
	vm_reclaim(&vm);
	TAP_CHECK(away(101) && away(100) && intact(101, 2), "and so it and its children can go");
	r.bytes = 0;
	TAP_CHECK(virt_set_region(vm.guest, &r) == 0 &&
			  vm_simple(&vm, SGX_EREMOVE, 1).fault == CPU_UD,
		  "the region is deleted: its pages cannot be reached");
	vm_reclaim(&vm);
	r.bytes = VM_PAGES * SGX_PAGE_SIZE;
	TAP_CHECK(virt_set_region(vm.guest, &r) == 0 && intact(1, 4) && intact(101, 2),
		  "and made anew: they are what they were");
	vm_fini(&vm, "regions that move");
}

/* 13 */
static void test_killed(void)
{
	vm_init(&vm, 64);
	build(0, 1, 20);
	build(VM_SECOND, VM_SECOND + 1, 10);
	vm_reclaim(&vm);
	TAP_CHECK(away_nr() == 32, "32 pages away");
	vm_touch(&vm, 4);
	vm_touch(&vm, VM_SECOND);
	vm_fini(&vm, "a guest that ends with pages away");
}

/* 14 */
static void test_underflow(void)
{
	uint32_t secs;

	vm_init(&vm, 64);
	build(0, 1, 3);
	vm_reclaim(&vm);
	vm_touch(&vm, 0);
	secs = vm_nr(&vm, 0);
	for (int i = 0; i < 3; i++)
		enclv_edecvirtchild(vm.w.cpu, secs, secs);
	TAP_CHECK(enclv_edecvirtchild(vm.w.cpu, secs, secs).eax == SGX_INVALID_COUNTER,
		  "somebody has taken all virtual children off the counter");
	TAP_CHECK(intact(1, 3), "the pages come back for all that");
	vm_reclaim(&vm);
	TAP_CHECK(away_nr() == 4 && intact(1, 3), "and go and come again");
	vm_fini(&vm, "underflow");

	vm_init(&vm, 64);
	build(VM_SECOND, 1, 5);
	vm_reclaim(&vm);
	TAP_CHECK(away_nr() == 6 && vepc_remove_all(vm.file[0]) == 0,
		  "children are removed while their SECS is away");
	vm_touch(&vm, VM_SECOND);
	TAP_CHECK(vm_rdinfo(&vm, VM_SECOND).status == 0, "it has none when it is back");
	TAP_CHECK(cpu_ok(vm_simple(&vm, SGX_EREMOVE, VM_SECOND)),
		  "so that the guest can remove it");
	vm_fini(&vm, "children that go while they are away");
}

/* 15 */
static void test_tampered(void)
{
	struct virt_info info;
	uint32_t slot;
	uint8_t *bytes;

	vm_init(&vm, 64);
	build(0, 1, 3);
	vm_reclaim(&vm);
	slot = virt_backing_slot(vm.guest, vm.file[0], 2 * SGX_PAGE_SIZE);
	TAP_MUST(slot != BACKING_NO_SLOT, "page 2 is in the backing store");
	bytes = backing_page(epc_backing(vm.w.epc), slot);
	bytes[99] ^= 1;
	TAP_CHECK(vm_touch(&vm, 2) == -EIO && vm_touch(&vm, 2) == -EIO,
		  "one bit of it changes: it is refused, each time");
	virt_info_read(vm.guest, &info);
	TAP_CHECK(!info.dead && info.lost == 2 && vm_is_intact(&vm, 1, 0, FLAGS_RW) &&
			  vm_is_intact(&vm, 3, 2, FLAGS_RW),
		  "that page alone");
	world_audit(&vm.w, "after refusals");
	TAP_CHECK(vm_simple(&vm, SGX_EREMOVE, 0).eax == SGX_CHILD_PRESENT,
		  "its SECS still counts it");
	bytes[99] ^= 1;
	TAP_CHECK(intact(1, 3), "the bit is put right: the page is there again");
	vm_reclaim(&vm);
	bytes = backing_page(epc_backing(vm.w.epc), virt_backing_slot(vm.guest, vm.file[0], 0));
	bytes[5] ^= 1;
	TAP_CHECK(vm_touch(&vm, 1) == -EIO, "a damaged SECS: its children are refused");
	TAP_CHECK(vepc_remove_all(vm.file[0]) == 1 && vepc_remove_all(vm.file[0]) == 0 &&
			  away_nr() == 0,
		  "REMOVE_ALL gets rid of them");
	vm_fini(&vm, "tampered backing");
}

/* 16 */
static void test_full(void)
{
	struct vepc *hog;
	uint64_t got = 0;
	bool ok = true;

	vm_init(&vm, 64);
	build(0, 1, 8);
	vm_reclaim(&vm);
	TAP_MUST(vepc_open(vm.registry, &hog) == 0 && vepc_reserve(hog, 0, 64 * SGX_PAGE_SIZE) == 0,
		 "a file that nobody keeps");
	/* One is the guest's VA page: three are left. */
	while (got < 60 && vepc_fault(hog, got * SGX_PAGE_SIZE) == 0)
		got++;
	TAP_CHECK(got == 60, "takes the EPC but for four pages");
	for (uint32_t i = 0; i < 24; i++)
		ok = ok && vm_is_intact(&vm, 1 + i * 5 % 8, i * 5 % 8, FLAGS_RW);
	TAP_CHECK(ok, "every load needs a reclaim, and each finds its SECS");
	while (vepc_fault(hog, got * SGX_PAGE_SIZE) == 0)
		got++;
	TAP_CHECK(got > 60, "the hog takes the rest");
	TAP_CHECK(vm_touch(&vm, 3) == -ENOMEM, "then there is nothing to load into: ENOMEM");
	vepc_put(hog);
	TAP_CHECK(intact(1, 8), "when there is, all is well");
	vm_fini(&vm, "full EPC");
}

/* No file may grow: so no page can be put where mappings show it. */
static void files_may_grow(bool may)
{
	static struct rlimit was;
	struct rlimit none;

	if (!may) {
		getrlimit(RLIMIT_FSIZE, &was);
		none = was;
		none.rlim_cur = 0;
		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &none);
	} else {
		setrlimit(RLIMIT_FSIZE, &was);
	}
}

/* The page has come, and there is no memory to show it in. */
static void test_no_memory(void)
{
	vm_init(&vm, 64);
	build(0, 1, 4);
	TAP_MUST(cpu_ok(vm_simple(&vm, SGX_EBLOCK, 2)), "one page is blocked by the guest");
	vm_reclaim(&vm);
	files_may_grow(false);
	TAP_CHECK(vm_touch(&vm, 0) == -ENOMEM && away(0) && away_nr() == 5,
		  "no memory for a SECS: ENOMEM, and it is away again");
	files_may_grow(true);
	vm_touch(&vm, 0);
	files_may_grow(false);
	TAP_CHECK(vm_touch(&vm, 1) == -ENOMEM && away(1) && vm_touch(&vm, 2) == -ENOMEM && away(2),
		  "nor for a child, blocked or not");
	TAP_CHECK(vm_simple(&vm, SGX_EREMOVE, 0).eax == SGX_CHILD_PRESENT && away_nr() == 4,
		  "its SECS has them still");
	files_may_grow(true);
	TAP_CHECK(vm_is_intact(&vm, 1, 0, FLAGS_RW) && vm_is_intact(&vm, 3, 2, FLAGS_RW) &&
			  vm_is_intact(&vm, 4, 3, FLAGS_RW),
		  "when there is memory, they are what they were");
	TAP_CHECK(vm_simple(&vm, SGX_EBLOCK, 2).eax == SGX_BLKSTATE, "and the blocked one blocked");
	vm_fini(&vm, "no memory");
}

/* ---- all at once --------------------------------------------------------------------------------- */

static _Atomic bool stop;

static void *reclaimer(void *arg)
{
	while (!stop)
		epc_reclaim(vm.w.epc);
	return NULL;
}

static void *vcpu(void *arg)
{
	uint32_t first = *(const uint32_t *)arg, wrong = 0;

	for (uint32_t i = 0; i < 4000; i++) {
		/* A leaf that looks at the SECS and changes nothing. */
		struct cpu_operands ops = { .leaf = SGX_EBLOCK };
		uint32_t k = i * 7 % 20;

		if (vm_encls(&vm, &ops, first, VM_NONE, VM_NONE).eax != SGX_PG_IS_SECS)
			wrong++;
		if (vm_touch(&vm, first + 1 + k) != 0)
			wrong++;
		sched_yield(); /* a lock that is free for so short a time is not handed over by itself */
	}
	return (void *)(uintptr_t)wrong;
}

static void test_threads(void)
{
	uint32_t first[2] = { 0, VM_SECOND };
	pthread_t taker, cpus[2];
	void *wrong[2];
	struct virt_info info;

	vm_init(&vm, 32);
	build(0, 1, 20);
	build(VM_SECOND, VM_SECOND + 1, 20);
	stop = false;
	pthread_create(&taker, NULL, reclaimer, NULL);
	for (int i = 0; i < 2; i++)
		pthread_create(&cpus[i], NULL, vcpu, &first[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(cpus[i], &wrong[i]);
	stop = true;
	pthread_join(taker, NULL);
	virt_info_read(vm.guest, &info);
	TAP_CHECK(!wrong[0] && !wrong[1] && !info.dead && info.lost == 0,
		  "two vCPUs on 42 pages in an EPC of 32, beside a reclaimer (%llu evictions)",
		  (unsigned long long)info.evictions);
	TAP_CHECK(intact(1, 20) && intact(VM_SECOND + 1, 20), "every page is what it was");
	TAP_CHECK(info.evictions > 0 && info.loads > 0, "pages went and came");
	vm_fini(&vm, "threads");
}

int main(void)
{
	test_invalid();
	test_resident();
	test_guest_blocked();
	test_va();
	test_secs_alone();
	test_secs_virtual();
	test_secs_real();
	test_two_files();
	test_contexts();
	test_track();
	test_own_conflicts();
	test_remove_secs();
	test_moved();
	test_killed();
	test_underflow();
	test_tampered();
	test_full();
	test_no_memory();
	test_threads();
	return tap_done();
}
