/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The process's userfaultfd: a touch of an enclave page that this address space has no entry for becomes a
 * SIGBUS in the touching thread, which serves the fault itself (fault.c). No other thread is involved.
 */
#include "runtime/rt.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "base/hide.h"
#include "epc/window.h"
#include "runtime/sys.h"

/* Of <linux/pidfd.h>, newer than many systems: this very process. */
#define SELF (-10000)

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

int rt_uffd_open(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MISSING_SHMEM |
					      UFFD_FEATURE_MINOR_SHMEM };
	long fd = sys(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY, 0, 0);
	long r;

	if (fd < 0)
		return (int)fd;
	r = sys(SYS_ioctl, fd, UFFDIO_API, &api);
	if (r < 0) {
		sys(SYS_close, fd, 0, 0);
		return (int)r;
	}
	return fd_hide((int)fd);
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

/* The range that shows @win_off, tried first in @near, which is mostly right; NULL: none here. */
static const struct rt_range *range_of_locked(uint64_t win_off, const struct encl **near,
					      uint64_t *ret_la) REQUIRES(&rt.lock)
{
	const struct encl *encl = *near;

	if (!encl || win_off - encl_win_off(encl) >= encl_size(encl)) {
		encl = NULL;
		for (size_t i = 0; i < rt.range_nr && !encl; i++)
			if (rt.range[i].encl && rt.range[i].backed &&
			    win_off - encl_win_off(rt.range[i].encl) < encl_size(rt.range[i].encl))
				encl = rt.range[i].encl;
		if (!encl)
			return NULL;
		*near = encl;
	}
	*ret_la = encl_base(encl) + (win_off - encl_win_off(encl));
	return rt_range_find_locked(*ret_la);
}

/* Pages side by side are one range, and one shoot-down. */
static unsigned int add_page(struct iovec *iov, unsigned int n, uint64_t la)
{
	if (n > 0 && (uint64_t)iov[n - 1].iov_base + iov[n - 1].iov_len == la) {
		iov[n - 1].iov_len += 4096;
		return n;
	}
	iov[n] = (struct iovec){ .iov_base = (void *)la, .iov_len = 4096 };
	return n + 1;
}

/*
 * Only for speed: a system that cannot do it (before Linux 6.13) drops each page by itself when its hole is
 * punched, and so does any other process.  Whoever touches one in between waits for its eviction.
 */
void rt_unmap(const uint64_t *win_offs, unsigned int nr)
{
	struct iovec iov[WINDOW_STAGE_PAGES];
	const struct encl *near = NULL;
	const struct rt_range *range;
	unsigned int n = 0;
	uint64_t la;

	if (!rt.can_unmap)
		return;
	lock_acquire(&rt.lock);
	for (unsigned int i = 0; i < nr; i++) {
		range = range_of_locked(win_offs[i], &near, &la);
		if (range && range->encl == near && range->backed)
			n = add_page(iov, n, la);
	}
	if (n && sys6(SYS_process_madvise, SELF, (long)iov, n, MADV_DONTNEED, 0, 0) < 0)
		rt.can_unmap = false;
	lock_release(&rt.lock);
}
