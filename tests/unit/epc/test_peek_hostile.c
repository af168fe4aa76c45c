/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Reading from outside when the program that is read is no friend: it changes what was checked between the check and the use,
 * takes its memory away, or says that it has more than there is.  Whoever reads gets a sample or none, and lives.
 */
#include "epc/peek.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/look.h"
#include "epc/clock_priv.h"
#include "epc/epc_priv.h"
#include "lib/bare_owner.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"
#include "unit/epc/seen.h"

enum { PAGES = 4096, SHARDS = 4 };
#define TURN_NS 300000000

static void seen_create(struct seen *s, uint32_t pages, size_t arena_bytes)
{
	struct cpu_config cpu;

	cpu_config_default(&cpu, (uint64_t)pages * SGX_PAGE_SIZE);
	seen_open(s, &cpu, SHARDS, arena_bytes);
}

/* ---- numbers that change while they are looked at -------------------------------------------------- */

struct lie {
	const char *what;
	void *at;
	size_t bytes;
	uint64_t value;
	atomic_bool stop;
};

/* What is so in one moment is not in the next. */
static void *flip(void *arg)
{
	struct lie *lie = arg;
	uint64_t truth = 0;

	memcpy(&truth, lie->at, lie->bytes);
	for (unsigned int i = 0; !atomic_load_explicit(&lie->stop, memory_order_relaxed); i++) {
		memcpy(lie->at, i & 1 ? &truth : &lie->value, lie->bytes);
		for (unsigned int pause = i % 97; pause > 0; pause--)
			__builtin_ia32_pause();
	}
	memcpy(lie->at, &truth, lie->bytes);
	return NULL;
}

static void look_at_lie(struct seen *s, struct lie *lie)
{
	uint64_t end = epc_now_ns(s->m.epc) + TURN_NS;
	unsigned int told = 0, none = 0, other = 0, elsewhere = 0;
	const struct epc_sample *sample;
	pthread_t thread;
	int r;

	atomic_store(&lie->stop, false);
	TAP_MUST(pthread_create(&thread, NULL, flip, lie) == 0, "a thread");
	while (epc_now_ns(s->m.epc) < end) {
		r = epc_peek_read(s->peek, &sample);
		told += r == 0;
		none += r == -ESRCH;
		other += r != 0 && r != -ESRCH;
		/* All pages are in use: memory of something else says other things. */
		elsewhere += r == 0 && lie->at == &s->m.epc->shard[SHARDS - 1].first &&
			     sample->stats.dirty > 0;
	}
	atomic_store(&lie->stop, true);
	pthread_join(thread, NULL);
	TAP_CHECK(other == 0 && elsewhere == 0 && told + none > 0,
		  "%s changes: %u samples, %u times none", lie->what, told, none);
}

static void test_changes(void)
{
	struct seen s;
	struct epc *epc;
	struct shard *shard;
	struct fake_owner *owner;

	seen_create(&s, PAGES, 8 << 20);
	epc = s.m.epc;
	/* The last one: while those before it are counted there is time. */
	shard = &epc->shard[SHARDS - 1];
	owner = fake_owner_create(epc, 1, PAGES, true);
	for (uint32_t i = 0; i < PAGES; i++)
		fake_use_surely(owner, i);
#define LIE(name, wrong)                                                     \
	{                                                                    \
		.what = #name, .at = (void *)&(name), .bytes = sizeof(name), \
		.value = (uint64_t)(wrong)                                   \
	}
	struct lie lies[] = {
		LIE(epc->page_nr, 0xf0000000),
		LIE(epc->pages, (uintptr_t)epc->pages + (1 << 20)),
		LIE(epc->section_nr, 200),
		LIE(epc->shard_nr, 1 << 20),
		LIE(epc->section->shard_nr, 1 << 20),
		LIE(epc->section->shard_first, 1 << 24),
		LIE(shard->first, 0xf0000000),
		LIE(shard->nr, 0xf0000000),
		LIE(shard->dirty_next, 0xf0000000),
		LIE(epc->count_slot_nr, 200),
		LIE(epc->root->parent, (uintptr_t)epc->root),
		LIE(epc->root->owners.next, (uintptr_t)&epc->root->owners + (1 << 28)),
		LIE(epc->backing, (uintptr_t)epc + (1 << 30)),
	};
	for (unsigned int i = 0; i < sizeof(lies) / sizeof(lies[0]); i++)
		look_at_lie(&s, &lies[i]);
	fake_owner_put(owner);
	seen_destroy(&s);
}

