/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Page encryption: each engine against a slow, obvious AES-GCM written here from the definition
 * (NIST SP 800-38D), which is itself checked with the published example.  Then what must be refused,
 * and what must work in children, in threads, and in the middle of itself.
 */
#include "crypto/page_cipher.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "crypto/page_engine_priv.h"
#include "crypto/random.h"
#include "lib/hex.h"
#include "lib/tap.h"

struct page {
	uint8_t plain[4096], cipher[4096], back[4096];
	uint8_t aad[PAGE_AAD_BYTES];
	uint8_t mac[16];
	uint64_t version;
};

static void aes_block(const uint8_t key[16], const uint8_t in[16], uint8_t out[16])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t two[32];
	int bytes;

	if (EVP_EncryptInit_ex(ctx, EVP_aes_128_ecb(), NULL, key, NULL) != 1 ||
	    EVP_EncryptUpdate(ctx, two, &bytes, in, 16) != 1 || bytes != 16)
		abort();
	memcpy(out, two, 16);
	EVP_CIPHER_CTX_free(ctx);
}

/* y = (y xor x) * h in GF(2^128), bit by bit. */
static void ghash_block(uint8_t y[16], const uint8_t *x, size_t bytes, const uint8_t h[16])
{
	uint8_t z[16] = { 0 }, v[16];

	for (size_t i = 0; i < bytes; i++)
		y[i] ^= x[i];
	memcpy(v, h, 16);
	for (unsigned int bit = 0; bit < 128; bit++) {
		bool odd = v[15] & 1;

		if (y[bit / 8] & (0x80 >> bit % 8))
			for (unsigned int i = 0; i < 16; i++)
				z[i] ^= v[i];
		for (unsigned int i = 15; i > 0; i--)
			v[i] = (uint8_t)(v[i] >> 1 | v[i - 1] << 7);
		v[0] >>= 1;
		if (odd)
			v[0] ^= 0xe1;
	}
	memcpy(y, z, 16);
}

static void ghash(uint8_t y[16], const uint8_t *x, size_t bytes, const uint8_t h[16])
{
	for (size_t at = 0; at < bytes; at += 16)
		ghash_block(y, x + at, bytes - at < 16 ? bytes - at : 16, h);
}

static void put_be64(uint8_t *to, uint64_t value)
{
	for (unsigned int i = 0; i < 8; i++)
		to[i] = (uint8_t)(value >> (56 - 8 * i));
}

/* The key's AES block is computed once per call of AES_block: slow, and only as good as it is plain. */
static void reference_gcm(const uint8_t key[16], const uint8_t iv[12], const uint8_t *aad,
			  size_t aad_bytes, const uint8_t *plain, size_t bytes, uint8_t *cipher,
			  uint8_t mac[16])
{
	uint8_t h[16] = { 0 }, counter[16], pad[16], lengths[16];

	aes_block(key, h, h);
	memcpy(counter, iv, 12);
	for (size_t at = 0; at < bytes; at += 16) {
		uint64_t block = at / 16 + 2;

		put_be64(pad, block);
		memcpy(counter + 12, pad + 4, 4);
		aes_block(key, counter, pad);
		for (size_t i = 0; i < 16 && at + i < bytes; i++)
			cipher[at + i] = plain[at + i] ^ pad[i];
	}
	memset(mac, 0, 16);
	ghash(mac, aad, aad_bytes, h);
	ghash(mac, cipher, bytes, h);
	put_be64(lengths, 8 * aad_bytes);
	put_be64(lengths + 8, 8 * bytes);
	ghash(mac, lengths, 16, h);
	memcpy(counter + 12, "\0\0\0\1", 4);
	aes_block(key, counter, pad);
	for (unsigned int i = 0; i < 16; i++)
		mac[i] ^= pad[i];
}

/* Test case 4 of the GCM specification. */
static void test_reference(void)
{
	uint8_t key[16], iv[12], plain[64], aad[32], cipher[64], mac[16], want[64], want_mac[16];
	size_t bytes, aad_bytes;

	hex_bytes("feffe9928665731c6d6a8f9467308308", key);
	hex_bytes("cafebabefacedbaddecaf888", iv);
	bytes = hex_bytes("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
			  "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
			  plain);
	aad_bytes = hex_bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2", aad);
	hex_bytes("42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
		  "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
		  want);
	hex_bytes("5bc94fbc3221a5db94fae95ae7121a47", want_mac);
	reference_gcm(key, iv, aad, aad_bytes, plain, bytes, cipher, mac);
	TAP_MUST(memcmp(cipher, want, bytes) == 0 && memcmp(mac, want_mac, 16) == 0,
		 "the reference gives the published example");
}

