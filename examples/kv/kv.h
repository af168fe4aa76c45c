/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the host and the enclave have in common: the enclave's layout, the request that crosses the
 * border, and the form of the sealed state.
 *
 * The enclave trusts nothing that the host can write.  A request is copied in once and then
 * checked; struct kv_layout is inside the enclave and is measured, so MRENCLAVE vouches for it.
 */
#ifndef KV_KV_H
#define KV_KV_H

#include <assert.h>
#include <stdint.h>

#include "sgx.h"

#define KV_THREADS_MAX 16u
#define KV_KEY_MAX     64u   /* bytes */
#define KV_VALUE_MAX   1024u /* bytes */

/*
 * ELRANGE: the image (struct kv_layout first), then a block for each thread, then the heap. A
 * thread's block: a page that isn't there, to catch a stack that overflows; the stack, which
 * grows down from the TCS; the TCS; the SSA frames.  So at entry RBX, the TCS, is the empty
 * stack too.
 */
#define KV_STACK_PAGES  8u
#define KV_SSA_FRAMES   2u
#define KV_THREAD_PAGES (1u + KV_STACK_PAGES + 1u + KV_SSA_FRAMES)

#define KV_LAYOUT_MAGIC 0x4c564b58u
#define KV_LAYOUT_EDMM  1u /* the heap is not there yet: EACCEPT it */

/* Filled by the loader before the enclave is measured. */
struct kv_layout {
	uint32_t magic;
	uint32_t flags;
	uint64_t size; /* ELRANGE, bytes */
	uint64_t heap_off;
	uint64_t heap_bytes;
};

enum kv_op {
	KV_INIT = 1,   /* once, before anything else */
	KV_PUT,        /* key, value */
	KV_GET,        /* key; value: receives it */
	KV_DELETE,     /* key */
	KV_COUNT,      /* value_bytes: receives the number of entries */
	KV_SEAL_BEGIN, /* value: receives a struct kv_seal_header; freezes the store */
	KV_SEAL_NEXT,  /* value: receives a struct kv_seal_chunk and its bytes, the last thaws */
	KV_OPEN_BEGIN, /* value: a struct kv_seal_header; the store must be empty */
	KV_OPEN_NEXT,  /* value: a struct kv_seal_chunk and its bytes */
	KV_REPORT, /* key: 64 bytes of report data; value: receives a report that was verified */
	KV_CRASH,  /* key_bytes: one of enum kv_crash */
};

enum kv_crash { KV_CRASH_READ_NOWHERE, KV_CRASH_INVALID_OPCODE, KV_CRASH_WRITE_CODE };

enum kv_status {
	KV_OK = 0,
	KV_NOT_FOUND,
	KV_BUSY, /* a lock was held for long: nothing was done, come again */
	KV_FULL,
	KV_BAD_REQUEST,
	KV_BAD_STATE, /* not now: not initialised, frozen, not empty, or spoilt by a failed open */
	KV_NOT_AUTHENTIC, /* the sealed state was not sealed by this signer here, or was changed */
	KV_NO_KEY,        /* EGETKEY refuses */
	KV_NO_RANDOM,
	KV_BAD_REPORT,
	KV_STATUS_NR,
};

/* Lies outside of the enclave; so do the buffers that it points to. */
struct kv_request {
	uint32_t op;
	uint32_t status; /* written by the enclave */
	uint64_t key;
	uint64_t value;
	uint32_t key_bytes;
	uint32_t value_bytes; /* in: the size of @value; out: the bytes written there */
};
static_assert(sizeof(struct kv_request) == 32, "crosses the border");

/*
 * Sealed state: a header, then chunks.  The key is the processor's seal key for the header's
 * keyid, which is fresh for each sealing, so one key never sees an IV twice.  Chunk i is sealed
 * by AES-128-GCM with the IV: header's iv, its last 8 bytes XOR i; and the associated data: the
 * header, then the chunk's bytes, last and index.  So chunks can't be changed, swapped, dropped
 * or cut off. What sealing can't do: tell that an *older* sealed state has been put in its
 * place.
 */
#define KV_SEAL_MAGIC       0x3144454c41455356ull
#define KV_SEAL_CHUNK_BYTES 65536u

struct kv_seal_header {
	uint64_t magic;
	uint32_t chunk_bytes; /* at most, plain */
	uint16_t isvsvn;
	uint16_t reserved1;
	uint8_t cpusvn[16];
	uint8_t keyid[32];
	uint8_t iv[12];
	uint32_t reserved2;
	uint64_t entries;
};
static_assert(sizeof(struct kv_seal_header) == 88, "is in files");

struct kv_seal_chunk {
	uint32_t bytes;
	uint32_t last;
	uint64_t index;
	uint8_t tag[16];
};
static_assert(sizeof(struct kv_seal_chunk) == 32, "is in files");

#endif
