/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Raw EPC: the second owner of EPC pages, what Linux has behind /dev/sgx_vepc.
 *
 * One struct vepc is one open of the device: a sparse file of EPC pages, each of them taken at its first
 * touch and kept until the file goes.  What is in the pages is the business of whoever has it mapped; by
 * itself this owner never initialises a page and never offers one to the reclaimer.  Someone who can do
 * better takes the pages into his keeping (keeper.h).
 *
 * It lives in shared memory; a forked child has the same file, but not its parent's mappings.
 */
#ifndef SWSGX_VEPC_VEPC_H
#define SWSGX_VEPC_VEPC_H

#include <stdbool.h>
#include <stdint.h>

struct epc;
struct vepc;
struct vepc_registry;

/* All the raw EPC files of one EPC. 0 or -ENOMEM. */
int vepc_registry_create(struct epc *epc, struct vepc_registry **ret_registry);
/* All files have gone, and with the last of them the last zombie. */
void vepc_registry_destroy(struct vepc_registry *registry);
/*
 * Pages of closed files that could not be given back: SECS whose children are in files that are open.
 * Every later end of a file tries them again.
 */
uint32_t vepc_zombie_nr(struct vepc_registry *registry);

/* open(): 0 or -ENOMEM. One reference. */
int vepc_open(struct vepc_registry *registry, struct vepc **ret_vepc);
struct vepc *vepc_get(struct vepc *vepc);
/* The last one EREMOVEs and frees every page, SECS last. Takes NULL, returns NULL. */
struct vepc *vepc_put(struct vepc *vepc);

/*
 * Offsets of the file lie in the window chunk by chunk: a mapping takes a range of the window for every
 * chunk that it has a part of.
 */
#define VEPC_CHUNK_BYTES (128ull << 20)
/* mmap() of @bytes at @off, multiples of a page: 0, -EINVAL past the end of all offsets, or -ENOMEM. */
int vepc_reserve(struct vepc *vepc, uint64_t off, uint64_t bytes);
/* Where offset @off is in the window, good until the end of its chunk.  It has been reserved. No lock is taken. */
uint64_t vepc_win_off(struct vepc *vepc, uint64_t off);

/*
 * Someone touched the page at @off of a mapping.  0: the window holds it now, and mappings can show it
 * (unless it has been taken away again meanwhile: then it is touched again).  Else the toucher gets a SIGBUS:
 *
 *   -ENOMEM  there is no EPC page for it, or no memory
 *   -EIO     what it held is lost, see keeper.h
 *   -EBUSY   it cannot be brought in: an instruction that works on it, or on its SECS, does not end
 */
int vepc_fault(struct vepc *vepc, uint64_t off);

/*
 * SGX_IOC_VEPC_REMOVE_ALL: EREMOVE every page; they stay with the file.  How many are SECS that still have
 * children (possibly in other files: do those, then this one again), or -EBUSY when one is in use.
 */
long vepc_remove_all(struct vepc *vepc);

/*
 * The EPC page that holds @off now, or CPU_NO_PAGE: for who executes instructions on it.  By itself a file
 * never loses a page, so it stays good.
 */
uint32_t vepc_page_nr(struct vepc *vepc, uint64_t off);
/* Pages in the EPC. */
uint64_t vepc_resident(struct vepc *vepc);

#endif
