/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
#include "leaf/machine.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/arena.h"
#include "cpu/cpu_priv.h"
#include "leaf/test_key.h"

/* The test makes no sense when @what does not hold. */
static _Noreturn void bail(const char *what)
{
	printf("Bail out! this failed: %s\n", what);
	exit(1);
}

void machine_config(struct cpu_config *config)
{
	memset(config, 0, sizeof(*config));
	config->page_nr = EPC_NR;
	config->caps = SGX_CPUID_SGX1 | SGX_CPUID_SGX2 | SGX_CPUID_EDECCSSA;
	config->misc_mask = SGX_MISC_EXINFO;
	config->attr_mask = SGX_ATTR_DEBUG | SGX_ATTR_MODE64BIT | SGX_ATTR_PROVISIONKEY |
			    SGX_ATTR_EINITTOKENKEY | SGX_ATTR_KSS | SGX_ATTR_AEXNOTIFY;
	config->xfrm_mask = 7;
	config->size_64_log2 = 36;
	config->size_32_log2 = 31;
	config->xsave_offset[2] = 576;
	config->xsave_size[2] = 256;
	for (unsigned int i = 0; i < 16; i++) {
		config->fuses.root_key[i] = (uint8_t)(0x10 + i);
		config->fuses.seal_fuses[i] = (uint8_t)(0x20 + i);
		config->fuses.owner_epoch[i] = (uint8_t)(0x30 + i);
		config->fuses.cpusvn[i] = (uint8_t)(i < 4 ? 5 : 0);
	}
	memset(config->fuses.report_keyid, 0x77, sizeof(config->fuses.report_keyid));
	config->section[0].base = 0x70000000;
	config->section[0].size = (uint64_t)EPC_NR * SGX_PAGE_SIZE;
	config->section_nr = 1;
}

static uint32_t walk(void *ctx, uint64_t la, unsigned int access, uint16_t *ret_pf_error)
{
	struct machine *m = ctx;

	m->walks++;
	for (unsigned int i = 0; i < m->map_nr; i++) {
		const struct mapping *map = &m->map[i];

		if (map->la != (la & ~(uint64_t)(SGX_PAGE_SIZE - 1)) || !map->prot)
			continue;
		if ((map->prot & access) == access)
			return map->page;
		*ret_pf_error = SGX_PFEC_P;
		return CPU_NO_PAGE;
	}
	*ret_pf_error = 0;
	return CPU_NO_PAGE;
}

struct machine *machine_new(const struct cpu_config *config)
{
	struct cpu_config own;
	struct machine *m = aligned_alloc(4096, (sizeof(*m) + 4095) & ~4095ul);

	if (!m)
		bail("memory for a machine");
	memset(m, 0, sizeof(*m));
	if (!config) {
		machine_config(&own);
		config = &own;
	}
	m->cpu = cpu_create(config);
	m->epc = shared_map((size_t)EPC_NR * SGX_PAGE_SIZE);
	m->measure = EVP_MD_CTX_new();
	if (!m->cpu || !m->epc || !m->measure)
		bail("a machine is made");
	for (uint32_t i = 0; i < EPC_NR; i++)
		cpu_set_bytes(m->cpu, i, m->epc[i]);
	m->mmu = (struct cpu_mmu){ .walk = walk, .ctx = m };
	return m;
}

void machine_free(struct machine *m)
{
	EVP_MD_CTX_free(m->measure);
	munmap(m->epc, (size_t)EPC_NR * SGX_PAGE_SIZE);
	cpu_destroy(m->cpu);
	free(m);
}

void machine_map(struct machine *m, uint64_t la, uint32_t page, unsigned int prot)
{
	unsigned int i = 0;

	while (i < m->map_nr && m->map[i].la != la)
		i++;
	if (i == m->map_nr)
		m->map_nr++;
	m->map[i] = (struct mapping){ .la = la, .page = page, .prot = prot };
}

/* ---- building ------------------------------------------------------------------------------ */

static void measure(struct machine *m, const void *data, size_t bytes)
{
	if (EVP_DigestUpdate(m->measure, data, bytes) != 1)
		bail("OpenSSL hashes");
}

void machine_secs(struct machine *m)
{
	memset(&m->secs, 0, sizeof(m->secs));
	m->secs.size = ENCL_SIZE;
	m->secs.baseaddr = ENCL_BASE;
	m->secs.ssa_frame_size = 1;
	m->secs.attributes.flags = SGX_ATTR_MODE64BIT | SGX_ATTR_DEBUG;
	m->secs.attributes.xfrm = 7;
}

