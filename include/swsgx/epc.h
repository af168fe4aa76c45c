/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/**
 * @file swsgx/epc.h - the EPC memory manager, for programs that own EPC pages
 *
 * An EPC has a fixed number of pages of 4096 bytes.  An owner takes pages, offers those that may go to the reclaimer,
 * and is asked to write them out when others need them.  What its pages hold, where their contents go and
 * how they come back is the owner's affair: the manager knows it by a table of operations.  docs/owners.md
 * writes an owner step by step.  Beside this header: swsgx/backing.h, a place for contents that are written out, and
 * swsgx/stats.h, numbers.
 *
 * The life of a page: swsgx_page_alloc() -> OWNED, swsgx_page_track() -> TRACKED, then either swsgx_page_untrack()
 * -> OWNED again and swsgx_page_free(); or the reclaimer takes it into a batch, has it written by its
 * owner, and it is free.
 *
 * Thread safety: every function may be called from any thread, and, with an EPC made before a fork, from any process
 * of the fork tree (owners must lie in memory that all of them share, see swsgx_shared_alloc()).  The manager
 * calls an owner's operations in whatever thread needs a page, with no lock of its own held.
 *
 * Errors: a function that can fail returns a negative errno, and leaves what it should have written as it was.  Whatever is
 * said of an argument and is not listed as an error is a precondition: where the manager finds one broken, the
 * program ends with a failed assertion.
 *
 * Versions: structures keep their size.  What a later version adds takes the place of reserved members, where 0 means what
 * there was before; so a program sets them to 0 (an initialiser does), and one that asks an older library for something
 * newer is told: -EINVAL.  What a library has nothing to say of is 0 in what it fills in.
 *
 * Link with: pkg-config --cflags --libs swsgx-epc
 */
#ifndef SWSGX_EPC_H
#define SWSGX_EPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SWSGX_PAGE_SIZE    4096u
#define SWSGX_SECTIONS_MAX 8u
#define SWSGX_NO_NODE      (-1)

struct swsgx_epc;
struct swsgx_group;
struct swsgx_owner;
struct swsgx_page;

/* ---- an EPC --------------------------------------------------------------------------------------- */

/**
 * struct swsgx_section_config - a section of an EPC
 * @bytes:    its size, a multiple of SWSGX_PAGE_SIZE, not 0
 * @node:     the NUMA node that it is on, 0 to 1023, or SWSGX_NO_NODE.  One that the system does not have is as far as any
 * @reserved: 0
 *
 * Source: SDM Vol. 3D, "Software Visible Discovery of EPC" (CPUID leaf 12H, sub-leaves from 2 on); sgx_page_cache_init() in
 * Linux's arch/x86/kernel/cpu/sgx/main.c for the node of each.
 */
struct swsgx_section_config {
	uint64_t bytes;
	int32_t node;
	uint32_t reserved;
};

/**
 * struct swsgx_epc_config - how large an EPC is to be, and how it reclaims
 * @bytes:   size of an EPC that is one section on no node, a multiple of SWSGX_PAGE_SIZE; 0 where @section tells
 * @policy:  the order of eviction, as `swsgx run --policy` takes it: "adaptive" (the default, as NULL is), "upstream",
 *           "clock", "sieve", "s3fifo", "lirs" or "clockpro" (docs/policies.md)
 * @backing_path:      where the pages of swsgx/backing.h go, as `swsgx run --backing` takes it: a file that does not exist
 *                     yet, or a directory.  It loses its name at once, and its bytes with the EPC.  NULL: memory
 * @backing_bytes_max: no more than this, 128 bytes beside each page included; 0: no limit
 * @shared_bytes:      for swsgx_shared_alloc() and the manager's records of groups and owners, up to 1 TiB of address
 *                     space; 0: 64 MiB
 * @section:    the sections, @section_nr of them, in the order of page numbers; NULL where @bytes tells
 * @section_nr: up to SWSGX_SECTIONS_MAX; 0 where @bytes tells
 * @reserved32, @reserved: 0
 *
 * All sections together have from 16 pages to 1 TiB.
 */
