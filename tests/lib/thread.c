/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * An enclave thread of a test: see thread.h.
 */
#include "lib/thread.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

#define THREAD_XSAVE_BYTES 4096
#define THREAD_AEP         0x401000
#define THREAD_RIP         0x400100

void thread_tcs(struct sgx_tcs *tcs, uint64_t tcs_idx)
{
	memset(tcs, 0, sizeof(*tcs));
	tcs->ossa = (tcs_idx + 1) * SGX_PAGE_SIZE;
	tcs->nssa = 1;
	tcs->oentry = (tcs_idx + 2) * SGX_PAGE_SIZE;
	tcs->fslimit = 0xffffffff;
	tcs->gslimit = 0xffffffff;
}

int thread_pages(struct build *b, uint64_t idx)
{
	struct sgx_tcs *page = calloc(1, sizeof(*page));
	int r;

	assert(page);
	thread_tcs(page, idx);
	r = build_add(b, idx, page, FLAGS_TCS);
	memset(page, 0, sizeof(*page));
	if (r == 0)
		r = build_add(b, idx + 1, page, FLAGS_RW);
	if (r == 0)
		r = build_add(b, idx + 2, page, FLAGS_RW);
	free(page);
	return r;
}

void thread_init(struct thread *t, struct build *b, uint64_t tcs_idx)
{
	memset(t, 0, sizeof(*t));
	t->world = b->world;
	t->encl = b->encl;
	t->tcs_la = b->base + tcs_idx * SGX_PAGE_SIZE;
	t->operand_la = t->tcs_la + 2 * SGX_PAGE_SIZE;
	t->lp = arena_alloc(b->world->arena, sizeof(*t->lp));
	t->xsave = aligned_alloc(64, THREAD_XSAVE_BYTES);
	assert(t->lp && t->xsave);
	memset(t->xsave, 0, THREAD_XSAVE_BYTES);
}

void thread_fini(struct thread *t)
{
	if (t->lp->in_enclave)
		cpu_lp_reset(t->world->cpu, t->lp);
	arena_free(t->world->arena, t->lp, sizeof(*t->lp));
	free(t->xsave);
}

static struct cpu_outcome step_enclu(void *ctx, struct cpu *cpu, const struct cpu_mmu *mmu)
{
	struct thread *t = ctx;

	return cpu_enclu(cpu, t->lp, mmu, &t->regs, t->xsave, THREAD_XSAVE_BYTES);
}

static struct cpu_outcome thread_step(struct thread *t, encl_step_fn fn)
{
	return encl_step(t->encl, &encl_mm_none, fn, t, t->vma_rwx_at);
}

struct cpu_outcome thread_enter(struct thread *t)
{
	memset(&t->regs, 0, sizeof(t->regs));
	t->regs.rax = SGX_EENTER;
	t->regs.rbx = t->tcs_la;
	t->regs.rcx = THREAD_AEP;
	t->regs.rip = THREAD_RIP;
	t->regs.rflags = 2;
	return thread_step(t, step_enclu);
}

struct cpu_outcome thread_exit(struct thread *t)
{
	t->regs.rax = SGX_EEXIT;
	t->regs.rbx = THREAD_RIP;
	return thread_step(t, step_enclu);
}

static struct cpu_outcome step_aex(void *ctx, struct cpu *cpu, const struct cpu_mmu *mmu)
{
	struct cpu_event event = { .vector = CPU_NO_FAULT };
	struct thread *t = ctx;

	return cpu_aex(cpu, t->lp, mmu, &t->regs, t->xsave, THREAD_XSAVE_BYTES, &event);
}

struct cpu_outcome thread_aex(struct thread *t) { return thread_step(t, step_aex); }

struct cpu_outcome thread_resume(struct thread *t)
{
	t->regs.rax = SGX_ERESUME;
	t->regs.rbx = t->tcs_la;
	t->regs.rcx = THREAD_AEP;
	t->regs.rip = THREAD_RIP;
	return thread_step(t, step_enclu);
}

/* The enclave writes its SECINFO, which may itself fault, and executes the leaf. */
static struct cpu_outcome step_secinfo(void *ctx, struct cpu *cpu, const struct cpu_mmu *mmu)
{
	struct thread *t = ctx;
	struct sgx_secinfo *secinfo;
	uint16_t error;
	uint32_t nr;

	nr = mmu->walk(mmu->ctx, t->operand_la, SGX_SECINFO_W, &error);
	if (nr == CPU_NO_PAGE)
		return (struct cpu_outcome){ .fault = CPU_PF,
					     .pf_error = error,
					     .pf_addr = t->operand_la };
	secinfo = cpu_bytes(cpu, nr);
	memset(secinfo, 0, sizeof(*secinfo));
	secinfo->flags = t->secinfo_flags;
	t->regs.rbx = t->operand_la;
	t->regs.rcx = t->target_la;
	return cpu_enclu(cpu, t->lp, mmu, &t->regs, t->xsave, THREAD_XSAVE_BYTES);
}

struct cpu_outcome thread_eaccept(struct thread *t, uint64_t idx, uint64_t flags)
{
	t->regs.rax = SGX_EACCEPT;
	t->secinfo_flags = flags;
	t->target_la = encl_base(t->encl) + idx * SGX_PAGE_SIZE;
	return thread_step(t, step_secinfo);
}

struct cpu_outcome thread_emodpe(struct thread *t, uint64_t idx, uint64_t flags)
{
	t->regs.rax = SGX_EMODPE;
	t->secinfo_flags = flags;
	t->target_la = encl_base(t->encl) + idx * SGX_PAGE_SIZE;
	return thread_step(t, step_secinfo);
}
