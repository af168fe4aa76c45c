/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Bringing VA pages: the one that has a page's version, before the page can be loaded; and new ones, before a
 * page is made that would be one too many.
 *
 * Each of them takes one frame at a time, as everything does that brings pages (load.c).  What has been brought is pinned
 * until the page is there, or until there is no EPC to be had for it: then others have their turn first.
 */
#include "encl/encl_priv.h"

#include <assert.h>
#include <errno.h>

#include "epc/epc.h"

/* Of an EPC that holds this enclave's top as well: SECS, TCS, SSA, code, stack, data, and some. */
enum { LEFT_OVER_PAGES = 8 };

static int bring_one_locked(struct encl *encl, struct bring *b, struct encl_va *va)
	REQUIRES(&encl->lock)
{
	int r = bring_frame_locked(encl, b);

	if (r < 0)
		return r;
	encl_begin_locked(encl, ENCL_CHANGING, b->hand, 0);
	r = load_frame_locked(encl, b, &va->page, 0, va_cookie(encl, va), CPU_NO_PAGE);
	if (r == 0) {
		va_in_locked(encl, &va->page);
		load_done_locked(encl, &va->page);
	}
	encl_end_locked(encl);
	return r < 0 ? r : -EAGAIN;
}

/* @va is in the EPC and stays: 0; else one step towards that. The way there begins where its own version is. */
static int bring_here_locked(struct encl *encl, struct bring *b, struct encl_va *va)
	REQUIRES(&encl->lock)
{
	struct encl_va *out = NULL;

	if (bring_hand_locked(encl, b) < 0)
		return -ENOMEM;
	for (; !va_is_here(va); va = va->page.va) {
		if (va->page.flags & ENCL_PAGE_LEAVING)
			return bring_wait_locked(encl, b, &va->page);
		out = va;
	}
	if (epc_page_poisoned(va->page.epc_page))
		return -EHWPOISON;
	epc_touch(encl->epc, va->page.epc_page);
	(void)hand_pin_locked(encl, b->hand, &va->page);
	return out ? bring_one_locked(encl, b, out) : 0;
}

/* The first VA page of an enclave stays for ever, or one in its place. */
static bool is_room_for_top(struct encl *encl)
{
	return atomic_load(&encl->registry->top_nr) + 1 + LEFT_OVER_PAGES <=
	       cpu_get_config(encl->cpu)->page_nr;
}

static int bring_new_locked(struct encl *encl, struct bring *b, unsigned int level)
	REQUIRES(&encl->lock)
{
	bool first = encl->versions.level[0].nr == 0;
	int r;

	if (first && !is_room_for_top(encl))
		return -ENOMEM;
	r = bring_frame_locked(encl, b);
	if (r < 0)
		return r;
	encl_begin_locked(encl, ENCL_CHANGING, b->hand, 0);
	r = va_add_locked(encl, level, b->frame);
	if (r == 0) {
		if (first)
			atomic_fetch_add(&encl->registry->top_nr, 1);
		bring_pass_frame(b);
		va_track_locked(encl);
	}
	encl_end_locked(encl);
	return r < 0 ? r : -EAGAIN;
}

int bring_va_more_locked(struct encl *encl, struct bring *b)
{
	return bring_new_locked(encl, b, va_short_level(&encl->versions, va_need_locked(encl)));
}

/* Where slots that are free become few, before they are none.  One that cannot come any more is not waited for. */
static int bring_wanted_locked(struct encl *encl, struct bring *b) REQUIRES(&encl->lock)
{
	struct encl_va *wanted = va_of_slots(va_wanted(&encl->versions, 0, va_need_locked(encl)));
	int r = wanted ? bring_here_locked(encl, b, wanted) : 0;

	return r == -EHWPOISON || r == -EBADMSG || r == -EREMOTEIO ? bring_va_more_locked(encl, b)
								   : r;
}

int bring_version_locked(struct encl *encl, struct bring *b, const struct encl_page *page)
{
	int r;

	assert(page->type != SGX_PT_VA);
	r = bring_here_locked(encl, b, page->va);
	return r < 0 ? r : bring_wanted_locked(encl, b);
}

int bring_va_locked(struct encl *encl, struct bring *b)
{
	if (va_is_short(&encl->versions, 0, va_need_locked(encl)))
		return bring_va_more_locked(encl, b);
	return bring_wanted_locked(encl, b);
}
