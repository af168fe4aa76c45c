/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Reading from outside: what a sample says when nobody is at work is what the manager itself says; what it says under load
 * adds up and never goes backwards; and what is not there, or not like ours, is refused.
 */
#include "epc/peek.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/look.h"
#include "epc/epc_priv.h"
#include "epc/owner.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"
#include "unit/epc/seen.h"

enum { PAGES = 96, THREADS = 3, SAMPLES = 3000, ROUNDS = 400 };

static void seen_create(struct seen *s, uint32_t pages)
{
	struct cpu_config cpu;

	cpu_config_default(&cpu, (uint64_t)pages / 2 * SGX_PAGE_SIZE);
	TAP_MUST(cpu_config_add_section(&cpu, (uint64_t)(pages - pages / 2) * SGX_PAGE_SIZE, -1),
		 "two sections");
	seen_open(s, &cpu, 2, 64u << 20);
}

static const struct epc_sample *sample(struct seen *s)
{
	const struct epc_sample *got;
	int r = epc_peek_read(s->peek, &got);

	if (r < 0)
		TAP_MUST(false, "a sample: %d", r);
	return got;
}

static struct epc_group *group(struct epc_group *parent, const char *name, uint32_t min)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct epc_group *g = NULL;

	limits.min_pages = min;
	limits.high_pages = PAGES;
	if (epc_group_create(parent, name, &limits, &g) < 0)
		TAP_MUST(false, "group %s", name);
	return g;
}

/* ---- at rest ----------------------------------------------------------------------------------------- */

static bool same_pressure(const struct epc_pressure *a, const struct epc_pressure *b)
{
	return a[EPC_SOME].total_ns == b[EPC_SOME].total_ns &&
	       a[EPC_FULL].total_ns == b[EPC_FULL].total_ns;
}

static bool same_group(struct epc *epc, struct epc_group *g, const struct epc_sample *got,
		       const struct epc_sample_group *told)
{
	struct epc_group_info info, parent;
	struct epc_group_stats stats;
	struct epc_owner_info owner;
	unsigned int n, o = 0;

	epc_group_read(g, &info);
	epc_group_stats_read(g, &stats);
	if (info.parent) {
		epc_group_read(info.parent, &parent);
		if (told->parent < 0 || strcmp(got->group[told->parent].info.name, parent.name))
			return false;
	}
	for (n = 0; epc_owner_read(g, n, &owner); n++) {
		while (o < got->owner_nr && &got->group[got->owner[o].group] != told)
			o++;
		if (o == got->owner_nr || got->owner[o].info.id != owner.id ||
		    got->owner[o].info.pid != getpid() ||
		    strcmp(got->owner[o].info.name, owner.name) ||
		    memcmp(got->owner[o].info.count, owner.count, sizeof(owner.count)) ||
		    memcmp(got->owner[o].info.kind, owner.kind, sizeof(owner.kind)) ||
		    !same_pressure(got->owner[o].info.pressure, owner.pressure))
			return false;
		o++;
	}
	return !strcmp(told->info.name, info.name) &&
	       told->info.current_pages == info.current_pages &&
	       told->info.peak_pages == info.peak_pages && told->info.owner_nr == info.owner_nr &&
	       !memcmp(&told->info.limits, &info.limits, sizeof(info.limits)) &&
	       !memcmp(told->info.event, info.event, sizeof(info.event)) &&
	       !memcmp(told->stats.count, stats.count, sizeof(stats.count)) &&
	       !memcmp(told->stats.kind, stats.kind, sizeof(stats.kind)) &&
	       same_pressure(told->stats.pressure, stats.pressure) && (told->parent < 0 || epc);
}

