/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A small VMM on /dev/kvm: a guest with SGX, on a machine that has none, its EPC raw EPC of ours.
 *
 * Raw EPC is mapped by this process and handed to KVM as ordinary memory; its pages may be taken from the
 * running guest and come back (src/virt).  ENCLS and ENCLU of the guest are executed by our processor; code inside an
 * enclave runs on the real one.
 *
 * One struct vmm is one virtual machine, in memory of this process.  Its processors are threads of this process.
 */
#ifndef SWSGX_VMM_VMM_H
#define SWSGX_VMM_VMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/guest_abi.h"

struct epc;
struct epc_group;
struct report;
struct vepc_registry;
struct vmm;

#define VMM_VCPUS   8u
#define VMM_REGIONS 8u
#define VMM_FILES   2u /* of raw EPC, each as large as its regions make it */

struct vmm_config {
	struct epc *epc;
	struct vepc_registry *registry;
	struct epc_group *group; /* in which its EPC is; NULL: the root. It outlives the machine */
	bool reserved;           /* its EPC stays: none of it is taken while it runs */
	const char *image;       /* the guest's kernel, see guest_abi.h */
	uint64_t ram_bytes;
	uint64_t epc_bytes; /* of its first region */
	unsigned int vcpus;
	bool provisioning;
	uint64_t args[GUEST_ARGS];
	/* The guest's #UD handler forwards ENCLS and ENCLU itself (GUEST_PORT_UD): KVM needs not stop it there. */
	bool no_breakpoints;
	/* What KVM cannot emulate of SGX is #UD in the guest, as where the real processor executes its kernel. For tests. */
	bool ud_first;
	/* Show it an interrupt so often, if it can take one; 0: never. For tests of asynchronous exits. */
	uint32_t tick_us;
	uint8_t tick_vector;
	/*
	 * Answers GUEST_PORT_CALL, in the thread of the processor that asks: which is between two instructions, and in no
	 * enclave.  NULL: nobody does.
	 */
	uint64_t (*call)(void *ctx, unsigned int vcpu, uint64_t what, uint64_t arg);
	void *call_ctx;
};

/*
 * 0, or -errno and @rep filled in:
 *   -ENOENT, -EACCES    /dev/kvm is not there or not ours to use
 *   -EOPNOTSUPP         KVM, or the kernel's userfaultfd, lacks something that @rep names
 *   -ENOEXEC, -EINVAL   the image is none; a size makes no sense
 *   -ENOMEM
 */
int vmm_create(const struct vmm_config *config, struct vmm **ret_vmm, struct report *rep);
/* The guest is not running. Takes NULL. Its EPC goes. */
void vmm_destroy(struct vmm *vmm);

/* Its processors start. 0 or -errno. */
int vmm_start(struct vmm *vmm, struct report *rep);
/*
 * Until it has ended, of itself, by vmm_kill() or because it cannot go on; @timeout_ms: 0 for ever.
 * -ETIMEDOUT: it is running still.  Else its processors have stopped, and
 *
 *   0..255         what it said to GUEST_PORT_END
 *   -EINTR         it was killed
 *   -EIO, -EFAULT  it cannot go on; @rep says why
 */
int vmm_wait(struct vmm *vmm, unsigned int timeout_ms, struct report *rep);
/*
 * The guest is not running: its EPC is emptied (SGX_IOC_VEPC_REMOVE_ALL, as often as that takes), its memory is as at first,
 * and it can be started again.  -EBUSY: some of its EPC could not be emptied.
 */
int vmm_reset(struct vmm *vmm, struct report *rep);
/* Whatever it is doing. Any thread. */
void vmm_kill(struct vmm *vmm);

/* What processor @vcpu has said; NUL-terminated, valid until the guest runs again or goes. */
const char *vmm_said(const struct vmm *vmm, unsigned int vcpu);

/* ---- regions of EPC, while it runs or not --------------------------------------------------------- */

#define VMM_EPC_GPA 0x100000000ull /* of the first region */

/* At a guest-physical address, backed by what one of the machine's files of raw EPC has at @off. */
struct vmm_region {
	uint64_t gpa, bytes;
	unsigned int file; /* of VMM_FILES; the first region is from file 0 */
	uint64_t off;
};
/* 0, -EEXIST, -EINVAL, -ENOMEM. */
int vmm_region_add(struct vmm *vmm, unsigned int slot, const struct vmm_region *region);
int vmm_region_move(struct vmm *vmm, unsigned int slot, uint64_t gpa);
int vmm_region_delete(struct vmm *vmm, unsigned int slot);

/* ---- what it did ------------------------------------------------------------------------------------ */

struct vmm_info {
	uint64_t exits;        /* KVM_RUN came back */
	uint64_t encls, enclu; /* executed for it */
	uint64_t forwarded;    /* of those: that came by way of its #UD handler */
	uint64_t entries;      /* EENTER and ERESUME that succeeded */
	uint64_t aexs;
	uint64_t enclave_faults; /* translations made for code in enclaves */
	uint64_t epc_faults;     /* pages brought in because it touched them */
	uint64_t interrupts;
	uint64_t evictions, loads;
	uint64_t resident; /* EPC pages that it has now */
};
void vmm_info_read(struct vmm *vmm, struct vmm_info *ret_info);
/* For tests of tampering: see virt_backing_slot(). @off: in its first file. */
uint32_t vmm_backing_slot(struct vmm *vmm, uint64_t off);

/* What a VMM needs of this machine: 0, or -errno and @rep says what is missing and what to do. */
int vmm_probe(struct report *rep);

#endif
