/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The hidden part of a guest: page tables, descriptor tables and a few instructions, in guest-physical memory that
 * the guest is not told of, for each of its processors.
 *
 * Code in an enclave runs under these, at CPL 3, so that every exception of it comes to the VMM first (each handler is one
 * OUT), and every translation that it uses has been looked at as the processor's own walk would: the EPCM
 * is checked where an entry is made.  An entry that is there stays until the processor leaves the enclave or
 * longer, as in a TLB.
 *
 * KVM may have shadows of these tables.  It notices what the guest writes to them, and an entry that was not there
 * before; but not an entry that we take away.  So that is done by code in here, at CPL 0.
 *
 * Pages of a processor's part: descriptors and task; IDT; handlers; stack; code; list of what is to be zeroed; four
 * tables that map this part for CPL 0; and the tables for everything else.
 */
#include "vmm/vmm_priv.h"

#include <assert.h>
#include <string.h>

enum {
	P_GDT,
	P_IDT,
	P_HANDLERS,
	P_STACK,
	P_CODE,
	P_LIST,
	P_PML4,
	P_PDPT,
	P_PD,
	P_PT,
	P_TABLES,
	P_END = HIDDEN_BYTES / SGX_PAGE_SIZE
};
#define LIST_MAX 255u

/* The last but one entry of the PML4. */
#define SELF_SLOT 510u
#define SELF_LA   0xffffff0000000000ull

#define SELECTOR_CODE      0x08
#define SELECTOR_TASK      0x10
#define SELECTOR_USER_DATA 0x20
#define SELECTOR_USER_CODE 0x28
#define RPL_USER           3
#define TASK_OFF           0x100u /* in the GDT's page */
#define TASK_BYTES         104u
#define TASK_IST1          0x24u
#define TASK_IO_MAP        0x66u
#define HANDLER_BYTES      16u
#define GATE               0x8e01ull /* present, interrupt gate, stack IST1 */

#define CR4_PCIDE (1ull << 17)
#define EFER_SCE  1ull

#define TABLE_RIGHTS (PTE_P | PTE_W | PTE_U)
#define ADDR_MASK    0x000ffffffffff000ull

extern const uint8_t hidden_code_go[], hidden_code_end[];

static uint64_t *page_at(const struct vcpu *vcpu, unsigned int page)
{
	return (uint64_t *)(vcpu->vmm->hidden + vcpu->id * HIDDEN_BYTES + page * PAGE);
}

static uint64_t page_gpa(const struct vcpu *vcpu, unsigned int page)
{
	return vcpu->vmm->hidden_gpa + vcpu->id * HIDDEN_BYTES + page * PAGE;
}

static uint64_t page_la(unsigned int page)
{
	return SELF_LA + page * PAGE;
}

/* ---- what is there from the beginning ------------------------------------------------------------ */

static void make_descriptors(struct vcpu *vcpu)
{
	uint8_t *gdt = (uint8_t *)page_at(vcpu, P_GDT), *code = (uint8_t *)page_at(vcpu, P_CODE);
	uint64_t *idt = page_at(vcpu, P_IDT);
	uint8_t *handlers = (uint8_t *)page_at(vcpu, P_HANDLERS);
	const uint64_t stack = page_la(P_STACK) + PAGE, code0 = 0x00af9b000000ffffull,
		       code3 = 0x00affb000000ffffull, data3 = 0x00cff3000000ffffull;

	memcpy(gdt + SELECTOR_CODE, &code0, sizeof(code0));
	memcpy(gdt + SELECTOR_USER_CODE, &code3, sizeof(code3));
	memcpy(gdt + SELECTOR_USER_DATA, &data3, sizeof(data3));
	memcpy(gdt + TASK_OFF + TASK_IST1, &stack, sizeof(stack));
	/* No ports: the map lies behind the end. */
	gdt[TASK_OFF + TASK_IO_MAP] = TASK_BYTES;
	for (unsigned int i = 0; i < 256; i++) {
		uint64_t la = page_la(P_HANDLERS) + i * HANDLER_BYTES;
		/* OUT imm8, AL; and nobody comes back here. */
		const uint8_t handler[] = { 0xe6, HIDDEN_PORT, 0xf4 };

		memcpy(handlers + i * HANDLER_BYTES, handler, sizeof(handler));
		idt[2 * i] = (la & 0xffff) | SELECTOR_CODE << 16 | GATE << 32 |
			     (la >> 16 & 0xffff) << 48;
		idt[2 * i + 1] = la >> 32;
	}
	memcpy(code, hidden_code_go, (size_t)(hidden_code_end - hidden_code_go));
}

void hidden_init(struct vmm *vmm, unsigned int id)
{
	struct vcpu *vcpu = &vmm->vcpu[id];

	make_descriptors(vcpu);
	page_at(vcpu, P_PML4)[SELF_SLOT] = page_gpa(vcpu, P_PDPT) | PTE_P | PTE_W;
	page_at(vcpu, P_PDPT)[0] = page_gpa(vcpu, P_PD) | PTE_P | PTE_W;
	page_at(vcpu, P_PD)[0] = page_gpa(vcpu, P_PT) | PTE_P | PTE_W;
	for (unsigned int i = 0; i < P_END; i++)
		page_at(vcpu, P_PT)[i] = page_gpa(vcpu, i) | PTE_P | PTE_W;
	vcpu->tables_used = 0;
}

