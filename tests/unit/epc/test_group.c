/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Groups: the tree, each of the four numbers, who gives, promises whatever others do, forks and deaths. */
#include "epc/group.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/policy.h"
#include "lib/bare_owner.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { PAGES = 256 };

#define LIMITS(...)                                                    \
	(&(struct epc_group_limits){ .max_pages = EPC_GROUP_NO_LIMIT,  \
				     .high_pages = EPC_GROUP_NO_LIMIT, \
				     .weight = EPC_GROUP_WEIGHT __VA_OPT__(, ) __VA_ARGS__ })

#pragma GCC diagnostic ignored "-Woverride-init"
#if defined(__clang__)
#pragma clang diagnostic ignored "-Winitializer-overrides"
#endif

static struct epc_group *group(struct epc_group *parent, const char *name,
			       const struct epc_group_limits *limits)
{
	struct epc_group *g = NULL;

	TAP_MUST(epc_group_create(parent, name, limits, &g) == 0, "group %s", name);
	return g;
}

static uint32_t current(struct epc_group *g)
{
	struct epc_group_info info;

	epc_group_read(g, &info);
	return info.current_pages;
}

static uint64_t event(struct epc_group *g, enum epc_group_event e)
{
	struct epc_group_info info;

	epc_group_read(g, &info);
	return info.event[e];
}

static void check_audit(struct epc *epc, const char *when)
{
	char why[200];
	unsigned int faults = epc_audit(epc, false, why, sizeof(why));

	TAP_CHECK(faults == 0, "audit %s%s%s", when, faults ? ": " : "", why);
}

/* Use pages @from to @to in order; how many could not be had. */
static unsigned int use(struct fake_owner *owner, uint32_t from, uint32_t to)
{
	unsigned int failed = 0;

	for (; from < to; from++)
		failed += !fake_use_surely(owner, from);
	return failed;
}

static void test_tree(void)
{
	struct epc_group *root, *a, *b, *g;
	struct epc_group_info info;
	struct fake_owner *owner;
	struct fake_machine m;
	unsigned int n = 0;

	fake_machine_create(&m, PAGES, NULL, NULL, 0);
	root = epc_group_root(m.epc);
	TAP_CHECK(epc_group_create(root, "", LIMITS(), &g) == -EINVAL &&
			  epc_group_create(root, "a b", LIMITS(), &g) == -EINVAL &&
			  epc_group_create(root, "a-name-that-is-longer-than-it-may-be", LIMITS(),
					   &g) == -EINVAL,
		  "names that make no sense");
	TAP_CHECK(epc_group_create(root, "a", LIMITS(.weight = 0), &g) == -EINVAL &&
			  epc_group_create(root, "a", LIMITS(.weight = 10001), &g) == -EINVAL &&
			  epc_group_create(root, "a", LIMITS(.min_pages = 9, .max_pages = 8), &g) ==
				  -EINVAL,
		  "limits that make no sense");
	TAP_CHECK(epc_group_create(root, "a", LIMITS(.min_pages = PAGES), &g) == -ENOSPC,
		  "the whole EPC cannot be promised");
	a = group(root, "a", LIMITS(.min_pages = 50));
	b = group(a, "b", LIMITS(.min_pages = 30));
	TAP_CHECK(epc_group_create(root, "b", LIMITS(), &g) == -EEXIST &&
			  epc_group_create(a, "root", LIMITS(), &g) == -EEXIST,
		  "a name is taken once in the whole tree");
	TAP_CHECK(epc_group_create(a, "c", LIMITS(.min_pages = 21), &g) == -ENOSPC,
		  "a group passes on no more than it was promised");
	TAP_CHECK(epc_group_set(a, LIMITS(.min_pages = 29)) == -ENOSPC &&
			  epc_group_set(b, LIMITS(.min_pages = 51)) == -ENOSPC &&
			  epc_group_set(b, LIMITS(.min_pages = 50)) == 0,
		  "nor can a promise be taken back that was passed on");
	TAP_CHECK(epc_group_set(root, LIMITS()) == -EINVAL, "the root has no limits");
	TAP_CHECK(epc_group_find(m.epc, "b") == b && epc_group_find(m.epc, "root") == root &&
			  !epc_group_find(m.epc, "c"),
		  "groups are found by name");
	epc_group_read(b, &info);
	TAP_CHECK(!strcmp(info.name, "b") && info.parent == a && info.limits.min_pages == 50 &&
			  info.limits.max_pages == EPC_GROUP_NO_LIMIT && info.current_pages == 0,
		  "and tell about themselves");
	TAP_CHECK(epc_group_destroy(a) == -EBUSY && epc_group_destroy(root) == -EBUSY,
		  "a group with groups below it stays");
	for (g = NULL; (g = epc_group_next(m.epc, g));)
		n++;
	TAP_CHECK(n == 3, "the tree has three groups");
	owner = fake_owner_create_in(b, m.epc, 1, 10, true);
	TAP_CHECK(epc_group_destroy(b) == -EBUSY, "a group with an owner stays");
	use(owner, 0, 10);
	TAP_CHECK(current(b) == 10 && current(a) == 10 && current(root) == 10,
		  "a page is charged to its group and all above");
	fake_owner_put(owner);
	TAP_CHECK(current(b) == 0 && current(a) == 0 && current(root) == 0,
		  "and not when it is free");
	epc_group_read(a, &info);
	TAP_CHECK(info.peak_pages == 10, "the peak stays");
	TAP_CHECK(epc_group_destroy(b) == 0 && epc_group_destroy(a) == 0, "empty groups can go");

	check_audit(m.epc, "after all that");
	fake_machine_destroy(&m);
}

