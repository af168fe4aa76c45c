/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Machine checks: on a page that is free, dirty, in use, kept by its owner, and in a batch at each of its steps; and
 * what is left of an EPC when many have come.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/backing.h"
#include "epc/policy.h"
#include "epc/window.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { PAGES = 64, OWNED = 200, BROKEN = 4096 };

/* Instructions until whoever tells of a machine check is killed: TSan makes ten times as many of it. */
#ifdef __SANITIZE_THREAD__
enum { STEPS = 30000 };
#else
enum { STEPS = 3000 };
#endif

static struct epc_stats stats_of(struct epc *epc)
{
	struct epc_stats stats;

	epc_stats_read(epc, &stats);
	return stats;
}

static void check_audit(struct epc *epc, const char *when)
{
	char why[200];
	unsigned int faults = epc_audit(epc, false, why, sizeof(why));

	TAP_CHECK(faults == 0, "audit %s%s%s", when, faults ? ": " : "", why);
}

/* Whatever is asked for, page @nr is not handed out again. */
static void check_gone(struct fake_machine *m, uint32_t nr, const char *when)
{
	struct fake_owner *owner = fake_owner_create(m->epc, 99, 2 * PAGES, true);
	bool never = true, ok = true;
	uint32_t i;

	for (i = 0; i < 2 * PAGES; i++) {
		ok &= fake_use_surely(owner, i);
		never &= owner->page[i].epc_page != epc_page_at(m->epc, nr);
	}
	TAP_CHECK(ok && never && owner->wrong == 0, "%s: it never comes back", when);
	fake_owner_put(owner);
	TAP_CHECK(epc_page_state(epc_page_at(m->epc, nr)) == EPC_PAGE_POISONED,
		  "%s: it is on the poison list", when);
	check_audit(m->epc, when);
}

static void test_unused(void)
{
	struct fake_owner *owner;
	struct fake_machine m;
	uint32_t nr, i;

	fake_machine_create(&m, PAGES, NULL, NULL, 0);
	TAP_CHECK(epc_poison(m.epc, PAGES) == -EINVAL, "there is no such page");
	TAP_CHECK(epc_poison(m.epc, 40) == 0 && epc_poison(m.epc, 0) == 0 &&
			  epc_poison(m.epc, PAGES - 1) == 0,
		  "machine checks on pages that were never handed out");
	TAP_CHECK(stats_of(m.epc).poisoned == 3 && stats_of(m.epc).dirty == PAGES - 3,
		  "they are counted");
	check_audit(m.epc, "of dirty ones");
	TAP_CHECK(epc_poison(m.epc, 40) == 0 && stats_of(m.epc).machine_checks == 3 &&
			  stats_of(m.epc).poisoned == 3,
		  "the second on a page changes nothing");
	check_gone(&m, 40, "dirty");
	check_gone(&m, 0, "the first");
	check_gone(&m, PAGES - 1, "the last");
	owner = fake_owner_create(m.epc, 1, 20, true);
	for (i = 0; i < 20; i++)
		fake_use(owner, i, 0);
	nr = epc_page_nr(m.epc, owner->page[7].epc_page);
	fake_remove(owner, 7);
	TAP_CHECK(epc_page_state(epc_page_at(m.epc, nr)) == EPC_PAGE_FREE &&
			  epc_poison(m.epc, nr) == 0 &&
			  epc_page_owner(epc_page_at(m.epc, nr)) == NULL,
		  "a machine check on a free page");
	fake_owner_put(owner);
	check_gone(&m, nr, "free");
	fake_machine_destroy(&m);
}

static unsigned long window_pages(struct fake_machine *m)
{
	struct stat st;

	fstat(window_fd(epc_window(m->epc)), &st);
	return (unsigned long)st.st_blocks * 512 / SGX_PAGE_SIZE;
}

