/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The store as a host thread sees it: calls into the enclave, and the sealed state in a file.
 */
#ifndef KV_HOST_CLIENT_H
#define KV_HOST_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "loader.h"

/* One for each thread; thread i uses TCS i. */
struct client {
	const struct loader *loader;
	unsigned int thread;
	uint64_t calls;
	uint64_t busy; /* calls that had to come again */
};

/*
 * Each of these is an enum kv_status.  An exception in the enclave is printed and ends the
 * program with EXIT_EXCEPTION: there is nothing to go on with.
 */
#define EXIT_EXCEPTION 4
enum kv_status client_init(struct client *client);
enum kv_status client_put(struct client *client, const void *key, uint32_t key_bytes,
			  const void *value, uint32_t value_bytes);
enum kv_status client_get(struct client *client, const void *key, uint32_t key_bytes,
			  uint8_t ret_value[KV_VALUE_MAX], uint32_t *ret_bytes);
enum kv_status client_delete(struct client *client, const void *key, uint32_t key_bytes);
enum kv_status client_count(struct client *client, uint32_t *ret_entries);
enum kv_status client_report(struct client *client, const uint8_t data[64],
			     struct sgx_report *ret_report);
enum kv_status client_crash(struct client *client, enum kv_crash how);

/* Write the store to @path, through a file beside it: 0, an enum kv_status, or -errno. */
int client_seal(struct client *client, const char *path, uint64_t *ret_bytes);
/* The same, back. -EBADMSG for a file that breaks off. */
int client_open(struct client *client, const char *path);

const char *client_strerror(int result);

#endif
