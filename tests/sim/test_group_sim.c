/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Groups under random trees, limits, uses and failures, against a model that is obvious.
 *
 * After each step: every group has the pages of its owners and of those below it; nobody who is
 * outside of a group made it go below what it was promised; nobody has got a page beyond a max; and
 * promises add up.  And whoever is to give pages next is who the model says, from what can be seen
 * from outside.
 *
 *   test_group_sim [steps [seed]]
 */
#include <errno.h>
#include <string.h>

#include "base/arena.h"
#include "epc/epc_priv.h"
#include "epc/policy.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"
#include "sim/step.h"

enum { GROUPS = 10, OWNERS = 12, PAGES_MAX = 60 };

struct sim {
	struct fake_machine m;
	struct epc_group *g[GROUPS]; /* the first is the root; NULL: not there */
	struct fake_owner *o[OWNERS];
	struct epc_group *of[OWNERS];
	uint64_t rng;
	uint32_t epc_pages, next_id;
	uint32_t before[GROUPS];
	unsigned int uses, oom, busy, sets, refused, chosen, protected;
};

static uint32_t rnd(struct sim *sim, uint32_t below) { return draw(&sim->rng, below); }

static bool is_in(struct epc_group *group, const struct epc_group *above)
{
	while (group && group != above)
		group = info_of(group).parent;
	return group;
}

/* As the owners tell. */
static uint32_t pages_of(struct sim *sim, const struct epc_group *group, bool below)
{
	uint32_t nr = 0;

	for (unsigned int i = 0; i < OWNERS; i++) {
		if (sim->o[i] && (below ? is_in(sim->of[i], group) : sim->of[i] == group))
			nr += fake_resident(sim->o[i]);
	}
	return nr;
}

/* ---- the model of who gives ------------------------------------------------------------------ */

/* Among @group's own pages and the groups below it, as group.h tells it; nobody is in any batch. */
static struct epc_group *model_giver(struct sim *sim, struct epc_group *group, bool *over_high)
{
	struct epc_group *best = pages_of(sim, group, false) ? group : NULL, *giver;
	double most = pages_of(sim, group, false) / (double)EPC_GROUP_WEIGHT, has;
	bool best_high = false, high;
	struct epc_group_info info;

	for (unsigned int i = 1; i < GROUPS; i++) {
		if (!sim->g[i])
			continue;
		info = info_of(sim->g[i]);
		if (info.parent != group || pages_of(sim, sim->g[i], true) <= info.limits.min_pages)
			continue;
		giver = model_giver(sim, sim->g[i], &high);
		if (!giver)
			continue;
		has = pages_of(sim, sim->g[i], true);
		high |= has > info.limits.high_pages;
		has /= info.limits.weight;
		if (!best || high > best_high || (high == best_high && has > most)) {
			best = giver;
			most = has;
			best_high = high;
		}
	}
	*over_high = best_high;
	return best;
}

/* What @group has, and the weight, at the level where it and @other part. */
static void standing(struct sim *sim, struct epc_group *group, struct epc_group *other,
		     uint64_t *ret_has, uint64_t *ret_weight)
{
	if (is_in(other, group)) {
		*ret_has = pages_of(sim, group, false);
		*ret_weight = EPC_GROUP_WEIGHT;
		return;
	}
	while (!is_in(other, info_of(group).parent))
		group = info_of(group).parent;
	*ret_has = pages_of(sim, group, true);
	*ret_weight = info_of(group).limits.weight;
}

/* Of two that have as much for their weight either may give. */
static bool model_agrees(struct sim *sim, struct epc_group *top, struct epc_group *chosen)
{
	uint64_t has[2], weight[2];
	struct epc_group *giver;
	bool high;

	giver = model_giver(sim, top, &high);
	if (giver == chosen || !giver || !chosen)
		return giver == chosen;
	standing(sim, giver, chosen, &has[0], &weight[0]);
	standing(sim, chosen, giver, &has[1], &weight[1]);
	return has[0] * weight[1] == has[1] * weight[0];
}

