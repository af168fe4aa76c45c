/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * CLOCK and its sibling, Linux's order for SGX: one queue, taken from the front; a page that was used
 * since it was queued goes to the back once more.
 *
 * They differ in how a new page starts.  In Linux the fault that brings a page in leaves its accessed bit set, so every
 * page gets a second chance, used or not.  Here a page has to be used again to earn one, which keeps pages
 * that are used once from pushing out those that are used often.
 *
 * Where all pages of a large EPC have been used the queue is not walked whole for one victim.
 */
#include "base/arena.h"
#include "epc/pagelist.h"
#include "epc/policy.h"
#include "epc/policy_sample.h"

struct clock_state {
	const struct policy_view *view;
	struct pagelist queue;
	uint32_t spared; /* since the last victim */
};

static void *clock_create(struct arena *arena, const struct policy_view *view)
{
	struct clock_state *state = arena_alloc(arena, sizeof(*state));

	if (state) {
		state->view = view;
		pagelist_init(&state->queue);
	}
	return state;
}

static void clock_destroy(void *p, struct arena *arena)
{
	arena_free(arena, p, sizeof(struct clock_state));
}

static void clock_insert(void *p, uint32_t nr)
{
	struct clock_state *state = p;

	sample_set(state->view, nr, false);
	sample_arm_new(state->view, nr);
	pagelist_add_tail(state->view->pages, &state->queue, nr);
}

static void upstream_insert(void *p, uint32_t nr)
{
	struct clock_state *state = p;

	sample_set(state->view, nr, true);
	pagelist_add_tail(state->view->pages, &state->queue, nr);
}

static void clock_remove(void *p, uint32_t nr)
{
	struct clock_state *state = p;

	pagelist_del(state->view->pages, &state->queue, nr);
}

static uint32_t clock_pick(void *p, unsigned int *ret_looked)
{
	struct clock_state *state = p;
	unsigned int looked = 0;
	uint32_t nr = PAGE_NONE;

	while (looked < POLICY_LOOK_MAX) {
		nr = pagelist_pop(state->view->pages, &state->queue);
		if (nr == PAGE_NONE)
			break;
		looked++;
		if (!sample_test_and_arm(state->view, nr) || state->spared == POLICY_SPARED_MAX) {
			state->spared = 0;
			break;
		}
		state->spared++;
		pagelist_add_tail(state->view->pages, &state->queue, nr);
		nr = PAGE_NONE;
	}
	*ret_looked = looked;
	return nr;
}

static void clock_put_back(void *p, uint32_t nr, enum policy_return why)
{
	struct clock_state *state = p;

	pagelist_add_tail(state->view->pages, &state->queue, nr);
}

static void clock_evicted(void *p, uint32_t nr) {}

static void clock_reset(void *p)
{
	struct clock_state *state = p;

	pagelist_init(&state->queue);
	state->spared = 0;
}

static uint32_t clock_nr(const void *p)
{
	const struct clock_state *state = p;

	return state->queue.nr;
}

static bool clock_check(const void *p)
{
	const struct clock_state *state = p;

	return pagelist_check(state->view->pages, &state->queue);
}

const struct epc_policy policy_clock = {
	.name = "clock",
	.in_rounds = true,
	.create = clock_create,
	.destroy = clock_destroy,
	.insert = clock_insert,
	.remove = clock_remove,
	.pick = clock_pick,
	.put_back = clock_put_back,
	.evicted = clock_evicted,
	.reset = clock_reset,
	.nr = clock_nr,
	.check = clock_check,
};

const struct epc_policy policy_upstream = {
	.name = "upstream",
	.in_rounds = true,
	.batch_part = 4, /* its 16 pages from 64 on */
	.create = clock_create,
	.destroy = clock_destroy,
	.insert = upstream_insert,
	.remove = clock_remove,
	.pick = clock_pick,
	.put_back = clock_put_back,
	.evicted = clock_evicted,
	.reset = clock_reset,
	.nr = clock_nr,
	.check = clock_check,
};
