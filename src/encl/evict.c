/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Evict: what the memory manager may ask of an enclave's pages (epc/owner.h).
 *
 * These run in whichever process of the fork tree needs an EPC page, between any two instructions of
 * the enclave.  A page gets its version slot and its place in the backing store before it is blocked: a
 * refusal after that would leave a page that nobody can use, because only EWB and ELDU unblock.
 *
 * Order: children before the SECS, which EWB insists on, so the SECS is offered to the manager only
 * when the last child of an initialised enclave has gone.  A VA page goes when the rest has free slots enough (va.c).
 *
 * Invariant: a LEAVING page is used by nobody: faults and steps wait for it.
 */
#include "encl/encl_priv.h"

#include <assert.h>
#include <errno.h>

#include "epc/backing.h"
#include "epc/epc.h"
#include "epc/stats.h"

static struct encl_page *evict_find_locked(struct encl *encl, struct epc_page *frame)
	REQUIRES(&encl->lock)
{
	uint64_t cookie = epc_page_cookie(frame);
	struct encl_page *page;

	if (cookie == ENCL_COOKIE_SECS)
		page = &encl->secs;
	else if (cookie != ENCL_COOKIE_NONE && cookie & ENCL_COOKIE_VA)
		page = &va_of_cookie(encl, cookie)->page;
	else
		page = pages_find_locked(encl, cookie);
	return page && page->epc_page == frame ? page : NULL;
}

/*
 * The enclave cannot go while a page of it is in a batch: its end waits for each of its pages.  So there is nothing to
 * count, and nothing to lose when a reclaimer dies.
 */
static bool evict_get(struct epc_page *frame)
{
	struct encl *encl = epc_page_owner(frame);

	if (atomic_load(&encl->going))
		return false;
	/* The SECS and VA pages have larger cookies than any enclave has pages. */
	pages_prefetch(encl, epc_page_cookie(frame));
	return true;
}

static bool page_is_child(const struct encl_page *page)
{
	return page->type != SGX_PT_SECS && page->type != SGX_PT_VA;
}

/* A logical processor is in it: its state would be lost to the next AEX. */
static bool tcs_is_busy(struct encl *encl, const struct encl_page *page)
{
	uint32_t nr = epc_page_nr(encl->epc, page->epc_page);
	const struct sgx_tcs *tcs = cpu_bytes(encl->cpu, nr);

	if (cpu_epcm_read(encl->cpu, nr).type != SGX_PT_TCS)
		return false;
	return __atomic_load_n(&tcs->state, __ATOMIC_RELAXED) != 0;
}

static bool evict_may_go_locked(struct encl *encl, const struct encl_page *page)
	REQUIRES(&encl->lock)
{
	if (page->pins || (page->flags & ENCL_PAGE_LEAVING))
		return false;
	if (page == &encl->secs)
		return encl->child_nr == 0 && (encl_flags(encl) & ENCL_INITIALIZED);
	if (page->type == SGX_PT_VA)
		return va_may_go_locked(encl, page);
	return !tcs_is_busy(encl, page);
}

static bool evict_reclaim(struct epc_page *frame)
{
	struct encl *encl = epc_page_owner(frame);
	struct encl_page *page;
	bool ok = false;

	encl_lock(encl);
	page = evict_find_locked(encl, frame);
	if (page) {
		ok = evict_may_go_locked(encl, page);
	}
	encl_unlock(encl);
	return ok;
}

static bool evict_slots_get_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock)
{
	if (page->va)
		return true; /* from an eviction that failed half way */
	if (backing_alloc(encl->backing, &page->backing) < 0) {
		page->backing = BACKING_NO_SLOT;
		return false;
	}
	if (va_slot_get_locked(encl, page))
		return true;
	backing_free(encl->backing, &page->backing);
	return false;
}

void evict_slots_put_locked(struct encl *encl, struct encl_page *page)
{
	va_slot_put_locked(encl, page);
	backing_free(encl->backing, &page->backing);
}

static bool evict_block_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock)
{
	struct cpu_outcome out;

	if (!evict_may_go_locked(encl, page) || !evict_slots_get_locked(encl, page))
		return false;
	/* EBLOCK is for children; a SECS without any can have no translation, nor has a VA page. */
	if (page_is_child(page)) {
		out = encls_eblock(encl->cpu, epc_page_nr(encl->epc, page->epc_page));
		if (!cpu_ok(out) && !(out.fault == CPU_NO_FAULT && out.eax == SGX_BLKSTATE)) {
			evict_slots_put_locked(encl, page);
			return false;
		}
	}
	page->flags |= ENCL_PAGE_LEAVING;
	if (page->type == SGX_PT_VA)
		va_out_locked(encl, page);
	return true;
}