static void print_tree(struct sim *sim, struct epc_group *top, struct epc_group *chosen)
{
	bool high;

	printf("# from %s: chosen %s, should be %s\n", info_of(top).name,
	       chosen ? info_of(chosen).name : "none",
	       model_giver(sim, top, &high) ? info_of(model_giver(sim, top, &high)).name : "none");
	for (unsigned int i = 0; i < GROUPS; i++) {
		struct epc_group_info info;

		if (!sim->g[i])
			continue;
		info = info_of(sim->g[i]);
		printf("# %s in %s: has %u, of its own %u, min %u high %u max %u weight %u\n",
		       info.name, info.parent ? info_of(info.parent).name : "-", info.current_pages,
		       pages_of(sim, sim->g[i], false), info.limits.min_pages,
		       info.limits.high_pages, info.limits.max_pages, info.limits.weight);
	}
}

/* ---- steps ----------------------------------------------------------------------------------- */

static struct epc_group_limits draw_limits(struct sim *sim)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;

	if (rnd(sim, 3) == 0)
		limits.max_pages = rnd(sim, rnd(sim, 3) ? sim->epc_pages : 4);
	if (rnd(sim, 3) == 0)
		limits.high_pages = rnd(sim, sim->epc_pages);
	if (rnd(sim, 2) == 0)
		limits.min_pages = rnd(sim, sim->epc_pages / 3);
	if (rnd(sim, 2) == 0)
		limits.weight = 1 + rnd(sim, 400);
	return limits;
}

static struct epc_group *draw_group(struct sim *sim)
{
	struct epc_group *group = sim->g[rnd(sim, GROUPS)];

	return group ? group : sim->g[0];
}

static bool step_group(struct sim *sim, unsigned int step)
{
	unsigned int i = 1 + rnd(sim, GROUPS - 1);
	struct epc_group_limits limits = draw_limits(sim);
	struct epc_group *group = sim->g[i];
	char name[16];
	int r;

	if (!group) {
		snprintf(name, sizeof(name), "g%u", ++sim->next_id);
		r = epc_group_create(draw_group(sim), name, &limits, &group);
		MUST(r == 0 || r == -ENOSPC || r == -EINVAL);
		if (r == 0)
			sim->g[i] = group;
	} else if (rnd(sim, 4) == 0) {
		bool used = info_of(group).owner_nr > 0;

		for (unsigned int j = 0; j < GROUPS; j++)
			used |= sim->g[j] && info_of(sim->g[j]).parent == group;
		r = epc_group_destroy(group);
		MUST(r == (used ? -EBUSY : 0));
		if (r == 0)
			sim->g[i] = NULL;
		r = 0;
	} else {
		r = epc_group_set(group, &limits);
		MUST(r == 0 || r == -ENOSPC || r == -EINVAL);
	}
	sim->sets += r == 0;
	sim->refused += r != 0;
	return true;
}

static bool step_owner(struct sim *sim, unsigned int step, unsigned int i)
{
	if (sim->o[i]) {
		fake_owner_put(sim->o[i]);
		MUST(sim->o[i]->freed && sim->o[i]->wrong == 0);
		sim->o[i] = NULL;
		return true;
	}
	sim->of[i] = draw_group(sim);
	sim->o[i] = fake_owner_create_in(sim->of[i], sim->m.epc, ++sim->next_id,
					 5 + rnd(sim, PAGES_MAX - 5), rnd(sim, 4) != 0);
	MUST(sim->o[i]);
	return true;
}

/* Who of those it belongs to is at a limit before it takes a page. */
static struct epc_group *at_max(struct epc_group *group)
{
	for (; group; group = info_of(group).parent) {
		if (info_of(group).current_pages >= info_of(group).limits.max_pages)
			return group;
	}
	return NULL;
}

static bool step_use(struct sim *sim, unsigned int step, unsigned int i)
{
	uint32_t page = rnd(sim, sim->o[i]->page_nr);
	bool resident = sim->o[i]->page[page].epc_page, reclaim = rnd(sim, 8) != 0;
	struct epc_group *full = at_max(sim->of[i]);
	int r = fake_use(sim->o[i], page, reclaim ? EPC_MAY_RECLAIM : 0);

	sim->uses++;
	sim->oom += r == -ENOMEM;
	sim->busy += r == -EBUSY;
	MUST(r == 0 || (!resident && r == (reclaim ? -ENOMEM : -EBUSY)));
	/* Not without a reason: there is always somebody who can give. */
	if (r == -ENOMEM)
		MUST(full);
	if (r == 0 && !resident)
		MUST(!at_max(sim->of[i]) || info_of(at_max(sim->of[i])).current_pages ==
						    info_of(at_max(sim->of[i])).limits.max_pages);
	for (unsigned int g = 1; g < GROUPS; g++) {
		uint32_t min, now;

		if (!sim->g[g] || is_in(sim->of[i], sim->g[g]))
			continue;
		min = info_of(sim->g[g]).limits.min_pages;
		now = info_of(sim->g[g]).current_pages;
		MUST(now >= (sim->before[g] < min ? sim->before[g] : min));
		sim->protected += min > 0 && now <= min && now > 0;
	}
	return true;
}

