/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The manager under random operations and random failures, against a model that is obvious.
 *
 * The model knows for each page of each owner how often it was used and whether it exists; the manager chooses
 * freely which pages are in the EPC.  After each step: contents are right, the sums are right, no memory is held
 * for a page that is not there, and the audit holds.
 *
 * What may fail fails: get, reclaim, block and write, the allocation inside write, the file of the backing store when
 * it is written and when it is read.  Owners die in the middle of a batch, and machine checks come there and
 * elsewhere.  The EPC has one section or some, on nodes between which the thread moves.
 *
 *   test_epc_sim [steps [seed]]
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "epc/backing.h"
#include "epc/policy.h"
#include "epc/stats.h"
#include "epc/window.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { OWNERS = 6, PAGES_MAX = 80 };

struct model_owner {
	struct fake_owner *owner; /* NULL: not there */
	uint64_t uses[PAGES_MAX];
	bool exists[PAGES_MAX];
	bool pinned[PAGES_MAX];
};

struct sim {
	struct fake_machine m;
	struct model_owner o[OWNERS];
	uint64_t rng;
	uint32_t epc_pages, next_id;
	uint32_t pinned_nr;
	bool failing; /* something is set to fail */
	bool capped;  /* the store may be full */
	bool file;    /* it has a file */
	/* What is to happen at the next call of an operation in a batch. */
	struct model_owner *victim; /* dies */
	bool check;                 /* a machine check */
	enum fake_op at;
	uint32_t broken_nr, broken_max;
	unsigned int checks, lost, deaths_in_batch, read_errors;
	unsigned int enomem, ebusy, uses, removes, births, deaths;
};

static uint32_t rnd(struct sim *sim, uint32_t below)
{
	sim->rng = sim->rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((sim->rng >> 33) % below);
}

