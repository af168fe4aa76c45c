/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Background reclaim: watermarks, threads that come, work, sleep, stop and die. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

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

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void test_watermarks(void)
{
	static const struct {
		uint32_t pages, low;
	} rows[] = {
		{ 1, 0 },     { 16, 1 },      { 64, 4 },         { 256, 16 },
		{ 4096, 64 }, { 32768, 181 }, { 1 << 20, 1024 }, { 1 << 26, 8192 },
	};
	struct fake_machine m;
	struct epc_stats s;
	unsigned int i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		TAP_MUST(fake_machine_create(&m, rows[i].pages, NULL, NULL, 0) == 0, "%u pages",
			 rows[i].pages);
		s = stats_of(m.epc);
		TAP_CHECK(s.low == rows[i].low && s.high == 2 * s.low, "low %lu, high %lu",
			  (unsigned long)s.low, (unsigned long)s.high);
		fake_machine_destroy(&m);
	}
}

/* Without a thread: one round at a time. */
static void test_once(void)
{
	struct fake_owner *owner;
	struct fake_machine m;
	uint32_t i;

	fake_machine_create(&m, 256, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 256, true);
	for (i = 0; i < 240; i++)
		fake_use(owner, i, 0);
	TAP_CHECK(epc_background_once(m.epc) == 0 && stats_of(m.epc).evictions == 0,
		  "at the low watermark nothing is evicted");
	fake_use(owner, 240, 0);
	TAP_CHECK(epc_background_once(m.epc) > 0, "below it something is");
	TAP_CHECK(stats_of(m.epc).free + stats_of(m.epc).dirty >= stats_of(m.epc).high,
		  "up to the high one");
	TAP_CHECK(epc_background_once(m.epc) == 0, "and no more");
	owner->fail_every[FAKE_RECLAIM] = 1;
	for (i = 0; i < 256; i++)
		fake_use(owner, i, 0);
	TAP_CHECK(epc_background_once(m.epc) == 0, "where nothing can go, it gives up");
	owner->fail_every[FAKE_RECLAIM] = 0;
	TAP_CHECK(epc_background_once(m.epc) > 0 && owner->wrong == 0, "until something can");
	fake_owner_put(owner);
	check_audit(m.epc, "of rounds");
	fake_machine_destroy(&m);
}

static void *lend(void *epc) { return epc_background_run(epc) == 0 ? NULL : epc; }

/* The reserve is filled, within a generous while: the machine may be busy. */
static bool reserve_comes(struct epc *epc)
{
	uint64_t start = now_ms();
	struct epc_stats s;

	do {
		s = stats_of(epc);
		if (s.free + s.dirty >= s.low)
			return true;
		usleep(1000);
	} while (now_ms() - start < 20000);
	return false;
}

static void test_threads(unsigned int threads)
{
	struct fake_owner *owner;
	struct fake_machine m;
	pthread_t thread[10];
	unsigned int i, refused = 0, round;
	bool ok = true;
	uint32_t p;
	void *r;

	fake_machine_create(&m, 256, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 600, true);
	for (i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, lend, m.epc);
	for (round = 0; round < 5; round++) {
		for (p = 0; p < 600; p++)
			ok &= fake_use_surely(owner, p);
		ok &= reserve_comes(m.epc);
	}
	TAP_CHECK(ok && owner->wrong == 0, "%u threads keep a reserve", threads);
	TAP_CHECK(stats_of(m.epc).background_batches > 0, "they ran %lu batches",
		  (unsigned long)stats_of(m.epc).background_batches);
	epc_background_stop(m.epc);
	for (i = 0; i < threads; i++) {
		pthread_join(thread[i], &r);
		refused += r != NULL;
	}
	/* A late one finds that others have gone. */
	TAP_CHECK(refused <= (threads > 8 ? threads - 8 : 0), "%u were refused", refused);
	TAP_CHECK(epc_background_run(m.epc) == 0, "after the stop it returns at once");
	for (p = 0; p < 600; p++)
		ok &= fake_use_surely(owner, p);
	TAP_CHECK(ok && owner->wrong == 0, "and the rest goes on by direct reclaim");
	fake_owner_put(owner);
	check_audit(m.epc, "after the threads");
	fake_machine_destroy(&m);
}

/* Processes that lend a thread are killed at any moment; their places are free again. */
static void test_killed(void)
{
	struct fake_owner *owner;
	unsigned int round, seed = 1;
	struct fake_machine m;
	bool ok = true;
	pid_t pid;
	uint32_t i;

	fake_machine_create(&m, 256, NULL, NULL, 0);
	owner = fake_owner_create(m.epc, 1, 600, true);
	for (round = 0; round < 30; round++) {
		pid = fork();
		if (pid == 0)
			_exit(epc_background_run(m.epc) != 0);
		for (i = 0; i < 200; i++)
			ok &= fake_use_surely(owner, (uint32_t)rand_r(&seed) % 600);
		usleep((unsigned int)rand_r(&seed) % 1000);
		/* Not in the owner's lock, which is the owner's to mend. */
		lock_acquire(&owner->lock);
		kill(pid, SIGSTOP);
		waitpid(pid, NULL, WUNTRACED);
		lock_release(&owner->lock);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	for (i = 0; i < 600; i++)
		ok &= fake_use_surely(owner, i);
	TAP_CHECK(ok && owner->wrong == 0, "30 were killed, every page is found");
	epc_recover(m.epc);
	check_audit(m.epc, "after the kills");
	pid = fork();
	if (pid == 0)
		_exit(epc_background_run(m.epc) != 0);
	TAP_CHECK(reserve_comes(m.epc), "the next one has a place, and works");
	epc_background_stop(m.epc);
	waitpid(pid, NULL, 0);
	fake_owner_put(owner);
	check_audit(m.epc, "at the end");
	fake_machine_destroy(&m);
}

int main(void)
{
	test_watermarks();
	test_once();
	test_threads(1);
	test_threads(3);
	test_threads(10);
	test_killed();
	return tap_done();
}