static bool evict_block(struct epc_page *frame)
{
	struct encl *encl = epc_page_owner(frame);
	struct encl_page *page;
	bool ok = false;

	encl_lock(encl);
	page = evict_find_locked(encl, frame);
	if (page) {
		encl_begin_locked(encl, ENCL_CHANGING, NULL, 0);
		ok = evict_block_locked(encl, page);
		encl_end_locked(encl);
	}
	encl_unlock(encl);
	return ok;
}

int encl_etrack_locked(struct encl *encl, const struct epc_page *frame)
{
	uint32_t secs = epc_page_nr(encl->epc, encl->secs.epc_page);
	struct cpu_outcome out;

	out = encls_etrack(encl->cpu, secs);
	if (out.fault == CPU_NO_FAULT && out.eax == SGX_PREV_TRK_INCMPL) {
		cpu_track_flush(encl->cpu, secs);
		out = encls_etrack(encl->cpu, secs);
	}
	cpu_track_flush(encl->cpu, secs);
	epc_count(encl->epc_owner, frame, EPC_TRACKS, 1);
	return cpu_ok(out) ? 0 : -EFAULT;
}

static struct cpu_outcome evict_ewb_locked(struct encl *encl, struct encl_page *page)
	REQUIRES(&encl->lock)
{
	struct cpu_pageinfo pi = {
		.pcmd = backing_pcmd(encl->backing, page->backing),
		.secs = CPU_NO_PAGE,
	};
	uint64_t la;

	return encls_ewb(encl->cpu, &pi, epc_page_nr(encl->epc, page->epc_page),
			 epc_page_nr(encl->epc, page->va->page.epc_page), page->va_slot,
			 backing_page(encl->backing, page->backing), &la);
}

int evict_write_locked(struct encl *encl, struct encl_page *page)
{
	struct cpu_outcome out;

	/* A version that cannot be read again would be the end of the page: it stays. */
	if (epc_page_poisoned(page->epc_page) || !va_slot_mend_locked(encl, page))
		return -EHWPOISON;
	out = evict_ewb_locked(encl, page);
	/* One ETRACK, when the first page of a batch asks for it, serves all that were blocked before. */
	if (out.fault == CPU_NO_FAULT && out.eax == SGX_NOT_TRACKED) {
		if (encl_etrack_locked(encl, page->epc_page) < 0)
			return -EFAULT;
		out = evict_ewb_locked(encl, page);
	}
	/* A slot that is occupied is from an EWB whose process died in it: it was overwritten. */
	if (!cpu_ok(out) && !(out.fault == CPU_NO_FAULT && out.eax == SGX_VA_SLOT_OCCUPIED))
		return -EFAULT;

	backing_complete(encl->backing, page->backing);
	page->epc_page = NULL;
	page->flags &= (uint8_t) ~(ENCL_PAGE_LEAVING | ENCL_PAGE_TRACKED);
	va_slot_idle(&page->va->slots);
	encl->evictions++;
	if (page_is_child(page))
		evict_child_gone_locked(encl);
	return 0;
}

void evict_child_came_locked(struct encl *encl)
{
	/* A reclaimer that has it in hand will find that it has a child. */
	if (encl->child_nr++ == 0 && page_untrack_locked(encl, &encl->secs) == 0)
		epc_keep(encl->epc, encl->secs.epc_page);
}

void evict_child_gone_locked(struct encl *encl)
{
	assert(encl->child_nr > 0);
	if (--encl->child_nr == 0 && (encl_flags(encl) & ENCL_INITIALIZED))
		page_track_locked(encl, &encl->secs);
}

static int evict_write(struct epc_page *frame)
{
	struct encl *encl = epc_page_owner(frame);
	struct encl_page *page;
	int r = 0;

	encl_lock(encl);
	page = evict_find_locked(encl, frame);
	if (page) {
		encl_begin_locked(encl, ENCL_CHANGING, NULL, 0);
		r = evict_write_locked(encl, page);
		/*
		 * A failure leaves it blocked, with its slots: whoever needs it ends the eviction and loads it, but
		 * not before the manager has put its bytes back, which untracking waits for.
		 */
		if (r < 0) {
			page->flags &= (uint8_t)~ENCL_PAGE_LEAVING;
			if (page->type == SGX_PT_VA)
				va_in_locked(encl, page);
		}
		encl_end_locked(encl);
		if (r == 0 && page->flags & ENCL_PAGE_AHEAD)
			readahead_wasted_locked(encl, epc_page_cookie(frame), page, frame);
	}
	/* No page: asked again, because the reclaimer that had it written died before it noted that. */
	encl_unlock(encl);
	return r;
}

static void evict_put(struct epc_page *frame) {}

const struct sgx_epc_page_ops encl_page_ops = {
	.name = "encl",
	.get = evict_get,
	.reclaim = evict_reclaim,
	.block = evict_block,
	.write = evict_write,
	.put = evict_put,
};
