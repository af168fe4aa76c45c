/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Processors with less than this one has, and with more: each feature by its name, on and off, in CPUID leaf 12H
 * and in what needs it.
 */
#include <errno.h>

#include "cpu/vmx.h"
#include "leaf/table.h"

static struct cpu_outcome encls(struct machine *m, uint32_t leaf)
{
	static const struct sgx_rdinfo zero;
	static struct sgx_rdinfo rdinfo __attribute__((aligned(32)));
	const struct cpu_vmx off = { .mode = CPU_VMX_OFF };
	struct cpu_operands ops = {
		.leaf = leaf,
		.page = P_DATA,
		.rdinfo = &rdinfo,
		.secinfo = &m->secinfo,
		.va = P_VA,
		.pi = { .linaddr = LA(P_FREE), .srcpge = NULL, .pcmd = &m->pcmd, .secs = P_SECS }
	};
	struct cpu_exit exit;

	rdinfo = zero;
	memset(&m->secinfo, 0, sizeof(m->secinfo));
	m->secinfo.flags = leaf == SGX_EMODT ? SGX_SECINFO_TYPE(SGX_PT_TRIM) : SGX_SECINFO_R;
	if (leaf == SGX_EAUG) {
		ops.pi.secinfo = NULL;
		ops.page = P_FREE;
	} else if (leaf == SGX_ETRACKC) {
		ops.page = P_SECS;
	}
	return cpu_encls(m->cpu, &off, &ops, &exit);
}

static struct cpu_outcome enclu(struct machine *m, uint32_t leaf)
{
	struct cpu_outcome out = machine_enter(m, 0);

	if (!cpu_ok(out))
		return out;
	memset(m->epc[P_DATA], 0, 64);
	m->regs.rax = leaf;
	m->regs.rbx = LA(P_DATA);
	m->regs.rcx = LA(P_DATA2);
	m->regs.rdx = LA(P_SSA1);
	((struct sgx_tcs *)m->epc[P_TCS0])->cssa = 1;
	m->epc[P_DATA][0] = leaf == SGX_EMODPE ? SGX_SECINFO_R : SGX_SECINFO_PR | SGX_SECINFO_R;
	m->epc[P_DATA][1] = SGX_PT_REG;
	out = cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, m->xsave, XSAVE_SIZE);
	((struct sgx_tcs *)m->epc[P_TCS0])->cssa = 0;
	m->regs.rax = SGX_EEXIT;
	m->regs.rbx = AEP;
	cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, m->xsave, XSAVE_SIZE);
	return out;
}

static struct cpu_outcome enclv(struct machine *m, uint32_t leaf)
{
	const struct cpu_vmx root = { .mode = CPU_VMX_ROOT };
	static const uint64_t context __attribute__((aligned(8))) = 5;
	struct cpu_operands ops = {
		.leaf = leaf, .page = P_SECS, .secs = P_SECS, .enclavecontext = &context
	};
	struct cpu_exit exit;

	return cpu_enclv(m->cpu, &root, &ops, &exit);
}

/* An enclave that asks for what the feature is. */
static struct cpu_outcome ecreate(struct machine *m, uint32_t what)
{
	machine_secs(m);
	if (what == 1)
		m->secs.miscselect = SGX_MISC_EXINFO;
	else
		m->secs.attributes.flags |= what;
	return machine_ecreate(m, P_SPARE);
}