static void test_used(const char *policy, bool mapped, bool kept)
{
	struct fake_owner *owner;
	struct fake_machine m;
	struct epc_page *page;
	unsigned long in_window;
	uint32_t nr, i;

	fake_machine_create(&m, PAGES, policy, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 40, mapped);
	for (i = 0; i < 40; i++)
		fake_use(owner, i, 0);
	page = owner->page[5].epc_page;
	nr = epc_page_nr(m.epc, page);
	if (kept)
		epc_untrack(m.epc, page);
	in_window = window_pages(&m);
	TAP_CHECK(!epc_page_poisoned(page) && epc_poison(m.epc, nr) == 0 && epc_page_poisoned(page),
		  "%s: a machine check on a page that is in use%s", policy,
		  kept ? ", and kept by its owner" : "");
	TAP_CHECK(epc_page_owner(page) == owner && epc_page_state(page) == EPC_PAGE_OWNED,
		  "it is still its owner's");
	TAP_CHECK(window_pages(&m) == in_window - !kept, "nobody can reach its bytes");
	TAP_CHECK(fake_use(owner, 5, 0) == -EHWPOISON, "who uses it is told");
	for (i = 0; i < 40; i++)
		(void)epc_reclaim(m.epc);
	TAP_CHECK(owner->page[5].epc_page == page && fake_resident(owner) == 1,
		  "everything else can be evicted, and it cannot");
	if (kept)
		epc_track(m.epc, page);
	TAP_CHECK(epc_page_state(page) == EPC_PAGE_OWNED && epc_untrack(m.epc, page) == 0,
		  "offered to the reclaimer, it stays out of the order");
	TAP_CHECK(window_pages(&m) == 0, "and nobody can reach its bytes, whoever was shown them");
	check_audit(m.epc, "with a broken page in use");
	TAP_CHECK(fake_remove(owner, 5) == 0 && fake_use_surely(owner, 5) && owner->wrong == 0,
		  "freed and made anew, the page of the owner is in another frame");
	fake_owner_put(owner);
	check_gone(&m, nr, "in use");
	fake_machine_destroy(&m);
}

/* The machine check comes while the batch is at @check_op. */
static enum fake_op check_op;
static uint32_t check_nr;

static void check_in(struct fake_owner *owner, enum fake_op op)
{
	uint32_t i;

	if (op != check_op || check_nr != UINT32_MAX)
		return;
	for (i = 0; i < owner->page_nr; i++) {
		if (owner->page[i].epc_page &&
		    epc_page_state(owner->page[i].epc_page) == EPC_PAGE_IN_BATCH)
			check_nr = epc_page_nr(owner->epc, owner->page[i].epc_page);
	}
	if (check_nr != UINT32_MAX)
		epc_poison(owner->epc, check_nr);
}

static void test_in_batch(enum fake_op op, const char *name, bool mapped)
{
	struct fake_owner *owner;
	struct fake_machine m;
	uint32_t i, broken = 0;

	fake_machine_create(&m, PAGES, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 40, mapped);
	for (i = 0; i < 40; i++)
		fake_use(owner, i, 0);
	check_op = op;
	check_nr = UINT32_MAX;
	owner->on_op = check_in;
	(void)epc_reclaim(m.epc);
	owner->on_op = NULL;
	TAP_CHECK(check_nr != UINT32_MAX, "a machine check in a batch, at %s", name);
	TAP_CHECK(stats_of(m.epc).evictions > 0 && stats_of(m.epc).in_batch == 0,
		  "the others of the batch are evicted");
	check_audit(m.epc, "after the batch");
	for (i = 0; i < 40; i++) {
		int r = fake_use(owner, i, EPC_MAY_RECLAIM);

		broken += r == -EHWPOISON;
		if (r != 0 && r != -EHWPOISON)
			break;
	}
	TAP_CHECK(i == 40 && broken == 1 && owner->wrong == 0, "one page is lost, and no other");
	fake_owner_put(owner);
	check_gone(&m, check_nr, "in a batch");
	fake_machine_destroy(&m);
}

