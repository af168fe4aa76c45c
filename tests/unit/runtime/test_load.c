/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Programs that cannot be loaded, and one that can.
 */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/tap.h"
#include "runtime/load.h"

static int load(uint64_t vaddr, uint64_t bytes)
{
	struct {
		Elf64_Ehdr eh;
		Elf64_Phdr ph[2];
	} file = {
		.eh = {
			.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
				     EV_CURRENT },
			.e_type = ET_DYN,
			.e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_phoff = sizeof(Elf64_Ehdr),
			.e_ehsize = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 2,
		},
		.ph = {
			{ .p_type = PT_LOAD, .p_flags = PF_R, .p_memsz = 4096, .p_align = 4096 },
			{ .p_type = PT_LOAD, .p_flags = PF_R, .p_vaddr = vaddr, .p_memsz = bytes,
			  .p_align = 4096 },
		},
	};
	struct load_image image;
	char path[40];
	int fd, r;

	fd = memfd_create("program", MFD_CLOEXEC);
	TAP_MUST(fd >= 0 && write(fd, &file, sizeof(file)) == sizeof(file), "a file");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = load_program(path, &image);
	close(fd);
	return r;
}

int main(void)
{
	TAP_CHECK(load(0x2000, 4096) == 0, "a program of two segments");
	TAP_CHECK(load(-0x1000ul, 0x1001) == -ENOEXEC,
		  "not one that ends past the end of all addresses");
	TAP_CHECK(load(-0x1000ul, 0xfff) == -ENOEXEC, "nor one whose last page does");
	return tap_done();
}
