/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A model of a virtual machine: a guest with two regions of EPC, each from a raw EPC file of its own, whose
 * kernel executes ENCLS in VMX non-root operation with the EPC virtualisation extensions.
 *
 * Guest addresses are page numbers: 0 and on in the first region, VM_SECOND and on in the second.
 */
#ifndef SWSGX_TESTS_VM_H
#define SWSGX_TESTS_VM_H

#include "cpu/vmx.h"
#include "lib/world.h"
#include "vepc/vepc.h"
#include "virt/virt.h"

#define VM_PAGES      256u
#define VM_SECOND     (1u << 20)
#define VM_NONE       UINT32_MAX
#define VM_GPA        0x40000000ull
#define VM_HVA        0x7e0000000000ull
#define VM_BASE       (1ull << 30) /* of the enclaves in it */
#define VM_SIZE       (1ull << 23)
#define VM_PATTERN(i) ((i) + 77u)

struct vm {
	struct world w;
	struct vepc_registry *registry;
	struct virt_guest *guest;
	struct vepc *file[2];
	uint64_t gpa[2]; /* of the regions */
	struct cpu_exit exit;
	uint64_t told; /* virt_conflict_is_ours() */
	unsigned int exits, reruns;
	unsigned int leaves; /* that the processor was given by the guest */
	bool raw_exits;      /* an instruction that exits is handed back as that */
	/*
	 * Set while a hook runs: an instruction whose pages are all here is executed at once, between two of the host's. One that
	 * must wait for the host sets waits, and so does one that met a conflict, whose exit is in exit.
	 */
	bool in_hook, waits, conflicts;
	/* Called before each instruction, with the host's lock held. */
	void (*before_step)(struct vm *vm);
};

void vm_init(struct vm *vm, uint32_t epc_pages);
/* With so many pages in each region, instead of VM_PAGES. */
void vm_init_large(struct vm *vm, uint32_t epc_pages, uint32_t pages);
/* With raw EPC that nobody keeps: a guest whose EPC is its own for good. vm.guest is NULL. */
void vm_init_plain(struct vm *vm, uint32_t epc_pages);
/* One of several in a world, which is the caller's, as is the registry. */
void vm_join(struct vm *vm, const struct world *w, struct vepc_registry *registry);
void vm_leave(struct vm *vm);
/* The guest ends, without a word. False: something is left over or not accounted for; *why says what. */
bool vm_end(struct vm *vm, char *why, size_t bytes);
/* The guest ends, as it is: audit before and after. */
static inline void vm_fini(struct vm *vm, const char *name)
{
	world_audit(&vm->w, name);
	vepc_put(vm->file[0]);
	vepc_put(vm->file[1]);
	virt_put(vm->guest);
	TAP_CHECK(vepc_zombie_nr(vm->registry) == 0, "%s: no zombie", name);
	vepc_registry_destroy(vm->registry);
	world_fini(&vm->w, name);
}

uint64_t vm_gpa(const struct vm *vm, uint32_t page);
struct vepc *vm_file(const struct vm *vm, uint32_t page, uint64_t *ret_off);
/* The EPC page it is in, or CPU_NO_PAGE. */
uint32_t vm_nr(const struct vm *vm, uint32_t page);
/* As the guest's kernel or one of its enclaves touches it: it is brought in. */
int vm_touch(struct vm *vm, uint32_t page);

/* One ENCLS. @secs, @va: guest pages or VM_NONE. The rest of *@ops is the caller's. */
struct cpu_outcome vm_encls(struct vm *vm, struct cpu_operands *ops, uint32_t page, uint32_t secs,
			    uint32_t va);
/* From a hook: the page is where the guest can touch it without waiting, and its number. */
bool vm_sees(struct vm *vm, uint32_t page, uint32_t *ret_nr);
/* One, on a page that is there, past the host's lock: from a hook. */
struct cpu_outcome vm_encls_raw(struct vm *vm, struct cpu_operands *ops, uint32_t page);

/* Leaves that succeed. Page i of an enclave has pattern VM_PATTERN(i). */
bool vm_ecreate(struct vm *vm, uint32_t secs);
bool vm_eadd(struct vm *vm, uint32_t secs, uint32_t page, uint64_t i, uint64_t flags);
/* What page i holds when it is added; a TCS has to be one. */
void vm_source(void *page, uint64_t i, uint64_t flags);
bool vm_epa(struct vm *vm, uint32_t va);
/* With how they end. */
struct cpu_outcome vm_ecreate_out(struct vm *vm, uint32_t secs);
struct cpu_outcome vm_eadd_out(struct vm *vm, uint32_t secs, uint32_t page, uint64_t i,
			       uint64_t flags);
struct cpu_outcome vm_simple(struct vm *vm, enum sgx_encls leaf, uint32_t page);

/* What the guest's own driver writes out and loads. */
struct vm_evicted {
	uint8_t bytes[4096] __attribute__((aligned(4096)));
	struct sgx_pcmd pcmd __attribute__((aligned(128)));
	uint64_t la;
};
struct cpu_outcome vm_ewb(struct vm *vm, uint32_t page, uint32_t va, uint32_t slot,
			  struct vm_evicted *to);
struct cpu_outcome vm_eldu(struct vm *vm, uint32_t page, uint32_t secs, uint32_t va, uint32_t slot,
			   const struct vm_evicted *from);

/* The host takes all that it can get. */
void vm_reclaim(struct vm *vm);
/* The page is what it was when it was added, in the EPCM and in its bytes; it is brought in for that. */
bool vm_is_intact(struct vm *vm, uint32_t page, uint64_t i, uint64_t flags);
/* ERDINFO in root operation, of a page that is there. */
struct sgx_rdinfo vm_rdinfo(struct vm *vm, uint32_t page);
#define VM_CHILD     1u
#define VM_VIRTCHILD 2u

#endif
