/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The model VM (vm.h) with memory and registers: its kernel executes ENCLS as one on /dev/kvm would, from
 * RAX, RBX, RCX and RDX.  Linear addresses are physical ones, but for a range that is not mapped and one that leads
 * to no memory.
 */
#ifndef SWSGX_TESTS_MACHINE_H
#define SWSGX_TESTS_MACHINE_H

#include "virt/vcpu.h"
#include "vm.h"

#define RAM_BYTES   (64u << 10)
#define LA_UNMAPPED 0x10000000ull /* a page: #PF */
#define LA_HOLE     0x20000000ull /* a page that is mapped to nothing */

struct machine {
	struct vm vm;
	struct virt_vcpu vcpu;
	uint64_t *ram; /* from address 0 */
	/* Called after each read of an operand. */
	void (*after_read)(struct machine *m, uint64_t gpa, size_t bytes);
	unsigned int reads;
	struct cpu_outcome out;
	struct cpu_regs regs;
};

/* With everything that the processor has, enabled and locked. */
void machine_init(struct machine *m, uint32_t epc_pages, bool provisioning);
static inline void machine_fini(struct machine *m, const char *name)
{
	free(m->ram);
	vm_fini(&m->vm, name);
}
/* One of several in a world, which is the caller's, as is the registry. */
void machine_join(struct machine *m, const struct world *w, struct vepc_registry *registry);
void machine_leave(struct machine *m);
void *machine_ram(struct machine *m, uint64_t gpa);

/* virt_encls(); outcome in m->out, registers after it in m->regs. */
int machine_encls(struct machine *m, enum sgx_encls leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx);

/* Where the pieces of an instruction's operands are put. */
#define AT_PAGEINFO 0x1000ull
#define AT_SECINFO  0x1040ull
#define AT_PCMD     0x1080ull
#define AT_SOURCE   0x2000ull
#define AT_SIG      0x3000ull
#define AT_TOKEN    0x4000ull
void machine_pageinfo(struct machine *m, uint64_t linaddr, uint64_t srcpge, uint64_t secinfo,
		      uint64_t secs);
/* What vm_ecreate() has, to be changed by the caller. */
struct sgx_secs *machine_secs(struct machine *m);
/* ECREATE of what machine_secs() left, and EADD, as vm_eadd(). */
int machine_ecreate(struct machine *m, uint32_t secs);
int machine_eadd(struct machine *m, uint32_t secs, uint32_t page, uint64_t i, uint64_t flags);

#endif
