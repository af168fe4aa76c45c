/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SGX_CONFLICT exits 0 to 3, each of them caused by the host, which the guest must not notice, and by another
 * processor of the guest's, of which it is told as it would be natively.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_priv.h"
#include "cpu/epoch.h"
#include "cpu/secs.h"
#include "virt/virt_priv.h"
#include "vm.h"

enum { SECS = 0, CHILDREN = 4 };

/* What is held while the instruction comes. */
enum held { HOLD_NOTHING, HOLD_PAGE, HOLD_TRACK };

static const struct row {
	const char *name;
	const char *at; /* the host's instruction that is under way */
	bool load;      /* in a load, not an eviction */
	bool inside; /* a logical processor is in the enclave, so that a tracking cycle does not end */
	enum held hold;
	enum sgx_encls leaf;
	uint16_t code;
	struct cpu_outcome natively; /* where another processor of the guest was in the way */
	struct cpu_outcome alone;    /* where nobody is */
} rows[] = {
	{ "ETRACK in the middle of the host's ETRACKC",
	  "ETRACKC",
	  false,
	  false,
	  HOLD_TRACK,
	  SGX_ETRACK,
	  0,
	  { .fault = CPU_GP },
	  { .fault = CPU_NO_FAULT } },
	{ "ETRACK after the host's ETRACKC, before its IPI",
	  "IPI",
	  false,
	  true,
	  HOLD_NOTHING,
	  SGX_ETRACK,
	  1,
	  { .fault = CPU_NO_FAULT, .eax = SGX_PREV_TRK_INCMPL, .rflags = CPU_ZF },
	  { .fault = CPU_NO_FAULT } },
	{ "EREMOVE in the middle of EINCVIRTCHILD",
	  "EINCVIRTCHILD",
	  false,
	  false,
	  HOLD_PAGE,
	  SGX_EREMOVE,
	  2,
	  { .fault = CPU_GP },
	  { .fault = CPU_NO_FAULT, .eax = SGX_CHILD_PRESENT, .rflags = CPU_ZF } },
	{ "EREMOVE in the middle of ELDUC of a child",
	  "ELDUC",
	  true,
	  false,
	  HOLD_PAGE,
	  SGX_EREMOVE,
	  2,
	  { .fault = CPU_GP },
	  { .fault = CPU_NO_FAULT, .eax = SGX_CHILD_PRESENT, .rflags = CPU_ZF } },
	{ "EREMOVE in the middle of EDECVIRTCHILD",
	  "EDECVIRTCHILD",
	  true,
	  false,
	  HOLD_PAGE,
	  SGX_EREMOVE,
	  2,
	  { .fault = CPU_GP },
	  { .fault = CPU_NO_FAULT, .eax = SGX_CHILD_PRESENT, .rflags = CPU_ZF } },
	{ "EMODT in the middle of EINCVIRTCHILD",
	  "EINCVIRTCHILD",
	  false,
	  false,
	  HOLD_PAGE,
	  SGX_EMODT,
	  3,
	  { .fault = CPU_NO_FAULT, .eax = SGX_EPC_PAGE_CONFLICT, .rflags = CPU_ZF },
	  { .fault = CPU_PF } },
	{ "EMODT in the middle of EDECVIRTCHILD",
	  "EDECVIRTCHILD",
	  true,
	  false,
	  HOLD_PAGE,
	  SGX_EMODT,
	  3,
	  { .fault = CPU_NO_FAULT, .eax = SGX_EPC_PAGE_CONFLICT, .rflags = CPU_ZF },
	  { .fault = CPU_PF } },
};

static struct vm vm;
static const struct row *row;
static uint32_t secs_nr;
static struct cpu_outcome met;
static unsigned int met_nr;

static bool same(struct cpu_outcome a, struct cpu_outcome b)
{
	return a.fault == b.fault && a.eax == b.eax && a.rflags == b.rflags;
}

static struct epcm_entry *entry(void) { return &vm.w.cpu->epcm[secs_nr]; }

static void hold(void)
{
	if (row->hold == HOLD_PAGE)
		TAP_MUST(epcm_try_shared(entry()), "%s: the page is held", row->name);
	else if (row->hold == HOLD_TRACK)
		TAP_MUST(epcm_try_extra(entry(), EPCM_LOCK_TRACK), "%s: tracking is held",
			 row->name);
}

