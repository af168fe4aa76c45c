/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Load: a page that the guest touches, brought into the EPC.
 *
 * Its SECS comes first, from whichever file it is in, then the VA page that has its version, and then the page; only
 * when all are as the guest left them can anybody map it.  Taking an EPC page may need a reclaim, for which the lock is
 * dropped; then everything is looked at anew.  What was brought for the sake of the page is pinned until that has
 * come, so they cannot chase each other; but where there is no EPC to be had others have their turn first.
 *
 * What is wrong with one page (its backing is damaged, its SECS has gone) is that page's trouble alone.
 */
#include "virt/virt_priv.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

#include "base/arena.h"
#include "epc/backing.h"
#include "epc/epc.h"
#include "vepc/vepc.h"

/* One page that is brought. */
struct load {
	struct virt_guest *guest;
	struct hold *hold;
	struct patience refused;
	struct patience busy; /* a leaf of the guest's is in the way */
	unsigned int waits;
};

#define BUSY_NS 5000000000ull

bool guest_page_is_here(const struct vepc_page *page)
{
	const struct kept *kept = kept_of(page);

	return page->frame && !(kept && (kept->flags & (KEPT_LEAVING | KEPT_BLOCKED | KEPT_AWAY)));
}

void guest_page_touch_locked(struct virt_guest *guest, const struct vepc_page *page)
{
	epc_touch(guest->epc, page->frame);
}

/* ---- frames ---------------------------------------------------------------------------------------- */

static struct epc_page *frame_take(struct load *l)
{
	struct epc_page *frame = l->hold->frame;

	l->hold->frame = NULL;
	return frame;
}

static int frame_alloc(struct load *l, unsigned int flags)
{
	struct hold *hold = l->hold;

	if (hold->frame_file)
		return vepc_frame_alloc(hold->frame_file, flags, &hold->frame);
	return guest_va_frame_alloc(l->guest, flags, &hold->frame);
}

LOCK_ATTR(no_thread_safety_analysis) static void wait_locked(struct load *l)
{
	struct timespec ts = { .tv_nsec = l->waits < 10 ? 1000 << l->waits : 1000000 };

	guest_unlock(l->guest);
	nanosleep(&ts, NULL);
	if (++l->waits % 64 == 0)
		epc_recover(l->guest->epc);
	guest_lock(l->guest);
}

/* A frame for @file (NULL: for a VA page) is in hand: 0. -EAGAIN: the lock was dropped. -ENOMEM. */
LOCK_ATTR(no_thread_safety_analysis)
static int need_frame_locked(struct load *l, struct vepc *file)
{
	int r;

	if (l->hold->frame && l->hold->frame_file == file)
		return 0;
	guest_hold_drop_frame(l->guest, l->hold);
	l->hold->frame_file = file;
	r = frame_alloc(l, 0);
	if (r == 0)
		return 0;
	guest_unlock(l->guest);
	r = frame_alloc(l, EPC_MAY_RECLAIM);
	guest_lock(l->guest);
	if (r == 0) {
		l->refused = (struct patience){ 0 };
		return -EAGAIN;
	}
	guest_holds_mend_locked(l->guest);
	guest_hold_unpin_locked(l->hold);
	/* Others may hold what there is for an instant: that passes. */
	if (patience_ends(&l->refused, WAIT_LONG_NS))
		return -ENOMEM;
	wait_locked(l);
	return -EAGAIN;
}

/* ---- VA pages -------------------------------------------------------------------------------------- */

/*
 * LEAVING and yet to be untracked: its reclaimer died between block and write, and another one has put it back
 * without knowing that it was blocked.
 */
static int bring_va_wait_locked(struct load *l, struct va *va)
{
	if (l->waits % 64 == 63 && guest_va_untrack_locked(l->guest, va) == 0) {
		guest_va_stays_locked(l->guest, va);
		guest_va_track_locked(l->guest);
		l->waits++;
	} else {
		wait_locked(l);
	}
	return -EAGAIN;
}

