/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * swsgx stat: the EPCs that run now, or one of them, once or again and again.
 *
 * The processes that are looked at do nothing for it, and notice nothing (epc/peek.h): so it works as well with those
 * that hang or are stopped.
 */
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/look.h"
#include "base/report.h"
#include "cli/cmd.h"
#include "cli/option.h"
#include "cli/session.h"
#include "cli/stat_show.h"
#include "epc/peek.h"

#define INTERVAL_MIN 0.01
#define INTERVAL_MAX 86400.0
#define REFRESH_NS   1000000000ull /* how often is looked who has a part in the session */

static const char help[] =
	"usage: swsgx stat [OPTIONS] [PID]\n"
	"\n"
	"List the EPCs of programs that run now under swsgx run or swsgx vm; or show\n"
	"each that process PID has a part in: its sections, groups, and owners of pages.\n"
	"Reading costs those programs nothing.\n"
	"\n"
	"  --interval SECONDS  again and again, with what was done in a second\n"
	"  --count N           so many times (every second, without --interval)\n"
	"  --json              print one JSON object a line: of an EPC and sample\n"
	"\n"
	"The exit status is 0, also when the program ends meanwhile; 1 when there is\n"
	"nothing to show of PID.\n";

struct stat_options {
	double interval; /* 0: once */
	uint64_t count;  /* 0: no end */
	bool json;
	int pid; /* 0: all */
};

/* ---- options --------------------------------------------------------------------------------------- */

static int parse_interval(const char *text, struct stat_options *o, struct report *rep)
{
	char *end;

	o->interval = strtod(text, &end);
	if (end != text && !*end && isfinite(o->interval) && o->interval >= INTERVAL_MIN &&
	    o->interval <= INTERVAL_MAX)
		return 0;
	report_hint(rep, "seconds, from 0.01 to 86400");
	return report_fail(rep, -EINVAL, "cannot take '%s' for --interval", text);
}

static int parse_pid(int argc, char **argv, struct stat_options *o, struct report *rep)
{
	uint64_t pid;
	int r;

	if (optind == argc)
		return 0;
	if (optind + 1 < argc)
		return report_fail(rep, -EINVAL, "stat takes one process, not '%s' too",
				   argv[optind + 1]);
	r = option_number(argv[optind], "PID", 1, INT32_MAX, &pid, rep);
	o->pid = r < 0 ? 0 : (int)pid;
	return r;
}

/* 0; -ECANCELED: help was asked for; -EINVAL. */
static int parse(int argc, char **argv, struct stat_options *o, struct report *rep)
{
	enum { OPT_INTERVAL = OPTION_LONG, OPT_COUNT, OPT_JSON };
	static const struct option options[] = { { "interval", required_argument, NULL,
						   OPT_INTERVAL },
						 { "count", required_argument, NULL, OPT_COUNT },
						 { "json", no_argument, NULL, OPT_JSON },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	int c, r;

	*o = (struct stat_options){ .interval = 0 };
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		r = 0;
		if (c == 'h')
			return -ECANCELED;
		if (c == '?' || c == ':')
			return option_refuse(c, argv, "stat", rep);
		if (c == OPT_INTERVAL)
			r = parse_interval(optarg, o, rep);
		else if (c == OPT_COUNT)
			r = option_number(optarg, "--count", 1, 1000000000, &o->count, rep);
		else
			o->json = true;
		if (r < 0)
			return r;
	}
	if (o->count && o->interval == 0)
		o->interval = 1;
	if (o->interval == 0)
		o->count = 1;
	return parse_pid(argc, argv, o, rep);
}

/* ---- time ------------------------------------------------------------------------------------------- */

/* From its making on, at even distances: what one sample takes does not put off the next. */
struct beat {
	struct timespec next;
	double seconds;
};

static void beat_begin(struct beat *beat, double seconds)
{
	beat->seconds = seconds;
	clock_gettime(CLOCK_MONOTONIC, &beat->next);
}

