/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The auxiliary vector, edited in place, so that the process finds our vDSO image.
 *
 * There are two of it: the one on the initial stack, which libc's getauxval() reads and some programs
 * walk to themselves, and the kernel's copy behind /proc/self/auxv.
 *
 * System calls are made directly: libc's wrappers may be the ones that this library replaces.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/vdso.h"

#define AUXV_MAX       64u          /* entries; Linux has about 22 */
#define STACK_TOP_SPAN (64ul << 20) /* argument and environment strings end within it */

/*
 * The vector behind @envp and its length, terminator included.  A program's environ may have moved to
 * the heap, so everything must lie on the initial stack, below the AT_RANDOM bytes that the kernel
 * puts above the vector.
 */
static Elf64_auxv_t *auxv_find(char **envp, size_t *ret_nr)
{
	uintptr_t end = getauxval(AT_RANDOM);
	Elf64_auxv_t *auxv;
	bool phdr_seen = false;

	if (!envp || (uintptr_t)envp >= end || end - (uintptr_t)envp > STACK_TOP_SPAN)
		return NULL;
	while ((uintptr_t)envp < end && *envp)
		envp++;
	auxv = (Elf64_auxv_t *)(envp + 1);
	for (size_t i = 0; i < AUXV_MAX && (uintptr_t)(auxv + i + 1) <= end; i++) {
		if (auxv[i].a_type == AT_PHDR)
			phdr_seen = auxv[i].a_un.a_val == getauxval(AT_PHDR);
		if (auxv[i].a_type == AT_NULL) {
			*ret_nr = i + 1;
			return phdr_seen ? auxv : NULL;
		}
	}
	return NULL;
}

int vdso_patch_auxv(char **envp, const void *image)
{
	Elf64_auxv_t *auxv;
	size_t nr;

	auxv = auxv_find(envp, &nr);
	if (!auxv)
		return -EINVAL;
	for (size_t i = 0; i < nr; i++) {
		if (auxv[i].a_type == AT_SYSINFO_EHDR) {
			auxv[i].a_un.a_val = (uintptr_t)image;
			return 0;
		}
	}
	return -ENOENT;
}

/* /proc/self/stat from field 3 on: the name before it may hold anything. NULL on failure. */
static const char *stat_read(char *buf, size_t bytes)
{
	long fd, n;
	char *paren;

	fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/stat", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	n = syscall(SYS_read, fd, buf, bytes - 1);
	syscall(SYS_close, fd);
	if (n <= 0)
		return NULL;
	buf[n] = 0;
	paren = strrchr(buf, ')');
	return paren && paren[1] == ' ' ? paren + 2 : NULL;
}

static uint64_t stat_field(const char *fields, unsigned int nr)
{
	for (unsigned int i = 3; i < nr && fields; i++) {
		fields = strchr(fields, ' ');
		if (fields)
			fields++;
	}
	return fields ? strtoull(fields, NULL, 10) : 0;
}

/* What the kernel keeps of this process's memory, for all of it is set at once: proc(5), "stat". */
static bool map_read(struct prctl_mm_map *map)
{
	char buf[1024];
	const char *fields = stat_read(buf, sizeof(buf));

	if (!fields)
		return false;
	*map = (struct prctl_mm_map){ .exe_fd = (uint32_t)-1 };
	map->start_code = stat_field(fields, 26);
	map->end_code = stat_field(fields, 27);
	map->start_stack = stat_field(fields, 28);
	map->start_data = stat_field(fields, 45);
	map->end_data = stat_field(fields, 46);
	map->start_brk = stat_field(fields, 47);
	map->arg_start = stat_field(fields, 48);
	map->arg_end = stat_field(fields, 49);
	map->env_start = stat_field(fields, 50);
	map->env_end = stat_field(fields, 51);
	map->brk = (uint64_t)syscall(SYS_brk, 0);
	return true;
}

static int map_set(const struct prctl_mm_map *map)
{
	return syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, map, sizeof(*map), 0) < 0 ? -errno : 0;
}

int vdso_patch_proc_auxv(char **envp)
{
	struct prctl_mm_map map;
	Elf64_auxv_t *auxv;
	size_t nr;

	auxv = auxv_find(envp, &nr);
	if (!auxv || !map_read(&map))
		return -EINVAL;
	map.auxv = (void *)auxv;
	map.auxv_size = (uint32_t)(nr * sizeof(Elf64_auxv_t));
	return map_set(&map);
}

int vdso_patch_proc_args(const char *first)
{
	struct prctl_mm_map map;

	if (!map_read(&map) || (uintptr_t)first < map.arg_start || (uintptr_t)first >= map.arg_end)
		return -EINVAL;
	map.arg_start = (uintptr_t)first;
	return map_set(&map);
}
