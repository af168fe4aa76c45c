/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The guest's kernel: an ELF file into RAM, and the state in which its processors begin (guest_abi.h).
 *
 * Below 64 KiB lie the page tables and the descriptors that it begins with; it is free to have its own.
 */
#include "vmm/vmm_priv.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOOT_PML4   0x1000u
#define BOOT_PDPT   0x2000u
#define BOOT_PD     0x3000u /* four of them: 4 GiB */
#define BOOT_GDT    0x7000u
#define BOOT_STRUCT 0x8000u
#define BOOT_END    0x10000u

#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10

static bool segment_is_legal(const struct vmm *vmm, const Elf64_Phdr *ph, uint64_t file_bytes)
{
	uint64_t ram = vmm->config.ram_bytes;

	return ph->p_filesz <= ph->p_memsz && ph->p_offset <= file_bytes &&
	       ph->p_filesz <= file_bytes - ph->p_offset && ph->p_paddr >= BOOT_END &&
	       ph->p_paddr <= ram && ph->p_memsz <= ram - ph->p_paddr;
}

/* -ENOEXEC: it is no image. */
static int load_elf(struct vmm *vmm, const uint8_t *file, uint64_t bytes)
{
	const Elf64_Ehdr *eh = (const Elf64_Ehdr *)file;
	Elf64_Phdr ph;

	if (bytes < sizeof(*eh) || memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0 ||
	    eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_machine != EM_X86_64 ||
	    eh->e_type != ET_EXEC || eh->e_phentsize != sizeof(ph) || eh->e_phoff > bytes ||
	    eh->e_phnum > (bytes - eh->e_phoff) / sizeof(ph))
		return -ENOEXEC;
	for (unsigned int i = 0; i < eh->e_phnum; i++) {
		memcpy(&ph, file + eh->e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type != PT_LOAD || !ph.p_memsz)
			continue;
		if (!segment_is_legal(vmm, &ph, bytes))
			return -ENOEXEC;
		memcpy(vmm->ram + ph.p_paddr, file + ph.p_offset, ph.p_filesz);
	}
	vmm->entry = eh->e_entry;
	return 0;
}

static void put64(struct vmm *vmm, uint64_t gpa, uint64_t value)
{
	memcpy(vmm->ram + gpa, &value, sizeof(value));
}

static void boot_tables(struct vmm *vmm)
{
	struct guest_boot boot = { .ram_bytes = vmm->config.ram_bytes,
				   .vcpu_nr = vmm->config.vcpus };

	put64(vmm, BOOT_PML4, BOOT_PDPT | PTE_P | PTE_W);
	for (uint64_t i = 0; i < 4; i++)
		put64(vmm, BOOT_PDPT + i * 8, (BOOT_PD + i * PAGE) | PTE_P | PTE_W);
	for (uint64_t i = 0; i < 4ull * 512; i++)
		put64(vmm, BOOT_PD + i * 8, i << 21 | PTE_P | PTE_W | PTE_PS);
	put64(vmm, BOOT_GDT + SELECTOR_CODE, 0x00af9b000000ffffull);
	put64(vmm, BOOT_GDT + SELECTOR_DATA, 0x00cf93000000ffffull);
	memcpy(boot.args, vmm->config.args, sizeof(boot.args));
	memcpy(vmm->ram + BOOT_STRUCT, &boot, sizeof(boot));
}

int image_load(struct vmm *vmm, struct report *rep)
{
	int fd = open(vmm->config.image, O_RDONLY | O_CLOEXEC), r;
	struct stat st;
	uint8_t *file;

	if (fd < 0)
		return report_fail(rep, -errno, "cannot open the guest '%s'", vmm->config.image);
	r = fstat(fd, &st) < 0 ? -errno : 0;
	file = r == 0 && st.st_size > 0
		       ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
		       : MAP_FAILED;
	close(fd);
	if (file == MAP_FAILED)
		return report_fail(rep, r ? r : -ENOEXEC, "cannot read the guest '%s'",
				   vmm->config.image);
	r = load_elf(vmm, file, (uint64_t)st.st_size);
	munmap(file, (size_t)st.st_size);
	if (r < 0) {
		report_hint(rep, "it has to be a 64-bit ELF file for physical addresses within "
				 "its RAM");
		return report_fail(rep, r, "cannot load the guest '%s'", vmm->config.image);
	}
	boot_tables(vmm);
	return 0;
}

static struct kvm_segment flat(uint16_t selector, bool code)
{
	return (struct kvm_segment){ .selector = selector,
				     .limit = 0xffffffffu,
				     .type = code ? 11 : 3,
				     .present = 1,
				     .s = 1,
				     .l = code,
				     .db = !code,
				     .g = 1 };
}

int image_begin(struct vmm *vmm, struct vcpu *vcpu)
{
	struct kvm_regs regs = {
		.rip = vmm->entry, .rflags = 2, .rdi = vcpu->id, .rsi = BOOT_STRUCT
	};
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs = flat(SELECTOR_CODE, true);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat(SELECTOR_DATA, false);
	sregs.gdt.base = BOOT_GDT;
	sregs.gdt.limit = 0x17;
	sregs.idt.limit = 0;
	sregs.cr0 = 0x80050033; /* PG, AM, WP, NE, ET, MP, PE */
	sregs.cr3 = BOOT_PML4;
	sregs.cr4 = 0x620;  /* OSXMMEXCPT, OSFXSR, PAE */
	sregs.efer = 0x500; /* LMA, LME */
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}
