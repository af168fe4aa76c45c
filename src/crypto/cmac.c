/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * AES-128-CMAC by OpenSSL, on a context of the pool: EREPORT and EGETKEY run in signal handlers and
 * so may not allocate.  The context is keyed for every call; nothing of one caller's key matters to
 * the next.
 */
#include "crypto/cmac.h"

#include <openssl/crypto.h>

#include "pool_priv.h"

void cmac_aes128(const uint8_t key[16], const void *data, size_t bytes, uint8_t ret_mac[16])
{
	struct pool_slot *slot = pool_claim();
	size_t mac_bytes;

	crypto_must(EVP_MAC_init(slot->cmac, key, 16, NULL) == 1);
	crypto_must(EVP_MAC_update(slot->cmac, data, bytes) == 1);
	crypto_must(EVP_MAC_final(slot->cmac, ret_mac, &mac_bytes, 16) == 1);
	crypto_must(mac_bytes == 16);
	pool_release(slot);
}

bool crypto_equal(const void *a, const void *b, size_t bytes)
{
	return CRYPTO_memcmp(a, b, bytes) == 0;
}
