/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* EWB, ELDU, ELDB: every way they may end, and what is bound to a page outside. */
#include "leaf/table.h"

static struct cpu_pageinfo pi;
static uint32_t page, va, slot;
static void *out_page;
static uint64_t ret_la;

static uint64_t *slots(struct machine *m) { return (uint64_t *)m->epc[P_VA]; }

/* ---- EWB */

static void setup(struct machine *m)
{
	machine_build(m);
	machine_block_track(m, P_DATA);
	pi = (struct cpu_pageinfo){ .pcmd = &m->pcmd, .secs = CPU_NO_PAGE };
	page = P_DATA;
	va = P_VA;
	slot = 5;
	out_page = m->cipher;
	ret_la = 1;
}
static struct cpu_outcome run(struct machine *m)
{
	return encls_ewb(m->cpu, &pi, page, va, slot, out_page, &ret_la);
}

static void not_epc(struct machine *m) { page = EPC_NR; }
static void slot_beyond(struct machine *m) { slot = 512; }
static void va_not_epc(struct machine *m) { va = EPC_NR; }
static void va_is_page(struct machine *m) { page = P_VA; }
static void linaddr(struct machine *m) { pi.linaddr = LA(P_DATA); }
static void secs_given(struct machine *m) { pi.secs = P_SECS; }
static void pcmd_misaligned(struct machine *m) { pi.pcmd = (void *)(m->page + 64); }
static void out_misaligned(struct machine *m) { out_page = m->page + 64; }
static void held(struct machine *m) { epcm_try_shared(entry(m, page)); }
static void va_held(struct machine *m) { epcm_try_exclusive(entry(m, va)); }
static void va_shared(struct machine *m) { epcm_try_shared(entry(m, va)); }
static void invalid(struct machine *m) { page = P_SPARE; }
static void va_invalid(struct machine *m) { va = P_SPARE + 3; }
static void va_is_reg(struct machine *m) { va = P_DATA2; }
static void not_blocked(struct machine *m) { page = P_DATA2; }
static void blocked_late(struct machine *m)
{
	page = P_DATA2;
	encls_eblock(m->cpu, page);
}
static void untracked(struct machine *m)
{
	machine_enter(m, 0);
	machine_block_track(m, P_DATA2);
	page = P_DATA2;
}
static void tracked_by_flush(struct machine *m)
{
	untracked(m);
	cpu_track_flush(m->cpu, P_SECS);
}
static void tracked_by_leaving(struct machine *m)
{
	untracked(m);
	machine_exit(m);
}
static void entered_after(struct machine *m) { machine_enter(m, 0); }
static void in_use(struct machine *m) { epcm_try_pin(entry(m, page)); }
static void busy_tcs(struct machine *m)
{
	machine_enter(m, 0);
	machine_block_track(m, P_TCS0);
	cpu_track_flush(m->cpu, P_SECS);
	page = P_TCS0;
}
static void busy_tcs_unblocked(struct machine *m)
{
	machine_enter(m, 0);
	page = P_TCS0;
}
static void tcs(struct machine *m)
{
	machine_block_track(m, P_TCS0);
	page = P_TCS0;
}
static void secs(struct machine *m) { page = P_SECS; }
static void childless_secs(struct machine *m)
{
	for (uint32_t i = P_TCS0; i <= P_DATA2; i++)
		encls_eremove(m->cpu, i);
	page = P_SECS;
}
static void a_va(struct machine *m)
{
	encls_epa(m->cpu, P_VA2);
	page = P_VA2;
}
static void occupied(struct machine *m) { slots(m)[slot] = 99; }

static const struct row ewb_rows[] = {
	{ "a blocked and tracked page", NULL, OK },
	{ "a TCS", tcs, OK },
	{ "a VA page, neither blocked nor tracked", a_va, OK },
	{ "a SECS without children", childless_secs, OK },
	{ "tracked when all had left", tracked_by_leaving, OK },
	{ "tracked by a flush", tracked_by_flush, OK },
	{ "somebody entered after ETRACK", entered_after, OK },
	{ "VA page held shared by another", va_shared, OK },
	{ "RCX is no EPC page", not_epc, PF },
	{ "no such slot", slot_beyond, GP },
	{ "RDX is no EPC page", va_not_epc, PF },
	{ "a slot in the page itself", va_is_page, GP },
	{ "LINADDR is not 0", linaddr, GP },
	{ "PAGEINFO.SECS is not 0", secs_given, GP },
	{ "PCMD not aligned", pcmd_misaligned, GP },
	{ "SRCPGE not aligned", out_misaligned, GP },
	{ "page held by another", held, GP },
	{ "VA page held exclusive by another", va_held, GP },
	{ "page is not valid", invalid, PF },
	{ "VA page is not valid", va_invalid, PF },
	{ "VA page is a REG page", va_is_reg, PF },
	{ "page is not blocked", not_blocked, CODE(SGX_PAGE_NOT_BLOCKED) },
	{ "no ETRACK since EBLOCK", blocked_late, CODE(SGX_NOT_TRACKED) },
	{ "tracking incomplete", untracked, CODE(SGX_NOT_TRACKED) },
	{ "a translation in use", in_use, CODE(SGX_NOT_TRACKED) },
	{ "the TCS of somebody inside", busy_tcs, CODE(SGX_NOT_TRACKED) },
	{ "that TCS, not blocked", busy_tcs_unblocked, CODE(SGX_PAGE_NOT_BLOCKED) },
	{ "a SECS with children", secs, CODE(SGX_CHILD_PRESENT) },
	{ "the slot is occupied: done all the same", occupied, CODE(SGX_VA_SLOT_OCCUPIED) },
};

