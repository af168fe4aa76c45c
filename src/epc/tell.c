/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Numbers as text.  Table and JSON say the same in the same order.
 *
 * The table leaves out, of groups and owners, what is 0.
 */
#include "epc/tell.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void flush(struct tell *tell)
{
	if (tell->nr > 0)
		tell->write(tell->ctx, tell->text, tell->nr);
	tell->nr = 0;
}

__attribute__((format(printf, 2, 3))) static void put(struct tell *tell, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (sizeof(tell->text) - tell->nr < 256)
		flush(tell);
	va_start(ap, fmt);
	n = vsnprintf(tell->text + tell->nr, sizeof(tell->text) - tell->nr, fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < sizeof(tell->text) - tell->nr)
		tell->nr += (size_t)n;
}

/* ---- JSON ------------------------------------------------------------------------------------------ */

static void key(struct tell *tell, const char *name)
{
	put(tell, tell->comma ? ",\"%s\":" : "\"%s\":", name);
	tell->comma = false;
}

static void open_(struct tell *tell, const char *name, char bracket)
{
	if (name)
		key(tell, name);
	else if (tell->comma)
		put(tell, ",");
	put(tell, "%c", bracket);
	tell->comma = false;
}

static void close_(struct tell *tell, char bracket)
{
	put(tell, "%c", bracket);
	tell->comma = true;
}

static void number(struct tell *tell, const char *name, uint64_t value)
{
	key(tell, name);
	put(tell, "%llu", (unsigned long long)value);
	tell->comma = true;
}

/* Bytes that are no text are left out: whoever named his program so cannot break anything. */
static void text(struct tell *tell, const char *name, const char *value)
{
	key(tell, name);
	put(tell, "\"");
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			put(tell, "\\%c", *value);
		else if (*value >= ' ' && *value <= '~')
			put(tell, "%c", *value);
	}
	put(tell, "\"");
	tell->comma = true;
}

/* ---- what is around ------------------------------------------------------------------------------- */

void tell_begin(struct tell *tell)
{
	tell->nr = 0;
	tell->comma = false;
	if (!tell->json)
		return;
	open_(tell, NULL, '{');
	number(tell, "layout", 1);
}

void tell_end(struct tell *tell)
{
	if (tell->json) {
		close_(tell, '}');
		put(tell, "\n");
	}
	flush(tell);
}

void tell_number(struct tell *tell, const char *name, uint64_t value)
{
	if (tell->json)
		number(tell, name, value);
}

void tell_text(struct tell *tell, const char *name, const char *value)
{
	if (tell->json)
		text(tell, name, value);
}

void tell_flag(struct tell *tell, const char *name, bool value)
{
	if (!tell->json)
		return;
	key(tell, name);
	put(tell, value ? "true" : "false");
	tell->comma = true;
}

void tell_list(struct tell *tell, const char *name)
{
	if (tell->json)
		open_(tell, name, '[');
}

void tell_list_end(struct tell *tell)
{
	if (tell->json)
		close_(tell, ']');
}

void tell_object(struct tell *tell)
{
	if (tell->json)
		open_(tell, NULL, '{');
}

void tell_object_end(struct tell *tell)
{
	if (tell->json)
		close_(tell, '}');
}

void tell_element(struct tell *tell, uint64_t value)
{
	if (!tell->json)
		return;
	put(tell, tell->comma ? ",%llu" : "%llu", (unsigned long long)value);
	tell->comma = true;
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

/* Sizes up to the first one without a load. */
static void put_larger(struct tell *tell, const struct epc_stats *stats)
{
	double part = stats->larger.loads ? 1 : 0;

	if (tell->json)
		open_(tell, "larger", '[');
	else if (part > 0)
		put(tell, "  if it were larger (an estimate):\n    %12s %12s %12s\n", "pages",
		    "MiB", "loads");
	for (unsigned int i = 0; i < EPC_LARGER_NR && part > 0; i++) {
		uint64_t pages = epc_larger_pages(stats->pages, i), loads;

		part = epc_larger_loads(&stats->larger, i);
		/* Of a program that is no friend there may be more than a double tells apart. */
		loads = part < 1 ? (uint64_t)(part * (double)stats->loads + 0.5) : stats->loads;
		if (!tell->json) {
			put(tell, "    %12llu %12.1f %12llu %5.1f %%\n", (unsigned long long)pages,
			    (double)pages / 256, (unsigned long long)loads, 100 * part);
			continue;
		}
		open_(tell, NULL, '{');
		number(tell, "pages", pages);
		number(tell, "loads", loads);
		close_(tell, '}');
	}
	if (tell->json)
		close_(tell, ']');
}

void tell_epc(struct tell *tell, const struct epc_stats *stats)
{
	if (tell->json)
		open_(tell, "epc", '{');
	else
		put(tell, "swsgx: what the EPC did (pages of 4 KiB; swsgx-stats(5) explains)\n");
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		uint64_t v = *(const uint64_t *)((const char *)stats + fields[i].at);

		if (tell->json)
			number(tell, fields[i].name, v);
		else
			put(tell, "  %-20s %12llu\n", fields[i].name, (unsigned long long)v);
	}
	put_larger(tell, stats);
	if (tell->json)
		close_(tell, '}');
}

/* ---- parts that sections, groups and owners have in common -------------------------------------- */

static void put_kinds(struct tell *tell, const uint32_t *kind)
{
	if (tell->json)
		open_(tell, "kinds", '{');
	for (enum epc_kind k = 0; k < EPC_KIND_NR; k++) {
		if (tell->json)
			number(tell, epc_kind_name(k), kind[k]);
		else if (kind[k])
			put(tell, " %s %u", epc_kind_name(k), kind[k]);
	}
	if (tell->json)
		close_(tell, '}');
}

