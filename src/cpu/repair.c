/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * After a death inside a leaf: hardware has no such thing, a process that plays processor has.
 *
 * Every commit makes a page valid as its last step and invalid as its first visible one, so an entry
 * is never half; what can be left behind are holds, and counts that are off by one.  Both are made
 * anew from what is there: a TCS that is busy is one logical processor inside, and one pin.
 */
#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "cpu/epoch.h"
#include "cpu/secs.h"

static bool tcs_is_busy(const struct cpu *cpu, uint32_t page)
{
	uint64_t attr = epcm_attr(&cpu->epcm[page]);
	const struct sgx_tcs *tcs;

	if (!(attr & EPCM_VALID) || epcm_pt(attr) != SGX_PT_TCS)
		return false;
	tcs = cpu_contents(cpu, page);
	return __atomic_load_n(&tcs->state, __ATOMIC_ACQUIRE) != 0;
}

static void recount(struct cpu *cpu, uint32_t secs)
{
	struct secs_page *page = secs_page(cpu, secs);
	uint32_t child_nr = 0, busy_nr = 0;

	for (uint32_t i = 0; i < cpu->config.page_nr; i++) {
		const struct epcm_entry *e = &cpu->epcm[i];
		uint64_t attr = epcm_attr(e);

		if (!(attr & EPCM_VALID) || !epcm_is_child(attr) || epcm_secs(e) != secs)
			continue;
		child_nr++;
		busy_nr += tcs_is_busy(cpu, i);
	}
	atomic_store_explicit(&page->own.child_nr, child_nr, memory_order_release);
	epoch_recount(&page->own.track, busy_nr);
}

void cpu_repair_page(struct cpu *cpu, uint32_t page)
{
	uint64_t attr;

	assert(cpu_is_epc(cpu, page));
	attr = epcm_attr(&cpu->epcm[page]);
	if (attr & EPCM_VALID && epcm_pt(attr) == SGX_PT_SECS)
		recount(cpu, page);
	epcm_break(&cpu->epcm[page], tcs_is_busy(cpu, page) ? 1 : 0);
}