struct cpu_outcome machine_ecreate(struct machine *m, uint32_t page)
{
	uint8_t record[64] = "ECREATE";
	struct cpu_pageinfo pi = { .srcpge = &m->secs,
				   .secinfo = &m->secinfo,
				   .secs = CPU_NO_PAGE };

	memset(&m->secinfo, 0, sizeof(m->secinfo));
	memcpy(record + 8, &m->secs.ssa_frame_size, 4);
	memcpy(record + 12, &m->secs.size, 8);
	if (EVP_DigestInit_ex(m->measure, EVP_sha256(), NULL) != 1)
		bail("OpenSSL hashes");
	measure(m, record, sizeof(record));
	return encls_ecreate(m->cpu, &pi, page);
}

struct cpu_outcome machine_eadd(struct machine *m, uint32_t page, uint64_t la, uint64_t flags,
				bool extend)
{
	uint8_t record[64] = "EADD";
	uint64_t offset = la - m->secs.baseaddr;
	bool tcs = (flags & SGX_SECINFO_TYPE_MASK) == SGX_SECINFO_TYPE(SGX_PT_TCS);
	struct cpu_pageinfo pi = {
		.linaddr = la, .srcpge = m->page, .secinfo = &m->secinfo, .secs = P_SECS
	};
	struct cpu_outcome out;

	memset(&m->secinfo, 0, sizeof(m->secinfo));
	m->secinfo.flags = flags;
	out = encls_eadd(m->cpu, &pi, page);
	if (!cpu_ok(out))
		return out;
	memcpy(record + 8, &offset, 8);
	memcpy(record + 16, &flags, 8);
	measure(m, record, sizeof(record));
	machine_map(m, la, page, tcs ? SGX_SECINFO_R | SGX_SECINFO_W : flags & SGX_SECINFO_RWX);
	for (uint32_t at = 0; extend && at < SGX_PAGE_SIZE; at += SGX_EXTEND_BYTES) {
		uint64_t where = offset + at;

		memset(record, 0, sizeof(record));
		memcpy(record, "EEXTEND", 7);
		memcpy(record + 8, &where, 8);
		measure(m, record, sizeof(record));
		measure(m, m->page + at, SGX_EXTEND_BYTES);
		out = encls_eextend(m->cpu, P_SECS, page, at);
		if (!cpu_ok(out))
			return out;
	}
	return out;
}

void machine_tcs(struct machine *m, unsigned int i)
{
	struct sgx_tcs tcs = {
		.ossa = OFF(i ? P_SSA1 : P_SSA0),
		.nssa = 2,
		.oentry = OENTRY,
		.ofsbasgx = OFF(P_DATA),
		.ogsbasgx = OFF(P_DATA2),
		.fslimit = 0xfff,
		.gslimit = 0xfff,
	};

	if (m->secs.attributes.flags & SGX_ATTR_AEXNOTIFY)
		tcs.flags = SGX_TCS_AEXNOTIFY;
	memcpy(m->page, &tcs, sizeof(tcs));
}

/* ---- signing ------------------------------------------------------------------------------- */

static EVP_PKEY *test_key(void)
{
	BIO *bio = BIO_new_mem_buf(test_key_pem, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

	BIO_free(bio);
	if (!key)
		bail("the test key is read");
	return key;
}

static void to_little(const BIGNUM *n, uint8_t to[384])
{
	if (BN_bn2lebinpad(n, to, 384) != 384)
		bail("the number has 384 bytes");
}

/* q1 = floor(s^2 / m), q2 = floor(s * (s^2 mod m) / m). */
static void sign_quotients(struct sgx_sigstruct *sig)
{
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *s = BN_lebin2bn(sig->signature, 384, NULL);
	BIGNUM *m = BN_lebin2bn(sig->modulus, 384, NULL);
	BIGNUM *sq = BN_new(), *q = BN_new(), *r = BN_new();

	BN_sqr(sq, s, ctx);
	BN_div(q, r, sq, m, ctx);
	to_little(q, sig->q1);
	BN_mul(sq, s, r, ctx);
	BN_div(q, r, sq, m, ctx);
	to_little(q, sig->q2);
	BN_free(s);
	BN_free(m);
	BN_free(sq);
	BN_free(q);
	BN_free(r);
	BN_CTX_free(ctx);
}

static void sign(struct sgx_sigstruct *sig)
{
	EVP_PKEY *key = test_key();
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	BIGNUM *n = NULL, *s;
	uint8_t message[256], big[384];
	size_t bytes = sizeof(big);

	if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) != 1)
		bail("the key has a modulus");
	to_little(n, sig->modulus);
	memcpy(message, sig, 128);
	memcpy(message + 128, (const uint8_t *)sig + 900, 128);
	if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1 ||
	    EVP_DigestSign(ctx, big, &bytes, message, sizeof(message)) != 1)
		bail("OpenSSL signs");
	s = BN_bin2bn(big, sizeof(big), NULL);
	to_little(s, sig->signature);
	sign_quotients(sig);
	BN_free(s);
	BN_free(n);
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
}

