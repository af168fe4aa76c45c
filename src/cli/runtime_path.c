/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Finding the runtime.  Paths are relative to the tool's own file first, so that a build
 * folder or an installed tree may be moved.
 */
#include "cli/runtime_path.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/report.h"

#define SEPARATORS ": \t\n"
#define LINKS      "/tmp/swsgx-%u" /* of a user */

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

/* A folder that is ours, where nobody else can put anything. */
static int make_own_folder(const char *path)
{
	struct stat st;

	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -errno;
	if (lstat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) ? 0 : -EPERM;
}

/* FNV-1a: one name for one path. */
static uint64_t hash_of(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * 0x100000001b3ull;
	return hash;
}

/*
 * LD_PRELOAD is a list with blanks and colons between, so such a @path is replaced by that of a link to it.  The link
 * stays: programs that the program starts will need it.
 */
static int link_path(char *path, size_t bytes)
{
	char folder[128], link[256];
	struct stat theirs, ours;
	int r;

	snprintf(folder, sizeof(folder), LINKS, geteuid());
	r = make_own_folder(folder);
	snprintf(folder, sizeof(folder), LINKS "/%016" PRIx64, geteuid(), hash_of(path));
	if (r == 0)
		r = make_own_folder(folder);
	if (r < 0)
		return r;
	snprintf(link, sizeof(link), "%s/%s", folder, library.name);
	if (symlink(path, link) < 0 && errno != EEXIST)
		return -errno;
	if (stat(link, &theirs) < 0 || stat(path, &ours) < 0)
		return -errno;
	if (theirs.st_dev != ours.st_dev || theirs.st_ino != ours.st_ino)
		return -EEXIST;
	snprintf(path, bytes, "%s", link);
	return 0;
}

int runtime_path(char *path, size_t bytes, struct report *rep)
{
	int r = find(&library, path, bytes, rep);

	if (r < 0 || !strpbrk(path, SEPARATORS))
		return r;
	r = link_path(path, bytes);
	if (r < 0)
		report_hint(rep, "move it to a path without blanks and colons");
	return r < 0 ? report_fail(rep, r, "LD_PRELOAD cannot name '%s'", path) : 0;
}

int runtime_exec_path(char *path, size_t bytes, struct report *rep)
{
	return find(&loader, path, bytes, rep);
}

int guest_kernel_path(char *path, size_t bytes, struct report *rep)
{
	return find(&guest, path, bytes, rep);
}
