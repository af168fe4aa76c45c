/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * ENCLU and asynchronous exits of a guest: the processor executes them, here is its page walk.
 *
 * The guest's lock is held for the length of the instruction, so that no page that it reaches is in the reclaimer's
 * hand.  A page that is elsewhere makes it fault, unchanged; the page is brought in and it runs again.  What was
 * brought in for it is pinned until it has run, so two operands don't push each other out.
 */
#include <errno.h>

#include "epc/epc.h"
#include "vepc/vepc.h"
#include "virt/vcpu.h"
#include "virt/virt_priv.h"

struct walk {
	struct virt_vcpu *vcpu;
	struct vepc *away; /* the page that the instruction missed */
	uint64_t off;
};

static uint32_t walk_locked(void *ctx, uint64_t la, unsigned int access, uint16_t *ret_error)
{
	struct walk *walk = ctx;
	const struct virt_mmu *mmu = &walk->vcpu->mmu;
	struct virt_guest *guest = walk->vcpu->guest;
	struct vepc_page *page;
	struct vepc *vepc;
	uint64_t gpa, off;

	if (!mmu->walk(mmu->ctx, la, access & SGX_SECINFO_W, &gpa, ret_error))
		return CPU_NO_PAGE;
	/* Memory that is no EPC: a translation, and not one that will do. */
	*ret_error |= SGX_PFEC_P;
	if (guest_region_find_locked(guest, gpa & ~(uint64_t)(SGX_PAGE_SIZE - 1), &vepc, &off) < 0)
		return CPU_NO_PAGE;
	page = vepc_page_locked(vepc, off / SGX_PAGE_SIZE);
	if (page && guest_page_is_here(page)) {
		guest_page_touch_locked(guest, page);
		return epc_page_nr(guest->epc, page->frame);
	}
	if (!walk->away) {
		walk->away = vepc;
		walk->off = off;
	}
	return CPU_NO_PAGE;
}

int virt_enclu(struct virt_vcpu *vcpu, virt_enclu_fn step, void *ctx, struct cpu_outcome *ret_out)
{
	struct virt_guest *guest = vcpu->guest;
	struct walk walk = { .vcpu = vcpu };
	struct cpu_mmu mmu = { .walk = walk_locked, .ctx = &walk };
	struct hold *hold = NULL;
	struct patience patience = { 0 };
	int r = 0;

	guest_lock(guest);
	for (;;) {
		walk.away = NULL;
		*ret_out = step(ctx, guest->cpu, &mmu);
		/* It may have missed a page and been refused for something else. */
		if (!walk.away || ret_out->fault != CPU_PF)
			break;
		r = guest_bring_locked(guest, &hold, walk.away, walk.off);
		if (r == 0 && patience_ends(&patience, 10 * WAIT_LONG_NS))
			r = -ENOMEM;
		if (r < 0)
			break;
	}
	guest_brought_locked(guest, hold);
	guest_unlock(guest);
	return r;
}

void virt_lp_reset(struct virt_guest *guest, struct cpu_lp *lp)
{
	/* A repair counts who is inside. */
	guest_lock(guest);
	cpu_lp_reset(guest->cpu, lp);
	guest_unlock(guest);
}
