/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the libraries cost by themselves: the floor under EWB, ELDU, EEXTEND, EINIT and EREPORT.
 *
 * Each row is the median of 15 samples of one thread's CPU time, with the extremes beside it; the
 * two-thread rows are wall time for one page, both threads at work.  "hot" is the same page over and
 * over, "cold" a random order of pages over 256 MiB, which no cache holds.  The copy is there to
 * show what memory alone allows.
 *
 *   bench_crypto [--json]
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "crypto/cmac.h"
#include "crypto/page_cipher.h"
#include "crypto/page_engine_priv.h"
#include "crypto/random.h"
#include "crypto/rsa3072.h"
#include "crypto/sha256.h"
#include "option.h"
#include "table.h"

enum { SAMPLES = 15, COLD_PAGES = 65536 };

struct bench {
	struct table table;
	struct page_key key;
	uint8_t *from, *to; /* COLD_PAGES each */
	uint32_t *order;
	uint8_t aad[PAGE_AAD_BYTES], mac[16];
	uint8_t modulus[384], signature[384], digest[32], q1[384], q2[384];
	struct sha256 hash;
	uint64_t version;
};

typedef void operation(struct bench *b, uint32_t i);

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* @bytes: handled by one operation, 0 when a rate in bytes says nothing. */
static void report(struct bench *b, const char *name, double ns[SAMPLES], size_t bytes)
{
	qsort(ns, SAMPLES, sizeof(ns[0]), by_value);
	table_row(&b->table, name, NULL,
		  (double[]){ ns[SAMPLES / 2], ns[0], ns[SAMPLES - 1],
			      bytes ? (double)bytes / ns[SAMPLES / 2] : NAN });
}

static void measure(struct bench *b, const char *name, operation *op, uint32_t per_sample,
		    size_t bytes)
{
	double ns[SAMPLES];
	uint32_t at = 0;

	for (uint32_t i = 0; i < per_sample / 4 + 1; i++)
		op(b, at++);
	for (unsigned int s = 0; s < SAMPLES; s++) {
		uint64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID);

		for (uint32_t i = 0; i < per_sample; i++)
			op(b, at++);
		ns[s] = (double)(now_ns(CLOCK_THREAD_CPUTIME_ID) - start) / per_sample;
	}
	report(b, name, ns, bytes);
}

static uint8_t *cold(struct bench *b, uint8_t *base, uint32_t i)
{
	return base + (size_t)b->order[i % COLD_PAGES] * PAGE_BYTES;
}

static void copy_cold(struct bench *b, uint32_t i)
{
	memcpy(cold(b, b->to, i), cold(b, b->from, i), PAGE_BYTES);
}

static void encrypt_hot(struct bench *b, uint32_t i)
{
	page_encrypt(&b->key, b->version++, b->aad, b->from, b->to, b->mac);
}

static void encrypt_cold(struct bench *b, uint32_t i)
{
	page_encrypt(&b->key, b->version++, b->aad, cold(b, b->from, i), cold(b, b->to, i), b->mac);
}

/* Encrypted just before, with version 0: what is measured is a load that succeeds. */
static void decrypt_hot(struct bench *b, uint32_t i)
{
	if (!page_decrypt(&b->key, 0, b->aad, b->to, b->from, b->mac))
		abort();
}

/* A mismatch is all the work of a match, and a wipe of a page that is in cache by then. */
static void decrypt_cold(struct bench *b, uint32_t i)
{
	if (page_decrypt(&b->key, b->version++, b->aad, cold(b, b->from, i), cold(b, b->to, i),
			 b->mac))
		abort();
}

struct pager {
	struct bench *b;
	uint32_t first;
};

static void *encrypt_thread(void *arg)
{
	const struct pager *pager = arg;
	struct bench *b = pager->b;
	uint8_t mac[16];

	for (uint32_t i = 0; i < 8192; i++)
		page_encrypt(&b->key, pager->first + i, b->aad, cold(b, b->from, pager->first + i),
			     cold(b, b->to, pager->first + i), mac);
	return NULL;
}

