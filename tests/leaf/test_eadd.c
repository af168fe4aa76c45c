/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* EADD and EEXTEND: every way they may end. */
#include "leaf/table.h"

static struct cpu_pageinfo pi;
static uint32_t page, offset;

static void setup(struct machine *m)
{
	machine_secs(m);
	machine_ecreate(m, P_SECS);
	memset(m->page, 0, sizeof(m->page));
	memset(&m->secinfo, 0, sizeof(m->secinfo));
	m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_W;
	pi = (struct cpu_pageinfo){
		.linaddr = LA(P_DATA), .srcpge = m->page, .secinfo = &m->secinfo, .secs = P_SECS
	};
	page = P_DATA;
}

static struct cpu_outcome run(struct machine *m) { return encls_eadd(m->cpu, &pi, page); }

static void not_epc(struct machine *m) { page = EPC_NR; }
static void src_misaligned(struct machine *m) { pi.srcpge = m->page + 8; }
static void info_misaligned(struct machine *m) { pi.secinfo = (void *)(m->cipher + 8); }
static void la_misaligned(struct machine *m) { pi.linaddr += 8; }
static void secs_not_epc(struct machine *m) { pi.secs = EPC_NR; }
static void secs_none(struct machine *m) { pi.secs = CPU_NO_PAGE; }
static void info_flag(struct machine *m) { m->secinfo.flags |= 1u << 7; }
static void info_bytes(struct machine *m) { m->secinfo.reserved[0] = 1; }
static void type_va(struct machine *m) { m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_VA); }
static void type_secs(struct machine *m) { m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_SECS); }
static void type_trim(struct machine *m) { m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_TRIM); }
static void held(struct machine *m) { epcm_try_shared(entry(m, page)); }
static void valid(struct machine *m) { encls_epa(m->cpu, page); }
static void secs_held(struct machine *m) { epcm_try_exclusive(entry(m, P_SECS)); }
static void secs_invalid(struct machine *m) { pi.secs = P_SPARE; }
static void secs_is_va(struct machine *m)
{
	encls_epa(m->cpu, P_SPARE);
	pi.secs = P_SPARE;
}
static void w_without_r(struct machine *m) { m->secinfo.flags &= ~(uint64_t)SGX_SECINFO_R; }
static void wx_without_r(struct machine *m)
{
	m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_W | SGX_SECINFO_X;
}
static void x_only(struct machine *m)
{
	m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_X;
}
static void below(struct machine *m) { pi.linaddr = ENCL_BASE - SGX_PAGE_SIZE; }
static void beyond(struct machine *m) { pi.linaddr = ENCL_BASE + ENCL_SIZE; }
static void last(struct machine *m) { pi.linaddr = ENCL_BASE + ENCL_SIZE - SGX_PAGE_SIZE; }
static void measuring(struct machine *m) { epcm_try_extra(entry(m, P_SECS), EPCM_LOCK_MEASURE); }
static void initialized(struct machine *m)
{
	machine_sigstruct(m);
	machine_einit(m);
}

static void to_tcs(struct machine *m)
{
	m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_TCS);
	machine_tcs(m, 0);
}
static struct sgx_tcs *tcs(struct machine *m)
{
	to_tcs(m);
	return (struct sgx_tcs *)m->page;
}
static void tcs_flags(struct machine *m) { tcs(m)->flags = 4; }
static void tcs_reserved(struct machine *m) { tcs(m)->reserved[4007] = 1; }
static void tcs_dirty(struct machine *m)
{
	tcs(m)->flags = SGX_TCS_DBGOPTIN;
	tcs(m)->state = 1;
	tcs(m)->cssa = 1;
	tcs(m)->aep = 1;
}

