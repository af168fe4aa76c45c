/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* AES-CMAC: the examples of RFC 4493, keys that alternate, and the comparison of byte strings. */
#include "crypto/cmac.h"

#include <string.h>

#include "lib/hex.h"
#include "lib/tap.h"

static const char key_hex[] = "2b7e151628aed2a6abf7158809cf4f3c";
static const char message_hex[] =
	"6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
	"30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";

static const struct {
	size_t bytes;
	const char *mac;
} cases[] = {
	{ 0, "bb1d6929e95937287fa37d129b756746" },
	{ 16, "070a16b46b4d4144f79bdd9dd04a287c" },
	{ 40, "dfa66747de9ae63030ca32611497c827" },
	{ 64, "51f0bebf7e3b9d92fc49741779363cfe" },
};

static void test_equal(void)
{
	uint8_t a[33], b[33];

	memset(a, 0x5a, sizeof(a));
	memset(b, 0x5a, sizeof(b));
	TAP_CHECK(crypto_equal(a, b, sizeof(a)), "equal strings are equal");
	TAP_CHECK(crypto_equal(a, b, 0), "so are empty ones");
	for (size_t i = 0; i < sizeof(a); i++) {
		for (unsigned int bit = 0; bit < 8; bit++) {
			b[i] ^= (uint8_t)(1u << bit);
			if (crypto_equal(a, b, sizeof(a))) {
				TAP_CHECK(false, "bit %u of byte %zu was not seen", bit, i);
				return;
			}
			b[i] ^= (uint8_t)(1u << bit);
		}
	}
	TAP_CHECK(true, "each single bit is seen");
}

int main(void)
{
	uint8_t key[16], other[16], message[64], want[16], got[16], first[16];

	hex_bytes(key_hex, key);
	TAP_MUST(hex_bytes(message_hex, message) == sizeof(message), "the message has 64 bytes");
	memset(other, 7, sizeof(other));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		hex_bytes(cases[i].mac, want);
		cmac_aes128(key, message, cases[i].bytes, got);
		TAP_CHECK(memcmp(got, want, 16) == 0, "RFC 4493, %zu bytes", cases[i].bytes);
		/* Another key in between must leave nothing behind. */
		cmac_aes128(other, message, cases[i].bytes, got);
		TAP_CHECK(memcmp(got, want, 16) != 0, "another key, another MAC");
	}
	cmac_aes128(other, message, 5, first);
	cmac_aes128(key, message, 64, got);
	cmac_aes128(other, message, 5, got);
	TAP_CHECK(memcmp(got, first, 16) == 0, "keys may alternate");
	test_equal();
	return tap_done();
}
