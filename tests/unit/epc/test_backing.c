/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The backing store: slots, reuse, caps, a full disk, and that no file is left behind. */
#include "epc/backing.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/sgx.h"
#include "base/arena.h"
#include "epc/backing_priv.h"
#include "lib/tap.h"

enum { NR = 1000 };

static void test_slots(struct arena *arena, const char *path, const char *name)
{
	static uint32_t slot[NR];
	struct backing *backing;
	unsigned int i, wrong = 0;
	uint32_t again;

	TAP_MUST(backing_create(arena, path, 0, &backing) == 0, "%s: a store", name);
	for (i = 0; i < NR; i++) {
		wrong += backing_alloc(backing, &slot[i]) != 0;
		memset(backing_page(backing, slot[i]), (int)i, 4096);
		memset(backing_pcmd(backing, slot[i]), (int)i + 1, sizeof(struct sgx_pcmd));
	}
	TAP_CHECK(wrong == 0 && backing_used(backing) == NR, "%s: %u slots", name, NR);
	for (i = 0; i < NR; i++) {
		wrong += *(unsigned char *)backing_page(backing, slot[i]) != (unsigned char)i;
		wrong += *(unsigned char *)backing_pcmd(backing, slot[i]) != (unsigned char)(i + 1);
	}
	TAP_CHECK(wrong == 0, "%s: each with its own bytes", name);
	again = slot[17];
	backing_free(backing, &slot[17]);
	TAP_CHECK(slot[17] == BACKING_NO_SLOT && backing_alloc(backing, &slot[17]) == 0 &&
			  slot[17] == again,
		  "%s: a freed slot is used again", name);
	backing_fail(backing, -EIO);
	TAP_CHECK(backing_alloc(backing, &again) == -EIO, "%s: an injected failure", name);
	backing_fail(backing, 0);
	for (i = 0; i < NR; i++)
		backing_free(backing, &slot[i]);
	TAP_CHECK(backing_used(backing) == 0, "%s: all free", name);
	backing_destroy(backing);
}

