/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The manager with fake owners: allocation, reclaim, failures at each step, tiny EPCs, forks, deaths. */
#include "epc/epc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/backing.h"
#include "epc/policy.h"
#include "epc/window.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

/* The audit, as a check of its own. */
static void check_audit(struct epc *epc, const char *when)
{
	char why[200];
	unsigned int faults = epc_audit(epc, false, why, sizeof(why));

	TAP_CHECK(faults == 0, "audit %s%s%s", when, faults ? ": " : "", why);
}

static struct epc_stats stats_of(struct epc *epc)
{
	struct epc_stats stats;

	epc_stats_read(epc, &stats);
	return stats;
}

/* Use every page of @owner, @rounds times in order. False when one could not be had. */
static bool sweep(struct fake_owner *owner, unsigned int rounds)
{
	bool ok = true;
	uint32_t i;

	while (rounds-- > 0) {
		for (i = 0; i < owner->page_nr; i++)
			ok &= fake_use_surely(owner, i);
	}
	return ok;
}

enum { FD_NR = 16384 };

static void note_fds(bool *open)
{
	int fd;

	for (fd = 0; fd < FD_NR; fd++)
		open[fd] = fcntl(fd, F_GETFD) >= 0;
}

/* Whatever descriptor is open that was not @before, the manager has opened and answers for. */
static void check_fds(struct epc *epc, const bool *before)
{
	unsigned int wrong = 0, owned = 0;
	static bool now[FD_NR];
	int fd;

	note_fds(now);
	for (fd = 0; fd < FD_NR; fd++) {
		wrong += epc_owns_fd(epc, fd) != (now[fd] && !before[fd]);
		owned += epc_owns_fd(epc, fd);
	}
	TAP_CHECK(wrong == 0 && owned > 2 && !epc_owns_fd(epc, -1),
		  "the manager knows its %u descriptors", owned);
}

static void test_create(void)
{
	struct fake_machine m;
	struct epc_config config;
	static bool fds[FD_NR];
	size_t used;
	struct epc *epc;

	note_fds(fds);
	TAP_MUST(fake_machine_create(&m, 64, NULL, NULL, 0) == 0, "a machine");
	used = arena_used_bytes(m.arena);
	config = (struct epc_config){ .cpu = m.cpu, .arena = m.arena, .policy = "no such" };
	TAP_CHECK(epc_create(&config, &epc) == -EINVAL, "an unknown policy");
	config = (struct epc_config){ .cpu = m.cpu,
				      .arena = m.arena,
				      .backing_path = "/nonexistent/x" };
	TAP_CHECK(epc_create(&config, &epc) == -ENOENT, "a wrong path");
	TAP_CHECK(arena_used_bytes(m.arena) == used, "a failed creation leaves nothing behind");
	check_audit(m.epc, "of a new EPC");
	check_fds(m.epc, fds);
	fake_machine_destroy(&m);
}

static void test_alloc_free(void)
{
	struct epc_page *first;
	struct fake_owner *owner;
	struct fake_machine m;
	struct epc_stats stats;
	uint32_t i;

	fake_machine_create(&m, 64, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 100, true);
	for (i = 0; i < 64; i++)
		fake_use(owner, i, 0);
	TAP_CHECK(fake_resident(owner) == 64, "64 pages are in an EPC of 64");
	stats = stats_of(m.epc);
	TAP_CHECK(stats.tracked == 64 && stats.free + stats.dirty == 0 && stats.allocs == 64,
		  "the counters say so");
	TAP_CHECK(fake_use(owner, 64, 0) == -EBUSY, "without reclaim there is no more");
	TAP_CHECK(fake_use(owner, 64, EPC_MAY_RECLAIM) == 0, "with reclaim there is");
	stats = stats_of(m.epc);
	TAP_CHECK(stats.evictions >= 1 && stats.backing_slots == stats.evictions &&
			  stats.direct_reclaims == 1,
		  "%lu pages were evicted for it", (unsigned long)stats.evictions);
	check_audit(m.epc, "after a reclaim");
	TAP_CHECK(sweep(owner, 3) && owner->wrong == 0, "pages come back as they went");
	first = owner->page[99].epc_page;
	TAP_CHECK(first && epc_page_at(m.epc, epc_page_nr(m.epc, first)) == first &&
			  epc_page_owner(first) == owner && epc_page_cookie(first) == 99,
		  "a page knows its number, owner and cookie");
	TAP_CHECK(epc_page_placed(first) &&
			  cpu_bytes(m.cpu, epc_page_nr(m.epc, first)) ==
				  window_at(epc_window(m.epc), owner->win_off + 99 * 4096),
		  "and the processor knows where it was placed");
	for (i = 0; i < 100; i++)
		fake_remove(owner, i);
	stats = stats_of(m.epc);
	TAP_CHECK(stats.free + stats.dirty == 64 && stats.backing_slots == 0, "all is given back");
	fake_owner_put(owner);
	check_audit(m.epc, "after all was given back");
	fake_machine_destroy(&m);
}

