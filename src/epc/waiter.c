/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Who waits for a page, and whose turn it is.
 *
 * An allocation that finds no page becomes a waiter, with a ticket.  It waits for pages of some
 * group: one that is at its max, or the root, where any page will do.  A page is for whoever has
 * waited longest: anybody else takes one only when there are more than waiters before him.  Of
 * those who wait for the same, the first few reclaim, as many as there are CPUs; the others sleep.
 *
 * A waiter's place has a robust lock, held as long as it waits.  Whoever sleeps tries the locks of
 * the others, so one who was killed is forgotten.  And one who lives but gives no sign of it while
 * others sleep MISSED_ROUNDS times (he is stopped, perhaps) is passed by, by everybody, until he
 * does: nobody waits for him twice.  It is not time that tells, for where the machine is busy all
 * are late.  Where all places are taken for long, one goes without: he has his ticket, but nobody
 * knows of him.
 *
 * No wake is relied upon: it may die with its sender, so a sleep is short.
 *
 * Where nobody waits all of this is a look at one word (epc.waiting).
 */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/clock_priv.h"
#include "epc/epc_priv.h"
#include "epc/waiter_priv.h"

static_assert(EPC_WAITERS_MAX == 64, "a bit for each in the words of struct epc");

#define SLEEP_NS      1000000   /* of the first ones, who see to the dead, too */
#define SLEEP_LATE_NS 10000000  /* of those behind them */
#define PATIENCE_NS   500000000 /* for a place in line */
#define ABSENT_NS \
	700000000 /* without a sign of life, few others to miss it: before those give up (alloc.c) */

enum {
	MISSED_ROUND = EPC_WAITERS_MAX, /* by all others, once each */
	MISSED_ROUNDS = 20,
};

void waiters_init(struct epc *epc)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	/* More at once would only wait for each other's locks. */
	if (cpus > UINT8_MAX)
		cpus = UINT8_MAX;
	epc->early_nr = cpus > 1 ? (uint8_t)cpus : 1;
}

static void line_make(void *made, unsigned int index)
{
	struct waiter *line = made;

	for (unsigned int i = 0; i < EPC_WAITERS_MAX; i++)
		lock_init(&line[i].lock, LOCK_TRIED);
}

static void line_unmake(void *made)
{
	struct waiter *line = made;

	for (unsigned int i = 0; i < EPC_WAITERS_MAX; i++)
		lock_fini(&line[i].lock);
}

static const struct late_kind line_kind = { EPC_WAITERS_MAX * sizeof(struct waiter), line_make,
					    line_unmake };

void waiters_fini(struct epc *epc)
{
	late_fini(epc, &epc->line, &line_kind);
}

/* Not NULL where somebody waits. */
static struct waiter *line_there(const struct epc *epc)
{
	return late_there(&epc->line);
}

static struct waiter *waiter_at(const struct epc *epc, unsigned int i)
{
	return &line_there(epc)[i];
}

/* 0: it has no place in line. */
static uint64_t bit_of(const struct epc *epc, const struct waiter *waiter)
{
	const struct waiter *line = line_there(epc);

	return line && waiter >= line && waiter < line + EPC_WAITERS_MAX ? 1ull << (waiter - line)
									 : 0;
}

static uint64_t ticket_of(const struct waiter *waiter)
{
	return atomic_load_explicit(&waiter->ticket, memory_order_relaxed);
}

/* ---- the line -------------------------------------------------------------------------------- */

/* A place that nobody has; its lock is held then.  NULL: there is none. */
LOCK_ATTR(no_thread_safety_analysis) static struct waiter *place_claim(struct epc *epc)
{
	struct waiter *waiter;

	for (waiter = waiter_at(epc, 0); waiter < waiter_at(epc, EPC_WAITERS_MAX); waiter++) {
		if (atomic_load_explicit(&epc->waiting, memory_order_relaxed) & bit_of(epc, waiter))
			continue;
		if (!lock_try(&waiter->lock))
			continue;
		waiter->lock.holder_died = false; /* what it protects is made anew */
		return waiter;
	}
	return NULL;
}

