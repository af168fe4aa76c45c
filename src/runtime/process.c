/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The processes of a fork tree, and what each holds of the shared enclaves.
 *
 * A ledger in shared memory says for each process which enclaves it references how often, and which logical
 * processors are its.  A process is alive while it holds the record lock on its byte of one hidden memfd: the
 * kernel drops that at its death or exec, whatever the cause.  Whoever needs EPC, opens an enclave or forks
 * first lets the dead go (rt_process_reap()).
 *
 * Invariant: every reference that a process holds across an instruction of its client is in the ledger.
 */
#include "runtime/rt.h"

#include <assert.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/arena.h"
#include "base/hide.h"
#include "runtime/sys.h"

#define PROC_MAX  16384u
#define PROC_REAP 256u

/*
 * What a process holds of one enclave, or of one raw EPC file: one reference, for as long as @nr is not 0.  @nr becomes 0, and the
 * entry goes, under the ledger's lock; whoever has a hold may take more and give them back without it.
 */
struct rt_hold {
	struct encl *encl;
	struct vepc *vepc; /* one of the two */
	_Atomic uint64_t nr;
	struct rt_hold *next;
};

struct rt_proc {
	int pid; /* 0: free */
	struct rt_hold *held;
	struct rt_lp *lps;
};

struct rt_shared {
	struct lock lock; /* LOCK_LEDGER */
	unsigned int proc_nr;
	unsigned int reap_at; /* so many slots in use: look for the dead */
	int live_fd;
	struct rt_proc proc[PROC_MAX];
};

static long live_lock(unsigned int slot, int cmd, short type, struct flock *ret)
{
	*ret = (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1 };
	return sys(SYS_fcntl, rt.shared->live_fd, cmd, ret);
}

int rt_process_live_fd(void)
{
	return rt.shared->live_fd;
}

static unsigned int first_free(const struct rt_shared *sh)
{
	unsigned int slot;

	for (slot = 0; slot < PROC_MAX && sh->proc[slot].pid; slot++)
		;
	return slot;
}

/* The dead keep their slots until somebody lets them go, and a shell may only ever fork. */
static void make_room(struct rt_shared *sh)
{
	unsigned int living = 0;

	if (first_free(sh) < sh->reap_at)
		return;
	rt_process_reap();
	for (unsigned int slot = 0; slot < sh->proc_nr; slot++)
		living += sh->proc[slot].pid != 0;
	sh->reap_at = living < PROC_REAP / 2 ? PROC_REAP : 2 * living;
}

static void slot_claim(void)
{
	struct rt_shared *sh = rt.shared;
	struct flock fl;
	unsigned int slot;

	make_room(sh);
	lock_acquire(&sh->lock);
	slot = first_free(sh);
	assert(slot < PROC_MAX); /* so many living processes in one tree */
	sh->proc[slot] = (struct rt_proc){ .pid = rt.pid };
	if (slot >= sh->proc_nr)
		sh->proc_nr = slot + 1;
	rt.proc_slot = slot;
	live_lock(slot, F_SETLK, F_WRLCK, &fl);
	lock_release(&sh->lock);
}

