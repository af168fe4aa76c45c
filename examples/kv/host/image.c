/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * From the enclave's ELF file and the size of its heap to the plan of its pages.
 *
 * The file has code and data only; the loader makes up the threads (stack, TCS, SSA) and the
 * heap, and writes into the first page where they are.
 */
#include "image.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGE_BYTES_MAX (16u << 20)

static uint64_t page_up(uint64_t bytes)
{
	return (bytes + SGX_PAGE - 1) & ~(uint64_t)(SGX_PAGE - 1);
}

static struct image_range *add_range(struct image *image, uint64_t off, uint64_t bytes,
				     uint64_t secinfo, int prot)
{
	struct image_range *range = &image->ranges[image->range_nr++];

	*range = (struct image_range){ .off = off,
				       .bytes = bytes,
				       .secinfo = secinfo,
				       .prot = prot,
				       .add = true,
				       .measured = true };
	return range;
}

static bool fail(const char *path, const char *why)
{
	fprintf(stderr, "kv: %s: %s\n", path, why);
	return false;
}

/* The file in private memory; NULL with errno's message printed. */
static uint8_t *read_file(const char *path, size_t *ret_bytes)
{
	uint8_t *file = NULL;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0) {
		perror(path);
	} else {
		file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (file == MAP_FAILED) {
			perror(path);
			file = NULL;
		}
		*ret_bytes = (size_t)st.st_size;
	}
	if (fd >= 0)
		close(fd);
	return file;
}

static const Elf64_Phdr *elf_segments(const uint8_t *file, size_t bytes, unsigned int *ret_nr)
{
	const Elf64_Ehdr *ehdr = (const void *)file;

	if (bytes < sizeof(*ehdr) || memcmp(ehdr->e_ident, ELFMAG, SELFMAG) != 0 ||
	    ehdr->e_ident[EI_CLASS] != ELFCLASS64 || ehdr->e_machine != EM_X86_64 ||
	    ehdr->e_phentsize != sizeof(Elf64_Phdr) || ehdr->e_phoff % 8 != 0 ||
	    ehdr->e_phoff > bytes || (bytes - ehdr->e_phoff) / sizeof(Elf64_Phdr) < ehdr->e_phnum)
		return NULL;
	*ret_nr = ehdr->e_phnum;
	return (const void *)(file + ehdr->e_phoff);
}

/* A segment begins on a page of its own, after the ones before it. */
static bool segment_is_sane(const Elf64_Phdr *ph, uint64_t after, size_t file_bytes)
{
	return ph->p_vaddr % SGX_PAGE == 0 && ph->p_vaddr >= after &&
	       ph->p_vaddr <= IMAGE_BYTES_MAX && ph->p_memsz <= IMAGE_BYTES_MAX &&
	       ph->p_filesz <= ph->p_memsz && ph->p_offset <= file_bytes &&
	       ph->p_filesz <= file_bytes - ph->p_offset;
}

static void add_segment(struct image *image, const Elf64_Phdr *ph, const uint8_t *file)
{
	struct image_range *range;
	uint64_t secinfo = SGX_SECINFO_REG;
	int prot = PROT_NONE;

	if (ph->p_flags & PF_R) {
		secinfo |= SGX_SECINFO_R;
		prot |= PROT_READ;
	}
	if (ph->p_flags & PF_W) {
		secinfo |= SGX_SECINFO_W;
		prot |= PROT_WRITE;
	}
	if (ph->p_flags & PF_X) {
		secinfo |= SGX_SECINFO_X;
		prot |= PROT_EXEC;
	}
	memcpy(image->memory + ph->p_vaddr, file + ph->p_offset, ph->p_filesz);
	range = add_range(image, ph->p_vaddr, page_up(ph->p_memsz), secinfo, prot);
	range->contents = image->memory + range->off;
}

