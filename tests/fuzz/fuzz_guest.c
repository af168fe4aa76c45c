/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * ENCLS of a guest's kernel, from registers to outcome: the bytes are what it executes and what it writes into its memory
 * before, and meanwhile.  Whatever that is, it gets what the processor gives it: its registers and memory change as
 * the manual says, or it faults and they don't; and a guest beside it keeps its pages.
 */
#include <errno.h>

#include "fuzz/fuzz.h"
#include "lib/sigstruct.h"
#include "lib/world.h"
#include "unit/virt/machine.h"

enum {
	EPC_PAGES = 48,
	OPS_MAX = 48,
	CHILDREN = 4,
	SECS = 0, /* and its children behind it */
	VA = 6,
};

#define STATUS_FLAGS 0x8d5ull

struct op {
	uint8_t what, leaf, where[3], k;
	uint64_t value;
} __attribute__((packed));

static struct world w;
static struct vepc_registry *registry;
static struct vm good;
static struct machine m;
static uint64_t *ram_before;
static struct sgx_sigstruct sig; /* of the enclave that each guest has */
static struct op flip;           /* the guest's other processor, after each read of an operand */

static uint64_t flags_of(uint32_t i) { return i == CHILDREN - 1 ? FLAGS_TCS : FLAGS_RW; }

static bool build(struct vm *vm)
{
	bool ok = vm_ecreate(vm, SECS) && vm_epa(vm, VA);

	for (uint32_t i = 0; i < CHILDREN; i++)
		ok = ok && vm_eadd(vm, SECS, 1 + i, i, flags_of(i));
	return ok;
}

static void sign(void)
{
	struct sgx_attributes attributes = { SGX_ATTR_MODE64BIT, SGX_XFRM_LEGACY };
	struct measure *measure = measure_create(1, VM_SIZE);
	struct signer *signer = signer_create();
	uint8_t mrenclave[32];

	for (uint32_t i = 0; i < CHILDREN; i++)
		measure_add(measure, i * SGX_PAGE_SIZE, flags_of(i));
	measure_final(measure, mrenclave);
	sigstruct_init(&sig, mrenclave, attributes);
	sigstruct_sign(&sig, signer);
	signer_destroy(signer);
}

static void start(void)
{
	sign();
	world_init_caps(&w, EPC_PAGES, 0, SGX_CPUID_ENCLV | SGX_CPUID_ENCLS_C);
	must(vepc_registry_create(w.epc, &registry) == 0, "raw EPC");
	vm_join(&good, &w, registry);
	must(build(&good), "a guest that behaves");
	ram_before = malloc(RAM_BYTES);
	must(ram_before, "memory");
}

/* Mostly what an operand may be. */
static uint64_t where(const struct op *op, unsigned int i)
{
	static const uint64_t known[16] = {
		AT_PAGEINFO,
		AT_SECINFO,
		AT_PCMD,
		AT_SOURCE,
		AT_SIG,
		AT_TOKEN,
		LA_UNMAPPED,
		LA_HOLE,
		1ull << 47,
		~0xfffull,
		RAM_BYTES - SGX_PAGE_SIZE,
		RAM_BYTES,
		VM_GPA + VM_PAGES * SGX_PAGE_SIZE,
		VM_GPA - SGX_PAGE_SIZE,
		SGX_PT_VA,
		0,
	};
	uint8_t what = op->where[i], low = what & 15;

	switch (what >> 4) {
	case 0:
		return known[low];
	case 1:
		return vm_gpa(&m.vm, low) + op->value % SGX_PAGE_SIZE;
	case 2:
		return vm_gpa(&m.vm, VM_SECOND + low);
	case 3:
		return vm_gpa(&m.vm, VA) + low * 8u;
	case 4:
		return low * 0x1000ull;
	case 5:
		return AT_PAGEINFO + low * 32u;
	case 6:
		return op->value;
	default:
		return vm_gpa(&m.vm, low);
	}
}

static void scribble(const struct op *op)
{
	m.ram[(op->leaf << 8 | op->k) % (RAM_BYTES / 8)] = op->value;
}

static void after_read(struct machine *machine, uint64_t gpa, size_t bytes)
{
	if (flip.k)
		scribble(&flip);
}

/* A guest with an enclave that has all but EINIT. */
static void begin(void)
{
	uint64_t hash[4];

	machine_join(&m, &w, registry);
	must(build(&m.vm), "a guest");
	memcpy(machine_ram(&m, AT_SIG), &sig, sizeof(sig));
	cpu_signer_hash(&sig, hash);
	for (uint32_t i = 0; i < 4; i++)
		must(virt_wrmsr(&m.vcpu, VIRT_MSR_LEPUBKEYHASH0 + i, hash[i]) == 0,
		     "its launch key");
	m.after_read = after_read;
	memset(&flip, 0, sizeof(flip));
}