/* Everything that the manager says itself, with its locks. */
static void same_as_told(struct seen *s, const char *when)
{
	const struct epc_sample *got;
	struct epc_group *g = NULL;
	struct epc_stats stats;
	bool groups = true, sections = true;
	unsigned int nr = 0, i;

	epc_census(s->m.epc);
	epc_stats_read(s->m.epc, &stats);
	got = sample(s);
	TAP_CHECK(!memcmp(&got->stats, &stats, sizeof(stats)), "%s: the whole EPC", when);
	while ((g = epc_group_next(s->m.epc, g))) {
		for (i = 0; i < got->group_nr; i++) {
			struct epc_group_info info;

			epc_group_read(g, &info);
			if (!strcmp(info.name, got->group[i].info.name))
				break;
		}
		groups =
			groups && i < got->group_nr && same_group(s->m.epc, g, got, &got->group[i]);
		nr++;
	}
	TAP_CHECK(groups && nr == got->group_nr && !got->torn, "%s: %u groups and their owners",
		  when, nr);
	for (i = 0; i < got->section_nr; i++) {
		struct epc_section_info info;
		struct epc_section_stats st;

		epc_section_read(s->m.epc, i, &info);
		epc_section_stats_read(s->m.epc, i, &st);
		sections = sections && !memcmp(&got->section[i].info, &info, sizeof(info)) &&
			   !memcmp(got->section[i].stats.kind, st.kind, sizeof(st.kind)) &&
			   !memcmp(got->section[i].stats.count, st.count, sizeof(st.count)) &&
			   same_pressure(got->section[i].stats.pressure, st.pressure);
	}
	TAP_CHECK(sections && got->section_nr == epc_section_nr(s->m.epc), "%s: sections", when);
}

static void test_at_rest(void)
{
	struct epc_group *outer, *inner, *other;
	struct fake_owner *a, *b, *c;
	struct seen s;
	uint32_t i;

	seen_create(&s, PAGES);
	same_as_told(&s, "a new EPC");
	outer = group(epc_group_root(s.m.epc), "outer", 20);
	other = group(epc_group_root(s.m.epc), "other", 0);
	inner = group(outer, "inner", 10);
	a = fake_owner_create_in(inner, s.m.epc, 7, 200, true);
	b = fake_owner_create_in(outer, s.m.epc, 8, 30, false);
	c = fake_owner_create(s.m.epc, 9, 10, true);
	for (i = 0; i < 10; i++)
		fake_use_surely(c, i);
	same_as_told(&s, "some pages");
	for (i = 0; i < 600; i++)
		fake_use_surely(i % 3 ? a : b, i % 3 ? i % 200 : i % 30);
	same_as_told(&s, "under pressure");
	(void)epc_poison(s.m.epc, 5);
	(void)epc_poison(s.m.epc, PAGES - 1);
	same_as_told(&s, "two pages broken");
	fake_owner_put(a);
	TAP_MUST(epc_group_destroy(inner) == 0 && epc_group_destroy(other) == 0, "groups go");
	same_as_told(&s, "an owner and two groups have gone");
	fake_owner_put(b);
	fake_owner_put(c);
	seen_destroy(&s);
}

/* ---- under load ------------------------------------------------------------------------------------ */

struct load {
	struct seen *s;
	unsigned int nr;
	atomic_bool *stop;
	_Atomic uint32_t *rounds;
};

/* Owners who are there for one page: their numbers are their group's, over and over. */
static void come_and_go(struct epc_group *g, struct epc *epc)
{
	struct fake_owner *owner;

	for (unsigned int i = 0; i < 50; i++) {
		owner = fake_owner_create_in(g, epc, 100 + i, 1, true);
		fake_use_surely(owner, 0);
		fake_owner_put(owner);
	}
}

/* Owners and groups come, are used and go. */
static void *work(void *arg)
{
	struct load *load = arg;
	struct epc *epc = load->s->m.epc;
	struct epc_group *g;
	struct fake_owner *owner;
	char name[16];
	uint32_t i, x = load->nr + 1;

	snprintf(name, sizeof(name), "g%u", load->nr);
	while (!atomic_load(load->stop)) {
		g = group(epc_group_root(epc), name, 0);
		owner = fake_owner_create_in(g, epc, load->nr, 60, true);
		for (i = 0; i < 200; i++) {
			x = x * 1664525 + 1013904223;
			fake_use_surely(owner, x >> 16 & 31);
		}
		fake_owner_put(owner);
		come_and_go(g, epc);
		if (epc_group_destroy(g) < 0)
			TAP_MUST(false, "group %s goes", name);
		atomic_fetch_add(load->rounds, 1);
	}
	return NULL;
}

