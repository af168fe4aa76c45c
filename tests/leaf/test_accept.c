/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* EACCEPT, EMODPE, EACCEPTCOPY: every way they may end. */
#include "leaf/table.h"

/* SECINFO lies at the start of P_DATA; P_FREE is a page that EAUG has added. */
static struct sgx_secinfo *info(struct machine *m) { return (struct sgx_secinfo *)m->epc[P_DATA]; }

static void info_is(struct machine *m, uint64_t flags)
{
	memset(info(m), 0, sizeof(*info(m)));
	info(m)->flags = flags;
}

static void emodt(struct machine *m, uint32_t page, enum sgx_page_type pt)
{
	memset(&m->secinfo, 0, sizeof(m->secinfo));
	m->secinfo.flags = SGX_SECINFO_TYPE(pt);
	encls_emodt(m->cpu, &m->secinfo, page);
}

static void emodpr(struct machine *m, uint32_t page, uint64_t rwx)
{
	memset(&m->secinfo, 0, sizeof(m->secinfo));
	m->secinfo.flags = rwx;
	encls_emodpr(m->cpu, &m->secinfo, page);
}

static void track(struct machine *m)
{
	encls_etrack(m->cpu, P_SECS);
	cpu_track_flush(m->cpu, P_SECS);
}

static void augmented(struct machine *m)
{
	struct cpu_pageinfo pi = { .linaddr = LA(P_FREE), .secs = P_SECS };

	machine_build(m);
	encls_eaug(m->cpu, &pi, P_FREE);
	machine_map(m, LA(P_FREE), P_FREE, SGX_SECINFO_R | SGX_SECINFO_W);
	machine_enter(m, 0);
	m->regs.rbx = LA(P_DATA);
	m->regs.rcx = LA(P_FREE);
	m->regs.rdx = LA(P_DATA2);
	info_is(m,
		SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_W | SGX_SECINFO_PENDING);
}

static struct cpu_outcome run(struct machine *m)
{
	return cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, m->xsave, XSAVE_SIZE);
}

/* ---- SECINFO, in RBX */

static void outside(struct machine *m)
{
	uint64_t rax = m->regs.rax;

	machine_exit(m);
	m->regs.rax = rax;
	m->regs.rbx = LA(P_DATA);
	m->regs.rcx = LA(P_FREE);
}
static void info_misaligned(struct machine *m) { m->regs.rbx += 32; }
static void info_outside(struct machine *m) { m->regs.rbx = ENCL_BASE + ENCL_SIZE; }
static void info_below(struct machine *m) { m->regs.rbx = ENCL_BASE - 64; }
static void info_unmapped(struct machine *m) { machine_map(m, LA(P_DATA), 0, 0); }
static void info_not_valid(struct machine *m)
{
	machine_map(m, LA(P_DATA), P_SPARE, SGX_SECINFO_RWX);
}
static void info_not_readable(struct machine *m) { epcm_change(entry(m, P_DATA), EPCM_R, 0); }
static void info_pending(struct machine *m) { epcm_change(entry(m, P_DATA), 0, EPCM_PENDING); }
static void info_modified(struct machine *m) { epcm_change(entry(m, P_DATA), 0, EPCM_MODIFIED); }
static void info_blocked(struct machine *m) { encls_eblock(m->cpu, P_DATA); }
static void info_in_tcs(struct machine *m) { m->regs.rbx = LA(P_TCS1); }
static void info_elsewhere(struct machine *m)
{
	machine_map(m, LA(P_DATA), P_DATA2, SGX_SECINFO_RWX);
}
static void info_leaving(struct machine *m) { epcm_try_exclusive(entry(m, P_DATA)); }
static void info_flag(struct machine *m) { info(m)->flags |= 1u << 6; }
static void info_bytes(struct machine *m) { info(m)->reserved[6] = 1; }

/* ---- the target, in RCX */