#define MUST(sim, cond)                                                                       \
	do {                                                                                  \
		if (!(cond)) {                                                                \
			printf("# at %s:%d, step %u: %s\n", __FILE__, __LINE__, step, #cond); \
			return false;                                                         \
		}                                                                             \
	} while (0)

/* The hooks of owners and of the topology know of one simulation. */
static struct sim *running;
static unsigned int here;

static unsigned int node_here(void) { return here; }

static unsigned int distance(unsigned int from, unsigned int to)
{
	return from == to ? 10 : 20 + (from ^ to);
}

static const struct epc_topology topology = { node_here, distance };

static void machine_check(struct sim *sim)
{
	struct epc_stats before, after;

	if (sim->broken_nr >= sim->broken_max)
		return;
	epc_stats_read(sim->m.epc, &before);
	(void)epc_poison(sim->m.epc, rnd(sim, sim->epc_pages));
	epc_stats_read(sim->m.epc, &after);
	sim->broken_nr += (uint32_t)(after.machine_checks - before.machine_checks);
}

static void in_batch(struct fake_owner *owner, enum fake_op op)
{
	struct sim *sim = running;
	struct model_owner *mo = sim->victim;

	if (op != sim->at)
		return;
	if (sim->check) {
		sim->check = false;
		machine_check(sim);
	}
	if (mo && mo->owner == owner && !owner->dying) {
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
	struct model_owner *mo = &sim->o[rnd(sim, OWNERS)];

	if (mo->owner)
		mo->owner->fail_every[rnd(sim, FAKE_OP_NR)] = 1 + rnd(sim, 4);
	if (rnd(sim, 3) == 0)
		backing_fail(epc_backing(sim->m.epc), -ENOSPC);
	if (sim->file && rnd(sim, 2))
		backing_fail_file(epc_backing(sim->m.epc),
				  &(struct backing_faults){ .write = rnd(sim, 2) ? -EIO : 0,
							    .read = rnd(sim, 2) ? -EIO : 0 });
	sim->failing = true;
}

/* It is not there any more: the next use makes it anew. */
static void forget(struct model_owner *mo, uint32_t i)
{
	mo->exists[i] = false;
	mo->uses[i] = 0;
}

static bool step_use(struct sim *sim, unsigned int step, struct model_owner *mo, uint32_t i)
{
	unsigned int flags = rnd(sim, 8) ? EPC_MAY_RECLAIM : 0;
	struct epc_stats stats;
	uint64_t loads = mo->owner->loads;
	int r;

	epc_stats_read(sim->m.epc, &stats);
	r = fake_use(mo->owner, i, flags);
	sim->uses++;
	if (r == -EHWPOISON) {
		MUST(sim, epc_page_poisoned(mo->owner->page[i].epc_page));
		if (mo->pinned[i])
			return true;
		MUST(sim, fake_remove(mo->owner, i) == 0);
		forget(mo, i);
		sim->lost++;
		return true;
	}
	if (r == -EIO) {
		MUST(sim, sim->failing && sim->file && mo->owner->loads == loads);
		sim->read_errors++;
		return true;
	}
	if (r == 0) {
		mo->uses[i] = mo->exists[i] ? mo->uses[i] + 1 : 1;
		mo->exists[i] = true;
		MUST(sim, mo->owner->page[i].uses == mo->uses[i]);
		return true;
	}
	MUST(sim, mo->owner->loads == loads);
	if (r == -EBUSY) {
		sim->ebusy++;
		MUST(sim, flags == 0 && stats.free + stats.dirty == 0);
		return true;
	}
	sim->enomem++;
	MUST(sim, r == -ENOMEM && flags == EPC_MAY_RECLAIM && stats.free + stats.dirty == 0);
	/* With a page to evict, a store to write to and owners that agree, there is no excuse. */
	MUST(sim, sim->failing || sim->capped || stats.tracked == 0);
	return true;
}

static bool step_remove(struct sim *sim, unsigned int step, struct model_owner *mo, uint32_t i)
{
	if (mo->pinned[i])
		return true;
	MUST(sim, fake_remove(mo->owner, i) == 0);
	forget(mo, i);
	sim->removes++;
	return true;
}

/* Pages that their owner keeps: OWNED, not offered to the reclaimer. */
static bool step_pin(struct sim *sim, unsigned int step, struct model_owner *mo, uint32_t i)
{
	struct epc_page *page = mo->owner->page[i].epc_page;

	if (mo->pinned[i]) {
		epc_track(sim->m.epc, page);
		sim->pinned_nr--;
	} else {
		if (!page || sim->pinned_nr + sim->broken_max + 4 >= sim->epc_pages)
			return true;
		MUST(sim, epc_untrack(sim->m.epc, page) == 0);
		epc_keep(sim->m.epc, page);
		sim->pinned_nr++;
	}
	mo->pinned[i] = !mo->pinned[i];
	return true;
}

static bool step_life(struct sim *sim, unsigned int step, struct model_owner *mo)
{
	uint32_t i;

	if (!mo->owner) {
		memset(mo, 0, sizeof(*mo));
		mo->owner = fake_owner_create(sim->m.epc, ++sim->next_id,
					      10 + rnd(sim, PAGES_MAX - 10), rnd(sim, 4) != 0);
		MUST(sim, mo->owner);
		mo->owner->on_op = in_batch;
		sim->births++;
		return true;
	}
	for (i = 0; i < mo->owner->page_nr; i++) {
		if (mo->pinned[i])
			(void)step_pin(sim, step, mo, i);
	}
	fake_owner_put(mo->owner);
	MUST(sim, mo->owner->freed && mo->owner->wrong == 0);
	mo->owner = NULL;
	sim->deaths++;
	return true;
}

/* An owner dies, or a page breaks, in the middle of what others do. */
static bool step_in_batch(struct sim *sim, unsigned int step, struct model_owner *other)
{
	static const enum fake_op ops[] = { FAKE_RECLAIM, FAKE_BLOCK, FAKE_WRITE };
	struct model_owner *mo = &sim->o[rnd(sim, OWNERS)];
	uint32_t i;

	sim->at = ops[rnd(sim, 3)];
	sim->check = rnd(sim, 4) == 0;
	if (mo->owner && mo != other) {
		for (i = 0; i < mo->owner->page_nr; i++) {
			if (mo->pinned[i])
				(void)step_pin(sim, step, mo, i);
		}
		sim->victim = mo;
	}
	(void)epc_reclaim(sim->m.epc);
	for (i = 0; i < 8; i++) {
		if (!step_use(sim, step, other, rnd(sim, other->owner->page_nr)))
			return false;
	}
	if (sim->victim && mo->owner->dying) {
		MUST(sim, mo->owner->freed && mo->owner->wrong == 0);
		mo->owner = NULL;
		sim->deaths_in_batch++;
	}
	sim->victim = NULL;
	sim->check = false;
	return true;
}

static unsigned long window_pages(struct sim *sim)
{
	struct stat st;

	fstat(window_fd(epc_window(sim->m.epc)), &st);
	return (unsigned long)st.st_blocks * 512 / SGX_PAGE_SIZE;
}

static bool check(struct sim *sim, unsigned int step)
{
	uint32_t i, j, resident = 0, evicted = 0, wrong = 0, broken = 0;
	const struct model_owner *mo;
	struct epc_group_stats all;
	struct epc_stats s;
	char why[200];

	for (i = 0; i < OWNERS; i++) {
		mo = &sim->o[i];
		for (j = 0; mo->owner && j < mo->owner->page_nr; j++) {
			resident += mo->owner->page[j].epc_page != NULL;
			broken += mo->owner->page[j].epc_page && !mo->pinned[j] &&
				  epc_page_poisoned(mo->owner->page[j].epc_page);
			evicted += mo->owner->page[j].slot != UINT32_MAX;
			wrong += (mo->owner->page[j].epc_page != NULL ||
				  mo->owner->page[j].slot != UINT32_MAX) != mo->exists[j];
		}
		wrong += mo->owner ? mo->owner->wrong : 0;
	}
	MUST(sim, wrong == 0);
	epc_stats_read(sim->m.epc, &s);
	MUST(sim, s.free + s.dirty + s.owned + s.tracked + s.poisoned == sim->epc_pages);
	MUST(sim, s.in_batch == 0 && s.machine_checks == sim->broken_nr);
	MUST(sim, s.poisoned + broken <= sim->broken_nr);
	MUST(sim, s.owned == sim->pinned_nr + broken && s.owned + s.tracked == resident);
	MUST(sim, s.allocs - s.frees == resident);
	epc_group_stats_read(epc_group_root(sim->m.epc), &all);
	MUST(sim,
	     all.count[EPC_ALLOCS] - all.count[EPC_FREES] - all.count[EPC_EVICTIONS] == resident);
	MUST(sim,
	     all.count[EPC_BLOCKS] == all.count[EPC_EVICTIONS] + all.count[EPC_EVICT_FAILURES]);
	MUST(sim, s.backing_slots == evicted && s.backing_slots <= s.backing_slots_peak);
	/* The bytes of a page that broke in use are gone. */
	MUST(sim, window_pages(sim) <= resident && window_pages(sim) + sim->broken_nr >= resident);
	if (epc_audit(sim->m.epc, false, why, sizeof(why)) > 0) {
		printf("# step %u: %s\n", step, why);
		return false;
	}
	return true;
}

static bool step_one(struct sim *sim, unsigned int step)
{
	struct model_owner *mo = &sim->o[rnd(sim, OWNERS)];
	uint32_t what = rnd(sim, 1000), i;

	if (!mo->owner || what < 4)
		return step_life(sim, step, mo);
	/* Three quarters of the uses fall on a quarter of the pages. */
	i = rnd(sim, 4) ? rnd(sim, (mo->owner->page_nr + 3) / 4) : rnd(sim, mo->owner->page_nr);
	if (what < 900)
		return step_use(sim, step, mo, i);
	if (what < 940)
		return step_remove(sim, step, mo, i);
	if (what < 960)
		return step_pin(sim, step, mo, i);
	if (what < 970)
		(void)epc_reclaim(sim->m.epc);
	else if (what < 972)
		epc_reclaim_direct(sim->m.epc);
	else if (what < 974)
		(void)epc_background_once(sim->m.epc);
	else if (what < 977)
		here = rnd(sim, 4);
	else if (what < 979)
		machine_check(sim);
	else if (what < 983)
		return step_in_batch(sim, step, mo);
	else if (what < 988)
		failures_set(sim);
	else
		failures_clear(sim);
	return true;
}

/* An EPC of some sections, in shards, over memory or a file. */
static int machine_create(struct sim *sim, const char *policy)
{
	static const uint32_t sizes[] = { 16, 24, 64, 200 };
	struct epc_config config = { .policy = policy, .topology = &topology };
	unsigned int sections = 1 + rnd(sim, 3), i;
	struct cpu_config cpu;
	uint32_t size;

	sim->epc_pages = sizes[rnd(sim, 4)];
	sim->broken_max = sim->epc_pages / 6;
	config.shards = 1 + rnd(sim, 4);
	config.backing_path = sim->file ? "/dev/shm" : NULL;
	config.backing_bytes_max = sim->capped ? 60 * 4224 : 0;
	size = sim->epc_pages / sections;
	cpu_config_default(&cpu, (uint64_t)size * SGX_PAGE_SIZE);
	cpu.section[0].node = 0;
	for (i = 1; i < sections; i++)
		cpu_config_add_section(&cpu, (uint64_t)size * SGX_PAGE_SIZE, (int)i);
	sim->epc_pages = size * sections;
	return fake_machine_create_as(&sim->m, &cpu, &config);
}

static bool simulate(uint64_t seed, unsigned int steps)
{
	struct sim sim = { .rng = seed * 2654435761u + 1 };
	unsigned int policies = 0, step, i;
	const char *policy;
	struct epc_stats s;
	bool ok = true;

	while (policy_at(policies))
		policies++;
	policy = policy_at((unsigned int)(seed % policies))->name;
	sim.capped = rnd(&sim, 3) == 0;
	sim.file = rnd(&sim, 2) == 0;
	running = &sim;
	TAP_MUST(machine_create(&sim, policy) == 0, "seed %lu: a machine", (unsigned long)seed);
	printf("# %s, %u pages in %u sections%s%s\n", policy, sim.epc_pages,
	       epc_section_nr(sim.m.epc), sim.capped ? ", a store of 60" : "",
	       sim.file ? ", a file" : "");
	for (step = 0; step < steps && ok; step++)
		ok = step_one(&sim, step) && check(&sim, step);
	failures_clear(&sim);
	for (i = 0; i < OWNERS && ok; i++)
		ok = !sim.o[i].owner || step_life(&sim, step, &sim.o[i]);
	TAP_CHECK(ok && check(&sim, step), "seed %lu: %u steps", (unsigned long)seed, step);
	epc_stats_read(sim.m.epc, &s);
	printf("# uses %u evictions %lu failed %lu enomem %u ebusy %u removes %u births %u deaths "
	       "%u\n",
	       sim.uses, (unsigned long)s.evictions, (unsigned long)s.evict_failures, sim.enomem,
	       sim.ebusy, sim.removes, sim.births, sim.deaths);
	printf("# deaths in batches %u machine checks %lu, pages lost %u, reads failed %u, writes "
	       "%lu\n",
	       sim.deaths_in_batch, (unsigned long)s.machine_checks, sim.lost, sim.read_errors,
	       (unsigned long)s.backing_write_errors);
	TAP_CHECK(s.evictions > 0 && s.evict_failures > 0 && sim.deaths > 0,
		  "seed %lu: it was a real exercise", (unsigned long)seed);
	fake_machine_destroy(&sim.m);
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
