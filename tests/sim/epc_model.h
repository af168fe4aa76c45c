/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The manager beside a model that is obvious, and one step at a time.
 *
 * The model knows for each page of each owner how often it was used and whether it exists, which frames are broken, how
 * often and for how long each owner stood still.  What is free, and who could give a page, it works out from what owners
 * have; it asks the manager nothing before it judges what that said.  Which pages are in the EPC the manager chooses.
 *
 * Time is faked: operations of owners take some, so does sleep, and nothing else.
 */
#ifndef SWSGX_TESTS_EPC_MODEL_H
#define SWSGX_TESTS_EPC_MODEL_H

#include "epc/backing.h"
#include "lib/fake_owner.h"
#include "sim/step.h"

enum { OWNERS = 6, PAGES_MAX = 80, EPC_PAGES_MAX = 200, STORE_CAP = 60 };

struct model_owner {
	struct fake_owner *owner; /* NULL: not there */
	uint64_t uses[PAGES_MAX];
	bool exists[PAGES_MAX];
	bool pinned[PAGES_MAX];
	uint64_t stalls, stall_ns;
};

/* Frames and pages as owners have them. */
struct model_view {
	uint32_t resident;    /* frames that owners have */
	uint32_t free;        /* nobody's, and not broken */
	uint32_t candidates;  /* with owners that live, not pinned, not broken */
	uint32_t broken_kept; /* broken, and not pinned either */
	uint32_t broken_idle; /* broken, and nobody's */
	uint32_t evicted;
	uint32_t wrong; /* owners do not have what they must */
};

struct sim {
	struct fake_machine m;
	struct model_owner o[OWNERS];
	uint64_t rng, clock_ns;
	uint32_t epc_pages, next_id;
	uint32_t pinned_nr, pinned_max;
	bool failing; /* something is set to fail, again and again */
	bool refused; /* storage refused something in this step */
	bool capped;  /* the store may be full */
	bool file;    /* it has a file */
	bool broken[EPC_PAGES_MAX];
	uint32_t broken_nr, broken_max;
	uint64_t stalls, stall_ns;
	/* Called when an owner's operation is; may be NULL. */
	void (*on_op)(struct sim *sim, struct fake_owner *owner, enum fake_op op);
	unsigned int checks, lost, read_errors;
	unsigned int enomem, ebusy, uses, removes, births, deaths;
};

uint32_t sim_rnd(struct sim *sim, uint32_t below);
/* An EPC of @pages in so many sections, in shards, over memory or a file. From now on hooks know of this simulation. */
int sim_create(struct sim *sim, const char *policy, uint32_t pages, unsigned int sections,
	       unsigned int shards);
void sim_destroy(struct sim *sim);
/* The thread is on this node from now on. */
void sim_move(unsigned int node);
/* A machine check in frame @nr, unless there were enough. */
void sim_break(struct sim *sim, uint32_t nr);
/* Whose owner it is. */
struct model_owner *sim_model_of(struct sim *sim, const struct fake_owner *owner);

/* Each does one thing, and is false when the outcome is not what the model says. */
bool sim_use(struct sim *sim, unsigned int step, struct model_owner *mo, uint32_t i);
bool sim_remove(struct sim *sim, unsigned int step, struct model_owner *mo, uint32_t i);
/* Pages that their owner keeps: OWNED, not offered to the reclaimer. And back. */
bool sim_pin(struct sim *sim, unsigned int step, struct model_owner *mo, uint32_t i);
void sim_unpin_all(struct sim *sim, struct model_owner *mo);
/* Birth or death. */
bool sim_life(struct sim *sim, unsigned int step, struct model_owner *mo);
/* The owner died in a batch, or will now: false when it is not gone. */
bool sim_buried(struct sim *sim, unsigned int step, struct model_owner *mo);

/* All that must hold between steps; @closely: of each owner as well. */
bool sim_check(struct sim *sim, unsigned int step, bool closely);

#endif