/* Whoever is killed at any instruction leaves each slot with its record or with the store. */
static void test_killed(struct arena *arena)
{
	enum { RECORDS = 200, ROUNDS = 200 };
	uint32_t *record = arena_alloc(arena, RECORDS * sizeof(*record));
	unsigned int round, i, held = 0, again = 0, seed = 1;
	struct backing *backing;
	pid_t pid;

	TAP_MUST(backing_create(arena, NULL, 0, &backing) == 0, "a store for processes");
	for (i = 0; i < RECORDS; i++)
		record[i] = BACKING_NO_SLOT;
	for (round = 0; round < ROUNDS; round++) {
		pid = fork();
		if (pid == 0) {
			for (i = round * 7;; i = i * 5 + 1) {
				uint32_t *mine = &record[i % RECORDS];

				if (*mine == BACKING_NO_SLOT)
					(void)backing_alloc(backing, mine);
				else
					backing_free(backing, mine);
			}
		}
		usleep((unsigned int)rand_r(&seed) % 300);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	/* The one who comes next finds what the last one left. */
	if (record[0] == BACKING_NO_SLOT)
		(void)backing_alloc(backing, &record[0]);
	else
		backing_free(backing, &record[0]);
	for (i = 0; i < RECORDS; i++) {
		held += record[i] != BACKING_NO_SLOT;
		for (unsigned int j = 0; j < i; j++)
			again += record[i] != BACKING_NO_SLOT && record[i] == record[j];
	}
	TAP_CHECK(backing_used(backing) == held && again == 0,
		  "%u kills: %u slots are in use, %u are held, %u by two", ROUNDS,
		  backing_used(backing), held, again);
	for (i = 0; i < RECORDS; i++) {
		if (record[i] != BACKING_NO_SLOT)
			backing_free(backing, &record[i]);
	}
	TAP_CHECK(backing_used(backing) == 0, "and none at the end");
	backing_destroy(backing);
	arena_free(arena, record, RECORDS * sizeof(*record));
}

/* A sanitizer's has some 30,000. */
enum { STEPS_MAX = 1 << 19, OTHERS = 16 };

/*
 * A slot is had and given back by a child that is killed after so many instructions; or fewer, if it has done it by then.
 * @ret_moving: after which of them the slot is changing hands.
 */
static unsigned int killed_after(unsigned int steps, struct backing *backing, uint32_t *record,
				 bool ret_moving[STEPS_MAX])
{
	unsigned int done = 0;
	bool stopped = true;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		(void)backing_alloc(backing, record);
		backing_free(backing, record);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	while (stopped && done < steps) {
		stopped = ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0 &&
			  waitpid(pid, &status, 0) == pid && WIFSTOPPED(status);
		ret_moving[++done] = backing->moving;
	}
	if (stopped) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return done;
}

/* What the next one finds: no slot is lost, and none is two's. */
static unsigned int check_slots(struct backing *backing, uint32_t *record, const uint32_t *held)
{
	uint32_t more[2] = { BACKING_NO_SLOT, BACKING_NO_SLOT };
	unsigned int wrong = 0;

	for (unsigned int i = 0; i < 2; i++)
		wrong += backing_alloc(backing, &more[i]) != 0 || more[i] == *record ||
			 more[i] == *held;
	wrong += more[0] == more[1];
	wrong += backing_used(backing) != 3u + (*record != BACKING_NO_SLOT);
	for (unsigned int i = 0; i < 2; i++)
		backing_free(backing, &more[i]);
	if (*record != BACKING_NO_SLOT)
		backing_free(backing, record);
	return wrong + (backing_used(backing) != 1);
}

/* Each instruction while the slot is changing hands, which a kill at random never hits, and some of the others. */
static void test_killed_between(struct arena *arena)
{
	static bool moving[STEPS_MAX], ignored[STEPS_MAX];
	uint32_t *record = arena_alloc(arena, sizeof(*record)), held = BACKING_NO_SLOT;
	unsigned int all, steps, wrong = 0, had = 0, times = 0;
	struct backing *backing;

	TAP_MUST(backing_create(arena, NULL, 0, &backing) == 0 &&
			 backing_alloc(backing, &held) == 0,
		 "a store for one");
	*record = BACKING_NO_SLOT;
	all = killed_after(STEPS_MAX - 1, backing, record, moving);
	TAP_MUST(all < STEPS_MAX - 1, "a slot had and given back");
	for (steps = 0; steps < all; steps++) {
		if (!moving[steps] && steps % (all / OTHERS + 1) > 0)
			continue;
		(void)killed_after(steps, backing, record, ignored);
		times += moving[steps];
		had += *record != BACKING_NO_SLOT;
		wrong += check_slots(backing, record, &held);
	}
	TAP_CHECK(wrong == 0 && times > 8 && had > 0,
		  "killed after each of %u instructions between, %u times with a slot: none is "
		  "lost, none is "
		  "two's",
		  times, had);
	backing_free(backing, &held);
	backing_destroy(backing);
	arena_free(arena, record, sizeof(*record));
}

/*
 * Killed as soon as the store has a free slot: it has all that came with it, or none.  @bare: killed as soon as one that had
 * given its storage back is not among those any more.
 */
static void test_killed_growing(struct arena *arena, bool bare)
{
	uint32_t *record = arena_alloc(arena, sizeof(*record));
	uint32_t bare_first = BACKING_NO_SLOT;
	struct backing *backing;
	int status = 0;
	pid_t pid;

	*record = BACKING_NO_SLOT;
	TAP_MUST(record && backing_create(arena, NULL, 0, &backing) == 0, "a store");
	if (bare) {
		TAP_MUST(backing_alloc(backing, record) == 0, "a slot");
		backing_free(backing, record);
		backing->bare_first = bare_first = backing->free_first;
		backing->free_first = BACKING_NO_SLOT;
		backing->free_nr = 0;
	}
	pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		(void)backing_alloc(backing, record);
		_exit(0);
	}
	waitpid(pid, &status, WUNTRACED);
	while (WIFSTOPPED(status) && backing->free_first == BACKING_NO_SLOT &&
	       backing->bare_first == bare_first) {
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0)
			break;
		waitpid(pid, &status, 0);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (*record == BACKING_NO_SLOT)
		TAP_MUST(backing_alloc(backing, record) == 0, "a slot after that");
	TAP_CHECK(backing_used(backing) == 1, "one slot is in use: %u", backing_used(backing));
	backing_free(backing, record);
	backing_destroy(backing);
	arena_free(arena, record, sizeof(*record));
}

