/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Repair: what to do when a process was killed while it held a guest's lock.
 *
 * It was, as likely as not, no process of the guest's at all, only one in need of an EPC page.  So everything is
 * mended, from what the EPCM and each page's flags say: what is about to be done is noted before it is done,
 * and whether it was done the processor knows.  Counts and slots are made anew.
 *
 * Regions and files are changed by the guest's own VMM; if that died in the middle there is no guest left.
 */
#include "virt/virt_priv.h"

#include <sched.h>

#include "epc/backing.h"
#include "epc/epc.h"
#include "vepc/vepc.h"

/* Every page of every file: @fn of those that have a frame or are kept. */
static void each_page_locked(struct virt_guest *guest,
			     void (*fn)(struct virt_guest *guest, struct vepc *vepc,
					struct vepc_page *page))
{
	for (struct guest_file *file = guest->files; file; file = file->next) {
		struct vepc_page *page;
		uint64_t idx = 0;

		for (; (page = vepc_page_next_locked(file->vepc, &idx)); idx++)
			fn(guest, file->vepc, page);
	}
}

static bool is_secs(const struct virt_guest *guest, uint32_t nr)
{
	struct cpu_epcm epcm = cpu_epcm_read(guest->cpu, nr);

	return epcm.valid && epcm.type == SGX_PT_SECS;
}

static uint32_t nr_of(const struct virt_guest *guest, const struct vepc_page *page)
{
	return page->frame ? epc_page_nr(guest->epc, page->frame) : CPU_NO_PAGE;
}

/* ---- the processor ---------------------------------------------------------------------------------- */

static void child_leaf(struct virt_guest *guest, struct vepc *vepc, struct vepc_page *page)
{
	if (page->frame && !is_secs(guest, nr_of(guest, page)))
		cpu_repair_page(guest->cpu, nr_of(guest, page));
}

static void secs_leaf(struct virt_guest *guest, struct vepc *vepc, struct vepc_page *page)
{
	if (page->frame && is_secs(guest, nr_of(guest, page)))
		cpu_repair_page(guest->cpu, nr_of(guest, page));
}

/*
 * Holds of the leaf that it died in; children first.  All leaves on pages of a guest are executed with its lock held,
 * those of its end and the resets of its processors, too: so nobody else is in one, and who is inside can be counted.
 */
static void repair_leaf(struct virt_guest *guest)
{
	each_page_locked(guest, child_leaf);
	guest_va_leaf_locked(guest);
	each_page_locked(guest, secs_leaf);
}

/* ---- counts ----------------------------------------------------------------------------------------- */

static void count_none(struct virt_guest *guest, struct vepc *vepc, struct vepc_page *page)
{
	struct kept *kept = kept_of(page);

	if (!kept)
		return;
	kept->children = 0;
	if (kept->secs)
		kept->secs->children = 0;
}

static void count_one(struct virt_guest *guest, struct vepc *vepc, struct vepc_page *page)
{
	struct kept *kept = kept_of(page);

	if (!kept)
		return;
	if (kept->secs)
		kept->secs->children++;
	guest_slots_note_locked(&kept->slots, page->frame != NULL);
}

/* EINCVIRTCHILD and EDECVIRTCHILD cannot be seen: SECSs that are here are counted anew. */
static void count_secs(struct virt_guest *guest, struct vepc *vepc, struct vepc_page *page)
{
	struct kept *kept = kept_of(page);

	if (kept && page->frame && !(kept->flags & KEPT_AWAY) && is_secs(guest, nr_of(guest, page)))
		guest_evict_recount_locked(guest, kept);
}

static void count_pages(struct virt_guest *guest, struct vepc *vepc, struct vepc_page *page)
{
	struct kept *kept = kept_of(page);
	bool away = kept && (kept->flags & KEPT_AWAY);

	guest->away += away;
	guest->page_nr += away || (page->frame && (page->flags & PAGE_COUNTED));
}

/* ---- pages ------------------------------------------------------------------------------------------ */

/* The frame is no page any more. Where a batch has it, the manager frees it when that is seen through. */
static void part_with_frame(struct virt_guest *guest, struct vepc *vepc, struct vepc_page *page)
{
	struct epc_page *frame = vepc_page_empty_locked(vepc, page);

	page->flags = 0;
	if (epc_page_state(frame) == EPC_PAGE_OWNED)
		epc_free(guest->epc, frame);
}

