/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * One ENCLS of a guest, from registers to outcome.
 *
 * Every operand is walked to, checked for what the leaf asks of its address, and copied into our memory, once; only the
 * copies are looked at and executed on, so no other processor of the guest can change them under a check.
 * What the leaf writes is copied out when it has retired, to where the walk before it led.
 *
 * ECREATE and EINIT exit where virt_encls_bitmap() says so, and are answered as KVM does: ECREATE against the guest's
 * CPUID, EINIT with its launch key, a fault of either as a fault of the page in RCX.  All other leaves run
 * as in non-root operation, and exit for conflicts alone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/vmx.h"
#include "virt/vcpu.h"
#include "virt/virt_priv.h"

#define FAULTED 1 /* insn.out says how; beside 0 and -errno */

#define PAGEINFO_BYTES 32u
#define SECINFO_BYTES  64u
#define PCMD_BYTES     128u
#define TOKEN_ALIGN    512u

#define RFLAGS_STATUS 0x8d5u /* CF, PF, AF, ZF, SF, OF */

/* What RBX and RDX are to a leaf. */
enum rbx {
	RBX_NONE,
	RBX_SOURCE,
	RBX_AUG,
	RBX_OUT,
	RBX_IN,
	RBX_SECINFO,
	RBX_SECS,
	RBX_SIG,
	RBX_DATA,
	RBX_PT
};
enum rdx { RDX_NONE, RDX_SLOT, RDX_TOKEN };

static const struct form {
	uint16_t rcx_align;
	uint8_t rbx, rdx;
	bool status; /* it sets RAX and the flags */
} forms[] = {
	[SGX_ECREATE] = { 4096, RBX_SOURCE, RDX_NONE, false },
	[SGX_EADD] = { 4096, RBX_SOURCE, RDX_NONE, false },
	[SGX_EINIT] = { 4096, RBX_SIG, RDX_TOKEN, true },
	[SGX_EREMOVE] = { 4096, RBX_NONE, RDX_NONE, true },
	[SGX_EDBGRD] = { 8, RBX_DATA, RDX_NONE, true },
	[SGX_EDBGWR] = { 8, RBX_DATA, RDX_NONE, true },
	[SGX_EEXTEND] = { 256, RBX_SECS, RDX_NONE, false },
	[SGX_ELDB] = { 4096, RBX_IN, RDX_SLOT, true },
	[SGX_ELDU] = { 4096, RBX_IN, RDX_SLOT, true },
	[SGX_EBLOCK] = { 4096, RBX_NONE, RDX_NONE, true },
	[SGX_EPA] = { 4096, RBX_PT, RDX_NONE, false },
	[SGX_EWB] = { 4096, RBX_OUT, RDX_SLOT, true },
	[SGX_ETRACK] = { 4096, RBX_NONE, RDX_NONE, true },
	[SGX_EAUG] = { 4096, RBX_AUG, RDX_NONE, false },
	[SGX_EMODPR] = { 4096, RBX_SECINFO, RDX_NONE, true },
	[SGX_EMODT] = { 4096, RBX_SECINFO, RDX_NONE, true },
};

/* As the guest's memory has it. */
struct pageinfo {
	uint64_t linaddr, srcpge, secinfo, secs;
};
static_assert(sizeof(struct pageinfo) == PAGEINFO_BYTES, "PAGEINFO");

struct insn {
	struct virt_vcpu *vcpu;
	struct virt_guest *guest;
	const struct cpu_regs *regs;
	const struct form *form;
	struct cpu_operands ops;
	struct cpu_outcome out;

	/* EPC pages that it names, the one in RCX first. */
	unsigned int nr;
	uint64_t la[VIRT_PAGES_MAX], gpa[VIRT_PAGES_MAX];
	uint32_t page[VIRT_PAGES_MAX];
	int secs, va; /* which of them, or -1 */

	struct pageinfo pageinfo;
	uint64_t pageinfo_gpa, src_gpa, pcmd_gpa;

	/* SIGSTRUCT, or a page in or out; SECINFO, PCMD, or EINITTOKEN. */
	uint8_t page_copy[SGX_PAGE_SIZE] __attribute__((aligned(SGX_PAGE_SIZE)));
	uint8_t small_copy[TOKEN_ALIGN] __attribute__((aligned(TOKEN_ALIGN)));
};

