/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What a sample looks like.
 *
 * A table is written into memory first.  On a terminal where more are to come each is put over the one before, cut to what
 * the terminal has room for, so that nothing scrolls; anywhere else they follow each other.  Nothing of
 * the terminal is changed that would have to be put back: ^C may come at any moment.
 */
#include "cli/stat_show.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/session.h"
#include "epc/peek.h"
#include "epc/tell.h"

struct stat_show {
	bool json, rates, in_place, begun;
};

int stat_show_create(bool json, bool rates, struct stat_show **ret_show)
{
	struct stat_show *show = calloc(1, sizeof(*show));

	if (!show)
		return -ENOMEM;
	show->json = json;
	show->rates = rates;
	show->in_place = rates && !json && isatty(STDOUT_FILENO);
	*ret_show = show;
	return 0;
}

void stat_show_destroy(struct stat_show *show)
{
	free(show);
}

void stat_part_fini(struct stat_part *part)
{
	free(part->past.owner);
	part->past = (struct stat_past){ .at_ns = 0 };
}

/* ---- where it goes ------------------------------------------------------------------------------- */

static void write_stdout(void *ctx, const char *text, size_t bytes)
{
	fwrite(text, 1, bytes, stdout);
}

static int flushed(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	return errno ? -errno : -EIO;
}

/* The lines of @text over those that are there. */
static void write_in_place(struct stat_show *show, const char *text)
{
	struct winsize size = { .ws_row = 0 };
	unsigned int rows = 24, columns = 80, row = 0;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 1 && size.ws_col > 0) {
		rows = size.ws_row;
		columns = size.ws_col;
	}
	fputs(show->begun ? "\033[H" : "\033[2J\033[H", stdout);
	while (*text && row++ < rows - 1) {
		size_t n = strcspn(text, "\n");

		printf("%.*s\033[K\n", (int)(n < columns ? n : columns), text);
		text += n + (text[n] == '\n');
	}
	fputs("\033[J", stdout);
}

/* @text is the caller's from open_memstream(), and gone. */
static int write_table(struct stat_show *show, char *text)
{
	if (show->in_place) {
		write_in_place(show, text);
	} else {
		if (show->begun)
			putchar('\n');
		fputs(text, stdout);
	}
	show->begun = true;
	free(text);
	return flushed();
}

/* ---- JSON --------------------------------------------------------------------------------------------- */

static void json_session(struct tell *tell, const struct session *session)
{
	tell_number(tell, "pid", (uint64_t)session->process[0].pid);
	tell_number(tell, "descriptor", (uint64_t)session->process[0].fd);
	tell_list(tell, "processes");
	for (unsigned int i = 0; i < session->nr; i++)
		tell_element(tell, (uint64_t)session->process[i].pid);
	tell_list_end(tell);
	tell_text(tell, "program", session->program);
}

static int json_sample(const struct session *session, const struct epc_sample *sample)
{
	struct tell tell = { .write = write_stdout, .json = true };

	tell_begin(&tell);
	json_session(&tell, session);
	tell_number(&tell, "time_ns", sample->at_ns);
	tell_number(&tell, "counted_ns", sample->counted_ns);
	tell_flag(&tell, "torn", sample->torn);
	tell_epc(&tell, &sample->stats);
	tell_list(&tell, "sections");
	for (unsigned int i = 0; i < sample->section_nr; i++)
		tell_section(&tell, i, &sample->section[i].info, &sample->section[i].stats);
	tell_list_end(&tell);
	tell_list(&tell, "groups");
	for (unsigned int i = 0; i < sample->group_nr; i++) {
		const struct epc_sample_group *group = &sample->group[i];

		tell_group(&tell, &group->info,
			   group->parent < 0 ? NULL : sample->group[group->parent].info.name,
			   &group->stats);
	}
	tell_list_end(&tell);
	tell_list(&tell, "owners");
	for (unsigned int i = 0; i < sample->owner_nr; i++)
		tell_owner(&tell, &sample->owner[i].info,
			   sample->group[sample->owner[i].group].info.name);
	tell_list_end(&tell);
	tell_end(&tell);
	return flushed();
}

/* ---- tables ----------------------------------------------------------------------------------------- */

