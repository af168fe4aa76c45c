/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A duel: which of three orders would have fewer faults now, Linux's, CLOCK's or LIRS's?
 *
 * All are played, as shadows without frames, on a sample of the pages that is chosen by a hash, with capacities
 * reduced in proportion (SHARDS; Waldspurger et al., FAST 2015 and ATC 2017).  A shadow needs of the real pages what
 * a policy needs: loads, and whether a page was used since it last looked.  So it arms real pages of the
 * sample (policy_sample.h), and nothing else is asked of anybody.
 *
 * Linux's order is the measure.  Another one gets its place when its shadow has been ahead by as much as a change
 * may cost, and loses it when there really were more faults than in Linux's shadow and it had not earned
 * them; what was lost makes the next trial dearer.  Which one begins when the EPC is full is the word of a scout: a small
 * duel, over an EPC of an eighth, that is played while pages still come without any going.
 *
 * The shadows of all groups share one pool of nodes, which is as large as the EPC is good for: a group that finds
 * no room halves its sample, and where there are too many for that they take turns (policy_pool.c).  Every operation
 * takes bounded time.
 */
#ifndef SWSGX_EPC_POLICY_DUEL_H
#define SWSGX_EPC_POLICY_DUEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct duel;
struct policy_view;
struct shadows;

enum { DUEL_COLD_PART = 50 /* LIRS keeps one of so many pages for cold ones, at least */ };

enum duel_order { DUEL_UPSTREAM, DUEL_CLOCK, DUEL_LIRS };

/* The pool, for all orders of an EPC: what fits into @room bytes with samples, as docs/limits.md has it.  NULL: no memory. */
struct shadows *shadows_create(uint32_t page_nr, uint64_t room);
void shadows_destroy(struct shadows *shadows);
size_t shadows_bytes(const struct shadows *shadows);
/* No more pages than that are played. */
uint32_t shadows_node_nr(const struct shadows *shadows);

/* NULL: no memory. */
struct duel *duel_create(struct arena *arena, const struct policy_view *view);
void duel_destroy(struct duel *duel, struct arena *arena);
/* The shadows are empty, those of all other duels over the same pool as well; what has been learned stays. */
void duel_reset(struct duel *duel);

/* From now on uses of pages are seen: the scout is sent. */
void duel_watch(struct duel *duel);
/* A victim is wanted: the scout is back. */
void duel_start(struct duel *duel);

bool duel_is_sampled(const struct duel *duel, uint64_t key);
/* Page @nr was brought in; it was used; it was evicted; it is no more.  @key: ghost_key() of it. */
void duel_load(struct duel *duel, uint64_t key, uint32_t nr);
void duel_use(struct duel *duel, uint64_t key, uint32_t nr);
void duel_evicted(struct duel *duel, uint64_t key);
void duel_forget(struct duel *duel, uint64_t key);
/* There is room for so many pages.  Before the first call there is for all that come. */
void duel_set_capacity(struct duel *duel, uint32_t pages);

enum duel_order duel_order(const struct duel *duel);
/* LIRS has been seen to do better than Linux. */
bool duel_lirs_is_sure(const struct duel *duel);
/* For audits. */
bool duel_check(const struct duel *duel);

#endif