static void test_cap(struct arena *arena)
{
	struct backing *backing;
	uint32_t slot, other;
	unsigned int nr = 0;

	TAP_CHECK(backing_create(arena, NULL, 100, &backing) == -ENOSPC, "a cap below one slot");
	TAP_MUST(backing_create(arena, NULL, 10 * 4224, &backing) == 0, "a cap of ten slots");
	while (nr < 100 && backing_alloc(backing, &slot) == 0)
		nr++;
	TAP_CHECK(nr == 10, "holds %u", nr);
	TAP_CHECK(backing_alloc(backing, &other) == -ENOSPC, "and then is full");
	backing_free(backing, &slot);
	TAP_CHECK(backing_alloc(backing, &other) == 0, "until one is freed");
	backing_destroy(backing);
}

static unsigned int entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int nr = 0;

	while (dir && readdir(dir))
		nr++;
	if (dir)
		closedir(dir);
	return nr - 2;
}

/* Many slots given back: the store keeps a reserve, and gives the rest back to the system. */
static void test_give_back(struct arena *arena)
{
	enum { MANY = 20000 };
	uint32_t *slot = malloc(MANY * sizeof(*slot));
	struct backing *backing;
	unsigned int i, wrong = 0;

	backing_create(arena, NULL, 0, &backing);
	for (i = 0; i < MANY; i++)
		wrong += backing_alloc(backing, &slot[i]) != 0;
	for (i = 0; i < MANY; i++)
		backing_free(backing, &slot[i]);
	for (i = 0; i < MANY; i++) {
		wrong += backing_alloc(backing, &slot[i]) != 0;
		*(uint32_t *)backing_page(backing, slot[i]) = i;
	}
	for (i = 0; i < MANY; i++)
		wrong += *(uint32_t *)backing_page(backing, slot[i]) != i;
	TAP_CHECK(wrong == 0 && backing_used(backing) == MANY,
		  "slots whose storage was given back get new storage");
	backing_destroy(backing);
	free(slot);
}

static void test_files(struct arena *arena)
{
	char dir[] = "/tmp/swsgx-backing-XXXXXX";
	char path[64];
	struct backing *backing;
	FILE *file;

	TAP_MUST(mkdtemp(dir), "a directory");
	snprintf(path, sizeof(path), "%s/store", dir);
	test_slots(arena, path, "file");
	test_slots(arena, dir, "directory");
	backing_create(arena, path, 0, &backing);
	TAP_CHECK(entries(dir) == 0, "the file has no name even while in use");
	backing_destroy(backing);
	file = fopen(path, "w");
	fclose(file);
	TAP_CHECK(backing_create(arena, path, 0, &backing) == -EEXIST,
		  "somebody's file is left alone");
	unlink(path);
	TAP_CHECK(backing_create(arena, "/nonexistent/x", 0, &backing) == -ENOENT, "a wrong path");
	rmdir(dir);
}

/* A disk of 1 MiB, where we may mount one: every slot it gives can be written to. */
static void test_full_disk(struct arena *arena)
{
	char dir[] = "/tmp/swsgx-disk-XXXXXX";
	struct backing *backing;
	unsigned int nr = 0;
	uint32_t slot;
	int r;

	TAP_MUST(mkdtemp(dir), "a directory");
	if (mount("none", dir, "tmpfs", 0, "size=1m") < 0) {
		tap_skip("a full disk", "no right to mount");
		rmdir(dir);
		return;
	}
	backing_create(arena, dir, 0, &backing);
	while ((r = backing_alloc(backing, &slot)) == 0) {
		memset(backing_page(backing, slot), 1, 4096);
		nr++;
	}
	TAP_CHECK(r == -ENOSPC && nr > 200 && nr <= 256, "a disk of 256 pages holds %u, then %d",
		  nr, r);
	backing_free(backing, &slot);
	TAP_CHECK(backing_alloc(backing, &slot) == 0, "a freed slot can be had again");
	backing_destroy(backing);
	umount(dir);
	rmdir(dir);
}

/* ---- a file, and one that misbehaves ------------------------------------------------------------- */

enum { MANY = 1000 };

static struct backing_stats stats_of(struct backing *backing)
{
	struct backing_stats stats;

	backing_stats_read(backing, &stats);
	return stats;
}