static bool sums_right(const struct epc_sample *got)
{
	const struct epc_stats *st = &got->stats;
	uint64_t in_sections = 0, kinds = 0;

	for (unsigned int i = 0; i < got->section_nr; i++) {
		in_sections += got->section[i].info.free + got->section[i].info.dirty;
		for (enum epc_kind k = 0; k < EPC_KIND_NR; k++)
			kinds += got->section[i].stats.kind[k];
	}
	return st->free + st->dirty + st->owned + st->tracked + st->in_batch + st->poisoned ==
		       st->pages &&
	       in_sections == st->free + st->dirty && kinds <= st->pages &&
	       got->group[0].info.current_pages == st->pages - in_sections;
}

static bool not_less(const struct epc_sample *got, uint64_t last[EPC_COUNT_NR], uint64_t *last_ns)
{
	const struct epc_group_stats *root = &got->group[0].stats;
	bool right = root->pressure[EPC_SOME].total_ns >= *last_ns;

	for (enum epc_count c = 0; c < EPC_COUNT_NR; c++) {
		right = right && root->count[c] >= last[c];
		last[c] = root->count[c];
	}
	*last_ns = root->pressure[EPC_SOME].total_ns;
	return right;
}

static void test_under_load(void)
{
	uint64_t last[EPC_COUNT_NR] = { 0 }, last_ns = 0;
	unsigned int bad_sums = 0, backwards = 0, torn = 0, i;
	_Atomic uint32_t rounds = 0;
	atomic_bool stop = false;
	pthread_t thread[THREADS];
	struct load load[THREADS];
	struct seen s;

	seen_create(&s, PAGES);
	for (i = 0; i < THREADS; i++) {
		load[i] = (struct load){ &s, i, &stop, &rounds };
		TAP_MUST(pthread_create(&thread[i], NULL, work, &load[i]) == 0, "a thread");
	}
	for (i = 0; i < SAMPLES || atomic_load(&rounds) < ROUNDS; i++) {
		const struct epc_sample *got = sample(&s);

		bad_sums += !sums_right(got);
		if (got->torn)
			torn++;
		else
			backwards += !not_less(got, last, &last_ns);
	}
	atomic_store(&stop, true);
	for (unsigned int t = 0; t < THREADS; t++)
		pthread_join(thread[t], NULL);
	TAP_CHECK(bad_sums == 0, "%u samples while %u owners came and went: every page once", i,
		  atomic_load(&rounds));
	TAP_CHECK(backwards == 0, "and no counter ever went back");
	TAP_CHECK(torn < i / 4, "%u of them were of no one moment, and said so", torn);
	same_as_told(&s, "when it is over");
	seen_destroy(&s);
}

/* ---- what goes wrong -------------------------------------------------------------------------------- */

