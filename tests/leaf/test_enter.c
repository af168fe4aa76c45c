/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* EENTER, ERESUME, EEXIT, AEX, EDECCSSA: every way they may end, and what they leave. */
#include "leaf/table.h"

static struct sgx_tcs *tcs_of(struct machine *m) { return (struct sgx_tcs *)m->epc[P_TCS0]; }
static struct sgx_ssa_gpr *gpr_of(struct machine *m, uint32_t page)
{
	return (struct sgx_ssa_gpr *)(m->epc[page] + SGX_PAGE_SIZE - sizeof(struct sgx_ssa_gpr));
}

static struct cpu_outcome run(struct machine *m)
{
	return cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, m->xsave, XSAVE_SIZE);
}

/* ---- what EENTER and ERESUME have in common */

static void inside(struct machine *m) { m->lp.in_enclave = true; }
static void tcs_misaligned(struct machine *m) { m->regs.rbx += 8; }
static void tcs_unmapped(struct machine *m) { machine_map(m, LA(P_TCS0), 0, 0); }
static void tcs_readonly(struct machine *m) { machine_map(m, LA(P_TCS0), P_TCS0, SGX_SECINFO_R); }
static void aep(struct machine *m) { m->regs.rcx = 1ull << 60; }
static void tcs_held(struct machine *m) { epcm_try_exclusive_pinned(entry(m, P_TCS0)); }
static void tcs_shared(struct machine *m) { epcm_try_shared(entry(m, P_TCS0)); }
static void tcs_invalid(struct machine *m) { machine_map(m, LA(P_TCS0), P_SPARE, SGX_SECINFO_RWX); }
static void tcs_blocked(struct machine *m) { encls_eblock(m->cpu, P_TCS0); }
static void tcs_modified(struct machine *m) { epcm_change(entry(m, P_TCS0), 0, EPCM_MODIFIED); }
static void tcs_pending(struct machine *m) { epcm_change(entry(m, P_TCS0), 0, EPCM_PENDING); }
static void tcs_elsewhere(struct machine *m)
{
	machine_map(m, LA(P_TCS0), P_TCS1, SGX_SECINFO_RWX);
}
static void tcs_is_reg(struct machine *m) { m->regs.rbx = LA(P_DATA); }
static void ossa_misaligned(struct machine *m) { tcs_of(m)->ossa += 8; }
static void fs_misaligned(struct machine *m) { tcs_of(m)->ofsbasgx += 8; }
static void gs_misaligned(struct machine *m) { tcs_of(m)->ogsbasgx += 8; }
static void fs_wild(struct machine *m) { tcs_of(m)->ofsbasgx = 1ull << 60; }
static void gs_wild(struct machine *m) { tcs_of(m)->ogsbasgx = 1ull << 60; }
static void flags_reserved(struct machine *m) { tcs_of(m)->flags |= 4; }
static void uninitialized(struct machine *m) { atomic_store(&secs_of(m)->own.initialized, 0); }
static void mode_32(struct machine *m) { secs_of(m)->arch.attributes.flags &= ~SGX_ATTR_MODE64BIT; }
static void notify_only_tcs(struct machine *m) { tcs_of(m)->flags |= SGX_TCS_AEXNOTIFY; }
static void notify_only_tcs_debug(struct machine *m)
{
	tcs_of(m)->flags |= SGX_TCS_AEXNOTIFY | SGX_TCS_DBGOPTIN;
}
static void notify_only_secs(struct machine *m)
{
	secs_of(m)->arch.attributes.flags |= SGX_ATTR_AEXNOTIFY;
}
static void ssa_unmapped(struct machine *m) { machine_map(m, LA(P_SSA0), 0, 0); }
static void ssa_readonly(struct machine *m) { machine_map(m, LA(P_SSA0), P_SSA0, SGX_SECINFO_R); }
static void ssa_other_page(struct machine *m)
{
	machine_map(m, LA(P_SSA0), P_SPARE, SGX_SECINFO_RWX);
}
static void ssa_blocked(struct machine *m) { encls_eblock(m->cpu, P_SSA0); }
static void ssa_pending(struct machine *m) { epcm_change(entry(m, P_SSA0), 0, EPCM_PENDING); }
static void ssa_modified(struct machine *m) { epcm_change(entry(m, P_SSA0), 0, EPCM_MODIFIED); }
static void ssa_elsewhere(struct machine *m)
{
	machine_map(m, LA(P_SSA0), P_DATA, SGX_SECINFO_RWX);
}
static void ssa_is_tcs(struct machine *m) { tcs_of(m)->ossa = OFF(P_TCS1); }
static void ssa_not_readable(struct machine *m) { epcm_change(entry(m, P_SSA0), EPCM_R, 0); }
static void ssa_not_writable(struct machine *m) { epcm_change(entry(m, P_SSA0), EPCM_W, 0); }
static void ssa_other_enclave(struct machine *m) { epcm_set_secs(entry(m, P_SSA0), P_SPARE); }
static void ssa_held(struct machine *m) { epcm_try_exclusive(entry(m, P_SSA0)); }
static void busy(struct machine *m) { tcs_of(m)->state = 1; }