/* As many groups as there can be, and as deep. */
static void test_tree_full(void)
{
	struct epc_group *root, *deep, *g;
	struct fake_machine m;
	unsigned int n;
	char name[16];
	size_t used;
	int r = 0;

	fake_machine_create(&m, PAGES, NULL, NULL, 0);
	root = epc_group_root(m.epc);
	/* The table of groups comes with the first one, and stays. */
	TAP_CHECK(epc_group_create(root, "first", LIMITS(), &g) == 0 && epc_group_destroy(g) == 0,
		  "a group");
	used = arena_used_bytes(m.arena);
	deep = root;
	for (n = 1; r == 0; n++) {
		snprintf(name, sizeof(name), "d%u", n);
		r = epc_group_create(deep, name, LIMITS(), &g);
		if (r == 0)
			deep = g;
	}
	TAP_CHECK(r == -ENOSPC && n - 1 == EPC_GROUP_DEPTH_MAX, "%u levels with the root", n - 1);
	for (r = 0, n = EPC_GROUP_DEPTH_MAX; r == 0; n++) {
		snprintf(name, sizeof(name), "w%u", n);
		r = epc_group_create(root, name, LIMITS(), &g);
	}
	TAP_CHECK(r == -ENOSPC && n - 1 == EPC_GROUPS_MAX, "%u groups with the root", n - 1);
	while ((g = epc_group_next(m.epc, root))) {
		while (epc_group_destroy(g) < 0)
			g = epc_group_next(m.epc, g);
	}
	TAP_CHECK(arena_used_bytes(m.arena) <= used, "groups leave nothing behind");
	check_audit(m.epc, "after so many groups");
	fake_machine_destroy(&m);
}

/* The peak is the most that there ever was, whatever order pages come and go in. */
static void test_peak(void)
{
	enum { OWNERS = 3, HELD = 40 };
	struct epc_page *page[OWNERS][HELD];
	uint32_t held[OWNERS] = { 0 }, peak[OWNERS] = { 0 }, sum, wrong = 0, i;
	struct epc_owner *owner[OWNERS];
	struct epc_group *g[OWNERS];
	struct epc_group_info info;
	struct fake_machine m;
	uint64_t rng = 1;

	fake_machine_create_sharded(&m, PAGES, NULL, 4);
	g[0] = group(epc_group_root(m.epc), "top", LIMITS());
	g[1] = group(g[0], "left", LIMITS());
	g[2] = group(g[0], "right", LIMITS());
	for (i = 0; i < OWNERS; i++)
		owner[i] = bare_owner_create(m.epc, g[i]);
	for (unsigned int step = 0; step < 20000; step++) {
		rng = rng * 6364136223846793005ull + 1442695040888963407ull;
		i = (uint32_t)(rng >> 40) % OWNERS;
		/* Mostly up for a while, and then mostly down, so that peaks are rare. */
		if ((rng >> 60) + (step / 500 % 2) * 5 < 10 && held[i] < HELD)
			wrong += epc_alloc(m.epc, owner[i], EPC_UNPLACED, &page[i][held[i]++]) < 0;
		else if (held[i] > 0)
			epc_free(m.epc, page[i][--held[i]]);
		sum = held[0] + held[1] + held[2];
		peak[0] = sum > peak[0] ? sum : peak[0];
		for (i = 1; i < OWNERS; i++)
			peak[i] = held[i] > peak[i] ? held[i] : peak[i];
		/* Seldom: what asks must not be what keeps it right. */
		for (i = 0; step % 1000 == 999 && i < OWNERS; i++) {
			epc_group_read(g[i], &info);
			wrong += info.peak_pages != peak[i];
		}
	}
	TAP_CHECK(wrong == 0 && peak[1] <= HELD && peak[0] > peak[1],
		  "peaks of three groups are as counted: %u, %u, %u", peak[0], peak[1], peak[2]);
	fake_machine_destroy(&m);
}

