/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* EPA, EREMOVE, EBLOCK, ETRACK: every way they may end. */
#include "leaf/table.h"

static uint32_t page;

static void not_epc(struct machine *m) { page = EPC_NR; }
static void held(struct machine *m) { epcm_try_shared(entry(m, page)); }
static void held_excl(struct machine *m) { epcm_try_exclusive(entry(m, page)); }
static void pinned(struct machine *m) { epcm_try_pin(entry(m, page)); }
static void inside(struct machine *m) { machine_enter(m, 0); }

/* ---- EPA */

static void setup_epa(struct machine *m)
{
	machine_build(m);
	page = P_SPARE;
	memset(m->epc[P_SPARE], 0xff, SGX_PAGE_SIZE);
}
static struct cpu_outcome run_epa(struct machine *m) { return encls_epa(m->cpu, page); }
static void valid(struct machine *m) { page = P_DATA; }

static const struct row epa_rows[] = {
	{ "a free page", NULL, OK },
	{ "RCX is no EPC page", not_epc, PF },
	{ "page held by another", held, GP },
	{ "page is valid", valid, PF },
};

/* ---- EREMOVE */

static void setup_eremove(struct machine *m)
{
	machine_build(m);
	page = P_DATA;
}
static struct cpu_outcome run_eremove(struct machine *m) { return encls_eremove(m->cpu, page); }
static void invalid(struct machine *m) { page = P_SPARE; }
static void va(struct machine *m) { page = P_VA; }
static void va_inside(struct machine *m)
{
	page = P_VA;
	inside(m);
}
static void secs(struct machine *m) { page = P_SECS; }
static void childless(struct machine *m)
{
	for (uint32_t i = P_TCS0; i <= P_DATA2; i++)
		encls_eremove(m->cpu, i);
	page = P_SECS;
}
static void emodt(struct machine *m, uint32_t which, enum sgx_page_type pt)
{
	m->secinfo.flags = SGX_SECINFO_TYPE(pt);
	encls_emodt(m->cpu, &m->secinfo, which);
}
static void trim_inside(struct machine *m)
{
	emodt(m, P_DATA, SGX_PT_TRIM);
	inside(m);
}
static void trim_accepted_inside(struct machine *m)
{
	trim_inside(m);
	epcm_change(entry(m, P_DATA), EPCM_MODIFIED, 0); /* as EACCEPT does */
}
static void busy_tcs(struct machine *m)
{
	inside(m);
	page = P_TCS0;
}
static void blocked(struct machine *m) { encls_eblock(m->cpu, page); }

static const struct row eremove_rows[] = {
	{ "a REG page", NULL, OK },
	{ "a blocked page", blocked, OK },
	{ "a page that is not valid", invalid, OK },
	{ "a VA page", va, OK },
	{ "a VA page while somebody is inside", va_inside, OK },
	{ "a SECS without children", childless, OK },
	{ "an accepted TRIM page while somebody is inside", trim_accepted_inside, OK },
	{ "RCX is no EPC page", not_epc, PF },
	{ "page held shared by another", held, GP },
	{ "page held exclusive by another", held_excl, GP },
	{ "a SECS with children", secs, CODE(SGX_CHILD_PRESENT) },
	{ "somebody is inside", inside, CODE(SGX_ENCLAVE_ACT) },
	{ "a TRIM page not accepted, somebody inside", trim_inside, CODE(SGX_ENCLAVE_ACT) },
	{ "the TCS of somebody inside", busy_tcs, CODE(SGX_ENCLAVE_ACT) },
	{ "an operand of somebody entering", pinned, CODE(SGX_ENCLAVE_ACT) },
};

/* ---- EBLOCK */

static void setup_eblock(struct machine *m)
{
	machine_build(m);
	page = P_DATA;
}
static struct cpu_outcome run_eblock(struct machine *m) { return encls_eblock(m->cpu, page); }
static void tcs(struct machine *m) { page = P_TCS1; }
static void trim(struct machine *m) { emodt(m, P_DATA, SGX_PT_TRIM); }
static void tracking(struct machine *m) { epcm_try_extra(entry(m, P_SECS), EPCM_LOCK_TRACK); }