/* Allocate, fill and complete, in batches, as reclaim does: how many could be had, and why no more. */
static unsigned int fill(struct backing *backing, uint32_t *slot, unsigned int nr, int *ret_r)
{
	unsigned int i;

	*ret_r = 0;
	for (i = 0; i < nr; i++) {
		*ret_r = backing_alloc(backing, &slot[i]);
		if (*ret_r < 0)
			break;
		memset(backing_page(backing, slot[i]), (int)i % 251 + 1, SGX_PAGE_SIZE);
		backing_complete(backing, slot[i]);
		if (i % 16 == 15)
			backing_write_out(backing);
	}
	return i;
}

/* Slots that do not hold what fill() put there. */
static unsigned int wrong(struct backing *backing, const uint32_t *slot, unsigned int nr)
{
	const unsigned char *page;
	unsigned int i, bad = 0;

	for (i = 0; i < nr; i++) {
		page = backing_page(backing, slot[i]);
		bad += backing_fetch(backing, slot[i]) < 0 || page[0] != i % 251 + 1 ||
		       page[SGX_PAGE_SIZE - 1] != i % 251 + 1;
	}
	return bad;
}

static void test_batches(struct arena *arena, const char *path, const char *name)
{
	static uint32_t slot[MANY];
	struct backing *backing;
	int r;

	TAP_MUST(backing_create(arena, path, 0, &backing) == 0, "%s: a store", name);
	TAP_CHECK(fill(backing, slot, MANY, &r) == MANY, "%s: %u slots", name, MANY);
	TAP_CHECK(stats_of(backing).written + stats_of(backing).waiting == MANY &&
			  stats_of(backing).waiting < 16,
		  "%s: %lu are in the file, %lu wait", name,
		  (unsigned long)stats_of(backing).written,
		  (unsigned long)stats_of(backing).waiting);
	TAP_CHECK(wrong(backing, slot, MANY) == 0 &&
			  stats_of(backing).read == stats_of(backing).written,
		  "%s: they come back as they went", name);
	TAP_CHECK(wrong(backing, slot, MANY) == 0, "%s: and again", name);
	for (r = 0; r < MANY; r += 2)
		backing_free(backing, &slot[r]);
	backing_write_out(backing);
	TAP_CHECK(backing_used(backing) == MANY / 2, "%s: half are free", name);
	backing_destroy(backing);
}

static void test_write_fails(struct arena *arena, const char *path, int err)
{
	struct backing_faults faults = { .write = err }, none = { 0 };
	static uint32_t slot[MANY];
	struct backing *backing;
	unsigned int nr;
	int r;

	backing_create(arena, path, 0, &backing);
	backing_fail_file(backing, &faults);
	nr = fill(backing, slot, MANY, &r);
	TAP_CHECK(nr < 400 && r == err, "writes fail with %d: after %u slots there are no more",
		  err, nr);
	TAP_CHECK(stats_of(backing).write_errors > 0 && stats_of(backing).written == 0,
		  "it is counted");
	TAP_CHECK(backing_alloc(backing, &slot[nr]) == err, "nor later");
	backing_fail_file(backing, &none);
	TAP_CHECK(wrong(backing, slot, nr) == 0, "nothing is lost of those that wait");
	TAP_CHECK(backing_alloc(backing, &slot[nr]) == 0,
		  "when it works again, there are new ones");
	backing_destroy(backing);
}

static void test_read_fails(struct arena *arena, const char *path)
{
	struct backing_faults faults = { .read = -EIO }, none = { 0 }, lies = { .lies = true };
	static uint32_t slot[64];
	struct backing *backing;
	int r;

	backing_create(arena, path, 0, &backing);
	fill(backing, slot, 64, &r);
	backing_fail_file(backing, &faults);
	TAP_CHECK(backing_fetch(backing, slot[3]) == -EIO && stats_of(backing).read_errors == 1,
		  "a read that fails says so");
	backing_fail_file(backing, &none);
	TAP_CHECK(wrong(backing, slot, 64) == 0, "and what it was to read is there later");
	for (r = 0; r < 64; r++)
		backing_free(backing, &slot[r]);
	backing_fail_file(backing, &lies);
	fill(backing, slot, 64, &r);
	TAP_CHECK(wrong(backing, slot, 64) == 64, "a file that lies holds something else");
	backing_destroy(backing);
}

