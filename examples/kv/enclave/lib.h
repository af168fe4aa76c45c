/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The bit of a C library that the enclave needs.  The memory functions are also what the compiler
 * itself calls.
 */
#ifndef KV_ENCLAVE_LIB_H
#define KV_ENCLAVE_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *to, const void *from, size_t bytes);
void *memset(void *to, int byte, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

/* Clear a secret, so that the compiler can't leave it out. */
static inline void wipe(void *secret, size_t bytes)
{
	memset(secret, 0, bytes);
	__asm__ volatile("" : : "r"(secret) : "memory");
}

/* Compare two MACs in a time that doesn't depend on them. */
static inline bool same_mac(const uint8_t a[16], const uint8_t b[16])
{
	unsigned int diff = 0;

	for (unsigned int i = 0; i < 16; i++)
		diff |= a[i] ^ b[i];
	return diff == 0;
}

/* A lock that gives up: the host may have stopped its holder for as long as it likes. */
struct spinlock {
	uint32_t held;
};

static inline bool spin_try(struct spinlock *lock, unsigned int tries)
{
	while (__atomic_exchange_n(&lock->held, 1, __ATOMIC_ACQUIRE)) {
		do {
			if (tries-- == 0)
				return false;
			__builtin_ia32_pause();
		} while (__atomic_load_n(&lock->held, __ATOMIC_RELAXED));
	}
	return true;
}

static inline void spin_lock(struct spinlock *lock)
{
	while (!spin_try(lock, 1000))
		;
}

static inline void spin_unlock(struct spinlock *lock)
{
	__atomic_store_n(&lock->held, 0, __ATOMIC_RELEASE);
}

#endif
