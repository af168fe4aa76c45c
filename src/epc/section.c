/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Sections: which pages are free.
 *
 * At start nobody knows what the EPCM says of a page, so it is DIRTY, and EREMOVEd when it is needed for the first
 * time: nothing is walked at start, however large the EPC.  A SECS can only go after its children;
 * one that is met too early waits in `deferred` until all other pages have had their turn.
 *
 * Free pages are a stack: the page freed last has its EPCM entry and struct in the cache.
 */
#include "cpu/cpu.h"
#include "epc/epc_priv.h"

void sections_init(struct epc *epc)
{
	const struct cpu_config *config = cpu_get_config(epc->cpu);
	struct section *section;
	uint32_t first = 0;
	unsigned int i;

	epc->section_nr = config->section_nr ? config->section_nr : 1;
	assert(epc->section_nr <= EPC_SECTIONS_MAX);
	for (i = 0; i < epc->section_nr; i++) {
		section = &epc->section[i];
		lock_init(&section->lock, LOCK_SECTION);
		section->first = section->dirty_next = first;
		section->nr = config->section_nr
				      ? (uint32_t)(config->section[i].size / SGX_PAGE_SIZE)
				      : epc->page_nr;
		pagelist_init(&section->free);
		pagelist_init(&section->deferred);
		section->avail = section->nr;
		first += section->nr;
	}
	assert(first == epc->page_nr);
	epc->free_lowest = epc->page_nr;
}

void sections_fini(struct epc *epc)
{
	unsigned int i;

	for (i = 0; i < epc->section_nr; i++)
		lock_fini(&epc->section[i].lock);
}

static struct section *section_of(struct epc *epc, uint32_t nr)
{
	unsigned int i;

	for (i = 0; i + 1 < epc->section_nr; i++) {
		if (nr < epc->section[i].first + epc->section[i].nr)
			break;
	}
	return &epc->section[i];
}

static bool sanitise(struct epc *epc, uint32_t nr)
{
	return cpu_ok(encls_eremove(epc->cpu, nr));
}

/* A page that was dirty, clean now; PAGE_NONE when none is left or all that are left have children. */
static uint32_t take_dirty_locked(struct epc *epc, struct section *section) REQUIRES(&section->lock)
{
	uint32_t nr, left;

	while (section->dirty_next < section->first + section->nr) {
		nr = section->dirty_next++;
		if (sanitise(epc, nr))
			return nr;
		pagelist_add_tail(epc->pages, &section->deferred, nr);
	}
	for (left = section->deferred.nr; left > 0; left--) {
		nr = pagelist_pop(epc->pages, &section->deferred);
		if (sanitise(epc, nr))
			return nr;
		pagelist_add_tail(epc->pages, &section->deferred, nr);
	}
	return PAGE_NONE;
}

uint32_t section_free_nr(const struct epc *epc)
{
	uint32_t nr = 0;
	unsigned int i;

	for (i = 0; i < epc->section_nr; i++)
		nr += atomic_load_explicit(&epc->section[i].avail, memory_order_relaxed);
	return nr;
}

void section_count_locked(struct section *section)
{
	atomic_store_explicit(&section->avail,
			      section->free.nr + section->deferred.nr +
				      (section->first + section->nr - section->dirty_next),
			      memory_order_relaxed);
}

static void note_lowest(struct epc *epc)
{
	uint32_t nr = section_free_nr(epc);

	if (nr < atomic_load_explicit(&epc->free_lowest, memory_order_relaxed))
		atomic_store_explicit(&epc->free_lowest, nr, memory_order_relaxed);
}

struct epc_page *section_alloc(struct epc *epc, struct epc_owner *owner)
{
	struct section *section;
	uint32_t nr = PAGE_NONE;
	unsigned int i;

	for (i = 0; i < epc->section_nr && nr == PAGE_NONE; i++) {
		section = &epc->section[i];
		if (atomic_load_explicit(&section->avail, memory_order_relaxed) == 0)
			continue;
		section_lock(epc, section);
		nr = pagelist_pop(epc->pages, &section->free);
		if (nr == PAGE_NONE)
			nr = take_dirty_locked(epc, section);
		if (nr != PAGE_NONE) {
			page_set_state(&epc->pages[nr], EPC_PAGE_OWNED);
			/* Under the lock, so that a page without an owner is nobody's. */
			epc->pages[nr].owner = owner;
			group_charge(owner->group, i);
			section->allocs++;
			section_count_locked(section);
		}
		section_unlock(section);
	}
	if (nr == PAGE_NONE)
		return NULL;
	note_lowest(epc);
	group_note_peak(owner->group);
	return &epc->pages[nr];
}

void section_forget_page(struct epc_page *page)
{
	page->owner = NULL;
	page->win_page = PAGE_AT_HOME;
	epc_page_set_cookie(page, 0);
	atomic_store_explicit(&page->flags, 0, memory_order_relaxed);
}

void section_free(struct epc *epc, const uint32_t *nr, unsigned int n)
{
	struct section *section;
	unsigned int i = 0;

	while (i < n) {
		section = section_of(epc, nr[i]);
		section_lock(epc, section);
		for (; i < n && section_of(epc, nr[i]) == section; i++) {
			/* First of all: whoever finds this half done sees that the page is free. */
			page_set_state(&epc->pages[nr[i]], EPC_PAGE_FREE);
			group_uncharge(epc->pages[nr[i]].owner->group,
				       (unsigned int)(section - epc->section));
			section_forget_page(&epc->pages[nr[i]]);
			pagelist_add(epc->pages, &section->free, nr[i]);
			section->frees++;
		}
		section_count_locked(section);
		section_unlock(section);
	}
}
