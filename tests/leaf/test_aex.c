/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What an asynchronous exit leaves, in the SSA frame and for the host: EXITINFO, extended state, RFLAGS.TF;
 * and what ERESUME makes of it.
 */
#include "leaf/table.h"

#define TF 0x100u

static struct sgx_tcs *tcs_of(struct machine *m) { return (struct sgx_tcs *)m->epc[P_TCS0]; }
static struct sgx_ssa_gpr *gpr_of(struct machine *m, uint32_t page)
{
	return (struct sgx_ssa_gpr *)(m->epc[page] + SGX_PAGE_SIZE - sizeof(struct sgx_ssa_gpr));
}

/* EXITINFO, vector by vector. */
static void test_exitinfo(void)
{
	static const struct {
		const char *name;
		uint8_t vector;
		bool software, with_exinfo;
		uint32_t wanted;
	} rows[] = {
		{ "an interrupt", CPU_NO_FAULT, false, true, 0 },
		{ "#DE", CPU_DE, false, false, 0x80000300 },
		{ "#DB", CPU_DB, false, false, 0x80000301 },
		{ "#BP", CPU_BP, true, false, 0x80000603 },
		{ "#BR", CPU_BR, false, false, 0x80000305 },
		{ "#UD", CPU_UD, false, false, 0x80000306 },
		{ "#GP without EXINFO", CPU_GP, false, false, 0 },
		{ "#GP with EXINFO", CPU_GP, false, true, 0x8000030d },
		{ "#PF without EXINFO", CPU_PF, false, false, 0 },
		{ "#PF with EXINFO", CPU_PF, false, true, 0x8000030e },
		{ "#MF", CPU_MF, false, false, 0x80000310 },
		{ "#AC", CPU_AC, false, false, 0x80000311 },
		{ "#XM", CPU_XM, false, false, 0x80000313 },
		{ "#SS, which is not reported", 12, false, true, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct machine *m = machine_new(NULL);
		struct sgx_exinfo *exinfo;
		struct cpu_event event = { .vector = rows[i].vector,
					   .software = rows[i].software,
					   .error = 7,
					   .cr2 = LA(P_DATA) + 5 };

		machine_secs(m);
		m->secs.miscselect = rows[i].with_exinfo ? SGX_MISC_EXINFO : 0;
		machine_build(m);
		gpr_of(m, P_SSA0)->exitinfo = 0x55;
		gpr_of(m, P_SSA0)->aexnotify = 0xfe;
		machine_enter(m, 0);
		cpu_aex(m->cpu, &m->lp, &m->mmu, &m->regs, m->xsave, XSAVE_SIZE, &event);
		TAP_CHECK(gpr_of(m, P_SSA0)->exitinfo == rows[i].wanted, "AEX: EXITINFO of %s",
			  rows[i].name);
		exinfo = (struct sgx_exinfo *)gpr_of(m, P_SSA0) - 1;
		if (rows[i].with_exinfo && rows[i].vector == CPU_PF)
			TAP_CHECK(exinfo->maddr == event.cr2 && exinfo->errcd == 7,
				  "AEX: EXINFO of #PF");
		if (rows[i].with_exinfo && rows[i].vector == CPU_GP)
			TAP_CHECK(exinfo->maddr == 0 && exinfo->errcd == 7, "AEX: EXINFO of #GP");
		TAP_CHECK(gpr_of(m, P_SSA0)->aexnotify == 0xfe, "AEX: AEXNOTIFY is software's");
		machine_free(m);
	}
}

/* Components outside of XFRM are the host's, on both ways. */
static void test_extended(void)
{
	struct machine *m = machine_new(NULL);
	const uint64_t host = 7, bv = 3;
	uint64_t seen;

	machine_secs(m);
	m->secs.attributes.xfrm = 3; /* no AVX */
	machine_build(m);
	machine_enter(m, 0);
	memset(m->xsave, 0x11, sizeof(m->xsave));
	memset(m->xsave + 512, 0, 64);
	memcpy(m->xsave + 512, &host, 8);
	memset(m->xsave + 24, 0, 4);
	memset(m->epc[P_SSA0] + 576, 0x99, 256);
	machine_aex(m, CPU_NO_FAULT, 0, 0);
	memcpy(&seen, m->epc[P_SSA0] + 512, 8);
	TAP_CHECK(seen == bv, "AEX: XSTATE_BV in the SSA is of XFRM only");
	TAP_CHECK(m->epc[P_SSA0][576] == 0x99, "AEX: nothing else is written there");
	memcpy(&seen, m->xsave + 512, 8);
	TAP_CHECK(seen == 4 && m->xsave[576] == 0x11 && m->xsave[160] == 0,
		  "AEX: the host sees its own AVX and an initial SSE");
	TAP_CHECK(m->xsave[24] == 0x80 && m->xsave[25] == 0x1f, "AEX: MXCSR is initial");
	TAP_CHECK(m->xsave[0] == 0x7f && m->xsave[1] == 0x03, "AEX: FCW is initial");
	memset(m->xsave + 576, 0x22, 256);
	machine_resume(m, 0);
	memcpy(&seen, m->xsave + 512, 8);
	TAP_CHECK(seen == 7 && m->xsave[576] == 0x22 && m->xsave[160] == 0x11,
		  "ERESUME: SSE is the enclave's, AVX still the host's");
	machine_exit(m);

	/* A component that was initial is so again, whatever the buffer held. */
	machine_enter(m, 0);
	memset(m->xsave + 512, 0, 64);
	machine_aex(m, CPU_NO_FAULT, 0, 0);
	memset(m->xsave + 160, 0x77, 256);
	memcpy(m->xsave + 512, &host, 8);
	machine_resume(m, 0);
	memcpy(&seen, m->xsave + 512, 8);
	TAP_CHECK(seen == 4 && m->xsave[160] == 0, "ERESUME: what was initial is initial");
	machine_exit(m);
	machine_free(m);
}

/* A frame of several pages, and more state than a page. */
static void big_config(struct cpu_config *c)
{
	machine_config(c);
	c->xfrm_mask |= 3u << 17;
	c->xsave_offset[17] = 2752;
	c->xsave_size[17] = 64;
	c->xsave_offset[18] = 2816;
	c->xsave_size[18] = 8192;
}

static void test_big_frame(void)
{
	struct cpu_config config;
	struct machine *m;
	static uint8_t image[12288] __attribute__((aligned(64)));
	static uint8_t saved[12288];
	const uint64_t reg = SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_W;
	uint64_t bv = 7 | 3u << 17;
	struct cpu_event event = { .vector = CPU_NO_FAULT };
	bool ok = true;

	big_config(&config);
	m = machine_new(&config);
	machine_secs(m);
	m->secs.attributes.xfrm = 7 | 3u << 17;
	m->secs.ssa_frame_size = 4;
	ok &= cpu_ok(machine_ecreate(m, P_SECS));
	memset(m->page, 0, sizeof(m->page));
	machine_tcs(m, 0);
	((struct sgx_tcs *)m->page)->nssa = 1;
	ok &= cpu_ok(machine_eadd(m, P_TCS0, LA(P_TCS0), SGX_SECINFO_TYPE(SGX_PT_TCS), true));
	memset(m->page, 0, sizeof(m->page));
	for (uint32_t i = 0; i < 4; i++) /* in EPC pages that do not lie in order */
		ok &= cpu_ok(machine_eadd(m, P_DATA2 - i, LA(P_SSA0 + i), reg, true));
	machine_sigstruct(m);
	m->sig.attributemask.xfrm = 0;
	m->sig.attributes.xfrm = 0;
	machine_sign(&m->sig);
	ok &= cpu_ok(machine_einit(m));
	TAP_CHECK(ok, "an enclave with frames of four pages");
	TAP_CHECK(cpu_ok(machine_enter(m, 0)), "big frame: EENTER");
	for (size_t i = 0; i < sizeof(image); i++)
		image[i] = (uint8_t)(i * 7 + i / 256);
	memset(image + 512, 0, 64);
	memcpy(image + 512, &bv, 8);
	memset(image + 26, 0, 2); /* MXCSR */
	memcpy(saved, image, sizeof(saved));
	m->regs.r9 = 0x99;
	TAP_CHECK(cpu_ok(cpu_aex(m->cpu, &m->lp, &m->mmu, &m->regs, image, 11008, &event)),
		  "big frame: AEX");
	TAP_CHECK(image[2816] == 0 && image[11007] == 0, "big frame: the tiles are initial");
	TAP_CHECK(memcmp(m->epc[P_DATA2 - 1] + 100, saved + 4196, 64) == 0,
		  "big frame: its second page holds the second part");
	TAP_CHECK(gpr_of(m, P_DATA2 - 3)->r9 == 0x99, "big frame: its last page holds the GPRs");
	machine_host_regs(m, 0);
	m->regs.rax = SGX_ERESUME;
	TAP_CHECK(cpu_ok(cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, image, 11008)),
		  "big frame: ERESUME");
	/* MXCSR_MASK and the reserved bytes are nobody's. */
	TAP_CHECK(memcmp(image, saved, 28) == 0 && memcmp(image + 32, saved + 32, 384) == 0 &&
			  memcmp(image + 512, saved + 512, 8) == 0 &&
			  memcmp(image + 576, saved + 576, 256) == 0 &&
			  memcmp(image + 2752, saved + 2752, 8256) == 0 && m->regs.r9 == 0x99,
		  "big frame: all is back");
	machine_free(m);
}

