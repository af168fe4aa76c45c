/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the files of virt/ share.  Everything is in the arena; unless it says otherwise a member is protected
 * by guest.lock, which is the lock of the guest's raw EPC files too.
 */
#ifndef SWSGX_VIRT_VIRT_PRIV_H
#define SWSGX_VIRT_VIRT_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arch/sgx.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/ref.h"
#include "vepc/keeper.h"
#include "virt/vcpu.h"
#include "virt/virt.h"

struct arena;
struct backing;
struct epc_page;
struct window;

/* An EPC page for the versions of 512 evicted pages; those with a free slot come first in the list. */
struct va {
	struct list node;
	struct epc_page *frame;
	uint32_t used_nr;
	uint64_t used[SGX_VA_SLOTS / 64];
};

/*
 * What is kept of a page beyond the page itself: while it leaves and while it is away, where to; and of a
 * SECS as long as it has children that are away.
 */
struct kept {
	struct vepc *vepc; /* NULL: its file has gone */
	uint64_t idx;
	struct va *
		va; /* its version's, and va_slot and backing: set from before EBLOCK until it is back */
	uint32_t backing;
	uint16_t va_slot;
	uint16_t flags;
	uint8_t type;      /* enum sgx_page_type, when last seen */
	uint64_t la;       /* away: as EWB told */
	struct kept *secs; /* of a child that leaves or is away */
	uint32_t children; /* of a SECS: how many name it as their secs */
	uint32_t
		owed; /* of a SECS that is away: children to take off VIRTCHILDCNT when it is back */
};

#define KEPT_LEAVING       0x01u /* the reclaimer has it in hand: nobody else may use the page */
#define KEPT_AWAY          0x02u
#define KEPT_BLANK         0x04u  /* leaving without any contents */
#define KEPT_BLOCKED       0x08u  /* EBLOCKed by us: the guest must not see that */
#define KEPT_GUEST_BLOCKED 0x10u  /* by the guest: it must see that, after it has come back, too */
#define KEPT_COUNTED       0x20u  /* in its SECS's VIRTCHILDCNT */
#define KEPT_HOST_TRACKED  0x40u  /* of a SECS: our ETRACKC was in the way; until somebody asks */
#define KEPT_HOST_LOCKED   0x80u  /* and held the page */
#define KEPT_NAMED         0x100u /* the ENCLAVECONTEXT of the SECS that is in the page, or was */

/* Of vepc_page.flags. */
#define PAGE_TRACKED    0x1u /* offered to the reclaimer */
#define PAGE_REFERENCED 0x2u
#define PAGE_COUNTED    0x4u /* in guest.page_nr; as is every page that is away */

struct virt_guest {
	/* constant */
	struct epc *epc;
	struct cpu *cpu;
	struct arena *arena;
	struct window *window;
	struct backing *backing;
	struct epc_owner *va_owner; /* of VA pages */

	struct ref refs;

	struct lock lock;
	bool dead;
	struct virt_region region[VIRT_SLOTS];
	struct list va_pages;
	uint64_t va_nr;
	uint64_t slots_used;
	uint64_t page_nr; /* resident or away: each is sure of a slot */
	uint64_t evictions, loads, away, lost;
	void (*hook)(void *ctx, const char *before);
	void *hook_ctx;
};

#define TRACK_TRIES    10 /* of ETRACKC, of any leaf that meets a conflict */
#define WAIT_LONG_NS   1000000000ull
#define PAGES_OF_SLOTS ((uint64_t)SGX_VA_SLOTS)

/* ---- guest.c -------------------------------------------------------------------------------- */

/* Also notices that a holder died. */
void guest_lock(struct virt_guest *guest) ACQUIRES(&guest->lock);
void guest_unlock(struct virt_guest *guest) RELEASES(&guest->lock);
void guest_hook(struct virt_guest *guest, const char *before);
struct kept *kept_of(const struct vepc_page *page);
/* The page's, made if need be; NULL: no memory. */
struct kept *kept_need_locked(struct virt_guest *guest, struct vepc *vepc, uint64_t idx,
			      struct vepc_page *page);
/* Forget it, unless it is needed. */
void kept_done_locked(struct virt_guest *guest, struct kept *kept);
/* The EPC page of the page that @kept belongs to, or CPU_NO_PAGE. */
uint32_t kept_nr_locked(struct virt_guest *guest, const struct kept *kept);
/* ENCLAVECONTEXT of a SECS that the host has loaded, see kept_named(). */
struct cpu_outcome kept_name_locked(struct virt_guest *guest, struct kept *kept, uint32_t nr);

/* ---- vcpu.c --------------------------------------------------------------------------------- */

/* Enabled by what the guest has for firmware, and locked. */
bool vcpu_sgx_is_enabled(const struct virt_vcpu *vcpu);

/* ---- va.c ----------------------------------------------------------------------------------- */

extern const struct sgx_epc_page_ops guest_va_page_ops;
/* True when one more page would leave some page without a slot. */
bool guest_va_is_short_locked(const struct virt_guest *guest);
/* An EPC page for slots, not yet a VA page: 0, or as epc_alloc(). */
int guest_va_frame_alloc(struct virt_guest *guest, unsigned int flags, struct epc_page **ret_frame);
/* Makes @frame a VA page. -ENOMEM, -EFAULT: it is still the caller's. */
int guest_va_add_locked(struct virt_guest *guest, struct epc_page *frame);
void guest_va_slot_get_locked(struct virt_guest *guest, struct kept *kept);
void guest_va_slot_put_locked(struct virt_guest *guest, struct kept *kept);
/* VA pages that are not needed any more go. */
void guest_va_trim_locked(struct virt_guest *guest);

/* ---- region.c ------------------------------------------------------------------------------- */

/* Where gpa is. -ENOENT. */
int guest_region_find_locked(struct virt_guest *guest, uint64_t gpa, struct vepc **ret_vepc,
			     uint64_t *ret_off);

/* ---- evict.c -------------------------------------------------------------------------------- */

extern const struct sgx_epc_page_ops guest_page_ops;
/* EWB of a page that is blocked, or needs not be: 0, or -errno and it is as before. */
int guest_evict_write_locked(struct virt_guest *guest, struct kept *kept, struct vepc_page *page);
void guest_page_track_locked(struct virt_guest *guest, struct vepc_page *page);
/* A child that is away or about to go is none any more: its SECS forgets it. */
void guest_evict_forget_child_locked(struct virt_guest *guest, struct kept *kept);
/* An ENCLAVECONTEXT that leads nowhere: neither ours (bit 0) nor an address of a page. */
#define CONTEXT_NOWHERE 2u
/* -EBUSY: a batch has it. */
int guest_page_untrack_locked(struct virt_guest *guest, struct vepc_page *page);

/* ---- remove.c ------------------------------------------------------------------------------- */

int guest_remove(void *keeper, struct vepc *vepc, uint64_t idx, struct vepc_page *page);
void guest_drop(void *keeper, struct vepc *vepc, uint64_t idx, struct vepc_page *page);

/* ---- load.c --------------------------------------------------------------------------------- */

int guest_fault(void *keeper, struct vepc *vepc, uint64_t idx);
/* The page is resident and nobody has it in hand. */
bool guest_page_is_here(const struct vepc_page *page);

#endif
