/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* What one library does for page_cipher.c. */
#ifndef SWSGX_CRYPTO_PAGE_ENGINE_PRIV_H
#define SWSGX_CRYPTO_PAGE_ENGINE_PRIV_H

#include "crypto/page_cipher.h"

#define PAGE_BYTES    4096u
#define PAGE_IV_BYTES 12u

struct page_engine {
	/* Make the library ready; NULL when it cannot run here, else the name to show. May allocate. */
	const char *(*prepare)(void);
	/* Fill key->expanded from key->raw, if the engine needs that. */
	void (*expand)(struct page_key *key);
	void (*encrypt)(const struct page_key *key, const uint8_t iv[PAGE_IV_BYTES],
			const uint8_t *aad, const void *plain, void *ret_cipher,
			uint8_t ret_mac[16]);
	/* False when the MAC is wrong; what @ret_plain holds then is for the caller to wipe. */
	bool (*decrypt)(const struct page_key *key, const uint8_t iv[PAGE_IV_BYTES],
			const uint8_t *aad, const void *cipher, void *ret_plain,
			const uint8_t mac[16]);
};

extern const struct page_engine page_engine_openssl;
#ifdef SWSGX_IPSEC_MB
extern const struct page_engine page_engine_ipsec_mb;
#endif

/* The choice of page_key_init() left out: for tests and benches. False: not on this machine. */
bool page_key_init_engine(struct page_key *key, const uint8_t raw[16], unsigned int engine);
#define PAGE_ENGINE_OPENSSL  0u
#define PAGE_ENGINE_IPSEC_MB 1u

#endif