/* Pages at home: as VA and SECS pages, which nobody maps. */
static void test_home(void)
{
	struct fake_owner *owner;
	struct fake_machine m;

	fake_machine_create(&m, 32, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 100, false);
	TAP_CHECK(sweep(owner, 3) && owner->wrong == 0, "pages at home are evicted and come back");
	TAP_CHECK(!epc_page_placed(owner->page[99].epc_page), "and are not placed");
	fake_owner_put(owner);
	check_audit(m.epc, "of pages at home");
	fake_machine_destroy(&m);
}

/* A page moves from its home to a place, to another, with its contents; and no memory stays behind. */
static void test_place(void)
{
	struct fake_owner *owner;
	struct fake_machine m;
	struct epc_page *page;
	uint64_t there;

	fake_machine_create(&m, 32, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 4, false);
	fake_use_surely(owner, 0);
	page = owner->page[0].epc_page;
	epc_untrack(m.epc, page);
	window_range_alloc(epc_window(m.epc), 2 * 4096, &there);
	epc_page_place(m.epc, page, there, true);
	TAP_CHECK(fake_use(owner, 0, 0) == 0 && owner->wrong == 0 && epc_page_placed(page),
		  "contents move with the page");
	epc_page_place(m.epc, page, there + 4096, true);
	TAP_CHECK(fake_use(owner, 0, 0) == 0 && owner->wrong == 0, "and again");
	epc_track(m.epc, page);
	fake_owner_put(owner);
	check_audit(m.epc, "after moves");
	fake_machine_destroy(&m);
}

/* With everything resident and nothing evictable, the allocator says so, soon. */
static void test_nothing_evictable(void)
{
	struct fake_owner *owner;
	struct fake_machine m;
	uint32_t i;

	fake_machine_create(&m, 32, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 100, true);
	for (i = 0; i < 32; i++)
		fake_use(owner, i, 0);
	owner->fail_every[FAKE_RECLAIM] = 1;
	TAP_CHECK(fake_use(owner, 40, EPC_MAY_RECLAIM) == -ENOMEM, "no page may go");
	owner->fail_every[FAKE_RECLAIM] = 0;
	owner->fail_every[FAKE_GET] = 1;
	TAP_CHECK(fake_use(owner, 40, EPC_MAY_RECLAIM) == -ENOMEM, "no owner can be had");
	owner->fail_every[FAKE_GET] = 0;
	owner->fail_every[FAKE_BLOCK] = 1;
	TAP_CHECK(fake_use(owner, 40, EPC_MAY_RECLAIM) == -ENOMEM, "no page can be blocked");
	owner->fail_every[FAKE_BLOCK] = 0;
	owner->fail_every[FAKE_WRITE] = 1;
	TAP_CHECK(fake_use(owner, 40, EPC_MAY_RECLAIM) == -ENOMEM, "no page can be written");
	owner->fail_every[FAKE_WRITE] = 0;
	backing_fail(epc_backing(m.epc), -ENOSPC);
	TAP_CHECK(fake_use(owner, 40, EPC_MAY_RECLAIM) == -ENOMEM, "the store is full");
	backing_fail(epc_backing(m.epc), 0);
	TAP_CHECK(stats_of(m.epc).evict_failures > 0 && stats_of(m.epc).evictions == 0,
		  "the counters tell of failed evictions");
	check_audit(m.epc, "after nothing could go");
	for (i = 0; i < 32; i++)
		fake_use(owner, i, 0);
	TAP_CHECK(owner->wrong == 0 && fake_resident(owner) == 32,
		  "all pages are where they were, with their contents");
	for (i = 0; i < 32; i++)
		epc_untrack(m.epc, owner->page[i].epc_page);
	TAP_CHECK(fake_use(owner, 40, EPC_MAY_RECLAIM) == -ENOMEM, "nothing is tracked");
	for (i = 0; i < 32; i++)
		epc_track(m.epc, owner->page[i].epc_page);
	TAP_CHECK(fake_use(owner, 40, EPC_MAY_RECLAIM) == 0, "and then all is well again");
	fake_owner_put(owner);
	check_audit(m.epc, "at the end");
	fake_machine_destroy(&m);
}

