/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Random bytes straight from the kernel: no generator of our own whose state a forked child would
 * inherit.  There is no answer to "no random bytes" that keeps a secret secret, so that is an abort.
 */
#include "crypto/random.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/types.h>

void random_bytes(void *to, size_t bytes)
{
	unsigned char *at = to;

	while (bytes) {
		ssize_t got = getrandom(at, bytes, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			abort();
		at += got;
		bytes -= (size_t)got;
	}
}