static void forget(struct epc *epc, struct waiter *waiter)
{
	atomic_fetch_and(&epc->asleep, ~bit_of(epc, waiter));
	atomic_fetch_and(&epc->hungry, ~bit_of(epc, waiter));
	atomic_fetch_and(&epc->waiting, ~bit_of(epc, waiter));
}

LOCK_ATTR(no_thread_safety_analysis) void waiter_end(struct epc *epc, struct waiter *self)
{
	bool in_line = bit_of(epc, self);

	forget(epc, self);
	if (in_line)
		lock_release(&self->lock);
	waiters_wake(epc);
}

void waiter_wants(struct waiter *self, struct epc_group *top)
{
	atomic_store_explicit(&self->top, top, memory_order_relaxed);
	atomic_store_explicit(&self->alive_ns, epc_now_ns(top->epc), memory_order_relaxed);
	atomic_store_explicit(&self->missed, 0, memory_order_relaxed);
}

static bool is_absent(const struct waiter *waiter)
{
	return atomic_load_explicit(&waiter->missed, memory_order_relaxed) >
	       MISSED_ROUND * MISSED_ROUNDS;
}

/*
 * Somebody has slept, and looks whether @waiter has given a sign of life since. @part: of a round.
 */
static void miss(struct waiter *waiter, uint32_t part, uint64_t now)
{
	uint64_t alive = atomic_load_explicit(&waiter->alive_ns, memory_order_relaxed);

	if (is_absent(waiter))
		return;
	if (now > alive && now - alive > ABSENT_NS)
		part = MISSED_ROUND * MISSED_ROUNDS + 1;
	atomic_fetch_add_explicit(&waiter->missed, part, memory_order_relaxed);
}

/* Those who were killed, and those who do nothing. @self: NULL for somebody who is not in line. */
LOCK_ATTR(no_thread_safety_analysis)
static void bury(struct epc *epc, const struct waiter *self)
{
	uint64_t left = atomic_load(&epc->waiting) & ~bit_of(epc, self);
	uint64_t now = epc_now_ns(epc);
	uint32_t part = left ? MISSED_ROUND / (uint32_t)__builtin_popcountll(left) : 0;
	struct waiter *waiter;

	for (; left; left &= left - 1) {
		waiter = waiter_at(epc, (unsigned int)__builtin_ctzll(left));
		if (!lock_try(&waiter->lock)) {
			miss(waiter, part, now);
			continue;
		}
		/* Or it has just gone, and left nothing to forget. */
		if (waiter->lock.holder_died)
			forget(epc, waiter);
		waiter->lock.holder_died = false;
		lock_release(&waiter->lock);
	}
}

struct waiter *waiter_begin(struct epc *epc, struct epc_group *top, struct waiter *outside)
{
	bool line = late_make(epc, &epc->line, &line_kind, 0);
	struct waiter *self = line ? place_claim(epc) : outside;
	uint64_t start = self ? 0 : epc_now_ns(epc);

	while (!self) {
		nap(epc, SLEEP_NS);
		/* All of the line may be dead, and nobody in it to find that out. */
		bury(epc, NULL);
		self = place_claim(epc);
		if (!self && epc_now_ns(epc) - start > PATIENCE_NS)
			self = outside;
	}
	self->late = false;
	waiter_wants(self, top);
	atomic_store(&self->ticket, atomic_fetch_add(&epc->tickets, 1) + 1);
	atomic_fetch_or(&epc->waiting, bit_of(epc, self));
	return self;
}

/*
 * Of those who wait for pages of @top, and are there, how many come before @self; NULL: before
 * somebody not in line.
 */
uint32_t waiters_before(const struct epc *epc, const struct waiter *self,
			const struct epc_group *top)
{
	uint64_t left = atomic_load_explicit(&epc->waiting, memory_order_relaxed);
	const struct waiter *waiter;
	uint32_t nr = 0;

	for (; left; left &= left - 1) {
		waiter = waiter_at(epc, (unsigned int)__builtin_ctzll(left));
		nr += waiter != self && waiter_top(waiter) == top &&
		      (!self || ticket_of(waiter) < ticket_of(self)) && !is_absent(waiter);
	}
	return nr;
}

