/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* ERDINFO, ETRACKC, EINCVIRTCHILD, EDECVIRTCHILD, ESETCONTEXT: every way they may end. */
#include "leaf/table.h"

static uint32_t page, secs;
static struct sgx_rdinfo buffer[2] __attribute__((aligned(32)));
static struct sgx_rdinfo *rdinfo;
static uint64_t contexts[2];
static const uint64_t *context;

static void caps(struct cpu_config *c) { c->caps |= SGX_CPUID_ENCLS_C | SGX_CPUID_ENCLV; }

static void setup(struct machine *m)
{
	machine_build(m);
	page = P_DATA;
	secs = P_SECS;
	memset(buffer, 0xee, sizeof(buffer));
	rdinfo = buffer;
	contexts[0] = 0x7f1234567001;
	context = contexts;
}

static void not_epc(struct machine *m) { page = EPC_NR; }
static void held(struct machine *m) { epcm_try_exclusive(entry(m, page)); }
static void shared(struct machine *m) { epcm_try_shared(entry(m, page)); }
static void invalid(struct machine *m) { page = P_SPARE; }
static void is_va(struct machine *m) { page = P_VA; }
static void is_secs(struct machine *m) { page = P_SECS; }
static void is_tcs(struct machine *m) { page = P_TCS0; }

/* ---- ERDINFO */

static struct cpu_outcome run_erdinfo(struct machine *m)
{
	return encls_erdinfo(m->cpu, rdinfo, page);
}
static void info_misaligned(struct machine *m) { rdinfo = (void *)((uint8_t *)buffer + 16); }

static const struct row erdinfo_rows[] = {
	{ "a REG page", NULL, OK },
	{ "a SECS", is_secs, OK },
	{ "a VA page", is_va, OK },
	{ "page held shared by another", shared, OK },
	{ "RDINFO not aligned", info_misaligned, GP },
	{ "RCX is no EPC page", not_epc, CODE(SGX_PG_NONEPC) },
	{ "page held exclusive by another", held, CODE(SGX_EPC_PAGE_CONFLICT) },
	{ "page is not valid", invalid, CODE(SGX_PG_INVLD) },
};

/* ---- ETRACKC */

static struct cpu_outcome run_etrackc(struct machine *m) { return encls_etrackc(m->cpu, page); }
static void tracking(struct machine *m) { epcm_try_extra(entry(m, P_SECS), EPCM_LOCK_TRACK); }
static void incomplete(struct machine *m)
{
	machine_enter(m, 0);
	encls_etrack(m->cpu, P_SECS);
}

static const struct row etrackc_rows[] = {
	{ "by a child", NULL, OK },
	{ "by the SECS", is_secs, OK },
	{ "by a TCS", is_tcs, OK },
	{ "RCX is no EPC page", not_epc, PF },
	{ "page held exclusive by another", held, CODE(SGX_EPC_PAGE_CONFLICT) },
	{ "page is not valid", invalid, CODE(SGX_PG_INVLD) },
	{ "a VA page", is_va, CODE(SGX_TRACK_NOT_REQUIRED) },
	{ "ETRACK at work", tracking, CODE(SGX_EPC_PAGE_CONFLICT) },
	{ "the cycle before is incomplete", incomplete, CODE(SGX_PREV_TRK_INCMPL) },
};

/* ---- EINCVIRTCHILD, EDECVIRTCHILD */

static struct cpu_outcome run_inc(struct machine *m)
{
	return enclv_eincvirtchild(m->cpu, page, secs);
}
static struct cpu_outcome run_dec(struct machine *m)
{
	return enclv_edecvirtchild(m->cpu, page, secs);
}
static void setup_dec(struct machine *m)
{
	setup(m);
	run_inc(m);
}
static void secs_not_epc(struct machine *m) { secs = EPC_NR; }
static void other_secs(struct machine *m) { secs = P_DATA2; }
static void full(struct machine *m) { atomic_store(&secs_of(m)->own.virtchildcnt, UINT64_MAX); }
static void empty(struct machine *m) { atomic_store(&secs_of(m)->own.virtchildcnt, 0); }

static const struct row inc_rows[] = {
	{ "for a child", NULL, OK },
	{ "for the SECS itself", is_secs, OK },
	{ "page held shared by another", shared, OK },
	{ "RBX is no EPC page", not_epc, PF },
	{ "RCX is no EPC page", secs_not_epc, PF },
	{ "page held exclusive by another", held, CODE(SGX_EPC_PAGE_CONFLICT) },
	{ "page is not valid", invalid, PF },
	{ "a VA page", is_va, PF },
	{ "not the page's SECS", other_secs, GP },
	{ "overflow", full, CODE(SGX_INVALID_COUNTER) },
};
static const struct row dec_rows[] = {
	{ "for a child", NULL, OK },
	{ "for the SECS itself", is_secs, OK },
	{ "RBX is no EPC page", not_epc, PF },
	{ "RCX is no EPC page", secs_not_epc, PF },
	{ "page held exclusive by another", held, CODE(SGX_EPC_PAGE_CONFLICT) },
	{ "page is not valid", invalid, PF },
	{ "a VA page", is_va, PF },
	{ "not the page's SECS", other_secs, GP },
	{ "underflow", empty, CODE(SGX_INVALID_COUNTER) },
};

