/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The window: ranges, giving, taking with the last bytes, and that every process sees it happen.
 */
#include "epc/window.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/window_priv.h"
#include "lib/tap.h"
#include "lib/tied.h"

enum { PAGE = 4096, HOMES = 16 };

static unsigned long file_pages(const struct window *window)
{
	struct stat st;

	fstat(window_fd(window), &st);
	return (unsigned long)st.st_blocks * 512 / PAGE;
}

static void test_ranges(struct window *window)
{
	/* Where address space is short, as under a sanitizer, the window is smaller. */
	uint64_t large = window->span < 1ull << 44 ? window->span / 16 : 1ull << 40;
	uint64_t a, b, c, again;
	int r;

	TAP_CHECK(window_range_alloc(window, PAGE, &a) == 0 && a % PAGE == 0,
		  "a range of one page");
	TAP_CHECK(window_range_alloc(window, 5 * PAGE, &b) == 0 && b % (8 * PAGE) == 0,
		  "5 pages are aligned to 8");
	TAP_CHECK(window_range_alloc(window, large, &c) == 0 && c % large == 0,
		  "a range of %llu GiB", (unsigned long long)(large >> 30));
	TAP_CHECK(a != b && (b < c || b >= c + large), "ranges do not overlap");
	r = window_range_alloc(window, 1ull << 46, &again);
	TAP_CHECK(r == -ENOSPC, "64 TiB are refused");
	window_range_free(window, b, 5 * PAGE);
	window_range_free(window, a, PAGE);
	window_range_free(window, c, large);
	TAP_CHECK(window_range_alloc(window, large * 8, &again) == 0,
		  "half of everything can be had when all is free again");
	window_range_free(window, again, large * 8);
	TAP_CHECK(window_home(window, 1) == window_home(window, 0) + PAGE,
		  "homes lie side by side");
}

/* Many ranges at random, against a map of what is taken. */
static void test_ranges_random(struct window *window)
{
	enum { NR = 200 };
	uint64_t offset[NR] = { 0 }, bytes[NR] = { 0 };
	unsigned int seed = 7, i, j, step, overlaps = 0;

	for (step = 0; step < 4000; step++) {
		i = (unsigned int)rand_r(&seed) % NR;
		if (bytes[i]) {
			window_range_free(window, offset[i], bytes[i]);
			bytes[i] = 0;
			continue;
		}
		bytes[i] = (uint64_t)(1 + (unsigned int)rand_r(&seed) % 100) * PAGE;
		if (window_range_alloc(window, bytes[i], &offset[i]) < 0)
			overlaps += 1000;
		for (j = 0; j < NR; j++)
			overlaps += j != i && bytes[j] && offset[i] < offset[j] + bytes[j] &&
				    offset[j] < offset[i] + bytes[i];
	}
	for (i = 0; i < NR; i++) {
		if (bytes[i])
			window_range_free(window, offset[i], bytes[i]);
	}
	TAP_CHECK(overlaps == 0, "4000 random ranges never overlap");
}

static unsigned int depth_of(const struct range *range)
{
	unsigned int a, b;

	if (!range)
		return 0;
	a = depth_of(range->below[0]);
	b = depth_of(range->below[1]);
	return 1 + (a > b ? a : b);
}

/* However many are free, one is found in as many steps as there are doublings of them, and some. */
static void test_ranges_many(struct window *window)
{
	enum { NR = 1 << 14, BYTES = 16 * PAGE };
	static uint64_t offset[NR];
	uint64_t used = arena_used_bytes(window->arena);
	unsigned int i, depth, deepest = 0, failed = 0;
	const struct range *tree;

	for (i = 0; i < NR; i++)
		failed += window_range_alloc(window, BYTES, &offset[i]) != 0;
	for (i = 0; i < NR; i += 2)
		window_range_free(window, offset[i], BYTES);
	for (tree = window->free_ranges; tree; tree = tree->larger) {
		depth = depth_of(tree);
		deepest = depth > deepest ? depth : deepest;
	}
	TAP_CHECK(failed == 0 && deepest >= 13 && deepest <= 13 + 6,
		  "%d free ranges are a tree of depth %u", NR / 2, deepest);
	for (i = 1; i < NR; i += 2)
		window_range_free(window, offset[i], BYTES);
	TAP_CHECK(arena_used_bytes(window->arena) == used, "and join again when all are free");
}

