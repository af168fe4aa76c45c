/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Finding a function of the vDSO, which is an ELF image that the kernel maps into each process:
 * by the auxiliary vector, then its dynamic section, then the SysV hash table.  libc has no call
 * for it.
 */
#include "vdso.h"

#include <elf.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

struct vdso {
	uintptr_t bias; /* add it to an address in the image */
	const Elf64_Sym *symbols;
	const char *names;
	const uint32_t *hash; /* buckets, chains, then both tables */
};

static const void *at(uintptr_t addr)
{
	return (const void *)addr;
}

static void read_dynamic(struct vdso *vdso, const Elf64_Dyn *dyn)
{
	for (; dyn->d_tag != DT_NULL; dyn++) {
		const void *table = at(vdso->bias + dyn->d_un.d_ptr);

		if (dyn->d_tag == DT_SYMTAB)
			vdso->symbols = table;
		else if (dyn->d_tag == DT_STRTAB)
			vdso->names = table;
		else if (dyn->d_tag == DT_HASH)
			vdso->hash = table;
	}
}

static int vdso_open(struct vdso *vdso)
{
	uintptr_t base = getauxval(AT_SYSINFO_EHDR);
	const Elf64_Ehdr *ehdr = at(base);
	const Elf64_Phdr *load = NULL, *dynamic = NULL, *ph;

	if (!base || memcmp(ehdr->e_ident, ELFMAG, SELFMAG) != 0)
		return 0;
	ph = at(base + ehdr->e_phoff);
	for (unsigned int i = 0; i < ehdr->e_phnum; i++, ph++) {
		if (ph->p_type == PT_LOAD && !load)
			load = ph;
		else if (ph->p_type == PT_DYNAMIC)
			dynamic = ph;
	}
	if (!load || !dynamic)
		return 0;
	memset(vdso, 0, sizeof(*vdso));
	vdso->bias = base + load->p_offset - load->p_vaddr;
	read_dynamic(vdso, at(base + dynamic->p_offset));
	return vdso->symbols && vdso->names && vdso->hash;
}

/* The hash function of the System V ABI. */
static uint32_t sysv_hash(const char *name)
{
	uint32_t h = 0;

	for (; *name; name++) {
		uint32_t top;

		h = (h << 4) + (unsigned char)*name;
		top = h & 0xf0000000u;
		h = (h ^ top >> 24) & ~top;
	}
	return h;
}

void *vdso_function(const char *name)
{
	const uint32_t *buckets, *chains;
	struct vdso vdso;

	if (!vdso_open(&vdso) || vdso.hash[0] == 0)
		return NULL;
	buckets = vdso.hash + 2;
	chains = buckets + vdso.hash[0];
	for (uint32_t i = buckets[sysv_hash(name) % vdso.hash[0]]; i != STN_UNDEF; i = chains[i]) {
		const Elf64_Sym *sym = &vdso.symbols[i];

		if (sym->st_shndx != SHN_UNDEF && strcmp(vdso.names + sym->st_name, name) == 0)
			return (void *)(vdso.bias + sym->st_value);
	}
	return NULL;
}
