/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What "swsgx run" adds to the life of a program that does nothing, and of one that has an enclave.
 *
 * Each program is run by itself and by swsgx in turn, from fork to the end of the process, in wall time.
 *
 *   bench_start SWSGX [--json]
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"
#include "option.h"

enum { ROUNDS = 60 };

static double run_ms(char *const argv[])
{
	uint64_t start = measure_wall_ns();
	int status;
	pid_t pid;

	if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0 ||
	    waitpid(pid, &status, 0) != pid || status != 0) {
		fprintf(stderr, "bench_start: cannot run %s\n", argv[0]);
		exit(1);
	}
	return (double)(measure_wall_ns() - start) / 1e6;
}

int main(int argc, char **argv)
{
	static const struct argp own = { .parser = option_argument, .args_doc = "SWSGX" };
	static struct measure m = { .title = "Starting a program" };
	static char self[] = "/bin/true", run[] = "run", option[] = "--platform", end[] = "--";
	char platform[] = "/tmp/swsgx-bench-XXXXXX";
	char file[64];
	int alone, ours, more;
	char *swsgx = NULL;
	double a, b;

	m.json = option_parse(argc, argv, m.title, &own, &swsgx);
	if (!mkdtemp(platform))
		return 1;
	snprintf(file, sizeof(file), "%s/platform", platform);
	char *by_itself[] = { self, NULL };
	char *by_swsgx[] = { swsgx, run, option, file, end, self, NULL };

	run_ms(by_swsgx); /* makes the platform */
	alone = measure_row(&m, "/bin/true by itself", "ms", -1, 0);
	ours = measure_row(&m, "/bin/true by swsgx run", "ms", alone, 0);
	more = measure_row(&m, "more", "ms", -1, 0);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		a = run_ms(by_itself);
		b = run_ms(by_swsgx);
		measure_sample(&m, alone, a);
		measure_sample(&m, ours, b);
		measure_sample(&m, more, b - a);
	}
	measure_print(&m);
	unlink(file);
	rmdir(platform);
	return 0;
}
