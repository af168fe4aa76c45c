/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Pressure: for how much of the time somebody stood still for want of an EPC page.
 *
 * The table of stalls is the truth.  Whenever one begins or ends, its owner, the groups above it and its section get the time
 * since the last such moment for the state that they were in, and their new state: some, when there is a stall of
 * theirs in the table; full, when moreover no logical processor runs in any of their owners, or, of a section, in any.  So a
 * thread that goes into an enclave in the middle of a stall is noticed at the next beginning or end.
 *
 * Averages are those of Linux: every two seconds each moves towards the share of the time that was lost, by as much as makes
 * it forget in 10, 60 or 300 seconds.  Nobody has to do that in time: it is caught up with when somebody looks.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/clock_priv.h"
#include "epc/epc_priv.h"
#include "epc/node_priv.h"
#include "epc/owner.h"

#define PERIOD_NS 2000000000ull
#define NS_A_MS   1000000ull
#define UNSEEN_NS 100000000ull /* without a sign of life: then it is looked whether there is any */
#define ONE       65536u       /* of an average: all of the time */
enum {
	PERIODS_MAX = 2000, /* after so many nothing is left of what was before */
	RUNNING_LOOK_MAX = 256,
	STALLED_PAGES = 64, /* of EPC, for one thread that stands still */
};

/* ---- one owner's or group's ------------------------------------------------------------------ */

static void average(struct pressure *p, uint64_t now)
{
	/* exp(-2/10), exp(-2/60), exp(-2/300) of ONE */
	static const uint32_t keep[3] = { 53656, 63387, 65101 };
	uint64_t periods = (now - p->avg_ns) / PERIOD_NS, grown, part;
	unsigned int kind, i, n;

	if (periods == 0)
		return;
	for (kind = 0; kind < EPC_PRESSURE_NR; kind++) {
		grown = p->kind[kind].total_ns - p->kind[kind].averaged_ns;
		part = (uint64_t)((double)grown * ONE / (double)(periods * PERIOD_NS));
		part = part < ONE ? part : ONE;
		for (i = 0; i < 3; i++) {
			for (n = 0; n < periods && n < PERIODS_MAX; n++)
				p->avg[kind][i] = (uint32_t)((p->avg[kind][i] * (uint64_t)keep[i] +
							      part * (ONE - keep[i])) /
							     ONE);
		}
		p->kind[kind].averaged_ns = p->kind[kind].total_ns;
	}
	p->avg_ns += periods * PERIOD_NS;
}

/* Up to now it was as it was. */
static void advance(struct pressure *p, uint64_t now)
{
	unsigned int kind;

	if (p->since_ns == 0)
		p->avg_ns = p->since_ns = now;
	/* The end of a stall that was found out late: it has been counted already. */
	if (now < p->since_ns)
		return;
	for (kind = 0; kind < EPC_PRESSURE_NR; kind++) {
		if (p->now[kind] && now > p->since_ns)
			p->kind[kind].total_ns += now - p->since_ns;
	}
	p->since_ns = now;
	average(p, now);
}

/* ---- who stands still, who runs ----------------------------------------------------------------- */

static bool in_group(const struct epc_owner *owner, const struct epc_group *group)
{
	const struct epc_group *g = owner->group;

	while (g && g != group)
		g = g->parent;
	return g;
}

/* A stall of @owner, or, when that is NULL, of anyone in @group. */
static bool any_stalled_locked(struct epc *epc, const struct epc_owner *owner,
			       const struct epc_group *group) REQUIRES(&epc->groups_lock)
{
	const struct stalled *s;
	uint32_t i;

	for (i = 0; i < epc->stalled_nr; i++) {
		s = &epc->stalled[i];
		if (s->owner && (owner ? s->owner == owner : in_group(s->owner, group)))
			return true;
	}
	return false;
}

static bool any_stalled_at_locked(struct epc *epc, unsigned int section) REQUIRES(&epc->groups_lock)
{
	uint32_t i = 0;

	while (i < epc->stalled_nr &&
	       !(epc->stalled[i].owner && epc->stalled[i].section == section))
		i++;
	return i < epc->stalled_nr;
}

/* Of an owner that cannot tell it is assumed. */
static bool runs(const struct epc_owner *owner)
{
	return !owner->running || owner->running(owner->owner) > 0;
}

static bool any_runs_locked(struct epc_group *group, unsigned int *looks)
	REQUIRES(&group->epc->groups_lock)
{
	struct list *pos;

	list_for_each (pos, &group->owners) {
		if (++*looks > RUNNING_LOOK_MAX || runs(LIST_ENTRY(pos, struct epc_owner, node)))
			return true;
	}
	for (struct epc_group *child = group->child; child; child = child->sibling) {
		if (any_runs_locked(child, looks))
			return true;
	}
	return false;
}

/* So it is from now on. */
static void turn(struct pressure *p, uint64_t now, bool some, bool full)
{
	advance(p, now);
	p->now[EPC_SOME] = some;
	p->now[EPC_FULL] = full;
}

/* Something has begun or ended for @owner in @section. */
static void edge_locked(struct epc_owner *owner, unsigned int section, uint64_t now)
	REQUIRES(&owner->epc->groups_lock)
{
	struct epc *epc = owner->epc;
	bool some = any_stalled_locked(epc, owner, NULL), full = some && !runs(owner);
	unsigned int looks;

	turn(&owner->pressure, now, some, full);
	for (struct epc_group *group = owner->group; group; group = group->parent) {
		looks = 0;
		some = any_stalled_locked(epc, NULL, group);
		full = some && !any_runs_locked(group, &looks);
		turn(&group->pressure, now, some, full);
	}
	/* The last one was the root. */
	some = any_stalled_at_locked(epc, section);
	turn(epc->section[section].pressure, now, some, some && full);
}

