/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A keeper: someone who knows what is in a raw EPC file's pages, and so can have them taken out of the EPC
 * and brought back.  A file without one is served by vepc.c alone.
 *
 * The keeper's lock is the lock of all files that it keeps, so a page of one may be brought in for the sake
 * of a page of another.  Frames of a kept file belong to the file (epc_page_owner()), which tells what page each
 * is; the operations are the keeper's.
 */
#ifndef SWSGX_VEPC_KEEPER_H
#define SWSGX_VEPC_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "epc/stats.h"

struct epc_page;
struct lock;
struct epc_group;
struct sgx_epc_page_ops;
struct vepc;

/*
 * A page of a file: resident with @frame set.  @kept and @flags are the keeper's; a page with neither frame
 * nor kept is as if it had never been touched.
 */
struct vepc_page {
	struct epc_page *frame;
	void *kept;
	uint32_t flags;
};

/*
 * @page_ops: of the file's frames
 * @fault:    vepc_fault() of page @idx, without any lock
 * @remove:   EREMOVE of a page for REMOVE_ALL, wherever it is: 0, SGX_CHILD_PRESENT, or -EBUSY. Lock held
 * @going:    the file is about to end: nobody may find it any more. No lock held, as in the two below
 * @drop:     the file ends: forget what was kept of a page, and let the reclaimer forget its frame. The lock
 *            is not held: nobody else is left
 * @end:      the file has gone
 */
struct vepc_keeper_ops {
	const struct sgx_epc_page_ops *page_ops;
	int (*fault)(void *keeper, struct vepc *vepc, uint64_t idx);
	int (*remove)(void *keeper, struct vepc *vepc, uint64_t idx, struct vepc_page *page);
	void (*going)(void *keeper, struct vepc *vepc);
	void (*drop)(void *keeper, struct vepc *vepc, uint64_t idx, struct vepc_page *page);
	void (*end)(void *keeper, struct vepc *vepc);
};

/* @group: where its pages are charged. -EEXIST when the file has a keeper, or was mapped before; -ENOMEM. */
int vepc_keep(struct vepc *vepc, const struct vepc_keeper_ops *ops, void *keeper, struct lock *lock,
	      struct epc_group *group);
/* NULL: none. */
void *vepc_keeper(const struct vepc *vepc);

/*
 * A reclaimer's hold on the file, for get() and put() of the frames' operations: false when the file is
 * about to go.  The end of a file waits for the last one.
 */
bool vepc_batch_get(struct vepc *vepc);
void vepc_batch_put(struct vepc *vepc);
/* The file is about to end, and no reclaimer gets hold of it any more. */
bool vepc_is_going(const struct vepc *vepc);

/* All with the keeper's lock held, of offsets that have been reserved. */

/* NULL: no memory. */
struct vepc_page *vepc_page_locked(struct vepc *vepc, uint64_t idx);
/* The page whose frame that is, with its number; NULL: it is none. */
struct vepc_page *vepc_page_of_locked(struct vepc *vepc, struct epc_page *frame, uint64_t *ret_idx);
/* The first page at or after *@idx that has a frame or is kept, or NULL; *@idx becomes its number. */
struct vepc_page *vepc_page_next_locked(struct vepc *vepc, uint64_t *idx);
/* A frame for the file that is no page yet: 0 or as epc_alloc(). With EPC_MAY_RECLAIM no lock is held. */
int vepc_frame_alloc(struct vepc *vepc, unsigned int flags, struct epc_page **ret_frame);
void vepc_frame_free(struct vepc *vepc, struct epc_page *frame);
/* Something happened to a page of the file: for statistics. */
void vepc_count(struct vepc *vepc, const struct epc_page *frame, enum epc_count what);
/* @frame becomes page @idx, its bytes zeroed. 0, or -ENOMEM and it is still the caller's. */
int vepc_page_fill_locked(struct vepc *vepc, struct vepc_page *page, uint64_t idx,
			  struct epc_page *frame);
/*
 * The same for contents that have yet to be made: @frame, whose bytes are somewhere else (epc_page_lend()), becomes page
 * @idx; and then @bytes are put where mappings can show them: 0, or -ENOMEM.
 */
void vepc_page_link_locked(struct vepc *vepc, struct vepc_page *page, uint64_t idx,
			   struct epc_page *frame);
int vepc_page_give_locked(struct vepc *vepc, struct vepc_page *page, uint64_t idx,
			  const void *bytes);
/* The page's frame is no page any more: the caller, or the manager, frees it. */
struct epc_page *vepc_page_empty_locked(struct vepc *vepc, struct vepc_page *page);

/*
 * Whoever held the lock has died: what he may have left half done of the file itself is mended, so that every frame
 * with a page's number is that page's.  The keeper does it for each of his files, before all else.
 */
void vepc_repair_locked(struct vepc *vepc);

#endif