/* @va is in the EPC and stays: 0; else one step towards that. The way there begins where its own version is. */
static int bring_va_here_locked(struct load *l, struct va *va)
{
	struct va *out = NULL;
	int r;

	for (; !va->page.here; va = va->slots.va) {
		if (va->flags & KEPT_LEAVING)
			return bring_va_wait_locked(l, va);
		out = va;
	}
	if (epc_page_poisoned(va->frame))
		return -EHWPOISON;
	epc_touch(l->guest->epc, va->frame);
	guest_hold_pin_locked(l->hold, va);
	if (!out)
		return 0;
	r = need_frame_locked(l, NULL);
	if (r < 0)
		return r;
	r = guest_va_load_locked(l->guest, out, l->hold->frame);
	if (r < 0) {
		l->guest->lost++;
		return r;
	}
	frame_take(l);
	return -EAGAIN;
}

/* One VA page more. */
static int bring_va_more_locked(struct load *l, unsigned int level)
{
	int r = need_frame_locked(l, NULL);

	if (r == 0)
		r = guest_va_add_locked(l->guest, level, l->hold->frame);
	if (r < 0)
		return r;
	frame_take(l);
	return -EAGAIN;
}

/* Where slots that are free become few, before they are none. One that cannot come any more is not waited for. */
static int bring_va_wanted_locked(struct load *l)
{
	struct va *wanted =
		guest_va_of(va_wanted(&l->guest->versions, 0, guest_va_need_locked(l->guest)));
	int r = wanted ? bring_va_here_locked(l, wanted) : 0;

	return r == -EHWPOISON || r == -EIO ? bring_va_more_locked(l, 0) : r;
}

/* Slots for one more page. */
static int bring_va_room_locked(struct load *l)
{
	struct va_need need = guest_va_need_locked(l->guest);
	const struct va_set *set = &l->guest->versions;

	if (!va_is_short(set, 0, need))
		return bring_va_wanted_locked(l);
	return bring_va_more_locked(l, va_short_level(set, need));
}

/* ---- a page that was never here, or had no contents ---------------------------------------------- */

static int bring_fresh_locked(struct load *l, struct vepc *vepc, uint64_t idx,
			      struct vepc_page *page)
{
	int r = bring_va_room_locked(l);

	if (r == 0)
		r = need_frame_locked(l, vepc);
	if (r == 0)
		r = vepc_page_fill_locked(vepc, page, idx, l->hold->frame);
	if (r < 0)
		return r;
	frame_take(l);
	l->guest->page_nr++;
	page->flags = PAGE_COUNTED;
	guest_page_track_locked(l->guest, page);
	return 0;
}

/* ---- a page that is away --------------------------------------------------------------------------- */

/* -EAGAIN: somebody has an operand of it, and it was tried often enough for now. -EIO: refused. */
static int eld_locked(struct load *l, struct kept *kept, uint32_t nr)
{
	struct virt_guest *guest = l->guest;
	struct cpu_pageinfo pi = {
		.linaddr = kept->la,
		.srcpge = backing_page(guest->backing, kept->slots.backing),
		.pcmd = backing_pcmd(guest->backing, kept->slots.backing),
		.secs = kept->secs ? kept_nr_locked(guest, kept->secs) : CPU_NO_PAGE,
	};
	uint32_t va = epc_page_nr(guest->epc, kept->slots.va->frame);
	bool blocked = kept->flags & KEPT_GUEST_BLOCKED;
	struct cpu_outcome out = { .fault = CPU_GP };

	if (backing_fetch(guest->backing, kept->slots.backing) < 0)
		return -EIO;
	if (kept->secs)
		kept_work_locked(guest, kept->secs, false);
	for (int i = 0; i < TRACK_TRIES; i++) {
		guest_next(guest, blocked ? "ELDBC" : "ELDUC");
		out = blocked ? encls_eldbc(guest->cpu, &pi, nr, va, kept->slots.slot)
			      : encls_elduc(guest->cpu, &pi, nr, va, kept->slots.slot);
		if (cpu_ok(out))
			return 0;
		if (out.fault != CPU_NO_FAULT || out.eax != SGX_EPC_PAGE_CONFLICT)
			return -EIO;
	}
	return -EAGAIN;
}

/* A SECS is back: its context means something again, and children that went meanwhile are taken off. */
static void secs_back_locked(struct virt_guest *guest, struct kept *kept, uint32_t nr)
{
	(void)kept_name_locked(guest, kept, nr);
	guest_evict_settle_locked(guest, kept);
}

