/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Load a program into this process as execve() would: its segments, its interpreter's if it has one, and an
 * initial stack.  For programs that no preloaded library can serve (direct.c).
 */
#include "runtime/load.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define PAGE      4096ul
#define PHDR_MAX  64
#define STACK_MIN (8ul << 20)
#define STACK_MAX (64ul << 20)
#define AUXV_MAX  64

static uint64_t page_down(uint64_t x)
{
	return x & ~(PAGE - 1);
}

static uint64_t page_up(uint64_t x)
{
	return (x + PAGE - 1) & ~(PAGE - 1);
}

/* The headers of an ELF file for this machine; -ENOEXEC for anything else. */
static int read_headers(int fd, Elf64_Ehdr *eh, Elf64_Phdr *ph)
{
	if (pread(fd, eh, sizeof(*eh), 0) != (ssize_t)sizeof(*eh))
		return -ENOEXEC;
	if (memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0 || eh->e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh->e_machine != EM_X86_64 || (eh->e_type != ET_EXEC && eh->e_type != ET_DYN) ||
	    eh->e_phentsize != sizeof(*ph) || eh->e_phnum == 0 || eh->e_phnum > PHDR_MAX)
		return -ENOEXEC;
	if (pread(fd, ph, eh->e_phnum * sizeof(*ph), (off_t)eh->e_phoff) !=
	    (ssize_t)(eh->e_phnum * sizeof(*ph)))
		return -ENOEXEC;
	return 0;
}

static int prot_of(uint32_t flags)
{
	return (flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) |
	       (flags & PF_X ? PROT_EXEC : 0);
}

/* One PT_LOAD at @bias: the file's pages, and zeros behind them. */
static int map_segment(int fd, const Elf64_Phdr *ph, uint64_t bias)
{
	uint64_t start = bias + page_down(ph->p_vaddr);
	uint64_t file_end = bias + ph->p_vaddr + ph->p_filesz;
	uint64_t end = page_up(bias + ph->p_vaddr + ph->p_memsz);
	uint64_t bss = page_up(file_end);
	int prot = prot_of(ph->p_flags);

	if (ph->p_filesz && mmap((void *)start, bss - start, prot, MAP_PRIVATE | MAP_FIXED, fd,
				 (off_t)page_down(ph->p_offset)) == MAP_FAILED)
		return -errno;
	if (ph->p_memsz > ph->p_filesz && ph->p_filesz && (prot & PROT_WRITE))
		memset((void *)file_end, 0, bss - file_end);
	if (!ph->p_filesz)
		bss = start;
	if (end > bss && mmap((void *)bss, end - bss, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			      -1, 0) == MAP_FAILED)
		return -errno;
	return 0;
}

