/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* EAUG, EMODPR, EMODT: every way they may end. */
#include "leaf/table.h"

static struct cpu_pageinfo pi;
static const struct sgx_secinfo *info;
static uint32_t page;

static void no_sgx2(struct cpu_config *c) { c->caps &= ~SGX_CPUID_SGX2; }

static void not_epc(struct machine *m) { page = EPC_NR; }
static void held(struct machine *m) { epcm_try_shared(entry(m, page)); }
static void held_excl(struct machine *m) { epcm_try_exclusive(entry(m, page)); }
static void modifying(struct machine *m) { epcm_try_extra(entry(m, page), EPCM_LOCK_MODIFY); }
static void pinned(struct machine *m) { epcm_try_pin(entry(m, page)); }
static void invalid(struct machine *m) { page = P_SPARE; }

/* ---- EAUG */

static void setup_eaug(struct machine *m)
{
	machine_build(m);
	pi = (struct cpu_pageinfo){ .linaddr = LA(P_FREE), .secs = P_SECS };
	page = P_FREE;
}
static struct cpu_outcome run_eaug(struct machine *m) { return encls_eaug(m->cpu, &pi, page); }
static void la_misaligned(struct machine *m) { pi.linaddr += 8; }
static void src_given(struct machine *m) { pi.srcpge = m->page; }
static void info_given(struct machine *m) { pi.secinfo = &m->secinfo; }
static void info_unaligned(struct machine *m) { pi.secinfo = (void *)(m->page + 32); }
static void info_given_valid(struct machine *m)
{
	info_given(m);
	page = P_DATA;
}
static void info_given_secs(struct machine *m)
{
	info_given(m);
	pi.secs = CPU_NO_PAGE;
}
static void secs_not_epc(struct machine *m) { pi.secs = CPU_NO_PAGE; }
static void valid(struct machine *m) { page = P_DATA; }
static void secs_held(struct machine *m) { epcm_try_exclusive(entry(m, P_SECS)); }
static void secs_shared(struct machine *m) { epcm_try_shared(entry(m, P_SECS)); }
static void secs_invalid(struct machine *m) { pi.secs = P_SPARE; }
static void secs_is_reg(struct machine *m) { pi.secs = P_DATA; }
static void uninitialized(struct machine *m)
{
	machine_ecreate(m, P_SPARE);
	pi.secs = P_SPARE;
}
static void below(struct machine *m) { pi.linaddr = ENCL_BASE - SGX_PAGE_SIZE; }
static void beyond(struct machine *m) { pi.linaddr = ENCL_BASE + ENCL_SIZE; }

static const struct row eaug_rows[] = {
	{ "a free page", NULL, OK },
	{ "SECS held shared by another", secs_shared, OK },
	{ "RCX is no EPC page", not_epc, PF },
	{ "LINADDR not aligned", la_misaligned, GP },
	{ "SRCPGE is not 0", src_given, GP },
	{ "SECINFO not aligned", info_unaligned, GP },
	{ "SECS is no EPC page", secs_not_epc, PF },
	{ "SECS is no EPC page, which comes before SECINFO", info_given_secs, PF },
	{ "page held by another", held, GP },
	{ "page is valid", valid, PF },
	{ "page is valid, which comes before SECINFO", info_given_valid, PF },
	{ "SECINFO is not 0", info_given, GP },
	{ "SECS held exclusive by another", secs_held, GP },
	{ "SECS is not valid", secs_invalid, PF },
	{ "SECS is a REG page", secs_is_reg, PF },
	{ "enclave is not initialised", uninitialized, GP },
	{ "LINADDR below the enclave", below, GP },
	{ "LINADDR beyond the enclave", beyond, GP },
};

/* ---- EMODPR */

