/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The example's own AES-GCM and CMAC against OpenSSL's: every length up to some blocks, long
 * ones, and a tag or a byte that is wrong.
 */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <string.h>

#include "enclave/aes.h"
#include "lib/tap.h"

#define LONGEST 70000u

static uint8_t key_bytes[16], iv[12], aad[200], plain[LONGEST], ours[LONGEST], theirs[LONGEST];

static void fill(uint8_t *bytes, size_t n, unsigned int seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525u + 1013904223u;
		bytes[i] = (uint8_t)(seed >> 24);
	}
}

static bool openssl_gcm(size_t aad_n, size_t n, uint8_t tag[16])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int len;
	bool ok;

	ok = EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, key_bytes, iv) == 1 &&
	     EVP_EncryptUpdate(ctx, NULL, &len, aad, (int)aad_n) == 1 &&
	     EVP_EncryptUpdate(ctx, theirs, &len, plain, (int)n) == 1 &&
	     EVP_EncryptFinal_ex(ctx, theirs + n, &len) == 1 &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, 16, tag) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

/* Sealed as OpenSSL does it, and opened again. */
static bool gcm_agrees(size_t aad_n, size_t n)
{
	struct aes_key key;
	uint8_t tag[16], their_tag[16];

	fill(key_bytes, sizeof(key_bytes), (unsigned int)(n * 3 + aad_n));
	fill(iv, sizeof(iv), (unsigned int)(n * 5 + aad_n));
	aes_key_init(&key, key_bytes);
	memcpy(ours, plain, n);
	aes_gcm_seal(&key, iv, aad, aad_n, ours, n, tag);
	return openssl_gcm(aad_n, n, their_tag) && memcmp(ours, theirs, n) == 0 &&
	       memcmp(tag, their_tag, 16) == 0 &&
	       aes_gcm_open(&key, iv, aad, aad_n, ours, n, tag) && memcmp(ours, plain, n) == 0;
}

static void test_gcm(void)
{
	static const size_t lengths[] = { 4095, 4096, 4097, 65535, 65536, 65552, LONGEST - 16 };
	unsigned int wrong = 0;

	for (size_t n = 0; n <= 80; n++)
		for (size_t aad_n = 0; aad_n <= 40; aad_n++)
			wrong += !gcm_agrees(aad_n, n);
	TAP_CHECK(wrong == 0, "GCM: each length to 80 bytes with each associated data to 40");
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		TAP_CHECK(gcm_agrees(104, lengths[i]), "GCM: %zu bytes", lengths[i]);
}

static void test_gcm_refuses(void)
{
	struct aes_key key;
	unsigned int accepted = 0;
	uint8_t tag[16], before[100];

	aes_key_init(&key, key_bytes);
	memcpy(ours, plain, 100);
	aes_gcm_seal(&key, iv, aad, 20, ours, 100, tag);
	memcpy(before, ours, sizeof(before));
	for (unsigned int bit = 0; bit < 8 * (16 + 100 + 20); bit++) {
		uint8_t *byte = bit < 128   ? &tag[bit / 8]
				: bit < 928 ? &ours[bit / 8 - 16]
					    : &aad[bit / 8 - 116];

		*byte ^= (uint8_t)(1 << bit % 8);
		accepted += aes_gcm_open(&key, iv, aad, 20, ours, 100, tag);
		*byte ^= (uint8_t)(1 << bit % 8);
	}
	TAP_CHECK(accepted == 0,
		  "GCM: no bit of the tag, the data or the associated data may flip");
	TAP_CHECK(memcmp(ours, before, sizeof(before)) == 0,
		  "GCM: what is refused stays encrypted");
	TAP_CHECK(aes_gcm_open(&key, iv, aad, 20, ours, 100, tag), "GCM: and unflipped it opens");
}

static void test_cmac(void)
{
	char cipher[] = "AES-128-CBC";
	OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher, 0),
				OSSL_PARAM_construct_end() };
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "CMAC", NULL);
	unsigned int wrong = 0;
	struct aes_key key;

	aes_key_init(&key, key_bytes);
	for (size_t n = 0; n <= 400; n++) {
		EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
		uint8_t right[16], got[16];
		size_t bytes;

		aes_cmac(&key, plain, n, got);
		wrong += EVP_MAC_init(ctx, key_bytes, 16, params) != 1 ||
			 EVP_MAC_update(ctx, plain, n) != 1 ||
			 EVP_MAC_final(ctx, right, &bytes, 16) != 1 || memcmp(got, right, 16) != 0;
		EVP_MAC_CTX_free(ctx);
	}
	EVP_MAC_free(mac);
	TAP_CHECK(wrong == 0, "CMAC: each length to 400 bytes");
}

int main(void)
{
	fill(plain, sizeof(plain), 1);
	fill(aad, sizeof(aad), 2);
	test_gcm();
	test_gcm_refuses();
	test_cmac();
	return tap_done();
}