static void fill(struct page *page) { random_bytes(page, sizeof(*page)); }

static bool all_zero(const uint8_t *bytes, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (bytes[i])
			return false;
	return true;
}

static bool round_trip(const struct page_key *key, struct page *page)
{
	page_encrypt(key, page->version, page->aad, page->plain, page->cipher, page->mac);
	return page_decrypt(key, page->version, page->aad, page->cipher, page->back, page->mac) &&
	       memcmp(page->back, page->plain, 4096) == 0;
}

static void test_against_reference(struct page_key *key, struct page *page, const char *name)
{
	static const uint64_t versions[] = { 0, 1, 0x0123456789abcdefull, ~0ull };
	uint8_t raw[16], iv[12], want[4096], want_mac[16];
	unsigned int wrong = 0;

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		fill(page);
		random_bytes(raw, sizeof(raw));
		page_key_init_engine(key, raw, key->engine);
		page->version = versions[i];
		wrong += !round_trip(key, page);
		for (unsigned int b = 0; b < 12; b++)
			iv[b] = b < 8 ? (uint8_t)(versions[i] >> 8 * b) : 0;
		reference_gcm(raw, iv, page->aad, PAGE_AAD_BYTES, page->plain, 4096, want,
			      want_mac);
		wrong += memcmp(want, page->cipher, 4096) || memcmp(want_mac, page->mac, 16);
	}
	TAP_CHECK(wrong == 0, "%s: as the reference, at 4 versions", name);
}

/* One bit wrong anywhere: refused, and nothing of the plaintext is left to see. */
static void test_forged(struct page_key *key, struct page *page, const char *name)
{
	struct {
		uint8_t *bytes;
		size_t nr, step;
		const char *what;
	} parts[] = {
		{ page->cipher, 4096, 997, "ciphertext" },
		{ page->aad, PAGE_AAD_BYTES, 31, "AAD" },
		{ page->mac, 16, 1, "MAC" },
		{ (uint8_t *)&page->version, 8, 1, "version" },
	};

	fill(page);
	TAP_CHECK(round_trip(key, page), "%s: round trip", name);
	for (size_t p = 0; p < sizeof(parts) / sizeof(parts[0]); p++) {
		unsigned int wrong = 0;

		for (size_t bit = 0; bit < parts[p].nr * 8; bit += parts[p].step) {
			parts[p].bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			memset(page->back, 0xee, 4096);
			wrong += page_decrypt(key, page->version, page->aad, page->cipher,
					      page->back, page->mac) ||
				 !all_zero(page->back, 4096);
			parts[p].bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		TAP_CHECK(wrong == 0, "%s: a bit of the %s", name, parts[p].what);
	}
	TAP_CHECK(page_decrypt(key, page->version, page->aad, page->cipher, page->back,
			       page->mac) &&
			  memcmp(page->back, page->plain, 4096) == 0,
		  "%s: the right page still loads after those", name);
}

static void test_two_keys(struct page_key keys[2], struct page *page, const char *name)
{
	uint8_t raw[16];
	unsigned int wrong = 0;

	for (unsigned int i = 0; i < 2; i++) {
		random_bytes(raw, sizeof(raw));
		page_key_init_engine(&keys[i], raw, keys[i].engine);
	}
	for (unsigned int i = 0; i < 8; i++) {
		fill(page);
		wrong += !round_trip(&keys[i & 1], page);
		wrong += page_decrypt(&keys[~i & 1], page->version, page->aad, page->cipher,
				      page->back, page->mac);
	}
	TAP_CHECK(wrong == 0, "%s: two keys in turn, each opens its own pages only", name);
}

/* What a thread, a child, or a handler does with the pages: true when all went well. */
static bool work(const struct page_key keys[2], struct page *page, unsigned int rounds)
{
	bool ok = true;

	for (unsigned int i = 0; i < rounds; i++) {
		page->version += 2;
		page->plain[i % 4096]++;
		ok = ok && round_trip(&keys[i & 1], page);
	}
	return ok;
}

struct job {
	const struct page_key *keys;
	struct page page;
	bool ok;
};

static void *work_thread(void *arg)
{
	struct job *job = arg;

	job->ok = work(job->keys, &job->page, 2000);
	return NULL;
}

/* More threads than CPUs, and in the midst of them children of which each has but one thread. */
static void test_threads_and_children(const struct page_key *keys, const char *name)
{
	enum { THREADS = 6, CHILDREN = 4 };
	static struct job jobs[THREADS], own;
	pthread_t threads[THREADS];
	unsigned int good = 0;
	int status;

	for (unsigned int i = 0; i < THREADS; i++) {
		jobs[i].keys = keys;
		fill(&jobs[i].page);
		pthread_create(&threads[i], NULL, work_thread, &jobs[i]);
	}
	for (unsigned int i = 0; i < CHILDREN; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			alarm(30); /* a slot that nobody gives back would be waited for */
			fill(&own.page);
			_exit(!work(keys, &own.page, 200));
		}
		good += waitpid(pid, &status, 0) == pid && status == 0;
	}
	TAP_CHECK(good == CHILDREN, "%s: children of a busy process", name);
	good = 0;
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		good += jobs[i].ok;
	}
	TAP_CHECK(good == THREADS, "%s: threads at once", name);
}