static void beat_wait(struct beat *beat)
{
	struct timespec now;
	double late;
	time_t whole = (time_t)beat->seconds;

	beat->next.tv_sec += whole;
	beat->next.tv_nsec += (long)((beat->seconds - (double)whole) * 1e9);
	if (beat->next.tv_nsec >= 1000000000) {
		beat->next.tv_nsec -= 1000000000;
		beat->next.tv_sec++;
	}
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &beat->next, NULL) == EINTR)
		;
	/* Who was stopped for a while does not make up for it. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	late = (double)(now.tv_sec - beat->next.tv_sec) +
	       (double)(now.tv_nsec - beat->next.tv_nsec) / 1e9;
	if (late > beat->seconds)
		beat->next = now;
}

/* ---- those of one process -------------------------------------------------------------------------- */

static int refuse(int pid, int r, struct report *rep)
{
	if (r == -ESRCH) {
		report_hint(rep, "it is still beginning, or about to end");
		return report_fail(rep, -ENODATA, "process %d has no EPC of swsgx", pid);
	}
	if (r == -EPROTO) {
		report_hint(rep, "swsgx stat and swsgx run must be of one version");
		return report_fail(rep, r, "the EPC of process %d is another version's", pid);
	}
	return report_fail(rep, r, "cannot look at the EPC of process %d", pid);
}

struct watch {
	struct look *look;
	struct epc_peek *peek;
	struct stat_part part; /* without a sample: it has ended */
};

/* EPCs that one process has, or had, a part in. */
struct watches {
	struct session *session;
	struct watch *watch;      /* one for each */
	struct stat_part **shown; /* room for as many */
	unsigned int nr;
	uint64_t seen_ns; /* their processes */
};

static void watch_end(struct watch *watch)
{
	epc_peek_close(watch->peek);
	look_close(watch->look);
	stat_part_fini(&watch->part);
	*watch = (struct watch){ .look = NULL };
}

static void watches_end(struct watches *all)
{
	for (unsigned int i = 0; all->watch && i < all->nr; i++)
		watch_end(&all->watch[i]);
	free(all->watch);
	free((void *)all->shown);
	session_list_free(all->session, all->nr);
}

static int watch_begin(struct watch *watch, const struct session *session, int pid,
		       struct report *rep)
{
	int r = session_look(session, &watch->look, rep);

	if (r < 0)
		return r;
	watch->part.session = session;
	r = epc_peek_open(watch->look, &watch->peek);
	return r < 0 ? refuse(pid, r, rep) : 0;
}

/* One that cannot be looked at does not hide others. */
static int watches_begin(struct watches *all, int pid, struct report *rep)
{
	unsigned int begun = 0;
	int r = session_find(pid, &all->session, &all->nr, rep);

	if (r < 0)
		return r;
	all->watch = calloc(all->nr, sizeof(*all->watch));
	all->shown = calloc(all->nr, sizeof(struct stat_part *));
	if (!all->watch || !all->shown)
		return refuse(pid, -ENOMEM, rep);
	for (unsigned int i = 0; i < all->nr; i++) {
		struct report why;

		report_init(&why);
		r = watch_begin(&all->watch[i], &all->session[i], pid, &why);
		begun += r == 0;
		if (r < 0)
			watch_end(&all->watch[i]);
		if (r < 0 && begun == 0)
			*rep = why;
	}
	if (begun == 0)
		return r;
	report_init(rep);
	return 0;
}

/* 0; -ESRCH: it has ended; else -errno, and @rep says why. */
static int watch_read(struct watches *all, struct watch *watch, struct report *rep)
{
	const struct epc_sample *sample;
	int r = epc_peek_read(watch->peek, &sample);

	if (r < 0)
		return r == -ESRCH ? r : report_fail(rep, r, "cannot read the EPC's numbers");
	/* The memory is there as long as somebody looks at it: that does not tell whether it has ended. */
	if (sample->at_ns - all->seen_ns >= REFRESH_NS || !session_lives(watch->part.session)) {
		session_refresh(all->session, all->nr);
		all->seen_ns = sample->at_ns;
	}
	watch->part.sample = sample;
	return watch->part.session->nr > 0 ? 0 : -ESRCH;
}