struct swsgx_epc_config {
	uint64_t bytes;
	const char *policy;
	const char *backing_path;
	uint64_t backing_bytes_max;
	uint64_t shared_bytes;
	const struct swsgx_section_config *section;
	uint32_t section_nr;
	uint32_t reserved32;
	uint64_t reserved[8];
};

/**
 * swsgx_epc_create() - make an EPC
 * @config:  see there; not needed after the call
 * @ret_epc: receives the EPC
 *
 * It takes address space and a few file descriptors; memory is taken as pages are used.  Nothing of it is the system's: it
 * needs no SGX, no privilege and no device.
 *
 * As long as the process, or a child that it forked, has these descriptors open, `swsgx stat` lists the EPC, for whoever may look
 * into /proc/PID/fd: see swsgx-stat(1).  It reads numbers and records of pages, and the program's swsgx_shared_alloc() lies in the
 * same file; what pages hold does not.
 *
 * Returns 0, or:
 *   -EINVAL      a size is no multiple of SWSGX_PAGE_SIZE, too small or too large; there are too many sections, both @bytes
 *                and sections, or a node that is none; there is no such policy; something reserved is not 0
 *   -ENOMEM      no memory or no address space
 *   -EFBIG       files may not be as long as the EPC's has to be (RLIMIT_FSIZE; 4 GiB and the EPC)
 *   -EMFILE, -ENFILE  no more file descriptors (it takes 21, with @backing_path 22)
 *   -EOPNOTSUPP  this kernel has no way to take a page out of a file with the last bytes that were written to it (neither
 *                splice(2) nor vmsplice(2) is by reference)
 *   -ENOSPC      @config->backing_bytes_max is too small for one page
 *   -EEXIST      @config->backing_path is there, and no directory
 *   -ENAMETOOLONG, or any other of open(2) for @config->backing_path, e.g. -ENOENT or -EACCES
 *
 * Source: sgx_init() and sgx_setup_epc_section() in Linux's arch/x86/kernel/cpu/sgx/main.c; ours works on ordinary memory.
 * Since: 0.1
 */
int swsgx_epc_create(const struct swsgx_epc_config *config, struct swsgx_epc **ret_epc);

/**
 * swsgx_epc_destroy() - the end of an EPC
 * @epc: nobody uses it any more, in any process; may be NULL
 *
 * Its owners, its groups and its swsgx_slots have been destroyed or are forgotten with it, no thread is in
 * swsgx_background_run().  Memory of swsgx_shared_alloc() goes with it.  A forked child that has no use for the EPC
 * need not call it.
 * Source: ours. Linux's lives as long as the system.
 * Since: 0.1
 */
void swsgx_epc_destroy(struct swsgx_epc *epc);

/**
 * swsgx_shared_alloc() - memory that forked children see too
 * @epc:   of the EPC; it goes with it
 * @bytes: how much
 *
 * Returns zeroed memory, aligned to 64 bytes, at one address in all processes of the fork tree; NULL when there is
 * no more (struct swsgx_epc_config.shared_bytes in all), or for 0 bytes.
 * Source: ours. Owners of Linux's lie in the kernel, which all processes have in common.
 * Since: 0.1
 */
void *swsgx_shared_alloc(struct swsgx_epc *epc, size_t bytes);

/**
 * swsgx_shared_free() - give such memory back
 * @epc:   as it was allocated
 * @p:     what swsgx_shared_alloc() returned; may be NULL
 * @bytes: as it was allocated
 *
 * Source: ours.
 * Since: 0.1
 */
void swsgx_shared_free(struct swsgx_epc *epc, void *p, size_t bytes);

/**
 * swsgx_epc_reclaim() - run one batch, whatever is free
 * @epc: the EPC
 *
 * It calls the operations of any owner, so the caller holds no lock that they take.  Called by an operation, it does nothing.
 *
 * Returns how many pages it freed, 16 at the most; 0 also when as many batches are at work as there can be (8).
 * Source: sgx_reclaim_pages() in Linux's arch/x86/kernel/cpu/sgx/main.c.
 * Since: 0.1
 */
unsigned int swsgx_epc_reclaim(struct swsgx_epc *epc);

