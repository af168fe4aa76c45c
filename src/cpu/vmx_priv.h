/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The leaves that work otherwise in VMX non-root operation.  encls_*() are them in root operation. */
#ifndef SWSGX_CPU_VMX_PRIV_H
#define SWSGX_CPU_VMX_PRIV_H

#include "cpu/cpu_priv.h"
#include "cpu/secs.h"

/* What RCX translates to where paging is the only translation. */
static inline uint64_t cpu_physical(uint32_t page)
{
	return (uint64_t)page << SGX_PAGE_SHIFT;
}

/* @out, because the enclave's tracking is in somebody's hands. */
static inline struct cpu_outcome secs_tracking(const struct secs_page *secs, struct cpu_outcome out,
					       enum cpu_conflict conflict)
{
	out.context = atomic_load(&secs->own.enclavecontext);
	return cpu_because(out, conflict);
}

/* @context: ENCLAVECONTEXT of a SECS that is made or comes in, "translation of RCX by paging". */
struct cpu_outcome vmx_ecreate(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
			       uint64_t context);
struct cpu_outcome vmx_eld(struct cpu *cpu, enum sgx_encls leaf, const struct cpu_pageinfo *pi,
			   uint32_t page, uint32_t va, uint32_t slot, uint64_t context);

/* @virtchild: virtual children are children. */
struct cpu_outcome vmx_ewb(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
			   uint32_t va, uint32_t slot, void *out, uint64_t *ret_linaddr,
			   bool virtchild);
struct cpu_outcome vmx_eremove(struct cpu *cpu, uint32_t page, bool virtchild);
struct cpu_outcome vmx_erdinfo(struct cpu *cpu, struct sgx_rdinfo *rdinfo, uint32_t page,
			       bool virtchild);

#endif
