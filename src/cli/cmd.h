/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The commands of the tool, one file each (cmd_NAME.c), and how they end.
 */
#ifndef SWSGX_CLI_CMD_H
#define SWSGX_CLI_CMD_H

struct report;

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2, /* the request makes no sense, or cannot be served whatever the machine */
	CLI_NOT_EXECUTABLE = 126,
	CLI_NOT_FOUND = 127,
};

/* @argv[0] is the command's own name. Each returns the exit status. */
int cmd_run(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_vm(int argc, char **argv);
int cmd_stat(int argc, char **argv);

/* Print "swsgx: WHAT: WHY" and the hint, and return @status. */
int cli_fail(int status, const struct report *rep);
/* Something to know, of a request that is served all the same: "swsgx: note: TEXT". */
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
