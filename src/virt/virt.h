/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * EPC oversubscription of a guest: its raw EPC files are kept here, so that pages of a running guest can be
 * taken from the EPC and brought back without the guest noticing.
 *
 * A guest is what a VMM has one of for each virtual machine: the memory regions that lie in raw EPC, and the files
 * behind them.  Which hypervisor runs it does not matter here.
 */
#ifndef SWSGX_VIRT_VIRT_H
#define SWSGX_VIRT_VIRT_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/sgx.h"
#include "cpu/cpu.h"
#include "cpu/vmx.h"

struct epc;
struct epc_group;
struct vepc;
struct virt_guest;

/*
 * 0, -ENOMEM, or -EOPNOTSUPP: the processor has no ENCLV or no ENCLS_C.  The files and the VMM hold the guest;
 * what the VMM lets go of with virt_put() lives on as long as a file.
 */
int virt_create(struct epc *epc, struct virt_guest **ret_guest);
/* The same with all its pages in @group (epc/group.h), which outlives it. */
int virt_create_in(struct epc_group *group, struct epc *epc, struct virt_guest **ret_guest);
/* Before it has a page: its pages stay where they are, as those of raw EPC do that nobody keeps. */
void virt_reserve(struct virt_guest *guest);
/* Takes NULL, returns NULL. */
struct virt_guest *virt_put(struct virt_guest *guest);

/* The guest's EPC pages are in @vepc from now on, or some of them. -EEXIST: it is kept, or was mapped before. */
int virt_keep(struct virt_guest *guest, struct vepc *vepc);

/* ---- memory regions, as KVM_SET_USER_MEMORY_REGION has them --------------------------------------- */

#define VIRT_SLOTS     64u
#define VIRT_LOG_DIRTY 1u /* as KVM_MEM_LOG_DIRTY_PAGES */
#define VIRT_READONLY  2u /* as KVM_MEM_READONLY */

struct virt_region {
	uint32_t slot;
	uint32_t flags;
	uint64_t gpa, bytes; /* no bytes: the slot is empty */
	uint64_t hva;
	struct vepc *vepc; /* what the VMM has mapped at hva, and from which offset on */
	uint64_t off;
};
/*
 * Create a region in an empty slot; or move it, change its flags, or with no bytes delete it.
 *
 *   -EINVAL  no such slot or flag; not page aligned; past the end of all addresses; 2^31 pages or more; of an existing slot:
 *            another size, another host address or read-only-ness; deleting an empty slot; memory that the guest does not keep
 *   -EEXIST  it would overlap another slot
 *   -ENOMEM  the file's offsets cannot be had
 */
int virt_set_region(struct virt_guest *guest, const struct virt_region *region);
/* Both ways: 0, or -ENOENT. Of two regions that show one page either may be told. */
int virt_gpa_to_hva(struct virt_guest *guest, uint64_t gpa, uint64_t *ret_hva);
int virt_hva_to_gpa(struct virt_guest *guest, uint64_t hva, uint64_t *ret_gpa);

/* ---- running --------------------------------------------------------------------------------------- */

/*
 * One instruction of the guest, with the EPC pages that it names by guest-physical address held still:
 * @step is called with their numbers.  A page that is elsewhere is brought in first, as an EPT violation does.
 *
 *   -EFAULT  a gpa is in no region (what the VMM makes of that is its business)
 *   -ENOMEM, -EIO, -EBUSY  as vepc_fault()
 */
#define VIRT_PAGES_MAX 3
typedef struct cpu_outcome (*virt_step_fn)(void *ctx, struct cpu *cpu, const uint32_t *pages);
int virt_step(struct virt_guest *guest, const uint64_t *gpas, unsigned int nr, virt_step_fn step,
	      void *ctx, struct cpu_outcome *ret_out);

/*
 * An instruction of the guest met a conflict and exited with @exit (CPU_EXIT_SGX_CONFLICT).  True: the host's
 * work was in the way, and the guest executes the instruction again.  False: the guest's own doing; it gets
 * what virt_conflict_outcome() says it would see natively.  Each time that the host was in the way each processor is
 * told once: *@told is the processor's own, 0 at first.  True as well where the page's region has been deleted or moved
 * since: executed again, the instruction finds what is there now.
 */
bool virt_conflict_is_ours(struct virt_guest *guest, const struct cpu_exit *exit, uint64_t *told);
struct cpu_outcome virt_conflict_outcome(const struct cpu_exit *exit, enum sgx_encls leaf);

struct virt_info {
	uint64_t evictions, loads;
	uint64_t away;        /* pages that are evicted now */
	uint64_t va_pages;    /* for the versions of those, and of pages that may leave */
	uint64_t va_resident; /* VA pages that are in the EPC themselves */
	uint64_t lost;        /* loads that were refused, because the backing store is damaged */
	bool dead;            /* its VMM died in the middle of a change of its regions */
};
void virt_info_read(struct virt_guest *guest, struct virt_info *ret_info);

/* For tests of tampering: the backing slot of an evicted page, or BACKING_NO_SLOT. */
uint32_t virt_backing_slot(struct virt_guest *guest, struct vepc *vepc, uint64_t off);
/*
 * For tests of interleavings: called by whoever works on the guest's pages, between any two instructions of
 * the host, with the lock held.  NULL ends it.
 */
void virt_set_hook(struct virt_guest *guest, void (*hook)(void *ctx, const char *before),
		   void *ctx);

#endif
