/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * read() and write() and their kin, for the one file with which they are not libc's alone: /proc/self/mem, by which
 * profilers and SDKs reach the pages of their own debug enclaves, eight bytes at a time, as the kernel lets them by
 * EDBGRD and EDBGWR.  What is no enclave's goes to the kernel, as everything does that is read or written elsewhere.
 */
/* Both spellings of each call are defined here, so the headers may not turn one into the other. */
#undef _FILE_OFFSET_BITS

#include "runtime/hooks.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "runtime/next.h"
#include "runtime/rt.h"
#include "runtime/sys.h"

#define PAGE 4096u

/* ---- what the calls do ------------------------------------------------------------------------- */

struct rw {
	int fd;
	bool write;
	uint8_t *buf;
	size_t bytes;
	uint64_t addr;
};

/* Of the aligned eight bytes at @rw->addr what is asked for: how many, or -errno. */
static long debug_word(const struct rw *rw, struct encl *encl)
{
	unsigned int skip = rw->addr & 7;
	size_t n = rw->bytes < 8u - skip ? rw->bytes : 8u - skip;
	uint8_t word[8];
	uint64_t value;

	if (encl_debug_read(encl, &rt_mm, rw->addr & ~7ull, &value))
		return -EIO;
	memcpy(word, &value, sizeof(word));
	if (!rw->write)
		return rt_copy_user(rw->buf, word + skip, n) ? -EFAULT : (long)n;
	if (rt_copy_user(word + skip, rw->buf, n))
		return -EFAULT;
	memcpy(&value, word, sizeof(word));
	return encl_debug_write(encl, &rt_mm, rw->addr & ~7ull, value) ? -EIO : (long)n;
}

static struct rw rest_of(const struct rw *rw, size_t done, size_t bytes)
{
	struct rw rest = *rw;

	rest.buf += done;
	rest.addr += done;
	rest.bytes = bytes;
	return rest;
}

/* Within one page. */
static long rw_page(const struct rw *rw)
{
	struct rt_range range;
	size_t done = 0;
	long r = 0;

	if (!rt_range_get(rw->addr, &range))
		return sys4(rw->write ? SYS_pwrite64 : SYS_pread64, rw->fd, rw->buf, rw->bytes,
			    rw->addr);
	if (!range.encl)
		r = -EIO;
	while (r >= 0 && done < rw->bytes) {
		struct rw word = rest_of(rw, done, rw->bytes - done);

		r = debug_word(&word, range.encl);
		if (r > 0)
			done += (size_t)r;
	}
	rt_process_unhold(range.hold);
	return done ? (long)done : r;
}

static long rw_mem(const struct rw *rw)
{
	size_t done = 0;
	long r = 0;

	if (rw->addr >= rt.range_high || rw->addr + rw->bytes <= rt.range_low)
		return sys4(rw->write ? SYS_pwrite64 : SYS_pread64, rw->fd, rw->buf, rw->bytes,
			    rw->addr);
	while (done < rw->bytes) {
		size_t room = PAGE - (rw->addr + done) % PAGE, left = rw->bytes - done;
		struct rw page = rest_of(rw, done, left < room ? left : room);

		r = rw_page(&page);
		if (r <= 0)
			break;
		done += (size_t)r;
		if ((size_t)r < page.bytes)
			break;
	}
	return done ? (long)done : r;
}

/* At the file's position, which moves on. */
static long rw_here(struct rw *rw)
{
	long at = sys(SYS_lseek, rw->fd, 0, SEEK_CUR), r;

	rw->addr = (uint64_t)at;
	r = rw_mem(rw);
	if (r > 0)
		sys(SYS_lseek, rw->fd, at + r, SEEK_SET);
	return r;
}

