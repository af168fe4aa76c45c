/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Peeking: groups and owners are copied first, until a copy was made while nobody had groups_lock (epc.groups_seq); then
 * pages are counted; and all else is worked out from the copies.
 *
 * Nothing that is read is trusted: a pointer is followed if it leads to a place in the file, a list as far as there can
 * be owners.  What is copied and turns out to be torn is thrown away.
 */
#include "epc/peek.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/look.h"
#include "cpu/cpu.h"
#include "epc/backing_priv.h"
#include "epc/epc_priv.h"

enum {
	TRIES_AT_ONCE = 100, /* whoever has the lock has it for a moment */
	TRIES = 200,         /* unless he does not get to run */
	PAUSE_NS = 200000,
	OWNERS_MAX = 1 << 20, /* more is a list that leads nowhere */
};

/* An owner as it was found, in its group's list. */
struct found {
	uint64_t at;
	uint64_t count[EPC_COUNT_NR];
	unsigned int group;
	struct epc_owner owner; /* but for its counts */
};

/* Whose numbers, by place in the sample, the owner's at @at are; UINT32_MAX: nobody's. */
struct named {
	uint64_t at;
	unsigned int told;
};

struct epc_peek {
	const struct look *look;
	struct epc_sample sample;
	unsigned int group_nr, found_nr, found_max;
	struct found *found;
	struct named *named; /* found_nr of them, by address */
	struct {
		uint64_t at;
		struct epc_group group;
	} group[EPC_GROUPS_MAX];
	struct epc_sample_group told_group[EPC_GROUPS_MAX];
	unsigned int place[EPC_GROUPS_MAX]; /* of a group in the sample */
};

uint64_t peek_layout(void)
{
	static const uint64_t of[] = {
		sizeof(struct epc),
		offsetof(struct epc, groups_seq),
		offsetof(struct epc, other),
		offsetof(struct epc, counters),
		offsetof(struct epc, section),
		offsetof(struct epc, shard),
		offsetof(struct epc, pages),
		offsetof(struct epc, backing),
		sizeof(struct epc_counters),
		sizeof(struct section),
		sizeof(struct shard),
		offsetof(struct shard, dirty_next),
		offsetof(struct shard, poisoned_ahead),
		sizeof(struct epc_page),
		sizeof(struct epc_group),
		offsetof(struct epc_group, owners),
		offsetof(struct epc_group, pressure),
		offsetof(struct epc_group, event),
		sizeof(struct epc_owner),
		offsetof(struct epc_owner, node),
		offsetof(struct epc_owner, told_as),
		offsetof(struct epc_owner, counts),
		sizeof(struct pressure),
		sizeof(struct backing),
		offsetof(struct backing, written),
		EPC_COUNT_NR,
		offsetof(struct epc, count_slot_nr),
		EPC_GROUP_EVENT_NR,
		EPC_PAGE_STATE_NR,
		PAGE_OWNER_SHIFT,
	};
	uint64_t layout = 0xcbf29ce484222325ull;

	for (unsigned int i = 0; i < sizeof(of) / sizeof(of[0]); i++)
		layout = (layout ^ of[i]) * 0x100000001b3ull;
	return layout;
}

/* NULL: it has gone. */
static const struct epc *epc_of(const struct epc_peek *peek)
{
	uint64_t layout, at = look_root(peek->look, LOOK_EPC, &layout);

	return at && layout == peek_layout() ? LOOK(peek->look, at, struct epc) : NULL;
}

int epc_peek_open(const struct look *look, struct epc_peek **ret_peek)
{
	uint64_t layout, at = look_root(look, LOOK_EPC, &layout);
	struct epc_peek *peek;

	static_assert((int)EPC_SAMPLE_SECTIONS == (int)EPC_SECTIONS_MAX, "a sample has all");
	if (!at)
		return -ESRCH;
	if (layout != peek_layout())
		return -EPROTO;
	peek = aligned_alloc(_Alignof(struct epc_peek), sizeof(*peek));
	if (!peek)
		return -ENOMEM;
	memset(peek, 0, sizeof(*peek));
	peek->look = look;
	peek->sample.group = peek->told_group;
	*ret_peek = peek;
	return 0;
}

void epc_peek_close(struct epc_peek *peek)
{
	if (!peek)
		return;
	free(peek->found);
	free(peek->named);
	free(peek->sample.owner);
	free(peek);
}

/* ---- groups and owners, as they are ------------------------------------------------------------ */

