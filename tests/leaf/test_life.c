/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The life of an enclave, once through: built and measured, opened, entered, left, interrupted and
 * resumed, reported on, paged out and in; and what an attacker tries with the pages outside.
 */
#include <string.h>

#include "leaf/machine.h"
#include "lib/tap.h"

static void test_enter_exit(struct machine *m)
{
	TAP_CHECK(cpu_ok(machine_enter(m, 0)), "EENTER");
	TAP_CHECK(m->regs.rip == ENCL_BASE + OENTRY, "EENTER starts at OENTRY");
	TAP_CHECK(m->regs.rax == 0, "EENTER yields CSSA in RAX");
	TAP_CHECK(m->regs.rcx == 0x400503, "EENTER yields the next address in RCX");
	TAP_CHECK(m->regs.fs_base == LA(P_DATA) && m->regs.gs_base == LA(P_DATA2),
		  "FS and GS bases are the enclave's");
	TAP_CHECK(cpu_active_nr(m->cpu, P_SECS) == 1, "one logical processor is inside");
	TAP_CHECK(cpu_ok(machine_exit(m)), "EEXIT");
	TAP_CHECK(m->regs.rip == 0x400503 && m->regs.rcx == AEP, "EEXIT goes where RBX says");
	TAP_CHECK(m->regs.fs_base == HOST_FS && m->regs.gs_base == HOST_GS, "host FS and GS");
	TAP_CHECK(cpu_active_nr(m->cpu, P_SECS) == 0, "nobody is inside");
}

static void test_aex_resume(struct machine *m)
{
	struct cpu_regs inside;
	uint8_t image[XSAVE_SIZE];
	uint64_t bv = 7;

	machine_enter(m, 0);
	for (unsigned int i = 0; i < 16; i++)
		(&m->regs.rax)[i] = 0x1111111100ull + i;
	m->regs.rip = LA(P_CODE) + 0x123;
	m->regs.rflags = 0x246;
	inside = m->regs;
	memset(m->xsave, 0, sizeof(m->xsave));
	memset(m->xsave + 160, 0xaa, 256); /* XMM */
	memset(m->xsave + 576, 0xbb, 256); /* upper halves of YMM */
	memcpy(m->xsave + 512, &bv, 8);
	m->xsave[24] = 0x80; /* MXCSR */
	m->xsave[25] = 0x3f;
	memcpy(image, m->xsave, sizeof(image));

	TAP_CHECK(cpu_ok(machine_aex(m, CPU_UD, 0, 0)), "AEX");
	TAP_CHECK(m->regs.rax == 3 && m->regs.rbx == LA(P_TCS0) && m->regs.rcx == AEP &&
			  m->regs.rip == AEP,
		  "the host sees the synthetic state");
	TAP_CHECK(m->regs.rsp == HOST_RSP && m->regs.rbp == HOST_RBP, "its own stack");
	TAP_CHECK(m->regs.rdx == 0 && m->regs.r15 == 0, "and nothing of the enclave's registers");
	TAP_CHECK(m->xsave[160] == 0 && m->xsave[576] == 0, "nor of its extended state");
	TAP_CHECK(((struct sgx_tcs *)m->epc[P_TCS0])->cssa == 1, "CSSA is one up");
	TAP_CHECK(*(uint32_t *)(m->epc[P_SSA0] + 4096 - 24) ==
			  (SGX_EXITINFO_VALID | SGX_EXITINFO_HARDWARE | CPU_UD),
		  "EXITINFO tells #UD");
	TAP_CHECK(cpu_ok(machine_resume(m, 0)), "ERESUME");
	TAP_CHECK(memcmp(&m->regs, &inside, sizeof(inside)) == 0, "all registers are back");
	TAP_CHECK(memcmp(m->xsave, image, 24) == 0 &&
			  memcmp(m->xsave + 32, image + 32, sizeof(image) - 32) == 0,
		  "and the extended state");
	machine_exit(m);
}