static void test_give_take(struct window *window)
{
	/* Out of order, with neighbours, with the ends of the file's parts. */
	static const unsigned int at[WINDOW_STAGE_PAGES] = { 9, 3, 4, 5,  40, 41, 7,  0,
							     8, 2, 1, 60, 61, 62, 63, 20 };
	unsigned char bytes[PAGE];
	uint64_t base, offsets[WINDOW_STAGE_PAGES];
	unsigned long before = file_pages(window);
	unsigned int i, wrong = 0;

	window_range_alloc(window, 64 * PAGE, &base);
	for (i = 0; i < WINDOW_STAGE_PAGES; i++) {
		memset(bytes, (int)(100 + i), PAGE);
		offsets[i] = base + at[i] * PAGE;
		wrong += window_give(window, offsets[i], bytes) != 0;
	}
	TAP_CHECK(wrong == 0 && file_pages(window) == before + WINDOW_STAGE_PAGES,
		  "16 pages given");
	TAP_CHECK(*(unsigned char *)window_at(window, offsets[3]) == 103, "the alias shows them");
	window_take(window, 0, offsets, WINDOW_STAGE_PAGES);
	for (i = 0; i < WINDOW_STAGE_PAGES; i++) {
		memset(bytes, (int)(100 + i), PAGE);
		wrong += memcmp(window_stage(window, 0, i), bytes, PAGE) != 0;
	}
	TAP_CHECK(wrong == 0, "taken pages are on the stage, each in its place");
	TAP_CHECK(file_pages(window) == before, "and no longer in the file");
	window_take_done(window, 0);
	window_take(window, 0, offsets, 0);
	window_take_done(window, 0);
	TAP_CHECK(window_populate(window, base, 64) == 0 && file_pages(window) == before + 64,
		  "populated pages are there");
	TAP_CHECK(*(unsigned char *)window_at(window, base + 5 * PAGE) == 0, "and zero");
	window_drop(window, base, 32);
	TAP_CHECK(file_pages(window) == before + 32, "dropped pages are gone");
	window_range_free(window, base, 64 * PAGE);
	TAP_CHECK(file_pages(window) == before, "a freed range holds no memory");
}

struct writer {
	_Atomic uint64_t done;
	atomic_bool stop;
};

/* One instruction each, so it is either in the page that was taken or in the one that came after. */
static void add_one(volatile uint64_t *word) { __asm__ volatile("addq $1, %0" : "+m"(*word)); }

/*
 * Another process counts in a page, without a pause, while the page is taken again and again.  No
 * count may be lost: what the stage ever showed, and what is in the file at the end, add up.
 */
static void test_last_words(struct window *window, struct arena *arena)
{
	struct writer *w = arena_alloc(arena, sizeof(*w));
	uint64_t base, sum = 0, seen = 0, before;
	unsigned int round;
	void *mapping;
	pid_t pid;

	window_range_alloc(window, PAGE, &base);
	window_populate(window, base, 1);
	mapping = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, window_fd(window),
		       (off_t)base);
	pid = fork_tied();
	if (pid == 0) {
		while (!atomic_load(&w->stop)) {
			add_one(mapping);
			atomic_fetch_add(&w->done, 1);
		}
		_exit(0);
	}
	for (round = 0; round < 300; round++) {
		before = atomic_load(&w->done);
		while (atomic_load(&w->done) < before + 100)
			sched_yield();
		window_take(window, 0, &base, 1);
		sum += *(uint64_t *)window_stage(window, 0, 0);
		seen += *(uint64_t *)window_stage(window, 0, 0) > 0;
		window_take_done(window, 0);
	}
	atomic_store(&w->stop, true);
	waitpid(pid, NULL, 0);
	sum += *(uint64_t *)window_at(window, base);
	TAP_CHECK(seen == 300, "a taken page holds what another process wrote");
	TAP_CHECK(sum == atomic_load(&w->done), "its last words too: %lu of %lu",
		  (unsigned long)sum, (unsigned long)atomic_load(&w->done));
	munmap(mapping, PAGE);
	window_range_free(window, base, PAGE);
	arena_free(arena, w, sizeof(*w));
}

