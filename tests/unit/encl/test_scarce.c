/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Memory of the arena runs out: a script is run once to count the allocations, and then once more for each of these, which
 * fails.  What it was for is refused, and works when it is asked for again; and nothing is left in the end.
 *
 * arena_alloc() is the linker's --wrap of it.
 */
#include <errno.h>
#include <string.h>

#include "base/arena.h"
#include "lib/world.h"

enum { PAGES = 40, ADDED = 30, EPC_PAGES = 24, RUNS_MAX = 1000 };

void *__real_arena_alloc(struct arena *arena, size_t bytes);
void *__wrap_arena_alloc(struct arena *arena, size_t bytes);

static unsigned int allocs, fails_at; /* 0: none */

void *__wrap_arena_alloc(struct arena *arena, size_t bytes)
{
	return ++allocs == fails_at ? NULL : __real_arena_alloc(arena, bytes);
}

struct run {
	unsigned int refused; /* calls that were, for want of memory */
	const char *wrong;    /* what should not have been */
};

static void expect(struct run *run, bool holds, const char *what)
{
	if (!holds && !run->wrong)
		run->wrong = what;
}

static void create(struct run *run, struct build *b, struct world *w)
{
	int r = build_create(b, w, 64 * SGX_PAGE_SIZE, 0);

	expect(run, r == 0 || r == -ENOMEM, "creating fails for want of memory alone");
	if (r == 0)
		return;
	run->refused++;
	if (b->encl)
		build_fini(b);
	expect(run, build_create(b, w, 64 * SGX_PAGE_SIZE, 0) == 0, "the next one is created");
}

static void add(struct run *run, struct build *b, uint64_t i)
{
	int r = build_add(b, i, NULL, FLAGS_RW);

	expect(run, r == 0 || r == -ENOMEM, "adding fails for want of memory alone");
	if (r == 0)
		return;
	run->refused++;
	expect(run, build_add(b, i, NULL, FLAGS_RW) == 0, "the page can be added after all");
}

static void touch(struct run *run, struct build *b, uint64_t i, uint64_t version, uint64_t next)
{
	struct encl_fault f = { 0 };
	enum touch t = touch_page(b->encl, i, version, next, &f);

	expect(run, t == TOUCH_OK || (t == TOUCH_FAULT && f.kind == ENCL_FAULT_OOM),
	       "a touch fails for want of memory alone");
	if (t == TOUCH_OK)
		return;
	run->refused++;
	expect(run, touch_page(b->encl, i, version, next, &f) == TOUCH_OK,
	       "the page can be touched after all");
}

/* Pages are added while others leave, all of them come and go, and some are asked for that nobody added. */
static void script(struct run *run, struct build *b, struct world *w)
{
	struct encl_fault f = { 0 };

	create(run, b, w);
	for (uint64_t i = 0; i < ADDED; i++)
		add(run, b, i);
	expect(run, build_init(b) == 0, "the measurement is that of the pages");
	for (uint64_t i = 0; i < ADDED; i++)
		touch(run, b, i, 0, 1);
	for (uint64_t i = ADDED; i < PAGES; i++) {
		if (touch_page(b->encl, i, 0, 0, &f) == TOUCH_FAULT && f.kind == ENCL_FAULT_OOM)
			run->refused++;
	}
	for (uint64_t i = 0; i < ADDED; i++)
		touch(run, b, i, 1, 1);
}

/* False: fewer allocations than @nth were made. */
static bool fail_nth(unsigned int nth, struct run *run)
{
	struct world_left left;
	struct world w;
	struct build b;
	char why[200];
	bool reached;

	*run = (struct run){ 0 };
	fails_at = allocs = 0;
	world_init(&w, EPC_PAGES, 0);
	allocs = 0;
	fails_at = nth;
	script(run, &b, &w);
	reached = allocs >= nth;
	fails_at = 0;
	expect(run, epc_audit(w.epc, false, why, sizeof(why)) == 0, "the audit");
	build_fini(&b);
	expect(run, epc_audit(w.epc, false, why, sizeof(why)) == 0, "the audit, in the end");
	expect(run, !world_left(&w, &left), "something is left");
	world_destroy(&w);
	return reached;
}

int main(void)
{
	unsigned int nth, refused = 0, wrong = 0;
	struct run run;

	for (nth = 1; nth < RUNS_MAX && fail_nth(nth, &run); nth++) {
		refused += run.refused;
		if (run.wrong)
			TAP_CHECK(false, "allocation %u fails: %s", nth, run.wrong);
		wrong += run.wrong != NULL;
	}
	TAP_CHECK(nth > 8 && nth < RUNS_MAX && wrong == 0,
		  "each of %u allocations failed once, and all that was to be had was had",
		  nth - 1);
	TAP_CHECK(refused > 0, "%u calls were refused for it", refused);
	return tap_done();
}
