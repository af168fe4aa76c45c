/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * ENCLS and ENCLU of the guest, executed by our processor.
 *
 * They get here in three ways.  Where KVM emulates the guest's kernel it gives up at an ENCLS and shows its bytes.
 * Where the real processor meets one that it does not have, the guest gets a #UD: then KVM stops it at the first
 * instruction of its #UD handler (vcpu.c has KVM do that), or a handler that knows of us begins with an OUT.  In an enclave
 * the #UD is ours to begin with (enclave.c).
 */
#include "vmm/vmm_priv.h"

#include <errno.h>
#include <sys/ioctl.h>

#include "virt/virt.h"

#define INSN_BYTES   3u
#define RFLAGS_RF    (1ull << 16)
#define FRAME_WORDS  5
#define SELECTOR_RPL 3u

enum insn insn_of(const uint8_t *bytes, size_t nr)
{
	if (nr < INSN_BYTES || bytes[0] != 0x0f || bytes[1] != 0x01)
		return INSN_OTHER;
	switch (bytes[2]) {
	case 0xcf:
		return INSN_ENCLS;
	case 0xd7:
		return INSN_ENCLU;
	case 0xc0:
		return INSN_ENCLV;
	default:
		return INSN_OTHER;
	}
}

/* A page of EPC is lost: to the guest it has lost its contents, as without power. */
static int lost(uint64_t la, struct cpu_outcome *ret_out)
{
	*ret_out = (struct cpu_outcome){ .fault = CPU_PF,
					 .pf_error = SGX_PFEC_P | SGX_PFEC_W | SGX_PFEC_SGX,
					 .pf_addr = la };
	return 0;
}

/* ---- ENCLU --------------------------------------------------------------------------------------- */

static struct cpu_outcome enclu_step(void *ctx, struct cpu *cpu, const struct cpu_mmu *mmu)
{
	struct enclu_step *step = ctx;
	struct vcpu *vcpu = step->vcpu;

	if (step->event)
		return cpu_aex(cpu, vcpu->lp, mmu, &step->regs, vcpu->xsave, PAGE, step->event);
	return cpu_enclu(cpu, vcpu->lp, mmu, &step->regs, vcpu->xsave, PAGE);
}

/* ERESUME and AEX change more than the general registers. */
int sgx_enclu_step(struct enclu_step *step, struct cpu_outcome *ret_out)
{
	struct vcpu *vcpu = step->vcpu;
	bool extended = step->event || (uint32_t)step->regs.rax == SGX_ERESUME;
	int r;

	if (extended && ioctl(vcpu->fd, KVM_GET_XSAVE, vcpu->xsave) < 0)
		return vmm_stop(vcpu->vmm, -EIO, "KVM does not give a guest's XSAVE state");
	vcpu->operands = step->paging;
	vcpu->exiting = step->event;
	r = virt_enclu(&vcpu->virt, enclu_step, step, ret_out);
	vcpu->exiting = false;
	if (r == -EIO && !step->event) {
		r = lost(step->regs.rbx, ret_out);
		ret_out->pf_error |= SGX_PFEC_U;
	}
	if (r < 0)
		return vmm_stop(vcpu->vmm, r, "a page of EPC that a guest needs cannot be had");
	if (extended && ret_out->fault == CPU_NO_FAULT &&
	    ioctl(vcpu->fd, KVM_SET_XSAVE, vcpu->xsave) < 0)
		return vmm_stop(vcpu->vmm, -EIO, "KVM does not take a guest's XSAVE state");
	return 0;
}

static bool sgx_is_on(const struct vcpu *vcpu)
{
	const uint64_t on = VIRT_FEATURE_SGX_ENABLED | VIRT_FEATURE_LOCKED;

	return (vcpu->virt.feature_control & on) == on;
}

static int enclu(struct vcpu *vcpu, struct cpu_regs *regs, struct cpu_outcome *ret_out)
{
	struct enclu_step step = { .vcpu = vcpu,
				   .regs = *regs,
				   .paging = paging_of(&vcpu->run->s.regs.sregs) };
	int r;

	*ret_out = (struct cpu_outcome){ .fault = CPU_UD };
	if (!vcpu->virt.policy.sgx || step.paging.cpl != 3)
		return 0;
	if (!sgx_is_on(vcpu)) {
		ret_out->fault = CPU_GP;
		return 0;
	}
	r = sgx_enclu_step(&step, ret_out);
	if (r == 0 && ret_out->fault == CPU_NO_FAULT)
		*regs = step.regs;
	return r;
}

/* ---- both --------------------------------------------------------------------------------------- */

