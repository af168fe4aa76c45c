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
#include "base/patience.h"
#include "base/ref.h"
#include "epc/va.h"
#include "vepc/keeper.h"
#include "virt/vcpu.h"
#include "virt/virt.h"

struct arena;
struct backing;
struct epc_page;
struct window;

struct va;

/* Where a page leaves to: the slot of its version, and its place in the backing store. */
struct slots {
	struct va *va; /* NULL: none */
	uint32_t backing;
	uint16_t slot;
	bool busy; /* the page is in the EPC: neither can the VA page leave it */
};

/* An EPC page for the versions of 512 evicted pages, see va.c. */
struct va {
	struct va_page page;
	struct epc_page *frame; /* NULL: it is away */
	bool made;              /* EPA has been done: some page did leave */
	bool tracked;           /* offered to the reclaimer */
	uint16_t flags;         /* KEPT_LEAVING, KEPT_AWAY */
	struct slots slots;     /* set from before it leaves until it is back */
};

/* A raw EPC file of the guest. */
struct guest_file {
	struct guest_file *next;
	struct vepc *vepc;
	bool going; /* nobody may begin to use it */
};

/* See hold.c. Who has @lock may write the rest, for files and pins the guest's lock is needed, too. */
#define HOLD_PINS 32u /* two chains of VA pages, a SECS, and some */
struct hold {
	struct lock lock;
	uint32_t pin_nr;
	const void *pinned[HOLD_PINS]; /* struct vepc_page, struct va */
	struct vepc *_Atomic file[2];  /* of the page that is brought, and of its SECS */
	struct epc_page *frame;
	struct vepc *frame_file; /* NULL: it is for a VA page */
};
#define GUEST_HOLDS 64u

/*
 * What is kept of a page beyond the page itself: while it leaves and while it is away, where to; and of a
 * SECS as long as it has children that are away.
 */
struct kept {
	struct vepc *vepc; /* NULL: its file has gone */
	uint64_t idx;
	struct slots slots; /* set from before EBLOCK until it is back */
	uint16_t flags;
	uint8_t type; /* enum sgx_page_type, when last seen */
	uint64_t la;  /* away: as EWB told */
	struct kept
		*secs; /* of a child that leaves or is away: it is one of its virtual children */
	uint32_t children; /* of a SECS: how many name it as their secs */
	uint32_t virt;     /* and what its VIRTCHILDCNT is: more, until that could be told */
	/* Likewise: when we last tracked it, and when a leaf of ours last held it, by guest.works; 0: never. */
	uint64_t tracked_at, locked_at;
};

#define KEPT_LEAVING       0x01u /* the reclaimer has it in hand: nobody else may use the page */
#define KEPT_AWAY          0x02u
#define KEPT_BLANK         0x04u  /* leaving without any contents */
#define KEPT_BLOCKED       0x08u  /* EBLOCKed by us: the guest must not see that */
#define KEPT_GUEST_BLOCKED 0x10u  /* by the guest: it must see that, after it has come back, too */
#define KEPT_NAMED         0x100u /* the ENCLAVECONTEXT of the SECS that is in the page, or was */

/* Of vepc_page.flags. */
#define PAGE_TRACKED 0x1u /* offered to the reclaimer */
#define PAGE_COUNTED 0x2u /* in guest.page_nr; as is every page that is away */

struct virt_guest {
	/* constant */
	struct epc *epc;
	struct cpu *cpu;
	struct arena *arena;
	struct window *window;
	struct backing *backing;
	struct epc_group *group;
	bool reserved;              /* no page is offered to the reclaimer */
	struct epc_owner *va_owner; /* of VA pages */
	void *stage_block;          /* two pages of the arena, and in them, aligned: */
	void *stage;                /* a page on its way in; contents under the lock */

	struct ref refs;
	atomic_bool going; /* virt_put() is at work: no VA page may be picked */

	struct hold hold[GUEST_HOLDS];

