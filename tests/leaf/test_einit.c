/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* EINIT: every way it may end; with a signer the processor knows, and with an EINITTOKEN. */
#include "leaf/table.h"

#include <openssl/core_names.h>

#include "cpu/keys.h"

static const struct sgx_sigstruct *sig;
static const struct sgx_einittoken *token;
static uint64_t hash[4];
static uint32_t page;

static void setup(struct machine *m)
{
	machine_secs(m);
	machine_ecreate(m, P_SECS);
	memset(m->page, 0, sizeof(m->page));
	machine_eadd(m, P_DATA, LA(P_DATA), SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R, true);
	machine_sigstruct(m);
	machine_signer(&m->sig, hash);
	sig = &m->sig;
	token = &m->token;
	page = P_SECS;
}

static struct cpu_outcome run(struct machine *m)
{
	return encls_einit(m->cpu, sig, page, token, hash);
}

static void sign(struct machine *m) { machine_sign(&m->sig); }

static void sig_misaligned(struct machine *m) { sig = (void *)((uint8_t *)&m->sig + 64); }
static void token_misaligned(struct machine *m) { token = (void *)((uint8_t *)&m->token + 64); }
static void not_epc(struct machine *m) { page = EPC_NR; }
static void header(struct machine *m)
{
	m->sig.header[0] ^= 1;
	sign(m);
}
static void vendor(struct machine *m)
{
	m->sig.vendor = 1;
	sign(m);
}
static void vendor_intel(struct machine *m)
{
	m->sig.vendor = 0x8086;
	sign(m);
}
static void header2(struct machine *m)
{
	m->sig.header2[12] ^= 1;
	sign(m);
}
static void exponent(struct machine *m) { m->sig.exponent = 65537; }
static void reserved1(struct machine *m)
{
	m->sig.reserved1[0] = 1;
	sign(m);
}
static void reserved2(struct machine *m)
{
	m->sig.reserved2[1] = 1;
	sign(m);
}
static void reserved3(struct machine *m)
{
	m->sig.reserved3[15] = 1;
	sign(m);
}
static void reserved4(struct machine *m) { m->sig.reserved4[11] = 1; }
static void bad_signature(struct machine *m) { m->sig.signature[0] ^= 1; }
static void bad_modulus(struct machine *m) { m->sig.modulus[5] ^= 1; }
static void bad_q1(struct machine *m) { m->sig.q1[0] ^= 1; }
static void bad_q2(struct machine *m) { m->sig.q2[383] ^= 1; }
static void signed_other(struct machine *m) { m->sig.isvsvn++; }
static void date(struct machine *m) { m->sig.date++; }
static void secs_held(struct machine *m) { epcm_try_exclusive(entry(m, P_SECS)); }
static void secs_shared(struct machine *m) { epcm_try_shared(entry(m, P_SECS)); }
static void not_valid(struct machine *m) { page = P_SPARE; }
static void not_secs(struct machine *m) { page = P_DATA; }
static void family(struct machine *m)
{
	m->sig.isvfamilyid[3] = 1;
	sign(m);
}
static void measuring(struct machine *m) { epcm_try_extra(entry(m, P_SECS), EPCM_LOCK_MEASURE); }
static void again(struct machine *m) { run(m); }
static void other_hash(struct machine *m)
{
	m->sig.enclavehash[31] ^= 1;
	sign(m);
}
static void one_more_page(struct machine *m)
{
	machine_eadd(m, P_DATA2, LA(P_DATA2), SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R, false);
}
static void attribute(struct machine *m)
{
	m->sig.attributes.flags ^= SGX_ATTR_KSS;
	sign(m);
}
static void attribute_masked(struct machine *m)
{
	m->sig.attributes.flags ^= SGX_ATTR_DEBUG;
	sign(m);
}
static void xfrm(struct machine *m)
{
	m->sig.attributemask.xfrm = ~0ull;
	sign(m);
}
static void misc(struct machine *m)
{
	m->sig.miscselect = 1;
	sign(m);
}
static void cet(struct machine *m)
{
	m->sig.cet_attributes = m->sig.cet_attributes_mask = 1;
	sign(m);
}
static void other_signer(struct machine *m) { hash[3] ^= 1; }

