/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Fault: someone touched an address of the enclave that no page table shows, or not for that.
 *
 * The order is the hardware's and Linux's together: what the mapping denies is an ordinary #PF; then the
 * page is brought in; then the EPCM has its say, and its #PF has the SGX bit.
 */
#include "encl/encl_priv.h"

#include <errno.h>

#include "epc/epc.h"
#include "epc/stats.h"

static uint16_t fault_error(unsigned int access, uint16_t more)
{
	uint16_t error = SGX_PFEC_U | more;

	if (access & ENCL_W)
		error |= SGX_PFEC_W;
	if (access & ENCL_X)
		error |= SGX_PFEC_I;
	return error;
}

static struct encl_fault fault_bus(const char *why)
{
	return (struct encl_fault){ .kind = ENCL_FAULT_SIGBUS, .why = why };
}

static struct encl_fault fault_pf(uint16_t error)
{
	return (struct encl_fault){ .kind = ENCL_FAULT_PF, .pf_error = error };
}

struct encl_fault fault_from_errno(struct encl *encl, int r)
{
	switch (r) {
	case -ENOMEM:
		return (struct encl_fault){ .kind = ENCL_FAULT_OOM,
					    .why = "no EPC page can be freed for it" };
	case -ENOENT:
		return fault_bus(
			!encl_initialized(encl)
				? "the enclave has no page there, and is not initialised"
				: "the enclave has no page there, and the CPU has no SGX2");
	case -EACCES:
		return fault_bus("the mapping allows more than the page was added with");
	case -EBADMSG:
		return fault_bus(
			"the page's backing store is damaged, or holds an old version of it");
	case -EREMOTEIO:
		return fault_bus("the page's backing store cannot be read");
	case -EHWPOISON:
		return (struct encl_fault){ .kind = ENCL_FAULT_POISON };
	default:
		return fault_bus("the processor refused to bring the page in");
	}
}

/* The page is here; this process may see of it what the EPCM allows. */
static struct encl_fault fault_show_locked(struct encl *encl, struct bring *b,
					   struct encl_page *page, uint64_t la, unsigned int access)
	REQUIRES(&encl->lock)
{
	unsigned int reach = page_reach(encl, page);
	int r;

	if (!reach || (access & ~reach))
		return fault_pf(fault_error(access, SGX_PFEC_P | SGX_PFEC_SGX));
	if (b->shown)
		return (struct encl_fault){ .kind = ENCL_FAULT_DONE };
	epc_touch(encl->epc, page->epc_page);
	r = b->mm->ops->map(b->mm->ctx, encl, la, encl->win_off + (la - encl->base), reach);
	/* -EAGAIN: the mapping has gone; running the instruction again finds out what is there now. */
	if (r < 0 && r != -EAGAIN)
		return fault_from_errno(encl, r);
	return (struct encl_fault){ .kind = ENCL_FAULT_DONE };
}

struct encl_fault encl_fault(struct encl *encl, const struct encl_mm *mm, uint64_t la,
			     unsigned int access, unsigned int vma_rwx, bool in_enclave)
{
	struct encl_page *page;
	struct epc_page *frame = NULL;
	struct encl_fault f;
	struct bring b;
	uint64_t idx;
	int r;

	la &= ~(uint64_t)(SGX_PAGE_SIZE - 1);
	if (!encl_created(encl) || !encl_has_la(encl, la))
		return fault_bus("the address is outside of the enclave");
	idx = (la - encl->base) / SGX_PAGE_SIZE;
	pages_prefetch(encl, idx);

	bring_init(&b, encl, mm);
	encl_lock(encl);
	encl->faults++;
	if (encl_vma_denies(vma_rwx, access)) {
		page = pages_find_locked(encl, idx);
		if (page && page_is_here(page))
			frame = page->epc_page;
		f = fault_pf(fault_error(access, frame ? SGX_PFEC_P : 0));
	} else {
		readahead_come_locked(encl, idx);
		r = bring_page_locked(encl, &b, idx, vma_rwx, BRING_AUG, &page);
		if (r == 0)
			frame = page->epc_page;
		f = r < 0 ? fault_from_errno(encl, r)
			  : fault_show_locked(encl, &b, page, la, access);
		if (f.kind == ENCL_FAULT_DONE)
			readahead_locked(encl, &b, idx);
	}
	epc_count(encl->epc_owner, frame, EPC_FAULTS, 1);
	encl_unlock(encl);
	bring_fini(&b);
	return f;
}

int encl_poison(struct encl *encl, uint64_t la)
{
	struct encl_page *page = NULL;
	int r = -EFAULT;

	encl_lock(encl);
	if (encl_created(encl) && encl_has_la(encl, la))
		page = pages_find_locked(encl, (la - encl->base) / SGX_PAGE_SIZE);
	if (page && page->epc_page)
		r = epc_poison(encl->epc, epc_page_nr(encl->epc, page->epc_page));
	encl_unlock(encl);
	return r;
}
