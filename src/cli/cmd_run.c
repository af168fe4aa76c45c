/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * swsgx run: set the stage, then become the program.
 *
 * Everything that the runtime is told goes through the environment (SWSGX_*), because the program is
 * exec'ed in our place: no process of ours stays, and its exit status is the program's.
 *
 * Not here: what the settings mean (src/runtime).
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/report.h"
#include "cli/cmd.h"
#include "cli/option.h"
#include "cli/platform_file.h"
#include "cli/probe.h"
#include "cli/runtime_path.h"
#include "cli/size.h"
#include "cli/target.h"
#include "cpu/cpu.h"
#include "epc/backing.h"

/*
 * Without --epc.  What the first SGX machines had (128 MiB, of which programs got 93), and so a size
 * that every program for SGX was made to live with.
 */
#define EPC_DEFAULT "128M"

#define EPC_MIN_BYTES 36864u
#define EPC_MAX_BYTES (1ull << 40)
#define SLOT_BYTES    (4096u + 128u) /* of an evicted page, with its PCMD */
#define SECTIONS_MAX  8u
#define STATS_FD_MIN  200 /* out of the way of programs that count on low numbers */

/* A format: the policies go into it. */
static const char help[] =
	"usage: swsgx run [OPTIONS] [--] PROGRAM [ARGS]\n"
	"\n"
	"Run PROGRAM, made for SGX hardware, with a software SGX under it.\n"
	"\n"
	"  --epc SIZE[@NODE]   an EPC section, K to T (" EPC_DEFAULT "); may be given again\n"
	"  --platform FILE     the platform's secrets, made on first use\n"
	"                      (${XDG_DATA_HOME:-~/.local/share}/swsgx/platform)\n"
	"  --cpu FEATURES      what the processor has, or has not (no-): sgx2, exinfo,\n"
	"                      kss, edeccssa, aex-notify, encls-c, enclv, updatesvn\n"
	"  --cpuid HOW         rewrite: in PROGRAM's code, where it can fault too;\n"
	"                      host: leave it alone, so that it shows no SGX\n"
	"  --policy NAME       how victims are chosen when the EPC is full:\n"
	"                      %s\n"
	"  --backing PATH      keep evicted pages in this file or folder, not in memory\n"
	"  --backing-max SIZE  and at most this much of them\n"
	"  --stats[=json]      print to standard error what the EPC did, at the end\n"
	"  --background        evict ahead of demand, in a thread besides PROGRAM's own\n"
	"  --direct            PROGRAM makes its own system calls (of static and Go\n"
	"                      programs this is found out)\n"
	"\n"
	"The exit status is PROGRAM's; 2 for a request that cannot be served, 126 and 127\n"
	"for a PROGRAM that cannot be executed or found, 1 when this machine lacks\n"
	"something (swsgx doctor).\n";

struct run_options {
	char epc[SECTIONS_MAX * 32]; /* BYTES[@NODE],... */
	unsigned int sections;
	char program[RUNTIME_PATH_MAX];
	char platform[RUNTIME_PATH_MAX];
	char backing[RUNTIME_PATH_MAX];
	char backing_max[24];
	const char *cpu;
	const char *cpuid; /* "rewrite", "host" or NULL */
	const char *policy;
	const char *stats; /* "text", "json" or NULL */
	bool direct;
	bool background;
	uint64_t epc_bytes; /* of all sections */
};

static int env_set(const char *name, const char *value, struct report *rep)
{
	if (setenv(name, value, 1) < 0)
		return report_fail(rep, -errno, "cannot set %s", name);
	return 0;
}

/* The program may change its folder before a path is used. */
static int path_absolute(const char *path, char *out, size_t bytes, struct report *rep)
{
	char cwd[RUNTIME_PATH_MAX];
	int n;

	if (!path[0])
		return report_fail(rep, -EINVAL, "cannot use an empty path");
	if (path[0] == '/') {
		n = snprintf(out, bytes, "%s", path);
	} else {
		if (!getcwd(cwd, sizeof(cwd)))
			return report_fail(rep, -errno, "cannot tell the current folder");
		n = snprintf(out, bytes, "%s/%s", cwd, path);
	}
	if (n < 0 || (size_t)n >= bytes)
		return report_fail(rep, -ENAMETOOLONG, "cannot use '%.60s...'", path);
	return 0;
}

/* As the runtime will make it, and gone again. */
static int check_backing(const char *path, struct report *rep)
{
	int fd;

	if (!path[0])
		return 0;
	fd = backing_open(path);
	if (fd < 0) {
		report_hint(rep,
			    "name a new file in a folder that you may write to, or the folder");
		return report_fail(rep, fd, "cannot make a file for --backing '%s'", path);
	}
	close(fd);
	return 0;
}

