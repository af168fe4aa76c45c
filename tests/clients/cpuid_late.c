/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A library that asks CPUID when it is loaded (test_cpuid_code).
 */
#include <stdint.h>

__attribute__((visibility("default"))) uint32_t late_leaf12;

__attribute__((constructor)) static void ask(void)
{
	uint32_t b, c = 0, d;

	late_leaf12 = 0x12;
	__asm__ volatile("cpuid" : "+a"(late_leaf12), "=b"(b), "+c"(c), "=d"(d));
}
