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

/* False when the file ends before its header @i does. */
static bool header_at(const uint8_t *file, size_t bytes, const Elf64_Ehdr *ehdr, unsigned int i,
		      Elf64_Phdr *ret_phdr)
{
	if (ehdr->e_phoff > bytes || (i + 1) * sizeof(*ret_phdr) > bytes - ehdr->e_phoff)
		return false;
	memcpy(ret_phdr, file + ehdr->e_phoff + i * sizeof(*ret_phdr), sizeof(*ret_phdr));
	return true;
}

/* Where the file has what will lie at @vaddr; NULL when it has not. */
static const char *at_vaddr(const uint8_t *file, size_t bytes, const Elf64_Ehdr *ehdr,
			    uint64_t vaddr, uint64_t n)
{
	for (unsigned int i = 0; i < ehdr->e_phnum; i++) {
		Elf64_Phdr phdr;

		if (!header_at(file, bytes, ehdr, i, &phdr))
			return NULL;
		if (phdr.p_type == PT_LOAD && vaddr >= phdr.p_vaddr && n <= phdr.p_filesz &&
		    vaddr - phdr.p_vaddr <= phdr.p_filesz - n && phdr.p_offset <= bytes &&
		    vaddr - phdr.p_vaddr + n <= bytes - phdr.p_offset)
			return (const char *)file + phdr.p_offset + (vaddr - phdr.p_vaddr);
	}
	return NULL;
}

/* What the dynamic section says; the pointers are into the file, NULL when it has not what they point to. */
struct dynamic {
	const char *strings;
	const uint8_t *symbols;
	uint64_t strings_bytes,
		symbols_bytes; /* of the symbols no more is known than where they must end */
	bool needs_sgx;        /* a library that speaks to the device for it */
};

static bool starts(const struct dynamic *d, uint64_t at, const char *name)
{
	return at < d->strings_bytes &&
	       strnlen(d->strings + at, d->strings_bytes - at) == strlen(name) &&
	       !memcmp(d->strings + at, name, strlen(name));
}

static bool contains(const struct dynamic *d, uint64_t at, const char *part)
{
	return at < d->strings_bytes &&
	       memmem(d->strings + at, strnlen(d->strings + at, d->strings_bytes - at), part,
		      strlen(part));
}

static void read_dynamic(const uint8_t *file, size_t bytes, const Elf64_Ehdr *ehdr,
			 const Elf64_Phdr *phdr, struct dynamic *d)
{
	uint64_t strtab = 0, symtab = 0, at;
	Elf64_Dyn dyn;

	for (at = 0; at + sizeof(dyn) <= phdr->p_filesz; at += sizeof(dyn)) {
		memcpy(&dyn, file + phdr->p_offset + at, sizeof(dyn));
		if (dyn.d_tag == DT_STRTAB)
			strtab = dyn.d_un.d_ptr;
		if (dyn.d_tag == DT_STRSZ)
			d->strings_bytes = dyn.d_un.d_val;
		if (dyn.d_tag == DT_SYMTAB)
			symtab = dyn.d_un.d_ptr;
	}
	d->strings = at_vaddr(file, bytes, ehdr, strtab, d->strings_bytes);
	/* Linkers put the names behind the symbols, and nothing else says how many those are. */
	d->symbols_bytes = strtab > symtab ? strtab - symtab : 0;
	d->symbols = (const uint8_t *)at_vaddr(file, bytes, ehdr, symtab, d->symbols_bytes);
	for (at = 0; d->strings && at + sizeof(dyn) <= phdr->p_filesz; at += sizeof(dyn)) {
		memcpy(&dyn, file + phdr->p_offset + at, sizeof(dyn));
		if (dyn.d_tag == DT_NEEDED &&
		    (contains(d, dyn.d_un.d_val, "sgx") || contains(d, dyn.d_un.d_val, "urts")))
			d->needs_sgx = true;
	}
}

/*
 * Does it use a library to speak to a device: one that it imports from, links to, or loads later?  In doubt it
 * is like any other program.
 */
static bool has_help(const uint8_t *file, size_t bytes, const Elf64_Ehdr *ehdr)
{
	static const char *const ways[] = { "ioctl", "syscall", "dlopen", "dlmopen" };
	struct dynamic d = { 0 };
	Elf64_Sym sym;

	for (unsigned int i = 0; i < ehdr->e_phnum; i++) {
		Elf64_Phdr phdr;

		if (!header_at(file, bytes, ehdr, i, &phdr))
			return true;
		if (phdr.p_type == PT_DYNAMIC && phdr.p_offset <= bytes &&
		    phdr.p_filesz <= bytes - phdr.p_offset)
			read_dynamic(file, bytes, ehdr, &phdr, &d);
	}
	if (!d.strings || !d.symbols || !d.symbols_bytes || d.needs_sgx)
		return true;
	for (uint64_t at = 0; at + sizeof(sym) <= d.symbols_bytes; at += sizeof(sym)) {
		memcpy(&sym, d.symbols + at, sizeof(sym));
		for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
			if (sym.st_shndx == SHN_UNDEF && starts(&d, sym.st_name, ways[i]))
				return true;
	}
	return false;
}

/*
 * A dynamic program that names a node of the device but has no help to speak to it has its own: an ioctl() that
 * is its own SYSCALL.
 */
static bool speaks_for_itself(int fd, const Elf64_Ehdr *ehdr)
{
	static const char *const nodes[] = { "/dev/sgx_enclave", "/dev/sgx/enclave" };
	struct stat st;
	bool own = false;
	size_t bytes;
	long file;

	/* The kernel's struct stat is libc's on x86-64. */
	if (sys(SYS_fstat, fd, &st, 0) < 0 || st.st_size <= 0)
		return false;
	bytes = (size_t)st.st_size;
	file = sys6(SYS_mmap, 0, (long)bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file < 0 && file > -4096)
		return false;
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
		own |= memmem((const uint8_t *)file, bytes, nodes[i], strlen(nodes[i]) + 1) != NULL;
	own = own && !has_help((const uint8_t *)file, bytes, ehdr);
	sys(SYS_munmap, file, bytes, 0);
	return own;
}

/* The library is one for glibc: any other linker, musl's for one, could not load it. */
static bool is_glibc(int fd, const Elf64_Phdr *phdr)
{
	char path[256], *name;

	if (phdr->p_filesz < 2 || phdr->p_filesz > sizeof(path) ||
	    !read_at(fd, path, phdr->p_filesz, phdr->p_offset))
		return false;
	path[phdr->p_filesz - 1] = 0;
	name = strrchr(path, '/');
	return name && !strcmp(name + 1, "ld-linux-x86-64.so.2");
}

static enum program_kind elf_kind(int fd, const Elf64_Ehdr *ehdr)
{
	bool interpreter = false, go = false;
	Elf64_Phdr phdr;

	for (unsigned int i = 0; i < ehdr->e_phnum && i < PHDR_MAX; i++) {
		if (!read_at(fd, &phdr, sizeof(phdr), ehdr->e_phoff + i * sizeof(phdr)))
			break;
		interpreter |= phdr.p_type == PT_INTERP && is_glibc(fd, &phdr);
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
