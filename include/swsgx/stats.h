/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/**
 * @file swsgx/stats.h - what an EPC, its sections, its groups and its owners have and did
 *
 * The numbers of `swsgx run --stats`, by the names that swsgx-stats(5) tells them by.  Reading costs those at work nothing
 * that can be measured; what one call fills in is not all of one moment.  Pages are 4096 bytes, times nanoseconds, and
 * everything counted is since the EPC was made.
 *
 * Thread safety: as in swsgx/epc.h.
 */
#ifndef SWSGX_STATS_H
#define SWSGX_STATS_H

#include <swsgx/epc.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what is counted ---------------------------------------------------------------------------------- */

/* What is counted of owners. Those from SWSGX_FAULTS to SWSGX_CONFLICTS only the owner knows of: swsgx_owner_count(). */
#define SWSGX_ALLOCS           0u  /* pages that it got */
#define SWSGX_FREES            1u  /* and gave back itself */
#define SWSGX_EVICTIONS        2u  /* pages written out */
#define SWSGX_EVICT_FAILURES   3u  /* that could not be, and stayed */
#define SWSGX_BLOCKS           4u  /* that @block said yes for */
#define SWSGX_DIRECT_RECLAIMS  5u  /* batches that an allocation ran */
#define SWSGX_STALLS           6u  /* allocations that had to wait */
#define SWSGX_STALL_NS         7u  /* how long, all threads together */
#define SWSGX_FAULTS           8u  /* times that a page was wanted that was not there */
#define SWSGX_LOADS            9u  /* pages that came back */
#define SWSGX_READAHEADS       10u /* pages loaded before they were asked for */
#define SWSGX_READAHEAD_USED   11u /* and then used */
#define SWSGX_READAHEAD_WASTED 12u /* and gone without a use */
#define SWSGX_TRACKS           13u /* tracking cycles, as of ETRACK */
#define SWSGX_CONFLICTS        14u /* steps that met another on the same page and were tried again */
#define SWSGX_COUNT_NR         24u /* room for more */

/**
 * swsgx_count_name() - what a number of owners is called
 * @what: one of SWSGX_ALLOCS and so on
 *
 * Returns its name in swsgx-stats(5), e.g. "allocs", constant; NULL where there is none.
 * Source: swsgx-stats(5).
 * Since: 0.1
 */
const char *swsgx_count_name(uint32_t what);

/**
 * struct swsgx_pressure - for how much of the time threads stood still for want of a page
 * @total_ns: in all
 * @avg:      per cent of the last 10, 60 and 300 seconds, about
 *
 * Source: PSI of Linux (Documentation/accounting/psi.rst, kernel/sched/psi.c).
 */
struct swsgx_pressure {
	uint64_t total_ns;
	double avg[3];
};

#define SWSGX_SOME        0u /* at least one thread stood still */
#define SWSGX_FULL        1u /* and moreover nobody ran, as the owners' @running says */
#define SWSGX_PRESSURE_NR 2u

/* ---- an EPC and its sections -------------------------------------------------------------------------- */

/**
 * struct swsgx_epc_info - the whole EPC
 * @pages:  all; the next six, by state, sum to it
 * @free, @dirty:      can be had; dirty ones were never used
 * @owned, @tracked:   with an owner, and not offered or offered to the reclaimer
 * @in_batch:          it has them in hand
 * @poisoned:          broken, and with nobody
 * @low, @high:        the watermarks: with fewer free pages than low background reclaim begins, at high it ends
 * @free_lowest:       the fewest that were free at once, maybe less than ever was
 * @batches, @background_batches: all, and those of swsgx_background_run()
 * @scanned, @second_chances:     pages that a batch looked at, and those that @reclaim kept
 * @machine_checks:    calls of swsgx_epc_poison() for pages that were whole
 * @recovered:         batches of dead processes that were seen through
 * @backing_slots, @backing_slots_peak: places of swsgx/backing.h in use now, and most of them at once as a batch ended
 * @backing_waiting:   of those, still to go to the file
 * @backing_written, @backing_read:     pages, to and from the file
 * @backing_write_errors, @backing_read_errors: that failed
 * @backing_refused:   times that a page found no place
 * @section_nr:        sections
 * @group_nr:          groups, with the root
 * @reserved:          0
 *
 * What happened to pages is counted by the root group.
 */
struct swsgx_epc_info {
	uint64_t pages;
	uint64_t free, dirty, owned, tracked, in_batch, poisoned;
	uint64_t low, high;
	uint64_t free_lowest;
	uint64_t batches, background_batches;
	uint64_t scanned, second_chances;
	uint64_t machine_checks;
	uint64_t recovered;
	uint64_t backing_slots, backing_slots_peak;
	uint64_t backing_waiting;
	uint64_t backing_written, backing_read;
	uint64_t backing_write_errors, backing_read_errors;
	uint64_t backing_refused;
	uint32_t section_nr;
	uint32_t group_nr;
	uint64_t reserved[8];
};

/**
 * swsgx_epc_read() - the numbers of an EPC
 * @epc:      the EPC
 * @ret_info: receives them
 *
 * Source: swsgx-stats(5).
 * Since: 0.1
 */
