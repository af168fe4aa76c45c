/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Pages of a guest that go for good: REMOVE_ALL, and the end of a file.
 *
 * A page that is away is dropped where it is; its SECS has one child less, now or when it comes back.  To
 * REMOVE_ALL a SECS with children that are away has children, as it would have if they were here.
 */
#include "virt/virt_priv.h"

#include <errno.h>

#include "epc/backing.h"
#include "epc/epc.h"
#include "vepc/vepc.h"

static void slots_put_locked(struct virt_guest *guest, struct kept *kept)
{
	if (!kept->va)
		return;
	guest_va_slot_put_locked(guest, kept);
	backing_free(guest->backing, kept->backing);
	kept->backing = BACKING_NO_SLOT;
}

/* Nothing of its contents is left, here or away; the frame, if there is one, stays. */
static void forget_locked(struct virt_guest *guest, struct kept *kept)
{
	if (kept->flags & KEPT_AWAY) {
		guest->away--;
		guest->page_nr--;
	}
	guest_evict_forget_child_locked(guest, kept);
	slots_put_locked(guest, kept);
	kept->owed = 0;
	kept->flags &= KEPT_NAMED;
	kept_done_locked(guest, kept);
}

int guest_remove(void *keeper, struct vepc *vepc, uint64_t idx, struct vepc_page *page)
{
	struct virt_guest *guest = keeper;
	struct kept *kept = kept_of(page);
	struct cpu_outcome out;

	if (kept && kept->children > 0)
		return SGX_CHILD_PRESENT;
	if (!page->frame) {
		forget_locked(guest, kept);
		return 0;
	}
	/* Its bytes are on the move; a child's are not looked at. */
	if (kept && (kept->flags & KEPT_LEAVING) && kept->type == SGX_PT_SECS)
		return -EBUSY;
	out = encls_eremove(guest->cpu, epc_page_nr(guest->epc, page->frame));
	if (out.fault == CPU_NO_FAULT && out.eax == SGX_CHILD_PRESENT)
		return SGX_CHILD_PRESENT;
	if (!cpu_ok(out))
		return -EBUSY;
	if (kept && (kept->flags & KEPT_LEAVING))
		kept->flags |=
			KEPT_BLANK; /* the reclaimer will find that out, and forget the rest */
	else if (kept)
		forget_locked(guest, kept);
	return 0;
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

	/* No batch takes anything from a file that goes: this waits for those that had picked it. */
	if (page->frame && (page->flags & PAGE_TRACKED))
		epc_untrack_wait(guest->epc, page->frame);
	guest_lock(guest);
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
