/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * After a death inside a leaf: hardware has no such thing, a process that plays processor has.
 *
 * Every commit makes a page valid as its last step and invalid as its first visible one, so an entry
 * is never half; what can be left behind are holds, and counts that are off by one.  Both are made
 * anew from what is there: a TCS that is busy is one logical processor inside, and one pin.
 */
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "cpu/epoch.h"
#include "cpu/secs.h"

/*
 * STATE of a busy TCS is the logical processor that took it.  One that is not inside died on its way in or out, or
 * the caller would not have kept all others away.
 */
static bool tcs_is_busy(const struct cpu *cpu, uint32_t page)
{
	uint64_t attr = epcm_attr(&cpu->epcm[page]);
	const struct cpu_lp *lp;
	struct sgx_tcs *tcs;

	if (!epcm_has_tcs(attr))
		return false;
	tcs = cpu_contents(cpu, page);
	lp = (const struct cpu_lp *)(uintptr_t)__atomic_load_n(&tcs->state, __ATOMIC_ACQUIRE);
	if (!lp)
		return false;
	if (__atomic_load_n(&lp->in_enclave, __ATOMIC_ACQUIRE) && lp->tcs == page)
		return true;
	__atomic_store_n(&tcs->state, 0, __ATOMIC_RELEASE);
	return false;
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
	/* EINIT sets the attribute before the word that counts. */
	if (!secs_is_initialized(page))
		page->arch.attributes.flags &= ~(uint64_t)SGX_ATTR_INIT;
	atomic_store_explicit(&page->own.child_nr, child_nr, memory_order_release);
	epoch_recount(&page->own.track, busy_nr);
}

/* What a load had taken and did not come to use; one that did has only left its slot occupied. */
static void give_back_versions(const struct cpu *cpu, uint32_t page)
{
	uint64_t *slot = cpu_contents(cpu, page);

	for (unsigned int i = 0; i < SGX_VA_SLOTS; i++)
		__atomic_fetch_and(&slot[i], ~CPU_VERSION_TAKEN, __ATOMIC_RELAXED);
}

void cpu_repair_page(struct cpu *cpu, uint32_t page)
{
	uint64_t attr;

	assert(cpu_is_epc(cpu, page));
	attr = epcm_attr(&cpu->epcm[page]);
	if (attr & EPCM_VALID && epcm_pt(attr) == SGX_PT_SECS)
		recount(cpu, page);
	if (attr & EPCM_VALID && epcm_pt(attr) == SGX_PT_VA)
		give_back_versions(cpu, page);
	epcm_break(&cpu->epcm[page], tcs_is_busy(cpu, page) ? 1 : 0);
}

bool cpu_initialized(const struct cpu *cpu, uint32_t secs)
{
	return secs_is_initialized(secs_page(cpu, secs));
}

void cpu_measurement_save(const struct cpu *cpu, uint32_t secs, struct cpu_measurement *to)
{
	static_assert(sizeof(*to) == sizeof(struct sha256), "all of it");
	memcpy(to, &secs_page(cpu, secs)->own.measurement, sizeof(*to));
}

void cpu_measurement_restore(struct cpu *cpu, uint32_t secs, const struct cpu_measurement *from)
{
	memcpy(&secs_page(cpu, secs)->own.measurement, from, sizeof(*from));
}