/* False: it is another file, or the kernel refuses anyway. @addr NULL: at the position. */
static bool rw_ours(struct rw rw, const long *addr, long *ret)
{
	struct rt_thread *t;
	struct rt_fd file;
	long flags;
	bool ours;

	if (!rt.proc_mem || !rt.used || !rt_fd_ours(rw.fd))
		return false;
	flags = sys(SYS_fcntl, rw.fd, F_GETFL, 0);
	if (flags < 0 || (flags & O_ACCMODE) == (rw.write ? O_RDONLY : O_WRONLY) ||
	    (addr && *addr < 0) || (ssize_t)rw.bytes < 0)
		return false;
	t = rt_thread_self();
	rt_critical_enter(t);
	ours = rt_fd_get(rw.fd, &file);
	if (ours)
		rt_fd_put(&file);
	ours = ours && file.kind == RT_FD_PROC_MEM;
	if (ours && addr) {
		rw.addr = (uint64_t)*addr;
		*ret = rw_mem(&rw);
	} else if (ours) {
		*ret = rw_here(&rw);
	}
	rt_critical_leave(t);
	return ours;
}

/* One after the other, as the kernel does it. False: as rw_ours(); what is wrong with the array the kernel says. */
static bool vector_ours(long nr, const long a[6], const long *addr, long *ret)
{
	struct rw rw = { .fd = (int)a[0],
			 .write = nr == SYS_writev || nr == SYS_pwritev || nr == SYS_pwritev2 };
	const struct iovec *user = (const struct iovec *)a[1];
	long done = 0, at = addr ? *addr : 0, r = 0;
	struct iovec iov;

	if (!rt.proc_mem || a[2] < 1 || a[2] > IOV_MAX)
		return false;
	for (long i = 0; i < a[2] && !rt_copy_user(&iov, user + i, sizeof(iov)); i++) {
		rw.buf = iov.iov_base;
		rw.bytes = iov.iov_len;
		r = 0;
		if (!rw_ours(rw, addr ? &at : NULL, &r) && i == 0)
			return false;
		done += r > 0 ? r : 0;
		at += r > 0 ? r : 0;
		*ret = done ? done : r;
		if (r < 0 || (size_t)r < iov.iov_len)
			return true;
	}
	return done > 0;
}

long rt_sys_rw(long nr, const long a[6], int *ret_handled)
{
	struct rw rw = { .fd = (int)a[0],
			 .write = nr == SYS_write || nr == SYS_pwrite64,
			 .buf = (uint8_t *)a[1],
			 .bytes = (size_t)a[2] };
	long r = -ENOSYS;

	*ret_handled = 0;
	switch (nr) {
	case SYS_read:
	case SYS_write:
		*ret_handled = rw_ours(rw, NULL, &r);
		break;
	case SYS_pread64:
	case SYS_pwrite64:
		*ret_handled = rw_ours(rw, &a[3], &r);
		break;
	case SYS_readv:
	case SYS_writev:
		*ret_handled = vector_ours(nr, a, NULL, &r);
		break;
	case SYS_preadv:
	case SYS_pwritev:
		*ret_handled = vector_ours(nr, a, &a[3], &r);
		break;
	case SYS_preadv2:
	case SYS_pwritev2:
		/* -1 is the position; flags such a file does not know. */
		if (!(a[5] & ~(long)RWF_HIPRI))
			*ret_handled = vector_ours(nr, a, a[3] == -1 ? NULL : &a[3], &r);
		break;
	default:
		break;
	}
	return r;
}

/* ---- the names ------------------------------------------------------------------------------------ */

HOOK ssize_t read(int fd, void *buf, size_t bytes)
{
	long r;

	if (rt.proc_mem && rw_ours((struct rw){ fd, false, buf, bytes, 0 }, NULL, &r))
		return sys_errno(r);
	return rt_next.read ? rt_next.read(fd, buf, bytes)
			    : sys_errno(sys(SYS_read, fd, buf, bytes));
}

HOOK ssize_t write(int fd, const void *buf, size_t bytes)
{
	long r;

	if (rt.proc_mem && rw_ours((struct rw){ fd, true, (uint8_t *)buf, bytes, 0 }, NULL, &r))
		return sys_errno(r);
	return rt_next.write ? rt_next.write(fd, buf, bytes)
			     : sys_errno(sys(SYS_write, fd, buf, bytes));
}

HOOK ssize_t pread(int fd, void *buf, size_t bytes, off_t at)
{
	long r;

	if (rt.proc_mem && rw_ours((struct rw){ fd, false, buf, bytes, 0 }, &at, &r))
		return sys_errno(r);
	return rt_next.pread ? rt_next.pread(fd, buf, bytes, at)
			     : sys_errno(sys4(SYS_pread64, fd, buf, bytes, at));
}

