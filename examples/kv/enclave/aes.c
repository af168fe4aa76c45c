/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * AES-128-GCM (NIST SP 800-38D) and AES-128-CMAC (SP 800-38B) with AES-NI and PCLMULQDQ.
 *
 * GHASH numbers its bits from the wrong end.  With bytes reversed, a carry-less product comes
 * out one bit too low; so the hash key is multiplied by x once, beforehand, and a product needs
 * no shift.
 */
#include <emmintrin.h>
#include <tmmintrin.h>
#include <wmmintrin.h>

#include "aes.h"
#include "lib.h"

static __m128i load(const void *from)
{
	return _mm_loadu_si128(from);
}

static void store(void *to, __m128i v)
{
	_mm_storeu_si128(to, v);
}

static __m128i reversed(__m128i v)
{
	return _mm_shuffle_epi8(v,
				_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

static __m128i next_round_key(__m128i key, __m128i assist)
{
	key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
	key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
	return _mm_xor_si128(key, _mm_shuffle_epi32(assist, 0xff));
}

void aes_key_init(struct aes_key *key, const uint8_t bytes[16])
{
	__m128i k = load(bytes);

	store(key->round[0], k);
	/* The round constant is part of the instruction. */
#define ROUND(n, rcon)                                                     \
	do {                                                               \
		k = next_round_key(k, _mm_aeskeygenassist_si128(k, rcon)); \
		store(key->round[n], k);                                   \
	} while (0)
	ROUND(1, 0x01);
	ROUND(2, 0x02);
	ROUND(3, 0x04);
	ROUND(4, 0x08);
	ROUND(5, 0x10);
	ROUND(6, 0x20);
	ROUND(7, 0x40);
	ROUND(8, 0x80);
	ROUND(9, 0x1b);
	ROUND(10, 0x36);
#undef ROUND
}

static __m128i encrypt(const struct aes_key *key, __m128i block)
{
	block = _mm_xor_si128(block, load(key->round[0]));
	for (unsigned int i = 1; i < 10; i++)
		block = _mm_aesenc_si128(block, load(key->round[i]));
	return _mm_aesenclast_si128(block, load(key->round[10]));
}

/* v * x in GHASH's field, v byte-reversed. */
static __m128i times_x(__m128i v)
{
	const __m128i poly = _mm_set_epi64x((long long)0xc200000000000000ull, 1);
	__m128i carry = _mm_srli_epi64(v, 63);
	__m128i top = _mm_shuffle_epi32(_mm_srai_epi32(v, 31), 0xff);

	v = _mm_or_si128(_mm_slli_epi64(v, 1), _mm_slli_si128(carry, 8));
	return _mm_xor_si128(v, _mm_and_si128(top, poly));
}

static __m128i ghash_multiply(__m128i a, __m128i hx)
{
	const __m128i poly = _mm_set_epi64x(0, (long long)0xc200000000000000ull);
	__m128i low = _mm_clmulepi64_si128(a, hx, 0x00);
	__m128i high = _mm_clmulepi64_si128(a, hx, 0x11);
	__m128i middle =
		_mm_xor_si128(_mm_clmulepi64_si128(a, hx, 0x01), _mm_clmulepi64_si128(a, hx, 0x10));

	low = _mm_xor_si128(low, _mm_slli_si128(middle, 8));
	high = _mm_xor_si128(high, _mm_srli_si128(middle, 8));
	/* Fold the low half away, 64 bits a step. */
	for (unsigned int i = 0; i < 2; i++)
		low = _mm_xor_si128(_mm_shuffle_epi32(low, 0x4e),
				    _mm_clmulepi64_si128(low, poly, 0x00));
	return _mm_xor_si128(high, low);
}

static __m128i ghash(__m128i hash, __m128i hx, const uint8_t *data, size_t bytes)
{
	uint8_t tail[16] = { 0 };

	for (; bytes >= 16; data += 16, bytes -= 16)
		hash = ghash_multiply(_mm_xor_si128(hash, reversed(load(data))), hx);
	if (bytes) {
		memcpy(tail, data, bytes);
		hash = ghash_multiply(_mm_xor_si128(hash, reversed(load(tail))), hx);
	}
	return hash;
}

static __m128i counter_block(const uint8_t iv[12], uint32_t counter)
{
	uint8_t block[16];

	memcpy(block, iv, 12);
	counter = __builtin_bswap32(counter);
	memcpy(block + 12, &counter, 4);
	return load(block);
}

/* Data blocks have the counters from 2 on; 1 is the tag's. */
static void gcm_crypt(const struct aes_key *key, const uint8_t iv[12], uint8_t *data, size_t bytes)
{
	uint8_t tail[16] = { 0 };
	uint32_t counter = 2;

	for (; bytes >= 16; data += 16, bytes -= 16)
		store(data, _mm_xor_si128(load(data), encrypt(key, counter_block(iv, counter++))));
	if (bytes) {
		memcpy(tail, data, bytes);
		store(tail, _mm_xor_si128(load(tail), encrypt(key, counter_block(iv, counter))));
		memcpy(data, tail, bytes);
	}
}

static void gcm_tag(const struct aes_key *key, const uint8_t iv[12], const void *aad,
		    size_t aad_bytes, const void *data, size_t bytes, uint8_t ret_tag[16])
{
	__m128i hx = times_x(reversed(encrypt(key, _mm_setzero_si128())));
	__m128i lengths = _mm_set_epi64x((long long)(aad_bytes * 8), (long long)(bytes * 8));
	__m128i hash = _mm_setzero_si128();

	hash = ghash(hash, hx, aad, aad_bytes);
	hash = ghash(hash, hx, data, bytes);
	hash = ghash_multiply(_mm_xor_si128(hash, lengths), hx);
	store(ret_tag, _mm_xor_si128(reversed(hash), encrypt(key, counter_block(iv, 1))));
}

void aes_gcm_seal(const struct aes_key *key, const uint8_t iv[12], const void *aad,
		  size_t aad_bytes, void *data, size_t bytes, uint8_t ret_tag[16])
{
	gcm_crypt(key, iv, data, bytes);
	gcm_tag(key, iv, aad, aad_bytes, data, bytes, ret_tag);
}

bool aes_gcm_open(const struct aes_key *key, const uint8_t iv[12], const void *aad,
		  size_t aad_bytes, void *data, size_t bytes, const uint8_t tag[16])
{
	uint8_t right[16];

	gcm_tag(key, iv, aad, aad_bytes, data, bytes, right);
	if (!same_mac(right, tag))
		return false;
	gcm_crypt(key, iv, data, bytes);
	return true;
}

/* The subkeys of CMAC: a value doubled in its field, bits from the left. */
static void cmac_double(uint8_t v[16])
{
	unsigned int carry = 0;

	for (unsigned int i = 16; i-- > 0;) {
		unsigned int next = v[i] >> 7;

		v[i] = (uint8_t)(v[i] << 1 | carry);
		carry = next;
	}
	v[15] ^= (uint8_t)(0x87 & -carry);
}

void aes_cmac(const struct aes_key *key, const void *data, size_t bytes, uint8_t ret_mac[16])
{
	const uint8_t *from = data;
	__m128i mac = _mm_setzero_si128();
	uint8_t subkey[16], tail[16] = { 0 };

	for (; bytes > 16; from += 16, bytes -= 16)
		mac = encrypt(key, _mm_xor_si128(mac, load(from)));
	memcpy(tail, from, bytes);
	store(subkey, encrypt(key, _mm_setzero_si128()));
	cmac_double(subkey);
	if (bytes < 16) {
		tail[bytes] = 0x80;
		cmac_double(subkey);
	}
	mac = _mm_xor_si128(mac, _mm_xor_si128(load(tail), load(subkey)));
	store(ret_mac, encrypt(key, mac));
	wipe(subkey, sizeof(subkey));
}