/* ---- a table that has a group twice ---------------------------------------------------------------- */

/* What is not written before it is read is no number of anything. */
static __attribute__((noinline)) void spoil_stack(void)
{
	volatile unsigned char spoilt[6144];

	for (unsigned int i = 0; i < sizeof(spoilt); i++)
		spoilt[i] = 0xa5;
}

/* So it is for a moment, too, where a group goes and another comes while the table is copied. */
static void test_twice(void)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct epc_group *group, *child, *was;
	const struct epc_sample *sample;
	struct epc_owner *owner[3];
	struct seen s;
	int r;

	seen_create(&s, PAGES, 8 << 20);
	TAP_MUST(epc_group_create(epc_group_root(s.m.epc), "group", &limits, &group) == 0 &&
			 epc_group_create(group, "child", &limits, &child) == 0,
		 "groups");
	owner[0] = bare_owner_create(s.m.epc, NULL);
	owner[1] = bare_owner_create(s.m.epc, group);
	owner[2] = bare_owner_create(s.m.epc, child);
	was = s.m.epc->other[2];
	TAP_MUST(s.m.epc->other[0] == group && !was, "they are first in the table");
	s.m.epc->other[2] = group;
	spoil_stack();
	r = epc_peek_read(s.peek, &sample);
	/* The group's is there twice, as the group is. */
	TAP_CHECK(r == 0 && sample->owner_nr == 4, "a group that is in the table twice: %u owners",
		  r == 0 ? sample->owner_nr : 0);
	s.m.epc->other[2] = was;
	TAP_CHECK(epc_peek_read(s.peek, &sample) == 0 && sample->owner_nr == 3,
		  "and once: %u owners", sample->owner_nr);
	for (unsigned int i = 0; i < 3; i++)
		epc_owner_destroy(owner[i]);
	epc_group_destroy(child);
	epc_group_destroy(group);
	seen_destroy(&s);
}

/* They are printed where escapes would do something. */
static void test_names(void)
{
	static const char name[] = "\033]0;x\007\x9b";
	const struct epc_sample *sample;
	struct seen s;
	struct fake_owner *owner;

	seen_create(&s, PAGES, 8 << 20);
	owner = fake_owner_create(s.m.epc, 1, PAGES, true);
	memcpy(s.m.epc->root->name, name, sizeof(name));
	TAP_MUST(epc_peek_read(s.peek, &sample) == 0, "a sample");
	TAP_CHECK(!strcmp(sample->group[0].info.name, "?]0;x??"),
		  "what is no text in a name is not told: %s", sample->group[0].info.name);
	fake_owner_put(owner);
	seen_destroy(&s);
}

/* ---- memory that goes, or was never there ---------------------------------------------------------- */

/* A file that begins as one to look at does: 0, or what look_open() said. */
static int look_at_file(unsigned int flags, int seals)
{
	struct look_mark mark = { .base = (void *)(1ull << 40), .bytes = 2 << 20 };
	int fd = memfd_create(LOOK_FILE_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags), r;
	struct look *look = NULL;
	void *map;

	if (fd < 0 || ftruncate(fd, (off_t)mark.bytes) < 0)
		return -errno;
	atomic_store(&mark.magic, LOOK_MAGIC);
	map = mmap(NULL, mark.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		r = -errno;
		close(fd);
		return r;
	}
	memcpy(map, &mark, sizeof(mark));
	r = fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : look_open(fd, &look);
	look_close(look);
	munmap(map, mark.bytes);
	close(fd);
	return r;
}

