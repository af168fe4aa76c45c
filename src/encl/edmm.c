/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Dynamic memory: restrict permissions, change types, remove, of an initialised enclave.
 *
 * Each works page by page with the lock held from the leaf to the end of the tracking cycle that EACCEPT
 * will ask for.  Page tables that showed the old rights are emptied; a touch faults and is
 * judged anew.  Linux gives -EAGAIN when a page is just leaving; here the page is waited for.
 */
#include "encl/encl_priv.h"

#include <errno.h>

#include "epc/epc.h"
#include "epc/window.h"

struct edmm {
	struct encl *encl;
	const struct encl_mm *mm;
	uint64_t result;
	struct sgx_secinfo secinfo __attribute__((aligned(64))); /* as the leaves want it */
};

typedef int (*edmm_page_fn)(struct encl *encl, struct edmm *e, struct bring *b,
			    struct encl_page *page, uint64_t idx);

int encl_may_edmm(struct encl *encl)
{
	if (!(cpu_get_config(encl->cpu)->caps & SGX_CPUID_SGX2))
		return -ENODEV;
	return encl_initialized(encl) ? 0 : -EINVAL;
}

static void edmm_show_anew_locked(struct encl *encl, uint64_t idx) REQUIRES(&encl->lock)
{
	window_unmap(encl->window, encl->win_off + idx * SGX_PAGE_SIZE, 1);
}

static int edmm_one(struct edmm *e, uint64_t idx, edmm_page_fn fn)
{
	struct encl *encl = e->encl;
	struct encl_page *page;
	struct bring b;
	int r;

	epc_reclaim_direct(encl->epc);
	bring_init(&b, encl, e->mm);
	encl_lock(encl);
	do {
		r = bring_page_locked(encl, &b, idx, 0, 0, &page);
		if (r < 0) {
			r = r == -ENOMEM ? -EAGAIN : -EFAULT;
			break;
		}
		r = fn(encl, e, &b, page, idx);
		encl_end_locked(encl);
	} while (r == -EINPROGRESS);
	encl_unlock(encl);
	bring_fini(&b);
	return r;
}

static int edmm_run(struct edmm *e, uint64_t offset, uint64_t length, edmm_page_fn fn,
		    uint64_t *ret_count)
{
	uint64_t done;
	int r = 0;

	for (done = 0; done < length; done += SGX_PAGE_SIZE) {
		if (e->mm->ops->signal_pending(e->mm->ctx)) {
			r = done ? 0 : -ENCL_ERESTARTSYS;
			break;
		}
		r = edmm_one(e, (offset + done) / SGX_PAGE_SIZE, fn);
		if (r < 0)
			break;
	}
	*ret_count = done;
	return r;
}

/* A leaf said no: 0 when it did not, else -EFAULT with its status in the result. */
static int edmm_leaf(struct edmm *e, struct cpu_outcome out)
{
	if (cpu_ok(out))
		return 0;
	if (out.fault == CPU_NO_FAULT)
		e->result = out.eax;
	return -EFAULT;
}

static int restrict_page(struct encl *encl, struct edmm *e, struct bring *b, struct encl_page *page,
			 uint64_t idx) REQUIRES(&encl->lock)
{
	int r;

	if (page->type != SGX_PT_REG)
		return -EINVAL;
	/* The recorded maximum stays: the enclave may extend its rights again by EMODPE. */
	encl_begin_locked(encl, ENCL_MODIFYING, NULL, idx);
	r = edmm_leaf(e,
		      encls_emodpr(encl->cpu, &e->secinfo, epc_page_nr(encl->epc, page->epc_page)));
	if (r < 0)
		return r;
	edmm_show_anew_locked(encl, idx);
	return encl_etrack_locked(encl, page->epc_page);
}

