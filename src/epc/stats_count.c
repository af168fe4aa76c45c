/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Events, counted per owner and summed up per group; pages by kind, counted when somebody asks.
 *
 * What an owner counted that has gone stays with its group, and what a group did with its parent.
 *
 * For its section an event is counted in the shard of the page: its line is as near to whoever has the page as the
 * shard's lock is, and nothing grows with the number of CPUs.
 */
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "cpu/cpu.h"
#include "epc/clock_priv.h"
#include "epc/count_priv.h"
#include "epc/epc_priv.h"
#include "epc/node_priv.h"
#include "epc/owner.h"

#define CENSUS_NAP_NS 1000000

const char *epc_count_name(enum epc_count what)
{
	static const char *const names[EPC_COUNT_NR] = {
		[EPC_ALLOCS] = "allocs",
		[EPC_FREES] = "frees",
		[EPC_FAULTS] = "faults",
		[EPC_LOADS] = "loads",
		[EPC_EVICTIONS] = "evictions",
		[EPC_EVICT_FAILURES] = "evict_failures",
		[EPC_BLOCKS] = "blocks",
		[EPC_TRACKS] = "tracks",
		[EPC_CONFLICTS] = "conflicts",
		[EPC_READAHEADS] = "readaheads",
		[EPC_READAHEAD_USED] = "readahead_used",
		[EPC_READAHEAD_WASTED] = "readahead_wasted",
		[EPC_DIRECT_RECLAIMS] = "direct_reclaims",
		[EPC_STALLS] = "stalls",
		[EPC_STALL_NS] = "stall_ns",
	};

	return what < EPC_COUNT_NR ? names[what] : NULL;
}

const char *epc_kind_name(enum epc_kind kind)
{
	static const char *const names[EPC_KIND_NR] = {
		[EPC_SECS] = "secs", [EPC_TCS] = "tcs",   [EPC_REG] = "reg",
		[EPC_VA] = "va",     [EPC_TRIM] = "trim", [EPC_BLANK] = "blank",
	};

	return kind < EPC_KIND_NR ? names[kind] : NULL;
}

uint32_t counts_slot_nr(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	uint32_t nr = 1;

	while (nr < EPC_COUNT_SLOTS_MAX && (long)nr < cpus)
		nr *= 2;
	return nr;
}

/*
 * Two threads that run at once are on two CPUs, whoever they are and whenever they came.  One that has just gone to
 * another CPU adds to a slot that is somebody else's now, which costs a cache miss and is right.
 */
static struct counts *counts_here(struct epc_owner *owner)
{
	return &owner->counts[(unsigned int)sched_getcpu() & (owner->epc->count_slot_nr - 1)];
}

/* The one where the calling thread would look for a page first. */
static struct shard *shard_here(const struct epc *epc)
{
	const struct section *section = &epc->section[nodes_order(epc)[0]];

	return &epc->shard[section->shard_first + (unsigned int)sched_getcpu() % section->shard_nr];
}

void epc_count(struct epc_owner *owner, const struct epc_page *page, enum epc_count what,
	       uint64_t n)
{
	struct epc *epc = owner->epc;
	struct shard *shard = page ? shard_of(epc, page_index(epc, page)) : shard_here(epc);

	count(&counts_here(owner->told_as)->nr[what], n);
	count(&shard->count[what], n);
}

