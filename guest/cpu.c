/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The guest's processors: descriptors, page tables, traps; and where each begins.
 *
 * One address space: RAM and EPC one to one for the kernel, enclaves and a page of code for user mode.
 */
#include "kernel.h"

#define PTE_P  1ull
#define PTE_W  2ull
#define PTE_U  4ull
#define PTE_PS 0x80ull
#define PTE_NX (1ull << 63)
#define ADDR   0x000ffffffffff000ull

const struct guest_boot *boot;

static uint64_t pml4[512] __attribute__((aligned(4096)));
static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t epc_pd[512] __attribute__((aligned(4096)));
static uint64_t idt[512] __attribute__((aligned(4096)));
static uint64_t gdt[8][16] __attribute__((aligned(128)));
static struct {
	uint32_t reserved;
	uint64_t rsp[3];
	uint64_t reserved2;
	uint64_t stacks[7];
	uint64_t reserved3;
	uint16_t reserved4, iomap;
} __attribute__((packed)) tss[8];
static uint64_t next; /* free memory */
static volatile uint32_t ready, done;
static volatile uint32_t map_lock;

struct table {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

/* ---- little things ---- */

uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid r;

	__asm__ volatile("cpuid"
			 : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d)
			 : "a"(leaf), "c"(subleaf));
	return r;
}

void end(uint8_t how)
{
	say_flush();
	__asm__ volatile("out %%al, %1" : : "a"(how), "N"(GUEST_PORT_END) : "memory");
	for (;;)
		__asm__ volatile("hlt");
}

void ipi(uint64_t vcpu, uint8_t vector)
{
	__asm__ volatile("out %%eax, %1"
			 :
			 : "a"((uint32_t)(vcpu << 8 | vector)), "N"(GUEST_PORT_IPI)
			 : "memory");
}

uint64_t call_vmm(uint64_t what, uint64_t arg)
{
	struct guest_call call = { .what = what, .arg = arg, .answer = 1 };

	__asm__ volatile("out %%eax, %1"
			 :
			 : "a"((uint32_t)(uint64_t)&call), "N"(GUEST_PORT_CALL)
			 : "memory");
	return call.answer;
}

/* Who waits answers interrupts: whoever has the lock may be waiting for that. */
void lock(volatile uint32_t *l)
{
	while (__atomic_exchange_n(l, 1, __ATOMIC_ACQUIRE)) {
		__asm__ volatile("sti" : : : "memory");
		while (*l)
			relax();
		__asm__ volatile("cli" : : : "memory");
	}
}

void unlock(volatile uint32_t *l)
{
	__atomic_store_n(l, 0, __ATOMIC_RELEASE);
}

static struct percpu *percpu_of(uint64_t id)
{
	extern uint8_t stacks[];

	return (struct percpu *)(stacks + id * STACKS);
}

void ipi_all(void)
{
	uint64_t before[8];

	for (uint64_t i = 0; i < boot->vcpu_nr; i++) {
		before[i] = __atomic_load_n(&percpu_of(i)->ipis, __ATOMIC_ACQUIRE);
		if (i != percpu()->id)
			ipi(i, VECTOR_IPI);
	}
	for (uint64_t i = 0; i < boot->vcpu_nr; i++)
		while (i != percpu()->id &&
		       __atomic_load_n(&percpu_of(i)->ipis, __ATOMIC_ACQUIRE) == before[i])
			relax();
}

/* ---- memory ---- */

/* What the VMM gives is zero. */
void *memory_alloc(uint64_t bytes)
{
	uint64_t at = __atomic_fetch_add(&next, (bytes + PAGE - 1) & ~(PAGE - 1), __ATOMIC_RELAXED);

	if (at + bytes > boot->ram_bytes)
		end(98);
	return (void *)at;
}

static uint64_t *entry_of(uint64_t la)
{
	uint64_t *table = pml4;

	for (int shift = 39; shift > 12; shift -= 9) {
		uint64_t *entry = &table[la >> shift & 511];

		if (!*entry)
			*entry = (uint64_t)memory_alloc(PAGE) | PTE_P | PTE_W | PTE_U;
		table = (uint64_t *)(*entry & ADDR);
	}
	return &table[la >> 12 & 511];
}

void map_user(uint64_t la, uint64_t gpa, bool writable, bool executable)
{
	lock(&map_lock);
	*entry_of(la) = gpa | PTE_P | PTE_U | (writable ? PTE_W : 0) | (executable ? 0 : PTE_NX);
	unlock(&map_lock);
	__asm__ volatile("invlpg (%0)" : : "r"(la) : "memory");
}

void unmap_user(uint64_t la)
{
	lock(&map_lock);
	*entry_of(la) = 0;
	unlock(&map_lock);
	__asm__ volatile("invlpg (%0)" : : "r"(la) : "memory");
}

static void make_tables(void)
{
	uint64_t *old_pml4, *old_pdpt, cr3;

	__asm__("mov %%cr3, %0" : "=r"(cr3));
	old_pml4 = (uint64_t *)(cr3 & ADDR);
	old_pdpt = (uint64_t *)(old_pml4[0] & ADDR);
	for (int i = 0; i < 4; i++)
		pdpt[i] = old_pdpt[i];
	for (uint64_t i = 0; i < 512; i++)
		epc_pd[i] = (EPC_BASE + (i << 21)) | PTE_P | PTE_W | PTE_PS;
	pdpt[4] = (uint64_t)epc_pd | PTE_P | PTE_W;
	pml4[0] = (uint64_t)pdpt | PTE_P | PTE_W | PTE_U;
}

