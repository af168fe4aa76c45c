/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Finding the runtime.  Paths are relative to the tool's own file first, so that a build
 * folder or an installed tree may be moved.
 */
#include "cli/runtime_path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/report.h"

struct place {
	const char *name;
	const char *in_build, *installed; /* folders, from that of the tool */
};

static const struct place library = { "libswsgx_runtime.so", "src/runtime", SWSGX_LIBDIR_FROM_BIN };
static const struct place loader = { "swsgx-exec", "src/runtime",
				     SWSGX_LIBEXECDIR_FROM_BIN "/swsgx" };

static const struct place guest = { "swsgx-guest", "guest", SWSGX_LIBEXECDIR_FROM_BIN "/swsgx" };

static int find(const struct place *place, char *path, size_t bytes, struct report *rep)
{
	const char *const folders[] = { place->in_build, place->installed };
	char exe[RUNTIME_PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	if (n < 0)
		return report_fail(rep, -errno, "cannot read /proc/self/exe");
	exe[n] = 0;
	slash = strrchr(exe, '/');
	if (slash)
		*slash = 0;
	for (size_t i = 0; i < 2; i++) {
		n = snprintf(path, bytes, "%s/%s/%s", exe, folders[i], place->name);
		if (n > 0 && (size_t)n < bytes && access(path, R_OK) == 0)
			return 0;
	}
	report_hint(rep, "build it (ninja -C build) or install it (make install)");
	return report_fail(rep, -ENOENT, "cannot find %s", place->name);
}

int runtime_path(char *path, size_t bytes, struct report *rep)
{
	int r = find(&library, path, bytes, rep);

	if (r < 0 || !strpbrk(path, ": \t"))
		return r;
	report_hint(rep, "move it to a path without blanks and colons");
	return report_fail(rep, -EINVAL, "LD_PRELOAD cannot name '%s'", path);
}

int runtime_exec_path(char *path, size_t bytes, struct report *rep)
{
	return find(&loader, path, bytes, rep);
}

int guest_kernel_path(char *path, size_t bytes, struct report *rep)
{
	return find(&guest, path, bytes, rep);
}
