/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The ENCLU instruction: which leaf, and the checks that come before any leaf.
 */
#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"

#define ENCLU_BYTES 3u /* 0F 01 D7 */

typedef struct cpu_outcome enclu_leaf(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				      struct cpu_regs *regs);

static enclu_leaf *inside_leaf(uint32_t eax)
{
	switch (eax) {
	case SGX_EREPORT:
		return enclu_ereport;
	case SGX_EGETKEY:
		return enclu_egetkey;
	case SGX_EACCEPT:
		return enclu_eaccept;
	case SGX_EMODPE:
		return enclu_emodpe;
	case SGX_EACCEPTCOPY:
		return enclu_eacceptcopy;
	case SGX_EDECCSSA:
		return enclu_edeccssa;
	default:
		return NULL;
	}
}

struct cpu_outcome cpu_enclu(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
			     struct cpu_regs *regs, void *xsave, size_t xsave_bytes)
{
	uint64_t next_rip = regs->rip + ENCLU_BYTES;
	uint32_t eax = (uint32_t)regs->rax;
	struct cpu_outcome out;
	enclu_leaf *leaf;

	/* Each leaf refuses the wrong side of the boundary itself. */
	switch (eax) {
	case SGX_EENTER:
		return enclu_eenter(cpu, lp, mmu, regs, next_rip);
	case SGX_ERESUME:
		return enclu_eresume(cpu, lp, mmu, regs, xsave, xsave_bytes);
	case SGX_EEXIT:
		return enclu_eexit(cpu, lp, regs, next_rip);
	default:
		break;
	}
	leaf = inside_leaf(eax);
	if (!leaf)
		return cpu_gp();
	out = leaf(cpu, lp, mmu, regs);
	if (out.fault == CPU_NO_FAULT)
		regs->rip = next_rip;
	return out;
}