/* Room for one more: 0 or -ENOMEM. */
static int found_grow(struct epc_peek *peek)
{
	unsigned int max = peek->found_max ? 2 * peek->found_max : 16;
	struct found *found;

	if (peek->found_nr < peek->found_max)
		return 0;
	/* realloc() keeps no alignment. */
	found = aligned_alloc(_Alignof(struct found), max * sizeof(*found));
	if (!found)
		return -ENOMEM;
	if (peek->found)
		memcpy(found, peek->found, peek->found_nr * sizeof(*found));
	free(peek->found);
	peek->found = found;
	peek->found_max = max;
	return 0;
}

/* 0; -EAGAIN: the list was being changed; -ENOMEM. */
static int copy_owners(struct epc_peek *peek, const struct epc *epc, unsigned int g)
{
	uint32_t slots = epc->count_slot_nr <= EPC_COUNT_SLOTS_MAX ? epc->count_slot_nr : 0;
	uint64_t head = peek->group[g].at + offsetof(struct epc_group, owners), at, link;
	const struct epc_owner *owner;
	const struct counts *counts;
	struct found *found;

	for (link = (uintptr_t)peek->group[g].group.owners.next; link != head;
	     link = (uintptr_t)found->owner.node.next) {
		at = link - offsetof(struct epc_owner, node);
		owner = LOOK(peek->look, at, struct epc_owner);
		counts = look_at(peek->look, at + offsetof(struct epc_owner, counts),
				 slots * sizeof(*counts), _Alignof(struct counts));
		if (!owner || !counts || peek->found_nr == OWNERS_MAX)
			return -EAGAIN;
		if (found_grow(peek) < 0)
			return -ENOMEM;
		found = &peek->found[peek->found_nr++];
		found->at = at;
		found->group = g;
		memcpy(&found->owner, owner, sizeof(*owner));
		memset(found->count, 0, sizeof(found->count));
		counts_add(counts, slots, found->count);
		if ((uintptr_t)found->owner.group != peek->group[g].at)
			return -EAGAIN;
	}
	return 0;
}

static int copy_group(struct epc_peek *peek, const struct epc *epc, uint64_t at)
{
	const struct epc_group *group;

	if (!at)
		return 0;
	group = LOOK(peek->look, at, struct epc_group);
	if (!group)
		return -EAGAIN;
	peek->group[peek->group_nr].at = at;
	memcpy(&peek->group[peek->group_nr].group, group, sizeof(*group));
	return copy_owners(peek, epc, peek->group_nr++);
}

static int copy_all(struct epc_peek *peek, const struct epc *epc)
{
	uint64_t table = (uintptr_t)atomic_load_explicit(&epc->other, memory_order_acquire);
	const uint64_t *other =
		table ? look_at(peek->look, table, (EPC_GROUPS_MAX - 1) * 8, 8) : NULL;
	int r;

	peek->group_nr = peek->found_nr = 0;
	r = copy_group(peek, epc, (uintptr_t)epc->root);
	for (unsigned int i = 0; other && i < EPC_GROUPS_MAX - 1 && r == 0; i++)
		r = copy_group(peek, epc, __atomic_load_n(&other[i], __ATOMIC_RELAXED));
	return r;
}

/* @ret_torn: there was not one moment of rest. */
static int copy_at_rest(struct epc_peek *peek, const struct epc *epc, bool *ret_torn)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	uint64_t seq, after;
	int r = 0;

	for (unsigned int i = 0; i < TRIES; i++) {
		seq = atomic_load_explicit(&epc->groups_seq, memory_order_acquire);
		r = copy_all(peek, epc);
		if (r == -ENOMEM)
			return r;
		atomic_thread_fence(memory_order_acquire);
		after = atomic_load_explicit(&epc->groups_seq, memory_order_relaxed);
		*ret_torn = r < 0 || seq & 1 || after != seq;
		if (!*ret_torn)
			return 0;
		if (i < TRIES_AT_ONCE)
			sched_yield();
		else
			nanosleep(&pause, NULL);
	}
	return peek->group_nr > 0 ? 0 : -ESRCH;
}

