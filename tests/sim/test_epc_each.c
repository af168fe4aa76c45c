/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Failures at every call of every operation, one by one.
 *
 * A script of steps runs once to count the calls of each operation of owners and of storage.  Then it runs once more for
 * each of these calls and each thing that can happen there: the call fails, its owner dies, its page breaks.  Each
 * step is compared with the model (epc_model.h).  One failure is no excuse: as long as somebody has a page to give, the
 * allocation gets one.
 *
 * What a step draws depends on its number alone, so that what follows a failure is the same script.
 *
 *   test_epc_each [steps [seed]]
 */
#include <errno.h>

#include "epc/policy.h"
#include "lib/tap.h"
#include "sim/epc_model.h"

enum { PAGES = 8 };
enum { CALLS_NR = FAKE_CALL_NR + BACKING_CALL_NR };
enum what { NOTHING, FAILS, DIES, BREAKS, WHAT_NR };

static const char *const call_names[CALLS_NR] = { "get",  "reclaim", "block",  "write", "put",
						  "slot", "room",    "fwrite", "fread" };
static const char *const what_names[WHAT_NR] = { "", "fails", "the owner dies", "the page breaks" };

/* What is to happen where, and how it went. */
struct trial {
	enum what what;
	unsigned int call;
	uint32_t nth; /* from 1 on */
	bool done;
	uint32_t count[CALLS_NR];
	struct fake_owner *failing; /* until the next call */
	struct fake_owner *dying;
	bool unput; /* and its reference is still to be dropped */
};

struct script {
	uint64_t seed;
	unsigned int steps;
	const char *policy;
	bool file;
};

static struct sim sim;
static struct trial trial;

static bool is_now(unsigned int call)
{
	uint32_t n = ++trial.count[call];

	if (trial.what == NOTHING || trial.call != call || trial.nth != n)
		return false;
	trial.done = true;
	return true;
}

static void fail_no_more(void)
{
	if (trial.failing)
		atomic_store(&trial.failing->fail_every[trial.call], 0);
	trial.failing = NULL;
}

/* Whoever has a reference on it, the batch or the user of a page, drops the last one. */
static void die(struct fake_owner *owner, enum fake_op op)
{
	sim_unpin_all(&sim, sim_model_of(&sim, owner));
	trial.dying = owner;
	owner->dying = true;
	/* Nobody has one yet: it cannot be had any more, and what is left of it goes when the batch is over. */
	trial.unput = op == FAKE_GET;
	if (trial.unput)
		atomic_store(&owner->fail_every[FAKE_GET], 1);
	else
		fake_owner_put(owner);
}

static void on_op(struct sim *s, struct fake_owner *owner, enum fake_op op)
{
	fail_no_more();
	if (!is_now(op))
		return;
	if (trial.what == DIES) {
		die(owner, op);
	} else if (trial.what == BREAKS) {
		sim_break(s, epc_page_nr(s->m.epc, atomic_load(&owner->called_for)));
	} else {
		trial.failing = owner;
		atomic_store(&owner->fail_every[op], 1);
	}
}

static int on_storage(enum backing_call call)
{
	if (!is_now(FAKE_CALL_NR + call))
		return 0;
	sim.refused = true;
	return call == BACKING_WRITE || call == BACKING_READ ? -EIO : -ENOSPC;
}

static bool possible(unsigned int call, enum what what)
{
	if (call >= FAKE_CALL_NR)
		return what == FAILS;
	/* There is nothing that put could say, and the page may be anybody's. */
	return call != FAKE_PUT || what == DIES;
}

/* The next one that is in the EPC and may leave it, or @i. */
static uint32_t loose_from(const struct model_owner *mo, uint32_t i)
{
	uint32_t n, nr = mo->owner->page_nr;

	for (n = 0; n < nr; n++) {
		if (mo->owner->page[(i + n) % nr].epc_page && !mo->pinned[(i + n) % nr])
			break;
	}
	return (i + n) % nr;
}

