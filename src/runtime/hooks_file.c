/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Calls on paths and file descriptors: the device's nodes are there, and look like character devices.
 */
/* Both spellings of each call are defined here, so the headers may not turn one into the other. */
#undef _FILE_OFFSET_BITS

#include "runtime/hooks.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/next.h"
#include "runtime/proc.h"
#include "runtime/rt.h"
#include "runtime/sys.h"

/* ---- what the calls do ------------------------------------------------------------------------- */

/* While locks are held no handler of the client's may run on this thread: it might want them too. */
static struct rt_thread *begin(void)
{
	struct rt_thread *t = rt_thread_self();

	rt_critical_enter(t);
	return t;
}

/* Nearly every number ends here. */
static bool maybe_ours(int fd)
{
	return rt.used && rt_fd_ours(fd);
}

static long open_node(enum rt_fd_kind kind, long flags)
{
	struct rt_thread *t;
	long r;

	if (flags & O_DIRECTORY)
		return -ENOTDIR;
	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		return -EEXIST;
	rt_use();
	rt_signal_wrap_libc();
	t = begin();
	r = rt_device_open(kind, (int)flags);
	rt_critical_leave(t);
	return r;
}

/* Opens that are ours; false when @path is any other file, or a wild pointer, which is the kernel's to refuse. */
static bool open_ours(long dir, const char *path, long flags, long *ret_fd)
{
	char head[64] = "";
	enum proc_file file;
	int kind;

	if (!rt.ready || !path || !rt_peek_path(path, head, sizeof(head)))
		return false;
	kind = rt_device_path_at((int)dir, head);
	file = proc_file_at((int)dir, head);
	if (kind != RT_FD_NONE)
		*ret_fd = open_node((enum rt_fd_kind)kind, flags);
	else if (file != PROC_NONE)
		*ret_fd = proc_open(file, flags);
	else
		return false;
	return true;
}

static long do_openat(long dir, const char *path, long flags, long mode)
{
	long fd;

	if (open_ours(dir, path, flags, &fd))
		return fd;
	return sys4(SYS_openat, dir, path, flags, mode);
}

/* The kernel's struct open_how begins with the flags. */
static long do_openat2(const long a[6])
{
	uint64_t flags;
	long fd;

	if (!rt_copy_user(&flags, (const void *)a[2], sizeof(flags)) &&
	    open_ours(a[0], (const char *)a[1], (long)flags, &fd))
		return fd;
	return sys4(SYS_openat2, a[0], a[1], a[2], a[3]);
}

/* A node of the device cannot be waited for, and has nothing to wait with. What stands for it could and has. */
static long do_epoll_ctl(int epoll, long op, int fd, struct epoll_event *event)
{
	if (maybe_ours(epoll))
		return -EINVAL;
	if (op == EPOLL_CTL_ADD && maybe_ours(fd))
		return -EPERM;
	return sys4(SYS_epoll_ctl, epoll, op, fd, event);
}

/* The number @fd is about to be free. */
static void forget(int fd)
{
	struct rt_thread *t;

	if (!maybe_ours(fd))
		return;
	t = begin();
	rt_fd_closed(fd);
	rt_critical_leave(t);
}

static long do_close(int fd)
{
	if (rt_fd_hidden(fd))
		return -EBADF;
	forget(fd);
	return sys(SYS_close, fd, 0, 0);
}

static long do_dup(long r, int from)
{
	struct rt_thread *t;

	if (r < 0 || r == from || (!maybe_ours(from) && !maybe_ours((int)r)))
		return r;
	t = begin();
	rt_fd_dup(from, (int)r);
	rt_critical_leave(t);
	return r;
}

/* Everything in [first, last] but what is hidden. */
static long do_close_range(unsigned int first, unsigned int last, int flags)
{
	unsigned int from = first;
	long r = 0;

	if (!rt.ready || first > last || flags)
		return sys(SYS_close_range, first, last, flags);
	for (unsigned int fd = first; fd <= last && fd < 65536; fd++) {
		forget((int)fd);
		if (!rt_fd_hidden((int)fd))
			continue;
		if (fd > from)
			r = sys(SYS_close_range, from, fd - 1, 0);
		from = fd + 1;
	}
	if (from <= last)
		r = sys(SYS_close_range, from, last, 0);
	return r;
}