/* ---- what is told of them -------------------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
	const struct named *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static struct named *find(const struct epc_peek *peek, uint64_t at)
{
	const struct named key = { .at = at };

	return peek->found_nr ? bsearch(&key, peek->named, peek->found_nr, sizeof(key), by_address)
			      : NULL;
}

static void tell_group(struct epc_sample_group *told, const struct epc_group *group, uint64_t now)
{
	struct pressure pressure = group->pressure;

	memcpy(told->info.name, group->name, sizeof(told->info.name) - 1);
	told->info.limits = (struct epc_group_limits){
		.max_pages = group_limit(&group->max),
		.high_pages = group_limit(&group->high),
		.min_pages = told->parent < 0 ? 0 : group_limit(&group->min),
		.weight = group_limit(&group->weight),
	};
	told->info.peak_pages = atomic_load(&group->peak);
	told->info.owner_nr = group->owner_nr;
	for (unsigned int i = 0; i < EPC_GROUP_EVENT_NR; i++)
		told->info.event[i] = atomic_load(&group->event[i]);
	for (unsigned int i = 0; i < EPC_CHARGE_PLACES; i++)
		told->info.current_pages += atomic_load(&group->charged[i]);
	/* It is noted when they are about to be fewer. */
	if (told->info.peak_pages < told->info.current_pages)
		told->info.peak_pages = told->info.current_pages;
	for (unsigned int i = 0; i < EPC_COUNT_NR; i++)
		told->stats.count[i] = group->retired[i];
	pressure_tell(&pressure, now, told->stats.pressure);
}

/* Children in the order of the table, each with all below it before the next one. */
static void tell_groups(struct epc_peek *peek, uint64_t parent_at, int parent, unsigned int depth)
{
	struct epc_sample *sample = &peek->sample;
	struct epc_sample_group *told;

	for (unsigned int g = 0; g < peek->group_nr && depth < EPC_GROUP_DEPTH_MAX; g++) {
		if ((uintptr_t)peek->group[g].group.parent != parent_at ||
		    sample->group_nr == EPC_GROUPS_MAX)
			continue;
		peek->place[g] = sample->group_nr;
		told = &sample->group[sample->group_nr++];
		memset(told, 0, sizeof(*told));
		told->parent = parent;
		told->depth = depth;
		tell_group(told, &peek->group[g].group, sample->at_ns);
		tell_groups(peek, peek->group[g].at, (int)peek->place[g], depth + 1);
	}
}

static void tell_owner(struct epc_peek *peek, const struct found *found)
{
	struct epc_sample *sample = &peek->sample;
	struct epc_sample_owner *told = &sample->owner[sample->owner_nr++];
	struct pressure pressure = found->owner.pressure;

	memset(told, 0, sizeof(*told));
	told->group = peek->place[found->group];
	memcpy(told->info.name, found->owner.name, sizeof(told->info.name) - 1);
	told->key = found->at;
	told->info.id = found->owner.id;
	told->info.pid = found->owner.pid;
	memcpy(told->info.count, found->count, sizeof(told->info.count));
	pressure_tell(&pressure, sample->at_ns, told->info.pressure);
}

/* Parts of owners are told as those. */
static void name_all(struct epc_peek *peek)
{
	const struct named *whole;
	struct named *part;

	qsort(peek->named, peek->found_nr, sizeof(*peek->named), by_address);
	for (unsigned int i = 0; i < peek->found_nr; i++) {
		const struct found *found = &peek->found[i];

		if ((uintptr_t)found->owner.told_as == found->at)
			continue;
		part = find(peek, found->at);
		whole = find(peek, (uintptr_t)found->owner.told_as);
		part->told = whole ? whole->told : UINT32_MAX;
	}
}

/* Group by group in the order of the sample, each in the order of their making. */
static int tell_owners(struct epc_peek *peek)
{
	struct epc_sample *sample = &peek->sample;
	size_t room = peek->found_nr + 1;
	void *owner = realloc(sample->owner, room * sizeof(*sample->owner));
	void *named;

	if (!owner)
		return -ENOMEM;
	sample->owner = owner;
	named = realloc(peek->named, room * sizeof(*peek->named));
	if (!named)
		return -ENOMEM;
	peek->named = named;
	sample->owner_nr = 0;
	for (unsigned int i = 0; i < peek->found_nr; i++)
		peek->named[i] = (struct named){ peek->found[i].at, UINT32_MAX };
	for (unsigned int place = 0; place < sample->group_nr; place++) {
		for (unsigned int i = 0; i < peek->found_nr; i++) {
			const struct found *found = &peek->found[i];

			if (peek->place[found->group] != place)
				continue;
			peek->named[i].told = sample->owner_nr;
			if ((uintptr_t)found->owner.told_as == found->at)
				tell_owner(peek, found);
		}
	}
	name_all(peek);
	return 0;
}

