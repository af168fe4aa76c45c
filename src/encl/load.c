/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Load: bring a page of an enclave into the EPC, whatever that takes.
 *
 * It may take an EPC page, for which the enclave's lock must be dropped; then everything is looked at
 * again from the start.  The SECS goes in before its children, and a VA page before those whose versions it has.
 * Each of the three needs one frame, and one frame at most is in hand while others can run,
 * so that any EPC that holds an enclave's top VA page, its SECS and the pages of one instruction, each with its VA page, is
 * large enough.
 *
 * Invariant: a page that bring_page_locked() hands out is in the EPC and stays there until the lock is dropped.
 */
#include "encl/encl_priv.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "epc/backing.h"
#include "epc/epc.h"
#include "epc/stats.h"
#include "epc/window.h"

/* Of an EPC with nothing to give. What others hold for an instant comes back much sooner. */
#define BRING_PATIENCE_NS 1000000000ull
#define BRING_BRIEF_NS    2000000ull

void bring_init(struct bring *b, struct encl *encl, const struct encl_mm *mm)
{
	*b = (struct bring){ .encl = encl, .mm = mm };
}

void bring_pass_frame(struct bring *b)
{
	hand_pass(b->encl, b->hand, b->frame);
	b->frame = NULL;
}

static void bring_drop_frame(struct bring *b)
{
	if (b->frame)
		hand_drop(b->encl, b->hand, b->frame);
	b->frame = NULL;
}

void bring_fini(struct bring *b)
{
	bring_drop_frame(b);
	if (b->hand)
		hand_put(b->hand);
	b->hand = NULL;
}

void bring_unpin_locked(struct encl *encl, struct bring *b)
{
	while (b->hand && b->hand->pin_nr > b->kept_pins)
		hand_unpin_locked(encl, b->hand);
}

int bring_hand_locked(struct encl *encl, struct bring *b)
{
	if (!b->hand)
		b->hand = hand_get_locked(encl);
	return b->hand ? 0 : -ENOMEM;
}

int bring_frame_locked(struct encl *encl, struct bring *b)
{
	int r;

	if (b->frame)
		return 0;
	if (bring_hand_locked(encl, b) < 0)
		return -ENOMEM;
	r = hand_fill(encl, b->hand, 0, &b->frame);
	if (r == 0 || b->ahead) {
		b->frame = r == 0 ? b->frame : NULL;
		return r;
	}

	encl_unlock(encl);
	r = hand_fill(encl, b->hand, EPC_MAY_RECLAIM, &b->frame);
	/* The dead may have what is missing. */
	if (r < 0)
		encl_reap(encl->registry);
	encl_lock(encl);
	if (r == 0) {
		b->refused = (struct patience){ 0 };
		return -EAGAIN;
	}
	b->frame = NULL;
	bring_unpin_locked(encl, b);
	/* Others may hold what there is for an instant: that passes. */
	if (b->brief ? patience_pauses(&b->refused, BRING_BRIEF_NS)
		     : patience_ends(&b->refused, BRING_PATIENCE_NS))
		return -ENOMEM;
	encl_pause_locked(encl, &b->waits);
	return -EAGAIN;
}

void bring_use_stage_locked(struct encl *encl, struct bring *b)
{
	epc_page_lend(encl->epc, b->frame, encl->stage);
}

int bring_give_locked(struct encl *encl, uint64_t idx)
{
	int r;

	encl->giving = true;
	r = window_give(encl->window, encl->win_off + idx * SGX_PAGE_SIZE, encl->stage);
	if (r < 0)
		encl->giving = false;
	return r;
}

void bring_place_locked(struct encl *encl, struct epc_page *frame, uint64_t idx)
{
	epc_page_place(encl->epc, frame, encl->win_off + idx * SGX_PAGE_SIZE, false);
	encl->giving = false;
}

bool page_is_here(const struct encl_page *page)
{
	return page->epc_page && !(page->flags & ENCL_PAGE_LEAVING) &&
	       epc_page_placed(page->epc_page) && !epc_page_poisoned(page->epc_page);
}

unsigned int page_reach(struct encl *encl, const struct encl_page *page)
{
	struct cpu_epcm epcm = cpu_epcm_read(encl->cpu, epc_page_nr(encl->epc, page->epc_page));

	if (!epcm.valid || epcm.type != SGX_PT_REG || epcm.blocked || epcm.pending || epcm.modified)
		return 0;
	return epcm.rwx;
}

