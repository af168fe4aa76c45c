/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A fuzz target: bytes in, abort when something does not hold.  With clang and 'make fuzz' libFuzzer
 * makes the bytes; in every other build replay.c takes them from the files of the corpus.
 */
#ifndef SWSGX_TESTS_FUZZ_FUZZ_H
#define SWSGX_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nr);

static inline void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

/* What there is of @bytes over what @to holds, and what is left of them. */
static inline size_t overlay(void *to, size_t size, const uint8_t **bytes, size_t *nr)
{
	size_t n = *nr < size ? *nr : size;

	memcpy(to, *bytes, n);
	*bytes += n;
	*nr -= n;
	return n;
}

#endif