/* Groups have what their owners have, and pass it on upwards. */
static void sum_up(struct epc_sample *sample)
{
	struct epc_group_stats *to;

	for (unsigned int o = 0; o < sample->owner_nr; o++) {
		to = &sample->group[sample->owner[o].group].stats;
		for (unsigned int i = 0; i < EPC_COUNT_NR; i++)
			to->count[i] += sample->owner[o].info.count[i];
		for (unsigned int i = 0; i < EPC_KIND_NR; i++)
			to->kind[i] += sample->owner[o].info.kind[i];
	}
	for (unsigned int g = sample->group_nr; g-- > 1;) {
		to = &sample->group[sample->group[g].parent].stats;
		for (unsigned int i = 0; i < EPC_COUNT_NR; i++)
			to->count[i] += sample->group[g].stats.count[i];
		for (unsigned int i = 0; i < EPC_KIND_NR; i++)
			to->kind[i] += sample->group[g].stats.kind[i];
	}
}

/* ---- pages --------------------------------------------------------------------------------------- */

struct census {
	struct epc_peek *peek;
	const struct epc_page *pages;
	struct cpu_look epcm;
	const struct named *last;
	struct epc_sample_section *section;
};

static void count_kind(struct census *census, uint32_t nr, uint64_t owner_at)
{
	struct cpu_epcm epcm = cpu_look_epcm(census->epcm, nr);
	enum epc_kind kind =
		epcm.valid && epcm.type < EPC_BLANK ? (enum epc_kind)epcm.type : EPC_BLANK;

	census->section->kind[kind]++;
	if (!census->last || census->last->at != owner_at)
		census->last = find(census->peek, owner_at);
	if (census->last && census->last->told < census->peek->sample.owner_nr)
		census->peek->sample.owner[census->last->told].info.kind[kind]++;
}

/* Pages from dirty_next on have nothing to tell, and maybe no memory. */
static void count_shard(struct census *census, const struct shard *shard)
{
	struct epc_stats *stats = &census->peek->sample.stats;
	uint64_t state[EPC_PAGE_STATE_NR] = { 0 };
	uint32_t end = atomic_load_explicit(&shard->dirty_next, memory_order_acquire);
	uint32_t ahead = shard->poisoned_ahead;
	uint64_t owner_at;

	if (end - shard->first > shard->nr)
		end = shard->first + shard->nr;
	for (uint32_t nr = shard->first; nr < end; nr++) {
		const struct epc_page *page = &census->pages[nr];
		uint64_t word = atomic_load_explicit(&page->word, memory_order_relaxed);
		unsigned int s = (uint8_t)word & ~(unsigned int)PAGE_STATE_KEPT;

		state[s < EPC_PAGE_STATE_NR ? s : EPC_PAGE_OWNED]++;
		owner_at = word >> PAGE_OWNER_SHIFT;
		if (owner_at)
			count_kind(census, nr, owner_at);
	}
	state[EPC_PAGE_DIRTY] += shard->first + shard->nr - end - ahead;
	state[EPC_PAGE_POISONED] += ahead;
	stats->free += state[EPC_PAGE_FREE];
	stats->dirty += state[EPC_PAGE_DIRTY];
	stats->owned += state[EPC_PAGE_OWNED];
	stats->tracked += state[EPC_PAGE_TRACKED];
	stats->in_batch += state[EPC_PAGE_IN_BATCH];
	stats->poisoned += state[EPC_PAGE_POISONED];
	stats->allocs += shard->allocs;
	stats->frees += shard->frees;
	stats->free_lowest += atomic_load_explicit(&shard->lowest, memory_order_relaxed);
	census->section->info.free += state[EPC_PAGE_FREE];
	census->section->info.dirty += state[EPC_PAGE_DIRTY];
	census->section->info.poisoned += state[EPC_PAGE_POISONED];
	census->section->info.allocs += shard->allocs;
	census->section->info.frees += shard->frees;
	census->section->info.evictions += shard->evictions;
}

