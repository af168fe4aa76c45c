/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the guest is told of its processor, and its SGX MSRs.
 *
 * CPUID is what KVM can show, with our processor's SGX in it, narrowed to what the guest can have: no instructions
 * for VMMs, XFRM no wider than its XCR0, and EPC sections that are the regions it begins with.
 */
#include "vmm/vmm_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/kvm.h"

#define LEAF_FEATURES 7u
#define LEAF_XSAVE    0xdu
#define LEAF_SGX      0x12u
#define LEAF_ADDRESS  0x80000008u

#define EBX7_SGX      (1u << 2)
#define ECX7_SGX_LC   (1u << 30)
#define SECTION_VALID 1u

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *cpuid, uint32_t leaf,
					   uint32_t subleaf)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == leaf && cpuid->entries[i].index == subleaf)
			return &cpuid->entries[i];
	return NULL;
}

static void add(struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t subleaf, struct cpu_cpuid value)
{
	cpuid->entries[cpuid->nent++] =
		(struct kvm_cpuid_entry2){ .function = leaf,
					   .index = subleaf,
					   .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
					   .eax = value.eax,
					   .ebx = value.ebx,
					   .ecx = value.ecx,
					   .edx = value.edx };
}

static struct cpu_cpuid section_of(uint64_t gpa, uint64_t bytes)
{
	return (struct cpu_cpuid){ .eax = ((uint32_t)gpa & 0xfffff000u) | SECTION_VALID,
				   .ebx = (uint32_t)(gpa >> 32) & 0xfffffu,
				   .ecx = ((uint32_t)bytes & 0xfffff000u) | SECTION_VALID,
				   .edx = (uint32_t)(bytes >> 32) & 0xfffffu };
}

/* Entries that have subleaves are matched by them; KVM has said nothing of leaf 12H, or zeros. */
static void drop_leaf(struct kvm_cpuid2 *cpuid, uint32_t leaf)
{
	uint32_t nr = 0;

	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function != leaf)
			cpuid->entries[nr++] = cpuid->entries[i];
	cpuid->nent = nr;
}

static void make_policy(struct vmm *vmm)
{
	const struct kvm_cpuid_entry2 *xsave = find(vmm->cpuid, LEAF_XSAVE, 0);

	virt_policy_host(vmm->guest, vmm->config.provisioning, &vmm->policy);
	vmm->policy.xcr0 &= SGX_XFRM_LEGACY | (xsave ? (uint64_t)xsave->edx << 32 | xsave->eax : 0);
	vmm->policy.leaf12[1].ecx &= (uint32_t)vmm->policy.xcr0;
	vmm->policy.leaf12[1].edx &= (uint32_t)(vmm->policy.xcr0 >> 32);
}

int cpuid_init(struct vmm *vmm, struct report *rep)
{
	const struct kvm_cpuid_entry2 *address;
	struct kvm_cpuid2 *cpuid = kvm_supported_cpuid(vmm->kvm_fd, 8);
	unsigned int bits;

	if (!cpuid)
		return report_fail(rep, -ENOMEM, "cannot tell what KVM can show a guest");
	vmm->cpuid = cpuid;
	address = find(cpuid, LEAF_ADDRESS, 0);
	bits = address ? address->eax & 0xff : 36;
	/* A quarter of the address space for what the guest is told of, and one for each of ours. */
	vmm->alias = 1ull << (bits - 2);
	vmm->hidden_gpa = 3ull << (bits - 2);
	return 0;
}

int cpuid_set(struct vmm *vmm, struct vcpu *vcpu)
{
	struct kvm_cpuid2 *cpuid = vmm->cpuid;

	if (vcpu->id == 0) {
		make_policy(vmm);
		for (uint32_t i = 0; i < cpuid->nent; i++) {
			struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

			if (e->function == 0 && e->eax < LEAF_SGX)
				e->eax = LEAF_SGX;
			if (e->function != LEAF_FEATURES || e->index != 0)
				continue;
			e->ebx |= vmm->policy.sgx ? EBX7_SGX : 0;
			e->ecx |= vmm->policy.sgx_lc ? ECX7_SGX_LC : 0;
		}
		drop_leaf(cpuid, LEAF_SGX);
		add(cpuid, LEAF_SGX, 0, vmm->policy.leaf12[0]);
		add(cpuid, LEAF_SGX, 1, vmm->policy.leaf12[1]);
		add(cpuid, LEAF_SGX, 2, section_of(VMM_EPC_GPA, vmm->config.epc_bytes));
		add(cpuid, LEAF_SGX, 3, (struct cpu_cpuid){ 0 });
	}
	return ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0 ? -errno : 0;
}

void cpuid_msr(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint64_t value = 0;
	int r;

	if (run->exit_reason == KVM_EXIT_X86_RDMSR) {
		r = virt_rdmsr(&vcpu->virt, run->msr.index, &value);
		run->msr.data = value;
	} else {
		r = virt_wrmsr(&vcpu->virt, run->msr.index, run->msr.data);
	}
	run->msr.error = r < 0;
}
