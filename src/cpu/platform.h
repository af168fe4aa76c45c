/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The platform file: the fused secrets of one software platform, so that sealed data outlive a run.
 */
#ifndef SWSGX_CPU_PLATFORM_H
#define SWSGX_CPU_PLATFORM_H

#include "cpu/cpu.h"

/*
 * Read @path into @fuses; make it (mode 0600, random secrets, atomically: two makers agree) when it
 * is not there.  Returns 0 or: -EINVAL it is no platform file or is damaged, -EACCES others can read
 * or write it, or what open, read, write said.
 */
int platform_open(const char *path, struct cpu_fuses *fuses);

/* A platform for this run only. */
int platform_random(struct cpu_fuses *fuses);

#endif