/* max: the group's own pages go, others' do not, and what cannot go is -ENOMEM. */
static void test_max(const char *policy)
{
	struct epc_group *outer, *inner;
	struct fake_owner *big, *small;
	struct fake_machine m;
	uint32_t i, above = 0, failed = 0;

	fake_machine_create(&m, PAGES, policy, NULL, 0);
	outer = group(epc_group_root(m.epc), "outer", LIMITS(.max_pages = 40));
	inner = group(outer, "inner", LIMITS());
	big = fake_owner_create_in(inner, m.epc, 1, 100, true);
	small = fake_owner_create(m.epc, 2, 100, true);
	use(small, 0, 100);
	for (i = 0; i < 300; i++) {
		failed += !fake_use_surely(big, i % 100);
		above += current(outer) > 40;
	}
	TAP_CHECK(failed == 0 && above == 0 && current(outer) <= 40 && current(outer) >= 24,
		  "%s: a max above is never passed", policy);
	TAP_CHECK(fake_resident(small) == 100, "%s: and nobody else gives a page", policy);
	TAP_CHECK(event(outer, EPC_GROUP_MAX) > 0 && event(inner, EPC_GROUP_MAX) == 0 &&
			  event(outer, EPC_GROUP_OOM) == 0,
		  "%s: the group whose max it was counts", policy);
	TAP_CHECK(big->wrong == 0 && small->wrong == 0, "%s: contents are right", policy);

	big->fail_every[FAKE_GET] = 1;
	while (current(outer) < 40 && fake_use_surely(big, i++ % 100))
		;
	for (i = 0; i < 100 && big->page[i].epc_page; i++)
		;
	TAP_CHECK(fake_use(big, i, 0) == -EBUSY, "%s: at max without reclaim: -EBUSY", policy);
	TAP_CHECK(fake_use(big, i, EPC_MAY_RECLAIM) == -ENOMEM &&
			  event(outer, EPC_GROUP_OOM) == 1 && fake_resident(small) == 100,
		  "%s: with nothing that can go: -ENOMEM, however much is free", policy);
	big->fail_every[FAKE_GET] = 0;
	TAP_CHECK(epc_group_set(outer, LIMITS(.max_pages = 10)) == 0 &&
			  fake_use(big, i, EPC_MAY_RECLAIM) == 0 && current(outer) <= 10,
		  "%s: a max that was lowered is met by the next page", policy);
	TAP_CHECK(epc_group_set(outer, LIMITS(.max_pages = 0)) == 0 && use(big, 0, 1) <= 1 &&
			  current(outer) <= 10 && fake_use(small, 0, 0) == 0,
		  "%s: a max of none", policy);
	check_audit(m.epc, "after max");
	fake_owner_put(big);
	fake_owner_put(small);
	fake_machine_destroy(&m);
}

