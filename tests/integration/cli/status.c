/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A program without SGX: it ends with the status that its argument says.
 */
#include <stdlib.h>

int main(int argc, char **argv) { return argc > 1 ? atoi(argv[1]) : 0; }
