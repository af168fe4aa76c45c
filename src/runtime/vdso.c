/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A vDSO image made at run time.
 *
 * Programs look __vdso_sgx_enter_enclave up in the image at AT_SYSINFO_EHDR: some by PT_DYNAMIC and
 * DT_HASH, some by section headers, some with a version.  So the image has all of these, and every
 * function that the kernel's image has, as a jump to it.  It is one mapping, and its file offsets
 * are its addresses.
 *
 * This runs before the client's first instruction, perhaps before the constructors of libc's users:
 * no heap, no thread-local data, nothing kept.
 *
 * Not here: what entering an enclave means.
 */
#include "runtime/vdso.h"

#include <assert.h>
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define VDSO_SONAME  "linux-vdso.so.1"
#define VDSO_VERSION "LINUX_2.6"
#define VDSO_ENTER   "__vdso_sgx_enter_enclave"

#define VDSO_PAGE      4096u
#define VDSO_SYM_MAX   256u /* functions; Linux has about 16 */
#define VDSO_STUB_SIZE 32u
#define VDSO_STUB_ADDR 24u /* where in a stub the target address is */

enum {
	SEC_NULL,
	SEC_HASH,
	SEC_DYNSYM,
	SEC_DYNSTR,
	SEC_VERSYM,
	SEC_VERDEF,
	SEC_DYNAMIC,
	SEC_TEXT,
	SEC_SHSTRTAB,
	SEC_NR,
};

static const char shstrtab[] = "\0.hash\0.dynsym\0.dynstr\0.gnu.version\0.gnu.version_d\0.dynamic\0"
			       ".text\0.shstrtab";

/* One section: its header's constants and where it lies. */
struct sec {
	uint32_t name; /* in shstrtab */
	uint32_t type;
	uint64_t flags;
	uint32_t link, info;
	uint64_t align, entsize;
	uint64_t offset, size;
};

/* What is read of an image with which we share an address space. */
struct dso {
	uintptr_t bias;
	const Elf64_Sym *symtab;
	const char *strtab;
	const uint32_t *hash;
	const uint32_t *gnu_hash;
	uint32_t sym_nr;
};

/* The image in the making. */
struct image {
	struct sec sec[SEC_NR];
	uint64_t phdr_offset, shdr_offset, bytes;
	uint32_t sym_nr; /* the null symbol included */
	uint32_t soname, version;
	uint64_t
		enter_bytes; /* in the text, where enter_enclave comes first; a multiple of a stub */
	uint8_t *at;
};

enum { DYN_NR = 11, PHDR_NR = 2 };

static uint32_t sysv_hash(const char *name)
{
	uint32_t h = 0;

	for (; *name; name++) {
		h = (h << 4) + (uint8_t)*name;
		h ^= (h >> 24) & 0xf0;
		h &= 0x0fffffff;
	}
	return h;
}

/* The GNU hash table doesn't say how many symbols there are: the longest chain's end does. */
static uint32_t gnu_hash_sym_nr(const uint32_t *table)
{
	uint32_t bucket_nr = table[0], first = table[1], bloom_words = table[2];
	const uint32_t *bucket = table + 4 + 2 * (size_t)bloom_words;
	const uint32_t *chain = bucket + bucket_nr;
	uint32_t last = 0;

	for (uint32_t i = 0; i < bucket_nr; i++)
		if (bucket[i] > last)
			last = bucket[i];
	if (last < first)
		return first;
	while (!(chain[last - first] & 1))
		last++;
	return last + 1;
}

static int dso_read_dynamic(struct dso *dso, const Elf64_Dyn *dyn)
{
	for (; dyn->d_tag != DT_NULL; dyn++) {
		const void *at = (const void *)(dso->bias + dyn->d_un.d_ptr);

		switch (dyn->d_tag) {
		case DT_SYMTAB:
			dso->symtab = at;
			break;
		case DT_STRTAB:
			dso->strtab = at;
			break;
		case DT_HASH:
			dso->hash = at;
			break;
		case DT_GNU_HASH:
			dso->gnu_hash = at;
			break;
		default:
			break;
		}
	}
	if (!dso->symtab || !dso->strtab || !(dso->hash || dso->gnu_hash))
		return -EINVAL;
	dso->sym_nr = dso->hash ? dso->hash[1] : gnu_hash_sym_nr(dso->gnu_hash);
	return 0;
}