static void target_misaligned(struct machine *m) { m->regs.rcx += 64; }
static void target_outside(struct machine *m) { m->regs.rcx = ENCL_BASE + ENCL_SIZE; }
static void target_unmapped(struct machine *m) { machine_map(m, LA(P_FREE), 0, 0); }
static void target_not_valid(struct machine *m)
{
	machine_map(m, LA(P_FREE), P_SPARE, SGX_SECINFO_RWX);
}
static void target_blocked(struct machine *m) { encls_eblock(m->cpu, P_FREE); }
static void target_is_va(struct machine *m) { machine_map(m, LA(P_FREE), P_VA, SGX_SECINFO_RWX); }
static void target_other_enclave(struct machine *m) { epcm_set_secs(entry(m, P_FREE), P_SPARE); }
static void target_held(struct machine *m) { epcm_try_exclusive(entry(m, P_FREE)); }
static void target_shared(struct machine *m) { epcm_try_shared(entry(m, P_FREE)); }
static void target_modifying(struct machine *m)
{
	epcm_try_extra(entry(m, P_FREE), EPCM_LOCK_MODIFY);
}
static void target_elsewhere(struct machine *m)
{
	/* Another PENDING page of the enclave, mapped at the wrong address. */
	struct cpu_pageinfo pi = { .linaddr = LA(P_FREE) + 4096, .secs = P_SECS };

	encls_eaug(m->cpu, &pi, P_SPARE);
	machine_map(m, LA(P_FREE), P_SPARE, SGX_SECINFO_RWX);
}

/* ---- EACCEPT */

static void setup_accept(struct machine *m)
{
	augmented(m);
	m->regs.rax = SGX_EACCEPT;
}
static void request(struct machine *m, uint64_t flags) { info_is(m, flags); }
static void reg_plain(struct machine *m)
{
	request(m, SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_W);
}
static void reg_modified(struct machine *m)
{
	request(m, SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_PENDING | SGX_SECINFO_MODIFIED);
}
static void tcs_pending(struct machine *m)
{
	request(m, SGX_SECINFO_TYPE(SGX_PT_TCS) | SGX_SECINFO_PENDING | SGX_SECINFO_MODIFIED);
}
static void tcs_pr(struct machine *m)
{
	request(m, SGX_SECINFO_TYPE(SGX_PT_TCS) | SGX_SECINFO_PR | SGX_SECINFO_MODIFIED);
}
static void tcs_plain(struct machine *m) { request(m, SGX_SECINFO_TYPE(SGX_PT_TCS)); }
static void type_va(struct machine *m)
{
	request(m, SGX_SECINFO_TYPE(SGX_PT_VA) | SGX_SECINFO_MODIFIED);
}
static void other_rights(struct machine *m) { info(m)->flags &= ~(uint64_t)SGX_SECINFO_W; }
static void more_rights(struct machine *m) { info(m)->flags |= SGX_SECINFO_X; }
static void not_pending_any_more(struct machine *m)
{
	run(m);
	m->regs.rax = SGX_EACCEPT;
}
static void other_type(struct machine *m)
{
	request(m, SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED);
}

/* EMODPR, then EACCEPT with PR. */
static void restricted(struct machine *m)
{
	emodpr(m, P_DATA2, SGX_SECINFO_R);
	m->regs.rcx = LA(P_DATA2);
	request(m, SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_PR);
}
static void restricted_tracked(struct machine *m)
{
	restricted(m);
	track(m);
}
static void restricted_no_flush(struct machine *m)
{
	restricted(m);
	encls_etrack(m->cpu, P_SECS);
}
static void restricted_reentered(struct machine *m)
{
	restricted_no_flush(m);
	machine_exit(m);
	machine_enter(m, 0);
	m->regs.rax = SGX_EACCEPT;
	m->regs.rbx = LA(P_DATA);
	m->regs.rcx = LA(P_DATA2);
}
static void restricted_with_rights(struct machine *m)
{
	restricted_tracked(m);
	info(m)->flags |= SGX_SECINFO_W;
}

/* EMODT, then EACCEPT with MODIFIED. */
static void trimmed(struct machine *m)
{
	emodt(m, P_DATA2, SGX_PT_TRIM);
	m->regs.rcx = LA(P_DATA2);
	request(m, SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED);
}
static void trimmed_tracked(struct machine *m)
{
	trimmed(m);
	track(m);
}
static void trimmed_in_use(struct machine *m)
{
	trimmed_tracked(m);
	epcm_try_pin(entry(m, P_DATA2));
}
static void trimmed_own_tcs(struct machine *m)
{
	emodt(m, P_TCS0, SGX_PT_TRIM);
	track(m);
	m->regs.rcx = LA(P_TCS0);
	request(m, SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED);
}
static struct sgx_tcs *new_tcs(struct machine *m)
{
	machine_tcs(m, 1);
	memcpy(m->epc[P_DATA2], m->page, sizeof(struct sgx_tcs));
	emodt(m, P_DATA2, SGX_PT_TCS);
	track(m);
	m->regs.rcx = LA(P_DATA2);
	request(m, SGX_SECINFO_TYPE(SGX_PT_TCS) | SGX_SECINFO_MODIFIED);
	return (struct sgx_tcs *)m->epc[P_DATA2];
}
static void tcs_ok(struct machine *m) { new_tcs(m); }
static void tcs_reserved(struct machine *m) { new_tcs(m)->reserved[0] = 1; }
static void tcs_flags(struct machine *m) { new_tcs(m)->flags = 4; }
static void tcs_optin(struct machine *m) { new_tcs(m)->flags = SGX_TCS_DBGOPTIN; }
static void tcs_cssa(struct machine *m) { new_tcs(m)->cssa = 2; }
static void tcs_aep(struct machine *m) { new_tcs(m)->aep = 1; }
static void tcs_state(struct machine *m) { new_tcs(m)->state = 1; }

