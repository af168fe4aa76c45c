/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * An enclave thread of a test: a logical processor that goes in, uses SGX2 leaves, and comes out.
 *
 * The enclave has its TCS at page @tcs, one SSA frame of one page behind it, and behind that a page
 * with read and write access where operands are put: thread_pages() adds the three.
 */
#ifndef SWSGX_TESTS_THREAD_H
#define SWSGX_TESTS_THREAD_H

#include <stdint.h>

#include "cpu/cpu.h"
#include "lib/world.h"

struct thread {
	struct world *world;
	struct encl *encl;
	struct cpu_lp *lp;
	struct cpu_regs regs;
	uint64_t tcs_la, operand_la;
	void *xsave;
	/* What the address space allows; NULL: everything. */
	unsigned int (*vma_rwx_at)(void *ctx, uint64_t la);
	/* Of the leaf under way. */
	uint64_t secinfo_flags, target_la;
};

/* What a TCS for thread_pages()'s layout holds. */
void thread_tcs(struct sgx_tcs *tcs, uint64_t tcs_idx);
/* TCS, SSA and operand page at @idx, @idx + 1, @idx + 2. */
int thread_pages(struct build *b, uint64_t idx);

void thread_init(struct thread *t, struct build *b, uint64_t tcs_idx);
void thread_fini(struct thread *t);

struct cpu_outcome thread_enter(struct thread *t);
struct cpu_outcome thread_exit(struct thread *t);
/* An interrupt takes it out, ERESUME takes it back in. */
struct cpu_outcome thread_aex(struct thread *t);
struct cpu_outcome thread_resume(struct thread *t);
/* EACCEPT, EMODPE of page @idx with SECINFO.FLAGS @flags. */
struct cpu_outcome thread_eaccept(struct thread *t, uint64_t idx, uint64_t flags);
struct cpu_outcome thread_emodpe(struct thread *t, uint64_t idx, uint64_t flags);

#endif
