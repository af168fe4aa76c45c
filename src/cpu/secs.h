/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A SECS page: what software wrote, and in its reserved bytes what is the processor's own.
 *
 * All of it is plain bytes: it leaves with the page by EWB and comes back by ELDU.  No logical
 * processor is inside and no child is resident then, so counts are zero on the way.
 */
#ifndef SWSGX_CPU_SECS_H
#define SWSGX_CPU_SECS_H

#include <stdatomic.h>

#include "cpu/cpu_priv.h"
#include "crypto/sha256.h"

struct secs_page {
	union {
		struct sgx_secs arch;
		struct {
			uint8_t software[1024];
			struct sha256 measurement; /* running, until EINIT */
			uint64_t eid;
			_Atomic uint64_t track;    /* epoch.h */
			_Atomic uint32_t child_nr; /* resident pages of the enclave */
			_Atomic uint32_t initialized;
			_Atomic uint64_t virtchildcnt;
			_Atomic uint64_t enclavecontext;
			uint8_t isvfamilyid[16];
			uint8_t isvextprodid[16];
		} own;
	};
};
static_assert(sizeof(struct secs_page) == SGX_PAGE_SIZE, "a page");
static_assert(offsetof(struct sgx_secs, reserved4) <= 1024, "own part lies in reserved bytes");

static inline struct secs_page *secs_page(const struct cpu *cpu, uint32_t page)
{
	return cpu_contents(cpu, page);
}

static inline bool secs_is_initialized(const struct secs_page *secs)
{
	return atomic_load_explicit(&secs->own.initialized, memory_order_acquire);
}

static inline bool secs_in_range(const struct sgx_secs *secs, uint64_t la)
{
	return la >= secs->baseaddr && la - secs->baseaddr < secs->size;
}

static inline void secs_add_child(struct secs_page *secs)
{
	atomic_fetch_add_explicit(&secs->own.child_nr, 1, memory_order_relaxed);
}

static inline void secs_drop_child(struct secs_page *secs)
{
	uint32_t old = atomic_fetch_sub_explicit(&secs->own.child_nr, 1, memory_order_acq_rel);

	assert(old > 0);
}

static inline bool secs_has_child(const struct secs_page *secs)
{
	return atomic_load_explicit(&secs->own.child_nr, memory_order_acquire) != 0;
}

/* What a guest takes for children: those that its VMM has taken out count too (@virtchild). */
static inline bool secs_shows_child(const struct secs_page *secs, bool virtchild)
{
	return secs_has_child(secs) || (virtchild && atomic_load(&secs->own.virtchildcnt) != 0);
}

#endif