void page_track_locked(struct encl *encl, struct encl_page *page)
{
	if (page->flags & ENCL_PAGE_TRACKED)
		return;
	page->flags |= ENCL_PAGE_TRACKED;
	if (page->flags & ENCL_PAGE_AHEAD)
		epc_track_ahead(encl->epc, page->epc_page);
	else
		epc_track(encl->epc, page->epc_page);
}

int page_untrack_locked(struct encl *encl, struct encl_page *page)
{
	int r;

	if (!(page->flags & ENCL_PAGE_TRACKED))
		return 0;
	r = epc_untrack(encl->epc, page->epc_page);
	if (r == 0)
		page->flags &= (uint8_t)~ENCL_PAGE_TRACKED;
	return r;
}

int load_frame_locked(struct encl *encl, struct bring *b, struct encl_page *page, uint64_t la,
		      uint64_t cookie, uint32_t secs)
{
	struct cpu_pageinfo pi = {
		.linaddr = la,
		.srcpge = backing_page(encl->backing, page->backing),
		.pcmd = backing_pcmd(encl->backing, page->backing),
		.secs = secs,
	};
	struct cpu_outcome out;

	if (backing_fetch(encl->backing, page->backing) < 0)
		return -EREMOTEIO;
	/* Before: whoever has to see this through learns from it which VA page this is. */
	epc_page_set_cookie(b->frame, cookie);
	out = encls_eldu(encl->cpu, &pi, epc_page_nr(encl->epc, b->frame),
			 epc_page_nr(encl->epc, page->va->page.epc_page), page->va_slot);
	if (!cpu_ok(out))
		return -EBADMSG;
	page->flags &= (uint8_t)~ENCL_PAGE_TRACKED;
	va_slot_busy(&page->va->slots);
	page->epc_page = b->frame;
	bring_pass_frame(b);
	return 0;
}

void load_done_locked(struct encl *encl, struct encl_page *page)
{
	evict_slots_put_locked(encl, page);
	page_track_locked(encl, page);
	encl->loads++;
	epc_count(encl->epc_owner, page->epc_page, EPC_LOADS, 1);
}

/*
 * A LEAVING page is in a batch, so it can be untracked only when its reclaimer died between block and
 * write, and another one has put it back without knowing that it was blocked already.
 */
int bring_wait_locked(struct encl *encl, struct bring *b, struct encl_page *page)
{
	bool left_over = false;

	if (b->waits % ENCL_WAITS_LONG == 1) {
		encl_begin_locked(encl, ENCL_CHANGING, NULL, 0);
		left_over = page_untrack_locked(encl, page) == 0;
		if (left_over) {
			page->flags &= (uint8_t)~ENCL_PAGE_LEAVING;
			if (page->type == SGX_PT_VA)
				va_in_locked(encl, page);
			page_track_locked(encl, page);
		}
		encl_end_locked(encl);
	}
	if (!left_over)
		encl_pause_locked(encl, &b->waits);
	return -EAGAIN;
}

/* The SECS is in the EPC: 0; otherwise one step towards that, or what stands in the way. */
static int bring_secs_locked(struct encl *encl, struct bring *b) REQUIRES(&encl->lock)
{
	int r;

	if (encl->secs.flags & ENCL_PAGE_LEAVING)
		return bring_wait_locked(encl, b, &encl->secs);
	if (encl->secs.epc_page)
		return 0;
	r = bring_version_locked(encl, b, &encl->secs);
	if (r == 0)
		r = bring_frame_locked(encl, b);
	if (r < 0)
		return r;
	encl_begin_locked(encl, ENCL_CHANGING, b->hand, 0);
	r = load_frame_locked(encl, b, &encl->secs, 0, ENCL_COOKIE_SECS, CPU_NO_PAGE);
	/* Tracked: as long as no child is in, another who needs the frame more may have it. */
	if (r == 0)
		load_done_locked(encl, &encl->secs);
	encl_end_locked(encl);
	return r;
}

