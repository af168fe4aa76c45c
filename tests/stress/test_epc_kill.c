/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A process that dies, at any instruction, costs nobody else anything.
 *
 * Children share the EPC and are killed at random moments: while they evict pages of an owner,
 * while they take pages and give them back, while they take them out of the order and put them
 * back.  After each death the parent goes on, finds every page with its contents, and the audit
 * holds.
 *
 * A kill takes effect mostly where a system call ends, so the child is stepped on from there, some
 * instructions at random, before it dies.
 *
 *   test_epc_kill [rounds [seed]]
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "cpu/cpu_priv.h"
#include "epc/epc_priv.h"
#include "epc/group.h"
#include "epc/owner.h"
#include "epc/waiter_priv.h"
#include "epc/window.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"
#include "lib/tied.h"

enum { EPC_PAGES = 60, OWNED_PAGES = 90, STEPS_MAX = 3000, GROUP_MAX = 8 };

/* The child's part: it never uses a page's contents, so what they must be is known at all times. */
struct victim {
	struct fake_machine *m;
	struct fake_owner *owner;
	struct epc_owner *strays;
	_Atomic uint64_t turns;
};

static void evict_forever(struct victim *v)
{
	for (;;) {
		(void)epc_reclaim(v->m->epc);
		atomic_fetch_add(&v->turns, 1);
	}
}

static bool no(struct epc_page *page) { return false; }

static int no_write(struct epc_page *page) { return -1; }

static void no_put(struct epc_page *page) {}

static const struct sgx_epc_page_ops stray_ops = {
	.name = "stray",
	.get = no,
	.reclaim = no,
	.block = no,
	.write = no_write,
	.put = no_put,
};

/* Pages that nobody answers for when their process dies; see reap_strays(). */
static void alloc_forever(struct victim *v)
{
	struct epc_page *page;

	for (;;) {
		if (epc_alloc(v->m->epc, v->strays, EPC_MAY_RECLAIM, &page) < 0)
			continue;
		epc_track(v->m->epc, page);
		epc_untrack_wait(v->m->epc, page);
		epc_free(v->m->epc, page);
		atomic_fetch_add(&v->turns, 1);
	}
}

static void *hold_and_wait(void *arg)
{
	struct victim *v = arg;
	struct epc_page *page;

	for (;;) {
		if (epc_alloc(v->m->epc, v->strays, EPC_MAY_RECLAIM, &page) < 0)
			continue;
		sched_yield();
		epc_free(v->m->epc, page);
		atomic_fetch_add(&v->turns, 1);
	}
	return NULL;
}

/* More threads than their group may have pages: some are always in line. */
static void wait_forever(struct victim *v)
{
	pthread_t thread;
	unsigned int i;

	for (i = 1; i < 2 * GROUP_MAX; i++)
		if (pthread_create(&thread, NULL, hold_and_wait, v) != 0)
			_exit(1);
	hold_and_wait(v);
}

/*
 * Groups and owners come and go; what is left of those of the dead is nobody's, and costs its own
 * memory.
 */
static void groups_forever(struct victim *v)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct epc_owner_config config = { .ops = &stray_ops, .owner = v };
	struct epc_owner *owner;
	struct epc_page *page;
	struct epc_group *group;
	char name[24];

	snprintf(name, sizeof(name), "of-%d", getpid());
	limits.max_pages = 3;
	for (;;) {
		if (epc_group_create(epc_owner_group(v->strays), name, &limits, &group) < 0)
			continue;
		config.group = group;
		if (epc_owner_create(v->m->epc, &config, &owner) == 0) {
			if (epc_alloc(v->m->epc, owner, EPC_MAY_RECLAIM, &page) == 0)
				epc_free(v->m->epc, page);
			epc_owner_destroy(owner);
		}
		epc_group_destroy(group);
		atomic_fetch_add(&v->turns, 1);
	}
}

/*
 * A leaf that is killed half way leaves its page held in the EPCM: that is the processor's to mend.
 */
static void release_epcm(struct cpu *cpu)
{
	uint32_t i;

	for (i = 0; i < EPC_PAGES; i++)
		atomic_store(&cpu->epcm[i].lock, 0);
}

/* What an owner would do for the pages of its own dead process. */
static unsigned int reap_strays(struct fake_machine *m, struct fake_owner *owner)
{
	struct epc_stats stats;
	unsigned int nr = 0;
	uint32_t i;

	epc_recover(m->epc);
	epc_stats_read(m->epc, &stats); /* takes every lock, and mends what was under it */
	for (i = 0; i < EPC_PAGES; i++) {
		struct epc_page *page = epc_page_at(m->epc, i);
		enum epc_state state = epc_page_state(page);

		if (epc_page_owner(page) == owner ||
		    (state != EPC_PAGE_OWNED && state != EPC_PAGE_TRACKED))
			continue;
		if (state == EPC_PAGE_TRACKED)
			epc_untrack_wait(m->epc, page);
		epc_free(m->epc, page);
		nr++;
	}
	return nr;
}