/* ---- operands -------------------------------------------------------------------------------------- */

static int gp(struct insn *insn)
{
	insn->out = (struct cpu_outcome){ .fault = CPU_GP };
	return FAULTED;
}

static int pf(struct insn *insn, uint64_t la, uint16_t error)
{
	insn->out = (struct cpu_outcome){ .fault = CPU_PF, .pf_error = error, .pf_addr = la };
	return FAULTED;
}

static bool is_canonical(uint64_t la)
{
	return (uint64_t)((int64_t)(la << 16) >> 16) == la;
}

static int walk(struct insn *insn, uint64_t la, uint64_t align, bool write, uint64_t *ret_gpa)
{
	const struct virt_mmu *mmu = &insn->vcpu->mmu;
	uint16_t error = 0;

	if ((la & (align - 1)) || !is_canonical(la))
		return gp(insn);
	if (!mmu->walk(mmu->ctx, la, write, ret_gpa, &error))
		return pf(insn, la, error | (write ? SGX_PFEC_W : 0));
	return 0;
}

static bool is_epc(struct virt_guest *guest, uint64_t gpa)
{
	struct vepc *vepc;
	uint64_t off;
	bool found;

	guest_lock(guest);
	found = guest_region_find_locked(guest, gpa, &vepc, &off) == 0;
	guest_unlock(guest);
	return found;
}

/* @bytes do not cross a page: none is larger than what it is aligned to. */
static int copy_in(struct insn *insn, uint64_t gpa, void *to, size_t bytes)
{
	const struct virt_mmu *mmu = &insn->vcpu->mmu;

	if (is_epc(insn->guest, gpa))
		memset(to, 0xff, bytes);
	else if (!mmu->read(mmu->ctx, gpa, to, bytes))
		return -EFAULT;
	return 0;
}

static int copy_out(struct insn *insn, uint64_t gpa, const void *from, size_t bytes)
{
	const struct virt_mmu *mmu = &insn->vcpu->mmu;

	if (is_epc(insn->guest, gpa))
		return 0;
	return mmu->write(mmu->ctx, gpa, from, bytes) ? 0 : -EFAULT;
}

/* @write: the leaf will write there. That there is memory is found out before it changes anything. */
static int load(struct insn *insn, uint64_t la, uint64_t align, bool write, void *to, size_t bytes,
		uint64_t *ret_gpa)
{
	int r = walk(insn, la, align, write, ret_gpa);

	return r ? r : copy_in(insn, *ret_gpa, to, bytes);
}

/* An EPC page. Its place in insn.page is *ret_at. */
static int name_page(struct insn *insn, uint64_t la, uint64_t align, int *ret_at)
{
	uint64_t gpa;
	int r = walk(insn, la, align, true, &gpa);

	if (r)
		return r;
	if (!is_epc(insn->guest, gpa))
		return pf(insn, la, SGX_PFEC_P | SGX_PFEC_W);
	*ret_at = (int)insn->nr;
	insn->la[insn->nr] = la;
	insn->gpa[insn->nr++] = gpa;
	return 0;
}

static int load_pageinfo(struct insn *insn)
{
	struct pageinfo *pi = &insn->pageinfo;
	int r = load(insn, insn->regs->rbx, PAGEINFO_BYTES, insn->form->rbx == RBX_OUT, pi,
		     sizeof(*pi), &insn->pageinfo_gpa);

	insn->ops.pi.linaddr = pi->linaddr;
	/* Where the leaf wants none any other number will do: it is #GP. */
	insn->ops.pi.secs = pi->secs ? 0 : CPU_NO_PAGE;
	return r;
}

