/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Where ADD_PAGES takes its pages from: Linux refuses a source whose mapping may never be made executable,
 * so that a noexec mount cannot be got around by an enclave.
 *
 * The mapping is looked up in /proc/self/maps and remembered: a loader adds thousands of pages from one.
 */
#include "runtime/rt.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "runtime/sys.h"

/* A line of /proc/self/maps: "start-end perms offset dev inode   path". */
static bool parse(const char *line, uint64_t *start, uint64_t *end, const char **path)
{
	char *at;
	int field = 0;

	*start = strtoull(line, &at, 16);
	if (*at != '-')
		return false;
	*end = strtoull(at + 1, &at, 16);
	while (*at && field < 4) {
		while (*at == ' ')
			at++;
		while (*at && *at != ' ')
			at++;
		field++;
	}
	while (*at == ' ')
		at++;
	*path = at;
	return true;
}

static int verdict(const char *path)
{
	struct statvfs fs;

	if (path[0] != '/' || !strncmp(path, "/memfd:", 7) || statvfs(path, &fs) != 0)
		return 0;
	return fs.f_flag & ST_NOEXEC ? -EACCES : 0;
}

/* Look for @addr in one full buffer of lines; true when its line was found. */
static bool look(char *text, uint64_t addr, struct rt_source *source)
{
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
		const char *path;
		uint64_t from, to;

		*end = 0;
		if (!parse(line, &from, &to, &path) || addr < from || addr >= to)
			continue;
		source->start = from;
		source->end = to;
		source->verdict = verdict(path);
		return true;
	}
	return false;
}

static int look_up(uint64_t addr, struct rt_source *source)
{
	size_t bytes = 65536, have = 0;
	char *text = malloc(bytes);
	bool found = false;
	long fd, n;

	if (!text)
		return -EFAULT;
	fd = sys4(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0) {
		/* The program has shut itself out of /proc: the copy finds out whether there is a page, nobody the rest. */
		*source = (struct rt_source){ .start = addr, .end = addr + 1, .verdict = 0 };
		free(text);
		return 0;
	}
	while (!found && (n = sys(SYS_read, fd, text + have, bytes - have - 1)) > 0) {
		char *rest;

		have += (size_t)n;
		text[have] = 0;
		rest = strrchr(text, '\n');
		if (!rest)
			continue;
		have -= (size_t)(rest + 1 - text);
		char kept[512];

		have = have < sizeof(kept) ? have : 0;
		memcpy(kept, rest + 1, have);
		rest[1] = 0;
		found = look(text, addr, source);
		memcpy(text, kept, have);
	}
	sys(SYS_close, fd, 0, 0);
	free(text);
	return found ? source->verdict : -EFAULT;
}

int rt_source_check(uint64_t addr)
{
	struct rt_source source;
	int r;

	lock_acquire(&rt.lock);
	source = rt.source;
	lock_release(&rt.lock);
	if (addr >= source.start && addr < source.end)
		return source.verdict;
	r = look_up(addr, &source);
	if (r != -EFAULT) {
		lock_acquire(&rt.lock);
		rt.source = source;
		lock_release(&rt.lock);
	}
	return r;
}

void rt_source_forget(void)
{
	if (!rt.source.end)
		return;
	lock_acquire(&rt.lock);
	rt.source = (struct rt_source){ .end = 0 };
	lock_release(&rt.lock);
}
