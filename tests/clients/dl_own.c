/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A library with functions of its own that are called as some of libc's (test_dlsym).
 */
int closefrom(int first);
int faccessat(int dir, const char *path, int mode, int flags);

__attribute__((visibility("default"))) int closefrom(int first) { return first + 4711; }

__attribute__((visibility("default"))) int faccessat(int dir, const char *path, int mode, int flags)
{
	(void)path;
	return dir + mode + flags;
}
