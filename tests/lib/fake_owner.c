/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* See fake_owner.h. */
#include "lib/fake_owner.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "base/arena.h"
#include "epc/backing.h"
#include "epc/owner.h"
#include "epc/stats.h"
#include "epc/window.h"

#define AT_HOME UINT64_MAX

/* What is in a page: the first and last words, and something in between. */
struct contents {
	uint64_t id, index, uses;
	uint64_t filler[507];
	uint64_t uses_again, check;
};
static_assert(sizeof(struct contents) == SGX_PAGE_SIZE, "one page");

static void contents_write(struct contents *c, const struct fake_owner *owner, uint32_t i,
			   uint64_t uses)
{
	c->id = owner->id;
	c->index = i;
	c->uses = c->uses_again = uses;
	c->filler[uses % 507] = uses;
	c->check = owner->id * 31 + i * 17 + uses;
}

static bool contents_ok(const struct contents *c, const struct fake_owner *owner, uint32_t i,
			uint64_t uses)
{
	return c->id == owner->id && c->index == i && c->uses == uses && c->uses_again == uses &&
	       c->check == owner->id * 31 + i * 17 + uses && c->filler[uses % 507] == uses;
}

int fake_machine_create_as(struct fake_machine *machine, const struct cpu_config *cpu_config,
			   const struct epc_config *epc_config)
{
	struct epc_config config = *epc_config;

	machine->arena = config.arena = arena_create(64u << 20);
	machine->cpu = config.cpu = cpu_create(cpu_config);
	if (!machine->arena || !machine->cpu)
		return -ENOMEM;
	return epc_create(&config, &machine->epc);
}

int fake_machine_create(struct fake_machine *machine, uint32_t epc_pages, const char *policy,
			const char *backing_path, uint64_t backing_bytes_max)
{
	struct epc_config config = { .policy = policy,
				     .backing_path = backing_path,
				     .backing_bytes_max = backing_bytes_max };
	struct cpu_config cpu_config;

	cpu_config_default(&cpu_config, (uint64_t)epc_pages * SGX_PAGE_SIZE);
	return fake_machine_create_as(machine, &cpu_config, &config);
}

int fake_machine_create_sharded(struct fake_machine *machine, uint32_t epc_pages,
				const char *policy, unsigned int shards)
{
	struct epc_config config = { .policy = policy, .shards = shards };
	struct cpu_config cpu_config;
	uint32_t first = epc_pages / 2;

	cpu_config_default(&cpu_config, (uint64_t)first * SGX_PAGE_SIZE);
	if (!cpu_config_add_section(&cpu_config, (uint64_t)(epc_pages - first) * SGX_PAGE_SIZE, -1))
		return -EINVAL;
	return fake_machine_create_as(machine, &cpu_config, &config);
}

void fake_machine_destroy(struct fake_machine *machine)
{
	epc_destroy(machine->epc);
	cpu_destroy(machine->cpu);
	arena_destroy(machine->arena);
}

static void wrong(struct fake_owner *owner, const char *why)
{
	if (atomic_fetch_add(&owner->wrong, 1) == 0)
		owner->wrong_why = why;
}

/* Counts a call; true when this one is to fail. */
static bool fails(struct fake_owner *owner, enum fake_op op, struct epc_page *page)
{
	uint32_t n = atomic_fetch_add(&owner->calls[op], 1) + 1, every;

	if (owner->on_op) {
		atomic_store(&owner->called_for, page);
		owner->on_op(owner, op);
	}
	every = atomic_load(&owner->fail_every[op]);
	if (every == 0 || n % every != 0)
		return false;
	atomic_fetch_add(&owner->failed[op], 1);
	return true;
}

static bool fake_get(struct epc_page *page)
{
	struct fake_owner *owner = epc_page_owner(page);

	if (fails(owner, FAKE_GET, page))
		return false;
	return ref_tryget(&owner->refs);
}

static bool fake_reclaim(struct epc_page *page)
{
	return !fails(epc_page_owner(page), FAKE_RECLAIM, page);
}

static bool fake_block(struct epc_page *page)
{
	struct fake_owner *owner = epc_page_owner(page);
	struct fake_page *fp = &owner->page[epc_page_cookie(page)];
	bool ok;

	if (fails(owner, FAKE_BLOCK, page))
		return false;
	lock_acquire(&owner->lock);
	ok = !owner->dying;
	if (ok) {
		assert(fp->epc_page == page);
		fp->blocked = true;
	}
	lock_release(&owner->lock);
	return ok;
}

