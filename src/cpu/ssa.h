/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * One SSA frame of a thread: XSAVE area at its start, MISC and GPRSGX at its end.
 */
#ifndef SWSGX_CPU_SSA_H
#define SWSGX_CPU_SSA_H

#include "cpu/operand.h"

#define SSA_XSAVE_PAGES_MAX 16u
static_assert(SSA_XSAVE_PAGES_MAX + 1 < OPERAND_NR_MAX, "a frame, and a page to spare");

struct ssa_frame {
	uint64_t la;
	uint64_t gpr_la;
	uint8_t *xsave[SSA_XSAVE_PAGES_MAX]; /* page by page */
	unsigned int xsave_nr;
	struct sgx_ssa_gpr *gpr;
};

/* Where frame @cssa of @tcs lies. */
void ssa_locate(const struct sgx_secs *secs, const struct sgx_tcs *tcs, uint32_t cssa,
		struct ssa_frame *ret_frame);

/* Check and pin all pages of the frame, in the SDM's order: XSAVE area, then GPRSGX. */
struct cpu_outcome ssa_pin(struct operands *ops, const struct sgx_secs *secs,
			   struct ssa_frame *frame);
/* For AEX: no EPCM conditions but that the pages are the enclave's. */
struct cpu_outcome ssa_pin_unchecked(struct operands *ops, const struct sgx_secs *secs,
				     struct ssa_frame *frame);

struct sgx_exinfo *ssa_exinfo(const struct ssa_frame *frame);

/* XSAVE into the frame with what @xsave holds; then the initial state into @xsave. */
void ssa_save_extended(const struct cpu *cpu, const struct ssa_frame *frame, uint64_t xfrm,
		       void *xsave, size_t xsave_bytes);
/* What the host finds in place of the initial state after an #MF or #XM in the enclave. */
void ssa_synthesize(uint8_t vector, void *xsave, size_t xsave_bytes);
/* XRSTOR's checks on the frame: false is #GP. */
bool ssa_extended_legal(const struct cpu *cpu, const struct ssa_frame *frame, uint64_t xfrm);
/* XRSTOR from the frame into @xsave. */
void ssa_load_extended(const struct cpu *cpu, const struct ssa_frame *frame, uint64_t xfrm,
		       void *xsave, size_t xsave_bytes);

#endif