/* ---- ELDU */

static void setup_eldu(struct machine *m)
{
	setup(m);
	run(m);
	pi = (struct cpu_pageinfo){
		.linaddr = LA(P_DATA), .srcpge = m->cipher, .pcmd = &m->pcmd, .secs = P_SECS
	};
	page = P_SPARE;
}
static struct cpu_outcome run_eldu(struct machine *m)
{
	return encls_eldu(m->cpu, &pi, page, va, slot);
}
static struct cpu_outcome run_eldb(struct machine *m)
{
	return encls_eldb(m->cpu, &pi, page, va, slot);
}
static void src_misaligned(struct machine *m) { pi.srcpge = m->cipher + 64; }
static void pcmd_type(struct machine *m)
{
	m->pcmd.secinfo.flags |= SGX_SECINFO_TYPE(0x80);
	pi.secs = CPU_NO_PAGE;
}
static void pcmd_flag(struct machine *m) { m->pcmd.secinfo.flags |= 1u << 6; }
static void pcmd_info(struct machine *m) { m->pcmd.secinfo.reserved[0] = 1; }
static void pcmd_reserved(struct machine *m) { m->pcmd.reserved[39] = 1; }
static void target_valid(struct machine *m) { page = P_DATA2; }
static void secs_none(struct machine *m) { pi.secs = CPU_NO_PAGE; }
static void secs_held(struct machine *m) { epcm_try_exclusive(entry(m, P_SECS)); }
static void secs_invalid(struct machine *m) { pi.secs = P_SPARE + 1; }
static void secs_is_reg(struct machine *m) { pi.secs = P_DATA2; }
static void secs_for_va(struct machine *m)
{
	a_va(m);
	pi = (struct cpu_pageinfo){ .pcmd = &m->pcmd, .secs = CPU_NO_PAGE };
	slot = 6;
	run(m);
	pi.srcpge = m->cipher;
	pi.secs = P_SECS;
}
static void load_va(struct machine *m)
{
	secs_for_va(m);
	pi.secs = CPU_NO_PAGE;
}
static void flip_cipher(struct machine *m) { m->cipher[4095] ^= 0x80; }
static void flip_mac(struct machine *m) { m->pcmd.mac[15] ^= 1; }
static void more_rights(struct machine *m) { m->pcmd.secinfo.flags |= SGX_SECINFO_X; }
static void not_pending(struct machine *m) { m->pcmd.secinfo.flags ^= SGX_SECINFO_PENDING; }
static void other_type(struct machine *m)
{
	m->pcmd.secinfo.flags ^= SGX_SECINFO_TYPE(SGX_PT_REG) ^ SGX_SECINFO_TYPE(SGX_PT_TCS);
}
static void other_la(struct machine *m) { pi.linaddr = LA(P_FREE); }
static void other_slot(struct machine *m) { slot = 6; }
static void other_version(struct machine *m) { slots(m)[slot]++; }
static void other_enclave(struct machine *m)
{
	m->secs.baseaddr = ENCL_BASE;
	machine_ecreate(m, P_SPARE + 1);
	pi.secs = P_SPARE + 1;
}
static void enclaveid(struct machine *m) { m->pcmd.enclaveid++; }
static void twice(struct machine *m)
{
	run_eldu(m);
	encls_eremove(m->cpu, page);
}

