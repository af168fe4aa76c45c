/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Sections: which pages are free.
 *
 * A section is divided into shards, each with a lock and a stack of free pages of its own.  A thread begins at the
 * shard of its CPU, in the section next to it, and goes on to others only when that has none left; a page
 * goes back to the shard that it is from.  So threads that allocate and free at once do not meet, and the page
 * freed last, whose EPCM entry and struct are in the cache, is handed out next.
 *
 * At start nobody knows what the EPCM says of a page, so it is DIRTY, and EREMOVEd when it is needed for the first
 * time: nothing is walked at start, however large the EPC.  A SECS can only go after its children, wherever they
 * are: one that is met too early waits in `deferred`, and has its turn when all other pages of all
 * sections have had theirs.
 */
#include <errno.h>
#include <sched.h>

#include "base/arena.h"
#include "cpu/cpu.h"
#include "epc/count_priv.h"
#include "epc/epc_priv.h"
#include "epc/node_priv.h"
#include "epc/pagelist.h"
#include "epc/poison_priv.h"
#include "epc/reclaimd_priv.h"
#include "epc/waiter_priv.h"

enum {
	SHARD_PAGES_MIN = 1024, /* fewer are not worth a lock of their own */
	SHARDS_EACH_MAX = 16,
	DEFERRED_TRIES = 16, /* in one allocation; the next goes on where it ended */
};

static void shard_init(struct shard *shard, uint32_t first, uint32_t nr)
{
	lock_init(&shard->lock, LOCK_SECTION);
	shard->first = first;
	shard->dirty_next = first;
	shard->nr = nr;
	shard->avail = shard->lowest = nr;
	pagelist_init(&shard->free);
	pagelist_init(&shard->deferred);
	pagelist_init(&shard->poisoned);
}

/* How @section is divided. @shards: as many at the most, or 0 for what is good. */
static void section_divide(struct epc *epc, struct section *section, unsigned int shards)
{
	unsigned int most = EPC_SHARDS_MAX / epc->section_nr;

	if (shards == 0)
		shards = section->nr / SHARD_PAGES_MIN;
	if (shards > SHARDS_EACH_MAX)
		shards = SHARDS_EACH_MAX;
	if (shards > most)
		shards = most;
	while (((uint64_t)(shards ? shards : 1) << section->shard_shift) < section->nr)
		section->shard_shift++;
	section->shard_first = epc->shard_nr;
	section->shard_nr = (section->nr - 1) / (1u << section->shard_shift) + 1;
	epc->shard_nr += section->shard_nr;
}

static void section_init(struct epc *epc, const struct section *section)
{
	uint32_t done = 0, nr;
	unsigned int i;

	for (i = section->shard_first; i < section->shard_first + section->shard_nr; i++) {
		nr = section->nr - done;
		if (nr >> section->shard_shift)
			nr = 1u << section->shard_shift;
		atomic_fetch_or_explicit(&epc->with_free, 1ull << i, memory_order_relaxed);
		shard_init(&epc->shard[i], section->first + done, nr);
		done += nr;
	}
}

static size_t pressure_bytes(const struct epc *epc)
{
	return epc->section_nr > 1 ? epc->section_nr * sizeof(struct pressure) : 0;
}

static bool pressure_init(struct epc *epc)
{
	struct pressure *pressure = &epc->root->pressure;
	unsigned int i;

	if (pressure_bytes(epc))
		pressure = arena_alloc(epc->arena, pressure_bytes(epc));
	for (i = 0; pressure && i < epc->section_nr; i++)
		epc->section[i].pressure = &pressure[i];
	return pressure;
}

static void pressure_fini(struct epc *epc)
{
	if (pressure_bytes(epc))
		arena_free(epc->arena, epc->section->pressure, pressure_bytes(epc));
}

