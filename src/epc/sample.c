/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The manager's part of epc/policy_sample.h: policies hear of uses before they decide, and the translations of
 * armed pages are dropped after that, in batches, outside of the locks.
 *
 * Only the calling process's translations can be dropped.  A use by another one is seen when its own have gone.
 */
#include "arch/sgx.h"
#include "epc/epc_priv.h"
#include "epc/pagelist.h"
#include "epc/policy_sample.h"
#include "epc/sample_priv.h"

void sample_tell_locked(struct epc *epc)
{
	uint32_t nr;

	while ((nr = sample_next_used(&epc->view)) != PAGE_NONE) {
		if (epc->policy->used && page_state(&epc->pages[nr]) == EPC_PAGE_TRACKED)
			epc->policy->used(page_policy_state(&epc->pages[nr]), nr);
	}
}

unsigned int sample_collect_locked(struct epc *epc, unsigned int at_least,
				   uint64_t ret_offsets[SAMPLE_BATCH])
{
	const struct epc_page *page;
	uint32_t nr[SAMPLE_BATCH];
	unsigned int i, n, found = 0;

	if (epc->view.samples->arm_nr < at_least)
		return 0;
	n = sample_take_armed(epc->view.samples, nr);
	for (i = 0; epc->unmap && i < n; i++) {
		page = &epc->pages[nr[i]];
		if (page_state(page) == EPC_PAGE_TRACKED && epc_page_placed(page))
			ret_offsets[found++] = (uint64_t)page_win_page(epc, nr[i]) * SGX_PAGE_SIZE;
	}
	return found;
}

void sample_drop(struct epc *epc)
{
	uint64_t unmap[SAMPLE_BATCH];
	unsigned int nr;
	bool more;

	do {
		order_lock(epc);
		nr = sample_collect_locked(epc, 1, unmap);
		more = epc->view.samples->arm_nr > 0;
		order_unlock(epc);
		if (nr > 0)
			epc->unmap(unmap, nr);
	} while (more);
}