/* The handler's share; there is no other way to hand a handler something. */
static const struct page_key *handler_keys;
static struct page handler_page;
static volatile sig_atomic_t handler_runs, handler_wrong;

static void on_alarm(int sig)
{
	handler_runs++;
	if (!work(handler_keys, &handler_page, 2))
		handler_wrong++;
}

static void test_handler(const struct page_key *keys, struct page *page, const char *name)
{
	struct sigaction act = { .sa_handler = on_alarm }, old;
	struct itimerval tick = { { 0, 300 }, { 0, 300 } }, stop = { 0 };
	bool ok = true;

	handler_keys = keys;
	handler_runs = handler_wrong = 0;
	fill(&handler_page);
	fill(page);
	sigaction(SIGALRM, &act, &old);
	setitimer(ITIMER_REAL, &tick, NULL);
	while (handler_runs < 200)
		ok = work(keys, page, 100) && ok;
	setitimer(ITIMER_REAL, &stop, NULL);
	sigaction(SIGALRM, &old, NULL);
	TAP_CHECK(ok, "%s: interrupted by itself 200 times", name);
	TAP_CHECK(handler_wrong == 0, "%s: and right in the handler too", name);
}

static void test_engine(unsigned int engine, struct page_key *keys, struct page *page)
{
	static const uint8_t raw[16] = { 1 };
	const char *name;

	if (!page_key_init_engine(&keys[0], raw, engine)) {
		tap_skip("ipsec-mb", "not built in, or not for this CPU");
		return;
	}
	page_key_init_engine(&keys[1], raw, engine);
	name = page_key_engine(&keys[0]);
	test_against_reference(&keys[0], page, name);
	test_forged(&keys[0], page, name);
	test_two_keys(keys, page, name);
	test_threads_and_children(keys, name);
	test_handler(keys, page, name);
}

static void test_engines_agree(struct page_key *keys, struct page *page)
{
	static struct page other;
	unsigned int wrong = 0;
	uint8_t raw[16];

	random_bytes(raw, sizeof(raw));
	page_key_init_engine(&keys[0], raw, PAGE_ENGINE_OPENSSL);
	if (!page_key_init_engine(&keys[1], raw, PAGE_ENGINE_IPSEC_MB)) {
		tap_skip("two engines agree", "there is one");
		return;
	}
	for (unsigned int i = 0; i < 500; i++) {
		fill(page);
		other = *page;
		wrong += !round_trip(&keys[0], page) || !round_trip(&keys[1], &other) ||
			 memcmp(page, &other, sizeof(other)) != 0;
	}
	TAP_CHECK(wrong == 0, "two engines agree on 500 random pages");
}

int main(void)
{
	struct page_key *keys = mmap(NULL, 2 * sizeof(*keys), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	static struct page page;
	uint8_t raw[16] = { 9 };

	TAP_MUST(keys != MAP_FAILED, "shared memory");
	test_reference();
	test_engine(PAGE_ENGINE_OPENSSL, keys, &page);
	test_engine(PAGE_ENGINE_IPSEC_MB, keys, &page);
	test_engines_agree(keys, &page);

	page_key_init(&keys[0], raw);
	fill(&page);
	TAP_CHECK(round_trip(&keys[0], &page), "the chosen engine is %s",
		  page_key_engine(&keys[0]));
	return tap_done();
}