/* ---- "Processor Synthetic State on Asynchronous Enclave Exit" */

static uint16_t half(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* FCW, FSW, MXCSR by vector; all else is initial, and the frame has what the enclave had. */
static void test_synthetic(void)
{
	static const struct {
		const char *name;
		uint8_t vector;
		uint16_t fcw, fsw, mxcsr;
		uint64_t bv;
	} rows[] = {
		{ "an interrupt", CPU_NO_FAULT, 0x037f, 0, 0x1f80, 0 },
		{ "#UD", CPU_UD, 0x037f, 0, 0x1f80, 0 },
		{ "#PF", CPU_PF, 0x037f, 0, 0x1f80, 0 },
		{ "#MF", CPU_MF, 0x037e, 0x8081, 0x1f80, 1 },
		{ "#XM", CPU_XM, 0x037f, 0, 0x1f01, 2 },
	};
	static const uint8_t zero[256];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct machine *m = machine_new(NULL);
		const uint8_t *ssa = m->epc[P_SSA0];
		uint64_t bv = 3;

		machine_build(m);
		machine_enter(m, 0);
		memset(m->xsave, 0x11, 416);
		memset(m->xsave + 512, 0, 64);
		memcpy(m->xsave + 512, &bv, 8);
		memset(m->xsave + 24, 0, 8);
		machine_aex(m, rows[i].vector, 0, 0);
		memcpy(&bv, m->xsave + 512, 8);
		TAP_CHECK(half(m->xsave) == rows[i].fcw && half(m->xsave + 2) == rows[i].fsw &&
				  half(m->xsave + 24) == rows[i].mxcsr && bv == rows[i].bv,
			  "AEX: FCW, FSW, MXCSR after %s", rows[i].name);
		TAP_CHECK(!memcmp(m->xsave + 4, zero, 20) && !memcmp(m->xsave + 32, zero, 128) &&
				  !memcmp(m->xsave + 160, zero, 256),
			  "AEX: the registers are initial after %s", rows[i].name);
		TAP_CHECK(half(ssa) == 0x1111 && half(ssa + 2) == 0x1111 && half(ssa + 24) == 0,
			  "AEX: the frame has the enclave's after %s", rows[i].name);
		machine_free(m);
	}
}

