/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Death between two stores.
 *
 * A page may be on its way into a batch or out of one, and in no record of any.  Whether its owner
 * has it still is not for the EPCM to say: pages of a third party's owner, and blank ones of a
 * guest, are never valid there.  The window is a few instructions wide, so the child makes the
 * stores itself, under the lock, and dies.
 *
 * Or a batch is left in the midst of a write: one that failed, with the bytes on their way back, or
 * one that worked, which the batch does not know.  There the child dies in an operation, or in a
 * system call: pwrite() is the test's.
 */
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/epc_priv.h"
#include "epc/owner.h"
#include "epc/policy.h"
#include "epc/stats.h"
#include "epc/window.h"
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

/*
 * As pick_more() has it between the page and the record, and entry_put_back() between the record
 * and the page.
 */
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

/* ---- in the midst of a write ----------------------------------------------------------------- */

enum { MANY = 64, FREE = 2 }; /* four pages in a batch */

static enum death { NEVER, BEFORE_RETURN, AFTER_RETURN, AFTER_WRITE } death;

ssize_t pwrite(int fd, const void *bytes, size_t nr, off_t offset)
{
	ssize_t done;

	if (death == BEFORE_RETURN)
		raise(SIGKILL);
	done = syscall(SYS_pwrite64, fd, bytes, nr, offset);
	if (death == AFTER_RETURN)
		raise(SIGKILL);
	return done;
}

static int (*fake_write)(struct epc_page *page);

static int write_and_die(struct epc_page *page)
{
	int r = fake_write(page);

	if (death == AFTER_WRITE)
		raise(SIGKILL);
	return r;
}

struct scene {
	struct fake_machine m;
	struct fake_owner *owner;
	struct sgx_epc_page_ops ops;
};

static void scene_init(struct scene *s)
{
	unsigned int failed = 0;

	fake_machine_create(&s->m, MANY, NULL, NULL, 0);
	s->owner = fake_owner_create(s->m.epc, 1, MANY, true);
	s->ops = *s->owner->epc_owner->ops;
	fake_write = s->ops.write;
	s->ops.write = write_and_die;
	s->owner->epc_owner->ops = &s->ops;
	for (uint32_t i = 0; i < MANY - FREE; i++)
		failed += !fake_use_surely(s->owner, i);
	TAP_MUST(failed == 0, "%u pages in use", MANY - FREE);
}

static unsigned int window_pages(const struct scene *s)
{
	struct stat st;

	fstat(window_fd(epc_window(s->m.epc)), &st);
	return (unsigned int)((uint64_t)st.st_blocks * 512 / SGX_PAGE_SIZE);
}

/* Nothing is lost, nothing is left over. */
static void scene_fini(struct scene *s, const char *name)
{
	unsigned int failed = 0;

	TAP_CHECK(window_pages(s) == fake_resident(s->owner),
		  "%s: of %u resident pages, and of no others, are bytes in the window: %u", name,
		  fake_resident(s->owner), window_pages(s));
	for (unsigned int lap = 0; lap < 3; lap++) {
		for (uint32_t i = 0; i < MANY; i++)
			failed += !fake_use_surely(s->owner, i);
		(void)epc_reclaim(s->m.epc);
	}
	TAP_CHECK(failed == 0 && s->owner->wrong == 0, "%s: every page has its contents %s", name,
		  s->owner->wrong ? s->owner->wrong_why : "");
	check_audit(s->m.epc, name);
	fake_owner_put(s->owner);
	fake_machine_destroy(&s->m);
}

/* False: the child could not die where it should have. */
static bool batch_dies(struct scene *s, enum death when)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		death = when;
		while (epc_reclaim(s->m.epc) == 0 && s->owner->failed[FAKE_WRITE] == 0)
			;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status);
}

/*
 * The bytes of a page whose write has failed go back twice, or the first time by whoever comes
 * next.
 */
static void test_returns(enum death when, const char *name)
{
	struct scene s;
	uint32_t resident;
	bool died;

	scene_init(&s);
	s.owner->fail_every[FAKE_WRITE] = 1;
	died = batch_dies(&s, when);
	s.owner->fail_every[FAKE_WRITE] = 0;
	resident = fake_resident(s.owner);
	if (!died)
		tap_skip(name, "bytes are not put into the window by a call here");
	TAP_CHECK(!died || (s.owner->failed[FAKE_WRITE] == 1 && resident == MANY - FREE),
		  "%s: a write has failed, and its batch has died", name);
	epc_recover(s.m.epc);
	TAP_CHECK(!died || resident - fake_resident(s.owner) == (uint32_t)s.m.epc->batch_nr - 1,
		  "%s: that page stays, and the others of its batch go: %u", name,
		  resident - fake_resident(s.owner));
	scene_fini(&s, name);
}

/*
 * A page was written and that is not noted; its owner, who knows, has loaded it anew before the
 * batch is seen through.
 */
static void test_loaded_anew(bool placed)
{
	const char *name = placed ? "loaded anew" : "not loaded anew";
	uint32_t i, out = 0, had;
	struct scene s;

	scene_init(&s);
	TAP_CHECK(batch_dies(&s, AFTER_WRITE), "%s: a write has worked, and its batch has died",
		  name);
	for (i = 0; i < MANY - FREE; i++) {
		if (s.owner->page[i].epc_page)
			continue;
		out++;
		if (placed)
			TAP_CHECK(fake_use(s.owner, i, 0) == 0, "%s: page %u", name, i);
	}
	had = fake_resident(s.owner);
	epc_recover(s.m.epc);
	TAP_CHECK(out == 1 && had - fake_resident(s.owner) == (uint32_t)s.m.epc->batch_nr - 1,
		  "%s: the others of its batch go: %u", name, had - fake_resident(s.owner));
	scene_fini(&s, name);
}

int main(void)
{
	test_blank();
	test_valid();
	test_returns(BEFORE_RETURN, "before the bytes are back");
	test_returns(AFTER_RETURN, "when the bytes are back");
	test_loaded_anew(true);
	test_loaded_anew(false);
	return tap_done();
}
