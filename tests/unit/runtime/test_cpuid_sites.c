/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * CPUID instructions of a file: this program's own, some of which are none.
 */
#include "runtime/cpuid_sites.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/tap.h"

/*
 * One in a function with unwind tables, one in a function with a symbol alone, and one in neither; an immediate, and data
 * behind a function's end.
 */
__asm__(".text\n"
	".globl first_immediate, in_frame, at_frame, by_symbol, at_symbol, at_unknown, immediate, "
	"data\n"
	".type in_frame, @function\n"
	"in_frame:\n"
	".cfi_startproc\n"
	"first_immediate: mov $0xa20f, %eax\n"
	"	lea data(%rip), %rcx\n"
	"at_frame: cpuid\n"
	"immediate: mov $0xa20f, %ecx\n"
	"	ret\n"
	".cfi_endproc\n"
	".size in_frame, . - in_frame\n"
	"data: .byte 0x0f, 0xa2, 0x0f, 0xa2\n"
	".type by_symbol, @function\n"
	"by_symbol:\n"
	"	push %rbx\n"
	"at_symbol: cpuid\n"
	"	pop %rbx\n"
	"	ret\n"
	".size by_symbol, . - by_symbol\n"
	"at_unknown: cpuid\n"
	"	ret\n");

extern const uint8_t first_immediate[], at_frame[], at_symbol[], at_unknown[], immediate[], data[];
extern const char __ehdr_start[];

enum { MAX = 4096 };

static uint8_t *file;
static size_t bytes;
static struct cpuid_site sites[MAX];
static size_t nr;

static void read_self(void)
{
	struct stat st;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	TAP_MUST(fd >= 0 && fstat(fd, &st) == 0, "this program's file");
	bytes = (size_t)st.st_size;
	file = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	TAP_MUST(file != MAP_FAILED, "is mapped");
	close(fd);
}

static void find(void)
{
	memset(sites, 0x5a, sizeof(sites));
	nr = cpuid_sites_find(file, bytes, sites, MAX);
}

static bool has(const uint8_t *at)
{
	uint64_t vaddr = (uint64_t)at - (uint64_t)__ehdr_start;

	for (size_t i = 0; i < nr; i++)
		if (sites[i].vaddr == vaddr)
			return true;
	return false;
}

static Elf64_Ehdr *header(void) { return (Elf64_Ehdr *)file; }

static Elf64_Shdr *sections(void) { return (Elf64_Shdr *)(file + header()->e_shoff); }

static bool has_no_other(void)
{
	return !has(at_unknown) && !has(immediate + 1) && !has(data) && !has(data + 2) &&
	       !has(first_immediate + 1);
}

static void check_truncated(void)
{
	size_t wrong = 0;

	for (size_t n = 0; n < bytes; n += n < 8192 ? 7 : 997) {
		uint8_t *copy = malloc(n ? n : 1);
		size_t found;

		/* Behind it is nothing: ASan says so when somebody looks. */
		memcpy(copy, file, n);
		found = cpuid_sites_find(copy, n, sites, MAX);
		for (size_t i = 0; i < found; i++)
			wrong += sites[i].offset + 2 > n || copy[sites[i].offset] != 0x0f;
		free(copy);
	}
	TAP_CHECK(!wrong, "a file that ends early has none behind its end");
}

int main(void)
{
	bool ascending = true, right = true;
	Elf64_Off shoff;

	read_self();
	find();
	TAP_CHECK(has(at_frame) && has(at_symbol), "by unwind tables, and by a symbol (%zu)", nr);
	TAP_CHECK(has_no_other(),
		  "no immediate, no data, and nothing that no function is known of");
	for (size_t i = 0; i < nr; i++) {
		ascending = ascending && (!i || sites[i].offset > sites[i - 1].offset);
		right = right && sites[i].is_cpuid && sites[i].offset + 2 <= bytes &&
			file[sites[i].offset] == 0x0f && file[sites[i].offset + 1] == 0xa2;
	}
	TAP_CHECK(ascending && right, "in order, each is one");
	TAP_CHECK(cpuid_sites_find(file, bytes, sites, 1) <= 1, "no more than there is room for");

	shoff = header()->e_shoff;
	for (unsigned int i = 0; i < header()->e_shnum; i++)
		if (sections()[i].sh_type == SHT_SYMTAB || sections()[i].sh_type == SHT_DYNSYM)
			sections()[i].sh_type = SHT_NULL;
	find();
	TAP_CHECK(has(at_frame) && !has(at_symbol) && has_no_other(), "a stripped file");
	header()->e_shoff = 0;
	header()->e_shnum = 0;
	find();
	TAP_CHECK(has(at_frame) && has_no_other(),
		  "one without section headers: the unwinder's table");
	header()->e_shoff = shoff;
	header()->e_machine = EM_AARCH64;
	find();
	TAP_CHECK(nr == 0, "none for another machine");
	header()->e_machine = EM_X86_64;

	munmap(file, bytes);
	read_self();
	check_truncated();
	return tap_done();
}