static void measure_threads(struct bench *b, const char *name)
{
	struct pager pagers[2] = { { b, 0 }, { b, COLD_PAGES / 2 } };
	double ns[SAMPLES];
	pthread_t other;

	for (unsigned int s = 0; s < SAMPLES; s++) {
		uint64_t start = now_ns(CLOCK_MONOTONIC);

		if (pthread_create(&other, NULL, encrypt_thread, &pagers[1]) != 0)
			abort();
		encrypt_thread(&pagers[0]);
		pthread_join(other, NULL);
		ns[s] = (double)(now_ns(CLOCK_MONOTONIC) - start) / (2 * 8192);
	}
	report(b, name, ns, PAGE_BYTES);
}

static void bench_engine(struct bench *b, unsigned int engine)
{
	uint8_t raw[16];
	const char *name;
	char row[64];

	random_bytes(raw, sizeof(raw));
	if (!page_key_init_engine(&b->key, raw, engine))
		return;
	name = page_key_engine(&b->key);
	b->version = 1;
	snprintf(row, sizeof(row), "%s: encrypt, hot", name);
	measure(b, row, encrypt_hot, 4000, PAGE_BYTES);
	page_encrypt(&b->key, 0, b->aad, b->from, b->to, b->mac);
	snprintf(row, sizeof(row), "%s: decrypt, hot", name);
	measure(b, row, decrypt_hot, 4000, PAGE_BYTES);
	snprintf(row, sizeof(row), "%s: encrypt, cold", name);
	measure(b, row, encrypt_cold, 4000, PAGE_BYTES);
	snprintf(row, sizeof(row), "%s: decrypt and wipe, cold", name);
	measure(b, row, decrypt_cold, 4000, PAGE_BYTES);
	snprintf(row, sizeof(row), "%s: encrypt, cold, two threads", name);
	measure_threads(b, row);
}

/* What ECREATE's hash goes through for one page: 64 bytes, then 16 times 64 and 256. */
static void measure_page(struct bench *b, uint32_t i)
{
	sha256_update(&b->hash, b->aad, 64);
	for (unsigned int block = 0; block < 16; block++) {
		sha256_update(&b->hash, b->aad, 64);
		sha256_update(&b->hash, b->from + 256 * block, 256);
	}
}

static void hash_page(struct bench *b, uint32_t i)
{
	sha256_update(&b->hash, b->from, PAGE_BYTES);
}

static void mac_400(struct bench *b, uint32_t i)
{
	cmac_aes128(b->aad, b->from, 400, b->mac);
}

static void verify(struct bench *b, uint32_t i)
{
	if (!rsa3072_verify(b->modulus, b->signature, b->digest))
		abort();
}

static void check_q(struct bench *b, uint32_t i)
{
	if (!rsa3072_check_q(b->modulus, b->signature, b->q1, b->q2))
		abort();
}

static void reverse(uint8_t *bytes, size_t nr)
{
	for (size_t i = 0; i < nr / 2; i++) {
		uint8_t swap = bytes[i];

		bytes[i] = bytes[nr - 1 - i];
		bytes[nr - 1 - i] = swap;
	}
}

