/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Operands of ENCLU in enclave memory: walk, check against the EPCM, pin, use, let go.
 *
 * A pin is a translation in use: EWB of a pinned page says SGX_NOT_TRACKED.  Every check function
 * of an ENCLU leaf pins what its commit will touch, so that the commit cannot fail.
 */
#ifndef SWSGX_CPU_OPERAND_H
#define SWSGX_CPU_OPERAND_H

#include "cpu/cpu_priv.h"

#define OPERAND_NR_MAX 20

/* The operands that one leaf holds. */
struct operands {
	struct cpu *cpu;
	const struct cpu_mmu *mmu;
	uint32_t secs; /* of the enclave they must belong to */
	uint32_t page[OPERAND_NR_MAX];
	unsigned int nr;
};

static inline void operands_init(struct operands *ops, struct cpu *cpu, const struct cpu_mmu *mmu,
				 uint32_t secs)
{
	ops->cpu = cpu;
	ops->mmu = mmu;
	ops->secs = secs;
	ops->nr = 0;
}

void operands_put(struct operands *ops);

/*
 * The bytes at @la of a REG page of the enclave that may be accessed as @access (SGX_SECINFO_R|W):
 * what the SDM writes as a list of EPCM conditions behind each operand.  #PF otherwise.
 */
struct cpu_outcome operand_pin(struct operands *ops, uint64_t la, unsigned int access,
			       void **ret_bytes);
/* The same for AEX: the checks were made at entry, only the page must still be there. */
struct cpu_outcome operand_pin_unchecked(struct operands *ops, uint64_t la, void **ret_bytes);

/* Only the translation; the leaf looks at the EPCM itself. */
struct cpu_outcome operand_walk(const struct cpu_mmu *mmu, uint64_t la, unsigned int access,
				uint32_t *ret_page);

/*
 * @page was walked to and then refused (by the EPCM, or by another leaf's hold).  Yields @verdict
 * when the translation still stands; else the page was evicted meanwhile, and it is a #PF like any.
 */
struct cpu_outcome operand_settle(const struct cpu_mmu *mmu, uint64_t la, unsigned int access,
				  uint32_t page, struct cpu_outcome verdict);

/* #PF of an operand that the EPCM refuses. */
struct cpu_outcome operand_refused(uint64_t la, unsigned int access);
/* #PF of an operand whose translation is gone. */
struct cpu_outcome operand_absent(uint64_t la, unsigned int access);

#endif