static const struct row eldu_rows[] = {
	{ "what EWB made", NULL, OK },
	{ "a VA page", load_va, OK },
	{ "PCMD.ENCLAVEID is a hint for software", enclaveid, OK },
	{ "RCX is no EPC page", not_epc, PF },
	{ "no such slot", slot_beyond, GP },
	{ "RDX is no EPC page", va_not_epc, PF },
	{ "SRCPGE not aligned", src_misaligned, GP },
	{ "PCMD not aligned", pcmd_misaligned, GP },
	{ "PCMD: no such page type", pcmd_type, CODE(SGX_MAC_COMPARE_FAIL) },
	{ "PCMD: reserved flag", pcmd_flag, CODE(SGX_MAC_COMPARE_FAIL) },
	{ "PCMD: reserved bytes of SECINFO", pcmd_info, CODE(SGX_MAC_COMPARE_FAIL) },
	{ "PCMD: reserved bytes", pcmd_reserved, CODE(SGX_MAC_COMPARE_FAIL) },
	{ "target held by another", held, GP },
	{ "VA page held exclusive by another", va_held, GP },
	{ "target is valid", target_valid, PF },
	{ "VA page is not valid", va_invalid, PF },
	{ "VA page is a REG page", va_is_reg, PF },
	{ "no SECS", secs_none, PF },
	{ "SECS held exclusive by another", secs_held, GP },
	{ "SECS is not valid", secs_invalid, PF },
	{ "SECS is a REG page", secs_is_reg, PF },
	{ "a SECS for a VA page", secs_for_va, GP },
	{ "ciphertext changed", flip_cipher, CODE(SGX_MAC_COMPARE_FAIL) },
	{ "MAC changed", flip_mac, CODE(SGX_MAC_COMPARE_FAIL) },
	{ "permissions added", more_rights, CODE(SGX_MAC_COMPARE_FAIL) },
	{ "PENDING changed", not_pending, CODE(SGX_MAC_COMPARE_FAIL) },
	{ "page type changed", other_type, CODE(SGX_MAC_COMPARE_FAIL) },
	{ "another address", other_la, CODE(SGX_MAC_COMPARE_FAIL) },
	{ "another slot", other_slot, CODE(SGX_MAC_COMPARE_FAIL) },
	{ "another version", other_version, CODE(SGX_MAC_COMPARE_FAIL) },
	{ "another enclave", other_enclave, CODE(SGX_MAC_COMPARE_FAIL) },
	{ "a second time", twice, CODE(SGX_MAC_COMPARE_FAIL) },
};

static struct cpu_outcome run_elduc(struct machine *m)
{
	return encls_elduc(m->cpu, &pi, page, va, slot);
}
static struct cpu_outcome run_eldbc(struct machine *m)
{
	return encls_eldbc(m->cpu, &pi, page, va, slot);
}
static void encls_c(struct cpu_config *c) { c->caps |= SGX_CPUID_ENCLS_C; }

static const struct row eldc_rows[] = {
	{ "what EWB made", NULL, OK },
	{ "target held by another", held, CODE(SGX_EPC_PAGE_CONFLICT) },
	{ "VA page held exclusive by another", va_held, CODE(SGX_EPC_PAGE_CONFLICT) },
	{ "target is valid", target_valid, PF },
	{ "SECS held exclusive by another", secs_held, CODE(SGX_EPC_PAGE_CONFLICT) },
	{ "ciphertext changed", flip_cipher, CODE(SGX_MAC_COMPARE_FAIL) },
};
static const struct row absent_rows[] = { { "the processor has none", NULL, GP } };

static const struct row eldb_rows[] = {
	{ "what EWB made", NULL, OK },
	{ "ciphertext changed", flip_cipher, CODE(SGX_MAC_COMPARE_FAIL) },
};

static void test_effect(void)
{
	struct machine *m = machine_new(NULL);
	struct cpu_epcm e;

	setup(m);
	TAP_CHECK(cpu_ok(run(m)) && ret_la == LA(P_DATA), "EWB: LINADDR is told");
	TAP_CHECK(m->pcmd.secinfo.flags ==
			  (SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_W),
		  "EWB: SECINFO in PCMD");
	TAP_CHECK(m->pcmd.enclaveid == secs_of(m)->own.eid && m->pcmd.enclaveid != 0,
		  "EWB: ENCLAVEID in PCMD");
	TAP_CHECK(slots(m)[5] != 0, "EWB: a version in the slot");
	TAP_CHECK(secs_of(m)->own.child_nr == 8, "EWB: one child less");
	pi = (struct cpu_pageinfo){
		.linaddr = LA(P_DATA), .srcpge = m->cipher, .pcmd = &m->pcmd, .secs = P_SECS
	};
	TAP_CHECK(cpu_ok(run_eldb(m)), "ELDB");
	e = cpu_epcm_read(m->cpu, P_DATA);
	TAP_CHECK(e.valid && e.blocked && e.la == LA(P_DATA) && e.type == SGX_PT_REG &&
			  e.rwx == 3 && e.secs == P_SECS,
		  "ELDB: the entry is as it was, and blocked");
	TAP_CHECK(slots(m)[5] == 0 && secs_of(m)->own.child_nr == 9,
		  "ELDB: slot empty, child back");
	pi = (struct cpu_pageinfo){ .pcmd = &m->pcmd, .secs = CPU_NO_PAGE };
	TAP_CHECK(cpu_ok(run(m)), "EWB: what came in blocked may leave at once");
	machine_free(m);
}

