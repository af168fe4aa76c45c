/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The hash table: keys and values in the enclave's heap, used by many threads at once.
 */
#ifndef KV_ENCLAVE_STORE_H
#define KV_ENCLAVE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../kv.h"
#include "lib.h"

#define STORE_UNIT    64u /* bytes; entries are as many units long */
#define STORE_CLASSES (1u + (16u + KV_KEY_MAX + KV_VALUE_MAX + STORE_UNIT - 1) / STORE_UNIT)
#define STORE_STRIPES 1024u

/* Where an entry is: units from the heap's begin; 0, where the buckets are, is none. */
typedef uint32_t store_ref;

struct store {
	uint8_t *heap;
	store_ref *buckets;
	uint32_t bucket_nr; /* a power of two */
	struct spinlock
		stripes[STORE_STRIPES]; /* stripe i: the buckets that are i modulo STORE_STRIPES */
	struct spinlock alloc_lock;
	store_ref free[STORE_CLASSES]; /* under alloc_lock, and: */
	uint32_t unit_next;
	uint32_t unit_nr;
	uint64_t entries; /* atomic */
};

/* False when the heap is too small. What the heap holds before doesn't matter. */
bool store_init(struct store *store, void *heap, uint64_t bytes);

/* KV_OK, KV_BUSY or KV_FULL. @value may be memory of the host: it is read once. */
enum kv_status store_put(struct store *store, const void *key, uint32_t key_bytes,
			 const void *value, uint32_t value_bytes);
/* KV_OK, KV_BUSY or KV_NOT_FOUND. @ret_value has room for KV_VALUE_MAX bytes. */
enum kv_status store_get(struct store *store, const void *key, uint32_t key_bytes, void *ret_value,
			 uint32_t *ret_bytes);
enum kv_status store_delete(struct store *store, const void *key, uint32_t key_bytes);

/* A walk over everything, while nobody changes anything. Begins as { 0 }. */
struct store_walk {
	uint32_t bucket;
	store_ref at;
};
struct store_item {
	const void *key, *value;
	uint32_t key_bytes, value_bytes;
};
/* The item that the walk is at, without going on; false at the end. */
bool store_walk_peek(const struct store *store, struct store_walk *walk,
		     struct store_item *ret_item);
void store_walk_next(const struct store *store, struct store_walk *walk);

#endif
