/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Measuring and signing as an enclave's author does it (SDM Vol. 3D, "Enclave Measurement" and "SIGSTRUCT").
 * A test tool: whatever goes wrong in it is an abort.
 */
#include "lib/sigstruct.h"

#include <assert.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

struct measure {
	EVP_MD_CTX *hash;
};

struct signer {
	EVP_PKEY *key;
};

/* One 64-byte record: a tag of eight letters, then up to 56 bytes. */
static void measure_record(struct measure *m, const char tag[8], const void *rest, size_t bytes)
{
	uint8_t record[64] = { 0 };

	assert(bytes <= sizeof(record) - 8);
	memcpy(record, tag, 8);
	memcpy(record + 8, rest, bytes);
	assert(EVP_DigestUpdate(m->hash, record, sizeof(record)) == 1);
}

struct measure *measure_create(uint32_t ssa_frame_size, uint64_t size)
{
	struct measure *m = malloc(sizeof(*m));
	uint8_t rest[12];

	assert(m);
	m->hash = EVP_MD_CTX_new();
	assert(m->hash && EVP_DigestInit_ex(m->hash, EVP_sha256(), NULL) == 1);
	memcpy(rest, &ssa_frame_size, 4);
	memcpy(rest + 4, &size, 8);
	measure_record(m, "ECREATE", rest, sizeof(rest));
	return m;
}

void measure_add(struct measure *m, uint64_t offset, uint64_t secinfo_flags)
{
	uint64_t rest[2] = { offset, secinfo_flags };

	measure_record(m, "EADD\0\0\0", rest, sizeof(rest));
}

void measure_extend(struct measure *m, uint64_t offset, const void *page)
{
	for (uint64_t off = 0; off < SGX_PAGE_SIZE; off += SGX_EXTEND_BYTES) {
		uint64_t at = offset + off;

		measure_record(m, "EEXTEND", &at, sizeof(at));
		assert(EVP_DigestUpdate(m->hash, (const uint8_t *)page + off, SGX_EXTEND_BYTES) ==
		       1);
	}
}

void measure_final(struct measure *m, uint8_t ret_mrenclave[32])
{
	assert(EVP_DigestFinal_ex(m->hash, ret_mrenclave, NULL) == 1);
	EVP_MD_CTX_free(m->hash);
	free(m);
}

struct signer *signer_create(void)
{
	struct signer *signer = calloc(1, sizeof(*signer));
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);
	BIGNUM *three = BN_new();

	assert(signer && ctx && three && BN_set_word(three, 3) == 1);
	assert(EVP_PKEY_keygen_init(ctx) == 1);
	assert(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 3072) == 1);
	assert(EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, three) == 1);
	assert(EVP_PKEY_keygen(ctx, &signer->key) == 1);
	EVP_PKEY_CTX_free(ctx);
	BN_free(three);
	return signer;
}

void signer_destroy(struct signer *signer)
{
	EVP_PKEY_free(signer->key);
	free(signer);
}

void sigstruct_init(struct sgx_sigstruct *sig, const uint8_t mrenclave[32],
		    struct sgx_attributes attributes)
{
	static const uint8_t header[16] = { 6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1 };
	static const uint8_t header2[16] = { 1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1 };

	memset(sig, 0, sizeof(*sig));
	memcpy(sig->header, header, sizeof(header));
	memcpy(sig->header2, header2, sizeof(header2));
	sig->date = 0x20240101;
	sig->exponent = 3;
	sig->attributes = attributes;
	sig->attributemask.flags = ~(uint64_t)SGX_ATTR_DEBUG;
	sig->attributemask.xfrm = ~0ull;
	memcpy(sig->enclavehash, mrenclave, 32);
}

static void sign_message(const struct signer *signer, const struct sgx_sigstruct *sig,
			 uint8_t ret_big_endian[384])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t bytes = 384;
	uint8_t message[256];

	memcpy(message, sig, 128);
	memcpy(message + 128, (const uint8_t *)sig + offsetof(struct sgx_sigstruct, miscselect),
	       128);
	assert(ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, signer->key) == 1);
	assert(EVP_DigestSign(ctx, ret_big_endian, &bytes, message, sizeof(message)) == 1);
	assert(bytes == 384);
	EVP_MD_CTX_free(ctx);
}

void sigstruct_sign(struct sgx_sigstruct *sig, const struct signer *signer)
{
	BIGNUM *n = NULL, *s, *q1 = BN_new(), *q2 = BN_new(), *t = BN_new(), *rem = BN_new();
	BN_CTX *ctx = BN_CTX_new();
	uint8_t signature[384];

	sign_message(signer, sig, signature);
	assert(EVP_PKEY_get_bn_param(signer->key, "n", &n) == 1);
	s = BN_bin2bn(signature, sizeof(signature), NULL);
	assert(s && q1 && q2 && t && rem && ctx);
	/* q1 = s^2 / n; q2 = (s^3 - q1 s n) / n = s (s^2 mod n) / n. */
	assert(BN_sqr(t, s, ctx) && BN_div(q1, rem, t, n, ctx));
	assert(BN_mul(t, s, rem, ctx) && BN_div(q2, NULL, t, n, ctx));
	assert(BN_bn2lebinpad(n, sig->modulus, 384) == 384);
	assert(BN_bn2lebinpad(s, sig->signature, 384) == 384);
	assert(BN_bn2lebinpad(q1, sig->q1, 384) == 384);
	assert(BN_bn2lebinpad(q2, sig->q2, 384) == 384);
	BN_free(n);
	BN_free(s);
	BN_free(q1);
	BN_free(q2);
	BN_free(t);
	BN_free(rem);
	BN_CTX_free(ctx);
}
