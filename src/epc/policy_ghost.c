/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* See policy_ghost.h.  Whoever dies in here leaves at worst a ghost twice or not at all. */
#include "epc/policy_ghost.h"

#include <string.h>

#include "base/arena.h"
#include "epc/group_priv.h"
#include "epc/page.h"
#include "epc/policy.h"

enum {
	WAYS = 10,
	PAGES_A_GHOST = 2,
	NEIGHBOURS = 4,      /* pages that share a set: fewer cache lines */
	RUN = 16,            /* sets in a row for what is next to each other: fewer translations */
	SETS_LARGE = 1 << 14 /* where that matters; and where runs are few for the table */
};

/* Half a cache line. Newest first. */
struct set {
	_Alignas(32) uint16_t tag[WAYS]; /* 0: none */
	uint8_t stamp[WAYS];
};

struct ghosts {
	uint32_t set_nr;
	struct set set[];
};

static size_t table_bytes(uint32_t set_nr)
{
	return sizeof(struct ghosts) + set_nr * sizeof(struct set);
}

struct ghosts *ghosts_create(uint32_t page_nr)
{
	uint32_t set_nr = (page_nr - 1) / (WAYS * PAGES_A_GHOST) + 1;
	struct ghosts *ghosts = shared_map(table_bytes(set_nr));

	if (ghosts)
		ghosts->set_nr = set_nr;
	return ghosts;
}

void ghosts_destroy(struct ghosts *ghosts)
{
	if (ghosts)
		shared_unmap(ghosts, ghosts_bytes(ghosts));
}

size_t ghosts_bytes(const struct ghosts *ghosts)
{
	return table_bytes(ghosts->set_nr);
}

/* The finaliser of MurmurHash3. */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ull;
	return x ^ x >> 33;
}

/* Pages with cookies in a row share a set; and in a large table sets in a row are for runs of those. */
static uint64_t set_nr_of(const struct ghosts *ghosts, uint64_t owner, uint64_t cookie)
{
	uint64_t neighbours = cookie / NEIGHBOURS;
	unsigned int run = ghosts->set_nr >= SETS_LARGE ? RUN : 1;
	uint64_t start = (mix(owner ^ neighbours / run) >> 32) * ghosts->set_nr >> 32;

	return (start + neighbours % run) % ghosts->set_nr;
}

uint64_t ghost_key(const struct policy_view *view, uint32_t nr)
{
	const struct epc_page *page = &view->pages[nr];
	uint64_t cookie = atomic_load_explicit(&page->cookie, memory_order_relaxed);
	uint64_t owner = mix(page_owner(page)->number);

	return set_nr_of(view->ghosts, owner, cookie) << 32 | mix(owner ^ cookie) >> 32;
}

static struct set *set_of(struct ghosts *ghosts, uint64_t key)
{
	return &ghosts->set[(key >> 32) % ghosts->set_nr];
}

void ghost_prefetch(const struct policy_view *view, uint32_t nr)
{
	__builtin_prefetch(set_of(view->ghosts, ghost_key(view, nr)), 1);
}

/* By what says nothing of the set.  Never 0: that is no ghost. */
static uint16_t tag_of(uint64_t key)
{
	uint16_t tag = (uint16_t)key;

	return tag ? tag : 1;
}

void ghost_put(struct ghosts *ghosts, uint64_t key, uint8_t stamp)
{
	struct set *set = set_of(ghosts, key);

	memmove(&set->tag[1], &set->tag[0], (WAYS - 1) * sizeof(set->tag[0]));
	memmove(&set->stamp[1], &set->stamp[0], (WAYS - 1) * sizeof(set->stamp[0]));
	set->tag[0] = tag_of(key);
	set->stamp[0] = stamp;
}

bool ghost_take(struct ghosts *ghosts, uint64_t key, uint8_t *ret_stamp)
{
	struct set *set = set_of(ghosts, key);
	unsigned int i;

	for (i = 0; i < WAYS; i++) {
		if (set->tag[i] != tag_of(key))
			continue;
		*ret_stamp = set->stamp[i];
		memmove(&set->tag[i], &set->tag[i + 1], (WAYS - 1 - i) * sizeof(set->tag[0]));
		memmove(&set->stamp[i], &set->stamp[i + 1], (WAYS - 1 - i) * sizeof(set->stamp[0]));
		set->tag[WAYS - 1] = 0;
		return true;
	}
	return false;
}
