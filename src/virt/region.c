/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The guest's memory regions that lie in raw EPC, by the rules of KVM_SET_USER_MEMORY_REGION.
 *
 * A SECS that the guest has made or loaded is known by its guest-physical address (its ENCLAVECONTEXT), so
 * before a region moves or goes, the SECSs in it get contexts of ours, which stay good.
 */
#include "virt/virt_priv.h"

#include <assert.h>
#include <errno.h>

#include "epc/epc.h"
#include "vepc/vepc.h"

#define PAGES_MAX ((1ull << 31) - 1) /* of one slot */
#define GPA_BITS  52                 /* as many as any processor has */

static bool region_overlaps(const struct virt_region *a, const struct virt_region *b)
{
	return a->bytes && b->bytes && a->gpa < b->gpa + b->bytes && b->gpa < a->gpa + a->bytes;
}

static int region_check(const struct virt_guest *guest, const struct virt_region *new)
{
	const uint64_t page = SGX_PAGE_SIZE - 1;

	if (new->slot >= VIRT_SLOTS || (new->flags & ~(VIRT_LOG_DIRTY | VIRT_READONLY)))
		return -EINVAL;
	if ((new->gpa &page) || (new->bytes &page) || (new->hva &page) || (new->off &page))
		return -EINVAL;
	if (!new->bytes)
		return 0;
	if (new->bytes > PAGES_MAX * SGX_PAGE_SIZE || new->gpa + new->bytes > 1ull << GPA_BITS)
		return -EINVAL;
	if (new->gpa + new->bytes < new->gpa || new->hva + new->bytes < new->hva ||
	    new->off + new->bytes < new->off)
		return -EINVAL;
	return new->vepc &&vepc_keeper(new->vepc) == guest ? 0 : -EINVAL;
}

/* What an existing slot may become. */
static int change_check(const struct virt_region *old, const struct virt_region *new)
{
	if (new->bytes != old->bytes || new->hva != old->hva ||
	    ((new->flags ^ old->flags) & VIRT_READONLY))
		return -EINVAL;
	/* The VMM cannot have mapped something else at the same address without deleting the region. */
	return new->vepc == old->vepc &&new->off == old->off ? 0 : -EINVAL;
}

/* Guest-physical addresses of the region are about to mean something else. 0 or -ENOMEM. */
static int region_leave_locked(struct virt_guest *guest, const struct virt_region *region)
{
	uint64_t idx = region->off / SGX_PAGE_SIZE;
	uint64_t end = (region->off + region->bytes) / SGX_PAGE_SIZE;
	struct vepc_page *page;

	for (; (page = vepc_page_next_locked(region->vepc, &idx)) && idx < end; idx++) {
		struct sgx_rdinfo rdinfo __attribute__((aligned(32)));
		struct kept *kept;
		uint32_t nr;

		if (!page->frame)
			continue;
		nr = epc_page_nr(guest->epc, page->frame);
		if (!cpu_ok(encls_erdinfo(guest->cpu, &rdinfo, nr)))
			continue;
		if ((rdinfo.flags & SGX_SECINFO_TYPE_MASK) != SGX_SECINFO_TYPE(SGX_PT_SECS) ||
		    (rdinfo.enclavecontext & 1))
			continue;
		kept = kept_need_locked(guest, region->vepc, idx, page);
		if (!kept)
			return -ENOMEM;
		/* Where it cannot be named its children stay where they are: see evict.c. */
		(void)kept_name_locked(guest, kept, nr);
		kept_done_locked(guest, kept);
	}
	return 0;
}

static int set_locked(struct virt_guest *guest, const struct virt_region *new)
{
	struct virt_region *old = &guest->region[new->slot];
	int r;

	if (!new->bytes && !old->bytes)
		return -EINVAL;
	if (new->bytes && old->bytes) {
		r = change_check(old, new);
		if (r < 0)
			return r;
	}
	for (unsigned int i = 0; i < VIRT_SLOTS; i++)
		if (i != new->slot && region_overlaps(&guest->region[i], new))
			return -EEXIST;
	if (old->bytes && (!new->bytes || new->gpa != old->gpa)) {
		r = region_leave_locked(guest, old);
		if (r < 0)
			return r;
	}
	guest->changing = true;
	if (new->bytes)
		*old = *new;
	else
		*old = (struct virt_region){ .slot = new->slot };
	guest->changing = false;
	return 0;
}

int virt_set_region(struct virt_guest *guest, const struct virt_region *region)
{
	int r = region_check(guest, region);

	if (r == 0 && region->bytes)
		r = vepc_reserve(region->vepc, region->off, region->bytes);
	if (r < 0)
		return r;
	guest_lock(guest);
	r = set_locked(guest, region);
	guest_unlock(guest);
	return r;
}

int guest_region_find_locked(struct virt_guest *guest, uint64_t gpa, struct vepc **ret_vepc,
			     uint64_t *ret_off)
{
	for (unsigned int i = 0; i < VIRT_SLOTS; i++) {
		const struct virt_region *region = &guest->region[i];

		if (!region->bytes || gpa < region->gpa || gpa - region->gpa >= region->bytes)
			continue;
		*ret_vepc = region->vepc;
		*ret_off = region->off + (gpa - region->gpa);
		return 0;
	}
	return -ENOENT;
}

int virt_gpa_to_hva(struct virt_guest *guest, uint64_t gpa, uint64_t *ret_hva)
{
	int r = -ENOENT;

	guest_lock(guest);
	for (unsigned int i = 0; i < VIRT_SLOTS && r < 0; i++) {
		const struct virt_region *region = &guest->region[i];

		if (!region->bytes || gpa < region->gpa || gpa - region->gpa >= region->bytes)
			continue;
		*ret_hva = region->hva + (gpa - region->gpa);
		r = 0;
	}
	guest_unlock(guest);
	return r;
}

int virt_hva_to_gpa(struct virt_guest *guest, uint64_t hva, uint64_t *ret_gpa)
{
	int r = -ENOENT;

	guest_lock(guest);
	for (unsigned int i = 0; i < VIRT_SLOTS && r < 0; i++) {
		const struct virt_region *region = &guest->region[i];

		if (!region->bytes || hva < region->hva || hva - region->hva >= region->bytes)
			continue;
		*ret_gpa = region->gpa + (hva - region->hva);
		r = 0;
	}
	guest_unlock(guest);
	return r;
}
