/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Death between two stores: a page that is on its way into a batch or out of one, and in no record of any.
 *
 * Whether its owner has it still is not for the EPCM to say: pages of a third party's owner, and blank ones of a guest,
 * are never valid there.  The window is a few instructions wide, so the child makes the stores itself, under the lock, and dies.
 */
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/epc_priv.h"
#include "epc/owner.h"
#include "epc/policy.h"
#include "epc/stats.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { PAGES = 24 };

static bool yes(struct epc_page *page) { return true; }

static int no_write(struct epc_page *page) { return -1; }

static void nothing(struct epc_page *page) {}

static const struct sgx_epc_page_ops blank_ops = {
	.name = "blank",
	.get = yes,
	.reclaim = yes,
	.block = yes,
	.write = no_write,
	.put = nothing,
	.blanks = true,
};

static void check_audit(struct epc *epc, const char *when)
{
	char why[200];
	unsigned int faults = epc_audit(epc, false, why, sizeof(why));

	TAP_CHECK(faults == 0, "audit %s%s%s", when, faults ? ": " : "", why);
}

/* As pick_more() has it between the page and the record, and entry_put_back() between the record and the page. */
LOCK_ATTR(no_thread_safety_analysis)
static void die_with_page_in_no_record(struct epc *epc, struct epc_page *page)
{
	order_lock(epc);
	epc->policy->remove(page_policy_state(page), page_index(epc, page));
	page_set_state(page, EPC_PAGE_IN_BATCH);
	raise(SIGKILL);
}

/* As pass_free() has it when the records have gone and the page is not free yet. */
LOCK_ATTR(no_thread_safety_analysis)
static void die_with_page_written(struct epc *epc, struct epc_page *page)
{
	order_lock(epc);
	epc->policy->remove(page_policy_state(page), page_index(epc, page));
	page_set_state(page, EPC_PAGE_IN_BATCH);
	page_set_written(page);
	raise(SIGKILL);
}

static void child_dies(void (*how)(struct epc *, struct epc_page *), struct epc *epc,
		       struct epc_page *page)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		how(epc, page);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	TAP_CHECK(WIFSIGNALED(status), "a process dies");
}

static void test_blank(void)
{
	struct epc_owner_config config = { .ops = &blank_ops };
	struct epc_page *page[PAGES], *more;
	unsigned int i, twice = 0, got = 0;
	struct epc_owner_info info;
	struct epc_owner *owner;
	struct fake_machine m;
	struct epc_stats s;

	fake_machine_create(&m, PAGES, NULL, NULL, 0);
	epc_owner_create(m.epc, &config, &owner);
	for (i = 0; i < PAGES / 2; i++) {
		TAP_MUST(epc_alloc(m.epc, owner, 0, &page[i]) == 0, "a page");
		memset(cpu_bytes(m.cpu, epc_page_nr(m.epc, page[i])), (int)i + 1, SGX_PAGE_SIZE);
		epc_page_set_cookie(page[i], i);
		epc_track(m.epc, page[i]);
	}
	child_dies(die_with_page_in_no_record, m.epc, page[3]);
	epc_stats_read(m.epc, &s);
	TAP_CHECK(epc_page_state(page[3]) == EPC_PAGE_TRACKED && s.recovered == 1 &&
			  s.tracked == PAGES / 2,
		  "a page that was in its hands is its owner's still, valid in the EPCM or not");
	while (got < PAGES / 2 && epc_alloc(m.epc, owner, 0, &more) == 0) {
		for (i = 0; i < PAGES / 2; i++)
			twice += page[i] == more;
		got++;
	}
	TAP_CHECK(got == PAGES / 2 && twice == 0, "and nobody else gets it");
	for (i = 0; i < PAGES / 2; i++)
		twice += ((unsigned char *)cpu_bytes(m.cpu, epc_page_nr(m.epc, page[i])))[99] !=
			 i + 1;
	TAP_CHECK(twice == 0, "with its contents");
	check_audit(m.epc, "of blank pages");
	child_dies(die_with_page_written, m.epc, page[5]);
	epc_stats_read(m.epc, &s);
	TAP_CHECK(epc_page_state(page[5]) == EPC_PAGE_FREE && s.free == 1,
		  "one that was written is free");
	(void)epc_owner_read(epc_group_root(m.epc), 0, &info);
	TAP_CHECK(info.count[EPC_ALLOCS] - info.count[EPC_FREES] - info.count[EPC_EVICTIONS] ==
				  PAGES - 1 &&
			  info.count[EPC_EVICTIONS] == 1 && s.evictions == 1,
		  "and its owner has one less, by an eviction");
	fake_machine_destroy(&m);
}

static void test_valid(void)
{
	struct fake_owner *owner;
	struct fake_machine m;
	unsigned int i;
	bool ok = true;

	fake_machine_create(&m, PAGES, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 2 * PAGES, true);
	for (i = 0; i < PAGES; i++)
		ok &= fake_use_surely(owner, i);
	child_dies(die_with_page_in_no_record, m.epc, owner->page[7].epc_page);
	for (i = 0; i < 6 * PAGES; i++)
		ok &= fake_use_surely(owner, i % (2 * PAGES));
	TAP_CHECK(ok && owner->wrong == 0, "nor is one lost that is valid in the EPCM");
	check_audit(m.epc, "of valid pages");
	fake_owner_put(owner);
	fake_machine_destroy(&m);
}

int main(void)
{
	test_blank();
	test_valid();
	return tap_done();
}
