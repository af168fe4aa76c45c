/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Counters, for people.  States are counted under the locks that changes of state need, so they sum to the
 * number of pages at any moment; events are counted without any.
 */
#include <string.h>

#include "cpu/cpu.h"
#include "epc/backing.h"
#include "epc/epc_priv.h"
#include "epc/policy_duel.h"
#include "epc/policy_ghost.h"
#include "epc/refault_priv.h"

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* OWNED ones are what is left: they are on no list. */
static void count_states(struct epc *epc, struct epc_stats *stats)
{
	struct shard *shard;
	unsigned int i;

	order_lock(epc);
	stats->tracked = group_tracked_locked(epc->root);
	stats->in_batch = epc->in_batch_nr;
	for (i = 0; i < epc->shard_nr; i++) {
		shard = &epc->shard[i];
		shard_lock(epc, shard);
		stats->free += shard->free.nr;
		stats->dirty += shard_dirty_nr(shard);
		stats->poisoned += shard->poisoned.nr;
		stats->free_lowest += shard->lowest;
		shard_unlock(shard);
	}
	order_unlock(epc);
	stats->pages = epc->page_nr;
	stats->owned = stats->pages - stats->free - stats->dirty - stats->tracked -
		       stats->in_batch - stats->poisoned;
}

void epc_stats_read(struct epc *epc, struct epc_stats *ret_stats)
{
	struct epc_counters *c = &epc->counters;
	struct epc_group_stats all;
	struct backing_stats file;

	memset(ret_stats, 0, sizeof(*ret_stats));
	count_states(epc, ret_stats);
	ret_stats->low = epc->low;
	ret_stats->high = epc->high;
	ret_stats->evict_failures = get(&c->evict_failures);
	epc_group_stats_read(epc_group_root(epc), &all);
	ret_stats->allocs = all.count[EPC_ALLOCS];
	ret_stats->frees = all.count[EPC_FREES] + all.count[EPC_EVICTIONS];
	ret_stats->evictions = all.count[EPC_EVICTIONS];
	ret_stats->loads = all.count[EPC_LOADS];
	ret_stats->faults = all.count[EPC_FAULTS];
	ret_stats->direct_reclaims = get(&c->direct_reclaims);
	ret_stats->stalls = get(&c->stalls);
	ret_stats->background_batches = get(&c->background_batches);
	ret_stats->batches = get(&c->batches);
	ret_stats->scanned = get(&c->scanned);
	ret_stats->second_chances = get(&c->second_chances);
	backing_stats_read(epc->backing, &file);
	ret_stats->backing_waiting = file.waiting;
	ret_stats->backing_written = file.written;
	ret_stats->backing_read = file.read;
	ret_stats->backing_write_errors = file.write_errors;
	ret_stats->backing_read_errors = file.read_errors;
	ret_stats->backing_refused = file.refused;
	ret_stats->backing_slots = backing_used(epc->backing);
	ret_stats->backing_slots_peak = get(&c->backing_slots_peak);
	if (ret_stats->backing_slots > ret_stats->backing_slots_peak)
		ret_stats->backing_slots_peak = ret_stats->backing_slots;
	ret_stats->stall_ns = get(&c->stall_ns);
	ret_stats->machine_checks = get(&c->machine_checks);
	ret_stats->recovered = get(&c->recovered);
	refaults_sum(late_there(&epc->refaults), &ret_stats->larger);
}

void epc_footprint_read(const struct epc *epc, struct epc_footprint *ret_footprint)
{
	*ret_footprint = (struct epc_footprint){
		.epcm = (uint64_t)epc->page_nr * CPU_EPCM_BYTES,
		.pages = (uint64_t)epc->page_nr * (CPU_RECORD_BYTES - CPU_EPCM_BYTES),
		.ghosts = ghosts_bytes(epc->view.ghosts),
		.shadows = shadows_bytes(epc->view.shadows),
		.rest = epc->arena_bytes,
	};
}
