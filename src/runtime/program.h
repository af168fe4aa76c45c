/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What a file is to whoever wants to run it: can a preloaded library serve it, or does it make its own system
 * calls?  The tool asks before it starts a program, the runtime before a program starts another.
 */
#ifndef SWSGX_RUNTIME_PROGRAM_H
#define SWSGX_RUNTIME_PROGRAM_H

enum program_kind {
	PROGRAM_DYNAMIC, /* 64-bit ELF for glibc's dynamic linker, which loads the runtime */
	PROGRAM_DIRECT, /* 64-bit ELF with system calls of its own: static, Go, musl, some others */
	PROGRAM_SCRIPT, /* #!, or something that execvp() hands to the shell */
	PROGRAM_FOREIGN, /* an ELF file for another machine, 32-bit programs included */
};

/* 0, or -errno when @path cannot be read. Needs no heap and no lock: a forked child may ask. */
int program_kind(const char *path, enum program_kind *ret_kind);

#endif
