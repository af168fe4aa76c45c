/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A guest that misbehaves: it gets what a processor would give it, and ends without having put anything away.
 */
#include "kernel.h"

static struct enclave enclaves[8];
static uint8_t operand[PAGE] __attribute__((aligned(4096)));

#define NOWHERE  0x3000000000ull /* no memory, no EPC */
#define UNMAPPED 0x7000000000ull

static void read_at(struct enclave *e, const char *what, uint64_t la)
{
	uint64_t answer = enclave_ask(e, 1, CALL_READ, la, 0, 0);

	say("%s: %x ", what, answer);
	say_fault(&percpu()->fault);
	if (percpu()->fault.vector != NO_FAULT)
		say(enclave_recover(e, 1) ? "recovered\n" : "lost\n");
}

/* Page tables that lead an enclave's code where it has no business. */
static void garbage(struct enclave *e)
{
	uint64_t hole = e->base + 0x800000, outside = USER_BASE + 0x200000;

	read_at(e, "nothing mapped", hole);
	map_user(hole, (uint64_t)operand, true, false);
	read_at(e, "RAM in its range", hole);
	map_user(hole, e->page[ENCLAVE_DATA], true, false);
	read_at(e, "its own page, at another address", hole);
	map_user(hole, e->secs, true, false);
	read_at(e, "its SECS", hole);
	map_user(hole, epc_alloc(), true, false);
	read_at(e, "a page of nobody's", hole);
	map_user(hole, NOWHERE, true, false);
	read_at(e, "no memory, in its range", hole);
	map_user(outside, NOWHERE, true, false);
	read_at(e, "no memory, outside", outside);
	map_user(outside, e->page[ENCLAVE_DATA], true, false);
	read_at(e, "EPC, outside", outside);
}

static void operands(struct enclave *e)
{
	uint64_t *pi = (uint64_t *)operand;
	uint64_t free = epc_alloc();

	say_leaf("PAGEINFO nowhere", SGX_ECREATE, UNMAPPED, free, 0);
	say_leaf("PAGEINFO not canonical", SGX_ECREATE, 1ull << 63, free, 0);
	say_leaf("EPC nowhere", SGX_EREMOVE, 0, UNMAPPED, 0);
	pi[1] = e->page[ENCLAVE_DATA];
	pi[2] = (uint64_t)operand + 64;
	say_leaf("ECREATE from EPC", SGX_ECREATE, (uint64_t)operand, free, 0);
	pi[3] = e->page[ENCLAVE_DATA];
	say_leaf("EADD to a SECS that is none", SGX_EADD, (uint64_t)operand, free, 0);
	say_leaf("EWB of a page over itself", SGX_EWB, (uint64_t)operand, free, free);
	say_leaf("ELDU without a VA page", SGX_ELDU, (uint64_t)operand, free,
		 e->page[ENCLAVE_DATA]);
	say_leaf("EINIT, again", SGX_EINIT, (uint64_t)enclave_signed, e->secs, (uint64_t)operand);
	say_leaf("EINIT of no SECS", SGX_EINIT, (uint64_t)enclave_signed, free, (uint64_t)operand);
}

static void entries(struct enclave *e)
{
	uint64_t off = (uint64_t)user_begin;
	struct user_regs regs = { .rax = SGX_ERESUME,
				  .rbx = e->base,
				  .rcx = USER_BASE,
				  .rip = USER_BASE + ((uint64_t)user_enter - off),
				  .rflags = USER_RFLAGS };

	user_call(&regs);
	say("ERESUME of what was not interrupted: ");
	say_fault(&percpu()->fault);
	regs.rax = SGX_EENTER;
	regs.rbx = e->base + ENCLAVE_DATA * PAGE;
	user_call(&regs);
	say("EENTER by a page of data: ");
	say_fault(&percpu()->fault);
	regs.rbx = e->base + 8;
	user_call(&regs);
	say("EENTER, misaligned: ");
	say_fault(&percpu()->fault);
}

void script_hostile(void)
{
	struct enclave *e = &enclaves[percpu()->id];
	uint64_t busy = 0;

	enclave_create(e, 30, 0);
	(void)enclave_ask(e, 0, CALL_ACCEPT, ENCLAVE_HEAP, 30, RW_FLAGS | SGX_SECINFO_PENDING);
	garbage(e);
	operands(e);
	entries(e);
	/* Pages that are blocked and never evicted. */
	for (uint64_t i = 0; i < 10; i++)
		encls_ok(SGX_EBLOCK, 0, e->heap_page[i], 0);
	say_leaf("EBLOCK, again", SGX_EBLOCK, 0, e->heap_page[3], 0);
	read_at(e, "a blocked page", heap_la(e, 3));
	for (uint64_t i = 0; i < 300; i++)
		busy += encls(SGX_ETRACK, 0, e->secs, 0).rax != 0;
	say("300 ETRACKs: %u refused\n", busy);
	for (uint64_t i = 0; i < 20; i++)
		busy += encls(SGX_EREMOVE, 0, e->secs, 0).rax != SGX_CHILD_PRESENT;
	say("20 EREMOVEs of the SECS: %u not refused\n", busy);
	say_leaf("ETRACK of a SECS that goes", SGX_ETRACK, 0, e->secs, 0);
	say("and that was it\n");
}
