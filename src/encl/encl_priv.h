/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the files of encl/ share: the enclave, its page tree, and the calls between them.
 *
 * Everything here lives in the arena, so that every process of a fork tree has the same enclave.
 * Unless it says otherwise a member is protected by encl.lock; a _locked function is called with it.
 */
#ifndef SWSGX_ENCL_ENCL_PRIV_H
#define SWSGX_ENCL_ENCL_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arch/sgx.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/patience.h"
#include "base/ref.h"
#include "encl/encl.h"
#include "epc/backing.h"
#include "epc/owner.h"
#include "epc/va.h"

struct arena;
struct bring;
struct cpu;
struct epc;
struct epc_page;
struct window;

/*
 * A page of the enclave, SECS and VA pages included.  One that is not in the tree has ENCL_PAGE_EXISTS clear.
 *
 * It is resident (epc_page set) or evicted (va, va_slot and backing say where to).  While it is
 * LEAVING it is both: it has its slots already, so that nothing can fail once it is blocked.
 */
struct encl_page {
	struct epc_page *epc_page;
	struct encl_va *va;
	uint32_t backing;
	uint16_t va_slot;
	uint8_t type; /* enum sgx_page_type, as Linux would record it */
	uint8_t max_rwx;
	uint8_t flags;
	uint8_t pins; /* steps that need it to stay */
};
static_assert(sizeof(struct encl_page) == 32, "one for each page of every enclave");

/* A VA page (va.c). */
struct encl_va {
	struct va_page slots;
	struct encl_page page;
};

#define ENCL_PAGE_EXISTS  0x01u
#define ENCL_PAGE_LEAVING 0x02u /* blocked, or about to be; no new use may begin */
#define ENCL_PAGE_AHEAD   0x04u /* brought before it was asked for; no use is known */
#define ENCL_PAGE_TRACKED 0x08u /* offered to the reclaimer */

#define ENCL_LEAF_PAGES 512u

/* The cookie of an EPC page of ours is the index of the page in the enclave, or one of these. */
#define ENCL_COOKIE_SECS UINT64_MAX
#define ENCL_COOKIE_NONE (UINT64_MAX - 1) /* a frame that is nothing yet */
#define ENCL_COOKIE_VA   (1ull << 62)     /* with where its struct encl_va is in the arena */

#define ENCL_NO_RANGE UINT64_MAX /* encl.win_off before there is a range */

#define ENCL_CREATED     0x1u
#define ENCL_INITIALIZED 0x2u
#define ENCL_DEBUG       0x4u

/*
 * What the holder of the lock is doing, written down before it begins, for whoever has to see it through (repair.c).
 * Most of that is told by the EPCM and the page tree.
 */
enum encl_doing {
	ENCL_LOOKING,   /* changes nothing that others depend on */
	ENCL_CHANGING,  /* pages come, go, change */
	ENCL_ADDING,    /* likewise, and MRENCLAVE was encl.measurement before */
	ENCL_MODIFYING, /* likewise, and page encl.doing_idx must be shown anew, and tracked */
};

#define ENCL_HAND_PINS 64u /* EENTER: TCS, SSA frame of some pages; EACCEPTCOPY: four */

/* What a thread has of the enclave while it does not hold the lock (hand.c). */
struct encl_hand {
	struct lock lock;       /* the thread has it as long as the hand */
	struct encl_hand *next; /* encl.hands */
	struct epc_owner *epc_owner;
	bool filled;     /* some frame may have this hand as its owner */
	uint32_t pin_nr; /* under encl.lock, as what follows */
	struct encl_page *pinned[ENCL_HAND_PINS];
};

/* Faults at equal distances, see readahead.c. */
struct encl_stream {
	uint64_t next;    /* where the next fault should be */
	uint64_t first;   /* what was looked at last: nr pages, stride apart */
	int64_t stride;   /* 0: no stream */
	uint32_t nr;      /* 0: nothing is ahead */
	uint32_t pending; /* of those: have come, use not seen */
	bool shown;       /* mapped, but for the last one: their uses are not seen */
	uint32_t run, ahead;
	uint64_t used; /* readahead.clock */
};
enum { ENCL_STREAMS = 8, ENCL_STRAYS = 16 };
struct encl_readahead {
	uint32_t trust;        /* 0: watch only */
	uint32_t room;         /* pages ahead, of all streams together */
	uint32_t seen, needed; /* faults of long streams, while it watches */
	uint64_t clock;
	uint64_t stray[ENCL_STRAYS]; /* faults that were no stream's, a ring */
	uint32_t stray_at;           /* the oldest */
	uint32_t stream_nr;          /* with a stride */
	struct encl_stream stream[ENCL_STREAMS];
};

