/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Where numbers are kept: counters of an owner, pressure of an owner or a group, and who stands still.
 */
#ifndef SWSGX_EPC_STATS_PRIV_H
#define SWSGX_EPC_STATS_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "epc/stats.h"

enum { EPC_COUNT_SLOTS_MAX = 16, EPC_STALLED_MIN = 16, EPC_STALLED_MAX = 64 };

/* What one owner counted on one logical processor, or on those that have it in common. */
struct counts {
	_Alignas(64) _Atomic uint64_t nr[EPC_COUNT_NR];
};

/* All under groups_lock. */
struct pressure {
	uint64_t since_ns; /* told up to then */
	uint64_t avg_ns;   /* averages up to then */
	struct {
		uint64_t total_ns, averaged_ns;
	} kind[EPC_PRESSURE_NR];
	uint32_t avg[EPC_PRESSURE_NR][3]; /* parts of 65536 */
	uint8_t now[EPC_PRESSURE_NR];     /* 0 or 1; whoever looks from outside may find anything */
};

/* A thread that stands still for a page.  If it is killed, somebody takes it off. */
struct stalled {
	struct epc_owner *owner;        /* NULL: free */
	uint32_t tid : 24, section : 8; /* the section that it would have a page of first */
	_Atomic uint32_t seen_ms;       /* of the clock, its low bits */
};

void stalls_fini(struct epc *epc);
/* Without any lock. The stall's place, for the end of it; NULL: too many at once, this one is not told of. */
struct stalled *stall_begin(struct epc_owner *owner);
/* It is still alive. Without any lock; takes NULL. */
void stall_goes_on(struct stalled *stalled, uint64_t now);
void stall_end(struct stalled *stalled, struct epc_owner *owner);
/* The owner has gone; it may have stalls of the dead. */
void stalls_forget_locked(struct epc_owner *owner);
void pressure_read_locked(struct epc *epc, struct pressure *pressure,
			  struct epc_pressure ret[EPC_PRESSURE_NR]);

/* How many slots the counters of an owner have, which is a power of two: one for each logical processor, if that is not too many. */
uint32_t counts_slot_nr(void);
/* As @pressure tells it, up to @now: it changes, to no harm of others. */
void pressure_tell(struct pressure *pressure, uint64_t now,
		   struct epc_pressure ret[EPC_PRESSURE_NR]);

/* Add what is counted in so many slots to @sum, of EPC_COUNT_NR. */
void counts_add(const struct counts *counts, uint32_t slot_nr, uint64_t *sum);
/* The owner goes, with groups_lock held: its group remembers what it counted. */
void counts_retire(struct epc_owner *owner);
/* Of a group without owners, that goes. groups_lock is held. */
void group_counts_retire_locked(struct epc_group *group);

#endif