static void test_unmap(struct window *window)
{
	uint64_t base;
	unsigned char *map;
	unsigned int i, wrong = 0;

	window_range_alloc(window, 64 * PAGE, &base);
	map = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, window_fd(window),
		   (off_t)base);
	for (i = 0; i < 64; i += 3)
		memset(map + i * PAGE, (int)i + 1, PAGE);
	i = (unsigned int)file_pages(window);
	window_unmap(window, base, 64);
	TAP_CHECK(file_pages(window) == i, "unmapping neither adds nor removes pages");
	for (i = 0; i < 64; i += 3)
		wrong += *(unsigned char *)window_at(window, base + i * PAGE) != i + 1;
	TAP_CHECK(wrong == 0, "and keeps their contents");
	munmap(map, 64 * PAGE);
	window_range_free(window, base, 64 * PAGE);
}

/* Die in window_take() at every point a kill can hit, and let another process see it through. */
static void test_resume(struct window *window)
{
	struct window_slot *slot = &window->first;
	const int *pipe = window->pipe[0];
	uint64_t base, offsets[2];
	unsigned char bytes[PAGE];
	bool ok = true;
	int status;
	pid_t pid;

	window_range_alloc(window, 2 * PAGE, &base);
	offsets[0] = base + PAGE;
	offsets[1] = base;
	memset(bytes, 'x', PAGE);
	window_give(window, offsets[0], bytes);
	memset(bytes, 'y', PAGE);
	window_give(window, offsets[1], bytes);
	TAP_CHECK(!window_take_resume(window, 0), "nothing to resume on an idle slot");
	pid = fork();
	if (pid == 0) {
		window_take(window, 0, offsets, 2);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	ok &= window_take_resume(window, 0);
	ok &= *(char *)window_stage(window, 0, 0) == 'x' &&
	      *(char *)window_stage(window, 0, 1) == 'y';
	TAP_CHECK(ok && status == 0, "pages taken by a process that died are on the stage");
	window_take_done(window, 0);

	/* Pinned, not yet punched. */
	window_give(window, offsets[0], window_stage(window, 0, 0));
	window_give(window, offsets[1], window_stage(window, 0, 1));
	if (splice(window_fd(window), &(loff_t){ (loff_t)base }, pipe[1], NULL, PAGE, 0) != PAGE)
		ok = false;
	slot->first = 0;
	slot->phase = WINDOW_TAKE_PINNING;
	TAP_CHECK(ok && !window_take_resume(window, 0), "a death while pinning has taken nothing");
	TAP_CHECK(*(char *)window_at(window, base) == 'y', "the file still has the page");

	/* Pinned, punched, half read. */
	window_take(window, 0, offsets, 2);
	memset(bytes, 'y', PAGE);
	ok = write(pipe[1], bytes, PAGE) == PAGE;
	memset(bytes, 'x', PAGE);
	ok &= write(pipe[1], bytes, PAGE) == PAGE;
	ok &= read(pipe[0], window_stage(window, 0, 1), 1000) == 1000;
	memset(window_stage(window, 0, 0), 0, PAGE);
	memset((char *)window_stage(window, 0, 1) + 1000, 0, PAGE - 1000);
	slot->first = 0;
	slot->end = 2;
	slot->phase = WINDOW_TAKE_MOVING;
	ok &= window_take_resume(window, 0);
	ok &= !memcmp(window_stage(window, 0, 0), bytes, PAGE);
	memset(bytes, 'y', PAGE);
	ok &= !memcmp(window_stage(window, 0, 1), bytes, PAGE);
	TAP_CHECK(ok, "a death in the middle of the read loses nothing");
	window_take_done(window, 0);
	window_range_free(window, base, 2 * PAGE);
}

enum { STEPS_MAX = 20000, CALLS_MAX = 64 };

/* The instructions of a window_take(), and which of them are system calls: a child that is far on gets there call by call. */
struct path {
	unsigned int steps, calls;
	unsigned int call_at[CALLS_MAX];
};

/* A child that is about to take the first page of @offsets. */
static pid_t taker(struct window *window, const uint64_t *offsets)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(1);
		raise(SIGSTOP);
		window_take(window, 0, offsets, 1);
		_exit(0);
	}
	return pid;
}

