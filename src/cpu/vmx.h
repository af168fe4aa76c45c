/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * ENCLS and ENCLV as instructions of a logical processor that may be in VMX operation: which leaf,
 * what makes a VM exit, and what non-root operation changes in the work of a leaf.
 *
 * SDM Vol. 3D, "ENCLS", "ENCLV", and "SGX_CONFLICT VM Exit Qualification" in the concurrency table of
 * each leaf.  A VMM in root operation may call encls_*() and enclv_*() of cpu.h as well: with no
 * bitmaps and no exits they are the same.
 *
 * Whoever decodes the instruction has resolved its addresses: EPC pages by number, everything else
 * by host pointers.  The guest's own names of RCX are needed for the exit.
 */
#ifndef SWSGX_CPU_VMX_H
#define SWSGX_CPU_VMX_H

#include "cpu/cpu.h"

/* Secondary processor-based VM-execution controls. */
#define CPU_VMX_ENCLS_EXITING (1u << 15)
#define CPU_VMX_ENCLV_EXITING (1u << 28)
#define CPU_VMX_EPC_VIRT_EXT  (1u << 29) /* "enable EPC virtualization extensions" */

enum cpu_vmx_mode { CPU_VMX_OFF, CPU_VMX_ROOT, CPU_VMX_NON_ROOT };

struct cpu_vmx {
	enum cpu_vmx_mode mode;
	uint32_t controls;     /* CPU_VMX_*; count in non-root operation only, as do the bitmaps */
	uint64_t encls_bitmap; /* bit n: leaf n; bit 63: all leaves from 63 on */
	uint64_t enclv_bitmap;
};

enum cpu_exit_reason {
	CPU_EXIT_ENCLS = 60,
	CPU_EXIT_ENCLV = 70,
	CPU_EXIT_SGX_CONFLICT = 71,
};

/* What the VMM finds in its VMCS when a leaf ended with CPU_VM_EXIT. */
struct cpu_exit {
	uint16_t reason; /* enum cpu_exit_reason; the rest is of SGX_CONFLICT only */
	uint16_t code;   /* exit qualification: 0 .. 3, see enum cpu_conflict */
	uint16_t error;  /* exit qualification: of code 3, what RAX would have been */
	uint64_t guest_linear;
	uint64_t guest_physical;
};

/* Operands of any leaf; each leaf looks at its own. */
struct cpu_operands {
	uint32_t leaf;     /* EAX */
	uint32_t page;     /* RCX; of EINCVIRTCHILD and EDECVIRTCHILD it is RBX */
	uint32_t offset;   /* in @page: EEXTEND, EDBGRD, EDBGWR */
	uint64_t linear;   /* RCX as the guest gave it */
	uint64_t physical; /* what the guest's paging made of it */

	struct cpu_pageinfo pi;                  /* RBX: ECREATE, EADD, EAUG, EWB, ELD* */
	const struct sgx_secinfo *secinfo;       /* RBX: EMODPR, EMODT */
	struct sgx_rdinfo *rdinfo;               /* RBX: ERDINFO */
	const struct sgx_sigstruct *sigstruct;   /* RBX: EINIT */
	const struct sgx_einittoken *einittoken; /* RDX: EINIT */
	const uint64_t *lepubkeyhash;            /* MSRs: EINIT */
	const uint64_t *enclavecontext;          /* RDX: ESETCONTEXT */
	uint32_t secs;     /* RBX: EEXTEND; RCX: EINCVIRTCHILD, EDECVIRTCHILD */
	uint32_t va, slot; /* RDX: EWB, ELD* */
	void *out;         /* PAGEINFO.SRCPGE of EWB */
	uint64_t value;    /* RBX: of EDBGWR in, of EDBGRD out */
	uint64_t linaddr;  /* PAGEINFO.LINADDR as EWB leaves it */
};

/* Outcome CPU_VM_EXIT: nothing has changed, and *ret_exit is filled in. Otherwise it is left alone. */
struct cpu_outcome cpu_encls(struct cpu *cpu, const struct cpu_vmx *vmx, struct cpu_operands *ops,
			     struct cpu_exit *ret_exit);
struct cpu_outcome cpu_enclv(struct cpu *cpu, const struct cpu_vmx *vmx, struct cpu_operands *ops,
			     struct cpu_exit *ret_exit);

#endif
