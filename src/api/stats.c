/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The installed API (include/swsgx/stats.h): the manager's numbers, at places that stay where they are.
 *
 * The manager may put its own in another order; programs cannot be told.
 */
#include "epc/stats.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <swsgx/stats.h>

#include "api/api_priv.h"
#include "epc/group.h"

static_assert(sizeof(struct swsgx_epc_info) == 264 &&
		      offsetof(struct swsgx_epc_info, reserved) == 200,
	      "part of the ABI");
static_assert(sizeof(struct swsgx_section_info) == 384 &&
		      offsetof(struct swsgx_section_info, reserved) == 320,
	      "part of the ABI");
static_assert(sizeof(struct swsgx_pressure) == 32, "part of the ABI");
static_assert(sizeof(struct swsgx_owner_info) == 328 &&
		      offsetof(struct swsgx_owner_info, reserved) == 264,
	      "part of the ABI");
static_assert(sizeof(struct swsgx_group_info) == 464 &&
		      offsetof(struct swsgx_group_info, reserved) == 400,
	      "part of the ABI");

/* SWSGX_ALLOCS and so on are the manager's, but for their order. */
static const enum epc_count count_of[] = {
	[SWSGX_ALLOCS] = EPC_ALLOCS,
	[SWSGX_FREES] = EPC_FREES,
	[SWSGX_EVICTIONS] = EPC_EVICTIONS,
	[SWSGX_EVICT_FAILURES] = EPC_EVICT_FAILURES,
	[SWSGX_BLOCKS] = EPC_BLOCKS,
	[SWSGX_DIRECT_RECLAIMS] = EPC_DIRECT_RECLAIMS,
	[SWSGX_STALLS] = EPC_STALLS,
	[SWSGX_STALL_NS] = EPC_STALL_NS,
	[SWSGX_FAULTS] = EPC_FAULTS,
	[SWSGX_LOADS] = EPC_LOADS,
	[SWSGX_READAHEADS] = EPC_READAHEADS,
	[SWSGX_READAHEAD_USED] = EPC_READAHEAD_USED,
	[SWSGX_READAHEAD_WASTED] = EPC_READAHEAD_WASTED,
	[SWSGX_TRACKS] = EPC_TRACKS,
	[SWSGX_CONFLICTS] = EPC_CONFLICTS,
};
enum { COUNTS = sizeof(count_of) / sizeof(count_of[0]) };
static_assert(COUNTS <= SWSGX_COUNT_NR, "there is room");
static_assert(EPC_GROUP_EVENT_NR <= SWSGX_GROUP_EVENT_NR, "there is room");

static const enum epc_group_event event_of[] = {
	[SWSGX_GROUP_MIN] = EPC_GROUP_MIN,
	[SWSGX_GROUP_HIGH] = EPC_GROUP_HIGH,
	[SWSGX_GROUP_MAX] = EPC_GROUP_MAX,
	[SWSGX_GROUP_OOM] = EPC_GROUP_OOM,
};

static void counts_tell(const uint64_t *from, uint64_t *ret_count)
{
	for (unsigned int i = 0; i < COUNTS; i++)
		ret_count[i] = from[count_of[i]];
}

static void pressure_tell_one(const struct epc_pressure *from, struct swsgx_pressure *ret_pressure)
{
	ret_pressure->total_ns = from->total_ns;
	memcpy(ret_pressure->avg, from->avg, sizeof(ret_pressure->avg));
}

static void pressure_tell(const struct epc_pressure *from, struct swsgx_pressure *ret_pressure)
{
	pressure_tell_one(&from[EPC_SOME], &ret_pressure[SWSGX_SOME]);
	pressure_tell_one(&from[EPC_FULL], &ret_pressure[SWSGX_FULL]);
}

static uint32_t group_nr(struct epc *epc)
{
	struct epc_group *group = NULL;
	uint32_t nr = 0;

	while ((group = epc_group_next(epc, group)))
		nr++;
	return nr;
}

