/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Peeking: groups and owners are copied first, until a copy was made while nobody had groups_lock (epc.groups_seq); then
 * pages are counted (peek_pages.c); and all else is worked out from the copies.
 *
 * Nothing that is read is trusted: a pointer is followed if it leads to a place in the file, a list as far as there can
 * be owners, and what is checked is a copy, as the next look may find something else.  What is copied and turns out to be
 * torn is thrown away.
 */
#include "epc/peek.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/look.h"
#include "epc/backing_priv.h"
#include "epc/epc_priv.h"
#include "epc/peek_priv.h"
#include "epc/refault_priv.h"

enum {
	TRIES_AT_ONCE = 100, /* whoever has the lock has it for a moment */
	TRIES = 200,         /* unless he does not get to run */
	PAUSE_NS = 200000,
	COUNT_EVERY_NS = 250000000,
	OWNERS_MAX = 1 << 17, /* more is a list that leads nowhere */
	TIRED_NS = 500000000, /* of trying, which takes its time where there is much to copy */
};

uint64_t peek_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

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
		offsetof(struct shard, count),
		offsetof(struct section, pressure),
		sizeof(struct epc_page),
		sizeof(struct epc_group),
		offsetof(struct epc_group, owners),
		offsetof(struct epc_group, pressure),
		offsetof(struct epc_group, event),
		offsetof(struct epc_group, charge),
		sizeof(struct charge),
		offsetof(struct epc, shard_nr),
		sizeof(struct epc_owner),
		offsetof(struct epc_owner, node),
		offsetof(struct epc_owner, told_as),
		offsetof(struct epc_owner, counts),
		sizeof(struct pressure),
		sizeof(struct backing),
		offsetof(struct backing, written),
		EPC_COUNT_NR,
		offsetof(struct epc, refaults),
		sizeof(struct refaults),
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
	peek->every_ns = COUNT_EVERY_NS;
	*ret_peek = peek;
	return 0;
}

void epc_peek_close(struct epc_peek *peek)
{
	if (!peek)
		return;
	free(peek->found);
	free(peek->named);
	free(peek->counted.owner);
	free(peek->sample.owner);
	free(peek);
}

