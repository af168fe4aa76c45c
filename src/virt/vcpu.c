/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What a guest is told about SGX, and the MSRs by which it is set up.
 *
 * IA32_FEATURE_CONTROL: until it is locked SGX is off, and no bit of it can change afterwards.  The four
 * hashes of the launch key can be written before the lock, and after it where SGX_LC was set.  They
 * are never put into the processor's own MSRs: EINIT exits, and is given them.
 */
#include "virt/vcpu.h"

#include <errno.h>
#include <string.h>

#include "virt/virt_priv.h"

#define LEAF_FEATURES 7u
#define LEAF_SGX      0x12u
#define EBX7_SGX      (1u << 2)
#define ECX7_SGX_LC   (1u << 30)

#define LEAF_BIT(leaf)         (1ull << (leaf))
#define LEAF_BITS(first, last) ((2ull << (last)) - (1ull << (first)))

void virt_policy_host(const struct virt_guest *guest, bool provisioning,
		      struct virt_policy *ret_policy)
{
	const struct cpu_config *config = cpu_get_config(guest->cpu);
	struct cpu_cpuid features =
		cpu_cpuid(guest->cpu, LEAF_FEATURES, 0, (struct cpu_cpuid){ 0 });

	*ret_policy = (struct virt_policy){ .sgx = features.ebx & EBX7_SGX,
					    .sgx_lc = features.ecx & ECX7_SGX_LC,
					    .has_leaf12 = true,
					    .xcr0 = config->xfrm_mask,
					    .provisioning = provisioning };
	for (uint32_t i = 0; i < 2; i++)
		ret_policy->leaf12[i] = cpu_cpuid(guest->cpu, LEAF_SGX, i, (struct cpu_cpuid){ 0 });
	/* A VMM's own leaves are not for its guest. */
	ret_policy->leaf12[0].eax &= ~(SGX_CPUID_ENCLV | SGX_CPUID_ENCLS_C);
	if (!provisioning)
		ret_policy->leaf12[1].eax &= ~(uint32_t)SGX_ATTR_PROVISIONKEY;
}

void virt_vcpu_init(struct virt_vcpu *vcpu, struct virt_guest *guest,
		    const struct virt_policy *policy)
{
	memset(vcpu, 0, sizeof(*vcpu));
	vcpu->guest = guest;
	vcpu->policy = *policy;
	vcpu->paging = true;
	memcpy(vcpu->lepubkeyhash, cpu_get_config(guest->cpu)->lepubkeyhash,
	       sizeof(vcpu->lepubkeyhash));
}

/* ---- MSRs ---------------------------------------------------------------------------------------- */

static bool is_hash(uint32_t msr)
{
	return msr >= VIRT_MSR_LEPUBKEYHASH0 && msr < VIRT_MSR_LEPUBKEYHASH0 + 4;
}

int virt_rdmsr(const struct virt_vcpu *vcpu, uint32_t msr, uint64_t *ret_value)
{
	if (msr == VIRT_MSR_FEATURE_CONTROL) {
		*ret_value = vcpu->feature_control;
		return 0;
	}
	if (!is_hash(msr))
		return -ENOENT;
	if (!vcpu->policy.sgx_lc)
		return -EPERM;
	*ret_value = vcpu->lepubkeyhash[msr - VIRT_MSR_LEPUBKEYHASH0];
	return 0;
}

static int write_feature_control(struct virt_vcpu *vcpu, uint64_t value)
{
	uint64_t known = VIRT_FEATURE_LOCKED;

	if (vcpu->policy.sgx)
		known |= VIRT_FEATURE_SGX_ENABLED;
	if (vcpu->policy.sgx_lc)
		known |= VIRT_FEATURE_SGX_LC;
	if ((value & ~known) || (vcpu->feature_control & VIRT_FEATURE_LOCKED))
		return -EPERM;
	vcpu->feature_control = value;
	return 0;
}

int virt_wrmsr(struct virt_vcpu *vcpu, uint32_t msr, uint64_t value)
{
	uint64_t control = vcpu->feature_control;

	if (msr == VIRT_MSR_FEATURE_CONTROL)
		return write_feature_control(vcpu, value);
	if (!is_hash(msr))
		return -ENOENT;
	if (!vcpu->policy.sgx_lc)
		return -EPERM;
	if ((control & VIRT_FEATURE_LOCKED) && !(control & VIRT_FEATURE_SGX_LC))
		return -EPERM;
	vcpu->lepubkeyhash[msr - VIRT_MSR_LEPUBKEYHASH0] = value;
	return 0;
}

/* ---- which leaves exit --------------------------------------------------------------------------- */

bool vcpu_sgx_is_enabled(const struct virt_vcpu *vcpu)
{
	const uint64_t on = VIRT_FEATURE_SGX_ENABLED | VIRT_FEATURE_LOCKED;

	return (vcpu->feature_control & on) == on;
}

/* The guest's CPUID allows less than the processor would: ECREATE has to be looked at. */
static bool is_narrower(const struct virt_vcpu *vcpu)
{
	const struct virt_policy *policy = &vcpu->policy;
	struct cpu_cpuid have[2];

	if (!policy->provisioning || !policy->has_leaf12)
		return true;
	for (uint32_t i = 0; i < 2; i++)
		have[i] = cpu_cpuid(vcpu->guest->cpu, LEAF_SGX, i, (struct cpu_cpuid){ 0 });
	return policy->leaf12[0].ebx != have[0].ebx || policy->leaf12[0].edx != have[0].edx ||
	       memcmp(&policy->leaf12[1], &have[1], sizeof(have[1])) != 0;
}

uint64_t virt_encls_bitmap(const struct virt_vcpu *vcpu)
{
	uint32_t caps = vcpu->policy.leaf12[0].eax;
	uint64_t bitmap = UINT64_MAX;

	if (!vcpu->policy.sgx || !vcpu_sgx_is_enabled(vcpu))
		return bitmap;
	if (caps & SGX_CPUID_SGX1) {
		bitmap &= ~LEAF_BITS(SGX_ECREATE, SGX_ETRACK);
		if (is_narrower(vcpu))
			bitmap |= LEAF_BIT(SGX_ECREATE);
	}
	if (caps & SGX_CPUID_SGX2)
		bitmap &= ~LEAF_BITS(SGX_EAUG, SGX_EMODT);
	/* Where the processor's MSRs are locked they are the guest's as well. */
	if (!cpu_get_config(vcpu->guest->cpu)->lepubkeyhash_locked)
		bitmap |= LEAF_BIT(SGX_EINIT);
	return bitmap;
}
