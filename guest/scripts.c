/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the guest does: scripts that say all that they see.  Nothing that a script says depends on time, on chance,
 * or on where the host has put a page.
 */
#include "kernel.h"

static struct enclave enclaves[8];
static uint8_t shown[8][PAGE] __attribute__((aligned(4096)));

/* A page of untrusted memory that user mode sees. */
#define SHOWN_LA (USER_BASE + 0x100000 + percpu()->id * PAGE)

static void show_page(void)
{
	map_user(SHOWN_LA, (uint64_t)shown[percpu()->id], true, false);
}

static void ask(struct enclave *e, const char *what, uint64_t call, uint64_t a, uint64_t b,
		uint64_t c)
{
	uint64_t answer = enclave_ask(e, 0, call, a, b, c);

	say("%s: %x, ", what, answer);
	say_fault(&percpu()->fault);
}

static void ask_fault(struct enclave *e, const char *what, uint64_t kind, uint64_t where)
{
	uint64_t ssa =
		e->page[ENCLAVE_SSA + 3 * ENCLAVE_FRAMES] + PAGE - sizeof(struct sgx_ssa_gpr);
	uint64_t tcs = e->page[ENCLAVE_TCS + 3];

	(void)enclave_ask(e, 3, CALL_FAULT, kind, where, 0);
	say("%s: ", what);
	say_fault(&percpu()->fault);
	if (percpu()->fault.vector == NO_FAULT)
		return;
	/* What the exit left, as a debugger reads it. */
	say("  cssa %u exitinfo %x", encls(SGX_EDBGRD, 0, tcs + 24, 0).rbx & 0xffffffff,
	    encls(SGX_EDBGRD, 0, ssa + 160, 0).rbx & 0xffffffff);
	say(enclave_recover(e, 3) ? ", recovered\n" : ", lost\n");
}

static void say_cpuid(void)
{
	for (uint32_t i = 0; i < 4; i++) {
		struct cpuid r = cpuid(0x12, i);

		say("cpuid 12.%u: %x %x %x %x\n", (uint64_t)i, (uint64_t)r.a, (uint64_t)r.b,
		    (uint64_t)r.c, (uint64_t)r.d);
	}
	say("feature control %x, hash %x\n", rdmsr(0x3a), rdmsr(0x8c));
}

static void say_errors(struct enclave *e)
{
	uint64_t free = epc_alloc();

	say_leaf("ECREATE misaligned", SGX_ECREATE, 0, free + 8, 0);
	say_leaf("EADD of nothing", SGX_EADD, 32, free, 0);
	say_leaf("EREMOVE of RAM", SGX_EREMOVE, 0, (uint64_t)shown, 0);
	say_leaf("EREMOVE of a free page", SGX_EREMOVE, 0, free, 0);
	say_leaf("EREMOVE of the SECS", SGX_EREMOVE, 0, e->secs, 0);
	say_leaf("EBLOCK of the SECS", SGX_EBLOCK, 0, e->secs, 0);
	say_leaf("EWB misaligned", SGX_EWB, 0, free + 1, 0);
	say_leaf("ETRACK of a page", SGX_ETRACK, 0, e->page[ENCLAVE_DATA], 0);
	say_leaf("ERDINFO, not for guests", SGX_ERDINFO, (uint64_t)shown, free, 0);
	say_leaf("EPA of another type", SGX_EPA, 2, free, 0);
	say_leaf("a leaf that is none", 0x77, 0, free, 0);
	epc_free(free);
}

static void say_secrets(struct enclave *e)
{
	uint8_t *seen = shown[percpu()->id];
	uint64_t r = enclave_ask(e, 0, CALL_REPORT, SHOWN_LA, 0x1234, 0);

	say("EREPORT %x ", r);
	say_fault(&percpu()->fault);
	say_bytes("report", seen, sizeof(struct sgx_report));
	for (uint64_t name = SGX_KEY_REPORT; name <= SGX_KEY_SEAL; name++) {
		r = enclave_ask(e, 0, CALL_KEY, name, SGX_KEYPOLICY_MRENCLAVE, SHOWN_LA);
		say("EGETKEY %u says %x ", name, r);
		say_fault(&percpu()->fault);
		say_bytes("key", seen, 16);
	}
	ask(e, "provisioning key", CALL_KEY, SGX_KEY_PROVISION, 0, SHOWN_LA);
}

static void say_faults(struct enclave *e)
{
	ask_fault(e, "UD2", FAULT_UD, 0);
	ask_fault(e, "DIV by zero", FAULT_DE, 0);
	ask_fault(e, "INT", FAULT_INT, 0);
	ask_fault(e, "OUT", FAULT_OUT, 0);
	ask_fault(e, "HLT", FAULT_HLT, 0);
	ask_fault(e, "a jump out", FAULT_JUMP_OUT, USER_BASE);
	ask_fault(e, "ENCLU of no leaf", FAULT_ENCLU, 0);
	ask_fault(e, "EENTER inside", FAULT_EENTER, 0);
	ask_fault(e, "INT3", FAULT_INT3, 0);
}

