/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Build: ECREATE, then EADD and EEXTEND page by page.
 *
 * Pages are offered to the reclaimer as soon as they are complete, so that an enclave larger than the EPC
 * can be built; the SECS is not before EINIT.  MRENCLAVE takes in every EADD: what fails between EADD and the page being
 * in the tree, or dies there, goes back to the measurement that was before.
 */
#include "encl/encl_priv.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "epc/backing.h"
#include "epc/epc.h"
#include "epc/window.h"

/* What any enclave may have; the rest needs encl_provision(). */
#define ATTR_UNPRIVILEGED (SGX_ATTR_DEBUG | SGX_ATTR_MODE64BIT | SGX_ATTR_KSS | SGX_ATTR_AEXNOTIFY)

static const struct sgx_secinfo secinfo_secs __attribute__((aligned(64)));

bool encl_created(const struct encl *encl)
{
	return encl_flags(encl) & ENCL_CREATED;
}

bool encl_initialized(const struct encl *encl)
{
	return encl_flags(encl) & ENCL_INITIALIZED;
}

uint64_t encl_base(const struct encl *encl)
{
	return encl->base;
}

uint64_t encl_size(const struct encl *encl)
{
	return encl->size;
}

uint64_t encl_win_off(const struct encl *encl)
{
	return encl->win_off;
}

struct epc *encl_epc(const struct encl *encl)
{
	return encl->epc;
}

static int create_secs_locked(struct encl *encl, struct bring *b, const struct sgx_secs *secs)
	REQUIRES(&encl->lock)
{
	struct cpu_pageinfo pi = { .srcpge = secs, .secinfo = &secinfo_secs, .secs = CPU_NO_PAGE };
	int r;

	do {
		r = bring_va_locked(encl, b);
		if (r == 0)
			r = bring_frame_locked(encl, b);
	} while (r == -EAGAIN);
	if (r < 0)
		return r;
	encl_begin_locked(encl, ENCL_CHANGING, b->hand, 0);
	if (!cpu_ok(encls_ecreate(encl->cpu, &pi, epc_page_nr(encl->epc, b->frame))))
		return -EIO;

	/* ECREATE has proven size and base sane. */
	encl->base = secs->baseaddr;
	encl->size = secs->size;
	r = window_range_alloc(encl->window, encl->size, &encl->win_off);
	if (r < 0)
		goto remove;
	r = pages_create(encl);
	if (r < 0)
		goto free_range;

	epc_page_set_cookie(b->frame, ENCL_COOKIE_SECS);
	encl->secs.epc_page = b->frame;
	bring_pass_frame(b);
	encl->attributes = secs->attributes.flags;
	encl->attributes_allowed = ATTR_UNPRIVILEGED;
	atomic_fetch_or(&encl->flags,
			ENCL_CREATED | (encl->attributes & SGX_ATTR_DEBUG ? ENCL_DEBUG : 0));
	return 0;

free_range:
	encl_range_free(encl);
remove:
	encls_eremove(encl->cpu, epc_page_nr(encl->epc, b->frame));
	encl->base = 0;
	encl->size = 0;
	return -ENOMEM;
}

int encl_create(struct encl *encl, const struct sgx_secs *secs)
{
	struct bring b;
	int r;

	if (encl_created(encl))
		return -EINVAL;
	if (!secs->size || (secs->size & (secs->size - 1)))
		return -EINVAL;

	bring_init(&b, encl, &encl_mm_none);
	encl_lock(encl);
	r = create_secs_locked(encl, &b, secs);
	encl_end_locked(encl);
	bring_unpin_locked(encl, &b);
	encl_unlock(encl);
	bring_fini(&b);
	return r;
}

int encl_may_add(struct encl *encl)
{
	return encl_created(encl) && !encl_initialized(encl) ? 0 : -EINVAL;
}

int encl_check_range(struct encl *encl, uint64_t offset, uint64_t length)
{
	if (offset % SGX_PAGE_SIZE || length % SGX_PAGE_SIZE || !length)
		return -EINVAL;
	if (offset + length < offset || offset + length - SGX_PAGE_SIZE >= encl->size)
		return -EINVAL;
	return 0;
}

