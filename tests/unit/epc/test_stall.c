/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A stall that is taken for a dead thread's, by those who cannot see that thread (in another PID namespace), and whose place
 * somebody else has got when it ends: that one's goes on.
 */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "epc/epc_priv.h"
#include "epc/owner.h"
#include "lib/bare_owner.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { PAGES = 16 };

static uint64_t clock_ns = 1000000000;

static uint64_t now_ns(void) { return clock_ns; }

static void pass(uint64_t ns) { clock_ns += ns; }

/* A number that no thread has. */
static uint32_t nobody(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	return (uint32_t)pid;
}

struct begun {
	struct epc_owner *owner;
	struct stalled *stalled;
};

static void *begin(void *arg)
{
	struct begun *begun = arg;

	begun->stalled = stall_begin(begun->owner);
	return NULL;
}

/* @same: the other one stands still for the same owner. */
static void test_taken(bool same)
{
	static const struct epc_clock clock = { now_ns, pass };
	struct epc_config config = { .clock = &clock };
	struct cpu_config cpu_config;
	struct epc_owner *mine, *yours;
	struct stalled *stalled;
	struct begun begun;
	struct fake_machine m;
	pthread_t thread;

	cpu_config_default(&cpu_config, PAGES * SGX_PAGE_SIZE);
	TAP_MUST(fake_machine_create_as(&m, &cpu_config, &config) == 0, "an EPC");
	mine = bare_owner_create(m.epc, NULL);
	yours = bare_owner_create(m.epc, NULL);
	stalled = stall_begin(mine);
	TAP_MUST(stalled && stalled->owner == mine, "a thread stands still");
	stalled->tid = nobody();
	clock_ns += 1000000000;
	begun.owner = same ? mine : yours;
	TAP_MUST(pthread_create(&thread, NULL, begin, &begun) == 0, "a thread");
	pthread_join(thread, NULL);
	TAP_MUST(begun.stalled == stalled && stalled->owner == begun.owner,
		 "another does, who has its place");
	stall_end(stalled, mine);
	TAP_CHECK(stalled->owner == begun.owner,
		  "the first goes on, and the other, of %s owner, still stands",
		  same ? "the same" : "another");
	epc_owner_destroy(yours);
	epc_owner_destroy(mine);
	fake_machine_destroy(&m);
}

int main(void)
{
	test_taken(false);
	test_taken(true);
	return tap_done();
}