static const struct {
	const char *feature;
	uint32_t subleaf;
	unsigned int reg, bit; /* of CPUID.12H: EAX, EBX */
	const char *what;
	struct cpu_outcome (*run)(struct machine *m, uint32_t leaf);
	uint32_t leaf;
	uint8_t refused; /* with */
} rows[] = {
	{ "sgx2", 0, 0, 1, "EAUG", encls, SGX_EAUG, CPU_GP },
	{ "sgx2", 0, 0, 1, "EMODPR", encls, SGX_EMODPR, CPU_GP },
	{ "sgx2", 0, 0, 1, "EMODT", encls, SGX_EMODT, CPU_GP },
	{ "sgx2", 0, 0, 1, "EACCEPT", enclu, SGX_EACCEPT, CPU_GP },
	{ "sgx2", 0, 0, 1, "EMODPE", enclu, SGX_EMODPE, CPU_GP },
	{ "enclv", 0, 0, 5, "EINCVIRTCHILD", enclv, SGX_EINCVIRTCHILD, CPU_UD },
	{ "enclv", 0, 0, 5, "ESETCONTEXT", enclv, SGX_ESETCONTEXT, CPU_UD },
	{ "encls-c", 0, 0, 6, "ERDINFO", encls, SGX_ERDINFO, CPU_GP },
	{ "encls-c", 0, 0, 6, "ETRACKC", encls, SGX_ETRACKC, CPU_GP },
	{ "updatesvn", 0, 0, 10, "EUPDATESVN", encls, SGX_EUPDATESVN, CPU_GP },
	{ "edeccssa", 0, 0, 11, "EDECCSSA", enclu, SGX_EDECCSSA, CPU_GP },
	{ "exinfo", 0, 1, 0, "MISCSELECT.EXINFO", ecreate, SGX_MISC_EXINFO, CPU_GP },
	{ "kss", 1, 0, 7, "ATTRIBUTES.KSS", ecreate, SGX_ATTR_KSS, CPU_GP },
	{ "aex-notify", 1, 0, 10, "ATTRIBUTES.AEXNOTIFY", ecreate, SGX_ATTR_AEXNOTIFY, CPU_GP },
};

static uint32_t cpuid_bit(const struct cpu *cpu, size_t i)
{
	const struct cpu_cpuid host = { 0 };
	struct cpu_cpuid got = cpu_cpuid(cpu, 0x12, rows[i].subleaf, host);

	return (rows[i].reg ? got.ebx : got.eax) >> rows[i].bit & 1;
}

static void check(size_t i, bool on)
{
	struct cpu_config config;
	struct cpu_outcome out;
	struct machine *m;
	char list[64];

	machine_config(&config);
	snprintf(list, sizeof(list), "%s%s", on ? "" : "no-", rows[i].feature);
	TAP_MUST(cpu_config_features(&config, list) == 0, "--cpu %s", list);
	m = machine_new(&config);
	machine_build(m);
	out = rows[i].run(m, rows[i].leaf);
	TAP_CHECK(cpuid_bit(m->cpu, i) == on, "%s: CPUID says so", list);
	/* With the feature the leaf gets as far as its operands let it; it is there. */
	TAP_CHECK(on ? out.fault == CPU_NO_FAULT : out.fault == rows[i].refused, "%s: %s %s", list,
		  rows[i].what, on ? "is there" : "is refused");
	machine_free(m);
}

static void check_lists(void)
{
	struct cpu_config config, before;

	machine_config(&config);
	before = config;
	TAP_CHECK(cpu_config_features(&config, "") == 0 &&
			  memcmp(&config, &before, sizeof(config)) == 0,
		  "no feature, no change");
	TAP_CHECK(cpu_config_features(&config, "no-sgx2,sgx3") == -EINVAL &&
			  memcmp(&config, &before, sizeof(config)) == 0,
		  "an unknown one, and nothing changes");
	TAP_CHECK(cpu_config_features(&config, "no-") == -EINVAL, "no- what?");
	TAP_CHECK(cpu_config_features(&config, "sgx") == -EINVAL, "half a name");
	TAP_CHECK(cpu_config_features(&config, "no-sgx2,no-edeccssa,sgx2,enclv") == 0 &&
			  config.caps == (SGX_CPUID_SGX1 | SGX_CPUID_SGX2 | SGX_CPUID_ENCLV),
		  "several, and the last word counts");
}

/* EVERIFYREPORT2 and CET are nowhere. */
static void check_absent(void)
{
	const struct cpu_cpuid host = { ~0u, ~0u, ~0u, ~0u };
	struct machine *m = machine_new(NULL);

	TAP_CHECK(!(cpu_cpuid(m->cpu, 0x12, 0, host).eax & SGX_CPUID_VERIFY2),
		  "CPUID: no EVERIFYREPORT2");
	TAP_CHECK(!(cpu_cpuid(m->cpu, 0x12, 1, host).eax & SGX_ATTR_CET), "CPUID: no CET");
	machine_build(m);
	TAP_CHECK(is_fault(enclu(m, SGX_EVERIFYREPORT2), CPU_GP), "EVERIFYREPORT2 is #GP");
	machine_free(m);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		check(i, false);
		check(i, true);
	}
	check_lists();
	check_absent();
	return tap_done();
}
