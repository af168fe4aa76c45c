/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The array of ranges (range.c), as the mmap family changes it (map.c).
 */
#ifndef SWSGX_RUNTIME_RANGE_PRIV_H
#define SWSGX_RUNTIME_RANGE_PRIV_H

#include <sys/mman.h>

#include "runtime/rt.h"

static inline int prot_of(unsigned int rwx)
{
	return (rwx & ENCL_R ? PROT_READ : 0) | (rwx & ENCL_W ? PROT_WRITE : 0) |
	       (rwx & ENCL_X ? PROT_EXEC : 0);
}

static inline unsigned int rwx_of(int prot)
{
	return (prot & PROT_READ ? ENCL_R : 0) | (prot & PROT_WRITE ? ENCL_W : 0) |
	       (prot & PROT_EXEC ? ENCL_X : 0);
}

static inline uint64_t page_up(uint64_t x)
{
	return (x + 4095) & ~4095ull;
}

/* Index of the first range that ends above @addr. */
size_t range_lower(uint64_t addr);
/* Does [start, end) meet the bounds of all ranges? */
bool range_touches(uint64_t start, uint64_t end);
/* Make @addr a border: the range around it becomes two. */
void range_split_locked(uint64_t addr);
/* Make those around index @i that differ in nothing one. */
void range_merge_around_locked(size_t i);
/* Nothing of ours lies in [start, end) any more. The host's mappings are the caller's business. */
void range_cut_locked(uint64_t start, uint64_t end);
/* [start, end) is a mapping of @encl now: backed inside its ELRANGE, empty outside. */
int range_install_locked(struct encl *encl, uint64_t start, uint64_t end, unsigned int rwx);
/* [start, end) is a mapping of @vepc from offset @off on, a piece for each chunk of the file. */
int range_install_vepc_locked(struct vepc *vepc, uint64_t start, uint64_t end, uint64_t off,
			      unsigned int rwx);

#endif