/* A key, a signature, and q1 and q2: slow (key generation), and not measured. */
static void sign(struct bench *b)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL), *sign_ctx;
	BIGNUM *three = BN_new(), *n = NULL, *s, *t = BN_new(), *q = BN_new();
	BN_CTX *bn = BN_CTX_new();
	EVP_PKEY *key = NULL;
	size_t bytes = 384;
	bool ok;

	random_bytes(b->digest, 32);
	BN_set_word(three, 3);
	ok = EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 3072) == 1 &&
	     EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, three) == 1 &&
	     EVP_PKEY_generate(ctx, &key) == 1;
	sign_ctx = EVP_PKEY_CTX_new(key, NULL);
	ok = ok && EVP_PKEY_sign_init(sign_ctx) == 1 &&
	     EVP_PKEY_CTX_set_rsa_padding(sign_ctx, RSA_PKCS1_PADDING) == 1 &&
	     EVP_PKEY_CTX_set_signature_md(sign_ctx, EVP_sha256()) == 1 &&
	     EVP_PKEY_sign(sign_ctx, b->signature, &bytes, b->digest, 32) == 1 &&
	     EVP_PKEY_get_bn_param(key, "n", &n) == 1;
	if (!ok)
		abort();
	reverse(b->signature, 384);
	s = BN_lebin2bn(b->signature, 384, NULL);
	BN_bn2lebinpad(n, b->modulus, 384);
	BN_sqr(t, s, bn);
	BN_div(q, t, t, n, bn);
	BN_bn2lebinpad(q, b->q1, 384);
	BN_mul(t, t, s, bn);
	BN_div(q, NULL, t, n, bn);
	BN_bn2lebinpad(q, b->q2, 384);
	BN_free(three);
	BN_free(n);
	BN_free(s);
	BN_free(t);
	BN_free(q);
	BN_CTX_free(bn);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_CTX_free(sign_ctx);
	EVP_PKEY_free(key);
}

static uint8_t *pages(void)
{
	uint8_t *p = mmap(NULL, (size_t)COLD_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED) {
		fprintf(stderr, "bench_crypto: cannot have 512 MiB of memory\n");
		exit(1);
	}
	return p;
}

/* The time until the first page can be encrypted: part of what starting a program costs. */
static void first_key(struct bench *b)
{
	uint64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID);
	double ns[SAMPLES];

	page_key_init(&b->key, b->aad);
	ns[0] = (double)(now_ns(CLOCK_THREAD_CPUTIME_ID) - start);
	for (unsigned int s = 1; s < SAMPLES; s++)
		ns[s] = ns[0];
	report(b, "first key of a process, self-test included", ns, 0);
}

static void shuffle(uint32_t *order)
{
	for (uint32_t i = 0; i < COLD_PAGES; i++)
		order[i] = i;
	srandom(1);
	for (uint32_t i = COLD_PAGES - 1; i > 0; i--) {
		uint32_t j = (uint32_t)random() % (i + 1), swap = order[i];

		order[i] = order[j];
		order[j] = swap;
	}
}

int main(int argc, char **argv)
{
	static const struct table_column columns[] = {
		{ "median", "ns", 0 },
		{ "least", "ns", 0 },
		{ "most", "ns", 0 },
		{ "rate", "GB/s", 2 },
	};
	static struct bench bench;
	struct bench *b = &bench;

	table_open(&b->table,
		   option_parse(argc, argv, "What the crypto libraries take.", NULL, NULL));
	table_begin(&b->table, "ns an operation, the median of 15; GB/s",
		    (struct table_label[TABLE_LABELS_MAX]){ { "operation", 43 } }, columns, 4);
	first_key(b);
	b->from = pages();
	b->to = pages();
	b->order = calloc(COLD_PAGES, sizeof(*b->order));
	if (!b->order)
		return 1;
	shuffle(b->order);
	random_bytes(b->aad, sizeof(b->aad));
	sign(b);

	measure(b, "copy of a page, cold", copy_cold, 8000, PAGE_BYTES);
	bench_engine(b, PAGE_ENGINE_OPENSSL);
	bench_engine(b, PAGE_ENGINE_IPSEC_MB);
	sha256_init(&b->hash);
	measure(b, "SHA-256: EADD and 16 EEXTEND, 5184 bytes", measure_page, 1000, PAGE_BYTES);
	measure(b, "SHA-256: 4096 bytes at once", hash_page, 1000, PAGE_BYTES);
	measure(b, "RSA-3072: verify", verify, 200, 0);
	measure(b, "RSA-3072: q1 and q2", check_q, 200, 0);
	measure(b, "CMAC of 400 bytes, key included", mac_400, 2000, 0);
	table_close(&b->table);
	free(b->order);
	return 0;
}
