/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What a mapping of the enclave may allow: no page in it may be shown with more rights than it was
 * added with.  Holes are free: what is put there later is judged by the enclave.
 */
#include "encl/encl_priv.h"

#include <errno.h>
#include <sys/personality.h>

int encl_may_map(struct encl *encl, uint64_t start, uint64_t end, unsigned int rwx)
{
	struct encl_page *page;
	uint64_t idx, last;
	int persona, r = 0;

	if (encl_initialized(encl) && (start < encl->base || end > encl->base + encl->size))
		return -EACCES;
	persona = personality(0xffffffff);
	if (persona != -1 && (persona & READ_IMPLIES_EXEC))
		return -EACCES;
	if (!encl_created(encl) || end <= encl->base || start >= encl->base + encl->size)
		return 0;

	idx = start > encl->base ? (start - encl->base) / SGX_PAGE_SIZE : 0;
	last = (end - encl->base - 1) / SGX_PAGE_SIZE;
	encl_lock(encl);
	while (r == 0 && (page = pages_next_locked(encl, &idx, last + 1))) {
		if (rwx & ~page->max_rwx)
			r = -EACCES;
		idx++;
	}
	encl_unlock(encl);
	return r;
}