static void say_walls(struct enclave *e)
{
	uint64_t data = e->page[ENCLAVE_DATA], seen;
	struct user_regs regs = { .rsi = e->base + ENCLAVE_DATA * PAGE,
				  .rip = USER_BASE + ((uint64_t)user_peek - (uint64_t)user_begin),
				  .rflags = USER_RFLAGS };

	ask(e, "write", CALL_WRITE, e->base + ENCLAVE_DATA * PAGE, 0x5ec7e7, 0);
	ask(e, "read", CALL_READ, e->base + ENCLAVE_DATA * PAGE, 0, 0);
	seen = peek(data);
	say("the kernel sees %x\n", seen);
	percpu()->fault.vector = NO_FAULT;
	user_call(&regs);
	say("user mode sees %x ", percpu()->answer);
	say_fault(&percpu()->fault);
	*(volatile uint64_t *)data = 7;
	ask(e, "after the kernel wrote there", CALL_READ, e->base + ENCLAVE_DATA * PAGE, 0, 0);
	say("EDBGRD %x\n", encls(SGX_EDBGRD, 0, data, 0).rbx);
}

/* #UD that is nobody's but the guest's. */
static void say_ud(void)
{
	struct user_regs regs = { .rip = USER_BASE + ((uint64_t)user_ud - (uint64_t)user_begin),
				  .rflags = USER_RFLAGS };

	percpu()->fault.vector = NO_FAULT;
	enclv_insn();
	say("ENCLV: ");
	say_fault(&percpu()->fault);
	percpu()->fault.vector = NO_FAULT;
	user_call(&regs);
	say("UD2 in user mode: ");
	say_fault(&percpu()->fault);
}

static void say_paging(struct enclave *e)
{
	ask(e, "ACCEPT", CALL_ACCEPT, ENCLAVE_HEAP, 4, RW_FLAGS | SGX_SECINFO_PENDING);
	ask(e, "FILL", CALL_FILL, ENCLAVE_HEAP, 4, 42);
	ask(e, "HASH", CALL_HASH, ENCLAVE_HEAP, 4, 0);
	say_leaf("EWB without a VA page", SGX_EWB, (uint64_t)shown, e->heap_page[1], e->page[0]);
	enclave_evict(e, 1);
	enclave_evict(e, 2);
	say("evicted: %u here\n", e->here);
	ask(e, "HASH", CALL_HASH, ENCLAVE_HEAP, 4, 0);
	say("loads %u, %u here\n", e->loads, e->here);
}

static void say_edmm(struct enclave *e)
{
	struct sgx_secinfo r = { .flags = SGX_SECINFO_R };
	struct sgx_secinfo trim = { .flags = SGX_SECINFO_TYPE(SGX_PT_TRIM) };

	say_leaf("EMODPR", SGX_EMODPR, (uint64_t)&r, e->heap_page[0], 0);
	say_leaf("ETRACK", SGX_ETRACK, 0, e->secs, 0);
	ask(e, "ACCEPT", CALL_ACCEPT, ENCLAVE_HEAP, 1,
	    SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_PR);
	(void)enclave_ask(e, 2, CALL_WRITE, heap_la(e, 0), 1, 0);
	say("write: ");
	say_fault(&percpu()->fault);
	say(enclave_recover(e, 2) ? "recovered\n" : "lost\n");
	say_leaf("EMODT", SGX_EMODT, (uint64_t)&trim, e->heap_page[3], 0);
	say_leaf("ETRACK", SGX_ETRACK, 0, e->secs, 0);
	ask(e, "ACCEPT", CALL_ACCEPT, ENCLAVE_HEAP + 3, 1,
	    SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED);
	say_leaf("EREMOVE", SGX_EREMOVE, 0, e->heap_page[3], 0);
	unmap_user(heap_la(e, 3));
	epc_free(e->heap_page[3]);
	e->heap_page[3] = 0;
}

void script_life(void)
{
	struct enclave *e = &enclaves[percpu()->id];
	uint64_t left = epc_left();

	show_page();
	say_cpuid();
	enclave_create(e, 4, 0);
	say("created\n");
	ask(e, "2 + 3", CALL_ADD, 2, 3, 0);
	say_errors(e);
	say_secrets(e);
	say_walls(e);
	say_ud();
	say_paging(e);
	say_faults(e);
	say_edmm(e);
	enclave_remove(e);
	say("removed; EPC lost: %u pages\n", left - epc_left());
}

/* ---- work ------------------------------------------------------------------------------------------- */

/* Steps: ACCEPT, FILL, and the three of each round. */
static void step(uint64_t nr)
{
	call_vmm(CALL_PROGRESS, (2 + 3 * boot->args[ARG_ROUNDS]) << 32 | nr);
}