/* Fine, where another machine is played; else a slip, so it is told. */
static void note_node(const char *text, int node)
{
	char path[64];

	if (node < 0 || access("/sys/devices/system/node", F_OK) < 0)
		return;
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", node);
	if (access(path, F_OK) < 0)
		cli_note("--epc %s: this machine has no NUMA node %d, the section is far from all",
			 text, node);
}

static int add_section(struct run_options *o, const char *text, struct report *rep)
{
	char where[16] = "";
	size_t used = strlen(o->epc);
	uint64_t bytes;
	int r, node;

	if (o->sections == SECTIONS_MAX)
		return report_fail(rep, -E2BIG, "too many --epc (%u at most)", SECTIONS_MAX);
	r = size_parse_epc(text, &bytes, &node, rep);
	if (r < 0)
		return r;
	note_node(text, node);
	if (node >= 0)
		snprintf(where, sizeof(where), "@%d", node);
	snprintf(o->epc + used, sizeof(o->epc) - used, "%s%" PRIu64 "%s", o->sections ? "," : "",
		 bytes, where);
	o->sections++;
	o->epc_bytes += bytes;
	return 0;
}

/* One instruction may need its SECS, VA pages, the TCS, an SSA frame, code, stack and data at once. */
static int check_epc(const struct run_options *o, struct report *rep)
{
	if (o->epc_bytes > EPC_MAX_BYTES)
		return report_fail(rep, -ERANGE, "all --epc together are too large (1T at most)");
	if (o->epc_bytes >= EPC_MIN_BYTES)
		return 0;
	report_hint(rep, "give it %uK at least; a program with several threads needs more",
		    EPC_MIN_BYTES / 1024);
	return report_fail(rep, -EINVAL,
			   "an EPC of %" PRIu64 " pages cannot hold what one instruction needs",
			   o->epc_bytes / 4096);
}

static int set_backing_max(struct run_options *o, const char *text, struct report *rep)
{
	uint64_t bytes;
	int r;

	r = size_parse(text, "--backing-max", &bytes, rep);
	if (r < 0)
		return r;
	if (!bytes)
		return report_fail(rep, -EINVAL, "a store for --backing of no bytes holds nothing");
	if (bytes < SLOT_BYTES) {
		report_hint(rep, "a page takes %u bytes with what it is checked by", SLOT_BYTES);
		return report_fail(rep, -EINVAL, "'%s' for --backing-max has no room for one page",
				   text);
	}
	snprintf(o->backing_max, sizeof(o->backing_max), "%" PRIu64, bytes);
	return 0;
}

static int set_cpu(struct run_options *o, const char *features, struct report *rep)
{
	struct cpu_config config = { 0 };

	if (cpu_config_features(&config, features) < 0) {
		report_hint(
			rep,
			"sgx2, exinfo, kss, edeccssa, aex-notify, encls-c, enclv, updatesvn, and "
			"each with no- before it");
		return report_fail(rep, -EINVAL, "'%s' for --cpu has an unknown feature", features);
	}
	o->cpu = features;
	return 0;
}

static int set_cpuid(struct run_options *o, const char *how, struct report *rep)
{
	if (strcmp(how, "rewrite") != 0 && strcmp(how, "host") != 0) {
		report_hint(rep, "--cpuid rewrite or --cpuid host");
		return report_fail(rep, -EINVAL, "'%s' for --cpuid is no way to show CPUID", how);
	}
	o->cpuid = how;
	return 0;
}

static int set_stats(struct run_options *o, const char *form, struct report *rep)
{
	if (!form || !strcmp(form, "text")) {
		o->stats = "text";
	} else if (!strcmp(form, "json")) {
		o->stats = "json";
	} else {
		report_hint(rep, "--stats, --stats=text or --stats=json");
		return report_fail(rep, -EINVAL, "'%s' for --stats is no form", form);
	}
	return 0;
}

enum {
	OPT_EPC = OPTION_LONG,
	OPT_PLATFORM,
	OPT_CPU,
	OPT_CPUID,
	OPT_POLICY,
	OPT_BACKING,
	OPT_BACKING_MAX,
	OPT_STATS,
	OPT_DIRECT,
	OPT_BACKGROUND
};

static int set_option(struct run_options *o, int opt, const char *arg, struct report *rep)
{
	switch (opt) {
	case OPT_EPC:
		return add_section(o, arg, rep);
	case OPT_PLATFORM:
		return path_absolute(arg, o->platform, sizeof(o->platform), rep);
	case OPT_CPU:
		return set_cpu(o, arg, rep);
	case OPT_CPUID:
		return set_cpuid(o, arg, rep);
	case OPT_POLICY:
		o->policy = arg;
		return 0;
	case OPT_BACKING:
		return path_absolute(arg, o->backing, sizeof(o->backing), rep);
	case OPT_BACKING_MAX:
		return set_backing_max(o, arg, rep);
	case OPT_DIRECT:
		o->direct = true;
		return 0;
	case OPT_BACKGROUND:
		o->background = true;
		return 0;
	default:
		assert(opt == OPT_STATS);
		return set_stats(o, arg, rep);
	}
}