static const struct row accept_rows[] = {
	{ "a PENDING page", NULL, OK },
	{ "target held shared by another", target_shared, OK },
	{ "a restricted page", restricted_tracked, OK },
	{ "a restricted page, entered after ETRACK", restricted_reentered, OK },
	{ "a TRIM page", trimmed_tracked, OK },
	{ "a new TCS", tcs_ok, OK },
	{ "outside of an enclave", outside, GP },
	{ "SECINFO not aligned", info_misaligned, GP },
	{ "SECINFO behind the enclave", info_outside, GP },
	{ "SECINFO below the enclave", info_below, GP },
	{ "SECINFO not mapped", info_unmapped, PF },
	{ "SECINFO page is not valid", info_not_valid, PF },
	{ "SECINFO page not readable", info_not_readable, PF },
	{ "SECINFO page is PENDING", info_pending, PF },
	{ "SECINFO page is MODIFIED", info_modified, PF },
	{ "SECINFO page is BLOCKED", info_blocked, PF },
	{ "SECINFO in a TCS", info_in_tcs, PF },
	{ "SECINFO page of another address", info_elsewhere, PF },
	{ "SECINFO page on its way out", info_leaving, PF },
	{ "SECINFO reserved flag", info_flag, GP },
	{ "SECINFO reserved bytes", info_bytes, GP },
	{ "RCX not aligned", target_misaligned, GP },
	{ "RCX outside of the enclave", target_outside, GP },
	{ "target not mapped", target_unmapped, PF },
	{ "REG, neither PENDING nor PR", reg_plain, GP },
	{ "REG and MODIFIED", reg_modified, GP },
	{ "TCS and PENDING", tcs_pending, GP },
	{ "TCS and PR", tcs_pr, GP },
	{ "TCS, not MODIFIED", tcs_plain, GP },
	{ "page type VA", type_va, GP },
	{ "target is not valid", target_not_valid, PF },
	{ "target is BLOCKED", target_blocked, PF },
	{ "target is a VA page", target_is_va, PF },
	{ "target of another enclave", target_other_enclave, PF },
	{ "target held exclusive by another", target_held, GP },
	{ "another SGX2 leaf at work on it", target_modifying, GP },
	{ "target of another address", target_elsewhere, CODE(SGX_PAGE_ATTRIBUTES_MISMATCH) },
	{ "accepted already", not_pending_any_more, CODE(SGX_PAGE_ATTRIBUTES_MISMATCH) },
	{ "fewer permissions", other_rights, CODE(SGX_PAGE_ATTRIBUTES_MISMATCH) },
	{ "more permissions", more_rights, CODE(SGX_PAGE_ATTRIBUTES_MISMATCH) },
	{ "another page type", other_type, CODE(SGX_PAGE_ATTRIBUTES_MISMATCH) },
	{ "a restricted page's old permissions", restricted_with_rights,
	  CODE(SGX_PAGE_ATTRIBUTES_MISMATCH) },
	{ "a restricted page, no ETRACK", restricted, CODE(SGX_NOT_TRACKED) },
	{ "a restricted page, tracking incomplete", restricted_no_flush, CODE(SGX_NOT_TRACKED) },
	{ "a TRIM page, no ETRACK", trimmed, CODE(SGX_NOT_TRACKED) },
	{ "a TRIM page that is in use", trimmed_in_use, CODE(SGX_NOT_TRACKED) },
	{ "the TCS one is in", trimmed_own_tcs, CODE(SGX_NOT_TRACKED) },
	{ "TCS: reserved bytes", tcs_reserved, GP },
	{ "TCS: reserved FLAGS", tcs_flags, GP },
	{ "TCS: DBGOPTIN", tcs_optin, GP },
	{ "TCS: CSSA not below NSSA", tcs_cssa, GP },
	{ "TCS: AEP", tcs_aep, GP },
	{ "TCS: STATE", tcs_state, GP },
};

