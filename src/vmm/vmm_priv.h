/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the files of vmm/ share.  A virtual machine is private memory of one process, but for the logical
 * processors in struct cpu, which are in the arena.
 *
 * Guest-physical addresses, as the guest is told of them and as KVM has them:
 *
 *   RAM        from 0 on; KVM has it there
 *   EPC        from VMM_EPC_GPA on; KVM has nothing there, so that whoever is not in an enclave gets an exit,
 *              and all ones: the abort page.  KVM has it vmm.alias higher, where only the hidden page tables
 *              lead (hidden.c), under which code in enclaves runs
 *   hidden     at vmm.hidden_gpa, for the same code
 */
#ifndef SWSGX_VMM_VMM_PRIV_H
#define SWSGX_VMM_VMM_PRIV_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/sgx.h"
#include "base/lock.h"
#include "base/report.h"
#include "cpu/cpu.h"
#include "virt/vcpu.h"
#include "virt/virt.h"
#include "vmm/vmm.h"

struct vepc;

#define PAGE ((uint64_t)SGX_PAGE_SIZE)

/* KVM's slots. */
enum { SLOT_RAM, SLOT_HIDDEN, SLOT_EPC /* and on */ };

struct region {
	struct vmm_region at; /* no bytes: none */
	uint8_t *hva;
};

/* A translation that code in an enclave uses: an entry of the hidden page tables. */
struct shown {
	uint64_t la;
	uint64_t gpa;    /* KVM's */
	uint64_t rights; /* PTE_W, PTE_NX */
	uint64_t entry;  /* hidden.c's name of where it is */
};
#define SHOWN_MAX 4096u

#define SSA_PAGES_MAX 8u /* of a frame; three are enough for every component of XSAVE */

/* What of the processor's state the walk of its page tables depends on. */
struct paging {
	uint64_t cr0, cr3, cr4, efer;
	unsigned int cpl;
};

