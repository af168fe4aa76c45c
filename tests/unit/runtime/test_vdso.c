/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The made vDSO image, looked at as its users do: by DT_HASH, by section headers, with versions,
 * through getauxval() and /proc/self/auxv; and called.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "lib/tap.h"
#include "runtime/vdso.h"

#define ENTER "__vdso_sgx_enter_enclave"

typedef int (*clock_gettime_fn)(clockid_t clock, struct timespec *ts);
typedef int (*enter_fn)(unsigned long rdi, unsigned long rsi, unsigned long rdx, unsigned int leaf,
			unsigned long r8, unsigned long r9, void *run);

static unsigned long enter_args[6];
static void *enter_run;

static int fake_enter(unsigned long rdi, unsigned long rsi, unsigned long rdx, unsigned int leaf,
		      unsigned long r8, unsigned long r9, void *run)
{
	unsigned long args[6] = { rdi, rsi, rdx, leaf, r8, r9 };

	memcpy(enter_args, args, sizeof(args));
	enter_run = run;
	return -4711;
}

static unsigned long elf_hash(const char *name)
{
	unsigned long h = 0, g;

	while (*name) {
		h = (h << 4) + (unsigned char)*name++;
		g = h & 0xf0000000;
		if (g)
			h ^= g >> 24;
		h &= ~g;
	}
	return h;
}

struct view {
	const uint8_t *at;
	const Elf64_Dyn *dynamic;
	const Elf64_Sym *symtab;
	const char *strtab;
	const uint32_t *hash;
	const uint16_t *versym;
	const Elf64_Verdef *verdef;
	uint64_t soname, strsz, syment;
};

static bool view_read(struct view *v, const void *image)
{
	const Elf64_Ehdr *ehdr = image;
	const Elf64_Phdr *phdr = (const void *)((const uint8_t *)image + ehdr->e_phoff);

	memset(v, 0, sizeof(*v));
	v->at = image;
	for (unsigned int i = 0; i < ehdr->e_phnum; i++)
		if (phdr[i].p_type == PT_DYNAMIC)
			v->dynamic = (const void *)(v->at + phdr[i].p_vaddr);
	if (!v->dynamic)
		return false;
	for (const Elf64_Dyn *d = v->dynamic; d->d_tag != DT_NULL; d++) {
		const void *p = v->at + d->d_un.d_ptr;

		switch (d->d_tag) {
		case DT_SYMTAB:
			v->symtab = p;
			break;
		case DT_STRTAB:
			v->strtab = p;
			break;
		case DT_HASH:
			v->hash = p;
			break;
		case DT_VERSYM:
			v->versym = p;
			break;
		case DT_VERDEF:
			v->verdef = p;
			break;
		case DT_SONAME:
			v->soname = d->d_un.d_val;
			break;
		case DT_STRSZ:
			v->strsz = d->d_un.d_val;
			break;
		case DT_SYMENT:
			v->syment = d->d_un.d_val;
			break;
		default:
			break;
		}
	}
	return v->symtab && v->strtab && v->hash;
}

static uint32_t hash_lookup(const struct view *v, const char *name)
{
	const uint32_t *bucket = v->hash + 2, *chain = bucket + v->hash[0];
	uint32_t i;

	for (i = bucket[elf_hash(name) % v->hash[0]]; i; i = chain[i])
		if (!strcmp(v->strtab + v->symtab[i].st_name, name))
			break;
	return i;
}

static const void *section_lookup(const void *image, const char *name)
{
	const uint8_t *at = image;
	const Elf64_Ehdr *ehdr = image;
	const Elf64_Shdr *shdr = (const void *)(at + ehdr->e_shoff);
	const char *names = (const char *)at + shdr[ehdr->e_shstrndx].sh_offset;
	const Elf64_Shdr *sym_sec = NULL, *str_sec = NULL;

	for (unsigned int i = 0; i < ehdr->e_shnum; i++) {
		if (!strcmp(names + shdr[i].sh_name, ".dynsym"))
			sym_sec = &shdr[i];
		if (!strcmp(names + shdr[i].sh_name, ".dynstr"))
			str_sec = &shdr[i];
	}
	if (!sym_sec || !str_sec || sym_sec->sh_type != SHT_DYNSYM)
		return NULL;
	for (unsigned int i = 0; i < sym_sec->sh_size / sym_sec->sh_entsize; i++) {
		const Elf64_Sym *sym = (const Elf64_Sym *)(at + sym_sec->sh_offset) + i;

		if (!strcmp((const char *)at + str_sec->sh_offset + sym->st_name, name))
			return at + sym->st_value;
	}
	return NULL;
}