/* Of 4 KiB, as --epc takes it. */
static const char *size_of_pages(uint64_t pages, char text[24])
{
	static const char units[] = "KMGT";
	uint64_t n = pages * 4;
	unsigned int unit = 0;

	while (n >= 1024 && n % 1024 == 0 && unit < 3) {
		n /= 1024;
		unit++;
	}
	snprintf(text, 24, "%" PRIu64 "%c", n, units[unit]);
	return text;
}

/* 80 columns hold all but the last of pressure. @several: others are shown beside it. */
static void table_head(FILE *to, const struct session *session, const struct epc_sample *sample,
		       bool several)
{
	const struct epc_stats *s = &sample->stats;
	char size[24];

	fprintf(to, "EPC of process %d", session->process[0].pid);
	if (session->nr > 1)
		fprintf(to, " and %u more", session->nr - 1);
	if (several)
		fprintf(to, ", descriptor %d", session->process[0].fd);
	fprintf(to, ", %s: %s\n", size_of_pages(s->pages, size), session->program);
	if (sample->torn)
		fputs("groups and owners were changing all the time: they may not be of one "
		      "moment\n",
		      to);
	fprintf(to, "\n%9s %9s %9s %9s %9s %9s %9s %9s\n", "PAGES", "FREE", "DIRTY", "OWNED",
		"TRACKED", "IN BATCH", "POISONED", "EVICTED");
	fprintf(to,
		"%9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64
		" %9" PRIu64 " %9" PRIu64 "\n",
		s->pages, s->free, s->dirty, s->owned, s->tracked, s->in_batch, s->poisoned,
		s->backing_slots);
}

/* Loads that larger ones would have, of what there were: up to four times the size. */
static void table_larger(FILE *to, const struct epc_sample *sample)
{
	const struct epc_larger *larger = &sample->stats.larger;
	uint64_t pages = sample->stats.pages;
	char size[24];

	fprintf(to, "\n%-8s", "LARGER");
	for (unsigned int i = 0; i < 2 * EPC_LARGER_A_DOUBLING; i++)
		fprintf(to, " %8s", size_of_pages(epc_larger_pages(pages, i), size));
	fprintf(to, "\n%-8s", "LOADS");
	for (unsigned int i = 0; i < 2 * EPC_LARGER_A_DOUBLING; i++) {
		if (larger->loads > 0)
			fprintf(to, " %7.1f%%", 100 * epc_larger_loads(larger, i));
		else
			fprintf(to, " %8s", "-");
	}
	fputc('\n', to);
}

static void table_sections(FILE *to, const struct epc_sample *sample)
{
	fprintf(to, "\n%-7s %4s %7s %7s %7s %8s %10s %10s %10s %6s\n", "SECTION", "NODE", "PAGES",
		"FREE", "DIRTY", "POISONED", "FAULTS", "EVICTIONS", "LOADS", "SOME10");
	for (unsigned int i = 0; i < sample->section_nr; i++) {
		const struct epc_section_stats *stats = &sample->section[i].stats;
		const struct epc_section_info *info = &sample->section[i].info;
		char node[16] = "-";

		if (info->node >= 0)
			snprintf(node, sizeof(node), "%d", info->node);
		fprintf(to,
			"%-7u %4s %7u %7" PRIu64 " %7" PRIu64 " %8" PRIu64 " %10" PRIu64
			" %10" PRIu64 " %10" PRIu64 " %6.1f\n",
			i, node, info->pages, info->free, info->dirty, info->poisoned,
			stats->count[EPC_FAULTS], stats->count[EPC_EVICTIONS],
			stats->count[EPC_LOADS], stats->pressure[EPC_SOME].avg[0]);
	}
}

static void limit(FILE *to, uint32_t pages)
{
	if (pages == EPC_GROUP_NO_LIMIT)
		fprintf(to, " %7s", "-");
	else
		fprintf(to, " %7u", pages);
}

