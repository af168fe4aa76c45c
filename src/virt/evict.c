/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Evict: what the memory manager may ask of a guest's page (epc/owner.h).
 *
 * Nobody told us what the guest has made of its pages, so the processor is asked, page by page (ERDINFO).  A
 * page in the reclaimer's hand is LEAVING, which is what a zap is: the guest's next touch waits for the end
 * of it.
 *
 * Order of a child: counted as a virtual child of its SECS first, then blocked, then written, so that at no
 * instant the guest can see a SECS with fewer children than it has.  A child that is resident keeps its SECS
 * resident (EWB says so), so nothing needs to be pinned.
 *
 * A page whose ENCLAVECONTEXT leads nowhere, or to a page that is not its SECS (EINCVIRTCHILD says so), is not taken.
 * That is all: the guest goes on.
 */
#include "virt/virt_priv.h"

#include <errno.h>

#include "epc/backing.h"
#include "epc/epc.h"
#include "epc/owner.h"
#include "vepc/vepc.h"

#define RDINFO_CHILD 1u

static bool is_conflict(struct cpu_outcome out)
{
	return out.fault == CPU_NO_FAULT && out.eax == SGX_EPC_PAGE_CONFLICT;
}

/* A frame's page, or NULL when it is none any more. */
static struct vepc_page *page_of_locked(struct epc_page *frame, struct vepc **ret_vepc,
					uint64_t *ret_idx)
{
	*ret_vepc = epc_page_owner(frame);
	return vepc_page_of_locked(*ret_vepc, frame, ret_idx);
}

void guest_page_track_locked(struct virt_guest *guest, struct vepc_page *page)
{
	if (guest->reserved)
		epc_keep(guest->epc, page->frame);
	if (guest->reserved || (page->flags & PAGE_TRACKED))
		return;
	page->flags |= PAGE_TRACKED;
	epc_track(guest->epc, page->frame);
}

int guest_page_untrack_locked(struct virt_guest *guest, struct vepc_page *page)
{
	int r;

	if (!(page->flags & PAGE_TRACKED))
		return 0;
	r = epc_untrack(guest->epc, page->frame);
	if (r == 0)
		page->flags &= ~PAGE_TRACKED;
	return r;
}

/* ---- virtual children ---------------------------------------------------------------------------- */

/* The SECS of a child with this context; its number, too. NULL: not to be found. */
static struct kept *secs_of_locked(struct virt_guest *guest, uint64_t context, uint32_t *ret_nr)
{
	struct vepc *vepc;
	struct vepc_page *page;
	struct kept *kept;
	uint64_t off;

	if (context & 1) {
		kept = (struct kept *)(uintptr_t)(context & ~1ull);
	} else {
		if (context % SGX_PAGE_SIZE ||
		    guest_region_find_locked(guest, context, &vepc, &off) < 0)
			return NULL;
		page = vepc_page_locked(vepc, off / SGX_PAGE_SIZE);
		if (!page || !page->frame)
			return NULL;
		kept = kept_need_locked(guest, vepc, off / SGX_PAGE_SIZE, page);
		if (!kept)
			return NULL;
	}
	*ret_nr = kept_nr_locked(guest, kept);
	if (*ret_nr != CPU_NO_PAGE)
		return kept;
	kept_done_locked(guest, kept);
	return NULL;
}

static struct cpu_outcome count_child(struct virt_guest *guest, uint32_t nr, uint32_t secs, bool up)
{
	struct cpu_outcome out = { .fault = CPU_GP };

	for (int i = 0; i < TRACK_TRIES; i++) {
		guest_next(guest, up ? "EINCVIRTCHILD" : "EDECVIRTCHILD");
		out = up ? enclv_eincvirtchild(guest->cpu, nr, secs)
			 : enclv_edecvirtchild(guest->cpu, nr, secs);
		if (!is_conflict(out))
			break;
	}
	return out;
}