static void round_of(struct enclave *e, uint64_t nr)
{
	uint64_t pages = e->heap, seed = boot->args[ARG_SEED] * 1000 + nr;
	uint64_t third = pages / 3 ? pages / 3 : 1;

	ask(e, "HASH", CALL_HASH, ENCLAVE_HEAP, pages, 0);
	step(3 * nr + 3);
	ask(e, "FILL", CALL_FILL, ENCLAVE_HEAP + nr * third % pages / 2, third, seed);
	step(3 * nr + 4);
	ask(e, "HASH", CALL_HASH, ENCLAVE_HEAP, pages, 0);
	step(3 * nr + 5);
	if (boot->args[ARG_FLAGS] & FLAG_SPIN)
		ask(e, "SPIN", CALL_SPIN, 20000000, 0, 0);
}

static void build(struct enclave *e)
{
	enclave_create(e, boot->args[ARG_PAGES], boot->args[ARG_KEEP]);
	step(0);
	ask(e, "ACCEPT", CALL_ACCEPT, ENCLAVE_HEAP, e->heap, RW_FLAGS | SGX_SECINFO_PENDING);
	step(1);
	if (percpu()->fault.vector == NO_FAULT)
		ask(e, "FILL", CALL_FILL, ENCLAVE_HEAP, e->heap, boot->args[ARG_SEED]);
	step(2);
	if (percpu()->fault.vector != NO_FAULT)
		end(93);
}

void script_work(void)
{
	struct enclave *e = &enclaves[percpu()->id];

	show_page();
	build(e);
	for (uint64_t i = 0; i < boot->args[ARG_ROUNDS]; i++)
		round_of(e, i);
	say_secrets(e);
	say("loads %u, evictions %u\n", e->loads, e->evictions);
	enclave_remove(e);
	say("removed\n");
}

/* Until it is stopped from outside. */
void script_run(void)
{
	struct enclave *e = &enclaves[percpu()->id];
	uint64_t first, now;

	build(e);
	call_vmm(CALL_BUILT, 0);
	first = now = enclave_ask(e, 0, CALL_HASH, ENCLAVE_HEAP, e->heap, 0);
	while (percpu()->fault.vector == NO_FAULT && now == first)
		now = enclave_ask(e, 0, CALL_HASH, ENCLAVE_HEAP, e->heap, 0);
	say("%x became %x, ", first, now);
	say_fault(&percpu()->fault);
	end(93);
}

/* No translation of what is about to be touched is left, though the pages are there. */
static void map_anew(struct enclave *e, uint64_t first, uint64_t nr)
{
	for (uint64_t i = first; i < first + nr; i++)
		unmap_user(heap_la(e, TOUCH_ORDER(i, e->heap)));
	(void)enclave_ask(e, 0, CALL_ADD, 0, 0, 0);
	for (uint64_t i = first; i < first + nr; i++) {
		uint64_t page = TOUCH_ORDER(i, e->heap);

		map_user(heap_la(e, page), e->heap_page[page], true, false);
	}
}

void script_touch(void)
{
	struct enclave *e = &enclaves[percpu()->id];
	uint64_t nr = boot->args[ARG_ROUNDS], first = 0;

	build(e);
	for (;;) {
		if (boot->args[ARG_FLAGS] & FLAG_ANEW)
			map_anew(e, first, nr);
		if (!call_vmm(CALL_NEXT, 0) || percpu()->fault.vector != NO_FAULT)
			break;
		(void)enclave_ask(e, 0, CALL_TOUCH, first, nr, e->heap);
		call_vmm(CALL_DONE, 0);
		first += nr;
	}
	enclave_remove(e);
	say_fault(&percpu()->fault);
}

/* ---- one enclave for all ---------------------------------------------------------------------------- */

static struct enclave *volatile shared;
static volatile uint32_t users;

static void share_first(void)
{
	struct enclave *e = &enclaves[0];

	build(e);
	e->shared = true;
	shared = e;
	for (uint64_t i = 0; i < boot->args[ARG_ROUNDS]; i++) {
		for (int k = 0; k < 10; k++)
			enclave_evict_next(e);
		ask(e, "HASH", CALL_HASH, ENCLAVE_HEAP, e->heap, 0);
	}
	while (__atomic_load_n(&users, __ATOMIC_ACQUIRE) < boot->vcpu_nr - 1)
		relax();
	enclave_remove(e);
	say("removed\n");
}

static void share_other(void)
{
	struct enclave *e;

	while (!(e = shared))
		relax();
	percpu()->enclave = e;
	for (uint64_t i = 0; i < 2 * boot->args[ARG_ROUNDS]; i++) {
		uint64_t answer = enclave_ask(e, percpu()->id, CALL_HASH, ENCLAVE_HEAP, e->heap, 0);

		say("HASH: %x, ", answer);
		say_fault(&percpu()->fault);
	}
	percpu()->enclave = 0;
	__atomic_fetch_add(&users, 1, __ATOMIC_RELEASE);
}

void script_share(void)
{
	if (percpu()->id == 0)
		share_first();
	else
		share_other();
}
