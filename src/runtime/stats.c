/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the EPC did, told when the process that made it ends (swsgx run --stats): a table, or JSON of the layout that
 * swsgx-stats(5) describes.
 *
 * Both say the same in the same order.  Text goes out in parts, by system calls of our own: the program's stdio may be
 * gone by now.
 */
#include "runtime/rt.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "epc/epc.h"
#include "epc/stats.h"
#include "runtime/sys.h"

struct out {
	char text[4096];
	size_t nr;
	bool comma; /* JSON: something stands before this */
};

static void flush(struct out *out)
{
	sys(SYS_write, rt.stats_fd, out->text, out->nr);
	out->nr = 0;
}

__attribute__((format(printf, 2, 3))) static void put(struct out *out, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (sizeof(out->text) - out->nr < 256)
		flush(out);
	va_start(ap, fmt);
	n = vsnprintf(out->text + out->nr, sizeof(out->text) - out->nr, fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < sizeof(out->text) - out->nr)
		out->nr += (size_t)n;
}

/* ---- JSON: names are ours, or of letters that need no escape ---------------------------------- */

static void key(struct out *out, const char *name)
{
	put(out, out->comma ? ",\"%s\":" : "\"%s\":", name);
	out->comma = false;
}

static void open_(struct out *out, const char *name, char bracket)
{
	if (name)
		key(out, name);
	else if (out->comma)
		put(out, ",");
	put(out, "%c", bracket);
	out->comma = false;
}

static void close_(struct out *out, char bracket)
{
	put(out, "%c", bracket);
	out->comma = true;
}

static void number(struct out *out, const char *name, uint64_t value)
{
	key(out, name);
	put(out, "%llu", (unsigned long long)value);
	out->comma = true;
}

static void text(struct out *out, const char *name, const char *value)
{
	key(out, name);
	put(out, "\"%s\"", value);
	out->comma = true;
}

/* ---- the whole EPC ------------------------------------------------------------------------------- */

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
	F(dirty),
	F(owned),
	F(tracked),
	F(in_batch),
	F(poisoned),
	F(low),
	F(high),
	F(allocs),
	F(frees),
	F(evictions),
	F(evict_failures),
	F(loads),
	F(faults),
	F(stalls),
	F(stall_ns),
	F(direct_reclaims),
	F(batches),
	F(background_batches),
	F(scanned),
	F(second_chances),
	F(free_lowest),
	F(backing_slots),
	F(backing_slots_peak),
	F(backing_waiting),
	F(backing_written),
	F(backing_read),
	F(backing_write_errors),
	F(backing_read_errors),
	F(backing_refused),
	F(machine_checks),
#undef F
};

static void put_epc(struct out *out, bool json)
{
	struct epc_stats stats;

	epc_stats_read(rt.epc, &stats);
	if (json)
		open_(out, "epc", '{');
	else
		put(out, "swsgx: what the EPC did (pages of 4 KiB; swsgx-stats(5) explains)\n");
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		uint64_t v = *(const uint64_t *)((const char *)&stats + fields[i].at);

		if (json)
			number(out, fields[i].name, v);
		else
			put(out, "  %-20s %12llu\n", fields[i].name, (unsigned long long)v);
	}
	if (json)
		close_(out, '}');
}

/* ---- parts that sections, groups and owners have in common -------------------------------------- */

static void put_kinds(struct out *out, bool json, const uint32_t *kind)
{
	if (json)
		open_(out, "kinds", '{');
	for (enum epc_kind k = 0; k < EPC_KIND_NR; k++) {
		if (json)
			number(out, epc_kind_name(k), kind[k]);
		else if (kind[k])
			put(out, " %s %u", epc_kind_name(k), kind[k]);
	}
	if (json)
		close_(out, '}');
}

static void put_counts(struct out *out, bool json, const uint64_t *count)
{
	if (json)
		open_(out, "counts", '{');
	for (enum epc_count c = 0; c < EPC_COUNT_NR; c++) {
		if (json)
			number(out, epc_count_name(c), count[c]);
		else if (count[c])
			put(out, "    %-18s %12llu\n", epc_count_name(c),
			    (unsigned long long)count[c]);
	}
	if (json)
		close_(out, '}');
}

static void put_pressure(struct out *out, bool json, const struct epc_pressure *pressure)
{
	static const char *const names[EPC_PRESSURE_NR] = { "some", "full" };

	if (json)
		open_(out, "pressure", '{');
	for (unsigned int i = 0; i < EPC_PRESSURE_NR; i++) {
		const struct epc_pressure *p = &pressure[i];
		unsigned long long us = p->total_ns / 1000;

		if (!json) {
			put(out,
			    "    pressure %s avg10=%.2f avg60=%.2f avg300=%.2f total=%llu us\n",
			    names[i], p->avg[0], p->avg[1], p->avg[2], us);
			continue;
		}
		open_(out, names[i], '{');
		put(out, "\"avg10\":%.2f,\"avg60\":%.2f,\"avg300\":%.2f,\"total_us\":%llu",
		    p->avg[0], p->avg[1], p->avg[2], us);
		close_(out, '}');
	}
	if (json)
		close_(out, '}');
}

/* ---- sections, groups, owners -------------------------------------------------------------------- */

