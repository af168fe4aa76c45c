/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A guest's processor in an enclave: in by EENTER or ERESUME, out by EEXIT or an asynchronous exit.
 *
 * In between it runs under the hidden page tables (hidden.c).  A translation is made at the first use of it, when the
 * guest's own tables and the EPCM both allow it, and is looked at again at each entry: what has changed in the
 * guest's tables or in the EPCM shows then, as with a TLB that an entry flushes.
 *
 * Which page of EPC is behind a translation may change at any time without that mattering here: the host takes
 * pages, and KVM waits for them to come back.
 */
#include "vmm/vmm_priv.h"

#include <errno.h>
#include <string.h>

#define RFLAGS_IOPL 0x3000ull

/* ---- translations ------------------------------------------------------------------------------- */

struct look {
	struct cpu_epcm epcm;
};

static struct cpu_outcome look_step(void *ctx, struct cpu *cpu, const uint32_t *pages)
{
	struct look *look = ctx;

	look->epcm = cpu_epcm_read(cpu, pages[0]);
	return (struct cpu_outcome){ .fault = CPU_NO_FAULT };
}

/* The page's entry. @bring: it is brought in for that; else 1: it is away. -errno. */
static int epcm_of(struct vcpu *vcpu, uint64_t gpa, bool bring, struct cpu_epcm *ret_epcm)
{
	struct cpu_outcome out;
	struct look look;
	uint32_t nr;
	int r;

	if (bring) {
		r = virt_step(vcpu->vmm->guest, &gpa, 1, look_step, &look, &out);
		*ret_epcm = look.epcm;
		return r;
	}
	nr = virt_page_nr(vcpu->vmm->guest, gpa);
	if (nr == CPU_NO_PAGE)
		return 1;
	/* It may be another's page by now: then it has another's SECS. */
	*ret_epcm = cpu_epcm_read(vcpu->vmm->cpu, nr);
	return 0;
}

/* What the EPCM allows the enclave at @la: SGX_SECINFO_RWX bits, 0 for nothing; -errno. */
static int epcm_rwx(struct vcpu *vcpu, uint64_t la, uint64_t gpa, bool bring)
{
	struct cpu_epcm e = { 0 };
	int r = epcm_of(vcpu, gpa, bring, &e);

	if (r < 0)
		return r;
	if (r > 0 || !e.valid || e.blocked || e.pending || e.modified || e.type != SGX_PT_REG ||
	    e.secs != vcpu->lp->secs || e.la != la)
		return 0;
	return e.rwx;
}

static bool in_elrange(const struct vcpu *vcpu, uint64_t la)
{
	return la - vcpu->lp->elrange_base < vcpu->lp->elrange_size;
}

static struct paging user_paging(const struct vcpu *vcpu)
{
	struct paging paging = paging_of(&vcpu->home);

	paging.cpl = 3;
	return paging;
}

/* Outside of its range an enclave sees what everybody does; EPC there is the abort page. */
static void translate_outside(const struct translation *t, uint64_t la, struct shown *ret)
{
	*ret = (struct shown){ .la = la, .gpa = t->gpa & ~(PAGE - 1), .rights = PTE_NX };
	if ((t->pte & PTE_W) && (t->pte & PTE_D))
		ret->rights |= PTE_W;
}

/* 0 and *ret; 1: a #PF with *ret_error, or the page is away and shall not be brought; -errno. @la: of the page. */
static int translate(struct vcpu *vcpu, uint64_t la, unsigned int access, bool bring,
		     struct shown *ret, uint16_t *ret_error)
{
	struct paging paging = user_paging(vcpu);
	uint16_t denied = SGX_PFEC_P | SGX_PFEC_U | SGX_PFEC_SGX;
	struct translation t;
	int rwx;

	if (!paging_walk(vcpu->vmm, &paging, la, access, &t, ret_error))
		return 1;
	if (!in_elrange(vcpu, la)) {
		translate_outside(&t, la, ret);
		return 0;
	}
	rwx = memory_is_epc(vcpu->vmm, t.gpa) ? epcm_rwx(vcpu, la, t.gpa & ~(PAGE - 1), bring) : 0;
	/* The region has just gone; or the page is lost, which is as if the EPC had lost its power. */
	if (rwx == -EFAULT || rwx == -EIO)
		rwx = 0;
	if (rwx < 0)
		return rwx;
	if (!(rwx & SGX_SECINFO_R) || (access & ~(unsigned int)rwx)) {
		denied |= access & SGX_SECINFO_W ? SGX_PFEC_W : 0;
		*ret_error = denied | (access & SGX_SECINFO_X ? SGX_PFEC_I : 0);
		return 1;
	}
	*ret = (struct shown){ .la = la, .gpa = vcpu->vmm->alias + (t.gpa & ~(PAGE - 1)) };
	if ((rwx & SGX_SECINFO_W) && (t.pte & PTE_W) && (t.pte & PTE_D))
		ret->rights |= PTE_W;
	if (!(rwx & SGX_SECINFO_X) || (t.pte & PTE_NX))
		ret->rights |= PTE_NX;
	return 0;
}

