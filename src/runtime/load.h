/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Loading a program into a process that is there already.
 */
#ifndef SWSGX_RUNTIME_LOAD_H
#define SWSGX_RUNTIME_LOAD_H

#include <stdint.h>

struct load_image {
	uint64_t entry;       /* the program's own, for AT_ENTRY */
	uint64_t start;       /* where to begin: the interpreter's if there is one */
	uint64_t interp_base; /* 0: none */
	uint64_t phdr;
	uint64_t phnum;
};

/* 0; -ENOEXEC: not an x86-64 program; or what open and mmap said. */
int load_program(const char *path, struct load_image *ret_image);
/* A stack as the kernel hands one over; *ret_sp is RSP at the entry. @host_auxv: ours, the pattern. */
int load_stack(const struct load_image *image, const char *path, char *const *argv,
	       char *const *envp, const unsigned long *host_auxv, const void *vdso,
	       uint64_t *ret_sp);

#endif
