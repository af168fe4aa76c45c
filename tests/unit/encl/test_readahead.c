/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Read-ahead: what it saves where pages are touched in order, and that it keeps out of the way where they are not.
 *
 * An address space with page tables is modelled: a page that is mapped and still in the EPC is touched without a fault.
 */
#include <errno.h>
#include <string.h>

#include "encl/encl_priv.h"
#include "epc/stats.h"
#include "epc/window.h"
#include "lib/world.h"

enum { EPC_PAGES = 256, PAGES = 600, MANY = 4, SEEDS = 3 };

struct space {
	struct world w;
	struct build b;
	struct epc_page *mapped[MANY * PAGES]; /* the frame that the page tables show; NULL: none */
	uint64_t version[MANY * PAGES];
	unsigned int touches, faults, wrong;
};

static int space_map(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, unsigned int rwx)
	LOCK_ATTR(no_thread_safety_analysis)
{
	struct space *s = mm;
	uint64_t idx = (la - encl_base(encl)) / SGX_PAGE_SIZE;

	s->mapped[idx] = pages_find_locked(encl, idx)->epc_page;
	return 0;
}

static int space_place(void *mm, struct encl *encl, uint64_t la, uint64_t win_off,
		       const void *bytes, unsigned int rwx)
{
	if (window_give(encl->window, win_off, bytes) < 0)
		return -ENOMEM;
	space_map(mm, encl, la, win_off, rwx);
	return 1;
}

static bool space_signal_pending(void *mm) { return false; }

static const struct encl_mm_ops space_ops = {
	.map = space_map,
	.place = space_place,
	.signal_pending = space_signal_pending,
};

static void *bytes_of(struct space *s, uint64_t idx)
{
	return window_at(s->b.encl->window, s->b.encl->win_off + idx * SGX_PAGE_SIZE);
}

/* As one instruction does it: faults until the page is mapped, and changes it. */
static void touch(struct space *s, uint64_t idx) LOCK_ATTR(no_thread_safety_analysis)
{
	struct encl_mm mm = { .ops = &space_ops, .ctx = s };
	const struct encl_page *page = pages_find_locked(s->b.encl, idx);
	struct encl_fault f;

	s->touches++;
	if (!s->mapped[idx] || !page_is_here(page) || page->epc_page != s->mapped[idx]) {
		s->faults++;
		f = encl_fault(s->b.encl, &mm, encl_base(s->b.encl) + idx * SGX_PAGE_SIZE, ENCL_W,
			       ENCL_R | ENCL_W, true);
		s->wrong += f.kind != ENCL_FAULT_DONE;
	}
	s->wrong += !page_has_pattern(bytes_of(s, idx), idx, s->version[idx]);
	page_pattern(bytes_of(s, idx), idx, ++s->version[idx]);
}

static struct epc_group_stats stats_of(struct space *s)
{
	struct epc_group_stats stats;

	epc_group_stats_read(epc_group_root(s->w.epc), &stats);
	return stats;
}

static void space_init(struct space *s, unsigned int times)
{
	memset(s, 0, sizeof(*s));
	world_init(&s->w, times * EPC_PAGES, 0);
	TAP_MUST(build_create(&s->b, &s->w, 4096 * SGX_PAGE_SIZE, 0) == 0 &&
			 build_add_many(&s->b, 0, times * PAGES) == 0 && build_init(&s->b) == 0,
		 "an enclave of %u pages in %u", times * PAGES, times * EPC_PAGES);
}

static void space_fini(struct space *s, const char *name)
{
	struct epc_group_stats stats = stats_of(s);

	TAP_CHECK(s->wrong == 0, "%s: every touch found what it had to", name);
	TAP_CHECK(stats.count[EPC_READAHEAD_USED] + stats.count[EPC_READAHEAD_WASTED] <=
			  stats.count[EPC_READAHEADS],
		  "%s: %lu pages read ahead, %lu used, %lu wasted", name,
		  (unsigned long)stats.count[EPC_READAHEADS],
		  (unsigned long)stats.count[EPC_READAHEAD_USED],
		  (unsigned long)stats.count[EPC_READAHEAD_WASTED]);
	build_fini(&s->b);
	world_fini(&s->w, name);
}

