/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * AES-128-GCM and AES-128-CMAC, for this example only.
 *
 * A real enclave takes these from its SDK's library.  They are here so that the example needs
 * nothing; the test compares them with OpenSSL.  AES-NI and PCLMULQDQ are on every CPU with SGX,
 * and no table is looked up, so time doesn't depend on secrets.
 */
#ifndef KV_ENCLAVE_AES_H
#define KV_ENCLAVE_AES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aes_key {
	uint8_t round[11][16];
} __attribute__((aligned(16)));

void aes_key_init(struct aes_key *key, const uint8_t bytes[16]);

/* Encrypts @data in place. Associated data first, as (@aad, @aad_bytes). */
void aes_gcm_seal(const struct aes_key *key, const uint8_t iv[12], const void *aad,
		  size_t aad_bytes, void *data, size_t bytes, uint8_t ret_tag[16]);
/* Decrypts @data in place; false, and @data as it was, when the tag is wrong. */
bool aes_gcm_open(const struct aes_key *key, const uint8_t iv[12], const void *aad,
		  size_t aad_bytes, void *data, size_t bytes, const uint8_t tag[16]);

void aes_cmac(const struct aes_key *key, const void *data, size_t bytes, uint8_t ret_mac[16]);

#endif