void guest_load_done_locked(struct virt_guest *guest, struct kept *kept, struct vepc_page *page)
{
	uint32_t nr = epc_page_nr(guest->epc, page->frame);

	guest->away--;
	guest->loads++;
	vepc_count(kept->vepc, page->frame, EPC_LOADS);
	if (kept->type == SGX_PT_SECS)
		secs_back_locked(guest, kept, nr);
	guest_evict_forget_child_locked(guest, kept);
	guest_slots_put_locked(guest, &kept->slots);
	kept->flags &= KEPT_NAMED;
	page->flags = PAGE_COUNTED;
	kept_done_locked(guest, kept);
}

static int bring_step_locked(struct load *l, struct vepc *vepc, uint64_t idx,
			     struct vepc_page **ret_page);

static int bring_secs_locked(struct load *l, struct kept *secs)
{
	struct hold *hold = l->hold;
	struct vepc_page *page;
	int r;

	if (!secs->vepc)
		return -EIO;
	/* It is a child of another one than when this was looked at last. */
	if (hold->file[1] && hold->file[1] != secs->vepc && hold->frame_file == hold->file[1])
		guest_hold_drop_frame(l->guest, hold);
	/* A file that ends takes its pages' names with it: the next look finds none. */
	if (!guest_hold_file_locked(l->guest, hold, 1, secs->vepc)) {
		wait_locked(l);
		return -EAGAIN;
	}
	r = bring_step_locked(l, secs->vepc, secs->idx, &page);
	if (r == 0)
		guest_hold_pin_locked(hold, page);
	return r;
}

/* It has come, and there is no memory to show it in: away with it again. */
static void load_undo_locked(struct virt_guest *guest, struct kept *kept, struct vepc_page *page)
{
	struct epc_page *frame = page->frame;
	int r;

	if (kept->secs && !(kept->flags & KEPT_GUEST_BLOCKED))
		(void)encls_eblock(guest->cpu, epc_page_nr(guest->epc, frame));
	guest->away--;
	r = guest_evict_write_locked(guest, kept, page);
	/* Slot and place are its own still, nobody else can have the page, and the lock is held. */
	assert(r == 0);
	epc_free(guest->epc, frame);
}

/* A leaf takes microseconds; of one that does not end only who waits for the page is told. */
static int busy_locked(struct load *l)
{
	if (patience_ends(&l->busy, BUSY_NS))
		return -EBUSY;
	wait_locked(l);
	return -EAGAIN;
}

static int bring_away_locked(struct load *l, struct kept *kept, struct vepc_page *page)
{
	int r = kept->secs ? bring_secs_locked(l, kept->secs) : 0;

	if (r == 0)
		r = bring_va_here_locked(l, kept->slots.va);
	if (r == 0)
		r = bring_va_wanted_locked(l);
	if (r == 0)
		r = need_frame_locked(l, kept->vepc);
	if (r < 0)
		return r;
	/* The bytes come to the stage, and from there at once to where mappings show them. */
	epc_page_lend(l->guest->epc, l->hold->frame, l->guest->stage);
	vepc_page_link_locked(kept->vepc, page, kept->idx, l->hold->frame);
	frame_take(l);
	guest_slots_busy_locked(&kept->slots);
	r = eld_locked(l, kept, epc_page_nr(l->guest->epc, page->frame));
	if (r < 0) {
		guest_slots_idle_locked(&kept->slots);
		epc_free(l->guest->epc, vepc_page_empty_locked(kept->vepc, page));
		l->guest->lost += r == -EIO;
		return r == -EAGAIN ? busy_locked(l) : r;
	}
	l->busy = (struct patience){ 0 };
	while (vepc_page_give_locked(kept->vepc, page, kept->idx, l->guest->stage) < 0) {
		/* What a machine check has hit meanwhile cannot go back. */
		if (epc_page_poisoned(page->frame))
			continue;
		load_undo_locked(l->guest, kept, page);
		return -ENOMEM;
	}
	guest_load_done_locked(l->guest, kept, page);
	guest_page_track_locked(l->guest, page);
	return 0;
}

/* ---- one step --------------------------------------------------------------------------------------- */

/*
 * LEAVING and yet to be untracked: its reclaimer died between block and write, and another one has put it back
 * without knowing that it was blocked.
 */