static bool version_ok(const struct view *v, uint32_t sym)
{
	const Elf64_Verdef *def = v->verdef;

	if (!v->versym || !def)
		return false;
	for (;;) {
		const Elf64_Verdaux *aux = (const void *)((const uint8_t *)def + def->vd_aux);

		if (def->vd_ndx == (v->versym[sym] & 0x7fff) && !(def->vd_flags & VER_FLG_BASE))
			return def->vd_hash == elf_hash("LINUX_2.6") &&
			       !strcmp(v->strtab + aux->vda_name, "LINUX_2.6");
		if (!def->vd_next)
			return false;
		def = (const void *)((const uint8_t *)def + def->vd_next);
	}
}

static void check_header(const void *image, size_t bytes)
{
	const Elf64_Ehdr *ehdr = image;
	const Elf64_Phdr *phdr = (const void *)((const uint8_t *)image + ehdr->e_phoff);

	TAP_CHECK(!memcmp(ehdr->e_ident, ELFMAG, SELFMAG) &&
			  ehdr->e_ident[EI_CLASS] == ELFCLASS64 && ehdr->e_type == ET_DYN &&
			  ehdr->e_machine == EM_X86_64,
		  "an x86-64 shared object");
	TAP_CHECK(phdr[0].p_type == PT_LOAD && phdr[0].p_vaddr == 0 && phdr[0].p_offset == 0 &&
			  phdr[0].p_memsz == bytes,
		  "PT_LOAD at address 0 covers the image");
	TAP_CHECK(ehdr->e_shoff && ehdr->e_shoff + ehdr->e_shnum * sizeof(Elf64_Shdr) <= bytes,
		  "section headers lie in the image");
}

static void check_lookup(const void *image, size_t bytes)
{
	struct view v;
	uint32_t sym;

	TAP_MUST(view_read(&v, image), "PT_DYNAMIC names the tables");
	TAP_CHECK(!strcmp(v.strtab + v.soname, "linux-vdso.so.1"), "DT_SONAME");
	TAP_CHECK(v.syment == sizeof(Elf64_Sym) && v.strsz > 0 && v.strsz < bytes,
		  "DT_SYMENT and DT_STRSZ");
	sym = hash_lookup(&v, ENTER);
	TAP_MUST(sym, "enter_enclave is found by DT_HASH");
	TAP_CHECK(version_ok(&v, sym), "with version LINUX_2.6");
	TAP_CHECK(section_lookup(image, ENTER) == v.at + v.symtab[sym].st_value,
		  "and at the same place by section headers");
	TAP_CHECK(!hash_lookup(&v, "__vdso_nothing"), "a name that isn't there is not found");
}

static void check_kernel_functions(const void *kernel, const void *image)
{
	static const char *const names[] = { "__vdso_clock_gettime", "clock_gettime",
					     "__vdso_gettimeofday", "__vdso_time",
					     "__vdso_getcpu" };
	struct view k, v;
	unsigned int nr = 0, functions = 0, found = 0;

	TAP_MUST(view_read(&k, kernel) && view_read(&v, image), "both images read");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		uint32_t sym = hash_lookup(&v, names[i]);

		TAP_CHECK(sym && version_ok(&v, sym) && section_lookup(image, names[i]),
			  "%s is there, both ways and with its version", names[i]);
	}
	for (nr = 1; nr < k.hash[1]; nr++) {
		if (ELF64_ST_TYPE(k.symtab[nr].st_info) != STT_FUNC)
			continue;
		functions++;
		found += hash_lookup(&v, k.strtab + k.symtab[nr].st_name) != 0;
	}
	TAP_CHECK(functions && found == functions, "all %u functions of the kernel's (%u found)",
		  functions, found);
}

static void check_calls(const void *image)
{
	struct view v;
	struct timespec before, got, after;
	clock_gettime_fn clock_fn;
	enter_fn enter;
	int r;

	view_read(&v, image);
	clock_fn = (clock_gettime_fn)(uintptr_t)(v.at +
						 v.symtab[hash_lookup(&v, "__vdso_clock_gettime")]
							 .st_value);
	clock_gettime(CLOCK_MONOTONIC, &before);
	r = clock_fn(CLOCK_MONOTONIC, &got);
	clock_gettime(CLOCK_MONOTONIC, &after);
	TAP_CHECK(r == 0 && got.tv_sec >= before.tv_sec && got.tv_sec <= after.tv_sec,
		  "clock_gettime works through it");

	enter = (enter_fn)(uintptr_t)(v.at + v.symtab[hash_lookup(&v, ENTER)].st_value);
	r = enter(1, 2, 3, 4, 5, 6, &v);
	TAP_CHECK(r == -4711, "enter_enclave returns what ours returns");
	TAP_CHECK(enter_args[0] == 1 && enter_args[1] == 2 && enter_args[2] == 3 &&
			  enter_args[3] == 4 && enter_args[4] == 5 && enter_args[5] == 6 &&
			  enter_run == &v,
		  "and gets all seven arguments");
}

