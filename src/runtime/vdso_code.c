/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The image that the client is told of, with the code of entry.S in it: the function lies where its symbol says,
 * and so does the AEP, because programs compare RIP with both.
 */
#include "runtime/rt.h"

#include <elf.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/sys.h"
#include "runtime/vdso.h"

extern const char rt_vdso_code[] __attribute__((visibility("hidden")));
extern const char rt_vdso_aep[] __attribute__((visibility("hidden")));
extern const char rt_vdso_exception[] __attribute__((visibility("hidden")));
extern const char rt_vdso_way[] __attribute__((visibility("hidden")));
extern const char rt_vdso_code_end[] __attribute__((visibility("hidden")));

/* Where the function is, for whoever links to it by its name (entry.S). */
uint64_t rt_vdso_function __attribute__((visibility("hidden")));
uint64_t rt_vdso_resume;

/* Where in the image the copy of @label is. */
static uint64_t copy_of(const char *label)
{
	return rt_vdso_function + (uint64_t)(label - rt_vdso_code);
}

bool rt_vdso_is_enclu(uint64_t rip)
{
	return rip == copy_of(rt_vdso_aep);
}

uint64_t rt_vdso_exception_at(void)
{
	return copy_of(rt_vdso_exception);
}

int rt_vdso_make(bool by_trap, void **ret_image)
{
	uint64_t way;
	void *image;
	size_t bytes;
	long r;

	r = vdso_build((const void *)rt.kernel_vdso, rt_vdso_code,
		       (size_t)(rt_vdso_code_end - rt_vdso_code), &image, &bytes);
	if (r)
		return (int)r;
	rt_vdso_function = (uint64_t)image + ((const Elf64_Ehdr *)image)->e_entry;
	rt_vdso_resume = copy_of(rt_vdso_aep) + 3;
	way = by_trap ? copy_of(rt_vdso_aep) : (uint64_t)rt_vdso_fast;
	r = sys(SYS_mprotect, image, bytes, PROT_READ | PROT_WRITE);
	if (!r) {
		memcpy((void *)copy_of(rt_vdso_way), &way, sizeof(way));
		r = sys(SYS_mprotect, image, bytes, PROT_READ | PROT_EXEC);
	}
	if (!r)
		*ret_image = image;
	return (int)r;
}
