/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The files of /proc that are shown as on a machine with SGX.
 */
#ifndef SWSGX_RUNTIME_PROC_H
#define SWSGX_RUNTIME_PROC_H

enum proc_file { PROC_NONE, PROC_CPUINFO, PROC_AUXV, PROC_MAPS, PROC_MEM };

/* Which of them @path, from folder @dir on, is. */
enum proc_file proc_file_at(int dir, const char *path);
/* A descriptor of a copy of it, or -errno. */
long proc_open(enum proc_file file, long flags);

#endif
