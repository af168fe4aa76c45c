/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* EUPDATESVN: every way it may end, and what a new CPUSVN and a new paging key mean. */
#include "leaf/table.h"

static const uint8_t newer[16] = { 6, 5, 5, 5 };

static void caps(struct cpu_config *c) { c->caps |= SGX_CPUID_UPDATESVN; }
static void setup(struct machine *m) { cpu_load_microcode(m->cpu, newer); }
static struct cpu_outcome run(struct machine *m) { return encls_eupdatesvn(m->cpu); }

static void first_held(struct machine *m) { epcm_try_shared(entry(m, 0)); }
static void last_held(struct machine *m) { epcm_try_exclusive(entry(m, EPC_NR - 1)); }
static void va_valid(struct machine *m) { encls_epa(m->cpu, EPC_NR - 1); }
static void held_and_valid(struct machine *m)
{
	encls_epa(m->cpu, 0);
	epcm_try_shared(entry(m, 0));
}
static void same_svn(struct machine *m) { cpu_load_microcode(m->cpu, m->cpu->config.fuses.cpusvn); }

static const struct row rows[] = {
	{ "an empty EPC, newer microcode", NULL, OK },
	{ "a leaf at work on the first page", first_held, CODE(SGX_LOCKFAIL) },
	{ "a leaf at work on the last page", last_held, CODE(SGX_LOCKFAIL) },
	{ "a leaf at work, before a valid page", held_and_valid, CODE(SGX_LOCKFAIL) },
	{ "a valid page", va_valid, CODE(SGX_EPC_NOT_READY) },
	{ "the microcode has not changed", same_svn, CODE(SGX_NO_UPDATE) },
};
static const struct row absent_rows[] = { { "the processor has none", NULL, GP } };

/* Evict a VA page, update, load it again. */
static void test_paging_key(void)
{
	struct cpu_config config;
	struct machine *m;
	struct cpu_pageinfo pi = { .secs = CPU_NO_PAGE };
	static uint8_t other[SGX_PAGE_SIZE] __attribute__((aligned(4096)));
	static struct sgx_pcmd other_pcmd __attribute__((aligned(128)));
	uint64_t la;

	machine_config(&config);
	caps(&config);
	m = machine_new(&config);
	encls_epa(m->cpu, P_VA);
	encls_epa(m->cpu, P_VA2);
	pi.pcmd = &m->pcmd;
	TAP_MUST(cpu_ok(encls_ewb(m->cpu, &pi, P_VA2, P_VA, 0, m->cipher, &la)), "EWB");
	pi.srcpge = m->cipher;
	TAP_MUST(cpu_ok(encls_eldu(m->cpu, &pi, P_VA2, P_VA, 0)), "ELDU");
	pi = (struct cpu_pageinfo){ .pcmd = &m->pcmd, .secs = CPU_NO_PAGE };
	TAP_MUST(cpu_ok(encls_ewb(m->cpu, &pi, P_VA2, P_VA, 0, m->cipher, &la)), "EWB again");

	/* Nobody keeps the version of the page that holds it, so put it back by hand. */
	uint64_t version = *(uint64_t *)m->epc[P_VA];

	encls_eremove(m->cpu, P_VA);
	TAP_CHECK(is_code(encls_eupdatesvn(m->cpu), SGX_NO_UPDATE), "the EPC is empty: NO_UPDATE");
	encls_epa(m->cpu, P_VA);
	*(uint64_t *)m->epc[P_VA] = version;
	pi.srcpge = m->cipher;
	TAP_CHECK(is_code(encls_eldu(m->cpu, &pi, P_VA2, P_VA, 0), SGX_MAC_COMPARE_FAIL),
		  "NO_UPDATE: the paging key is new all the same");
	encls_epa(m->cpu, P_VA2);
	pi = (struct cpu_pageinfo){ .pcmd = &other_pcmd, .secs = CPU_NO_PAGE };
	encls_ewb(m->cpu, &pi, P_VA2, P_VA, 1, other, &la);
	TAP_CHECK(*((uint64_t *)m->epc[P_VA] + 1) > version, "versions go on: none is given twice");
	machine_free(m);
}

static void test_cpusvn(void)
{
	struct cpu_config config;
	struct machine *m;

	machine_config(&config);
	caps(&config);
	m = machine_new(&config);
	cpu_load_microcode(m->cpu, newer);
	TAP_CHECK(memcmp(cpu_get_config(m->cpu)->fuses.cpusvn, config.fuses.cpusvn, 16) == 0,
		  "microcode alone does not change CPUSVN");
	TAP_CHECK(is_code(encls_eupdatesvn(m->cpu), SGX_OK), "EUPDATESVN");
	TAP_CHECK(memcmp(cpu_get_config(m->cpu)->fuses.cpusvn, newer, 16) == 0, "CPUSVN is new");
	TAP_CHECK(encls_eupdatesvn(m->cpu).rflags == CPU_CF, "a second one: CF");
	machine_build(m);
	TAP_CHECK(cpu_ok(machine_enter(m, 0)), "enclaves run as before");
	TAP_CHECK(encls_eupdatesvn(m->cpu).rflags == CPU_ZF &&
			  is_code(encls_eupdatesvn(m->cpu), SGX_EPC_NOT_READY),
		  "somebody inside an enclave: EPC_NOT_READY");
	machine_free(m);
}

int main(void)
{
	const struct leaf_test t = { "EUPDATESVN", caps, setup, run, SGX_NO_UPDATE, false };
	const struct leaf_test absent = { "EUPDATESVN", NULL, setup, run, 0, false };

	RUN_ROWS(t, rows);
	RUN_ROWS(absent, absent_rows);
	test_paging_key();
	test_cpusvn();
	return tap_done();
}