/* ---- EMODPE: P_DATA2 */

static void setup_emodpe(struct machine *m)
{
	augmented(m);
	emodpr(m, P_DATA2, SGX_SECINFO_R);
	m->regs.rax = SGX_EMODPE;
	m->regs.rcx = LA(P_DATA2);
	info_is(m, SGX_SECINFO_R | SGX_SECINFO_W);
}
static void pe_unmapped(struct machine *m) { machine_map(m, LA(P_DATA2), 0, 0); }
static void pe_not_valid(struct machine *m)
{
	machine_map(m, LA(P_DATA2), P_SPARE, SGX_SECINFO_RWX);
}
static void pe_pending(struct machine *m) { m->regs.rcx = LA(P_FREE); }
static void pe_modified(struct machine *m) { epcm_change(entry(m, P_DATA2), 0, EPCM_MODIFIED); }
static void pe_blocked(struct machine *m) { encls_eblock(m->cpu, P_DATA2); }
static void pe_tcs(struct machine *m) { m->regs.rcx = LA(P_TCS1); }
static void pe_other_enclave(struct machine *m) { epcm_set_secs(entry(m, P_DATA2), P_SPARE); }
static void pe_elsewhere(struct machine *m)
{
	machine_map(m, LA(P_DATA2), P_SSA1, SGX_SECINFO_RWX);
}
static void pe_modifying(struct machine *m) { epcm_try_extra(entry(m, P_DATA2), EPCM_LOCK_MODIFY); }
static void pe_leaving(struct machine *m) { epcm_try_exclusive(entry(m, P_DATA2)); }
static void pe_held(struct machine *m) { epcm_try_shared(entry(m, P_DATA2)); }
static void pe_w_without_r(struct machine *m)
{
	emodpr(m, P_DATA2, 0);
	info_is(m, SGX_SECINFO_W);
}
static void pe_w_on_r(struct machine *m) { info_is(m, SGX_SECINFO_W); }

static const struct row emodpe_rows[] = {
	{ "give W", NULL, OK },
	{ "give W to a page that has R", pe_w_on_r, OK },
	{ "target held shared by another", pe_held, OK },
	{ "outside of an enclave", outside, GP },
	{ "SECINFO not aligned", info_misaligned, GP },
	{ "RCX not aligned", target_misaligned, GP },
	{ "SECINFO behind the enclave", info_outside, GP },
	{ "RCX outside of the enclave", target_outside, GP },
	{ "SECINFO not mapped", info_unmapped, PF },
	{ "target not mapped", pe_unmapped, PF },
	{ "SECINFO page not readable", info_not_readable, PF },
	{ "SECINFO reserved flag", info_flag, GP },
	{ "SECINFO reserved bytes", info_bytes, GP },
	{ "target is not valid", pe_not_valid, PF },
	{ "target is PENDING", pe_pending, PF },
	{ "target is MODIFIED", pe_modified, PF },
	{ "target is BLOCKED", pe_blocked, PF },
	{ "target is a TCS", pe_tcs, PF },
	{ "target of another enclave", pe_other_enclave, PF },
	{ "another SGX2 leaf at work on it", pe_modifying, GP },
	{ "target of another address", pe_elsewhere, PF },
	{ "target on its way out", pe_leaving, PF },
	{ "W without R", pe_w_without_r, GP },
};

/* ---- EACCEPTCOPY: P_DATA2 to P_FREE */

static void setup_copy(struct machine *m)
{
	augmented(m);
	m->regs.rax = SGX_EACCEPTCOPY;
	info_is(m, SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_X);
}
static void source_misaligned(struct machine *m) { m->regs.rdx += 64; }
static void source_outside(struct machine *m) { m->regs.rdx = ENCL_BASE + ENCL_SIZE; }
static void source_unmapped(struct machine *m) { machine_map(m, LA(P_DATA2), 0, 0); }
static void source_not_readable(struct machine *m) { epcm_change(entry(m, P_DATA2), EPCM_R, 0); }
static void source_tcs(struct machine *m) { m->regs.rdx = LA(P_TCS1); }
static void source_pending(struct machine *m) { m->regs.rdx = LA(P_FREE); }
static void copy_w_without_r(struct machine *m)
{
	info_is(m, SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_W);
}
static void copy_type(struct machine *m)
{
	info_is(m, SGX_SECINFO_TYPE(SGX_PT_TCS) | SGX_SECINFO_R);
}
static void copy_not_pending(struct machine *m) { m->regs.rcx = LA(P_SSA1); }
static void copy_restricted(struct machine *m) { epcm_change(entry(m, P_FREE), EPCM_W, 0); }

