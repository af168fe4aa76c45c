/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What can be told about an enclave: figures for people, and the backing slot for tests.
 */
#include "encl/encl_priv.h"

#include <string.h>

#include "epc/backing.h"

void encl_info_read(struct encl *encl, struct encl_info *ret_info)
{
	encl_lock(encl);
	*ret_info = (struct encl_info){
		.id = encl->id,
		.base = encl->base,
		.size = encl->size,
		.pages = encl->page_nr,
		.resident = encl->child_nr,
		.evictions = encl->evictions,
		.loads = encl->loads,
		.faults = encl->faults,
		.initialized = encl_initialized(encl),
		.debug = encl_flags(encl) & ENCL_DEBUG,
	};
	for (unsigned int i = 0; i < VA_LEVELS; i++) {
		ret_info->va_pages += encl->versions.level[i].nr;
		ret_info->va_resident += encl->versions.level[i].here_nr;
	}
	if (encl_initialized(encl))
		memcpy(ret_info->mrenclave, encl->mrenclave, sizeof(ret_info->mrenclave));
	encl_unlock(encl);
}

uint32_t encl_backing_slot(struct encl *encl, uint64_t offset)
{
	struct encl_page *page;
	uint32_t slot = BACKING_NO_SLOT;

	encl_lock(encl);
	page = pages_find_locked(encl, offset / SGX_PAGE_SIZE);
	if (page && !page->epc_page)
		slot = page->backing;
	encl_unlock(encl);
	return slot;
}