int sections_init(struct epc *epc, unsigned int shards)
{
	const struct cpu_config *config = cpu_get_config(epc->cpu);
	struct section *section;
	uint32_t first = 0;
	unsigned int i;

	assert(config->section_nr > 0 && config->section_nr <= EPC_SECTIONS_MAX);
	epc->section_nr = (uint8_t)config->section_nr;
	epc->section = arena_alloc(epc->arena, epc->section_nr * sizeof(*epc->section));
	if (!epc->section)
		return -ENOMEM;
	for (i = 0; i < epc->section_nr; i++) {
		section = &epc->section[i];
		section->first = first;
		section->nr = (uint32_t)(config->section[i].size / SGX_PAGE_SIZE);
		section->node = config->section[i].node;
		section_divide(epc, section, shards);
		first += section->nr;
	}
	assert(first == epc->page_nr);
	if (!pressure_init(epc))
		goto free_sections;
	epc->shard = arena_alloc(epc->arena, epc->shard_nr * sizeof(*epc->shard));
	if (!epc->shard)
		goto fini_pressure;
	for (i = 0; i < epc->section_nr; i++)
		section_init(epc, &epc->section[i]);
	return 0;

fini_pressure:
	pressure_fini(epc);
free_sections:
	arena_free(epc->arena, epc->section, epc->section_nr * sizeof(*epc->section));
	return -ENOMEM;
}

void sections_fini(struct epc *epc)
{
	unsigned int i;

	for (i = 0; i < epc->shard_nr; i++)
		lock_fini(&epc->shard[i].lock);
	arena_free(epc->arena, epc->shard, epc->shard_nr * sizeof(*epc->shard));
	pressure_fini(epc);
	arena_free(epc->arena, epc->section, epc->section_nr * sizeof(*epc->section));
}

struct shard *shard_of(struct epc *epc, uint32_t nr)
{
	const struct section *section = epc->section;

	while (nr - section->first >= section->nr)
		section++;
	return &epc->shard[section->shard_first + ((nr - section->first) >> section->shard_shift)];
}

static bool sanitise(struct epc *epc, uint32_t nr)
{
	if (!cpu_ok(encls_eremove(epc->cpu, nr)))
		return false;
	if (cpu_bytes(epc->cpu, nr))
		cpu_set_bytes(epc->cpu, nr, NULL);
	return true;
}

/* The first pass: a page that was dirty, clean now; PAGE_NONE when all that are left must wait. */
static uint32_t take_dirty_locked(struct epc *epc, struct shard *shard) REQUIRES(&shard->lock)
{
	uint32_t nr;

	while ((nr = shard->dirty_next) < shard->first + shard->nr) {
		atomic_store_explicit(&shard->dirty_next, nr + 1, memory_order_relaxed);
		if (page_state(&epc->pages[nr]) == EPC_PAGE_POISONED) {
			shard->poisoned_ahead--;
			continue;
		}
		if (sanitise(epc, nr))
			return nr;
		pagelist_add_tail(epc->pages, &shard->deferred, nr);
	}
	return PAGE_NONE;
}

/* The second one, when the first is over everywhere: a SECS without children. */
static uint32_t take_deferred_locked(struct epc *epc, struct shard *shard) REQUIRES(&shard->lock)
{
	unsigned int tries;
	uint32_t nr;

	for (tries = 0; tries < DEFERRED_TRIES && tries < shard->deferred.nr; tries++) {
		nr = pagelist_pop(epc->pages, &shard->deferred);
		if (sanitise(epc, nr))
			return nr;
		pagelist_add_tail(epc->pages, &shard->deferred, nr);
	}
	return PAGE_NONE;
}

uint32_t section_free_nr(const struct epc *epc)
{
	uint64_t with_free = atomic_load_explicit(&epc->with_free, memory_order_relaxed);
	uint32_t nr = 0;

	for (; with_free; with_free &= with_free - 1)
		nr += atomic_load_explicit(&epc->shard[__builtin_ctzll(with_free)].avail,
					   memory_order_relaxed);
	return nr;
}

uint32_t section_poisoned_nr(struct epc *epc)
{
	uint32_t nr = 0;
	unsigned int i;

	for (i = 0; i < epc->shard_nr; i++) {
		shard_lock(epc, &epc->shard[i]);
		nr += epc->shard[i].poisoned.nr;
		shard_unlock(&epc->shard[i]);
	}
	return nr;
}

uint32_t section_lowest_nr(const struct epc *epc)
{
	uint32_t nr = 0;
	unsigned int i;

	for (i = 0; i < epc->shard_nr; i++)
		nr += atomic_load_explicit(&epc->shard[i].lowest, memory_order_relaxed);
	return nr;
}

uint32_t shard_dirty_nr(const struct shard *shard)
{
	return shard->first + shard->nr - shard->dirty_next - shard->poisoned_ahead +
	       shard->deferred.nr;
}

