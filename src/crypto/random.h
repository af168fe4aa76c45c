/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Random bytes from the kernel; aborts when it has none to give. */
#ifndef SWSGX_CRYPTO_RANDOM_H
#define SWSGX_CRYPTO_RANDOM_H

#include <stddef.h>

void random_bytes(void *to, size_t bytes);

#endif