static void put_section(struct out *out, bool json, unsigned int i)
{
	struct epc_section_info info;
	uint32_t kind[EPC_KIND_NR];

	epc_section_read(rt.epc, i, &info);
	epc_section_kinds(rt.epc, i, kind);
	if (!json) {
		put(out, "  section %u: %u pages, the first is %u", i, info.pages, info.first);
		if (info.node >= 0)
			put(out, " on node %d", info.node);
		put(out, "; free %llu dirty %llu", (unsigned long long)info.free,
		    (unsigned long long)info.dirty);
		put_kinds(out, false, kind);
		put(out, "\n");
		return;
	}
	open_(out, NULL, '{');
	number(out, "first", info.first);
	number(out, "pages", info.pages);
	key(out, "node");
	put(out, "%d", info.node);
	out->comma = true;
	number(out, "free", info.free);
	number(out, "dirty", info.dirty);
	number(out, "poisoned", info.poisoned);
	number(out, "allocs", info.allocs);
	number(out, "frees", info.frees);
	number(out, "evictions", info.evictions);
	put_kinds(out, true, kind);
	close_(out, '}');
}

/* No limit is no number: null. */
static void put_limit(struct out *out, bool json, const char *name, uint32_t pages)
{
	if (json && pages == EPC_GROUP_NO_LIMIT) {
		key(out, name);
		put(out, "null");
		out->comma = true;
	} else if (json) {
		number(out, name, pages);
	} else if (pages != EPC_GROUP_NO_LIMIT) {
		put(out, " %s %u", name, pages);
	}
}

static void put_group_head(struct out *out, bool json, const struct epc_group_info *info,
			   const struct epc_group_info *parent)
{
	static const char *const events[EPC_GROUP_EVENT_NR] = { "min", "high", "max", "oom" };

	if (json) {
		open_(out, NULL, '{');
		text(out, "name", info->name);
		if (parent)
			text(out, "parent", parent->name);
		number(out, "current", info->current_pages);
		number(out, "peak", info->peak_pages);
		number(out, "weight", info->limits.weight);
	} else {
		put(out, "  group %s: %u pages now, peak %u; weight %u", info->name,
		    info->current_pages, info->peak_pages, info->limits.weight);
	}
	put_limit(out, json, "min", info->limits.min_pages);
	put_limit(out, json, "high", info->limits.high_pages);
	put_limit(out, json, "max", info->limits.max_pages);
	if (json)
		open_(out, "events", '{');
	for (unsigned int i = 0; i < EPC_GROUP_EVENT_NR; i++) {
		if (json)
			number(out, events[i], info->event[i]);
		else if (info->event[i])
			put(out, ", %s %llu times", events[i], (unsigned long long)info->event[i]);
	}
	if (json)
		close_(out, '}');
}

static void put_group(struct out *out, bool json, struct epc_group *group)
{
	struct epc_group_info info, parent;
	struct epc_group_stats stats;

	epc_group_read(group, &info);
	if (info.parent)
		epc_group_read(info.parent, &parent);
	epc_group_stats_read(group, &stats);
	put_group_head(out, json, &info, info.parent ? &parent : NULL);
	if (!json) {
		put_kinds(out, false, stats.kind);
		put(out, "\n");
	} else {
		put_kinds(out, true, stats.kind);
	}
	put_counts(out, json, stats.count);
	put_pressure(out, json, stats.pressure);
	if (json)
		close_(out, '}');
}

static void put_owners(struct out *out, bool json, struct epc_group *group)
{
	struct epc_group_info group_info;
	struct epc_owner_info info;

	epc_group_read(group, &group_info);
	for (unsigned int n = 0; epc_owner_read(group, n, &info); n++) {
		if (!json) {
			put(out, "  %s %u in group %s:", info.name, info.id, group_info.name);
			put_kinds(out, false, info.kind);
			put(out, "\n");
		} else {
			open_(out, NULL, '{');
			text(out, "name", info.name);
			number(out, "id", info.id);
			text(out, "group", group_info.name);
			put_kinds(out, true, info.kind);
		}
		put_counts(out, json, info.count);
		put_pressure(out, json, info.pressure);
		if (json)
			close_(out, '}');
	}
}

void rt_stats_print(void)
{
	bool json = rt.stats_json;
	struct out out = { .nr = 0 };
	struct epc_group *group;

	epc_census(rt.epc);
	if (json) {
		open_(&out, NULL, '{');
		number(&out, "layout", 1);
	}
	put_epc(&out, json);
	if (json)
		open_(&out, "sections", '[');
	for (unsigned int i = 0; i < epc_section_nr(rt.epc); i++)
		put_section(&out, json, i);
	if (json) {
		close_(&out, ']');
		open_(&out, "groups", '[');
	}
	for (group = NULL; (group = epc_group_next(rt.epc, group));)
		put_group(&out, json, group);
	if (json) {
		close_(&out, ']');
		open_(&out, "owners", '[');
	}
	for (group = NULL; (group = epc_group_next(rt.epc, group));)
		put_owners(&out, json, group);
	if (json) {
		close_(&out, ']');
		close_(&out, '}');
		put(&out, "\n");
	}
	flush(&out);
}
