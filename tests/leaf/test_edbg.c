/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* EDBGRD, EDBGWR: every way they may end. */
#include "leaf/table.h"

static uint32_t page, offset;
static uint64_t value;

static void setup(struct machine *m)
{
	machine_build(m);
	page = P_DATA;
	offset = 0x108;
	value = 0x1122334455667788;
}
static struct cpu_outcome run_rd(struct machine *m)
{
	return encls_edbgrd(m->cpu, page, offset, &value);
}
static struct cpu_outcome run_wr(struct machine *m)
{
	return encls_edbgwr(m->cpu, page, offset, value);
}

static void misaligned(struct machine *m) { offset = 4; }
static void beyond(struct machine *m) { offset = SGX_PAGE_SIZE; }
static void not_epc(struct machine *m) { page = EPC_NR; }
static void held(struct machine *m) { epcm_try_shared(entry(m, page)); }
static void held_excl(struct machine *m) { epcm_try_exclusive(entry(m, page)); }
static void invalid(struct machine *m) { page = P_SPARE; }
static void secs(struct machine *m) { page = P_SECS; }
static void va(struct machine *m) { page = P_VA; }
static void modified(struct machine *m)
{
	m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_TCS);
	encls_emodt(m->cpu, &m->secinfo, page);
}
static void trimmed(struct machine *m)
{
	m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_TRIM);
	encls_emodt(m->cpu, &m->secinfo, page);
}
static void pending(struct machine *m)
{
	struct cpu_pageinfo pi = { .linaddr = LA(P_FREE), .secs = P_SECS };

	encls_eaug(m->cpu, &pi, P_FREE);
	page = P_FREE;
}
static void tcs(struct machine *m)
{
	page = P_TCS0;
	offset = 64;
}
static void tcs_flags(struct machine *m)
{
	page = P_TCS0;
	offset = 8;
}
static void tcs_beyond(struct machine *m)
{
	page = P_TCS0;
	offset = 72;
}
static void code(struct machine *m) { page = P_CODE; }
static void blocked(struct machine *m) { encls_eblock(m->cpu, page); }
static void production(struct machine *m) { secs_of(m)->arch.attributes.flags &= ~SGX_ATTR_DEBUG; }
static void va_production(struct machine *m)
{
	production(m);
	va(m);
}

static const struct row rd_rows[] = {
	{ "a REG page", NULL, OK },
	{ "a TCS", tcs, OK },
	{ "a VA page", va, OK },
	{ "a VA page, enclave not in debug mode", va_production, OK },
	{ "a blocked page", blocked, OK },
	{ "page held shared by another", held, OK },
	{ "RCX not aligned", misaligned, GP },
	{ "beyond the page", beyond, GP },
	{ "RCX is no EPC page", not_epc, PF },
	{ "page held exclusive by another", held_excl, GP },
	{ "page is not valid", invalid, PF },
	{ "page is a SECS", secs, PF },
	{ "page is a TRIM page", trimmed, PF },
	{ "page is PENDING", pending, CODE(SGX_PAGE_NOT_DEBUGGABLE) },
	{ "page is MODIFIED", modified, CODE(SGX_PAGE_NOT_DEBUGGABLE) },
	{ "beyond the TCS", tcs_beyond, GP },
	{ "enclave not in debug mode", production, GP },
};

static const struct row wr_rows[] = {
	{ "a REG page", NULL, OK },
	{ "a REG page that nobody may write", code, OK },
	{ "FLAGS of a TCS", tcs_flags, OK },
	{ "RCX not aligned", misaligned, GP },
	{ "beyond the page", beyond, GP },
	{ "RCX is no EPC page", not_epc, PF },
	{ "page held exclusive by another", held_excl, GP },
	{ "page is not valid", invalid, PF },
	{ "page is a SECS", secs, PF },
	{ "page is a VA page", va, PF },
	{ "page is a TRIM page", trimmed, PF },
	{ "page is PENDING", pending, CODE(SGX_PAGE_NOT_DEBUGGABLE) },
	{ "page is MODIFIED", modified, CODE(SGX_PAGE_NOT_DEBUGGABLE) },
	{ "another field of a TCS", tcs, GP },
	{ "enclave not in debug mode", production, GP },
};

static void test_effect(void)
{
	struct machine *m = machine_new(NULL);

	setup(m);
	run_wr(m);
	TAP_CHECK(*(uint64_t *)(m->epc[page] + offset) == 0x1122334455667788, "EDBGWR: written");
	value = 0;
	run_rd(m);
	TAP_CHECK(value == 0x1122334455667788, "EDBGRD: read");
	va(m);
	run_rd(m);
	TAP_CHECK(value == 0, "EDBGRD: an empty slot");
	machine_block_track(m, P_DATA);
	machine_ewb(m, P_DATA, offset / 8);
	run_rd(m);
	TAP_CHECK(value == ~0ull, "EDBGRD: of a version only that it is there");
	machine_free(m);
}

int main(void)
{
	const struct leaf_test rd = { "EDBGRD", NULL, setup, run_rd, 0, false };
	const struct leaf_test wr = { "EDBGWR", NULL, setup, run_wr, 0, false };

	RUN_ROWS(rd, rd_rows);
	RUN_ROWS(wr, wr_rows);
	test_effect();
	return tap_done();
}