HOOK ssize_t pwrite(int fd, const void *buf, size_t bytes, off_t at)
{
	long r;

	if (rt.proc_mem && rw_ours((struct rw){ fd, true, (uint8_t *)buf, bytes, 0 }, &at, &r))
		return sys_errno(r);
	return rt_next.pwrite ? rt_next.pwrite(fd, buf, bytes, at)
			      : sys_errno(sys4(SYS_pwrite64, fd, buf, bytes, at));
}

/* off64_t is off_t on x86-64. */
HOOK ssize_t pread64(int fd, void *buf, size_t bytes, off64_t at)
{
	return pread(fd, buf, bytes, at);
}

HOOK ssize_t pwrite64(int fd, const void *buf, size_t bytes, off64_t at)
{
	return pwrite(fd, buf, bytes, at);
}

/* Fortified calls. */
void __chk_fail(void) __attribute__((noreturn));
ssize_t __read_chk(int fd, void *buf, size_t bytes, size_t room);
ssize_t __pread_chk(int fd, void *buf, size_t bytes, off_t at, size_t room);
ssize_t __pread64_chk(int fd, void *buf, size_t bytes, off64_t at, size_t room);

HOOK ssize_t __read_chk(int fd, void *buf, size_t bytes, size_t room)
{
	if (bytes > room)
		__chk_fail();
	return read(fd, buf, bytes);
}

HOOK ssize_t __pread_chk(int fd, void *buf, size_t bytes, off_t at, size_t room)
{
	if (bytes > room)
		__chk_fail();
	return pread(fd, buf, bytes, at);
}

HOOK ssize_t __pread64_chk(int fd, void *buf, size_t bytes, off64_t at, size_t room)
{
	return __pread_chk(fd, buf, bytes, at, room);
}

/* All of them: the system call, and libc's where it is another file, which is where a thread may be cancelled. */
static bool vector_call(long nr, const long a[6], ssize_t *ret)
{
	int handled = 0;
	long r;

	if (!rt.proc_mem)
		return false;
	r = rt_sys_rw(nr, a, &handled);
	if (handled)
		*ret = sys_errno(r);
	return handled;
}

#define VECTOR_HOOK(name)                                                              \
	HOOK ssize_t name(int fd, const struct iovec *iov, int nr)                     \
	{                                                                              \
		ssize_t r;                                                             \
                                                                                       \
		if (vector_call(SYS_##name, (const long[6]){ fd, (long)iov, nr }, &r)) \
			return r;                                                      \
		return NEXT(name)(fd, iov, nr);                                        \
	}
#define VECTOR_AT_HOOK(name, call, off)                                                    \
	HOOK ssize_t name(int fd, const struct iovec *iov, int nr, off at)                 \
	{                                                                                  \
		ssize_t r;                                                                 \
                                                                                           \
		if (vector_call(SYS_##call, (const long[6]){ fd, (long)iov, nr, at }, &r)) \
			return r;                                                          \
		return NEXT(call)(fd, iov, nr, at);                                        \
	}
#define VECTOR_FLAGS_HOOK(name, call, off)                                                      \
	HOOK ssize_t name(int fd, const struct iovec *iov, int nr, off at, int flags)           \
	{                                                                                       \
		ssize_t r;                                                                      \
                                                                                                \
		if (vector_call(SYS_##call, (const long[6]){ fd, (long)iov, nr, at, 0, flags }, \
				&r))                                                            \
			return r;                                                               \
		return NEXT(call)(fd, iov, nr, at, flags);                                      \
	}

VECTOR_HOOK(readv)
VECTOR_HOOK(writev)
VECTOR_AT_HOOK(preadv, preadv, off_t)
VECTOR_AT_HOOK(preadv64, preadv, off64_t)
VECTOR_AT_HOOK(pwritev, pwritev, off_t)
VECTOR_AT_HOOK(pwritev64, pwritev, off64_t)
VECTOR_FLAGS_HOOK(preadv2, preadv2, off_t)
VECTOR_FLAGS_HOOK(preadv64v2, preadv2, off64_t)
VECTOR_FLAGS_HOOK(pwritev2, pwritev2, off_t)
VECTOR_FLAGS_HOOK(pwritev64v2, pwritev2, off64_t)
