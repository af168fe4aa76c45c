/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The manager: making one; and pages as they come into the order of eviction and leave it.
 *
 * Not here: giving out pages (alloc.c), when to reclaim ahead of demand (reclaimd.c).
 */
#include "epc/epc.h"

#include <errno.h>
#include <sched.h>

#include "arch/sgx.h"
#include "base/arena.h"
#include "cpu/cpu.h"
#include "epc/backing.h"
#include "epc/epc_priv.h"
#include "epc/node_priv.h"
#include "epc/peek_priv.h"
#include "epc/poison_priv.h"
#include "epc/policy_sample.h"
#include "epc/reclaim_priv.h"
#include "epc/reclaimd_priv.h"
#include "epc/refault_priv.h"
#include "epc/sample_priv.h"
#include "epc/waiter_priv.h"
#include "epc/window.h"

enum { METADATA_A_PAGE = 64 };

static void set_sizes(struct epc *epc)
{
	uint32_t part = epc->policy->batch_part ? epc->policy->batch_part : POLICY_BATCH_PART;
	uint32_t batch_nr = epc->page_nr / part;

	watermarks_init(epc);
	if (batch_nr > EPC_BATCH_MAX)
		batch_nr = EPC_BATCH_MAX;
	epc->batch_nr = batch_nr ? (uint8_t)batch_nr : 1;
	epc->count_slot_nr = (uint8_t)counts_slot_nr();
}

static void take_hooks(struct epc *epc, const struct epc_config *config)
{
	epc->unmap = config->unmap;
	epc->clock = config->clock;
}

/* What so many bytes a page leave for all that policies remember, beside the records and what was made since @used. */
static uint64_t room_left(const struct epc *epc, size_t used)
{
	uint64_t all = (uint64_t)epc->page_nr * (METADATA_A_PAGE - CPU_RECORD_BYTES);
	size_t taken = arena_used_bytes(epc->arena) - used;

	return all > taken ? all - taken : 0;
}

static void made(struct epc *epc, size_t arena_bytes)
{
	atomic_store(&epc->arena_bytes, arena_bytes);
	arena_show(epc->arena, LOOK_EPC, epc, peek_layout());
}

int epc_create(const struct epc_config *config, struct epc **ret_epc)
{
	size_t used = arena_used_bytes(config->arena);
	struct epc *epc;
	int r = -ENOMEM;

	epc = arena_alloc(config->arena, sizeof(*epc));
	if (!epc)
		return -ENOMEM;
	epc->arena = config->arena;
	epc->cpu = config->cpu;
	take_hooks(epc, config);
	epc->page_nr = cpu_get_config(config->cpu)->page_nr;
	epc->policy = policy_find(config->policy);
	if (!epc->policy || epc->page_nr > PAGE_NR_MAX) {
		r = -EINVAL;
		goto free_epc;
	}
	set_sizes(epc);
	/* Zeroed, which is a page that is DIRTY: nothing is written at start. */
	static_assert(EPC_PAGE_DIRTY == 0, "new pages are dirty");
	epc->pages = cpu_records(config->cpu);
	epc->view = (struct policy_view){ .pages = epc->pages,
					  .page_nr = epc->page_nr,
					  .arena = config->arena };
	r = groups_init(epc);
	if (r < 0)
		goto free_epc;
	r = window_create(config->arena, epc->page_nr, &epc->window);
	if (r < 0)
		goto fini_groups;
	r = backing_create(config->arena, config->backing_path, config->backing_bytes_max,
			   &epc->backing);
	if (r < 0)
		goto destroy_window;
	r = sections_init(epc, config->shards);
	if (r < 0)
		goto destroy_backing;
	r = nodes_init(epc, config->topology);
	if (r < 0)
		goto destroy_sections;
	r = batches_init(epc);
	if (r < 0)
		goto fini_nodes;
	r = policy_view_init(&epc->view, room_left(epc, used));
	if (r < 0)
		goto fini_batches;
	waiters_init(epc);
	lock_init(&epc->reclaim_lock, LOCK_RECLAIM);
	made(epc, arena_used_bytes(config->arena) - used);
	*ret_epc = epc;
	return 0;

fini_batches:
	batches_fini(epc);
fini_nodes:
	nodes_fini(epc);
destroy_sections:
	sections_fini(epc);
destroy_backing:
	backing_destroy(epc->backing);
destroy_window:
	window_destroy(epc->window);
fini_groups:
	groups_fini(epc);
free_epc:
	arena_free(config->arena, epc, sizeof(*epc));
	return r;
}

void epc_destroy(struct epc *epc)
{
	arena_show(epc->arena, LOOK_EPC, NULL, 0);
	reclaimers_fini(epc);
	refaults_fini(epc);
	waiters_fini(epc);
	batches_fini(epc);
	nodes_fini(epc);
	sections_fini(epc);
	lock_fini(&epc->reclaim_lock);
	backing_destroy(epc->backing);
	window_destroy(epc->window);
	groups_fini(epc);
	policy_view_fini(&epc->view);
	arena_free(epc->arena, epc, sizeof(*epc));
}