/* Where the image may lie: its own addresses, or for a position-independent one wherever there is room. */
static int reserve(const Elf64_Ehdr *eh, const Elf64_Phdr *ph, uint64_t *ret_bias)
{
	uint64_t low = UINT64_MAX, high = 0, end;
	void *at;

	for (int i = 0; i < eh->e_phnum; i++) {
		if (ph[i].p_type != PT_LOAD)
			continue;
		end = ph[i].p_vaddr + ph[i].p_memsz;
		if (end < ph[i].p_vaddr || page_up(end) < end || ph[i].p_filesz > ph[i].p_memsz)
			return -ENOEXEC;
		low = page_down(ph[i].p_vaddr) < low ? page_down(ph[i].p_vaddr) : low;
		high = page_up(end) > high ? page_up(end) : high;
	}
	if (low >= high)
		return -ENOEXEC;
	at = mmap(eh->e_type == ET_EXEC ? (void *)low : NULL, high - low, PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			  (eh->e_type == ET_EXEC ? MAP_FIXED_NOREPLACE : 0),
		  -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	*ret_bias = (uint64_t)at - low;
	return 0;
}

static int map_image(int fd, const Elf64_Ehdr *eh, const Elf64_Phdr *ph, uint64_t *ret_bias)
{
	int r = reserve(eh, ph, ret_bias);

	for (int i = 0; !r && i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_LOAD)
			r = map_segment(fd, &ph[i], *ret_bias);
	return r;
}

static uint64_t phdr_address(const Elf64_Ehdr *eh, const Elf64_Phdr *ph, uint64_t bias)
{
	for (int i = 0; i < eh->e_phnum; i++) {
		if (ph[i].p_type == PT_PHDR)
			return bias + ph[i].p_vaddr;
		if (ph[i].p_type == PT_LOAD && eh->e_phoff >= ph[i].p_offset &&
		    eh->e_phoff - ph[i].p_offset < ph[i].p_filesz)
			return bias + ph[i].p_vaddr + eh->e_phoff - ph[i].p_offset;
	}
	return 0;
}

static int load_interpreter(int program, const Elf64_Phdr *ph, struct load_image *image)
{
	Elf64_Ehdr eh;
	Elf64_Phdr iph[PHDR_MAX];
	char path[512];
	uint64_t bias;
	int fd, r;

	if (ph->p_filesz == 0 || ph->p_filesz >= sizeof(path) ||
	    pread(program, path, ph->p_filesz, (off_t)ph->p_offset) != (ssize_t)ph->p_filesz)
		return -ENOEXEC;
	path[ph->p_filesz] = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = read_headers(fd, &eh, iph);
	if (!r)
		r = map_image(fd, &eh, iph, &bias);
	close(fd);
	if (r)
		return r;
	image->interp_base = bias;
	image->start = bias + eh.e_entry;
	return 0;
}

int load_program(const char *path, struct load_image *ret_image)
{
	struct load_image image = { .interp_base = 0 };
	Elf64_Phdr ph[PHDR_MAX];
	Elf64_Ehdr eh;
	uint64_t bias;
	int fd, r;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = read_headers(fd, &eh, ph);
	if (!r)
		r = map_image(fd, &eh, ph, &bias);
	if (r)
		goto close_fd;
	image.entry = image.start = bias + eh.e_entry;
	image.phdr = phdr_address(&eh, ph, bias);
	image.phnum = eh.e_phnum;
	for (int i = 0; !r && i < eh.e_phnum; i++)
		if (ph[i].p_type == PT_INTERP)
			r = load_interpreter(fd, &ph[i], &image);
	if (!r)
		*ret_image = image;
close_fd:
	close(fd);
	return r;
}

/* ---- the initial stack ---------------------------------------------------------------------------- */

static uint64_t push_bytes(uint64_t *sp, const void *bytes, size_t n)
{
	*sp -= n;
	memcpy((void *)*sp, bytes, n);
	return *sp;
}

static size_t count(char *const *list)
{
	size_t n = 0;

	while (list[n])
		n++;
	return n;
}

static size_t make_auxv(const struct load_image *image, const unsigned long *host, const void *vdso,
			uint64_t execfn, uint64_t random, unsigned long out[AUXV_MAX * 2])
{
	size_t n = 0;

	for (; host[0] != AT_NULL && n < AUXV_MAX - 1; host += 2) {
		unsigned long value = host[1];

		switch (host[0]) {
		case AT_PHDR:
			value = image->phdr;
			break;
		case AT_PHNUM:
			value = image->phnum;
			break;
		case AT_BASE:
			value = image->interp_base;
			break;
		case AT_ENTRY:
			value = image->entry;
			break;
		case AT_EXECFN:
			value = execfn;
			break;
		case AT_RANDOM:
			value = random;
			break;
		case AT_SYSINFO_EHDR:
			value = (unsigned long)vdso;
			break;
		default:
			break;
		}
		out[n * 2] = host[0];
		out[n * 2 + 1] = value;
		n++;
	}
	out[n * 2] = AT_NULL;
	out[n * 2 + 1] = 0;
	return n + 1;
}

int load_stack(const struct load_image *image, const char *path, char *const *argv,
	       char *const *envp, const unsigned long *host_auxv, const void *vdso,
	       uint64_t *ret_sp)
{
	unsigned long auxv[AUXV_MAX * 2];
	size_t argc = count(argv), envc = count(envp), auxc, words;
	struct rlimit limit;
	uint64_t bytes = STACK_MIN, sp, execfn, random, *word;
	void *stack;

	if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur > STACK_MIN)
		bytes = limit.rlim_cur < STACK_MAX ? page_up(limit.rlim_cur) : STACK_MAX;
	stack = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;
	sp = (uint64_t)stack + bytes - 16;
	execfn = push_bytes(&sp, path, strlen(path) + 1);
	random = push_bytes(&sp, (const void *)getauxval(AT_RANDOM), 16);
	auxc = make_auxv(image, host_auxv, vdso, execfn, random, auxv);

	/* The pointers come first in memory and the strings above them: leave room, then fill in. */
	uint64_t *at = mmap(NULL, page_up((argc + envc) * 8 + 8), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return -errno;
	for (size_t i = 0; i < argc; i++)
		at[i] = push_bytes(&sp, argv[i], strlen(argv[i]) + 1);
	for (size_t i = 0; i < envc; i++)
		at[argc + i] = push_bytes(&sp, envp[i], strlen(envp[i]) + 1);
	words = 1 + argc + 1 + envc + 1 + auxc * 2;
	sp = (sp - words * 8) & ~15ull;
	word = (uint64_t *)sp;
	*word++ = argc;
	for (size_t i = 0; i < argc; i++)
		*word++ = at[i];
	*word++ = 0;
	for (size_t i = 0; i < envc; i++)
		*word++ = at[argc + i];
	*word++ = 0;
	memcpy(word, auxv, auxc * 16);
	munmap(at, page_up((argc + envc) * 8 + 8));
	*ret_sp = sp;
	return 0;
}