/* The enclave reports to itself; EGETKEY(report) checks it. */
static void test_report(struct machine *m)
{
	struct sgx_targetinfo *target = (void *)m->epc[P_DATA];
	struct sgx_keyrequest *req = (void *)(m->epc[P_DATA] + 512);
	struct sgx_report *report = (void *)(m->epc[P_DATA] + 1024);
	uint8_t *data = m->epc[P_DATA] + 2048, *key = m->epc[P_DATA] + 2560, mac[16];
	const struct sgx_secs *secs = (void *)m->epc[P_SECS];
	size_t bytes = sizeof(mac);
	EVP_MAC *cmac = EVP_MAC_fetch(NULL, "CMAC", NULL);
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(cmac);
	OSSL_PARAM params[2] = { OSSL_PARAM_construct_utf8_string("cipher", (char *)"AES-128-CBC",
								  0),
				 OSSL_PARAM_construct_end() };

	machine_enter(m, 0);
	memset(m->epc[P_DATA], 0, SGX_PAGE_SIZE);
	memcpy(target->measurement, secs->mrenclave, 32);
	target->attributes = secs->attributes;
	memset(data, 0x5a, 64);
	m->regs.rax = SGX_EREPORT;
	m->regs.rbx = LA(P_DATA);
	m->regs.rcx = LA(P_DATA) + 2048;
	m->regs.rdx = LA(P_DATA) + 1024;
	TAP_CHECK(cpu_ok(cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, NULL, 0)), "EREPORT");
	TAP_CHECK(memcmp(report->mrenclave, m->sig.enclavehash, 32) == 0 &&
			  report->isvprodid == 3 && report->isvsvn == 4 &&
			  report->attributes.flags & SGX_ATTR_INIT &&
			  report->reportdata[63] == 0x5a,
		  "the report tells who the enclave is");

	req->keyname = SGX_KEY_REPORT;
	memcpy(req->keyid, report->keyid, 32);
	m->regs.rax = SGX_EGETKEY;
	m->regs.rbx = LA(P_DATA) + 512;
	m->regs.rcx = LA(P_DATA) + 2560;
	TAP_CHECK(cpu_ok(cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, NULL, 0)),
		  "EGETKEY of the report key");
	EVP_MAC_init(ctx, key, 16, params);
	EVP_MAC_update(ctx, (uint8_t *)report, 384);
	EVP_MAC_final(ctx, mac, &bytes, sizeof(mac));
	TAP_CHECK(memcmp(mac, report->mac, 16) == 0, "and with it the MAC is right");
	EVP_MAC_CTX_free(ctx);
	EVP_MAC_free(cmac);
	machine_exit(m);
}

static void test_paging(struct machine *m)
{
	static uint8_t plain[SGX_PAGE_SIZE], old_cipher[SGX_PAGE_SIZE];
	struct sgx_pcmd old_pcmd;

	memcpy(plain, m->epc[P_DATA2], sizeof(plain));
	machine_map(m, LA(P_DATA2), P_DATA2, 0);
	TAP_CHECK(cpu_ok(machine_block_track(m, P_DATA2)), "EBLOCK, ETRACK");
	TAP_CHECK(cpu_ok(machine_ewb(m, P_DATA2, 7)), "EWB");
	TAP_CHECK(!cpu_epcm_read(m->cpu, P_DATA2).valid, "the EPC page is free");
	TAP_CHECK(memcmp(m->cipher, plain, sizeof(plain)) != 0, "what is outside is not the page");
	memcpy(old_cipher, m->cipher, sizeof(old_cipher));
	old_pcmd = m->pcmd;

	m->cipher[100] ^= 1;
	TAP_CHECK(is_code(machine_eldu(m, P_SPARE, LA(P_DATA2), 7), SGX_MAC_COMPARE_FAIL),
		  "a page with one bit changed is refused");
	TAP_CHECK(!cpu_epcm_read(m->cpu, P_SPARE).valid && memcmp(m->epc[P_SPARE], plain, 64) != 0,
		  "and leaves neither an entry nor plaintext");
	m->cipher[100] ^= 1;
	TAP_CHECK(is_code(machine_eldu(m, P_SPARE, LA(P_DATA), 7), SGX_MAC_COMPARE_FAIL),
		  "so is one at another address");
	TAP_CHECK(cpu_ok(machine_eldu(m, P_SPARE, LA(P_DATA2), 7)), "ELDU, to another EPC page");
	TAP_CHECK(memcmp(m->epc[P_SPARE], plain, sizeof(plain)) == 0, "the contents are back");

	TAP_CHECK(cpu_ok(machine_block_track(m, P_SPARE)) && cpu_ok(machine_ewb(m, P_SPARE, 7)),
		  "out once more");
	memcpy(m->cipher, old_cipher, sizeof(old_cipher));
	m->pcmd = old_pcmd;
	TAP_CHECK(is_code(machine_eldu(m, P_DATA2, LA(P_DATA2), 7), SGX_MAC_COMPARE_FAIL),
		  "the old version is refused");
}

static void test_teardown(struct machine *m)
{
	bool ok = true;

	TAP_CHECK(is_code(encls_eremove(m->cpu, P_SECS), SGX_CHILD_PRESENT),
		  "a SECS with children stays");
	for (uint32_t i = P_TCS0; i < EPC_NR; i++)
		ok &= cpu_ok(encls_eremove(m->cpu, i));
	TAP_CHECK(ok && cpu_ok(encls_eremove(m->cpu, P_SECS)), "EREMOVE of all pages, SECS last");
}

int main(void)
{
	struct machine *m = machine_new(NULL);

	machine_build(m);
	TAP_CHECK(memcmp(((struct sgx_secs *)m->epc[P_SECS])->mrenclave, m->sig.enclavehash, 32) ==
			  0,
		  "MRENCLAVE is what the signer computed");
	test_enter_exit(m);
	test_aex_resume(m);
	test_report(m);
	test_paging(m);
	test_teardown(m);
	machine_free(m);
	return tap_done();
}
