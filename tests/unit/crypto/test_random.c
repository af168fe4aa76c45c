/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Random bytes: all of them are written, none beside them, and a child does not repeat its parent. */
#include "crypto/random.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/tap.h"

/* A byte of n is still zero after 16 draws with a chance of n / 2^128. */
static void test_fills(size_t bytes)
{
	uint8_t got[1024 + 2] = { 0 }, seen[1024] = { 0 };
	size_t missing = 0;

	for (unsigned int draw = 0; draw < 16; draw++) {
		random_bytes(got + 1, bytes);
		for (size_t i = 0; i < bytes; i++)
			seen[i] |= got[1 + i];
	}
	for (size_t i = 0; i < bytes; i++)
		missing += !seen[i];
	TAP_CHECK(!missing && !got[0] && !got[bytes + 1], "%zu bytes, exactly those", bytes);
}

int main(void)
{
	uint8_t mine[32];
	uint8_t *child =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	TAP_MUST(child != MAP_FAILED, "shared memory");
	test_fills(0);
	test_fills(1);
	test_fills(257);
	test_fills(1024);

	pid = fork();
	if (pid == 0) {
		random_bytes(child, sizeof(mine));
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	random_bytes(mine, sizeof(mine));
	TAP_CHECK(memcmp(mine, child, sizeof(mine)) != 0, "a child draws other bytes");
	munmap(child, 4096);
	return tap_done();
}