static bool child_count_locked(struct virt_guest *guest, struct kept *kept, uint32_t nr,
			       uint64_t context)
{
	uint32_t secs_nr;
	struct kept *secs = secs_of_locked(guest, context, &secs_nr);

	if (!secs)
		return false;
	kept_work_locked(guest, secs, false);
	if (!cpu_ok(count_child(guest, nr, secs_nr, true))) {
		kept_done_locked(guest, secs);
		return false;
	}
	secs->virt++;
	secs->children++;
	kept->secs = secs;
	return true;
}

/* One that is away, or busy, is told later. Its own child or not, a SECS may be named as the page. */
void guest_evict_settle_locked(struct virt_guest *guest, struct kept *secs)
{
	uint32_t nr = kept_nr_locked(guest, secs);

	while (nr != CPU_NO_PAGE && secs->virt > secs->children) {
		struct cpu_outcome out;

		kept_work_locked(guest, secs, false);
		out = count_child(guest, nr, nr, false);
		if (is_conflict(out))
			return;
		/* Somebody else has taken them off, or it is no SECS any more. */
		if (!cpu_ok(out))
			secs->virt = secs->children;
		else
			secs->virt--;
	}
}

void guest_evict_recount_locked(struct virt_guest *guest, struct kept *secs)
{
	uint32_t nr = kept_nr_locked(guest, secs);

	while (cpu_ok(enclv_edecvirtchild(guest->cpu, nr, nr)))
		;
	for (uint32_t i = 0; i < secs->children; i++)
		(void)enclv_eincvirtchild(guest->cpu, nr, nr);
	secs->virt = secs->children;
}

void guest_evict_forget_child_locked(struct virt_guest *guest, struct kept *kept)
{
	struct kept *secs = kept->secs;

	if (!secs)
		return;
	kept->secs = NULL;
	secs->children--;
	guest_evict_settle_locked(guest, secs);
	kept_done_locked(guest, secs);
}

/* ---- get, reclaim, put --------------------------------------------------------------------------- */

static bool evict_get(struct epc_page *frame)
{
	return vepc_batch_get(epc_page_owner(frame));
}

static void evict_put(struct epc_page *frame)
{
	vepc_batch_put(epc_page_owner(frame));
}

static bool evict_reclaim(struct epc_page *frame)
{
	struct virt_guest *guest = vepc_keeper(epc_page_owner(frame));
	struct vepc_page *page;
	struct vepc *vepc;
	uint64_t idx;
	bool ok;

	guest_lock(guest);
	page = page_of_locked(frame, &vepc, &idx);
	ok = page && !guest->dead && !guest_is_pinned_locked(guest, page) &&
	     !(kept_of(page) && (kept_of(page)->flags & KEPT_LEAVING));
	guest_unlock(guest);
	return ok;
}

/* ---- block ---------------------------------------------------------------------------------------- */

/* A logical processor is in it: its state would be lost to the next AEX. */
static bool tcs_is_busy(struct virt_guest *guest, uint32_t nr)
{
	const struct sgx_tcs *tcs = cpu_bytes(guest->cpu, nr);

	return __atomic_load_n(&tcs->state, __ATOMIC_RELAXED) != 0;
}

static bool block_child_locked(struct virt_guest *guest, struct kept *kept, uint32_t nr,
			       const struct sgx_rdinfo *rdinfo)
{
	kept->flags &= (uint16_t)~KEPT_GUEST_BLOCKED;
	if (kept->type == SGX_PT_TCS && tcs_is_busy(guest, nr))
		return false;
	if (!child_count_locked(guest, kept, nr, rdinfo->enclavecontext))
		return false;
	if (rdinfo->flags & SGX_RDINFO_BLOCKED) {
		/* In the middle of the guest's own eviction. It goes all the same, or a guest could keep it for good. */
		kept->flags |= KEPT_GUEST_BLOCKED;
		return true;
	}
	/* Noted first: whoever comes after our death can see whether it was done. */
	kept->flags |= KEPT_BLOCKED;
	guest_next(guest, "EBLOCK");
	if (cpu_ok(encls_eblock(guest->cpu, nr)))
		return true;
	kept->flags &= (uint16_t)~KEPT_BLOCKED;
	guest_evict_forget_child_locked(guest, kept);
	return false;
}

