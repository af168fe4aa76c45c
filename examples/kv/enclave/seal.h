/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Sealing the whole store for the disk, and opening it again, a chunk at a time (see ../kv.h).
 */
#ifndef KV_ENCLAVE_SEAL_H
#define KV_ENCLAVE_SEAL_H

#include "aes.h"
#include "store.h"

/* A sealing or an opening under way. One thread's at a time; nobody changes the store meanwhile. */
struct seal {
	struct kv_seal_header header;
	struct aes_key key;
	uint64_t index;
	struct store_walk walk;
	uint8_t buffer[KV_SEAL_CHUNK_BYTES];
};

/* A fresh keyid and IV for what is in @store: KV_OK, KV_NO_RANDOM or KV_NO_KEY. */
enum kv_status seal_begin(struct seal *seal, const struct store *store);
/* The next chunk; its bytes are in @seal->buffer. */
void seal_next(struct seal *seal, const struct store *store, struct kv_seal_chunk *ret_chunk);

/* KV_OK, KV_NOT_AUTHENTIC for a header that can't be one of ours, KV_NO_KEY. */
enum kv_status seal_open_begin(struct seal *seal, const struct kv_seal_header *header);
/*
 * The chunk whose bytes are in @seal->buffer.  KV_OK; KV_NOT_AUTHENTIC, or what store_put()
 * says: the store then holds a part of it and should be thrown away.
 */
enum kv_status seal_open_next(struct seal *seal, struct store *store,
			      const struct kv_seal_chunk *chunk);
/* Forget the key. */
void seal_end(struct seal *seal);

#endif
