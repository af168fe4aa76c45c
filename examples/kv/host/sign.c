/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * MRENCLAVE and SIGSTRUCT (SDM Vol. 3D "Measurement of Enclave", "SIGSTRUCT"), with OpenSSL.
 *
 * The only file of the example that needs a library.  A product signs its enclave once, where
 * the key is; the example does it at each start, because the size of its heap is an option and
 * is measured.
 */
#include "sign.h"

#include <assert.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#define RSA_BYTES 384

/* One record of the measurement: 64 bytes. */
struct record {
	char tag[8];
	union {
		struct {
			uint32_t ssa_frame_pages;
			uint64_t size;
		} __attribute__((packed)) ecreate;
		struct {
			uint64_t off;
			uint8_t secinfo[48];
		} eadd;
		uint64_t eextend_off;
		uint8_t bytes[56];
	};
};
static_assert(sizeof(struct record) == 64, "MRENCLAVE records");

static void hash(EVP_MD_CTX *md, const void *bytes, size_t n)
{
	int ok = EVP_DigestUpdate(md, bytes, n);

	assert(ok == 1);
}

static void measure_page(EVP_MD_CTX *md, const struct image_range *range, uint64_t page)
{
	static const uint8_t zeroes[SGX_PAGE];
	const uint8_t *contents = range->contents ? range->contents + page : zeroes;
	struct record record = { .tag = "EADD" };

	record.eadd.off = range->off + page;
	memcpy(record.eadd.secinfo, &range->secinfo, sizeof(range->secinfo));
	hash(md, &record, sizeof(record));
	if (!range->measured)
		return;
	for (unsigned int i = 0; i < SGX_PAGE; i += SGX_EEXTEND) {
		struct record extend = { .tag = { 'E', 'E', 'X', 'T', 'E', 'N', 'D', 0 } };

		extend.eextend_off = range->off + page + i;
		hash(md, &extend, sizeof(extend));
		hash(md, contents + i, SGX_EEXTEND);
	}
}

void sign_measure(const struct image *image, uint8_t ret_mrenclave[32])
{
	struct record record = { .tag = { 'E', 'C', 'R', 'E', 'A', 'T', 'E', 0 } };
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	int ok;

	ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL);
	assert(ok == 1);
	record.ecreate.ssa_frame_pages = image->secs.ssa_frame_pages;
	record.ecreate.size = image->secs.size;
	hash(md, &record, sizeof(record));
	for (unsigned int i = 0; i < image->range_nr; i++) {
		const struct image_range *range = &image->ranges[i];

		for (uint64_t page = 0; range->add && page < range->bytes; page += SGX_PAGE)
			measure_page(md, range, page);
	}
	ok = EVP_DigestFinal_ex(md, ret_mrenclave, NULL);
	assert(ok == 1);
	EVP_MD_CTX_free(md);
}

static void fill_sigstruct(const struct image *image, struct sgx_sigstruct *sig)
{
	static const uint8_t header[16] = { 6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1 };
	static const uint8_t header2[16] = { 1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1 };

	memset(sig, 0, sizeof(*sig));
	memcpy(sig->header, header, sizeof(header));
	memcpy(sig->header2, header2, sizeof(header2));
	sig->date = 0x20250101; /* decimal digits */
	sig->exponent = 3;
	sig->miscselect = image->secs.miscselect;
	sig->miscmask = UINT32_MAX;
	sig->attributes = image->secs.attributes;
	sig->attributemask = (struct sgx_attributes){ UINT64_MAX, UINT64_MAX };
	sig->isvprodid = SIGN_ISVPRODID;
	sig->isvsvn = SIGN_ISVSVN;
	sign_measure(image, sig->enclavehash);
}

/* PKCS #1 v1.5 with SHA-256 over the two signed parts; big endian. */
static bool sign_parts(EVP_PKEY *key, const struct sgx_sigstruct *sig, uint8_t ret[RSA_BYTES])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	size_t bytes = RSA_BYTES;
	bool ok;

	ok = md && EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
	     EVP_DigestSignUpdate(md, sig, 128) == 1 &&
	     EVP_DigestSignUpdate(md, &sig->miscselect, 128) == 1 &&
	     EVP_DigestSignFinal(md, ret, &bytes) == 1 && bytes == RSA_BYTES;
	EVP_MD_CTX_free(md);
	return ok;
}

/*
 * q1 = s^2 / m and q2 = s * (s^2 mod m) / m, which spare EINIT the divisions: s^3 mod m is then
 * s * (s^2 - q1 * m) - q2 * m.
 */
static bool fill_numbers(struct sgx_sigstruct *sig, const BIGNUM *m,
			 const uint8_t signature[RSA_BYTES])
{
	BIGNUM *s = BN_bin2bn(signature, RSA_BYTES, NULL);
	BIGNUM *q1 = BN_new(), *q2 = BN_new(), *square = BN_new(), *rest = BN_new();
	BN_CTX *ctx = BN_CTX_new();
	bool ok;

	ok = s && q1 && q2 && square && rest && ctx && BN_sqr(square, s, ctx) &&
	     BN_div(q1, rest, square, m, ctx) && BN_mul(square, s, rest, ctx) &&
	     BN_div(q2, NULL, square, m, ctx) &&
	     BN_bn2lebinpad(m, sig->modulus, RSA_BYTES) == RSA_BYTES &&
	     BN_bn2lebinpad(s, sig->signature, RSA_BYTES) == RSA_BYTES &&
	     BN_bn2lebinpad(q1, sig->q1, RSA_BYTES) == RSA_BYTES &&
	     BN_bn2lebinpad(q2, sig->q2, RSA_BYTES) == RSA_BYTES;
	BN_CTX_free(ctx);
	BN_free(rest);
	BN_free(square);
	BN_free(q2);
	BN_free(q1);
	BN_free(s);
	return ok;
}

static EVP_PKEY *read_key(const char *path)
{
	FILE *file = fopen(path, "re");
	EVP_PKEY *key = NULL;
	BIGNUM *e = NULL;

	if (!file) {
		perror(path);
		return NULL;
	}
	key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
	fclose(file);
	if (key && EVP_PKEY_get_bits(key) == 8 * RSA_BYTES &&
	    EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_is_word(e, 3)) {
		BN_free(e);
		return key;
	}
	fprintf(stderr, "kv: %s: not an RSA key of 3072 bits with the exponent 3\n", path);
	BN_free(e);
	EVP_PKEY_free(key);
	return NULL;
}

bool sign_image(const struct image *image, const char *key_path, struct sgx_sigstruct *ret_sig)
{
	EVP_PKEY *key = read_key(key_path);
	uint8_t signature[RSA_BYTES];
	BIGNUM *modulus = NULL;
	bool ok;

	if (!key)
		return false;
	fill_sigstruct(image, ret_sig);
	ok = sign_parts(key, ret_sig, signature) &&
	     EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &modulus) == 1 &&
	     fill_numbers(ret_sig, modulus, signature);
	if (!ok)
		ERR_print_errors_fp(stderr);
	BN_free(modulus);
	EVP_PKEY_free(key);
	return ok;
}
