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
#include "epc/policy_ghost.h"
#include "epc/window.h"

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
	const struct epc_owner *owner = page_owner(page);

	return owner ? owner->owner : NULL;
}

/*
 * The links of its neighbours will be needed soon.  Its own may be changed meanwhile, which a sanitizer would tell: what is
 * read only decides what is fetched.
 */
__attribute__((no_sanitize("thread"))) static void prefetch_beside(const struct epc *epc,
								   const struct epc_page *page)
{
	__builtin_prefetch((const char *)(&epc->pages[page->next] + 1) - 1, 1);
	__builtin_prefetch((const char *)(&epc->pages[page->prev] + 1) - 1, 1);
}

/* What is beside them is known when they are there: then all of that is waited for at once, too. */
void epc_announce(struct epc *epc, struct epc_page *const *pages, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		page_prefetch(pages[i]);
	for (i = 0; i < nr; i++)
		prefetch_beside(epc, pages[i]);
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
	const struct epc *epc = page_owner(page)->epc;

	page_set_cookie(page, cookie);
	/* By owner and cookie it is remembered when it has gone: what is there is looked for when it is tracked. */
	ghost_prefetch(&epc->view, page_index(epc, page));
}

void page_own(struct epc *epc, struct epc_page *page, bool unplaced)
{
	uint32_t nr = page_index(epc, page);

	if (!unplaced)
		cpu_set_bytes(epc->cpu, nr, window_at(epc->window, window_home(epc->window, nr)));
}

void page_keep_locked(struct epc *epc, struct epc_page *page)
{
	if (!(atomic_fetch_or(&page->state, PAGE_STATE_KEPT) & PAGE_STATE_KEPT))
		page_owner(page)->group->kept_nr++;
}

void page_unkeep_locked(struct epc *epc, struct epc_page *page)
{
	if (atomic_fetch_and(&page->state, (uint8_t)~PAGE_STATE_KEPT) & PAGE_STATE_KEPT)
		page_owner(page)->group->kept_nr--;
}

void epc_page_hand_on(struct epc_page *page, struct epc_owner *to)
{
	assert(page_state(page) == EPC_PAGE_OWNED && to->told_as == page_owner(page)->told_as);
	page_set_owner(page, to);
}

uint32_t page_win_page(const struct epc *epc, uint32_t nr)
{
	uint64_t offset = window_offset(epc->window, cpu_bytes(epc->cpu, nr));

	return offset < window_home(epc->window, 0) ? (uint32_t)(offset / SGX_PAGE_SIZE)
						    : PAGE_AT_HOME;
}

void page_drop_bytes(struct epc *epc, struct epc_page *page)
{
	uint64_t offset = window_offset(epc->window, cpu_bytes(epc->cpu, page_index(epc, page)));

	if (offset != WINDOW_NOWHERE)
		window_drop(epc->window, offset, 1);
}

void epc_page_place(struct epc *epc, struct epc_page *page, uint64_t win_off, bool move)
{
	uint32_t nr = page_index(epc, page);
	uint64_t from = window_offset(epc->window, cpu_bytes(epc->cpu, nr));
	uint8_t flags = atomic_load_explicit(&page->flags, memory_order_relaxed);

	assert(page_state(page) >= EPC_PAGE_OWNED && page_state(page) <= EPC_PAGE_IN_BATCH);
	assert(!(flags & PAGE_TAKEN) && !(move && from == WINDOW_NOWHERE));
	assert(win_off % SGX_PAGE_SIZE == 0 && win_off < window_home(epc->window, 0));
	/* Twice is fine: whoever finds that somebody died in it does it again. */
	if (from == win_off && (flags & PAGE_PLACED))
		return;
	if (move && from != win_off) {
		/* Dropping first and giving then would need no more memory, but could lose the bytes. */
		while (window_give(epc->window, win_off, window_at(epc->window, from)) < 0)
			;
	}
	cpu_set_bytes(epc->cpu, nr, window_at(epc->window, win_off));
	atomic_fetch_or_explicit(&page->flags, PAGE_PLACED, memory_order_release);
	/* Who died behind its bytes' move may have left them at home, too. */
	if (from == win_off)
		from = window_home(epc->window, nr);
	if (from != WINDOW_NOWHERE)
		window_drop(epc->window, from, 1);
}

void epc_page_lend(struct epc *epc, struct epc_page *page, void *bytes)
{
	assert(page_state(page) == EPC_PAGE_OWNED && !epc_page_placed(page));
	cpu_set_bytes(epc->cpu, page_index(epc, page), bytes);
}

bool epc_page_placed(const struct epc_page *page)
{
	uint8_t flags = atomic_load_explicit(&page->flags, memory_order_acquire);

	return (flags & (PAGE_PLACED | PAGE_TAKEN)) == PAGE_PLACED;
}