static long do_ioctl(int fd, unsigned long request, uint64_t arg)
{
	struct rt_thread *t;
	struct rt_fd file;
	bool ours;
	long r = 0;

	if (!maybe_ours(fd))
		return sys(SYS_ioctl, fd, request, arg);
	t = begin();
	ours = rt_fd_get(fd, &file);
	if (ours) {
		r = rt_device_ioctl(&file, request, arg);
		rt_fd_put(&file);
	}
	rt_critical_leave(t);
	return ours ? r : sys(SYS_ioctl, fd, request, arg);
}

static long do_fcntl(int fd, int cmd, long arg)
{
	long r = sys(SYS_fcntl, fd, cmd, arg);

	return cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC ? do_dup(r, fd) : r;
}

long rt_sys_file(long nr, const long a[6], int *ret_handled)
{
	*ret_handled = 1;
	switch (nr) {
	case SYS_open:
		return do_openat(AT_FDCWD, (const char *)a[0], a[1], a[2]);
	case SYS_openat:
		return do_openat(a[0], (const char *)a[1], a[2], a[3]);
	case SYS_openat2:
		return do_openat2(a);
	case SYS_epoll_ctl:
		return do_epoll_ctl((int)a[0], a[1], (int)a[2], (void *)a[3]);
	case SYS_close:
		return do_close((int)a[0]);
	case SYS_close_range:
		return do_close_range((unsigned int)a[0], (unsigned int)a[1], (int)a[2]);
	case SYS_dup:
		return do_dup(sys(SYS_dup, a[0], 0, 0), (int)a[0]);
	case SYS_dup2:
	case SYS_dup3:
		if (rt_fd_hidden((int)a[1]))
			return -EBADF;
		return do_dup(sys(nr, a[0], a[1], a[2]), (int)a[0]);
	case SYS_fcntl:
		return do_fcntl((int)a[0], (int)a[1], a[2]);
	case SYS_ioctl:
		return do_ioctl((int)a[0], (unsigned long)a[1], (uint64_t)a[2]);
	default:
		*ret_handled = 0;
		return -ENOSYS;
	}
}

/* ---- the names ------------------------------------------------------------------------------------ */

static long mode_of(int flags, va_list ap)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, unsigned int) : 0;
}

#define OPEN_HOOK(name)                                                               \
	HOOK int name(const char *path, int flags, ...)                               \
	{                                                                             \
		va_list ap;                                                           \
		long mode, fd;                                                        \
		va_start(ap, flags);                                                  \
		mode = mode_of(flags, ap);                                            \
		va_end(ap);                                                           \
		if (open_ours(AT_FDCWD, path, flags, &fd))                            \
			return (int)sys_errno(fd);                                    \
		if (rt_next.name)                                                     \
			return rt_next.name(path, flags, (mode_t)mode);               \
		return (int)sys_errno(sys4(SYS_openat, AT_FDCWD, path, flags, mode)); \
	}
#define OPENAT_HOOK(name)                                                        \
	HOOK int name(int dir, const char *path, int flags, ...)                 \
	{                                                                        \
		va_list ap;                                                      \
		long mode, fd;                                                   \
		va_start(ap, flags);                                             \
		mode = mode_of(flags, ap);                                       \
		va_end(ap);                                                      \
		if (open_ours(dir, path, flags, &fd))                            \
			return (int)sys_errno(fd);                               \
		if (rt_next.name)                                                \
			return rt_next.name(dir, path, flags, (mode_t)mode);     \
		return (int)sys_errno(sys4(SYS_openat, dir, path, flags, mode)); \
	}

int __open(const char *path, int flags, ...);
int __open64(const char *path, int flags, ...);
int ioctl(int fd, unsigned long request, ...);

OPEN_HOOK(open)
OPEN_HOOK(open64)
OPEN_HOOK(__open)
OPEN_HOOK(__open64)
OPENAT_HOOK(openat)
OPENAT_HOOK(openat64)