/* ---- EENTER */

static void setup_enter(struct machine *m)
{
	machine_build(m);
	machine_host_regs(m, 0);
}
static void no_frame(struct machine *m) { tcs_of(m)->cssa = 2; }
static void oentry_wild(struct machine *m) { tcs_of(m)->oentry = 1ull << 60; }
static void second_frame(struct machine *m) { tcs_of(m)->cssa = 1; }

static const struct row enter_rows[] = {
	{ "an idle TCS", NULL, OK },
	{ "with one frame in use", second_frame, OK },
	{ "TCS held shared by another", tcs_shared, OK },
	{ "AEX-notify of the TCS alone, debug opt-in", notify_only_tcs_debug, OK },
	{ "in an enclave", inside, GP },
	{ "RBX not aligned", tcs_misaligned, GP },
	{ "TCS not mapped", tcs_unmapped, PF },
	{ "TCS mapped read-only", tcs_readonly, PF },
	{ "AEP not canonical", aep, GP },
	{ "TCS held exclusive by another", tcs_held, GP },
	{ "TCS is not valid", tcs_invalid, PF },
	{ "TCS is BLOCKED", tcs_blocked, PF },
	{ "TCS is PENDING", tcs_pending, PF },
	{ "TCS is MODIFIED", tcs_modified, PF },
	{ "TCS of another address", tcs_elsewhere, PF },
	{ "a REG page", tcs_is_reg, PF },
	{ "OSSA not aligned", ossa_misaligned, GP },
	{ "OFSBASGX not aligned", fs_misaligned, GP },
	{ "OGSBASGX not aligned", gs_misaligned, GP },
	{ "FS base not canonical", fs_wild, GP },
	{ "GS base not canonical", gs_wild, GP },
	{ "reserved FLAGS", flags_reserved, GP },
	{ "enclave is not initialised", uninitialized, GP },
	{ "a 32-bit enclave", mode_32, GP },
	{ "AEX-notify of the TCS alone", notify_only_tcs, GP },
	{ "AEX-notify of the SECS alone", notify_only_secs, GP },
	{ "no SSA frame left", no_frame, GP },
	{ "SSA not mapped", ssa_unmapped, PF },
	{ "SSA mapped read-only", ssa_readonly, PF },
	{ "SSA is not valid", ssa_other_page, PF },
	{ "SSA is BLOCKED", ssa_blocked, PF },
	{ "SSA is PENDING", ssa_pending, PF },
	{ "SSA is MODIFIED", ssa_modified, PF },
	{ "SSA of another address", ssa_elsewhere, PF },
	{ "SSA is a TCS", ssa_is_tcs, PF },
	{ "SSA of another enclave", ssa_other_enclave, PF },
	{ "SSA not readable", ssa_not_readable, PF },
	{ "SSA not writable", ssa_not_writable, PF },
	{ "SSA on its way out", ssa_held, PF },
	{ "OENTRY not canonical", oentry_wild, GP },
	{ "TCS is busy", busy, GP },
};