/**
 * swsgx_epc_recover() - see through the batches of processes that have died
 * @epc: the EPC
 *
 * For an owner that has waited long for one of its pages to leave a batch.  The manager does it by itself whenever it
 * lacks pages.  It calls operations, as swsgx_epc_reclaim() does.
 * Source: ours. A thread of the kernel is not killed in the midst of a batch.
 * Since: 0.1
 */
void swsgx_epc_recover(struct swsgx_epc *epc);

/**
 * swsgx_background_run() - reclaim ahead of demand, in the calling thread
 * @epc: the EPC
 *
 * The thread sleeps until an allocation leaves fewer pages free than the low watermark, and runs batches until there are as
 * many as the high one (swsgx_epc_read() tells both); it returns after swsgx_background_stop().  Several threads may do
 * so at once, of any process; the second one helps below half of the low watermark, and so on.  One for each node
 * is plenty.  The library starts no threads of its own: whose they are and what signals they take is the program's
 * affair.  A process that has such a thread may be killed.
 *
 * Returns 0 after swsgx_background_stop(), or:
 *   -EBUSY  eight threads do so already, or there is no shared memory for the record of one
 *
 * Source: ksgxd() and sgx_should_reclaim() in Linux's arch/x86/kernel/cpu/sgx/main.c.
 * Since: 0.1
 */
int swsgx_background_run(struct swsgx_epc *epc);

/**
 * swsgx_background_stop() - let all threads return from swsgx_background_run(), for good
 * @epc: the EPC
 *
 * It does not wait for them.  A later swsgx_background_run() returns at once.
 * Source: kthread_stop() of ksgxd, in Linux's arch/x86/kernel/cpu/sgx/main.c.
 * Since: 0.1
 */
void swsgx_background_stop(struct swsgx_epc *epc);

/**
 * swsgx_epc_poison() - a machine check: the memory of a page is broken
 * @epc: the EPC
 * @nr:  number of the page, see swsgx_page_nr()
 *
 * The page is never handed out again.  One that is in use stays with its owner until that frees it, what it held
 * is lost (zeros are read), and it is not evicted any more: it is no longer tracked, whatever it was, see
 * swsgx_page_poisoned().  For tests of owners, and for who learns of such memory.
 *
 * Returns 0, also for a page that is broken already; or:
 *   -EINVAL  there is no such page
 *
 * Source: arch_memory_failure() in Linux's arch/x86/kernel/cpu/sgx/main.c.
 * Since: 0.1
 */
int swsgx_epc_poison(struct swsgx_epc *epc, uint32_t nr);

#define SWSGX_AUDIT_LIVE 1u

/**
 * swsgx_epc_audit() - does every page have exactly one state, and do all lists and counts agree?
 * @epc:   the EPC
 * @flags: 0, and nobody else may be at work; or SWSGX_AUDIT_LIVE: others may be, and only what holds at any moment is
 *         looked at
 * @why:   receives what is wrong first, as a string; empty when nothing is.  May be NULL when @bytes is 0
 * @bytes: size of @why
 *
 * Walks all pages. Returns the number of faults found, 0 when all is well; or:
 *   -EINVAL  another flag
 *
 * Source: ours.
 * Since: 0.1
 */
int swsgx_epc_audit(struct swsgx_epc *epc, unsigned int flags, char *why, size_t bytes);

/* ---- groups ------------------------------------------------------------------------------------------ */

#define SWSGX_NO_LIMIT         UINT32_MAX
#define SWSGX_GROUP_NAME_BYTES 32u

/**
 * struct swsgx_group_limits - how much the owners in a group may have together; in pages
 * @max:    never more: who would go over it evicts some of the group's, and gets -ENOMEM when none can go
 * @high:   more only if nothing of the group can be evicted instead; others who need pages take them here first
 * @min:    nobody outside of the group takes pages from it when it has no more than this
 * @weight: 1 to 10000, 100 is usual: what is promised to nobody is shared in proportion
 * @reserved: 0
 *
 * All are of the group with every group below it.
 * Source: docs/groups.md, and the memory controller of Linux's cgroup v2 (Documentation/admin-guide/cgroup-v2.rst), which
 * the first three are modelled on.
 */
struct swsgx_group_limits {
	uint32_t max;
	uint32_t high;
	uint32_t min;
	uint32_t weight;
	uint32_t reserved[4];
};

