/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What mmap and mprotect may ask for: one row a rule.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/personality.h>

#include "lib/tap.h"
#include "lib/world.h"

#define R ENCL_R
#define W ENCL_W
#define X ENCL_X

/* Pages 0 RW, 1 R, 2 RX, 3 TCS, 5 RWX of 8; 4, 6 and 7 are holes. */
static const struct {
	const char *name;
	bool initialized;
	int64_t first, end; /* pages */
	unsigned int rwx;
	int r;
} cases[] = {
	{ "RW of an RW page", true, 0, 1, R | W, 0 },
	{ "RX of an RW page", true, 0, 1, R | X, -EACCES },
	{ "W of an R page", true, 1, 2, W, -EACCES },
	{ "R over pages that all have it", true, 0, 3, R, 0 },
	{ "RW over one that has no W", true, 0, 2, R | W, -EACCES },
	{ "RX of an RX page", true, 2, 3, R | X, 0 },
	{ "RW of a TCS", true, 3, 4, R | W, 0 },
	{ "X of a TCS", true, 3, 4, X, -EACCES },
	{ "RWX of a hole", true, 4, 5, R | W | X, 0 },
	{ "RWX of hole, page, holes", true, 4, 8, R | W | X, 0 },
	{ "nothing, of everything", true, 0, 8, 0, 0 },
	{ "R of everything", true, 0, 8, R, 0 },
	{ "one page below the enclave", true, -1, 1, 0, -EACCES },
	{ "one page behind the enclave", true, 7, 9, R, -EACCES },
	{ "before EINIT, outside", false, -8, -4, R | W | X, 0 },
	{ "before EINIT, around a page that forbids it", false, -8, 16, X, -EACCES },
	{ "before EINIT, inside", false, 0, 1, R | W, 0 },
	{ "before EINIT, inside, too much", false, 0, 1, X, -EACCES },
};

static void world(struct world *w, struct build *b)
{
	static struct sgx_tcs tcs = { .ossa = 4096, .nssa = 1 };

	world_init(w, 32, 0);
	TAP_MUST(build_create(b, w, 8 * SGX_PAGE_SIZE, 0) == 0, "created");
	TAP_CHECK(encl_may_map(b->encl, b->base, b->base + b->size, R | W | X) == 0,
		  "an enclave with no page may be mapped in any way");
	TAP_MUST(!build_add(b, 0, NULL, FLAGS_RW) && !build_add(b, 1, NULL, FLAGS_R) &&
			 !build_add(b, 2, NULL, FLAGS_RX) && !build_add(b, 3, &tcs, FLAGS_TCS) &&
			 !build_add(b, 5, NULL, FLAGS_RWX),
		 "pages added");
}

int main(void)
{
	struct encl *fresh;
	struct world w;
	struct build b;
	int r;

	world(&w, &b);
	TAP_MUST(encl_open(w.registry, &fresh) == 0, "opened");
	TAP_CHECK(encl_may_map(fresh, 0x1000, 0x2000, R | X) == 0, "before CREATE anything goes");
	encl_put(fresh);
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			if (cases[i].initialized != pass)
				continue;
			r = encl_may_map(b.encl, b.base + (uint64_t)cases[i].first * SGX_PAGE_SIZE,
					 b.base + (uint64_t)cases[i].end * SGX_PAGE_SIZE,
					 cases[i].rwx);
			TAP_CHECK(r == cases[i].r, "%s: %d (%d)", cases[i].name, cases[i].r, r);
		}
		if (!pass)
			TAP_MUST(build_init(&b) == 0, "initialised");
	}
	if (personality(READ_IMPLIES_EXEC) != -1) {
		r = encl_may_map(b.encl, b.base, b.base + SGX_PAGE_SIZE, R);
		TAP_CHECK(r == -EACCES, "READ_IMPLIES_EXEC: -EACCES (%d)", r);
		personality(0);
	}
	build_fini(&b);
	world_fini(&w, "map");
	return tap_done();
}