void swsgx_epc_read(struct swsgx_epc *epc, struct swsgx_epc_info *ret_info)
{
	struct epc_stats stats;

	epc_stats_read(epc->epc, &stats);
	*ret_info = (struct swsgx_epc_info){
		.pages = stats.pages,
		.free = stats.free,
		.dirty = stats.dirty,
		.owned = stats.owned,
		.tracked = stats.tracked,
		.in_batch = stats.in_batch,
		.poisoned = stats.poisoned,
		.low = stats.low,
		.high = stats.high,
		.free_lowest = stats.free_lowest,
		.batches = stats.batches,
		.background_batches = stats.background_batches,
		.scanned = stats.scanned,
		.second_chances = stats.second_chances,
		.machine_checks = stats.machine_checks,
		.recovered = stats.recovered,
		.backing_slots = stats.backing_slots,
		.backing_slots_peak = stats.backing_slots_peak,
		.backing_waiting = stats.backing_waiting,
		.backing_written = stats.backing_written,
		.backing_read = stats.backing_read,
		.backing_write_errors = stats.backing_write_errors,
		.backing_read_errors = stats.backing_read_errors,
		.backing_refused = stats.backing_refused,
		.section_nr = epc_section_nr(epc->epc),
		.group_nr = group_nr(epc->epc),
	};
}

int swsgx_section_read(struct swsgx_epc *epc, uint32_t i, struct swsgx_section_info *ret_info)
{
	struct epc_section_stats stats;
	struct epc_section_info info;

	if (i >= epc_section_nr(epc->epc))
		return -EINVAL;
	epc_section_read(epc->epc, i, &info);
	epc_section_stats_read(epc->epc, i, &stats);
	*ret_info = (struct swsgx_section_info){
		.first = info.first,
		.pages = info.pages,
		.node = info.node,
		.free = info.free,
		.dirty = info.dirty,
		.poisoned = info.poisoned,
		.allocs = info.allocs,
		.frees = info.frees,
		.evictions = info.evictions,
	};
	counts_tell(stats.count, ret_info->count);
	pressure_tell(stats.pressure, ret_info->pressure);
	return 0;
}

const char *swsgx_count_name(uint32_t what)
{
	return what < COUNTS ? epc_count_name(count_of[what]) : NULL;
}

void swsgx_owner_read(struct swsgx_owner *owner, struct swsgx_owner_info *ret_info)
{
	struct epc_owner_info info;

	epc_owner_info_read(owner->epc_owner, &info);
	memset(ret_info, 0, sizeof(*ret_info));
	/* Not @info's, which goes with this call. */
	ret_info->name = owner->ops->name;
	counts_tell(info.count, ret_info->count);
	pressure_tell(info.pressure, ret_info->pressure);
}

int swsgx_owner_count(struct swsgx_owner *owner, const struct swsgx_page *page, uint32_t what,
		      uint64_t n)
{
	if (what < SWSGX_FAULTS || what >= COUNTS)
		return -EINVAL;
	epc_count(owner->epc_owner, (const struct epc_page *)page, count_of[what], n);
	return 0;
}

void swsgx_group_read(struct swsgx_group *group, struct swsgx_group_info *ret_info)
{
	struct epc_group_stats stats;
	struct epc_group_info info;

	epc_group_read(api_group(group), &info);
	epc_group_stats_read(api_group(group), &stats);
	memset(ret_info, 0, sizeof(*ret_info));
	memcpy(ret_info->name, info.name, sizeof(info.name));
	ret_info->limits.max = info.limits.max_pages;
	ret_info->limits.high = info.limits.high_pages;
	ret_info->limits.min = info.limits.min_pages;
	ret_info->limits.weight = info.limits.weight;
	ret_info->current_pages = info.current_pages;
	ret_info->peak_pages = info.peak_pages;
	ret_info->owner_nr = info.owner_nr;
	for (unsigned int i = 0; i < EPC_GROUP_EVENT_NR; i++)
		ret_info->event[i] = info.event[event_of[i]];
	counts_tell(stats.count, ret_info->count);
	pressure_tell(stats.pressure, ret_info->pressure);
}
