/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* CLOCK-Pro by itself: how far its hands go for one victim. What it finds is in test_policy.c. */
#include "epc/epc.h"
#include "epc/pagelist.h"
#include "epc/policy.h"
#include "lib/policy_cache.h"
#include "lib/tap.h"

enum { FRAMES = 512, PAGES = 4096, ROUNDS = 300, NEW = 64 };

/* One look for a victim, whose frame is free then. */
static bool pick(struct policy_cache *c, unsigned int *ret_looked)
{
	uint32_t nr = c->config.policy->pick(c->state, ret_looked);

	if (nr == PAGE_NONE)
		return false;
	c->at[epc_page_cookie(&c->page[nr])] = PAGE_NONE;
	c->config.policy->evicted(c->state, nr);
	c->free[c->free_nr++] = nr;
	return true;
}

/*
 * Uses in tests make the hot ones more than they are to be, and each is used again before the hand
 * comes by: one that is not used is among the cold ones, and a look for it may not spend itself
 * upon the others.
 */
static void test_hot_ones_used(void)
{
	unsigned int looked, most = 0, vain = 0, hot_went = 0;
	uint32_t i, page = FRAMES, round;
	static struct policy_cache c;

	policy_cache_open(&c, &(struct policy_cache_config){ .policy = &policy_clockpro,
							     .frames = FRAMES,
							     .pages = PAGES,
							     .exact = true });
	for (i = 0; i < 2 * FRAMES; i++)
		policy_cache_use(&c, i % FRAMES);
	/* These come when the EPC is full: they are cold. */
	for (; page < FRAMES + NEW; page++)
		policy_cache_use(&c, page);
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < FRAMES; i++) {
			if (policy_cache_has(&c, i))
				policy_cache_use(&c, i);
		}
		/* It is in its test: there should be one more like it. */
		policy_cache_use(&c, page - 1);
		policy_cache_tell(&c);
		if (!pick(&c, &looked))
			vain++;
		most = looked > most ? looked : most;
		if (c.free_nr > 0)
			policy_cache_use(&c, page++);
	}
	for (i = 0; i < FRAMES; i++)
		hot_went += !policy_cache_has(&c, i);
	TAP_CHECK(
		vain == 0 && most < POLICY_LOOK_MAX,
		"%u looks for a victim while all hot pages are used: %u in vain, %u pages at most",
		ROUNDS, vain, most);
	TAP_CHECK(hot_went <= 2 * NEW, "and those stay: %u of %u went", hot_went, FRAMES);
	TAP_CHECK(policy_cache_close(&c), "no memory is left over");
}

int main(void)
{
	test_hot_ones_used();
	return tap_done();
}
