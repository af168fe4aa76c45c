/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The signature check of EINIT, in plain arithmetic: s^3 mod m must be *equal* to the one PKCS #1
 * v1.5 block that belongs to the digest.  The block is built and compared as a whole, never parsed,
 * so that there is no padding to be lenient about (with exponent 3 leniency lets anybody forge).
 *
 * Big numbers only: no RSA object, no key import.  Everything here is public data, so none of it has
 * to take constant time.  Allocates; EINIT is called from ordinary code.  The numbers may be any
 * bytes at all (they come from the client): a modulus of zero or a signature that is not below it is
 * a refusal.
 */
#include "crypto/rsa3072.h"

#include <string.h>

#include <openssl/bn.h>

#include "pool_priv.h"

#define RSA_BYTES 384

/* DigestInfo of SHA-256, RFC 8017 9.2: the digest follows. */
static const uint8_t digest_info[] = { 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
				       0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20 };

/* The numbers of one check. */
struct rsa {
	BN_CTX *ctx;
	BIGNUM *m, *s;
	BIGNUM *quotient, *product, *rest; /* of the last step */
};

static BIGNUM *number(BN_CTX *ctx)
{
	BIGNUM *n = BN_CTX_get(ctx);

	crypto_must(n != NULL);
	return n;
}

/* False when they cannot be a public key and a signature. Call rsa_fini() in any case. */
static bool rsa_init(struct rsa *rsa, const uint8_t modulus[384], const uint8_t signature[384])
{
	pool_prepare(); /* for what it tells libcrypto not to do */
	rsa->ctx = BN_CTX_new();
	crypto_must(rsa->ctx != NULL);
	BN_CTX_start(rsa->ctx);
	rsa->m = number(rsa->ctx);
	rsa->s = number(rsa->ctx);
	rsa->quotient = number(rsa->ctx);
	rsa->product = number(rsa->ctx);
	rsa->rest = number(rsa->ctx);
	crypto_must(BN_lebin2bn(modulus, RSA_BYTES, rsa->m) != NULL);
	crypto_must(BN_lebin2bn(signature, RSA_BYTES, rsa->s) != NULL);
	return BN_cmp(rsa->s, rsa->m) < 0;
}

static void rsa_fini(struct rsa *rsa)
{
	BN_CTX_end(rsa->ctx);
	BN_CTX_free(rsa->ctx);
}

/* quotient, rest = a * b divided by m. @a may be the rest of the step before. */
static void multiply_and_divide(struct rsa *rsa, const BIGNUM *a, const BIGNUM *b)
{
	crypto_must(BN_mul(rsa->product, a, b, rsa->ctx) == 1);
	crypto_must(BN_div(rsa->quotient, rsa->rest, rsa->product, rsa->m, rsa->ctx) == 1);
}

static bool equals(const BIGNUM *n, const uint8_t little_endian[384])
{
	uint8_t bytes[RSA_BYTES];

	/* Refuses numbers that are too long. */
	return BN_bn2lebinpad(n, bytes, RSA_BYTES) == RSA_BYTES &&
	       memcmp(bytes, little_endian, RSA_BYTES) == 0;
}

/* 00 01 ff .. ff 00 DigestInfo digest */
static void encode_block(const uint8_t digest[32], uint8_t ret_block[RSA_BYTES])
{
	const size_t tail = sizeof(digest_info) + 32;

	memset(ret_block, 0xff, RSA_BYTES);
	ret_block[0] = 0x00;
	ret_block[1] = 0x01;
	ret_block[RSA_BYTES - tail - 1] = 0x00;
	memcpy(ret_block + RSA_BYTES - tail, digest_info, sizeof(digest_info));
	memcpy(ret_block + RSA_BYTES - 32, digest, 32);
}

bool rsa3072_verify(const uint8_t modulus[384], const uint8_t signature[384],
		    const uint8_t digest[32])
{
	uint8_t want[RSA_BYTES], got[RSA_BYTES];
	struct rsa rsa;
	bool ok = rsa_init(&rsa, modulus, signature);

	if (ok) {
		multiply_and_divide(&rsa, rsa.s, rsa.s);
		multiply_and_divide(&rsa, rsa.rest, rsa.s);
		crypto_must(BN_bn2binpad(rsa.rest, got, RSA_BYTES) == RSA_BYTES);
		encode_block(digest, want);
		ok = memcmp(got, want, RSA_BYTES) == 0;
	}
	rsa_fini(&rsa);
	return ok;
}

/* s^3 - q1 * s * m = s * (s^2 - q1 * m), so q2 is what s times the first rest holds of m. */
bool rsa3072_check_q(const uint8_t modulus[384], const uint8_t signature[384],
		     const uint8_t q1[384], const uint8_t q2[384])
{
	struct rsa rsa;
	bool ok = rsa_init(&rsa, modulus, signature);

	if (ok) {
		multiply_and_divide(&rsa, rsa.s, rsa.s);
		ok = equals(rsa.quotient, q1);
	}
	if (ok) {
		multiply_and_divide(&rsa, rsa.rest, rsa.s);
		ok = equals(rsa.quotient, q2);
	}
	rsa_fini(&rsa);
	return ok;
}
