/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The signer: what EINIT compares the enclave with.
 */
#ifndef KV_HOST_SIGN_H
#define KV_HOST_SIGN_H

#include <stdbool.h>
#include <stdint.h>

#include "image.h"

#define SIGN_ISVPRODID 0x6b76
#define SIGN_ISVSVN    1

/* MRENCLAVE of the enclave that @image describes. */
void sign_measure(const struct image *image, uint8_t ret_mrenclave[32]);
/* False, and the reason printed, when @key_path isn't an RSA-3072 key with the exponent 3. */
bool sign_image(const struct image *image, const char *key_path, struct sgx_sigstruct *ret_sig);

#endif