void shard_count_locked(struct epc *epc, struct shard *shard)
{
	uint64_t bit = 1ull << (shard - epc->shard), seen;
	uint32_t avail = shard->free.nr + shard_dirty_nr(shard);

	atomic_store_explicit(&shard->avail, avail, memory_order_relaxed);
	if (avail < atomic_load_explicit(&shard->lowest, memory_order_relaxed))
		atomic_store_explicit(&shard->lowest, avail, memory_order_relaxed);
	seen = atomic_load_explicit(&epc->with_free, memory_order_relaxed) & bit;
	if (avail && !seen)
		atomic_fetch_or_explicit(&epc->with_free, bit, memory_order_relaxed);
	else if (!avail && seen)
		atomic_fetch_and_explicit(&epc->with_free, ~bit, memory_order_relaxed);
}

/* The machine check came from someone who died before he could take the page off the list. */
static bool is_broken_locked(struct epc *epc, struct shard *shard, uint32_t nr)
	REQUIRES(&shard->lock)
{
	if (!epc_page_poisoned(&epc->pages[nr]))
		return false;
	poison_shelve_locked(epc, shard, nr);
	return true;
}

/* @deferred: the second pass of sanitising. */
static uint32_t take_locked(struct epc *epc, struct shard *shard, struct epc_owner *owner,
			    bool deferred) REQUIRES(&shard->lock)
{
	uint32_t nr;

	do {
		nr = pagelist_pop(epc->pages, &shard->free);
		if (nr == PAGE_NONE)
			nr = deferred ? take_deferred_locked(epc, shard)
				      : take_dirty_locked(epc, shard);
	} while (nr != PAGE_NONE && is_broken_locked(epc, shard, nr));
	if (nr != PAGE_NONE) {
		/* First: who dies in between leaves a page too many charged, never one too few. */
		group_charge(owner->group, (unsigned int)(shard - epc->shard));
		page_set_cookie(&epc->pages[nr], 0);
		page_begin(&epc->pages[nr], owner, EPC_PAGE_OWNED);
		counts_page_locked(shard, owner, EPC_ALLOCS);
		if (shard->free.nr > 0)
			page_prefetch(&epc->pages[shard->free.first]);
		shard_count_locked(epc, shard);
	}
	return nr;
}

static uintptr_t huge_page_of(const struct epc *epc, uint32_t nr)
{
	return (uintptr_t)&epc->pages[nr] / SHARED_HUGE_BYTES;
}

/*
 * Pages up to @end were handed out for the first time, those before @first earlier.  With the first record in a huge page
 * all others in it get one: in a large EPC most of what an operation takes would be waits for translations.
 */
static void records_gather(struct epc *epc, const struct shard *shard, uint32_t first, uint32_t end)
{
	if (first == end)
		return;
	if (first > shard->first && huge_page_of(epc, first - 1) == huge_page_of(epc, end - 1))
		return;
	shared_make_huge(epc->pages, epc->page_nr * sizeof(*epc->pages), &epc->pages[end - 1]);
}

/* What somebody wants who takes a page. */
struct wish {
	struct epc_owner *owner;
	bool room;     /* was made for it (group_make_room_locked()), and charge_lock is held */
	bool deferred; /* the second pass of sanitising */
	bool refused;  /* there may be pages, but more than is allowed without a look at sums */
};

static uint32_t shard_alloc(struct epc *epc, struct shard *shard, struct wish *wish)
{
	unsigned int place = (unsigned int)(shard - epc->shard);
	uint32_t nr = PAGE_NONE, first, end;

	shard_lock(epc, shard);
	first = shard->dirty_next;
	wish->refused = !wish->room && !group_is_allowed(wish->owner->group, place);
	if (!wish->refused)
		nr = take_locked(epc, shard, wish->owner, wish->deferred);
	if (nr != PAGE_NONE && wish->room)
		group_settle_locked(wish->owner->group, place);
	end = shard->dirty_next;
	shard_unlock(shard);
	records_gather(epc, shard, first, end);
	return nr;
}

/* From any shard of @section, the one of this CPU first. */
static uint32_t section_take(struct epc *epc, const struct section *section, struct wish *wish)
{
	unsigned int own = (unsigned int)sched_getcpu() % section->shard_nr;
	uint64_t with_free = atomic_load_explicit(&epc->with_free, memory_order_relaxed);
	uint32_t nr = PAGE_NONE;
	unsigned int i, at;

	/* One that is refused at its own does not go where others are: it has others' room moved. */
	for (i = 0; i < section->shard_nr && nr == PAGE_NONE && !wish->refused; i++) {
		at = own + i < section->shard_nr ? own + i : own + i - section->shard_nr;
		at += section->shard_first;
		if (with_free >> at & 1)
			nr = shard_alloc(epc, &epc->shard[at], wish);
	}
	return nr;
}