static int execute(struct vcpu *vcpu, enum insn insn, struct cpu_regs *regs,
		   struct cpu_outcome *ret_out)
{
	int r;

	*ret_out = (struct cpu_outcome){ .fault = CPU_UD };
	if (insn == INSN_ENCLV)
		return 0;
	if (insn == INSN_ENCLU) {
		count(&vcpu->counts.enclu);
		return enclu(vcpu, regs, ret_out);
	}
	count(&vcpu->counts.encls);
	vcpu->operands = paging_of(&vcpu->run->s.regs.sregs);
	vcpu->virt.cpl = (uint8_t)vcpu->operands.cpl;
	r = virt_encls(&vcpu->virt, regs, ret_out);
	if (r == -EIO)
		r = lost(regs->rcx, ret_out);
	if (r < 0)
		return vmm_stop(vcpu->vmm, r, "an ENCLS of a guest cannot be executed (leaf %#x)",
				(unsigned int)regs->rax);
	if (ret_out->fault == CPU_NO_FAULT)
		regs->rip += INSN_BYTES;
	return 0;
}

static void apply(struct vcpu *vcpu, const struct cpu_regs *regs, struct cpu_outcome out)
{
	if (out.fault != CPU_NO_FAULT)
		vcpu_fault(vcpu, out.fault, out.fault == CPU_PF ? out.pf_error : 0, out.pf_addr);
	else if (vcpu->lp->in_enclave)
		enclave_enter(vcpu, regs);
	else
		vcpu_regs_set(vcpu, regs);
}

int sgx_execute(struct vcpu *vcpu, enum insn insn)
{
	struct cpu_outcome out;
	struct cpu_regs regs;
	int r;

	vcpu_regs_get(vcpu, &regs);
	r = execute(vcpu, insn, &regs, &out);
	if (r == 0)
		apply(vcpu, &regs, out);
	return r;
}

/* ---- #UD, seen at the guest's handler --------------------------------------------------------------- */

static struct kvm_segment flat(uint16_t selector, bool code)
{
	unsigned int dpl = selector & SELECTOR_RPL;

	return (struct kvm_segment){ .selector = selector,
				     .limit = 0xffffffffu,
				     .type = code ? 11 : 3,
				     .present = 1,
				     .dpl = (uint8_t)dpl,
				     .s = 1,
				     .l = code,
				     .db = !code,
				     .g = 1 };
}

/* As IRETQ to the frame would: 64-bit code, at any level. */
static void unwind(struct vcpu *vcpu, const uint64_t *frame)
{
	struct kvm_sregs *sregs = &vcpu->run->s.regs.sregs;
	struct kvm_regs *regs = &vcpu->run->s.regs.regs;

	regs->rip = frame[0];
	regs->rflags = frame[2] & ~RFLAGS_RF;
	regs->rsp = frame[3];
	if ((uint16_t)frame[1] != sregs->cs.selector) {
		sregs->cs = flat((uint16_t)frame[1], true);
		sregs->ss = flat((uint16_t)frame[4], false);
		vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
	}
	vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
}

bool sgx_forwarded(struct vcpu *vcpu, int *ret)
{
	struct kvm_sync_regs *sync = &vcpu->run->s.regs;
	struct kvm_regs before = sync->regs;
	struct kvm_sregs sregs_before = sync->sregs;
	struct paging paging = paging_of(&sync->sregs);
	uint8_t bytes[INSN_BYTES];
	uint64_t frame[FRAME_WORDS];
	struct cpu_outcome out;
	struct cpu_regs regs;
	enum insn insn;

	/* One of an enclave, seen at its AEP: which is an ENCLU. */
	if (vcpu->real_ud) {
		vcpu->real_ud = false;
		return false;
	}
	if (paging.cpl != 0 ||
	    !paging_fetch(vcpu->vmm, &paging, sync->regs.rsp, false, frame, sizeof(frame)) ||
	    !paging_fetch(vcpu->vmm, &paging, frame[0], false, bytes, sizeof(bytes)))
		return false;
	insn = insn_of(bytes, sizeof(bytes));
	if (insn == INSN_OTHER)
		return false;
	unwind(vcpu, frame);
	vcpu_regs_get(vcpu, &regs);
	*ret = execute(vcpu, insn, &regs, &out);
	if (*ret < 0)
		return true;
	if (out.fault == CPU_UD) {
		/* It is one: the guest's to handle, as it was about to. */
		sync->regs = before;
		sync->sregs = sregs_before;
		return false;
	}
	count(&vcpu->counts.forwarded);
	apply(vcpu, &regs, out);
	return true;
}