int encl_restrict_permissions(struct encl *encl, const struct encl_mm *mm, uint64_t offset,
			      uint64_t length, uint64_t permissions, uint64_t *ret_result,
			      uint64_t *ret_count)
{
	struct edmm e = { .encl = encl, .mm = mm };
	int r;

	*ret_result = 0;
	*ret_count = 0;
	r = encl_may_edmm(encl);
	if (r == 0)
		r = encl_check_range(encl, offset, length);
	if (r < 0)
		return r;
	if (permissions & ~(uint64_t)SGX_SECINFO_RWX)
		return -EINVAL;
	if ((permissions & SGX_SECINFO_W) && !(permissions & SGX_SECINFO_R))
		return -EINVAL;

	e.secinfo.flags = permissions;
	r = edmm_run(&e, offset, length, restrict_page, ret_count);
	*ret_result = e.result;
	return r;
}

static int modify_page(struct encl *encl, struct edmm *e, struct bring *b, struct encl_page *page,
		       uint64_t idx) REQUIRES(&encl->lock)
{
	uint8_t type = (uint8_t)(e->secinfo.flags >> SGX_SECINFO_TYPE_SHIFT);
	int r;

	if (page->type != SGX_PT_REG && !(page->type == SGX_PT_TCS && type == SGX_PT_TRIM))
		return -EINVAL;
	if (type == SGX_PT_TCS && (~page->max_rwx & (ENCL_R | ENCL_W)))
		return -EPERM;
	encl_begin_locked(encl, ENCL_MODIFYING, NULL, idx);
	r = edmm_leaf(e,
		      encls_emodt(encl->cpu, &e->secinfo, epc_page_nr(encl->epc, page->epc_page)));
	if (r < 0)
		return r;
	page->type = type;
	if (type == SGX_PT_TCS)
		page->max_rwx = ENCL_R | ENCL_W;
	edmm_show_anew_locked(encl, idx);
	return encl_etrack_locked(encl, page->epc_page);
}

int encl_modify_types(struct encl *encl, const struct encl_mm *mm, uint64_t offset, uint64_t length,
		      uint64_t page_type, uint64_t *ret_result, uint64_t *ret_count)
{
	struct edmm e = { .encl = encl, .mm = mm };
	int r;

	*ret_result = 0;
	*ret_count = 0;
	r = encl_may_edmm(encl);
	if (r == 0)
		r = encl_check_range(encl, offset, length);
	if (r < 0)
		return r;
	if (page_type != SGX_PT_TCS && page_type != SGX_PT_TRIM)
		return -EINVAL;

	e.secinfo.flags = SGX_SECINFO_TYPE(page_type);
	r = edmm_run(&e, offset, length, modify_page, ret_count);
	*ret_result = e.result;
	return r;
}

static int remove_page(struct encl *encl, struct edmm *e, struct bring *b, struct encl_page *page,
		       uint64_t idx) REQUIRES(&encl->lock)
{
	struct epc_page *frame = page->epc_page;
	uint32_t nr = epc_page_nr(encl->epc, frame);
	struct cpu_outcome out;

	if (page->type != SGX_PT_TRIM)
		return -EPERM;
	/* Not to change anything: EMODPR faults on a trimmed page once the enclave has accepted that. */
	out = encls_emodpr(encl->cpu, &e->secinfo, nr);
	if (out.fault != CPU_PF)
		return -EPERM;
	encl_begin_locked(encl, ENCL_CHANGING, NULL, idx);
	if (page_untrack_locked(encl, page) < 0) {
		encl_end_locked(encl);
		encl_pause_locked(encl, &b->waits);
		return -EINPROGRESS;
	}
	if (!cpu_ok(encls_eremove(encl->cpu, nr))) {
		page_track_locked(encl, page);
		return -EFAULT;
	}
	page->epc_page = NULL;
	pages_erase_locked(encl, page);
	evict_child_gone_locked(encl);
	epc_free(encl->epc, frame);
	return 0;
}

int encl_remove_pages(struct encl *encl, const struct encl_mm *mm, uint64_t offset, uint64_t length,
		      uint64_t *ret_count)
{
	struct edmm e = { .encl = encl, .mm = mm };
	int r;

	*ret_count = 0;
	r = encl_may_edmm(encl);
	if (r == 0)
		r = encl_check_range(encl, offset, length);
	if (r < 0)
		return r;
	e.secinfo.flags = SGX_SECINFO_RWX;
	return edmm_run(&e, offset, length, remove_page, ret_count);
}
