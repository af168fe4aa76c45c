/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Holds: what a thread that brings a page in has in hand while the guest's lock is not its own.  A frame that
 * is no page yet, files that must not end meanwhile, and pages that must not leave the EPC: its SECS, and the VA page that has
 * its version.
 *
 * A reference that a killed process had would be one for good.  A hold is a robust lock: whoever comes across one whose
 * thread has died takes what was in it, and gives the frame back.
 *
 * Invariant: a hold is taken, and names files, under the guest's lock; a file that is about to end is named by no new one.
 */
#include "virt/virt_priv.h"

#include <assert.h>
#include <sched.h>

#include "epc/epc.h"
#include "vepc/vepc.h"

void guest_holds_init(struct virt_guest *guest)
{
	for (unsigned int i = 0; i < GUEST_HOLDS; i++)
		lock_init(&guest->hold[i].lock, LOCK_TRIED);
}

void guest_holds_fini(struct virt_guest *guest)
{
	for (unsigned int i = 0; i < GUEST_HOLDS; i++)
		lock_fini(&guest->hold[i].lock);
}

void guest_hold_drop_frame(struct virt_guest *guest, struct hold *hold)
{
	struct epc_page *frame = hold->frame;

	hold->frame = NULL;
	if (frame && hold->frame_file)
		vepc_frame_free(hold->frame_file, frame);
	else if (frame)
		epc_free(guest->epc, frame);
}

/* Its thread has died. A frame that has become a page was not in hand any more, though that could not be noted. */
static void hold_mend_locked(struct virt_guest *guest, struct hold *hold)
{
	struct epc_page *frame = hold->frame;
	uint64_t idx;

	if (frame && (hold->frame_file ? vepc_page_of_locked(hold->frame_file, frame, &idx) != NULL
				       : guest_va_is_known_locked(guest, frame)))
		hold->frame = NULL;
	guest_hold_drop_frame(guest, hold);
	hold->file[0] = hold->file[1] = NULL;
	hold->pin_nr = 0;
	hold->lock.holder_died = false;
}

LOCK_ATTR(no_thread_safety_analysis)
static bool hold_try_locked(struct virt_guest *guest, struct hold *hold)
{
	if (!lock_try(&hold->lock))
		return false;
	if (hold->lock.holder_died)
		hold_mend_locked(guest, hold);
	return true;
}

/* A file that ends has no new holds. */
static bool is_going_locked(const struct virt_guest *guest, const struct vepc *vepc)
{
	for (const struct guest_file *file = guest->files; file; file = file->next)
		if (file->vepc == vepc)
			return file->going;
	return true;
}

bool guest_hold_file_locked(struct virt_guest *guest, struct hold *hold, unsigned int i,
			    struct vepc *vepc)
{
	if (is_going_locked(guest, vepc))
		return false;
	hold->file[i] = vepc;
	return true;
}

LOCK_ATTR(no_thread_safety_analysis) struct hold *guest_hold_get_locked(struct virt_guest *guest)
{
	for (;;) {
		for (unsigned int i = 0; i < GUEST_HOLDS; i++)
			if (hold_try_locked(guest, &guest->hold[i])) {
				if (guest->hold_nr <= i)
					guest->hold_nr = i + 1;
				return &guest->hold[i];
			}
		guest_unlock(guest);
		sched_yield();
		guest_lock(guest);
	}
}

/* One more than there is room for is not pinned, and may have to be brought again. */
void guest_hold_pin_locked(struct hold *hold, const void *what)
{
	for (uint32_t i = 0; i < hold->pin_nr; i++)
		if (hold->pinned[i] == what)
			return;
	if (hold->pin_nr == HOLD_PINS)
		return;
	/* In this order: whoever dies in between has pinned nothing. */
	hold->pinned[hold->pin_nr] = what;
	atomic_signal_fence(memory_order_release);
	hold->pin_nr++;
}

void guest_hold_unpin_locked(struct hold *hold)
{
	hold->pin_nr = 0;
}

bool guest_is_pinned_locked(const struct virt_guest *guest, const void *what)
{
	for (uint32_t i = 0; i < guest->hold_nr; i++)
		for (uint32_t j = 0; j < guest->hold[i].pin_nr; j++)
			if (guest->hold[i].pinned[j] == what)
				return true;
	return false;
}

LOCK_ATTR(no_thread_safety_analysis)
void guest_hold_put(struct virt_guest *guest, struct hold *hold)
{
	assert(hold->pin_nr == 0);
	guest_hold_drop_frame(guest, hold);
	hold->file[0] = hold->file[1] = NULL;
	lock_release(&hold->lock);
}

LOCK_ATTR(no_thread_safety_analysis)
void guest_holds_mend_locked(struct virt_guest *guest)
{
	for (unsigned int i = 0; i < GUEST_HOLDS; i++)
		if (hold_try_locked(guest, &guest->hold[i]))
			lock_release(&guest->hold[i].lock);
}

static bool is_held(struct virt_guest *guest, const struct vepc *vepc)
{
	bool held = false;

	guest_lock(guest);
	guest_holds_mend_locked(guest);
	for (unsigned int i = 0; i < GUEST_HOLDS; i++)
		held |= guest->hold[i].file[0] == vepc || guest->hold[i].file[1] == vepc;
	guest_unlock(guest);
	return held;
}

void guest_holds_wait(struct virt_guest *guest, const struct vepc *vepc)
{
	while (is_held(guest, vepc))
		sched_yield();
}
