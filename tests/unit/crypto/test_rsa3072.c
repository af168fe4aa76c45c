/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The SIGSTRUCT signature: keys and signatures are made by OpenSSL's own RSA here, q1 and q2 by the
 * formula of the manual, word for word.
 */
#include "crypto/rsa3072.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "crypto/sha256.h"
#include "lib/tap.h"

struct signature {
	uint8_t modulus[384], s[384], q1[384], q2[384], digest[32];
};

static void reverse(uint8_t *bytes, size_t nr)
{
	for (size_t i = 0; i < nr / 2; i++) {
		uint8_t swap = bytes[i];

		bytes[i] = bytes[nr - 1 - i];
		bytes[nr - 1 - i] = swap;
	}
}

static EVP_PKEY *make_key(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	BIGNUM *three = BN_new();
	EVP_PKEY *key = NULL;
	int ok;

	BN_set_word(three, 3);
	ok = EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 3072) == 1 &&
	     EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, three) == 1 &&
	     EVP_PKEY_generate(ctx, &key) == 1;
	TAP_MUST(ok, "an RSA-3072 key with exponent 3");
	BN_free(three);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

/* q1 = floor(s^2 / m), q2 = floor((s^3 - q1 * s * m) / m), as the SDM writes them. */
static void make_q(struct signature *sig, const BIGNUM *m)
{
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *s = BN_lebin2bn(sig->s, 384, NULL);
	BIGNUM *q1 = BN_new(), *q2 = BN_new(), *t = BN_new(), *u = BN_new();

	BN_sqr(t, s, ctx);
	BN_div(q1, NULL, t, m, ctx);
	BN_mul(t, t, s, ctx);
	BN_mul(u, q1, s, ctx);
	BN_mul(u, u, m, ctx);
	BN_sub(t, t, u);
	BN_div(q2, NULL, t, m, ctx);
	if (BN_bn2lebinpad(q1, sig->q1, 384) != 384 || BN_bn2lebinpad(q2, sig->q2, 384) != 384)
		abort();
	BN_free(s);
	BN_free(q1);
	BN_free(q2);
	BN_free(t);
	BN_free(u);
	BN_CTX_free(ctx);
}

static void sign(EVP_PKEY *key, struct signature *sig, const char *text, int padding)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	BIGNUM *m = NULL;
	size_t bytes = 384;

	sha256_once(text, strlen(text), sig->digest);
	if (EVP_PKEY_sign_init(ctx) != 1 || EVP_PKEY_CTX_set_rsa_padding(ctx, padding) != 1 ||
	    EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) != 1 ||
	    EVP_PKEY_sign(ctx, sig->s, &bytes, sig->digest, 32) != 1 || bytes != 384)
		abort();
	reverse(sig->s, 384);
	EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &m);
	BN_bn2lebinpad(m, sig->modulus, 384);
	make_q(sig, m);
	BN_free(m);
	EVP_PKEY_CTX_free(ctx);
}

static bool good(const struct signature *sig)
{
	return rsa3072_verify(sig->modulus, sig->s, sig->digest);
}

static bool good_q(const struct signature *sig)
{
	return rsa3072_check_q(sig->modulus, sig->s, sig->q1, sig->q2);
}

/* Every 37th bit of @field of a good signature, spoilt one by one. */
static void test_spoilt(const struct signature *sig, size_t field, size_t bytes, const char *name,
			bool (*accepts)(const struct signature *))
{
	unsigned int accepted = 0;

	for (size_t bit = 0; bit < bytes * 8; bit += 37) {
		struct signature bad = *sig;

		((uint8_t *)&bad)[field + bit / 8] ^= (uint8_t)(1u << bit % 8);
		accepted += accepts(&bad);
	}
	TAP_CHECK(accepted == 0, "no flipped bit in %s is accepted", name);
}

