/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Ghosts: pages that were evicted not long ago, and when each was last used.
 *
 * A set-associative table of ten ghosts in 32 bytes, one ghost for two EPC pages: 1.6 bytes of metadata a page.  A set is
 * a queue: the newest ghost pushes out the oldest.  A ghost is a 16-bit tag, so one in 6500 look-ups finds somebody
 * else's, which costs one wrong guess.
 */
#ifndef SWSGX_EPC_POLICY_GHOST_H
#define SWSGX_EPC_POLICY_GHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ghosts;
struct policy_view;

/* NULL: no memory. */
struct ghosts *ghosts_create(uint32_t page_nr);
void ghosts_destroy(struct ghosts *ghosts);
size_t ghosts_bytes(const struct ghosts *ghosts);

/*
 * What a page is known by wherever it is: its owner's number and its cookie, mixed.  Nothing of it is a place in memory, so
 * it is the same in every run, and stays so when a struct changes.
 */
uint64_t ghost_key(const struct policy_view *view, uint32_t nr);
/* The ghost of page @nr will be looked for or put soon. */
void ghost_prefetch(const struct policy_view *view, uint32_t nr);
void ghost_put(struct ghosts *ghosts, uint64_t key, uint8_t stamp);
/* True, and the ghost is gone, when there was one. */
bool ghost_take(struct ghosts *ghosts, uint64_t key, uint8_t *ret_stamp);

#endif
