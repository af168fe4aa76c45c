/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The ENCLS and ENCLV instructions, in root and in non-root operation.
 *
 * A leaf says how it ended and, for a conflict that the SDM's tables give an exit qualification, why
 * (struct cpu_outcome, conflict).  With the EPC virtualisation extensions on, that reason becomes a VM
 * exit here, in place of the #GP or the code; a leaf that ended so has changed nothing.
 */
#include "cpu/vmx.h"

#include "cpu/cpu_priv.h"
#include "cpu/vmx_priv.h"

static bool in_guest(const struct cpu_vmx *vmx, uint32_t control)
{
	return vmx->mode == CPU_VMX_NON_ROOT && vmx->controls & control;
}

static bool bitmap_has(uint64_t bitmap, uint32_t eax)
{
	return bitmap >> (eax < 63 ? eax : 63) & 1;
}

static struct cpu_outcome vm_exit(struct cpu_exit *ret_exit, struct cpu_exit exit)
{
	*ret_exit = exit;
	return (struct cpu_outcome){ .fault = CPU_VM_EXIT };
}

static struct cpu_outcome conflict_exit(const struct cpu_operands *ops, struct cpu_outcome out,
					struct cpu_exit *ret_exit)
{
	bool tracking =
		out.conflict == CPU_TRACKING_RESOURCE || out.conflict == CPU_TRACKING_REFERENCE;
	struct cpu_exit exit = {
		.reason = CPU_EXIT_SGX_CONFLICT,
		.code = (uint16_t)(out.conflict - 1),
		.error = out.conflict == CPU_PAGE_ERROR ? out.eax : 0,
		.guest_linear = tracking ? 0 : ops->linear,
		.guest_physical = tracking ? out.context : ops->physical,
	};

	return vm_exit(ret_exit, exit);
}

/* What "translation of RCX produced by paging" is. */
static uint64_t context_of(const struct cpu_vmx *vmx, const struct cpu_operands *ops)
{
	return vmx->mode == CPU_VMX_NON_ROOT ? ops->physical : cpu_physical(ops->page);
}

/* Leaves that came after SGX1. */
static struct cpu_outcome newer_leaf(struct cpu *cpu, const struct cpu_vmx *vmx,
				     struct cpu_operands *ops)
{
	switch (ops->leaf) {
	case SGX_EAUG:
		return encls_eaug(cpu, &ops->pi, ops->page);
	case SGX_EMODPR:
		return encls_emodpr(cpu, ops->secinfo, ops->page);
	case SGX_EMODT:
		return encls_emodt(cpu, ops->secinfo, ops->page);
	case SGX_ERDINFO:
		return vmx_erdinfo(cpu, ops->rdinfo, ops->page,
				   in_guest(vmx, CPU_VMX_EPC_VIRT_EXT));
	case SGX_ETRACKC:
		return encls_etrackc(cpu, ops->page);
	case SGX_EUPDATESVN:
		return encls_eupdatesvn(cpu);
	default:
		return cpu_gp();
	}
}

static struct cpu_outcome encls_leaf(struct cpu *cpu, const struct cpu_vmx *vmx,
				     struct cpu_operands *ops)
{
	switch (ops->leaf) {
	case SGX_ECREATE:
		return vmx_ecreate(cpu, &ops->pi, ops->page, context_of(vmx, ops));
	case SGX_EADD:
		return encls_eadd(cpu, &ops->pi, ops->page);
	case SGX_EINIT:
		return encls_einit(cpu, ops->sigstruct, ops->page, ops->einittoken,
				   ops->lepubkeyhash);
	case SGX_EREMOVE:
		return vmx_eremove(cpu, ops->page, in_guest(vmx, CPU_VMX_EPC_VIRT_EXT));
	case SGX_EDBGRD:
		return encls_edbgrd(cpu, ops->page, ops->offset, &ops->value);
	case SGX_EDBGWR:
		return encls_edbgwr(cpu, ops->page, ops->offset, ops->value);
	case SGX_EEXTEND:
		return encls_eextend(cpu, ops->secs, ops->page, ops->offset);
	case SGX_ELDB:
	case SGX_ELDU:
	case SGX_ELDBC:
	case SGX_ELDUC:
		return vmx_eld(cpu, (enum sgx_encls)ops->leaf, &ops->pi, ops->page, ops->va,
			       ops->slot, context_of(vmx, ops));
	case SGX_EBLOCK:
		return encls_eblock(cpu, ops->page);
	case SGX_EPA:
		return encls_epa(cpu, ops->page);
	case SGX_EWB:
		return vmx_ewb(cpu, &ops->pi, ops->page, ops->va, ops->slot, ops->out,
			       &ops->linaddr, in_guest(vmx, CPU_VMX_EPC_VIRT_EXT));
	case SGX_ETRACK:
		return encls_etrack(cpu, ops->page);
	default:
		return newer_leaf(cpu, vmx, ops);
	}
}

struct cpu_outcome cpu_encls(struct cpu *cpu, const struct cpu_vmx *vmx, struct cpu_operands *ops,
			     struct cpu_exit *ret_exit)
{
	struct cpu_outcome out;

	if (!(cpu->config.caps & SGX_CPUID_SGX1))
		return cpu_ud();
	if (in_guest(vmx, CPU_VMX_ENCLS_EXITING) && bitmap_has(vmx->encls_bitmap, ops->leaf))
		return vm_exit(ret_exit, (struct cpu_exit){ .reason = CPU_EXIT_ENCLS });
	out = encls_leaf(cpu, vmx, ops);
	if (out.conflict != CPU_NO_CONFLICT && in_guest(vmx, CPU_VMX_EPC_VIRT_EXT))
		return conflict_exit(ops, out, ret_exit);
	return out;
}

struct cpu_outcome cpu_enclv(struct cpu *cpu, const struct cpu_vmx *vmx, struct cpu_operands *ops,
			     struct cpu_exit *ret_exit)
{
	if (!(cpu->config.caps & SGX_CPUID_ENCLV))
		return cpu_ud();
	if (vmx->mode == CPU_VMX_OFF)
		return cpu_ud();
	if (vmx->mode == CPU_VMX_NON_ROOT && !(vmx->controls & CPU_VMX_ENCLV_EXITING))
		return cpu_ud();
	if (vmx->mode == CPU_VMX_NON_ROOT && bitmap_has(vmx->enclv_bitmap, ops->leaf))
		return vm_exit(ret_exit, (struct cpu_exit){ .reason = CPU_EXIT_ENCLV });
	switch (ops->leaf) {
	case SGX_EDECVIRTCHILD:
		return enclv_edecvirtchild(cpu, ops->page, ops->secs);
	case SGX_EINCVIRTCHILD:
		return enclv_eincvirtchild(cpu, ops->page, ops->secs);
	case SGX_ESETCONTEXT:
		return enclv_esetcontext(cpu, ops->page, ops->enclavecontext);
	default:
		return cpu_gp();
	}
}
