/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Pages: whose they are, and where their bytes lie.
 *
 * The bytes are in the page's home in the window, or at the offset where its owner placed them, or on the stage of
 * the batch that has the page in hand.  The processor is told of each move.
 */
#include "arch/sgx.h"
#include "cpu/cpu.h"
#include "epc/epc_priv.h"
#include "epc/owner.h"

uint32_t epc_page_nr(const struct epc *epc, const struct epc_page *page)
{
	return page_index(epc, page);
}

struct epc_page *epc_page_at(const struct epc *epc, uint32_t nr)
{
	assert(nr < epc->page_nr);
	return &epc->pages[nr];
}

void *epc_page_owner(const struct epc_page *page)
{
	/* Anybody's page may be asked, at any moment. */
	const struct epc_owner *owner = __atomic_load_n(&page->owner, __ATOMIC_RELAXED);

	return owner ? owner->owner : NULL;
}

enum epc_state epc_page_state(const struct epc_page *page)
{
	return page_state(page);
}

uint64_t epc_page_cookie(const struct epc_page *page)
{
	return atomic_load_explicit(&page->cookie, memory_order_relaxed);
}

void epc_page_set_cookie(struct epc_page *page, uint64_t cookie)
{
	atomic_store_explicit(&page->cookie, cookie, memory_order_relaxed);
}

void page_own(struct epc *epc, struct epc_page *page, bool unplaced)
{
	uint32_t nr = page_index(epc, page);

	epc_page_set_cookie(page, 0);
	page->win_page = PAGE_AT_HOME;
	atomic_fetch_and_explicit(&page->flags, PAGE_POISONED, memory_order_relaxed);
	if (unplaced) {
		atomic_fetch_or_explicit(&page->flags, PAGE_NOWHERE, memory_order_relaxed);
		return;
	}
	cpu_set_bytes(epc->cpu, nr, window_at(epc->window, window_home(epc->window, nr)));
}

void epc_page_hand_on(struct epc_page *page, struct epc_owner *to)
{
	assert(page_state(page) == EPC_PAGE_OWNED && to->group == page->owner->group);
	__atomic_store_n(&page->owner, to, __ATOMIC_RELEASE);
}

static uint64_t bytes_off(const struct epc *epc, const struct epc_page *page)
{
	if (page->win_page == PAGE_AT_HOME)
		return window_home(epc->window, page_index(epc, page));
	return (uint64_t)page->win_page * SGX_PAGE_SIZE;
}

void page_drop_bytes(struct epc *epc, struct epc_page *page)
{
	if (!(atomic_load_explicit(&page->flags, memory_order_relaxed) & PAGE_NOWHERE))
		window_drop(epc->window, bytes_off(epc, page), 1);
}

void epc_page_place(struct epc *epc, struct epc_page *page, uint64_t win_off, bool move)
{
	uint8_t flags = atomic_load_explicit(&page->flags, memory_order_relaxed);
	uint64_t from = bytes_off(epc, page);

	assert(page_state(page) >= EPC_PAGE_OWNED && page_state(page) <= EPC_PAGE_IN_BATCH);
	assert(!(flags & PAGE_TAKEN) && !(move && (flags & PAGE_NOWHERE)));
	assert(win_off % SGX_PAGE_SIZE == 0 && win_off / SGX_PAGE_SIZE < PAGE_AT_HOME);
	/* Twice is fine: whoever finds that somebody died in it does it again. */
	if (from == win_off && !(flags & PAGE_NOWHERE))
		return;
	if (move) {
		/* Dropping first and giving then would need no more memory, but could lose the bytes. */
		while (window_give(epc->window, win_off, window_at(epc->window, from)) < 0)
			;
	}
	cpu_set_bytes(epc->cpu, page_index(epc, page), window_at(epc->window, win_off));
	page->win_page = (uint32_t)(win_off / SGX_PAGE_SIZE);
	if (flags & PAGE_NOWHERE)
		atomic_fetch_and_explicit(&page->flags, (uint8_t)~PAGE_NOWHERE,
					  memory_order_release);
	else
		window_drop(epc->window, from, 1);
}

void epc_page_lend(struct epc *epc, struct epc_page *page, void *bytes)
{
	assert(page_state(page) == EPC_PAGE_OWNED && page->win_page == PAGE_AT_HOME);
	cpu_set_bytes(epc->cpu, page_index(epc, page), bytes);
	atomic_fetch_or_explicit(&page->flags, PAGE_NOWHERE, memory_order_release);
}

bool epc_page_placed(const struct epc_page *page)
{
	return page->win_page != PAGE_AT_HOME &&
	       !(atomic_load_explicit(&page->flags, memory_order_acquire) & PAGE_TAKEN);
}