/* The classic forgery against a lenient parser of the padding: a perfect cube with garbage behind. */
static void test_garbage_behind(const struct signature *sig)
{
	static const uint8_t head[] = {
		0x00, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0x00, 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48,
		0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20
	};
	struct signature bad = *sig;
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *low = BN_new(), *high = BN_new(), *mid = BN_new(), *cube = BN_new(), *want;
	uint8_t block[384], got[384];

	/* The cube root of a block with the wanted head, rounded up. */
	memset(block, 0, sizeof(block));
	memcpy(block, head, sizeof(head));
	memcpy(block + sizeof(head), sig->digest, 32);
	want = BN_bin2bn(block, 384, NULL);
	BN_zero(low);
	BN_one(high);
	BN_lshift(high, high, 1030);
	while (BN_cmp(low, high) < 0) {
		BN_add(mid, low, high);
		BN_rshift1(mid, mid);
		BN_sqr(cube, mid, ctx);
		BN_mul(cube, cube, mid, ctx);
		if (BN_cmp(cube, want) < 0) {
			BN_add_word(mid, 1);
			BN_copy(low, mid);
		} else {
			BN_copy(high, mid);
		}
	}
	BN_sqr(cube, low, ctx);
	BN_mul(cube, cube, low, ctx);
	BN_bn2binpad(cube, got, 384);
	TAP_CHECK(memcmp(got, block, sizeof(head) + 32) == 0, "the forgery has the right head");
	BN_bn2lebinpad(low, bad.s, 384);
	TAP_CHECK(!good(&bad), "and is refused");
	BN_free(low);
	BN_free(high);
	BN_free(mid);
	BN_free(cube);
	BN_free(want);
	BN_CTX_free(ctx);
}

static void test_odd_numbers(const struct signature *sig)
{
	struct signature bad = *sig;

	memset(bad.modulus, 0, 384);
	TAP_CHECK(!good(&bad) && !good_q(&bad), "a modulus of zero");
	bad.modulus[0] = 1;
	TAP_CHECK(!good(&bad) && !good_q(&bad), "a modulus of one");
	bad = *sig;
	memset(bad.s, 0, 384);
	TAP_CHECK(!good(&bad) && !good_q(&bad), "a signature of zero");
	memcpy(bad.s, sig->modulus, 384);
	TAP_CHECK(!good(&bad) && !good_q(&bad), "a signature that is the modulus");
	memset(bad.s, 0xff, 384);
	TAP_CHECK(!good(&bad) && !good_q(&bad), "a signature above the modulus");
}

/*
 * s + m has the same cube modulo m, so it is a second signature unless it is refused for its size.
 * It has 3073 bits with most messages: sign until it fits.
 */
static void test_plus_modulus(EVP_PKEY *key)
{
	struct signature bad;
	char text[32];
	bool fits = false;

	for (unsigned int i = 0; i < 1000 && !fits; i++) {
		BIGNUM *s, *m;

		snprintf(text, sizeof(text), "message %u", i);
		sign(key, &bad, text, RSA_PKCS1_PADDING);
		s = BN_lebin2bn(bad.s, 384, NULL);
		m = BN_lebin2bn(bad.modulus, 384, NULL);
		BN_add(s, s, m);
		fits = BN_bn2lebinpad(s, bad.s, 384) == 384;
		BN_free(s);
		BN_free(m);
	}
	if (fits)
		TAP_CHECK(!good(&bad), "a good signature plus the modulus");
	else
		tap_skip("a good signature plus the modulus", "this key is too close to 2^3072");
}

int main(void)
{
	static struct signature one, two, pss;
	EVP_PKEY *key = make_key(), *other = make_key();

	sign(key, &one, "an enclave", RSA_PKCS1_PADDING);
	sign(other, &two, "an enclave", RSA_PKCS1_PADDING);
	sign(key, &pss, "an enclave", RSA_PKCS1_PSS_PADDING);
	TAP_CHECK(good(&one) && good_q(&one), "a good signature");
	TAP_CHECK(good(&two) && good_q(&two), "another key's");
	TAP_CHECK(!good(&pss), "PSS padding is not PKCS #1 v1.5");
	TAP_CHECK(!rsa3072_verify(two.modulus, one.s, one.digest), "the wrong key");
	TAP_CHECK(!rsa3072_check_q(one.modulus, one.s, two.q1, two.q2), "another signature's q");
	TAP_CHECK(!rsa3072_check_q(one.modulus, one.s, one.q2, one.q1), "q1 and q2 swapped");
	test_spoilt(&one, offsetof(struct signature, s), 384, "the signature", good);
	test_spoilt(&one, offsetof(struct signature, modulus), 384, "the modulus", good);
	test_spoilt(&one, offsetof(struct signature, digest), 32, "the digest", good);
	test_spoilt(&one, offsetof(struct signature, q1), 384, "q1", good_q);
	test_spoilt(&one, offsetof(struct signature, q2), 384, "q2", good_q);
	test_garbage_behind(&one);
	test_odd_numbers(&one);
	test_plus_modulus(key);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	return tap_done();
}