/**
 * swsgx_group_root() - the group that all others are below
 * @epc: the EPC
 *
 * Returns the group, which is there as long as the EPC and has no limits.
 * Source: docs/groups.md.
 * Since: 0.1
 */
struct swsgx_group *swsgx_group_root(struct swsgx_epc *epc);

/**
 * swsgx_group_create() - a new group
 * @parent:    the group that it is below
 * @name:      shorter than SWSGX_GROUP_NAME_BYTES, of letters, digits, '.', '_', '-'; no other group of the EPC has it
 * @limits:    see there
 * @ret_group: receives the group
 *
 * Returns 0, or:
 *   -EINVAL  @name is empty, too long or has another character; @limits->min is more than @limits->max, or
 *            @limits->weight not from 1 to 10000; something reserved is not 0
 *   -EEXIST  the name is taken; the root's is "root"
 *   -ENOSPC  @limits->min is more than the parent has been promised and not passed on, or, below the root, than there is
 *            without what reclaim keeps free (the high watermark); or there are 256 groups, or 8 levels, already
 *   -ENOMEM  no shared memory
 *
 * Source: docs/groups.md; mkdir in Linux's cgroup v2.
 * Since: 0.1
 */
int swsgx_group_create(struct swsgx_group *parent, const char *name,
		       const struct swsgx_group_limits *limits, struct swsgx_group **ret_group);

/**
 * swsgx_group_set() - change the limits of a group
 * @group:  not the root
 * @limits: from now on.  With more pages than a lower @limits->max the group loses them as it asks for others
 *
 * Returns 0, or:
 *   -EINVAL  @group is the root, or @limits as for swsgx_group_create()
 *   -ENOSPC  @limits->min is more than the parent has to give, as for swsgx_group_create(), or less than what has been promised
 *            to the groups below @group
 *
 * Source: docs/groups.md; memory.max and the like in Linux's cgroup v2.
 * Since: 0.1
 */
int swsgx_group_set(struct swsgx_group *group, const struct swsgx_group_limits *limits);

/**
 * swsgx_group_destroy() - the end of a group
 * @group: the group; not to be used after it returned 0
 *
 * What it counted stays with the group above.
 *
 * Returns 0, or:
 *   -EBUSY  it has an owner or a group below it, or is the root
 *
 * Source: docs/groups.md; rmdir in Linux's cgroup v2.
 * Since: 0.1
 */
int swsgx_group_destroy(struct swsgx_group *group);

/* ---- owners ------------------------------------------------------------------------------------------- */

/**
 * struct swsgx_owner_ops - what the reclaimer asks of an owner
 * @name:    for statistics, e.g. "cache"
 * @get:     keep the owner alive for one batch; false when it is going away
 * @reclaim: true when the page may go now; false for one that is in use, or was of late
 * @block:   the page is about to leave: from now on nobody uses it. False: not now
 * @write:   save what the page holds, swsgx_page_bytes(), and forget that the owner has it. 0, or -errno: it stays
 *           with the owner, who may use it again.  Not called for a page that is broken: that stays
 * @put:     undo @get. The page may be somebody else's by now, so it is not given
 * @running: how many threads are at work in the owner now, or NULL when it cannot tell, which counts as some.  For the
 *           pressure of swsgx/stats.h.  It takes no lock and calls nothing of this library: it only looks
 * @reserved: NULL
 *
 * @owner is what swsgx_owner_create() was given, @cookie what swsgx_page_set_cookie() was.  For one page the calls are
 * get, reclaim, and then either put alone, or block, write, put; after a @get, @reclaim or @block that says no, and after
 * a @write that fails, the page is tracked again.  They are made for a whole batch of pages, one
 * operation after the other, in the thread that needs a page: so that thread must hold none of the locks
 * that they take.  They may call swsgx_page_alloc(), which then gives a free page or -EBUSY.  Every member
 * but @running is mandatory.
 *
 * When the process that runs a batch is killed, another goes on with it: then @block and @write may come a second time for
 * a page, whose first call got to any point.
 *
 * Source: struct sgx_epc_page_ops of the patch "x86/sgx: Add the SGX EPC memory manager" (Linux's review, 2018), which upstream
 * does not have; sgx_reclaim_pages(), sgx_reclaimer_age(), _block() and _write() in arch/x86/kernel/cpu/sgx/main.c.
 */
