/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A raw EPC file's life, and the two things that it does: a page at its first touch, and REMOVE_ALL.
 *
 * A frame is taken without the lock where that needs a reclaim, so two that touch one page may both come
 * back with a frame: the second gives his back.
 *
 * Invariant: a frame whose cookie tells a page is in that page's slot.
 */
#include "vepc/vepc_priv.h"

#include <assert.h>
#include <errno.h>

#include "base/arena.h"
#include "cpu/cpu.h"
#include "epc/epc.h"
#include "epc/owner.h"
#include "epc/window.h"

/* ---- nothing here is ever offered to the reclaimer ------------------------------------------- */

static bool never(struct epc_page *page)
{
	return false;
}

static int never_write(struct epc_page *page)
{
	return -EPERM;
}

static void nothing_to_put(struct epc_page *page) {}

static const struct sgx_epc_page_ops vepc_page_ops = {
	.name = "vepc",
	.get = never,
	.reclaim = never,
	.block = never,
	.write = never_write,
	.put = nothing_to_put,
};

/* ---- life --------------------------------------------------------------------------------------- */

int vepc_registry_create(struct epc *epc, struct vepc_registry **ret_registry)
{
	struct arena *arena = epc_arena(epc);
	struct vepc_registry *registry = arena_alloc(arena, sizeof(*registry));

	if (!registry)
		return -ENOMEM;
	registry->epc = epc;
	registry->arena = arena;
	lock_init(&registry->lock, LOCK_REGISTRY);
	list_init(&registry->zombies);
	*ret_registry = registry;
	return 0;
}

void vepc_registry_destroy(struct vepc_registry *registry)
{
	assert(list_empty(&registry->zombies));
	lock_fini(&registry->lock);
	arena_free(registry->arena, registry, sizeof(*registry));
}

int vepc_open(struct vepc_registry *registry, struct vepc **ret_vepc)
{
	struct vepc *vepc = arena_alloc(registry->arena, sizeof(*vepc));
	struct epc_owner_config config = { .ops = &vepc_page_ops, .owner = vepc };

	if (!vepc)
		return -ENOMEM;
	if (epc_owner_create(registry->epc, &config, &vepc->epc_owner) < 0) {
		arena_free(registry->arena, vepc, sizeof(*vepc));
		return -ENOMEM;
	}
	vepc->registry = registry;
	vepc->epc = registry->epc;
	vepc->cpu = epc_cpu(registry->epc);
	vepc->arena = registry->arena;
	vepc->window = epc_window(registry->epc);
	ref_init(&vepc->refs);
	lock_init(&vepc->own_lock, LOCK_OWNER);
	vepc->lock = &vepc->own_lock;
	list_init(&vepc->chunks);
	list_init(&vepc->node);
	*ret_vepc = vepc;
	return 0;
}

struct vepc *vepc_get(struct vepc *vepc)
{
	ref_get(&vepc->refs);
	return vepc;
}

struct vepc *vepc_put(struct vepc *vepc)
{
	if (vepc && ref_put(&vepc->refs))
		vepc_free(vepc);
	return NULL;
}

void vepc_lock(struct vepc *vepc)
{
	lock_acquire(vepc->lock);
	/* A keeper's lock is the keeper's to mend. */
	if (vepc->ops || !vepc->lock->holder_died)
		return;
	vepc_repair_locked(vepc);
	vepc->lock->holder_died = false;
}

void vepc_unlock(struct vepc *vepc)
{
	lock_release(vepc->lock);
}

/* ---- keepers ------------------------------------------------------------------------------------- */

int vepc_keep(struct vepc *vepc, const struct vepc_keeper_ops *ops, void *keeper, struct lock *lock,
	      struct epc_group *group)
{
	struct epc_owner_config config = { .ops = ops->page_ops, .owner = vepc, .group = group };
	struct epc_owner *kept;
	int r = 0;

