/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Arguments of benchmarks, by argp(3): --json and --help, which all of them have, and what one has besides.
 */
#ifndef SWSGX_BENCH_OPTION_H
#define SWSGX_BENCH_OPTION_H

#include <argp.h>
#include <stdbool.h>

/*
 * @doc: what the benchmark measures.  @own: its other options and arguments, whose parser gets @input; NULL: none.
 * Returns --json.  Where there is something else it says so and ends the program.
 */
bool option_parse(int argc, char **argv, const char *doc, const struct argp *own, void *input);

/* A number above 0 that is all of @text; else it says so of @what and ends the program. */
unsigned long option_number(const struct argp_state *state, const char *what, const char *text);

#endif
