/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The frame audit: every page is in exactly one state, and everything that knows about it agrees.
 *
 * It takes the locks that every change of state needs, so what it sees is one moment.  It walks all
 * pages, so it is for tests and for people in doubt.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cpu/cpu.h"
#include "epc/epc_priv.h"
#include "epc/owner.h"
#include "epc/pagelist.h"

struct audit {
	struct epc *epc;
	char *why;
	size_t why_bytes;
	unsigned int faults;
	uint32_t state_nr[EPC_PAGE_STATE_NR];
	uint32_t kept_nr;
};

__attribute__((format(printf, 2, 3))) static void fault(struct audit *audit, const char *fmt, ...)
{
	va_list ap;

	if (audit->faults++ == 0 && audit->why_bytes > 0) {
		va_start(ap, fmt);
		vsnprintf(audit->why, audit->why_bytes, fmt, ap);
		va_end(ap);
	}
}

/* What holds of a page by itself at any moment. */
static void audit_page(struct audit *audit, const struct shard *shard, uint32_t nr)
{
	const struct epc_page *page = &audit->epc->pages[nr];
	enum epc_state state = page_state(page);

	if (state >= EPC_PAGE_STATE_NR) {
		fault(audit, "page %u: no such state: %d", nr, state);
		return;
	}
	audit->state_nr[state]++;
	audit->kept_nr += state == EPC_PAGE_OWNED && page_is_kept(page);
	if (nr >= shard->dirty_next && state != EPC_PAGE_DIRTY && state != EPC_PAGE_POISONED)
		fault(audit, "page %u was never handed out but is in state %d", nr, state);
	if (state == EPC_PAGE_POISONED && !epc_page_poisoned(page))
		fault(audit, "page %u is poisoned, but there was no machine check", nr);
	if (state != EPC_PAGE_FREE && state != EPC_PAGE_DIRTY && state != EPC_PAGE_POISONED)
		return;
	if (page_owner(page))
		fault(audit, "page %u is nobody's but has an owner", nr);
	if (state == EPC_PAGE_FREE && cpu_bytes(audit->epc->cpu, nr))
		fault(audit, "page %u is free but has bytes", nr);
	if (state == EPC_PAGE_FREE && cpu_epcm_read(audit->epc->cpu, nr).valid)
		fault(audit, "page %u is free but valid in the EPCM", nr);
}

/* With nobody at work: batches are over, and what is tracked is in use. */
static void audit_page_quiet(struct audit *audit, uint32_t nr)
{
	const struct epc_page *page = &audit->epc->pages[nr];
	enum epc_state state = page_state(page);

	if (state == EPC_PAGE_IN_BATCH)
		fault(audit, "page %u is in a batch that nobody runs", nr);
	/* A free one that whoever made the mark could not shelve any more is shelved when it is its turn. */
	if (epc_page_poisoned(page) && state == EPC_PAGE_TRACKED)
		fault(audit, "page %u is broken, and in state %d", nr, state);
	if (page->flags & PAGE_TAKEN)
		fault(audit, "page %u was taken and not put back", nr);
	if (state == EPC_PAGE_TRACKED && !page_ops(page)->blanks &&
	    !cpu_epcm_read(audit->epc->cpu, nr).valid)
		fault(audit, "page %u is tracked but not valid in the EPCM", nr);
	if ((state == EPC_PAGE_TRACKED || state == EPC_PAGE_OWNED) &&
	    !cpu_bytes(audit->epc->cpu, nr))
		fault(audit, "page %u is in use but has no bytes", nr);
}

/* What the groups are charged for is what their owners have. */
static void audit_charges(struct audit *audit, const struct shard *shard)
{
	uint32_t has[EPC_GROUPS_MAX] = { 0 };
	unsigned int place = (unsigned int)(shard - audit->epc->shard);
	const struct epc_owner *owner;
	const struct epc_page *page;
	unsigned int i;

	for (i = shard->first; i < shard->first + shard->nr; i++) {
		page = &audit->epc->pages[i];
		owner = page_owner(page);
		if (!owner)
			continue;
		for (const struct epc_group *g = owner->group; g->parent; g = g->parent)
			has[g->index]++;
	}
	for (i = 1; i < EPC_GROUPS_MAX; i++) {
		if (group_at(audit->epc, i) &&
		    group_at(audit->epc, i)->charge[charge_index(audit->epc->shard_nr, place)].nr !=
			    has[i])
			fault(audit, "group %s has %u pages of the shard at %u, is charged for %u",
			      group_at(audit->epc, i)->name, has[i], shard->first,
			      group_at(audit->epc, i)
				      ->charge[charge_index(audit->epc->shard_nr, place)]
				      .nr);
	}
}

