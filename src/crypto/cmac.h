/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* AES-128-CMAC: reports and key derivation. */
#ifndef SWSGX_CRYPTO_CMAC_H
#define SWSGX_CRYPTO_CMAC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void cmac_aes128(const uint8_t key[16], const void *data, size_t bytes, uint8_t ret_mac[16]);
/* Constant-time comparison of any two byte strings of one length. */
bool crypto_equal(const void *a, const void *b, size_t bytes);

#endif