struct epc_page *section_alloc(struct epc *epc, struct epc_owner *owner, bool room)
{
	struct wish wish = { .owner = owner, .room = room };
	const uint8_t *order;
	uint32_t nr = PAGE_NONE;
	unsigned int i;

	assert(owner);
	if (!atomic_load_explicit(&epc->with_free, memory_order_relaxed))
		return NULL;
	order = nodes_order(epc);
	for (;;) {
		for (i = 0; i < epc->section_nr && nr == PAGE_NONE && !wish.refused; i++)
			nr = section_take(epc, &epc->section[order[i]], &wish);
		if (nr != PAGE_NONE || wish.refused || wish.deferred)
			break;
		wish.deferred = true;
	}
	if (nr == PAGE_NONE)
		return NULL;
	if (room)
		group_settled_locked(owner->group);
	if (atomic_load_explicit(&epc->reclaimer_nr, memory_order_relaxed) > 0 &&
	    atomic_load_explicit(&shard_of(epc, nr)->avail, memory_order_relaxed) < epc->low)
		background_wake(epc);
	return &epc->pages[nr];
}

/* Counted with the change itself, so that a process that dies between two pages leaves the sums right. */
static void page_free_locked(struct epc *epc, struct shard *shard, uint32_t nr)
	REQUIRES(&shard->lock)
{
	struct epc_page *page = &epc->pages[nr];
	struct epc_owner *owner = page_owner(page);
	bool evicted = page_state(page) == EPC_PAGE_IN_BATCH;

	/* First of all: whoever finds this half done sees that the page is free. */
	page_begin(page, NULL, EPC_PAGE_FREE);
	group_uncharge(owner->group, (unsigned int)(shard - epc->shard));
	counts_page_locked(shard, owner, evicted ? EPC_EVICTIONS : EPC_FREES);
	if (!is_broken_locked(epc, shard, nr))
		pagelist_add(epc->pages, &shard->free, nr);
}

void section_free(struct epc *epc, const uint32_t *nr, unsigned int n)
{
	struct shard *shard;
	unsigned int i = 0;

	while (i < n) {
		shard = shard_of(epc, nr[i]);
		shard_lock(epc, shard);
		for (; i < n && shard_of(epc, nr[i]) == shard; i++)
			page_free_locked(epc, shard, nr[i]);
		shard_count_locked(epc, shard);
		shard_unlock(shard);
	}
	waiters_wake(epc);
}

/* The page freed last is the first one to be handed out. */
struct epc_page *section_exchange(struct epc *epc, uint32_t nr, struct epc_owner *owner)
{
	struct shard *shard = shard_of(epc, nr);

	shard_lock(epc, shard);
	page_free_locked(epc, shard, nr);
	shard_count_locked(epc, shard);
	nr = take_locked(epc, shard, owner, false);
	if (nr != PAGE_NONE)
		group_settle_locked(owner->group, (unsigned int)(shard - epc->shard));
	shard_unlock(shard);
	if (nr != PAGE_NONE)
		group_settled_locked(owner->group);
	return nr == PAGE_NONE ? NULL : &epc->pages[nr];
}

unsigned int epc_section_nr(const struct epc *epc)
{
	return epc->section_nr;
}

void epc_section_read(struct epc *epc, unsigned int i, struct epc_section_info *ret_info)
{
	const struct section *section = &epc->section[i];
	uint64_t count[EPC_COUNT_NR] = { 0 };
	struct shard *shard;
	unsigned int s;

	assert(i < epc->section_nr);
	*ret_info = (struct epc_section_info){ .first = section->first,
					       .pages = section->nr,
					       .node = section->node };
	for (s = 0; s < section->shard_nr; s++) {
		shard = &epc->shard[section->shard_first + s];
		shard_lock(epc, shard);
		ret_info->free += shard->free.nr;
		ret_info->dirty += shard_dirty_nr(shard);
		ret_info->poisoned += shard->poisoned.nr;
		shard_unlock(shard);
	}
	section_counts_add(epc, section, count);
	ret_info->allocs = count[EPC_ALLOCS];
	ret_info->frees = count[EPC_FREES] + count[EPC_EVICTIONS];
	ret_info->evictions = count[EPC_EVICTIONS];
}
