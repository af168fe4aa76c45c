/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * An enclave's life: open, references, the list of all enclaves, its lock.  The end is in free.c.
 *
 * A process killed while it held the enclave's lock may have left things half done: repair.c mends what it can, else
 * the enclave is dead (ENCL_DEAD), and nothing of it is used any more.
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
	return window_give(encl->window, win_off, bytes);
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

	lock_acquire(&registry->lock);
	list_for_each (pos, &registry->encls) {
		struct encl *encl = LIST_ENTRY(pos, struct encl, node);

		if (n-- == 0) {
			found = ref_tryget(&encl->refs) ? encl : NULL;
			break;
		}
	}
	lock_release(&registry->lock);
	return found;
}

/* ---- the lock, and holders that died ----------------------------------------------------------- */

bool encl_pid_gone(int pid)
{
	return pid > 0 && kill(pid, 0) < 0 && errno == ESRCH;
}

void encl_set_dead_locked(struct encl *encl)
{
	if (!(atomic_fetch_or(&encl->flags, ENCL_DEAD) & ENCL_DEAD))
		repair_leaves(encl);
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

uint64_t encl_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
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

int encl_open(struct encl_registry *registry, struct encl **ret_encl)
{
	struct encl *encl = arena_alloc(registry->arena, sizeof(*encl));
	struct epc_owner_config config = { .ops = &encl_page_ops, .owner = encl };

	if (!encl)
		return -ENOMEM;
	encl->buffer_block = arena_alloc(registry->arena, ENCL_BUFFER_BLOCK_BYTES);
	if (!encl->buffer_block)
		goto free_encl;
	lock_acquire(&registry->lock);
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
	list_init(&encl->va_pages);
	encl->secs.type = SGX_PT_SECS;
	encl->secs.backing = BACKING_NO_SLOT;
	encl->secs.flags = ENCL_PAGE_EXISTS;

	lock_acquire(&registry->lock);
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

struct encl *encl_put(struct encl *encl)
{
	if (encl && ref_put(&encl->refs))
		encl_free(encl);
	return NULL;
}

/* ---- one ioctl at a time ----------------------------------------------------------------------------- */

bool encl_ioctl_begin(struct encl *encl)
{
	int self = getpid();
	int other = 0;

	for (;;) {
		if (atomic_compare_exchange_strong(&encl->ioctl_pid, &other, self))
			return true;
		/* A process that was killed in its ioctl keeps nobody else out for ever. */
		if (other == self || !encl_pid_gone(other))
			return false;
		if (atomic_compare_exchange_strong(&encl->ioctl_pid, &other, 0))
			other = 0;
	}
}

void encl_ioctl_end(struct encl *encl)
{
	atomic_store(&encl->ioctl_pid, 0);
}

void *encl_ioctl_buffer(struct encl *encl)
{
	return encl->buffer;
}
