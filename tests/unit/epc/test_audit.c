/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The frame audit can fail: each thing that it says to hold is spoilt once, by hand, and it tells of that and nothing
 * before it.  What all simulations end with would else be a check that no one has checked.
 */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "epc/epc_priv.h"
#include "epc/pagelist.h"
#include "epc/policy.h"
#include "epc/window.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { PAGES = 32, USED = 8, GONE = 3 };

static struct fake_machine m;
static struct epc_group *group;
static struct fake_owner *owner;

/* Pages that are TRACKED, FREE and DIRTY: the first of each. */
static struct epc_page *tracked, *free_, *dirty;

static void begin(void)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	bool ok = true;

	assert(fake_machine_create(&m, PAGES, "clock", NULL, 0) == 0);
	limits.max_pages = PAGES;
	assert(epc_group_create(epc_group_root(m.epc), "g", &limits, &group) == 0);
	owner = fake_owner_create_in(group, m.epc, 1, USED + GONE, true);
	for (uint32_t i = 0; i < USED + GONE; i++)
		ok = ok && fake_use_surely(owner, i);
	tracked = owner->page[0].epc_page;
	free_ = owner->page[USED].epc_page;
	for (uint32_t i = USED; i < USED + GONE; i++)
		ok = ok && fake_remove(owner, i) == 0;
	dirty = epc_page_at(m.epc, PAGES - 1);
	assert(ok && epc_page_state(tracked) == EPC_PAGE_TRACKED &&
	       epc_page_state(free_) == EPC_PAGE_FREE && epc_page_state(dirty) == EPC_PAGE_DIRTY);
}

static void *other_bytes(void) { return window_at(m.epc->window, window_home(m.epc->window, 0)); }

static void spoil_state(void) { tracked->state = EPC_PAGE_STATE_NR; }
static void spoil_never_out(void) { page_set_state(dirty, EPC_PAGE_FREE); }
static void spoil_not_broken(void) { page_set_state(free_, EPC_PAGE_POISONED); }
static void spoil_owner(void) { page_set_owner(free_, owner->epc_owner); }
static void spoil_bytes(void) { cpu_set_bytes(m.cpu, epc_page_nr(m.epc, free_), other_bytes()); }

static void spoil_valid(void)
{
	uint32_t nr = epc_page_nr(m.epc, free_);

	cpu_set_bytes(m.cpu, nr, other_bytes());
	assert(cpu_ok(encls_epa(m.cpu, nr)));
	cpu_set_bytes(m.cpu, nr, NULL);
}

static void spoil_in_batch(void) { page_set_state(tracked, EPC_PAGE_IN_BATCH); }
static void spoil_mark(void) { tracked->flags |= PAGE_POISONED; }
static void spoil_taken(void) { tracked->flags |= PAGE_TAKEN; }
static void spoil_invalid(void) { encls_eremove(m.cpu, epc_page_nr(m.epc, tracked)); }
static void spoil_no_bytes(void) { cpu_set_bytes(m.cpu, epc_page_nr(m.epc, tracked), NULL); }
static void spoil_charge(void) { group->charge[charge_index(m.epc->shard_nr, 0)].nr++; }
static void spoil_allowed(void) { group->charge[charge_index(m.epc->shard_nr, 0)].allowed = 1000; }
static void spoil_list(void) { m.epc->shard[0].free.nr++; }
static void spoil_link(void) { page_set_prev(m.epc->pages, m.epc->shard[0].free.last, PAGE_NONE); }
static void spoil_free(void) { page_set_state(free_, EPC_PAGE_OWNED); }

static void spoil_poisoned(void)
{
	dirty->flags |= PAGE_POISONED;
	page_set_state(dirty, EPC_PAGE_POISONED);
}

static void spoil_dirty(void) { m.epc->shard[0].poisoned_ahead++; }
static void spoil_avail(void) { m.epc->shard[0].avail--; }
static void spoil_with_free(void) { m.epc->with_free = 0; }
static void spoil_order(void)
{
	page_set_next(m.epc->pages, page_index(m.epc, tracked), PAGE_NONE);
}
static void spoil_tracked(void) { page_set_state(tracked, EPC_PAGE_OWNED); }
static void spoil_kept(void) { group->kept_nr++; }
static void spoil_batch_group(void) { group->in_batch_nr++; }