/* ---- ESETCONTEXT */

static struct cpu_outcome run_context(struct machine *m)
{
	return enclv_esetcontext(m->cpu, secs, context);
}
static void context_misaligned(struct machine *m)
{
	context = (const uint64_t *)(const void *)((const uint8_t *)contexts + 4);
}
static void secs_held(struct machine *m) { epcm_try_exclusive(entry(m, P_SECS)); }
static void secs_invalid(struct machine *m) { secs = P_SPARE; }

static const struct row context_rows[] = {
	{ "of a SECS", NULL, OK },
	{ "RCX is no EPC page", secs_not_epc, PF },
	{ "RDX not aligned", context_misaligned, GP },
	{ "SECS held exclusive by another", secs_held, CODE(SGX_EPC_PAGE_CONFLICT) },
	{ "page is not valid", secs_invalid, PF },
	{ "page is no SECS", other_secs, PF },
};

static const struct row absent_rows[] = { { "the processor has none", NULL, GP } };
static const struct row no_enclv_rows[] = { { "the processor has none", NULL, CPU_UD, SGX_OK } };

static void test_effect(void)
{
	struct cpu_config config;
	struct machine *m;

	machine_config(&config);
	caps(&config);
	m = machine_new(&config);
	setup(m);
	run_erdinfo(m);
	TAP_CHECK(rdinfo->flags == (SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_W) &&
			  rdinfo->status == 0 && rdinfo->enclavecontext == 0,
		  "ERDINFO: of a REG page");
	run_context(m);
	encls_eblock(m->cpu, P_DATA);
	run_erdinfo(m);
	TAP_CHECK(rdinfo->flags & SGX_RDINFO_BLOCKED && rdinfo->enclavecontext == contexts[0],
		  "ERDINFO: BLOCKED, and the context that ESETCONTEXT wrote");
	page = P_SECS;
	run_erdinfo(m);
	TAP_CHECK(rdinfo->status == 1 && rdinfo->enclavecontext == contexts[0],
		  "ERDINFO: of a SECS with children");
	run_inc(m);
	for (uint32_t i = P_TCS0; i <= P_DATA2; i++)
		encls_eremove(m->cpu, i);
	run_erdinfo(m);
	TAP_CHECK(rdinfo->status == 2, "ERDINFO: of a SECS with a virtual child only");
	TAP_CHECK(cpu_ok(encls_eremove(m->cpu, P_SECS)), "EREMOVE: virtual children do not count");
	TAP_CHECK(rdinfo == buffer && buffer[1].flags == 0xeeeeeeeeeeeeeeee,
		  "ERDINFO: 32 bytes are written");
	machine_free(m);
}

int main(void)
{
	const struct leaf_test erdinfo = { "ERDINFO", caps, setup, run_erdinfo, 0, false };
	const struct leaf_test etrackc = { "ETRACKC", caps, setup, run_etrackc, 0, false };
	const struct leaf_test inc = { "EINCVIRTCHILD", caps, setup, run_inc, 0, false };
	const struct leaf_test dec = { "EDECVIRTCHILD", caps, setup_dec, run_dec, 0, false };
	const struct leaf_test set = { "ESETCONTEXT", caps, setup, run_context, 0, false };
	const struct leaf_test no_erdinfo = { "ERDINFO", NULL, setup, run_erdinfo, 0, false };
	const struct leaf_test no_etrackc = { "ETRACKC", NULL, setup, run_etrackc, 0, false };
	const struct leaf_test no_inc = { "EINCVIRTCHILD", NULL, setup, run_inc, 0, false };
	const struct leaf_test no_dec = { "EDECVIRTCHILD", NULL, setup, run_dec, 0, false };
	const struct leaf_test no_set = { "ESETCONTEXT", NULL, setup, run_context, 0, false };

	RUN_ROWS(erdinfo, erdinfo_rows);
	RUN_ROWS(etrackc, etrackc_rows);
	RUN_ROWS(inc, inc_rows);
	RUN_ROWS(dec, dec_rows);
	RUN_ROWS(set, context_rows);
	RUN_ROWS(no_erdinfo, absent_rows);
	RUN_ROWS(no_etrackc, absent_rows);
	RUN_ROWS(no_inc, no_enclv_rows);
	RUN_ROWS(no_dec, no_enclv_rows);
	RUN_ROWS(no_set, no_enclv_rows);
	test_effect();
	return tap_done();
}