struct swsgx_owner_ops {
	const char *name;
	bool (*get)(void *owner, uint64_t cookie);
	bool (*reclaim)(void *owner, uint64_t cookie, struct swsgx_page *page);
	bool (*block)(void *owner, uint64_t cookie, struct swsgx_page *page);
	int (*write)(void *owner, uint64_t cookie, struct swsgx_page *page);
	void (*put)(void *owner, uint64_t cookie);
	unsigned int (*running)(void *owner);
	void *reserved[3];
};

/**
 * swsgx_owner_create() - a new owner of pages
 * @group:     where its pages are charged, for good; swsgx_group_root() for no limits
 * @ops:       constant, and as long there as the owner
 * @owner:     passed to the operations
 * @ret_owner: receives the owner
 *
 * Returns 0, or:
 *   -EINVAL  @ops has no name or lacks an operation, or something reserved is not NULL
 *   -ENOMEM  no shared memory
 *
 * Source: ours; Linux's owners are struct sgx_encl_page and struct sgx_vepc.
 * Since: 0.1
 */
int swsgx_owner_create(struct swsgx_group *group, const struct swsgx_owner_ops *ops, void *owner,
		       struct swsgx_owner **ret_owner);

/**
 * swsgx_owner_destroy() - the end of an owner
 * @owner: has no page any more, and each @get of it has had its @put; may be NULL
 *
 * One that others may be reclaiming from gets there so: @get says no from now on; each page is untracked, again while that is
 * -EBUSY, and freed; and then the owner waits until as many @put as @get have come (docs/owners.md).
 * Source: ours; sgx_encl_release() in Linux's arch/x86/kernel/cpu/sgx/encl.c waits for the reclaimer likewise.
 * Since: 0.1
 */
void swsgx_owner_destroy(struct swsgx_owner *owner);

/* ---- pages -------------------------------------------------------------------------------------------- */

#define SWSGX_MAY_RECLAIM 1u

/**
 * swsgx_page_alloc() - a page for an owner
 * @owner:    who gets it
 * @flags:    0; or SWSGX_MAY_RECLAIM: evict pages when none can be had.  That may call the operations of any owner,
 *            @owner's too, so the caller holds no lock that they take
 * @ret_page: receives the page. Its contents are undefined, its cookie is 0, it is not offered to the reclaimer
 *
 * A thread on a node gets a page of the nearest section that has one; nothing is evicted while any has.  Who has to wait for
 * a page gets one in the order of coming.
 *
 * Returns 0, or:
 *   -EBUSY   a page would have to be evicted first, the owner's group being at its max or over its high included, and
 *            @flags forbid that; or one of an owner's operations has called, in the midst of an eviction
 *   -ENOMEM  no page can be evicted, or of none that the owner's group may have more of
 *   -EINVAL  another flag
 *
 * Source: sgx_alloc_epc_page() in Linux's arch/x86/kernel/cpu/sgx/main.c, which has the same two errors.
 * Since: 0.1
 */
int swsgx_page_alloc(struct swsgx_owner *owner, unsigned int flags, struct swsgx_page **ret_page);

/**
 * swsgx_page_free() - give a page back
 * @owner: whose it is
 * @page:  not tracked. What it holds is lost
 *
 * A broken page is not handed out again.
 * Source: sgx_free_epc_page() in Linux's arch/x86/kernel/cpu/sgx/main.c.
 * Since: 0.1
 */
void swsgx_page_free(struct swsgx_owner *owner, struct swsgx_page *page);

/**
 * swsgx_page_track() - offer a page to the reclaimer
 * @owner: whose it is
 * @page:  not tracked. From now on the operations may be called for it
 *
 * A broken page stays untracked.
 * Source: sgx_mark_page_reclaimable() in Linux's arch/x86/kernel/cpu/sgx/main.c.
 * Since: 0.1
 */
void swsgx_page_track(struct swsgx_owner *owner, struct swsgx_page *page);

