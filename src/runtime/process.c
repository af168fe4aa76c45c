/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The processes of a fork tree, and what each holds of the shared enclaves.
 *
 * A ledger in shared memory says for each process which enclaves it references how often, and which logical
 * processors are its.  A process is alive while it holds the record lock on its byte of one hidden memfd: the
 * kernel drops that at its death or exec, whatever the cause.  Whoever needs EPC, opens an enclave or forks
 * first lets the dead go (rt_process_reap()).
 *
 * A process has a slot from when it first opens the device.  The forker makes its child's, with a hold on whatever
 * the child's tables will name, before there is a child: so the parent may let go at once.  The child takes
 * it over; in a child that finds none, nothing of the device is open.
 *
 * Invariant: every reference that a process holds across an instruction of its client is in the ledger.
 */
#include "runtime/rt.h"

#include <assert.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/arena.h"
#include "base/hide.h"
#include "runtime/sys.h"

#define PROC_MAX  16384u
#define PROC_REAP 256u
/* Seconds that a child has to take its slot: past them it never came to be, or does without. */
#define FORK_SECONDS 60

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
	int pid;        /* 0: free */
	bool pending;   /* of a child that has not taken it yet; pid is the forker's */
	long since;     /* it is pending */
	uint64_t stamp; /* no two that were ever pending have the same */
	struct rt_hold *held;
	struct rt_lp *lps;
};

struct rt_shared {
	struct lock lock; /* LOCK_LEDGER */
	unsigned int proc_nr;
	uint64_t stamps;
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

/* Of the fork that this thread is making. */
static __thread struct {
	unsigned int slot;
	uint64_t stamp;
	struct rt_hold *lost; /* for a slot that was not to be had */
} forking __attribute__((tls_model("initial-exec")));

static long seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return now.tv_sec;
}

/* RT_NO_SLOT: so many living processes are in one tree. */
static unsigned int slot_locked(struct rt_proc proc) REQUIRES(&rt.shared->lock)
{
	struct rt_shared *sh = rt.shared;
	unsigned int slot = first_free(sh);

	if (slot == PROC_MAX)
		return RT_NO_SLOT;
	sh->proc[slot] = proc;
	if (slot >= sh->proc_nr)
		sh->proc_nr = slot + 1;
	return slot;
}

int rt_process_join(void)
{
	struct rt_shared *sh = rt.shared;
	struct flock fl;
	int r = 0, uffd = -1;

	if (__atomic_load_n(&rt.proc_slot, __ATOMIC_ACQUIRE) != RT_NO_SLOT && rt.uffd >= 0)
		return 0;
	make_room(sh);
	/* Only a forked child has none. */
	if (rt.uffd < 0)
		uffd = rt_uffd_open();
	/* A fork comes before or after. */
	lock_acquire(&rt.lock);
	if (rt.uffd < 0) {
		rt.uffd = uffd;
		uffd = -1;
	}
	if (rt.uffd < 0)
		r = rt.uffd;
	if (!r && rt.proc_slot == RT_NO_SLOT) {
		unsigned int slot;

		lock_acquire(&sh->lock);
		slot = slot_locked((struct rt_proc){ .pid = rt.pid, .lps = rt.early_lps });
		if (slot != RT_NO_SLOT) {
			rt.early_lps = NULL;
			live_lock(slot, F_SETLK, F_WRLCK, &fl);
		}
		__atomic_store_n(&rt.proc_slot, slot, __ATOMIC_RELEASE);
		lock_release(&sh->lock);
		r = slot == RT_NO_SLOT ? -ENOMEM : 0;
	}
	lock_release(&rt.lock);
	if (uffd >= 0)
		sys(SYS_close, uffd, 0, 0); /* another thread was faster */
	return r;
}

