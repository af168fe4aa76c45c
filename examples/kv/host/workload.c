/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The operations, the values and the model.
 *
 * Four fifths of the operations go to a fifth of the keys, as a cache would see it; the others
 * go anywhere.  Of ten operations six read, three write and one deletes.
 */
#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES     16u
#define VALUE_MIN     128u
#define ENTRY_BYTES   640u /* what an average entry takes in the heap */
#define FAILURES_TOLD 5u

struct op {
	enum { OP_GET, OP_PUT, OP_DELETE } kind;
	uint32_t key;
};

/* A bijection of 64 bits that leaves no pattern (the finaliser of splitmix64). */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static uint64_t digest(const uint8_t *bytes, uint32_t n, uint64_t h)
{
	uint64_t word;

	for (; n >= 8; n -= 8, bytes += 8) {
		memcpy(&word, bytes, 8);
		h = mix(h ^ word);
	}
	word = n;
	memcpy(&word, bytes, n);
	return mix(h ^ word ^ (uint64_t)n << 56);
}

static struct op op_at(const struct workload *work, uint64_t i)
{
	static const uint8_t kinds[10] = { OP_GET, OP_GET, OP_GET, OP_GET, OP_GET,
					   OP_GET, OP_PUT, OP_PUT, OP_PUT, OP_DELETE };
	uint64_t r = mix(work->seed ^ mix(i));
	uint32_t keys = work->keys;

	if (r % 5 != 0 && keys >= 5)
		keys /= 5;
	return (struct op){ .kind = kinds[(r >> 8) % 10], .key = (uint32_t)((r >> 24) % keys) };
}

static void key_name(uint32_t key, char ret_name[KEY_BYTES + 1])
{
	snprintf(ret_name, KEY_BYTES + 1, "entry/%010u", key);
}

static uint32_t make_value(const struct workload *work, uint32_t key, uint32_t version,
			   uint8_t ret_value[KV_VALUE_MAX])
{
	uint64_t r = mix(work->seed ^ ((uint64_t)key << 32 | version));
	uint32_t bytes = VALUE_MIN + (uint32_t)(r % (KV_VALUE_MAX - VALUE_MIN + 1));

	for (uint32_t i = 0; i < KV_VALUE_MAX; i += 8) {
		r = mix(r);
		memcpy(ret_value + i, &r, 8);
	}
	return bytes;
}

uint32_t workload_keys(uint64_t heap_bytes)
{
	return (uint32_t)(heap_bytes * 7 / 10 / ENTRY_BYTES);
}

bool workload_init(struct workload *work, uint64_t seed, uint32_t keys, uint64_t ops)
{
	*work = (struct workload){ .seed = seed, .keys = keys, .ops = ops };
	work->versions = calloc(keys, sizeof(*work->versions));
	return work->versions != NULL;
}

void workload_fini(struct workload *work)
{
	free(work->versions);
	work->versions = NULL;
}

static void failed(struct workload *work, const char *op, uint32_t key, enum kv_status status)
{
	if (__atomic_add_fetch(&work->failures, 1, __ATOMIC_RELAXED) <= FAILURES_TOLD)
		fprintf(stderr, "kv: %s of entry %u: %s\n", op, key,
			status == KV_OK ? "wrong value" : client_strerror((int)status));
}

static void do_put(struct workload *work, struct client *client, uint32_t key)
{
	uint8_t value[KV_VALUE_MAX];
	char name[KEY_BYTES + 1];
	enum kv_status status;
	uint32_t bytes;

	work->versions[key] = (work->versions[key] & ~WORKLOAD_ABSENT) + 1;
	if (!client)
		return;
	key_name(key, name);
	bytes = make_value(work, key, work->versions[key], value);
	status = client_put(client, name, KEY_BYTES, value, bytes);
	if (status != KV_OK)
		failed(work, "put", key, status);
}

/* What the enclave answers, as a number. */
static uint64_t do_get(struct workload *work, struct client *client, uint32_t key)
{
	uint8_t value[KV_VALUE_MAX], right[KV_VALUE_MAX];
	bool absent = work->versions[key] & WORKLOAD_ABSENT;
	enum kv_status status;
	uint32_t bytes = 0;
	char name[KEY_BYTES + 1];

	key_name(key, name);
	status = client_get(client, name, KEY_BYTES, value, &bytes);
	if (status == KV_NOT_FOUND && absent)
		return mix(key);
	if (status != KV_OK || absent ||
	    bytes != make_value(work, key, work->versions[key], right) ||
	    memcmp(value, right, bytes) != 0) {
		failed(work, "get", key, status);
		return 0;
	}
	return digest(value, bytes, key);
}

static uint64_t do_delete(struct workload *work, struct client *client, uint32_t key)
{
	bool absent = work->versions[key] & WORKLOAD_ABSENT;
	enum kv_status status;
	char name[KEY_BYTES + 1];

	work->versions[key] |= WORKLOAD_ABSENT;
	if (!client)
		return 0;
	key_name(key, name);
	status = client_delete(client, name, KEY_BYTES);
	if (status != (absent ? KV_NOT_FOUND : KV_OK))
		failed(work, "delete", key, status);
	return mix(key ^ (uint64_t)status << 32);
}

static uint64_t do_op(struct workload *work, struct client *client, struct op op)
{
	switch (op.kind) {
	case OP_GET:
		return client ? do_get(work, client, op.key) : 0;
	case OP_PUT:
		do_put(work, client, op.key);
		return 0;
	case OP_DELETE:
		return do_delete(work, client, op.key);
	}
	return 0;
}

static void count_done(struct workload *work)
{
	__atomic_fetch_add(&work->done, 1, __ATOMIC_RELAXED);
}

void workload_fill(struct workload *work, struct client *client, unsigned int thread,
		   unsigned int threads)
{
	for (uint32_t key = thread; key < work->keys; key += threads) {
		do_put(work, client, key);
		count_done(work);
	}
}

void workload_run(struct workload *work, struct client *client, unsigned int thread,
		  unsigned int threads)
{
	uint64_t answer = 0;

	for (uint64_t i = 0; i < work->ops; i++) {
		struct op op = op_at(work, i);

		if (op.key % threads != thread)
			continue;
		answer += mix(i ^ do_op(work, client, op));
		count_done(work);
	}
	__atomic_fetch_add(&work->answer, answer, __ATOMIC_RELAXED);
}

void workload_verify(struct workload *work, struct client *client, unsigned int thread,
		     unsigned int threads, uint64_t *ret_state)
{
	*ret_state = 0;
	for (uint32_t key = thread; key < work->keys; key += threads) {
		*ret_state += mix(do_get(work, client, key));
		count_done(work);
	}
}

uint32_t workload_entries(const struct workload *work)
{
	uint32_t entries = 0;

	for (uint32_t key = 0; key < work->keys; key++)
		entries += !(work->versions[key] & WORKLOAD_ABSENT) && work->versions[key] != 0;
	return entries;
}
