/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The parts of the VMM that need no KVM: the walk of a guest's page tables, the hidden ones, the instructions that it
 * knows, and what it takes for a kernel.
 */
#include "vmm/vmm_priv.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/tap.h"

#define RAM    (256ull << 10)
#define PML4   0x1000ull
#define PDPT   0x2000ull
#define PD     0x3000ull
#define PT     0x4000ull
#define TARGET 0x9000ull
#define LA     0x12345000ull

static uint8_t ram[RAM] __attribute__((aligned(4096)));
static uint8_t hidden[HIDDEN_BYTES] __attribute__((aligned(4096)));
static struct vmm vmm;

static void init(void)
{
	vmm.ram = ram;
	vmm.hidden = hidden;
	vmm.config.ram_bytes = RAM;
	vmm.hidden_gpa = 3ull << 37;
	vmm.vcpu[0].vmm = &vmm;
	vmm.vcpu[0].shown = calloc(SHOWN_MAX, sizeof(struct shown));
}

static uint64_t *entry(uint64_t table, uint64_t la, unsigned int level)
{
	return (uint64_t *)(ram + table) + (la >> (12 + 9 * level) & 511);
}

static void map(uint64_t rights, uint64_t leaf_rights)
{
	memset(ram, 0, sizeof(ram));
	*entry(PML4, LA, 3) = PDPT | rights;
	*entry(PDPT, LA, 2) = PD | rights;
	*entry(PD, LA, 1) = PT | rights;
	*entry(PT, LA, 0) = TARGET | leaf_rights;
}

static const struct {
	const char *name;
	uint64_t rights, leaf;
	unsigned int access, cpl;
	bool ok;
	uint16_t error;
} walks[] = {
	{ "user reads", 7, 7, SGX_SECINFO_R, 3, true, 0 },
	{ "user writes", 7, 7, SGX_SECINFO_W, 3, true, 0 },
	{ "not present", 7, 6, SGX_SECINFO_R, 3, false, 4 },
	{ "write to what is not present", 7, 6, SGX_SECINFO_W, 3, false, 6 },
	{ "user in the kernel's page", 7, 3, SGX_SECINFO_R, 3, false, 5 },
	{ "user in the kernel's table", 3, 7, SGX_SECINFO_R, 3, false, 5 },
	{ "the kernel in its page", 3, 3, SGX_SECINFO_W, 0, true, 0 },
	{ "a write to what is read-only", 7, 5, SGX_SECINFO_W, 3, false, 7 },
	{ "by a table above", 5, 7, SGX_SECINFO_W, 3, false, 7 },
	{ "the kernel writes to read-only, WP", 7, 5, SGX_SECINFO_W, 0, false, 3 },
	{ "a fetch", 7, 7, SGX_SECINFO_X, 3, true, 0 },
	{ "a fetch where NX", 7, 7 | PTE_NX, SGX_SECINFO_X, 3, false, 0x15 },
};

static void test_walks(void)
{
	for (size_t i = 0; i < sizeof(walks) / sizeof(walks[0]); i++) {
		struct paging paging = { .cr0 = 1ull << 31 | 1ull << 16,
					 .cr3 = PML4,
					 .efer = 3ull << 10,
					 .cpl = walks[i].cpl };
		struct translation t;
		uint16_t error = 0;
		uint64_t leaf;
		bool ok;

		map(walks[i].rights, walks[i].leaf);
		ok = paging_walk(&vmm, &paging, LA + 0x123, walks[i].access, &t, &error);
		leaf = *entry(PT, LA, 0);
		TAP_CHECK(ok == walks[i].ok &&
				  (ok ? t.gpa == TARGET + 0x123 : error == walks[i].error),
			  "%s", walks[i].name);
		TAP_CHECK(!!(leaf & PTE_A) == ok &&
				  !!(leaf & PTE_D) == (ok && walks[i].access == SGX_SECINFO_W),
			  "%s: accessed and dirty", walks[i].name);
	}
}

static void test_tables(void)
{
	struct paging paging = { .cr0 = 1ull << 31, .cr3 = PML4, .efer = 3ull << 10, .cpl = 3 };
	struct translation t;
	uint16_t error;

	map(7, 7);
	*entry(PD, LA, 1) = 0x200000 | 7 | PTE_PS;
	TAP_CHECK(paging_walk(&vmm, &paging, LA, SGX_SECINFO_R, &t, &error) &&
			  t.gpa == 0x200000 + LA % 0x200000,
		  "a large page");
	*entry(PDPT, LA, 2) = RAM | 7;
	TAP_CHECK(!paging_walk(&vmm, &paging, LA, SGX_SECINFO_R, &t, &error) && error == 4,
		  "a table that is not in RAM");
	paging.efer = 0;
	TAP_CHECK(!paging_walk(&vmm, &paging, LA, SGX_SECINFO_R, &t, &error), "no long mode");
}

static void test_insns(void)
{
	static const uint8_t encls[] = { 0x0f, 0x01, 0xcf }, enclu[] = { 0x0f, 0x01, 0xd7 },
			     enclv[] = { 0x0f, 0x01, 0xc0 }, other[] = { 0x0f, 0x01, 0xc1 };

	TAP_CHECK(insn_of(encls, 3) == INSN_ENCLS && insn_of(enclu, 3) == INSN_ENCLU &&
			  insn_of(enclv, 3) == INSN_ENCLV,
		  "ENCLS, ENCLU, ENCLV");
	TAP_CHECK(insn_of(other, 3) == INSN_OTHER && insn_of(encls, 2) == INSN_OTHER,
		  "not VMCALL, and not two bytes");
}

