/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The instance, and how a leaf says how it ended.  Private to src/cpu. */
#ifndef SWSGX_CPU_CPU_PRIV_H
#define SWSGX_CPU_CPU_PRIV_H

#include <assert.h>
#include <stdatomic.h>

#include "cpu/cpu.h"
#include "cpu/epcm_priv.h"
#include "crypto/page_cipher.h"

struct cpu {
	struct cpu_config config;
	struct page_key paging_key;    /* new for every instance, as for every boot */
	uint8_t microcode_svn[16];     /* of what is loaded; config.fuses.cpusvn is CR_CPUSVN */
	_Atomic uint64_t next_version; /* no version is ever given out twice */
	_Atomic uint64_t next_eid;
	struct epcm_entry *epcm; /* page_nr entries */
	size_t epcm_bytes;
};

/* In a version slot: a load has it in hand. No version gets that far. */
#define CPU_VERSION_TAKEN (1ull << 63)

/* compute_xsave_size() and compute_misc_region_size() of the SDM. */
size_t cpu_xsave_size(const struct cpu *cpu, uint64_t xfrm);
size_t cpu_misc_size(uint32_t miscselect);
bool cpu_xfrm_legal(const struct cpu *cpu, uint64_t xfrm);

/* TCS.FLAGS that are not reserved; AEXNOTIFY came with the attribute. */
static inline uint64_t cpu_tcs_flags(const struct cpu *cpu)
{
	bool notify = cpu->config.attr_mask & SGX_ATTR_AEXNOTIFY;

	return SGX_TCS_DBGOPTIN | (notify ? SGX_TCS_AEXNOTIFY : 0);
}

static inline bool cpu_is_epc(const struct cpu *cpu, uint32_t page)
{
	return page < cpu->config.page_nr;
}

static inline bool cpu_canonical(uint64_t la)
{
	return (uint64_t)((int64_t)(la << 16) >> 16) == la;
}

static inline bool cpu_is_aligned(const void *p, size_t to)
{
	return ((uintptr_t)p & (to - 1)) == 0;
}

static inline bool cpu_is_zero(const void *p, size_t bytes)
{
	const uint8_t *b = p;
	uint8_t all = 0;

	for (size_t i = 0; i < bytes; i++)
		all |= b[i];
	return all == 0;
}

/* Contents of a page that a leaf was given: having none is a bug of the caller. */
static inline void *cpu_contents(const struct cpu *cpu, uint32_t page)
{
	void *bytes = cpu_bytes(cpu, page);

	assert(bytes);
	return bytes;
}

/* ---- outcomes ------------------------------------------------------------------------------ */

static inline struct cpu_outcome cpu_done(void)
{
	return (struct cpu_outcome){ .fault = CPU_NO_FAULT };
}

static inline struct cpu_outcome cpu_gp(void)
{
	return (struct cpu_outcome){ .fault = CPU_GP };
}

/* Retired with a code; @flag tells which of ZF and CF the SDM sets with it. */
static inline struct cpu_outcome cpu_retired(enum sgx_status eax, uint8_t flag)
{
	return (struct cpu_outcome){ .fault = CPU_NO_FAULT, .eax = (uint16_t)eax, .rflags = flag };
}

static inline struct cpu_outcome cpu_fail(enum sgx_status eax)
{
	return cpu_retired(eax, CPU_ZF);
}

/* The ENCLS or ENCLV that the processor does not have. */
static inline struct cpu_outcome cpu_ud(void)
{
	return (struct cpu_outcome){ .fault = CPU_UD };
}

/* The same outcome, with the reason that non-root operation may want to know. */
static inline struct cpu_outcome cpu_because(struct cpu_outcome out, enum cpu_conflict conflict)
{
	out.conflict = conflict;
	return out;
}

/* Another leaf is at work on the page in RCX, and that is #GP. */
static inline struct cpu_outcome cpu_gp_conflict(void)
{
	return cpu_because(cpu_gp(), CPU_PAGE_EXCEPTION);
}

/* #PF of an ENCLS or ENCLV operand: not EPC at all, or refused by the EPCM. */
static inline struct cpu_outcome cpu_pf_page(const struct cpu *cpu, uint32_t page)
{
	uint16_t error = SGX_PFEC_P | SGX_PFEC_W;

	if (cpu_is_epc(cpu, page))
		error |= SGX_PFEC_SGX;
	return (struct cpu_outcome){
		.fault = CPU_PF,
		.pf_error = error,
		.pf_addr = (uint64_t)page << SGX_PAGE_SHIFT,
	};
}

static inline bool cpu_passed(struct cpu_outcome out)
{
	return out.fault == CPU_NO_FAULT && out.eax == SGX_OK;
}

#endif