/* -ECANCELED: the help was asked for. */
static int parse(int argc, char **argv, struct run_options *o, struct report *rep)
{
	static const struct option options[] = {
		{ "epc", required_argument, NULL, OPT_EPC },
		{ "platform", required_argument, NULL, OPT_PLATFORM },
		{ "cpu", required_argument, NULL, OPT_CPU },
		{ "cpuid", required_argument, NULL, OPT_CPUID },
		{ "policy", required_argument, NULL, OPT_POLICY },
		{ "backing", required_argument, NULL, OPT_BACKING },
		{ "backing-max", required_argument, NULL, OPT_BACKING_MAX },
		{ "stats", optional_argument, NULL, OPT_STATS },
		{ "direct", no_argument, NULL, OPT_DIRECT },
		{ "background", no_argument, NULL, OPT_BACKGROUND },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	int c, r;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:h", options, NULL)) != -1) {
		if (c == 'h')
			return -ECANCELED;
		if (c == '?' || c == ':')
			return option_refuse(c, argv, "run", rep);
		r = set_option(o, c, optarg, rep);
		if (r < 0)
			return r;
	}
	if (optind == argc) {
		report_hint(rep, "swsgx run [OPTIONS] [--] PROGRAM [ARGS]");
		return report_fail(rep, -EINVAL, "no program to run");
	}
	if (o->backing_max[0] && !o->backing[0]) {
		report_hint(rep, "give --backing PATH too");
		return report_fail(rep, -EINVAL, "--backing-max needs a store to limit");
	}
	if (!o->sections) {
		r = add_section(o, EPC_DEFAULT, rep);
		if (r < 0)
			return r;
	}
	r = check_epc(o, rep);
	if (r >= 0)
		r = option_policy(o->policy, rep);
	if (r < 0)
		return r;
	return o->platform[0] ? 0 : platform_file_default(o->platform, sizeof(o->platform), rep);
}

/* "--stats json": the option takes its value behind a '=' only, so json was taken for the program. */
static bool is_form_of_stats(char *const *argv, int program)
{
	return !strcmp(argv[program - 1], "--stats") &&
	       (!strcmp(argv[program], "json") || !strcmp(argv[program], "text"));
}

/* 0, or the exit status. */
static int check_program(char *const *argv, int at, struct run_options *o, struct report *rep)
{
	const char *name = argv[at];
	enum program_kind kind;
	int r;

	r = target_find(name, o->program, sizeof(o->program), rep);
	if (r == -ENOENT && is_form_of_stats(argv, at))
		report_hint(rep, "--stats=%s, in one word, is the option", name);
	if (r < 0)
		return r == -ENOENT ? CLI_NOT_FOUND : CLI_NOT_EXECUTABLE;
	if (target_kind(o->program, &kind, rep) < 0)
		return CLI_NOT_EXECUTABLE;
	if (target_check_privilege(o->program, rep) < 0)
		return CLI_USAGE;
	if (kind == PROGRAM_FOREIGN) {
		report_hint(rep, "SGX programs are 64-bit x86 programs");
		report_fail(rep, -ENOEXEC, "cannot run '%s', it is not for x86-64", name);
		return CLI_USAGE;
	}
	if (kind == PROGRAM_DIRECT)
		o->direct = true;
	if (o->direct && kind == PROGRAM_SCRIPT) {
		report_hint(rep, "give --direct to the program that the script runs");
		report_fail(rep, -EINVAL, "'%s' is a script", name);
		return CLI_USAGE;
	}
	return 0;
}

static int check_machine(bool direct, struct report *rep)
{
	unsigned int needs = 1u << PROBE_REQUIRED | (direct ? 1u << PROBE_DIRECT : 0);
	char detail[PROBE_DETAIL];
	const struct probe *missing = probe_first_missing(needs, detail);

	if (!missing)
		return 0;
	report_hint(rep, "swsgx doctor says what to do about it");
	return report_fail(rep, -ENOTSUP, "this machine lacks %s (%.100s)", missing->name, detail);
}

/* The runtime first: it must see the calls before other preloaded libraries do. */
static int set_preload(struct report *rep)
{
	char lib[RUNTIME_PATH_MAX], *value;
	const char *old = getenv("LD_PRELOAD");
	size_t n;
	int r;

	r = runtime_path(lib, sizeof(lib), rep);
	if (r < 0)
		return r;
	n = strlen(lib);
	if (!old || !old[0] || (!strncmp(old, lib, n) && (!old[n] || old[n] == ':')))
		return old && old[0] ? 0 : env_set("LD_PRELOAD", lib, rep);
	if (asprintf(&value, "%s:%s", lib, old) < 0)
		return report_fail(rep, -ENOMEM, "cannot set LD_PRELOAD");
	r = env_set("LD_PRELOAD", value, rep);
	free(value);
	return r;
}