static int fake_write(struct epc_page *page)
{
	struct fake_owner *owner = epc_page_owner(page);
	uint32_t i = (uint32_t)epc_page_cookie(page);
	struct fake_page *fp = &owner->page[i];
	uint32_t nr = epc_page_nr(owner->epc, page);
	int r;

	lock_acquire(&owner->lock);
	if (fp->epc_page != page) {
		/* Asked again: whoever had it written died before the manager noted that. */
		lock_release(&owner->lock);
		return 0;
	}
	r = fails(owner, FAKE_WRITE, page) ? -EIO : 0;
	if (epc_page_poisoned(page))
		r = -EHWPOISON;
	if (r == 0 && fp->slot == UINT32_MAX)
		r = backing_alloc(epc_backing(owner->epc), &fp->slot);
	/* Not valid any more: somebody died here, behind the EREMOVE, and this is the second try. */
	if (r == 0 && cpu_epcm_read(epc_cpu(owner->epc), nr).valid) {
		memcpy(backing_page(epc_backing(owner->epc), fp->slot),
		       cpu_bytes(epc_cpu(owner->epc), nr), SGX_PAGE_SIZE);
		if (!cpu_ok(encls_eremove(epc_cpu(owner->epc), nr)))
			wrong(owner, "EREMOVE for write");
	}
	if (r == 0) {
		fp->epc_page = NULL;
		backing_complete(epc_backing(owner->epc), fp->slot);
	}
	fp->blocked = false;
	lock_release(&owner->lock);
	return r;
}

static void fake_put(struct epc_page *page)
{
	(void)fails(epc_page_owner(page), FAKE_PUT, NULL);
	fake_owner_put(epc_page_owner(page));
}

static const struct sgx_epc_page_ops fake_ops = {
	.name = "fake",
	.get = fake_get,
	.reclaim = fake_reclaim,
	.block = fake_block,
	.write = fake_write,
	.put = fake_put,
};

struct fake_owner *fake_owner_create(struct epc *epc, uint32_t id, uint32_t page_nr, bool mapped)
{
	return fake_owner_create_in(NULL, epc, id, page_nr, mapped);
}

struct fake_owner *fake_owner_create_in(struct epc_group *group, struct epc *epc, uint32_t id,
					uint32_t page_nr, bool mapped)
{
	struct epc_owner_config config = { .ops = &fake_ops, .group = group, .id = id };
	struct fake_owner *owner;
	uint32_t i;

	owner = arena_alloc(epc_arena(epc), sizeof(*owner) + page_nr * sizeof(owner->page[0]));
	if (!owner)
		return NULL;
	config.owner = owner;
	if (epc_owner_create(epc, &config, &owner->epc_owner) < 0)
		return NULL;
	lock_init(&owner->lock, LOCK_OWNER);
	ref_init(&owner->refs);
	owner->epc = epc;
	owner->id = id;
	owner->page_nr = page_nr;
	owner->win_off = AT_HOME;
	if (mapped && window_range_alloc(epc_window(epc), (uint64_t)page_nr * SGX_PAGE_SIZE,
					 &owner->win_off) < 0)
		return NULL;
	for (i = 0; i < page_nr; i++)
		owner->page[i].slot = UINT32_MAX;
	return owner;
}

static void page_gone(struct fake_owner *owner, struct fake_page *fp)
{
	if (!cpu_ok(encls_eremove(epc_cpu(owner->epc), epc_page_nr(owner->epc, fp->epc_page))))
		wrong(owner, "EREMOVE to free");
	epc_free(owner->epc, fp->epc_page);
	fp->epc_page = NULL;
}

static void owner_free(struct fake_owner *owner)
{
	struct fake_page *fp;
	uint32_t i;

	assert(!owner->freed);
	for (i = 0; i < owner->page_nr; i++) {
		fp = &owner->page[i];
		if (fp->epc_page) {
			/* A batch may just be finding out that nobody can get this owner any more. */
			epc_untrack_wait(owner->epc, fp->epc_page);
			page_gone(owner, fp);
		}
		if (fp->slot != UINT32_MAX)
			backing_free(epc_backing(owner->epc), &fp->slot);
		fp->slot = UINT32_MAX;
	}
	owner->freed = true;
	epc_owner_destroy(owner->epc_owner);
	if (owner->win_off != AT_HOME)
		window_range_free(epc_window(owner->epc), owner->win_off,
				  (uint64_t)owner->page_nr * SGX_PAGE_SIZE);
}

void fake_owner_put(struct fake_owner *owner)
{
	if (ref_put(&owner->refs))
		owner_free(owner);
}

/*
 * A new or evicted page into @page, which is ours and has no bytes yet, or is at home.  As a driver does it, the page
 * is made up where nobody sees it, and given to the window whole.
 */
