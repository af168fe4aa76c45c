/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Finding the runtime library.  Paths are relative to the tool's own file first, so that a build
 * folder or an installed tree may be moved.
 */
#include "cli/runtime_path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/report.h"

#define RUNTIME_NAME "libswsgx_runtime.so"

static const char *const places[] = {
	"src/runtime/" RUNTIME_NAME, /* a build folder */
	SWSGX_LIBDIR_FROM_BIN "/" RUNTIME_NAME,
};

int runtime_path(char *path, size_t bytes, struct report *rep)
{
	char exe[RUNTIME_PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	if (n < 0)
		return report_fail(rep, -errno, "cannot read /proc/self/exe");
	exe[n] = 0;
	slash = strrchr(exe, '/');
	if (slash)
		*slash = 0;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		n = snprintf(path, bytes, "%s/%s", exe, places[i]);
		if (n < 0 || (size_t)n >= bytes || access(path, R_OK) < 0)
			continue;
		if (!strpbrk(path, ": \t"))
			return 0;
		report_hint(rep, "move it to a path without blanks and colons");
		return report_fail(rep, -EINVAL, "LD_PRELOAD cannot name '%s'", path);
	}
	report_hint(rep, "build it (ninja -C build) or install it (make install)");
	return report_fail(rep, -ENOENT, "cannot find %s", RUNTIME_NAME);
}
