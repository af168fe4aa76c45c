/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * EUPDATESVN: CPUSVN follows a microcode update without a reboot, when nothing is in the EPC.
 *
 * It holds every EPCM entry while it looks and changes, so a leaf that comes between meets a conflict:
 * software is told to keep them away.
 */
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "crypto/random.h"

/* All or none. Pins are no ENCLS at work: the page of one is valid, or somebody is about to see that it is not. */
static bool hold_all(struct cpu *cpu)
{
	uint32_t nr = 0;

	while (nr < cpu->config.page_nr && epcm_try_exclusive_pinned(&cpu->epcm[nr]))
		nr++;
	if (nr == cpu->config.page_nr)
		return true;
	while (nr-- > 0)
		epcm_put_exclusive(&cpu->epcm[nr]);
	return false;
}

static bool epc_ready(const struct cpu *cpu)
{
	for (uint32_t i = 0; i < cpu->config.page_nr; i++)
		if (epcm_attr(&cpu->epcm[i]) & EPCM_VALID)
			return false;
	return true;
}

/* A new key even if the SVN stays. */
static struct cpu_outcome eupdatesvn_commit(struct cpu *cpu)
{
	bool same = memcmp(cpu->config.fuses.cpusvn, cpu->microcode_svn, 16) == 0;
	uint8_t raw[16];

	random_bytes(raw, sizeof(raw));
	page_key_init(&cpu->paging_key, raw);
	explicit_bzero(raw, sizeof(raw));
	memcpy(cpu->config.fuses.cpusvn, cpu->microcode_svn, 16);
	return same ? cpu_retired(SGX_NO_UPDATE, CPU_CF) : cpu_done();
}

struct cpu_outcome encls_eupdatesvn(struct cpu *cpu)
{
	struct cpu_outcome out;

	if (!(cpu->config.caps & SGX_CPUID_UPDATESVN))
		return cpu_gp();
	if (!hold_all(cpu))
		return cpu_fail(SGX_LOCKFAIL);
	out = epc_ready(cpu) ? eupdatesvn_commit(cpu) : cpu_fail(SGX_EPC_NOT_READY);
	for (uint32_t i = 0; i < cpu->config.page_nr; i++)
		epcm_put_exclusive(&cpu->epcm[i]);
	return out;
}

void cpu_load_microcode(struct cpu *cpu, const uint8_t cpusvn[16])
{
	memcpy(cpu->microcode_svn, cpusvn, 16);
}
