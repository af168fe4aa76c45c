/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
#include "runtime/cpuid_sites.h"

#include <elf.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/insn.h"
#include "runtime/sys.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* How a pointer in .eh_frame is written (LSB, "DWARF Exception Header Encoding"): these are what linkers use. */
#define PE_ABSPTR 0x00
#define PE_UDATA4 0x03
#define PE_SDATA4 0x0b
#define PE_SDATA8 0x0c
#define PE_PCREL  0x10
#define PE_OMIT   0xff

#ifndef SHT_X86_64_UNWIND
#define SHT_X86_64_UNWIND 0x70000001
#endif

struct finder {
	const uint8_t *file;
	size_t bytes;
	Elf64_Ehdr eh;
	struct cpuid_site *sites;
	size_t nr;
	size_t budget; /* bytes of code that may be decoded: no file makes us read the same function for ever */
};

static bool copy(const struct finder *f, void *to, size_t n, uint64_t at)
{
	if (at > f->bytes || n > f->bytes - at)
		return false;
	memcpy(to, f->file + at, n);
	return true;
}

static bool header(const struct finder *f, unsigned int i, Elf64_Phdr *ret)
{
	return i < f->eh.e_phnum && f->eh.e_phoff <= f->bytes &&
	       copy(f, ret, sizeof(*ret), f->eh.e_phoff + i * sizeof(*ret));
}

static bool section(const struct finder *f, unsigned int i, Elf64_Shdr *ret)
{
	return i < f->eh.e_shnum && f->eh.e_shoff <= f->bytes &&
	       copy(f, ret, sizeof(*ret), f->eh.e_shoff + i * sizeof(*ret)) &&
	       (ret->sh_type == SHT_NOBITS ||
		(ret->sh_offset <= f->bytes && ret->sh_size <= f->bytes - ret->sh_offset));
}

/* Where in the file @vaddr lies, and how much of its segment follows. */
static bool offset_of(const struct finder *f, uint64_t vaddr, uint64_t *ret_offset,
		      uint64_t *ret_room)
{
	Elf64_Phdr ph;

	for (unsigned int i = 0; header(f, i, &ph); i++) {
		if (ph.p_type != PT_LOAD || vaddr < ph.p_vaddr ||
		    vaddr - ph.p_vaddr >= ph.p_filesz || ph.p_offset > f->bytes ||
		    ph.p_filesz > f->bytes - ph.p_offset)
			continue;
		*ret_offset = ph.p_offset + (vaddr - ph.p_vaddr);
		*ret_room = ph.p_filesz - (vaddr - ph.p_vaddr);
		return true;
	}
	return false;
}

/* ---- what looks like it ------------------------------------------------------------------------------------ */

/* All of it is read now: in one go, where the kernel can (5.14), and not a fault for every few pages. */
static void read_ahead(const uint8_t *code, size_t bytes)
{
	uintptr_t start = (uintptr_t)code & ~4095ul;

	sys(SYS_madvise, start, (uintptr_t)code + bytes - start, MADV_POPULATE_READ);
}

/* The second byte is the rare one, and memchr() is ten times as fast as memmem(). */
static void look_in(struct finder *f, const Elf64_Phdr *ph, size_t max)
{
	const uint8_t *code = f->file + ph->p_offset, *end = code + ph->p_filesz, *at = code;

	read_ahead(code, ph->p_filesz);
	while (f->nr < max && (at = memchr(at, 0xa2, (size_t)(end - at)))) {
		if (at > code && at[-1] == 0x0f)
			f->sites[f->nr++] = (struct cpuid_site){
				.vaddr = ph->p_vaddr + (uint64_t)(at - 1 - code),
				.offset = (uint64_t)(at - 1 - f->file),
			};
		at++;
	}
}

/* Segments come in ascending order, as the ELF specification wants; of one that does not, nothing is taken. */
static void look(struct finder *f, size_t max)
{
	uint64_t above = 0;
	Elf64_Phdr ph;

	for (unsigned int i = 0; header(f, i, &ph); i++) {
		if (ph.p_type != PT_LOAD || !(ph.p_flags & PF_X))
			continue;
		if (ph.p_vaddr < above || ph.p_vaddr + ph.p_filesz < ph.p_vaddr ||
		    ph.p_offset > f->bytes || ph.p_filesz > f->bytes - ph.p_offset)
			continue;
		above = ph.p_vaddr + ph.p_filesz;
		look_in(f, &ph, max);
	}
}

/* ---- functions --------------------------------------------------------------------------------------------- */