/* Fortified calls without a mode. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);

#define OPEN_2_HOOK(name)                                                          \
	HOOK int name(const char *path, int flags)                                 \
	{                                                                          \
		long fd;                                                           \
		if (open_ours(AT_FDCWD, path, flags, &fd))                         \
			return (int)sys_errno(fd);                                 \
		if (rt_next.name)                                                  \
			return rt_next.name(path, flags);                          \
		return (int)sys_errno(sys4(SYS_openat, AT_FDCWD, path, flags, 0)); \
	}
#define OPENAT_2_HOOK(name)                                                   \
	HOOK int name(int dir, const char *path, int flags)                   \
	{                                                                     \
		long fd;                                                      \
		if (open_ours(dir, path, flags, &fd))                         \
			return (int)sys_errno(fd);                            \
		if (rt_next.name)                                             \
			return rt_next.name(dir, path, flags);                \
		return (int)sys_errno(sys4(SYS_openat, dir, path, flags, 0)); \
	}

OPEN_2_HOOK(__open_2)
OPEN_2_HOOK(__open64_2)
OPENAT_2_HOOK(__openat_2)
OPENAT_2_HOOK(__openat64_2)

HOOK int close(int fd)
{
	/* What is ours never waits. */
	if (!rt_next.close || rt_fd_hidden(fd) || maybe_ours(fd))
		return (int)sys_errno(do_close(fd));
	return rt_next.close(fd);
}

HOOK int close_range(unsigned int first, unsigned int last, int flags)
{
	return (int)sys_errno(do_close_range(first, last, flags));
}

HOOK void closefrom(int first)
{
	do_close_range(first < 0 ? 0 : (unsigned int)first, UINT_MAX, 0);
}

HOOK int dup(int fd)
{
	return (int)sys_errno(do_dup(sys(SYS_dup, fd, 0, 0), fd));
}

HOOK int dup2(int from, int to)
{
	if (rt_fd_hidden(to))
		return (int)sys_errno(-EBADF);
	if (from == to)
		return (int)sys_errno(sys(SYS_dup2, from, to, 0));
	return (int)sys_errno(do_dup(sys(SYS_dup2, from, to, 0), from));
}

HOOK int dup3(int from, int to, int flags)
{
	if (rt_fd_hidden(to))
		return (int)sys_errno(-EBADF);
	return (int)sys_errno(do_dup(sys(SYS_dup3, from, to, flags), from));
}

#define FCNTL_HOOK(name)                                                      \
	HOOK int name(int fd, int cmd, ...)                                   \
	{                                                                     \
		va_list ap;                                                   \
		long arg;                                                     \
		va_start(ap, cmd);                                            \
		arg = va_arg(ap, long);                                       \
		va_end(ap);                                                   \
		if (rt_next.name && cmd != F_DUPFD && cmd != F_DUPFD_CLOEXEC) \
			return rt_next.name(fd, cmd, arg);                    \
		return (int)sys_errno(do_fcntl(fd, cmd, arg));                \
	}

FCNTL_HOOK(fcntl)
FCNTL_HOOK(fcntl64)

HOOK int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	uint64_t arg;

	va_start(ap, request);
	arg = va_arg(ap, uint64_t);
	va_end(ap);
	return (int)sys_errno(do_ioctl(fd, request, arg));
}

HOOK int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	return (int)sys_errno(do_epoll_ctl(epoll, op, fd, event));
}

/* libc's fopen() opens by itself. */
static FILE *fopen_ours(long fd, const char *mode)
{
	FILE *file;

	if (fd < 0) {
		errno = (int)-fd;
		return NULL;
	}
	file = fdopen((int)fd, mode);
	if (!file)
		close((int)fd);
	return file;
}

static long flags_of(const char *mode)
{
	long access = strchr(mode, '+') ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;

	return access | (strchr(mode, 'e') ? O_CLOEXEC : 0);
}

#define FOPEN_HOOK(name)                                            \
	HOOK FILE *name(const char *path, const char *mode)         \
	{                                                           \
		long fd;                                            \
		if (open_ours(AT_FDCWD, path, flags_of(mode), &fd)) \
			return fopen_ours(fd, mode);                \
		return NEXT(name)(path, mode);                      \
	}

FOPEN_HOOK(fopen)
FOPEN_HOOK(fopen64)

/* libc closes by itself as well. */
static void forget_file(FILE *file)
{
	int saved_errno = errno;

	if (rt.used && file)
		forget(fileno(file));
	errno = saved_errno;
}

HOOK int fclose(FILE *file)
{
	forget_file(file);
	return NEXT(fclose)(file);
}

#define FREOPEN_HOOK(name)                                              \
	HOOK FILE *name(const char *path, const char *mode, FILE *file) \
	{                                                               \
		forget_file(file);                                      \
		return NEXT(name)(path, mode, file);                    \
	}

FREOPEN_HOOK(freopen)
FREOPEN_HOOK(freopen64)
