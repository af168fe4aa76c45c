/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* RSA-3072 with exponent 3, PKCS #1 v1.5 over SHA-256: the signature of a SIGSTRUCT. */
#ifndef SWSGX_CRYPTO_RSA3072_H
#define SWSGX_CRYPTO_RSA3072_H

#include <stdbool.h>
#include <stdint.h>

/* Numbers little endian, as SIGSTRUCT has them. */
bool rsa3072_verify(const uint8_t modulus[384], const uint8_t signature[384],
		    const uint8_t digest[32]);
/* True when q1 = floor(s^2 / m) and q2 = floor((s^3 - q1 * s * m) / m), as EINIT demands. */
bool rsa3072_check_q(const uint8_t modulus[384], const uint8_t signature[384],
		     const uint8_t q1[384], const uint8_t q2[384]);

#endif
