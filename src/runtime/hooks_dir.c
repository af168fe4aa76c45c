/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * readdir(): a listing of /dev ends with the nodes of the device, for people and scripts that look there.
 *
 * Where a listing is, is kept in rt.listing from its real end on until it is closed or begun anew.
 */
/* Both spellings of each call are defined here, so the headers may not turn one into the other. */
#undef _FILE_OFFSET_BITS

#include "runtime/hooks.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/next.h"
#include "runtime/rt.h"
#include "runtime/sys.h"

static const enum rt_fd_kind kinds[] = { RT_FD_ENCLAVE, RT_FD_PROVISION, RT_FD_VEPC };

#define NODES (sizeof(kinds) / sizeof(kinds[0]))

/* What the caller gets a pointer to; each is always the same. */
static struct dirent entries[NODES];

static bool is_dev(DIR *dir)
{
	struct stat dev, here;

	/* The kernel's struct stat is libc's on x86-64. */
	return sys(SYS_fstat, dirfd(dir), &here, 0) == 0 &&
	       sys4(SYS_newfstatat, AT_FDCWD, "/dev", &dev, 0) == 0 && dev.st_ino == here.st_ino &&
	       dev.st_dev == here.st_dev;
}

static struct rt_listing *find_locked(DIR *dir) REQUIRES(&rt.lock)
{
	for (size_t i = 0; i < RT_LISTINGS; i++)
		if (rt.listing[i].dir == dir)
			return &rt.listing[i];
	return NULL;
}

/* The number of the next node of @dir; NODES: there is none left. */
static size_t next_node(DIR *dir)
{
	struct rt_listing *listing;
	size_t nr = NODES;

	lock_acquire(&rt.lock);
	listing = find_locked(dir);
	if (!listing) {
		listing = find_locked(NULL);
		if (listing)
			*listing = (struct rt_listing){ .dir = dir };
	}
	if (listing && listing->shown < NODES)
		nr = listing->shown++;
	lock_release(&rt.lock);
	return nr;
}

static void forget(DIR *dir)
{
	struct rt_listing *listing;
	struct rt_thread *t;

	if (!rt.ready || !dir)
		return;
	t = rt_thread_self();
	rt_critical_enter(t);
	lock_acquire(&rt.lock);
	listing = find_locked(dir);
	if (listing)
		listing->dir = NULL;
	lock_release(&rt.lock);
	rt_critical_leave(t);
}

/* The entry behind the last real one. */
static struct dirent *behind(DIR *dir)
{
	struct rt_thread *t;
	size_t nr;

	if (!rt.ready || !dir || !is_dev(dir))
		return NULL;
	t = rt_thread_self();
	rt_critical_enter(t);
	do
		nr = next_node(dir);
	/* A machine may have nodes of its own, which were listed. */
	while (nr < NODES && sys4(SYS_faccessat, AT_FDCWD, rt_device_name(kinds[nr]), 0, 0) == 0);
	rt_critical_leave(t);
	if (nr == NODES)
		return NULL;
	strcpy(entries[nr].d_name, rt_device_name(kinds[nr]) + strlen("/dev/"));
	entries[nr].d_ino = RT_NODE_INO + kinds[nr];
	entries[nr].d_reclen = sizeof(entries[nr]);
	entries[nr].d_type = DT_CHR;
	return &entries[nr];
}

/* ---- the names ------------------------------------------------------------------------------------ */

HOOK struct dirent *readdir(DIR *dir)
{
	struct dirent *entry = NEXT(readdir)(dir);

	return entry ? entry : behind(dir);
}

/* struct dirent64 is struct dirent on x86-64. */
HOOK struct dirent64 *readdir64(DIR *dir)
{
	return (struct dirent64 *)readdir(dir);
}

HOOK void rewinddir(DIR *dir)
{
	forget(dir);
	NEXT(rewinddir)(dir);
}

HOOK void seekdir(DIR *dir, long at)
{
	forget(dir);
	NEXT(seekdir)(dir, at);
}

HOOK int closedir(DIR *dir)
{
	forget(dir);
	return NEXT(closedir)(dir);
}