void counts_page_locked(struct shard *shard, struct epc_owner *owner, enum epc_count what)
{
	_Atomic uint64_t *nr = &shard->count[what];

	count(&counts_here(owner->told_as)->nr[what], 1);
	atomic_store_explicit(nr, atomic_load_explicit(nr, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

void counts_add(const struct counts *counts, uint32_t slot_nr, uint64_t *sum)
{
	unsigned int i, slot;

	for (slot = 0; slot < slot_nr; slot++) {
		for (i = 0; i < EPC_COUNT_NR; i++)
			sum[i] += atomic_load_explicit(&counts[slot].nr[i], memory_order_relaxed);
	}
}

void shard_counts_add(const struct shard *shard, uint64_t *sum)
{
	for (unsigned int i = 0; i < EPC_COUNT_NR; i++)
		sum[i] += atomic_load_explicit(&shard->count[i], memory_order_relaxed);
}

void section_counts_add(const struct epc *epc, const struct section *section, uint64_t *sum)
{
	for (unsigned int i = 0; i < section->shard_nr; i++)
		shard_counts_add(&epc->shard[section->shard_first + i], sum);
}

static void owner_counts_add(const struct epc_owner *owner, uint64_t *sum)
{
	counts_add(owner->counts, owner->epc->count_slot_nr, sum);
}

void counts_retire(struct epc_owner *owner)
{
	uint64_t sum[EPC_COUNT_NR] = { 0 };
	unsigned int i;

	owner_counts_add(owner, sum);
	for (i = 0; i < EPC_COUNT_NR; i++)
		owner->group->retired[i] += sum[i];
}

void group_counts_retire_locked(struct epc_group *group)
{
	for (unsigned int i = 0; i < EPC_COUNT_NR; i++)
		group->parent->retired[i] += group->retired[i];
}

/* ---- pages by kind ----------------------------------------------------------------------------- */

static enum epc_kind kind_of(const struct epc *epc, uint32_t nr)
{
	struct cpu_epcm epcm = cpu_epcm_read(epc->cpu, nr);

	static_assert((int)EPC_SECS == (int)SGX_PT_SECS && (int)EPC_TRIM == (int)SGX_PT_TRIM,
		      "the EPCM's types are kinds");
	return epcm.valid && epcm.type < EPC_BLANK ? (enum epc_kind)epcm.type : EPC_BLANK;
}

enum { CENSUS_STEP = 1024 /* pages looked at while others wait for the lock of the groups */ };

/* What a census has seen so far in each section. */
struct seen {
	uint32_t kind[EPC_SECTIONS_MAX][EPC_KIND_NR];
};

/* The end of a census, whose numbers are told from now on; NULL: its beginning. */
static void kinds_turn_locked(struct epc *epc, const struct seen *end) REQUIRES(&epc->groups_lock)
{
	struct epc_owner *owner;
	struct list *pos;
	unsigned int i;

	for (i = 0; i < EPC_GROUPS_MAX; i++) {
		if (!group_at(epc, i))
			continue;
		list_for_each (pos, &group_at(epc, i)->owners) {
			owner = LIST_ENTRY(pos, struct epc_owner, node);
			if (end)
				memcpy(owner->kind, owner->kind_seen, sizeof(owner->kind));
			memset(owner->kind_seen, 0, sizeof(owner->kind_seen));
		}
	}
	for (i = 0; end && i < epc->section_nr; i++)
		memcpy(epc->section[i].kind, end->kind[i], sizeof(end->kind[i]));
}

/* From page *@nr on, which moves on, to @seen, of EPC_KIND_NR. False: it is over. */
static bool census_step_locked(struct epc *epc, const struct shard *shard, uint32_t *nr,
			       uint32_t *seen) REQUIRES(&epc->groups_lock)
{
	/* Not the pages that were never handed out: to look at them would commit their metadata. */
	uint32_t end = atomic_load_explicit(&shard->dirty_next, memory_order_relaxed), i;
	struct epc_owner *owner;
	enum epc_kind kind;

	for (i = 0; i < CENSUS_STEP && *nr < end; i++, ++*nr) {
		/* An owner stays, with the lock held, whatever becomes of the page. */
		owner = page_owner(&epc->pages[*nr]);
		if (!owner)
			continue;
		kind = kind_of(epc, *nr);
		owner->told_as->kind_seen[kind]++;
		seen[kind]++;
	}
	return *nr < end;
}

static void census_shard(struct epc *epc, const struct shard *shard, uint32_t *seen)
{
	uint32_t nr = shard->first;
	bool more = true;

	while (more) {
		groups_lock(epc);
		more = census_step_locked(epc, shard, &nr, seen);
		groups_unlock(epc);
	}
}

static void kinds_turn(struct epc *epc, const struct seen *end)
{
	groups_lock(epc);
	kinds_turn_locked(epc, end);
	groups_unlock(epc);
}

/* One at a time.  Allocations that have to wait for a page need the lock of the groups, too: it is taken for little at once. */
LOCK_ATTR(no_thread_safety_analysis) void epc_census(struct epc *epc)
{
	const struct section *section;
	struct seen seen = { 0 };
	unsigned int s, i;

	while (!lock_try(&epc->census_lock))
		nap(epc, CENSUS_NAP_NS);
	epc->census_lock.holder_died = false; /* what he had counted is forgotten */
	kinds_turn(epc, NULL);
	for (s = 0; s < epc->section_nr; s++) {
		section = &epc->section[s];
		for (i = 0; i < section->shard_nr; i++)
			census_shard(epc, &epc->shard[section->shard_first + i], seen.kind[s]);
	}
	kinds_turn(epc, &seen);
	lock_release(&epc->census_lock);
}

/* ---- reading ------------------------------------------------------------------------------------ */

static void owner_tell_locked(struct epc_owner *owner, struct epc_owner_info *ret_info)
	REQUIRES(&owner->epc->groups_lock)
{
	memset(ret_info, 0, sizeof(*ret_info));
	memcpy(ret_info->name, owner->name, sizeof(ret_info->name));
	ret_info->pid = owner->pid;
	ret_info->id = owner->id;
	owner_counts_add(owner, ret_info->count);
	memcpy(ret_info->kind, owner->kind, sizeof(ret_info->kind));
	pressure_read_locked(owner->epc, &owner->pressure, ret_info->pressure);
}

void epc_owner_info_read(struct epc_owner *owner, struct epc_owner_info *ret_info)
{
	groups_lock(owner->epc);
	owner_tell_locked(owner, ret_info);
	groups_unlock(owner->epc);
}

bool epc_owner_read(struct epc_group *group, unsigned int n, struct epc_owner_info *ret_info)
{
	struct epc *epc = group->epc;
	struct epc_owner *owner;
	struct list *pos;
	bool found = false;

	memset(ret_info, 0, sizeof(*ret_info));
	groups_lock(epc);
	list_for_each (pos, &group->owners) {
		owner = LIST_ENTRY(pos, struct epc_owner, node);
		if (owner->told_as != owner || n-- > 0)
			continue;
		owner_tell_locked(owner, ret_info);
		found = true;
		break;
	}
	groups_unlock(epc);
	return found;
}

static void group_add_locked(struct epc_group *group, struct epc_group_stats *stats)
	REQUIRES(&group->epc->groups_lock)
{
	struct epc_owner *owner;
	struct list *pos;
	unsigned int i;

	for (i = 0; i < EPC_COUNT_NR; i++)
		stats->count[i] += group->retired[i];
	list_for_each (pos, &group->owners) {
		owner = LIST_ENTRY(pos, struct epc_owner, node);
		owner_counts_add(owner, stats->count);
		for (i = 0; i < EPC_KIND_NR; i++)
			stats->kind[i] += owner->kind[i];
	}
	for (struct epc_group *child = group->child; child; child = child->sibling)
		group_add_locked(child, stats);
}

void epc_group_stats_read(struct epc_group *group, struct epc_group_stats *ret_stats)
{
	memset(ret_stats, 0, sizeof(*ret_stats));
	groups_lock(group->epc);
	group_add_locked(group, ret_stats);
	pressure_read_locked(group->epc, &group->pressure, ret_stats->pressure);
	groups_unlock(group->epc);
}

void epc_section_stats_read(struct epc *epc, unsigned int i, struct epc_section_stats *ret_stats)
{
	struct section *section = &epc->section[i];

	assert(i < epc->section_nr);
	memset(ret_stats, 0, sizeof(*ret_stats));
	section_counts_add(epc, section, ret_stats->count);
	groups_lock(epc);
	memcpy(ret_stats->kind, section->kind, sizeof(section->kind));
	pressure_read_locked(epc, section->pressure, ret_stats->pressure);
	groups_unlock(epc);
}
