/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The process's userfaultfd: a touch of an enclave page that this address space has no entry for becomes a
 * SIGBUS in the touching thread, which serves the fault itself (fault.c). No other thread is involved.
 */
#include "runtime/rt.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "runtime/sys.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

int rt_uffd_open(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MISSING_SHMEM |
					      UFFD_FEATURE_MINOR_SHMEM };
	long fd = sys(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY, 0, 0);
	long high, r;

	if (fd < 0)
		return (int)fd;
	r = sys(SYS_ioctl, fd, UFFDIO_API, &api);
	if (r < 0) {
		sys(SYS_close, fd, 0, 0);
		return (int)r;
	}
	high = sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900);
	if (high < 0)
		return (int)fd;
	sys(SYS_close, fd, 0, 0);
	return (int)high;
}

int rt_uffd_register(int fd, uint64_t start, uint64_t len)
{
	struct uffdio_register reg = { .range = { .start = start, .len = len },
				       .mode = UFFDIO_REGISTER_MODE_MISSING |
					       UFFDIO_REGISTER_MODE_MINOR };

	return (int)sys(SYS_ioctl, fd, UFFDIO_REGISTER, &reg);
}

int rt_uffd_continue(uint64_t la)
{
	struct uffdio_continue c = { .range = { .start = la, .len = 4096 }, .mode = 1 };

	return (int)sys(SYS_ioctl, rt.uffd, UFFDIO_CONTINUE, &c);
}

int rt_uffd_copy(uint64_t la, const void *bytes)
{
	struct uffdio_copy c = { .dst = la, .src = (uint64_t)bytes, .len = 4096, .mode = 1 };

	return (int)sys(SYS_ioctl, rt.uffd, UFFDIO_COPY, &c);
}
