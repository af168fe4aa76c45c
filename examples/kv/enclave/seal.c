/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Sealed state: records (two lengths, key, value) in chunks under AES-128-GCM.
 *
 * Plain text is only ever in enclave memory: a chunk is encrypted in place and then copied out,
 * and a chunk that comes in is copied first and decrypted only after its tag was found right.
 */
#include "seal.h"
#include "keys.h"

struct record {
	uint32_t key_bytes;
	uint32_t value_bytes;
};

/* Associated data: everything about a chunk but its contents and its tag. */
struct chunk_aad {
	struct kv_seal_header header;
	uint32_t bytes;
	uint32_t last;
	uint64_t index;
};
static_assert(sizeof(struct chunk_aad) == sizeof(struct kv_seal_header) + 16, "no padding");

static void chunk_names(const struct seal *seal, const struct kv_seal_chunk *chunk,
			struct chunk_aad *ret_aad, uint8_t ret_iv[12])
{
	ret_aad->header = seal->header;
	ret_aad->bytes = chunk->bytes;
	ret_aad->last = chunk->last;
	ret_aad->index = seal->index;

	memcpy(ret_iv, seal->header.iv, 12);
	for (unsigned int i = 0; i < 8; i++)
		ret_iv[4 + i] ^= (uint8_t)(seal->index >> 8 * i);
}

static enum kv_status begin(struct seal *seal)
{
	uint8_t key[16];

	if (!keys_seal(&seal->header, key))
		return KV_NO_KEY;
	aes_key_init(&seal->key, key);
	wipe(key, sizeof(key));
	seal->index = 0;
	seal->walk = (struct store_walk){ 0 };
	return KV_OK;
}

enum kv_status seal_begin(struct seal *seal, const struct store *store)
{
	struct kv_seal_header *header = &seal->header;
	static const uint8_t no_data[64];
	struct sgx_report self;

	memset(header, 0, sizeof(*header));
	keys_report_self(no_data, &self);
	header->magic = KV_SEAL_MAGIC;
	header->chunk_bytes = KV_SEAL_CHUNK_BYTES;
	header->isvsvn = self.isvsvn;
	memcpy(header->cpusvn, self.cpusvn, sizeof(header->cpusvn));
	header->entries = store->entries;
	if (!keys_random(header->keyid, sizeof(header->keyid)) ||
	    !keys_random(header->iv, sizeof(header->iv)))
		return KV_NO_RANDOM;
	return begin(seal);
}

void seal_next(struct seal *seal, const struct store *store, struct kv_seal_chunk *ret_chunk)
{
	struct store_item item;
	struct chunk_aad aad;
	uint32_t bytes = 0;
	uint8_t iv[12];
	bool more;

	while ((more = store_walk_peek(store, &seal->walk, &item))) {
		struct record record = { item.key_bytes, item.value_bytes };
		uint8_t *to = seal->buffer + bytes;

		if (KV_SEAL_CHUNK_BYTES - bytes <
		    sizeof(record) + item.key_bytes + item.value_bytes)
			break;
		memcpy(to, &record, sizeof(record));
		memcpy(to + sizeof(record), item.key, item.key_bytes);
		memcpy(to + sizeof(record) + item.key_bytes, item.value, item.value_bytes);
		bytes += (uint32_t)sizeof(record) + item.key_bytes + item.value_bytes;
		store_walk_next(store, &seal->walk);
	}
	memset(ret_chunk, 0, sizeof(*ret_chunk));
	ret_chunk->bytes = bytes;
	ret_chunk->last = !more;
	ret_chunk->index = seal->index;
	chunk_names(seal, ret_chunk, &aad, iv);
	aes_gcm_seal(&seal->key, iv, &aad, sizeof(aad), seal->buffer, bytes, ret_chunk->tag);
	seal->index++;
}

enum kv_status seal_open_begin(struct seal *seal, const struct kv_seal_header *header)
{
	if (header->magic != KV_SEAL_MAGIC || header->chunk_bytes != KV_SEAL_CHUNK_BYTES)
		return KV_NOT_AUTHENTIC;
	seal->header = *header;
	return begin(seal);
}

/* The records are our own, but a mistake in an older enclave must not become a hole in this one. */
static enum kv_status put_records(struct store *store, const uint8_t *from, uint32_t bytes)
{
	struct record record;
	enum kv_status status;

	while (bytes) {
		if (bytes < sizeof(record))
			return KV_NOT_AUTHENTIC;
		memcpy(&record, from, sizeof(record));
		from += sizeof(record);
		bytes -= (uint32_t)sizeof(record);
		if (record.key_bytes == 0 || record.key_bytes > KV_KEY_MAX ||
		    record.value_bytes > KV_VALUE_MAX ||
		    bytes < record.key_bytes + record.value_bytes)
			return KV_NOT_AUTHENTIC;
		do {
			status = store_put(store, from, record.key_bytes, from + record.key_bytes,
					   record.value_bytes);
		} while (status == KV_BUSY);
		if (status != KV_OK)
			return status;
		from += record.key_bytes + record.value_bytes;
		bytes -= record.key_bytes + record.value_bytes;
	}
	return KV_OK;
}

enum kv_status seal_open_next(struct seal *seal, struct store *store,
			      const struct kv_seal_chunk *chunk)
{
	struct chunk_aad aad;
	enum kv_status status;
	uint8_t iv[12];

	if (chunk->bytes > KV_SEAL_CHUNK_BYTES || chunk->index != seal->index)
		return KV_NOT_AUTHENTIC;
	chunk_names(seal, chunk, &aad, iv);
	if (!aes_gcm_open(&seal->key, iv, &aad, sizeof(aad), seal->buffer, chunk->bytes,
			  chunk->tag))
		return KV_NOT_AUTHENTIC;
	status = put_records(store, seal->buffer, chunk->bytes);
	if (status == KV_OK && chunk->last && store->entries != seal->header.entries)
		status = KV_NOT_AUTHENTIC;
	seal->index++;
	return status;
}

void seal_end(struct seal *seal)
{
	wipe(seal, sizeof(*seal));
}
