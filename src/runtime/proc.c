/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Files of /proc in which a machine with SGX, or a process that uses it, shows: /proc/cpuinfo with the processor's
 * flags, /proc/self/maps with the device's name, and /proc/self/auxv with our vDSO where the kernel's copy of it
 * could not be changed.  An open of one is an open of a copy, as it was at that moment.  /proc/self/mem, by which
 * debuggers in the process itself reach enclaves, is the file itself.
 *
 * No libc but of memory, and no lock that a client may wait for: opens come from signal handlers too.
 */
#include "runtime/proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/rt.h"
#include "runtime/sys.h"

#define WINDOW_NAME  "/memfd:sgx_enclave (deleted)"
#define ENCLAVE_NAME "/dev/sgx_enclave"

/* ---- a copy that grows ------------------------------------------------------------------------------ */

struct copy {
	long fd; /* or -errno */
	size_t nr;
	char bytes[1024];
};

static void copy_flush(struct copy *c)
{
	size_t done = 0;

	while (done < c->nr && c->fd >= 0) {
		long r = sys(SYS_write, c->fd, c->bytes + done, c->nr - done);

		if (r < 0) {
			sys(SYS_close, c->fd, 0, 0);
			c->fd = r;
		} else {
			done += (size_t)r;
		}
	}
	c->nr = 0;
}

static void copy_add(struct copy *c, const char *bytes, size_t nr)
{
	while (nr > 0) {
		size_t room = sizeof(c->bytes) - c->nr, n = nr < room ? nr : room;

		memcpy(c->bytes + c->nr, bytes, n);
		c->nr += n;
		bytes += n;
		nr -= n;
		if (c->nr == sizeof(c->bytes))
			copy_flush(c);
	}
}

/* ---- line by line ------------------------------------------------------------------------------------- */

typedef void line_fn(struct copy *c, const char *line, size_t nr);

/*
 * The file at @path into @c, each line through @fn without its end.  Of a line that is longer than the buffer @fn gets
 * parts, and the last of them is followed by the end.
 */
static void copy_lines(struct copy *c, const char *path, line_fn *fn)
{
	long file = sys4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	size_t bytes = 16384, have = 0;
	char *buf;
	long r;

	if (file < 0)
		return;
	buf = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED)
		goto close;
	while ((r = sys(SYS_read, file, buf + have, bytes - have)) > 0) {
		char *line = buf, *end;

		have += (size_t)r;
		while ((end = memchr(line, '\n', have))) {
			fn(c, line, (size_t)(end - line));
			copy_add(c, "\n", 1);
			have -= (size_t)(end - line) + 1;
			line = end + 1;
		}
		if (have == bytes) {
			copy_add(c, line, have);
			have = 0;
		}
		memmove(buf, line, have);
	}
	copy_add(c, buf, have);
	munmap(buf, bytes);
close:
	sys(SYS_close, file, 0, 0);
}

static void cpuinfo_line(struct copy *c, const char *line, size_t nr)
{
	static const char flags[] = "flags\t", sgx[] = " sgx sgx_lc";

	copy_add(c, line, nr);
	if (nr > sizeof(flags) && !memcmp(line, flags, sizeof(flags) - 1) &&
	    !memmem(line, nr, " sgx ", 5))
		copy_add(c, sgx, sizeof(sgx) - 1);
}

static void maps_line(struct copy *c, const char *line, size_t nr)
{
	static const char window[] = WINDOW_NAME, name[] = ENCLAVE_NAME;
	size_t tail = sizeof(window) - 1;

	if (nr < tail || memcmp(line + nr - tail, window, tail) != 0) {
		copy_add(c, line, nr);
		return;
	}
	copy_add(c, line, nr - tail);
	copy_add(c, name, sizeof(name) - 1);
}

/* ---- which ------------------------------------------------------------------------------------------------ */

static bool is_own(const char *path, const char *file)
{
	char own[64];

	if (strncmp(path, "/proc/", 6) != 0)
		return false;
	path += 6;
	snprintf(own, sizeof(own), "%d/%s", rt.pid, file);
	if (!strcmp(path, own))
		return true;
	path += !strncmp(path, "thread-self/", 12) ? 12 : !strncmp(path, "self/", 5) ? 5 : 0;
	return path[-1] == '/' && path[-2] == 'f' && !strcmp(path, file);
}

/* @path from @dir on, in whole; false when its name is none that matters, as nearly every name is. */
static bool whole_path(int dir, const char *path, char *to, size_t bytes)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char in[32];

	if (strcmp(name, "cpuinfo") != 0 && strcmp(name, "maps") != 0 &&
	    strcmp(name, "auxv") != 0 && strcmp(name, "mem") != 0)
		return false;
	if (!rt_folder(dir, in, sizeof(in)))
		return false;
	return snprintf(to, bytes, "%s/%s", strcmp(in, "/") ? in : "", path) < (int)bytes;
}

enum proc_file proc_file_at(int dir, const char *path)
{
	char whole[64];

	if (!rt.ready)
		return PROC_NONE;
	if (path[0] != '/') {
		if (!whole_path(dir, path, whole, sizeof(whole)))
			return PROC_NONE;
		path = whole;
	}
	if (!strcmp(path, "/proc/cpuinfo"))
		return PROC_CPUINFO;
	if (!rt.proc_auxv_right && is_own(path, "auxv"))
		return PROC_AUXV;
	if (rt.used && is_own(path, "maps"))
		return PROC_MAPS;
	if (is_own(path, "mem"))
		return PROC_MEM;
	return PROC_NONE;
}

static void copy_auxv(struct copy *c)
{
	size_t words = 0;

	while (rt.auxv[words])
		words += 2;
	copy_add(c, (const char *)rt.auxv, (words + 2) * sizeof(long));
}

/* The file itself: only what is read and written of enclaves is another thing (hooks_rw.c). */
static long open_mem(long flags)
{
	struct rt_thread *t = rt_thread_self();
	long fd = sys4(SYS_openat, AT_FDCWD, "/proc/self/mem", flags, 0);

	if (fd < 0)
		return fd;
	rt_critical_enter(t);
	rt_fd_set_proc_mem((int)fd);
	rt_critical_leave(t);
	return fd;
}

long proc_open(enum proc_file file, long flags)
{
	static const char *const name[] = {
		[PROC_CPUINFO] = "cpuinfo", [PROC_AUXV] = "auxv", [PROC_MAPS] = "maps"
	};
	struct copy c = { .nr = 0 };

	if (file == PROC_MEM)
		return open_mem(flags);
	if ((flags & O_ACCMODE) != O_RDONLY)
		return -EACCES;
	if (flags & O_DIRECTORY)
		return -ENOTDIR;
	c.fd = sys(SYS_memfd_create, name[file], flags & O_CLOEXEC ? MFD_CLOEXEC : 0, 0);
	if (file == PROC_CPUINFO)
		copy_lines(&c, "/proc/cpuinfo", cpuinfo_line);
	else if (file == PROC_MAPS)
		copy_lines(&c, "/proc/self/maps", maps_line);
	else
		copy_auxv(&c);
	copy_flush(&c);
	if (c.fd >= 0)
		sys(SYS_lseek, c.fd, 0, SEEK_SET);
	return c.fd;
}
