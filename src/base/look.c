/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The mapping of somebody else's arena, and where in it an address of theirs is.
 *
 * Memory that nobody there has touched is not in the file.  To read it here would put it there, empty, so nobody does
 * but by a pointer that changes in that moment.
 */
#include "base/look.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define ALIGN 4096u

struct look {
	const struct look_mark *mark;
	uint64_t base, bytes;
};

int look_open(int fd, struct look **ret_look)
{
	struct look *look;
	struct stat st;
	void *map;
	int r = -EINVAL;

	if (fstat(fd, &st) < 0 || (size_t)st.st_size < sizeof(struct look_mark))
		return -EINVAL;
	look = calloc(1, sizeof(*look));
	if (!look)
		return -ENOMEM;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (map == MAP_FAILED) {
		r = -ENOMEM;
		goto free_look;
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
free_look:
	free(look);
	return r;
}

void look_close(struct look *look)
{
	if (!look)
		return;
	munmap((void *)look->mark, look->bytes);
	free(look);
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