static bool anybody_waits(struct epc *epc, const struct epc_group *group)
{
	const struct waiter *line = late_there(&epc->line);
	unsigned int i;

	for (i = 0; i < EPC_WAITERS_MAX; i++)
		if (epc->waiting >> i & 1 && waiter_top(&line[i]) == group)
			return true;
	return false;
}

/* As many pages as the group may have: no place in line is kept for the dead. */
static bool all_can_be_had(struct victim *v)
{
	struct epc_page *page[GROUP_MAX];
	unsigned int nr = 0;
	bool ok;

	while (nr < GROUP_MAX && epc_alloc(v->m->epc, v->strays, EPC_MAY_RECLAIM, &page[nr]) == 0)
		nr++;
	ok = nr == GROUP_MAX && !anybody_waits(v->m->epc, epc_owner_group(v->strays));
	while (nr > 0)
		epc_free(v->m->epc, page[--nr]);
	return ok;
}

/*
 * Stop the child, let it do @steps more instructions, kill it.  The lock of the owner may be held
 * then: what the owner does about that is not the manager's affair, so the parent stands by and
 * uses no page meanwhile.
 */
static void step_and_kill(pid_t pid, unsigned int steps)
{
	int status;

	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0 &&
	    ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0) {
		waitpid(pid, &status, 0);
		while (WIFSTOPPED(status) && steps-- > 0) {
			if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0)
				break;
			waitpid(pid, &status, 0);
		}
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static bool mended(struct fake_machine *m)
{
	struct epc_stats stats;

	epc_stats_read(m->epc, &stats);
	return stats.recovered > 0;
}

static void run(void (*child)(struct victim *), const char *name, unsigned int rounds,
		unsigned int seed)
{
	unsigned int round, faults = 0, strays = 0;
	struct fake_machine m;
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct epc_group_info info;
	struct epc_group *group;
	struct epc_stats stats;
	struct victim *v;
	char why[200] = "";
	bool ok = true;
	uint32_t i;
	pid_t pid;

	fake_machine_create_sharded(&m, EPC_PAGES, NULL, 3);
	v = arena_alloc(m.arena, sizeof(*v));
	v->m = &m;
	v->owner = fake_owner_create(m.epc, 1, OWNED_PAGES, true);
	limits.max_pages = GROUP_MAX;
	limits.min_pages = GROUP_MAX / 2;
	TAP_CHECK(epc_group_create(epc_group_root(m.epc), "strays", &limits, &group) == 0,
		  "%s: in a group", name);
	epc_owner_create(
		m.epc, &(struct epc_owner_config){ .ops = &stray_ops, .owner = v, .group = group },
		&v->strays);
	/* A child that dies in the wrong moments only has shown nothing yet. */
	for (round = 0;
	     (round < rounds || (round < 10 * rounds && !mended(&m))) && ok && faults == 0;
	     round++) {
		for (i = 0; i < OWNED_PAGES; i++)
			ok &= fake_use_surely(v->owner, i);
		v->turns = 0;
		pid = fork_tied();
		if (pid == 0) {
			child(v);
			_exit(0);
		}
		while (atomic_load(&v->turns) == 0)
			ok &= fake_use_surely(v->owner, round % OWNED_PAGES);
		for (i = (unsigned int)rand_r(&seed) % 200; i > 0; i--)
			ok &= fake_use_surely(v->owner, (uint32_t)rand_r(&seed) % OWNED_PAGES);
		step_and_kill(pid, (unsigned int)rand_r(&seed) % STEPS_MAX);
		release_epcm(m.cpu);
		for (i = 0; i < OWNED_PAGES; i++)
			ok &= fake_use_surely(v->owner, i);
		strays += reap_strays(&m, v->owner);
		ok &= all_can_be_had(v);
		faults += epc_audit(m.epc, false, why, sizeof(why));
	}
	TAP_CHECK(ok && v->owner->wrong == 0, "%s: killed %u times, no page is lost%s%s", name,
		  round, ok ? " " : " (no memory)", v->owner->wrong ? v->owner->wrong_why : "");
	TAP_CHECK(faults == 0, "%s: the audit holds %s", name, why);
	epc_group_read(group, &info);
	TAP_CHECK(info.current_pages == 0, "%s: no charge is left of those who died", name);
	epc_stats_read(m.epc, &stats);
	TAP_CHECK(stats.recovered > 0, "%s: %lu times there was something to mend, %u stray pages",
		  name, (unsigned long)stats.recovered, strays);
	fake_machine_destroy(&m);
}

#ifdef __SANITIZE_THREAD__
#define UNDER_TSAN true
#else
#define UNDER_TSAN false
#endif

int main(int argc, char **argv)
{
	unsigned int rounds = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 0) : 40;
	unsigned int seed = argc > 2 ? (unsigned int)strtoul(argv[2], NULL, 0) : 1;

	run(evict_forever, "evicting", rounds, seed);
	run(alloc_forever, "allocating", rounds, seed);
	/*
	 * A page that goes from one thread to another by way of our locks looks like a race in the
	 * process of those two.
	 */
	if (UNDER_TSAN)
		tap_skip("waiting", "TSan does not see what the other process does in between");
	else
		run(wait_forever, "waiting", rounds, seed);
	run(groups_forever, "making groups", rounds, seed);
	return tap_done();
}
