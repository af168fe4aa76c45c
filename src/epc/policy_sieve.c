/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SIEVE (Zhang et al., NSDI 2024): one queue that is never reordered.  A hand goes over it from the oldest page to
 * the newest, spares those that were used since it came by, and takes the first that was not; then it goes on from
 * there.  So pages that are used stay where they are, and new ones must prove themselves at once.
 *
 * Where all pages of a large EPC have been used the hand does not go over all of them for one victim.
 */
#include "base/arena.h"
#include "epc/pagelist.h"
#include "epc/policy.h"
#include "epc/policy_sample.h"

struct sieve {
	const struct policy_view *view;
	struct pagelist queue;
	uint32_t hand;   /* the next page to look at; PAGE_NONE: the oldest */
	uint32_t spared; /* since the last victim */
};

static void *sieve_create(struct arena *arena, const struct policy_view *view)
{
	struct sieve *sieve = arena_alloc(arena, sizeof(*sieve));

	if (!sieve)
		return NULL;
	sieve->view = view;
	pagelist_init(&sieve->queue);
	sieve->hand = PAGE_NONE;
	return sieve;
}

static void sieve_destroy(void *p, struct arena *arena)
{
	arena_free(arena, p, sizeof(struct sieve));
}

static void sieve_insert(void *p, uint32_t nr)
{
	struct sieve *sieve = p;

	sample_set(sieve->view, nr, false);
	sample_arm_new(sieve->view, nr);
	pagelist_add_tail(sieve->view->pages, &sieve->queue, nr);
}

static void sieve_remove(void *p, uint32_t nr)
{
	struct sieve *sieve = p;

	if (sieve->hand == nr)
		sieve->hand = page_next(sieve->view->pages, nr);
	pagelist_del(sieve->view->pages, &sieve->queue, nr);
}

static uint32_t sieve_pick(void *p, unsigned int *ret_looked)
{
	struct sieve *sieve = p;
	uint32_t nr;

	*ret_looked = 0;
	while (*ret_looked < POLICY_LOOK_MAX && sieve->queue.nr > 0) {
		nr = sieve->hand == PAGE_NONE ? sieve->queue.first : sieve->hand;
		++*ret_looked;
		sieve->hand = page_next(sieve->view->pages, nr);
		if (sample_test_and_arm(sieve->view, nr) && sieve->spared < POLICY_SPARED_MAX) {
			sieve->spared++;
			continue;
		}
		sieve->spared = 0;
		sieve_remove(sieve, nr);
		return nr;
	}
	return PAGE_NONE;
}

/*
 * The hand has just passed it, and comes by all others before it comes here again.  At the tail, before the hand, a few pages
 * that cannot go would be all that it ever meets.
 */
static void sieve_put_back(void *p, uint32_t nr, enum policy_return why)
{
	struct sieve *sieve = p;

	if (sieve->hand == PAGE_NONE)
		pagelist_add_tail(sieve->view->pages, &sieve->queue, nr);
	else
		pagelist_add_before(sieve->view->pages, &sieve->queue, nr, sieve->hand);
}

static void sieve_evicted(void *p, uint32_t nr) {}

static void sieve_reset(void *p)
{
	struct sieve *sieve = p;

	pagelist_init(&sieve->queue);
	sieve->hand = PAGE_NONE;
	sieve->spared = 0;
}

static uint32_t sieve_nr(const void *p)
{
	const struct sieve *sieve = p;

	return sieve->queue.nr;
}

static bool sieve_check(const void *p)
{
	const struct sieve *sieve = p;

	return pagelist_check(sieve->view->pages, &sieve->queue);
}

const struct epc_policy policy_sieve = {
	.name = "sieve",
	.in_rounds = true,
	.create = sieve_create,
	.destroy = sieve_destroy,
	.insert = sieve_insert,
	.remove = sieve_remove,
	.pick = sieve_pick,
	.put_back = sieve_put_back,
	.evicted = sieve_evicted,
	.reset = sieve_reset,
	.nr = sieve_nr,
	.check = sieve_check,
};
