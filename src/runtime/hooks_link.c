/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * readlink() and realpath(): a node of the device is a file, no link, and where it is said to be; the links of
 * /proc/self/fd say which node a descriptor is of, and not what stands for it.
 */
#include "runtime/hooks.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/next.h"
#include "runtime/rt.h"
#include "runtime/sys.h"

/* ---- what the calls do ------------------------------------------------------------------------- */

/* What follows @folder in @path; NULL when it is elsewhere. */
static const char *after(const char *path, const char *folder)
{
	size_t n = strlen(folder);

	return strncmp(path, folder, n) ? NULL : path + n;
}

/* The descriptor that @path, from @dir on, is the link of; -1: it is no such link. */
static int fd_of_link(int dir, const char *path)
{
	char own[32], in[40];
	const char *number = path;
	int fd = 0;

	snprintf(own, sizeof(own), "/proc/%d/fd/", rt.pid);
	if (path[0] == '/') {
		number = after(path, "/proc/self/fd/");
		number = number ? number : after(path, "/dev/fd/");
		number = number ? number : after(path, "/proc/thread-self/fd/");
		number = number ? number : after(path, own);
	} else if (path[0] < '0' || path[0] > '9' || !rt_folder(dir, in, sizeof(in) - 1) ||
		   strcmp(strcat(in, "/"), own) != 0) {
		return -1;
	}
	if (!number || !*number)
		return -1;
	for (; *number >= '0' && *number <= '9' && fd < 1 << 24; number++)
		fd = 10 * fd + (*number - '0');
	return *number ? -1 : fd;
}

/* The node that @path names, or that the descriptor is of whose link it is. */
static enum rt_fd_kind kind_of_path(long dir, const char *path, bool *ret_link)
{
	char head[64];
	int kind;

	if (!rt.ready || !path || !rt_peek_path(path, head, sizeof(head)))
		return RT_FD_NONE;
	kind = rt_device_path_at((int)dir, head);
	*ret_link = kind == RT_FD_NONE;
	return kind == RT_FD_NONE ? rt_fd_node(fd_of_link((int)dir, head)) : (enum rt_fd_kind)kind;
}

/* False: neither a node nor the link of one. */
static bool readlink_ours(long dir, const char *path, char *to, size_t bytes, long *ret)
{
	bool link;
	enum rt_fd_kind kind = kind_of_path(dir, path, &link);
	const char *name;
	size_t n;

	if (kind == RT_FD_NONE)
		return false;
	if (!link || (ssize_t)bytes <= 0) {
		*ret = -EINVAL;
		return true;
	}
	name = rt_device_name(kind);
	n = strlen(name) < bytes ? strlen(name) : bytes;
	*ret = rt_copy_user(to, name, n) ? -EFAULT : (long)n;
	return true;
}

long rt_sys_link(long nr, const long a[6], int *ret_handled)
{
	long r = -ENOSYS;

	*ret_handled = 0;
	if (nr == SYS_readlink)
		*ret_handled =
			readlink_ours(AT_FDCWD, (const char *)a[0], (char *)a[1], (size_t)a[2], &r);
	else if (nr == SYS_readlinkat)
		*ret_handled =
			readlink_ours(a[0], (const char *)a[1], (char *)a[2], (size_t)a[3], &r);
	return r;
}

static long do_readlinkat(long dir, const char *path, char *to, size_t bytes)
{
	long r;

	if (readlink_ours(dir, path, to, bytes, &r))
		return r;
	return sys4(SYS_readlinkat, dir, path, to, bytes);
}

/* ---- the names ------------------------------------------------------------------------------------ */

HOOK ssize_t readlink(const char *path, char *to, size_t bytes)
{
	return sys_errno(do_readlinkat(AT_FDCWD, path, to, bytes));
}

HOOK ssize_t readlinkat(int dir, const char *path, char *to, size_t bytes)
{
	return sys_errno(do_readlinkat(dir, path, to, bytes));
}

void __chk_fail(void) __attribute__((noreturn));
ssize_t __readlink_chk(const char *path, char *to, size_t bytes, size_t room);
ssize_t __readlinkat_chk(int dir, const char *path, char *to, size_t bytes, size_t room);
char *__realpath_chk(const char *path, char *to, size_t room);

HOOK ssize_t __readlink_chk(const char *path, char *to, size_t bytes, size_t room)
{
	if (bytes > room)
		__chk_fail();
	return readlink(path, to, bytes);
}

HOOK ssize_t __readlinkat_chk(int dir, const char *path, char *to, size_t bytes, size_t room)
{
	if (bytes > room)
		__chk_fail();
	return readlinkat(dir, path, to, bytes);
}

HOOK char *realpath(const char *path, char *to)
{
	bool link;
	enum rt_fd_kind kind = kind_of_path(AT_FDCWD, path, &link);

	if (kind == RT_FD_NONE)
		return NEXT(realpath)(path, to);
	return to ? strcpy(to, rt_device_name(kind)) : strdup(rt_device_name(kind));
}

HOOK char *__realpath_chk(const char *path, char *to, size_t room)
{
	if (room < PATH_MAX)
		__chk_fail();
	return realpath(path, to);
}

HOOK char *canonicalize_file_name(const char *path)
{
	return realpath(path, NULL);
}