static const struct row eadd_rows[] = {
	{ "a REG page", NULL, OK },
	{ "an execute-only page", x_only, OK },
	{ "the last page of the enclave", last, OK },
	{ "a TCS", to_tcs, OK },
	{ "a TCS with what the processor resets", tcs_dirty, OK },
	{ "RCX is no EPC page", not_epc, PF },
	{ "SRCPGE not aligned", src_misaligned, GP },
	{ "SECINFO not aligned", info_misaligned, GP },
	{ "LINADDR not aligned", la_misaligned, GP },
	{ "SECS is no EPC page", secs_not_epc, PF },
	{ "no SECS", secs_none, PF },
	{ "SECINFO reserved flag", info_flag, GP },
	{ "SECINFO reserved bytes", info_bytes, GP },
	{ "page type VA", type_va, GP },
	{ "page type SECS", type_secs, GP },
	{ "page type TRIM", type_trim, GP },
	{ "page held by another", held, GP },
	{ "page is valid", valid, PF },
	{ "SECS held exclusive by another", secs_held, GP },
	{ "SECS is not valid", secs_invalid, PF },
	{ "SECS is a VA page", secs_is_va, PF },
	{ "TCS: reserved FLAGS", tcs_flags, GP },
	{ "TCS: reserved bytes", tcs_reserved, GP },
	{ "REG: W without R", w_without_r, GP },
	{ "REG: WX without R", wx_without_r, GP },
	{ "LINADDR below the enclave", below, GP },
	{ "LINADDR beyond the enclave", beyond, GP },
	{ "measurement held by another", measuring, GP },
	{ "enclave is initialised", initialized, GP },
};

/* A processor without AEX-notify: the bit of a TCS is reserved. */
static void no_notify(struct cpu_config *c) { c->attr_mask &= ~SGX_ATTR_AEXNOTIFY; }
static void tcs_notify(struct machine *m)
{
	to_tcs(m);
	((struct sgx_tcs *)m->page)->flags = SGX_TCS_AEXNOTIFY;
}
static const struct row eadd_notify_rows[] = { { "a TCS with AEXNOTIFY", tcs_notify, OK } };
static const struct row eadd_old_rows[] = {
	{ "a TCS, no AEX-notify", to_tcs, OK },
	{ "a TCS with AEXNOTIFY, which the processor has not", tcs_notify, GP },
};

/* 32-bit enclaves: the limits end on a page. */
static void setup_32(struct machine *m)
{
	machine_secs(m);
	m->secs.attributes.flags = 0;
	m->secs.baseaddr = 0x10000000;
	machine_ecreate(m, P_SECS);
	memset(m->page, 0, sizeof(m->page));
	memset(&m->secinfo, 0, sizeof(m->secinfo));
	to_tcs(m);
	pi = (struct cpu_pageinfo){
		.linaddr = 0x10000000, .srcpge = m->page, .secinfo = &m->secinfo, .secs = P_SECS
	};
	page = P_DATA;
}
static void fs_limit(struct machine *m) { ((struct sgx_tcs *)m->page)->fslimit = 0xffe; }
static void gs_limit(struct machine *m) { ((struct sgx_tcs *)m->page)->gslimit = 0x1000; }

static const struct row eadd_32_rows[] = {
	{ "limits of whole pages", NULL, OK },
	{ "FSLIMIT not the end of a page", fs_limit, GP },
	{ "GSLIMIT not the end of a page", gs_limit, GP },
};

static void setup_extend(struct machine *m)
{
	setup(m);
	machine_eadd(m, P_DATA, LA(P_DATA), m->secinfo.flags, false);
	offset = 0x300;
}
static struct cpu_outcome run_extend(struct machine *m)
{
	return encls_eextend(m->cpu, pi.secs, page, offset);
}
static void off_misaligned(struct machine *m) { offset = 0x380; }
static void off_beyond(struct machine *m) { offset = 0x1000; }
static void held_excl(struct machine *m) { epcm_try_exclusive(entry(m, page)); }
static void page_invalid(struct machine *m) { page = P_SPARE; }
static void page_is_va(struct machine *m)
{
	page = P_VA;
	encls_epa(m->cpu, P_VA);
}
static void page_is_secs(struct machine *m) { page = P_SECS; }
static void other_secs(struct machine *m)
{
	machine_ecreate(m, P_SPARE);
	pi.secs = P_SPARE;
}
static void held_shared(struct machine *m) { epcm_try_shared(entry(m, page)); }

