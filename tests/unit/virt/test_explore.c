/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The cases of test_scenarios.c once more, as programs of a guest in every order with the host's instructions
 * (explore.h).
 */
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_priv.h"
#include "cpu/secs.h"
#include "epc/backing.h"
#include "explore.h"

#define SECS  0u
#define CHILD 1u
#define VA    8u
#define FREE  9u

/* ---- beginnings ------------------------------------------------------------------------------------------- */

static void touched(struct vm *vm) { vm_touch(vm, FREE); }

static void alone(struct vm *vm) { vm_ecreate(vm, SECS); }

static void alone_with_va(struct vm *vm)
{
	vm_ecreate(vm, SECS);
	vm_epa(vm, VA);
}

static void two_children(struct vm *vm)
{
	vm_ecreate(vm, SECS);
	vm_eadd(vm, SECS, CHILD, 0, FLAGS_RW);
	vm_eadd(vm, SECS, CHILD + 1, 1, FLAGS_RX);
}

static void with_va(struct vm *vm)
{
	two_children(vm);
	vm_epa(vm, VA);
}

static void all_kinds(struct vm *vm)
{
	two_children(vm);
	vm_eadd(vm, SECS, CHILD + 2, 2, FLAGS_TCS);
}

static void blocked(struct vm *vm)
{
	with_va(vm);
	vm_simple(vm, SGX_EBLOCK, CHILD);
}

static void other_file(struct vm *vm)
{
	vm_ecreate(vm, VM_SECOND);
	vm_eadd(vm, VM_SECOND, CHILD, 0, FLAGS_RW);
	vm_eadd(vm, VM_SECOND, VM_SECOND + 1, 1, FLAGS_RW);
}

static void away(struct vm *vm)
{
	two_children(vm);
	vm_reclaim(vm);
}

/* ---- what the host does --------------------------------------------------------------------------------- */

static void reclaim(struct vm *vm)
{
	unsigned int idle = 0;

	while (idle < 4)
		idle = epc_reclaim(vm->w.epc) ? 0 : idle + 1;
}

static void touch_child(struct vm *vm) { vm_touch(vm, CHILD); }

static void touch_secs(struct vm *vm) { vm_touch(vm, SECS); }

static void touch_free(struct vm *vm) { vm_touch(vm, FREE); }

static void touch_va(struct vm *vm) { vm_touch(vm, VA); }

static void touch_other(struct vm *vm) { vm_touch(vm, VM_SECOND + 1); }

static void move(struct vm *vm)
{
	struct virt_region r = {
		.slot = 0, .bytes = VM_PAGES * SGX_PAGE_SIZE, .hva = VM_HVA, .vepc = vm->file[0]
	};

	r.gpa = vm->gpa[0] == VM_GPA ? 9 * VM_GPA : VM_GPA;
	if (virt_set_region(vm->guest, &r) == 0)
		vm->gpa[0] = r.gpa;
}

/* The file of the children goes, and with it whatever it has away. */
static void close_first(struct vm *vm)
{
	vepc_put(vm->file[0]);
	vm->file[0] = NULL;
}

static void remove_first(struct vm *vm)
{
	vepc_remove_all(vm->file[0]);
	vepc_remove_all(vm->file[0]);
}

/* Somebody takes all virtual children off the SECS. */
static void underflow(struct vm *vm)
{
	uint32_t nr;

	vm_touch(vm, SECS);
	nr = vm_nr(vm, SECS);
	while (cpu_ok(enclv_edecvirtchild(vm->w.cpu, nr, nr)))
		;
}

static void tamper(struct vm *vm)
{
	uint32_t slot = virt_backing_slot(vm->guest, vm->file[0], CHILD * SGX_PAGE_SIZE);

	if (slot != BACKING_NO_SLOT)
		((uint8_t *)backing_page(epc_backing(vm->w.epc), slot))[99] ^= 1;
}

/* ---- scenarios ----------------------------------------------------------------------------------------------- */

#define SIMPLE(l, p)                     \
	{                                \
		.leaf = (l), .page = (p) \
	}