static void put_counts(struct tell *tell, const uint64_t *count)
{
	if (tell->json)
		open_(tell, "counts", '{');
	for (enum epc_count c = 0; c < EPC_COUNT_NR; c++) {
		if (tell->json)
			number(tell, epc_count_name(c), count[c]);
		else if (count[c])
			put(tell, "    %-18s %12llu\n", epc_count_name(c),
			    (unsigned long long)count[c]);
	}
	if (tell->json)
		close_(tell, '}');
}

static void put_pressure(struct tell *tell, const struct epc_pressure *pressure)
{
	static const char *const names[EPC_PRESSURE_NR] = { "some", "full" };

	if (tell->json)
		open_(tell, "pressure", '{');
	for (unsigned int i = 0; i < EPC_PRESSURE_NR; i++) {
		const struct epc_pressure *p = &pressure[i];
		unsigned long long us = p->total_ns / 1000;

		if (!tell->json) {
			put(tell,
			    "    pressure %s avg10=%.2f avg60=%.2f avg300=%.2f total=%llu us\n",
			    names[i], p->avg[0], p->avg[1], p->avg[2], us);
			continue;
		}
		open_(tell, names[i], '{');
		put(tell, "\"avg10\":%.2f,\"avg60\":%.2f,\"avg300\":%.2f,\"total_us\":%llu",
		    p->avg[0], p->avg[1], p->avg[2], us);
		close_(tell, '}');
	}
	if (tell->json)
		close_(tell, '}');
}

/* ---- sections, groups, owners -------------------------------------------------------------------- */

void tell_section(struct tell *tell, unsigned int i, const struct epc_section_info *info,
		  const struct epc_section_stats *stats)
{
	if (!tell->json) {
		put(tell, "  section %u: %u pages, the first is %u", i, info->pages, info->first);
		if (info->node >= 0)
			put(tell, " on node %d", info->node);
		put(tell, "; free %llu dirty %llu", (unsigned long long)info->free,
		    (unsigned long long)info->dirty);
		put_kinds(tell, stats->kind);
		put(tell, "\n");
		put_counts(tell, stats->count);
		put_pressure(tell, stats->pressure);
		return;
	}
	open_(tell, NULL, '{');
	number(tell, "first", info->first);
	number(tell, "pages", info->pages);
	key(tell, "node");
	put(tell, "%d", info->node);
	tell->comma = true;
	number(tell, "free", info->free);
	number(tell, "dirty", info->dirty);
	number(tell, "poisoned", info->poisoned);
	number(tell, "allocs", info->allocs);
	number(tell, "frees", info->frees);
	number(tell, "evictions", info->evictions);
	put_kinds(tell, stats->kind);
	put_counts(tell, stats->count);
	put_pressure(tell, stats->pressure);
	close_(tell, '}');
}

/* No limit is no number: null. */
static void put_limit(struct tell *tell, const char *name, uint32_t pages)
{
	if (tell->json && pages == EPC_GROUP_NO_LIMIT) {
		key(tell, name);
		put(tell, "null");
		tell->comma = true;
	} else if (tell->json) {
		number(tell, name, pages);
	} else if (pages != EPC_GROUP_NO_LIMIT) {
		put(tell, " %s %u", name, pages);
	}
}

static void put_group_head(struct tell *tell, const struct epc_group_info *info, const char *parent)
{
	static const char *const events[EPC_GROUP_EVENT_NR] = { "min", "high", "max", "oom" };

	if (tell->json) {
		open_(tell, NULL, '{');
		text(tell, "name", info->name);
		if (parent)
			text(tell, "parent", parent);
		number(tell, "current", info->current_pages);
		number(tell, "peak", info->peak_pages);
		number(tell, "weight", info->limits.weight);
	} else {
		put(tell, "  group %s: %u pages now, peak %u; weight %u", info->name,
		    info->current_pages, info->peak_pages, info->limits.weight);
	}
	put_limit(tell, "min", info->limits.min_pages);
	put_limit(tell, "high", info->limits.high_pages);
	put_limit(tell, "max", info->limits.max_pages);
	if (tell->json)
		open_(tell, "events", '{');
	for (unsigned int i = 0; i < EPC_GROUP_EVENT_NR; i++) {
		if (tell->json)
			number(tell, events[i], info->event[i]);
		else if (info->event[i])
			put(tell, ", %s %llu times", events[i], (unsigned long long)info->event[i]);
	}
	if (tell->json)
		close_(tell, '}');
}

void tell_group(struct tell *tell, const struct epc_group_info *info, const char *parent,
		const struct epc_group_stats *stats)
{
	put_group_head(tell, info, parent);
	put_kinds(tell, stats->kind);
	if (!tell->json)
		put(tell, "\n");
	put_counts(tell, stats->count);
	put_pressure(tell, stats->pressure);
	if (tell->json)
		close_(tell, '}');
}

void tell_owner(struct tell *tell, const struct epc_owner_info *info, const char *group)
{
	if (tell->json) {
		open_(tell, NULL, '{');
		text(tell, "name", info->name);
		number(tell, "id", info->id);
		number(tell, "pid", (uint64_t)info->pid);
		text(tell, "group", group);
		put_kinds(tell, info->kind);
	} else {
		put(tell, "  %s %u in group %s:", info->name, info->id, group);
		put_kinds(tell, info->kind);
		put(tell, "\n");
	}
	put_counts(tell, info->count);
	put_pressure(tell, info->pressure);
	if (tell->json)
		close_(tell, '}');
}
