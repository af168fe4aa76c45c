/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A step of a simulation of the manager: what it draws, what must hold after it, and what a group
 * tells of itself then.
 */
#ifndef SWSGX_TESTS_STEP_H
#define SWSGX_TESTS_STEP_H

#include <stdint.h>
#include <stdio.h>

#include "epc/group.h"

/* The next number of a seeded row, below @below. */
static inline uint32_t draw(uint64_t *rng, uint32_t below)
{
	*rng = *rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((*rng >> 33) % below);
}

/* In a function that is false when its step, number `step`, did not go as it must. */
#define MUST(cond)                                                                            \
	do {                                                                                  \
		if (!(cond)) {                                                                \
			printf("# at %s:%d, step %u: %s\n", __FILE__, __LINE__, step, #cond); \
			return false;                                                         \
		}                                                                             \
	} while (0)

static inline struct epc_group_info info_of(struct epc_group *group)
{
	struct epc_group_info info;

	epc_group_read(group, &info);
	return info;
}

#endif
