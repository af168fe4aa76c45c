/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The platform file, before a program runs: where it is, and whether the runtime will take it.  The runtime
 * could only say so when it is too late to stop.
 *
 * A file that is not there is left to the runtime to make (cpu/platform.h).
 */
#include "cli/platform_file.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/report.h"
#include "cli/runtime_path.h"
#include "cpu/platform.h"

/* Make the folders of @path, as private as the file will be. Failure shows in platform_file_check(). */
static void make_folders(const char *path)
{
	char dir[RUNTIME_PATH_MAX];

	snprintf(dir, sizeof(dir), "%s", path);
	for (char *slash = strchr(dir + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		(void)mkdir(dir, 0700);
		*slash = '/';
	}
}

int platform_file_default(char *path, size_t bytes, struct report *rep)
{
	const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	const struct passwd *pw;
	int n;

	if (data && data[0] == '/') {
		n = snprintf(path, bytes, "%s/swsgx/platform", data);
	} else {
		if (!home || home[0] != '/') {
			pw = getpwuid(getuid());
			home = pw ? pw->pw_dir : "/";
		}
		n = snprintf(path, bytes, "%s/.local/share/swsgx/platform", home);
	}
	if (n < 0 || (size_t)n >= bytes)
		return report_fail(rep, -ENAMETOOLONG, "cannot use the home folder");
	make_folders(path);
	return 0;
}

static int check_contents(const char *path, struct report *rep)
{
	struct cpu_fuses fuses;
	int r = platform_open(path, &fuses);

	explicit_bzero(&fuses, sizeof(fuses));
	if (r == 0)
		return 0;
	report_hint(rep,
		    "name another with --platform FILE; what was sealed with this one is lost, "
		    "if there is no copy of it");
	if (r == -EINVAL)
		return report_fail(rep, r, "'%s' is no platform file, or it is damaged", path);
	return report_fail(rep, r, "cannot use the platform file '%s'", path);
}

static int check_file(const char *path, const struct stat *st, struct report *rep)
{
	if (!S_ISREG(st->st_mode)) {
		report_hint(rep, "name a file with --platform FILE; one that is not there is made");
		return report_fail(rep, S_ISDIR(st->st_mode) ? -EISDIR : -EINVAL,
				   "cannot use the platform file '%s'", path);
	}
	if (st->st_mode & (S_IRWXG | S_IRWXO)) {
		report_hint(rep, "name another with --platform FILE, or chmod 600 it, if it is a "
				 "platform's and nobody has read it");
		return report_fail(rep, -EACCES, "others may use the platform file '%s'", path);
	}
	return check_contents(path, rep);
}

int platform_file_check(const char *path, struct report *rep)
{
	char dir[RUNTIME_PATH_MAX];
	struct stat st;
	char *slash;

	if (access(path, R_OK) == 0 && stat(path, &st) == 0)
		return check_file(path, &st, rep);
	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	slash[slash == dir] = 0;
	if (errno == ENOENT && access(dir, W_OK | X_OK) == 0)
		return 0;
	report_hint(rep, "name another file with --platform FILE");
	return report_fail(rep, -errno, "cannot use the platform file '%s'", path);
}