/* ---- traps ---- */

struct frame {
	uint64_t r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax, vector, error, rip, cs,
		rflags, rsp, ss;
};

/* An EENTER or ERESUME has missed the TCS or its SSA. (What an enclave misses shows at its ERESUME as well.) */
static bool is_entry(const struct frame *f, uint64_t cr2)
{
	const struct enclave *e = percpu()->enclave;

	return (f->cs & 3) && f->vector == 14 && e && cr2 >= e->base &&
	       cr2 < e->base + ENCLAVE_CODE * PAGE;
}

void trap(struct frame *f);
void trap(struct frame *f)
{
	struct percpu *pc = percpu();
	uint64_t cr2;

	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	if (f->vector == VECTOR_TICK || f->vector == VECTOR_IPI) {
		__atomic_fetch_add(f->vector == VECTOR_TICK ? &pc->ticks : &pc->ipis, 1,
				   __ATOMIC_RELEASE);
		return;
	}
	if (f->vector == 3 && (f->cs & 3)) {
		pc->answer = f->rsi;
		user_back();
	}
	if (f->vector == 14 && (f->cs & 3) && pc->enclave &&
	    enclave_fault(pc->enclave, cr2, f->error))
		return;
	if (is_entry(f, cr2) && (boot->args[ARG_FLAGS] & FLAG_PATIENT))
		return;
	pc->fault = (struct fault){ .vector = f->vector,
				    .error = f->error,
				    .cr2 = f->vector == 14 ? cr2 : 0 };
	if (f->cs & 3)
		user_back();
	if (f->rip == (uint64_t)encls_at) {
		f->rip = (uint64_t)encls_fault;
		return;
	}
	if (f->rip == (uint64_t)peek_at || f->rip == (uint64_t)enclv_at) {
		f->rip += 3;
		return;
	}
	say("trap %u error %x at %x, cr2 %x\n", f->vector, f->error, f->rip, cr2);
	end(99);
}

static void make_gates(void)
{
	for (uint64_t i = 0; i < 80; i++) {
		uint64_t at = (uint64_t)traps + i * 16;

		if (i == 6 && (boot->args[ARG_FLAGS] & FLAG_FORWARD))
			at = (uint64_t)trap_ud_forward;
		idt[2 * i] = (at & 0xffff) | 8ull << 16 | (i == 3 ? 0xee00ull : 0x8e00ull) << 32 |
			     (at >> 16 & 0xffff) << 48;
		idt[2 * i + 1] = at >> 32;
	}
}

void cpu_init(void)
{
	struct percpu *pc = percpu();
	uint64_t *g = gdt[pc->id], at = (uint64_t)&tss[pc->id];
	struct table table = { .limit = 127, .base = (uint64_t)g };
	uint64_t efer = rdmsr(0xc0000080);

	g[1] = 0x00af9b000000ffffull;
	g[2] = 0x00cf93000000ffffull;
	g[3] = 0x00cff3000000ffffull;
	g[4] = 0x00affb000000ffffull;
	g[5] = (sizeof(tss[0]) - 1) | (at & 0xffffff) << 16 | 0x89ull << 40 |
	       (at >> 24 & 0xff) << 56;
	g[6] = at >> 32;
	tss[pc->id].iomap = sizeof(tss[0]);
	pc->rsp0 = (uint64_t *)((uint8_t *)&tss[pc->id] + 4);
	__asm__ volatile("lgdt %0" : : "m"(table));
	__asm__ volatile("ltr %w0" : : "r"(0x28));
	table = (struct table){ .limit = sizeof(idt) - 1, .base = (uint64_t)idt };
	__asm__ volatile("lidt %0" : : "m"(table));
	wrmsr(0xc0000080, efer | 1ull << 11); /* NXE */
	__asm__ volatile("mov %0, %%cr3" : : "r"(pml4) : "memory");
	pc->text = memory_alloc(sizeof(*pc->text));
	pc->fault.vector = NO_FAULT;
}

void cpu_init_all(void)
{
	next = (uint64_t)kernel_end;
	make_tables();
	make_gates();
	map_user(USER_BASE, (uint64_t)user_begin, false, true);
}

/* ---- where it begins ---- */

static void run(void)
{
	switch (boot->args[ARG_SCRIPT]) {
	case SCRIPT_LIFE:
		script_life();
		break;
	case SCRIPT_WORK:
		script_work();
		break;
	case SCRIPT_RUN:
		script_run();
		break;
	case SCRIPT_SHARE:
		script_share();
		break;
	case SCRIPT_HOSTILE:
		script_hostile();
		break;
	case SCRIPT_HAVOC:
		script_havoc();
		break;
	case SCRIPT_TOUCH:
		script_touch();
		break;
	case SCRIPT_SCENARIO:
		script_scenario();
		break;
	default:
		say("there is no script %u\n", boot->args[ARG_SCRIPT]);
		end(97);
	}
}

void kernel_main(uint64_t id, const struct guest_boot *at);
void kernel_main(uint64_t id, const struct guest_boot *at)
{
	if (id == 0) {
		boot = at;
		cpu_init_all();
		__atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
	}
	while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE))
		relax();
	cpu_init();
	epc_init();
	if (!sgx_enable()) {
		say("there is no SGX\n");
		end(96);
	}
	run();
	say_flush();
	__atomic_fetch_add(&done, 1, __ATOMIC_RELEASE);
	/* The last one ends it. */
	if (__atomic_load_n(&done, __ATOMIC_ACQUIRE) == boot->vcpu_nr)
		end(0);
	for (;;)
		__asm__ volatile("sti; hlt");
}