/* A processor without AEX-notify: the bit of the TCS is reserved. */
static void no_notify(struct cpu_config *c) { c->attr_mask &= ~SGX_ATTR_AEXNOTIFY; }
static const struct row old_enter_rows[] = {
	{ "an idle TCS", NULL, OK },
	{ "AEX-notify of the TCS, debug opt-in", notify_only_tcs_debug, GP },
};

/* ---- ERESUME */

static void setup_resume(struct machine *m)
{
	machine_build(m);
	machine_enter(m, 0);
	m->regs.rip = LA(P_CODE) + 1;
	machine_aex(m, CPU_NO_FAULT, 0, 0);
	machine_host_regs(m, 0);
	m->regs.rax = SGX_ERESUME;
}
static void nothing_saved(struct machine *m) { tcs_of(m)->cssa = 0; }
static void rip_wild(struct machine *m) { gpr_of(m, P_SSA0)->rip = 1ull << 60; }
static void saved_fs_wild(struct machine *m) { gpr_of(m, P_SSA0)->fsbase = 1ull << 60; }
static void saved_gs_wild(struct machine *m) { gpr_of(m, P_SSA0)->gsbase = 1ull << 60; }
static void xstate_bv(struct machine *m) { m->epc[P_SSA0][513] = 2; }
static void xcomp_bv(struct machine *m) { m->epc[P_SSA0][527] = 0x80; }
static void xheader(struct machine *m) { m->epc[P_SSA0][535] = 1; }
static void mxcsr(struct machine *m) { m->epc[P_SSA0][26] = 1; }

static const struct row resume_rows[] = {
	{ "after an AEX", NULL, OK },
	{ "in an enclave", inside, GP },
	{ "RBX not aligned", tcs_misaligned, GP },
	{ "TCS not mapped", tcs_unmapped, PF },
	{ "AEP not canonical", aep, GP },
	{ "TCS held exclusive by another", tcs_held, GP },
	{ "TCS is not valid", tcs_invalid, PF },
	{ "TCS is BLOCKED", tcs_blocked, PF },
	{ "TCS is PENDING", tcs_pending, PF },
	{ "TCS is MODIFIED", tcs_modified, PF },
	{ "TCS of another address", tcs_elsewhere, PF },
	{ "a REG page", tcs_is_reg, PF },
	{ "OSSA not aligned", ossa_misaligned, GP },
	{ "OFSBASGX not aligned", fs_misaligned, GP },
	{ "OFSBASGX far out, and not used", fs_wild, OK },
	{ "reserved FLAGS", flags_reserved, GP },
	{ "enclave is not initialised", uninitialized, GP },
	{ "a 32-bit enclave", mode_32, GP },
	{ "AEX-notify of the SECS alone", notify_only_secs, GP },
	{ "no frame in use", nothing_saved, GP },
	{ "SSA not mapped", ssa_unmapped, PF },
	{ "SSA is not valid", ssa_other_page, PF },
	{ "SSA is BLOCKED", ssa_blocked, PF },
	{ "SSA is PENDING", ssa_pending, PF },
	{ "SSA is MODIFIED", ssa_modified, PF },
	{ "SSA of another address", ssa_elsewhere, PF },
	{ "SSA of another enclave", ssa_other_enclave, PF },
	{ "SSA not writable", ssa_not_writable, PF },
	{ "saved RIP not canonical", rip_wild, GP },
	{ "saved FS base not canonical", saved_fs_wild, GP },
	{ "saved GS base not canonical", saved_gs_wild, GP },
	{ "TCS is busy", busy, GP },
	{ "XSTATE_BV beyond XFRM", xstate_bv, GP },
	{ "XCOMP_BV", xcomp_bv, GP },
	{ "XSAVE header", xheader, GP },
	{ "MXCSR reserved bits", mxcsr, GP },
};

/* ---- EEXIT */

