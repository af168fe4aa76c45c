/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The pool of OpenSSL contexts: all that this layer keeps beside plain bytes.
 *
 * Contexts are needed at any moment in any thread of somebody else's process, often inside a signal
 * handler that has interrupted the very same operation.  So there are no thread-local contexts (the
 * interrupted one would be overwritten) and no allocation later than pool_prepare(): a claim takes
 * the first free slot by one atomic exchange, starting where this thread's stack points it, so that
 * a thread mostly meets the context that already holds its key.
 *
 * Claims lie in a page that the kernel zeroes in a forked child: slots that were held by threads
 * which the child does not have are free there, and their contexts, possibly caught in the middle of
 * an operation, count as unkeyed and are set up from nothing.
 *
 * The one file-scope object: it is a cache of the process, made once and behind pthread_once(), and
 * nothing that a caller can see depends on it.  The library is told to read no configuration file
 * and to leave no atexit() handler behind.
 */
#include "pool_priv.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>

/* More than the threads that page at once on any machine; another one waits its turn. */
#define POOL_SLOT_NR 64u

static struct {
	pthread_once_t once;
	struct pool_slot slot[POOL_SLOT_NR];
} pool = { .once = PTHREAD_ONCE_INIT };

static void slot_init(struct pool_slot *slot, EVP_CIPHER *gcm, EVP_MAC *mac)
{
	static const uint8_t zero[16];
	char cbc[] = "AES-128-CBC";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cbc, 0),
		OSSL_PARAM_construct_end(),
	};

	slot->gcm = EVP_CIPHER_CTX_new();
	crypto_must(slot->gcm != NULL);
	/* Initialised once in full here, so that later uses find everything allocated. */
	crypto_must(EVP_CipherInit_ex2(slot->gcm, gcm, zero, zero, 1, NULL) == 1);

	slot->cmac = EVP_MAC_CTX_new(mac);
	crypto_must(slot->cmac != NULL);
	crypto_must(EVP_MAC_init(slot->cmac, zero, sizeof(zero), params) == 1);
}

static void pool_make(void)
{
	const size_t bytes = POOL_SLOT_NR * sizeof(struct pool_claim);
	struct pool_claim *claims;
	EVP_CIPHER *gcm;
	EVP_MAC *mac;

	crypto_must(OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT,
					NULL) == 1);
	claims = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	crypto_must(claims != MAP_FAILED);
	crypto_must(madvise(claims, bytes, MADV_WIPEONFORK) == 0);

	gcm = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
	mac = EVP_MAC_fetch(NULL, "CMAC", NULL);
	crypto_must(gcm != NULL && mac != NULL);
	for (unsigned int i = 0; i < POOL_SLOT_NR; i++) {
		pool.slot[i].claim = &claims[i];
		slot_init(&pool.slot[i], gcm, mac);
	}
	/* The contexts hold references of their own. */
	EVP_CIPHER_free(gcm);
	EVP_MAC_free(mac);
}

void pool_prepare(void)
{
	crypto_must(pthread_once(&pool.once, pool_make) == 0);
}

/* A different slot for each thread, mostly: threads have stacks of their own. Not thread-local
 * storage, which a handler may not be able to reach yet. */
static unsigned int first_choice(void)
{
	uint64_t stack = (uintptr_t)__builtin_frame_address(0) >> 16;

	return (unsigned int)((stack * 0x9e3779b97f4a7c15ull) >> 58) % POOL_SLOT_NR;
}

struct pool_slot *pool_claim(void)
{
	unsigned int at = first_choice();

	pool_prepare();
	for (unsigned int tries = 1;; tries++) {
		struct pool_slot *slot = &pool.slot[at];

		/* Acquire pairs with the release in pool_release(): the context is as left there. */
		if (!atomic_load_explicit(&slot->claim->busy, memory_order_relaxed) &&
		    !atomic_exchange_explicit(&slot->claim->busy, 1, memory_order_acquire))
			return slot;
		at = (at + 1) % POOL_SLOT_NR;
		if (tries % POOL_SLOT_NR == 0)
			sched_yield();
	}
}

void pool_release(struct pool_slot *slot)
{
	atomic_store_explicit(&slot->claim->busy, 0, memory_order_release);
}