	vepc_lock(vepc);
	if (vepc->ops || !list_empty(&vepc->chunks))
		r = -EEXIST;
	vepc_unlock(vepc);
	if (r == 0)
		r = epc_owner_create(vepc->epc, &config, &kept);
	if (r < 0)
		return r;
	epc_owner_destroy(vepc->epc_owner);
	vepc->epc_owner = kept;
	vepc->keeper = keeper;
	vepc->lock = lock;
	vepc->ops = ops;
	return 0;
}

void *vepc_keeper(const struct vepc *vepc)
{
	return vepc->keeper;
}

bool vepc_batch_get(struct vepc *vepc)
{
	/* Pairs with vepc_free(), which sets going and then waits for batch_nr to be 0. */
	atomic_fetch_add(&vepc->batch_nr, 1);
	if (!atomic_load(&vepc->going))
		return true;
	atomic_fetch_sub(&vepc->batch_nr, 1);
	return false;
}

void vepc_batch_put(struct vepc *vepc)
{
	atomic_fetch_sub(&vepc->batch_nr, 1);
}

bool vepc_is_going(const struct vepc *vepc)
{
	return atomic_load(&vepc->going);
}

/* ---- mappings and faults ------------------------------------------------------------------------ */

int vepc_reserve(struct vepc *vepc, uint64_t off, uint64_t bytes)
{
	uint64_t nr, last;
	int r = 0;

	assert(off % SGX_PAGE_SIZE == 0 && bytes % SGX_PAGE_SIZE == 0 && bytes > 0);
	if (off + bytes <= off)
		return -EINVAL;
	last = (off + bytes - 1) / VEPC_CHUNK_BYTES;
	vepc_lock(vepc);
	for (nr = off / VEPC_CHUNK_BYTES; r == 0 && nr <= last; nr++)
		r = chunk_need_locked(vepc, nr);
	vepc_unlock(vepc);
	return r;
}

uint64_t vepc_win_off(struct vepc *vepc, uint64_t off)
{
	struct vepc_chunk *chunk;

	/* A chunk's links are complete before it can be reached, and it does not go: no lock is needed to find it. */
	chunk = chunk_find(vepc, off / VEPC_CHUNK_BYTES);
	assert(chunk);
	return chunk->win_off + off % VEPC_CHUNK_BYTES;
}

/* hand_nr counts from before the frame is there: whoever dies in between leaves a count, not a frame. */
int vepc_frame_alloc(struct vepc *vepc, unsigned int flags, struct epc_page **ret_frame)
{
	int r;

	atomic_fetch_add(&vepc->hand_nr, 1);
	r = epc_alloc(vepc->epc, vepc->epc_owner, flags | EPC_UNPLACED, ret_frame);
	if (r < 0)
		atomic_fetch_sub(&vepc->hand_nr, 1);
	return r;
}

void vepc_frame_free(struct vepc *vepc, struct epc_page *frame)
{
	epc_free(vepc->epc, frame);
	atomic_fetch_sub(&vepc->hand_nr, 1);
}

void vepc_count(struct vepc *vepc, const struct epc_page *frame, enum epc_count what)
{
	epc_count(vepc->epc_owner, frame, what, 1);
}

static uint64_t page_win_off(struct vepc *vepc, uint64_t idx)
{
	struct vepc_chunk *chunk = chunk_find(vepc, idx / VEPC_CHUNK_PAGES);

	return chunk->win_off + idx % VEPC_CHUNK_PAGES * SGX_PAGE_SIZE;
}

void vepc_page_link_locked(struct vepc *vepc, struct vepc_page *page, uint64_t idx,
			   struct epc_page *frame)
{
	epc_page_set_cookie(frame, idx + 1);
	page->frame = frame;
	vepc->resident++;
	atomic_fetch_sub(&vepc->hand_nr, 1);
}

int vepc_page_fill_locked(struct vepc *vepc, struct vepc_page *page, uint64_t idx,
			  struct epc_page *frame)
{
	uint64_t off = page_win_off(vepc, idx);