static const struct row eextend_rows[] = {
	{ "256 bytes", NULL, OK },
	{ "page held shared by another", held_shared, OK },
	{ "SECS is no EPC page", secs_not_epc, PF },
	{ "offset not aligned", off_misaligned, GP },
	{ "offset beyond the page", off_beyond, GP },
	{ "RCX is no EPC page", not_epc, PF },
	{ "page held exclusive by another", held_excl, GP },
	{ "page is not valid", page_invalid, PF },
	{ "page is a VA page", page_is_va, PF },
	{ "page is a SECS", page_is_secs, PF },
	{ "page of another enclave", other_secs, GP },
	{ "measurement held by another", measuring, GP },
	{ "enclave is initialised", initialized, GP },
};

static void test_tcs_effect(void)
{
	struct machine *m = machine_new(NULL);
	struct cpu_epcm e;
	struct sgx_tcs *made = (struct sgx_tcs *)m->epc[P_DATA];

	setup(m);
	tcs_dirty(m);
	m->secinfo.flags |= SGX_SECINFO_RWX;
	TAP_CHECK(cpu_ok(run(m)), "EADD: a TCS with RWX");
	e = cpu_epcm_read(m->cpu, page);
	TAP_CHECK(e.valid && e.type == SGX_PT_TCS && e.rwx == 0 && e.la == LA(P_DATA) &&
			  e.secs == P_SECS,
		  "EADD: the EPCM entry of a TCS has no permissions");
	TAP_CHECK(made->flags == 0 && made->state == 0 && made->cssa == 0 && made->aep == 0,
		  "EADD: the processor's fields of a TCS are reset");
	TAP_CHECK(secs_of(m)->own.child_nr == 1, "EADD: the SECS has one child");
	machine_free(m);
}

/* One call for the page and sixteen calls come to one measurement. */
static void test_extend_page(void)
{
	struct machine *m = machine_new(NULL);
	struct sha256 one;
	bool same;

	setup_extend(m);
	one = secs_of(m)->own.measurement;
	for (offset = 0; offset < SGX_PAGE_SIZE; offset += SGX_EXTEND_BYTES)
		run_extend(m);
	{
		struct sha256 by_block = secs_of(m)->own.measurement;

		secs_of(m)->own.measurement = one;
		TAP_CHECK(cpu_ok(encls_eextend_page(m->cpu, P_SECS, page)), "EEXTEND of a page");
		same = memcmp(&by_block, &secs_of(m)->own.measurement, sizeof(by_block)) == 0;
		TAP_CHECK(same && memcmp(&by_block, &one, sizeof(one)) != 0,
			  "EEXTEND of a page is sixteen EEXTENDs");
	}
	machine_free(m);
}

int main(void)
{
	const struct leaf_test eadd = { "EADD", NULL, setup, run, 0, false };
	const struct leaf_test eadd_old = { "EADD", no_notify, setup, run, 0, false };
	const struct leaf_test eadd_32 = { "EADD, 32-bit", NULL, setup_32, run, 0, false };
	const struct leaf_test eextend = { "EEXTEND", NULL, setup_extend, run_extend, 0, false };

	RUN_ROWS(eadd, eadd_rows);
	RUN_ROWS(eadd, eadd_notify_rows);
	RUN_ROWS(eadd_old, eadd_old_rows);
	RUN_ROWS(eadd_32, eadd_32_rows);
	RUN_ROWS(eextend, eextend_rows);
	test_tcs_effect();
	test_extend_page();
	return tap_done();
}
