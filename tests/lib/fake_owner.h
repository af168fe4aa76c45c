/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * An owner of EPC pages that is no enclave: a range of pages that count how often they were used, are
 * evicted to the backing store and come back.  What a page must hold is known at all times, so a lost, mixed up or
 * stale page is found at the next use.
 *
 * It lives in shared memory, so forked processes can use the same one.  To the processor its pages are VA
 * pages: EPA makes them, and an EREMOVE stands for EWB.
 */
#ifndef SWSGX_TESTS_FAKE_OWNER_H
#define SWSGX_TESTS_FAKE_OWNER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "base/ref.h"
#include "cpu/cpu.h"
#include "epc/epc.h"

/* Where to fail: every n-th call, 0 never.  The last cannot. */
enum fake_op {
	FAKE_GET,
	FAKE_RECLAIM,
	FAKE_BLOCK,
	FAKE_WRITE,
	FAKE_OP_NR,
	FAKE_PUT = FAKE_OP_NR,
	FAKE_CALL_NR,
};

struct epc_group;
struct epc_owner;

struct fake_page {
	struct epc_page *epc_page; /* resident */
	uint64_t uses;             /* what the page must say */
	uint32_t slot;             /* evicted, or BACKING_NO_SLOT */
	bool blocked;
};

struct fake_owner {
	struct lock lock;
	struct ref refs;
	struct epc *epc;
	struct epc_owner *epc_owner;
	uint64_t win_off; /* UINT64_MAX: pages stay at home, as VA pages do */
	uint32_t id;
	uint32_t page_nr;
	bool dying;
	bool freed;
	_Atomic uint32_t fail_every[FAKE_CALL_NR];
	_Atomic uint32_t calls[FAKE_CALL_NR];
	_Atomic uint32_t failed[FAKE_CALL_NR];
	_Atomic uint32_t loads, wrong;
	const char *wrong_why; /* the first time */
	/* A hook for tests, may be NULL: @called_for is the page, and what it sets to fail fails already. */
	void (*on_op)(struct fake_owner *owner, enum fake_op op);
	struct epc_page *_Atomic called_for;
	struct fake_page page[];
};

/* An EPC of so many pages with everything below it, and the reverse. */
struct fake_machine {
	struct arena *arena;
	struct cpu *cpu;
	struct epc *epc;
};
int fake_machine_create(struct fake_machine *machine, uint32_t epc_pages, const char *policy,
			const char *backing_path, uint64_t backing_bytes_max);
/* The same with all that can be said; arena and processor are put into @epc_config. */
int fake_machine_create_as(struct fake_machine *machine, const struct cpu_config *cpu_config,
			   const struct epc_config *epc_config);
/* Over memory, in two sections of so many shards each: for tests of what must hold between them. */
int fake_machine_create_sharded(struct fake_machine *machine, uint32_t epc_pages,
				const char *policy, unsigned int shards);
void fake_machine_destroy(struct fake_machine *machine);

/* @mapped: its pages are placed in a range of the window. NULL: no memory. */
struct fake_owner *fake_owner_create(struct epc *epc, uint32_t id, uint32_t page_nr, bool mapped);
/* The same in a group. */
struct fake_owner *fake_owner_create_in(struct epc_group *group, struct epc *epc, uint32_t id,
					uint32_t page_nr, bool mapped);
/* Drop one reference; the last one frees the pages. The memory goes with the arena. */
void fake_owner_put(struct fake_owner *owner);

/*
 * Use page @i once: bring it in if need be, check what it holds, count.
 *
 *   0, -EAGAIN (it is in a batch), -EHWPOISON (what was in it is lost), or what epc_alloc() said
 */
int fake_use(struct fake_owner *owner, uint32_t i, unsigned int alloc_flags);
/* The same until it works; false when the allocator gave up. */
bool fake_use_surely(struct fake_owner *owner, uint32_t i);
/* Take the page out of use for good, as EREMOVE does: 0, -EAGAIN. The next use starts at zero. */
int fake_remove(struct fake_owner *owner, uint32_t i);
/* Pages in the EPC. */
uint32_t fake_resident(struct fake_owner *owner);

#endif