static bool block_locked(struct virt_guest *guest, struct kept *kept, uint32_t nr)
{
	struct sgx_rdinfo rdinfo __attribute__((aligned(32)));
	struct cpu_outcome out;

	guest_next(guest, "ERDINFO");
	out = encls_erdinfo(guest->cpu, &rdinfo, nr);
	if (out.fault == CPU_NO_FAULT && out.eax == SGX_PG_INVLD) {
		kept->flags |= KEPT_BLANK;
		return true;
	}
	if (!cpu_ok(out))
		return false;
	kept->type = (uint8_t)((rdinfo.flags & SGX_SECINFO_TYPE_MASK) >> SGX_SECINFO_TYPE_SHIFT);
	/* The children that are there; those that are away don't mind. */
	if (kept->type == SGX_PT_SECS && (rdinfo.status & RDINFO_CHILD))
		return false;
	if (!guest_slots_get_locked(guest, 0, &kept->slots))
		return false;
	if (kept->type == SGX_PT_SECS || kept->type == SGX_PT_VA)
		return true;
	if (block_child_locked(guest, kept, nr, &rdinfo))
		return true;
	guest_slots_put_locked(guest, &kept->slots);
	return false;
}

static bool evict_block(struct epc_page *frame)
{
	struct virt_guest *guest = vepc_keeper(epc_page_owner(frame));
	struct vepc_page *page;
	struct kept *kept = NULL;
	struct vepc *vepc;
	uint64_t idx;
	bool ok = false;

	guest_lock(guest);
	page = page_of_locked(frame, &vepc, &idx);
	if (page && !guest->dead && !guest_is_pinned_locked(guest, page))
		kept = kept_need_locked(guest, vepc, idx, page);
	if (kept) {
		/* Asked again, by whoever sees a dead reclaimer's batch through; or blocked by an earlier one. */
		ok = (kept->flags & KEPT_LEAVING) || kept->slots.va;
		kept->flags |= KEPT_LEAVING;
		ok = ok || block_locked(guest, kept, epc_page_nr(guest->epc, frame));
		if (!ok) {
			kept->flags &= (uint16_t)~KEPT_LEAVING;
			kept_done_locked(guest, kept);
		}
	}
	guest_unlock(guest);
	return ok;
}

/* ---- write ---------------------------------------------------------------------------------------- */

/* Every logical processor that could have a translation is out of the way when it returns. */
static void track_locked(struct virt_guest *guest, struct kept *kept, uint32_t nr)
{
	uint32_t secs = kept_nr_locked(guest, kept->secs);
	struct cpu_outcome out;

	kept_work_locked(guest, kept->secs, true);
	for (int i = 0; i < TRACK_TRIES; i++) {
		guest_next(guest, "ETRACKC");
		out = encls_etrackc(guest->cpu, nr);
		vepc_count(kept->vepc, epc_page_at(guest->epc, nr),
			   cpu_ok(out) ? EPC_TRACKS : EPC_CONFLICTS);
		if (out.fault != CPU_NO_FAULT ||
		    (out.eax != SGX_EPC_PAGE_CONFLICT && out.eax != SGX_PREV_TRK_INCMPL))
			break;
		/* The guest's own cycle: seeing it through is nothing that the guest could notice. */
		if (out.eax == SGX_PREV_TRK_INCMPL)
			cpu_track_flush(guest->cpu, secs);
	}
	guest_next(guest, "IPI");
	cpu_track_flush(guest->cpu, secs);
}

static struct cpu_outcome ewb_locked(struct virt_guest *guest, struct kept *kept, uint32_t nr)
{
	struct cpu_pageinfo pi = {
		.pcmd = backing_pcmd(guest->backing, kept->slots.backing),
		.secs = CPU_NO_PAGE,
	};
	uint32_t va = epc_page_nr(guest->epc, kept->slots.va->frame);

	guest_next(guest, "EWB");
	return encls_ewb(guest->cpu, &pi, nr, va, kept->slots.slot,
			 backing_page(guest->backing, kept->slots.backing), &kept->la);
}

