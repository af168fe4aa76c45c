/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A virtual processor as far as SGX goes: what the guest is told (CPUID), what it has set up (MSRs), which of
 * its ENCLS leaves exit, and one ENCLS of it from registers to outcome.
 *
 * The rules are KVM's.  A struct virt_vcpu is one thread's, in memory of the VMM's own; nothing here keeps a
 * pointer to it.  ENCLV is #UD to a guest, whatever the leaf: it is the VMM's.  ENCLU never exits: cpu_enclu() executes
 * it, and virt_enclu() has the page walk for that.
 */
#ifndef SWSGX_VIRT_VCPU_H
#define SWSGX_VIRT_VCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/cpu.h"

struct virt_guest;

#define VIRT_MSR_FEATURE_CONTROL 0x3au
#define VIRT_MSR_LEPUBKEYHASH0   0x8cu /* and the three behind it */
#define VIRT_FEATURE_LOCKED      (1ull << 0)
#define VIRT_FEATURE_SGX_LC      (1ull << 17)
#define VIRT_FEATURE_SGX_ENABLED (1ull << 18)

/* What the VMM has decided about the guest's SGX. */
struct virt_policy {
	bool sgx;        /* CPUID.7.0:EBX[2] */
	bool sgx_lc;     /* CPUID.7.0:ECX[30] */
	bool has_leaf12; /* it gave the guest CPUID.12H.0 and .1 at all */
	struct cpu_cpuid leaf12[2];
	uint64_t xcr0;     /* bits that the guest can set in it */
	bool provisioning; /* KVM_CAP_SGX_ATTRIBUTE was enabled: PROVISIONKEY is allowed */
};
/* Everything that the processor below has; provisioning as @provisioning says. */
void virt_policy_host(const struct virt_guest *guest, bool provisioning,
		      struct virt_policy *ret_policy);

/*
 * The guest's memory as one of its processors sees it.  @read and @write: within one page, of ordinary memory,
 * false where there is none.  EPC never gets there: to anyone but an enclave it reads as ones.
 */
struct virt_mmu {
	/* False: a #PF with *ret_error. */
	bool (*walk)(void *ctx, uint64_t la, bool write, uint64_t *ret_gpa, uint16_t *ret_error);
	bool (*read)(void *ctx, uint64_t gpa, void *to, size_t bytes);
	bool (*write)(void *ctx, uint64_t gpa, const void *from, size_t bytes);
	void *ctx;
};

struct virt_vcpu {
	struct virt_guest *guest;
	struct virt_policy policy;
	struct virt_mmu mmu;
	uint64_t feature_control;
	uint64_t lepubkeyhash[4];
	uint64_t told; /* virt_conflict_is_ours() */
	bool paging;   /* CR0.PG */
	uint8_t cpl;
	/* How often an ENCLS came by an exit, and which of them were conflicts; run again for the host's sake. */
	uint64_t exits, conflicts, reruns;
};

/* As at reset, but with paging on. */
void virt_vcpu_init(struct virt_vcpu *vcpu, struct virt_guest *guest,
		    const struct virt_policy *policy);

/* 0; -ENOENT: not one of ours; -EPERM: #GP. */
int virt_rdmsr(const struct virt_vcpu *vcpu, uint32_t msr, uint64_t *ret_value);
int virt_wrmsr(struct virt_vcpu *vcpu, uint32_t msr, uint64_t value);

/* The ENCLS-exiting bitmap. */
uint64_t virt_encls_bitmap(const struct virt_vcpu *vcpu);

/*
 * The ENCLS that @regs has come to: RAX, RBX, RCX, RDX in, results and flags out where it retires; RIP is the
 * caller's.  Operands are read once, before any of them is looked at.  0 and *ret_out (pf_addr of a #PF is linear),
 * or there is none, and the VMM stops the guest:
 *
 *   -EFAULT       an operand leads to no memory
 *   -ENOTSUP      the guest executes a leaf that exits and that nobody can answer: it has no CPUID leaf 12H
 *   -ENOMEM, -EIO, -EBUSY a page of EPC cannot be had, or is lost: a SIGBUS, had the VMM touched it
 */
int virt_encls(struct virt_vcpu *vcpu, struct cpu_regs *regs, struct cpu_outcome *ret_out);

/* ---- ENCLU ----------------------------------------------------------------------------------------- */

/*
 * One instruction that reaches EPC by linear addresses, with all of that held still: @step is called with the
 * processor's page walk, which begins with virt_vcpu.mmu.  Pages that are elsewhere are brought in, and it is called
 * again.  0 and *ret_out; or as vepc_fault(), and nothing has changed.
 */
typedef struct cpu_outcome (*virt_enclu_fn)(void *ctx, struct cpu *cpu, const struct cpu_mmu *mmu);
int virt_enclu(struct virt_vcpu *vcpu, virt_enclu_fn step, void *ctx, struct cpu_outcome *ret_out);
/* A processor's thread ends: what it was in is free for others. As cpu_lp_reset(). */
void virt_lp_reset(struct virt_guest *guest, struct cpu_lp *lp);

/* ---- for what is not an SGX instruction: page faults -------------------------------------------------- */

/*
 * An EPT violation at @gpa: the page is brought in. 0, and *ret_win_off is where the window has it, to be mapped;
 * -ENOENT: no EPC there; else as vepc_fault().  The window takes it out of every mapping when it leaves
 * (window_take()), which is what zapping is: nobody needs to be told.
 */
int virt_fault(struct virt_guest *guest, uint64_t gpa, uint64_t *ret_win_off);
/* The EPC page that is at @gpa now, or CPU_NO_PAGE. It may go at any time, but for one that a leaf has pinned. */
uint32_t virt_page_nr(struct virt_guest *guest, uint64_t gpa);

#endif