static void test_sequential(void)
{
	static struct space s;
	struct epc_group_stats stats;

	space_init(&s, 1);
	for (unsigned int i = 0; i < 5 * PAGES; i++)
		touch(&s, i % PAGES);
	stats = stats_of(&s);
	TAP_CHECK(s.faults * 4 < s.touches, "in order: %u faults for %u pages", s.faults,
		  s.touches);
	TAP_CHECK(stats.count[EPC_READAHEAD_USED] * 100 > 90 * stats.count[EPC_READAHEADS] &&
			  stats.count[EPC_READAHEAD_WASTED] * 33 < stats.count[EPC_READAHEADS],
		  "in order: nearly all that was read ahead was used");
	TAP_CHECK(stats.count[EPC_LOADS] < s.touches * 101 / 100,
		  "in order: %lu loads, hardly more than pages",
		  (unsigned long)stats.count[EPC_LOADS]);
	space_fini(&s, "in order");
}

/*
 * Four at once, as threads do it.  The default policy may keep fewer new pages than they have ahead; then they are too many,
 * and it must notice.
 */
static void test_streams(void)
{
	static struct space s;
	struct epc_group_stats stats;

	space_init(&s, MANY);
	for (unsigned int i = 0; i < 5 * MANY * PAGES; i++)
		touch(&s, (i % MANY * PAGES + i / MANY) % (MANY * PAGES));
	stats = stats_of(&s);
	TAP_CHECK(stats.count[EPC_READAHEADS] > 0 &&
			  stats.count[EPC_READAHEAD_WASTED] * 20 <= stats.count[EPC_LOADS],
		  "four streams: %u faults for %u pages, %lu of %lu loads in vain", s.faults,
		  s.touches, (unsigned long)stats.count[EPC_READAHEAD_WASTED],
		  (unsigned long)stats.count[EPC_LOADS]);
	space_fini(&s, "four streams");
}

static void test_random(void)
{
	static struct space s;
	struct epc_group_stats stats;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		uint64_t rng = seed;

		space_init(&s, 1);
		for (unsigned int i = 0; i < 10 * PAGES; i++) {
			rng = rng * 6364136223846793005ull + 1442695040888963407ull;
			touch(&s, (rng >> 33) % PAGES);
		}
		stats = stats_of(&s);
		TAP_CHECK(stats.count[EPC_READAHEADS] * 100 <= stats.count[EPC_LOADS],
			  "random: %lu of %lu loads were ahead",
			  (unsigned long)stats.count[EPC_READAHEADS],
			  (unsigned long)stats.count[EPC_LOADS]);
		space_fini(&s, "random");
	}
}

/* Runs that end when they are believed: it must find out, and stay away. */
static void test_deceived(unsigned int run)
{
	static struct space s;
	uint64_t rng = run, at = 0, before = 0;
	struct epc_group_stats stats;

	space_init(&s, 1);
	for (unsigned int i = 0; i < 40 * PAGES; i++) {
		if (i % run == 0) {
			rng = rng * 6364136223846793005ull + 1442695040888963407ull;
			at = (rng >> 33) % (PAGES - run);
		}
		touch(&s, at++);
		if (i == 20 * PAGES)
			before = stats_of(&s).count[EPC_READAHEADS];
	}
	stats = stats_of(&s);
	TAP_CHECK((stats.count[EPC_READAHEADS] - before) * 50 <= stats.count[EPC_LOADS] / 2 ||
			  stats.count[EPC_READAHEAD_USED] > stats.count[EPC_READAHEADS] / 2,
		  "runs of %u: %lu read ahead after %lu, of %lu loads, %lu were used", run,
		  (unsigned long)(stats.count[EPC_READAHEADS] - before), (unsigned long)before,
		  (unsigned long)stats.count[EPC_LOADS],
		  (unsigned long)stats.count[EPC_READAHEAD_USED]);
	space_fini(&s, "deceived");
}

/* What it has lost it wins back. */
static void test_again(void)
{
	static struct space s;
	uint64_t rng = 1, at = 0;
	unsigned int i, faults;

	space_init(&s, 1);
	for (i = 0; i < 10 * PAGES; i++) {
		if (i % 3 == 0) {
			rng = rng * 6364136223846793005ull + 1442695040888963407ull;
			at = (rng >> 33) % (PAGES - 3);
		}
		touch(&s, at++);
	}
	for (i = 0; i < 2 * PAGES; i++)
		touch(&s, i % PAGES);
	faults = s.faults;
	for (i = 0; i < 2 * PAGES; i++)
		touch(&s, i % PAGES);
	TAP_CHECK((s.faults - faults) * 4 < 2 * PAGES, "after all that, in order: %u faults for %u",
		  s.faults - faults, 2 * PAGES);
	space_fini(&s, "again");
}

int main(void)
{
	test_sequential();
	test_streams();
	test_random();
	test_deceived(3);
	test_deceived(4);
	test_deceived(6);
	test_deceived(12);
	test_again();
	return tap_done();
}