static int load_source(struct insn *insn)
{
	uint64_t gpa;
	int r = load_pageinfo(insn);

	insn->ops.pi.srcpge = insn->page_copy;
	insn->ops.pi.secinfo = (const struct sgx_secinfo *)insn->small_copy;
	if (r == 0)
		r = load(insn, insn->pageinfo.secinfo, SECINFO_BYTES, false, insn->small_copy,
			 SECINFO_BYTES, &gpa);
	if (r == 0)
		r = load(insn, insn->pageinfo.srcpge, SGX_PAGE_SIZE, false, insn->page_copy,
			 SGX_PAGE_SIZE, &gpa);
	if (r == 0 && insn->ops.leaf == SGX_EADD)
		r = name_page(insn, insn->pageinfo.secs, SGX_PAGE_SIZE, &insn->secs);
	return r;
}

static int load_aug(struct insn *insn)
{
	int r = load_pageinfo(insn);

	/* Both must be 0. */
	insn->ops.pi.srcpge = insn->pageinfo.srcpge ? insn->page_copy : NULL;
	insn->ops.pi.secinfo =
		insn->pageinfo.secinfo ? (const struct sgx_secinfo *)insn->small_copy : NULL;
	return r ? r : name_page(insn, insn->pageinfo.secs, SGX_PAGE_SIZE, &insn->secs);
}

/* EWB and ELD*: a page and its PCMD. */
static int load_evicted(struct insn *insn)
{
	bool out = insn->form->rbx == RBX_OUT;
	int r = load_pageinfo(insn);

	insn->ops.pi.srcpge = insn->ops.out = insn->page_copy;
	insn->ops.pi.pcmd = (struct sgx_pcmd *)insn->small_copy;
	if (r == 0)
		r = load(insn, insn->pageinfo.secinfo, PCMD_BYTES, out, insn->small_copy,
			 PCMD_BYTES, &insn->pcmd_gpa);
	if (r == 0)
		r = load(insn, insn->pageinfo.srcpge, SGX_PAGE_SIZE, out, insn->page_copy,
			 SGX_PAGE_SIZE, &insn->src_gpa);
	if (r == 0 && !out && insn->pageinfo.secs)
		r = name_page(insn, insn->pageinfo.secs, SGX_PAGE_SIZE, &insn->secs);
	return r;
}

static int load_rbx(struct insn *insn)
{
	uint64_t rbx = insn->regs->rbx, gpa;

	switch (insn->form->rbx) {
	case RBX_SOURCE:
		return load_source(insn);
	case RBX_AUG:
		return load_aug(insn);
	case RBX_OUT:
	case RBX_IN:
		return load_evicted(insn);
	case RBX_SECINFO:
		insn->ops.secinfo = (const struct sgx_secinfo *)insn->small_copy;
		return load(insn, rbx, SECINFO_BYTES, false, insn->small_copy, SECINFO_BYTES, &gpa);
	case RBX_SECS:
		return name_page(insn, rbx, SGX_PAGE_SIZE, &insn->secs);
	case RBX_SIG:
		insn->ops.sigstruct = (const struct sgx_sigstruct *)insn->page_copy;
		return load(insn, rbx, SGX_PAGE_SIZE, false, insn->page_copy,
			    sizeof(struct sgx_sigstruct), &gpa);
	case RBX_PT:
		return rbx == SGX_PT_VA ? 0 : gp(insn);
	default:
		insn->ops.value = rbx;
		return 0;
	}
}

static int load_rdx(struct insn *insn)
{
	uint64_t rdx = insn->regs->rdx, gpa;

	switch (insn->form->rdx) {
	case RDX_SLOT:
		insn->ops.slot = (uint32_t)(rdx % SGX_PAGE_SIZE / sizeof(uint64_t));
		return name_page(insn, rdx, sizeof(uint64_t), &insn->va);
	case RDX_TOKEN:
		insn->ops.einittoken = (const struct sgx_einittoken *)insn->small_copy;
		return load(insn, rdx, TOKEN_ALIGN, false, insn->small_copy,
			    sizeof(struct sgx_einittoken), &gpa);
	default:
		return 0;
	}
}

static int load_operands(struct insn *insn)
{
	int rcx = 0, r;

	r = name_page(insn, insn->regs->rcx, insn->form->rcx_align, &rcx);
	if (r == 0)
		r = load_rbx(insn);
	if (r == 0)
		r = load_rdx(insn);
	if (r)
		return r;
	insn->ops.linear = insn->la[0];
	insn->ops.physical = insn->gpa[0] & ~(uint64_t)(SGX_PAGE_SIZE - 1);
	insn->ops.offset = (uint32_t)(insn->gpa[0] % SGX_PAGE_SIZE);
	return 0;
}

