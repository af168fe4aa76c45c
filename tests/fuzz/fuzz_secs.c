/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* SECS: the bytes lie over one that ECREATE takes. What gets in must be what the manual allows. */
#include "arch/sgx.h"
#include "fuzz/fuzz.h"
#include "leaf/machine.h"

static bool power_of_two(uint64_t n) { return n && !(n & (n - 1)); }

static void check_created(struct machine *m, const struct sgx_secs *secs)
{
	const struct sgx_secs *got = (const struct sgx_secs *)m->epc[P_SECS];
	struct cpu_epcm e = cpu_epcm_read(m->cpu, P_SECS);

	must(e.valid && e.type == SGX_PT_SECS && e.secs == CPU_NO_PAGE && !e.rwx, "EPCM");
	must(power_of_two(secs->size) && secs->size >= 8192, "SIZE");
	must(secs->size <= 1ull << (secs->attributes.flags & SGX_ATTR_MODE64BIT ? 36 : 31), "SIZE");
	must(secs->baseaddr % secs->size == 0, "BASEADDR");
	must(!(secs->attributes.flags & SGX_ATTR_INIT), "INIT");
	must((secs->attributes.xfrm & 3) == 3 && secs->attributes.xfrm <= 7, "XFRM");
	must(secs->ssa_frame_size > 0, "SSAFRAMESIZE");
	must(!(secs->miscselect & ~SGX_MISC_EXINFO), "MISCSELECT");
	must(secs->attributes.flags & SGX_ATTR_KSS || !secs->configsvn, "CONFIGSVN");
	must(got->size == secs->size && got->baseaddr == secs->baseaddr && got->isvprodid == 0 &&
		     got->mrsigner[0] == 0,
	     "what the SECS holds");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nr)
{
	static struct machine *m;
	struct cpu_outcome out;

	if (!m)
		m = machine_new(NULL);
	machine_secs(m);
	overlay(&m->secs, sizeof(m->secs), &bytes, &nr);
	out = machine_ecreate(m, P_SECS);
	if (cpu_ok(out)) {
		check_created(m, &m->secs);
		must(cpu_ok(encls_eremove(m->cpu, P_SECS)), "EREMOVE");
	} else {
		must(out.fault == CPU_GP, "ECREATE refuses with #GP");
		must(!cpu_epcm_read(m->cpu, P_SECS).valid, "the page is free");
	}
	return 0;
}
