/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* SHA-256: the examples of FIPS 180, and that the state is nothing but its bytes. */
#include "crypto/sha256.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/hex.h"
#include "lib/tap.h"

static const struct {
	const char *name, *text, *digest;
} cases[] = {
	{ "empty", "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ "one block", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ "two blocks", "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
	  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
};

/* In pieces of every size up to 200, across all block boundaries. */
static void test_million(void)
{
	uint8_t want[32], got[32], piece[200];
	struct sha256 hash;
	size_t left = 1000000, size = 1;

	hex_bytes("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", want);
	memset(piece, 'a', sizeof(piece));
	sha256_init(&hash);
	while (left) {
		size_t now = size < left ? size : left;

		sha256_update(&hash, piece, now);
		left -= now;
		size = size % sizeof(piece) + 1;
	}
	sha256_final(&hash, got);
	TAP_CHECK(memcmp(got, want, 32) == 0, "a million a, in pieces");
}

/* The state is begun here, moved, continued by a child at another address, and ended here. */
static void test_plain_bytes(void)
{
	struct sha256 here, *there;
	uint8_t want[32], got[32];
	int status = -1;
	pid_t pid;

	there = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	TAP_MUST(there != MAP_FAILED, "shared memory");
	sha256_init(&here);
	sha256_update(&here, "the first part, ", 16);
	*there = here;
	memset(&here, 0xa5, sizeof(here));

	pid = fork();
	if (pid == 0) {
		struct sha256 own = *there;

		sha256_update(&own, "the second", 10);
		*there = own;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	TAP_CHECK(status == 0, "a child continues");
	sha256_final(there, got);
	sha256_once("the first part, the second", 26, want);
	TAP_CHECK(memcmp(got, want, 32) == 0, "a state can be copied between processes");
	munmap(there, 4096);
}

int main(void)
{
	uint8_t want[32], got[32];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		hex_bytes(cases[i].digest, want);
		sha256_once(cases[i].text, strlen(cases[i].text), got);
		TAP_CHECK(memcmp(got, want, 32) == 0, "%s", cases[i].name);
	}
	test_million();
	test_plain_bytes();
	return tap_done();
}