/**
 * swsgx_page_track_ahead() - offer a page that nobody has asked for yet
 * @owner: whose it is
 * @page:  not tracked, loaded ahead of its use
 *
 * As swsgx_page_track(); but the first swsgx_page_touch() is taken for the use that the page came for, not for one more.
 * Without that, policies that tell pages used twice from others take all that is read ahead for the former.
 * Source: ours, docs/policies.md; mark_page_accessed() after read-ahead in Linux's mm/swap.c is the same concern.
 * Since: 0.1
 */
void swsgx_page_track_ahead(struct swsgx_owner *owner, struct swsgx_page *page);

/**
 * swsgx_page_untrack() - take an offer back
 * @owner: whose it is
 * @page:  tracked, and the owner's still: the caller holds the lock under which @write forgets pages, or keeps the page from
 *         being written by other means
 *
 * A page that broke while it was tracked is untracked already: 0.
 *
 * Returns 0, or:
 *   -EBUSY  the page is in a batch: it will be free, or tracked again, soon
 *
 * Source: sgx_unmark_page_reclaimable() in Linux's arch/x86/kernel/cpu/sgx/main.c.
 * Since: 0.1
 */
int swsgx_page_untrack(struct swsgx_owner *owner, struct swsgx_page *page);

/**
 * swsgx_page_keep() - a page stays with its owner
 * @owner: whose it is
 * @page:  not tracked
 *
 * Until it is tracked or freed, nobody waits for it: an allocation that finds no page but such ones fails at once.  For
 * pages that are in nobody's hand but are not offered either.  Without this call it is assumed for a second
 * that a page which is not tracked will be, or will be freed.
 *
 * Source: ours.
 * Since: 0.1
 */
void swsgx_page_keep(struct swsgx_owner *owner, struct swsgx_page *page);

/**
 * swsgx_page_touch() - a tracked page was used
 * @owner: whose it is
 * @page:  the page; it does no harm when it has just gone
 *
 * The reclaimer takes pages that were touched later. Cheap; any lock may be held.
 * Source: sgx_encl_test_and_clear_young() in Linux's arch/x86/kernel/cpu/sgx/encl.c, which looks at accessed bits instead.
 * Since: 0.1
 */
void swsgx_page_touch(struct swsgx_owner *owner, struct swsgx_page *page);

/**
 * swsgx_page_bytes() - what a page holds
 * @owner: whose it is
 * @page:  the page
 *
 * Returns SWSGX_PAGE_SIZE bytes, page aligned, shared by all processes of the fork tree.  They may be used until the page is
 * freed or written.
 * Source: sgx_get_epc_virt_addr() in Linux's arch/x86/kernel/cpu/sgx/sgx.h.
 * Since: 0.1
 */
void *swsgx_page_bytes(struct swsgx_owner *owner, struct swsgx_page *page);

/**
 * swsgx_page_set_cookie() - a number for the owner's use
 * @page:   a page that is not tracked
 * @cookie: handed to the operations, until the page is freed.  A page that comes back is known by it: policies remember
 *          what went by owner and cookie, so it should say what the page holds
 *
 * Source: ours; the owner of a struct sgx_epc_page in Linux is what the page is for.
 * Since: 0.1
 */
void swsgx_page_set_cookie(struct swsgx_page *page, uint64_t cookie);

/**
 * swsgx_page_nr() - which page of the EPC it is
 * @owner: whose it is
 * @page:  the page
 *
 * Returns its number: sections follow each other (swsgx_section_read()), the first page of all is 0.
 * Source: sgx_get_epc_phys_addr() in Linux's arch/x86/kernel/cpu/sgx/sgx.h.
 * Since: 0.1
 */
uint32_t swsgx_page_nr(struct swsgx_owner *owner, struct swsgx_page *page);

/**
 * swsgx_page_poisoned() - has a page broken?
 * @owner: whose it is
 * @page:  the page
 *
 * Owners look before they believe what they have read of a page, and free one that broke.  Hardware would raise a
 * machine check at the read; here zeros are read.
 *
 * Returns true when swsgx_epc_poison() was called for it.
 * Source: arch_memory_failure() in Linux's arch/x86/kernel/cpu/sgx/main.c; page->poison there.
 * Since: 0.1
 */
bool swsgx_page_poisoned(struct swsgx_owner *owner, struct swsgx_page *page);

#ifdef __cplusplus
}
#endif

#endif
