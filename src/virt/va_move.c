/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The host's VA pages of a guest on their way out of the EPC and back: what the memory manager may ask of
 * one (epc/owner.h), and its load.
 *
 * They are written like any other page, into slots one level up, but nobody maps them: there is nothing to block
 * and nothing to track.  One leaves when what stays has enough free slots (va_may_go()), and while no load needs it.
 *
 * The guest cannot end while one is in a batch: its end waits for that.  So there is nothing to count.
 */
#include "virt/virt_priv.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "epc/backing.h"
#include "epc/epc.h"
#include "epc/owner.h"

#define STOP_PATIENCE_S 10

/* NULL: the frame is no VA page any more. There may have been another call for it, by one that died. */
static struct va *va_find_locked(const struct virt_guest *guest, const struct epc_page *frame)
{
	struct va *va = guest_va_first_locked(guest);

	while (va && va->frame != frame)
		va = guest_va_next_locked(va);
	return va;
}

static bool va_may_leave_locked(const struct virt_guest *guest, const struct va *va)
{
	return va->made && va->page.here && !guest->dead && !guest_is_pinned_locked(guest, va) &&
	       va_may_go(&guest->versions, &va->page, guest_va_need_locked(guest));
}

void guest_va_track_locked(struct virt_guest *guest)
{
	for (struct va *va = guest_va_first_locked(guest); va; va = guest_va_next_locked(va)) {
		if (va->tracked || !va->made || !va->page.here)
			continue;
		if (va_is_top(&guest->versions, &va->page)) {
			epc_keep(guest->epc, va->frame);
			continue;
		}
		va->tracked = true;
		epc_track(guest->epc, va->frame);
	}
}

int guest_va_untrack_locked(struct virt_guest *guest, struct va *va)
{
	int r = va->tracked ? epc_untrack(guest->epc, va->frame) : 0;

	if (r == 0)
		va->tracked = false;
	return r;
}

/* ---- out ------------------------------------------------------------------------------------------ */

static bool va_get(struct epc_page *frame)
{
	struct virt_guest *guest = epc_page_owner(frame);

	return !atomic_load(&guest->going);
}

static void va_put(struct epc_page *frame) {}

static bool va_reclaim(struct epc_page *frame)
{
	struct virt_guest *guest = epc_page_owner(frame);
	struct va *va;
	bool ok;

	guest_lock(guest);
	va = va_find_locked(guest, frame);
	ok = va && va_may_leave_locked(guest, va);
	guest_unlock(guest);
	return ok;
}

static bool va_block_locked(struct virt_guest *guest, struct va *va)
{
	/* Asked again, by whoever sees a dead reclaimer's batch through. */
	if (va->flags & KEPT_LEAVING)
		return true;
	if (!va_may_leave_locked(guest, va) ||
	    !guest_slots_get_locked(guest, va->page.level + 1u, &va->slots))
		return false;
	va->flags |= KEPT_LEAVING;
	va_out(&guest->versions, &va->page);
	return true;
}

static bool va_block(struct epc_page *frame)
{
	struct virt_guest *guest = epc_page_owner(frame);
	struct va *va;
	bool ok;

	guest_lock(guest);
	va = va_find_locked(guest, frame);
	ok = va && va_block_locked(guest, va);
	guest_unlock(guest);
	return ok;
}

void guest_va_stays_locked(struct virt_guest *guest, struct va *va)
{
	va->flags &= (uint16_t)~KEPT_LEAVING;
	va_in(&guest->versions, &va->page);
	guest_slots_put_locked(guest, &va->slots);
}

static int va_write_locked(struct virt_guest *guest, struct va *va)
{
	struct slots *slots = &va->slots;
	struct cpu_pageinfo pi = {
		.pcmd = backing_pcmd(guest->backing, slots->backing),
		.secs = CPU_NO_PAGE,
	};
	struct cpu_outcome out;
	uint64_t la;

	if (epc_page_poisoned(va->frame) || epc_page_poisoned(slots->va->frame))
		return -EHWPOISON;
	guest_next(guest, "EWB");
	out = encls_ewb(guest->cpu, &pi, epc_page_nr(guest->epc, va->frame),
			epc_page_nr(guest->epc, slots->va->frame), slots->slot,
			backing_page(guest->backing, slots->backing), &la);
	/* A slot that is occupied is what somebody's death has left. */
	if (!cpu_ok(out) && !(out.fault == CPU_NO_FAULT && out.eax == SGX_VA_SLOT_OCCUPIED))
		return -EFAULT;
	backing_complete(guest->backing, slots->backing);
	/* One store: here or away. */
	va->flags = KEPT_AWAY;
	va->frame = NULL;
	va->tracked = false;
	guest_slots_idle_locked(slots);
	return 0;
}

static int va_write(struct epc_page *frame)
{
	struct virt_guest *guest = epc_page_owner(frame);
	struct va *va;
	int r = 0;

	guest_lock(guest);
	va = va_find_locked(guest, frame);
	/* None: asked again, because the reclaimer that had it written died before it noted that. */
	if (va) {
		r = -EIO;
		/* Not leaving any more: it was mended, and stays. */
		if (va->flags & KEPT_LEAVING) {
			r = guest->dead ? -EIO : va_write_locked(guest, va);
			if (r < 0)
				guest_va_stays_locked(guest, va);
		}
	}
	guest_unlock(guest);
	return r;
}

const struct sgx_epc_page_ops guest_va_page_ops = {
	.name = "guest-va",
	.get = va_get,
	.reclaim = va_reclaim,
	.block = va_block,
	.write = va_write,
	.put = va_put,
};

/* ---- in ------------------------------------------------------------------------------------------- */

static bool va_eldu_locked(struct virt_guest *guest, struct va *va)
{
	struct slots *slots = &va->slots;
	struct cpu_pageinfo pi = {
		.srcpge = backing_page(guest->backing, slots->backing),
		.pcmd = backing_pcmd(guest->backing, slots->backing),
		.secs = CPU_NO_PAGE,
	};

	if (backing_fetch(guest->backing, slots->backing) < 0)
		return false;
	guest_next(guest, "ELDUC");
	return cpu_ok(encls_elduc(guest->cpu, &pi, epc_page_nr(guest->epc, va->frame),
				  epc_page_nr(guest->epc, slots->va->frame), slots->slot));
}

int guest_va_load_locked(struct virt_guest *guest, struct va *va, struct epc_page *frame)
{
	/* Noted first: whoever comes after our death can see whether it was done. */
	va->frame = frame;
	guest_slots_busy_locked(&va->slots);
	if (!va_eldu_locked(guest, va)) {
		guest_slots_idle_locked(&va->slots);
		va->frame = NULL;
		return -EIO;
	}
	va->flags = 0;
	va_in(&guest->versions, &va->page);
	guest_slots_put_locked(guest, &va->slots);
	guest_va_track_locked(guest);
	return 0;
}

/* ---- the end -------------------------------------------------------------------------------------- */

static bool va_untrack_all(struct virt_guest *guest)
{
	bool all = true;

	guest_lock(guest);
	for (struct va *va = guest_va_first_locked(guest); va; va = guest_va_next_locked(va))
		if (va->frame && guest_va_untrack_locked(guest, va) < 0)
			all = false;
	guest_unlock(guest);
	return all;
}

bool guest_va_stop(struct virt_guest *guest)
{
	time_t start = time(NULL);

	atomic_store(&guest->going, true);
	while (!va_untrack_all(guest)) {
		if (time(NULL) - start > STOP_PATIENCE_S)
			return false;
		sched_yield();
		epc_recover(guest->epc);
	}
	return true;
}
