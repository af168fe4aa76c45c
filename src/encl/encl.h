/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Host enclaves: the first owner of EPC pages, what Linux's SGX driver is.
 *
 * One struct encl is one open of /dev/sgx_enclave.  It lives in shared memory; a forked child has the
 * same one.  Everything an ioctl does once its arguments have been copied in is here, with Linux's
 * return values; copying and the numbers of ioctls are in abi/.
 */
#ifndef SWSGX_ENCL_ENCL_H
#define SWSGX_ENCL_ENCL_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/sgx.h"
#include "cpu/cpu.h"

struct epc;
struct encl;
struct encl_registry;

#define ENCL_R SGX_SECINFO_R
#define ENCL_W SGX_SECINFO_W
#define ENCL_X SGX_SECINFO_X

/*
 * What an enclave needs from the address space of the process that acts on it.  Every member is
 * mandatory.  encl_mm_none serves where nothing is mapped (unit tests, tools).
 *
 * @map:  the page at window offset @win_off is resident; let this process reach it at @la with what
 *        its mapping allows and @rwx.  0; -EAGAIN: it has gone meanwhile, or the mapping has
 * @place: the same for a page that the window does not hold yet: the 4096 @bytes are what it has.  1: they are in
 *        the window, and can be reached as after @map; 0: nothing was done, the caller puts them there; or -ENOMEM
 * @signal_pending: a signal waits: a long ioctl should stop early
 *
 * @map and @place are called with encl's lock held; they must not fault on enclave memory.
 */
struct encl_mm_ops {
	int (*map)(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, unsigned int rwx);
	int (*place)(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, const void *bytes,
		     unsigned int rwx);
	bool (*signal_pending)(void *mm);
};
struct encl_mm {
	const struct encl_mm_ops *ops;
	void *ctx;
};
extern const struct encl_mm encl_mm_none;

/* ---- life ----------------------------------------------------------------------------------- */

/* All the enclaves of one EPC. 0 or -ENOMEM. */
int encl_registry_create(struct epc *epc, struct encl_registry **ret_registry);
void encl_registry_destroy(struct encl_registry *registry);
/* When EPC runs out, @reap lets go of what dead processes hold. The same address in all processes. */
void encl_registry_on_starved(struct encl_registry *registry, void (*reap)(void));
/*
 * What dead processes had in hand of enclaves of others, and enclaves that they were freeing, go to whom they belong.
 * It is done when EPC runs out; here for those who want to see it.
 */
void encl_reap(struct encl_registry *registry);
/* The n-th living enclave with a reference, or NULL: for statistics. */
struct encl *encl_registry_get(struct encl_registry *registry, unsigned int n);

/* open(): 0 or -ENOMEM. One reference. */
int encl_open(struct encl_registry *registry, struct encl **ret_encl);
struct encl *encl_get(struct encl *encl);
/* The last one frees every page: EREMOVE, SECS last, VA pages, backing. Takes NULL, returns NULL. */
struct encl *encl_put(struct encl *encl);

/* ---- ioctls: 0 or -errno as Linux, see abi/ -------------------------------------------------- */

/*
 * One ioctl at a time on one enclave: false (the caller returns -EBUSY) while another is under way.
 * The calls below are made between the two.
 */
bool encl_ioctl_begin(struct encl *encl);
void encl_ioctl_end(struct encl *encl);

/* A page for what an ioctl copies in, page aligned; good between begin and end. */
void *encl_ioctl_buffer(struct encl *encl);

/* A signal waits and nothing has been done: a long ioctl's -ENCL_ERESTARTSYS, as in the kernel. */
#define ENCL_ERESTARTSYS 512

/* @secs: page aligned. */
int encl_create(struct encl *encl, const struct sgx_secs *secs);
/* -EINVAL unless created and not initialised: before any look at the arguments. */
int encl_may_add(struct encl *encl);
/* Offset and length as ADD_PAGES and the EDMM ioctls want them, else -EINVAL. */
int encl_check_range(struct encl *encl, uint64_t offset, uint64_t length);
/* SECINFO as ADD_PAGES wants it, else -EINVAL. */
int encl_check_secinfo(const struct sgx_secinfo *secinfo);
/* -EBUSY when there is a page at @offset: comes before any look at the source. */
int encl_check_absent(struct encl *encl, uint64_t offset);
/* EADD of one page and, with @measure, its sixteen EEXTENDs. @src: 4096 bytes, page aligned. */
int encl_add_page(struct encl *encl, const struct encl_mm *mm, uint64_t offset, const void *src,
		  const struct sgx_secinfo *secinfo, bool measure);
/* @sig: page aligned. */
int encl_init(struct encl *encl, const struct encl_mm *mm, const struct sgx_sigstruct *sig);
int encl_provision(struct encl *encl);
/* The three EDMM ioctls, arguments checked inside; *ret_count bytes done, *ret_result SGX status. */
int encl_restrict_permissions(struct encl *encl, const struct encl_mm *mm, uint64_t offset,
			      uint64_t length, uint64_t permissions, uint64_t *ret_result,
			      uint64_t *ret_count);