/* The walk that a processor would make of the hidden tables. */
static uint64_t hidden_walk(uint64_t la)
{
	struct kvm_sregs sregs = { 0 };
	uint64_t at;

	hidden_sregs(&vmm.vcpu[0], &sregs);
	at = sregs.cr3;
	for (int shift = 39; shift >= 12; shift -= 9) {
		uint64_t off = at - vmm.hidden_gpa + (la >> shift & 511) * 8;

		if (off >= HIDDEN_BYTES)
			return 0;
		memcpy(&at, hidden + off, 8);
		if (!(at & PTE_P))
			return 0;
		at &= ~(PTE_NX | (PAGE - 1));
	}
	return at;
}

static void test_hidden(void)
{
	struct vcpu *vcpu = &vmm.vcpu[0];
	struct kvm_sregs sregs = { .cr4 = 1ull << 17, .efer = 1 };
	uint64_t name, mapped = 0;
	struct cpu_regs regs = { .rip = 0x1234, .rsp = 0x5678, .rax = 9, .r15 = 8 };

	hidden_init(&vmm, 0);
	hidden_sregs(vcpu, &sregs);
	TAP_CHECK(!(sregs.cr4 & 1ull << 17) && !(sregs.efer & 1), "no PCID, no SYSCALL");
	TAP_CHECK(hidden_walk(sregs.idt.base) == vmm.hidden_gpa + PAGE, "it maps its own IDT");
	TAP_CHECK(hidden_vector(sregs.idt.base + PAGE + 14 * 16 + 2) == 14, "handlers by vector");
	TAP_CHECK(hidden_vector(LA) == -1, "and nothing else is one");
	TAP_CHECK(hidden_map(vcpu, LA, 0xabc000, PTE_W, &name) && hidden_walk(LA) == 0xabc000,
		  "a page is mapped");
	TAP_CHECK(hidden_walk(LA + PAGE) == 0, "and only that one");
	TAP_CHECK(!hidden_map(vcpu, sregs.idt.base, 0xabc000, PTE_W, &name),
		  "not where it is itself");
	while (hidden_map(vcpu, mapped << 30, 0xabc000, 0, &name))
		mapped++;
	TAP_CHECK(mapped > 50, "tables run out after %llu", (unsigned long long)mapped);
	hidden_remove_all(vcpu);
	hidden_go(vcpu, &regs);
	TAP_CHECK(regs.rcx > 2 && regs.rcx <= 255, "all go in one list of %llu",
		  (unsigned long long)regs.rcx);
	TAP_CHECK(hidden_walk(regs.rip) && hidden_walk(regs.rsp) && hidden_walk(regs.rsi),
		  "which code at CPL 0 can reach");
}

static int load(const void *bytes, size_t size)
{
	static char path[64];
	struct report rep;
	int fd, r;

	report_init(&rep);
	snprintf(path, sizeof(path), "/tmp/swsgx-test-image-%d", (int)getpid());
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
		return -EBADF;
	close(fd);
	vmm.config.image = path;
	r = image_load(&vmm, &rep);
	unlink(path);
	return r;
}

struct image {
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	char code[16];
};

static void test_images(void)
{
	struct image good = { .eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64 },
				      .e_type = ET_EXEC,
				      .e_machine = EM_X86_64,
				      .e_entry = 0x20000,
				      .e_phoff = sizeof(Elf64_Ehdr),
				      .e_phentsize = sizeof(Elf64_Phdr),
				      .e_phnum = 1 },
			      .ph = { .p_type = PT_LOAD,
				      .p_offset = offsetof(struct image, code),
				      .p_paddr = 0x20000,
				      .p_filesz = 16,
				      .p_memsz = 32 },
			      .code = "fifteen letters" },
		     bad;

	TAP_CHECK(load(&good, sizeof(good)) == 0 && vmm.entry == 0x20000 &&
			  !memcmp(ram + 0x20000, good.code, 16),
		  "an image");
	bad = good;
	bad.ph.p_paddr = 0x8000;
	TAP_CHECK(load(&bad, sizeof(bad)) == -ENOEXEC, "not over the first page tables");
	bad.ph.p_paddr = RAM - 16;
	TAP_CHECK(load(&bad, sizeof(bad)) == -ENOEXEC, "not past the end of RAM");
	bad.ph.p_paddr = ~0ull - 8;
	TAP_CHECK(load(&bad, sizeof(bad)) == -ENOEXEC, "nor past the end of all addresses");
	bad = good;
	bad.ph.p_offset = 1 << 20;
	TAP_CHECK(load(&bad, sizeof(bad)) == -ENOEXEC, "not from past the end of the file");
	bad = good;
	bad.eh.e_phnum = 1000;
	TAP_CHECK(load(&bad, sizeof(bad)) == -ENOEXEC, "headers past the end of the file");
	bad = good;
	bad.eh.e_machine = EM_386;
	TAP_CHECK(load(&bad, sizeof(bad)) == -ENOEXEC, "another machine's");
	TAP_CHECK(load("ELF?", 4) == -ENOEXEC, "no image");
}

int main(void)
{
	init();
	test_walks();
	test_tables();
	test_insns();
	test_hidden();
	test_images();
	return tap_done();
}
