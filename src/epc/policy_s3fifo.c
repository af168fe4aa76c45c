/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * S3-FIFO (Yang et al., SOSP 2023): two queues and the memory of what left the first one.
 *
 * New pages go to the small queue, a tenth of all.  What was used by the time it comes to the front there goes to
 * the main queue; the rest is evicted and remembered, and goes to the main queue at once should it come
 * back soon.  The main queue is a CLOCK.  The paper counts uses up to three; what can be seen here is one bit.
 *
 * Where all pages of a large EPC have been used no queue is walked whole for one victim.
 */
#include "base/arena.h"
#include "epc/pagelist.h"
#include "epc/policy.h"
#include "epc/policy_ghost.h"
#include "epc/policy_sample.h"

enum { SMALL, MAIN, QUEUE_NR, ANY = QUEUE_NR };
enum { SMALL_PART = 10 };

struct s3fifo {
	const struct policy_view *view;
	struct pagelist queue[QUEUE_NR];
	unsigned int from; /* where a victim is being looked for; ANY: it is to be decided */
	uint32_t spared;   /* since the last victim */
};

static void *s3fifo_create(struct arena *arena, const struct policy_view *view)
{
	struct s3fifo *s3 = arena_alloc(arena, sizeof(*s3));

	if (!s3)
		return NULL;
	s3->view = view;
	pagelist_init(&s3->queue[SMALL]);
	pagelist_init(&s3->queue[MAIN]);
	s3->from = ANY;
	return s3;
}

static void s3fifo_destroy(void *p, struct arena *arena)
{
	arena_free(arena, p, sizeof(struct s3fifo));
}

static void add_tail(struct s3fifo *s3, uint32_t nr, unsigned int queue)
{
	sample_set_list(s3->view, nr, queue);
	pagelist_add_tail(s3->view->pages, &s3->queue[queue], nr);
}

static void s3fifo_insert(void *p, uint32_t nr)
{
	struct s3fifo *s3 = p;
	uint8_t unused;
	bool ghost = ghost_take(s3->view->ghosts, ghost_key(s3->view, nr), &unused);

	sample_set(s3->view, nr, false);
	sample_arm_new(s3->view, nr);
	add_tail(s3, nr, ghost ? MAIN : SMALL);
}

static void s3fifo_remove(void *p, uint32_t nr)
{
	struct s3fifo *s3 = p;

	pagelist_del(s3->view->pages, &s3->queue[sample_list(s3->view, nr)], nr);
}

static uint32_t s3fifo_pick(void *p, unsigned int *ret_looked)
{
	struct s3fifo *s3 = p;
	uint32_t small, nr;

	*ret_looked = 0;
	while (*ret_looked < POLICY_LOOK_MAX) {
		small = s3->queue[SMALL].nr;
		if (small + s3->queue[MAIN].nr == 0)
			break;
		/* Once begun, all of the small queue is looked at, until one goes. */
		if (s3->from == ANY || s3->queue[s3->from].nr == 0)
			s3->from = small * (SMALL_PART - 1) >= s3->queue[MAIN].nr ? SMALL : MAIN;
		++*ret_looked;
		nr = s3->queue[s3->from].first;
		s3fifo_remove(s3, nr);
		if (!sample_test_and_arm(s3->view, nr) || s3->spared == POLICY_SPARED_MAX) {
			s3->spared = 0;
			s3->from = ANY;
			return nr;
		}
		s3->spared++;
		add_tail(s3, nr, MAIN);
	}
	return PAGE_NONE;
}

/* To the other queue: if many pages cannot go, victims are looked for in both. */
static void s3fifo_put_back(void *p, uint32_t nr, enum policy_return why)
{
	struct s3fifo *s3 = p;

	add_tail(s3, nr, !sample_list(s3->view, nr));
}

static void s3fifo_evicted(void *p, uint32_t nr)
{
	struct s3fifo *s3 = p;

	if (sample_list(s3->view, nr) == SMALL)
		ghost_put(s3->view->ghosts, ghost_key(s3->view, nr), 0);
}

static void s3fifo_reset(void *p)
{
	struct s3fifo *s3 = p;

	pagelist_init(&s3->queue[SMALL]);
	pagelist_init(&s3->queue[MAIN]);
	s3->from = ANY;
	s3->spared = 0;
}

static uint32_t s3fifo_nr(const void *p)
{
	const struct s3fifo *s3 = p;

	return s3->queue[SMALL].nr + s3->queue[MAIN].nr;
}

static bool s3fifo_check(const void *p)
{
	const struct s3fifo *s3 = p;

	return pagelist_check(s3->view->pages, &s3->queue[SMALL]) &&
	       pagelist_check(s3->view->pages, &s3->queue[MAIN]);
}

const struct epc_policy policy_s3fifo = {
	.name = "s3fifo",
	.create = s3fifo_create,
	.destroy = s3fifo_destroy,
	.insert = s3fifo_insert,
	.remove = s3fifo_remove,
	.pick = s3fifo_pick,
	.put_back = s3fifo_put_back,
	.evicted = s3fifo_evicted,
	.reset = s3fifo_reset,
	.nr = s3fifo_nr,
	.check = s3fifo_check,
};