int rt_process_init(void)
{
	int fd;

	rt.proc_slot = RT_NO_SLOT;
	rt.shared = arena_alloc(rt.arena, sizeof(*rt.shared));
	if (!rt.shared)
		return -ENOMEM;
	rt.shared->reap_at = PROC_REAP;
	lock_init(&rt.shared->lock, LOCK_LEDGER);
	fd = memfd_create("swsgx-alive", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	rt.shared->live_fd = fd_hide(fd);
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
	struct rt_lp *lp, **lps;

	lock_acquire(&sh->lock);
	lps = rt.proc_slot == RT_NO_SLOT ? &rt.early_lps : &sh->proc[rt.proc_slot].lps;
	for (lp = *lps; lp && lp->used; lp = lp->next)
		;
	if (!lp) {
		lp = arena_alloc(rt.arena, sizeof(*lp));
		if (lp) {
			lp->next = *lps;
			*lps = lp;
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

	if (encl)
		encl_lp_reset(encl, &lp->lp);
	lp->encl = NULL;
	if (encl)
		rt_process_drop(encl);
	lock_acquire(&rt.shared->lock);
	memset(&lp->lp, 0, sizeof(lp->lp));
	lp->used = false;
	lock_release(&rt.shared->lock);
}

static bool dead(unsigned int slot)
{
	struct flock fl;

	if (slot == rt.proc_slot || !rt.shared->proc[slot].pid)
		return false;
	if (rt.shared->proc[slot].pending)
		return seconds() - rt.shared->proc[slot].since > FORK_SECONDS;
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
		if (lp->encl)
			encl_lp_reset(lp->encl, &lp->lp);
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

/* ---- fork --------------------------------------------------------------------------------------------- */

/* @from once more, each with one reference, which is for as long as the child has not counted its own. */
static bool copy_holds(const struct rt_hold *from, struct rt_hold **to)
{
	for (; from; from = from->next) {
		struct rt_hold *h = arena_alloc(rt.arena, sizeof(*h));

		if (!h)
			return false;
		h->encl = from->encl ? encl_get(from->encl) : NULL;
		h->vepc = from->vepc ? vepc_get(from->vepc) : NULL;
		h->nr = 1;
		h->next = *to;
		*to = h;
	}
	return true;
}

void rt_process_fork_room(void)
{
	if (rt.proc_slot != RT_NO_SLOT)
		make_room(rt.shared);
}

void rt_process_fork_prepare(void)
{
	struct rt_shared *sh = rt.shared;
	struct rt_proc proc = { .pid = rt.pid, .pending = true };

	forking.slot = RT_NO_SLOT;
	if (rt.proc_slot == RT_NO_SLOT)
		return;
	lock_acquire(&sh->lock);
	proc.since = seconds();
	proc.stamp = ++sh->stamps;
	forking.stamp = proc.stamp;
	/* With a part of the holds it is a slot that no child takes: it goes with its time. */
	if (!copy_holds(sh->proc[rt.proc_slot].held, &proc.held))
		forking.stamp = 0;
	forking.slot = slot_locked(proc);
	lock_release(&sh->lock);
	if (forking.slot == RT_NO_SLOT)
		forking.lost = proc.held;
}

void rt_process_fork_parent(void)
{
	bury((struct rt_proc){ .held = forking.lost });
	forking.lost = NULL;
}

void rt_process_fork_failed(void)
{
	struct rt_shared *sh = rt.shared;
	struct rt_proc proc = { .pid = 0 };
	unsigned int slot = forking.slot;

	if (slot == RT_NO_SLOT)
		return;
	lock_acquire(&sh->lock);
	if (sh->proc[slot].pending && sh->proc[slot].stamp == forking.stamp) {
		proc = sh->proc[slot];
		sh->proc[slot] = (struct rt_proc){ .pid = 0 };
	}
	lock_release(&sh->lock);
	bury(proc);
}

bool rt_process_fork_child(void)
{
	struct rt_shared *sh = rt.shared;
	unsigned int slot = forking.slot;
	bool had = rt.proc_slot != RT_NO_SLOT;
	struct flock fl;

	rt.pid = (int)sys(SYS_getpid, 0, 0, 0);
	rt.proc_slot = RT_NO_SLOT;
	rt.early_lps = NULL;
	forking.lost = NULL; /* the parent's to bury */
	if (slot == RT_NO_SLOT)
		return !had;
	lock_acquire(&sh->lock);
	if (sh->proc[slot].pending && sh->proc[slot].stamp == forking.stamp) {
		live_lock(slot, F_SETLK, F_WRLCK, &fl);
		sh->proc[slot].pending = false;
		sh->proc[slot].pid = rt.pid;
		rt.proc_slot = slot;
	}
	lock_release(&sh->lock);
	return rt.proc_slot != RT_NO_SLOT;
}

/* What the child's tables name has been counted: now the forker's references are not needed any more. */
void rt_process_fork_done(void)
{
	struct rt_hold *h, *next;

	if (rt.proc_slot == RT_NO_SLOT)
		return;
	for (h = rt.shared->proc[rt.proc_slot].held; h; h = next) {
		next = h->next;
		rt_process_unhold(h);
	}
}
