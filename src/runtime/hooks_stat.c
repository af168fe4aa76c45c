/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * stat() and its kin: the device's nodes, and descriptors of them, look like character devices, without attributes.
 */
/* Both spellings of each call are defined here, so the headers may not turn one into the other. */
#undef _FILE_OFFSET_BITS

#include "runtime/hooks.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "runtime/rt.h"
#include "runtime/sys.h"

#define MISC_MAJOR 10

/* ---- what the calls do ------------------------------------------------------------------------- */

static void stat_node(struct stat *st, enum rt_fd_kind kind)
{
	memset(st, 0, sizeof(*st));
	st->st_dev = makedev(0, 5);
	st->st_ino = RT_NODE_INO + (unsigned int)kind;
	st->st_nlink = 1;
	/* Mode bits as udev gives them for a world that may use SGX; an x bit says that /dev is not noexec. */
	st->st_mode = S_IFCHR | 0777;
	st->st_rdev = makedev(MISC_MAJOR, 125 + (unsigned int)kind);
	st->st_blksize = 4096;
}

static void statx_node(struct statx *sx, enum rt_fd_kind kind)
{
	memset(sx, 0, sizeof(*sx));
	sx->stx_mask = STATX_BASIC_STATS;
	sx->stx_blksize = 4096;
	sx->stx_nlink = 1;
	sx->stx_mode = S_IFCHR | 0777;
	sx->stx_ino = RT_NODE_INO + (unsigned int)kind;
	sx->stx_rdev_major = MISC_MAJOR;
	sx->stx_rdev_minor = 125 + (unsigned int)kind;
	sx->stx_dev_minor = 5;
}

static enum rt_fd_kind kind_of_path(long dir, const char *path)
{
	char head[64];

	if (!rt.ready || !path || !rt_peek_path(path, head, sizeof(head)))
		return RT_FD_NONE;
	return (enum rt_fd_kind)rt_device_path_at((int)dir, head);
}

static bool is_ours(int fd)
{
	return rt.used && rt_fd_ours(fd);
}

/* The path that means the folder's own descriptor, with AT_EMPTY_PATH. */
static bool is_empty(const char *path)
{
	char head[2];

	return path && rt_peek_path(path, head, sizeof(head)) && !head[0];
}

static long do_fstat(int fd, struct stat *st)
{
	enum rt_fd_kind kind = rt_fd_node(fd);

	if (kind == RT_FD_NONE)
		return sys(SYS_fstat, fd, st, 0);
	stat_node(st, kind);
	return 0;
}

static long do_fstatat(long dir, const char *path, struct stat *st, long flags)
{
	enum rt_fd_kind kind = kind_of_path(dir, path);

	if (kind == RT_FD_NONE && (flags & AT_EMPTY_PATH) && is_ours((int)dir) && is_empty(path))
		return do_fstat((int)dir, st);
	if (kind == RT_FD_NONE)
		return sys4(SYS_newfstatat, dir, path, st, flags);
	stat_node(st, kind);
	return 0;
}

static long do_statx(long dir, const char *path, long flags, long mask, struct statx *sx)
{
	enum rt_fd_kind kind = kind_of_path(dir, path);

	if (kind == RT_FD_NONE && (flags & AT_EMPTY_PATH) && is_ours((int)dir) && is_empty(path))
		kind = rt_fd_node((int)dir);
	if (kind == RT_FD_NONE)
		return sys6(SYS_statx, dir, (long)path, flags, mask, (long)sx, 0);
	statx_node(sx, kind);
	return 0;
}

static long do_faccessat(long dir, const char *path, long mode, long flags)
{
	if (kind_of_path(dir, path) != RT_FD_NONE)
		return 0;
	if (flags)
		return sys4(SYS_faccessat2, dir, path, mode, flags);
	return sys(SYS_faccessat, dir, path, mode);
}

long rt_sys_stat(long nr, const long a[6], int *ret_handled)
{
	*ret_handled = 1;
	switch (nr) {
	case SYS_stat:
	case SYS_lstat:
		return do_fstatat(AT_FDCWD, (const char *)a[0], (struct stat *)a[1],
				  nr == SYS_lstat ? AT_SYMLINK_NOFOLLOW : 0);
	case SYS_fstat:
		return do_fstat((int)a[0], (struct stat *)a[1]);
	case SYS_newfstatat:
		return do_fstatat(a[0], (const char *)a[1], (struct stat *)a[2], a[3]);
	case SYS_statx:
		return do_statx(a[0], (const char *)a[1], a[2], a[3], (struct statx *)a[4]);
	case SYS_access:
		return do_faccessat(AT_FDCWD, (const char *)a[0], a[1], 0);
	case SYS_faccessat:
		return do_faccessat(a[0], (const char *)a[1], a[2], 0);
	case SYS_faccessat2:
		return do_faccessat(a[0], (const char *)a[1], a[2], a[3]);
	default:
		*ret_handled = 0;
		return -ENOSYS;
	}
}