/* It stays. What we have blocked ourselves can only come back by EWB and ELDUC: then load.c does that. */
static void write_failed_locked(struct virt_guest *guest, struct kept *kept)
{
	if (kept->flags & KEPT_BLOCKED)
		return;
	guest_evict_forget_child_locked(guest, kept);
	guest_slots_put_locked(guest, &kept->slots);
	kept->flags &= (uint16_t)~KEPT_GUEST_BLOCKED;
}

int guest_evict_write_locked(struct virt_guest *guest, struct kept *kept, struct vepc_page *page)
{
	uint32_t nr = epc_page_nr(guest->epc, page->frame);
	struct cpu_outcome out;

	if (epc_page_poisoned(page->frame)) {
		write_failed_locked(guest, kept);
		return -EHWPOISON;
	}
	for (int i = 0; i < TRACK_TRIES; i++) {
		out = ewb_locked(guest, kept, nr);
		if (out.fault == CPU_NO_FAULT && out.eax == SGX_NOT_TRACKED && kept->secs)
			track_locked(guest, kept, nr);
		else if (out.fault != CPU_GP) /* which is a conflict: all operands are right */
			break;
	}
	/* A slot that was not empty, which only somebody's death can leave, does not keep the page here. */
	if (!cpu_ok(out) && !(out.fault == CPU_NO_FAULT && out.eax == SGX_VA_SLOT_OCCUPIED)) {
		write_failed_locked(guest, kept);
		return -EFAULT;
	}
	backing_complete(guest->backing, kept->slots.backing);
	guest_slots_idle_locked(&kept->slots);
	/* One store: here or away. */
	kept->flags = (uint16_t)((kept->flags & ~(KEPT_LEAVING | KEPT_BLOCKED)) | KEPT_AWAY);
	vepc_page_empty_locked(kept->vepc, page);
	page->flags = 0;
	guest->evictions++;
	guest->away++;
	return 0;
}

static int write_locked(struct virt_guest *guest, struct kept *kept, struct vepc_page *page)
{
	if (!(kept->flags & KEPT_BLANK)) {
		/* It stays, and who touches it sees to another VA page. */
		if (!guest_slots_mend_locked(guest, 0, &kept->slots)) {
			write_failed_locked(guest, kept);
			return -EHWPOISON;
		}
		return guest_evict_write_locked(guest, kept, page);
	}
	/* Nothing is lost with it: the next touch gets a fresh page. */
	vepc_page_empty_locked(kept->vepc, page);
	page->flags = 0;
	guest->page_nr--;
	guest_evict_forget_child_locked(guest, kept);
	guest_slots_put_locked(guest, &kept->slots);
	kept->flags &= KEPT_NAMED;
	kept->locked_at = kept->tracked_at = 0;
	kept_done_locked(guest, kept);
	guest_va_trim_locked(guest);
	return 0;
}

static int evict_write(struct epc_page *frame)
{
	struct virt_guest *guest = vepc_keeper(epc_page_owner(frame));
	struct vepc_page *page;
	struct kept *kept;
	struct vepc *vepc;
	uint64_t idx;
	int r = 0;

	guest_lock(guest);
	page = page_of_locked(frame, &vepc, &idx);
	/* No page: asked again, because the reclaimer that had it written died before it noted that. */
	if (page) {
		kept = kept_of(page);
		r = -EIO;
		/* Not leaving any more: it was mended, and stays. */
		if (kept && (kept->flags & KEPT_LEAVING) && !guest->dead)
			r = write_locked(guest, kept, page);
		if (kept && r < 0) {
			kept->flags &= (uint16_t)~KEPT_LEAVING;
			kept_done_locked(guest, kept);
		}
	}
	guest_unlock(guest);
	return r;
}

const struct sgx_epc_page_ops guest_page_ops = {
	.name = "guest",
	.get = evict_get,
	.reclaim = evict_reclaim,
	.block = evict_block,
	.write = evict_write,
	.put = evict_put,
	.blanks = true,
};