static int dso_read(struct dso *dso, const void *at)
{
	const Elf64_Ehdr *ehdr = at;
	const Elf64_Phdr *phdr, *load = NULL, *dynamic = NULL;

	memset(dso, 0, sizeof(*dso));
	if (!at)
		return 0;
	if (memcmp(ehdr->e_ident, ELFMAG, SELFMAG) != 0 || ehdr->e_ident[EI_CLASS] != ELFCLASS64 ||
	    ehdr->e_phentsize != sizeof(*phdr))
		return -EINVAL;
	phdr = (const void *)((const uint8_t *)at + ehdr->e_phoff);
	for (unsigned int i = 0; i < ehdr->e_phnum; i++) {
		if (phdr[i].p_type == PT_LOAD && !load)
			load = &phdr[i];
		if (phdr[i].p_type == PT_DYNAMIC)
			dynamic = &phdr[i];
	}
	if (!load || !dynamic)
		return -EINVAL;
	dso->bias = (uintptr_t)at + load->p_offset - load->p_vaddr;
	return dso_read_dynamic(dso, (const void *)(dso->bias + dynamic->p_vaddr));
}

/* True for what the new image passes on: functions, except the one that we bring. */
static bool dso_sym_wanted(const struct dso *dso, const Elf64_Sym *sym)
{
	unsigned int bind = ELF64_ST_BIND(sym->st_info);

	return ELF64_ST_TYPE(sym->st_info) == STT_FUNC && sym->st_shndx != SHN_UNDEF &&
	       (bind == STB_GLOBAL || bind == STB_WEAK) &&
	       strcmp(dso->strtab + sym->st_name, VDSO_ENTER) != 0;
}

static void image_sec(struct image *img, unsigned int nr, struct sec sec)
{
	uint64_t offset = (img->bytes + sec.align - 1) & ~(sec.align - 1);

	sec.offset = offset;
	img->sec[nr] = sec;
	img->bytes = offset + sec.size;
}

/* Where everything goes. @strings: bytes of the function names, terminators included. */
static void image_lay_out(struct image *img, uint64_t strings)
{
	uint64_t nr = img->sym_nr;
	uint64_t dynstr = 1 + sizeof(VDSO_SONAME) + sizeof(VDSO_VERSION) + strings;

	img->phdr_offset = sizeof(Elf64_Ehdr);
	img->bytes = img->phdr_offset + PHDR_NR * sizeof(Elf64_Phdr);
	img->sec[SEC_NULL] = (struct sec){ 0 };
	image_sec(img, SEC_HASH,
		  (struct sec){ 1, SHT_HASH, SHF_ALLOC, SEC_DYNSYM, 0, 8, 4, 0, (2 + 2 * nr) * 4 });
	image_sec(img, SEC_DYNSYM,
		  (struct sec){ 7, SHT_DYNSYM, SHF_ALLOC, SEC_DYNSTR, 1, 8, sizeof(Elf64_Sym), 0,
				nr * sizeof(Elf64_Sym) });
	image_sec(img, SEC_DYNSTR,
		  (struct sec){ 15, SHT_STRTAB, SHF_ALLOC, 0, 0, 1, 0, 0, dynstr });
	image_sec(img, SEC_VERSYM,
		  (struct sec){ 23, SHT_GNU_versym, SHF_ALLOC, SEC_DYNSYM, 0, 2, 2, 0, nr * 2 });
	image_sec(img, SEC_VERDEF,
		  (struct sec){ 36, SHT_GNU_verdef, SHF_ALLOC, SEC_DYNSTR, 2, 8, 0, 0,
				2 * (sizeof(Elf64_Verdef) + sizeof(Elf64_Verdaux)) });
	image_sec(img, SEC_DYNAMIC,
		  (struct sec){ 51, SHT_DYNAMIC, SHF_ALLOC, SEC_DYNSTR, 0, 8, sizeof(Elf64_Dyn), 0,
				DYN_NR * sizeof(Elf64_Dyn) });
	image_sec(img, SEC_TEXT,
		  (struct sec){ 60, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 0, 0, VDSO_STUB_SIZE,
				0, 0, img->enter_bytes + (nr - 2) * VDSO_STUB_SIZE });
	image_sec(img, SEC_SHSTRTAB,
		  (struct sec){ 66, SHT_STRTAB, 0, 0, 0, 1, 0, 0, sizeof(shstrtab) });
	img->shdr_offset = (img->bytes + 7) & ~7ull;
	img->bytes = img->shdr_offset + SEC_NR * sizeof(Elf64_Shdr);
	img->bytes = (img->bytes + VDSO_PAGE - 1) & ~(uint64_t)(VDSO_PAGE - 1);
}