/* ---- "RFLAGS.TF Treatment on AEX", and on EEXIT */

static void test_tf(bool opt_in, bool host_tf)
{
	const char *how = opt_in ? "with opt-in" : "without opt-in";
	const uint64_t flags = 0x202 | (host_tf ? TF : 0);
	struct machine *m = machine_new(NULL);

	machine_build(m);
	if (opt_in)
		tcs_of(m)->flags |= SGX_TCS_DBGOPTIN;
	machine_host_regs(m, 0);
	m->regs.rflags = flags;
	cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, m->xsave, XSAVE_SIZE);
	TAP_CHECK(m->lp.opt_in == opt_in, "EENTER %s: the processor knows", how);
	TAP_CHECK(!!(m->regs.rflags & TF) == (opt_in && host_tf), "EENTER %s: TF %d in the host",
		  how, host_tf);
	machine_aex(m, CPU_NO_FAULT, 0, 0);
	TAP_CHECK(!!(m->regs.rflags & TF) == host_tf, "AEX %s: TF is %d again", how, host_tf);
	TAP_CHECK(!(gpr_of(m, P_SSA0)->rflags & TF), "AEX %s: TF in the frame is 0", how);
	/* Stepped or not: ERESUME takes TF from the host, never from the frame. */
	gpr_of(m, P_SSA0)->rflags |= TF;
	machine_host_regs(m, 0);
	m->regs.rax = SGX_ERESUME;
	m->regs.rflags = flags;
	cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, m->xsave, XSAVE_SIZE);
	TAP_CHECK(!!(m->regs.rflags & TF) == (opt_in && host_tf), "ERESUME %s: TF %d in the host",
		  how, host_tf);
	if (opt_in)
		m->regs.rflags ^= TF; /* POPF; without opt-in it could not */
	machine_exit(m);
	TAP_CHECK(!!(m->regs.rflags & TF) == (opt_in ? !host_tf : host_tf), "EEXIT %s: TF %d", how,
		  host_tf);
	machine_free(m);
}

int main(void)
{
	test_exitinfo();
	test_extended();
	test_big_frame();
	test_synthetic();
	for (int i = 0; i < 4; i++)
		test_tf(i & 2, i & 1);
	return tap_done();
}