/* high: kept to while something can go, given up when nothing can, and taken from first by others. */
static void test_high(const char *policy)
{
	struct epc_group *tidy, *other;
	struct fake_owner *a, *b;
	struct fake_machine m;
	uint32_t i, above = 0;

	fake_machine_create(&m, PAGES, policy, NULL, 0);
	tidy = group(epc_group_root(m.epc), "tidy", LIMITS(.high_pages = 40));
	other = group(epc_group_root(m.epc), "other", LIMITS());
	a = fake_owner_create_in(tidy, m.epc, 1, 200, true);
	b = fake_owner_create_in(other, m.epc, 2, 400, true);
	for (i = 0; i < 200; i++) {
		above += !fake_use_surely(a, i);
		above += current(tidy) > 40;
	}
	TAP_CHECK(above == 0 && event(tidy, EPC_GROUP_HIGH) > 0 && event(tidy, EPC_GROUP_MAX) == 0,
		  "%s: a group stays below its high by itself, in an empty EPC", policy);
	while (current(tidy) < 40)
		fake_use_surely(a, i++ % 200);
	for (i = 0; a->page[i].epc_page; i++)
		;
	TAP_CHECK(fake_use(a, i, 0) == -EBUSY, "%s: at high without reclaim: -EBUSY", policy);
	a->fail_every[FAKE_GET] = 1;
	TAP_CHECK(use(a, 0, 90) == 0 && current(tidy) >= 90 && event(tidy, EPC_GROUP_OOM) == 0,
		  "%s: high is no hard limit", policy);
	a->fail_every[FAKE_GET] = 0;
	use(b, 0, PAGES - current(tidy));
	i = fake_resident(b);
	use(b, i, i + current(tidy) - 40);
	TAP_CHECK(current(tidy) <= 40 && fake_resident(b) >= PAGES - 40 - 16,
		  "%s: who is over high gives first, however much others have (%u left)", policy,
		  current(tidy));
	TAP_CHECK(a->wrong == 0 && b->wrong == 0, "%s: contents are right", policy);
	check_audit(m.epc, "after high");
	fake_owner_put(a);
	fake_owner_put(b);
	fake_machine_destroy(&m);
}

/* min: not below it, whatever others do; and those below it get there. */
static void test_min(const char *policy)
{
	struct epc_group *outer, *meek, *twin, *noisy;
	struct fake_owner *a, *t, *n, *r;
	struct fake_machine m;
	uint32_t i, broken = 0, failed;

	fake_machine_create(&m, PAGES, policy, NULL, 0);
	outer = group(epc_group_root(m.epc), "outer", LIMITS(.min_pages = 120, .weight = 1));
	meek = group(outer, "meek", LIMITS(.min_pages = 80, .weight = 1));
	twin = group(outer, "twin", LIMITS(.weight = 10000));
	noisy = group(epc_group_root(m.epc), "noisy", LIMITS(.weight = 10000));
	a = fake_owner_create_in(meek, m.epc, 1, 100, true);
	t = fake_owner_create_in(twin, m.epc, 2, 100, true);
	n = fake_owner_create_in(noisy, m.epc, 3, 600, true);
	r = fake_owner_create(m.epc, 4, 300, true);
	failed = use(n, 0, PAGES);
	failed += use(r, 0, 50);
	failed += use(a, 0, 100);
	TAP_CHECK(failed == 0 && current(meek) >= 80, "%s: who is below min gets there", policy);
	for (i = 0; i < 3000; i++) {
		failed += !fake_use_surely(n, i % 600);
		failed += i % 3 == 0 && !fake_use_surely(r, i / 3 % 300);
		failed += i % 5 == 0 && !fake_use_surely(t, i / 5 % 100);
		broken += current(meek) < 80 || current(outer) < 80;
	}
	TAP_CHECK(failed == 0 && broken == 0 && current(meek) == 80,
		  "%s: nobody takes what was promised, and all of the rest (%u left)", policy,
		  current(meek));
	failed = use(t, 0, 40);
	for (i = 0; i < 3000; i++) {
		failed += !fake_use_surely(n, i % 600);
		broken += current(outer) < 120;
	}
	TAP_CHECK(failed == 0 && broken == 0,
		  "%s: what was promised to both together is theirs together (%u)", policy,
		  current(outer));
	TAP_CHECK(event(meek, EPC_GROUP_MIN) > 0 && event(outer, EPC_GROUP_MIN) > 0,
		  "%s: being passed by is counted", policy);
	/* A group is not protected from itself. */
	TAP_CHECK(epc_group_set(meek, LIMITS(.min_pages = 80, .max_pages = 80)) == 0 &&
			  use(a, 0, 100) == 0 && use(a, 0, 100) == 0 && current(meek) <= 80,
		  "%s: a max takes from the group's own min", policy);
	TAP_CHECK(a->wrong + t->wrong + n->wrong + r->wrong == 0, "%s: contents are right", policy);
	check_audit(m.epc, "after min");
	fake_machine_destroy(&m);
}

