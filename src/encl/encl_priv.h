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
#include "base/ref.h"
#include "encl/encl.h"
#include "epc/owner.h"

struct arena;
struct backing;
struct cpu;
struct epc;
struct epc_page;
struct window;

/* A VA page: 512 version slots. Never evicted; those with a free slot come first in encl.va_pages. */
struct encl_va {
	struct list node;
	struct encl_va *next_made; /* all of them, whatever becomes of the list */
	struct epc_page *epc_page;
	uint32_t used_nr;
	uint64_t used[SGX_VA_SLOTS / 64];
};

/*
 * A page of the enclave, SECS included.  One that is not in the tree has ENCL_PAGE_EXISTS clear.
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

#define ENCL_PAGE_EXISTS     0x01u
#define ENCL_PAGE_LEAVING    0x02u /* blocked, or about to be; no new use may begin */
#define ENCL_PAGE_REFERENCED 0x04u /* used since the reclaimer last asked */
#define ENCL_PAGE_TRACKED    0x08u /* offered to the reclaimer */

#define ENCL_LEAF_PAGES 512u

/* The cookie of an EPC page of ours is the index of the page in the enclave, or one of these. */
#define ENCL_COOKIE_SECS UINT64_MAX
#define ENCL_COOKIE_NONE (UINT64_MAX - 1) /* a VA page, or a frame that is nothing yet */

#define ENCL_CREATED     0x1u
#define ENCL_INITIALIZED 0x2u
#define ENCL_DEBUG       0x4u
#define ENCL_DEAD        0x8u /* a process died while it changed the enclave */

/* What the holder of the lock is doing: whether the enclave can go on without it (repair.c). */
enum encl_doing {
	ENCL_LOOKING,  /* changes nothing that others depend on */
	ENCL_EVICTING, /* a page is on its way out: can be seen through */
	ENCL_CHANGING, /* cannot */
};

struct encl_registry {
	struct epc *epc;
	struct arena *arena;
	struct lock lock;
	struct list encls;
	uint32_t next_id;
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
	atomic_uint flags;    /* ENCL_*: set under the lock, read anywhere */
	atomic_int ioctl_pid; /* who is in an ioctl, 0: nobody */
	atomic_uint hand_nr;  /* frames of ours that are no page yet */
	atomic_bool going;    /* encl_free() is at work: no page may be picked */

	struct list node; /* registry.lock */

	struct lock lock;
	enum encl_doing doing;
	uint64_t attributes, attributes_allowed;
	struct encl_page secs;
	struct encl_page **leaves; /* ENCL_LEAF_PAGES each, or NULL */
	uint64_t leaf_nr;
	uint64_t page_nr;  /* in the tree */
	uint64_t child_nr; /* of those, in the EPC */
	struct list va_pages;
	struct encl_va *va_made;
	uint64_t va_nr;
	uint64_t evictions, loads, faults;
	uint8_t mrenclave[32];
};

static inline unsigned int encl_flags(const struct encl *encl)
{
	return atomic_load_explicit(&encl->flags, memory_order_acquire);
}

/* ---- encl.c --------------------------------------------------------------------------------- */

/* Also notices that a holder died, and repairs the enclave or declares it dead. */
void encl_lock(struct encl *encl) ACQUIRES(&encl->lock);
void encl_unlock(struct encl *encl) RELEASES(&encl->lock);
/* The last process that could finish what was begun is gone. */
void encl_set_dead_locked(struct encl *encl) REQUIRES(&encl->lock);
bool encl_pid_gone(int pid);
uint64_t encl_now_ns(void);
#define ENCL_WAITS_LONG 64u /* some tens of milliseconds */
/* Wait a moment, longer with every one of *@waits; after a long time, help those who died. */
void encl_pause(struct encl *encl, unsigned int *waits) EXCLUDES(&encl->lock);
/* The same with the lock dropped and taken again. */
void encl_pause_locked(struct encl *encl, unsigned int *waits) REQUIRES(&encl->lock);

/* ---- free.c --------------------------------------------------------------------------------- */

/* Nobody has a reference any more. */
void encl_free(struct encl *encl);

/* ---- repair.c ------------------------------------------------------------------------------- */

/* The holder of the lock died. */
void repair_locked(struct encl *encl) REQUIRES(&encl->lock);
/* Whoever died may have been inside a leaf: what it held of our pages is let go of. Nobody else is in one. */
void repair_leaves(struct encl *encl);

/* ---- pages.c -------------------------------------------------------------------------------- */

static inline bool encl_has_la(const struct encl *encl, uint64_t la)
{
	return la >= encl->base && la - encl->base < encl->size;
}

int pages_create(struct encl *encl);
void pages_destroy(struct encl *encl);
/* NULL when there is no such page. */
struct encl_page *pages_find_locked(struct encl *encl, uint64_t idx) REQUIRES(&encl->lock);
/* The first page at or after *@idx, and before @end; *@idx becomes its index. NULL: none. */
struct encl_page *pages_next_locked(struct encl *encl, uint64_t *idx, uint64_t end)
	REQUIRES(&encl->lock);
