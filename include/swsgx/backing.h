/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/**
 * @file swsgx/backing.h - a place for the contents of pages that are written out
 *
 * An owner may put what its pages hold wherever it likes.  This is the place that the EPC has for it: memory, or the
 * file of struct swsgx_epc_config.backing_path.  Contents are encrypted and authenticated on their way out (AES-128-GCM, with a
 * key of the EPC's own and a version for each time), so what comes back is what went out last, or an error.
 *
 * An owner's places are a table, by numbers of its own: cookies, mostly.  Writing is what an owner's @write does, reading
 * what it does when the page is wanted again.
 *
 * Thread safety: different entries of one table may be worked on at once; one of them by one thread at a time.  Any process
 * of the fork tree may; one that is killed at any moment costs nobody else more than an entry that is then written again.
 */
#ifndef SWSGX_BACKING_H
#define SWSGX_BACKING_H

#include <swsgx/epc.h>

#ifdef __cplusplus
extern "C" {
#endif

struct swsgx_slots;

/**
 * swsgx_slots_create() - a table of places
 * @epc:       of the EPC
 * @nr:        entries 0 .. @nr - 1, all empty; 16 bytes of shared memory each
 * @ret_slots: receives the table
 *
 * Returns 0, or:
 *   -EINVAL  @nr is 0
 *   -ENOMEM  no shared memory (struct swsgx_epc_config.shared_bytes)
 *
 * Source: ours; Linux has a file of shared memory for each enclave, sgx_encl_create() in arch/x86/kernel/cpu/sgx/ioctl.c.
 * Since: 0.1
 */
int swsgx_slots_create(struct swsgx_epc *epc, uint32_t nr, struct swsgx_slots **ret_slots);

/**
 * swsgx_slots_destroy() - the end of a table
 * @slots: nobody uses it any more; may be NULL
 *
 * What is in it is lost, and its places are free.
 * Source: ours.
 * Since: 0.1
 */
void swsgx_slots_destroy(struct swsgx_slots *slots);

/**
 * swsgx_slot_write() - what a page holds goes out
 * @slots: the table
 * @i:     the entry; what was in it before is lost, also when this fails
 * @page:  a page of the caller's, or one that @write was called for; it stays as it is
 *
 * Without a file it is there when this returns.  A file gets it with later batches of reclaim, and memory holds it until
 * the storage has said that it has it.
 *
 * Returns 0, or:
 *   -EINVAL  there is no such entry
 *   -ENOSPC  the store is as full as struct swsgx_epc_config.backing_bytes_max, the disk, memory or RLIMIT_FSIZE lets it be
 *   -EHWPOISON  the page has broken: there is nothing to write
 *   -EAGAIN  too much waits for the file, and another thread is at work on that
 *   -EIO, or what else write(2) says: the file takes nothing, and too much waits for it already (256 pages)
 *
 * Source: SDM Vol. 3D, "EWB - Invalidate an EPC Page and Write out to Main Memory"; __sgx_encl_ewb() in Linux's
 * arch/x86/kernel/cpu/sgx/main.c.
 * Since: 0.1
 */
int swsgx_slot_write(struct swsgx_slots *slots, uint32_t i, struct swsgx_page *page);

/**
 * swsgx_slot_read() - and comes back
 * @slots: the table
 * @i:     the entry; it keeps what is in it, and from then on also the memory that it was read into
 * @page:  a page of the caller's that is not tracked.  Its contents are undefined when this fails
 *
 * Returns 0, or:
 *   -EINVAL   there is no such entry
 *   -ENOENT   nothing is in it
 *   -EBADMSG  it is not what was written last: the storage has changed it, or tells lies
 *   -EIO, or what else read(2) says: the file does not give it.  It may be tried again
 *   -ENOSPC   no memory to read it into; it may be tried again
 *
 * Source: SDM Vol. 3D, "ELDB/ELDU/ELDBC/ELBUC - Load an EPC Page and Mark its State"; __sgx_encl_eldu() in Linux's
 * arch/x86/kernel/cpu/sgx/encl.c.
 * Since: 0.1
 */
int swsgx_slot_read(struct swsgx_slots *slots, uint32_t i, struct swsgx_page *page);

/**
 * swsgx_slot_free() - an entry is empty from now on
 * @slots: the table
 * @i:     the entry, less than there are; it may be empty
 *
 * For contents that nobody wants any more, and for what has come back and will be written anew: its place is
 * somebody else's to have.
 * Source: ours; sgx_encl_truncate_backing_page() in Linux's arch/x86/kernel/cpu/sgx/encl.c.
 * Since: 0.1
 */
void swsgx_slot_free(struct swsgx_slots *slots, uint32_t i);

#ifdef __cplusplus
}
#endif

#endif
