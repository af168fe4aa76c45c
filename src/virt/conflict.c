/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SGX_CONFLICT exits: two logical processors wanted one page, or one enclave's tracking.
 *
 * The host works on pages that the guest cannot touch meanwhile, but for a SECS: there it notes when it did
 * (kept_work_locked()).  A processor has asked last at a time of its own; what was done since may have been in its way.  So
 * several that met one instruction of the host's are all told, and one that goes on meeting another of the guest's
 * is not told for ever.  A page whose region has gone meanwhile was in the host's hands: the next try finds it nowhere.
 */
#include "virt/virt_priv.h"

#include <assert.h>
#include <errno.h>

#include "vepc/vepc.h"

static bool is_tracking(const struct cpu_exit *exit)
{
	return exit->code + 1 == CPU_TRACKING_RESOURCE || exit->code + 1 == CPU_TRACKING_REFERENCE;
}

/* Exits about tracking name an ENCLAVECONTEXT, which may be ours; the others a guest-physical address. -ENOENT: no region. */
static int kept_at_locked(struct virt_guest *guest, const struct cpu_exit *exit,
			  struct kept **ret_kept)
{
	struct vepc_page *page;
	struct vepc *vepc;
	uint64_t off;

	if (is_tracking(exit) && (exit->guest_physical & 1)) {
		*ret_kept = (struct kept *)(uintptr_t)(exit->guest_physical & ~1ull);
		return 0;
	}
	if (guest_region_find_locked(guest, exit->guest_physical, &vepc, &off) < 0)
		return -ENOENT;
	page = vepc_page_locked(vepc, off / SGX_PAGE_SIZE);
	*ret_kept = page ? kept_of(page) : NULL;
	return 0;
}

bool virt_conflict_is_ours(struct virt_guest *guest, const struct cpu_exit *exit, uint64_t *told)
{
	struct kept *kept = NULL;
	bool ours = false;

	assert(exit->reason == CPU_EXIT_SGX_CONFLICT);
	guest_lock(guest);
	if (kept_at_locked(guest, exit, &kept) < 0)
		ours = true;
	else if (kept)
		ours = (is_tracking(exit) ? kept->tracked_at : kept->locked_at) > *told;
	/* With the lock held no leaf of ours is under way. */
	*told = guest->works;
	guest_unlock(guest);
	return ours;
}

struct cpu_outcome virt_conflict_outcome(const struct cpu_exit *exit, enum sgx_encls leaf)
{
	struct cpu_outcome out = { .fault = CPU_NO_FAULT, .rflags = CPU_ZF };

	switch (exit->code + 1) {
	case CPU_TRACKING_RESOURCE:
		if (leaf == SGX_ETRACK)
			return (struct cpu_outcome){ .fault = CPU_GP };
		out.eax = SGX_EPC_PAGE_CONFLICT;
		return out;
	case CPU_TRACKING_REFERENCE:
		out.eax = SGX_PREV_TRK_INCMPL;
		return out;
	case CPU_PAGE_ERROR:
		out.eax = exit->error;
		return out;
	default:
		return (struct cpu_outcome){ .fault = CPU_GP };
	}
}
