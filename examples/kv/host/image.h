/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the enclave will consist of, page range by page range, in the order in which they are added.
 *
 * Signer and loader read the same plan, so that what is signed is what is loaded.
 */
#ifndef KV_HOST_IMAGE_H
#define KV_HOST_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../kv.h"

#define IMAGE_RANGES_MAX (8u + 3u * KV_THREADS_MAX)

struct image_range {
	uint64_t off; /* from the enclave's base; whole pages, as bytes */
	uint64_t bytes;
	uint64_t secinfo; /* SECINFO.FLAGS */
	int prot;         /* of the mapping */
	bool add;         /* false: only mapped; the kernel adds pages when they are touched */
	bool measured;    /* EEXTEND the contents too */
	const uint8_t *contents; /* NULL: zeroes */
};

struct image {
	struct sgx_secs secs; /* all but the base */
	struct image_range ranges[IMAGE_RANGES_MAX];
	unsigned int range_nr;
	uint64_t tcs_off[KV_THREADS_MAX];
	unsigned int threads;
	uint64_t heap_off;
	uint8_t *memory; /* the ranges' contents */
};

struct image_options {
	const char *path; /* of the enclave's ELF file */
	uint64_t heap_bytes;
	unsigned int threads;
	bool edmm;
	bool debug;
};

/* Prints what is wrong with the file, and is false. */
bool image_open(struct image *image, const struct image_options *options);
void image_close(struct image *image);

#endif
