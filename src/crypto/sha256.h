/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SHA-256 as a running state that can be kept anywhere (MRENCLAVE's lives in its SECS page).
 */
#ifndef SWSGX_CRYPTO_SHA256_H
#define SWSGX_CRYPTO_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* Plain bytes, 8-byte aligned: may be copied, encrypted with its page and loaded again, shared between processes. */
struct sha256 {
	uint8_t state[128] __attribute__((aligned(8)));
};

void sha256_init(struct sha256 *hash);
void sha256_update(struct sha256 *hash, const void *data, size_t bytes);
void sha256_final(struct sha256 *hash, uint8_t ret_digest[32]);
void sha256_once(const void *data, size_t bytes, uint8_t ret_digest[32]);

#endif