/* An owner who takes six seconds to say no, twice, and spares so many pages before he gives one. */
static void slow_to_say_no(struct fake_owner *owner, enum fake_op op)
{
	uint32_t calls = atomic_load(&owner->calls[FAKE_RECLAIM]);

	if (op != FAKE_RECLAIM)
		return;
	if (calls == 100 || calls == 200)
		sleep(6);
	if (calls > 400)
		atomic_store(&owner->fail_every[FAKE_RECLAIM], 0);
}

static void test_slow_owner(void)
{
	struct fake_owner *owner;
	struct fake_machine m;

	TAP_MUST(fake_machine_create(&m, 256, NULL, NULL, 0) == 0, "an EPC of 256 pages");
	owner = fake_owner_create(m.epc, 1, 300, true);
	TAP_MUST(owner, "an owner");
	for (uint32_t i = 0; i < 256; i++)
		fake_use(owner, i, 0);
	atomic_store(&owner->fail_every[FAKE_RECLAIM], 1);
	owner->on_op = slow_to_say_no;
	TAP_CHECK(fake_use(owner, 280, EPC_MAY_RECLAIM) == 0 &&
			  atomic_load(&owner->calls[FAKE_RECLAIM]) > 400,
		  "pages are still being offered after %u seconds: no reason to give up", 12);
	fake_owner_put(owner);
	fake_machine_destroy(&m);
}

static void test_failures(const char *policy)
{
	static const char *const names[] = { "get", "reclaim", "block", "write" };
	struct fake_owner *a, *b;
	struct fake_machine m;
	unsigned int op;

	fake_machine_create(&m, 48, policy, NULL, 0);
	a = fake_owner_create(m.epc, 1, 100, true);
	b = fake_owner_create(m.epc, 2, 30, false);
	for (op = 0; op < FAKE_OP_NR; op++) {
		a->fail_every[op] = 3;
		b->fail_every[op] = 2;
		TAP_CHECK(sweep(a, 3) && sweep(b, 3) && sweep(a, 1) && a->wrong + b->wrong == 0 &&
				  a->failed[op] > 0 && b->failed[op] > 0,
			  "%s: every third %s fails: nothing is lost", policy, names[op]);
		check_audit(m.epc, names[op]);
	}
	fake_owner_put(a);
	fake_owner_put(b);
	check_audit(m.epc, "without owners");
	fake_machine_destroy(&m);
}

/* 16 pages, and an owner that needs 7 of them at once, in the order in which a fault needs them. */
static void test_tiny(uint32_t pages)
{
	struct fake_owner *big, *small;
	struct fake_machine m;
	unsigned int tries, round;
	bool ok = true, all;
	uint32_t i;

	fake_machine_create(&m, pages, NULL, NULL, 0);
	big = fake_owner_create(m.epc, 1, 200, true);
	small = fake_owner_create(m.epc, 2, 7, false);
	for (round = 0; round < 50; round++) {
		for (i = 0; i < 20; i++)
			ok &= fake_use_surely(big, (round * 20 + i) % 200);
		for (tries = 0, all = false; tries < 3 && !all; tries++) {
			for (i = 0; i < 7; i++)
				ok &= fake_use_surely(small, i);
			all = fake_resident(small) == 7;
		}
		ok &= all;
	}
	TAP_CHECK(ok && big->wrong + small->wrong == 0,
		  "%u pages of EPC: 7 just used ones stay together", pages);
	fake_owner_put(big);
	fake_owner_put(small);
	check_audit(m.epc, "of a tiny EPC");
	fake_machine_destroy(&m);
}

/* The last reference goes in the middle of a batch: in put, with the page written, or put back. */
static void drop_in_write(struct fake_owner *owner, enum fake_op op)
{
	if (op == FAKE_BLOCK && !owner->dying) {
		owner->dying = true;
		fake_owner_put(owner);
	}
}

static void drop_in_reclaim(struct fake_owner *owner, enum fake_op op)
{
	if (op == FAKE_RECLAIM && !owner->dying) {
		owner->dying = true;
		fake_owner_put(owner);
	}
}

