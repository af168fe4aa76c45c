/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Ready-made OpenSSL contexts, claimed for the length of one operation. */
#ifndef SWSGX_CRYPTO_POOL_PRIV_H
#define SWSGX_CRYPTO_POOL_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include <openssl/evp.h>

/* The part of a slot that a forked child must find zeroed. */
struct pool_claim {
	atomic_uint busy;
	bool gcm_keyed;
	uint8_t gcm_key[16]; /* the key that gcm holds, when gcm_keyed */
} __attribute__((aligned(64)));

struct pool_slot {
	EVP_CIPHER_CTX *gcm; /* AES-128-GCM with a 12-byte IV, either direction */
	EVP_MAC_CTX *cmac;   /* AES-128-CMAC, to be keyed anew for every use */
	struct pool_claim *claim;
};

/* Make libcrypto and the pool ready in this process. Cheap when they are; may allocate at first. */
void pool_prepare(void);
/* Never fails, never allocates once pool_prepare() has run. */
struct pool_slot *pool_claim(void);
void pool_release(struct pool_slot *slot);

/* libcrypto refused something that cannot fail: there is no honest way to go on. */
static inline void crypto_must(bool ok)
{
	if (!ok)
		abort();
}

#endif
