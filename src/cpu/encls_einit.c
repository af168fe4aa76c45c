/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * EINIT: verify who signed the enclave and that it is the one that was built, then open it.
 *
 * SIGSTRUCT and EINITTOKEN are read once.  The order of the checks is the SDM's; the signature comes
 * before the SECS is locked ("event window"), because it takes long.
 */
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "cpu/keys.h"
#include "cpu/secs.h"
#include "crypto/cmac.h"
#include "crypto/rsa3072.h"

static const uint8_t sig_header[16] = { 0x06, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0 };
static const uint8_t sig_header2[16] = { 0x01, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0 };

#define SIG_EXPONENT     3u
#define SIG_VENDOR_INTEL 0x8086u

/* Attributes that only an enclave of the launch key's owner may have. */
#define CONTROLLED_ATTRIBUTES SGX_ATTR_EINITTOKENKEY

#define TOKEN_MAC_BYTES 192u

struct einit {
	struct sgx_sigstruct sig;
	struct sgx_einittoken token;
	uint64_t lepubkeyhash[4];
	uint8_t mrenclave[32];
	uint8_t mrsigner[32];
};

static bool sig_well_formed(const struct sgx_sigstruct *sig)
{
	return memcmp(sig->header, sig_header, sizeof(sig_header)) == 0 &&
	       (sig->vendor == 0 || sig->vendor == SIG_VENDOR_INTEL) &&
	       memcmp(sig->header2, sig_header2, sizeof(sig_header2)) == 0 &&
	       sig->exponent == SIG_EXPONENT &&
	       cpu_is_zero(sig->reserved1, sizeof(sig->reserved1)) &&
	       cpu_is_zero(sig->reserved2, sizeof(sig->reserved2)) &&
	       cpu_is_zero(sig->reserved3, sizeof(sig->reserved3)) &&
	       cpu_is_zero(sig->reserved4, sizeof(sig->reserved4));
}

/* Signed are the first 128 bytes and the 128 from MISCSELECT to ISVSVN. */
static bool sig_verifies(const struct sgx_sigstruct *sig)
{
	const size_t head = offsetof(struct sgx_sigstruct, modulus);
	const size_t body = offsetof(struct sgx_sigstruct, reserved4) -
			    offsetof(struct sgx_sigstruct, miscselect);
	struct sha256 hash;
	uint8_t digest[32];

	sha256_init(&hash);
	sha256_update(&hash, sig, head);
	sha256_update(&hash, &sig->miscselect, body);
	sha256_final(&hash, digest);
	return rsa3072_check_q(sig->modulus, sig->signature, sig->q1, sig->q2) &&
	       rsa3072_verify(sig->modulus, sig->signature, digest);
}

static bool is_launch_signer(const struct einit *in)
{
	return memcmp(in->mrsigner, in->lepubkeyhash, sizeof(in->mrsigner)) == 0;
}

static bool attributes_match(const struct sgx_secs *secs, const struct sgx_sigstruct *sig)
{
	const struct sgx_attributes *have = &secs->attributes, *want = &sig->attributes;
	const struct sgx_attributes *mask = &sig->attributemask;

	return (have->flags & mask->flags) == (want->flags & mask->flags) &&
	       (have->xfrm & mask->xfrm) == (want->xfrm & mask->xfrm);
}

static bool token_reserved_zero(const struct sgx_einittoken *token)
{
	return token->valid == 1 && cpu_is_zero(token->reserved1, sizeof(token->reserved1)) &&
	       cpu_is_zero(token->reserved2, sizeof(token->reserved2)) &&
	       cpu_is_zero(token->reserved3, sizeof(token->reserved3)) &&
	       cpu_is_zero(token->reserved4, sizeof(token->reserved4));
}

static struct cpu_outcome check_token(const struct cpu *cpu, const struct sgx_secs *secs,
				      const struct einit *in)
{
	const struct sgx_einittoken *token = &in->token;
	struct key_deps deps;
	uint8_t key[16], mac[16];
	bool mac_ok;

	if (token->maskedattributesle.flags & SGX_ATTR_DEBUG &&
	    !(secs->attributes.flags & SGX_ATTR_DEBUG))
		return cpu_fail(SGX_INVALID_EINITTOKEN);
	if (!token_reserved_zero(token))
		return cpu_fail(SGX_INVALID_EINITTOKEN);
	if (!key_cpusvn_reached(cpu, token->cpusvnle))
		return cpu_fail(SGX_INVALID_CPUSVN);
	key_deps_einittoken(cpu, token, in->lepubkeyhash, &deps);
	key_derive(cpu, &deps, key);
	cmac_aes128(key, token, TOKEN_MAC_BYTES, mac);
	mac_ok = crypto_equal(mac, token->mac, sizeof(mac));
	explicit_bzero(key, sizeof(key));
	explicit_bzero(mac, sizeof(mac));
	if (!mac_ok)
		return cpu_fail(SGX_INVALID_EINITTOKEN);
	if (memcmp(token->mrenclave, in->mrenclave, sizeof(in->mrenclave)) ||
	    memcmp(token->mrsigner, in->mrsigner, sizeof(in->mrsigner)))
		return cpu_fail(SGX_INVALID_MEASUREMENT);
	if (token->attributes.flags != secs->attributes.flags ||
	    token->attributes.xfrm != secs->attributes.xfrm)
		return cpu_fail(SGX_INVALID_ATTRIBUTE);
	return cpu_done();
}

