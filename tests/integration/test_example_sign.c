/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The example's plan of its enclave, and its SIGSTRUCT, computed a second way: the measurement
 * byte by byte as the manual lists it, the signature by the formula with q1 and q2 that EINIT
 * uses.
 */
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>
#include <sys/mman.h>

#include "host/image.h"
#include "host/sign.h"
#include "lib/tap.h"

#define HEAP_BYTES (2u << 20)

static void put64(uint8_t *to, uint64_t v)
{
	for (unsigned int i = 0; i < 8; i++)
		to[i] = (uint8_t)(v >> 8 * i);
}

static void extend(EVP_MD_CTX *md, const uint8_t *page, uint64_t off)
{
	for (unsigned int i = 0; i < 4096; i += 256) {
		uint8_t block[64] = { 0x45, 0x45, 0x58, 0x54, 0x45, 0x4e, 0x44, 0x00 };

		put64(block + 8, off + i);
		EVP_DigestUpdate(md, block, 64);
		EVP_DigestUpdate(md, page + i, 256);
	}
}

static void measure(const struct image *image, uint8_t ret[32])
{
	static const uint8_t none[4096];
	uint8_t block[64] = { 0x45, 0x43, 0x52, 0x45, 0x41, 0x54, 0x45, 0x00, 1 };
	EVP_MD_CTX *md = EVP_MD_CTX_new();

	EVP_DigestInit_ex(md, EVP_sha256(), NULL);
	put64(block + 12, image->secs.size);
	EVP_DigestUpdate(md, block, 64);
	for (unsigned int i = 0; i < image->range_nr; i++) {
		const struct image_range *range = &image->ranges[i];

		for (uint64_t off = range->off; off < range->off + range->bytes; off += 4096) {
			memset(block, 0, 64);
			memcpy(block, "EADD", 4);
			put64(block + 8, off);
			put64(block + 16, range->secinfo);
			EVP_DigestUpdate(md, block, 64);
			if (range->measured)
				extend(md,
				       range->contents ? range->contents + off - range->off : none,
				       off);
		}
	}
	EVP_DigestFinal_ex(md, ret, NULL);
	EVP_MD_CTX_free(md);
}

static void test_plan(const struct image *image)
{
	unsigned int wrong = 0, tcs = 0, overlaps = 0;

	for (unsigned int i = 0; i < image->range_nr; i++) {
		const struct image_range *a = &image->ranges[i];

		wrong += a->off % 4096 || a->bytes % 4096 || !a->bytes ||
			 a->off + a->bytes > image->secs.size ||
			 ((a->prot & PROT_WRITE) && (a->prot & PROT_EXEC));
		tcs += a->secinfo == SGX_SECINFO_TCS;
		for (unsigned int j = 0; j < i; j++) {
			const struct image_range *b = &image->ranges[j];

			overlaps += a->off < b->off + b->bytes && b->off < a->off + a->bytes;
		}
	}
	TAP_CHECK(wrong == 0, "each range is of pages, in the enclave, and not writable code");
	TAP_CHECK(overlaps == 0, "no two ranges overlap");
	TAP_CHECK(tcs == 8, "a TCS for each thread");
	TAP_CHECK((image->secs.size & (image->secs.size - 1)) == 0, "the size is a power of two");
}

/* s * (s^2 - q1 m) - q2 m is s^3 mod m, and must be the padded digest. */
static bool signature_is_right(const struct sgx_sigstruct *sig)
{
	BIGNUM *m = BN_lebin2bn(sig->modulus, 384, NULL),
	       *s = BN_lebin2bn(sig->signature, 384, NULL);
	BIGNUM *q1 = BN_lebin2bn(sig->q1, 384, NULL), *q2 = BN_lebin2bn(sig->q2, 384, NULL);
	BIGNUM *a = BN_new(), *b = BN_new();
	BN_CTX *ctx = BN_CTX_new();
	uint8_t message[256], block[384], digest[32], got[384];
	static const uint8_t info[19] = { 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60,
					  0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
					  0x01, 0x05, 0x00, 0x04, 0x20 };
	bool ok;

	memcpy(message, sig, 128);
	memcpy(message + 128, (const uint8_t *)sig + 900, 128);
	SHA256(message, sizeof(message), digest);
	memset(block, 0xff, sizeof(block));
	block[0] = 0;
	block[1] = 1;
	block[384 - 52] = 0;
	memcpy(block + 384 - 51, info, 19);
	memcpy(block + 384 - 32, digest, 32);

	ok = BN_sqr(a, s, ctx) && BN_mul(b, q1, m, ctx) && BN_sub(a, a, b) &&
	     BN_mul(a, a, s, ctx) && BN_mul(b, q2, m, ctx) && BN_sub(a, a, b) &&
	     !BN_is_negative(a) && BN_cmp(a, m) < 0 && BN_bn2binpad(a, got, 384) == 384 &&
	     memcmp(got, block, 384) == 0;
	BN_CTX_free(ctx);
	BN_free(b);
	BN_free(a);
	BN_free(q2);
	BN_free(q1);
	BN_free(s);
	BN_free(m);
	return ok;
}

int main(int argc, char **argv)
{
	struct image_options options = { .heap_bytes = HEAP_BYTES, .threads = 8 };
	uint8_t mrenclave[32], other[32];
	struct sgx_sigstruct sig;
	static struct image image;

	if (argc != 3) {
		fprintf(stderr, "usage: %s ENCLAVE KEY\n", argv[0]);
		return 2;
	}
	options.path = argv[1];
	TAP_MUST(image_open(&image, &options), "the enclave's file is read");
	test_plan(&image);
	measure(&image, mrenclave);
	sign_measure(&image, other);
	TAP_CHECK(memcmp(mrenclave, other, 32) == 0, "MRENCLAVE");
	TAP_MUST(sign_image(&image, argv[2], &sig), "signed");
	TAP_CHECK(memcmp(sig.enclavehash, mrenclave, 32) == 0, "ENCLAVEHASH is MRENCLAVE");
	TAP_CHECK(signature_is_right(&sig), "the signature, by q1 and q2");
	sig.isvsvn++;
	TAP_CHECK(!signature_is_right(&sig), "and it covers ISVSVN");
	image_close(&image);

	options.heap_bytes *= 2;
	TAP_MUST(image_open(&image, &options), "the same with a larger heap");
	sign_measure(&image, other);
	TAP_CHECK(memcmp(mrenclave, other, 32) != 0, "is another enclave");
	image_close(&image);

	options.path = argv[2];
	TAP_CHECK(!image_open(&image, &options), "a file that is no enclave is refused");
	return tap_done();
}
