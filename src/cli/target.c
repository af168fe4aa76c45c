/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Programs, before they are run.  What the kernel and the dynamic linker would do silently (ignore
 * LD_PRELOAD, mostly) is found out here, where it can be told.
 */
#include "cli/target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/report.h"

static int check_executable(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	return access(path, X_OK) < 0 ? -errno : 0;
}

/* The next candidate of a PATH search; NULL at its end. An empty element is the current folder. */
static const char *path_next(const char *from, const char *name, char *path, size_t bytes)
{
	size_t n = strcspn(from, ":");

	if (n)
		snprintf(path, bytes, "%.*s/%s", (int)n, from, name);
	else
		snprintf(path, bytes, "./%s", name);
	return from[n] ? from + n + 1 : NULL;
}

int target_find(const char *name, char *path, size_t bytes, struct report *rep)
{
	const char *from = getenv("PATH");
	int r = -ENOENT, seen;

	if (strchr(name, '/')) {
		snprintf(path, bytes, "%s", name);
		r = check_executable(path);
		return r < 0 ? report_fail(rep, r, "cannot run '%s'", name) : 0;
	}
	if (!from)
		from = "/bin:/usr/bin";
	while (from && name[0]) {
		from = path_next(from, name, path, bytes);
		seen = check_executable(path);
		if (seen == 0)
			return 0;
		if (seen == -EACCES)
			r = -EACCES;
	}
	if (r == -ENOENT && name[0] && access(name, X_OK) == 0)
		report_hint(rep, "./%s is here: give it with the ./", name);
	return report_fail(rep, r, "cannot run '%s'", name);
}

int target_kind(const char *path, enum program_kind *ret_kind, struct report *rep)
{
	int r = program_kind(path, ret_kind);

	/* Executable but not readable is fine with exec: nothing can be told of it. */
	if (r == -EACCES) {
		*ret_kind = PROGRAM_DYNAMIC;
		return 0;
	}
	return r < 0 ? report_fail(rep, r, "cannot read '%s'", path) : 0;
}

int target_check_privilege(const char *path, struct report *rep)
{
	struct stat st;
	const char *why = NULL;
	char cap[1];

	if (stat(path, &st) < 0)
		return 0; /* exec will tell */
	if ((st.st_mode & S_ISUID) && st.st_uid != getuid())
		why = "is setuid";
	else if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getgid())
		why = "is setgid";
	else if (getuid() != 0 && (getxattr(path, "security.capability", cap, 0) > 0))
		why = "has file capabilities";
	if (!why)
		return 0;
	report_hint(rep, "run it as the user that it becomes, or a copy without the privilege");
	return report_fail(rep, -EPERM,
			   "'%s' %s, and the dynamic linker loads no runtime into such a program",
			   path, why);
}