/* Three want more than there is: each comes to its share. */
/* Somebody who takes all that he can get, and gives nothing. */
struct greedy {
	struct epc *epc;
	struct epc_owner *owner;
	struct epc_page *page[PAGES];
	bool says; /* that he gives nothing */
	_Atomic unsigned int nr;
	atomic_bool stop;
};

static void *take_all(void *arg)
{
	struct greedy *g = arg;

	while (!atomic_load(&g->stop)) {
		if (epc_alloc(g->epc, g->owner, EPC_MAY_RECLAIM, &g->page[g->nr]) < 0)
			continue;
		if (g->says)
			epc_keep(g->epc, g->page[g->nr]);
		atomic_fetch_add(&g->nr, 1);
	}
	return NULL;
}

/* All but what was promised is held by one who gives nothing: with its promise a group still gets on. */
static void test_min_alone(const char *policy, bool says)
{
	struct greedy g = { .says = says };
	uint32_t min, i, lowest = PAGES;
	struct epc_group *outer, *safe;
	unsigned int before, failed = 0;
	struct fake_owner *a;
	struct fake_machine m;
	pthread_t thread;

	fake_machine_create(&m, PAGES, policy, NULL, 0);
	g.epc = m.epc;
	min = PAGES / 2;
	outer = group(epc_group_root(m.epc), "outer", LIMITS(.min_pages = min));
	safe = group(outer, "safe", LIMITS(.min_pages = min));
	a = fake_owner_create_in(safe, m.epc, 1, 2 * min, true);
	g.owner = bare_owner_create(m.epc, NULL);
	for (i = 0; i < min; i++)
		failed += !fake_use_surely(a, i);
	pthread_create(&thread, NULL, take_all, &g);
	while (atomic_load(&g.nr) < PAGES - min)
		usleep(100);
	before = g.nr;
	for (i = 0; i < 4 * min; i++) {
		failed += !fake_use_surely(a, i % (2 * min));
		lowest = current(safe) < lowest ? current(safe) : lowest;
	}
	TAP_CHECK(failed == 0 && a->wrong == 0,
		  "%s: with all else held, a group goes through twice its promise%s: %u failures",
		  policy, says ? "" : ", in somebody's hands", failed);
	TAP_CHECK(lowest + 1 >= min && current(safe) == min && g.nr == before,
		  "giving one page for one: it had %u of %u at least, and nobody else got any (%u)",
		  lowest, min, g.nr - before);
	atomic_store(&g.stop, true);
	pthread_join(thread, NULL);
	while (g.nr > 0)
		epc_free(m.epc, g.page[--g.nr]);
	check_audit(m.epc, "with pages that a group gave to itself");
	fake_owner_put(a);
	epc_owner_destroy(g.owner);
	fake_machine_destroy(&m);
}

static void test_weight(const char *policy)
{
	struct epc_group *heavy, *pair, *one, *two;
	struct fake_owner *o[3];
	struct fake_machine m;
	uint32_t i, failed = 0;
	uint64_t rng = 1, sum[3] = { 0 };

	fake_machine_create(&m, PAGES, policy, NULL, 0);
	heavy = group(epc_group_root(m.epc), "heavy", LIMITS(.weight = 300));
	pair = group(epc_group_root(m.epc), "pair", LIMITS());
	one = group(pair, "one", LIMITS(.weight = 10));
	two = group(pair, "two", LIMITS(.weight = 30));
	o[0] = fake_owner_create_in(heavy, m.epc, 1, 600, true);
	o[1] = fake_owner_create_in(one, m.epc, 2, 600, true);
	o[2] = fake_owner_create_in(two, m.epc, 3, 600, true);
	for (i = 0; i < 20000; i++) {
		rng = rng * 6364136223846793005ull + 1442695040888963407ull;
		/* The one with the smallest share asks for most. */
		failed += !fake_use_surely(o[rng >> 62   ? 1
					     : rng >> 61 ? 2
							 : 0],
					   (uint32_t)(rng >> 20) % 600);
		sum[0] += i >= 10000 ? current(heavy) : 0;
		sum[1] += i >= 10000 ? current(one) : 0;
		sum[2] += i >= 10000 ? current(two) : 0;
	}
	for (i = 0; i < 3; i++)
		sum[i] /= 10000;
	/* What a batch sets free is for whoever asks first. */
	TAP_CHECK(failed == 0 && sum[0] >= 192 - 16 && sum[0] <= 192 + 16 && sum[1] <= 16 + 16 &&
			  sum[2] >= 48 - 16 && sum[2] <= 48 + 16,
		  "%s: by weight 3 : 1/4 : 3/4 of %u, on the average %u, %u, %u", policy, PAGES,
		  (unsigned int)sum[0], (unsigned int)sum[1], (unsigned int)sum[2]);
	fake_owner_put(o[0]);
	failed += use(o[1], 0, 600);
	TAP_CHECK(failed == 0 && current(pair) > PAGES * 3 / 4,
		  "%s: a share that nobody wants is for the others (%u)", policy, current(pair));
	fake_owner_put(o[1]);
	fake_owner_put(o[2]);
	check_audit(m.epc, "after shares");
	fake_machine_destroy(&m);
}

