/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Ghosts, and what a page is known by: numbers alone, so that what policies choose by hashes is the same in every run,
 * wherever things are in memory.
 */
#include "epc/policy_ghost.h"

#include "base/arena.h"
#include "epc/epc_priv.h"
#include "epc/owner.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { PAGES = 64, KEYS = 4096 };

static void test_ghosts(void)
{
	struct ghosts *ghosts = ghosts_create(1000);
	unsigned int i, found = 0;
	uint8_t stamp;

	TAP_CHECK(!ghost_take(ghosts, 42ull << 40 | 7, &stamp), "no ghost yet");
	ghost_put(ghosts, 42ull << 40 | 7, 200);
	TAP_CHECK(ghost_take(ghosts, 42ull << 40 | 7, &stamp) && stamp == 200, "a ghost");
	TAP_CHECK(!ghost_take(ghosts, 42ull << 40 | 7, &stamp), "and only once");
	for (i = 0; i < 20; i++)
		ghost_put(ghosts, 1ull << 63 | (uint64_t)i << 1, (uint8_t)i);
	for (i = 0; i < 20; i++)
		found += ghost_take(ghosts, 1ull << 63 | (uint64_t)i << 1, &stamp) && i >= 10;
	TAP_CHECK(found == 10, "a set keeps the newest 10");
	ghosts_destroy(ghosts);
}

/* ---- keys --------------------------------------------------------------------------------------- */

/* An EPC with a page of it, whose owner and cookie are changed. */
struct keys {
	struct fake_machine m;
	struct epc_page *page;
};

/* @odd: more of its arena is taken before anybody comes. */
static void keys_open(struct keys *k, size_t odd)
{
	TAP_MUST(fake_machine_create(&k->m, PAGES, NULL, NULL, 0) == 0, "a manager");
	TAP_MUST(!odd || arena_alloc(k->m.arena, odd), "memory");
	k->page = &k->m.epc->pages[0];
}

static struct fake_owner *owner_new(const struct keys *k)
{
	struct fake_owner *owner = fake_owner_create(k->m.epc, 1, PAGES, false);

	TAP_MUST(owner, "an owner");
	return owner;
}

static uint64_t key_of(const struct keys *k, const struct fake_owner *owner, uint64_t cookie)
{
	page_set_owner(k->page, owner->epc_owner);
	page_set_cookie(k->page, cookie);
	return ghost_key(&k->m.epc->view, 0);
}

static void keys_close(struct keys *k)
{
	page_set_owner(k->page, NULL);
	fake_machine_destroy(&k->m);
}

/* Pages of one in two that are in one sample and not in the other. */
static unsigned int differ(const struct keys *k, const struct fake_owner *a,
			   const struct fake_owner *b)
{
	unsigned int nr = 0;
	uint64_t cookie;

	for (cookie = 0; cookie < KEYS; cookie++)
		nr += (key_of(k, a, cookie) ^ key_of(k, b, cookie)) & 1;
	return nr;
}

static void test_keys(void)
{
	struct fake_owner *first, *second, *third, *elsewhere;
	struct keys a, b;
	uint64_t cookie;
	bool same = true;
	unsigned int nr;

	keys_open(&a, 0);
	keys_open(&b, 1234567);
	first = owner_new(&a);
	elsewhere = owner_new(&b);
	for (cookie = 0; cookie < KEYS; cookie++)
		same = same && key_of(&a, first, cookie) == key_of(&b, elsewhere, cookie);
	TAP_CHECK(same, "a page's key is the same wherever its owner is in memory");
	second = owner_new(&a);
	nr = differ(&a, first, second);
	TAP_CHECK(nr > KEYS * 2 / 5 && nr < KEYS * 3 / 5,
		  "the next owner's pages are in other samples: %u of %u", nr, KEYS);
	/* Its memory is free, and the next one's is likely there; its ghosts may still be known. */
	epc_owner_destroy(second->epc_owner);
	third = owner_new(&a);
	nr = differ(&a, first, third);
	TAP_CHECK(nr > KEYS * 2 / 5 && nr < KEYS * 3 / 5 &&
			  third->epc_owner->number == first->epc_owner->number + 2,
		  "and no number is given twice");
	keys_close(&a);
	keys_close(&b);
}

int main(void)
{
	test_ghosts();
	test_keys();
	return tap_done();
}