static struct shown *shown_find(struct vcpu *vcpu, uint64_t la)
{
	for (unsigned int i = 0; i < vcpu->shown_nr; i++)
		if (vcpu->shown[i].la == la)
			return &vcpu->shown[i];
	return NULL;
}

/* Show it: 0; 1: what was shown there before has to go first, and it has been noted that it must. */
static int show(struct vcpu *vcpu, const struct shown *new)
{
	struct shown *old = shown_find(vcpu, new->la);

	if (old && (old->gpa != new->gpa || (old->rights & PTE_W & ~new->rights) ||
		    (new->rights &PTE_NX & ~old->rights))) {
		hidden_remove(vcpu, old->entry);
		*old = vcpu->shown[--vcpu->shown_nr];
		return 1;
	}
	if (!old && vcpu->shown_nr == SHOWN_MAX) {
		hidden_remove_all(vcpu);
		return 1;
	}
	if (!old)
		old = &vcpu->shown[vcpu->shown_nr];
	*old = *new;
	if (!hidden_map(vcpu, new->la, new->gpa, new->rights, &old->entry)) {
		hidden_remove_all(vcpu);
		return 1;
	}
	if (new->gpa >= vcpu->vmm->alias)
		memory_show_epc(vcpu->vmm, new->gpa - vcpu->vmm->alias);
	vcpu->shown_nr += old == &vcpu->shown[vcpu->shown_nr];
	return 0;
}

/* At an entry: what is shown and would not be shown like that now goes. */
static bool forget_stale(struct vcpu *vcpu)
{
	bool some = false;

	for (unsigned int i = 0; i < vcpu->shown_nr;) {
		struct shown *old = &vcpu->shown[i], now;
		uint16_t error;

		if (translate(vcpu, old->la, SGX_SECINFO_R, false, &now, &error) == 0 &&
		    now.gpa == old->gpa && !(old->rights & PTE_W & ~now.rights) &&
		    !(now.rights & PTE_NX & ~old->rights)) {
			i++;
			continue;
		}
		some = true;
		hidden_remove(vcpu, old->entry);
		if (vcpu->shown_nr)
			*old = vcpu->shown[--vcpu->shown_nr];
	}
	return some;
}

#define AHEAD_MAX 8u

/*
 * It goes from page to page: those that follow are shown at once, as an exit costs more than a load.  True: there are
 * removals to be done first, as by show().
 */
static bool show_ahead(struct vcpu *vcpu, uint64_t la)
{
	bool removals = false;
	unsigned int i;

	if (la != vcpu->next_la)
		vcpu->ahead = 0;
	else if (vcpu->ahead < AHEAD_MAX)
		vcpu->ahead = vcpu->ahead ? 2 * vcpu->ahead : 1;
	for (i = 1; i <= vcpu->ahead && !removals; i++) {
		uint64_t next = la + i * PAGE;
		struct shown new;
		uint16_t error;

		if (vcpu->shown_nr == SHOWN_MAX || !in_elrange(vcpu, next) ||
		    shown_find(vcpu, next) ||
		    translate(vcpu, next, SGX_SECINFO_R, true, &new, &error) != 0)
			break;
		removals = show(vcpu, &new) != 0;
	}
	vcpu->next_la = la + i * PAGE;
	return removals;
}

/* ---- in and out ----------------------------------------------------------------------------------- */

static void set_cpl(struct kvm_sregs *sregs, unsigned int cpl)
{
	sregs->cs.dpl = sregs->ss.dpl = (uint8_t)cpl;
	sregs->cs.selector = (uint16_t)(cpl ? sregs->cs.selector : 8);
	if (!cpl)
		sregs->ss.selector = 0;
}

/* Go on inside, by way of code at CPL 0 when there are entries to take away. */
static void resume(struct vcpu *vcpu, const struct cpu_regs *regs, bool removals)
{
	struct kvm_sregs *sregs = &vcpu->run->s.regs.sregs;
	struct cpu_regs at = *regs;

	at.rflags &= ~RFLAGS_IOPL;
	*sregs = vcpu->home;
	hidden_sregs(vcpu, sregs);
	if (removals) {
		hidden_go(vcpu, &at);
		set_cpl(sregs, 0);
	}
	vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
	vcpu_regs_set(vcpu, &at);
}