/* 0; -ESRCH: all have ended; else -errno, and @rep says why. */
static int watches_read(struct watches *all, struct stat_show *show, struct report *rep)
{
	unsigned int nr = 0;
	int r;

	for (unsigned int i = 0; i < all->nr; i++) {
		struct watch *watch = &all->watch[i];

		if (!watch->peek)
			continue;
		r = watch_read(all, watch, rep);
		if (r == -ESRCH)
			watch_end(watch);
		else if (r < 0)
			return r;
	}
	/* Behind the last look at who is there. */
	for (unsigned int i = 0; i < all->nr; i++) {
		if (all->watch[i].peek && all->session[i].nr > 0)
			all->shown[nr++] = &all->watch[i].part;
	}
	if (nr == 0)
		return -ESRCH;
	r = stat_show_samples(show, all->shown, nr);
	return r < 0 ? report_fail(rep, r, "cannot write") : 0;
}

static int show_one(const struct stat_options *o, struct stat_show *show, struct report *rep)
{
	struct watches all = { .nr = 0 };
	struct beat beat;
	uint64_t nr = 0;
	int r = watches_begin(&all, o->pid, rep);

	if (r < 0) {
		watches_end(&all);
		return r;
	}
	beat_begin(&beat, o->interval);
	while ((r = watches_read(&all, show, rep)) == 0) {
		if (++nr == o->count)
			break;
		beat_wait(&beat);
	}
	watches_end(&all);
	if (r != -ESRCH)
		return r;
	if (nr == 0)
		return refuse(o->pid, r, rep);
	cli_note("the EPC of process %d has ended", o->pid);
	return 0;
}

/* ---- all of them ------------------------------------------------------------------------------------ */

/* What cannot be read is said in its row. One after the other: nobody has room for all at once who shows very many. */
static void read_row(const struct session *session, struct stat_row *row)
{
	const struct epc_sample *sample;
	struct epc_peek *peek = NULL;
	struct look *look = NULL;
	struct report rep;
	int r;

	report_init(&rep);
	*row = (struct stat_row){ .session = session };
	r = session_look(session, &look, &rep);
	if (r == 0)
		r = epc_peek_open(look, &peek);
	if (r == 0)
		r = epc_peek_read(peek, &sample);
	if (r == 0) {
		row->stats = sample->stats;
		row->owner_nr = sample->owner_nr;
	} else if (r == -EPROTO) {
		row->why = "another version's";
	} else {
		row->why = r == -ESRCH ? "no EPC yet, or no more" : "cannot be read";
	}
	epc_peek_close(peek);
	look_close(look);
}

static int show_all_once(struct stat_show *show, struct report *rep)
{
	struct session *sessions;
	struct stat_row *row;
	unsigned int nr;
	int r = session_list(&sessions, &nr, rep);

	if (r < 0)
		return r;
	row = calloc(nr + 1, sizeof(*row));
	if (!row) {
		session_list_free(sessions, nr);
		return report_fail(rep, -ENOMEM, "cannot list the EPCs");
	}
	for (unsigned int i = 0; i < nr; i++)
		read_row(&sessions[i], &row[i]);
	r = stat_show_list(show, row, nr);
	free(row);
	session_list_free(sessions, nr);
	return r < 0 ? report_fail(rep, r, "cannot write") : 0;
}

static int show_all(const struct stat_options *o, struct stat_show *show, struct report *rep)
{
	struct beat beat;
	int r;

	beat_begin(&beat, o->interval);
	for (uint64_t nr = 1; (r = show_all_once(show, rep)) == 0 && nr != o->count; nr++)
		beat_wait(&beat);
	return r;
}

int cmd_stat(int argc, char **argv)
{
	struct stat_options o;
	struct stat_show *show;
	struct report rep;
	int r;

	report_init(&rep);
	r = parse(argc, argv, &o, &rep);
	if (r == -ECANCELED) {
		fputs(help, stdout);
		return CLI_OK;
	}
	if (r < 0)
		return cli_fail(CLI_USAGE, &rep);
	if (stat_show_create(o.json, o.count != 1, &show) < 0) {
		report_fail(&rep, -ENOMEM, "cannot begin");
		return cli_fail(CLI_FAILED, &rep);
	}
	r = o.pid ? show_one(&o, show, &rep) : show_all(&o, show, &rep);
	stat_show_destroy(show);
	return r < 0 ? cli_fail(CLI_FAILED, &rep) : CLI_OK;
}