void swsgx_epc_read(struct swsgx_epc *epc, struct swsgx_epc_info *ret_info);

/**
 * struct swsgx_section_info - a section
 * @first:  number of its first page (swsgx_page_nr())
 * @pages:  how many it has
 * @node:   as it was configured, or SWSGX_NO_NODE
 * @free, @dirty, @poisoned: as of the EPC
 * @allocs, @frees:  pages that got an owner and lost it
 * @evictions:       of the latter, those that were written out
 * @count:    by SWSGX_ALLOCS and so on: what owners counted of its pages, and of no page in threads that would have had one of
 *            it first.  Over all sections each sums to the root group's
 * @pressure: by SWSGX_SOME, SWSGX_FULL, of these threads
 * @reserved32, @reserved: 0
 */
struct swsgx_section_info {
	uint32_t first, pages;
	int32_t node;
	uint32_t reserved32;
	uint64_t free, dirty, poisoned;
	uint64_t allocs, frees;
	uint64_t evictions;
	uint64_t count[SWSGX_COUNT_NR];
	struct swsgx_pressure pressure[SWSGX_PRESSURE_NR];
	uint64_t reserved[8];
};

/**
 * swsgx_section_read() - the numbers of a section
 * @epc:      the EPC
 * @i:        which, from 0 on, as they were configured
 * @ret_info: receives them
 *
 * Returns 0, or:
 *   -EINVAL  there is no such section
 *
 * Source: swsgx-stats(5); SDM Vol. 3D, "Software Visible Discovery of EPC", for what a section is.
 * Since: 0.1
 */
int swsgx_section_read(struct swsgx_epc *epc, uint32_t i, struct swsgx_section_info *ret_info);

/* ---- groups and owners -------------------------------------------------------------------------------- */

/**
 * struct swsgx_owner_info - an owner
 * @name:     of its operations
 * @count:    by SWSGX_ALLOCS and so on
 * @pressure: by SWSGX_SOME, SWSGX_FULL
 * @reserved: 0
 */
struct swsgx_owner_info {
	const char *name;
	uint64_t count[SWSGX_COUNT_NR];
	struct swsgx_pressure pressure[SWSGX_PRESSURE_NR];
	uint64_t reserved[8];
};

/**
 * swsgx_owner_read() - the numbers of an owner
 * @owner:    the owner
 * @ret_info: receives them
 *
 * Source: swsgx-stats(5).
 * Since: 0.1
 */
void swsgx_owner_read(struct swsgx_owner *owner, struct swsgx_owner_info *ret_info);

/**
 * swsgx_owner_count() - something has happened that only the owner knows of
 * @owner: the owner
 * @page:  that it happened to, whose section counts it as well; NULL for none: then the section does that the calling thread
 *         would have a page of first
 * @what:  from SWSGX_FAULTS to SWSGX_CONFLICTS
 * @n:     how often
 *
 * A few nanoseconds; any lock may be held.
 *
 * Returns 0, or:
 *   -EINVAL  the manager counts that itself, or there is no such number
 *
 * Source: swsgx-stats(5).
 * Since: 0.1
 */
int swsgx_owner_count(struct swsgx_owner *owner, const struct swsgx_page *page, uint32_t what,
		      uint64_t n);

#define SWSGX_GROUP_MIN      0u /* a reclaim passed it by, because it had no more than its min */
#define SWSGX_GROUP_HIGH     1u /* somebody in it evicted some of it, to stay below high */
#define SWSGX_GROUP_MAX      2u /* somebody in it met its max */
#define SWSGX_GROUP_OOM      3u /* and got -ENOMEM */
#define SWSGX_GROUP_EVENT_NR 8u /* room for more */

/**
 * struct swsgx_group_info - a group, with all groups below it
 * @name:       as it was created; "root"
 * @limits:     as they were set; the root has none
 * @current_pages, @peak_pages: pages that it is charged for, and most of them at once (up to 32 fewer where threads took pages at the
 *              same moment, docs/groups.md)
 * @owner_nr:   owners of its own, not of groups below
 * @reserved32: 0
 * @event:      how often, by SWSGX_GROUP_MIN and so on
 * @count:      by SWSGX_ALLOCS and so on; of owners and groups that have gone too
 * @pressure:   by SWSGX_SOME, SWSGX_FULL
 * @reserved:   0
 */
struct swsgx_group_info {
	char name[SWSGX_GROUP_NAME_BYTES];
	struct swsgx_group_limits limits;
	uint32_t current_pages, peak_pages;
	uint32_t owner_nr;
	uint32_t reserved32;
	uint64_t event[SWSGX_GROUP_EVENT_NR];
	uint64_t count[SWSGX_COUNT_NR];
	struct swsgx_pressure pressure[SWSGX_PRESSURE_NR];
	uint64_t reserved[8];
};

/**
 * swsgx_group_read() - the numbers of a group
 * @group:    the group
 * @ret_info: receives them
 *
 * Source: swsgx-stats(5); memory.current, memory.peak, memory.events and memory.pressure of Linux's cgroup v2.
 * Since: 0.1
 */
void swsgx_group_read(struct swsgx_group *group, struct swsgx_group_info *ret_info);

#ifdef __cplusplus
}
#endif

#endif
