/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Looking at program files: which of them no preloaded library can serve.
 *
 * System calls are made directly: the caller may be between fork() and exec, and libc's wrappers are hooks.
 */
#include "runtime/program.h"

#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "runtime/sys.h"

#define PHDR_MAX 256u

static bool read_at(int fd, void *to, size_t bytes, uint64_t at)
{
	return sys4(SYS_pread64, fd, to, bytes, at) == (long)bytes;
}

/* Go programs call the kernel themselves even when they are linked dynamically; this note marks them. */
static bool is_go_note(int fd, const Elf64_Phdr *phdr)
{
	struct {
		Elf64_Nhdr head;
		char name[4];
	} note;

	return phdr->p_filesz >= sizeof(note) && read_at(fd, &note, sizeof(note), phdr->p_offset) &&
	       note.head.n_namesz == 4 && !memcmp(note.name, "Go\0\0", 4);
}

/* Where the file has what will lie at @vaddr; NULL when it has not. */
static const char *at_vaddr(const uint8_t *file, size_t bytes, const Elf64_Ehdr *ehdr,
			    uint64_t vaddr, uint64_t n)
{
	for (unsigned int i = 0; i < ehdr->e_phnum; i++) {
		Elf64_Phdr phdr;

		if (ehdr->e_phoff + (i + 1) * sizeof(phdr) > bytes)
			return NULL;
		memcpy(&phdr, file + ehdr->e_phoff + i * sizeof(phdr), sizeof(phdr));
		if (phdr.p_type == PT_LOAD && vaddr >= phdr.p_vaddr && n <= phdr.p_filesz &&
		    vaddr - phdr.p_vaddr <= phdr.p_filesz - n &&
		    phdr.p_offset + (vaddr - phdr.p_vaddr) + n <= bytes)
			return (const char *)file + phdr.p_offset + (vaddr - phdr.p_vaddr);
	}
	return NULL;
}

/* The dynamic string table; NULL when there is none to be found. */
static const char *strings(const uint8_t *file, size_t bytes, const Elf64_Ehdr *ehdr,
			   uint64_t *ret_bytes)
{
	uint64_t strtab = 0, strsz = 0;

	for (unsigned int i = 0; i < ehdr->e_phnum; i++) {
		Elf64_Phdr phdr;

		if (ehdr->e_phoff + (i + 1) * sizeof(phdr) > bytes)
			return NULL;
		memcpy(&phdr, file + ehdr->e_phoff + i * sizeof(phdr), sizeof(phdr));
		if (phdr.p_type != PT_DYNAMIC || phdr.p_offset + phdr.p_filesz > bytes)
			continue;
		for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= phdr.p_filesz;
		     at += sizeof(Elf64_Dyn)) {
			Elf64_Dyn dyn;

			memcpy(&dyn, file + phdr.p_offset + at, sizeof(dyn));
			if (dyn.d_tag == DT_STRTAB)
				strtab = dyn.d_un.d_ptr;
			if (dyn.d_tag == DT_STRSZ)
				strsz = dyn.d_un.d_val;
		}
	}
	*ret_bytes = strsz;
	return at_vaddr(file, bytes, ehdr, strtab, strsz);
}

/* Does it import a way to speak to a device? In doubt it is like any other program. */
static bool imports_ioctl(const uint8_t *file, size_t bytes, const Elf64_Ehdr *ehdr)
{
	uint64_t n, at = 0;
	const char *names = strings(file, bytes, ehdr, &n);

	while (names && at < n) {
		if (!strncmp(names + at, "ioctl", n - at) ||
		    !strncmp(names + at, "syscall", n - at))
			return true;
		at += strnlen(names + at, n - at) + 1;
	}
	return !names;
}

/*
 * A dynamic program that names the device but imports no way to speak to it has its own: an ioctl() that is
 * its own SYSCALL.
 */
static bool speaks_for_itself(int fd, const Elf64_Ehdr *ehdr)
{
	struct stat st;
	size_t bytes;
	bool own;
	long file;

	/* The kernel's struct stat is libc's on x86-64. */
	if (sys(SYS_fstat, fd, &st, 0) < 0 || st.st_size <= 0)
		return false;
	bytes = (size_t)st.st_size;
	file = sys6(SYS_mmap, 0, (long)bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file < 0 && file > -4096)
		return false;
	own = !imports_ioctl((const uint8_t *)file, bytes, ehdr) &&
	      memmem((const uint8_t *)file, bytes, "/dev/sgx", 8);
	sys(SYS_munmap, file, bytes, 0);
	return own;
}

static enum program_kind elf_kind(int fd, const Elf64_Ehdr *ehdr)
{
	bool interpreter = false, go = false;
	Elf64_Phdr phdr;

	for (unsigned int i = 0; i < ehdr->e_phnum && i < PHDR_MAX; i++) {
		if (!read_at(fd, &phdr, sizeof(phdr), ehdr->e_phoff + i * sizeof(phdr)))
			break;
		interpreter |= phdr.p_type == PT_INTERP;
		go |= phdr.p_type == PT_NOTE && is_go_note(fd, &phdr);
	}
	return interpreter && !go && !speaks_for_itself(fd, ehdr) ? PROGRAM_DYNAMIC
								  : PROGRAM_DIRECT;
}

int program_kind(const char *path, enum program_kind *ret_kind)
{
	Elf64_Ehdr ehdr = { 0 };
	long fd, n;

	fd = sys4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return (int)fd;
	n = sys4(SYS_pread64, fd, &ehdr, sizeof(ehdr), 0);
	if (n < 4 || memcmp(ehdr.e_ident, ELFMAG, SELFMAG) != 0)
		*ret_kind = PROGRAM_SCRIPT;
	else if (n < (long)sizeof(ehdr) || ehdr.e_ident[EI_CLASS] != ELFCLASS64 ||
		 ehdr.e_machine != EM_X86_64)
		*ret_kind = PROGRAM_FOREIGN;
	else
		*ret_kind = elf_kind((int)fd, &ehdr);
	sys(SYS_close, fd, 0, 0);
	return 0;
}