	struct lock lock;
	bool dead;
	bool changing;    /* regions or files are half changed */
	bool mended;      /* a holder of the lock died: there may be frames that nobody knows of */
	uint32_t hold_nr; /* the first so many have been used */
	struct guest_file *files;
	struct virt_region region[VIRT_SLOTS];
	struct va_set versions;
	struct slots *
		mending; /* is about to be as mends_to says, for whoever finds that its holder died */
	struct slots mends_to;
	uint64_t page_nr; /* resident or away: each is sure of a slot */
	uint64_t evictions, loads, away, lost;
	uint64_t works; /* how often a leaf of ours has been in the guest's way at a SECS */
	void (*hook)(void *ctx, const char *before);
	void *hook_ctx;
};

#define TRACK_TRIES  10 /* of ETRACKC, of any leaf that meets a conflict */
#define WAIT_LONG_NS 1000000000ull

/* ---- guest.c -------------------------------------------------------------------------------- */

/* Also notices that a holder died. */
void guest_lock(struct virt_guest *guest) ACQUIRES(&guest->lock);
void guest_unlock(struct virt_guest *guest) RELEASES(&guest->lock);
/* The processor is about to execute @before, which the hook that a test may have set is told. */
void guest_next(struct virt_guest *guest, const char *before);
struct kept *kept_of(const struct vepc_page *page);
/* The page's, made if need be; NULL: no memory. */
struct kept *kept_need_locked(struct virt_guest *guest, struct vepc *vepc, uint64_t idx,
			      struct vepc_page *page);
/* Forget it, unless it is needed. */
void kept_done_locked(struct virt_guest *guest, struct kept *kept);
/* A leaf of ours is about to hold the SECS, which an exit of a processor that meets it must be able to tell. */
void kept_work_locked(struct virt_guest *guest, struct kept *secs, bool tracks);
/* The EPC page of the page that @kept belongs to, or CPU_NO_PAGE. */
uint32_t kept_nr_locked(struct virt_guest *guest, const struct kept *kept);
/* ENCLAVECONTEXT of a SECS that the host has loaded, see kept_named(). */
struct cpu_outcome kept_name_locked(struct virt_guest *guest, struct kept *kept, uint32_t nr);

/* ---- vcpu.c --------------------------------------------------------------------------------- */

/* Enabled by what the guest has for firmware, and locked. */
bool vcpu_sgx_is_enabled(const struct virt_vcpu *vcpu);

/* ---- va.c ----------------------------------------------------------------------------------- */

struct va *guest_va_first_locked(const struct virt_guest *guest);
struct va *guest_va_next_locked(const struct va *va);
/* Takes NULL. */
struct va *guest_va_of(struct va_page *page);
struct va_need guest_va_need_locked(const struct virt_guest *guest);
/* An EPC page for slots, not yet a VA page: 0, or as epc_alloc(). */
int guest_va_frame_alloc(struct virt_guest *guest, unsigned int flags, struct epc_page **ret_frame);
/* @frame is for slots of @level from now on. -ENOMEM: it is still the caller's. */
int guest_va_add_locked(struct virt_guest *guest, unsigned int level, struct epc_page *frame);
/* VA pages that are not needed any more go. */
void guest_va_trim_locked(struct virt_guest *guest);
/* For a page that is in the EPC. False: there are none, or the processor does not take the VA page. */
bool guest_slots_get_locked(struct virt_guest *guest, unsigned int level, struct slots *slots);
/*
 * Before a version goes into the slot: where the VA page has broken since, a slot of another one, of that level.  False: none is
 * free.
 */
bool guest_slots_mend_locked(struct virt_guest *guest, unsigned int level, struct slots *slots);
/* None is fine. */
void guest_slots_put_locked(struct virt_guest *guest, struct slots *slots);
/* The page of these has left the EPC, or is about to be back. */
void guest_slots_idle_locked(struct slots *slots);
void guest_slots_busy_locked(struct slots *slots);
/* After a death: leaves that did not end. */
void guest_va_leaf_locked(struct virt_guest *guest);
/* What became of each VA page; no slot is used; those of a page are; all is counted, and slots of who is here given back. */
void guest_va_repair_locked(struct virt_guest *guest);
void guest_slots_note_locked(struct slots *slots, bool busy);
void guest_va_recount_locked(struct virt_guest *guest);
/* @in_hand: those as well that somebody took and has not made known, which is for when nobody is left. */
void guest_va_strays_locked(struct virt_guest *guest, bool in_hand);
bool guest_va_is_known_locked(const struct virt_guest *guest, const struct epc_page *frame);

