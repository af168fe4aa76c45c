/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Tracking: who may still hold an old translation of a page.
 *
 * One 64-bit word a SECS: the epoch, how many logical processors inside count for it, how many of
 * the epoch before must still leave, and whether a flush has made those that entered earlier count
 * for the present one.  ETRACK starts an epoch; it needs that nobody of the one before is left.
 */
#ifndef SWSGX_CPU_EPOCH_H
#define SWSGX_CPU_EPOCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

void epoch_init(_Atomic uint64_t *track);

/* One more logical processor inside. False when the count is full. */
bool epoch_enter(_Atomic uint64_t *track, uint64_t *ret_entry_epoch);
void epoch_leave(_Atomic uint64_t *track, uint64_t entry_epoch);
uint32_t epoch_active_nr(const _Atomic uint64_t *track);

/* ETRACK. False: the cycle before is incomplete. */
bool epoch_advance(_Atomic uint64_t *track);
bool epoch_cycle_complete(const _Atomic uint64_t *track);
/* Everybody inside counts for the present epoch from now on. */
void epoch_flush(_Atomic uint64_t *track);

/* @nr logical processors are inside, and all of them count for the present epoch. */
void epoch_recount(_Atomic uint64_t *track, uint32_t nr);

/*
 * For EPCM: never 0, which means "nothing to wait for".  It tells 2^31 epochs apart.  One that is older than that looks
 * younger than it is, and so at worst not tracked for the length of an epoch, until the next ETRACK; it never looks older.
 */
uint32_t epoch_stamp(const _Atomic uint64_t *track);
/* @stamp is of a later epoch than @than (0: than none), which was read before the call. */
bool epoch_later(const _Atomic uint64_t *track, uint32_t stamp, uint32_t than);
/* An epoch has begun after @stamp, and everybody from before it has left. */
bool epoch_tracked(const _Atomic uint64_t *track, uint32_t stamp);

#endif
