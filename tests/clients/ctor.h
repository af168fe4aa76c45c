/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
#ifndef SWSGX_TESTS_CTOR_H
#define SWSGX_TESTS_CTOR_H

#include <stdbool.h>
#include <stdint.h>

struct ctor_seen {
	bool ran, stat_ok, access_ok, open_ok;
	const void *vdso;
	uint32_t cpuid_eax;
};
extern struct ctor_seen ctor_seen;

#endif