/* ---- execution -------------------------------------------------------------------------------------- */

static const struct cpu_vmx non_root = { .mode = CPU_VMX_NON_ROOT,
					 .controls = CPU_VMX_EPC_VIRT_EXT };

struct step {
	struct insn *insn;
	struct cpu_exit exit;
};

static struct cpu_outcome step(void *ctx, struct cpu *cpu, const uint32_t *pages)
{
	struct step *s = ctx;
	struct insn *insn = s->insn;

	memcpy(insn->page, pages, insn->nr * sizeof(*pages));
	insn->ops.page = pages[0];
	if (insn->secs >= 0)
		insn->ops.pi.secs = insn->ops.secs = pages[insn->secs];
	if (insn->va >= 0)
		insn->ops.va = pages[insn->va];
	return cpu_encls(cpu, &non_root, &insn->ops, &s->exit);
}

/* A #PF names an EPC page, by number: the guest's name for it. */
static void name_fault(struct insn *insn)
{
	uint64_t la = insn->pageinfo.secs;

	for (unsigned int i = 0; i < insn->nr; i++) {
		if ((uint64_t)insn->page[i] << SGX_PAGE_SHIFT != insn->out.pf_addr)
			continue;
		la = insn->la[i];
		break;
	}
	insn->out.pf_addr = la;
}

/* Until no conflict is the host's. */
static int execute(struct insn *insn)
{
	struct virt_vcpu *vcpu = insn->vcpu;
	struct step s = { .insn = insn };

	for (;;) {
		int r = virt_step(insn->guest, insn->gpa, insn->nr, step, &s, &insn->out);

		if (r == 0 && insn->out.fault == CPU_PF)
			name_fault(insn);
		if (r < 0 || insn->out.fault != CPU_VM_EXIT)
			return r;
		vcpu->conflicts++;
		if (!virt_conflict_is_ours(insn->guest, &s.exit, &vcpu->told))
			break;
		vcpu->reruns++;
	}
	insn->out = virt_conflict_outcome(&s.exit, (enum sgx_encls)insn->ops.leaf);
	return 0;
}

static int store_evicted(struct insn *insn)
{
	int r;

	if (insn->out.eax != SGX_OK && insn->out.eax != SGX_VA_SLOT_OCCUPIED)
		return 0;
	r = copy_out(insn, insn->src_gpa, insn->page_copy, SGX_PAGE_SIZE);
	if (r == 0)
		r = copy_out(insn, insn->pcmd_gpa, insn->small_copy, PCMD_BYTES);
	if (r == 0)
		r = copy_out(insn, insn->pageinfo_gpa + offsetof(struct pageinfo, linaddr),
			     &insn->ops.linaddr, sizeof(insn->ops.linaddr));
	return r;
}

static int finish(struct insn *insn, struct cpu_regs *regs)
{
	if (insn->out.fault != CPU_NO_FAULT)
		return 0;
	if (insn->form->status) {
		regs->rax = insn->out.eax;
		regs->rflags = (regs->rflags & ~(uint64_t)RFLAGS_STATUS) | insn->out.rflags;
	}
	if (insn->ops.leaf == SGX_EDBGRD && insn->out.eax == SGX_OK)
		regs->rbx = insn->ops.value;
	return insn->form->rbx == RBX_OUT ? store_evicted(insn) : 0;
}

/* ---- leaves that exit ------------------------------------------------------------------------------- */

static bool leaf_is_known(const struct virt_policy *policy, uint32_t leaf)
{
	if (leaf <= SGX_ETRACK)
		return true;
	return leaf <= SGX_EMODT && (policy->leaf12[0].eax & SGX_CPUID_SGX2);
}

