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
	"List the EPCs of programs that run now under swsgx run or swsgx vm; or show the\n"
	"one that process PID has a part in: its sections, groups, and owners of pages.\n"
	"Reading costs those programs nothing.\n"
	"\n"
	"  --interval SECONDS  again and again, with what was done in a second\n"
	"  --count N           so many times (every second, without --interval)\n"
	"  --json              print one JSON object a line and sample\n"
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

/* ---- one session ------------------------------------------------------------------------------------- */

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
	struct session session;
	struct look *look;
	struct epc_peek *peek;
	uint64_t seen_ns; /* the session's processes */
};

static void watch_end(struct watch *watch)
{
	epc_peek_close(watch->peek);
	look_close(watch->look);
	session_free(&watch->session);
}

static int watch_begin(struct watch *watch, int pid, struct report *rep)
{
	int r = session_find(pid, &watch->session, rep);

	if (r == 0)
		r = session_look(&watch->session, &watch->look, rep);
	if (r < 0)
		return r;
	r = epc_peek_open(watch->look, &watch->peek);
	return r < 0 ? refuse(pid, r, rep) : 0;
}

/* 0; -ESRCH: it has ended; else -errno, and @rep says why. */
static int watch_one(struct watch *watch, struct stat_show *show, struct report *rep)
{
	const struct epc_sample *sample;
	int r = epc_peek_read(watch->peek, &sample);

	if (r < 0)
		return r == -ESRCH ? r : report_fail(rep, r, "cannot read the EPC's numbers");
	/* The memory is there as long as somebody looks at it: that does not tell whether it has ended. */
	if (sample->at_ns - watch->seen_ns >= REFRESH_NS || !session_lives(&watch->session)) {
		if (!session_refresh(&watch->session))
			return -ESRCH;
		watch->seen_ns = sample->at_ns;
	}
	r = stat_show_sample(show, &watch->session, sample);
	return r < 0 ? report_fail(rep, r, "cannot write") : 0;
}

static int show_one(const struct stat_options *o, struct stat_show *show, struct report *rep)
{
	struct watch watch = { .look = NULL };
	struct beat beat;
	uint64_t nr = 0;
	int r = watch_begin(&watch, o->pid, rep);

	if (r < 0) {
		watch_end(&watch);
		return r;
	}
	beat_begin(&beat, o->interval);
	while ((r = watch_one(&watch, show, rep)) == 0) {
		if (++nr == o->count)
			break;
		beat_wait(&beat);
	}
	watch_end(&watch);
	if (r != -ESRCH)
		return r;
	if (nr == 0)
		return refuse(o->pid, r, rep);
	cli_note("the EPC of process %d has ended", o->pid);
	return 0;
}

/* ---- all of them ------------------------------------------------------------------------------------ */

struct all {
	struct session *session;
	struct watch *watch; /* without sessions of their own */
	struct stat_row *row;
	unsigned int nr;
};

/* What cannot be read is said in its row. */
static void read_row(const struct session *session, struct watch *watch, struct stat_row *row)
{
	struct report rep;
	int r;

	report_init(&rep);
	*row = (struct stat_row){ .session = session };
	r = session_look(session, &watch->look, &rep);
	if (r == 0)
		r = epc_peek_open(watch->look, &watch->peek);
	if (r == 0)
		r = epc_peek_read(watch->peek, &row->sample);
	if (r == -EPROTO)
		row->why = "another version's";
	else if (r < 0)
		row->why = r == -ESRCH ? "no EPC yet, or no more" : "cannot be read";
}

static void all_free(struct all *all)
{
	for (unsigned int i = 0; all->watch && i < all->nr; i++) {
		epc_peek_close(all->watch[i].peek);
		look_close(all->watch[i].look);
	}
	free(all->watch);
	free(all->row);
	session_list_free(all->session, all->nr);
}

static int show_all_once(struct stat_show *show, struct report *rep)
{
	struct all all = { .nr = 0 };
	int r = session_list(&all.session, &all.nr, rep);

	if (r < 0)
		return r;
	all.watch = calloc(all.nr + 1, sizeof(*all.watch));
	all.row = calloc(all.nr + 1, sizeof(*all.row));
	if (!all.watch || !all.row) {
		all_free(&all);
		return report_fail(rep, -ENOMEM, "cannot list the EPCs");
	}
	for (unsigned int i = 0; i < all.nr; i++)
		read_row(&all.session[i], &all.watch[i], &all.row[i]);
	r = stat_show_list(show, all.row, all.nr);
	all_free(&all);
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