static const struct row rows[] = {
	{ "a signer whose hash is in the MSRs", NULL, OK },
	{ "Intel as vendor", vendor_intel, OK },
	{ "an attribute that the mask leaves open", attribute_masked, OK },
	{ "SECS held shared by another", secs_shared, OK },
	{ "SIGSTRUCT not aligned", sig_misaligned, GP },
	{ "EINITTOKEN not aligned", token_misaligned, GP },
	{ "RCX is no EPC page", not_epc, PF },
	{ "HEADER", header, CODE(SGX_INVALID_SIG_STRUCT) },
	{ "VENDOR", vendor, CODE(SGX_INVALID_SIG_STRUCT) },
	{ "HEADER2", header2, CODE(SGX_INVALID_SIG_STRUCT) },
	{ "EXPONENT", exponent, CODE(SGX_INVALID_SIG_STRUCT) },
	{ "reserved bytes 1", reserved1, CODE(SGX_INVALID_SIG_STRUCT) },
	{ "reserved bytes 2", reserved2, CODE(SGX_INVALID_SIG_STRUCT) },
	{ "reserved bytes 3", reserved3, CODE(SGX_INVALID_SIG_STRUCT) },
	{ "reserved bytes 4", reserved4, CODE(SGX_INVALID_SIG_STRUCT) },
	{ "SIGNATURE", bad_signature, CODE(SGX_INVALID_SIGNATURE) },
	{ "MODULUS", bad_modulus, CODE(SGX_INVALID_SIGNATURE) },
	{ "Q1", bad_q1, CODE(SGX_INVALID_SIGNATURE) },
	{ "Q2", bad_q2, CODE(SGX_INVALID_SIGNATURE) },
	{ "the body changed after signing", signed_other, CODE(SGX_INVALID_SIGNATURE) },
	{ "the head changed after signing", date, CODE(SGX_INVALID_SIGNATURE) },
	{ "SECS held exclusive by another", secs_held, GP },
	{ "page is not valid", not_valid, PF },
	{ "page is no SECS", not_secs, PF },
	{ "ISVFAMILYID without KSS", family, CODE(SGX_INVALID_SIG_STRUCT) },
	{ "measurement held by another", measuring, GP },
	{ "enclave is initialised", again, GP },
	{ "ENCLAVEHASH of another", other_hash, CODE(SGX_INVALID_MEASUREMENT) },
	{ "one page more than was signed", one_more_page, CODE(SGX_INVALID_MEASUREMENT) },
	{ "ATTRIBUTES differ", attribute, CODE(SGX_INVALID_ATTRIBUTE) },
	{ "XFRM differs", xfrm, CODE(SGX_INVALID_ATTRIBUTE) },
	{ "MISCSELECT differs", misc, CODE(SGX_INVALID_ATTRIBUTE) },
	{ "CET_ATTRIBUTES differ", cet, CODE(SGX_INVALID_ATTRIBUTE) },
	{ "no token, and not the launch signer", other_signer, CODE(SGX_INVALID_EINITTOKEN) },
};

/* ---- ATTRIBUTES.EINITTOKENKEY -------------------------------------------------------------- */

static void setup_launch(struct machine *m)
{
	machine_secs(m);
	m->secs.attributes.flags |= SGX_ATTR_EINITTOKENKEY;
	machine_ecreate(m, P_SECS);
	machine_sigstruct(m);
	machine_signer(&m->sig, hash);
	sig = &m->sig;
	token = &m->token;
	page = P_SECS;
}

static const struct row launch_rows[] = {
	{ "of the launch signer", NULL, OK },
	{ "of anybody else", other_signer, CODE(SGX_INVALID_ATTRIBUTE) },
};

/* ---- a locked launch key, and tokens ------------------------------------------------------- */

static void locked(struct cpu_config *c)
{
	c->lepubkeyhash_locked = true;
	memset(c->lepubkeyhash, 0x5c, sizeof(c->lepubkeyhash));
}

/* What a launch enclave would do with the launch key. */
static void seal_token(struct machine *m)
{
	EVP_MAC *cmac = EVP_MAC_fetch(NULL, "CMAC", NULL);
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(cmac);
	OSSL_PARAM params[2] = { OSSL_PARAM_construct_utf8_string("cipher", (char *)"AES-128-CBC",
								  0),
				 OSSL_PARAM_construct_end() };
	struct key_deps deps;
	uint8_t key[16];
	size_t bytes = 16;

	key_deps_einittoken(m->cpu, &m->token, m->cpu->config.lepubkeyhash, &deps);
	key_derive(m->cpu, &deps, key);
	EVP_MAC_init(ctx, key, 16, params);
	EVP_MAC_update(ctx, (uint8_t *)&m->token, 192);
	EVP_MAC_final(ctx, m->token.mac, &bytes, 16);
	EVP_MAC_CTX_free(ctx);
	EVP_MAC_free(cmac);
}

static void setup_token(struct machine *m)
{
	setup(m);
	m->token.valid = 1;
	m->token.attributes = m->secs.attributes;
	memcpy(m->token.mrenclave, m->sig.enclavehash, 32);
	memcpy(m->token.mrsigner, hash, 32);
	memcpy(m->token.cpusvnle, m->cpu->config.fuses.cpusvn, 16);
	m->token.isvprodidle = 20;
	m->token.isvsvnle = 1;
	memset(m->token.keyid, 0x42, 32);
	seal_token(m);
}

