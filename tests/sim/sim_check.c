/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * After each leaf: is the processor what the reference is, and does what must always hold hold?  Children are
 * counted, every EPCM entry is compared and with it the contents of the pages that were named, no page is there twice.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_priv.h"
#include "cpu/secs.h"
#include "sim/sim.h"

_Noreturn void differ(const char *what, const struct ref_op *op, const char *kind, uint64_t leaf)
{
	printf("# leaf %lu, %s %#lx: %s differs\n", sim.leaves, kind, (unsigned long)leaf, what);
	if (op)
		printf("# page %d secs %d va %d slot %u offset %#x la %#lx secinfo %#lx blob %d "
		       "ext %d non-root %d held %d tracking %d\n",
		       op->page, op->secs, op->va, op->slot, op->offset, (unsigned long)op->linaddr,
		       (unsigned long)op->secinfo, op->blob, op->ext, op->non_root, sim.ref.held,
		       sim.ref.tracking);
	fflush(stdout);
	abort();
}

static bool same_entry(int i)
{
	const struct ref_page *p = &sim.ref.page[i];
	struct cpu_epcm e = cpu_epcm_read(sim.cpu, (uint32_t)i);

	if (!p->valid || !e.valid)
		return p->valid == e.valid;
	return e.blocked == p->blocked && e.pending == p->pending && e.modified == p->modified &&
	       e.pr == p->pr && e.type == p->type && e.la == p->la &&
	       e.rwx == ((p->r ? 1 : 0) | (p->w ? 2 : 0) | (p->x ? 4 : 0)) &&
	       (ref_is_child(p) ? e.secs == (uint32_t)p->secs : e.secs == CPU_NO_PAGE);
}

static unsigned int inside(int secs)
{
	unsigned int nr = 0;

	for (int i = 0; i < REF_LPS; i++)
		nr += sim.ref.lp[i].inside && sim.ref.lp[i].secs == secs;
	return nr;
}

static bool same_secs(int i)
{
	const struct ref_encl *encl = &sim.ref.page[i].encl;
	const struct secs_page *secs = (const struct secs_page *)sim.epc[i];

	return secs->arch.baseaddr == encl->base && secs->arch.size == encl->size &&
	       (secs->arch.attributes.flags & ~1ull) == encl->flags &&
	       (secs->arch.attributes.flags & 1) == encl->init && secs->own.eid == encl->eid &&
	       secs->own.virtchildcnt == encl->virtchild &&
	       secs->own.enclavecontext == encl->context && secs->own.child_nr == children(i) &&
	       cpu_active_nr(sim.cpu, (uint32_t)i) == inside(i) &&
	       memcmp(secs->arch.mrenclave, encl->mrenclave, 32) == 0;
}

/* STATE of a TCS is the processor's own. */
static bool same_bytes(int i)
{
	const struct ref_page *p = &sim.ref.page[i];
	size_t from = p->valid && p->type == SGX_PT_TCS ? 8 : 0;

	if (ref_is_child(p) && p->type == SGX_PT_TRIM)
		from = 8;
	if (!p->valid || p->type == SGX_PT_SECS)
		return true;
	return memcmp(p->bytes + from, sim.epc[i] + from, SGX_PAGE_SIZE - from) == 0;
}

static bool same_lp(int i)
{
	const struct ref_lp *r = &sim.ref.lp[i];
	const struct cpu_lp *lp = &sim.lp[i];

	if (!r->inside || !lp->in_enclave)
		return r->inside == lp->in_enclave;
	return lp->secs == (uint32_t)r->secs && lp->tcs == (uint32_t)r->tcs && lp->aep == r->aep &&
	       lp->tcs_la == r->tcs_la && lp->xsave_la == r->ssa_la;
}

/* No hold outlives its leaf, but the pins of those who are inside. */
static bool locks_free(int i)
{
	uint32_t lock = atomic_load(&sim.cpu->epcm[i].lock);

	return lock == (ref_tcs_busy(&sim.ref, i) ? EPCM_LOCK_PIN : 0);
}

/* A child is of one enclave, which is there, and within it. */
static bool one_owner(int i)
{
	const struct ref_page *p = &sim.ref.page[i];

	return !p->valid || !ref_is_child(p) ||
	       (p->secs >= 0 && sim.ref.page[p->secs].valid &&
		sim.ref.page[p->secs].type == SGX_PT_SECS &&
		p->la - sim.ref.page[p->secs].encl.base < sim.ref.page[p->secs].encl.size);
}

/* No page is in EPC twice, whatever went out and came back; no two enclaves have one EID. */
static bool once(int i)
{
	const struct ref_page *p = &sim.ref.page[i];

	for (int k = 0; k < i && p->valid; k++) {
		const struct ref_page *q = &sim.ref.page[k];

		if (q->valid && q->identity == p->identity)
			return false;
		if (q->valid && is_secs(q) && is_secs(p) && q->encl.eid == p->encl.eid)
			return false;
	}
	return true;
}

const char *state_differs(int a, int b, bool all)
{
	for (int i = 0; i < REF_PAGES; i++) {
		if (!same_entry(i))
			return "EPCM";
		if (!locks_free(i))
			return "a hold";
		if (!one_owner(i))
			return "the owner";
		if (!once(i))
			return "a page that is there twice";
		if (sim.ref.page[i].valid && sim.ref.page[i].type == SGX_PT_SECS && !same_secs(i))
			return "a SECS";
		if ((i == a || i == b || all) && !same_bytes(i))
			return "the contents";
	}
	for (int i = 0; i < REF_LPS; i++)
		if (!same_lp(i))
			return "a logical processor";
	return NULL;
}

void check_state(const struct ref_op *op, const char *kind, uint64_t leaf, int a, int b)
{
	const char *what = state_differs(a, b, sim.leaves % 512 == 0);

	if (what)
		differ(what, op, kind, leaf);
}

void check_outcome(struct ref_out want, struct cpu_outcome got, const struct ref_op *op,
		   unsigned int kind, uint64_t leaf)
{
	static const char *const name[] = { "ENCLS", "ENCLU", "ENCLV" };
	unsigned int how = want.fault == REF_OK   ? want.eax
			   : want.fault == REF_GP ? 33u
			   : want.fault == REF_PF ? 34u
			   : want.fault == REF_UD ? 38u
						  : 35u;

	if (want.fault == REF_OK && want.eax > 32)
		how = want.eax == SGX_INVALID_ISVSVN ? 36 : 37;
	sim.seen[kind][leaf & 31][how]++;
	if (want.fault != got.fault) {
		printf("# fault %u, reference %d; code %u, reference %u\n", got.fault, want.fault,
		       got.eax, want.eax);
		differ("the vector", op, name[kind], leaf);
	}
	if (want.fault == REF_OK && (want.eax != got.eax || want.flags != got.rflags)) {
		printf("# code %u flags %x, reference %u %x\n", got.eax, got.rflags, want.eax,
		       want.flags);
		differ("the code", op, name[kind], leaf);
	}
}
