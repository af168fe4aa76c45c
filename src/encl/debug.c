/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A debugger's access to a debug enclave, eight bytes at a time: EDBGRD and EDBGWR.
 */
#include "encl/encl_priv.h"

#include <errno.h>

#include "epc/epc.h"

static int debug_word(struct encl *encl, const struct encl_mm *mm, uint64_t la, uint64_t *value,
		      bool write)
{
	struct encl_page *page;
	struct cpu_outcome out;
	struct bring b;
	int r;

	if (!(encl_flags(encl) & ENCL_DEBUG) || !encl_has_la(encl, la))
		return -EFAULT;
	bring_init(&b, encl, mm);
	encl_lock(encl);
	r = bring_page_locked(encl, &b, (la - encl->base) / SGX_PAGE_SIZE, 0, 0, &page);
	if (r < 0) {
		r = -EFAULT;
	} else {
		uint32_t nr = epc_page_nr(encl->epc, page->epc_page);
		uint32_t off = (uint32_t)(la % SGX_PAGE_SIZE);

		out = write ? encls_edbgwr(encl->cpu, nr, off, *value)
			    : encls_edbgrd(encl->cpu, nr, off, value);
		r = cpu_ok(out) ? 0 : -EIO;
	}
	encl_unlock(encl);
	bring_fini(&b);
	return r;
}

int encl_debug_read(struct encl *encl, const struct encl_mm *mm, uint64_t la, uint64_t *ret_value)
{
	return debug_word(encl, mm, la, ret_value, false);
}

int encl_debug_write(struct encl *encl, const struct encl_mm *mm, uint64_t la, uint64_t value)
{
	return debug_word(encl, mm, la, &value, true);
}
