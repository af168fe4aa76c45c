/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Numbers, for people: what an owner, a group, a section has and did, and how long threads stood still for it.
 *
 * Events are counted per owner, in slots that threads on different CPUs do not share, with plain relaxed additions; a
 * group's are the sum over its owners, the dead ones too, and the root's are everybody's.  Each is counted a second time for
 * the section where it was, so that those sum up to the root's too.  Reading adds up, and disturbs nobody.
 * swsgx-stats(5) tells what each number means.
 */
#ifndef SWSGX_EPC_STATS_H
#define SWSGX_EPC_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "epc/group.h"

struct epc;
struct epc_group;
struct epc_owner;
struct epc_page;

enum epc_count {
	EPC_ALLOCS,
	EPC_FREES,
	EPC_FAULTS, /* by the owner: touches of pages that nothing showed */
	EPC_LOADS,  /* by the owner: ELDU */
	EPC_EVICTIONS,
	EPC_EVICT_FAILURES,   /* pages put back */
	EPC_BLOCKS,           /* pages that the owner has blocked for a batch */
	EPC_TRACKS,           /* by the owner: cycles of ETRACK */
	EPC_CONFLICTS,        /* by the owner: leaves that met another and had to be tried again */
	EPC_READAHEADS,       /* by the owner: pages loaded before they were asked for */
	EPC_READAHEAD_USED,   /* by the owner: and then used */
	EPC_READAHEAD_WASTED, /* by the owner: and gone without a use */
	EPC_DIRECT_RECLAIMS,  /* batches that a thread ran because it needed a page */
	EPC_STALLS,           /* times that a thread had to wait for a page */
	EPC_STALL_NS,         /* and for how long, all threads together */
	EPC_COUNT_NR,
};
/* As in --stats=json; NULL from EPC_COUNT_NR on. */
const char *epc_count_name(enum epc_count what);

/*
 * Something happened @n times with @page, for whose section it is counted as well.  NULL: with none, or none any more; then it
 * counts for the section that the calling thread would take a page of first.  Any lock may be held.
 */
void epc_count(struct epc_owner *owner, const struct epc_page *page, enum epc_count what,
	       uint64_t n);

/*
 * Stalls as Linux tells pressure (PSI): "some" is the time in which a thread stood still for a page, "full" that
 * in which one did and no logical processor was in any of the owners' enclaves.
 */
struct epc_pressure {
	uint64_t total_ns;
	double avg[3]; /* per cent of the last 10, 60 and 300 seconds */
};
enum { EPC_SOME, EPC_FULL, EPC_PRESSURE_NR };

/* Pages by what the EPCM says of them. */
enum epc_kind { EPC_SECS, EPC_TCS, EPC_REG, EPC_VA, EPC_TRIM, EPC_BLANK, EPC_KIND_NR };
/* As in --stats=json. */
const char *epc_kind_name(enum epc_kind kind);

/* Count pages by kind, once, walking the EPC: what the readers below say of kinds is as of then. */
void epc_census(struct epc *epc);

enum { EPC_OWNER_NAME_BYTES = 16 };

struct epc_owner_info {
	char name
		[EPC_OWNER_NAME_BYTES]; /* of the owner's operations, as much as there is room for */
	uint32_t id;
	int pid; /* of the process that made it */
	uint64_t count[EPC_COUNT_NR];
	uint32_t kind[EPC_KIND_NR];
	struct epc_pressure pressure[EPC_PRESSURE_NR];
};
/* The @n-th of the owners in the group itself; false: there are not so many. */
bool epc_owner_read(struct epc_group *group, unsigned int n, struct epc_owner_info *ret_info);
/* Of one that the caller keeps, and that is part of no other. */
void epc_owner_info_read(struct epc_owner *owner, struct epc_owner_info *ret_info);

/* Of the group and all below it. */
struct epc_group_stats {
	uint64_t count[EPC_COUNT_NR];
	uint32_t kind[EPC_KIND_NR];
	struct epc_pressure pressure[EPC_PRESSURE_NR];
};
void epc_group_stats_read(struct epc_group *group, struct epc_group_stats *ret_stats);

/* Of section @i, see epc_section_read(); pressure of threads that would take a page of it first. */
struct epc_section_stats {
	uint64_t count[EPC_COUNT_NR];
	uint32_t kind[EPC_KIND_NR];
	struct epc_pressure pressure[EPC_PRESSURE_NR];
};
void epc_section_stats_read(struct epc *epc, unsigned int i, struct epc_section_stats *ret_stats);

#endif