/* What the guest's CPUID says of the SECS that it asks for. */
static bool secs_is_allowed(const struct virt_policy *policy, const struct sgx_secs *secs)
{
	const struct cpu_cpuid *sizes = &policy->leaf12[0], *masks = &policy->leaf12[1];
	uint64_t flags = secs->attributes.flags, xfrm = secs->attributes.xfrm;
	uint64_t flags_mask = (uint64_t)masks->ebx << 32 | masks->eax;
	uint64_t xfrm_mask = (uint64_t)masks->edx << 32 | masks->ecx;
	uint8_t size_log2;

	if ((flags & SGX_ATTR_PROVISIONKEY) && !policy->provisioning)
		return false;
	if ((secs->miscselect & ~sizes->ebx) || (flags & ~flags_mask) || (xfrm & ~xfrm_mask))
		return false;
	if ((xfrm & ~(policy->xcr0 | SGX_XFRM_LEGACY)) ||
	    (xfrm & SGX_XFRM_LEGACY) != SGX_XFRM_LEGACY)
		return false;
	size_log2 = (uint8_t)(flags & SGX_ATTR_MODE64BIT ? sizes->edx >> 8 : sizes->edx);
	return size_log2 > 63 || secs->size < 1ull << size_log2;
}

/* A fault of what was executed for the guest, as one of its own. */
static void translate_fault(struct insn *insn)
{
	bool host_sgx2 = cpu_get_config(insn->guest->cpu)->caps & SGX_CPUID_SGX2;
	bool guest_sgx2 = insn->vcpu->policy.leaf12[0].eax & SGX_CPUID_SGX2;

	if (insn->out.fault == CPU_NO_FAULT)
		return;
	if ((insn->out.fault == CPU_PF || !host_sgx2) && guest_sgx2)
		pf(insn, insn->la[0], SGX_PFEC_P | SGX_PFEC_W | SGX_PFEC_SGX);
	else
		gp(insn);
}

static int run_exited(struct insn *insn, struct cpu_regs *regs)
{
	const struct virt_policy *policy = &insn->vcpu->policy;
	int r;

	if (insn->ops.leaf == SGX_ECREATE) {
		if (!policy->has_leaf12)
			return -ENOTSUP;
		if (!secs_is_allowed(policy, (const struct sgx_secs *)insn->page_copy))
			return gp(insn);
	} else {
		insn->ops.lepubkeyhash = insn->vcpu->lepubkeyhash;
	}
	r = execute(insn);
	if (r < 0)
		return r;
	translate_fault(insn);
	return finish(insn, regs);
}

static int run_native(struct insn *insn, struct cpu_regs *regs)
{
	int r = execute(insn);

	return r ? r : finish(insn, regs);
}

/* False: insn.out says why the leaf is not even looked at. */
static bool may_execute(struct insn *insn, bool exits)
{
	const struct virt_vcpu *vcpu = insn->vcpu;
	const struct virt_policy *policy = &vcpu->policy;

	if (vcpu->cpl > 0 || !policy->sgx || !(policy->leaf12[0].eax & SGX_CPUID_SGX1)) {
		insn->out = (struct cpu_outcome){ .fault = CPU_UD };
		return false;
	}
	if (!vcpu->paging ||
	    (exits && (!vcpu_sgx_is_enabled(vcpu) || !leaf_is_known(policy, insn->ops.leaf)))) {
		gp(insn);
		return false;
	}
	return true;
}

int virt_encls(struct virt_vcpu *vcpu, struct cpu_regs *regs, struct cpu_outcome *ret_out)
{
	uint32_t leaf = (uint32_t)regs->rax;
	bool exits = virt_encls_bitmap(vcpu) >> (leaf < 63 ? leaf : 63) & 1;
	struct insn *insn = aligned_alloc(SGX_PAGE_SIZE, sizeof(*insn));
	int r = FAULTED;

	if (!insn)
		return -ENOMEM;
	memset(insn, 0, offsetof(struct insn, page_copy));
	insn->vcpu = vcpu;
	insn->guest = vcpu->guest;
	insn->regs = regs;
	insn->ops.leaf = leaf;
	insn->secs = insn->va = -1;
	if (may_execute(insn, exits)) {
		vcpu->exits += exits;
		insn->form = &forms[leaf];
		r = load_operands(insn);
		if (r == 0)
			r = exits ? run_exited(insn, regs) : run_native(insn, regs);
	}
	*ret_out = insn->out;
	free(insn);
	return r < 0 ? r : 0;
}