/* A new page, nowhere yet; NULL: no memory.  There must not be one. */
struct encl_page *pages_insert_locked(struct encl *encl, uint64_t idx) REQUIRES(&encl->lock);
void pages_erase_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);

/* ---- va.c ----------------------------------------------------------------------------------- */

/* True when one more page would leave some page without a slot. */
bool va_is_short_locked(struct encl *encl) REQUIRES(&encl->lock);
/* Make @frame a VA page; then it is the enclave's. -ENOMEM, -EFAULT: it is still the caller's. */
int va_add_locked(struct encl *encl, struct epc_page *frame) REQUIRES(&encl->lock);
void va_slot_get_locked(struct encl *encl, struct encl_va **ret_va, uint16_t *ret_slot)
	REQUIRES(&encl->lock);
void va_slot_put_locked(struct encl *encl, struct encl_va *va, uint16_t slot) REQUIRES(&encl->lock);

/* x86 has no translation that can be written or executed but not read. */
static inline bool encl_vma_denies(unsigned int vma_rwx, unsigned int access)
{
	if ((access & ENCL_R) && !vma_rwx)
		return true;
	return access & (ENCL_W | ENCL_X) & ~vma_rwx;
}

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
	struct epc_page *frame;

	bool shown;           /* placing the page has mapped it, too */
	unsigned int waits;   /* times we waited for somebody */
	uint64_t refused_ns;  /* when there was no EPC page to be had for the first time */
	uint64_t patience_ns; /* how long that may last before it is -ENOMEM */
};

void bring_init(struct bring *b, struct encl *encl, const struct encl_mm *mm);
/* Gives back what was not used. With or without the lock. */
void bring_fini(struct bring *b);
/* A frame in hand. -EAGAIN: the lock was dropped meanwhile, look again; -ENOMEM. */
int bring_frame_locked(struct encl *encl, struct bring *b) REQUIRES(&encl->lock);
/* The bytes of the frame in hand are on encl.stage, until it is placed or freed. */
void bring_use_stage_locked(struct encl *encl, struct bring *b) REQUIRES(&encl->lock);

/* The frame in hand has become a page. */
struct epc_page *bring_take_frame(struct bring *b);

/* Version slots for one more page: as bring_frame_locked(). */
int bring_va_locked(struct encl *encl, struct bring *b) REQUIRES(&encl->lock);
/* The bytes in encl.stage are those of page @idx from now on, its frame in @frame: -ENOMEM, or 0. */
int bring_give_locked(struct encl *encl, struct epc_page *frame, uint64_t idx)
	REQUIRES(&encl->lock);

#define BRING_AUG 1u /* EAUG a page that does not exist */
/*
 * Page @idx in the EPC, its bytes in the window, and not on its way out.  The lock may have been dropped
 * and taken again.  0, or:
 *
 *   -ENOENT   there is none (and it may not be augmented)
 *   -EACCES   its maximum protection is less than @rwx
 *   -EBADMSG  what came from the backing store is not what went there
 *   -EIO      the enclave is dead
 *   -ENOMEM   no EPC page, no memory
 *   -EFAULT   EAUG refused
 */
int bring_page_locked(struct encl *encl, struct bring *b, uint64_t idx, unsigned int rwx,
		      unsigned int how, struct encl_page **ret_page) REQUIRES(&encl->lock);
/* In the EPC with its bytes in the window: an instruction may use it. */
bool page_is_here(const struct encl_page *page);
/* What page tables may show of it: EPCM rights, none for pages that no access may reach. */
unsigned int page_reach(struct encl *encl, const struct encl_page *page);
void page_track_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);
/* 0; -EBUSY: a reclaimer has it in hand. */
int page_untrack_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);

/* ---- fault.c -------------------------------------------------------------------------------- */

/* What bring_page_locked() said, as the fault that its user sees. */
struct encl_fault fault_from_errno(struct encl *encl, int r);

/* ---- evict.c -------------------------------------------------------------------------------- */

extern const struct sgx_epc_page_ops encl_page_ops;

/* ETRACK and the end of its cycle: no logical processor remembers a translation of ours. */
int encl_etrack_locked(struct encl *encl) REQUIRES(&encl->lock);
/* EWB of a page that has its slots and is blocked; then it is evicted and the caller has the frame. */
int evict_write_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);
/* It does not need its version slot and its place in the backing store any more. */
void evict_slots_put_locked(struct encl *encl, struct encl_page *page) REQUIRES(&encl->lock);
/* The SECS has one more child in the EPC. */
void evict_child_came_locked(struct encl *encl) REQUIRES(&encl->lock);
/* A child of the SECS has gone: it may be the SECS's turn. */
void evict_child_gone_locked(struct encl *encl) REQUIRES(&encl->lock);

#endif
