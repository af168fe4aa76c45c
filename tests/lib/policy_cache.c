/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* See policy_cache.h. */
#include "lib/policy_cache.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "epc/group_priv.h"
#include "epc/pagelist.h"
#include "epc/policy_sample.h"

static void must(bool ok)
{
	if (!ok) {
		perror("policy_cache");
		exit(1);
	}
}

void policy_cache_open(struct policy_cache *c, const struct policy_cache_config *config)
{
	uint32_t ghosts = config->ghosts ? config->ghosts : 1;

	memset(c, 0, sizeof(*c));
	c->config = *config;
	c->page = calloc((size_t)config->frames * ghosts, sizeof(*c->page));
	c->at = malloc(config->pages * sizeof(*c->at));
	c->owner = calloc(1, sizeof(*c->owner));
	must(c->page && c->at && c->owner);
	memset(c->at, 0xff, config->pages * sizeof(*c->at));
	c->view = (struct policy_view){ .pages = c->page,
					.page_nr = config->frames * ghosts,
					.arena = arena_create(1 << 20) };
	must(c->view.arena && policy_view_init(&c->view, UINT64_MAX) == 0);
	c->state = config->policy->create(c->view.arena, &c->view);
	must(c->state);
}

bool policy_cache_close(struct policy_cache *c)
{
	bool empty;

	c->config.policy->destroy(c->state, c->view.arena);
	policy_view_fini(&c->view);
	empty = arena_used_bytes(c->view.arena) == 0;
	arena_destroy(c->view.arena);
	free(c->page);
	free(c->at);
	free(c->owner);
	return empty;
}

void policy_cache_tell(struct policy_cache *c)
{
	uint32_t nr[SAMPLE_BATCH], used;

	while ((used = sample_next_used(&c->view)) != PAGE_NONE) {
		if (c->config.policy->used)
			c->config.policy->used(c->state, used);
	}
	while (sample_take_armed(c->view.samples, nr) > 0)
		;
}

uint32_t policy_cache_evict(struct policy_cache *c)
{
	unsigned int looked, tries;
	uint32_t nr = PAGE_NONE;

	for (tries = 0; nr == PAGE_NONE && tries < 64 + c->config.frames; tries++)
		nr = c->config.policy->pick(c->state, &looked);
	assert(nr != PAGE_NONE && looked <= POLICY_LOOK_MAX);
	c->at[atomic_load(&c->page[nr].cookie)] = PAGE_NONE;
	c->config.policy->evicted(c->state, nr);
	return nr;
}

static uint32_t batch_nr(const struct policy_cache *c)
{
	uint32_t nr = c->config.frames / 4;

	if (c->config.exact || nr == 0)
		return 1;
	return nr < POLICY_CACHE_BATCH ? nr : POLICY_CACHE_BATCH;
}

static uint32_t frame_get(struct policy_cache *c)
{
	if (c->used < c->config.frames)
		return c->used++;
	if (c->free_nr == 0) {
		do
			c->free[c->free_nr++] = policy_cache_evict(c);
		while (c->free_nr < batch_nr(c));
	}
	return c->free[--c->free_nr];
}

bool policy_cache_has(const struct policy_cache *c, uint32_t page)
{
	return c->at[page] != PAGE_NONE;
}

static void load(struct policy_cache *c, uint32_t page, bool ahead)
{
	uint32_t nr;

	policy_cache_tell(c);
	nr = frame_get(c);
	atomic_store(&c->page[nr].flags, 0);
	if (ahead)
		sample_set_ahead(&c->page[nr]);
	page_set_cookie(&c->page[nr], page);
	page_set_owner(&c->page[nr], c->owner);
	c->at[page] = nr;
	c->config.policy->insert(c->state, nr);
}

void policy_cache_bring(struct policy_cache *c, uint32_t page)
{
	assert(page < c->config.pages);
	if (c->at[page] == PAGE_NONE)
		load(c, page, true);
}

void policy_cache_use(struct policy_cache *c, uint32_t page)
{
	uint32_t nr = c->at[page];

	assert(page < c->config.pages);
	if (nr == PAGE_NONE) {
		c->faults++;
		load(c, page, false);
		return;
	}
	if (c->config.exact)
		sample_arm(&c->view, nr);
	if (!(atomic_load(&c->page[nr].flags) & (PAGE_REF_ARMED | PAGE_REF_AHEAD)))
		return;
	c->soft++;
	sample_use(c->view.samples, &c->page[nr], nr);
}
