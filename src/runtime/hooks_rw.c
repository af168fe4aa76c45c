/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * read() and write(), for the one file with which they are not libc's alone: /proc/self/mem, by which profilers and
 * SDKs reach the pages of their own debug enclaves, eight bytes at a time, as the kernel lets them by EDBGRD and
 * EDBGWR.  What is no enclave's goes to the kernel, as everything does that is read or written elsewhere.
 */
/* Both spellings of each call are defined here, so the headers may not turn one into the other. */
#undef _FILE_OFFSET_BITS

#include "runtime/hooks.h"

#include <fcntl.h>
#include <string.h>
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
	    (addr && *addr < 0))
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

long rt_sys_rw(long nr, const long a[6], int *ret_handled)
{
	struct rw rw = { .fd = (int)a[0],
			 .write = nr == SYS_write || nr == SYS_pwrite64,
			 .buf = (uint8_t *)a[1],
			 .bytes = (size_t)a[2] };
	bool here = nr == SYS_read || nr == SYS_write;
	long r = -ENOSYS;

	*ret_handled = (here || nr == SYS_pread64 || nr == SYS_pwrite64) &&
		       rw_ours(rw, here ? NULL : &a[3], &r);
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