static void check_not_writable(void *image)
{
	int fds[2];

	TAP_MUST(pipe(fds) == 0, "a pipe");
	TAP_CHECK(write(fds[1], "x", 1) == 1 && read(fds[0], image, 1) == -1 && errno == EFAULT,
		  "the image cannot be written to");
	close(fds[0]);
	close(fds[1]);
}

static unsigned long proc_auxv(unsigned long type)
{
	Elf64_auxv_t auxv[64];
	int fd = open("/proc/self/auxv", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, auxv, sizeof(auxv));

	close(fd);
	for (ssize_t i = 0; i < n / (ssize_t)sizeof(auxv[0]); i++)
		if (auxv[i].a_type == type)
			return auxv[i].a_un.a_val;
	return 0;
}

static void check_auxv(char **envp, void *image)
{
	char **heap_env = calloc(64, sizeof(char *));
	unsigned long phdr = getauxval(AT_PHDR);
	void *heap;
	int r;

	TAP_CHECK(vdso_patch_auxv(heap_env, image) == -EINVAL &&
			  vdso_patch_auxv(NULL, image) == -EINVAL,
		  "an environment that isn't the initial one is refused");
	free(heap_env);
	TAP_CHECK(vdso_patch_auxv(envp, image) == 0, "the auxiliary vector is patched");
	TAP_CHECK(getauxval(AT_SYSINFO_EHDR) == (unsigned long)image, "getauxval() sees it");
	TAP_CHECK(getauxval(AT_PHDR) == phdr, "and the rest as before");

	r = vdso_patch_proc_auxv(envp);
	if (r < 0) {
		tap_skip("/proc/self/auxv", "this kernel refuses PR_SET_MM_MAP");
		return;
	}
	TAP_CHECK(proc_auxv(AT_SYSINFO_EHDR) == (unsigned long)image, "/proc/self/auxv shows it");
	TAP_CHECK(proc_auxv(AT_PHDR) == phdr, "and the rest as before");
	heap = malloc(1 << 16);
	TAP_CHECK(heap != NULL, "the heap still grows");
	free(heap);
}

static void check_without_kernel_vdso(void)
{
	struct view v;
	void *image;
	size_t bytes;

	TAP_MUST(vdso_build(NULL, (void *)fake_enter, 0, &image, &bytes) == 0,
		 "an image without a kernel vDSO");
	TAP_CHECK(view_read(&v, image) && hash_lookup(&v, ENTER) && v.hash[1] == 2,
		  "holds enter_enclave alone");
	munmap(image, bytes);
}

static void check_two_generations(const void *image)
{
	void *second;
	size_t bytes;
	struct view a, b;

	TAP_MUST(vdso_build(image, (void *)fake_enter, 0, &second, &bytes) == 0,
		 "an image made of an image, as under a nested run");
	view_read(&a, image);
	view_read(&b, second);
	TAP_CHECK(a.hash[1] == b.hash[1], "has enter_enclave once");
	munmap(second, bytes);
}

int main(int argc, char **argv, char **envp)
{
	const void *kernel = (const void *)getauxval(AT_SYSINFO_EHDR);
	static const Elf64_Ehdr garbage;
	void *image = NULL;
	size_t bytes = 0;

	TAP_CHECK(vdso_build(&garbage, (void *)fake_enter, 0, &image, &bytes) == -EINVAL,
		  "what is no ELF image is refused");
	TAP_MUST(vdso_build(kernel, (void *)fake_enter, 0, &image, &bytes) == 0,
		 "the image is made");
	check_header(image, bytes);
	check_lookup(image, bytes);
	if (kernel) {
		check_kernel_functions(kernel, image);
		check_calls(image);
	} else {
		tap_skip("the kernel's functions", "this process has no vDSO");
	}
	check_not_writable(image);
	check_without_kernel_vdso();
	check_two_generations(image);
	if (kernel)
		check_auxv(envp, image);
	return tap_done();
}