/* The program may close or redirect its standard error: statistics go to a copy of ours. */
static int set_stats_env(const struct run_options *o, struct report *rep)
{
	char number[16];
	int fd, r;

	if (!o->stats) {
		unsetenv("SWSGX_STATS");
		unsetenv("SWSGX_STATS_FD");
		return 0;
	}
	fd = fcntl(STDERR_FILENO, F_DUPFD, STATS_FD_MIN);
	if (fd < 0)
		return report_fail(rep, -errno, "cannot copy standard error");
	snprintf(number, sizeof(number), "%d", fd);
	r = env_set("SWSGX_STATS", o->stats, rep);
	return r < 0 ? r : env_set("SWSGX_STATS_FD", number, rep);
}

/* For programs that the program starts: some of them need it. */
static int set_exec_env(struct report *rep)
{
	char exec[RUNTIME_PATH_MAX];
	int r = runtime_exec_path(exec, sizeof(exec), rep);

	return r < 0 ? r : env_set("SWSGX_EXEC", exec, rep);
}

static int set_environment(const struct run_options *o, struct report *rep)
{
	const struct {
		const char *name, *value;
	} settings[] = {
		{ "SWSGX_EPC", o->epc },
		{ "SWSGX_PLATFORM", o->platform },
		{ "SWSGX_CPU", o->cpu },
		{ "SWSGX_CPUID", o->cpuid },
		{ "SWSGX_POLICY", o->policy },
		{ "SWSGX_BACKING", o->backing },
		{ "SWSGX_BACKING_MAX", o->backing_max },
		{ "SWSGX_BACKGROUND", o->background ? "1" : NULL },
	};
	int r;

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		if (!settings[i].value || !settings[i].value[0]) {
			unsetenv(settings[i].name);
			continue;
		}
		r = env_set(settings[i].name, settings[i].value, rep);
		if (r < 0)
			return r;
	}
	r = set_exec_env(rep);
	if (r >= 0)
		r = set_stats_env(o, rep);
	return r < 0 ? r : set_preload(rep);
}

/* 0: everything is set, and the program may take over. Else the exit status. */
static int prepare(int argc, char **argv, struct run_options *o, struct report *rep)
{
	char policies[OPTION_POLICIES_BYTES];
	int r;

	r = parse(argc, argv, o, rep);
	if (r == -ECANCELED) {
		option_policies(policies);
		printf(help, policies);
		exit(CLI_OK);
	}
	if (r < 0)
		return CLI_USAGE;
	r = check_program(argv, optind, o, rep);
	if (r)
		return r;
	if (platform_file_check(o->platform, rep) < 0 || check_backing(o->backing, rep) < 0 ||
	    check_machine(o->direct, rep) < 0 || set_environment(o, rep) < 0)
		return CLI_FAILED;
	return 0;
}

/* Become swsgx-exec, which becomes the program. Returns -errno. */
static int exec_direct(const struct run_options *o, char **argv, struct report *rep)
{
	char loader[RUNTIME_PATH_MAX], **args;
	size_t nr = 0;
	int r;

	r = runtime_exec_path(loader, sizeof(loader), rep);
	if (r < 0)
		return r;
	while (argv[nr])
		nr++;
	args = calloc(nr + 4, sizeof(*args));
	if (!args)
		return report_fail(rep, -ENOMEM, "cannot begin");
	args[0] = loader;
	args[1] = (char[]){ "--argv0" };
	args[2] = argv[0];
	args[3] = (char *)o->program;
	memcpy(args + 4, argv + 1, nr * sizeof(*args)); /* and the NULL */
	execv(loader, args);
	r = report_fail(rep, -errno, "cannot run '%s'", loader);
	free(args);
	return r;
}

int cmd_run(int argc, char **argv)
{
	struct run_options *o = calloc(1, sizeof(*o));
	struct report rep;
	int r;

	report_init(&rep);
	if (!o) {
		report_fail(&rep, -ENOMEM, "cannot begin");
		return cli_fail(CLI_FAILED, &rep);
	}
	r = prepare(argc, argv, o, &rep);
	if (!r && o->direct) {
		exec_direct(o, argv + optind, &rep);
		r = CLI_FAILED;
	} else if (!r) {
		/* By name, so that argv[0], scripts without #! and the rest are as without us. */
		execvp(argv[optind], argv + optind);
		report_fail(&rep, -errno, "cannot run '%s'", argv[optind]);
		r = CLI_NOT_EXECUTABLE;
	}
	free(o);
	return cli_fail(r, &rep);
}