/* A group that has pages and gives none keeps nobody from those of others. */
static void test_stuck(const char *policy)
{
	struct fake_owner *stuck[8], *busy, *idle;
	struct fake_machine m;
	struct epc_group *g;
	uint32_t i, failed = 0;
	char name[16];

	fake_machine_create(&m, PAGES, policy, NULL, 0);
	for (i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "stuck%u", i);
		g = group(epc_group_root(m.epc), name, LIMITS(.weight = 1));
		stuck[i] = fake_owner_create_in(g, m.epc, 10 + i, 20, true);
		stuck[i]->fail_every[i % 3] = 1; /* get, reclaim, block */
		failed += use(stuck[i], 0, 20);
	}
	g = group(epc_group_root(m.epc), "idle", LIMITS());
	idle = fake_owner_create_in(g, m.epc, 1, 40, true);
	g = group(epc_group_root(m.epc), "busy", LIMITS());
	busy = fake_owner_create_in(g, m.epc, 2, 300, true);
	failed += use(idle, 0, 40);
	for (i = 0; i < 1000; i++)
		failed += !fake_use_surely(busy, i % 300);
	TAP_CHECK(failed == 0 && busy->wrong == 0,
		  "%s: eight groups that are most over their share and give nothing are got round",
		  policy);
	check_audit(m.epc, "with those that are stuck");
	fake_machine_destroy(&m);
}

/* Not one page above max with threads of two processes at it, in an EPC of several sections. */
static void test_max_forked(unsigned int shards)
{
	struct epc_group *g;
	struct fake_owner *a, *b;
	struct fake_machine m;
	uint32_t i, above = 0;
	int status;
	pid_t pid;

	fake_machine_create_sharded(&m, PAGES, NULL, shards);
	g = group(epc_group_root(m.epc), "few", LIMITS(.max_pages = 30));
	a = fake_owner_create_in(g, m.epc, 1, 100, true);
	b = fake_owner_create_in(g, m.epc, 2, 100, true);
	pid = fork();
	for (i = 0; i < 20000; i++) {
		if (!fake_use_surely(pid ? a : b, i * 7 % 100) && !pid)
			_exit(1);
		above += current(g) > 30;
	}
	if (pid == 0)
		_exit(above > 0);
	waitpid(pid, &status, 0);
	TAP_CHECK(above == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0,
		  "two processes at once never have more than max together, of %u shards", shards);
	TAP_CHECK(a->wrong + b->wrong == 0, "contents are right");
	check_audit(m.epc, "after two processes");
	fake_machine_destroy(&m);
}

int main(void)
{
	test_tree();
	test_tree_full();
	test_peak();
	for (unsigned int i = 0; policy_at(i); i++) {
		test_max(policy_at(i)->name);
		test_high(policy_at(i)->name);
		test_min(policy_at(i)->name);
		test_min_alone(policy_at(i)->name, i % 2 == 0);
		test_weight(policy_at(i)->name);
		test_stuck(policy_at(i)->name);
	}
	test_max_forked(1);
	test_max_forked(4);
	return tap_done();
}