/* By its thread alone, read by any: see struct vmm_info. */
struct vcpu_counts {
	_Atomic uint64_t exits, encls, enclu, forwarded, entries, aexs, enclave_faults, interrupts;
};
static inline void count(_Atomic uint64_t *nr)
{
	atomic_store_explicit(nr, atomic_load_explicit(nr, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

struct vcpu {
	struct vmm *vmm;
	unsigned int id;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool started;          /* thread is to be joined */
	pthread_t self;        /* the same, by itself */
	atomic_bool reachable; /* self can be sent signals */

	struct virt_vcpu virt;
	struct cpu_lp *lp;      /* in the arena */
	uint8_t *xsave;         /* 4 KiB, as KVM_GET_XSAVE has it */
	struct paging operands; /* under which an SGX instruction's are walked to */
	uint64_t ud_handler;    /* of the guest's, where KVM stops it for us; 0: nowhere */
	bool step;              /* over the first instruction of that */
	bool real_ud;           /* the #UD that its handler is about to see is from us */
	bool faulted;           /* it begins with a fault of ours */
	bool unfinished;        /* KVM has yet to finish an access that we have answered */

	/* While it is in an enclave: what the guest will have back. */
	struct kvm_sregs home;
	uint64_t iopl; /* in an enclave there are no ports */
	/* And where its SSA frame is, as its entry has found it: an exit does not look at the guest's tables again. */
	uint64_t ssa_la, ssa_gpa[SSA_PAGES_MAX];
	unsigned int ssa_pages;
	bool exiting; /* asynchronously: that is in use */
	struct shown *shown;
	unsigned int shown_nr;
	unsigned int tables_used; /* of the hidden ones */
	uint64_t next_la;         /* the page behind the last that was shown at a fault */
	unsigned int ahead;       /* how many are shown ahead: it goes from page to page */

	_Atomic uint64_t irqs[4]; /* by vector: wanted */
	atomic_int wake;          /* a futex: 1 when something is wanted of it */
	struct vcpu_counts counts;

	char *said;
	size_t said_bytes, said_room;
};

struct vmm {
	/* constant */
	struct vmm_config config;
	struct epc *epc;
	struct cpu *cpu;
	int kvm_fd, vm_fd;
	size_t run_bytes;
	struct kvm_cpuid2 *cpuid;
	uint64_t alias, hidden_gpa;
	uint8_t *ram, *hidden;
	uint64_t entry;
	struct vepc *vepc[VMM_FILES];
	struct virt_guest *guest;
	struct virt_policy policy;
	int uffd, quit_fd;
	pthread_t server; /* of page faults */
	bool serving;
	atomic_bool quit;

	struct lock change; /* one at a time makes, moves or deletes regions */
	struct lock lock;   /* the list of them */
	struct region region[VMM_REGIONS];

	_Atomic uint64_t epc_faults;
	atomic_uint running; /* processors; a futex, as are the two below */
	atomic_int paused;   /* they shall park */
	atomic_uint parked;
	atomic_int end;    /* how, once it is there: END_NONE at first */
	struct report why; /* by whoever has set end */
	struct vcpu vcpu[VMM_VCPUS];
};

#define END_NONE INT32_MAX

/* ---- memory.c ---------------------------------------------------------------------------------- */

int memory_init(struct vmm *vmm, struct report *rep);
void memory_fini(struct vmm *vmm);
void memory_clear(struct vmm *vmm);
/* Pages of EPC that could not be had can be tried again. 0 or -errno. */
int memory_remap(struct vmm *vmm);
/* Ordinary memory of the guest: false where there is none. Within a page. */
bool memory_read(struct vmm *vmm, uint64_t gpa, void *to, size_t bytes);
bool memory_write(struct vmm *vmm, uint64_t gpa, const void *from, size_t bytes);
/* There is EPC at @gpa. */
bool memory_is_epc(struct vmm *vmm, uint64_t gpa);
/* The page of EPC at @gpa is in this process's mapping, if it is in the EPC: KVM needs not ask the server for it. */
void memory_show_epc(struct vmm *vmm, uint64_t gpa);
/* Read a page's bytes past the guest's walls: for decoding an instruction in an enclave. */
bool memory_peek_epc(struct vmm *vmm, uint64_t gpa, void *to, size_t bytes);

/* ---- server.c ---------------------------------------------------------------------------------- */

/* The kernel's userfaultfd, such that KVM's own accesses come here too. A descriptor, or -errno. */
int server_open(struct report *rep);
int server_start(struct vmm *vmm, struct report *rep);
void server_stop(struct vmm *vmm);
int server_register(struct vmm *vmm, void *hva, uint64_t bytes);
void server_unregister(struct vmm *vmm, void *hva, uint64_t bytes);
/* The page at @hva, which is in the EPC, can be used from now on. 0; -EAGAIN: it has been taken away again; -errno. */
int server_show(struct vmm *vmm, uint64_t hva);

/* ---- image.c ----------------------------------------------------------------------------------- */

int image_load(struct vmm *vmm, struct report *rep);
/* The registers that a processor begins with. */
int image_begin(struct vmm *vmm, struct vcpu *vcpu);

/* ---- paging.c ---------------------------------------------------------------------------------- */

struct translation {
	uint64_t gpa;
	uint64_t pte; /* the guest's rights: PTE_* of all levels together */
};
#define PTE_P  1ull
#define PTE_W  2ull
#define PTE_U  4ull
#define PTE_A  0x20ull
#define PTE_D  0x40ull
#define PTE_PS 0x80ull
#define PTE_NX (1ull << 63)
/* @access: SGX_SECINFO_R|W|X bits. False: a #PF with *ret_error. Sets accessed and dirty bits. */
bool paging_walk(struct vmm *vmm, const struct paging *paging, uint64_t la, unsigned int access,
		 struct translation *ret, uint16_t *ret_error);
struct paging paging_of(const struct kvm_sregs *sregs);
/* Bytes at a linear address, of ordinary memory or, with @epc, of EPC; false: some of them cannot be read. */
bool paging_fetch(struct vmm *vmm, const struct paging *paging, uint64_t la, bool epc, void *to,
		  size_t bytes);

/* ---- vcpu.c ------------------------------------------------------------------------------------ */

int vcpu_init(struct vmm *vmm, struct vcpu *vcpu, unsigned int id);
void vcpu_fini(struct vcpu *vcpu);
/* As at first. 0 or -errno. */
int vcpu_reset(struct vcpu *vcpu);
int vcpu_start(struct vcpu *vcpu);
/* The guest cannot go on. Returns -EIO. */
int vmm_stop(struct vmm *vmm, int end, const char *what, ...) __attribute__((format(printf, 3, 4)));
/* A fault that the guest gets when it goes on. @error: of those that have one. */
void vcpu_fault(struct vcpu *vcpu, uint8_t vector, uint32_t error, uint64_t cr2);
void vcpu_regs_get(const struct vcpu *vcpu, struct cpu_regs *regs);
void vcpu_regs_set(struct vcpu *vcpu, const struct cpu_regs *regs);

/* ---- event.c ----------------------------------------------------------------------------------- */

#define VCPU_KICK SIGUSR1
void vcpu_kick(struct vcpu *vcpu);
void vcpu_interrupt(struct vcpu *vcpu, uint8_t vector);
/* No processor runs from the one to the other, and none is in an enclave. */
void event_pause(struct vmm *vmm);
void event_resume(struct vmm *vmm);
/* Before KVM_RUN: 0, or the guest has been stopped. */
int event_take(struct vcpu *vcpu);
/* HLT: until something is wanted. */
void event_halt(struct vcpu *vcpu);

/* ---- sgx.c ------------------------------------------------------------------------------------- */

enum insn { INSN_OTHER, INSN_ENCLS, INSN_ENCLU, INSN_ENCLV };
enum insn insn_of(const uint8_t *bytes, size_t nr);
/* The instruction that RIP is at is executed. 0, or the guest has been stopped. */
int sgx_execute(struct vcpu *vcpu, enum insn insn);
/* The guest has had a #UD, its frame is on its stack and nothing else has happened. True: it was one of ours. */
bool sgx_forwarded(struct vcpu *vcpu, int *ret);
/* One instruction with the EPC that it reaches held still: ENCLU, or an AEX. */
struct enclu_step {
	struct vcpu *vcpu;
	struct cpu_regs regs;
	const struct cpu_event *event; /* an AEX */
	struct paging paging;
};
int sgx_enclu_step(struct enclu_step *step, struct cpu_outcome *ret_out);

/* ---- enclave.c --------------------------------------------------------------------------------- */

/* The processor has entered: what it runs with from now on. */
void enclave_enter(struct vcpu *vcpu, const struct cpu_regs *regs);
/* And has left, by EEXIT: @regs is where it goes on. */
void enclave_leave(struct vcpu *vcpu, const struct cpu_regs *regs);
/* KVM has met a page of EPC that cannot be had. */
int enclave_lost(struct vcpu *vcpu);
/* Where the page of an SSA frame at @la was at the entry; false: it is none of it. */
bool enclave_ssa(const struct vcpu *vcpu, uint64_t la, uint64_t *ret_gpa);
/* It wrote to the hidden port. */
int enclave_exception(struct vcpu *vcpu);
/* An interrupt is to be taken. */
int enclave_interrupt(struct vcpu *vcpu);

/* ---- hidden.c ---------------------------------------------------------------------------------- */

#define HIDDEN_PORT  0xe4
#define HIDDEN_BYTES (1ull << 20) /* for each processor */

void hidden_init(struct vmm *vmm, unsigned int vcpu);
/* Page tables, descriptor tables, and a task: as the enclave's code has to have them. */
void hidden_sregs(const struct vcpu *vcpu, struct kvm_sregs *sregs);
/* Which vector's handler is at @rip, or -1. */
int hidden_vector(uint64_t rip);
/* The frame that the processor pushed: RIP, CS, RFLAGS, RSP, SS. */
uint64_t *hidden_frame(struct vcpu *vcpu, uint64_t rsp, unsigned int vector, uint32_t *ret_error);
/* Map @la to @gpa (KVM's) with PTE_W, PTE_NX; false: no room. *ret_entry names it. */
bool hidden_map(struct vcpu *vcpu, uint64_t la, uint64_t gpa, uint64_t rights, uint64_t *ret_entry);
/*
 * Entries are taken away by the guest itself, in code of ours: KVM sees what a guest writes to its page tables, and
 * not what we write.  From hidden_remove() to hidden_go() they are noted.
 */
void hidden_remove(struct vcpu *vcpu, uint64_t entry);
void hidden_remove_all(struct vcpu *vcpu);
/* @regs, which begin at CPL 3, are what it goes on with once that is done. */
void hidden_go(struct vcpu *vcpu, struct cpu_regs *regs);

/* ---- cpuid.c ----------------------------------------------------------------------------------- */

/* For all processors alike; the EPC of the regions is in it. */
int cpuid_init(struct vmm *vmm, struct report *rep);
int cpuid_set(struct vmm *vmm, struct vcpu *vcpu);
/* KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR. */
void cpuid_msr(struct vcpu *vcpu);

#endif
