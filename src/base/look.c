/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The mapping of somebody else's arena, and where in it an address of theirs is.
 *
 * Memory that nobody there has touched is not in the file.  To read it here would put it there, empty, so nobody does
 * but by a pointer that changes in that moment.
 */
#include "base/look.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ALIGN 4096u

struct look {
	const struct look_mark *mark;
	uint64_t base, bytes;
	int fd;
};

/* Of ordinary memory, as a hole in hugetlbfs may have none, and it stays as long as it is. */
static bool is_safe(int fd)
{
	struct statfs fs;
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & F_SEAL_SHRINK) && fstatfs(fd, &fs) == 0 &&
	       fs.f_type == TMPFS_MAGIC;
}

int look_open(int fd, struct look **ret_look)
{
	struct look *look;
	struct stat st;
	void *map;
	int r = -EINVAL;

	if (!is_safe(fd) || fstat(fd, &st) < 0 || (size_t)st.st_size < sizeof(struct look_mark))
		return -EINVAL;
	look = calloc(1, sizeof(*look));
	if (!look)
		return -ENOMEM;
	look->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (look->fd < 0) {
		r = -errno;
		goto free_look;
	}
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (map == MAP_FAILED) {
		r = -ENOMEM;
		goto close_fd;
	}
	look->mark = map;
	if (atomic_load_explicit(&look->mark->magic, memory_order_acquire) != LOOK_MAGIC ||
	    look->mark->bytes != (uint64_t)st.st_size)
		goto unmap;
	look->base = (uintptr_t)look->mark->base;
	look->bytes = (uint64_t)st.st_size;
	/* What is aligned there is so here. */
	if (look->base % ALIGN)
		goto unmap;
	*ret_look = look;
	return 0;

unmap:
	munmap(map, (size_t)st.st_size);
close_fd:
	close(look->fd);
free_look:
	free(look);
	return r;
}

void look_close(struct look *look)
{
	if (!look)
		return;
	munmap((void *)look->mark, look->bytes);
	close(look->fd);
	free(look);
}

uint64_t look_bytes_there(const struct look *look)
{
	struct stat st;

	return fstat(look->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

uint64_t look_root(const struct look *look, enum look_root which, uint64_t *ret_layout)
{
	uint64_t at = atomic_load_explicit(&look->mark->root[which].at, memory_order_acquire);

	*ret_layout = look->mark->root[which].layout;
	return at;
}

const void *look_at(const struct look *look, uint64_t at, size_t bytes, size_t align)
{
	uint64_t offset = at - look->base;

	if (at < look->base || at % align || bytes > look->bytes || offset > look->bytes - bytes)
		return NULL;
	return (const char *)look->mark + offset;
}