static void *image_at(const struct image *img, unsigned int sec)
{
	return img->at + img->sec[sec].offset;
}

static void image_write_headers(const struct image *img)
{
	Elf64_Ehdr *ehdr = (void *)img->at;
	Elf64_Phdr *phdr = (void *)(img->at + img->phdr_offset);
	Elf64_Shdr *shdr = (void *)(img->at + img->shdr_offset);
	const struct sec *dynamic = &img->sec[SEC_DYNAMIC];

	*ehdr = (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT, ELFOSABI_SYSV },
		.e_type = ET_DYN,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = img->sec[SEC_TEXT].offset,
		.e_phoff = img->phdr_offset,
		.e_shoff = img->shdr_offset,
		.e_ehsize = sizeof(*ehdr),
		.e_phentsize = sizeof(*phdr),
		.e_phnum = PHDR_NR,
		.e_shentsize = sizeof(*shdr),
		.e_shnum = SEC_NR,
		.e_shstrndx = SEC_SHSTRTAB,
	};
	phdr[0] = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_filesz = img->bytes,
		.p_memsz = img->bytes,
		.p_align = VDSO_PAGE,
	};
	phdr[1] = (Elf64_Phdr){
		.p_type = PT_DYNAMIC,
		.p_flags = PF_R,
		.p_offset = dynamic->offset,
		.p_vaddr = dynamic->offset,
		.p_paddr = dynamic->offset,
		.p_filesz = dynamic->size,
		.p_memsz = dynamic->size,
		.p_align = 8,
	};
	for (unsigned int i = 1; i < SEC_NR; i++) {
		const struct sec *sec = &img->sec[i];

		shdr[i] = (Elf64_Shdr){
			.sh_name = sec->name,
			.sh_type = sec->type,
			.sh_flags = sec->flags,
			.sh_addr = sec->flags & SHF_ALLOC ? sec->offset : 0,
			.sh_offset = sec->offset,
			.sh_size = sec->size,
			.sh_link = sec->link,
			.sh_info = sec->info,
			.sh_addralign = sec->align,
			.sh_entsize = sec->entsize,
		};
	}
	memcpy(image_at(img, SEC_SHSTRTAB), shstrtab, sizeof(shstrtab));
}

static void image_write_dynamic(const struct image *img)
{
	const Elf64_Dyn dyn[DYN_NR] = {
		{ DT_SONAME, { img->soname } },
		{ DT_HASH, { img->sec[SEC_HASH].offset } },
		{ DT_STRTAB, { img->sec[SEC_DYNSTR].offset } },
		{ DT_SYMTAB, { img->sec[SEC_DYNSYM].offset } },
		{ DT_STRSZ, { img->sec[SEC_DYNSTR].size } },
		{ DT_SYMENT, { sizeof(Elf64_Sym) } },
		{ DT_VERDEF, { img->sec[SEC_VERDEF].offset } },
		{ DT_VERDEFNUM, { 2 } },
		{ DT_VERSYM, { img->sec[SEC_VERSYM].offset } },
		{ DT_NULL, { 0 } },
	};

	memcpy(image_at(img, SEC_DYNAMIC), dyn, sizeof(dyn));
}

static void image_write_verdef(const struct image *img)
{
	struct {
		Elf64_Verdef def;
		Elf64_Verdaux aux;
	} *out = image_at(img, SEC_VERDEF);

	for (unsigned int i = 0; i < 2; i++) {
		out[i].def = (Elf64_Verdef){
			.vd_version = VER_DEF_CURRENT,
			.vd_flags = i ? 0 : VER_FLG_BASE,
			.vd_ndx = (uint16_t)(i + 1),
			.vd_cnt = 1,
			.vd_hash = sysv_hash(i ? VDSO_VERSION : VDSO_SONAME),
			.vd_aux = sizeof(Elf64_Verdef),
			.vd_next = i ? 0 : sizeof(out[0]),
		};
		out[i].aux.vda_name = i ? img->version : img->soname;
	}
}

