/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A guest's life, its lock, what is kept of its pages, and running one instruction of it.
 *
 * What a process leaves half done that is killed while it holds the lock is mended (repair.c), but for changes of
 * regions and files: then the guest is dead, and touching its pages is a SIGBUS.  Nothing else ever makes a whole
 * guest dead.
 */
#include "virt/virt_priv.h"

#include <assert.h>
#include <errno.h>

#include "base/arena.h"
#include "epc/backing.h"
#include "epc/epc.h"
#include "epc/group.h"
#include "epc/owner.h"
#include "epc/window.h"
#include "vepc/vepc.h"

/* ---- life --------------------------------------------------------------------------------------- */

#define STAGE_BYTES (2 * SGX_PAGE_SIZE) /* blocks of the arena are not page aligned */

int virt_create(struct epc *epc, struct virt_guest **ret_guest)
{
	return virt_create_in(epc_group_root(epc), epc, ret_guest);
}

int virt_create_in(struct epc_group *group, struct epc *epc, struct virt_guest **ret_guest)
{
	const uint32_t need = SGX_CPUID_ENCLV | SGX_CPUID_ENCLS_C;
	struct epc_owner_config config = { .ops = &guest_va_page_ops, .group = group };
	struct virt_guest *guest;

	if ((cpu_get_config(epc_cpu(epc))->caps & need) != need)
		return -EOPNOTSUPP;
	guest = arena_alloc(epc_arena(epc), sizeof(*guest));
	if (!guest)
		return -ENOMEM;
	config.owner = guest;
	guest->stage_block = arena_alloc(epc_arena(epc), STAGE_BYTES);
	if (!guest->stage_block || epc_owner_create(epc, &config, &guest->va_owner) < 0) {
		if (guest->stage_block)
			arena_free(epc_arena(epc), guest->stage_block, STAGE_BYTES);
		arena_free(epc_arena(epc), guest, sizeof(*guest));
		return -ENOMEM;
	}
	guest->stage = (void *)(((uintptr_t)guest->stage_block + SGX_PAGE_SIZE - 1) &
				~(uintptr_t)(SGX_PAGE_SIZE - 1));
	guest->epc = epc;
	guest->group = group;
	guest->cpu = epc_cpu(epc);
	guest->arena = epc_arena(epc);
	guest->window = epc_window(epc);
	guest->backing = epc_backing(epc);
	ref_init(&guest->refs);
	va_init(&guest->versions);
	lock_init(&guest->lock, LOCK_OWNER);
	guest_holds_init(guest);
	*ret_guest = guest;
	return 0;
}

void virt_reserve(struct virt_guest *guest)
{
	guest_lock(guest);
	assert(guest->page_nr == 0);
	guest->reserved = true;
	guest_unlock(guest);
}

struct virt_guest *virt_put(struct virt_guest *guest)
{
	if (!guest || !ref_put(&guest->refs))
		return NULL;
	/* A reclaimer that does not come back costs the guest's own memory, which it may still look at. */
	if (!guest_va_stop(guest))
		return NULL;
	guest_lock(guest);
	guest_va_trim_locked(guest);
	if (guest->mended)
		guest_va_strays_locked(guest, true);
	guest_unlock(guest);
	assert(guest->dead || (guest->page_nr == 0 && !guest->versions.made));
	guest_holds_fini(guest);
	lock_fini(&guest->lock);
	if (!guest->versions.made)
		epc_owner_destroy(guest->va_owner);
	arena_free(guest->arena, guest->stage_block, STAGE_BYTES);
	arena_free(guest->arena, guest, sizeof(*guest));
	return NULL;
}

static void file_going(void *keeper, struct vepc *vepc)
{
	struct virt_guest *guest = keeper;

	guest_lock(guest);
	guest->changing = true;
	for (unsigned int i = 0; i < VIRT_SLOTS; i++)
		if (guest->region[i].vepc == vepc)
			guest->region[i] = (struct virt_region){ .slot = i };
	guest->changing = false;
	for (struct guest_file *file = guest->files; file; file = file->next)
		file->going |= file->vepc == vepc;
	guest_unlock(guest);
	guest_holds_wait(guest, vepc);
}

static void file_end(void *keeper, struct vepc *vepc)
{
	struct virt_guest *guest = keeper;
	struct guest_file **link, *file;

	guest_lock(guest);
	for (link = &guest->files; (file = *link)->vepc != vepc; link = &file->next)
		;
	*link = file->next;
	arena_free(guest->arena, file, sizeof(*file));
	guest_va_trim_locked(guest);
	guest_unlock(guest);
	virt_put(guest);
}

