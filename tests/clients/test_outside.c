/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The enclave's pages seen from outside: all ones, whatever they hold, never a crash; what the host
 * writes is lost.  (Abort page semantics.)  The TCS the same.
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

int main(void)
{
	struct client_conf conf = { .heap_pages = 4 };
	struct client_encl e;
	volatile uint8_t *tcs, *heap, *code;

	TAP_MUST(!client_create(&e, &conf), "an enclave");
	tcs = (void *)e.tcs[0];
	heap = (void *)(e.base + e.heap);
	code = (void *)(e.base + e.code);
	client_op(&e, 0, OP_WRITE, (uintptr_t)heap, 0x1234, 0);
	TAP_CHECK(all_ones(tcs, 4096), "the host reads 0xff from a TCS");
	TAP_CHECK(all_ones(heap, 4096), "the host reads 0xff from a REG page");
	TAP_CHECK(all_ones(code, 4096), "the host reads 0xff from code");
	heap[0] = 0x77;
	TAP_CHECK(client_op(&e, 0, OP_READ, (uintptr_t)heap, 0, 0) == 0x1234,
		  "what the host writes to a page is lost");
	tcs[64] = 0x77;
	TAP_CHECK(!client_op(&e, 0, OP_NOP, 0, 0, 0), "and to a TCS too: it can still be entered");
	TAP_CHECK(all_ones(heap, 8), "still 0xff after the enclave has used the page");
	client_destroy(&e);
	return tap_done();
}
