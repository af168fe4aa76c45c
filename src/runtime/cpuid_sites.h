/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Where a program file has CPUID instructions.
 *
 * The bytes 0FH A2H are one only where an instruction begins, so a place counts when a function is known to lie there,
 * from .eh_frame (all that compilers make is in it, in stripped files as well) or from a symbol, and its instructions
 * one by one lead to it.  What no function is known of may be data, and is left alone.
 */
#ifndef SWSGX_RUNTIME_CPUID_SITES_H
#define SWSGX_RUNTIME_CPUID_SITES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpuid_site {
	uint64_t vaddr, offset; /* as the file says, and in it */
	bool is_cpuid;
};

/*
 * The places in the @bytes at @file, an ELF file, in ascending order of offsets, at the front of @sites, which has room
 * for @max of all that look like it; those are about one in 64 KiB of code.  How many; 0 for any other file.
 */
size_t cpuid_sites_find(const uint8_t *file, size_t bytes, struct cpuid_site *sites, size_t max);

#endif
