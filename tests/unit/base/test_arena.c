/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The shared heap: alignment, zeroing, reuse, exhaustion, that a forked child sees the same, and huge pages. */
#include "base/arena.h"

#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/huge.h"
#include "lib/tap.h"

static bool all_zero(const unsigned char *p, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes; i++) {
		if (p[i])
			return false;
	}
	return true;
}

/* Every size: aligned, zeroed, not overlapping the block before, and reused after a free. */
static void test_sizes(void)
{
	struct arena *arena = arena_create(64u << 20);
	bool aligned = true, zeroed = true, apart = true, reused = true, zeroed_again = true;
	unsigned char *prev_end = NULL;
	unsigned char *p, *again;
	size_t bytes;

	TAP_MUST(arena, "an arena");
	for (bytes = 1; bytes < 5000; bytes += 7) {
		p = arena_alloc(arena, bytes);
		TAP_MUST(p, "%zu bytes", bytes);
		aligned &= (uintptr_t)p % 64 == 0;
		zeroed &= all_zero(p, bytes);
		apart &= !prev_end || p >= prev_end;
		memset(p, 0xa5, bytes);
		prev_end = p + bytes;
	}
	for (bytes = 1; bytes < 1000000; bytes = bytes * 3 / 2 + 1) {
		p = arena_alloc(arena, bytes);
		memset(p, 0x5a, bytes);
		arena_free(arena, p, bytes);
		again = arena_alloc(arena, bytes);
		reused &= again == p;
		zeroed_again &= all_zero(again, bytes);
	}
	TAP_CHECK(aligned, "blocks are aligned to 64");
	TAP_CHECK(zeroed, "blocks are zeroed");
	TAP_CHECK(apart, "blocks do not overlap");
	TAP_CHECK(reused, "a freed block is used again, whatever its size");
	TAP_CHECK(zeroed_again, "and zeroed again");
	arena_destroy(arena);
}

static void test_used_and_full(void)
{
	struct arena *arena = arena_create(1u << 20);
	size_t before = arena_used_bytes(arena);
	void *p[64];
	unsigned int nr = 0;
	unsigned int i;

	while (nr < 64 && (p[nr] = arena_alloc(arena, 100000)))
		nr++;
	TAP_CHECK(nr >= 8 && nr < 11, "an arena of 1 MiB holds %u blocks of 100000 bytes", nr);
	TAP_CHECK(!arena_alloc(arena, 100000), "a full arena says so");
	TAP_CHECK(!arena_alloc(arena, SIZE_MAX), "and an absurd size gets nothing");
	TAP_CHECK(arena_used_bytes(arena) >= nr * 100000ul, "used bytes count them");
	for (i = 0; i < nr; i++)
		arena_free(arena, p[i], 100000);
	TAP_CHECK(arena_used_bytes(arena) == before, "used bytes are back where they began");
	arena_free(arena, NULL, 100);
	arena_destroy(arena);
	arena_destroy(NULL);
}

static void test_fork(void)
{
	struct arena *arena = arena_create(1u << 20);
	int **box = arena_alloc(arena, sizeof(*box));
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		*box = arena_alloc(arena, sizeof(**box));
		**box = 42;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	TAP_CHECK(status == 0 && *box && **box == 42, "the parent sees what the child allocated");
	arena_destroy(arena);
}

/* @p: all of @bytes of it is mapped, and nothing was touched. */
static void check_huge(char *p, size_t bytes, const char *what)
{
	bool can = huge_can_be_made();
	unsigned int nr;

	TAP_CHECK((uintptr_t)p % SHARED_HUGE_BYTES == 0, "%s begins where a huge page does", what);
	p[SHARED_HUGE_BYTES + 5000] = 42;
	TAP_CHECK(huge_resident(p + SHARED_HUGE_BYTES, HUGE_BYTES) > 0, "a page of it is touched");
	shared_make_huge(p, bytes, p + 2 * SHARED_HUGE_BYTES - 1);
	nr = huge_resident(p + SHARED_HUGE_BYTES, HUGE_BYTES);
	if (can)
		TAP_CHECK(nr == HUGE_SMALL_NR, "all around it is there, %u pages", nr);
	else
		tap_skip("all around it is there", "this system makes no huge pages");
	TAP_CHECK(p[SHARED_HUGE_BYTES + 5000] == 42, "with what it had");
	TAP_CHECK(huge_resident(p, HUGE_BYTES) == 0 &&
			  huge_resident(p + 2 * HUGE_BYTES, 2 * HUGE_BYTES) == 0,
		  "and nothing else");
	p[bytes - 1] = 42;
	nr = huge_resident(p + 4 * HUGE_BYTES, HUGE_BYTES / 2);
	shared_make_huge(p, bytes, p + bytes - 1);
	TAP_CHECK(huge_resident(p + 4 * HUGE_BYTES, HUGE_BYTES / 2) == nr,
		  "nor what is less than a whole one");
}

static void test_huge(void)
{
	struct arena *arena = arena_create_shown(64u << 20);
	size_t bytes = 9 * SHARED_HUGE_BYTES / 2;
	char *p = shared_map(bytes), *small = shared_map(SHARED_HUGE_BYTES);
	unsigned int nr;

	TAP_MUST(p && small && arena, "memory");
	check_huge(p, bytes, "a mapping");
	small[0] = 42;
	nr = huge_resident(small, HUGE_BYTES);
	shared_make_huge(small, SHARED_HUGE_BYTES, small);
	TAP_CHECK(nr > 0 && huge_resident(small, HUGE_BYTES) == nr, "a small one stays as it is");
	shared_unmap(small, SHARED_HUGE_BYTES);
	shared_unmap(p, bytes);
	p = arena_map(arena, bytes);
	TAP_MUST(p, "one in an arena that others see");
	check_huge(p, bytes, "it");
	arena_unmap(arena, p, bytes);
	arena_destroy(arena);
}

int main(void)
{
	test_sizes();
	test_used_and_full();
	test_fork();
	test_huge();
	return tap_done();
}
