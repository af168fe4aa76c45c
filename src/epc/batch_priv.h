/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Batches of reclaim: what is in one, and which there are (batch.c).  Which pages those are is in collect.c, what is done with
 * them in reclaim.c.
 */
#ifndef SWSGX_EPC_BATCH_PRIV_H
#define SWSGX_EPC_BATCH_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "epc/page.h"
#include "epc/policy.h"
#include "epc/window.h"

struct epc;

enum { EPC_BATCH_MAX = WINDOW_STAGE_PAGES };

/* How far a page in a batch has come.  Whoever finds a batch left by a dead process goes on from here. */
enum batch_phase {
	BATCH_NONE,
	BATCH_PICKED,  /* IN_BATCH */
	BATCH_GOT,     /* and its owner is held */
	BATCH_READY,   /* and the owner lets it go */
	BATCH_BLOCKED, /* and nothing new may begin on it */
	BATCH_WRITTEN, /* and its contents are in the backing store */
	BATCH_RETURNS, /* and could not be written: its bytes go back */
};

struct batch_entry {
	uint32_t nr;
	uint32_t win_page;     /* its bytes were there, or PAGE_AT_HOME */
	_Atomic uint8_t phase; /* enum batch_phase */
	uint8_t stage;         /* of its bytes, or NO_STAGE */
};

enum { NO_STAGE = 0xff };

/* One batch of reclaim.  Made when so many are needed at once for the first time. */
struct batch {
	struct lock lock;
	unsigned int slot;      /* constant: of the window, and its place in epc.batch */
	_Atomic uint32_t nr;    /* entries in use, some of them BATCH_NONE */
	_Atomic uint64_t begun; /* as the how manieth of all batches; 0: nobody is at it */
	struct batch_entry entry[EPC_BATCH_MAX];
};

/* 0 or -ENOMEM. */
int batches_init(struct epc *epc);
void batches_fini(struct epc *epc);
/* The one of @slot; NULL: no memory for it, when it is needed for the first time. */
struct batch *batch_at(struct epc *epc, unsigned int slot);
void batch_begin(struct epc *epc, struct batch *batch);
/* How many batches have begun so far; whether none of the first @number of them is under way any more. */
uint64_t batches_begun(const struct epc *epc);
bool batches_have_ended(const struct epc *epc, uint64_t number);

/*
 * For what undoes get().  The page may be anybody's by then, so the owner is shown a copy of what it was: it is the
 * owner's reference that keeps alive what the copy points to.
 */
struct owner_copy {
	const struct sgx_epc_page_ops *ops;
	struct epc_page page;
};

void owner_copy(struct owner_copy *copy, const struct epc_page *page);
void owner_put(struct owner_copy *copy);
/* An entry's page stays resident.  @got: its owner is held. */
void batch_put_back(struct epc *epc, struct batch_entry *entry, enum policy_return why, bool got);

#endif
