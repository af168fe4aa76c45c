/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * An enclave's life: open, references, the list of all enclaves, its lock.  The end is in free.c.
 *
 * A process killed while it held the enclave's lock may have left things half done: whoever takes the lock next sees
 * them through (repair.c), and notices nothing.
 */
#include "encl/encl_priv.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/backing.h"
#include "epc/epc.h"
#include "epc/owner.h"
#include "epc/window.h"

/* ---- where nothing is mapped ------------------------------------------------------------------ */

static int none_map(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, unsigned int rwx)
{
	return 0;
}

static int none_place(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, const void *bytes,
		      unsigned int rwx)
{
	return 0;
}

static bool none_signal_pending(void *mm)
{
	return false;
}

static const struct encl_mm_ops none_ops = {
	.map = none_map,
	.place = none_place,
	.signal_pending = none_signal_pending,
};
const struct encl_mm encl_mm_none = { .ops = &none_ops };

/* ---- the list of all --------------------------------------------------------------------------- */

int encl_registry_create(struct epc *epc, struct encl_registry **ret_registry)
{
	struct arena *arena = epc_arena(epc);
	struct encl_registry *registry = arena_alloc(arena, sizeof(*registry));

	if (!registry)
		return -ENOMEM;
	registry->epc = epc;
	registry->arena = arena;
	registry->next_id = 1;
	lock_init(&registry->lock, LOCK_REGISTRY);
	list_init(&registry->encls);
	*ret_registry = registry;
	return 0;
}

void encl_registry_on_starved(struct encl_registry *registry, void (*reap)(void))
{
	registry->reap = reap;
}

/* A list that somebody died over is whole in one direction. */
static void registry_lock(struct encl_registry *registry) ACQUIRES(&registry->lock)
{
	lock_acquire(&registry->lock);
	if (registry->lock.holder_died) {
		list_repair(&registry->encls);
		registry->lock.holder_died = false;
	}
}

void encl_registry_destroy(struct encl_registry *registry)
{
	assert(list_empty(&registry->encls));
	lock_fini(&registry->lock);
	arena_free(registry->arena, registry, sizeof(*registry));
}

struct encl *encl_registry_get(struct encl_registry *registry, unsigned int n)
{
	struct encl *found = NULL;
	struct list *pos;

	registry_lock(registry);
	list_for_each (pos, &registry->encls) {
		struct encl *encl = LIST_ENTRY(pos, struct encl, node);

		if (!atomic_load(&encl->going) && n-- == 0) {
			found = ref_tryget(&encl->refs) ? encl : NULL;
			break;
		}
	}
	lock_release(&registry->lock);
	return found;
}

void registry_forget(struct encl *encl)
{
	registry_lock(encl->registry);
	list_del(&encl->node);
	lock_release(&encl->registry->lock);
}

/*
 * One that has an end_lock with a dead holder, which is ours now; or NULL, when all the dead have left in the others
 * has been seen to.
 */
LOCK_ATTR(no_thread_safety_analysis)
static struct encl *registry_reap(struct encl_registry *registry)
{
	struct encl *half_gone = NULL;
	struct list *pos;

	registry_lock(registry);
	list_for_each (pos, &registry->encls) {
		struct encl *encl = LIST_ENTRY(pos, struct encl, node);

		if (!lock_try(&encl->end_lock))
			continue;
		if (encl->end_lock.holder_died && ref_count(&encl->refs) == 0) {
			half_gone = encl;
			break;
		}
		encl->end_lock.holder_died = false; /* it looked, as we do */
		encl_lock(encl);
		hands_reap_locked(encl);
		encl_unlock(encl);
		lock_release(&encl->end_lock);
	}
	lock_release(&registry->lock);
	return half_gone;
}

LOCK_ATTR(no_thread_safety_analysis) void encl_reap(struct encl_registry *registry)
{
	struct encl *encl;

	if (registry->reap)
		registry->reap();
	while ((encl = registry_reap(registry)))
		encl_free(encl);
}

/* ---- the lock, and holders that died ----------------------------------------------------------- */

/* In this order: whoever finds that we are doing something finds what, too. */
void encl_begin_locked(struct encl *encl, enum encl_doing doing, struct encl_hand *hand,
		       uint64_t idx)
{
	encl->doing_hand = hand;
	encl->doing_idx = idx;
	atomic_signal_fence(memory_order_release);
	encl->doing = doing;
	atomic_signal_fence(memory_order_release);
}

void encl_end_locked(struct encl *encl)
{
	atomic_signal_fence(memory_order_release);
	encl->doing = ENCL_LOOKING;
	atomic_signal_fence(memory_order_release);
	encl->doing_hand = NULL;
}

void encl_lock(struct encl *encl)
{
	lock_acquire(&encl->lock);
	if (encl->lock.holder_died) {
		repair_locked(encl);
		encl->lock.holder_died = false;
	}
}

void encl_unlock(struct encl *encl)
{
	assert(encl->doing == ENCL_LOOKING);
	lock_release(&encl->lock);
}