static void audit_shard(struct audit *audit, struct shard *shard, bool live)
{
	struct epc_page *pages = audit->epc->pages;
	uint32_t free_before = audit->state_nr[EPC_PAGE_FREE];
	uint32_t poisoned_before = audit->state_nr[EPC_PAGE_POISONED];
	uint32_t dirty_before = audit->state_nr[EPC_PAGE_DIRTY];
	uint32_t nr;

	shard_lock(audit->epc, shard);
	for (nr = shard->first; nr < shard->first + shard->nr; nr++) {
		audit_page(audit, shard, nr);
		if (!live)
			audit_page_quiet(audit, nr);
	}
	if (!pagelist_check(pages, &shard->free) || !pagelist_check(pages, &shard->deferred) ||
	    !pagelist_check(pages, &shard->poisoned))
		fault(audit, "a list of the shard at %u is torn", shard->first);
	audit_charges(audit, shard);
	if (audit->state_nr[EPC_PAGE_FREE] - free_before != shard->free.nr)
		fault(audit, "%u pages are free, %u are on the free list",
		      audit->state_nr[EPC_PAGE_FREE] - free_before, shard->free.nr);
	if (audit->state_nr[EPC_PAGE_POISONED] - poisoned_before != shard->poisoned.nr)
		fault(audit, "%u pages are poisoned, %u are on the poison list",
		      audit->state_nr[EPC_PAGE_POISONED] - poisoned_before, shard->poisoned.nr);
	if (audit->state_nr[EPC_PAGE_DIRTY] - dirty_before != shard_dirty_nr(shard))
		fault(audit, "%u pages are dirty, %u should be",
		      audit->state_nr[EPC_PAGE_DIRTY] - dirty_before, shard_dirty_nr(shard));
	if (shard->avail != shard->free.nr + shard_dirty_nr(shard) ||
	    (audit->epc->with_free >> (shard - audit->epc->shard) & 1) != (shard->avail > 0))
		fault(audit, "the count of the shard at %u is wrong", shard->first);
	shard_unlock(shard);
}

static void audit_groups(struct audit *audit)
{
	struct epc *epc = audit->epc;
	uint32_t in_batch = 0, kept = 0, tracked = group_tracked_locked(epc->root);
	unsigned int i;

	for (i = 0; i < EPC_GROUPS_MAX; i++) {
		if (!group_at(epc, i))
			continue;
		in_batch += group_at(epc, i)->in_batch_nr;
		kept += group_at(epc, i)->kept_nr;
		if (group_allows_too_many_locked(group_at(epc, i)))
			fault(audit, "group %s may come to more than its max without a look",
			      group_at(epc, i)->name);
		if (!epc->policy->check(group_at(epc, i)->policy_state))
			fault(audit, "the order of group %s is torn", group_at(epc, i)->name);
	}
	if (audit->state_nr[EPC_PAGE_TRACKED] != tracked)
		fault(audit, "%u pages are tracked, %u are in an order",
		      audit->state_nr[EPC_PAGE_TRACKED], tracked);
	if (audit->kept_nr != kept)
		fault(audit, "%u pages are kept, %u by group", audit->kept_nr, kept);
	if (in_batch != epc->in_batch_nr)
		fault(audit, "%u pages are in batches, %u by group", epc->in_batch_nr, in_batch);
}

static void audit_sums(struct audit *audit, bool live)
{
	struct epc *epc = audit->epc;

	audit_groups(audit);
	if (audit->state_nr[EPC_PAGE_IN_BATCH] != epc->in_batch_nr)
		fault(audit, "%u pages are in batches, %u were picked",
		      audit->state_nr[EPC_PAGE_IN_BATCH], epc->in_batch_nr);
	if (!live && audit->state_nr[EPC_PAGE_FREE] + audit->state_nr[EPC_PAGE_DIRTY] !=
			     section_free_nr(epc))
		fault(audit, "%u pages can be had, the count says %u",
		      audit->state_nr[EPC_PAGE_FREE] + audit->state_nr[EPC_PAGE_DIRTY],
		      section_free_nr(epc));
}

unsigned int epc_audit(struct epc *epc, bool live, char *why, size_t why_bytes)
{
	struct audit audit = { .epc = epc, .why = why, .why_bytes = why_bytes };
	unsigned int i;

	if (why_bytes > 0)
		why[0] = '\0';
	charge_lock(epc);
	order_lock(epc);
	for (i = 0; i < epc->shard_nr; i++)
		audit_shard(&audit, &epc->shard[i], live);
	audit_sums(&audit, live);
	order_unlock(epc);
	charge_unlock(epc);
	return audit.faults;
}
