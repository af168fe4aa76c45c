/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * An EPC, groups and owners in too little memory: from next to nothing on, a bit more each time.  There is -ENOMEM, and
 * all that was made by then is gone, files too; or it is made.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>

#include "base/arena.h"
#include "epc/epc_priv.h"
#include "lib/bare_owner.h"
#include "lib/tap.h"

enum { PAGES = 64, STEP = 64, TRIES_MAX = 1 << 16 };

struct tries {
	unsigned int refused;   /* there was no EPC */
	unsigned int no_group;  /* or none of its groups */
	unsigned int no_owner;  /* or owners */
	unsigned int left_over; /* times that something stayed */
	bool made;
};

static unsigned int files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int nr = 0;

	while (dir && readdir(dir))
		nr++;
	closedir(dir);
	return nr;
}

/* Groups and owners as many as there can be; false: there was no memory for them. */
static void fill(struct epc *epc, struct tries *t)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct epc_group *group = NULL, *more = NULL;
	struct epc_owner *owner;
	int r = epc_group_create(epc_group_root(epc), "a", &limits, &group);

	if (r == 0)
		r = epc_group_create(group, "b", &limits, &more);
	assert(r == 0 || r == -ENOMEM);
	t->no_group += r < 0;
	owner = bare_owner_create(epc, more ? more : epc_group_root(epc));
	t->no_owner += !owner;
	epc_owner_destroy(owner);
	assert(!more || epc_group_destroy(more) == 0);
	assert(!group || epc_group_destroy(group) == 0);
}

static void try(const char *policy, size_t bytes, struct tries *t)
{
	unsigned int files_before = files();
	struct epc_config config = { .policy = policy, .backing_path = "/tmp", .shards = 4 };
	struct cpu_config cpu;
	struct epc *epc;
	size_t used;
	int r;

	cpu_config_default(&cpu, PAGES / 2 * SGX_PAGE_SIZE);
	cpu_config_add_section(&cpu, PAGES / 2 * SGX_PAGE_SIZE, 0);
	/* An arena has whole pages: what is too much of the last one is given away. */
	config.arena = arena_create(bytes);
	if (!config.arena)
		return;
	(void)arena_alloc(config.arena, (SGX_PAGE_SIZE - bytes % SGX_PAGE_SIZE) % SGX_PAGE_SIZE);
	config.cpu = cpu_create(&cpu);
	if (config.cpu) {
		used = arena_used_bytes(config.arena);
		r = epc_create(&config, &epc);
		assert(r == 0 || r == -ENOMEM);
		t->refused += r < 0;
		if (r == 0) {
			unsigned int before = t->no_group + t->no_owner;

			fill(epc, t);
			t->made = t->no_group + t->no_owner == before;
			epc_destroy(epc);
		}
		t->left_over += arena_used_bytes(config.arena) != used;
		cpu_destroy(config.cpu);
	}
	arena_destroy(config.arena);
	t->left_over += files() != files_before;
}

static void test_policy(const char *policy)
{
	struct tries t = { 0 };

	for (unsigned int i = 1; i < TRIES_MAX && !t.made; i++)
		try(policy, 4096 + i * STEP, &t);
	TAP_CHECK(t.refused > 10 && t.no_group > 0,
		  "%s: %u times no EPC, %u times no group, %u no owner", policy, t.refused,
		  t.no_group, t.no_owner);
	TAP_CHECK(t.left_over == 0, "%s: each time nothing was left", policy);
	TAP_CHECK(t.made, "%s: with a bit more there is all that was asked for", policy);
}

int main(void)
{
	for (unsigned int i = 0; policy_at(i); i++)
		test_policy(policy_at(i)->name);
	return tap_done();
}