static bool step_choose(struct sim *sim, unsigned int step)
{
	struct group_set none = { 0 };
	struct epc_group *top = draw_group(sim), *chosen;
	uint32_t quota = 0;

	order_lock(sim->m.epc);
	chosen = group_choose_locked(top, &none, &quota);
	order_unlock(sim->m.epc);
	if (!model_agrees(sim, top, chosen))
		print_tree(sim, top, chosen);
	MUST(model_agrees(sim, top, chosen));
	MUST(!chosen || quota > 0);
	sim->chosen++;
	return true;
}

static bool check(struct sim *sim, unsigned int step)
{
	uint64_t promised;
	char why[200];

	for (unsigned int g = 0; g < GROUPS; g++) {
		if (!sim->g[g])
			continue;
		sim->before[g] = info_of(sim->g[g]).current_pages;
		MUST(sim->before[g] == pages_of(sim, sim->g[g], true));
		promised = 0;
		for (unsigned int c = 1; c < GROUPS; c++) {
			if (sim->g[c] && info_of(sim->g[c]).parent == sim->g[g])
				promised += info_of(sim->g[c]).limits.min_pages;
		}
		MUST(promised <= (g ? info_of(sim->g[g]).limits.min_pages : sim->epc_pages));
		MUST(g == 0 || info_of(sim->g[g]).peak_pages >= sim->before[g]);
	}
	if (epc_audit(sim->m.epc, false, why, sizeof(why)) > 0) {
		printf("# step %u: %s\n", step, why);
		return false;
	}
	return true;
}

static bool step_one(struct sim *sim, unsigned int step)
{
	unsigned int i = rnd(sim, OWNERS), what = rnd(sim, 1000);

	if (what < 10)
		return step_group(sim, step);
	if (!sim->o[i] || what < 14)
		return step_owner(sim, step, i);
	if (what < 60)
		return step_choose(sim, step);
	if (what < 70)
		(void)epc_reclaim(sim->m.epc);
	else
		return step_use(sim, step, i);
	return true;
}

static bool simulate(uint64_t seed, unsigned int steps, unsigned int *oom)
{
	static const uint32_t sizes[] = { 32, 48, 64, 100 };
	struct sim sim = { .rng = seed * 2654435761u + 1 };
	unsigned int policies = 0, step;
	bool ok = true;

	while (policy_at(policies))
		policies++;
	sim.epc_pages = sizes[rnd(&sim, 4)];
	TAP_MUST(fake_machine_create(&sim.m, sim.epc_pages,
				     policy_at((unsigned int)(seed % policies))->name, NULL,
				     0) == 0,
		 "seed %lu: %u pages", (unsigned long)seed, sim.epc_pages);
	sim.g[0] = epc_group_root(sim.m.epc);
	for (step = 0; step < steps && ok; step++)
		ok = step_one(&sim, step) && check(&sim, step);
	TAP_CHECK(ok, "seed %lu: %u steps", (unsigned long)seed, step);
	printf("# uses %u oom %u busy %u sets %u refused %u chosen %u protected %u\n", sim.uses,
	       sim.oom, sim.busy, sim.sets, sim.refused, sim.chosen, sim.protected);
	*oom += sim.oom;
	TAP_CHECK(!ok || (sim.busy > 0 && sim.refused > 0 && sim.protected > 0),
		  "seed %lu: it was a real exercise", (unsigned long)seed);
	fake_machine_destroy(&sim.m);
	return ok;
}

int main(int argc, char **argv)
{
	unsigned int steps = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 0) : 60000;
	uint64_t seed = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;
	unsigned int runs = argc > 2 ? 1 : 6, oom = 0, i;

	for (i = 0; i < runs; i++) {
		if (!simulate(seed + i, steps / runs, &oom))
			break;
	}
	TAP_CHECK(oom > 0, "%u times a max left nothing to give", oom);
	return tap_done();
}