static void let_go(void)
{
	if (row->hold == HOLD_PAGE)
		epcm_put_shared(entry());
	else if (row->hold == HOLD_TRACK)
		epcm_put_extra(entry(), EPCM_LOCK_TRACK);
}

static struct cpu_operands operands(void)
{
	static struct sgx_secinfo trim = { .flags = SGX_SECINFO_TYPE(SGX_PT_TRIM) };

	return (struct cpu_operands){ .leaf = row->leaf, .secinfo = &trim, .page = secs_nr };
}

static struct cpu_outcome guest_executes(void)
{
	struct cpu_operands ops = operands();

	return vm_encls(&vm, &ops, SECS, VM_NONE, VM_NONE);
}

/* The host is in the middle of row->at. */
static void hook(void *ctx, const char *before)
{
	struct cpu_operands ops;

	if (strcmp(before, row->at) != 0 || met_nr > 0)
		return;
	/* On its way in the SECS is not yet to be seen. */
	if (!vm_sees(&vm, SECS, &secs_nr))
		return;
	met_nr++;
	hold();
	ops = operands();
	met = vm_encls_raw(&vm, &ops, SECS);
	let_go();
}

/* The logical processor leaves: it would keep the SECS. */
static void leave(uint64_t epoch)
{
	if (!row->inside)
		return;
	vm_touch(&vm, SECS);
	epoch_leave(&secs_page(vm.w.cpu, vm_nr(&vm, SECS))->own.track, epoch);
}

static void test_host(void)
{
	struct cpu_exit seen;
	uint64_t epoch = 0, other = 0;
	bool whole = true;

	vm_init(&vm, 64);
	TAP_MUST(vm_ecreate(&vm, SECS), "%s: an enclave", row->name);
	for (uint32_t i = 0; i < CHILDREN; i++)
		TAP_MUST(vm_eadd(&vm, SECS, 1 + i, i, FLAGS_RW), "page %u", i);
	if (row->load)
		vm_reclaim(&vm);
	vm_touch(&vm, SECS);
	secs_nr = vm_nr(&vm, SECS);
	if (row->inside)
		epoch_enter(&secs_page(vm.w.cpu, secs_nr)->own.track, &epoch);
	met_nr = 0;
	virt_set_hook(vm.guest, hook, NULL);
	if (row->load)
		vm_touch(&vm, 1);
	else
		vm_reclaim(&vm);
	virt_set_hook(vm.guest, NULL, NULL);
	seen = vm.exit;
	TAP_CHECK(met_nr == 1 && met.fault == CPU_VM_EXIT && seen.reason == CPU_EXIT_SGX_CONFLICT &&
			  seen.code == row->code,
		  "%s: exit %u", row->name, row->code);
	TAP_CHECK(virt_conflict_is_ours(vm.guest, &seen, &vm.told), "%s: it was the host",
		  row->name);
	TAP_CHECK(virt_conflict_is_ours(vm.guest, &seen, &other),
		  "%s: another processor that met it is told, too", row->name);
	TAP_CHECK(!virt_conflict_is_ours(vm.guest, &seen, &vm.told),
		  "%s: another exit would be another one's doing", row->name);
	TAP_CHECK(same(guest_executes(), row->alone) && vm.exits == 0,
		  "%s: the guest executes it again, and sees no conflict", row->name);
	for (uint32_t i = 0; i < CHILDREN; i++)
		whole = whole && vm_is_intact(&vm, 1 + i, i, FLAGS_RW);
	TAP_CHECK(whole, "%s: no page is lost", row->name);
	leave(epoch);
	vm_fini(&vm, row->name);
}

static int place_region(uint64_t gpa)
{
	struct virt_region region = { .slot = 0,
				      .gpa = gpa,
				      .bytes = VM_PAGES * SGX_PAGE_SIZE,
				      .hva = VM_HVA,
				      .vepc = vm.file[0] };

	return virt_set_region(vm.guest, &region);
}

/* The VMM moves the region between the exit and its answer. */
static void test_moved(void)
{
	struct cpu_exit seen = { .reason = CPU_EXIT_SGX_CONFLICT, .code = CPU_PAGE_EXCEPTION - 1 };

	vm_init(&vm, 64);
	TAP_MUST(vm_ecreate(&vm, SECS) && vm_eadd(&vm, SECS, 1, 0, FLAGS_RW), "an enclave");
	seen.guest_physical = vm_gpa(&vm, SECS);
	TAP_CHECK(!virt_conflict_is_ours(vm.guest, &seen, &vm.told), "nobody but the guest");
	TAP_MUST(place_region(64 * VM_GPA) == 0, "its region moves");
	TAP_CHECK(virt_conflict_is_ours(vm.guest, &seen, &vm.told),
		  "a conflict about a page that is not there any more is the host's");
	TAP_MUST(place_region(VM_GPA) == 0, "and comes back");
	TAP_CHECK(!virt_conflict_is_ours(vm.guest, &seen, &vm.told) &&
			  vm_is_intact(&vm, 1, 0, FLAGS_RW),
		  "then it is as before");
	vm_fini(&vm, "moved");
}

