/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * swsgx doctor: what this machine has of what swsgx needs, each thing really tried.
 */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/report.h"
#include "cli/cmd.h"
#include "cli/option.h"
#include "cli/probe.h"
#include "cli/runtime_path.h"

static const char *need_name(enum probe_need need)
{
	switch (need) {
	case PROBE_REQUIRED:
		return "required";
	case PROBE_DIRECT:
		return "direct";
	case PROBE_HELPS:
		return "helps";
	case PROBE_SPEED:
		return "speed";
	}
	return "?";
}

struct finding {
	const char *name;
	enum probe_need need;
	bool ok;
	char detail[PROBE_DETAIL];
	const char *without, *advice;
};

static void print_finding(const struct finding *f, bool colour)
{
	const char *mark = f->ok ? "ok" : f->need == PROBE_REQUIRED ? "MISSING" : "missing";
	const char *on = f->ok ? "\033[32m" : f->need == PROBE_REQUIRED ? "\033[31m" : "\033[33m";

	printf("  %s%-8s%s %-17s %-9s %s\n", colour ? on : "", mark, colour ? "\033[0m" : "",
	       f->name, need_name(f->need), f->detail);
	if (f->ok)
		return;
	printf("  %-8s %-17s without it: %s\n", "", "", f->without);
	if (f->advice[0])
		printf("  %-8s %-17s what to do: %s\n", "", "", f->advice);
}

static json_object *json_finding(const struct finding *f)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(f->name));
	json_object_object_add(o, "need", json_object_new_string(need_name(f->need)));
	json_object_object_add(o, "ok", json_object_new_boolean(f->ok));
	json_object_object_add(o, "detail", json_object_new_string(f->detail));
	if (!f->ok) {
		json_object_object_add(o, "without", json_object_new_string(f->without));
		json_object_object_add(o, "advice", json_object_new_string(f->advice));
	}
	return o;
}

static void find_runtime(struct finding *f)
{
	struct report rep;
	char path[RUNTIME_PATH_MAX];

	report_init(&rep);
	*f = (struct finding){
		.name = "runtime",
		.need = PROBE_REQUIRED,
		.without = "no program can be served",
		.advice = "build it (ninja -C build) or install it (make install)",
	};
	f->ok = runtime_path(path, sizeof(path), &rep) == 0;
	snprintf(f->detail, sizeof(f->detail), "%.*s", PROBE_DETAIL - 1, f->ok ? path : rep.what);
}

static unsigned int examine(struct finding *findings)
{
	unsigned int missing = 0;

	for (size_t i = 0; i < probes_nr; i++) {
		struct finding *f = &findings[i];

		f->name = probes[i].name;
		f->need = probes[i].need;
		f->without = probes[i].without;
		f->advice = probes[i].advice;
		f->ok = probe_run(&probes[i], f->detail);
	}
	find_runtime(&findings[probes_nr]);
	for (size_t i = 0; i <= probes_nr; i++)
		missing += findings[i].need == PROBE_REQUIRED && !findings[i].ok;
	return missing;
}

static void print_all(const struct finding *findings, size_t nr, unsigned int missing)
{
	bool colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	struct utsname host;

	uname(&host);
	printf("What swsgx %s needs, tried on Linux %s:\n\n", SWSGX_VERSION, host.release);
	for (size_t i = 0; i < nr; i++)
		print_finding(&findings[i], colour);
	puts("\nrequired: nothing runs without it.  direct: for programs that make their own "
	     "system calls.\n"
	     "helps: something is missing without it.  speed: for speed only.");
	if (missing)
		printf("\n%u required thing%s missing: swsgx run will not work here.\n", missing,
		       missing == 1 ? " is" : "s are");
	else
		printf("\nEverything required is here.\n");
}

static void print_json(const struct finding *findings, size_t nr, unsigned int missing)
{
	json_object *all = json_object_new_object(), *list = json_object_new_array();
	struct utsname host;

	uname(&host);
	for (size_t i = 0; i < nr; i++)
		json_object_array_add(list, json_finding(&findings[i]));
	json_object_object_add(all, "version", json_object_new_string(SWSGX_VERSION));
	json_object_object_add(all, "kernel", json_object_new_string(host.release));
	json_object_object_add(all, "ok", json_object_new_boolean(missing == 0));
	json_object_object_add(all, "checks", list);
	puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY |
							 JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(all);
}

static const char help[] =
	"usage: swsgx doctor [--json]\n"
	"\n"
	"Try each thing that swsgx needs of this machine, and say what was seen.\n"
	"\n"
	"  --json              print one JSON object instead of a table\n"
	"\n"
	"The exit status is 0 when everything required is here, 1 when not.\n";

/* 0; -ECANCELED: help was asked for; -EINVAL. */
static int parse(int argc, char **argv, bool *ret_json, struct report *rep)
{
	enum { OPT_JSON = OPTION_LONG };
	static const struct option options[] = { { "json", no_argument, NULL, OPT_JSON },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	int c;

	*ret_json = false;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'h')
			return -ECANCELED;
		if (c != OPT_JSON)
			return option_refuse(c, argv, "doctor", rep);
		*ret_json = true;
	}
	if (optind < argc)
		return report_fail(rep, -EINVAL, "doctor takes no '%s'", argv[optind]);
	return 0;
}

int cmd_doctor(int argc, char **argv)
{
	struct finding *findings;
	unsigned int missing;
	struct report rep;
	bool json;
	int r;

	report_init(&rep);
	r = parse(argc, argv, &json, &rep);
	if (r == -ECANCELED) {
		fputs(help, stdout);
		return CLI_OK;
	}
	if (r < 0)
		return cli_fail(CLI_USAGE, &rep);
	findings = calloc(probes_nr + 1, sizeof(*findings));
	if (!findings)
		return CLI_FAILED;
	missing = examine(findings);
	if (json)
		print_json(findings, probes_nr + 1, missing);
	else
		print_all(findings, probes_nr + 1, missing);
	free(findings);
	return missing ? CLI_FAILED : CLI_OK;
}