static void test_owner_dies(void)
{
	static void (*const when[])(struct fake_owner *, enum fake_op) = { drop_in_write,
									   drop_in_reclaim };
	struct fake_owner *mortal, *other;
	struct fake_machine m;
	unsigned int i, p;

	for (i = 0; i < 2; i++) {
		fake_machine_create(&m, 32, NULL, NULL, 0);
		mortal = fake_owner_create(m.epc, 1, 32, true);
		other = fake_owner_create(m.epc, 2, 32, true);
		for (p = 0; p < 32; p++)
			fake_use_surely(mortal, p);
		mortal->on_op = when[i];
		TAP_CHECK(sweep(other, 1) && mortal->freed && mortal->wrong == 0,
			  "an owner may die in the middle of a batch (%u)", i);
		fake_owner_put(other);
		check_audit(m.epc, "after it");
		TAP_CHECK(stats_of(m.epc).free + stats_of(m.epc).dirty == 32 &&
				  backing_used(epc_backing(m.epc)) == 0,
			  "nothing of it is left");
		fake_machine_destroy(&m);
	}
}

/* Parent and children share owners, and evict each other's pages. */
static void test_fork(void)
{
	enum { KIDS = 3 };
	struct fake_owner *owner[2];
	struct fake_machine m;
	unsigned int i, seed, step;
	pid_t pid[KIDS];
	bool ok = true;
	int status;

	fake_machine_create(&m, 64, NULL, NULL, 0);
	owner[0] = fake_owner_create(m.epc, 1, 100, true);
	owner[1] = fake_owner_create(m.epc, 2, 40, false);
	for (i = 0; i < KIDS; i++) {
		pid[i] = fork();
		if (pid[i] == 0)
			break;
	}
	seed = 100 + i;
	for (step = 0; step < 3000; step++) {
		unsigned int o = (unsigned int)rand_r(&seed) % 2;

		ok &= fake_use_surely(owner[o], (uint32_t)rand_r(&seed) % owner[o]->page_nr);
	}
	if (i < KIDS)
		_exit(!ok);
	for (i = 0; i < KIDS; i++) {
		waitpid(pid[i], &status, 0);
		ok &= status == 0;
	}
	TAP_CHECK(ok && owner[0]->wrong + owner[1]->wrong == 0,
		  "4 processes share an EPC and two owners");
	TAP_CHECK(stats_of(m.epc).evictions > 100, "and evicted %lu pages",
		  (unsigned long)stats_of(m.epc).evictions);
	check_audit(m.epc, "after the children");
	fake_owner_put(owner[0]);
	fake_owner_put(owner[1]);
	check_audit(m.epc, "of the shared EPC");
	fake_machine_destroy(&m);
}

/* A process dies in the middle of a batch, in each operation: the others go on, nothing is lost. */
static enum fake_op die_op;
static pid_t die_pid;

static void die_in(struct fake_owner *owner, enum fake_op op)
{
	/* Not under the owner's lock: that is for the owner to repair, and this one cannot. */
	if (op == die_op && getpid() == die_pid && atomic_load(&owner->calls[op]) % 5 == 0)
		raise(SIGKILL);
}

static void test_process_dies(enum fake_op op, const char *name)
{
	struct fake_owner *owner;
	struct fake_machine m;
	int status;
	pid_t pid;

	fake_machine_create(&m, 32, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 100, true);
	sweep(owner, 1);
	owner->on_op = die_in;
	die_op = op;
	pid = fork();
	if (pid == 0) {
		die_pid = getpid();
		sweep(owner, 5);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	TAP_CHECK(WIFSIGNALED(status), "a process dies in %s", name);
	TAP_CHECK(stats_of(m.epc).in_batch > 0, "with pages in its hands");
	TAP_CHECK(epc_audit(m.epc, true, NULL, 0) == 0, "the live audit holds");
	TAP_CHECK(sweep(owner, 3) && owner->wrong == 0, "the others go on and find every page");
	TAP_CHECK(stats_of(m.epc).in_batch == 0, "no page is left in its hands");
	check_audit(m.epc, "after the death");
	fake_machine_destroy(&m);
}

static void test_policies(void)
{
	unsigned int i;

	TAP_CHECK(policy_find(NULL) == policy_at(0) && !policy_find("x"), "policies by name");
	for (i = 0; policy_at(i); i++) {
		TAP_CHECK(policy_find(policy_at(i)->name) == policy_at(i), "policy %s",
			  policy_at(i)->name);
		test_failures(policy_at(i)->name);
	}
}

int main(void)
{
	test_create();
	test_alloc_free();
	test_home();
	test_place();
	test_nothing_evictable();
	test_slow_owner();
	test_policies();
	test_tiny(16);
	test_tiny(12);
	test_owner_dies();
	test_fork();
	test_process_dies(FAKE_GET, "get");
	test_process_dies(FAKE_RECLAIM, "reclaim");
	test_process_dies(FAKE_BLOCK, "block");
	return tap_done();
}