/* Freed or fetched while it waits: what is written then is somebody else's. */
static void test_meanwhile(struct arena *arena, const char *path)
{
	struct backing_faults faults = { .write = -EIO }, none = { 0 };
	static uint32_t slot[100];
	struct backing *backing;
	unsigned int i;
	int r;

	backing_create(arena, path, 0, &backing);
	backing_fail_file(backing, &faults);
	fill(backing, slot, 100, &r);
	for (i = 0; i < 100; i += 3)
		backing_free(backing, &slot[i]);
	for (i = 1; i < 100; i += 3)
		(void)backing_fetch(backing, slot[i]);
	backing_fail_file(backing, &none);
	for (i = 0; i < 100; i += 3) {
		backing_alloc(backing, &slot[i]);
		memset(backing_page(backing, slot[i]), (int)i + 1, SGX_PAGE_SIZE);
		backing_write_out(backing);
		backing_complete(backing, slot[i]);
	}
	backing_write_out(backing);
	backing_write_out(backing);
	TAP_CHECK(stats_of(backing).written >= 33 && wrong(backing, slot, 100) == 0,
		  "slots that were freed and used again meanwhile hold what is theirs");
	backing_destroy(backing);
}

static void test_file_tier(struct arena *arena)
{
	char dir[] = "/tmp/swsgx-store-XXXXXX";
	char path[64];

	TAP_MUST(mkdtemp(dir), "a directory");
	snprintf(path, sizeof(path), "%s/store", dir);
	test_batches(arena, path, "file");
	test_batches(arena, dir, "directory");
	test_batches(arena, "/dev/shm", "a file system without direct I/O");
	test_write_fails(arena, dir, -EIO);
	test_write_fails(arena, dir, -ENOSPC);
	test_read_fails(arena, dir);
	test_meanwhile(arena, dir);
	rmdir(dir);
}

/* ---- a writer that is slow ------------------------------------------------------------------- */

static atomic_bool writes;

static int slow_answer(enum backing_call call)
{
	if (call == BACKING_WRITE && !atomic_exchange(&writes, true))
		usleep(200000);
	return 0;
}

static void *write_out(void *backing)
{
	backing_write_out(backing);
	return NULL;
}

/* While one writes, others who find that too many slots wait for the file wait as well. */
static void test_slow_writer(struct arena *arena)
{
	enum { SLOTS = 400 };
	static uint32_t slot[SLOTS];
	struct backing_stats stats;
	struct backing *backing;
	pthread_t thread;
	int r = 0;

	for (unsigned int i = 0; i < SLOTS; i++)
		slot[i] = BACKING_NO_SLOT;
	TAP_MUST(backing_create(arena, ".", 0, &backing) == 0, "a store with a file");
	for (unsigned int i = 0; i < SLOTS && r == 0; i++) {
		if (i == 64) {
			backing_on_call(backing, slow_answer);
			pthread_create(&thread, NULL, write_out, backing);
			while (!atomic_load(&writes))
				usleep(100);
		}
		r = backing_alloc(backing, &slot[i]);
		if (r == 0)
			backing_complete(backing, slot[i]);
	}
	backing_stats_read(backing, &stats);
	TAP_CHECK(r == 0 && stats.refused == 0 && stats.written > 0,
		  "a store whose writer is slow is not full (%d)", r);
	pthread_join(thread, NULL);
	for (unsigned int i = 0; i < SLOTS; i++)
		if (slot[i] != BACKING_NO_SLOT)
			backing_free(backing, &slot[i]);
	backing_destroy(backing);
}

int main(void)
{
	struct arena *arena = arena_create(1u << 20);
	size_t used = arena_used_bytes(arena);

	test_slots(arena, NULL, "memory");
	test_killed(arena);
#ifdef __SANITIZE_THREAD__
	tap_skip("killed between two instructions", "no threads, and TSan makes very many of one");
#else
	test_killed_between(arena);
	test_killed_growing(arena, false);
	test_killed_growing(arena, true);
#endif
	test_cap(arena);
	test_give_back(arena);
	test_files(arena);
	test_full_disk(arena);
	test_file_tier(arena);
	test_slow_writer(arena);
	TAP_CHECK(arena_used_bytes(arena) == used, "nothing is left behind");
	arena_destroy(arena);
	return tap_done();
}