/* The host has nothing to do with it. */
static void test_guest(void)
{
	uint64_t epoch = 0;
	struct cpu_outcome out;

	vm_init(&vm, 64);
	TAP_MUST(vm_ecreate(&vm, SECS) && vm_eadd(&vm, SECS, 1, 0, FLAGS_RW), "%s: an enclave",
		 row->name);
	secs_nr = vm_nr(&vm, SECS);
	if (row->inside) {
		epoch_enter(&secs_page(vm.w.cpu, secs_nr)->own.track, &epoch);
		TAP_CHECK(cpu_ok(guest_executes()), "a first ETRACK, with somebody inside");
	}
	hold();
	out = guest_executes();
	let_go();
	TAP_CHECK(vm.exits == 1 && vm.reruns == 0 && vm.exit.code == row->code &&
			  same(out, row->natively),
		  "exit %u of the guest's own: as it would be natively (fault %u, code %u)",
		  row->code, out.fault, out.eax);
	if (row->inside)
		epoch_flush(&secs_page(vm.w.cpu, secs_nr)->own.track);
	TAP_CHECK(same(guest_executes(), row->alone), "when that is over, it works");
	leave(epoch);
	vm_fini(&vm, "own conflict");
}

/* ---- what cannot be done at once -------------------------------------------------------------------------- */

static const char *hold_at;
static struct epcm_entry *late;

/* From the first such instruction on another processor has the page. */
static void late_hook(void *ctx, const char *before)
{
	if (late || strcmp(before, hold_at) != 0)
		return;
	if (epcm_try_exclusive(entry()) == EPCM_GOT)
		late = entry();
}

static void late_begin(const char *at)
{
	vm_init(&vm, 64);
	TAP_MUST(vm_ecreate(&vm, SECS) && vm_eadd(&vm, SECS, 1, 0, FLAGS_RW), "late: an enclave");
	late = NULL;
	hold_at = at;
	virt_set_hook(vm.guest, late_hook, NULL);
}

static void late_end(void)
{
	virt_set_hook(vm.guest, NULL, NULL);
	TAP_MUST(late != NULL, "the page was held");
	epcm_put_exclusive(late);
}

/* The SECS is in use when a child that has come is to be counted off: that is done later. */
static void test_late_count(void)
{
	late_begin("EDECVIRTCHILD");
	virt_set_hook(vm.guest, NULL, NULL);
	vm_reclaim(&vm);
	vm_touch(&vm, SECS);
	secs_nr = vm_nr(&vm, SECS);
	virt_set_hook(vm.guest, late_hook, NULL);
	TAP_CHECK(vm_touch(&vm, 1) == 0, "a child comes while its SECS cannot be told");
	late_end();
	TAP_CHECK(same(vm_simple(&vm, SGX_EREMOVE, 1),
		       (struct cpu_outcome){ .fault = CPU_NO_FAULT }) &&
			  cpu_ok(vm_simple(&vm, SGX_EREMOVE, SECS)),
		  "when it is removed, the SECS has none");
	vm_fini(&vm, "a late count");
}

/* EWB never comes to its end; nor is the page to be had, but whoever touches it is told. */
static void test_late_write(void)
{
	late_begin("EWB");
	secs_nr = vm_nr(&vm, 1);
	vm_reclaim(&vm);
	TAP_CHECK(late && vm_nr(&vm, 1) != CPU_NO_PAGE, "a page that cannot be written stays");
	TAP_CHECK(vm_touch(&vm, 1) == -EBUSY, "a touch of it waits, but not for ever");
	late_end();
	TAP_CHECK(vm_is_intact(&vm, 1, 0, FLAGS_RW), "when the other is done it is there");
	vm_fini(&vm, "a late write");
}

int main(void)
{
	test_moved();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		row = &rows[i];
		test_host();
		test_guest();
	}
	test_late_count();
	test_late_write();
	return tap_done();
}
