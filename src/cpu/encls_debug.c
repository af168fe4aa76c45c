/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * EDBGRD, EDBGWR: eight bytes of a debug enclave, whatever the EPCM permissions of the page say.
 * Of a VA page one learns only whether the slot is in use.
 */
#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "cpu/secs.h"

#define TCS_LIMIT 72u /* architectural size: up to and with GSLIMIT */

/* The page is held shared. */
static struct cpu_outcome debug_check(const struct cpu *cpu, uint32_t page, uint32_t offset,
				      bool write)
{
	const struct epcm_entry *e = &cpu->epcm[page];
	uint64_t attr = epcm_attr(e);
	enum sgx_page_type pt = epcm_pt(attr);

	if (!(attr & EPCM_VALID))
		return cpu_pf_page(cpu, page);
	if (pt != SGX_PT_REG && pt != SGX_PT_TCS && (pt != SGX_PT_VA || write))
		return cpu_pf_page(cpu, page);
	if (attr & (EPCM_PENDING | EPCM_MODIFIED))
		return cpu_fail(SGX_PAGE_NOT_DEBUGGABLE);
	/* Of a TCS only FLAGS can be written, and of it only what a debugger may set. */
	if (pt == SGX_PT_TCS && offset >= TCS_LIMIT)
		return cpu_gp();
	if (pt == SGX_PT_TCS && write && offset != offsetof(struct sgx_tcs, flags))
		return cpu_gp();
	if (pt != SGX_PT_VA &&
	    !(secs_page(cpu, epcm_secs(e))->arch.attributes.flags & SGX_ATTR_DEBUG))
		return cpu_gp();
	return cpu_done();
}

static uint64_t *quad(const struct cpu *cpu, uint32_t page, uint32_t offset)
{
	return (uint64_t *)cpu_contents(cpu, page) + offset / sizeof(uint64_t);
}

static struct cpu_outcome debug_operands(const struct cpu *cpu, uint32_t page, uint32_t offset)
{
	if (offset & 7 || offset >= SGX_PAGE_SIZE)
		return cpu_gp();
	if (!cpu_is_epc(cpu, page))
		return cpu_pf_page(cpu, page);
	return cpu_done();
}

struct cpu_outcome encls_edbgrd(struct cpu *cpu, uint32_t page, uint32_t offset,
				uint64_t *ret_value)
{
	struct cpu_outcome out = debug_operands(cpu, page, offset);
	struct epcm_entry *e;

	if (!cpu_passed(out))
		return out;
	e = &cpu->epcm[page];
	if (!epcm_try_shared(e))
		return cpu_gp();
	out = debug_check(cpu, page, offset, false);
	if (cpu_passed(out)) {
		uint64_t value = __atomic_load_n(quad(cpu, page, offset), __ATOMIC_RELAXED);

		if (epcm_pt(epcm_attr(e)) == SGX_PT_VA)
			value = value & ~7ull ? ~0ull : 0;
		*ret_value = value;
	}
	epcm_put_shared(e);
	return out;
}

struct cpu_outcome encls_edbgwr(struct cpu *cpu, uint32_t page, uint32_t offset, uint64_t value)
{
	struct cpu_outcome out = debug_operands(cpu, page, offset);
	struct epcm_entry *e;

	if (!cpu_passed(out))
		return out;
	e = &cpu->epcm[page];
	if (!epcm_try_shared(e))
		return cpu_gp();
	out = debug_check(cpu, page, offset, true);
	if (cpu_passed(out))
		__atomic_store_n(quad(cpu, page, offset), value, __ATOMIC_RELAXED);
	epcm_put_shared(e);
	return out;
}
