/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * AES-128-GCM of one EPC page on its way out and in.  The fastest library that works on this CPU is
 * chosen when the key is made and proved against the portable one.
 */
#ifndef SWSGX_CRYPTO_PAGE_CIPHER_H
#define SWSGX_CRYPTO_PAGE_CIPHER_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE_AAD_BYTES 128u

/* Plain bytes, 64-byte aligned, in shared memory: good in every process of a fork tree. */
struct page_key {
	uint8_t raw[16];
	uint32_t engine;
	uint8_t pad[44];
	uint8_t expanded[4096] __attribute__((aligned(64)));
};

void page_key_init(struct page_key *key, const uint8_t raw[16]);
/* The engine's name, e.g. "ipsec-mb avx512" or "openssl". */
const char *page_key_engine(const struct page_key *key);

void page_encrypt(const struct page_key *key, uint64_t version, const uint8_t aad[PAGE_AAD_BYTES],
		  const void *plain, void *ret_cipher, uint8_t ret_mac[16]);
/* False when the MAC is wrong: then @ret_plain is zeroed. The comparison takes constant time. */
bool page_decrypt(const struct page_key *key, uint64_t version, const uint8_t aad[PAGE_AAD_BYTES],
		  const void *cipher, void *ret_plain, const uint8_t mac[16]);

#endif
