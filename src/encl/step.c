/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Step: one instruction of a logical processor (EENTER, an AEX, EACCEPT), with the enclave held still.
 *
 * The instruction walks to its operands; a page that is not in the EPC makes it fault, unchanged; the page is
 * brought in and the instruction runs again.  The pages that it has walked to are pinned from
 * one try to the next, or two operands could push each other out for ever.  When there is no EPC left to
 * go on, all pins are given up and the step starts over, so that steps cannot starve each other.
 */
#include "encl/encl_priv.h"

#include <assert.h>
#include <errno.h>

#include "epc/epc.h"

/* How long it goes on without its pins while there is no EPC. */
#define STEP_STARVED_NS 2000000000ull

struct step {
	struct encl *encl;
	struct bring bring;
	void *ctx;
	unsigned int (*vma_rwx_at)(void *ctx, uint64_t la);
	unsigned int seen_nr;
	struct encl_page *seen[ENCL_HAND_PINS];
};

/* Pages that the instruction walks to, in the order it does; those for which there is no room are not pinned. */
static void step_saw(struct step *s, struct encl_page *page)
{
	for (unsigned int i = 0; i < s->seen_nr; i++)
		if (s->seen[i] == page)
			return;
	if (s->seen_nr < ENCL_HAND_PINS)
		s->seen[s->seen_nr++] = page;
}

/* Before the lock may be dropped: what the instruction has walked to stays, until the step ends or has starved. */
static int step_pin_locked(struct encl *encl, struct step *s) REQUIRES(&encl->lock)
{
	if (bring_hand_locked(encl, &s->bring) < 0)
		return -ENOMEM;
	for (unsigned int i = 0; i < s->seen_nr; i++)
		if (!hand_pin_locked(encl, s->bring.hand, s->seen[i]))
			break;
	s->bring.kept_pins = s->bring.hand->pin_nr;
	s->seen_nr = 0;
	return 0;
}

static unsigned int step_vma_rwx(struct step *s, uint64_t la)
{
	return s->vma_rwx_at ? s->vma_rwx_at(s->ctx, la) : SGX_SECINFO_RWX;
}

LOCK_ATTR(no_thread_safety_analysis) /* the instruction runs inside encl_step()'s lock */
static uint32_t step_walk(void *ctx, uint64_t la, unsigned int access, uint16_t *ret_pf_error)
{
	struct step *s = ctx;
	struct encl *encl = s->encl;
	struct encl_page *page = NULL;
	uint16_t error = SGX_PFEC_U;

	if (access & ENCL_W)
		error |= SGX_PFEC_W;
	if (access & ENCL_X)
		error |= SGX_PFEC_I;
	*ret_pf_error = error;
	if (encl_has_la(encl, la))
		page = pages_find_locked(encl, (la - encl->base) / SGX_PAGE_SIZE);
	if (!page || !page_is_here(page) || page->va)
		return CPU_NO_PAGE;
	if (encl_vma_denies(step_vma_rwx(s, la), access)) {
		*ret_pf_error = error | SGX_PFEC_P;
		return CPU_NO_PAGE;
	}
	step_saw(s, page);
	if (page->flags & ENCL_PAGE_AHEAD)
		readahead_used_locked(encl, (la - encl->base) / SGX_PAGE_SIZE, page);
	epc_touch(encl->epc, page->epc_page);
	return epc_page_nr(encl->epc, page->epc_page);
}

static unsigned int step_access(uint16_t pf_error)
{
	if (pf_error & SGX_PFEC_W)
		return ENCL_W;
	return pf_error & SGX_PFEC_I ? ENCL_X : ENCL_R;
}

/*
 * The step faulted at @out->pf_addr for want of a page.  True: try again.  False: @out is what the step
 * ends with.
 */
static bool step_resolve_locked(struct encl *encl, struct step *s, struct cpu_outcome *out,
				struct patience *starved) REQUIRES(&encl->lock)
{
	uint64_t la = out->pf_addr;
	struct encl_page *page;
	unsigned int rwx;
	int r;

	if ((out->pf_error & SGX_PFEC_P) || !encl_has_la(encl, la))
		return false;
	rwx = step_vma_rwx(s, la);
	if (encl_vma_denies(rwx, step_access(out->pf_error)))
		return false;
	s->bring.refused = (struct patience){ 0 };
	r = step_pin_locked(encl, s);
	if (r == 0)
		r = bring_page_locked(encl, &s->bring, (la - encl->base) / SGX_PAGE_SIZE,
				      s->vma_rwx_at ? rwx : 0, BRING_AUG, &page);
	if (r == 0) {
		*starved = (struct patience){ 0 };
		return true;
	}
	if (r == -ENOMEM && !patience_ends(starved, STEP_STARVED_NS)) {
		s->bring.kept_pins = 0;
		bring_unpin_locked(encl, &s->bring);
		encl_pause_locked(encl, &s->bring.waits);
		return true;
	}
	*out = (struct cpu_outcome){ .fault = ENCL_STEP_BUS, .pf_addr = la };
	return false;
}

struct cpu_outcome encl_step(struct encl *encl, const struct encl_mm *mm, encl_step_fn step,
			     void *ctx, unsigned int (*vma_rwx_at)(void *ctx, uint64_t la))
{
	struct step s = { .encl = encl, .ctx = ctx, .vma_rwx_at = vma_rwx_at };
	struct cpu_mmu mmu = { .walk = step_walk, .ctx = &s };
	struct cpu_outcome out;
	struct patience starved = { 0 };

	bring_init(&s.bring, encl, mm);
	s.bring.brief = true; /* then it gives up its pins */
	encl_lock(encl);
	do {
		s.seen_nr = 0;
		out = step(ctx, encl->cpu, &mmu);
	} while (out.fault == CPU_PF && step_resolve_locked(encl, &s, &out, &starved));
	if (encl->secs.epc_page)
		atomic_store_explicit(&encl->running,
				      cpu_active_nr(encl->cpu,
						    epc_page_nr(encl->epc, encl->secs.epc_page)),
				      memory_order_relaxed);
	s.bring.kept_pins = 0;
	bring_unpin_locked(encl, &s.bring);
	encl_unlock(encl);
	bring_fini(&s.bring);
	return out;
}