int rt_process_init(void)
{
	int fd;

	rt.shared = arena_alloc(rt.arena, sizeof(*rt.shared));
	if (!rt.shared)
		return -ENOMEM;
	rt.shared->reap_at = PROC_REAP;
	lock_init(&rt.shared->lock, LOCK_LEDGER);
	fd = memfd_create("swsgx-alive", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	rt.shared->live_fd = fd_hide(fd);
	slot_claim();
	return 0;
}

static struct rt_hold **find_locked(const struct encl *encl, const struct vepc *vepc)
{
	struct rt_hold **at = &rt.shared->proc[rt.proc_slot].held;

	while (*at && ((*at)->encl != encl || (*at)->vepc != vepc))
		at = &(*at)->next;
	return at;
}

/* One of the two is NULL. */
static struct rt_hold *hold_one(struct encl *encl, struct vepc *vepc)
{
	struct rt_hold **at, *h;

	lock_acquire(&rt.shared->lock);
	at = find_locked(encl, vepc);
	h = *at;
	if (!h) {
		h = arena_alloc(rt.arena, sizeof(*h));
		assert(h);
		if (encl)
			h->encl = encl_get(encl);
		else
			h->vepc = vepc_get(vepc);
		*at = h;
	}
	atomic_fetch_add(&h->nr, 1);
	lock_release(&rt.shared->lock);
	return h;
}

struct rt_hold *rt_process_hold(struct encl *encl)
{
	return hold_one(encl, NULL);
}

struct rt_hold *rt_process_hold_vepc(struct vepc *vepc)
{
	return hold_one(NULL, vepc);
}

void rt_process_hold_more(struct rt_hold *hold)
{
	uint64_t before = atomic_fetch_add_explicit(&hold->nr, 1, memory_order_relaxed);

	assert(before > 0);
}

static void drop_one(struct encl *encl, struct vepc *vepc)
{
	struct rt_hold **at, *h;
	uint64_t before;

	lock_acquire(&rt.shared->lock);
	at = find_locked(encl, vepc);
	h = *at;
	assert(h);
	before = atomic_fetch_sub(&h->nr, 1);
	assert(before > 0);
	if (before == 1) {
		*at = h->next;
		arena_free(rt.arena, h, sizeof(*h));
	}
	lock_release(&rt.shared->lock);
	if (before == 1 && encl)
		encl_put(encl);
	else if (before == 1)
		vepc_put(vepc);
}

void rt_process_drop(struct encl *encl)
{
	drop_one(encl, NULL);
}

void rt_process_unhold(struct rt_hold *hold)
{
	uint64_t nr = atomic_load_explicit(&hold->nr, memory_order_relaxed);

	while (nr > 1)
		if (atomic_compare_exchange_weak_explicit(
			    &hold->nr, &nr, nr - 1, memory_order_release, memory_order_relaxed))
			return;
	drop_one(hold->encl, hold->vepc);
}

struct rt_lp *rt_process_lp(void)
{
	struct rt_shared *sh = rt.shared;
	struct rt_lp *lp;

	lock_acquire(&sh->lock);
	for (lp = sh->proc[rt.proc_slot].lps; lp && lp->used; lp = lp->next)
		;
	if (!lp) {
		lp = arena_alloc(rt.arena, sizeof(*lp));
		if (lp) {
			lp->next = sh->proc[rt.proc_slot].lps;
			sh->proc[rt.proc_slot].lps = lp;
		}
	}
	if (lp)
		lp->used = true;
	lock_release(&sh->lock);
	return lp;
}

void rt_process_lp_done(struct rt_lp *lp)
{
	struct encl *encl = lp->encl;

	if (lp->lp.in_enclave)
		cpu_lp_reset(rt.cpu, &lp->lp);
	lp->encl = NULL;
	if (encl)
		rt_process_drop(encl);
	lock_acquire(&rt.shared->lock);
	memset(&lp->lp, 0, sizeof(lp->lp));
	lp->used = false;
	lock_release(&rt.shared->lock);
}

void rt_process_fork_child(void)
{
	rt.pid = (int)sys(SYS_getpid, 0, 0, 0);
	slot_claim();
}

static bool dead(unsigned int slot)
{
	struct flock fl;

	if (slot == rt.proc_slot || !rt.shared->proc[slot].pid)
		return false;
	if (live_lock(slot, F_GETLK, F_WRLCK, &fl) < 0)
		return false;
	return fl.l_type == F_UNLCK;
}

/* What a dead process held. The ledger's lock is free: letting go of an enclave may free it. */
static void bury(struct rt_proc proc)
{
	while (proc.lps) {
		struct rt_lp *lp = proc.lps;

		proc.lps = lp->next;
		if (lp->lp.in_enclave)
			cpu_lp_reset(rt.cpu, &lp->lp);
		arena_free(rt.arena, lp, sizeof(*lp));
	}
	while (proc.held) {
		struct rt_hold *h = proc.held;

		proc.held = h->next;
		encl_put(h->encl);
		vepc_put(h->vepc);
		arena_free(rt.arena, h, sizeof(*h));
	}
}

void rt_process_reap(void)
{
	struct rt_shared *sh = rt.shared;

	for (unsigned int slot = 0; slot < sh->proc_nr; slot++) {
		struct rt_proc proc = { .pid = 0 };

		if (!dead(slot))
			continue;
		lock_acquire(&sh->lock);
		if (dead(slot)) {
			proc = sh->proc[slot];
			sh->proc[slot] = (struct rt_proc){ .pid = 0 };
		}
		lock_release(&sh->lock);
		bury(proc);
	}
}
