/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * File descriptors of ours in somebody else's process.
 */
#ifndef SWSGX_BASE_HIDE_H
#define SWSGX_BASE_HIDE_H

#include <stdint.h>

/*
 * Move @fd, close-on-exec, to a number that programs neither count on nor reach: above their limit when the hard
 * limit lets us. Returns the new number; @fd itself when there is no room.  For when there is one thread.
 */
int fd_hide(int fd);

/* How long a file of ours may be made: a process that goes beyond its limit (RLIMIT_FSIZE) is sent SIGXFSZ, and ends. */
uint64_t fd_bytes_max(void);

#endif