static void table_groups(FILE *to, const struct epc_sample *sample)
{
	fprintf(to, "\n%-14s %7s %7s %7s %7s %7s %6s %5s %5s %6s %5s %5s\n", "GROUP", "PAGES",
		"PEAK", "MIN", "HIGH", "MAX", "SOME10", "60", "300", "FULL10", "60", "300");
	for (unsigned int i = 0; i < sample->group_nr; i++) {
		const struct epc_sample_group *group = &sample->group[i];
		const struct epc_pressure *p = group->stats.pressure;
		int indent = (int)group->depth;

		fprintf(to, "%*s%-*.*s %7u %7u", indent, "", 14 - indent, 14 - indent,
			group->info.name, group->info.current_pages, group->info.peak_pages);
		limit(to, group->info.limits.min_pages);
		limit(to, group->info.limits.high_pages);
		limit(to, group->info.limits.max_pages);
		for (unsigned int k = 0; k < EPC_PRESSURE_NR; k++)
			fprintf(to, " %6.1f %5.1f %5.1f", p[k].avg[0], p[k].avg[1], p[k].avg[2]);
		fputc('\n', to);
	}
}

/* ---- owners, and what they do in a second -------------------------------------------------------- */

static const enum epc_count rated[] = { EPC_FAULTS, EPC_EVICTIONS, EPC_LOADS };