/* Somebody dies while he changes groups: until the next one has mended them a sample says that it may be torn. */
static void test_dead_holder(void)
{
	const struct epc_sample *got;
	struct seen s;
	int status;
	pid_t pid;

	seen_create(&s, PAGES);
	pid = fork();
	if (pid == 0) {
		groups_lock(s.m.epc);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	got = sample(&s);
	TAP_CHECK(got->torn && sums_right(got), "a holder died: torn, it says");
	(void)group(epc_group_root(s.m.epc), "next", 0);
	got = sample(&s);
	TAP_CHECK(!got->torn && got->group_nr == 2, "and whole again with the next one");
	TAP_CHECK(epc_group_destroy(epc_group_find(s.m.epc, "next")) == 0, "which goes");
	seen_destroy(&s);
}

static void test_refused(void)
{
	const struct epc_sample *got;
	struct epc_peek *peek;
	struct look *look;
	struct seen s;
	int fd = memfd_create("other", MFD_CLOEXEC);

	seen_create(&s, PAGES);
	TAP_CHECK(look_open(fd, &look) == -EINVAL && ftruncate(fd, 1 << 20) == 0 &&
			  look_open(fd, &look) == -EINVAL,
		  "a file that is something else");
	close(fd);
	TAP_CHECK(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, s.fd, 0) == MAP_FAILED,
		  "who looks cannot write");
	TAP_CHECK(!look_at(s.look, 0, 8, 8) && !look_at(s.look, (uintptr_t)&s, 8, 8) &&
			  !look_at(s.look, (uintptr_t)s.m.arena + 4, 8, 8) &&
			  !look_at(s.look, (uintptr_t)s.m.arena, SIZE_MAX, 8) &&
			  !look_at(s.look, (uintptr_t)s.m.arena + (64u << 20) - 8, 16, 8) &&
			  look_at(s.look, (uintptr_t)s.m.arena + (64u << 20) - 8, 8, 8),
		  "a pointer to elsewhere leads nowhere");
	arena_show(s.m.arena, LOOK_EPC, s.m.epc, 1);
	TAP_CHECK(epc_peek_open(s.look, &peek) == -EPROTO && epc_peek_read(s.peek, &got) == -ESRCH,
		  "an EPC of another layout");
	arena_show(s.m.arena, LOOK_EPC, NULL, 0);
	TAP_CHECK(epc_peek_open(s.look, &peek) == -ESRCH && epc_peek_read(s.peek, &got) == -ESRCH,
		  "an EPC that has gone");
	seen_destroy(&s);
}

/* Events are read each time, pages when it was long ago that they were. */
static void test_seldom(void)
{
	struct epc_sample first, next;
	struct fake_owner *owner, *later;
	struct seen s;

	seen_create(&s, PAGES);
	epc_peek_count_every(s.peek, 1000000000000);
	owner = fake_owner_create(s.m.epc, 1, 10, false);
	fake_use_surely(owner, 0);
	first = *sample(&s);
	fake_use_surely(owner, 1);
	later = fake_owner_create(s.m.epc, 2, 10, false);
	fake_use_surely(later, 1);
	next = *sample(&s);
	TAP_CHECK(next.counted_ns == first.counted_ns && next.at_ns > first.at_ns &&
			  next.stats.dirty == PAGES - 1 && next.stats.allocs == 3 &&
			  next.owner_nr == 2 && next.owner[0].info.kind[EPC_VA] == 1 &&
			  next.owner[1].info.kind[EPC_VA] == 0 && sums_right(&next),
		  "pages as they were a moment ago, events as they are");
	fake_owner_put(owner);
	next = *sample(&s);
	TAP_CHECK(next.owner_nr == 1 && next.owner[0].info.id == 2 &&
			  next.owner[0].info.kind[EPC_VA] == 0,
		  "and no owner has what was another's");
	epc_peek_count_every(s.peek, 0);
	next = *sample(&s);
	TAP_CHECK(next.counted_ns > first.counted_ns &&
			  next.stats.dirty + next.stats.free == PAGES - 1 &&
			  next.owner[0].info.kind[EPC_VA] == 1 && sums_right(&next),
		  "then they are counted again");
	fake_owner_put(later);
	seen_destroy(&s);
}

/* Nothing that nobody has used comes to be by being looked at. */
static void test_large(void)
{
	struct stat before, after;
	struct fake_owner *owner;
	struct seen s;

	seen_create(&s, 1u << 18);
	owner = fake_owner_create(s.m.epc, 1, 10, true);
	fake_use_surely(owner, 3);
	fstat(s.fd, &before);
	TAP_CHECK(sample(&s)->stats.dirty == (1u << 18) - 1,
		  "a gigabyte, of which one page is used");
	fstat(s.fd, &after);
	TAP_CHECK(after.st_blocks == before.st_blocks, "takes no more memory for being looked at");
	fake_owner_put(owner);
	seen_destroy(&s);
}

int main(void)
{
	test_at_rest();
	test_under_load();
	test_dead_holder();
	test_refused();
	test_seldom();
	test_large();
	return tap_done();
}