/* The loadable segments; the end of the last one, or 0. */
static uint64_t add_segments(struct image *image, const char *path, const uint8_t *file,
			     size_t file_bytes)
{
	const Elf64_Phdr *ph;
	unsigned int nr = 0, found = 0;
	uint64_t end = 0;

	ph = elf_segments(file, file_bytes, &nr);
	if (!ph) {
		fail(path, "is not a 64-bit ELF file");
		return 0;
	}
	for (; nr; nr--, ph++) {
		if (ph->p_type != PT_LOAD)
			continue;
		if (found == 4 || !segment_is_sane(ph, end, file_bytes)) {
			fail(path, "was not linked by enclave.lds");
			return 0;
		}
		add_segment(image, ph, file);
		found++;
		end = page_up(ph->p_vaddr + ph->p_memsz);
	}
	if (!end)
		fail(path, "has nothing to load");
	return end;
}

static void add_thread(struct image *image, uint64_t off, uint64_t entry)
{
	uint64_t stack = off + SGX_PAGE, tcs_off = stack + KV_STACK_PAGES * SGX_PAGE;
	struct sgx_tcs *tcs = (void *)(image->memory + tcs_off);
	const uint64_t rw = SGX_SECINFO_REG | SGX_SECINFO_R | SGX_SECINFO_W;
	const int prot = PROT_READ | PROT_WRITE;

	tcs->ossa = tcs_off + SGX_PAGE;
	tcs->nssa = KV_SSA_FRAMES;
	tcs->oentry = entry;
	tcs->fslimit = UINT32_MAX;
	tcs->gslimit = UINT32_MAX;

	add_range(image, stack, KV_STACK_PAGES * SGX_PAGE, rw, prot);
	add_range(image, tcs_off, SGX_PAGE, SGX_SECINFO_TCS, prot)->contents = (void *)tcs;
	add_range(image, tcs_off + SGX_PAGE, KV_SSA_FRAMES * SGX_PAGE, rw, prot);
	image->tcs_off[image->threads++] = tcs_off;
}

static void add_heap(struct image *image, const struct image_options *options)
{
	struct image_range *heap =
		add_range(image, image->heap_off, options->heap_bytes,
			  SGX_SECINFO_REG | SGX_SECINFO_R | SGX_SECINFO_W, PROT_READ | PROT_WRITE);

	heap->add = !options->edmm;
	heap->measured = false;
}

static void fill_layout(struct image *image, const struct image_options *options)
{
	struct kv_layout *layout = (void *)image->memory;
	uint64_t end = image->heap_off + options->heap_bytes;

	image->secs.size = SGX_PAGE;
	while (image->secs.size < end)
		image->secs.size *= 2;
	image->secs.ssa_frame_pages = 1;
	image->secs.attributes.flags = SGX_ATTR_MODE64BIT | (options->debug ? SGX_ATTR_DEBUG : 0);
	image->secs.attributes.xfrm = SGX_XFRM_LEGACY;

	layout->magic = KV_LAYOUT_MAGIC;
	layout->flags = options->edmm ? KV_LAYOUT_EDMM : 0;
	layout->size = image->secs.size;
	layout->heap_off = image->heap_off;
	layout->heap_bytes = options->heap_bytes;
}

bool image_open(struct image *image, const struct image_options *options)
{
	size_t file_bytes = 0;
	uint8_t *file = read_file(options->path, &file_bytes);
	uint64_t entry, off;

	memset(image, 0, sizeof(*image));
	if (!file)
		return false;
	image->memory = mmap(NULL, 3 * IMAGE_BYTES_MAX, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (image->memory == MAP_FAILED) {
		perror("kv: mmap");
		abort();
	}
	off = add_segments(image, options->path, file, file_bytes);
	if (!off) {
		munmap(file, file_bytes);
		image_close(image);
		return false;
	}
	entry = ((const Elf64_Ehdr *)(const void *)file)->e_entry;
	munmap(file, file_bytes);
	for (unsigned int i = 0; i < options->threads; i++, off += KV_THREAD_PAGES * SGX_PAGE)
		add_thread(image, off, entry);
	image->heap_off = off;
	add_heap(image, options);
	fill_layout(image, options);
	return true;
}

void image_close(struct image *image)
{
	munmap(image->memory, 3 * IMAGE_BYTES_MAX);
	memset(image, 0, sizeof(*image));
}
