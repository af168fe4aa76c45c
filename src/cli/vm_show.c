/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * How 'swsgx vm' shows what came of its guests: a table whose rows appear as guests end, or one JSON object at the end.
 * How far they are goes to standard error, so that it is in nobody's way.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cli/vm.h"
#include "cli/vm_host.h"
#include "epc/epc.h"

#define LINE_SECONDS 30 /* where standard error is a file */
#define ERASE        "\r\033[K"

struct vm_show {
	const struct vm_options *o;
	bool terminal, line;       /* standard error; there is a line on it that is to go */
	time_t next;               /* when the next line is due, where it is none */
	json_object *all, *guests; /* NULL: a table */
};

static time_t seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

int vm_show_create(const struct vm_options *o, struct vm_show **ret_show)
{
	struct vm_show *show = calloc(1, sizeof(*show));

	if (!show)
		return -ENOMEM;
	show->o = o;
	show->terminal = isatty(STDERR_FILENO);
	show->next = seconds() + LINE_SECONDS;
	if (o->json) {
		show->all = json_object_new_object();
		show->guests = json_object_new_array();
	}
	*ret_show = show;
	return 0;
}

void vm_show_destroy(struct vm_show *show)
{
	if (!show)
		return;
	if (show->all)
		json_object_put(show->all);
	free(show);
}

static void add(json_object *o, const char *name, uint64_t n)
{
	json_object_object_add(o, name, json_object_new_int64((int64_t)n));
}

/* ---- progress ------------------------------------------------------------------------------------- */

static void erase(struct vm_show *show)
{
	if (show->line)
		fputs(ERASE, stderr);
	show->line = false;
}

void vm_show_progress(struct vm_show *show, const char *line)
{
	if (show->terminal) {
		fprintf(stderr, ERASE "%s", line);
		show->line = true;
	} else if (seconds() >= show->next) {
		fprintf(stderr, "%s\n", line);
		show->next = seconds() + LINE_SECONDS;
	}
}

/* ---- rows ------------------------------------------------------------------------------------------- */

static void head_json(struct vm_show *show)
{
	const struct vm_options *o = show->o;

	add(show->all, "guests_nr", o->guests);
	add(show->all, "vcpus", o->vcpus);
	add(show->all, "epc_bytes", o->epc);
	add(show->all, "vepc_bytes", o->vepc);
	add(show->all, "guest_min_bytes", o->guest_min);
	if (o->guest_max)
		add(show->all, "guest_max_bytes", o->guest_max);
	add(show->all, "heap_pages", vm_heap_pages(o));
	json_object_object_add(show->all, "guests", show->guests);
}

void vm_show_head(struct vm_show *show)
{
	const struct vm_options *o = show->o;

	if (show->all) {
		head_json(show);
		return;
	}
	printf("%llu guest%s with %lluK of EPC and %llu processor%s each, of %lluK in all; %llu "
	       "heap pages in each enclave\nswsgx-vm(1) says what the columns are\n",
	       (unsigned long long)o->guests, o->guests == 1 ? "" : "s",
	       (unsigned long long)o->vepc >> 10, (unsigned long long)o->vcpus,
	       o->vcpus == 1 ? "" : "s", (unsigned long long)o->epc >> 10,
	       (unsigned long long)vm_heap_pages(o));
	if (o->guest_min)
		printf("each has been promised %lluK\n", (unsigned long long)o->guest_min >> 10);
	if (o->guest_max)
		printf("each may have %lluK at once\n", (unsigned long long)o->guest_max >> 10);
	printf("\n%-6s %8s %8s %8s %8s %8s %8s %8s %7s %7s %6s  %s\n", "guest", "peak", "taken",
	       "back", "exits", "ENCLS", "ENCLU", "entries", "AEX", "ints", "secs", "said");
	fflush(stdout);
}

static const char *said(const struct vm_row *row)
{
	if (row->end)
		return "failed";
	if (row->first)
		return "its word";
	return row->same ? "the same" : "SOMETHING ELSE";
}

static void row_json(struct vm_show *show, const struct vm_row *row)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(row->name));
	add(o, "peak_pages", row->peak_pages);
	add(o, "evictions", row->info.evictions);
	add(o, "loads", row->info.loads);
	add(o, "exits", row->info.exits);
	add(o, "encls", row->info.encls);
	add(o, "enclu", row->info.enclu);
	add(o, "entries", row->info.entries);
	add(o, "aexs", row->info.aexs);
	add(o, "interrupts", row->info.interrupts);
	json_object_object_add(o, "seconds", json_object_new_double(row->seconds));
	json_object_object_add(o, "end", json_object_new_int(row->end));
	json_object_object_add(o, "same", json_object_new_boolean(row->same));
	if (row->end < 0)
		json_object_object_add(o, "why", json_object_new_string(row->why));
	json_object_array_add(show->guests, o);
}

void vm_show_row(struct vm_show *show, const struct vm_row *row)
{
	const struct vmm_info *info = &row->info;

	erase(show);
	if (show->all) {
		row_json(show, row);
		return;
	}
	printf("%-6s %8u %8llu %8llu %8llu %8llu %8llu %8llu %7llu %7llu %6.1f  %s\n", row->name,
	       row->peak_pages, (unsigned long long)info->evictions,
	       (unsigned long long)info->loads, (unsigned long long)info->exits,
	       (unsigned long long)info->encls, (unsigned long long)info->enclu,
	       (unsigned long long)info->entries, (unsigned long long)info->aexs,
	       (unsigned long long)info->interrupts, row->seconds, said(row));
	if (row->end < 0)
		printf("       %s\n", row->why);
	else if (row->end)
		printf("       it ended with %d; its last words:\n%s", row->end, row->words);
	fflush(stdout);
}

void vm_show_host(struct vm_show *show, const struct vm_host_use *use)
{
	json_object *o;

	erase(show);
	if (!use->touched)
		return;
	if (!show->all) {
		printf("%-6s %8s %8llu %8llu  %llu pages looked at, %llu wrong\n", "host", "",
		       (unsigned long long)use->evictions, (unsigned long long)use->loads,
		       (unsigned long long)use->touched, (unsigned long long)use->wrong);
		return;
	}
	o = json_object_new_object();
	add(o, "evictions", use->evictions);
	add(o, "loads", use->loads);
	add(o, "touched", use->touched);
	add(o, "wrong", use->wrong);
	json_object_object_add(show->all, "host", o);
}

void vm_show_epc(struct vm_show *show, const struct epc_stats *stats)
{
	json_object *o;

	if (!show->all) {
		printf("\nEPC: %llu pages; %llu evictions in %llu batches, %llu loads\n",
		       (unsigned long long)stats->pages, (unsigned long long)stats->evictions,
		       (unsigned long long)stats->batches, (unsigned long long)stats->loads);
		return;
	}
	o = json_object_new_object();
	add(o, "pages", stats->pages);
	add(o, "evictions", stats->evictions);
	add(o, "batches", stats->batches);
	add(o, "loads", stats->loads);
	json_object_object_add(show->all, "epc", o);
}

void vm_show_end(struct vm_show *show, bool ok, const char *words)
{
	erase(show);
	if (!show->all) {
		if (words)
			printf("\n%s", words);
		if (ok)
			printf("Every page has been given back.\n");
		return;
	}
	if (words)
		json_object_object_add(show->all, "said", json_object_new_string(words));
	json_object_object_add(show->all, "ok", json_object_new_boolean(ok));
	puts(json_object_to_json_string_ext(show->all, JSON_C_TO_STRING_PRETTY |
							       JSON_C_TO_STRING_NOSLASHESCAPE));
}
