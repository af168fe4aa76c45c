/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* What the ENCLU leaves that stay inside have in common. */
#ifndef SWSGX_CPU_ENCLU_PRIV_H
#define SWSGX_CPU_ENCLU_PRIV_H

#include "cpu/cpu_priv.h"

/* CF PF AF ZF SF OF. */
#define ENCLU_RFLAGS_STATUS (1ull << 0 | 1ull << 2 | 1ull << 4 | 1ull << 6 | 1ull << 7 | 1ull << 11)

/* Aligned, and within CR_ELRANGE; operands are not larger than their alignment. */
static inline bool enclu_operand_legal(const struct cpu_lp *lp, uint64_t la, uint64_t align)
{
	return (la & (align - 1)) == 0 && la - lp->elrange_base < lp->elrange_size;
}

/* RAX and flags of a leaf that returns a code. */
static inline struct cpu_outcome enclu_retire(struct cpu_outcome out, struct cpu_regs *regs)
{
	if (out.fault == CPU_NO_FAULT) {
		regs->rax = out.eax;
		regs->rflags = (regs->rflags & ~ENCLU_RFLAGS_STATUS) | out.rflags;
	}
	return out;
}

#endif
