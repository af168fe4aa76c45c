/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What an enclave's author has: a measurement made without any SGX, and a signature.
 *
 * Uses OpenSSL and nothing of ours but the layouts, so that a test compares two independent ways.
 */
#ifndef SWSGX_TESTS_SIGSTRUCT_H
#define SWSGX_TESTS_SIGSTRUCT_H

#include <stddef.h>
#include <stdint.h>

#include "arch/sgx.h"

struct measure;
struct signer;

/* As ECREATE, EADD and EEXTEND take part in MRENCLAVE. */
struct measure *measure_create(uint32_t ssa_frame_size, uint64_t size);
void measure_add(struct measure *m, uint64_t offset, uint64_t secinfo_flags);
void measure_extend(struct measure *m, uint64_t offset, const void *page);
/* Ends @m. */
void measure_final(struct measure *m, uint8_t ret_mrenclave[32]);

/* A new RSA-3072 key with exponent 3. */
struct signer *signer_create(void);
void signer_destroy(struct signer *signer);

/* Everything but the signature: any attribute is checked that @attributes has. */
void sigstruct_init(struct sgx_sigstruct *sig, const uint8_t mrenclave[32],
		    struct sgx_attributes attributes);
/* Modulus, signature, q1, q2: last of all. */
void sigstruct_sign(struct sgx_sigstruct *sig, const struct signer *signer);

#endif