static void setup_exit(struct machine *m)
{
	machine_build(m);
	machine_enter(m, 0);
	m->regs.rax = SGX_EEXIT;
	m->regs.rbx = 0x400503;
}
static void outside(struct machine *m)
{
	machine_exit(m);
	m->regs.rax = SGX_EEXIT;
	m->regs.rbx = 0x400503;
}
static void target_wild(struct machine *m) { m->regs.rbx = 1ull << 60; }
static void target_inside(struct machine *m) { m->regs.rbx = LA(P_CODE); }

static const struct row exit_rows[] = {
	{ "to the host", NULL, OK },
	{ "to an address of the enclave", target_inside, OK },
	{ "outside of an enclave", outside, GP },
	{ "RBX not canonical", target_wild, GP },
};

/* ---- AEX */

static void setup_aex(struct machine *m)
{
	machine_build(m);
	machine_enter(m, 0);
}
static struct cpu_outcome run_aex(struct machine *m) { return machine_aex(m, CPU_UD, 0, 0); }

static const struct row aex_rows[] = {
	{ "the SSA is there", NULL, OK },
	{ "SSA blocked meanwhile", ssa_blocked, OK },
	{ "SSA not writable any more", ssa_not_writable, OK },
	{ "SSA evicted meanwhile", ssa_unmapped, PF },
	{ "SSA on its way out", ssa_held, PF },
};

/* ---- EDECCSSA */

static void setup_dec(struct machine *m)
{
	machine_build(m);
	machine_enter(m, 0);
	machine_aex(m, CPU_UD, 0, 0);
	machine_enter(m, 0);
	m->regs.rax = SGX_EDECCSSA;
}
static void dec_outside(struct machine *m)
{
	machine_exit(m);
	m->regs.rax = SGX_EDECCSSA;
}

static const struct row dec_rows[] = {
	{ "with one frame in use", NULL, OK },
	{ "outside of an enclave", dec_outside, GP },
	{ "TCS held exclusive by another", tcs_held, GP },
	{ "no frame in use", nothing_saved, GP },
	{ "SSA not mapped", ssa_unmapped, PF },
	{ "SSA is not valid", ssa_other_page, PF },
	{ "SSA is BLOCKED", ssa_blocked, PF },
	{ "SSA is PENDING", ssa_pending, PF },
	{ "SSA is MODIFIED", ssa_modified, PF },
	{ "SSA of another address", ssa_elsewhere, PF },
	{ "SSA of another enclave", ssa_other_enclave, PF },
	{ "SSA not writable", ssa_not_writable, PF },
};
static void no_edeccssa(struct cpu_config *c) { c->caps &= ~SGX_CPUID_EDECCSSA; }
static const struct row absent_rows[] = { { "the processor has none", NULL, GP } };

/* ---- effects */

static void test_pf(void)
{
	struct machine *m = machine_new(NULL);
	struct cpu_outcome out;

	setup_enter(m);
	tcs_unmapped(m);
	out = run(m);
	TAP_CHECK(out.pf_addr == LA(P_TCS0) && out.pf_error == (SGX_PFEC_U | SGX_PFEC_W),
		  "EENTER: #PF of a TCS that is not there");
	machine_map(m, LA(P_TCS0), P_TCS0, SGX_SECINFO_R | SGX_SECINFO_W);
	ssa_readonly(m);
	out = run(m);
	TAP_CHECK(out.pf_addr == LA(P_SSA0) &&
			  out.pf_error == (SGX_PFEC_U | SGX_PFEC_W | SGX_PFEC_P),
		  "EENTER: #PF of a frame that the page tables protect");
	machine_map(m, LA(P_SSA0), P_SSA0, SGX_SECINFO_R | SGX_SECINFO_W);
	ssa_not_writable(m);
	out = run(m);
	TAP_CHECK(out.pf_addr == LA(P_SSA0) &&
			  out.pf_error == (SGX_PFEC_U | SGX_PFEC_W | SGX_PFEC_P | SGX_PFEC_SGX),
		  "EENTER: #PF of a frame that the EPCM protects");
	epcm_change(entry(m, P_SSA0), 0, EPCM_W);
	ssa_held(m);
	out = run(m);
	TAP_CHECK(out.pf_error == (SGX_PFEC_U | SGX_PFEC_W),
		  "EENTER: #PF of a frame on its way out is an ordinary one");
	machine_free(m);
}