static const struct row eblock_rows[] = {
	{ "a REG page", NULL, OK },
	{ "a TCS", tcs, OK },
	{ "a TRIM page", trim, OK },
	{ "page held shared by another", held, OK },
	{ "an operand in use", pinned, OK },
	{ "RCX is no EPC page", not_epc, PF },
	{ "page held exclusive by another", held_excl, CODE(SGX_EPC_PAGE_CONFLICT) },
	{ "page is not valid", invalid, CODE(SGX_PG_INVLD) },
	{ "a SECS", secs, CODE(SGX_PG_IS_SECS) },
	{ "a VA page", va, CODE(SGX_NOTBLOCKABLE) },
	{ "blocked already", blocked, CODE(SGX_BLKSTATE) },
	{ "ETRACK at work", tracking, CODE(SGX_ENTRYEPOCH_LOCKED) },
};

/* ---- ETRACK */

static void setup_etrack(struct machine *m)
{
	machine_build(m);
	page = P_SECS;
}
static struct cpu_outcome run_etrack(struct machine *m) { return encls_etrack(m->cpu, page); }
static void data(struct machine *m) { page = P_DATA; }
static void tracked_inside(struct machine *m)
{
	inside(m);
	run_etrack(m);
}
static void tracked_left(struct machine *m)
{
	tracked_inside(m);
	machine_exit(m);
}
static void tracked_flushed(struct machine *m)
{
	tracked_inside(m);
	cpu_track_flush(m->cpu, P_SECS);
}

static const struct row etrack_rows[] = {
	{ "nobody inside", NULL, OK },
	{ "somebody inside", inside, OK },
	{ "once more, and all have left", tracked_left, OK },
	{ "once more, and all were flushed", tracked_flushed, OK },
	{ "RCX is no EPC page", not_epc, PF },
	{ "SECS held exclusive by another", held_excl, GP },
	{ "page is not valid", invalid, PF },
	{ "page is no SECS", data, PF },
	{ "ETRACK at work", tracking, GP },
	{ "the cycle before is incomplete", tracked_inside, CODE(SGX_PREV_TRK_INCMPL) },
};

static void test_flags(void)
{
	struct machine *m = machine_new(NULL);
	struct cpu_outcome out;

	machine_build(m);
	encls_eblock(m->cpu, P_DATA);
	out = encls_eblock(m->cpu, P_DATA);
	TAP_CHECK(out.rflags == CPU_CF, "EBLOCK: a blocked page sets CF");
	TAP_CHECK(encls_eblock(m->cpu, P_SECS).rflags == CPU_CF, "EBLOCK: a SECS sets CF");
	TAP_CHECK(encls_eblock(m->cpu, P_SPARE).rflags == CPU_ZF, "EBLOCK: no page sets ZF");
	out = encls_epa(m->cpu, P_SPARE);
	TAP_CHECK(cpu_ok(out) && cpu_epcm_read(m->cpu, P_SPARE).type == SGX_PT_VA &&
			  cpu_epcm_read(m->cpu, P_SPARE).secs == CPU_NO_PAGE,
		  "EPA: the EPCM entry");
	TAP_CHECK(cpu_is_zero(m->epc[P_SPARE], SGX_PAGE_SIZE), "EPA: all slots are empty");
	TAP_CHECK(secs_of(m)->own.child_nr == 9, "SECS: nine children");
	encls_eremove(m->cpu, P_DATA);
	TAP_CHECK(secs_of(m)->own.child_nr == 8, "EREMOVE: one child less");
	machine_free(m);
}

int main(void)
{
	const struct leaf_test epa = { "EPA", NULL, setup_epa, run_epa, 0, false };
	const struct leaf_test eremove = { "EREMOVE", NULL, setup_eremove, run_eremove, 0, false };
	const struct leaf_test eblock = { "EBLOCK", NULL, setup_eblock, run_eblock, 0, false };
	const struct leaf_test etrack = { "ETRACK", NULL, setup_etrack, run_etrack, 0, false };

	RUN_ROWS(epa, epa_rows);
	RUN_ROWS(eremove, eremove_rows);
	RUN_ROWS(eblock, eblock_rows);
	RUN_ROWS(etrack, etrack_rows);
	test_flags();
	return tap_done();
}
