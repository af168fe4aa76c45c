/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The manager under random operations and random failures, against a model that is obvious.
 *
 * The model knows for each page of each owner how often it was used and whether it exists; the manager chooses
 * freely which pages are in the EPC.  After each step: contents are right, the sums are right, no memory is held
 * for a page that is not there, and the audit holds.
 *
 *   test_epc_sim [steps [seed]]
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "epc/backing.h"
#include "epc/policy.h"
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

static void failures_clear(struct sim *sim)
{
	unsigned int i, op;

	for (i = 0; i < OWNERS; i++) {
		for (op = 0; sim->o[i].owner && op < FAKE_OP_NR; op++)
			sim->o[i].owner->fail_every[op] = 0;
	}
	backing_fail(epc_backing(sim->m.epc), 0);
	sim->failing = false;
}

static void failures_set(struct sim *sim)
{
	struct model_owner *mo = &sim->o[rnd(sim, OWNERS)];

	if (mo->owner)
		mo->owner->fail_every[rnd(sim, FAKE_OP_NR)] = 1 + rnd(sim, 4);
	if (rnd(sim, 3) == 0)
		backing_fail(epc_backing(sim->m.epc), -ENOSPC);
	sim->failing = true;
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
	mo->exists[i] = false;
	mo->uses[i] = 0;
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
		if (!page || sim->pinned_nr + 4 >= sim->epc_pages)
			return true;
		MUST(sim, epc_untrack(sim->m.epc, page) == 0);
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

static unsigned long window_pages(struct sim *sim)
{
	struct stat st;

	fstat(window_fd(epc_window(sim->m.epc)), &st);
	return (unsigned long)st.st_blocks * 512 / SGX_PAGE_SIZE;
}

static bool check(struct sim *sim, unsigned int step)
{
	uint32_t i, j, resident = 0, evicted = 0, wrong = 0;
	const struct model_owner *mo;
	struct epc_stats s;
	char why[200];

	for (i = 0; i < OWNERS; i++) {
		mo = &sim->o[i];
		for (j = 0; mo->owner && j < mo->owner->page_nr; j++) {
			resident += mo->owner->page[j].epc_page != NULL;
			evicted += mo->owner->page[j].slot != UINT32_MAX;
			wrong += (mo->owner->page[j].epc_page != NULL ||
				  mo->owner->page[j].slot != UINT32_MAX) != mo->exists[j];
		}
		wrong += mo->owner ? mo->owner->wrong : 0;
	}
	MUST(sim, wrong == 0);
	epc_stats_read(sim->m.epc, &s);
	MUST(sim, s.free + s.dirty + s.owned + s.tracked == sim->epc_pages);
	MUST(sim, s.in_batch == 0 && s.poisoned == 0);
	MUST(sim, s.owned == sim->pinned_nr && s.owned + s.tracked == resident);
	MUST(sim, s.allocs - s.frees == resident);
	MUST(sim, s.backing_slots == evicted && s.backing_slots <= s.backing_slots_peak);
	MUST(sim, window_pages(sim) == resident);
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
	else if (what < 980)
		epc_reclaim_direct(sim->m.epc);
	else if (what < 985)
		failures_set(sim);
	else
		failures_clear(sim);
	return true;
}

static bool simulate(uint64_t seed, unsigned int steps)
{
	static const uint32_t sizes[] = { 16, 24, 64, 200 };
	struct sim sim = { .rng = seed * 2654435761u + 1 };
	unsigned int policies = 0, step, i;
	const char *policy;
	struct epc_stats s;
	bool ok = true;

	while (policy_at(policies))
		policies++;
	policy = policy_at((unsigned int)(seed % policies))->name;
	sim.epc_pages = sizes[rnd(&sim, 4)];
	sim.capped = rnd(&sim, 3) == 0;
	TAP_MUST(fake_machine_create(&sim.m, sim.epc_pages, policy, NULL,
				     sim.capped ? 60 * 4224 : 0) == 0,
		 "seed %lu: %s, %u pages%s", (unsigned long)seed, policy, sim.epc_pages,
		 sim.capped ? ", a store of 60" : "");
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