/* The same enclave is built over and over: what was signed last is not signed again. */
void machine_sign(struct sgx_sigstruct *sig)
{
	static _Thread_local struct sgx_sigstruct last;

	if (!last.exponent || memcmp(&last, sig, 128) ||
	    memcmp(&last.miscselect, &sig->miscselect, 128)) {
		last = *sig;
		sign(&last);
		last.exponent = 3;
	}
	memcpy(sig->modulus, last.modulus, sizeof(sig->modulus));
	memcpy(sig->signature, last.signature, sizeof(sig->signature));
	memcpy(sig->q1, last.q1, sizeof(sig->q1));
	memcpy(sig->q2, last.q2, sizeof(sig->q2));
}

void machine_sigstruct(struct machine *m)
{
	static const uint8_t header[16] = { 6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1 };
	static const uint8_t header2[16] = { 1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1 };
	EVP_MD_CTX *copy = EVP_MD_CTX_new();

	memset(&m->sig, 0, sizeof(m->sig));
	memset(&m->token, 0, sizeof(m->token));
	memcpy(m->sig.header, header, sizeof(header));
	memcpy(m->sig.header2, header2, sizeof(header2));
	m->sig.date = 0x20240229;
	m->sig.exponent = 3;
	m->sig.attributes = m->secs.attributes;
	m->sig.attributemask.flags = ~(uint64_t)SGX_ATTR_DEBUG;
	m->sig.attributemask.xfrm = ~7ull;
	m->sig.attributes.xfrm &= m->sig.attributemask.xfrm;
	m->sig.miscselect = m->secs.miscselect;
	m->sig.miscmask = ~0u;
	m->sig.isvprodid = 3;
	m->sig.isvsvn = 4;
	EVP_MD_CTX_copy_ex(copy, m->measure);
	EVP_DigestFinal_ex(copy, m->sig.enclavehash, NULL);
	EVP_MD_CTX_free(copy);
	machine_sign(&m->sig);
}

void machine_signer(const struct sgx_sigstruct *sig, uint64_t ret_hash[4])
{
	SHA256(sig->modulus, sizeof(sig->modulus), (uint8_t *)ret_hash);
}

struct cpu_outcome machine_einit(struct machine *m)
{
	uint64_t hash[4];

	machine_signer(&m->sig, hash);
	return encls_einit(m->cpu, &m->sig, P_SECS, &m->token, hash);
}

void machine_build(struct machine *m)
{
	const uint64_t reg = SGX_SECINFO_TYPE(SGX_PT_REG), tcs = SGX_SECINFO_TYPE(SGX_PT_TCS);
	const uint64_t rw = reg | SGX_SECINFO_R | SGX_SECINFO_W;
	const uint64_t rx = reg | SGX_SECINFO_R | SGX_SECINFO_X;
	bool ok = true;

	if (!m->secs.size)
		machine_secs(m);
	ok &= cpu_ok(machine_ecreate(m, P_SECS));
	for (uint32_t page = P_TCS0; page <= P_DATA2; page++) {
		bool is_tcs = page <= P_TCS1;

		memset(m->page, is_tcs ? 0 : (int)page, sizeof(m->page));
		if (is_tcs)
			machine_tcs(m, page - P_TCS0);
		ok &= cpu_ok(machine_eadd(m, page, LA(page),
					  is_tcs           ? tcs
					  : page == P_CODE ? rx
							   : rw,
					  page != P_DATA2));
	}
	machine_sigstruct(m);
	ok &= cpu_ok(machine_einit(m));
	ok &= cpu_ok(encls_epa(m->cpu, P_VA));
	if (!ok)
		bail("the enclave is built");
}

/* ---- running ------------------------------------------------------------------------------- */

