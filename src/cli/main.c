/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * swsgx, the tool: one row per command.  The table is the help text too.
 *
 * This is the only place that prints errors; commands fill a report and say how to end.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/report.h"
#include "cli/cmd.h"

struct cmd {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *args;
	const char *help;
};

static const struct cmd cmds[] = {
	{ "run", cmd_run, "[OPTIONS] [--] PROGRAM...", "run a program that uses SGX" },
	{ "vm", cmd_vm, "[OPTIONS]", "run guests with SGX on /dev/kvm" },
	{ "stat", cmd_stat, "[OPTIONS] [PID]", "show who uses an EPC now, and what paging costs" },
	{ "doctor", cmd_doctor, "[--json]", "say what swsgx needs and this machine has" },
};

static const struct cmd *cmd_find(const char *name)
{
	for (size_t i = 0; i < sizeof(cmds) / sizeof(cmds[0]); i++)
		if (!strcmp(cmds[i].name, name))
			return &cmds[i];
	return NULL;
}

static void usage(FILE *to)
{
	fputs("usage: swsgx COMMAND [ARGS]\n\n", to);
	for (size_t i = 0; i < sizeof(cmds) / sizeof(cmds[0]); i++)
		fprintf(to, "  %-7s %-26s %s\n", cmds[i].name, cmds[i].args, cmds[i].help);
	fputs("\n'swsgx help COMMAND' tells more.  swsgx keeps SGX's rules, not your secrets:\n"
	      "the owner of the machine can read everything in an enclave.\n",
	      to);
}

/* Of a request that makes no sense the text says all; "Invalid argument" behind it would say nothing. */
static bool says_all(int status, int err)
{
	return status == CLI_USAGE && (err == -EINVAL || err == -ERANGE || err == -E2BIG);
}

int cli_fail(int status, const struct report *rep)
{
	char text[256];

	fprintf(stderr, "swsgx: %s\n",
		says_all(status, rep->err) ? rep->what : report_text(rep, text, sizeof(text)));
	if (rep->hint[0])
		fprintf(stderr, "  hint: %s\n", rep->hint);
	return status;
}

void cli_note(const char *format, ...)
{
	va_list args;

	fputs("swsgx: note: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

static int no_command(const char *name)
{
	struct report rep;

	report_init(&rep);
	if (strchr(name, '/') && access(name, X_OK) == 0)
		report_hint(&rep, "to run a program: swsgx run -- %s", name);
	else
		report_hint(&rep, "swsgx --help lists the commands");
	report_fail(&rep, -EINVAL, "there is no %s '%s'", name[0] == '-' ? "option" : "command",
		    name);
	return cli_fail(CLI_USAGE, &rep);
}

/* As "swsgx NAME --help"; without a name, the commands. */
static int help(char *name)
{
	const struct cmd *cmd = name ? cmd_find(name) : NULL;
	char option[] = "--help";
	char *argv[] = { name, option, NULL };

	if (cmd)
		return cmd->run(2, argv);
	if (name)
		return no_command(name);
	usage(stdout);
	return CLI_OK;
}

int main(int argc, char **argv)
{
	const struct cmd *cmd;

	if (argc < 2) {
		usage(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return help(argv[2]);
	if (!strcmp(argv[1], "--version")) {
		puts("swsgx " SWSGX_VERSION);
		return CLI_OK;
	}
	cmd = cmd_find(argv[1]);
	return cmd ? cmd->run(argc - 1, argv + 1) : no_command(argv[1]);
}
