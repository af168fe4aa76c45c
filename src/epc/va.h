/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Version arrays: whose slot is where, for owners that evict pages with EWB.
 *
 * A VA page is evictable like any other, and then its own version lies in a VA page one level up, as deep as need be:
 * level 0 has the versions of the owner's pages, level n + 1 those of the VA pages of level n.  VA pages of the highest
 * level there is, the top, stay, so that there is always a way back to all others.
 *
 * Two invariants, for each level.  There are as many slots as pages that may ever want one: va_is_short() says when a
 * new page needs a new VA page first.  And those of the slots that are free and in the EPC (`free_nr`) are as many as the pages
 * that are in the EPC: so a page that must leave always finds one, when there is no EPC to load a VA page with.
 * Neither an eviction nor a load changes how many more there are (the slack); only a VA page that comes or goes does.
 *
 * This is bookkeeping alone, under the owner's lock: what a VA page is beside its slots, where it is when it is not in
 * the EPC, and all instructions, are the owner's.
 */
#ifndef SWSGX_EPC_VA_H
#define SWSGX_EPC_VA_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/sgx.h"
#include "base/list.h"

enum { VA_LEVELS = 4 }; /* 512 to the fourth is more pages than anybody can have */

/* 512 slots. A member of the owner's struct. */
struct va_page {
	struct list node;     /* va_level.with_free, while it is here and has any; else alone */
	struct va_page *next; /* va_set.made */
	uint8_t level;
	bool here; /* in the EPC, and not about to leave it */
	uint32_t used_nr;
	uint32_t busy_nr; /* slots of pages that are in the EPC: it cannot go */
	uint64_t used[SGX_VA_SLOTS / 64];
};

struct va_level {
	struct list with_free; /* of those that are here; the next slot comes from the first */
	uint64_t nr, here_nr;  /* VA pages; those in the EPC */
	uint64_t free_nr;      /* free slots of the latter */
};

/* An owner's. */
struct va_set {
	struct va_page *made; /* all of them */
	struct va_level level[VA_LEVELS];
};

/* The owner's pages whose versions are of level 0: all of them, and those that are in the EPC. */
struct va_need {
	uint64_t pages, here;
};

void va_init(struct va_set *set);

/* True when one more page would leave some page of that level without a slot. */
bool va_is_short(const struct va_set *set, unsigned int level, struct va_need need);
/*
 * Where the VA page belongs that has to be made when level 0 is short: a new one has a version as well, so the highest
 * level that is short comes first.
 */
unsigned int va_short_level(const struct va_set *set, struct va_need need);
/* One that should be loaded, because too few free slots are in the EPC; NULL: none. */
struct va_page *va_wanted(const struct va_set *set, unsigned int level, struct va_need need);
bool va_is_top(const struct va_set *set, const struct va_page *va);
/* It can leave the EPC, or go for good. */
bool va_may_go(const struct va_set *set, const struct va_page *va, struct va_need need);
bool va_is_spare(const struct va_set *set, const struct va_page *va, struct va_need need);

/* A new one, which is here; one that goes for good, with no slot used. */
void va_add(struct va_set *set, struct va_page *va, unsigned int level);
void va_remove(struct va_set *set, struct va_page *va);
/* It can be used for slots from now on; it cannot any more. */
void va_in(struct va_set *set, struct va_page *va);
void va_out(struct va_set *set, struct va_page *va);

/* Slots of it may be taken: false of a page that is broken, say. */
typedef bool va_usable(const struct va_page *va);
/* A slot for a page that is in the EPC; busy. NULL: none is free there now, of those that are @usable. */
struct va_page *va_slot_get(struct va_set *set, unsigned int level, va_usable *usable,
			    uint16_t *ret_slot);
/* The slot is free, and was not busy. */
void va_slot_put(struct va_set *set, struct va_page *va, uint16_t slot);
/* The page of a slot has come into the EPC, or has left it. */
void va_slot_busy(struct va_page *va);
void va_slot_idle(struct va_page *va);

/* After a death: no slot is used; one is; and levels and lists made anew, by what is here. */
void va_forget_slots(struct va_set *set);
void va_note_slot(struct va_page *va, uint16_t slot, bool busy);
void va_recount(struct va_set *set);

#endif
