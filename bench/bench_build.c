/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Building an enclave: ADD_PAGES with and without measuring, against the hash alone.
 *
 * A measured page is 5,184 bytes of SHA-256: 64 for EADD, and 64 and 256 for each of 16 EEXTEND.  The
 * floor is OpenSSL over the very same records, built beforehand.  Rates are those of enclave memory.
 *
 *   swsgx run --epc 64M bench_build [--json]
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"
#include "measure.h"
#include "option.h"

enum { ROUNDS = 25, PAGES = 2048, RECORD = 5184 };

static uint8_t *source, *records;

static double rate(uint64_t ns)
{
	return PAGES * 4096.0 / (double)ns;
}

static void make_records(void)
{
	for (size_t p = 0; p < PAGES; p++) {
		uint8_t *r = records + p * RECORD;

		memcpy(r, "EADD\0\0\0", 8);
		for (unsigned int i = 0; i < 16; i++) {
			memcpy(r + 64 + 320 * i, "EEXTEND", 8);
			memcpy(r + 64 + 320 * i + 64, source + p * 4096 + 256 * i, 256);
		}
	}
}

static double hash_rate(EVP_MD_CTX *ctx, EVP_MD *sha256)
{
	uint64_t start = measure_thread_ns();
	uint8_t digest[32];
	unsigned int bytes;

	EVP_DigestInit_ex2(ctx, sha256, NULL);
	for (size_t p = 0; p < PAGES; p++)
		EVP_DigestUpdate(ctx, records + p * RECORD, RECORD);
	EVP_DigestFinal_ex(ctx, digest, &bytes);
	return rate(measure_thread_ns() - start);
}

/* An enclave of PAGES from @source, and no more of it than that. */
static double add_rate(bool measured)
{
	static struct sgx_secs secs __attribute__((aligned(4096)));
	struct sgx_secinfo info
		__attribute__((aligned(64))) = { .flags = SGX_SECINFO_R | SGX_SECINFO_W |
							  SGX_SECINFO_TYPE(SGX_PT_REG) };
	struct sgx_enclave_create create = { .src = (uintptr_t)&secs };
	struct sgx_enclave_add_pages add = { .src = (uintptr_t)source,
					     .length = PAGES * 4096ull,
					     .secinfo = (uintptr_t)&info,
					     .flags = measured ? SGX_PAGE_MEASURE : 0 };
	uint64_t start;
	int fd = client_open();

	secs.size = PAGES * 4096ull;
	secs.ssa_frame_size = 1;
	secs.baseaddr = 1ull << 40;
	secs.attributes.flags = SGX_ATTR_MODE64BIT;
	secs.attributes.xfrm = SGX_XFRM_LEGACY;
	if (fd < 0 || ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &create) != 0) {
		perror("bench_build: no enclave");
		exit(1);
	}
	start = measure_thread_ns();
	if (ioctl(fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add) != 0) {
		perror("bench_build: ADD_PAGES");
		exit(1);
	}
	start = measure_thread_ns() - start;
	close(fd);
	return rate(start);
}

static double copy_rate(uint8_t *to)
{
	uint64_t start = measure_thread_ns();

	memcpy(to, source, PAGES * 4096ul);
	return rate(measure_thread_ns() - start);
}

static uint8_t *memory(size_t bytes)
{
	uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	return p;
}

int main(int argc, char **argv)
{
	static struct measure m = { .title = "Building an enclave" };
	EVP_MD *sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int hash, measured, copy, plain;
	uint8_t *target;

	m.json = option_parse(argc, argv, m.title, NULL, NULL);
	measure_pin(0);
	source = memory(PAGES * 4096ul);
	target = memory(PAGES * 4096ul);
	records = memory(PAGES * (size_t)RECORD);
	for (size_t i = 0; i < PAGES * 4096ul; i++)
		source[i] = (uint8_t)(i * 2654435761u >> 13);
	make_records();
	hash = measure_row(&m, "SHA-256 of the records", "GB/s", -1, 0);
	measured = measure_row(&m, "EADD and EEXTEND", "GB/s", hash, 0.7);
	copy = measure_row(&m, "memcpy", "GB/s", -1, 0);
	plain = measure_row(&m, "EADD alone", "GB/s", copy, 0);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		measure_sample(&m, hash, hash_rate(ctx, sha256));
		measure_sample(&m, measured, add_rate(true));
		measure_sample(&m, copy, copy_rate(target));
		measure_sample(&m, plain, add_rate(false));
	}
	measure_print(&m);
	EVP_MD_CTX_free(ctx);
	EVP_MD_free(sha256);
	return 0;
}
