/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Guests that do not want to live, or do not let others: what is left of them is the VMM's business.
 */
#include "kernel.h"

#define RFLAGS_OFF  0x2u /* no interrupts */
#define RFLAGS_IOPL 0x3202u
#define WORDS_LA    (USER_BASE + 0x300000)
#define HIDDEN_PORT 0xe4

static struct enclave enclaves[8];
static uint64_t words[512] __attribute__((aligned(4096)));
static volatile uint32_t stage;

static struct enclave *build(void)
{
	struct enclave *e = &enclaves[percpu()->id];

	enclave_create(e, 20, 0);
	(void)enclave_ask(e, 0, CALL_ACCEPT, ENCLAVE_HEAP, 20, RW_FLAGS | SGX_SECINFO_PENDING);
	map_user(WORDS_LA, (uint64_t)words, true, false);
	return e;
}

static void triple(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none;

	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}

static void tables(const struct enclave *e)
{
	__asm__ volatile("mov %0, %%cr3; nop" : : "r"(e->page[ENCLAVE_DATA]) : "memory");
}

static void fetch(const struct enclave *e)
{
	__asm__ volatile("jmp *%0" : : "r"(e->page[ENCLAVE_CODE]));
}

static void stack(const struct enclave *e)
{
	__asm__ volatile("mov %0, %%rsp; xor %%eax, %%eax; .byte 0x0f, 0x01, 0xcf; ud2"
			 :
			 : "r"(e->page[ENCLAVE_DATA] + 2048)
			 : "memory", "rax");
}

static void use_ports(struct enclave *e)
{
	percpu()->rflags = RFLAGS_IOPL;
	(void)enclave_ask(e, 0, CALL_FAULT, FAULT_OUT, 0, 0);
	end(90);
}

static void out(uint16_t port, uint32_t value)
{
	__asm__ volatile("out %%eax, %%dx" : : "a"(value), "d"(port) : "memory");
}

static void ports(void)
{
	static const uint32_t values[] = { 0, 1, 0x5a, 0x1000, 0xfff, 0x7fffffff, 0xfffff000 };

	for (uint64_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		out(HIDDEN_PORT, values[i]);
		out(GUEST_PORT_UD, values[i]);
		out(GUEST_PORT_CALL, values[i]);
		out(GUEST_PORT_YIELD, values[i]);
		/* No processor of that number. */
		out(GUEST_PORT_IPI, values[i] | 0x800);
		__asm__ volatile("in %%dx, %%eax" : : "d"(GUEST_PORT_SAY), "a"(0));
	}
	say("ports\n");
	end(0);
}

/* Where its SSA frame is was looked at when it went in, and counts until it comes out. */
static void ssa_first(struct enclave *e)
{
	uint64_t from = ENCLAVE_SSA + ENCLAVE_FRAMES;

	stage = 1;
	while (!((volatile uint64_t *)words)[1])
		relax();
	for (uint64_t i = 0; i < ENCLAVE_FRAMES; i++)
		unmap_user(e->base + (from + i) * PAGE);
	ipi_all();
	for (uint64_t i = 0; i < ENCLAVE_FRAMES; i++)
		map_user(e->base + (from + i) * PAGE, e->page[from + i], true, false);
	((volatile uint64_t *)words)[0] = 5;
	while (stage != 2)
		relax();
	enclave_remove(e);
	say("removed\n");
	end(0);
}

static void ssa_other(void)
{
	while (stage != 1)
		relax();
	percpu()->enclave = &enclaves[0];
	say("inside until %u, ", enclave_ask(&enclaves[0], 1, CALL_WAIT, WORDS_LA, 0, 0));
	say_fault(&percpu()->fault);
	say_flush();
	stage = 2;
}

static void loop(struct enclave *e)
{
	for (uint64_t i = 0;; i++) {
		uint64_t page = e->heap_page[i % e->heap];

		(void)encls(SGX_EDBGRD, 0, page, 0);
		(void)encls(SGX_EBLOCK, 0, page, 0);
		(void)encls(SGX_ETRACK, 0, e->secs, 0);
		(void)encls(SGX_EREMOVE, 0, e->secs, 0);
		(void)encls(SGX_EREMOVE, 0, page, 0);
	}
}

static void spin(struct enclave *e)
{
	percpu()->rflags = RFLAGS_OFF;
	(void)enclave_ask(e, 0, CALL_WAIT, WORDS_LA, 0, 0);
}

static void halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void first(struct enclave *e)
{
	switch (boot->args[ARG_SCENARIO]) {
	case HAVOC_TRIPLE:
		triple();
		break;
	case HAVOC_TABLES:
		tables(e);
		break;
	case HAVOC_FETCH:
		fetch(e);
		break;
	case HAVOC_STACK:
		stack(e);
		break;
	case HAVOC_IOPL:
		use_ports(e);
		break;
	case HAVOC_PORTS:
		ports();
		break;
	case HAVOC_SSA:
		ssa_first(e);
		break;
	case HAVOC_LOOP:
		loop(e);
		break;
	case HAVOC_SPIN:
		spin(e);
		break;
	default:
		halt();
	}
}

static void other(void)
{
	struct enclave *e = build();

	for (;;)
		(void)enclave_ask(e, 0, CALL_HASH, ENCLAVE_HEAP, e->heap, 0);
}

void script_havoc(void)
{
	if (percpu()->id == 0)
		first(build());
	else if (boot->args[ARG_SCENARIO] == HAVOC_SSA)
		ssa_other();
	else
		other();
}