/* What is on the stage goes where mappings can show it, and into this process's page tables. */
static int load_place_locked(struct encl *encl, struct bring *b, struct encl_page *page,
			     uint64_t idx) REQUIRES(&encl->lock)
{
	uint64_t off = encl->win_off + idx * SGX_PAGE_SIZE;
	uint64_t la = encl->base + idx * SGX_PAGE_SIZE;
	unsigned int reach = page_reach(encl, page);
	int r = 0;

	if (reach && !b->unseen)
		r = b->mm->ops->place(b->mm->ctx, encl, la, off, encl->stage, reach);
	b->shown = r > 0;
	if (r == 0)
		r = bring_give_locked(encl, idx);
	if (r < 0)
		return r;
	bring_place_locked(encl, page->epc_page, idx);
	return 0;
}

void load_undo_locked(struct encl *encl, struct encl_page *page)
{
	struct epc_page *frame = page->epc_page;
	struct cpu_outcome out = encls_eblock(encl->cpu, epc_page_nr(encl->epc, frame));
	int r;

	/* With its slots at hand and the lock held neither can fail; a page that is poisoned is lost. */
	assert(cpu_ok(out) || (out.fault == CPU_NO_FAULT && out.eax == SGX_BLKSTATE));
	r = evict_write_locked(encl, page);
	assert(r == 0 || r == -EHWPOISON);
	if (r == 0)
		epc_free(encl->epc, frame);
}

static int load_changing_locked(struct encl *encl, struct bring *b, struct encl_page *page,
				uint64_t idx) REQUIRES(&encl->lock)
{
	int r;

	bring_use_stage_locked(encl, b);
	r = load_frame_locked(encl, b, page, encl->base + idx * SGX_PAGE_SIZE, idx,
			      epc_page_nr(encl->epc, encl->secs.epc_page));
	if (r < 0) {
		bring_drop_frame(b);
		return r;
	}
	evict_child_came_locked(encl);
	r = load_place_locked(encl, b, page, idx);
	if (r < 0)
		load_undo_locked(encl, page);
	else
		load_done_locked(encl, page);
	return r;
}

static int bring_load_locked(struct encl *encl, struct bring *b, struct encl_page *page,
			     uint64_t idx) REQUIRES(&encl->lock)
{
	int r;

	r = bring_secs_locked(encl, b);
	if (r == 0)
		r = bring_version_locked(encl, b, page);
	if (r == 0)
		r = bring_frame_locked(encl, b);
	if (r < 0)
		return r;
	encl_begin_locked(encl, ENCL_CHANGING, b->hand, 0);
	if (b->ahead)
		page->flags |= ENCL_PAGE_AHEAD;
	r = load_changing_locked(encl, b, page, idx);
	if (r < 0)
		page->flags &= (uint8_t)~ENCL_PAGE_AHEAD;
	encl_end_locked(encl);
	b->loaded = b->loaded || (r == 0 && !b->ahead);
	return r;
}

/*
 * The frame in hand becomes a new page.  The window has its zeros before it exists: EREMOVE would be refused
 * while threads are inside, so nothing may fail after EAUG.
 */
static int aug_changing_locked(struct encl *encl, struct bring *b, uint64_t idx)
	REQUIRES(&encl->lock)
{
	struct cpu_pageinfo pi = {
		.linaddr = encl->base + idx * SGX_PAGE_SIZE,
		.secs = epc_page_nr(encl->epc, encl->secs.epc_page),
	};
	struct encl_page *page = pages_insert_locked(encl, idx);
	int r;

	if (!page)
		return -ENOMEM;
	page->type = SGX_PT_REG;
	page->max_rwx = SGX_SECINFO_RWX;
	memset(encl->stage, 0, SGX_PAGE_SIZE);
	r = bring_give_locked(encl, idx);
	if (r < 0)
		goto erase;
	bring_use_stage_locked(encl, b);
	if (!cpu_ok(encls_eaug(encl->cpu, &pi, epc_page_nr(encl->epc, b->frame)))) {
		r = -EFAULT;
		goto drop;
	}
	bring_place_locked(encl, b->frame, idx);
	epc_page_set_cookie(b->frame, idx);
	page->epc_page = b->frame;
	bring_pass_frame(b);
	evict_child_came_locked(encl);
	page_track_locked(encl, page);
	return 0;

drop:
	window_drop(encl->window, encl->win_off + idx * SGX_PAGE_SIZE, 1);
	encl->giving = false;
erase:
	pages_erase_locked(encl, page);
	bring_drop_frame(b);
	return r;
}