int encl_modify_types(struct encl *encl, const struct encl_mm *mm, uint64_t offset, uint64_t length,
		      uint64_t page_type, uint64_t *ret_result, uint64_t *ret_count);
int encl_remove_pages(struct encl *encl, const struct encl_mm *mm, uint64_t offset, uint64_t length,
		      uint64_t *ret_count);
/* -ENODEV or -EINVAL, as they come before the EDMM ioctls look at their arguments. */
int encl_may_edmm(struct encl *encl);

/* ---- mappings --------------------------------------------------------------------------------- */

bool encl_created(const struct encl *encl);
bool encl_initialized(const struct encl *encl);
uint64_t encl_base(const struct encl *encl);
uint64_t encl_size(const struct encl *encl);
/* Where the enclave's range begins in the window, once created: la is at win_off + (la - base). */
uint64_t encl_win_off(const struct encl *encl);
/* Whose EPC it is in. */
struct epc *encl_epc(const struct encl *encl);
/* mmap and mprotect: 0 or -EACCES, by the maximum protection of the pages that exist there. */
int encl_may_map(struct encl *encl, uint64_t start, uint64_t end, unsigned int rwx);

/* ---- faults ----------------------------------------------------------------------------------- */

enum encl_fault_kind {
	ENCL_FAULT_DONE, /* it is mapped: run the instruction again */
	ENCL_FAULT_PF, /* the enclave gets a #PF with @pf_error (SGX bit set: the EPCM denies it) */
	ENCL_FAULT_SIGBUS, /* no such page, it cannot be loaded, its backing is corrupt */
	ENCL_FAULT_OOM,
	ENCL_FAULT_POISON, /* SIGBUS too: a machine check has hit the page */
};
struct encl_fault {
	enum encl_fault_kind kind;
	uint16_t pf_error;
	const char *why; /* of SIGBUS and OOM, for a person */
};
/*
 * Someone touched @la. @access: what for (R, W or X). @vma_rwx: what the mapping allows.
 * @in_enclave: an access by the enclave itself (only those are told of EPCM faults; for others a page
 * that may not be mapped is ENCL_FAULT_PF too, and the caller shows them an abort page).
 */
struct encl_fault encl_fault(struct encl *encl, const struct encl_mm *mm, uint64_t la,
			     unsigned int access, unsigned int vma_rwx, bool in_enclave);

/* A machine check hits the page at @la, which must be in the EPC: 0 or -EFAULT. */
int encl_poison(struct encl *encl, uint64_t la);

/* ---- running ---------------------------------------------------------------------------------- */

/*
 * Run one step of the logical processor in or into this enclave with the enclave's pages held still:
 * cpu_enclu(), cpu_aex().  @step gets a walk over the resident pages (no mapping rights: @vma_rwx_at
 * adds those; NULL: all allowed).  A #PF outcome is resolved (page loaded, EAUGed) and the step tried again,
 * until it is done or the #PF stands: then it is returned, with pf_error as the enclave sees it, or
 * with fault = ENCL_STEP_BUS when it is a SIGBUS instead.
 */
#define ENCL_STEP_BUS 0xfe
typedef struct cpu_outcome (*encl_step_fn)(void *ctx, struct cpu *cpu, const struct cpu_mmu *mmu);
struct cpu_outcome encl_step(struct encl *encl, const struct encl_mm *mm, encl_step_fn step,
			     void *ctx, unsigned int (*vma_rwx_at)(void *ctx, uint64_t la));

/* EEXIT, which needs no page brought in and does not wait for those who do. */
struct cpu_outcome encl_eexit(struct encl *encl, struct cpu_lp *lp, struct cpu_regs *regs);

/* ptrace-like access to a debug enclave: 8-byte granules; -EIO, -EFAULT as Linux. */
int encl_debug_read(struct encl *encl, const struct encl_mm *mm, uint64_t la, uint64_t *ret_value);
int encl_debug_write(struct encl *encl, const struct encl_mm *mm, uint64_t la, uint64_t value);

/* The logical processor of a thread that has died inside this enclave, or on its way in or out. */
void encl_lp_reset(struct encl *encl, struct cpu_lp *lp);

struct encl_info {
	uint32_t id;
	uint64_t base, size;
	uint64_t pages, resident, va_pages, va_resident, evictions, loads, faults;
	uint8_t mrenclave[32];
	bool initialized, debug;
};
void encl_info_read(struct encl *encl, struct encl_info *ret_info);

/* For tests of tampering: the backing slot that page @offset was evicted to, or BACKING_NO_SLOT. */
uint32_t encl_backing_slot(struct encl *encl, uint64_t offset);

#endif