/* Copy a string to the string table's end, and say where it is. */
static uint32_t image_string(const struct image *img, uint32_t *end, const char *s)
{
	uint32_t at = *end;
	size_t bytes = strlen(s) + 1;

	memcpy((char *)image_at(img, SEC_DYNSTR) + at, s, bytes);
	*end += (uint32_t)bytes;
	return at;
}

/* Symbol @nr, its version, its place in the hash table. Its code is at @code. */
static void image_write_sym(const struct image *img, uint32_t nr, uint32_t *strings_end,
			    const char *name, unsigned char info, const uint8_t *code, size_t bytes)
{
	Elf64_Sym *sym = (Elf64_Sym *)image_at(img, SEC_DYNSYM) + nr;
	uint32_t *hash = image_at(img, SEC_HASH);
	uint32_t *bucket = &hash[2 + sysv_hash(name) % img->sym_nr];

	*sym = (Elf64_Sym){
		.st_name = image_string(img, strings_end, name),
		.st_info = info,
		.st_other = STV_DEFAULT,
		.st_shndx = SEC_TEXT,
		.st_value = (uint64_t)(code - img->at),
		.st_size = bytes,
	};
	((uint16_t *)image_at(img, SEC_VERSYM))[nr] = 2;
	hash[2 + img->sym_nr + nr] = *bucket;
	*bucket = nr;
}

/* A jump to @target. */
static void write_stub(uint8_t *stub, uintptr_t target)
{
	/* endbr64; jmp *14(%rip); int3... ; .quad target */
	static const uint8_t code[] = { 0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 14, 0, 0, 0 };

	static_assert(sizeof(code) + 14 == VDSO_STUB_ADDR, "the jump reads the address");
	memset(stub, 0xcc, VDSO_STUB_SIZE);
	memcpy(stub, code, sizeof(code));
	memcpy(stub + VDSO_STUB_ADDR, &target, sizeof(target));
}

static void image_write(struct image *img, const struct dso *dso, const void *enter, size_t bytes)
{
	uint8_t *code = image_at(img, SEC_TEXT), *stub = code + img->enter_bytes;
	uint32_t strings_end = 1, nr = 1;
	uint32_t *hash = image_at(img, SEC_HASH);

	hash[0] = img->sym_nr;
	hash[1] = img->sym_nr;
	img->soname = image_string(img, &strings_end, VDSO_SONAME);
	img->version = image_string(img, &strings_end, VDSO_VERSION);
	for (uint32_t i = 0; i < dso->sym_nr; i++) {
		const Elf64_Sym *sym = &dso->symtab[i];

		if (!dso_sym_wanted(dso, sym))
			continue;
		write_stub(stub, dso->bias + sym->st_value);
		image_write_sym(img, nr++, &strings_end, dso->strtab + sym->st_name, sym->st_info,
				stub, VDSO_STUB_SIZE);
		stub += VDSO_STUB_SIZE;
	}
	if (bytes)
		memcpy(code, enter, bytes);
	else
		write_stub(code, (uintptr_t)enter);
	image_write_sym(img, nr, &strings_end, VDSO_ENTER, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
			code, bytes ? bytes : VDSO_STUB_SIZE);
	image_write_headers(img);
	image_write_dynamic(img);
	image_write_verdef(img);
}

int vdso_build(const void *kernel_vdso, const void *enter, size_t enter_bytes, void **ret_image,
	       size_t *ret_bytes)
{
	struct image img = { .sym_nr = 2 };
	uint64_t strings = sizeof(VDSO_ENTER);
	struct dso dso;
	int r;

	r = dso_read(&dso, kernel_vdso);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < dso.sym_nr; i++) {
		if (!dso_sym_wanted(&dso, &dso.symtab[i]))
			continue;
		strings += strlen(dso.strtab + dso.symtab[i].st_name) + 1;
		if (++img.sym_nr > VDSO_SYM_MAX)
			return -EINVAL;
	}

	img.enter_bytes =
		enter_bytes ? (enter_bytes + VDSO_STUB_SIZE - 1) & -VDSO_STUB_SIZE : VDSO_STUB_SIZE;
	image_lay_out(&img, strings);
	img.at = mmap(NULL, img.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (img.at == MAP_FAILED)
		return -errno;
	image_write(&img, &dso, enter, enter_bytes);
	if (mprotect(img.at, img.bytes, PROT_READ | PROT_EXEC) < 0) {
		r = -errno;
		munmap(img.at, img.bytes);
		return r;
	}
	*ret_image = img.at;
	*ret_bytes = img.bytes;
	return 0;
}
