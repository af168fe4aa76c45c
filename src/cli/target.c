/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Programs, before they are run.  What the kernel and the dynamic linker would do silently (ignore
 * LD_PRELOAD, mostly) is found out here, where it can be told.
 */
#include "cli/target.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/report.h"

#define PHDR_MAX 256u

static int check_executable(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	return access(path, X_OK) < 0 ? -errno : 0;
}

/* The next candidate of a PATH search; NULL at its end. An empty element is the current folder. */
static const char *path_next(const char *from, const char *name, char *path, size_t bytes)
{
	size_t n = strcspn(from, ":");

	if (n)
		snprintf(path, bytes, "%.*s/%s", (int)n, from, name);
	else
		snprintf(path, bytes, "./%s", name);
	return from[n] ? from + n + 1 : NULL;
}

int target_find(const char *name, char *path, size_t bytes, struct report *rep)
{
	const char *from = getenv("PATH");
	int r = -ENOENT, seen;

	if (strchr(name, '/')) {
		snprintf(path, bytes, "%s", name);
		r = check_executable(path);
		return r < 0 ? report_fail(rep, r, "cannot run '%s'", name) : 0;
	}
	if (!from)
		from = "/bin:/usr/bin";
	while (from && name[0]) {
		from = path_next(from, name, path, bytes);
		seen = check_executable(path);
		if (seen == 0)
			return 0;
		if (seen == -EACCES)
			r = -EACCES;
	}
	if (r == -ENOENT && name[0] && access(name, X_OK) == 0)
		report_hint(rep, "./%s is here: give it with the ./", name);
	return report_fail(rep, r, "cannot run '%s'", name);
}

/* Go programs call the kernel themselves even when they are linked dynamically; this note marks them. */
static bool is_go_note(int fd, const Elf64_Phdr *phdr)
{
	struct {
		Elf64_Nhdr head;
		char name[4];
	} note;

	return phdr->p_filesz >= sizeof(note) &&
	       pread(fd, &note, sizeof(note), (off_t)phdr->p_offset) == sizeof(note) &&
	       note.head.n_namesz == 4 && !memcmp(note.name, "Go\0\0", 4);
}

/* Program header @i, if it and what it names lie in the file. */
static bool phdr_at(const uint8_t *file, size_t bytes, const Elf64_Ehdr *ehdr, unsigned int i,
		    Elf64_Phdr *ret_phdr)
{
	uint64_t at = (uint64_t)i * sizeof(*ret_phdr);

	if (ehdr->e_phoff > bytes || bytes - ehdr->e_phoff < at + sizeof(*ret_phdr))
		return false;
	memcpy(ret_phdr, file + ehdr->e_phoff + at, sizeof(*ret_phdr));
	return ret_phdr->p_offset <= bytes && ret_phdr->p_filesz <= bytes - ret_phdr->p_offset;
}

/* Where the file has what will lie at @vaddr; NULL when it has not. */
static const char *at_vaddr(const uint8_t *file, size_t bytes, const Elf64_Ehdr *ehdr,
			    uint64_t vaddr, uint64_t n)
{
	for (unsigned int i = 0; i < ehdr->e_phnum; i++) {
		Elf64_Phdr phdr;

		if (!phdr_at(file, bytes, ehdr, i, &phdr))
			return NULL;
		if (phdr.p_type == PT_LOAD && vaddr >= phdr.p_vaddr && n <= phdr.p_filesz &&
		    vaddr - phdr.p_vaddr <= phdr.p_filesz - n)
			return (const char *)file + phdr.p_offset + (vaddr - phdr.p_vaddr);
	}
	return NULL;
}

/* Does the dynamic string table name @symbol? */
static bool imports(const uint8_t *file, size_t bytes, const Elf64_Ehdr *ehdr, const char *symbol)
{
	uint64_t strtab = 0, strsz = 0;
	const char *names;

	for (unsigned int i = 0; i < ehdr->e_phnum; i++) {
		Elf64_Phdr phdr;

		if (!phdr_at(file, bytes, ehdr, i, &phdr))
			return true;
		if (phdr.p_type != PT_DYNAMIC)
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
	names = at_vaddr(file, bytes, ehdr, strtab, strsz);
	for (uint64_t at = 0; names && at < strsz; at += strnlen(names + at, strsz - at) + 1)
		if (!strncmp(names + at, symbol, strsz - at))
			return true;
	return !names; /* in doubt it is like any other */
}

/*
 * A dynamic program that names the device but imports no way to speak to it has its own: an ioctl() that is
 * its own SYSCALL.
 */
static bool speaks_for_itself(int fd, const Elf64_Ehdr *ehdr)
{
	struct stat st;
	bool own;
	void *file;

	if (fstat(fd, &st) < 0 || st.st_size <= 0)
		return false;
	file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file == MAP_FAILED)
		return false;
	own = memmem(file, (size_t)st.st_size, "/dev/sgx", 8) &&
	      !imports(file, (size_t)st.st_size, ehdr, "ioctl") &&
	      !imports(file, (size_t)st.st_size, ehdr, "syscall");
	munmap(file, (size_t)st.st_size);
	return own;
}

static enum target_kind elf_kind(int fd, const Elf64_Ehdr *ehdr)
{
	bool interpreter = false, go = false;
	Elf64_Phdr phdr;

	for (unsigned int i = 0; i < ehdr->e_phnum && i < PHDR_MAX; i++) {
		off_t at = (off_t)(ehdr->e_phoff + i * sizeof(phdr));

		if (pread(fd, &phdr, sizeof(phdr), at) != sizeof(phdr))
			break;
		interpreter |= phdr.p_type == PT_INTERP;
		go |= phdr.p_type == PT_NOTE && is_go_note(fd, &phdr);
	}
	return interpreter && !go && !speaks_for_itself(fd, ehdr) ? TARGET_DYNAMIC : TARGET_DIRECT;
}

int target_kind(const char *path, enum target_kind *ret_kind, struct report *rep)
{
	Elf64_Ehdr ehdr = { 0 };
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		/* Executable but not readable is fine with exec: nothing can be told of it. */
		if (errno == EACCES) {
			*ret_kind = TARGET_DYNAMIC;
			return 0;
		}
		return report_fail(rep, -errno, "cannot read '%s'", path);
	}
	n = pread(fd, &ehdr, sizeof(ehdr), 0);
	if (n < 4 || memcmp(ehdr.e_ident, ELFMAG, SELFMAG) != 0)
		*ret_kind = TARGET_SCRIPT;
	else if (n < (ssize_t)sizeof(ehdr) || ehdr.e_ident[EI_CLASS] != ELFCLASS64 ||
		 ehdr.e_machine != EM_X86_64)
		*ret_kind = TARGET_FOREIGN;
	else
		*ret_kind = elf_kind(fd, &ehdr);
	close(fd);
	return 0;
}

int target_check_privilege(const char *path, struct report *rep)
{
	struct stat st;
	const char *why = NULL;
	char cap[1];

	if (stat(path, &st) < 0)
		return 0; /* exec will tell */
	if ((st.st_mode & S_ISUID) && st.st_uid != getuid())
		why = "is setuid";
	else if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getgid())
		why = "is setgid";
	else if (getuid() != 0 && (getxattr(path, "security.capability", cap, 0) > 0))
		why = "has file capabilities";
	if (!why)
		return 0;
	report_hint(rep, "run it as the user that it becomes, or a copy without the privilege");
	return report_fail(rep, -EPERM,
			   "'%s' %s, and the dynamic linker loads no runtime into such a program",
			   path, why);
}
