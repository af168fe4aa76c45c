/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The manager under random operations and random failures, compared with the model (epc_model.h) after each.
 *
 * What may fail fails, some of it for a while: get, reclaim, block and write, the allocation inside write, the file of the
 * backing store when it is written and when it is read.  Owners die in the middle of a batch, and machine checks come
 * there and elsewhere.  The EPC has one section or some, on nodes between which the thread moves.
 *
 *   test_epc_sim [steps [seed]]
 */
#include <errno.h>

#include "epc/policy.h"
#include "epc/stats.h"
#include "lib/tap.h"
#include "sim/epc_model.h"

/* What is to happen at the next call of an operation in a batch. */
struct event {
	struct model_owner *victim; /* dies */
	bool check;                 /* a machine check */
	enum fake_op at;
};
static struct event event;

static void in_batch(struct sim *sim, struct fake_owner *owner, enum fake_op op)
{
	if (op != event.at)
		return;
	if (event.check) {
		event.check = false;
		sim_break(sim, sim_rnd(sim, sim->epc_pages));
	}
	if (event.victim && event.victim->owner == owner && !owner->dying) {
		owner->dying = true;
		fake_owner_put(owner);
	}
}

static void failures_clear(struct sim *sim)
{
	static const struct backing_faults none;
	unsigned int i, op;

	for (i = 0; i < OWNERS; i++) {
		for (op = 0; sim->o[i].owner && op < FAKE_OP_NR; op++)
			sim->o[i].owner->fail_every[op] = 0;
	}
	backing_fail(epc_backing(sim->m.epc), 0);
	backing_fail_file(epc_backing(sim->m.epc), &none);
	sim->failing = false;
}

static void failures_set(struct sim *sim)
{
	struct model_owner *mo = &sim->o[sim_rnd(sim, OWNERS)];

	if (mo->owner)
		mo->owner->fail_every[sim_rnd(sim, FAKE_OP_NR)] = 1 + sim_rnd(sim, 4);
	if (sim_rnd(sim, 3) == 0)
		backing_fail(epc_backing(sim->m.epc), -ENOSPC);
	if (sim->file && sim_rnd(sim, 2))
		backing_fail_file(epc_backing(sim->m.epc),
				  &(struct backing_faults){ .write = sim_rnd(sim, 2) ? -EIO : 0,
							    .read = sim_rnd(sim, 2) ? -EIO : 0 });
	sim->failing = true;
}

/* An owner dies, or a page breaks, in the middle of what others do. */
static bool step_in_batch(struct sim *sim, unsigned int step, struct model_owner *other,
			  unsigned int *deaths)
{
	static const enum fake_op ops[] = { FAKE_RECLAIM, FAKE_BLOCK, FAKE_WRITE, FAKE_PUT };
	struct model_owner *mo = &sim->o[sim_rnd(sim, OWNERS)];
	uint32_t i;

	event.at = ops[sim_rnd(sim, 4)];
	event.check = sim_rnd(sim, 4) == 0;
	if (mo->owner && mo != other) {
		sim_unpin_all(sim, mo);
		event.victim = mo;
	}
	(void)epc_reclaim(sim->m.epc);
	for (i = 0; i < 8; i++) {
		if (!sim_use(sim, step, other, sim_rnd(sim, other->owner->page_nr)))
			return false;
	}
	if (event.victim && mo->owner->dying) {
		MUST(sim_buried(sim, step, mo));
		++*deaths;
	}
	event = (struct event){ 0 };
	return true;
}

