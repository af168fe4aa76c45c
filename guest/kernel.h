/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The guest's kernel, between its files.
 *
 * Each processor has its own part of the EPC and its own enclaves, so nothing is shared but what says so.
 */
#ifndef SWSGX_GUEST_KERNEL_H
#define SWSGX_GUEST_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/sgx.h"
#include "layout.h"
#include "vmm/guest_abi.h"
#include "vmm/guest_args.h"

#define PAGE   4096ull
#define STACKS 16384ull
/* Where the VMM has its first region; a GiB from there on is mapped. */
#define EPC_BASE 0x100000000ull

#define VECTOR_IPI 0x41

struct fault {
	uint64_t vector; /* NO_FAULT */
	uint64_t error, cr2;
};
#define NO_FAULT 0x100u

/* At the bottom of each processor's stack; the first three are known to start.S. */
struct percpu {
	uint64_t sp;
	uint64_t id;
	uint64_t *rsp0;
	struct fault fault; /* of an instruction that may have one, or of user mode */
	uint64_t answer;    /* RSI of user mode */
	uint64_t ticks, ipis;
	uint64_t rflags;         /* that enclaves are entered with; 0: the usual ones */
	struct enclave *enclave; /* whose page faults are served */
	struct guest_text *text;
};
static inline struct percpu *percpu(void)
{
	uint64_t sp;

	__asm__("mov %%rsp, %0" : "=r"(sp));
	return (struct percpu *)(sp & ~(STACKS - 1));
}

/* ---- start.S ---- */
struct user_regs {
	uint64_t rax, rbx, rcx, rsi, rdx, rip, rsp, rdi, r8, rflags;
};
#define USER_RFLAGS 0x202u
void user_call(struct user_regs *regs);
__attribute__((noreturn)) void user_back(void);
struct encls {
	uint64_t rax, rbx, rcx, rdx, rflags;
};
void encls_insn(struct encls *regs);
uint64_t peek(uint64_t address);
void enclv_insn(void);
extern const char encls_at[], encls_fault[], peek_at[], enclv_at[], traps[], trap_ud_forward[];
extern const char user_enter[], user_aep[], user_peek[], user_ud[], user_begin[], kernel_end[];
extern const uint8_t enclave_code[], enclave_signed[];

/* ---- cpu.c ---- */
#define USER_BASE 0xf00000000ull
extern const struct guest_boot *boot;
void cpu_init_all(void); /* by the first processor, before the others */
void cpu_init(void);
/* Memory from the end of the kernel on, zeroed. */
void *memory_alloc(uint64_t bytes);
void map_user(uint64_t la, uint64_t gpa, bool writable, bool executable);
void unmap_user(uint64_t la);
uint64_t rdmsr(uint32_t msr);
void wrmsr(uint32_t msr, uint64_t value);
struct cpuid {
	uint32_t a, b, c, d;
};
struct cpuid cpuid(uint32_t leaf, uint32_t subleaf);
__attribute__((noreturn)) void end(uint8_t how);
static inline void relax(void)
{
	__asm__ volatile("out %%al, %0" : : "N"(GUEST_PORT_YIELD) : "memory");
}
/* GUEST_PORT_CALL: the answer, 1 when there is nobody to answer. */
uint64_t call_vmm(uint64_t what, uint64_t arg);
void ipi(uint64_t vcpu, uint8_t vector);
/* Every other processor has been out of its enclave when it returns. */
void ipi_all(void);
void lock(volatile uint32_t *l);
void unlock(volatile uint32_t *l);

/* ---- say.c ---- */
/* %s, %x, %u of 64 bits. */
void say(const char *format, ...);
void say_bytes(const char *what, const uint8_t *bytes, uint64_t nr);
void say_flush(void);
void say_fault(const struct fault *fault);
/* An ENCLS, and what came of it. */
void say_leaf(const char *what, uint64_t leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx);

/* ---- driver.c ---- */
#define VA_MAX 32
struct pageinfo {
	uint64_t linaddr, srcpge, secinfo, secs;
} __attribute__((aligned(32)));
/* Where the kernel has put a page. */
struct evicted {
	uint8_t page[4096];
	struct sgx_pcmd pcmd;
	uint64_t va, slot;
} __attribute__((aligned(4096)));
struct enclave {
	uint64_t base;
	uint64_t secs; /* physical addresses of EPC pages, as all are */
	uint64_t heap, keep;
	uint64_t page[ENCLAVE_HEAP];         /* of the fixed part; 0: none */
	uint64_t *heap_page;                 /* 0: not there */
	struct evicted **heap_evicted;       /* where it is then */
	uint64_t va[VA_MAX], va_nr, va_used; /* slots used of the last one */
	uint64_t here, hand;
	uint64_t loads, evictions;
	bool shared; /* by processors: its pages move with the lock held */
};
/* This processor's part of the EPC. */
void epc_init(void);
uint64_t epc_alloc(void);
void epc_free(uint64_t page);
uint64_t epc_left(void);

/* RAX and what else there is. A fault is in percpu. */
struct encls encls(uint64_t leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx);
/* One that has to succeed. */
void encls_ok(uint64_t leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx);

bool sgx_enable(void);
/* ECREATE in page @secs: it has no page yet. */
void enclave_begin(struct enclave *e, uint64_t secs);
/* EADD and EEXTEND of its page number @at. */
void enclave_add(struct enclave *e, uint64_t at, uint64_t flags, const void *source);
/* All of it, and EINIT. */
void enclave_create_at(struct enclave *e, uint64_t secs, uint64_t heap, uint64_t keep);
void enclave_create(struct enclave *e, uint64_t heap, uint64_t keep);
void enclave_remove(struct enclave *e);
/* Thread @tcs: the answer; percpu's fault says whether there was one. */
uint64_t enclave_ask(struct enclave *e, uint64_t tcs, uint64_t call, uint64_t a, uint64_t b,
		     uint64_t c);
/* Thread @tcs has had an exception: its handler inside gives up what it was doing. False: it cannot. */
bool enclave_recover(struct enclave *e, uint64_t tcs);
void enclave_evict(struct enclave *e, uint64_t heap_page);
/* Called for a fault in an enclave: true, it may go on. */
bool enclave_fault(struct enclave *e, uint64_t la, uint64_t error);
/* The heap page after the last one that it was called for. Takes the lock. */
void enclave_evict_next(struct enclave *e);
uint64_t heap_la(const struct enclave *e, uint64_t heap_page);

/* ---- scripts ---- */
void script_life(void);
void script_work(void);
void script_run(void);
void script_share(void);
void script_hostile(void);
void script_havoc(void);
void script_touch(void);
void script_scenario(void);

#define RW_FLAGS (SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_W)
#define RX_FLAGS (SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_X)

#endif