static const struct vepc_keeper_ops keeper_ops = {
	.page_ops = &guest_page_ops,
	.fault = guest_fault,
	.remove = guest_remove,
	.going = file_going,
	.drop = guest_drop,
	.end = file_end,
};

int virt_keep(struct virt_guest *guest, struct vepc *vepc)
{
	struct guest_file *file = arena_alloc(guest->arena, sizeof(*file));
	int r = file ? vepc_keep(vepc, &keeper_ops, guest, &guest->lock, guest->group) : -ENOMEM;

	if (r < 0) {
		if (file)
			arena_free(guest->arena, file, sizeof(*file));
		return r;
	}
	ref_get(&guest->refs);
	guest_lock(guest);
	file->vepc = vepc;
	file->next = guest->files;
	guest->files = file;
	guest_unlock(guest);
	return 0;
}

void guest_lock(struct virt_guest *guest)
{
	lock_acquire(&guest->lock);
	if (guest->lock.holder_died) {
		guest_repair_locked(guest);
		guest->lock.holder_died = false;
	}
}

void guest_unlock(struct virt_guest *guest)
{
	lock_release(&guest->lock);
}

void guest_next(struct virt_guest *guest, const char *before)
{
	if (guest->hook)
		guest->hook(guest->hook_ctx, before);
}

void virt_set_hook(struct virt_guest *guest, void (*hook)(void *ctx, const char *before), void *ctx)
{
	guest_lock(guest);
	guest->hook = hook;
	guest->hook_ctx = ctx;
	guest_unlock(guest);
}

/* ---- what is kept of a page --------------------------------------------------------------------- */

struct kept *kept_of(const struct vepc_page *page)
{
	return page->kept;
}

struct kept *kept_need_locked(struct virt_guest *guest, struct vepc *vepc, uint64_t idx,
			      struct vepc_page *page)
{
	struct kept *kept = page->kept;

	if (kept)
		return kept;
	kept = arena_alloc(guest->arena, sizeof(*kept));
	if (!kept)
		return NULL;
	kept->vepc = vepc;
	kept->idx = idx;
	kept->slots.backing = BACKING_NO_SLOT;
	page->kept = kept;
	return kept;
}

void kept_done_locked(struct virt_guest *guest, struct kept *kept)
{
	assert(!kept->slots.va || kept->flags);
	if (kept->flags || kept->children || kept->virt || kept->locked_at)
		return;
	if (kept->vepc)
		vepc_page_locked(kept->vepc, kept->idx)->kept = NULL;
	arena_free(guest->arena, kept, sizeof(*kept));
}

void kept_work_locked(struct virt_guest *guest, struct kept *secs, bool tracks)
{
	secs->locked_at = ++guest->works;
	if (tracks)
		secs->tracked_at = secs->locked_at;
}

uint32_t kept_nr_locked(struct virt_guest *guest, const struct kept *kept)
{
	struct vepc_page *page = kept->vepc ? vepc_page_locked(kept->vepc, kept->idx) : NULL;

	return page && page->frame ? epc_page_nr(guest->epc, page->frame) : CPU_NO_PAGE;
}

/*
 * A SECS that was loaded has its physical address as context, which says nothing to anyone but whoever loaded it.
 * Ours is the address of what is kept of the page: where that is mapped does not matter, then, and for as long
 * as the page might be that SECS it must be kept.
 */
struct cpu_outcome kept_name_locked(struct virt_guest *guest, struct kept *kept, uint32_t nr)
{
	uint64_t context = (uint64_t)(uintptr_t)kept | 1;
	uint16_t named = kept->flags & KEPT_NAMED;
	struct cpu_outcome out;

	/* Noted first, so that there is no moment at which it could be forgotten. */
	kept->flags |= KEPT_NAMED;
	kept_work_locked(guest, kept, false);
	for (int i = 0; i < TRACK_TRIES; i++) {
		guest_next(guest, "ESETCONTEXT");
		out = enclv_esetcontext(guest->cpu, nr, &context);
		if (out.fault != CPU_NO_FAULT || out.eax != SGX_EPC_PAGE_CONFLICT)
			break;
	}
	if (!cpu_ok(out) && !named)
		kept->flags &= (uint16_t)~KEPT_NAMED;
	return out;
}

/* ---- running ------------------------------------------------------------------------------------- */