bool waiter_is_early(const struct epc *epc, const struct waiter *self)
{
	return waiters_before(epc, self, waiter_top(self)) < epc->early_nr;
}

void waiters_forget(struct epc *epc, const struct epc_group *group)
{
	struct waiter *line = line_there(epc), *waiter;

	for (waiter = line; waiter && waiter < line + EPC_WAITERS_MAX; waiter++) {
		if (waiter_top(waiter) == group)
			forget(epc, waiter);
	}
}

/* ---- sleeping and waking --------------------------------------------------------------------- */

/*
 * Pages of @top that somebody could have.  It may be what a dead waiter wants, and just be going:
 * it is looked at, but nothing that it points to.
 */
static uint32_t room(const struct epc *epc, const struct epc_group *top)
{
	uint32_t max, current = 0;
	unsigned int i;

	if (top == epc->root)
		return section_free_nr(epc);
	max = group_limit(&top->max);
	for (i = 0; i < epc->shard_nr; i++)
		current += atomic_load_explicit(&top->charge[charge_index(epc->shard_nr, i)].nr,
						memory_order_relaxed);
	return current < max ? max - current : 0;
}

/* Not private: sleeper and waker may be different processes. */
static void doze(const struct epc *epc, struct waiter *self, uint32_t seen, long ns)
{
	const struct timespec ts = { .tv_nsec = ns };

	if (epc->clock)
		epc->clock->sleep((uint64_t)ns);
	else
		syscall(SYS_futex, &self->wakes, FUTEX_WAIT, seen, &ts, NULL, 0);
}

void waiter_sleep(struct epc *epc, struct waiter *self)
{
	uint32_t seen = atomic_load(&self->wakes), ahead;
	struct epc_group *top = waiter_top(self);
	bool late = !waiter_is_early(epc, self);

	self->late = late;
	/*
	 * Announced before the last look: who frees a page behind that look sees that it is wanted.
	 */
	atomic_fetch_or(&epc->asleep, bit_of(epc, self));
	if (!late)
		atomic_fetch_or(&epc->hungry, bit_of(epc, self));
	ahead = waiters_before(epc, self, top);
	if (room(epc, top) <= ahead && (!late || ahead >= epc->early_nr))
		doze(epc, self, seen, late ? SLEEP_LATE_NS : SLEEP_NS);
	atomic_fetch_and(&epc->asleep, ~bit_of(epc, self));
	atomic_fetch_and(&epc->hungry, ~bit_of(epc, self));
	bury(epc, self);
}

static void wake(struct epc *epc, struct waiter *waiter)
{
	/* One call for each sleep, whoever makes it. */
	if (!(atomic_fetch_and(&epc->asleep, ~bit_of(epc, waiter)) & bit_of(epc, waiter)))
		return;
	atomic_fetch_add(&waiter->wakes, 1);
	syscall(SYS_futex, &waiter->wakes, FUTEX_WAKE, 1, NULL, NULL, 0);
}

void waiters_wake(struct epc *epc)
{
	uint64_t left = atomic_load(&epc->asleep);
	struct epc_group *top = NULL;
	struct waiter *waiter;
	uint32_t ahead, nr = 0;

	for (; left; left &= left - 1) {
		waiter = waiter_at(epc, (unsigned int)__builtin_ctzll(left));
		if (top != waiter_top(waiter)) {
			top = waiter_top(waiter);
			nr = room(epc, top);
		}
		ahead = waiters_before(epc, waiter, top);
		if (ahead < nr || (waiter->late && ahead < epc->early_nr))
			wake(epc, waiter);
	}
}

void waiters_offer(struct epc *epc)
{
	uint64_t left = atomic_load(&epc->hungry);

	for (; left; left &= left - 1)
		wake(epc, waiter_at(epc, (unsigned int)__builtin_ctzll(left)));
}