/* With MEASURE held on an uninitialised SECS. Fills in the two identities. */
static struct cpu_outcome check_identity(const struct cpu *cpu, const struct secs_page *page,
					 struct einit *in)
{
	const struct sgx_sigstruct *sig = &in->sig;
	const struct sgx_secs *secs = &page->arch;
	struct sha256 hash = page->own.measurement;

	sha256_final(&hash, in->mrenclave);
	if (memcmp(sig->enclavehash, in->mrenclave, sizeof(in->mrenclave)))
		return cpu_fail(SGX_INVALID_MEASUREMENT);
	sha256_once(sig->modulus, sizeof(sig->modulus), in->mrsigner);
	if (secs->attributes.flags & CONTROLLED_ATTRIBUTES && !is_launch_signer(in))
		return cpu_fail(SGX_INVALID_ATTRIBUTE);
	if (!attributes_match(secs, sig))
		return cpu_fail(SGX_INVALID_ATTRIBUTE);
	if ((secs->miscselect & sig->miscmask) != (sig->miscselect & sig->miscmask))
		return cpu_fail(SGX_INVALID_ATTRIBUTE);
	if ((secs->cet_attributes & sig->cet_attributes_mask) !=
	    (sig->cet_attributes & sig->cet_attributes_mask))
		return cpu_fail(SGX_INVALID_ATTRIBUTE);
	if (!(in->token.valid & 1))
		return is_launch_signer(in) ? cpu_done() : cpu_fail(SGX_INVALID_EINITTOKEN);
	return check_token(cpu, secs, in);
}

static void einit_commit(struct secs_page *secs, const struct einit *in)
{
	memcpy(secs->arch.mrenclave, in->mrenclave, sizeof(in->mrenclave));
	memcpy(secs->arch.mrsigner, in->mrsigner, sizeof(in->mrsigner));
	memcpy(secs->own.isvextprodid, in->sig.isvextprodid, sizeof(secs->own.isvextprodid));
	memcpy(secs->own.isvfamilyid, in->sig.isvfamilyid, sizeof(secs->own.isvfamilyid));
	secs->arch.isvprodid = in->sig.isvprodid;
	secs->arch.isvsvn = in->sig.isvsvn;
	secs->arch.attributes.flags |= SGX_ATTR_INIT;
	/* Pairs with secs_is_initialized(): who sees it sees all of the above. */
	atomic_store_explicit(&secs->own.initialized, 1, memory_order_release);
}

/* The SECS entry is held shared. */
static struct cpu_outcome einit_held(struct cpu *cpu, uint32_t secs, struct einit *in)
{
	struct epcm_entry *e = &cpu->epcm[secs];
	uint64_t attr = epcm_attr(e);
	struct secs_page *page;
	struct cpu_outcome out;

	if (!(attr & EPCM_VALID) || epcm_pt(attr) != SGX_PT_SECS)
		return cpu_pf_page(cpu, secs);
	page = secs_page(cpu, secs);
	if (!cpu_is_zero(in->sig.isvfamilyid, sizeof(in->sig.isvfamilyid)) &&
	    !(page->arch.attributes.flags & SGX_ATTR_KSS))
		return cpu_fail(SGX_INVALID_SIG_STRUCT);
	if (!epcm_try_extra(e, EPCM_LOCK_MEASURE))
		return cpu_gp();
	out = secs_is_initialized(page) ? cpu_gp() : check_identity(cpu, page, in);
	if (cpu_passed(out))
		einit_commit(page, in);
	epcm_put_extra(e, EPCM_LOCK_MEASURE);
	return out;
}

struct cpu_outcome encls_einit(struct cpu *cpu, const struct sgx_sigstruct *sig, uint32_t secs,
			       const struct sgx_einittoken *token, const uint64_t lepubkeyhash[4])
{
	struct einit in;
	struct cpu_outcome out;

	if (!cpu_is_aligned(sig, SGX_PAGE_SIZE) || !cpu_is_aligned(token, 512))
		return cpu_gp();
	if (!cpu_is_epc(cpu, secs))
		return cpu_pf_page(cpu, secs);
	in.sig = *sig;
	in.token = *token;
	/* A locked launch key: the MSRs cannot have been written. */
	if (!lepubkeyhash || cpu->config.lepubkeyhash_locked)
		lepubkeyhash = cpu->config.lepubkeyhash;
	memcpy(in.lepubkeyhash, lepubkeyhash, sizeof(in.lepubkeyhash));
	if (!sig_well_formed(&in.sig))
		return cpu_fail(SGX_INVALID_SIG_STRUCT);
	if (!sig_verifies(&in.sig))
		return cpu_fail(SGX_INVALID_SIGNATURE);
	if (!epcm_try_shared(&cpu->epcm[secs]))
		return cpu_gp();
	out = einit_held(cpu, secs, &in);
	epcm_put_shared(&cpu->epcm[secs]);
	return out;
}

void cpu_signer_hash(const struct sgx_sigstruct *sig, uint64_t ret_lepubkeyhash[4])
{
	uint8_t digest[32];

	sha256_once(sig->modulus, sizeof(sig->modulus), digest);
	memcpy(ret_lepubkeyhash, digest, sizeof(digest));
}