void machine_host_regs(struct machine *m, unsigned int i)
{
	memset(&m->regs, 0, sizeof(m->regs));
	m->regs.rax = SGX_EENTER;
	m->regs.rbx = LA(P_TCS0 + i);
	m->regs.rcx = AEP;
	m->regs.rsp = HOST_RSP;
	m->regs.rbp = HOST_RBP;
	m->regs.rdi = 0xd1;
	m->regs.rflags = 0x202;
	m->regs.rip = 0x400500;
	m->regs.fs_base = HOST_FS;
	m->regs.gs_base = HOST_GS;
}

struct cpu_outcome machine_enter(struct machine *m, unsigned int i)
{
	machine_host_regs(m, i);
	return cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, m->xsave, XSAVE_SIZE);
}

struct cpu_outcome machine_exit(struct machine *m)
{
	m->regs.rax = SGX_EEXIT;
	m->regs.rbx = 0x400503;
	return cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, m->xsave, XSAVE_SIZE);
}

struct cpu_outcome machine_aex(struct machine *m, uint8_t vector, uint32_t error, uint64_t cr2)
{
	struct cpu_event event = { .vector = vector, .error = error, .cr2 = cr2 };

	return cpu_aex(m->cpu, &m->lp, &m->mmu, &m->regs, m->xsave, XSAVE_SIZE, &event);
}

struct cpu_outcome machine_resume(struct machine *m, unsigned int i)
{
	machine_host_regs(m, i);
	m->regs.rax = SGX_ERESUME;
	return cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, m->xsave, XSAVE_SIZE);
}

struct cpu_outcome machine_block_track(struct machine *m, uint32_t page)
{
	struct cpu_outcome out = encls_eblock(m->cpu, page);

	return cpu_ok(out) ? encls_etrack(m->cpu, P_SECS) : out;
}

struct cpu_outcome machine_ewb(struct machine *m, uint32_t page, uint32_t slot)
{
	struct cpu_pageinfo pi = { .pcmd = &m->pcmd, .secs = CPU_NO_PAGE };
	uint64_t la;

	return encls_ewb(m->cpu, &pi, page, P_VA, slot, m->cipher, &la);
}

struct cpu_outcome machine_eldu(struct machine *m, uint32_t page, uint64_t la, uint32_t slot)
{
	struct cpu_pageinfo pi = {
		.linaddr = la, .srcpge = m->cipher, .pcmd = &m->pcmd, .secs = P_SECS
	};

	return encls_eldu(m->cpu, &pi, page, P_VA, slot);
}

/* ---- nothing changed ----------------------------------------------------------------------- */

static void raw_epcm(const struct machine *m, struct epcm_entry to[EPC_NR])
{
	memcpy(to, m->cpu->epcm, EPC_NR * sizeof(*to));
}

void snapshot_take(const struct machine *m, struct snapshot *s)
{
	raw_epcm(m, s->epcm);
	memcpy(s->epc, m->epc, sizeof(s->epc));
	s->lp = m->lp;
	s->regs = m->regs;
	memcpy(s->xsave, m->xsave, sizeof(s->xsave));
	memcpy(s->cipher, m->cipher, sizeof(s->cipher));
	s->pcmd = m->pcmd;
	static_assert(sizeof(*m->cpu) <= sizeof(s->cpu), "room for an instance");
	memcpy(s->cpu, m->cpu, sizeof(*m->cpu));
}

bool snapshot_same(const struct machine *m, const struct snapshot *s)
{
	struct epcm_entry epcm[EPC_NR];
	bool same = true;

	raw_epcm(m, epcm);
	same &= memcmp(epcm, s->epcm, sizeof(epcm)) == 0;
	for (uint32_t i = 0; i < EPC_NR; i++)
		if (cpu_epcm_read(m->cpu, i).valid)
			same &= memcmp(m->epc[i], s->epc[i], SGX_PAGE_SIZE) == 0;
	same &= memcmp(&m->lp, &s->lp, sizeof(m->lp)) == 0;
	same &= memcmp(&m->regs, &s->regs, sizeof(m->regs)) == 0;
	same &= memcmp(m->xsave, s->xsave, sizeof(m->xsave)) == 0;
	same &= memcmp(m->cipher, s->cipher, sizeof(m->cipher)) == 0;
	same &= memcmp(&m->pcmd, &s->pcmd, sizeof(m->pcmd)) == 0;
	same &= memcmp(m->cpu, s->cpu, sizeof(*m->cpu)) == 0;
	return same;
}