static size_t first_from(const struct finder *f, uint64_t vaddr)
{
	size_t low = 0, high = f->nr;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (f->sites[middle].vaddr < vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* There is a function at @start, of @size bytes: its instructions say which of the places in it are CPUID. */
static void function(struct finder *f, uint64_t start, uint64_t size)
{
	uint64_t at, room, offset = 0;
	size_t i = first_from(f, start), n;

	if (i == f->nr || f->sites[i].vaddr - start >= size)
		return;
	if (!offset_of(f, start, &offset, &room))
		return;
	size = size < room ? size : room;
	for (at = 0; at < size && f->budget; at += n) {
		while (i < f->nr && f->sites[i].vaddr - start < at)
			i++;
		if (i == f->nr || f->sites[i].vaddr - start >= size)
			return;
		if (f->sites[i].vaddr - start == at)
			f->sites[i].is_cpuid = true;
		n = insn_length(f->file + offset + at, (size_t)(size - at));
		if (!n)
			return;
		f->budget -= n < f->budget ? n : f->budget;
	}
}

/* ---- .eh_frame --------------------------------------------------------------------------------------------- */

struct frames {
	const uint8_t *start;
	size_t bytes;
	uint64_t vaddr;
};

/* Reads with bounds; a failed one leaves the place at the end. */
struct place {
	const struct frames *frames;
	size_t at, end;
	bool failed;
};

static uint64_t number(struct place *p, size_t bytes)
{
	uint64_t value = 0;

	if (p->failed || bytes > p->end - p->at) {
		p->failed = true;
		return 0;
	}
	memcpy(&value, p->frames->start + p->at, bytes);
	p->at += bytes;
	return value;
}

static uint64_t leb128(struct place *p)
{
	uint64_t value = 0, b;
	unsigned int shift = 0;

	do {
		b = number(p, 1);
		value |= shift < 64 ? (b & 0x7f) << shift : 0;
		shift += 7;
	} while ((b & 0x80) && !p->failed);
	return value;
}

static size_t pointer_bytes(unsigned int encoding)
{
	switch (encoding & 0x0f) {
	case PE_ABSPTR:
	case PE_SDATA8:
	case 0x04: /* udata8 */
		return 8;
	case PE_UDATA4:
	case PE_SDATA4:
		return 4;
	case 0x02: /* udata2 */
	case 0x0a: /* sdata2 */
		return 2;
	default:
		return 0;
	}
}

/* How the CIE at @at has its FDEs' addresses written; PE_OMIT: not known. */
static unsigned int cie_encoding(const struct frames *frames, size_t at, size_t end)
{
	struct place p = { .frames = frames, .at = at, .end = end };
	unsigned int encoding = PE_ABSPTR;
	size_t letters;
	uint64_t version = number(&p, 1), b;

	letters = p.at;
	while (number(&p, 1))
		;
	if (p.failed || (version != 1 && version != 3))
		return PE_OMIT;
	if (frames->start[letters] != 'z')
		return frames->start[letters] ? PE_OMIT : PE_ABSPTR;
	leb128(&p); /* code and data alignment, return address, bytes of what follows */
	leb128(&p);
	if (version == 1)
		number(&p, 1);
	else
		leb128(&p);
	leb128(&p);
	for (letters++; frames->start[letters]; letters++) {
		switch (frames->start[letters]) {
		case 'R':
			encoding = (unsigned int)number(&p, 1);
			break;
		case 'L':
			number(&p, 1);
			break;
		case 'P':
			b = number(&p, 1);
			if (!pointer_bytes((unsigned int)b))
				return PE_OMIT;
			number(&p, pointer_bytes((unsigned int)b));
			break;
		case 'S':
		case 'B':
			break;
		default:
			return PE_OMIT;
		}
	}
	return p.failed ? PE_OMIT : encoding;
}

/* One entry that is an FDE: its addresses are at @p. */
static void fde(struct finder *f, struct place *p, unsigned int encoding)
{
	uint64_t field = p->frames->vaddr + p->at, start, size;

	start = number(p, pointer_bytes(encoding));
	if ((encoding & 0x0f) == PE_SDATA4)
		start = (uint64_t)(int64_t)(int32_t)start;
	if ((encoding & 0x70) == PE_PCREL)
		start += field;
	size = number(p, pointer_bytes(encoding));
	if (!p->failed && start + size > start)
		function(f, start, size);
}

static bool is_known(unsigned int encoding)
{
	unsigned int format = encoding & 0x0f;

	return (encoding == (format | PE_PCREL) || encoding == format) &&
	       (format == PE_ABSPTR || format == PE_UDATA4 || format == PE_SDATA4 ||
		format == PE_SDATA8);
}

static void read_frames(struct finder *f, const struct frames *frames)
{
	size_t at = 0, last_cie = SIZE_MAX;
	unsigned int encoding = PE_OMIT;

	while (frames->bytes - at >= 8) {
		struct place p = { .frames = frames, .at = at, .end = frames->bytes };
		uint64_t length = number(&p, 4), id;
		size_t id_at, end, cie;

		if (length == 0xffffffff)
			length = number(&p, 8);
		if (!length || p.failed || length > frames->bytes - p.at || length < 4)
			return;
		end = p.at + (size_t)length;
		p.end = end;
		id_at = p.at;
		id = number(&p, 4);
		/* Not a CIE itself: how far before this its own is. */
		if (id && id <= id_at) {
			cie = id_at - (size_t)id;
			if (cie != last_cie) {
				last_cie = cie;
				/* Its length and its id are before what it says. */
				encoding = frames->bytes - cie >= 8
						   ? cie_encoding(frames, cie + 8, frames->bytes)
						   : PE_OMIT;
			}
			if (is_known(encoding))
				fde(f, &p, encoding);
		}
		at = end;
	}
}

/* From the section headers, or else from the table that unwinders search in, which begins with where .eh_frame is. */
static void find_frames(struct finder *f)
{
	Elf64_Shdr sh, names = { 0 };
	Elf64_Phdr ph;

	section(f, f->eh.e_shstrndx, &names);
	for (unsigned int i = 0; section(f, i, &sh); i++) {
		static const char name[] = ".eh_frame";

		if (sh.sh_type != SHT_X86_64_UNWIND &&
		    (sh.sh_type != SHT_PROGBITS || names.sh_type != SHT_STRTAB ||
		     sh.sh_name > names.sh_size || names.sh_size - sh.sh_name < sizeof(name) ||
		     memcmp(f->file + names.sh_offset + sh.sh_name, name, sizeof(name)) != 0))
			continue;
		read_frames(f, &(struct frames){ f->file + sh.sh_offset, sh.sh_size, sh.sh_addr });
		return;
	}
	for (unsigned int i = 0; header(f, i, &ph); i++) {
		uint64_t offset, room, vaddr;
		uint8_t start[8];

		if (ph.p_type != PT_GNU_EH_FRAME || !copy(f, start, sizeof(start), ph.p_offset))
			continue;
		if (start[0] != 1 || start[1] != (PE_PCREL | PE_SDATA4))
			return;
		vaddr = ph.p_vaddr + 4;
		vaddr += (uint64_t)(int64_t)(int32_t)(start[4] | start[5] << 8 | start[6] << 16 |
						      (uint32_t)start[7] << 24);
		if (offset_of(f, vaddr, &offset, &room))
			read_frames(f, &(struct frames){ f->file + offset, room, vaddr });
		return;
	}
}

/* ---- symbols ----------------------------------------------------------------------------------------------- */

static void read_symbols(struct finder *f)
{
	Elf64_Shdr sh;
	Elf64_Sym sym;

	for (unsigned int i = 0; section(f, i, &sh); i++) {
		if (sh.sh_type != SHT_SYMTAB && sh.sh_type != SHT_DYNSYM)
			continue;
		for (uint64_t at = 0; at + sizeof(sym) <= sh.sh_size; at += sizeof(sym)) {
			memcpy(&sym, f->file + sh.sh_offset + at, sizeof(sym));
			if ((ELF64_ST_TYPE(sym.st_info) == STT_FUNC ||
			     ELF64_ST_TYPE(sym.st_info) == STT_GNU_IFUNC) &&
			    sym.st_shndx != SHN_UNDEF && sym.st_size)
				function(f, sym.st_value, sym.st_size);
		}
	}
}

size_t cpuid_sites_find(const uint8_t *file, size_t bytes, struct cpuid_site *sites, size_t max)
{
	struct finder f = { .file = file, .bytes = bytes, .sites = sites };
	size_t nr = 0;

	if (!copy(&f, &f.eh, sizeof(f.eh), 0) || memcmp(f.eh.e_ident, ELFMAG, SELFMAG) != 0 ||
	    f.eh.e_ident[EI_CLASS] != ELFCLASS64 || f.eh.e_machine != EM_X86_64 ||
	    f.eh.e_phentsize != sizeof(Elf64_Phdr) ||
	    (f.eh.e_shnum && f.eh.e_shentsize != sizeof(Elf64_Shdr)))
		return 0;
	f.budget = bytes * 2;
	look(&f, max);
	if (!f.nr)
		return 0;
	find_frames(&f);
	read_symbols(&f);
	for (size_t i = 0; i < f.nr; i++)
		if (sites[i].is_cpuid)
			sites[nr++] = sites[i];
	return nr;
}