static int by_key(const void *a, const void *b)
{
	const struct epc_sample_owner *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

/* The same owner in the sample before: one with another's key has counted less. NULL: it is new. */
static const struct epc_sample_owner *before_of(const struct stat_past *past,
						const struct epc_sample_owner *owner)
{
	const struct epc_sample_owner *before =
		past->owner_nr > 0
			? bsearch(owner, past->owner, past->owner_nr, sizeof(*owner), by_key)
			: NULL;

	if (before && before->info.id == owner->info.id &&
	    before->info.count[EPC_ALLOCS] <= owner->info.count[EPC_ALLOCS] &&
	    before->info.count[EPC_FAULTS] <= owner->info.count[EPC_FAULTS])
		return before;
	return NULL;
}

/* An owner that is new has counted since it was made, which was in between. */
static void rates(const struct stat_past *past, FILE *to, const struct epc_sample_owner *owner,
		  uint64_t at_ns)
{
	const struct epc_sample_owner *before = before_of(past, owner);
	double seconds = (double)(at_ns - past->at_ns) / 1e9;

	for (unsigned int i = 0; i < sizeof(rated) / sizeof(rated[0]); i++) {
		uint64_t was = before ? before->info.count[rated[i]] : 0;
		uint64_t now = owner->info.count[rated[i]];

		if (past->at_ns && seconds > 0 && now >= was)
			fprintf(to, " %8.0f", (double)(now - was) / seconds);
		else
			fprintf(to, " %8s", "-");
	}
}

static void table_pages(FILE *to, const struct epc_sample *sample)
{
	fprintf(to, "\n%-8s %4s %7s %-9s %8s", "OWNER", "ID", "PID", "GROUP", "PAGES");
	for (enum epc_kind k = 0; k < EPC_KIND_NR; k++)
		fprintf(to, " %*s", k == EPC_REG ? 8 : 5, epc_kind_name(k));
	fputc('\n', to);
	for (unsigned int i = 0; i < sample->owner_nr; i++) {
		const struct epc_owner_info *info = &sample->owner[i].info;
		uint64_t pages = 0;

		for (enum epc_kind k = 0; k < EPC_KIND_NR; k++)
			pages += info->kind[k];
		fprintf(to, "%-8.8s %4u %7d %-9.9s %8" PRIu64, info->name, info->id, info->pid,
			sample->group[sample->owner[i].group].info.name, pages);
		for (enum epc_kind k = 0; k < EPC_KIND_NR; k++)
			fprintf(to, " %*u", k == EPC_REG ? 8 : 5, info->kind[k]);
		fputc('\n', to);
	}
}

static void table_events(const struct stat_show *show, FILE *to, const struct stat_part *part)
{
	const struct epc_sample *sample = part->sample;

	fprintf(to, "\n%-8s %4s %10s %10s %10s %6s", "OWNER", "ID", "FAULTS", "EVICTIONS", "LOADS",
		"SOME10");
	if (show->rates)
		fprintf(to, " %8s %8s %8s", "FAULTS/s", "EVICT/s", "LOADS/s");
	fputc('\n', to);
	for (unsigned int i = 0; i < sample->owner_nr; i++) {
		const struct epc_owner_info *info = &sample->owner[i].info;

		fprintf(to, "%-8.8s %4u %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %6.1f",
			info->name, info->id, info->count[EPC_FAULTS], info->count[EPC_EVICTIONS],
			info->count[EPC_LOADS], info->pressure[EPC_SOME].avg[0]);
		if (show->rates)
			rates(&part->past, to, &sample->owner[i], sample->at_ns);
		fputc('\n', to);
	}
}

static int remember(struct stat_past *past, const struct epc_sample *sample)
{
	struct epc_sample_owner *owner =
		realloc(past->owner, (sample->owner_nr + 1) * sizeof(*owner));

	if (!owner)
		return -ENOMEM;
	past->owner = owner;
	for (unsigned int i = 0; i < sample->owner_nr; i++)
		owner[i] = sample->owner[i];
	qsort(owner, sample->owner_nr, sizeof(*owner), by_key);
	past->owner_nr = sample->owner_nr;
	past->at_ns = sample->at_ns;
	return 0;
}

static void table_part(const struct stat_show *show, FILE *to, const struct stat_part *part,
		       bool several)
{
	table_head(to, part->session, part->sample, several);
	table_larger(to, part->sample);
	table_sections(to, part->sample);
	table_groups(to, part->sample);
	table_pages(to, part->sample);
	table_events(show, to, part);
}

int stat_show_samples(struct stat_show *show, struct stat_part *const *part, unsigned int nr)
{
	char *text = NULL;
	size_t bytes;
	FILE *to;
	int r = 0;

	if (show->json) {
		for (unsigned int i = 0; i < nr && r == 0; i++)
			r = json_sample(part[i]->session, part[i]->sample);
		return r;
	}
	to = open_memstream(&text, &bytes);
	if (!to)
		return -ENOMEM;
	for (unsigned int i = 0; i < nr; i++) {
		if (i > 0)
			fputc('\n', to);
		table_part(show, to, part[i], nr > 1);
	}
	if (fclose(to) != 0)
		return -ENOMEM;
	r = write_table(show, text);
	for (unsigned int i = 0; i < nr && r == 0 && show->rates; i++)
		r = remember(&part[i]->past, part[i]->sample);
	return r;
}

/* ---- all sessions ------------------------------------------------------------------------------------ */

static int json_list(const struct stat_row *row, unsigned int nr)
{
	struct tell tell = { .write = write_stdout, .json = true };

	tell_begin(&tell);
	tell_list(&tell, "sessions");
	for (unsigned int i = 0; i < nr; i++) {
		tell_object(&tell);
		json_session(&tell, row[i].session);
		if (!row[i].why) {
			tell_epc(&tell, &row[i].stats);
			tell_number(&tell, "owners", row[i].owner_nr);
		} else {
			tell_text(&tell, "unreadable", row[i].why);
		}
		tell_object_end(&tell);
	}
	tell_list_end(&tell);
	tell_end(&tell);
	return flushed();
}

static void table_row(FILE *to, const struct stat_row *row)
{
	const struct epc_stats *s = &row->stats;
	char size[24];

	fprintf(to, "%7d %5u", row->session->process[0].pid, row->session->nr);
	if (row->why) {
		fprintf(to, " %-56s", row->why);
	} else {
		fprintf(to, " %7s %8" PRIu64 " %6u %10" PRIu64 " %10" PRIu64 " %10" PRIu64,
			size_of_pages(s->pages, size), s->pages - s->free - s->dirty, row->owner_nr,
			s->faults, s->evictions, s->loads);
	}
	fprintf(to, "  %s\n", row->session->program);
}

int stat_show_list(struct stat_show *show, const struct stat_row *row, unsigned int nr)
{
	unsigned int unused = 0;
	char *text = NULL;
	size_t bytes;
	FILE *to;

	if (show->json)
		return json_list(row, nr);
	to = open_memstream(&text, &bytes);
	if (!to)
		return -ENOMEM;
	fprintf(to, "%7s %5s %7s %8s %6s %10s %10s %10s  %s\n", "PID", "PROCS", "EPC", "PAGES",
		"OWNERS", "FAULTS", "EVICTIONS", "LOADS", "PROGRAM");
	for (unsigned int i = 0; i < nr; i++) {
		if (!row[i].why && row[i].stats.allocs == 0)
			unused++;
		else
			table_row(to, &row[i]);
	}
	if (unused)
		fprintf(to, "and %u that nobody has used\n", unused);
	if (fclose(to) != 0)
		return -ENOMEM;
	return write_table(show, text);
}
