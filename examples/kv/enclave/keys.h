/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the enclave asks of the processor: reports, keys, random numbers, pages.
 */
#ifndef KV_ENCLAVE_KEYS_H
#define KV_ENCLAVE_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "../kv.h"

/* A report of this enclave about itself: its identity, and the processor's security version. */
void keys_report_self(const uint8_t data[64], struct sgx_report *ret_report);
/* True when @report was made on this processor for this enclave, and not changed since. */
bool keys_report_verify(const struct sgx_report *report);
/* The seal key of this enclave's signer; false when EGETKEY refuses. */
bool keys_seal(const struct kv_seal_header *header, uint8_t ret_key[16]);

/* False when the processor has none, after many tries. */
bool keys_random(void *ret_bytes, uint32_t bytes);
/* Take the page that the kernel adds at @la as readable, writable and empty. */
bool keys_accept(uint64_t la);

#endif
