/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the files of vepc/ share.  Everything is in the arena; unless it says otherwise a member is
 * protected by *vepc.lock.
 */
#ifndef SWSGX_VEPC_VEPC_PRIV_H
#define SWSGX_VEPC_VEPC_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arch/sgx.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/ref.h"
#include "vepc/keeper.h"
#include "vepc/vepc.h"

struct arena;
struct cpu;
struct epc_page;
struct window;

#define VEPC_LEAF_PAGES  512u
#define VEPC_CHUNK_PAGES (VEPC_CHUNK_BYTES / SGX_PAGE_SIZE)
#define VEPC_LEAVES      (VEPC_CHUNK_PAGES / VEPC_LEAF_PAGES)

/* Offsets nr * VEPC_CHUNK_BYTES and on.  Once there it stays as long as the file. */
struct vepc_chunk {
	struct list node;
	uint64_t nr;
	uint64_t win_off;
	struct vepc_page *leaf[VEPC_LEAVES]; /* VEPC_LEAF_PAGES each, or NULL */
};

struct vepc_registry {
	struct epc *epc;
	struct arena *arena;
	struct lock lock;
	struct list zombies; /* closed files that still have a page */
};

struct vepc {
	/* constant */
	struct vepc_registry *registry;
	struct epc *epc;
	struct cpu *cpu;
	struct arena *arena;
	struct window *window;
	struct epc_owner *epc_owner; /* the keeper's, once it has one */

	struct ref refs;
	atomic_uint hand_nr;  /* frames of ours that are no page yet */
	atomic_uint batch_nr; /* reclaimers that are between get and put */
	atomic_bool going;    /* no new one */

	/* Set before the file is first mapped. */
	const struct vepc_keeper_ops *ops; /* NULL: no keeper */
	void *keeper;
	struct lock *lock; /* own_lock, or the keeper's */

	struct list node; /* zombies, registry.lock */

	struct lock own_lock;
	bool died;          /* a process died holding the lock */
	struct list chunks; /* by rising number */
	uint64_t resident;
};

/* The cookie of a frame: its page's number in the file and one, or 0, which it has from the manager: no page yet. */
#define VEPC_COOKIE_NONE 0ull

void vepc_lock(struct vepc *vepc) ACQUIRES(vepc->lock);
void vepc_unlock(struct vepc *vepc) RELEASES(vepc->lock);

/* ---- pages.c -------------------------------------------------------------------------------- */

struct vepc_chunk *chunk_find(struct vepc *vepc, uint64_t nr);
/* 0 or -ENOMEM. */
int chunk_need_locked(struct vepc *vepc, uint64_t nr);
/* Chunks and leaves, with no page left in any. */
void chunks_free(struct vepc *vepc);

/* ---- free.c --------------------------------------------------------------------------------- */

/* Nobody has a reference any more. */
void vepc_free(struct vepc *vepc);

#endif