static void spoil_batch_both(void)
{
	group->in_batch_nr++;
	m.epc->in_batch_nr++;
}

static const struct row {
	const char *what;
	void (*spoil)(void);
	const char *why;
	bool live; /* it is told at any moment */
} rows[] = {
	{ "a state that there is not", spoil_state, "no such state", true },
	{ "a page out that nobody was given", spoil_never_out, "was never handed out", true },
	{ "poisoned without a mark", spoil_not_broken, "there was no machine check", true },
	{ "a free page with an owner", spoil_owner, "is nobody's but has an owner", true },
	{ "a free page with bytes", spoil_bytes, "is free but has bytes", true },
	{ "a free page that is valid", spoil_valid, "is free but valid in the EPCM", true },
	{ "a batch that nobody runs", spoil_in_batch, "is in a batch that nobody runs", false },
	{ "a batch that nobody counts", spoil_in_batch, "pages are tracked,", true },
	{ "a mark on a page in use", spoil_mark, "is broken, and in state", false },
	{ "a page on a stage", spoil_taken, "was taken and not put back", false },
	{ "a page in use, not valid", spoil_invalid, "is tracked but not valid", false },
	{ "a page in use, without bytes", spoil_no_bytes, "is in use but has no bytes", false },
	{ "a charge for nothing", spoil_charge, "is charged for", true },
	{ "a group that is allowed too much", spoil_allowed, "more than its max", true },
	{ "a list that counts wrong", spoil_list, "is torn", true },
	{ "a list whose links differ", spoil_link, "is torn", true },
	{ "a free page that is not", spoil_free, "on the free list", true },
	{ "a broken page on no list", spoil_poisoned, "on the poison list", true },
	{ "dirty pages that there are not", spoil_dirty, "should be", true },
	{ "a shard that counts wrong", spoil_avail, "the count of the shard", true },
	{ "a shard with pages that nobody sees", spoil_with_free, "the count of the shard", true },
	{ "an order that ends early", spoil_order, "the order of group g is torn", true },
	{ "a page in an order that is not tracked", spoil_tracked, "are in an order", true },
	{ "a kept page that there is not", spoil_kept, "pages are kept", true },
	{ "a group's batch that is not", spoil_batch_group, "pages are in batches, 1 by group",
	  true },
	{ "a batch without pages", spoil_batch_both, "pages are in batches, 1 were picked", true },
};

struct result {
	unsigned int before, live, quiet, untold;
	char before_why[200], live_why[200], why[200];
};

static void run(const struct row *row, struct result *r)
{
	memset(r, 'x', sizeof(*r));
	begin();
	r->before = epc_audit(m.epc, false, r->before_why, sizeof(r->before_why));
	row->spoil();
	r->live = epc_audit(m.epc, true, r->live_why, sizeof(r->live_why));
	r->quiet = epc_audit(m.epc, false, r->why, sizeof(r->why));
	r->untold = epc_audit(m.epc, false, NULL, 0);
}

/* In a child: what is spoilt cannot be ended. */
static void test_row(const struct row *row, struct result *r)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		run(row, r);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	TAP_MUST(status == 0, "%s", row->what);
	TAP_CHECK(r->before == 0 && !r->before_why[0], "before it all is well");
	TAP_CHECK(r->quiet > 0 && r->untold == r->quiet,
		  "it is found, and counted without a text as well");
	TAP_CHECK(strstr(row->live ? r->live_why : r->why, row->why), "\"%s\"",
		  row->live ? r->live_why : r->why);
	TAP_CHECK(row->live ? r->live > 0 : !strstr(r->live_why, row->why), "%s",
		  row->live ? "at any moment" : "when nobody is at work");
}

int main(void)
{
	struct result *r =
		mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	TAP_MUST(r != MAP_FAILED, "memory");
	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		test_row(&rows[i], r);
	return tap_done();
}
