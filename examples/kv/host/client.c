/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Requests to the enclave.
 *
 * KV_BUSY means that a lock's holder is stopped somewhere: give it the processor, and ask again.
 */
#include "client.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum kv_status call(struct client *client, struct kv_request request, uint32_t *ret_bytes)
{
	struct sgx_enclave_run run;
	struct kv_request out;

	for (;;) {
		out = request;
		out.status = KV_STATUS_NR;
		client->calls++;
		if (!loader_enter(client->loader, client->thread, &out, &run)) {
			loader_print_exception(client->loader, &run);
			_exit(EXIT_EXCEPTION);
		}
		if (out.status != KV_BUSY)
			break;
		client->busy++;
		sched_yield();
	}
	if (ret_bytes)
		*ret_bytes = out.value_bytes;
	return out.status;
}

enum kv_status client_init(struct client *client)
{
	return call(client, (struct kv_request){ .op = KV_INIT }, NULL);
}

enum kv_status client_put(struct client *client, const void *key, uint32_t key_bytes,
			  const void *value, uint32_t value_bytes)
{
	return call(client,
		    (struct kv_request){ .op = KV_PUT,
					 .key = (uintptr_t)key,
					 .key_bytes = key_bytes,
					 .value = (uintptr_t)value,
					 .value_bytes = value_bytes },
		    NULL);
}

enum kv_status client_get(struct client *client, const void *key, uint32_t key_bytes,
			  uint8_t ret_value[KV_VALUE_MAX], uint32_t *ret_bytes)
{
	return call(client,
		    (struct kv_request){ .op = KV_GET,
					 .key = (uintptr_t)key,
					 .key_bytes = key_bytes,
					 .value = (uintptr_t)ret_value,
					 .value_bytes = KV_VALUE_MAX },
		    ret_bytes);
}

enum kv_status client_delete(struct client *client, const void *key, uint32_t key_bytes)
{
	return call(client,
		    (struct kv_request){
			    .op = KV_DELETE, .key = (uintptr_t)key, .key_bytes = key_bytes },
		    NULL);
}

enum kv_status client_count(struct client *client, uint32_t *ret_entries)
{
	return call(client, (struct kv_request){ .op = KV_COUNT }, ret_entries);
}

enum kv_status client_report(struct client *client, const uint8_t data[64],
			     struct sgx_report *ret_report)
{
	return call(client,
		    (struct kv_request){ .op = KV_REPORT,
					 .key = (uintptr_t)data,
					 .key_bytes = 64,
					 .value = (uintptr_t)ret_report,
					 .value_bytes = sizeof(*ret_report) },
		    NULL);
}

enum kv_status client_crash(struct client *client, enum kv_crash how)
{
	return call(client, (struct kv_request){ .op = KV_CRASH, .key_bytes = how }, NULL);
}

/* A chunk as it is in the file. */
struct chunk {
	struct kv_seal_chunk head;
	uint8_t bytes[KV_SEAL_CHUNK_BYTES];
};

static enum kv_status exchange(struct client *client, enum kv_op op, void *value, uint32_t size,
			       uint32_t *ret_bytes)
{
	return call(client,
		    (struct kv_request){ .op = op, .value = (uintptr_t)value, .value_bytes = size },
		    ret_bytes);
}

static int seal_to(struct client *client, FILE *file, uint64_t *ret_bytes)
{
	struct kv_seal_header header;
	struct chunk *chunk;
	uint32_t bytes = 0;
	int r = exchange(client, KV_SEAL_BEGIN, &header, sizeof(header), NULL);

	if (r != KV_OK)
		return r;
	chunk = malloc(sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	*ret_bytes = sizeof(header);
	if (fwrite(&header, sizeof(header), 1, file) != 1)
		r = -EIO;
	do {
		int status = exchange(client, KV_SEAL_NEXT, chunk, sizeof(*chunk), &bytes);

		/* To the last one even if the disk is full, so that the store is free again. */
		if (status != KV_OK) {
			r = status;
			break;
		}
		if (r == 0 && fwrite(chunk, bytes, 1, file) != 1)
			r = -EIO;
		*ret_bytes += bytes;
	} while (!chunk->head.last);
	free(chunk);
	return r;
}

int client_seal(struct client *client, const char *path, uint64_t *ret_bytes)
{
	char beside[PATH_MAX];
	FILE *file;
	int r;

	if (snprintf(beside, sizeof(beside), "%s.new", path) >= (int)sizeof(beside))
		return -ENAMETOOLONG;
	file = fopen(beside, "we");
	if (!file)
		return -errno;
	r = seal_to(client, file, ret_bytes);
	if (fclose(file) != 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(beside, path) < 0)
		r = -errno;
	if (r != 0)
		unlink(beside);
	return r;
}

static int open_from(struct client *client, FILE *file)
{
	struct kv_seal_header header;
	struct chunk *chunk;
	int r;

	if (fread(&header, sizeof(header), 1, file) != 1)
		return -EBADMSG;
	r = exchange(client, KV_OPEN_BEGIN, &header, sizeof(header), NULL);
	if (r != KV_OK)
		return r;
	chunk = malloc(sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	do {
		if (fread(&chunk->head, sizeof(chunk->head), 1, file) != 1 ||
		    chunk->head.bytes > sizeof(chunk->bytes) ||
		    (chunk->head.bytes && fread(chunk->bytes, chunk->head.bytes, 1, file) != 1))
			r = -EBADMSG;
		else
			r = exchange(client, KV_OPEN_NEXT, chunk,
				     (uint32_t)sizeof(chunk->head) + chunk->head.bytes, NULL);
	} while (r == KV_OK && !chunk->head.last);
	free(chunk);
	return r;
}

int client_open(struct client *client, const char *path)
{
	FILE *file = fopen(path, "re");
	int r;

	if (!file)
		return -errno;
	r = open_from(client, file);
	fclose(file);
	return r;
}

const char *client_strerror(int result)
{
	static const char *const names[KV_STATUS_NR] = {
		[KV_OK] = "done",
		[KV_NOT_FOUND] = "no such key",
		[KV_BUSY] = "busy",
		[KV_FULL] = "the heap is full",
		[KV_BAD_REQUEST] = "bad request",
		[KV_BAD_STATE] = "not in this state",
		[KV_NOT_AUTHENTIC] =
			"sealed on another platform or by another signer, or changed since",
		[KV_NO_KEY] = "the processor refuses the key",
		[KV_NO_RANDOM] = "the processor has no random number",
		[KV_BAD_REPORT] = "a report was not verified as it should be",
	};

	if (result < 0)
		return result == -EBADMSG ? "the file breaks off" : strerrordesc_np(-result);
	return result < KV_STATUS_NR ? names[result] : "an answer that isn't one";
}