static void no_token(struct machine *m) { memset(&m->token, 0, sizeof(m->token)); }
static void le_debug(struct machine *m)
{
	secs_of(m)->arch.attributes.flags &= ~SGX_ATTR_DEBUG;
	m->token.maskedattributesle.flags = SGX_ATTR_DEBUG;
	m->token.attributes.flags &= ~SGX_ATTR_DEBUG;
	seal_token(m);
}
static void token_valid_bits(struct machine *m)
{
	m->token.valid = 3;
	seal_token(m);
}
static void token_reserved1(struct machine *m)
{
	m->token.reserved1[0] = 1;
	seal_token(m);
}
static void token_reserved4(struct machine *m)
{
	m->token.reserved4[23] = 1;
	seal_token(m);
}
static void token_cpusvn(struct machine *m)
{
	m->token.cpusvnle[15]++;
	seal_token(m);
}
static void token_cpusvn_old(struct machine *m)
{
	m->token.cpusvnle[0]--;
	seal_token(m);
}
static void token_mac(struct machine *m) { m->token.mac[0] ^= 1; }
static void token_keyid(struct machine *m) { m->token.keyid[0] ^= 1; }
static void token_le_svn(struct machine *m) { m->token.isvsvnle++; }
static void token_mrenclave(struct machine *m)
{
	m->token.mrenclave[0] ^= 1;
	seal_token(m);
}
static void token_mrsigner(struct machine *m)
{
	m->token.mrsigner[0] ^= 1;
	seal_token(m);
}
static void token_attributes(struct machine *m)
{
	m->token.attributes.flags ^= SGX_ATTR_PROVISIONKEY;
	seal_token(m);
}

static const struct row token_rows[] = {
	{ "a token of the launch enclave", NULL, OK },
	{ "a token of an older CPUSVN", token_cpusvn_old, OK },
	{ "none", no_token, CODE(SGX_INVALID_EINITTOKEN) },
	{ "a debug launch enclave, a production enclave", le_debug, CODE(SGX_INVALID_EINITTOKEN) },
	{ "VALID has reserved bits", token_valid_bits, CODE(SGX_INVALID_EINITTOKEN) },
	{ "reserved bytes 1", token_reserved1, CODE(SGX_INVALID_EINITTOKEN) },
	{ "reserved bytes 4", token_reserved4, CODE(SGX_INVALID_EINITTOKEN) },
	{ "CPUSVN beyond the processor's", token_cpusvn, CODE(SGX_INVALID_CPUSVN) },
	{ "MAC", token_mac, CODE(SGX_INVALID_EINITTOKEN) },
	{ "KEYID changed", token_keyid, CODE(SGX_INVALID_EINITTOKEN) },
	{ "ISVSVNLE changed", token_le_svn, CODE(SGX_INVALID_EINITTOKEN) },
	{ "MRENCLAVE of another", token_mrenclave, CODE(SGX_INVALID_MEASUREMENT) },
	{ "MRSIGNER of another", token_mrsigner, CODE(SGX_INVALID_MEASUREMENT) },
	{ "ATTRIBUTES of another", token_attributes, CODE(SGX_INVALID_ATTRIBUTE) },
};

static void test_effect(void)
{
	struct machine *m = machine_new(NULL);
	const struct sgx_secs *secs = &secs_of(m)->arch;

	machine_secs(m);
	m->secs.attributes.flags |= SGX_ATTR_KSS;
	machine_ecreate(m, P_SECS);
	machine_sigstruct(m);
	memset(m->sig.isvfamilyid, 0x11, 16);
	memset(m->sig.isvextprodid, 0x22, 16);
	sign(m);
	TAP_CHECK(cpu_ok(machine_einit(m)), "EINIT with KSS");
	machine_signer(&m->sig, hash);
	TAP_CHECK(memcmp(secs->mrenclave, m->sig.enclavehash, 32) == 0 &&
			  memcmp(secs->mrsigner, hash, 32) == 0 && secs->isvprodid == 3 &&
			  secs->isvsvn == 4 && secs->attributes.flags & SGX_ATTR_INIT,
		  "EINIT: the identity is in the SECS");
	TAP_CHECK(secs_of(m)->own.isvfamilyid[15] == 0x11 &&
			  secs_of(m)->own.isvextprodid[0] == 0x22,
		  "EINIT: and what KSS adds");
	machine_free(m);
}

int main(void)
{
	const struct leaf_test einit = { "EINIT", NULL, setup, run, 0, false };
	const struct leaf_test launch = {
		"EINIT of a launch enclave", NULL, setup_launch, run, 0, false
	};
	const struct leaf_test tokens = { "EINIT by token", locked, setup_token, run, 0, false };

	RUN_ROWS(einit, rows);
	RUN_ROWS(launch, launch_rows);
	RUN_ROWS(tokens, token_rows);
	test_effect();
	return tap_done();
}