static void check(int r, const struct cpu_regs *before)
{
	struct cpu_regs want = *before;
	uint32_t leaf = (uint32_t)before->rax;

	must(r == 0 || r == -EFAULT, "there is an outcome, or an operand leads nowhere");
	if (r == 0) {
		must(m.out.fault == CPU_NO_FAULT || m.out.fault == CPU_GP ||
			     m.out.fault == CPU_PF || m.out.fault == CPU_UD,
		     "the vector");
		if (m.out.fault == CPU_NO_FAULT) {
			want.rax = m.regs.rax;
			want.rflags =
				(want.rflags & ~STATUS_FLAGS) | (m.regs.rflags & STATUS_FLAGS);
			if (leaf == SGX_EDBGRD)
				want.rbx = m.regs.rbx;
		}
		must(!memcmp(&want, &m.regs, sizeof(want)), "registers");
	}
	must(leaf == SGX_EWB || flip.k || !memcmp(ram_before, m.ram, RAM_BYTES), "memory");
}

static void encls(uint32_t leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
	struct cpu_regs regs = { .rax = leaf, .rbx = rbx, .rcx = rcx, .rdx = rdx };

	memcpy(ram_before, m.ram, RAM_BYTES);
	check(machine_encls(&m, (enum sgx_encls)leaf, rbx, rcx, rdx), &regs);
}

/* What an operand's other operands have to be like before a leaf gets anywhere. */
static void by_the_book(const struct op *op)
{
	uint64_t page = vm_gpa(&m.vm, op->where[0] % 16), secs = vm_gpa(&m.vm, SECS);
	uint64_t slot = vm_gpa(&m.vm, VA) + op->where[1] * 8u;

	switch (op->k % 7) {
	case 0:
		machine_secs(&m);
		break;
	case 1:
		machine_pageinfo(&m, VM_BASE + op->where[1] * SGX_PAGE_SIZE, AT_SOURCE, AT_SECINFO,
				 secs);
		vm_source(machine_ram(&m, AT_SOURCE), op->where[1], op->value);
		break;
	case 2:
		encls(SGX_EBLOCK, 0, page, 0);
		encls(SGX_ETRACK, 0, secs, 0);
		machine_pageinfo(&m, 0, AT_SOURCE, AT_PCMD, 0);
		encls(SGX_EWB, AT_PAGEINFO, page, slot);
		break;
	case 3:
		machine_pageinfo(&m, VM_BASE + (op->where[2] - 1ull) * SGX_PAGE_SIZE, AT_SOURCE,
				 AT_PCMD, secs);
		encls(op->value & 1 ? SGX_ELDB : SGX_ELDU, AT_PAGEINFO, page, slot);
		break;
	case 4:
		machine_pageinfo(&m, VM_BASE + op->where[1] * SGX_PAGE_SIZE, 0, 0, secs);
		encls(SGX_EAUG, AT_PAGEINFO, page, 0);
		break;
	case 5:
		encls(SGX_EINIT, AT_SIG, secs, AT_TOKEN);
		break;
	default:
		memset(machine_ram(&m, AT_SECINFO), 0, sizeof(struct sgx_secinfo));
		memcpy(machine_ram(&m, AT_SECINFO), &op->value, sizeof(op->value));
		break;
	}
}

static void execute(const struct op *op)
{
	switch (op->what % 8) {
	case 0:
		scribble(op);
		break;
	case 1:
		machine_pageinfo(&m, op->value, where(op, 0), where(op, 1), where(op, 2));
		break;
	case 2:
		by_the_book(op);
		break;
	case 3: /* the host's turn */
		for (unsigned int i = 0; i <= op->k % 8; i++)
			epc_reclaim(w.epc);
		break;
	case 4:
		flip = *op;
		break;
	case 5: /* or others' */
		must(vm_is_intact(&good, 1, 0, FLAGS_RW), "a page of the guest beside");
		break;
	default:
		encls(op->leaf < 0xf0 ? op->leaf % 24u : (uint32_t)op->value, where(op, 0),
		      where(op, 1), where(op, 2));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nr)
{
	char why[256] = "";
	struct op op;

	if (!good.guest)
		start();
	begin();
	for (unsigned int n = 0; n < OPS_MAX && overlay(&op, sizeof(op), &bytes, &nr) == sizeof(op);
	     n++)
		execute(&op);
	for (uint32_t i = 0; i < CHILDREN; i++)
		must(vm_is_intact(&good, 1 + i, i, flags_of(i)), "the guest beside has its pages");
	must(epc_audit(w.epc, false, why, sizeof(why)) == 0, why);
	machine_leave(&m);
	must(vepc_zombie_nr(registry) == 0, "no zombie");
	must(epc_audit(w.epc, false, why, sizeof(why)) == 0, why);
	return 0;
}
