/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The TCS seen from outside: all ones, never a crash; what the host writes to it is lost.  (Abort page
 * semantics.  On hardware every page of the enclave is like that; swsgx does not promise to hide
 * contents from the program that the enclave lives in, so only the TCS is asked for.)
 */
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

static bool all_ones(const volatile uint8_t *p, size_t n)
{
	while (n--)
		if (*p++ != 0xff)
			return false;
	return true;
}

static void check_thread(struct client_encl *e, unsigned int i)
{
	volatile uint8_t *tcs = (void *)e->tcs[i];
	uint8_t copy[256];

	TAP_CHECK(all_ones(tcs, 4096), "TCS %u: the host reads 0xff, byte by byte", i);
	TAP_CHECK(*(volatile uint64_t *)(tcs + 72) == ~0ull && *(volatile uint16_t *)tcs == 0xffff,
		  "TCS %u: in words of other sizes too", i);
	memcpy(copy, (const void *)tcs, sizeof(copy));
	TAP_CHECK(all_ones(copy, sizeof(copy)), "TCS %u: by memcpy too", i);
	tcs[16] = 0x77;
	TAP_CHECK(all_ones(tcs, 32), "TCS %u: what the host writes is lost", i);
	TAP_CHECK(!client_op(e, i, OP_NOP, 0, 0, 0), "TCS %u: it can still be entered", i);
	TAP_CHECK(all_ones(tcs, 4096), "TCS %u: 0xff again after the entry", i);
}

int main(void)
{
	struct client_conf conf = { .threads = 2, .heap_pages = 4 };
	struct client_encl e;

	TAP_MUST(!client_create(&e, &conf), "an enclave");
	check_thread(&e, 0);
	check_thread(&e, 1);
	client_destroy(&e);
	return tap_done();
}