static void test_enter_effect(void)
{
	struct machine *m = machine_new(NULL);

	setup_enter(m);
	m->regs.rflags |= 0x100; /* TF */
	run(m);
	TAP_CHECK(!(m->regs.rflags & 0x100), "EENTER: TF is cleared without debug opt-in");
	TAP_CHECK(tcs_of(m)->state != 0 && tcs_of(m)->aep == AEP, "EENTER: the TCS is busy");
	TAP_CHECK(gpr_of(m, P_SSA0)->ursp == HOST_RSP && gpr_of(m, P_SSA0)->urbp == HOST_RBP,
		  "EENTER: the host's stack is kept");
	TAP_CHECK(m->regs.rsp == HOST_RSP && m->regs.rdi == 0xd1, "EENTER: registers pass");
	TAP_CHECK(is_code(encls_eblock(m->cpu, P_TCS0), SGX_OK) &&
			  cpu_ok(encls_etrack(m->cpu, P_SECS)) && cpu_ok(machine_exit(m)),
		  "EEXIT: by a blocked TCS");
	TAP_CHECK(tcs_of(m)->state == 0, "EEXIT: the TCS is idle");
	TAP_CHECK(!epcm_pin_nr(entry(m, P_TCS0)) && !epcm_pin_nr(entry(m, P_SSA0)),
		  "EEXIT: nothing is pinned");
	machine_free(m);
}

/* An AEX below, a handler above, and back by EDECCSSA. */
static void test_edeccssa(void)
{
	struct machine *m = machine_new(NULL);

	setup_dec(m);
	TAP_CHECK(m->lp.gpr_la == LA(P_SSA0B) + SGX_PAGE_SIZE - sizeof(struct sgx_ssa_gpr),
		  "EENTER with a frame in use works with the next");
	run(m);
	TAP_CHECK(tcs_of(m)->cssa == 0 &&
			  m->lp.gpr_la == LA(P_SSA0) + SGX_PAGE_SIZE - sizeof(struct sgx_ssa_gpr),
		  "EDECCSSA: the frame below is the current one");
	m->regs.r8 = 0x88;
	machine_aex(m, CPU_UD, 0, 0);
	TAP_CHECK(gpr_of(m, P_SSA0)->r8 == 0x88, "EDECCSSA: the next AEX saves there");
	machine_free(m);
}

static void test_aexnotify(void)
{
	struct machine *m = machine_new(NULL);

	machine_secs(m);
	m->secs.attributes.flags |= SGX_ATTR_AEXNOTIFY;
	machine_build(m);
	machine_enter(m, 0);
	gpr_of(m, P_SSA0)->aexnotify = 1;
	m->regs.rbx = 0xb;
	machine_aex(m, CPU_NO_FAULT, 0, 0);
	TAP_CHECK(cpu_ok(machine_resume(m, 0)), "ERESUME with AEX-notify");
	TAP_CHECK(m->regs.rip == ENCL_BASE + OENTRY && m->regs.rax == 1 &&
			  m->regs.rbx == LA(P_TCS0) && tcs_of(m)->cssa == 1,
		  "AEX-notify: the enclave is entered at OENTRY with the next frame");
	TAP_CHECK(gpr_of(m, P_SSA0B)->ursp == HOST_RSP, "AEX-notify: the host's stack is kept");
	TAP_CHECK(gpr_of(m, P_SSA0)->rbx == 0xb, "AEX-notify: the frame below is untouched");
	m->regs.rax = SGX_EDECCSSA;
	TAP_CHECK(cpu_ok(run(m)) && tcs_of(m)->cssa == 0, "AEX-notify: the handler ends");
	gpr_of(m, P_SSA0)->aexnotify = 0;
	machine_aex(m, CPU_NO_FAULT, 0, 0);
	machine_resume(m, 0);
	TAP_CHECK(m->regs.rbx == LA(P_TCS0) && tcs_of(m)->cssa == 0,
		  "AEX-notify off: ERESUME resumes");
	gpr_of(m, P_SSA0)->aexnotify = 1;
	machine_aex(m, CPU_NO_FAULT, 0, 0);
	tcs_of(m)->nssa = 1;
	TAP_CHECK(is_fault(machine_resume(m, 0), CPU_GP), "AEX-notify without a frame is #GP");
	machine_free(m);
}