static bool is_child(const struct kept *kept)
{
	return kept->type != SGX_PT_SECS && kept->type != SGX_PT_VA;
}

/* It was about to leave, and stays. */
static void stay(struct virt_guest *guest, struct kept *kept)
{
	guest_evict_forget_child_locked(guest, kept);
	guest_slots_put_locked(guest, &kept->slots);
	kept->flags &= KEPT_NAMED;
}

/* With a slot, and not away. */
static void repair_leaving(struct virt_guest *guest, struct vepc *vepc, struct vepc_page *page,
			   struct kept *kept)
{
	struct cpu_epcm epcm = cpu_epcm_read(guest->cpu, nr_of(guest, page));

	if (!epcm.valid) {
		/* EWB was done, but not noted. */
		kept->flags =
			(uint16_t)((kept->flags & ~(KEPT_LEAVING | KEPT_BLOCKED)) | KEPT_AWAY);
		guest->evictions++;
		guest_slots_idle_locked(&kept->slots);
		part_with_frame(guest, vepc, page);
	} else if (is_child(kept) && !(kept->flags & KEPT_GUEST_BLOCKED) &&
		   !((kept->flags & KEPT_BLOCKED) && epcm.blocked)) {
		stay(guest, kept);
	}
}

/* ELDU was done. The bytes may still be on the stage, which nobody has used since. */
static void repair_arrived(struct virt_guest *guest, struct vepc *vepc, struct vepc_page *page,
			   struct kept *kept)
{
	if (cpu_bytes(guest->cpu, nr_of(guest, page)) == guest->stage)
		while (vepc_page_give_locked(vepc, page, kept->idx, guest->stage) < 0)
			sched_yield();
	guest_load_done_locked(guest, kept, page);
}

static void repair_kept(struct virt_guest *guest, struct vepc *vepc, struct vepc_page *page,
			struct kept *kept)
{
	bool valid = page->frame && cpu_epcm_read(guest->cpu, nr_of(guest, page)).valid;

	/* EREMOVE was announced, and did not come. */
	if (valid)
		kept->flags &= (uint16_t)~KEPT_BLANK;
	if (kept->flags & KEPT_AWAY) {
		if (valid) {
			repair_arrived(guest, vepc, page, kept);
			return;
		}
		guest_slots_idle_locked(&kept->slots);
		if (page->frame)
			part_with_frame(guest, vepc, page);
		return;
	}
	/* Nothing is here and nothing away: it was about to be forgotten. */
	if (!page->frame || !(kept->slots.va || (kept->flags & KEPT_BLANK)))
		stay(guest, kept);
	else if (!(kept->flags & KEPT_BLANK))
		repair_leaving(guest, vepc, page, kept);
	kept_done_locked(guest, kept);
}

static void repair_page(struct virt_guest *guest, struct vepc *vepc, struct vepc_page *page)
{
	if (page->frame) {
		page->flags &= ~PAGE_TRACKED;
		if (epc_page_state(page->frame) != EPC_PAGE_OWNED)
			page->flags |= PAGE_TRACKED;
	}
	if (kept_of(page))
		repair_kept(guest, vepc, page, kept_of(page));
	/* A file that goes has its pages out of the order, one after the other. */
	if (!page->frame || vepc_is_going(vepc))
		return;
	page->flags |= PAGE_COUNTED;
	guest_page_track_locked(guest, page);
}

void guest_repair_locked(struct virt_guest *guest)
{
	guest->mended = true;
	if (guest->changing)
		guest->dead = true;
	guest->changing = false;
	guest_holds_mend_locked(guest);
	for (struct guest_file *file = guest->files; file; file = file->next)
		vepc_repair_locked(file->vepc);
	repair_leaf(guest);
	guest_va_repair_locked(guest);
	each_page_locked(guest, count_none);
	each_page_locked(guest, count_one);
	guest_va_recount_locked(guest);
	each_page_locked(guest, count_secs);
	each_page_locked(guest, repair_page);
	guest->page_nr = guest->away = 0;
	each_page_locked(guest, count_pages);
	guest_va_strays_locked(guest, false);
}
