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

/* For benchmarks with one argument, which must be there: the parser of @own, whose @input is where it goes, a char *. */
error_t option_argument(int key, char *arg, struct argp_state *state);

/* A number above 0 that is all of @text; else it says so of @what and ends the program. */
unsigned long option_number(const struct argp_state *state, const char *what, const char *text);

#endif