static void test_files(void)
{
	struct seen s;
	int r;

	TAP_CHECK(look_at_file(0, F_SEAL_SHRINK) == 0, "a file that cannot get shorter");
	TAP_CHECK(look_at_file(0, F_SEAL_GROW) == -EINVAL && look_at_file(0, 0) == -EINVAL,
		  "one that can is not looked at");
	r = look_at_file(MFD_HUGETLB, F_SEAL_SHRINK);
	/* Where there are no huge pages there is no such file. */
	if (r != -ENOMEM && r != -EOPNOTSUPP && r != -ENOSYS)
		TAP_CHECK(r == -EINVAL, "nor one of hugetlbfs, whose holes may find no page: %d",
			  r);
	seen_create(&s, PAGES, 8 << 20);
	TAP_CHECK(ftruncate(arena_fd(s.m.arena), 4096) < 0 && errno == EPERM &&
			  fcntl(arena_fd(s.m.arena), F_ADD_SEALS, F_SEAL_WRITE) < 0,
		  "an arena that is shown stays as long as it is");
	seen_destroy(&s);
}

static void test_claims(void)
{
	const struct epc_sample *sample;
	struct stat before, after;
	struct fake_owner *owner;
	uint32_t next[SHARDS];
	struct shard *shard;
	struct seen s;

	seen_create(&s, 1u << 18, 64 << 20);
	owner = fake_owner_create(s.m.epc, 1, 10, true);
	fake_use_surely(owner, 3);
	shard = s.m.epc->shard;
	fstat(s.fd, &before);
	for (unsigned int i = 0; i < SHARDS; i++) {
		next[i] = shard[i].dirty_next;
		shard[i].dirty_next = shard[i].first + shard[i].nr;
	}
	TAP_CHECK(epc_peek_read(s.peek, &sample) == -ESRCH,
		  "more pages in use than there is memory for");
	fstat(s.fd, &after);
	TAP_CHECK(after.st_blocks == before.st_blocks, "do not come to be by being looked at");
	for (unsigned int i = 0; i < SHARDS; i++)
		shard[i].dirty_next = next[i];
	TAP_CHECK(epc_peek_read(s.peek, &sample) == 0 && sample->owner_nr == 1,
		  "the truth is told");
	fake_owner_put(owner);
	seen_destroy(&s);
}

/* ---- very many owners ------------------------------------------------------------------------------ */

enum { MANY_OWNERS = 60000 };

static uint64_t read_ns(struct seen *s, unsigned int *ret_owners)
{
	uint64_t start = epc_now_ns(s->m.epc);
	const struct epc_sample *sample;

	*ret_owners = epc_peek_read(s->peek, &sample) == 0 ? sample->owner_nr : 0;
	return epc_now_ns(s->m.epc) - start;
}

/* Pages are as they were counted, and no owner is where it was: it is found again without a look at all the others. */
static void test_owners(void)
{
	static struct epc_owner *owner[MANY_OWNERS];
	unsigned int told, told_then, made = 0;
	uint64_t counted, again;
	struct seen s;

	seen_create(&s, PAGES, 256 << 20);
	for (unsigned int i = 0; i < MANY_OWNERS; i++) {
		owner[i] = bare_owner_create(s.m.epc, NULL);
		made += owner[i] != NULL;
	}
	TAP_MUST(made == MANY_OWNERS, "%u owners", made);
	epc_peek_count_every(s.peek, UINT64_MAX);
	counted = read_ns(&s, &told);
	epc_owner_destroy(owner[0]);
	again = read_ns(&s, &told_then);
	TAP_CHECK(told == MANY_OWNERS && told_then == MANY_OWNERS - 1 && again < 4 * counted,
		  "%u owners take %lu ms, and %lu ms when the first has gone", told,
		  (unsigned long)(counted / 1000000), (unsigned long)(again / 1000000));
	for (unsigned int i = 1; i < MANY_OWNERS; i++)
		epc_owner_destroy(owner[i]);
	seen_destroy(&s);
}

int main(void)
{
	test_owners();
	test_changes();
	test_twice();
	test_names();
	test_files();
	test_claims();
	return tap_done();
}