/* The entry has looked at all of the frame a moment ago. What is not there any more the exit will miss. */
static void note_ssa(struct vcpu *vcpu)
{
	const struct cpu_lp *lp = vcpu->lp;
	struct paging paging = user_paging(vcpu);
	uint64_t pages = (lp->gpr_la - lp->xsave_la) / PAGE + 1;

	vcpu->ssa_la = lp->xsave_la & ~(PAGE - 1);
	vcpu->ssa_pages = 0;
	for (uint64_t i = 0; i < pages && i < SSA_PAGES_MAX; i++) {
		struct translation t;
		uint16_t error;

		if (!paging_walk(vcpu->vmm, &paging, vcpu->ssa_la + i * PAGE, SGX_SECINFO_W, &t,
				 &error))
			return;
		vcpu->ssa_gpa[vcpu->ssa_pages++] = t.gpa;
	}
}

bool enclave_ssa(const struct vcpu *vcpu, uint64_t la, uint64_t *ret_gpa)
{
	uint64_t i = (la - vcpu->ssa_la) / PAGE;

	if (i >= vcpu->ssa_pages)
		return false;
	*ret_gpa = vcpu->ssa_gpa[i] + la % PAGE;
	return true;
}

void enclave_enter(struct vcpu *vcpu, const struct cpu_regs *regs)
{
	count(&vcpu->counts.entries);
	vcpu->home = vcpu->run->s.regs.sregs;
	vcpu->iopl = vcpu->run->s.regs.regs.rflags & RFLAGS_IOPL;
	note_ssa(vcpu);
	memset(vcpu->home.interrupt_bitmap, 0, sizeof(vcpu->home.interrupt_bitmap));
	resume(vcpu, regs, forget_stale(vcpu));
}

static void leave(struct vcpu *vcpu, const struct cpu_regs *regs)
{
	struct cpu_regs at = *regs;

	at.rflags = (at.rflags & ~RFLAGS_IOPL) | vcpu->iopl;
	vcpu->run->s.regs.sregs = vcpu->home;
	vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
	vcpu_regs_set(vcpu, &at);
}

/* 0, and it goes on at its AEP; or the guest has been stopped. */
static int aex(struct vcpu *vcpu, const struct cpu_regs *regs, const struct cpu_event *event)
{
	struct enclu_step step = {
		.vcpu = vcpu, .regs = *regs, .event = event, .paging = user_paging(vcpu)
	};
	struct cpu_outcome out;
	int r = sgx_enclu_step(&step, &out);

	if (r < 0)
		return r;
	if (out.fault != CPU_NO_FAULT)
		return vmm_stop(vcpu->vmm, -EIO,
				"a guest has lost the SSA frame of a thread in an enclave");
	count(&vcpu->counts.aexs);
	leave(vcpu, &step.regs);
	return 0;
}

/* The guest's handler sees it at the AEP. */
static int exception(struct vcpu *vcpu, const struct cpu_regs *regs, const struct cpu_event *event)
{
	int r = aex(vcpu, regs, event);

	if (r == 0)
		vcpu_fault(vcpu, event->vector, event->error, event->cr2 & ~(PAGE - 1));
	return r;
}

/*
 * No translation may lead to a lost page any more: when it is used again there is a #PF, which is ours to judge.  Which
 * page it was KVM does not say, so all go.
 */
int enclave_lost(struct vcpu *vcpu)
{
	struct cpu_regs regs;

	if (vcpu->run->s.regs.sregs.ss.dpl != 3)
		return vmm_stop(vcpu->vmm, -EFAULT, "a guest's hidden memory cannot be had");
	vcpu_regs_get(vcpu, &regs);
	hidden_remove_all(vcpu);
	resume(vcpu, &regs, true);
	return 0;
}

int enclave_interrupt(struct vcpu *vcpu)
{
	struct cpu_event none = { .vector = CPU_NO_FAULT };
	struct cpu_regs regs;

	vcpu_regs_get(vcpu, &regs);
	return aex(vcpu, &regs, &none);
}

/* ---- exceptions inside ------------------------------------------------------------------------- */

/* An ENCLU inside. */
static int enclu(struct vcpu *vcpu, const struct cpu_regs *regs, struct cpu_event *event)
{
	struct enclu_step step = { .vcpu = vcpu, .regs = *regs, .paging = user_paging(vcpu) };
	struct cpu_outcome out;
	int r;

	count(&vcpu->counts.enclu);
	r = sgx_enclu_step(&step, &out);
	if (r < 0)
		return r;
	if (out.fault != CPU_NO_FAULT) {
		*event = (struct cpu_event){ .vector = out.fault,
					     .error = out.fault == CPU_PF ? out.pf_error : 0,
					     .cr2 = out.pf_addr };
		return exception(vcpu, regs, event);
	}
	if (vcpu->lp->in_enclave)
		resume(vcpu, &step.regs, false);
	else
		leave(vcpu, &step.regs);
	return 0;
}