static void load_locked(struct fake_owner *owner, uint32_t i, struct epc_page *page)
	REQUIRES(&owner->lock)
{
	static __thread _Alignas(4096) unsigned char scratch[SGX_PAGE_SIZE];
	struct fake_page *fp = &owner->page[i];
	uint32_t nr = epc_page_nr(owner->epc, page);
	struct cpu *cpu = epc_cpu(owner->epc);
	uint64_t offset = owner->win_off + (uint64_t)i * SGX_PAGE_SIZE;

	if (owner->win_off != AT_HOME)
		cpu_set_bytes(cpu, nr, scratch);
	if (!cpu_ok(encls_epa(cpu, nr)))
		wrong(owner, "EPA");
	if (fp->slot != UINT32_MAX) {
		memcpy(cpu_bytes(cpu, nr), backing_page(epc_backing(owner->epc), fp->slot),
		       SGX_PAGE_SIZE);
		backing_free(epc_backing(owner->epc), &fp->slot);
		fp->slot = UINT32_MAX;
		epc_count(owner->epc_owner, page, EPC_LOADS, 1);
	} else {
		contents_write(cpu_bytes(cpu, nr), owner, i, 0);
		fp->uses = 0;
	}
	if (owner->win_off != AT_HOME) {
		if (window_give(epc_window(owner->epc), offset, scratch) < 0)
			wrong(owner, "give");
		epc_page_place(owner->epc, page, offset, false);
	}
	atomic_fetch_add(&owner->loads, 1);
	epc_page_set_cookie(page, i);
	fp->epc_page = page;
	epc_track(owner->epc, page);
}

/* 0; -EHWPOISON; or -EAGAIN while the bytes cannot be used: between block and the end of the batch. */
static int usable_locked(struct fake_owner *owner, struct fake_page *fp) REQUIRES(&owner->lock)
{
	if (epc_page_poisoned(fp->epc_page))
		return -EHWPOISON;
	if (fp->blocked || (owner->win_off != AT_HOME && !epc_page_placed(fp->epc_page)))
		return -EAGAIN;
	return 0;
}

static void use_locked(struct fake_owner *owner, uint32_t i) REQUIRES(&owner->lock)
{
	struct fake_page *fp = &owner->page[i];
	struct contents *c = cpu_bytes(epc_cpu(owner->epc), epc_page_nr(owner->epc, fp->epc_page));

	if (!contents_ok(c, owner, i, fp->uses) && !epc_page_poisoned(fp->epc_page))
		wrong(owner, "contents");
	fp->uses++;
	contents_write(c, owner, i, fp->uses);
	epc_touch(owner->epc, fp->epc_page);
}

int fake_use(struct fake_owner *owner, uint32_t i, unsigned int alloc_flags)
{
	struct fake_page *fp = &owner->page[i];
	struct epc_page *page;
	int r = 0;

	lock_acquire(&owner->lock);
	if (fp->epc_page) {
		r = usable_locked(owner, fp);
		if (r == 0)
			use_locked(owner, i);
		lock_release(&owner->lock);
		return r;
	}
	lock_release(&owner->lock);
	if (owner->win_off != AT_HOME)
		alloc_flags |= EPC_UNPLACED;
	r = epc_alloc(owner->epc, owner->epc_owner, alloc_flags, &page);
	if (r < 0)
		return r;
	lock_acquire(&owner->lock);
	if (fp->epc_page) {
		epc_free(owner->epc, page); /* somebody else brought it in */
		r = usable_locked(owner, fp);
	} else if (fp->slot != UINT32_MAX && backing_fetch(epc_backing(owner->epc), fp->slot) < 0) {
		epc_free(owner->epc, page);
		r = -EIO;
	} else {
		load_locked(owner, i, page);
	}
	if (r == 0)
		use_locked(owner, i);
	lock_release(&owner->lock);
	return r;
}

bool fake_use_surely(struct fake_owner *owner, uint32_t i)
{
	unsigned int waits = 0;
	int r;

	while ((r = fake_use(owner, i, EPC_MAY_RECLAIM)) == -EAGAIN) {
		sched_yield();
		if (++waits % 100 == 0)
			epc_recover(owner->epc);
	}
	return r == 0;
}

int fake_remove(struct fake_owner *owner, uint32_t i)
{
	struct fake_page *fp = &owner->page[i];
	int r = 0;

	lock_acquire(&owner->lock);
	if (fp->epc_page) {
		r = epc_untrack(owner->epc, fp->epc_page) < 0 ? -EAGAIN : 0;
		if (r == 0)
			page_gone(owner, fp);
	}
	if (r == 0 && fp->slot != UINT32_MAX) {
		backing_free(epc_backing(owner->epc), &fp->slot);
		fp->slot = UINT32_MAX;
	}
	if (r == 0)
		fp->uses = 0;
	lock_release(&owner->lock);
	return r;
}

uint32_t fake_resident(struct fake_owner *owner)
{
	uint32_t i, nr = 0;

	lock_acquire(&owner->lock);
	for (i = 0; i < owner->page_nr; i++)
		nr += owner->page[i].epc_page != NULL;
	lock_release(&owner->lock);
	return nr;
}