#define ADD(s, p, n)                                                                    \
	{                                                                               \
		.leaf = SGX_EADD, .page = (p), .secs = (s), .i = (n), .flags = FLAGS_RW \
	}
#define OUT(p)                                                    \
	{                                                         \
		.leaf = SGX_EWB, .page = (p), .va = VA, .slot = 3 \
	}
#define IN(p, s)                                                                \
	{                                                                       \
		.leaf = SGX_ELDU, .page = (p), .secs = (s), .va = VA, .slot = 3 \
	}

static const struct scenario scenarios[] = {
	{ .name = "1: a page without contents",
	  .setup = touched,
	  .guest = { SIMPLE(SGX_EPA, FREE), SIMPLE(SGX_EREMOVE, FREE), SIMPLE(SGX_ECREATE, FREE) },
	  .guest_nr = 3,
	  .host = { reclaim, touch_free, reclaim, touch_free },
	  .secs = FREE,
	  .pages = { FREE },
	  .page_nr = 1 },
	{ .name = "2: REG and TCS pages",
	  .setup = all_kinds,
	  .guest = { SIMPLE(SGX_EBLOCK, CHILD + 2), SIMPLE(SGX_ETRACK, SECS) },
	  .guest_nr = 2,
	  .host = { reclaim, touch_child, reclaim },
	  .pages = { SECS, CHILD, CHILD + 1, CHILD + 2 },
	  .page_nr = 4 },
	{ .name = "3: a page that the guest has blocked",
	  .setup = blocked,
	  .guest = { SIMPLE(SGX_ETRACK, SECS), OUT(CHILD), IN(CHILD, SECS) },
	  .guest_nr = 3,
	  .host = { reclaim },
	  .pages = { SECS, CHILD, CHILD + 1, VA },
	  .page_nr = 4 },
	{ .name = "3b: while it blocks it",
	  .setup = with_va,
	  .guest = { SIMPLE(SGX_EBLOCK, CHILD), SIMPLE(SGX_ETRACK, SECS), OUT(CHILD) },
	  .guest_nr = 3,
	  .host = { reclaim },
	  .pages = { SECS, CHILD, CHILD + 1, VA },
	  .page_nr = 4 },
	{ .name = "4: VA pages",
	  .setup = blocked,
	  .guest = { SIMPLE(SGX_ETRACK, SECS), OUT(CHILD), IN(FREE, SECS) },
	  .guest_nr = 3,
	  .host = { reclaim, touch_va },
	  .pages = { SECS, CHILD, VA, FREE },
	  .page_nr = 4 },
	{ .name = "5: a SECS without children",
	  .setup = alone,
	  .guest = { ADD(SECS, CHILD, 0), SIMPLE(SGX_EREMOVE, SECS), SIMPLE(SGX_EREMOVE, CHILD) },
	  .guest_nr = 3,
	  .host = { reclaim, touch_secs, reclaim },
	  .pages = { SECS, CHILD },
	  .page_nr = 2 },
	{ .name = "6: a SECS with virtual children only",
	  .setup = away,
	  .guest = { SIMPLE(SGX_EREMOVE, SECS), ADD(SECS, FREE, 5) },
	  .guest_nr = 2,
	  .host = { touch_secs, reclaim, touch_child, reclaim },
	  .pages = { SECS, CHILD, CHILD + 1, FREE },
	  .page_nr = 4 },
	{ .name = "7: a SECS with real children",
	  .setup = two_children,
	  .guest = { SIMPLE(SGX_EREMOVE, SECS), SIMPLE(SGX_EREMOVE, CHILD),
		     SIMPLE(SGX_EREMOVE, SECS) },
	  .guest_nr = 3,
	  .host = { reclaim, touch_child },
	  .pages = { SECS, CHILD, CHILD + 1 },
	  .page_nr = 3 },
	{ .name = "8: a SECS in another file",
	  .setup = other_file,
	  .guest = { SIMPLE(SGX_EREMOVE, VM_SECOND), SIMPLE(SGX_EREMOVE, CHILD),
		     ADD(VM_SECOND, CHILD, 4) },
	  .guest_nr = 3,
	  .host = { reclaim, touch_child },
	  .secs = VM_SECOND,
	  .pages = { VM_SECOND, VM_SECOND + 1, CHILD },
	  .page_nr = 3 },
	{ .name = "9: a SECS that host and guest load in turns",
	  .setup = alone_with_va,
	  .guest = { OUT(SECS), IN(FREE, VM_NONE), ADD(FREE, CHILD, 2) },
	  .guest_nr = 3,
	  .host = { reclaim, touch_free },
	  .secs = FREE,
	  .pages = { SECS, CHILD, FREE, VA },
	  .page_nr = 4 },
	{ .name = "10: two that track",
	  .setup = two_children,
	  .guest = { SIMPLE(SGX_ETRACK, SECS), SIMPLE(SGX_ETRACK, SECS), SIMPLE(SGX_ETRACK, SECS) },
	  .guest_nr = 3,
	  .host = { reclaim, touch_child },
	  .pages = { SECS, CHILD, CHILD + 1 },
	  .page_nr = 3 },
	{ .name = "11: EREMOVE of children and SECS",
	  .setup = two_children,
	  .guest = { SIMPLE(SGX_EREMOVE, CHILD), SIMPLE(SGX_EREMOVE, CHILD + 1),
		     SIMPLE(SGX_EREMOVE, SECS) },
	  .guest_nr = 3,
	  .host = { reclaim, touch_secs },
	  .pages = { SECS, CHILD, CHILD + 1 },
	  .page_nr = 3 },
	{ .name = "12: a region that moves",
	  .setup = two_children,
	  .guest = { SIMPLE(SGX_EREMOVE, SECS), ADD(SECS, FREE, 3) },
	  .guest_nr = 2,
	  .host = { reclaim, move, touch_child, move, reclaim },
	  .pages = { SECS, CHILD, CHILD + 1, FREE },
	  .page_nr = 4 },
	{ .name = "13: a guest that ends with pages away",
	  .setup = other_file,
	  .guest = { SIMPLE(SGX_EBLOCK, CHILD), SIMPLE(SGX_EREMOVE, VM_SECOND + 1) },
	  .guest_nr = 2,
	  .host = { reclaim, touch_other, close_first },
	  .secs = VM_SECOND,
	  .ends = true },
	{ .name = "13b: REMOVE_ALL",
	  .setup = two_children,
	  .guest = { SIMPLE(SGX_EBLOCK, CHILD), SIMPLE(SGX_EREMOVE, SECS) },
	  .guest_nr = 2,
	  .host = { reclaim, touch_child, remove_first, reclaim },
	  .damaged = true },
	{ .name = "14: virtual children that somebody takes off",
	  .setup = two_children,
	  .guest = { SIMPLE(SGX_EREMOVE, CHILD), ADD(SECS, FREE, 3) },
	  .guest_nr = 2,
	  .host = { reclaim, underflow, touch_child, reclaim },
	  .damaged = true },
	{ .name = "15: a page whose backing is damaged",
	  .setup = two_children,
	  .guest = { SIMPLE(SGX_EBLOCK, CHILD + 1), ADD(SECS, FREE, 3) },
	  .guest_nr = 2,
	  .host = { reclaim, tamper, touch_child, tamper, touch_child },
	  .damaged = true },
	{ .name = "16: an EPC of five pages",
	  .setup = two_children,
	  .guest = { SIMPLE(SGX_EREMOVE, SECS), ADD(SECS, FREE, 3), SIMPLE(SGX_EREMOVE, CHILD) },
	  .guest_nr = 3,
	  .host = { touch_va, touch_child },
	  .pages = { SECS, CHILD, FREE },
	  .page_nr = 3,
	  .epc_pages = 5 },
};

int main(void)
{
	struct explored seen;

	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		bool ok = explore(&scenarios[i], &seen);

		TAP_CHECK(ok && seen.evictions > 0,
			  "%s: %lu schedules, %lu instructions of the host, %lu waits, %lu "
			  "conflicts%s%s",
			  scenarios[i].name, seen.schedules, seen.points, seen.waits,
			  seen.conflicts, ok ? "" : ": ", seen.why);
	}
	return tap_done();
}
