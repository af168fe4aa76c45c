/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * MRENCLAVE in software, as ECREATE, EADD and EEXTEND extend it, and SIGSTRUCT with an RSA-3072
 * signature of exponent 3.  Written from the SDM against OpenSSL alone, so that a mistake of the
 * processor model cannot be repeated here unseen.
 */
#include "client.h"

#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <string.h>

static void record(EVP_MD_CTX *sha, const char *tag, uint64_t first, const void *rest,
		   size_t rest_bytes)
{
	uint8_t block[64] = { 0 };

	memcpy(block, tag, strlen(tag));
	memcpy(block + 8, &first, 8);
	if (rest_bytes)
		memcpy(block + 16, rest, rest_bytes);
	EVP_DigestUpdate(sha, block, sizeof(block));
}

static void record_page(EVP_MD_CTX *sha, uint64_t offset, uint64_t flags, const uint8_t *bytes)
{
	struct sgx_secinfo info = { .flags = flags };

	record(sha, "EADD", offset, &info, 48);
	for (unsigned int i = 0; bytes && i < 4096; i += 256) {
		record(sha, "EEXTEND", offset + i, NULL, 0);
		EVP_DigestUpdate(sha, bytes + i, 256);
	}
}

void client_measure(const struct client_encl *e, uint8_t mrenclave[32])
{
	EVP_MD_CTX *sha = EVP_MD_CTX_new();
	uint8_t create[64] = "ECREATE";

	EVP_DigestInit_ex(sha, EVP_sha256(), NULL);
	memcpy(create + 8, &e->ssa_frame_pages, 4);
	memcpy(create + 12, &e->size, 8);
	EVP_DigestUpdate(sha, create, sizeof(create));
	for (unsigned int i = 0; i < e->segment_nr; i++) {
		const struct client_segment *s = &e->segment[i];

		for (uint64_t p = 0; p < s->pages; p++)
			record_page(sha, s->offset + p * 4096, s->flags,
				    s->measure ? s->bytes + p * 4096 : NULL);
	}
	EVP_DigestFinal_ex(sha, mrenclave, NULL);
	EVP_MD_CTX_free(sha);
}

/* q1 = s^2 / m, q2 = s (s^2 - q1 m) / m: what EINIT needs to check s^3 mod m without dividing. */
static bool fill_q(struct sgx_sigstruct *sig, const BIGNUM *s, const BIGNUM *m)
{
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *t = BN_new(), *q1 = BN_new(), *q2 = BN_new(), *rem = BN_new();
	bool ok = BN_sqr(t, s, ctx) && BN_div(q1, rem, t, m, ctx) && BN_mul(t, s, rem, ctx) &&
		  BN_div(q2, NULL, t, m, ctx) && BN_bn2lebinpad(q1, sig->q1, 384) == 384 &&
		  BN_bn2lebinpad(q2, sig->q2, 384) == 384;

	BN_free(t);
	BN_free(q1);
	BN_free(q2);
	BN_free(rem);
	BN_CTX_free(ctx);
	return ok;
}

static bool sign_with(struct sgx_sigstruct *sig, EVP_PKEY *key, const BIGNUM *m)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t text[256], be[384];
	size_t be_bytes = sizeof(be);
	BIGNUM *s;
	bool ok;

	memcpy(text, sig, 128);
	memcpy(text + 128, &sig->miscselect, 128);
	ok = EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
	     EVP_DigestSign(ctx, be, &be_bytes, text, sizeof(text)) == 1 && be_bytes == 384;
	EVP_MD_CTX_free(ctx);
	if (!ok)
		return false;
	s = BN_bin2bn(be, sizeof(be), NULL);
	ok = BN_bn2lebinpad(s, sig->signature, 384) == 384 && fill_q(sig, s, m);
	BN_free(s);
	return ok;
}

bool client_sigstruct_sign(struct sgx_sigstruct *sig, const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIGNUM *m = NULL;
	bool ok;

	ok = key && EVP_PKEY_get_bn_param(key, "n", &m) &&
	     BN_bn2lebinpad(m, sig->modulus, 384) == 384;
	sig->exponent = 3;
	ok = ok && sign_with(sig, key, m);
	BN_free(m);
	EVP_PKEY_free(key);
	BIO_free(bio);
	return ok;
}

void client_mrsigner(const struct sgx_sigstruct *sig, uint8_t mrsigner[32])
{
	SHA256(sig->modulus, sizeof(sig->modulus), mrsigner);
}