static bool go_on(int how, pid_t pid)
{
	int status = 0;

	return ptrace(how, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid &&
	       WIFSTOPPED(status);
}

/* All of them, one by one. */
static void follow(struct window *window, const uint64_t *offsets, struct path *path)
{
	struct user_regs_struct regs;
	pid_t pid = taker(window, offsets);
	int status;

	memset(path, 0, sizeof(*path));
	waitpid(pid, &status, 0);
	while (WIFSTOPPED(status) && path->steps < STEPS_MAX) {
		ptrace(PTRACE_GETREGS, pid, NULL, &regs);
		if ((ptrace(PTRACE_PEEKTEXT, pid, regs.rip, NULL) & 0xffff) == 0x050f &&
		    path->calls < CALLS_MAX)
			path->call_at[path->calls++] = path->steps;
		if (!go_on(PTRACE_SINGLESTEP, pid))
			return;
		path->steps++;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void die_at(struct window *window, const uint64_t *offsets, const struct path *path,
		   unsigned int steps)
{
	unsigned int call, done = 0;
	pid_t pid = taker(window, offsets);
	bool alive;

	waitpid(pid, NULL, 0);
	alive = true;
	for (call = 0; alive && call < path->calls && path->call_at[call] < steps; call++) {
		alive = go_on(PTRACE_SYSCALL, pid) && go_on(PTRACE_SYSCALL, pid);
		done = path->call_at[call] + 1;
	}
	for (; alive && done < steps; done++)
		alive = go_on(PTRACE_SINGLESTEP, pid);
	kill(pid, SIGKILL);
	if (alive)
		waitpid(pid, NULL, 0);
}

/* A sanitizer's process takes a tenth of a second to fork, and more instructions: ASan's more than STEPS_MAX. */
#if defined(__SANITIZE_THREAD__)
enum { STRIDE = 37 };
#elif defined(__SANITIZE_ADDRESS__)
enum { STRIDE = 401 };
#else
enum { STRIDE = 1 };
#endif

/* Killed after each instruction.  The slot has been in use before, for pages that are others' by now. */
static void test_die_anywhere(struct window *window)
{
	enum { NR = 4 };
	unsigned int steps, wrong = 0, seen_through = 0, i;
	uint64_t base, offsets[NR];
	unsigned char bytes[PAGE];
	const unsigned char *at;
	struct path path;
	bool taken;

	window_range_alloc(window, NR * PAGE, &base);
	for (i = 0; i < NR; i++)
		offsets[i] = base + i * PAGE;
	window_populate(window, base, NR);
	follow(window, offsets, &path);
	window_take_resume(window, 0);
	window_take_done(window, 0);
	for (steps = 0; steps <= path.steps; steps += STRIDE) {
		for (i = 0; i < NR; i++) {
			memset(bytes, (int)i + 1, PAGE);
			window_give(window, offsets[i], bytes);
		}
		window_take(window, 0, offsets, NR);
		for (i = 0; i < NR; i++)
			window_return(window, 0, i);
		window_take_done(window, 0);
		die_at(window, offsets, &path, steps);
		taken = window_take_resume(window, 0);
		seen_through += taken;
		for (i = 0; i < NR; i++) {
			memset(bytes, (int)i + 1, PAGE);
			at = taken && i == 0 ? window_stage(window, 0, 0) : NULL;
			wrong += !at && !window_has(window, offsets[i]);
			wrong += memcmp(at ? at : window_at(window, offsets[i]), bytes, PAGE) != 0;
		}
		window_take_done(window, 0);
	}
	TAP_CHECK(!wrong && path.calls > 2 && seen_through > 0,
		  "killed after each of %u instructions, %u times with the page: none is lost",
		  path.steps, seen_through);
	window_range_free(window, base, NR * PAGE);
}

/* What this process has mapped: a sanitizer's shadow is larger than a window. */
static uint64_t address_space_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long pages = 0;

	if (file && fscanf(file, "%lu", &pages) != 1)
		pages = 0;
	if (file)
		fclose(file);
	return (uint64_t)pages * PAGE;
}

static void test_create(struct arena *arena)
{
	struct rlimit old, tight;
	struct window *window;
	size_t used = arena_used_bytes(arena);

	getrlimit(RLIMIT_AS, &old);
	tight = old;
	tight.rlim_cur = address_space_bytes() + (1ull << 40);
	setrlimit(RLIMIT_AS, &tight);
	TAP_CHECK(window_create(arena, 4, &window) == 0,
		  "a window can be had with little address space");
	setrlimit(RLIMIT_AS, &old);
	TAP_CHECK(fcntl(window_fd(window), F_GETFD) == FD_CLOEXEC && window_fd(window) >= 100,
		  "its descriptor is high and not inherited by exec");
	window_destroy(window);
	TAP_CHECK(arena_used_bytes(arena) == used, "a destroyed window leaves nothing behind");
	getrlimit(RLIMIT_NOFILE, &old);
	tight = old;
	tight.rlim_cur = 4; /* one at a time: there is none for both ends of a pipe */
	setrlimit(RLIMIT_NOFILE, &tight);
	TAP_CHECK(window_create(arena, 4, &window) == -EMFILE, "without descriptors there is none");
	setrlimit(RLIMIT_NOFILE, &old);
	TAP_CHECK(arena_used_bytes(arena) == used, "and nothing is left behind");
}

/* Without its descriptors it can neither go on nor say so to a caller: the process ends, and says which call it was. */
static void test_give_up(struct window *window, int end, const char *call)
{
	char said[256] = "";
	int text[2], status = 0;
	uint64_t base;
	pid_t pid;

	window_range_alloc(window, PAGE, &base);
	window_give(window, base, window_stage(window, 0, 0));
	TAP_MUST(pipe(text) == 0, "a pipe");
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
		dup2(text[1], STDERR_FILENO);
		close(window->pipe[0][end]);
		window_take(window, 0, &base, 1);
		_exit(0);
	}
	close(text[1]);
	waitpid(pid, &status, 0);
	TAP_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
		  "%s fails for good: SIGABRT (%#x)", call, status);
	TAP_CHECK(read(text[0], said, sizeof(said) - 1) > 0 && strstr(said, call) &&
			  strstr(said, strerrordesc_np(EBADF)),
		  "and a line with the call and its error: %.80s", said);
	close(text[0]);
	/* What the dead had begun ends as that of anybody killed. */
	if (window_take_resume(window, 0))
		window_take_done(window, 0);
	window_range_free(window, base, PAGE);
}

static void test_fallbacks(struct window *window)
{
	enum window_pin best = window->pin;

	TAP_CHECK(best == WINDOW_PIN_SPLICE || best == WINDOW_PIN_VMSPLICE,
		  "a way to pin was proved");
	window->pin = WINDOW_PIN_VMSPLICE;
	window->give_by_alias = true;
	window->pipe_pages = 3;
	test_give_take(window);
	window->pin = best;
	window->give_by_alias = false;
	window->pipe_pages = 16;
}

int main(void)
{
	struct arena *arena = arena_create(4u << 20);
	struct window *window;

	TAP_MUST(window_create(arena, HOMES, &window) == 0, "a window");
	test_ranges(window);
	test_ranges_random(window);
	test_ranges_many(window);
	test_give_take(window);
	test_fallbacks(window);
	test_last_words(window, arena);
	test_unmap(window);
	test_resume(window);
	test_die_anywhere(window);
	test_give_up(window, 1, "splice");
	test_give_up(window, 0, "readv");
	window_destroy(window);
	test_create(arena);
	arena_destroy(arena);
	return tap_done();
}