static bool step_one(struct sim *sim, unsigned int step, unsigned int *deaths)
{
	struct model_owner *mo = &sim->o[sim_rnd(sim, OWNERS)];
	uint32_t what = sim_rnd(sim, 1000), i;

	sim->clock_ns += sim_rnd(sim, 3000000); /* a period of pressure now and then */
	if (!mo->owner || what < 4)
		return sim_life(sim, step, mo);
	/* Three quarters of the uses fall on a quarter of the pages. */
	i = sim_rnd(sim, 4) ? sim_rnd(sim, (mo->owner->page_nr + 3) / 4)
			    : sim_rnd(sim, mo->owner->page_nr);
	if (what < 900)
		return sim_use(sim, step, mo, i);
	if (what < 940)
		return sim_remove(sim, step, mo, i);
	if (what < 960)
		return sim_pin(sim, step, mo, i);
	if (what < 970)
		(void)epc_reclaim(sim->m.epc);
	else if (what < 972)
		epc_reclaim_direct(sim->m.epc);
	else if (what < 974)
		(void)epc_background_once(sim->m.epc);
	else if (what < 977)
		sim_move(sim_rnd(sim, 4));
	else if (what < 979)
		sim_break(sim, sim_rnd(sim, sim->epc_pages));
	else if (what < 983)
		return step_in_batch(sim, step, mo, deaths);
	else if (what < 988)
		failures_set(sim);
	else
		failures_clear(sim);
	return true;
}

static bool simulate(uint64_t seed, unsigned int steps)
{
	struct sim sim = { .rng = seed * 2654435761u + 1 };
	static const uint32_t sizes[] = { 16, 24, 64, 200 };
	unsigned int deaths = 0, policies = 0, sections, shards, step, i;
	uint32_t size;
	const char *policy;
	struct epc_stats s;
	bool ok = true;

	while (policy_at(policies))
		policies++;
	policy = policy_at((unsigned int)(seed % policies))->name;
	sim.capped = sim_rnd(&sim, 3) == 0;
	sim.file = sim_rnd(&sim, 2) == 0;
	sim.on_op = in_batch;
	size = sizes[sim_rnd(&sim, 4)];
	sections = 1 + sim_rnd(&sim, 3);
	shards = 1 + sim_rnd(&sim, 4);
	TAP_MUST(sim_create(&sim, policy, size, sections, shards) == 0, "seed %lu: a machine",
		 (unsigned long)seed);
	printf("# %s, %u pages in %u sections%s%s\n", policy, sim.epc_pages,
	       epc_section_nr(sim.m.epc), sim.capped ? ", a store of 60" : "",
	       sim.file ? ", a file" : "");
	for (step = 0; step < steps && ok; step++)
		ok = step_one(&sim, step, &deaths) && sim_check(&sim, step, step % 64 == 0);
	failures_clear(&sim);
	for (i = 0; i < OWNERS && ok; i++)
		ok = !sim.o[i].owner || sim_life(&sim, step, &sim.o[i]);
	TAP_CHECK(ok && sim_check(&sim, step, true), "seed %lu: %u steps", (unsigned long)seed,
		  step);
	epc_stats_read(sim.m.epc, &s);
	printf("# uses %u evictions %lu failed %lu enomem %u ebusy %u removes %u births %u deaths "
	       "%u\n",
	       sim.uses, (unsigned long)s.evictions, (unsigned long)s.evict_failures, sim.enomem,
	       sim.ebusy, sim.removes, sim.births, sim.deaths);
	printf("# deaths in batches %u machine checks %lu, pages lost %u, reads failed %u, writes "
	       "%lu\n",
	       deaths, (unsigned long)s.machine_checks, sim.lost, sim.read_errors,
	       (unsigned long)s.backing_write_errors);
	TAP_CHECK(s.evictions > 0 && s.evict_failures > 0 && sim.deaths > 0,
		  "seed %lu: it was a real exercise", (unsigned long)seed);
	sim_destroy(&sim);
	return ok;
}

int main(int argc, char **argv)
{
	unsigned int steps = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 0) : 100000;
	uint64_t seed = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;
	unsigned int runs = argc > 2 ? 1 : 8, i;

	for (i = 0; i < runs; i++) {
		if (!simulate(seed + i, steps / runs))
			break;
	}
	return tap_done();
}