static void test_dead(void)
{
	struct machine *m = machine_new(NULL);

	machine_build(m);
	machine_enter(m, 0);
	cpu_lp_reset(m->cpu, &m->lp);
	TAP_CHECK(cpu_active_nr(m->cpu, P_SECS) == 0 && !m->lp.in_enclave && tcs_of(m)->state == 0,
		  "a logical processor that died inside counts no more");
	TAP_CHECK(cpu_ok(machine_enter(m, 0)), "and its TCS can be entered");
	machine_exit(m);
	cpu_lp_reset(m->cpu, &m->lp);
	TAP_CHECK(cpu_active_nr(m->cpu, P_SECS) == 0, "one that died outside changes nothing");
	machine_free(m);
}

/* ---- which leaf, on which side */

static void test_dispatch(void)
{
	static const struct {
		uint32_t leaf;
		bool outside, inside;
	} rows[] = {
		{ SGX_EREPORT, false, true }, { SGX_EGETKEY, false, true },
		{ SGX_EENTER, true, false },  { SGX_ERESUME, true, false },
		{ SGX_EEXIT, false, true },   { SGX_EACCEPT, false, true },
		{ SGX_EMODPE, false, true },  { SGX_EACCEPTCOPY, false, true },
		{ 8, false, false },          { SGX_EDECCSSA, false, true },
		{ 10, false, false },         { 0xffffffff, false, false },
	};
	struct machine *m = machine_new(NULL);

	machine_build(m);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		machine_host_regs(m, 0);
		m->regs.rax = rows[i].leaf;
		m->regs.rbx = 1; /* misaligned: every leaf that there is says #GP, too */
		TAP_CHECK(is_fault(run(m), CPU_GP), "ENCLU %u outside: #GP", rows[i].leaf);
		TAP_CHECK(m->regs.rip == 0x400500, "and RIP stays");
	}
	machine_enter(m, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].inside)
			continue;
		m->regs.rax = rows[i].leaf;
		m->regs.rbx = LA(P_TCS1);
		TAP_CHECK(is_fault(run(m), CPU_GP), "ENCLU %u inside: #GP", rows[i].leaf);
	}
	machine_free(m);
}

int main(void)
{
	const struct leaf_test enter = { "EENTER", NULL, setup_enter, run, 0, false };
	const struct leaf_test old = { "EENTER", no_notify, setup_enter, run, 0, false };
	const struct leaf_test resume = { "ERESUME", NULL, setup_resume, run, 0, false };
	const struct leaf_test leave = { "EEXIT", NULL, setup_exit, run, 0, false };
	const struct leaf_test aex = { "AEX", NULL, setup_aex, run_aex, 0, false };
	const struct leaf_test dec = { "EDECCSSA", NULL, setup_dec, run, 0, false };
	const struct leaf_test no_dec = { "EDECCSSA", no_edeccssa, setup_dec, run, 0, false };

	RUN_ROWS(enter, enter_rows);
	RUN_ROWS(old, old_enter_rows);
	RUN_ROWS(resume, resume_rows);
	RUN_ROWS(leave, exit_rows);
	RUN_ROWS(aex, aex_rows);
	RUN_ROWS(dec, dec_rows);
	RUN_ROWS(no_dec, absent_rows);
	test_pf();
	test_enter_effect();
	test_edeccssa();
	test_aexnotify();
	test_dead();
	test_dispatch();
	return tap_done();
}
