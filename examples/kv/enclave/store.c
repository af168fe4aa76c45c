/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The hash table in the heap.
 *
 * The heap begins with the buckets, then come the entries, taken one after the other; a deleted
 * entry waits on the free list of its size.  An entry is written before it is linked and read
 * only under the lock of its bucket, so a reader never sees half a value.
 *
 * The host can stop a thread that holds a lock (or an evicted page can), so waiting for a lock is
 * bounded: the answer is KV_BUSY, nothing has changed, and the host asks again.  Freeing can't fail
 * and waits.
 *
 * Not here: who may call when (main.c), and that keys and values have a legal size.
 */
#include "store.h"

#define SPINS 2000u

struct entry {
	store_ref next;
	uint32_t hash;
	uint16_t key_bytes;
	uint16_t value_bytes;
	uint32_t units;
	uint8_t bytes[]; /* the key, then the value */
};

static struct entry *entry_at(const struct store *store, store_ref ref)
{
	return (struct entry *)(void *)(store->heap + (uint64_t)ref * STORE_UNIT);
}

/* FNV-1a, then mixed, since the low bits choose the bucket. */
static uint32_t hash_of(const void *key, uint32_t bytes)
{
	const uint8_t *p = key;
	uint64_t h = 0xcbf29ce484222325ull;

	while (bytes--)
		h = (h ^ *p++) * 0x100000001b3ull;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	return (uint32_t)(h >> 32);
}

static struct spinlock *stripe_of(struct store *store, uint32_t hash)
{
	return &store->stripes[hash & (store->bucket_nr - 1) & (STORE_STRIPES - 1)];
}

bool store_init(struct store *store, void *heap, uint64_t bytes)
{
	uint64_t units = bytes / STORE_UNIT, buckets = 16;

	if (bytes < 65536)
		return false;
	if (units > UINT32_MAX)
		units = UINT32_MAX;
	while (buckets * 1024 <= bytes && buckets < 1u << 30)
		buckets *= 2;

	store->heap = heap;
	store->buckets = heap;
	store->bucket_nr = (uint32_t)buckets;
	memset(store->buckets, 0, buckets * sizeof(store_ref));
	memset(store->stripes, 0, sizeof(store->stripes));
	store->alloc_lock.held = 0;
	memset(store->free, 0, sizeof(store->free));
	store->unit_next = (uint32_t)(buckets * sizeof(store_ref) / STORE_UNIT);
	store->unit_nr = (uint32_t)units;
	store->entries = 0;
	return true;
}

static enum kv_status entry_alloc(struct store *store, uint32_t units, store_ref *ret_ref)
{
	enum kv_status status = KV_OK;

	if (!spin_try(&store->alloc_lock, SPINS))
		return KV_BUSY;
	if (store->free[units]) {
		*ret_ref = store->free[units];
		store->free[units] = entry_at(store, *ret_ref)->next;
	} else if (store->unit_nr - store->unit_next >= units) {
		*ret_ref = store->unit_next;
		store->unit_next += units;
	} else {
		status = KV_FULL;
	}
	spin_unlock(&store->alloc_lock);
	return status;
}

static void entry_free(struct store *store, store_ref ref)
{
	struct entry *entry = entry_at(store, ref);
	uint32_t units = entry->units;

	spin_lock(&store->alloc_lock);
	entry->next = store->free[units];
	store->free[units] = ref;
	spin_unlock(&store->alloc_lock);
}

/* The link to the entry with that key, or the end of its chain. Under the stripe's lock. */
static store_ref *find(struct store *store, uint32_t hash, const void *key, uint32_t key_bytes)
{
	store_ref *link = &store->buckets[hash & (store->bucket_nr - 1)];

	while (*link) {
		struct entry *entry = entry_at(store, *link);

		if (entry->hash == hash && entry->key_bytes == key_bytes &&
		    !memcmp(entry->bytes, key, key_bytes))
			break;
		link = &entry->next;
	}
	return link;
}

enum kv_status store_put(struct store *store, const void *key, uint32_t key_bytes,
			 const void *value, uint32_t value_bytes)
{
	uint32_t hash = hash_of(key, key_bytes);
	uint32_t bytes = (uint32_t)sizeof(struct entry) + key_bytes + value_bytes;
	uint32_t units = (bytes + STORE_UNIT - 1) / STORE_UNIT;
	store_ref ref, old, *link;
	struct entry *entry;
	enum kv_status status;

	status = entry_alloc(store, units, &ref);
	if (status != KV_OK)
		return status;
	entry = entry_at(store, ref);
	entry->hash = hash;
	entry->key_bytes = (uint16_t)key_bytes;
	entry->value_bytes = (uint16_t)value_bytes;
	entry->units = units;
	memcpy(entry->bytes, key, key_bytes);
	memcpy(entry->bytes + key_bytes, value, value_bytes);

	if (!spin_try(stripe_of(store, hash), SPINS)) {
		entry_free(store, ref);
		return KV_BUSY;
	}
	link = find(store, hash, key, key_bytes);
	old = *link;
	entry->next = old ? entry_at(store, old)->next : 0;
	*link = ref;
	spin_unlock(stripe_of(store, hash));

	if (old)
		entry_free(store, old);
	else
		__atomic_fetch_add(&store->entries, 1, __ATOMIC_RELAXED);
	return KV_OK;
}

enum kv_status store_get(struct store *store, const void *key, uint32_t key_bytes, void *ret_value,
			 uint32_t *ret_bytes)
{
	uint32_t hash = hash_of(key, key_bytes);
	enum kv_status status = KV_NOT_FOUND;
	store_ref ref;

	if (!spin_try(stripe_of(store, hash), SPINS))
		return KV_BUSY;
	ref = *find(store, hash, key, key_bytes);
	if (ref) {
		struct entry *entry = entry_at(store, ref);

		memcpy(ret_value, entry->bytes + key_bytes, entry->value_bytes);
		*ret_bytes = entry->value_bytes;
		status = KV_OK;
	}
	spin_unlock(stripe_of(store, hash));
	return status;
}

enum kv_status store_delete(struct store *store, const void *key, uint32_t key_bytes)
{
	uint32_t hash = hash_of(key, key_bytes);
	store_ref ref, *link;

	if (!spin_try(stripe_of(store, hash), SPINS))
		return KV_BUSY;
	link = find(store, hash, key, key_bytes);
	ref = *link;
	if (ref)
		*link = entry_at(store, ref)->next;
	spin_unlock(stripe_of(store, hash));

	if (!ref)
		return KV_NOT_FOUND;
	entry_free(store, ref);
	__atomic_fetch_sub(&store->entries, 1, __ATOMIC_RELAXED);
	return KV_OK;
}

bool store_walk_peek(const struct store *store, struct store_walk *walk,
		     struct store_item *ret_item)
{
	struct entry *entry;

	while (!walk->at) {
		if (walk->bucket == store->bucket_nr)
			return false;
		walk->at = store->buckets[walk->bucket++];
	}
	entry = entry_at(store, walk->at);
	ret_item->key = entry->bytes;
	ret_item->key_bytes = entry->key_bytes;
	ret_item->value = entry->bytes + entry->key_bytes;
	ret_item->value_bytes = entry->value_bytes;
	return true;
}

void store_walk_next(const struct store *store, struct store_walk *walk)
{
	walk->at = entry_at(store, walk->at)->next;
}