/* Short waits first: a reclaimer needs some microseconds a page. */
static void pause_for(unsigned int waits)
{
	struct timespec ts = { .tv_nsec = 20000 };

	if (waits < 8) {
		sched_yield();
		return;
	}
	while (waits-- > 8 && ts.tv_nsec < 1000000)
		ts.tv_nsec += ts.tv_nsec / 4;
	clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

void encl_pause(struct encl *encl, unsigned int *waits)
{
	pause_for(++*waits);
	/* By now it is likely that whoever we wait for is dead: do its work. */
	if (*waits % ENCL_WAITS_LONG == 0)
		epc_recover(encl->epc);
}

void encl_pause_locked(struct encl *encl, unsigned int *waits)
{
	encl_unlock(encl);
	encl_pause(encl, waits);
	encl_lock(encl);
}

/* ---- open, get, put ------------------------------------------------------------------------------ */

/* As of its last entry or exit: no lock, and no look at a SECS that may be going. */
static unsigned int running(void *owner)
{
	const struct encl *encl = owner;

	return atomic_load_explicit(&encl->running, memory_order_relaxed);
}

int encl_open(struct encl_registry *registry, struct encl **ret_encl)
{
	struct encl *encl = arena_alloc(registry->arena, sizeof(*encl));
	struct epc_owner_config config = {
		.ops = &encl_page_ops,
		.owner = encl,
		.running = running,
	};

	if (!encl)
		return -ENOMEM;
	encl->buffer_block = arena_alloc(registry->arena, ENCL_BUFFER_BLOCK_BYTES);
	if (!encl->buffer_block)
		goto free_encl;
	registry_lock(registry);
	encl->id = config.id = registry->next_id++;
	lock_release(&registry->lock);
	if (epc_owner_create(registry->epc, &config, &encl->epc_owner) < 0)
		goto free_block;
	encl->buffer = (void *)(((uintptr_t)encl->buffer_block + SGX_PAGE_SIZE - 1) &
				~(uintptr_t)(SGX_PAGE_SIZE - 1));
	encl->stage = (char *)encl->buffer + SGX_PAGE_SIZE;
	encl->registry = registry;
	encl->epc = registry->epc;
	encl->arena = registry->arena;
	encl->cpu = epc_cpu(encl->epc);
	encl->window = epc_window(encl->epc);
	encl->backing = epc_backing(encl->epc);
	ref_init(&encl->refs);
	lock_init(&encl->lock, LOCK_OWNER);
	lock_init(&encl->ioctl_lock, LOCK_TRIED);
	lock_init(&encl->end_lock, LOCK_TRIED);
	gates_init(encl);
	encl->win_off = ENCL_NO_RANGE;
	readahead_init(encl);
	va_init(&encl->versions);
	encl->secs.type = SGX_PT_SECS;
	encl->secs.backing = BACKING_NO_SLOT;
	encl->secs.flags = ENCL_PAGE_EXISTS;

	registry_lock(registry);
	list_add_tail(&registry->encls, &encl->node);
	lock_release(&registry->lock);
	*ret_encl = encl;
	return 0;

free_block:
	arena_free(registry->arena, encl->buffer_block, ENCL_BUFFER_BLOCK_BYTES);
free_encl:
	arena_free(registry->arena, encl, sizeof(*encl));
	return -ENOMEM;
}

struct encl *encl_get(struct encl *encl)
{
	ref_get(&encl->refs);
	return encl;
}

/*
 * The lock comes before the last reference goes, where that can be foreseen: so whoever dies in between is found by
 * encl_reap().
 */
LOCK_ATTR(no_thread_safety_analysis) struct encl *encl_put(struct encl *encl)
{
	bool last = encl && ref_count(&encl->refs) == 1 && lock_try(&encl->end_lock);

	if (!encl)
		return NULL;
	if (!ref_put(&encl->refs)) {
		if (last)
			lock_release(&encl->end_lock);
		return NULL;
	}
	/* Somebody may be looking for what the dead have left. */
	while (!last && !lock_try(&encl->end_lock))
		sched_yield();
	encl_free(encl);
	return NULL;
}

void encl_lp_reset(struct encl *encl, struct cpu_lp *lp)
{
	encl_lock(encl);
	cpu_lp_reset(encl->cpu, lp);
	/* Half way out by EEXIT: nobody died with the lock held, so no repair has been. */
	if (gate_holder_died_locked(encl, lp))
		repair_leaves_locked(encl);
	encl_unlock(encl);
}

/* ---- one ioctl at a time ----------------------------------------------------------------------------- */

/* A process that was killed in its ioctl keeps nobody else out: its lock is free, and what it did has been seen through. */
LOCK_ATTR(no_thread_safety_analysis) bool encl_ioctl_begin(struct encl *encl)
{
	if (!lock_try(&encl->ioctl_lock))
		return false;
	encl->ioctl_lock.holder_died = false;
	return true;
}

LOCK_ATTR(no_thread_safety_analysis) void encl_ioctl_end(struct encl *encl)
{
	lock_release(&encl->ioctl_lock);
}

void *encl_ioctl_buffer(struct encl *encl)
{
	return encl->buffer;
}