/* A cache line each: those who leave by different ones do not meet. */
enum { ENCL_GATES = 16 };
union encl_gate {
	struct lock lock;
	char line[64];
};
static_assert(sizeof(union encl_gate) == 64, "a lock is no longer than that");

struct encl_registry {
	struct epc *epc;
	struct arena *arena;
	struct lock lock;
	struct list encls;
	uint32_t next_id;
	void (*reap)(void);
	_Atomic uint32_t top_nr; /* enclaves that have VA pages: one of each stays in the EPC */
};

/* Two pages, aligned. */
#define ENCL_BUFFER_BLOCK_BYTES (3 * SGX_PAGE_SIZE)

struct encl {
	/* Written by open or create only, before anybody else can look. */
	struct encl_registry *registry;
	struct epc *epc;
	struct cpu *cpu;
	struct arena *arena;
	struct window *window;
	struct backing *backing;
	struct epc_owner *epc_owner;
	void *buffer; /* encl_ioctl_buffer(), inside buffer_block */
	void *stage;  /* likewise; contents under the lock: a page on its way to the window */
	void *buffer_block;
	uint32_t id;
	uint64_t base, size, win_off;

	struct ref refs;
	atomic_uint flags;                /* ENCL_*: set under the lock, read anywhere */
	bool top_gone;                    /* registry.top_nr has been told, by encl_free() */
	struct lock ioctl_lock;           /* whose ioctl is under way */
	struct lock end_lock;             /* who is at encl_free() */
	atomic_bool going;                /* encl_free() is at work: no page may be picked */
	union encl_gate gate[ENCL_GATES]; /* gate.c */
	atomic_uint running; /* logical processors in it after the last step: for statistics */

	struct list node; /* registry.lock */

	struct lock lock;
	enum encl_doing doing;
	bool giving; /* the bytes on the stage go to the window; no mapping can show them yet */
	uint64_t doing_idx;
	struct encl_hand *doing_hand; /* whose frame it is that becomes a page; NULL: none */
	/* Its version is about to have another slot, for whoever finds that the holder died; NULL: none is. */
	struct encl_page *mending;
	struct encl_va *mended_va;
	uint16_t mended_slot;
	struct cpu_measurement measurement;
	struct encl_hand *hands;
	uint64_t attributes, attributes_allowed;
	struct encl_page secs;
	struct encl_page **leaves; /* ENCL_LEAF_PAGES each, or NULL */
	uint64_t leaf_nr;
	uint64_t page_nr;  /* in the tree */
	uint64_t child_nr; /* of those, in the EPC */
	struct va_set versions;
	uint64_t evictions, loads, faults;
	uint8_t mrenclave[32];
	struct encl_readahead readahead;
};

static inline unsigned int encl_flags(const struct encl *encl)
{
	return atomic_load_explicit(&encl->flags, memory_order_acquire);
}

/* ---- encl.c --------------------------------------------------------------------------------- */

/* Also notices that a holder died, and repairs what it left half done. */
void encl_lock(struct encl *encl) ACQUIRES(&encl->lock);
void encl_unlock(struct encl *encl) RELEASES(&encl->lock);
/* What is half done until encl_end_locked() can be seen through by others. @hand: whose frame it is about. */
void encl_begin_locked(struct encl *encl, enum encl_doing doing, struct encl_hand *hand,
		       uint64_t idx) REQUIRES(&encl->lock);
void encl_end_locked(struct encl *encl) REQUIRES(&encl->lock);
/* It is on no list any more. */
void registry_forget(struct encl *encl);
#define ENCL_WAITS_LONG 64u /* some tens of milliseconds */
/* Wait a moment, longer with every one of *@waits; after a long time, help those who died. */
void encl_pause(struct encl *encl, unsigned int *waits) EXCLUDES(&encl->lock);
/* The same with the lock dropped and taken again. */
void encl_pause_locked(struct encl *encl, unsigned int *waits) REQUIRES(&encl->lock);