/* ---- the names ------------------------------------------------------------------------------------ */

/* struct stat64 is struct stat on x86-64. */
#define STAT_HOOKS(suffix, type)                                                                \
	HOOK int stat##suffix(const char *path, struct type *st)                                \
	{                                                                                       \
		return (int)sys_errno(do_fstatat(AT_FDCWD, path, (struct stat *)st, 0));        \
	}                                                                                       \
	HOOK int lstat##suffix(const char *path, struct type *st)                               \
	{                                                                                       \
		return (int)sys_errno(                                                          \
			do_fstatat(AT_FDCWD, path, (struct stat *)st, AT_SYMLINK_NOFOLLOW));    \
	}                                                                                       \
	HOOK int fstat##suffix(int fd, struct type *st)                                         \
	{                                                                                       \
		return (int)sys_errno(do_fstat(fd, (struct stat *)st));                         \
	}                                                                                       \
	HOOK int fstatat##suffix(int dir, const char *path, struct type *st, int flags)         \
	{                                                                                       \
		return (int)sys_errno(do_fstatat(dir, path, (struct stat *)st, flags));         \
	}                                                                                       \
	int __xstat##suffix(int ver, const char *path, struct type *st);                        \
	HOOK int __xstat##suffix(int ver, const char *path, struct type *st)                    \
	{                                                                                       \
		return stat##suffix(path, st);                                                  \
	}                                                                                       \
	int __lxstat##suffix(int ver, const char *path, struct type *st);                       \
	HOOK int __lxstat##suffix(int ver, const char *path, struct type *st)                   \
	{                                                                                       \
		return lstat##suffix(path, st);                                                 \
	}                                                                                       \
	int __fxstat##suffix(int ver, int fd, struct type *st);                                 \
	HOOK int __fxstat##suffix(int ver, int fd, struct type *st)                             \
	{                                                                                       \
		return fstat##suffix(fd, st);                                                   \
	}                                                                                       \
	int __fxstatat##suffix(int ver, int dir, const char *path, struct type *st, int flags); \
	HOOK int __fxstatat##suffix(int ver, int dir, const char *path, struct type *st,        \
				    int flags)                                                  \
	{                                                                                       \
		return fstatat##suffix(dir, path, st, flags);                                   \
	}

STAT_HOOKS(, stat)
STAT_HOOKS(64, stat64)

HOOK int statx(int dir, const char *path, int flags, unsigned int mask, struct statx *sx)
{
	return (int)sys_errno(do_statx(dir, path, flags, mask, sx));
}

HOOK int access(const char *path, int mode)
{
	return (int)sys_errno(do_faccessat(AT_FDCWD, path, mode, 0));
}

HOOK int faccessat(int dir, const char *path, int mode, int flags)
{
	return (int)sys_errno(do_faccessat(dir, path, mode, flags));
}

HOOK int euidaccess(const char *path, int mode)
{
	return (int)sys_errno(do_faccessat(AT_FDCWD, path, mode, AT_EACCESS));
}

HOOK int eaccess(const char *path, int mode)
{
	return euidaccess(path, mode);
}

/* Extended attributes: a node has none. */
#define GETXATTR_HOOK(name)                                                           \
	HOOK ssize_t name(const char *path, const char *attr, void *to, size_t bytes) \
	{                                                                             \
		if (kind_of_path(AT_FDCWD, path) != RT_FD_NONE)                       \
			return sys_errno(-ENODATA);                                   \
		return sys_errno(sys4(SYS_##name, path, attr, to, bytes));            \
	}
#define LISTXATTR_HOOK(name)                                        \
	HOOK ssize_t name(const char *path, char *to, size_t bytes) \
	{                                                           \
		if (kind_of_path(AT_FDCWD, path) != RT_FD_NONE)     \
			return 0;                                   \
		return sys_errno(sys(SYS_##name, path, to, bytes)); \
	}

GETXATTR_HOOK(getxattr)
GETXATTR_HOOK(lgetxattr)
LISTXATTR_HOOK(listxattr)
LISTXATTR_HOOK(llistxattr)