void hidden_sregs(const struct vcpu *vcpu, struct kvm_sregs *sregs)
{
	sregs->cr3 = page_gpa(vcpu, P_PML4);
	sregs->cr4 &= ~CR4_PCIDE;
	sregs->efer &= ~EFER_SCE;
	sregs->gdt = (struct kvm_dtable){ .base = page_la(P_GDT), .limit = TASK_OFF - 1 };
	sregs->idt = (struct kvm_dtable){ .base = page_la(P_IDT), .limit = PAGE - 1 };
	sregs->tr = (struct kvm_segment){ .selector = SELECTOR_TASK,
					  .base = page_la(P_GDT) + TASK_OFF,
					  .limit = TASK_BYTES - 1,
					  .type = 11,
					  .present = 1 };
}

/* ---- exceptions ---------------------------------------------------------------------------------- */

int hidden_vector(uint64_t rip)
{
	uint64_t off = rip - page_la(P_HANDLERS);

	return off < PAGE ? (int)(off / HANDLER_BYTES) : -1;
}

static bool has_error(unsigned int vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21;
}

uint64_t *hidden_frame(struct vcpu *vcpu, uint64_t rsp, unsigned int vector, uint32_t *ret_error)
{
	uint64_t off = rsp - page_la(P_STACK);
	uint64_t *frame;

	assert(off <= PAGE - 5 * sizeof(uint64_t));
	frame = page_at(vcpu, P_STACK) + off / sizeof(uint64_t);
	*ret_error = has_error(vector) ? (uint32_t)*frame++ : 0;
	return frame;
}

static uint64_t stack_la(const struct vcpu *vcpu, const uint64_t *frame)
{
	return page_la(P_STACK) + (uint64_t)(frame - page_at(vcpu, P_STACK)) * sizeof(uint64_t);
}

/* ---- page tables ---------------------------------------------------------------------------------- */

/* Of the tables that are ours: where the one at @gpa is. */
static uint64_t *table_at(const struct vcpu *vcpu, uint64_t entry)
{
	uint64_t off = (entry & ADDR_MASK) - page_gpa(vcpu, 0);

	assert(off < HIDDEN_BYTES);
	return page_at(vcpu, (unsigned int)(off / PAGE));
}

bool hidden_map(struct vcpu *vcpu, uint64_t la, uint64_t gpa, uint64_t rights, uint64_t *ret_entry)
{
	uint64_t *table = page_at(vcpu, P_PML4);
	unsigned int index;

	if ((la >> 39 & 511) == SELF_SLOT)
		return false;
	for (unsigned int level = 3; level > 0; level--) {
		index = la >> (12 + 9 * level) & 511;
		if (!table[index]) {
			if (P_TABLES + vcpu->tables_used == P_END)
				return false;
			table[index] =
				page_gpa(vcpu, P_TABLES + vcpu->tables_used++) | TABLE_RIGHTS;
		}
		table = table_at(vcpu, table[index]);
	}
	index = la >> 12 & 511;
	*ret_entry = page_gpa(vcpu, 0) +
		     (uint64_t)((uint8_t *)&table[index] - (uint8_t *)page_at(vcpu, 0));
	__atomic_store_n(&table[index], gpa | PTE_P | PTE_U | PTE_A | PTE_D | rights,
			 __ATOMIC_RELEASE);
	return true;
}

/* The list's first word says how long it is. */
static void list_add(struct vcpu *vcpu, uint64_t la, uint64_t words)
{
	uint64_t *list = page_at(vcpu, P_LIST);

	assert(list[0] < LIST_MAX);
	list[0]++;
	list[2 * list[0]] = la;
	list[2 * list[0] + 1] = words;
}

void hidden_remove(struct vcpu *vcpu, uint64_t entry)
{
	if (page_at(vcpu, P_LIST)[0] == LIST_MAX)
		hidden_remove_all(vcpu);
	else
		list_add(vcpu, SELF_LA + (entry - page_gpa(vcpu, 0)), 1);
}

void hidden_remove_all(struct vcpu *vcpu)
{
	page_at(vcpu, P_LIST)[0] = 0;
	list_add(vcpu, page_la(P_PML4), SELF_SLOT);
	list_add(vcpu, page_la(P_PML4) + (SELF_SLOT + 1) * 8, 511 - SELF_SLOT);
	for (unsigned int i = 0; i < vcpu->tables_used; i++)
		list_add(vcpu, page_la(P_TABLES + i), 512);
	vcpu->tables_used = 0;
	vcpu->shown_nr = 0;
}

void hidden_go(struct vcpu *vcpu, struct cpu_regs *regs)
{
	uint64_t *list = page_at(vcpu, P_LIST);
	uint64_t *stack = page_at(vcpu, P_STACK) + PAGE / 8 - 20;
	uint64_t state[] = { regs->rax,
			     regs->rcx,
			     regs->rdx,
			     regs->rbx,
			     regs->rbp,
			     regs->rsi,
			     regs->rdi,
			     regs->r8,
			     regs->r9,
			     regs->r10,
			     regs->r11,
			     regs->r12,
			     regs->r13,
			     regs->r14,
			     regs->r15,
			     regs->rip,
			     SELECTOR_USER_CODE | RPL_USER,
			     regs->rflags,
			     regs->rsp,
			     SELECTOR_USER_DATA | RPL_USER };

	static_assert(sizeof(state) == 20 * sizeof(uint64_t), "what hidden_code_go pops");
	memcpy(stack, state, sizeof(state));
	*regs = (struct cpu_regs){ .rip = page_la(P_CODE),
				   .rsp = stack_la(vcpu, stack),
				   .rsi = page_la(P_LIST) + 16,
				   .rcx = list[0],
				   .rflags = 2,
				   .fs_base = regs->fs_base,
				   .gs_base = regs->gs_base };
	list[0] = 0;
}
