/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Pages of a guest that go for good: REMOVE_ALL, and the end of a file.
 *
 * A page that is away is dropped where it is; its SECS has one child less, now or when it comes back.  To
 * REMOVE_ALL a SECS with children that are away has children, as it would have if they were here.
 */
#include "virt/virt_priv.h"

#include <errno.h>
#include <sched.h>

#include "epc/backing.h"
#include "epc/epc.h"
#include "vepc/vepc.h"

/* Nothing of its contents is left, here or away; the frame, if there is one, stays. */
static void forget_locked(struct virt_guest *guest, struct kept *kept)
{
	bool away = kept->flags & KEPT_AWAY;

	/* First: it is not away any more, whatever is still known of it. */
	kept->flags &= KEPT_NAMED;
	kept->locked_at = kept->tracked_at = 0;
	if (away) {
		guest->away--;
		guest->page_nr--;
	}
	guest_evict_forget_child_locked(guest, kept);
	guest_slots_put_locked(guest, &kept->slots);
	kept->virt = 0;
	kept_done_locked(guest, kept);
}

int guest_remove(void *keeper, struct vepc *vepc, uint64_t idx, struct vepc_page *page)
{
	struct virt_guest *guest = keeper;
	struct kept *kept = kept_of(page);
	struct cpu_outcome out;
	bool leaving;
	uint32_t nr;

	if (kept && kept->children > 0)
		return SGX_CHILD_PRESENT;
	if (!page->frame) {
		forget_locked(guest, kept);
		guest_va_trim_locked(guest);
		return 0;
	}
	/* Its bytes are on the move; a child's are not looked at. */
	if (kept && (kept->flags & KEPT_LEAVING) && kept->type == SGX_PT_SECS)
		return -EBUSY;
	nr = epc_page_nr(guest->epc, page->frame);
	/* Noted first: the reclaimer will find that out, and forget the rest. */
	leaving = kept && (kept->flags & KEPT_LEAVING);
	if (leaving)
		kept->flags |= KEPT_BLANK;
	guest_next(guest, "EREMOVE");
	out = encls_eremove(guest->cpu, nr);
	if (cpu_ok(out)) {
		if (kept && !leaving)
			forget_locked(guest, kept);
		return 0;
	}
	/* A page whose contents are nothing stays one. */
	if (leaving && cpu_epcm_read(guest->cpu, nr).valid)
		kept->flags &= (uint16_t)~KEPT_BLANK;
	return out.fault == CPU_NO_FAULT && out.eax == SGX_CHILD_PRESENT ? SGX_CHILD_PRESENT
									 : -EBUSY;
}

/* The page's file goes, and with it whatever its kept was the name of. */
static void unname_locked(struct virt_guest *guest, const struct vepc_page *page)
{
	uint64_t context = CONTEXT_NOWHERE;

	if (page->frame)
		(void)enclv_esetcontext(guest->cpu, epc_page_nr(guest->epc, page->frame), &context);
}

void guest_drop(void *keeper, struct vepc *vepc, uint64_t idx, struct vepc_page *page)
{
	struct virt_guest *guest = keeper;
	struct kept *kept;

	guest_lock(guest);
	/* No batch takes anything from a file that goes: this waits for those that had picked it. */
	while (page->frame && guest_page_untrack_locked(guest, page) < 0) {
		guest_unlock(guest);
		sched_yield();
		epc_recover(guest->epc);
		guest_lock(guest);
	}
	/* A zombie's page comes here again, without. */
	if (page->flags & PAGE_COUNTED)
		guest->page_nr--;
	page->flags = 0;
	kept = kept_of(page);
	if (kept) {
		unname_locked(guest, page);
		page->kept = NULL;
		kept->vepc = NULL;
		kept->flags &= (uint16_t) ~(KEPT_NAMED | KEPT_LEAVING);
		forget_locked(guest, kept);
	}
	guest_unlock(guest);
}