static void setup_emodpr(struct machine *m)
{
	machine_build(m);
	memset(&m->secinfo, 0, sizeof(m->secinfo));
	m->secinfo.flags = SGX_SECINFO_R;
	info = &m->secinfo;
	page = P_DATA;
}
static struct cpu_outcome run_emodpr(struct machine *m) { return encls_emodpr(m->cpu, info, page); }
static void info_misaligned(struct machine *m) { info = (void *)(m->page + 32); }
static void info_flag(struct machine *m) { m->secinfo.flags |= 1u << 6; }
static void info_bytes(struct machine *m) { m->secinfo.reserved[6] = 1; }
static void w_without_r(struct machine *m) { m->secinfo.flags = SGX_SECINFO_W; }
static void nothing(struct machine *m) { m->secinfo.flags = 0; }
static void add_rights(struct machine *m) { m->secinfo.flags = SGX_SECINFO_RWX; }
static void blocked(struct machine *m) { encls_eblock(m->cpu, page); }
static void pr_already(struct machine *m) { run_emodpr(m); }
static void is_tcs(struct machine *m) { page = P_TCS0; }
static void is_va(struct machine *m) { page = P_VA; }
static void is_secs(struct machine *m) { page = P_SECS; }
static void is_pending(struct machine *m)
{
	pi = (struct cpu_pageinfo){ .linaddr = LA(P_FREE), .secs = P_SECS };
	encls_eaug(m->cpu, &pi, P_FREE);
	page = P_FREE;
}
static void is_modified(struct machine *m)
{
	static struct sgx_secinfo trim __attribute__((aligned(64)));

	trim.flags = SGX_SECINFO_TYPE(SGX_PT_TRIM);
	encls_emodt(m->cpu, &trim, P_DATA2);
	page = P_DATA2;
}
static void not_initialised(struct machine *m) { atomic_store(&secs_of(m)->own.initialized, 0); }

static const struct row emodpr_rows[] = {
	{ "take W away", NULL, OK },
	{ "take all away", nothing, OK },
	{ "ask for more than there is", add_rights, OK },
	{ "of a blocked page", blocked, OK },
	{ "once more", pr_already, OK },
	{ "page held shared by another", held, OK },
	{ "an operand in use", pinned, OK },
	{ "SECINFO not aligned", info_misaligned, GP },
	{ "RCX is no EPC page", not_epc, PF },
	{ "SECINFO reserved flag", info_flag, GP },
	{ "SECINFO reserved bytes", info_bytes, GP },
	{ "W without R", w_without_r, GP },
	{ "page held exclusive by another", held_excl, GP },
	{ "page is not valid", invalid, PF },
	{ "another SGX2 leaf at work on it", modifying, CODE(SGX_EPC_PAGE_CONFLICT) },
	{ "page is PENDING", is_pending, CODE(SGX_PAGE_NOT_MODIFIABLE) },
	{ "page is MODIFIED", is_modified, CODE(SGX_PAGE_NOT_MODIFIABLE) },
	{ "page is a TCS", is_tcs, PF },
	{ "page is a VA page", is_va, PF },
	{ "page is a SECS", is_secs, PF },
	{ "enclave is not initialised", not_initialised, GP },
};

/* ---- EMODT */

static void setup_emodt(struct machine *m)
{
	setup_emodpr(m);
	m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_TCS);
}
static struct cpu_outcome run_emodt(struct machine *m) { return encls_emodt(m->cpu, info, page); }
static void to_trim(struct machine *m) { m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_TRIM); }
static void tcs_to_trim(struct machine *m)
{
	to_trim(m);
	page = P_TCS0;
}
static void to_reg(struct machine *m) { m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_REG); }
static void to_va(struct machine *m) { m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_VA); }