/* ---- free.c --------------------------------------------------------------------------------- */

/* Nobody has a reference any more, and this thread has the end_lock.  It may have been begun by one that died. */
void encl_free(struct encl *encl);
/* Its range of the window, if it has one. */
void encl_range_free(struct encl *encl);

/* ---- hand.c --------------------------------------------------------------------------------- */

/* A hand for this thread until hand_put(); NULL: no memory. */
struct encl_hand *hand_get_locked(struct encl *encl) REQUIRES(&encl->lock);
void hand_put(struct encl_hand *hand);
/* A frame, which is the hand's: 0, or as epc_alloc(). */
int hand_fill(struct encl *encl, struct encl_hand *hand, unsigned int flags,
	      struct epc_page **ret_frame);
/* Give it back. */
void hand_drop(struct encl *encl, struct encl_hand *hand, struct epc_page *frame);
/* It is the enclave's: the tree has it already. */
void hand_pass(struct encl *encl, struct encl_hand *hand, struct epc_page *frame);
/* The page stays in the EPC. False: so many are pinned that this one is not. */
bool hand_pin_locked(struct encl *encl, struct encl_hand *hand, struct encl_page *page)
	REQUIRES(&encl->lock);
/* The last one that was pinned need not stay any more. */
void hand_unpin_locked(struct encl *encl, struct encl_hand *hand) REQUIRES(&encl->lock);
/* What the dead had in hand. */
void hands_reap_locked(struct encl *encl) REQUIRES(&encl->lock);
/* Each page's pins, made anew from what the hands say. */
void hands_repin_locked(struct encl *encl) REQUIRES(&encl->lock);
void hands_free(struct encl *encl);

/* ---- gate.c --------------------------------------------------------------------------------- */

void gates_init(struct encl *encl);
void gates_fini(struct encl *encl);
/* Nobody is in EEXIT, until gates_open_locked(): those who died at it have been seen to by then. */
void gates_shut_locked(struct encl *encl) REQUIRES(&encl->lock);
void gates_open_locked(struct encl *encl) REQUIRES(&encl->lock);
/* Somebody died at the gate of @lp, and no repair has been since. */
bool gate_holder_died_locked(struct encl *encl, const struct cpu_lp *lp) REQUIRES(&encl->lock);

/* ---- repair.c ------------------------------------------------------------------------------- */

/* The holder of the lock died. */
void repair_locked(struct encl *encl) REQUIRES(&encl->lock);
/* Whoever died may have been inside a leaf: what it held of our pages is let go of. Nobody else is in one. */
void repair_leaves_locked(struct encl *encl) REQUIRES(&encl->lock);

/* ---- pages.c -------------------------------------------------------------------------------- */

static inline bool encl_has_la(const struct encl *encl, uint64_t la)
{
	return la >= encl->base && la - encl->base < encl->size;
}

int pages_create(struct encl *encl);
void pages_destroy(struct encl *encl);
/* NULL when there is no such page. */
struct encl_page *pages_find_locked(struct encl *encl, uint64_t idx) REQUIRES(&encl->lock);
/* Whoever holds the lock soon will ask for it. The enclave is created, and does not go meanwhile. */
void pages_prefetch(const struct encl *encl, uint64_t idx);
/* The first page at or after *@idx, and before @end; *@idx becomes its index. NULL: none. */
struct encl_page *pages_next_locked(struct encl *encl, uint64_t *idx, uint64_t end)
	REQUIRES(&encl->lock);
/* A new page, nowhere yet; NULL: no memory.  There must not be one. */
struct encl_page *pages_insert_locked(struct encl *encl, uint64_t idx) REQUIRES(&encl->lock);
void pages_erase_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);

/* ---- va.c ----------------------------------------------------------------------------------- */

