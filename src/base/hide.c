/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Descriptors with high numbers.  Programs close what they don't know, all numbers up to their limit, or dup2()
 * to a number of their liking; a descriptor above the limit is out of the reach of both, and stays open.
 */
#include "base/hide.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#define FLOOR \
	8128u    /* the kernel's table of open files has room for 8192 then, and fork copies it */
#define ROOM 64u /* how many there may be */

static rlim_t floor_in(rlim_t limit)
{
	if (limit >= FLOOR + ROOM)
		return FLOOR;
	return limit > 2 * ROOM ? limit - ROOM : limit / 2;
}

uint64_t fd_bytes_max(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_FSIZE, &limit) < 0 ? UINT64_MAX : limit.rlim_cur;
}

int fd_hide(int fd)
{
	struct rlimit old, limit;
	int high;

	if (getrlimit(RLIMIT_NOFILE, &old) < 0)
		return fd;
	limit = old;
	if (limit.rlim_cur < FLOOR + ROOM && limit.rlim_max > limit.rlim_cur) {
		limit.rlim_cur = limit.rlim_max < FLOOR + ROOM ? limit.rlim_max : FLOOR + ROOM;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			limit = old;
	}
	high = fcntl(fd, F_DUPFD_CLOEXEC, (int)floor_in(limit.rlim_cur));
	if (limit.rlim_cur != old.rlim_cur)
		(void)setrlimit(RLIMIT_NOFILE, &old);
	if (high < 0)
		return fd;
	close(fd);
	return high;
}
