/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SHA-256 as plain bytes.
 *
 * struct sha256 holds OpenSSL's SHA256_CTX itself, and nothing outside of it: the running MRENCLAVE
 * is part of the SECS page, so it is copied, encrypted, and continued by another process.  Only the
 * low-level functions have such a state (an EVP_MD_CTX is a tree of private heap blocks), and they
 * are as fast.  OpenSSL 3 calls them deprecated, hence the suppression; they allocate nothing.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "crypto/sha256.h"

#include <assert.h>
#include <openssl/sha.h>

static_assert(sizeof(SHA256_CTX) <= sizeof(struct sha256), "the state fits");
static_assert(_Alignof(SHA256_CTX) <= _Alignof(struct sha256), "and is aligned");

static SHA256_CTX *state_of(struct sha256 *hash)
{
	return (SHA256_CTX *)(void *)hash->state;
}

void sha256_init(struct sha256 *hash)
{
	*hash = (struct sha256){ 0 };
	SHA256_Init(state_of(hash));
}

void sha256_update(struct sha256 *hash, const void *data, size_t bytes)
{
	SHA256_Update(state_of(hash), data, bytes);
}

void sha256_final(struct sha256 *hash, uint8_t ret_digest[32])
{
	SHA256_Final(ret_digest, state_of(hash));
}

void sha256_once(const void *data, size_t bytes, uint8_t ret_digest[32])
{
	struct sha256 hash;

	sha256_init(&hash);
	sha256_update(&hash, data, bytes);
	sha256_final(&hash, ret_digest);
}
