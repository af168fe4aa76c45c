/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the EPC did, told when the process that made it ends (swsgx run --stats).
 */
#include "runtime/rt.h"

#include <stdio.h>
#include <string.h>

#include "epc/epc.h"
#include "runtime/sys.h"

static const struct {
	const char *name;
	size_t at;
} fields[] = {
#define F(name)                                         \
	{                                               \
#name, offsetof(struct epc_stats, name) \
	}
	F(pages),
	F(free),
	F(owned),
	F(tracked),
	F(in_batch),
	F(poisoned),
	F(dirty),
	F(low),
	F(high),
	F(allocs),
	F(frees),
	F(evictions),
	F(evict_failures),
	F(loads),
	F(faults),
	F(direct_reclaims),
	F(batches),
	F(scanned),
	F(second_chances),
	F(free_lowest),
	F(backing_slots),
	F(backing_slots_peak),
	F(stall_ns),
	F(stalls),
	F(background_batches),
#undef F
};

void rt_stats_print(void)
{
	struct epc_stats stats;
	char text[2048];
	size_t n = 0;

	epc_stats_read(rt.epc, &stats);
	if (rt.stats_json)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "{");
	else
		n += (size_t)snprintf(text + n, sizeof(text) - n,
				      "swsgx: what the EPC did (pages of 4 KiB)\n");
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		unsigned long v = *(const uint64_t *)((const char *)&stats + fields[i].at);

		n += (size_t)snprintf(text + n, sizeof(text) - n,
				      rt.stats_json ? "%s\"%s\":%lu" : "%s  %-20s %12lu\n",
				      rt.stats_json && i ? "," : "", fields[i].name, v);
	}
	if (rt.stats_json)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "}\n");
	sys(SYS_write, rt.stats_fd, text, n);
}