void epc_peek_count_every(struct epc_peek *peek, uint64_t ns)
{
	peek->every_ns = ns;
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
static int copy_owners(struct epc_peek *peek, unsigned int g)
{
	uint32_t nr = peek->epc.count_slot_nr, slots = nr <= EPC_COUNT_SLOTS_MAX ? nr : 0;
	uint64_t head = peek->group[g].at + offsetof(struct epc_group, owners), at, link;
	uint64_t met = 0, steps = 0, met_next = 1;
	const struct epc_owner *owner;
	const struct counts *counts;
	struct found *found;

	for (link = (uintptr_t)peek->group[g].group.owners.next; link != head;
	     link = (uintptr_t)found->owner.node.next) {
		/* Brent's way to see that a list goes round. */
		if (link == met)
			return -EAGAIN;
		if (++steps == met_next) {
			met = link;
			met_next *= 2;
		}
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

/* The root is charged for nothing. */
static bool charges_add(const struct epc_peek *peek, uint64_t at, uint32_t *ret_sum)
{
	unsigned int nr = peek->epc.shard_nr;
	const struct charge *charge;

	*ret_sum = 0;
	if (at == (uintptr_t)peek->epc.root)
		return true;
	if (nr == 0 || nr > EPC_SHARDS_MAX)
		return false;
	nr = charge_places(nr);
	charge = look_at(peek->look, at + offsetof(struct epc_group, charge), nr * sizeof(*charge),
			 _Alignof(struct epc_group));
	for (unsigned int i = 0; charge && i < nr; i++)
		*ret_sum += atomic_load_explicit(&charge[i].nr, memory_order_relaxed);
	return charge;
}

static int copy_group(struct epc_peek *peek, uint64_t at)
{
	const struct epc_group *group;

	if (!at)
		return 0;
	group = LOOK(peek->look, at, struct epc_group);
	if (!group)
		return -EAGAIN;
	peek->group[peek->group_nr].at = at;
	if (!charges_add(peek, at, &peek->group[peek->group_nr].charged))
		return -EAGAIN;
	peek->group[peek->group_nr].first = peek->found_nr;
	memcpy(&peek->group[peek->group_nr].group, group, sizeof(*group));
	return copy_owners(peek, peek->group_nr++);
}

static int copy_all(struct epc_peek *peek)
{
	uint64_t table = (uintptr_t)atomic_load_explicit(&peek->live->other, memory_order_acquire);
	const uint64_t *other =
		table ? look_at(peek->look, table, (EPC_GROUPS_MAX - 1) * 8, 8) : NULL;
	int r;

	peek->group_nr = peek->found_nr = 0;
	r = copy_group(peek, (uintptr_t)peek->epc.root);
	for (unsigned int i = 0; other && i < EPC_GROUPS_MAX - 1 && r == 0; i++)
		r = copy_group(peek, __atomic_load_n(&other[i], __ATOMIC_RELAXED));
	return r;
}

/* @ret_torn: there was not one moment of rest. */
static int copy_at_rest(struct epc_peek *peek, bool *ret_torn)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	uint64_t seq, after, begun = peek_now_ns();
	int r = 0;

	for (unsigned int i = 0; i < TRIES && (i < 2 || peek_now_ns() - begun < TIRED_NS); i++) {
		seq = atomic_load_explicit(&peek->live->groups_seq, memory_order_acquire);
		r = copy_all(peek);
		if (r == -ENOMEM)
			return r;
		atomic_thread_fence(memory_order_acquire);
		after = atomic_load_explicit(&peek->live->groups_seq, memory_order_relaxed);
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

struct named *peek_find(const struct epc_peek *peek, uint64_t at)
{
	const struct named key = { .at = at };

	return peek->found_nr ? bsearch(&key, peek->named, peek->found_nr, sizeof(key), by_address)
			      : NULL;
}

/* It goes to somebody's terminal: what is no text does not. */
static void tell_name(char *to, size_t bytes, const char *from)
{
	for (; bytes > 1 && *from; bytes--, from++)
		*to++ = *from >= ' ' && *from <= '~' ? *from : '?';
	*to = '\0';
}

static void tell_group(struct epc_sample_group *told, const struct epc_group *group, uint64_t now)
{
	struct pressure pressure = group->pressure;

	tell_name(told->info.name, sizeof(told->info.name), group->name);
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
	/* It is noted right after the page is charged. */
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
		/* There is one root; another group that has no parent is torn. */
		if (parent < 0 && sample->group_nr > 0)
			break;
		peek->place[g] = sample->group_nr;
		told = &sample->group[sample->group_nr++];
		memset(told, 0, sizeof(*told));
		told->parent = parent;
		told->depth = depth;
		told->info.current_pages = peek->group[g].charged;
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
	tell_name(told->info.name, sizeof(told->info.name), found->owner.name);
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
		part = peek_find(peek, found->at);
		whole = peek_find(peek, (uintptr_t)found->owner.told_as);
		part->told = whole ? whole->told : UINT32_MAX;
	}
}

/* Group by group in the order of the sample, each in the order of their making. */
static int tell_owners(struct epc_peek *peek)
{
	struct epc_sample *sample = &peek->sample;
	size_t room = peek->found_nr + 1;
	void *owner = realloc(sample->owner, room * sizeof(*sample->owner));
	unsigned int group_at[EPC_GROUPS_MAX];
	unsigned int g;
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
	/* A group below one that is there twice has had two places: the first is nobody's. */
	for (unsigned int place = 0; place < sample->group_nr; place++)
		group_at[place] = EPC_GROUPS_MAX;
	for (g = 0; g < peek->group_nr; g++) {
		if (peek->place[g] < sample->group_nr)
			group_at[peek->place[g]] = g;
	}
	for (unsigned int place = 0; place < sample->group_nr; place++) {
		g = group_at[place];
		for (unsigned int i = g < EPC_GROUPS_MAX ? peek->group[g].first : peek->found_nr;
		     i < peek->found_nr && peek->found[i].group == g; i++) {
			peek->named[i].told = sample->owner_nr;
			if ((uintptr_t)peek->found[i].owner.told_as == peek->found[i].at)
				tell_owner(peek, &peek->found[i]);
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

/* ---- the whole ----------------------------------------------------------------------------------- */

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static int tell_backing(const struct epc_peek *peek, struct epc_stats *stats)
{
	const struct backing *backing = LOOK(peek->look, peek->epc.backing, struct backing);
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
	stats->backing_slots_peak = get(&peek->live->counters.backing_slots_peak);
	if (stats->backing_slots > stats->backing_slots_peak)
		stats->backing_slots_peak = stats->backing_slots;
	return 0;
}

static void tell_counters(struct epc_peek *peek)
{
	const struct epc_counters *c = &peek->live->counters;
	const uint64_t *count = peek->sample.group[0].stats.count;
	struct epc_stats *stats = &peek->sample.stats;

	stats->pages = peek->epc.page_nr;
	stats->low = peek->epc.low;
	stats->high = peek->epc.high;
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
	refaults_sum(LOOK(peek->look, late_there(&peek->live->refaults), struct refaults),
		     &stats->larger);
}

int epc_peek_read(struct epc_peek *peek, const struct epc_sample **ret_sample)
{
	struct epc_sample *sample = &peek->sample;
	struct epc_group_info *root;
	int r;

	peek->live = epc_of(peek);
	if (!peek->live)
		return -ESRCH;
	memcpy(&peek->epc, peek->live, sizeof(peek->epc));
	r = copy_at_rest(peek, &sample->torn);
	if (r < 0)
		return r;
	sample->at_ns = peek_now_ns();
	sample->group_nr = 0;
	memset(peek->place, 0xff, sizeof(peek->place));
	tell_groups(peek, 0, -1, 0);
	if (sample->group_nr == 0)
		return -ESRCH;
	r = tell_owners(peek);
	if (r < 0)
		return r;
	memset(&sample->stats, 0, sizeof(sample->stats));
	r = peek_pages(peek);
	if (r == 0)
		r = tell_backing(peek, &sample->stats);
	/* It may have gone meanwhile, and its memory with it. */
	if (r == 0 && !epc_of(peek))
		r = -ESRCH;
	if (r < 0)
		return r;
	sum_up(sample);
	tell_counters(peek);
	root = &sample->group[0].info;
	root->current_pages =
		(uint32_t)(sample->stats.pages - sample->stats.free - sample->stats.dirty);
	root->peak_pages = (uint32_t)(sample->stats.pages - sample->stats.free_lowest);
	*ret_sample = sample;
	return 0;
}