/* A thread that was killed has no memory any more, whether or not anybody has waited for its process. */
static bool is_dead(int tid)
{
	char byte;
	const struct iovec to = { &byte, 1 }, from = { &byte, 1 };

	return process_vm_readv(tid, &to, 1, &from, 1, 0) < 0 && errno == ESRCH;
}

/* When it gave its last sign of life, to a millisecond. */
static uint64_t seen_ns(const struct stalled *s, uint64_t now)
{
	uint32_t seen = atomic_load_explicit(&s->seen_ms, memory_order_relaxed);
	int32_t ago = (int32_t)((uint32_t)(now / NS_A_MS) - seen);

	/* Since @now, perhaps. */
	return ago > 0 ? now - (uint32_t)ago * NS_A_MS : now;
}

/* Stalls of dead threads, of those not seen for so long: they ended when they were last seen. */
static void bury_locked(struct epc *epc, uint64_t now, uint64_t unseen_ns)
	REQUIRES(&epc->groups_lock)
{
	struct epc_owner *owner;
	struct stalled *s;
	uint64_t seen;
	uint32_t i;

	for (i = 0; i < epc->stalled_nr; i++) {
		s = &epc->stalled[i];
		seen = seen_ns(s, now);
		if (!s->owner || now < seen + unseen_ns || !is_dead((int)s->tid))
			continue;
		owner = s->owner;
		s->owner = NULL;
		edge_locked(owner, s->section, seen);
	}
}

/* Room for as many stalls as the EPC is good for, or for none. */
static void make_room_locked(struct epc *epc) REQUIRES(&epc->groups_lock)
{
	uint32_t nr = epc->page_nr / STALLED_PAGES;

	if (nr < EPC_STALLED_MIN)
		nr = EPC_STALLED_MIN;
	if (nr > EPC_STALLED_MAX)
		nr = EPC_STALLED_MAX;
	epc->stalled = arena_alloc(epc->arena, nr * sizeof(*epc->stalled));
	if (!epc->stalled)
		return;
	epc_grew(epc, nr * sizeof(*epc->stalled));
	epc->stalled_nr = nr;
}

static struct stalled *place_locked(struct epc *epc) REQUIRES(&epc->groups_lock)
{
	struct stalled *s, *end;

	if (epc->stalled_nr == 0)
		make_room_locked(epc);
	s = epc->stalled;
	end = s + epc->stalled_nr;
	while (s < end && s->owner)
		s++;
	return s < end ? s : NULL;
}

void stalls_fini(struct epc *epc)
{
	arena_free(epc->arena, epc->stalled, epc->stalled_nr * sizeof(*epc->stalled));
}

struct stalled *stall_begin(struct epc_owner *owner)
{
	struct epc *epc = owner->epc;
	unsigned int section = nodes_order(epc)[0];
	uint64_t now = epc_now_ns(epc);
	struct stalled *s;

	owner = owner->told_as;
	groups_lock(epc);
	bury_locked(epc, now, UNSEEN_NS);
	s = place_locked(epc);
	if (s) {
		s->tid = (uint32_t)gettid();
		s->section = section;
		stall_goes_on(s, now);
		s->owner = owner;
		edge_locked(owner, section, now);
	}
	groups_unlock(epc);
	return s;
}

void stall_goes_on(struct stalled *stalled, uint64_t now)
{
	if (stalled)
		atomic_store_explicit(&stalled->seen_ms, (uint32_t)(now / NS_A_MS),
				      memory_order_relaxed);
}

void stall_end(struct stalled *stalled, struct epc_owner *owner)
{
	if (!stalled)
		return;
	owner = owner->told_as;
	groups_lock(owner->epc);
	/* Who cannot see this thread, from another PID namespace, took it for dead: the place may be another's. */
	if (stalled->owner == owner && stalled->tid == (uint32_t)gettid())
		stalled->owner = NULL;
	edge_locked(owner, stalled->section, epc_now_ns(owner->epc));
	groups_unlock(owner->epc);
}

void stalls_forget_locked(struct epc_owner *owner) REQUIRES(&owner->epc->groups_lock)
{
	uint64_t now = epc_now_ns(owner->epc);
	struct stalled *s;
	uint32_t i;

	for (i = 0; i < owner->epc->stalled_nr; i++) {
		s = &owner->epc->stalled[i];
		if (s->owner != owner)
			continue;
		s->owner = NULL;
		edge_locked(owner, s->section, now);
	}
	/* Nobody runs in it any more. */
	edge_locked(owner, 0, now);
}

void pressure_tell(struct pressure *pressure, uint64_t now,
		   struct epc_pressure ret[EPC_PRESSURE_NR])
{
	unsigned int kind, i;

	advance(pressure, now);
	for (kind = 0; kind < EPC_PRESSURE_NR; kind++) {
		ret[kind].total_ns = pressure->kind[kind].total_ns;
		for (i = 0; i < 3; i++)
			ret[kind].avg[i] = 100.0 * pressure->avg[kind][i] / ONE;
	}
}

void pressure_read_locked(struct epc *epc, struct pressure *pressure,
			  struct epc_pressure ret[EPC_PRESSURE_NR]) REQUIRES(&epc->groups_lock)
{
	uint64_t now = epc_now_ns(epc);

	bury_locked(epc, now, 0);
	pressure_tell(pressure, now, ret);
}