/* All of them. */
struct encl_va *va_first(const struct encl *encl);
struct encl_va *va_next(const struct encl_va *va);
bool va_is_here(const struct encl_va *va);
/* No address, which would be another one in each run: policies choose by cookies. */
uint64_t va_cookie(const struct encl *encl, const struct encl_va *va);
struct encl_va *va_of_cookie(const struct encl *encl, uint64_t cookie);
/* Takes NULL. */
struct encl_va *va_of_slots(struct va_page *slots);
/* Where the versions of pages like this are. */
unsigned int va_level_of(const struct encl_page *page);
struct va_need va_need_locked(const struct encl *encl) REQUIRES(&encl->lock);
/* Make @frame a VA page; then it is the enclave's. -ENOMEM, -EFAULT: it is still the caller's. */
int va_add_locked(struct encl *encl, unsigned int level, struct epc_page *frame)
	REQUIRES(&encl->lock);
/* All but the top are offered to the reclaimer. */
void va_track_locked(struct encl *encl) REQUIRES(&encl->lock);
bool va_may_go_locked(struct encl *encl, const struct encl_page *page) REQUIRES(&encl->lock);
/* A VA page can be used for slots; it cannot any more, and is LEAVING or about to be. */
void va_in_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);
void va_out_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);
/* Levels and lists, made anew from the VA pages. */
void va_recount_locked(struct encl *encl) REQUIRES(&encl->lock);
/* A slot for a page that is in the EPC. False: none is free there now. */
bool va_slot_get_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);
void va_slot_put_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);
/* Of a page that is in the EPC: one of a VA page that is not broken. False: none is free. */
bool va_slot_mend_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);
/* What somebody who died has begun of that is ended. */
void va_mend_locked(struct encl *encl) REQUIRES(&encl->lock);

/* x86 has no translation that can be written or executed but not read. */
static inline bool encl_vma_denies(unsigned int vma_rwx, unsigned int access)
{
	if ((access & ENCL_R) && !vma_rwx)
		return true;
	return access & (ENCL_W | ENCL_X) & ~vma_rwx;
}

/* ---- readahead.c ---------------------------------------------------------------------------- */

void readahead_init(struct encl *encl);
/* Somebody has come to page @idx: before it is brought in, and others may have to leave. */
void readahead_come_locked(struct encl *encl, uint64_t idx) REQUIRES(&encl->lock);
/* A fault at page @idx has been served: more pages may be loaded. The lock is not dropped. */
void readahead_locked(struct encl *encl, struct bring *b, uint64_t idx) REQUIRES(&encl->lock);
/* Somebody uses the page, which was brought ahead: the manager is told by the caller. */
void readahead_used_locked(struct encl *encl, uint64_t idx, struct encl_page *page)
	REQUIRES(&encl->lock);
/*
 * It has left the EPC without, from @frame (NULL: that is not known any more). @idx: UINT64_MAX when the enclave has no more use
 * for streams
 */
void readahead_wasted_locked(struct encl *encl, uint64_t idx, struct encl_page *page,
			     const struct epc_page *frame) REQUIRES(&encl->lock);

/* ---- load.c --------------------------------------------------------------------------------- */

/*
 * Bringing a page in: what is in hand between tries.
 *
 * At most one frame is kept while the lock is dropped, and it is used for whatever is needed first
 * (the SECS, a VA page, the page), so that two threads can never wait for each other's.
 */
struct bring {
	struct encl *encl;
	const struct encl_mm *mm;
	struct encl_hand *hand; /* from the first frame on */
	struct epc_page *frame; /* the hand's */

	bool ahead;              /* for nobody yet: only what can be had at once, else -EBUSY */
	bool unseen;             /* not to be mapped */
	bool loaded;             /* a page that was asked for was away */
	uint32_t kept_pins;      /* of the hand's: not from bringing, and not given up with that */
	bool shown;              /* placing the page has mapped it, too */
	bool brief;              /* -ENOMEM is not the end: it comes soon */
	unsigned int waits;      /* times we waited for somebody */
	struct patience refused; /* there was no EPC page to be had */
};

void bring_init(struct bring *b, struct encl *encl, const struct encl_mm *mm);
/* Gives back what was not used. With or without the lock. */
void bring_fini(struct bring *b);
/* A frame in hand. -EAGAIN: the lock was dropped meanwhile, look again; -ENOMEM. */
int bring_frame_locked(struct encl *encl, struct bring *b) REQUIRES(&encl->lock);
/* The bytes of the frame in hand are on encl.stage, until it is placed or freed. */
void bring_use_stage_locked(struct encl *encl, struct bring *b) REQUIRES(&encl->lock);

