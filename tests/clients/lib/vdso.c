/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Finding the vDSO image and a function in it, in each of the ways that real programs use.
 */
#include "client.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

const void *vdso_from_getauxval(void) { return (const void *)getauxval(AT_SYSINFO_EHDR); }

/* The auxiliary vector lies behind the environment that the kernel put on the stack. */
const void *vdso_from_stack(void)
{
	char **p = environ;
	const Elf64_auxv_t *av;

	while (*p)
		p++;
	for (av = (const void *)(p + 1); av->a_type != AT_NULL; av++)
		if (av->a_type == AT_SYSINFO_EHDR)
			return (const void *)av->a_un.a_val;
	return NULL;
}

const void *vdso_from_auxv_file(void)
{
	int fd = open("/proc/self/auxv", O_RDONLY);
	const void *found = NULL;
	Elf64_auxv_t av;

	if (fd < 0)
		return NULL;
	while (read(fd, &av, sizeof(av)) == sizeof(av) && av.a_type != AT_NULL)
		if (av.a_type == AT_SYSINFO_EHDR)
			found = (const void *)av.a_un.a_val;
	close(fd);
	return found;
}

static unsigned long sysv_hash(const char *name)
{
	unsigned long h = 0;

	for (; *name; name++) {
		unsigned long g;

		h = (h << 4) + (unsigned char)*name;
		g = h & 0xf0000000;
		if (g)
			h ^= g >> 24;
		h &= ~g;
	}
	return h;
}

struct tables {
	const uint8_t *image;
	const Elf64_Sym *symtab;
	const char *strtab;
	const uint32_t *hash;
};

static bool find_tables(const void *image, struct tables *t)
{
	const Elf64_Ehdr *eh = image;
	const Elf64_Phdr *ph;
	const Elf64_Dyn *dyn = NULL;

	memset(t, 0, sizeof(*t));
	t->image = image;
	if (!image || memcmp(eh->e_ident, ELFMAG, SELFMAG))
		return false;
	ph = (const void *)(t->image + eh->e_phoff);
	for (int i = 0; i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_DYNAMIC)
			dyn = (const void *)(t->image + ph[i].p_offset);
	for (; dyn && dyn->d_tag != DT_NULL; dyn++) {
		const void *at = t->image + dyn->d_un.d_ptr;

		if (dyn->d_tag == DT_SYMTAB)
			t->symtab = at;
		else if (dyn->d_tag == DT_STRTAB)
			t->strtab = at;
		else if (dyn->d_tag == DT_HASH)
			t->hash = at;
	}
	return t->symtab && t->strtab && t->hash;
}

void *vdso_by_hash(const void *image, const char *name)
{
	struct tables t;
	const uint32_t *bucket, *chain;

	if (!find_tables(image, &t) || !t.hash[0])
		return NULL;
	bucket = t.hash + 2;
	chain = bucket + t.hash[0];
	for (uint32_t i = bucket[sysv_hash(name) % t.hash[0]]; i != STN_UNDEF; i = chain[i]) {
		const Elf64_Sym *s = &t.symtab[i];

		if (s->st_shndx != SHN_UNDEF && !strcmp(t.strtab + s->st_name, name))
			return (void *)(t.image + s->st_value);
	}
	return NULL;
}

void *vdso_by_sections(const void *image, const char *name)
{
	const uint8_t *p = image;
	const Elf64_Ehdr *eh = image;
	const Elf64_Shdr *sh, *dynsym = NULL, *dynstr = NULL;
	const char *names;

	if (!image || !eh->e_shoff || !eh->e_shnum || eh->e_shstrndx >= eh->e_shnum)
		return NULL;
	sh = (const void *)(p + eh->e_shoff);
	names = (const char *)(p + sh[eh->e_shstrndx].sh_offset);
	for (int i = 0; i < eh->e_shnum; i++) {
		if (!strcmp(names + sh[i].sh_name, ".dynsym"))
			dynsym = &sh[i];
		else if (!strcmp(names + sh[i].sh_name, ".dynstr"))
			dynstr = &sh[i];
	}
	if (!dynsym || !dynstr)
		return NULL;
	for (size_t i = 0; i < dynsym->sh_size / sizeof(Elf64_Sym); i++) {
		const Elf64_Sym *s = (const void *)(p + dynsym->sh_offset + i * sizeof(*s));

		if (s->st_shndx != SHN_UNDEF &&
		    !strcmp((const char *)p + dynstr->sh_offset + s->st_name, name))
			return (void *)(p + s->st_value);
	}
	return NULL;
}

/* The names of all functions in the dynamic symbol table, as many as fit. */
unsigned int vdso_symbols(const void *image, const char *names[], unsigned int max)
{
	struct tables t;
	unsigned int n = 0;

	if (!find_tables(image, &t))
		return 0;
	for (uint32_t i = 1; i < t.hash[1] && n < max; i++)
		if (ELF64_ST_TYPE(t.symtab[i].st_info) == STT_FUNC)
			names[n++] = t.strtab + t.symtab[i].st_name;
	return n;
}