/* ---- va_move.c ------------------------------------------------------------------------------ */

extern const struct sgx_epc_page_ops guest_va_page_ops;
void guest_va_track_locked(struct virt_guest *guest);
/* -EBUSY: a batch has it. */
int guest_va_untrack_locked(struct virt_guest *guest, struct va *va);
/* It is back from the batch that it was to leave with. */
void guest_va_stays_locked(struct virt_guest *guest, struct va *va);
/* One whose own version is here, into @frame: 0, or -EIO and @frame is still the caller's. */
int guest_va_load_locked(struct virt_guest *guest, struct va *va, struct epc_page *frame);
/* No batch has any, or will have. False: after a long time one still does. */
bool guest_va_stop(struct virt_guest *guest);

/* ---- hold.c --------------------------------------------------------------------------------- */

void guest_holds_init(struct virt_guest *guest);
void guest_holds_fini(struct virt_guest *guest);
/* Waits for one, with the lock dropped, when there is none. */
struct hold *guest_hold_get_locked(struct virt_guest *guest);
/* @vepc does not end before the hold is given back. False: it is about to end. */
bool guest_hold_file_locked(struct virt_guest *guest, struct hold *hold, unsigned int i,
			    struct vepc *vepc);
void guest_hold_drop_frame(struct virt_guest *guest, struct hold *hold);
/* @what, a page of a file or a VA page, does not leave the EPC until this hold lets go of all that it has pinned. */
void guest_hold_pin_locked(struct hold *hold, const void *what);
void guest_hold_unpin_locked(struct hold *hold);
bool guest_is_pinned_locked(const struct virt_guest *guest, const void *what);
/* With what is in it. The lock may be held, or not. */
void guest_hold_put(struct virt_guest *guest, struct hold *hold);
/* Those of dead threads. */
void guest_holds_mend_locked(struct virt_guest *guest);
/* Until nobody holds @vepc, which is going. */
void guest_holds_wait(struct virt_guest *guest, const struct vepc *vepc);

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
/* VIRTCHILDCNT of a SECS that is here: as many as it has children that are away. */
void guest_evict_settle_locked(struct virt_guest *guest, struct kept *secs);
/* Whatever VIRTCHILDCNT was: it is counted anew. */
void guest_evict_recount_locked(struct virt_guest *guest, struct kept *secs);
/* An ENCLAVECONTEXT that leads nowhere: neither ours (bit 0) nor an address of a page. */
#define CONTEXT_NOWHERE 2u
/* -EBUSY: a batch has it. */
int guest_page_untrack_locked(struct virt_guest *guest, struct vepc_page *page);

/* ---- remove.c ------------------------------------------------------------------------------- */

int guest_remove(void *keeper, struct vepc *vepc, uint64_t idx, struct vepc_page *page);
void guest_drop(void *keeper, struct vepc *vepc, uint64_t idx, struct vepc_page *page);

/* ---- load.c --------------------------------------------------------------------------------- */

int guest_fault(void *keeper, struct vepc *vepc, uint64_t idx);
/*
 * The same for who found the page by its address, with the lock held; it is dropped meanwhile where that is needed.  The page
 * stays until guest_brought_locked(); others that were brought with the same hold do, too, unless there was no EPC to be
 * had. *@hold: NULL at first.
 */
int guest_bring_locked(struct virt_guest *guest, struct hold **hold, struct vepc *vepc,
		       uint64_t off);
void guest_brought_locked(struct virt_guest *guest, struct hold *hold);
/* A use of a page that is here was seen. */
void guest_page_touch_locked(struct virt_guest *guest, const struct vepc_page *page);
/* ELDU has been done. */
void guest_load_done_locked(struct virt_guest *guest, struct kept *kept, struct vepc_page *page);
/* The page is resident and nobody has it in hand. */
bool guest_page_is_here(const struct vepc_page *page);

/* ---- repair.c ------------------------------------------------------------------------------- */

/* Who held the lock has died. */
void guest_repair_locked(struct virt_guest *guest);

#endif