int encl_check_secinfo(const struct sgx_secinfo *secinfo)
{
	uint64_t type = secinfo->flags & SGX_SECINFO_TYPE_MASK;
	uint64_t rwx = secinfo->flags & SGX_SECINFO_RWX;
	uint64_t known = SGX_SECINFO_TYPE_MASK | SGX_SECINFO_RWX;

	if (type != SGX_SECINFO_TYPE(SGX_PT_REG) && type != SGX_SECINFO_TYPE(SGX_PT_TCS))
		return -EINVAL;
	if ((rwx & SGX_SECINFO_W) && !(rwx & SGX_SECINFO_R))
		return -EINVAL;
	/* EADD would clear them silently, and the measurement would not be what the caller thinks. */
	if (type == SGX_SECINFO_TYPE(SGX_PT_TCS) && rwx)
		return -EINVAL;
	if (secinfo->flags & ~known)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(secinfo->reserved) / sizeof(secinfo->reserved[0]); i++)
		if (secinfo->reserved[i])
			return -EINVAL;
	return 0;
}

int encl_check_absent(struct encl *encl, uint64_t offset)
{
	bool there;

	encl_lock(encl);
	there = pages_find_locked(encl, offset / SGX_PAGE_SIZE);
	encl_unlock(encl);
	return there ? -EBUSY : 0;
}

static int add_measure_locked(struct encl *encl, uint32_t nr) REQUIRES(&encl->lock)
{
	uint32_t secs = epc_page_nr(encl->epc, encl->secs.epc_page);

	return cpu_ok(encls_eextend_page(encl->cpu, secs, nr)) ? 0 : -EIO;
}

/* As it was before EADD: no logical processor is inside, so EREMOVE cannot fail. */
static void add_undo_locked(struct encl *encl, uint32_t nr) REQUIRES(&encl->lock)
{
	struct cpu_outcome out = encls_eremove(encl->cpu, nr);

	assert(cpu_ok(out));
	cpu_measurement_restore(encl->cpu, epc_page_nr(encl->epc, encl->secs.epc_page),
				&encl->measurement);
}

/* The frame in hand becomes page @idx, or stays what it was. */
static int add_frame_locked(struct encl *encl, struct bring *b, uint64_t idx,
			    const struct cpu_pageinfo *pi, bool measure) REQUIRES(&encl->lock)
{
	uint32_t nr = epc_page_nr(encl->epc, b->frame);
	struct encl_page *page;
	int r;

	page = pages_insert_locked(encl, idx);
	if (!page)
		return -ENOMEM;
	page->type = (uint8_t)(pi->secinfo->flags >> SGX_SECINFO_TYPE_SHIFT);
	page->max_rwx = (uint8_t)(page->type == SGX_PT_TCS ? ENCL_R | ENCL_W
							   : pi->secinfo->flags & SGX_SECINFO_RWX);
	bring_use_stage_locked(encl, b);
	r = -EIO;
	if (!cpu_ok(encls_eadd(encl->cpu, pi, nr)))
		goto erase;
	if (measure && add_measure_locked(encl, nr) < 0)
		goto remove;
	r = bring_give_locked(encl, idx);
	if (r < 0)
		goto remove;
	bring_place_locked(encl, b->frame, idx);

	/* From here on it is a page, whatever happens. */
	encl_begin_locked(encl, ENCL_CHANGING, b->hand, idx);
	epc_page_set_cookie(b->frame, idx);
	page->epc_page = b->frame;
	bring_pass_frame(b);
	evict_child_came_locked(encl);
	page_track_locked(encl, page);
	return 0;

remove:
	add_undo_locked(encl, nr);
erase:
	pages_erase_locked(encl, page);
	return r;
}

int encl_add_page(struct encl *encl, const struct encl_mm *mm, uint64_t offset, const void *src,
		  const struct sgx_secinfo *secinfo, bool measure)
{
	struct sgx_secinfo aligned __attribute__((aligned(64))) = *secinfo;
	struct cpu_pageinfo pi = { .srcpge = src, .secinfo = &aligned };
	uint64_t idx = offset / SGX_PAGE_SIZE;
	struct bring b;
	int r;

	bring_init(&b, encl, mm);
	encl_lock(encl);
	do {
		r = -EBUSY;
		if (pages_find_locked(encl, idx))
			break;
		r = bring_va_locked(encl, &b);
		if (r == 0)
			r = bring_frame_locked(encl, &b);
	} while (r == -EAGAIN);
	if (r == 0) {
		pi.linaddr = encl->base + offset;
		pi.secs = epc_page_nr(encl->epc, encl->secs.epc_page);
		cpu_measurement_save(encl->cpu, pi.secs, &encl->measurement);
		encl_begin_locked(encl, ENCL_ADDING, b.hand, idx);
		r = add_frame_locked(encl, &b, idx, &pi, measure);
		encl_end_locked(encl);
	}
	bring_unpin_locked(encl, &b);
	encl_unlock(encl);
	bring_fini(&b);
	return r;
}