/* All of an enclave goes out, its SECS last, and comes back to other EPC pages. */
static void test_secs(void)
{
	static uint8_t cipher[9][SGX_PAGE_SIZE] __attribute__((aligned(4096)));
	static struct sgx_pcmd pcmd[9] __attribute__((aligned(128)));
	static uint8_t secs_cipher[SGX_PAGE_SIZE] __attribute__((aligned(4096)));
	static struct sgx_pcmd secs_pcmd __attribute__((aligned(128)));
	struct machine *m = machine_new(NULL);
	struct cpu_pageinfo info = { .secs = CPU_NO_PAGE };
	const uint32_t new_secs = P_SPARE + 2;
	uint64_t la;
	bool ok = true;

	machine_build(m);
	for (uint32_t i = 0; i < 9; i++)
		ok &= cpu_ok(encls_eblock(m->cpu, P_TCS0 + i));
	ok &= cpu_ok(encls_etrack(m->cpu, P_SECS));
	for (uint32_t i = 0; i < 9; i++) {
		info.pcmd = &pcmd[i];
		ok &= cpu_ok(encls_ewb(m->cpu, &info, P_TCS0 + i, P_VA, i, cipher[i], &la));
	}
	info.pcmd = &secs_pcmd;
	ok &= cpu_ok(encls_ewb(m->cpu, &info, P_SECS, P_VA, 9, secs_cipher, &la));
	TAP_CHECK(ok, "EWB of nine children, then of their SECS");

	info = (struct cpu_pageinfo){ .srcpge = secs_cipher,
				      .pcmd = &secs_pcmd,
				      .secs = CPU_NO_PAGE };
	ok = cpu_ok(encls_eldu(m->cpu, &info, new_secs, P_VA, 9));
	for (uint32_t i = 0; i < 9; i++) {
		info = (struct cpu_pageinfo){
			.linaddr = ENCL_BASE + i * SGX_PAGE_SIZE,
			.srcpge = cipher[i],
			.pcmd = &pcmd[i],
			.secs = new_secs,
		};
		ok &= cpu_ok(encls_eldu(m->cpu, &info, 20 + i, P_VA, i));
		machine_map(m, info.linaddr, 20 + i, SGX_SECINFO_RWX);
	}
	TAP_CHECK(ok, "ELDU of the SECS to another EPC page, then of its children");
	TAP_CHECK(((struct secs_page *)m->epc[new_secs])->own.enclavecontext == (uint64_t)new_secs
											<< 12,
		  "ENCLAVECONTEXT is where it was loaded");
	TAP_CHECK(cpu_ok(machine_enter(m, 0)) && m->lp.secs == new_secs, "and the enclave runs");
	TAP_CHECK(cpu_ok(machine_exit(m)), "and ends");
	machine_free(m);
}

int main(void)
{
	const struct leaf_test ewb = { "EWB", NULL, setup, run, SGX_VA_SLOT_OCCUPIED, false };
	const struct leaf_test eldu = { "ELDU", NULL, setup_eldu, run_eldu, 0, false };
	const struct leaf_test eldb = { "ELDB", NULL, setup_eldu, run_eldb, 0, false };

	const struct leaf_test elduc = { "ELDUC", encls_c, setup_eldu, run_elduc, 0, false };
	const struct leaf_test eldbc = { "ELDBC", encls_c, setup_eldu, run_eldbc, 0, false };
	const struct leaf_test no_elduc = { "ELDUC", NULL, setup_eldu, run_elduc, 0, false };
	const struct leaf_test no_eldbc = { "ELDBC", NULL, setup_eldu, run_eldbc, 0, false };

	RUN_ROWS(ewb, ewb_rows);
	RUN_ROWS(eldu, eldu_rows);
	RUN_ROWS(eldb, eldu_rows);
	RUN_ROWS(eldb, eldb_rows);
	RUN_ROWS(elduc, eldc_rows);
	RUN_ROWS(eldbc, eldc_rows);
	RUN_ROWS(no_elduc, absent_rows);
	RUN_ROWS(no_eldbc, absent_rows);
	test_effect();
	test_secs();
	return tap_done();
}