/* A SECS that could not be told of each child that has come back, because somebody was at it, is told now. */
static void settle_late_locked(struct virt_guest *guest, struct kept *kept)
{
	if (!kept || kept->virt == kept->children)
		return;
	guest_evict_settle_locked(guest, kept);
	kept_done_locked(guest, kept);
}

/* All pages resident: their numbers, and 0; else -EAGAIN and the first that is not. */
static int step_find_locked(struct virt_guest *guest, const uint64_t *gpas, unsigned int nr,
			    uint32_t *ret_pages, struct vepc **ret_vepc, uint64_t *ret_off)
{
	int r;

	for (unsigned int i = 0; i < nr; i++) {
		struct vepc_page *page;

		r = guest_region_find_locked(guest, gpas[i] & ~(uint64_t)(SGX_PAGE_SIZE - 1),
					     ret_vepc, ret_off);
		if (r < 0)
			return -EFAULT;
		page = vepc_page_locked(*ret_vepc, *ret_off / SGX_PAGE_SIZE);
		if (!page)
			return -ENOMEM;
		if (!guest_page_is_here(page))
			return -EAGAIN;
		settle_late_locked(guest, kept_of(page));
		guest_page_touch_locked(guest, page);
		ret_pages[i] = epc_page_nr(guest->epc, page->frame);
	}
	return 0;
}

int virt_step(struct virt_guest *guest, const uint64_t *gpas, unsigned int nr, virt_step_fn step,
	      void *ctx, struct cpu_outcome *ret_out)
{
	struct patience patience = { 0 };
	uint64_t off;
	uint32_t pages[VIRT_PAGES_MAX] = { 0 };
	struct hold *hold = NULL;
	struct vepc *vepc;
	int r;

	assert(nr <= VIRT_PAGES_MAX);
	guest_lock(guest);
	while ((r = step_find_locked(guest, gpas, nr, pages, &vepc, &off)) == -EAGAIN) {
		r = guest_bring_locked(guest, &hold, vepc, off);
		if (r == 0 && patience_ends(&patience, 10 * WAIT_LONG_NS))
			r = -ENOMEM;
		if (r < 0)
			break;
	}
	if (r == 0)
		*ret_out = step(ctx, guest->cpu, pages);
	guest_brought_locked(guest, hold);
	guest_unlock(guest);
	return r;
}

int virt_fault(struct virt_guest *guest, uint64_t gpa, uint64_t *ret_win_off)
{
	struct hold *hold = NULL;
	struct vepc *vepc;
	uint64_t off;
	int r;

	guest_lock(guest);
	r = guest_region_find_locked(guest, gpa & ~(uint64_t)(SGX_PAGE_SIZE - 1), &vepc, &off);
	if (r == 0) {
		*ret_win_off = vepc_win_off(vepc, off);
		r = guest_bring_locked(guest, &hold, vepc, off);
		guest_brought_locked(guest, hold);
	}
	guest_unlock(guest);
	return r == -EFAULT ? -ENOENT : r;
}

uint32_t virt_page_nr(struct virt_guest *guest, uint64_t gpa)
{
	uint32_t nr = CPU_NO_PAGE;
	struct vepc_page *page;
	struct vepc *vepc;
	uint64_t off;

	guest_lock(guest);
	if (guest_region_find_locked(guest, gpa, &vepc, &off) == 0) {
		page = vepc_page_locked(vepc, off / SGX_PAGE_SIZE);
		if (page && guest_page_is_here(page))
			nr = epc_page_nr(guest->epc, page->frame);
	}
	guest_unlock(guest);
	return nr;
}

void virt_info_read(struct virt_guest *guest, struct virt_info *ret_info)
{
	guest_lock(guest);
	*ret_info = (struct virt_info){ .evictions = guest->evictions,
					.loads = guest->loads,
					.away = guest->away,
					.lost = guest->lost,
					.dead = guest->dead };
	for (unsigned int i = 0; i < VA_LEVELS; i++) {
		ret_info->va_pages += guest->versions.level[i].nr;
		ret_info->va_resident += guest->versions.level[i].here_nr;
	}
	guest_unlock(guest);
}

uint32_t virt_backing_slot(struct virt_guest *guest, struct vepc *vepc, uint64_t off)
{
	uint32_t slot = BACKING_NO_SLOT;
	struct vepc_page *page;

	guest_lock(guest);
	page = vepc_page_locked(vepc, off / SGX_PAGE_SIZE);
	if (page && kept_of(page) && kept_of(page)->slots.va)
		slot = kept_of(page)->slots.backing;
	guest_unlock(guest);
	return slot;
}