	/* Zeroed: what another owner left in the EPC page does not get here. */
	if (window_populate(vepc->window, off, 1) < 0)
		return -ENOMEM;
	epc_page_place(vepc->epc, frame, off, false);
	vepc_page_link_locked(vepc, page, idx, frame);
	return 0;
}

int vepc_page_give_locked(struct vepc *vepc, struct vepc_page *page, uint64_t idx,
			  const void *bytes)
{
	uint64_t off = page_win_off(vepc, idx);

	if (window_give(vepc->window, off, bytes) < 0)
		return -ENOMEM;
	epc_page_place(vepc->epc, page->frame, off, false);
	return 0;
}

struct epc_page *vepc_page_empty_locked(struct vepc *vepc, struct vepc_page *page)
{
	struct epc_page *frame = page->frame;

	page->frame = NULL;
	vepc->resident--;
	return frame;
}

int vepc_fault(struct vepc *vepc, uint64_t off)
{
	uint64_t idx = off / SGX_PAGE_SIZE;
	struct epc_page *frame = NULL;
	struct vepc_page *page;
	int r;

	if (vepc->ops)
		return vepc->ops->fault(vepc->keeper, vepc, idx);
	vepc_lock(vepc);
	page = vepc_page_locked(vepc, idx);
	r = page ? 0 : -ENOMEM;
	if (page && !page->frame) {
		r = vepc_frame_alloc(vepc, 0, &frame);
		if (r == -EBUSY) {
			vepc_unlock(vepc);
			r = vepc_frame_alloc(vepc, EPC_MAY_RECLAIM, &frame);
			vepc_lock(vepc);
		}
	}
	if (r == 0 && frame && !page->frame) {
		r = vepc_page_fill_locked(vepc, page, idx, frame);
		if (r == 0) {
			/* Nobody evicts it: this EPC has no keeper. */
			epc_keep(vepc->epc, frame);
			frame = NULL;
		}
	}
	vepc_count(vepc, r == 0 ? page->frame : NULL, EPC_FAULTS);
	if (r == 0 && epc_page_poisoned(page->frame))
		r = -EHWPOISON;
	vepc_unlock(vepc);
	if (frame)
		vepc_frame_free(vepc, frame);
	return r;
}

/* ---- REMOVE_ALL ---------------------------------------------------------------------------------- */

/* 0, SGX_CHILD_PRESENT, or -EBUSY. */
static int page_remove_locked(struct vepc *vepc, uint64_t idx, struct vepc_page *page)
{
	struct cpu_outcome out;

	if (vepc->ops)
		return vepc->ops->remove(vepc->keeper, vepc, idx, page);
	out = encls_eremove(vepc->cpu, epc_page_nr(vepc->epc, page->frame));
	if (out.fault == CPU_NO_FAULT && out.eax == SGX_CHILD_PRESENT)
		return SGX_CHILD_PRESENT;
	return cpu_ok(out) ? 0 : -EBUSY;
}

long vepc_remove_all(struct vepc *vepc)
{
	struct vepc_page *page;
	uint64_t idx = 0;
	long failed = 0;
	int r = 0;

	vepc_lock(vepc);
	for (; r >= 0 && (page = vepc_page_next_locked(vepc, &idx)); idx++) {
		r = page_remove_locked(vepc, idx, page);
		failed += r == SGX_CHILD_PRESENT;
	}
	vepc_unlock(vepc);
	return r < 0 ? r : failed;
}

uint32_t vepc_page_nr(struct vepc *vepc, uint64_t off)
{
	uint64_t idx = off / SGX_PAGE_SIZE;
	uint32_t nr = CPU_NO_PAGE;
	struct vepc_page *page;

	vepc_lock(vepc);
	page = vepc_page_next_locked(vepc, &idx);
	if (page && page->frame && idx == off / SGX_PAGE_SIZE)
		nr = epc_page_nr(vepc->epc, page->frame);
	vepc_unlock(vepc);
	return nr;
}

uint64_t vepc_resident(struct vepc *vepc)
{
	uint64_t nr;

	vepc_lock(vepc);
	nr = vepc->resident;
	vepc_unlock(vepc);
	return nr;
}
