/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Huge pages of shared memory, from outside of what is tested: whether this system makes any, and what is in memory. */
#ifndef SWSGX_TESTS_HUGE_H
#define SWSGX_TESTS_HUGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

enum { HUGE_BYTES = 2 << 20, HUGE_SMALL_NR = HUGE_BYTES / 4096 };

/* Small pages of the @bytes at @at that are in memory. */
static inline unsigned int huge_resident(void *at, size_t bytes)
{
	unsigned char seen[4 * HUGE_SMALL_NR];
	unsigned int nr = 0;

	if (bytes / 4096 > sizeof(seen) || mincore(at, bytes, seen) < 0)
		return 0;
	for (size_t i = 0; i < bytes / 4096; i++)
		nr += seen[i] & 1;
	return nr;
}

/* The system makes one of 512 small ones when it is asked to (MADV_COLLAPSE, Linux 6.1). */
static inline bool huge_can_be_made(void)
{
	char *p = mmap(NULL, 2 * HUGE_BYTES, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *at = p + -(size_t)p % HUGE_BYTES;
	bool can;

	if (p == MAP_FAILED)
		return false;
	/* The file's offset has to fit as well, which that of a second mapping at the right place does. */
	munmap(p, 2 * HUGE_BYTES);
	at = mmap(at, HUGE_BYTES, PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (at == MAP_FAILED)
		return false;
	at[0] = 1;
	can = madvise(at, HUGE_BYTES, 25) == 0;
	munmap(at, HUGE_BYTES);
	return can;
}

#endif