static const struct row emodt_rows[] = {
	{ "REG to TCS", NULL, OK },
	{ "REG to TRIM", to_trim, OK },
	{ "TCS to TRIM", tcs_to_trim, OK },
	{ "an operand in use", pinned, OK },
	{ "SECINFO not aligned", info_misaligned, GP },
	{ "RCX is no EPC page", not_epc, PF },
	{ "SECINFO reserved flag", info_flag, GP },
	{ "SECINFO reserved bytes", info_bytes, GP },
	{ "to REG", to_reg, GP },
	{ "to VA", to_va, GP },
	{ "page held shared by another", held, CODE(SGX_EPC_PAGE_CONFLICT) },
	{ "page held exclusive by another", held_excl, CODE(SGX_EPC_PAGE_CONFLICT) },
	{ "page is not valid", invalid, PF },
	{ "another SGX2 leaf at work on it", modifying, CODE(SGX_EPC_PAGE_CONFLICT) },
	{ "TCS to TCS", is_tcs, PF },
	{ "page is a VA page", is_va, PF },
	{ "page is a SECS", is_secs, PF },
	{ "page is PENDING", is_pending, CODE(SGX_PAGE_NOT_MODIFIABLE) },
	{ "enclave is not initialised", not_initialised, GP },
};
static void is_modified_reg(struct machine *m)
{
	/* MODIFIED with type REG cannot be had by leaves: EMODT has no such target. */
	epcm_change(entry(m, page), 0, EPCM_MODIFIED);
}
static const struct row emodt_modified_rows[] = {
	{ "page is MODIFIED", is_modified_reg, CODE(SGX_PAGE_NOT_MODIFIABLE) },
};

/* ---- without SGX2 */

static const struct row absent_rows[] = { { "the processor has none", NULL, GP } };

static void test_effect(void)
{
	struct machine *m = machine_new(NULL);
	struct cpu_epcm e;

	setup_eaug(m);
	memset(m->epc[page], 0xff, SGX_PAGE_SIZE);
	run_eaug(m);
	e = cpu_epcm_read(m->cpu, page);
	TAP_CHECK(e.valid && e.pending && e.rwx == 3 && e.type == SGX_PT_REG &&
			  e.la == LA(P_FREE) && e.secs == P_SECS && !e.modified && !e.pr,
		  "EAUG: the EPCM entry");
	TAP_CHECK(cpu_is_zero(m->epc[page], SGX_PAGE_SIZE), "EAUG: the page is zero");
	m->secinfo.flags = SGX_SECINFO_R;
	encls_emodpr(m->cpu, &m->secinfo, P_DATA);
	e = cpu_epcm_read(m->cpu, P_DATA);
	TAP_CHECK(e.pr && e.rwx == SGX_SECINFO_R && e.la == LA(P_DATA),
		  "EMODPR: R is left, and PR");
	m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_TCS);
	encls_emodt(m->cpu, &m->secinfo, P_DATA);
	e = cpu_epcm_read(m->cpu, P_DATA);
	TAP_CHECK(e.modified && !e.pr && e.rwx == 0 && e.type == SGX_PT_TCS && e.la == LA(P_DATA),
		  "EMODT: the new type, MODIFIED, no permissions");
	machine_free(m);
}

int main(void)
{
	const struct leaf_test eaug = { "EAUG", NULL, setup_eaug, run_eaug, 0, false };
	const struct leaf_test emodpr = { "EMODPR", NULL, setup_emodpr, run_emodpr, 0, false };
	const struct leaf_test emodt = { "EMODT", NULL, setup_emodt, run_emodt, 0, false };
	const struct leaf_test no_eaug = { "EAUG", no_sgx2, setup_eaug, run_eaug, 0, false };
	const struct leaf_test no_emodpr = {
		"EMODPR", no_sgx2, setup_emodpr, run_emodpr, 0, false
	};
	const struct leaf_test no_emodt = { "EMODT", no_sgx2, setup_emodt, run_emodt, 0, false };

	RUN_ROWS(eaug, eaug_rows);
	RUN_ROWS(emodpr, emodpr_rows);
	RUN_ROWS(emodt, emodt_rows);
	RUN_ROWS(emodt, emodt_modified_rows);
	RUN_ROWS(no_eaug, absent_rows);
	RUN_ROWS(no_emodpr, absent_rows);
	RUN_ROWS(no_emodt, absent_rows);
	test_effect();
	return tap_done();
}