static int bring_aug_locked(struct encl *encl, struct bring *b, uint64_t idx) REQUIRES(&encl->lock)
{
	int r;

	r = bring_secs_locked(encl, b);
	if (r == 0)
		r = bring_va_locked(encl, b);
	if (r == 0)
		r = bring_frame_locked(encl, b);
	if (r < 0)
		return r;
	encl_begin_locked(encl, ENCL_CHANGING, b->hand, idx);
	r = aug_changing_locked(encl, b, idx);
	encl_end_locked(encl);
	return r;
}

/*
 * A page whose eviction failed half way is blocked in the EPC.  Only EWB and ELDU undo that: finish
 * the eviction, so that the page is loaded as any other.
 */
static int bring_unblock_locked(struct encl *encl, struct bring *b, struct encl_page *page)
	REQUIRES(&encl->lock)
{
	struct epc_page *frame = page->epc_page;
	int r;

	encl_begin_locked(encl, ENCL_CHANGING, NULL, 0);
	r = page_untrack_locked(encl, page);
	if (r < 0) {
		encl_end_locked(encl);
		encl_pause_locked(encl, &b->waits);
		return -EAGAIN;
	}
	r = evict_write_locked(encl, page);
	if (r < 0)
		page_track_locked(encl, page);
	else
		epc_free(encl->epc, frame);
	encl_end_locked(encl);
	/* There are slots enough, but those that are free are of VA pages that broke. */
	if (r == -EHWPOISON && !epc_page_poisoned(frame))
		return bring_va_more_locked(encl, b);
	if (r == -EHWPOISON)
		return r;
	return r < 0 ? -EFAULT : -EAGAIN;
}

/* It is lost, or what it takes to have it is. */
static bool is_broken(const struct encl *encl, const struct encl_page *page)
{
	return (page->epc_page && epc_page_poisoned(page->epc_page)) ||
	       (!page->epc_page && page->va && page->va->page.epc_page &&
		epc_page_poisoned(page->va->page.epc_page)) ||
	       (encl->secs.epc_page && epc_page_poisoned(encl->secs.epc_page));
}

static bool may_aug(struct encl *encl)
{
	return (encl_flags(encl) & ENCL_INITIALIZED) &&
	       (cpu_get_config(encl->cpu)->caps & SGX_CPUID_SGX2);
}

/* What ELDU will read of a page that is away: in the cache when all else that it takes is done. */
static void load_prefetch_locked(struct encl *encl, const struct encl_page *page)
	REQUIRES(&encl->lock)
{
	const struct encl_page *va = &page->va->page;

	backing_prefetch(encl->backing, page->backing);
	if (va->epc_page)
		cpu_prefetch_version(encl->cpu, epc_page_nr(encl->epc, va->epc_page),
				     page->va_slot);
}

/* One step towards page @idx being here: 0 when it is. */
static int bring_step_locked(struct encl *encl, struct bring *b, uint64_t idx, unsigned int rwx,
			     unsigned int how, struct encl_page **ret_page) REQUIRES(&encl->lock)
{
	struct encl_page *page;

	page = pages_find_locked(encl, idx);
	*ret_page = page;
	if (!page) {
		int r = (how & BRING_AUG) && may_aug(encl) ? bring_aug_locked(encl, b, idx)
							   : -ENOENT;

		return r < 0 ? r : -EAGAIN;
	}
	if (rwx & ~page->max_rwx)
		return -EACCES;
	if (!page->epc_page && page->va)
		load_prefetch_locked(encl, page);
	if (is_broken(encl, page))
		return -EHWPOISON;
	if (page->flags & ENCL_PAGE_LEAVING)
		return bring_wait_locked(encl, b, page);
	if (!page->epc_page)
		return bring_load_locked(encl, b, page, idx);
	return page->va ? bring_unblock_locked(encl, b, page) : 0;
}

int bring_page_locked(struct encl *encl, struct bring *b, uint64_t idx, unsigned int rwx,
		      unsigned int how, struct encl_page **ret_page)
{
	int r;

	b->shown = false;
	do {
		r = bring_step_locked(encl, b, idx, rwx, how, ret_page);
	} while (r == -EAGAIN);
	bring_unpin_locked(encl, b);
	if (r == 0 && !b->ahead && (*ret_page)->flags & ENCL_PAGE_AHEAD)
		readahead_used_locked(encl, idx, *ret_page);
	return r;
}
