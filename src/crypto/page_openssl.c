/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Pages by OpenSSL: runs on every CPU, and is what the faster engine is proved against.
 *
 * Setting up AES-GCM for a key costs a fifth of a page, so a context of the pool keeps the key that
 * it had last and gets a new IV only; the claim of its slot says which key that is.
 *
 * One exception to "nothing is allocated": a wrong MAC makes OpenSSL note an error, and the first
 * error of a thread is a small allocation.
 */
#include <string.h>

#include "page_engine_priv.h"
#include "pool_priv.h"

/* @encrypt: 1 or 0. The context leaves here keyed, with @iv set and the AAD read. */
static void begin(struct pool_slot *slot, const struct page_key *key, const uint8_t *iv,
		  const uint8_t *aad, int encrypt)
{
	struct pool_claim *claim = slot->claim;
	bool same = claim->gcm_keyed && memcmp(claim->gcm_key, key->raw, sizeof(key->raw)) == 0;
	int bytes;

	crypto_must(EVP_CipherInit_ex2(slot->gcm, NULL, same ? NULL : key->raw, iv, encrypt,
				       NULL) == 1);
	memcpy(claim->gcm_key, key->raw, sizeof(key->raw));
	claim->gcm_keyed = true;
	crypto_must(EVP_CipherUpdate(slot->gcm, NULL, &bytes, aad, PAGE_AAD_BYTES) == 1);
}

static void openssl_encrypt(const struct page_key *key, const uint8_t iv[PAGE_IV_BYTES],
			    const uint8_t *aad, const void *plain, void *ret_cipher,
			    uint8_t ret_mac[16])
{
	struct pool_slot *slot = pool_claim();
	uint8_t none[16];
	int bytes;

	begin(slot, key, iv, aad, 1);
	crypto_must(EVP_CipherUpdate(slot->gcm, ret_cipher, &bytes, plain, PAGE_BYTES) == 1);
	crypto_must(EVP_CipherFinal_ex(slot->gcm, none, &bytes) == 1);
	crypto_must(EVP_CIPHER_CTX_ctrl(slot->gcm, EVP_CTRL_AEAD_GET_TAG, 16, ret_mac) == 1);
	pool_release(slot);
}

static bool openssl_decrypt(const struct page_key *key, const uint8_t iv[PAGE_IV_BYTES],
			    const uint8_t *aad, const void *cipher, void *ret_plain,
			    const uint8_t mac[16])
{
	struct pool_slot *slot = pool_claim();
	uint8_t want[16], none[16];
	int bytes;
	bool ok;

	begin(slot, key, iv, aad, 0);
	memcpy(want, mac, sizeof(want)); /* the call below takes no const */
	crypto_must(EVP_CIPHER_CTX_ctrl(slot->gcm, EVP_CTRL_AEAD_SET_TAG, 16, want) == 1);
	crypto_must(EVP_CipherUpdate(slot->gcm, ret_plain, &bytes, cipher, PAGE_BYTES) == 1);
	/* Here OpenSSL compares, in constant time. */
	ok = EVP_CipherFinal_ex(slot->gcm, none, &bytes) == 1;
	pool_release(slot);
	return ok;
}

static const char *openssl_prepare(void)
{
	pool_prepare();
	return "openssl";
}

static void openssl_expand(struct page_key *key)
{
	/* Contexts take the raw key: an expanded one of theirs is no plain bytes. */
	(void)key;
}

const struct page_engine page_engine_openssl = {
	.prepare = openssl_prepare,
	.expand = openssl_expand,
	.encrypt = openssl_encrypt,
	.decrypt = openssl_decrypt,
};