static int bring_wait_locked(struct load *l, struct kept *kept, struct vepc_page *page)
{
	if (l->waits % 64 == 63 && guest_page_untrack_locked(l->guest, page) == 0) {
		kept->flags &= (uint16_t)~KEPT_LEAVING;
		guest_page_track_locked(l->guest, page);
		l->waits++;
	} else {
		wait_locked(l);
	}
	return -EAGAIN;
}

/* An eviction that failed half way, or that nobody sees through: finish it, so that it is a load as any other. */
static int bring_unblock_locked(struct load *l, struct kept *kept, struct vepc_page *page)
{
	struct epc_page *frame = page->frame;

	if (guest_page_untrack_locked(l->guest, page) < 0) {
		wait_locked(l);
		return -EAGAIN;
	}
	if (!guest_slots_mend_locked(l->guest, 0, &kept->slots)) {
		guest_page_track_locked(l->guest, page);
		/* There are slots enough, but those that are free are of VA pages that broke. */
		return bring_va_more_locked(l, 0);
	}
	if (guest_evict_write_locked(l->guest, kept, page) < 0) {
		guest_page_track_locked(l->guest, page);
		return busy_locked(l);
	}
	l->busy = (struct patience){ 0 };
	epc_free(l->guest->epc, frame);
	return -EAGAIN;
}

/* One step towards page @idx being here: 0 when it is. -EAGAIN: look again. */
static int bring_step_locked(struct load *l, struct vepc *vepc, uint64_t idx,
			     struct vepc_page **ret_page)
{
	struct vepc_page *page = vepc_page_locked(vepc, idx);
	struct kept *kept;

	*ret_page = page;
	if (!page)
		return -ENOMEM;
	if (l->guest->dead)
		return -EIO;
	if (page->frame && epc_page_poisoned(page->frame))
		return -EHWPOISON;
	kept = kept_of(page);
	if (kept && (kept->flags & KEPT_LEAVING))
		return bring_wait_locked(l, kept, page);
	if (kept && (kept->flags & KEPT_BLOCKED))
		return bring_unblock_locked(l, kept, page);
	if (kept && (kept->flags & KEPT_AWAY))
		return bring_away_locked(l, kept, page);
	if (!page->frame)
		return bring_fresh_locked(l, vepc, idx, page);
	guest_page_touch_locked(l->guest, page);
	return 0;
}

/* With a hold on @vepc. */
static int bring_locked(struct virt_guest *guest, struct hold *hold, struct vepc *vepc,
			uint64_t idx)
{
	struct load l = { .guest = guest, .hold = hold };
	uint32_t pin_nr = hold->pin_nr;
	struct vepc_page *page;
	int r;

	do {
		r = bring_step_locked(&l, vepc, idx, &page);
	} while (r == -EAGAIN);
	vepc_count(vepc, r == 0 ? page->frame : NULL, EPC_FAULTS);
	/* What it took is not needed any more, the page may be. */
	if (hold->pin_nr > pin_nr)
		hold->pin_nr = pin_nr;
	if (r == 0)
		guest_hold_pin_locked(hold, page);
	guest_hold_drop_frame(guest, hold);
	hold->file[1] = NULL;
	return r;
}

int guest_bring_locked(struct virt_guest *guest, struct hold **hold, struct vepc *vepc,
		       uint64_t off)
{
	if (!*hold)
		*hold = guest_hold_get_locked(guest);
	if (!guest_hold_file_locked(guest, *hold, 0, vepc))
		return -EFAULT;
	return bring_locked(guest, *hold, vepc, off / SGX_PAGE_SIZE);
}

void guest_brought_locked(struct virt_guest *guest, struct hold *hold)
{
	if (!hold)
		return;
	guest_hold_unpin_locked(hold);
	guest_hold_put(guest, hold);
}

int guest_fault(void *keeper, struct vepc *vepc, uint64_t idx)
{
	struct virt_guest *guest = keeper;
	struct hold *hold;
	int r;

	guest_lock(guest);
	hold = guest_hold_get_locked(guest);
	r = bring_locked(guest, hold, vepc, idx);
	guest_brought_locked(guest, hold);
	guest_unlock(guest);
	return r;
}