/* The whole EPC breaks, page by page, under an owner that goes on as long as it can. */
static void test_all(void)
{
	struct fake_owner *owner;
	struct fake_machine m;
	struct epc_stats s;
	uint32_t nr, i, lost = 0;
	bool ok = true;

	fake_machine_create(&m, PAGES, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 200, true);
	for (nr = 0; nr < PAGES; nr++) {
		for (i = 0; i < 20; i++)
			ok &= fake_use_surely(owner, (nr * 20 + i) % 200) || nr > PAGES - 8;
		epc_poison(m.epc, nr * 5 % PAGES);
		for (i = 0; i < 200; i++) {
			if (owner->page[i].epc_page && epc_page_poisoned(owner->page[i].epc_page)) {
				fake_remove(owner, i);
				lost++;
			}
		}
	}
	s = stats_of(m.epc);
	TAP_CHECK(ok && s.poisoned == PAGES && s.free + s.dirty + s.owned + s.tracked == 0,
		  "all broke, %u pages of the owner were lost", lost);
	TAP_CHECK(owner->wrong == 0 && fake_use(owner, 0, EPC_MAY_RECLAIM) == -ENOMEM,
		  "no other page is wrong, and an EPC without pages gives none");
	check_audit(m.epc, "of an EPC that is all broken");
	fake_owner_put(owner);
	fake_machine_destroy(&m);
}

/* A child tells of machine checks on pages in use, and on some of nobody's, for so many instructions; then it dies. */
static void tell_and_die(struct fake_machine *m, struct fake_owner *owner, unsigned int round,
			 unsigned int steps)
{
	struct epc_page *page;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		for (uint32_t i = round * 7;; i++) {
			page = owner->page[i % OWNED].epc_page;
			epc_poison(m->epc, page && i % 4 ? epc_page_nr(m->epc, page) : i % BROKEN);
		}
	}
	waitpid(pid, &status, 0);
	while (WIFSTOPPED(status) && steps-- > 0) {
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0)
			break;
		waitpid(pid, &status, 0);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Whoever saw the machine check is killed while he tells of it, at any instruction. */
static void test_killed(void)
{
	struct fake_owner *owner;
	struct fake_machine m;
	unsigned int round, seed = 1, faults = 0;
	char why[200] = "";
	uint32_t i;

	fake_machine_create(&m, BROKEN, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, OWNED, true);
	for (round = 0; round < 60 && !faults; round++) {
		for (i = 0; i < OWNED; i++) {
			if (fake_use(owner, i, EPC_MAY_RECLAIM) == -EHWPOISON)
				fake_remove(owner, i);
		}
		tell_and_die(&m, owner, round, (unsigned int)rand_r(&seed) % STEPS);
		/* Reading the numbers takes the locks, and whoever takes one puts right what its holder left. */
		(void)stats_of(m.epc);
		faults = epc_audit(m.epc, false, why, sizeof(why));
	}
	TAP_CHECK(!faults, "%u kills, and an audit after each: %s", round, why);
	TAP_CHECK(owner->wrong == 0 && stats_of(m.epc).machine_checks > round / 2, "%lu are broken",
		  (unsigned long)stats_of(m.epc).machine_checks);
	fake_owner_put(owner);
	check_audit(m.epc, "at the end");
	fake_machine_destroy(&m);
}

int main(void)
{
	unsigned int i;

	test_unused();
	for (i = 0; policy_at(i); i++) {
		test_used(policy_at(i)->name, true, false);
		test_used(policy_at(i)->name, false, true);
	}
	test_in_batch(FAKE_GET, "get", true);
	test_in_batch(FAKE_RECLAIM, "reclaim", true);
	test_in_batch(FAKE_BLOCK, "block", true);
	test_in_batch(FAKE_BLOCK, "block", false);
	test_in_batch(FAKE_WRITE, "write", true);
	test_all();
	test_killed();
	return tap_done();
}
