/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What compilers call where nobody wrote a call: to clear or copy a struct.  A library that has them there is none.
 * As instructions, since a loop would be taken for a memset() and become a call of itself.
 */
#include <stddef.h>

void *memset(void *to, int byte, size_t bytes);
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);

void *memset(void *to, int byte, size_t bytes)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(byte) : "memory");
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(bytes) : : "memory");
	return to;
}