static const struct row copy_rows[] = {
	{ "to a PENDING page", NULL, OK },
	{ "outside of an enclave", outside, GP },
	{ "SECINFO not aligned", info_misaligned, GP },
	{ "RCX not aligned", target_misaligned, GP },
	{ "RDX not aligned", source_misaligned, GP },
	{ "SECINFO behind the enclave", info_outside, GP },
	{ "RCX outside of the enclave", target_outside, GP },
	{ "RDX outside of the enclave", source_outside, GP },
	{ "SECINFO not mapped", info_unmapped, PF },
	{ "target not mapped", target_unmapped, PF },
	{ "source not mapped", source_unmapped, PF },
	{ "SECINFO page not readable", info_not_readable, PF },
	{ "SECINFO reserved flag", info_flag, GP },
	{ "W without R", copy_w_without_r, GP },
	{ "page type TCS", copy_type, GP },
	{ "source not readable", source_not_readable, PF },
	{ "source is a TCS", source_tcs, PF },
	{ "source is PENDING", source_pending, PF },
	{ "target is not valid", target_not_valid, CODE(SGX_PAGE_ATTRIBUTES_MISMATCH) },
	{ "target is not PENDING", copy_not_pending, CODE(SGX_PAGE_ATTRIBUTES_MISMATCH) },
	{ "target is BLOCKED", target_blocked, CODE(SGX_PAGE_ATTRIBUTES_MISMATCH) },
	{ "target of another enclave", target_other_enclave, CODE(SGX_PAGE_ATTRIBUTES_MISMATCH) },
	{ "another SGX2 leaf at work on it", target_modifying, GP },
	{ "target of another address", target_elsewhere, CODE(SGX_PAGE_ATTRIBUTES_MISMATCH) },
	{ "target's permissions were changed", copy_restricted,
	  CODE(SGX_PAGE_ATTRIBUTES_MISMATCH) },
	{ "target on its way out", target_held, PF },
};

static void no_sgx2(struct cpu_config *c) { c->caps &= ~SGX_CPUID_SGX2; }
static void setup_absent(struct machine *m)
{
	machine_build(m);
	machine_enter(m, 0);
	m->regs.rbx = LA(P_DATA);
	m->regs.rcx = LA(P_SSA1);
	m->regs.rdx = LA(P_DATA2);
	m->regs.rax = SGX_EACCEPT;
}
static void absent_emodpe(struct machine *m) { m->regs.rax = SGX_EMODPE; }
static void absent_copy(struct machine *m) { m->regs.rax = SGX_EACCEPTCOPY; }
static const struct row absent_rows[] = {
	{ "EACCEPT", NULL, GP },
	{ "EMODPE", absent_emodpe, GP },
	{ "EACCEPTCOPY", absent_copy, GP },
};

static void test_effect(void)
{
	struct machine *m = machine_new(NULL);
	struct cpu_epcm e;
	struct cpu_outcome out;

	setup_accept(m);
	m->regs.rflags = 0x2d7;
	m->regs.rip = LA(P_CODE);
	run(m);
	e = cpu_epcm_read(m->cpu, P_FREE);
	TAP_CHECK(!e.pending && e.rwx == 3 && m->regs.rax == 0, "EACCEPT: the page can be used");
	TAP_CHECK(m->regs.rflags == 0x202, "EACCEPT: status flags are cleared");
	TAP_CHECK(m->regs.rip == LA(P_CODE) + 3, "EACCEPT: RIP is behind the ENCLU");
	m->regs.rax = SGX_EACCEPT;
	out = run(m);
	TAP_CHECK(m->regs.rax == SGX_PAGE_ATTRIBUTES_MISMATCH && m->regs.rflags == 0x242 &&
			  out.rflags == CPU_ZF,
		  "EACCEPT: a code sets ZF");
	restricted_tracked(m);
	m->regs.rax = SGX_EACCEPT;
	run(m);
	TAP_CHECK(!cpu_epcm_read(m->cpu, P_DATA2).pr, "EACCEPT: PR is cleared");
	m->regs.rax = SGX_EMODPE;
	info_is(m, SGX_SECINFO_W);
	run(m);
	TAP_CHECK(cpu_epcm_read(m->cpu, P_DATA2).rwx == 3, "EMODPE: W is back");
	target_unmapped(m);
	m->regs.rax = SGX_EACCEPT;
	m->regs.rcx = LA(P_FREE);
	out = run(m);
	TAP_CHECK(out.fault == CPU_PF && out.pf_error == SGX_PFEC_U && out.pf_addr == LA(P_FREE),
		  "EACCEPT: #PF of a page that is not there yet");
	machine_free(m);

	m = machine_new(NULL);
	setup_copy(m);
	run(m);
	e = cpu_epcm_read(m->cpu, P_FREE);
	TAP_CHECK(!e.pending && e.rwx == (SGX_SECINFO_R | SGX_SECINFO_X) &&
			  memcmp(m->epc[P_FREE], m->epc[P_DATA2], SGX_PAGE_SIZE) == 0,
		  "EACCEPTCOPY: contents and permissions");
	machine_free(m);
}