/* A hand: 0 or -ENOMEM. */
int bring_hand_locked(struct encl *encl, struct bring *b) REQUIRES(&encl->lock);
/* The frame in hand has become a page, and the tree knows. */
void bring_pass_frame(struct bring *b);

/* What was pinned on the way need not stay; nothing may be when the lock is dropped for good. */
void bring_unpin_locked(struct encl *encl, struct bring *b) REQUIRES(&encl->lock);
/* A LEAVING page has gone, or has come back: -EAGAIN. */
int bring_wait_locked(struct encl *encl, struct bring *b, struct encl_page *page)
	REQUIRES(&encl->lock);
/* The window has what is on encl.stage where page @idx is: -ENOMEM, or 0. No mapping can show it yet. */
int bring_give_locked(struct encl *encl, uint64_t idx) REQUIRES(&encl->lock);
/* And that is the bytes of @frame. */
void bring_place_locked(struct encl *encl, struct epc_page *frame, uint64_t idx)
	REQUIRES(&encl->lock);

#define BRING_AUG 1u /* EAUG a page that does not exist */
/*
 * Page @idx in the EPC, its bytes in the window, and not on its way out.  The lock may have been dropped
 * and taken again.  0, or:
 *
 *   -ENOENT   there is none (and it may not be augmented)
 *   -EACCES   its maximum protection is less than @rwx
 *   -EBADMSG  what came from the backing store is not what went there
 *   -ENOMEM   no EPC page, no memory
 *   -EFAULT   EAUG refused
 */
int bring_page_locked(struct encl *encl, struct bring *b, uint64_t idx, unsigned int rwx,
		      unsigned int how, struct encl_page **ret_page) REQUIRES(&encl->lock);
/* In the EPC with its bytes in the window: an instruction may use it. */
bool page_is_here(const struct encl_page *page);
/*
 * ELDU into the frame in hand, which the page then has.  It keeps its version slot and its place in the
 * backing store: while the page is blocked or nowhere they are the way back.
 */
int load_frame_locked(struct encl *encl, struct bring *b, struct encl_page *page, uint64_t la,
		      uint64_t cookie, uint32_t secs) REQUIRES(&encl->lock);
/* It came from the backing store for good: its slots are free, the reclaimer may have it. */
void load_done_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);
/* There is no memory for it in the window: back to where it came from, and its frame is free. */
void load_undo_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);
/* What page tables may show of it: EPCM rights, none for pages that no access may reach. */
unsigned int page_reach(struct encl *encl, const struct encl_page *page);
void page_track_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);
/* 0; -EBUSY: a reclaimer has it in hand. */
int page_untrack_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);

/* ---- bring_va.c ----------------------------------------------------------------------------- */

/* Version slots for one more page: as bring_frame_locked(). */
int bring_va_locked(struct encl *encl, struct bring *b) REQUIRES(&encl->lock);
/* One VA page more, because those that there are cannot all be used: likewise, but never 0. */
int bring_va_more_locked(struct encl *encl, struct bring *b) REQUIRES(&encl->lock);
/* The VA page with the version of a page that is out is in, and stays: as bring_frame_locked(). */
int bring_version_locked(struct encl *encl, struct bring *b, const struct encl_page *page)
	REQUIRES(&encl->lock);

/* ---- fault.c -------------------------------------------------------------------------------- */

/* What bring_page_locked() said, as the fault that its user sees. */
struct encl_fault fault_from_errno(struct encl *encl, int r);

/* ---- evict.c -------------------------------------------------------------------------------- */

extern const struct sgx_epc_page_ops encl_page_ops;

/* ETRACK and the end of its cycle: no logical processor remembers a translation of ours.  @frame: it is for that page, or NULL. */
int encl_etrack_locked(struct encl *encl, const struct epc_page *frame) REQUIRES(&encl->lock);
/* EWB of a page that has its slots and is blocked; then it is evicted and the caller has the frame. */
int evict_write_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);
/* It does not need its version slot and its place in the backing store any more. */
void evict_slots_put_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);
/* The SECS has one more child in the EPC. */
void evict_child_came_locked(struct encl *encl) REQUIRES(&encl->lock);
/* A child of the SECS has gone: it may be the SECS's turn. */
void evict_child_gone_locked(struct encl *encl) REQUIRES(&encl->lock);

#endif
