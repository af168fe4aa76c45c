/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* See space.h. */
#include "lib/space.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "encl/encl_priv.h"
#include "epc/window.h"

/* Whose translations are dropped. */
static struct space *current;

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

static void space_unmap(const uint64_t *win_offs, unsigned int nr)
{
	uint64_t idx;

	for (unsigned int i = 0; current && i < nr; i++) {
		idx = (win_offs[i] - current->b.encl->win_off) / SGX_PAGE_SIZE;
		if (idx < current->pages)
			current->mapped[idx] = NULL;
	}
}

static bool space_signal_pending(void *mm) { return false; }

static const struct encl_mm_ops space_ops = {
	.map = space_map,
	.place = space_place,
	.signal_pending = space_signal_pending,
};

void space_create(struct space *s, uint32_t epc_pages, uint64_t pages, const char *policy)
{
	struct epc_config config = { .policy = policy, .unmap = space_unmap };
	uint64_t size = SGX_PAGE_SIZE;
	int r;

	memset(s, 0, sizeof(*s));
	while (size < pages * SGX_PAGE_SIZE)
		size *= 2;
	s->pages = pages;
	s->mapped = calloc(pages, sizeof(*s->mapped));
	s->version = calloc(pages, sizeof(*s->version));
	assert(s->mapped && s->version);
	world_init_epc(&s->w, epc_pages, &config);
	r = build_create(&s->b, &s->w, size, 0);
	assert(r == 0);
	s->b.unmeasured = true;
}

void space_start(struct space *s)
{
	int r = build_init(&s->b);

	assert(r == 0);
	current = s;
}

void space_init(struct space *s, uint32_t epc_pages, uint64_t pages, const char *policy)
{
	int r;

	space_create(s, epc_pages, pages, policy);
	r = build_add_many(&s->b, 0, pages);
	assert(r == 0);
	space_start(s);
}

void space_destroy(struct space *s)
{
	current = NULL;
	free(s->mapped);
	free(s->version);
}

static void *bytes_of(struct space *s, uint64_t idx)
{
	return window_at(s->b.encl->window, s->b.encl->win_off + idx * SGX_PAGE_SIZE);
}

void space_touch(struct space *s, uint64_t idx) LOCK_ATTR(no_thread_safety_analysis)
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

uint64_t space_count(const struct space *s, enum epc_count what)
{
	struct epc_group_stats stats;

	epc_group_stats_read(epc_group_root(s->w.epc), &stats);
	return stats.count[what];
}

uint64_t space_ahead(struct space *s) LOCK_ATTR(no_thread_safety_analysis)
{
	struct encl_page *page;
	uint64_t nr = 0;

	for (uint64_t idx = 0; (page = pages_next_locked(s->b.encl, &idx, s->pages)); idx++)
		nr += (page->flags & ENCL_PAGE_AHEAD) != 0;
	return nr;
}

void space_no_readahead(struct space *s)
{
	s->b.encl->readahead.trust = 0;
	s->b.encl->readahead.needed = UINT32_MAX;
}