struct window *epc_window(struct epc *epc)
{
	return epc->window;
}

struct backing *epc_backing(struct epc *epc)
{
	return epc->backing;
}

struct cpu *epc_cpu(struct epc *epc)
{
	return epc->cpu;
}

struct arena *epc_arena(struct epc *epc)
{
	return epc->arena;
}

bool epc_owns_fd(const struct epc *epc, int fd)
{
	return window_owns_fd(epc->window, fd) || backing_owns_fd(epc->backing, fd);
}

void epc_free(struct epc *epc, struct epc_page *page)
{
	uint32_t nr = page_index(epc, page);

	page_prefetch(page);
	assert(page_state(page) == EPC_PAGE_OWNED);
	assert(!cpu_epcm_read(epc->cpu, nr).valid);
	if (page_is_kept(page)) {
		order_lock(epc);
		page_unkeep_locked(epc, page);
		order_unlock(epc);
	}
	page_drop_bytes(epc, page);
	cpu_set_bytes(epc->cpu, nr, NULL);
	section_free(epc, &nr, 1);
}

/*
 * To @group, and so to all above it that may be given it: whoever has tried all of one's pages has not
 * tried this one.
 */
static void note_came_locked(struct epc_group *group) REQUIRES(&group->epc->reclaim_lock)
{
	uint32_t came;
	bool more = true;

	for (; group && more; group = group->parent) {
		came = atomic_load_explicit(&group->came, memory_order_relaxed);
		atomic_store_explicit(&group->came, came + 1, memory_order_relaxed);
		more = !group_is_at_min(group);
	}
}

static void track(struct epc *epc, struct epc_page *page, bool ahead)
{
	uint64_t unmap[SAMPLE_BATCH];
	unsigned int unmap_nr;

	order_lock(epc);
	assert(page_state(page) == EPC_PAGE_OWNED);
	sample_tell_locked(epc);
	if (page_is_kept(page))
		page_unkeep_locked(epc, page);
	page_set_state(page, EPC_PAGE_TRACKED);
	if (ahead)
		sample_set_ahead(page);
	epc->policy->insert(page_policy_state(page), page_index(epc, page));
	refault_came_locked(epc, page_index(epc, page));
	note_came_locked(page_owner(page)->group);
	page_leave_if_broken_locked(epc, page);
	unmap_nr = sample_collect_locked(epc, SAMPLE_BATCH, unmap);
	order_unlock(epc);
	if (unmap_nr > 0)
		epc->unmap(unmap, unmap_nr);
	if (atomic_load_explicit(&epc->hungry, memory_order_relaxed))
		waiters_offer(epc);
}

void epc_keep(struct epc *epc, struct epc_page *page)
{
	if (page_is_kept(page))
		return;
	order_lock(epc);
	assert(page_state(page) == EPC_PAGE_OWNED);
	page_keep_locked(epc, page);
	order_unlock(epc);
	waiters_offer(epc);
}

void epc_track(struct epc *epc, struct epc_page *page)
{
	track(epc, page, false);
}

void epc_track_ahead(struct epc *epc, struct epc_page *page)
{
	track(epc, page, true);
}

int epc_untrack(struct epc *epc, struct epc_page *page)
{
	int r = -EBUSY;

	/* It will be freed. */
	page_prefetch(page);
	order_lock(epc);
	assert(page_state(page) == EPC_PAGE_TRACKED || page_state(page) == EPC_PAGE_IN_BATCH ||
	       epc_page_poisoned(page));
	if (page_state(page) == EPC_PAGE_TRACKED) {
		epc->policy->remove(page_policy_state(page), page_index(epc, page));
		page_set_state(page, EPC_PAGE_OWNED);
	}
	if (page_state(page) == EPC_PAGE_OWNED)
		r = 0;
	order_unlock(epc);
	return r;
}

void epc_untrack_wait(struct epc *epc, struct epc_page *page)
{
	while (epc_untrack(epc, page) < 0) {
		sched_yield();
		reclaim_recover(epc);
	}
}

void epc_touch(struct epc *epc, struct epc_page *page)
{
	sample_use(epc->view.samples, page, page_index(epc, page));
}

unsigned int epc_reclaim(struct epc *epc)
{
	struct reclaim_result result;
	int freed = reclaim_batch(epc, epc_group_root(epc), NULL, &result);

	return freed > 0 ? (unsigned int)freed : 0;
}

void epc_reclaim_direct(struct epc *epc)
{
	if (section_free_nr(epc) < epc->low)
		(void)epc_reclaim(epc);
}

void epc_recover(struct epc *epc)
{
	reclaim_recover(epc);
}
