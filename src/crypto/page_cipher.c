/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Which library encrypts pages, and what is the same whichever does.
 *
 * The choice is made when a key is made: an engine that runs on this CPU, gives with this very key what
 * the portable one gives, in both directions, refuses a forged MAC, and takes less time than the portable one
 * for a page, here and now.  It is kept in the key as an index, because a key lies in shared memory and is used by
 * every process of a fork tree.
 *
 * A page is encrypted under its 64-bit version, which the processor never uses twice with one key,
 * so the IV is the version and four zero bytes: unique by construction, never random.
 *
 * Encrypting and decrypting take no lock, allocate nothing and keep no state of a thread: they may
 * be called from a signal handler, also one that interrupted them.  They need 1.3 KiB of stack.
 */
#include "crypto/page_cipher.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/random.h"
#include "page_engine_priv.h"

static const struct page_engine *const engines[] = {
	[PAGE_ENGINE_OPENSSL] = &page_engine_openssl,
#ifdef SWSGX_IPSEC_MB
	[PAGE_ENGINE_IPSEC_MB] = &page_engine_ipsec_mb,
#endif
};
#define ENGINE_NR (sizeof(engines) / sizeof(engines[0]))

static const struct page_engine *engine_of(const struct page_key *key)
{
	assert(key->engine < ENGINE_NR);
	return engines[key->engine];
}

static void version_iv(uint64_t version, uint8_t ret_iv[PAGE_IV_BYTES])
{
	memset(ret_iv, 0, PAGE_IV_BYTES);
	memcpy(ret_iv, &version, sizeof(version)); /* little endian, as the machine */
}

bool page_key_init_engine(struct page_key *key, const uint8_t raw[16], unsigned int engine)
{
	if (engine >= ENGINE_NR || !engines[engine]->prepare())
		return false;
	memset(key, 0, sizeof(*key));
	memcpy(key->raw, raw, sizeof(key->raw));
	key->engine = engine;
	engines[engine]->expand(key);
	return true;
}

#define PROOF_VERSION 0x8000000000000001ull /* versions count up from 8 */
#define TRIALS        16

/* Scratch of the comparison: too large for a stack. */
struct proof {
	struct page_key portable;
	uint8_t plain[PAGE_BYTES], back[PAGE_BYTES];
	uint8_t got[PAGE_BYTES], want[PAGE_BYTES];
	uint8_t got_mac[16], want_mac[16];
	uint8_t aad[PAGE_AAD_BYTES];
};

static bool proves_right(const struct page_key *key, struct proof *proof)
{
	random_bytes(proof->plain, sizeof(proof->plain));
	random_bytes(proof->aad, sizeof(proof->aad));
	page_encrypt(key, PROOF_VERSION, proof->aad, proof->plain, proof->got, proof->got_mac);
	page_encrypt(&proof->portable, PROOF_VERSION, proof->aad, proof->plain, proof->want,
		     proof->want_mac);
	if (memcmp(proof->got, proof->want, PAGE_BYTES) != 0 ||
	    memcmp(proof->got_mac, proof->want_mac, 16) != 0)
		return false;

	if (!page_decrypt(key, PROOF_VERSION, proof->aad, proof->want, proof->back,
			  proof->want_mac) ||
	    memcmp(proof->back, proof->plain, PAGE_BYTES) != 0)
		return false;
	proof->want_mac[15] ^= 1;
	return !page_decrypt(key, PROOF_VERSION, proof->aad, proof->want, proof->back,
			     proof->want_mac);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Out and in, the least of a few: whatever else the machine does only adds. The version was used for these bytes. */
static uint64_t least_ns(const struct page_key *key, struct proof *proof)
{
	uint64_t least = UINT64_MAX;

	for (unsigned int i = 0; i < TRIALS; i++) {
		uint64_t ns = now_ns();

		page_encrypt(key, PROOF_VERSION, proof->aad, proof->plain, proof->got,
			     proof->got_mac);
		page_decrypt(key, PROOF_VERSION, proof->aad, proof->got, proof->back,
			     proof->got_mac);
		ns = now_ns() - ns;
		least = ns < least ? ns : least;
	}
	return least;
}

void page_key_init(struct page_key *key, const uint8_t raw[16])
{
	struct proof *proof;
	bool ok = false;

	if (page_key_init_engine(key, raw, PAGE_ENGINE_IPSEC_MB)) {
		proof = aligned_alloc(_Alignof(struct proof), sizeof(*proof));
		if (proof) {
			ok = page_key_init_engine(&proof->portable, raw, PAGE_ENGINE_OPENSSL) &&
			     proves_right(key, proof) &&
			     least_ns(key, proof) <= least_ns(&proof->portable, proof);
			explicit_bzero(proof, sizeof(*proof));
		}
		free(proof);
	}
	if (!ok && !page_key_init_engine(key, raw, PAGE_ENGINE_OPENSSL))
		abort();
}

const char *page_key_engine(const struct page_key *key)
{
	return engine_of(key)->prepare();
}

void page_encrypt(const struct page_key *key, uint64_t version, const uint8_t aad[PAGE_AAD_BYTES],
		  const void *plain, void *ret_cipher, uint8_t ret_mac[16])
{
	uint8_t iv[PAGE_IV_BYTES];

	version_iv(version, iv);
	engine_of(key)->encrypt(key, iv, aad, plain, ret_cipher, ret_mac);
}

bool page_decrypt(const struct page_key *key, uint64_t version, const uint8_t aad[PAGE_AAD_BYTES],
		  const void *cipher, void *ret_plain, const uint8_t mac[16])
{
	uint8_t iv[PAGE_IV_BYTES];

	version_iv(version, iv);
	if (engine_of(key)->decrypt(key, iv, aad, cipher, ret_plain, mac))
		return true;
	memset(ret_plain, 0, PAGE_BYTES);
	return false;
}