static bool step_do(unsigned int step)
{
	struct model_owner *mo = &sim.o[sim_rnd(&sim, OWNERS)];
	uint32_t what = sim_rnd(&sim, 100), i;

	sim.clock_ns += sim_rnd(&sim, 100000000);
	if (!mo->owner || what < 2)
		return sim_life(&sim, step, mo);
	i = sim_rnd(&sim, 3) ? sim_rnd(&sim, 10) : sim_rnd(&sim, mo->owner->page_nr);
	if (what < 72)
		return sim_use(&sim, step, mo, i);
	if (what < 74)
		return sim_remove(&sim, step, mo, i);
	if (what < 90)
		return sim_pin(&sim, step, mo, loose_from(mo, i));
	if (what < 96)
		(void)epc_reclaim(sim.m.epc);
	else if (what < 98)
		epc_reclaim_direct(sim.m.epc);
	else
		(void)epc_background_once(sim.m.epc);
	return true;
}

static bool bury(unsigned int step)
{
	struct model_owner *mo;

	if (!trial.dying)
		return true;
	mo = sim_model_of(&sim, trial.dying);
	if (trial.unput)
		fake_owner_put(trial.dying);
	trial.dying = NULL;
	return sim_buried(&sim, step, mo);
}

/* Numbers that follow each other begin sequences that have nothing in common. */
static uint64_t mixed(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static bool step_one(const struct script *script, unsigned int step)
{
	bool ok;

	sim.rng = mixed(script->seed * 1000003 + step);
	sim.refused = false;
	ok = step_do(step);
	fail_no_more();
	return ok && bury(step) && sim_check(&sim, step, true);
}

/* With @what at the @nth of these calls; counts are left in the trial. */
static bool run(const struct script *script, enum what what, unsigned int call, uint32_t nth)
{
	unsigned int step, i;
	bool ok = true;

	sim = (struct sim){ .file = script->file, .on_op = on_op };
	trial = (struct trial){ .what = what, .call = call, .nth = nth };
	if (sim_create(&sim, script->policy, PAGES, 2, 1) < 0)
		TAP_MUST(false, "a machine");
	sim.pinned_max = PAGES - 1; /* down to one page that can go, and no choice */
	backing_on_call(epc_backing(sim.m.epc), on_storage);
	for (step = 0; step < script->steps && ok; step++)
		ok = step_one(script, step);
	for (i = 0; i < OWNERS && ok; i++)
		ok = !sim.o[i].owner || sim_life(&sim, step, &sim.o[i]);
	ok = ok && sim_check(&sim, step, true) && trial.done == (what != NOTHING);
	if (!ok)
		printf("# %s, seed %lu, %s%s: call %u of %s: %s\n", script->policy,
		       (unsigned long)script->seed, script->file ? "a file" : "memory",
		       trial.done ? "" : ", it did not come", nth, call_names[call],
		       what_names[what]);
	sim_destroy(&sim);
	return ok;
}

static void each_call(const struct script *script)
{
	uint32_t count[CALLS_NR], nth;
	unsigned int call, runs = 0;
	bool ok = run(script, NOTHING, 0, 0);
	enum what what;

	for (call = 0; call < CALLS_NR; call++)
		count[call] = trial.count[call];
	for (call = 0; call < CALLS_NR && ok; call++) {
		for (what = FAILS; what < WHAT_NR && ok; what++) {
			if (!possible(call, what))
				continue;
			for (nth = 1; nth <= count[call] && ok; nth++, runs++)
				ok = run(script, what, call, nth);
		}
	}
	printf("# %s, %s:", script->policy, script->file ? "a file" : "memory");
	for (call = 0; call < CALLS_NR; call++)
		printf(" %s %u", call_names[call], count[call]);
	printf("; %u runs\n", runs);
	TAP_CHECK(ok, "%s, %s: each call fails once", script->policy,
		  script->file ? "a file" : "memory");
	for (call = 0; call < FAKE_CALL_NR + BACKING_WRITE; call++)
		ok = ok && count[call] > 0;
	TAP_CHECK(ok && (!script->file || count[FAKE_CALL_NR + BACKING_READ] > 0),
		  "%s: there were calls of each", script->policy);
}

int main(int argc, char **argv)
{
	struct script script = {
		.steps = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 0) : 60,
		.seed = argc > 2 ? strtoul(argv[2], NULL, 0) : 1,
	};
	const struct epc_policy *policy;
	unsigned int i;

	for (i = 0; (policy = policy_at(i)); i++) {
		script.policy = policy->name;
		script.file = i % 2;
		each_call(&script);
	}
	return tap_done();
}