/* The whole way of a page that is given back: TRIM, accepted, removed with the enclave running. */
static void test_trim(void)
{
	struct machine *m = machine_new(NULL);

	setup_accept(m);
	trimmed_tracked(m);
	TAP_CHECK(cpu_ok(run(m)), "EACCEPT of TRIM");
	TAP_CHECK(cpu_ok(encls_eremove(m->cpu, P_DATA2)), "EREMOVE with the enclave running");
	machine_map(m, LA(P_DATA2), 0, 0);
	machine_free(m);
}

/* The EPCM is asked about SECINFO's page only when the target is there as well. */
static void test_walk_first(void)
{
	struct machine *m = machine_new(NULL);
	struct cpu_outcome out;

	setup_emodpe(m);
	info_blocked(m);
	pe_unmapped(m);
	out = run(m);
	TAP_CHECK(is_fault(out, CPU_PF) && out.pf_addr == LA(P_DATA2),
		  "EMODPE: #PF of the target before that of a blocked SECINFO");
	machine_free(m);

	m = machine_new(NULL);
	setup_copy(m);
	info_blocked(m);
	target_unmapped(m);
	out = run(m);
	TAP_CHECK(is_fault(out, CPU_PF) && out.pf_addr == LA(P_FREE),
		  "EACCEPTCOPY: #PF of the target before that of a blocked SECINFO");
	machine_map(m, LA(P_FREE), P_FREE, SGX_SECINFO_RWX);
	machine_map(m, LA(P_DATA2), 0, 0);
	out = run(m);
	TAP_CHECK(is_fault(out, CPU_PF) && out.pf_addr == LA(P_DATA2),
		  "EACCEPTCOPY: #PF of the source before that of a blocked SECINFO");
	machine_free(m);

	m = machine_new(NULL);
	setup_accept(m);
	info_blocked(m);
	target_unmapped(m);
	out = run(m);
	TAP_CHECK(is_fault(out, CPU_PF) && out.pf_addr == LA(P_DATA),
		  "EACCEPT: #PF of a blocked SECINFO before that of the target");
	machine_free(m);
}

/* A processor without AEX-notify: the bit of a TCS is reserved. */
static void no_notify(struct cpu_config *c) { c->attr_mask &= ~SGX_ATTR_AEXNOTIFY; }
static void tcs_notify(struct machine *m) { new_tcs(m)->flags = SGX_TCS_AEXNOTIFY; }
static const struct row accept_old_rows[] = {
	{ "a new TCS, no AEX-notify", tcs_ok, OK },
	{ "TCS: AEXNOTIFY, which the processor has not", tcs_notify, GP },
};

int main(void)
{
	const struct leaf_test accept = { "EACCEPT", NULL, setup_accept, run, 0, true };
	const struct leaf_test old = { "EACCEPT", no_notify, setup_accept, run, 0, true };
	const struct leaf_test emodpe = { "EMODPE", NULL, setup_emodpe, run, 0, true };
	const struct leaf_test copy = { "EACCEPTCOPY", NULL, setup_copy, run, 0, true };
	const struct leaf_test absent = { "no SGX2", no_sgx2, setup_absent, run, 0, true };

	RUN_ROWS(accept, accept_rows);
	RUN_ROWS(old, accept_old_rows);
	RUN_ROWS(emodpe, emodpe_rows);
	RUN_ROWS(copy, copy_rows);
	RUN_ROWS(absent, absent_rows);
	test_effect();
	test_trim();
	test_walk_first();
	return tap_done();
}