/*
 * Some processors with SGX switched off look at an operand of ENCLU before they refuse it: a #PF in one of its
 * pages, which is for the leaf to judge.
 */
static bool fault_of_enclu(struct vcpu *vcpu, const struct cpu_regs *regs,
			   const struct cpu_event *event)
{
	struct paging paging = user_paging(vcpu);
	uint64_t page = event->cr2 / PAGE;
	uint8_t op[3];

	if ((event->error & SGX_PFEC_I) || (page != regs->rbx / PAGE && page != regs->rcx / PAGE))
		return false;
	return paging_fetch(vcpu->vmm, &paging, regs->rip, true, op, sizeof(op)) &&
	       insn_of(op, sizeof(op)) == INSN_ENCLU;
}

static int page_fault(struct vcpu *vcpu, const struct cpu_regs *regs, struct cpu_event *event)
{
	unsigned int access = event->error & SGX_PFEC_W   ? SGX_SECINFO_W
			      : event->error & SGX_PFEC_I ? SGX_SECINFO_X
							  : SGX_SECINFO_R;
	uint16_t error = 0;
	struct shown new;
	bool removals;
	int r;

	if (fault_of_enclu(vcpu, regs, event))
		return enclu(vcpu, regs, event);
	count(&vcpu->counts.enclave_faults);
	if (access == SGX_SECINFO_X && !in_elrange(vcpu, event->cr2)) {
		*event = (struct cpu_event){ .vector = CPU_GP };
		return exception(vcpu, regs, event);
	}
	r = translate(vcpu, event->cr2 & ~(PAGE - 1), access, true, &new, &error);
	if (r < 0)
		return vmm_stop(vcpu->vmm, r, "a page of EPC that a guest needs cannot be had");
	if (r == 0) {
		removals = show(vcpu, &new) != 0;
		if (!removals)
			removals = show_ahead(vcpu, new.la);
		resume(vcpu, regs, removals);
		return 0;
	}
	event->error = error;
	return exception(vcpu, regs, event);
}

/* Instructions that are #UD in an enclave although user mode gets #GP or something else for them. */
static bool illegal_in_enclave(const uint8_t op[3])
{
	switch (op[0]) {
	case 0xcd: /* INT n */
	case 0xcf: /* IRET */
	case 0xe4:
	case 0xe5:
	case 0xe6:
	case 0xe7:
	case 0xec:
	case 0xed:
	case 0xee:
	case 0xef: /* IN, OUT */
	case 0x6c:
	case 0x6d:
	case 0x6e:
	case 0x6f: /* INS, OUTS */
		return true;
	case 0x0f: /* SYSCALL, RDPMC, SYSENTER, CPUID */
		return op[1] == 0x05 || op[1] == 0x33 || op[1] == 0x34 || op[1] == 0xa2;
	default:
		return false;
	}
}

static int illegal(struct vcpu *vcpu, const struct cpu_regs *regs, struct cpu_event *event)
{
	struct paging paging = user_paging(vcpu);
	uint8_t op[3] = { 0 };

	if (!paging_fetch(vcpu->vmm, &paging, regs->rip, true, op, sizeof(op)))
		return exception(vcpu, regs, event);
	if (insn_of(op, sizeof(op)) == INSN_ENCLU)
		return enclu(vcpu, regs, event);
	if (illegal_in_enclave(op))
		*event = (struct cpu_event){ .vector = CPU_UD };
	return exception(vcpu, regs, event);
}

int enclave_exception(struct vcpu *vcpu)
{
	const struct kvm_sync_regs *sync = &vcpu->run->s.regs;
	int vector = hidden_vector(sync->regs.rip);
	struct cpu_event event = { .vector = (uint8_t)vector, .software = vector == CPU_BP };
	struct cpu_regs regs;
	uint64_t *frame;

	if (vector < 0)
		return vmm_stop(vcpu->vmm, -EIO, "a guest has lost its way in an enclave");
	vcpu_regs_get(vcpu, &regs);
	frame = hidden_frame(vcpu, regs.rsp, (unsigned int)vector, &event.error);
	regs.rip = frame[0];
	regs.rflags = frame[2];
	regs.rsp = frame[3];
	switch (vector) {
	case CPU_PF:
		event.cr2 = sync->sregs.cr2;
		return page_fault(vcpu, &regs, &event);
	case CPU_UD:
	case CPU_GP:
		return illegal(vcpu, &regs, &event);
	case CPU_BP:
		/* To an enclave whose TCS does not opt in to debugging it is #UD, at the INT3 itself. */
		if (!vcpu->lp->opt_in)
			event = (struct cpu_event){ .vector = CPU_UD };
		regs.rip -= vcpu->lp->opt_in ? 0 : 1;
		return exception(vcpu, &regs, &event);
	default:
		return exception(vcpu, &regs, &event);
	}
}