static int count_pages(struct epc_peek *peek, const struct epc *epc)
{
	const struct look *look = peek->look;
	struct epc_sample *sample = &peek->sample;
	const struct section *sections =
		look_at(look, (uintptr_t)epc->section, epc->section_nr * sizeof(*sections), 8);
	const struct shard *shards =
		look_at(look, (uintptr_t)epc->shard, epc->shard_nr * sizeof(*shards), 64);
	struct census census = {
		.peek = peek,
		.pages = look_at(look, (uintptr_t)epc->pages,
				 epc->page_nr * sizeof(struct epc_page), 8),
		.epcm = cpu_look(look, epc->page_nr),
	};

	if (!sections || !shards || !census.pages || !census.epcm.entry)
		return -ESRCH;
	sample->section_nr =
		epc->section_nr < EPC_SAMPLE_SECTIONS ? epc->section_nr : EPC_SAMPLE_SECTIONS;
	for (unsigned int i = 0; i < sample->section_nr; i++) {
		census.section = &sample->section[i];
		*census.section = (struct epc_sample_section){
			.info = { .first = sections[i].first,
				  .pages = sections[i].nr,
				  .node = sections[i].node },
		};
		for (unsigned int s = sections[i].shard_first;
		     s < sections[i].shard_first + sections[i].shard_nr && s < epc->shard_nr; s++) {
			if (shards[s].first > epc->page_nr ||
			    shards[s].nr > epc->page_nr - shards[s].first)
				return -ESRCH;
			count_shard(&census, &shards[s]);
		}
	}
	return 0;
}

/* ---- the whole ----------------------------------------------------------------------------------- */

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static int tell_backing(const struct epc_peek *peek, const struct epc *epc, struct epc_stats *stats)
{
	const struct backing *backing = LOOK(peek->look, epc->backing, struct backing);
	struct backing_stats file;

	if (!backing)
		return -ESRCH;
	backing_counters(backing, &file);
	stats->backing_waiting = file.waiting;
	stats->backing_written = file.written;
	stats->backing_read = file.read;
	stats->backing_write_errors = file.write_errors;
	stats->backing_read_errors = file.read_errors;
	stats->backing_refused = file.refused;
	stats->backing_slots = backing_used(backing);
	stats->backing_slots_peak = get(&epc->counters.backing_slots_peak);
	if (stats->backing_slots > stats->backing_slots_peak)
		stats->backing_slots_peak = stats->backing_slots;
	return 0;
}

static void tell_counters(struct epc_sample *sample, const struct epc *epc)
{
	const struct epc_counters *c = &epc->counters;
	const uint64_t *count = sample->group[0].stats.count;
	struct epc_stats *stats = &sample->stats;

	stats->pages = epc->page_nr;
	stats->low = epc->low;
	stats->high = epc->high;
	stats->evict_failures = get(&c->evict_failures);
	stats->evictions = count[EPC_EVICTIONS];
	stats->loads = count[EPC_LOADS];
	stats->faults = count[EPC_FAULTS];
	stats->direct_reclaims = get(&c->direct_reclaims);
	stats->stalls = get(&c->stalls);
	stats->background_batches = get(&c->background_batches);
	stats->batches = get(&c->batches);
	stats->scanned = get(&c->scanned);
	stats->second_chances = get(&c->second_chances);
	stats->stall_ns = get(&c->stall_ns);
	stats->machine_checks = get(&c->machine_checks);
	stats->recovered = get(&c->recovered);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int epc_peek_read(struct epc_peek *peek, const struct epc_sample **ret_sample)
{
	struct epc_sample *sample = &peek->sample;
	const struct epc *epc = epc_of(peek);
	struct epc_group_info *root;
	int r;

	if (!epc)
		return -ESRCH;
	r = copy_at_rest(peek, epc, &sample->torn);
	if (r < 0)
		return r;
	sample->at_ns = now_ns();
	sample->group_nr = 0;
	memset(peek->place, 0xff, sizeof(peek->place));
	tell_groups(peek, 0, -1, 0);
	if (sample->group_nr == 0)
		return -ESRCH;
	r = tell_owners(peek);
	if (r < 0)
		return r;
	memset(&sample->stats, 0, sizeof(sample->stats));
	r = count_pages(peek, epc);
	if (r == 0)
		r = tell_backing(peek, epc, &sample->stats);
	/* It may have gone meanwhile, and its memory with it. */
	if (r < 0 || !epc_of(peek))
		return -ESRCH;
	sum_up(sample);
	tell_counters(sample, epc);
	root = &sample->group[0].info;
	root->current_pages =
		(uint32_t)(sample->stats.pages - sample->stats.free - sample->stats.dirty);
	root->peak_pages = (uint32_t)(sample->stats.pages - sample->stats.free_lowest);
	*ret_sample = sample;
	return 0;
}
