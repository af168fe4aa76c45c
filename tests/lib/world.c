/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The world of a test: see world.h.
 */
#include "lib/world.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "cpu/cpu.h"
#include "cpu/platform.h"
#include "epc/backing.h"
#include "epc/epc.h"
#include "epc/owner.h"
#include "epc/window.h"
#include "lib/sigstruct.h"

#define WORLD_ARENA_BYTES (512ull << 20)

/* A key takes most of a second to make, and one author is as good as another. */
static struct signer *shared_signer;

static size_t manager_bytes(const struct world *w)
{
	struct epc_footprint footprint;

	epc_footprint_read(w->epc, &footprint);
	return footprint.rest;
}

static void make(struct world *w, uint32_t epc_pages, uint32_t caps_off, uint32_t caps_on,
		 struct epc_config epc_config)
{
	struct cpu_config *config = calloc(1, sizeof(*config));

	memset(w, 0, sizeof(*w));
	assert(config);
	cpu_config_default(config, (uint64_t)epc_pages * SGX_PAGE_SIZE);
	config->caps &= ~caps_off;
	config->caps |= caps_on;
	w->arena = arena_create(WORLD_ARENA_BYTES);
	assert(w->arena);
	assert(platform_random(&config->fuses) == 0);
	w->cpu = cpu_create(config);
	assert(w->cpu);
	epc_config.cpu = w->cpu;
	epc_config.arena = w->arena;
	assert(epc_create(&epc_config, &w->epc) == 0);
	assert(encl_registry_create(w->epc, &w->registry) == 0);
	w->arena_bytes = arena_used_bytes(w->arena);
	w->manager_bytes = manager_bytes(w);
	free(config);
}

void world_init(struct world *w, uint32_t epc_pages, uint32_t caps_off)
{
	world_init_caps(w, epc_pages, caps_off, 0);
}

void world_init_epc(struct world *w, uint32_t epc_pages, const struct epc_config *config)
{
	make(w, epc_pages, 0, 0, *config);
}

void world_init_caps(struct world *w, uint32_t epc_pages, uint32_t caps_off, uint32_t caps_on)
{
	make(w, epc_pages, caps_off, caps_on, (struct epc_config){ 0 });
}

bool world_left(struct world *w, struct world_left *ret_left)
{
	struct epc_stats stats;

	epc_stats_read(w->epc, &stats);
	/* Broken ones are nobody's, and stay so. */
	ret_left->frames = stats.pages - stats.free - stats.dirty - stats.poisoned;
	ret_left->slots = backing_used(epc_backing(w->epc));
	/* What the manager has made since, as it was needed, is no leak. */
	ret_left->bytes =
		arena_used_bytes(w->arena) - w->arena_bytes - (manager_bytes(w) - w->manager_bytes);
	return ret_left->frames || ret_left->slots || ret_left->bytes;
}

void world_destroy(struct world *w)
{
	encl_registry_destroy(w->registry);
	epc_destroy(w->epc);
	cpu_destroy(w->cpu);
	arena_destroy(w->arena);
}

static bool hog_no(struct epc_page *page) { return false; }

static int hog_no_write(struct epc_page *page) { return -1; }

static void hog_put(struct epc_page *page) {}

static const struct sgx_epc_page_ops hog_ops = {
	.name = "hog",
	.get = hog_no,
	.reclaim = hog_no,
	.block = hog_no,
	.write = hog_no_write,
	.put = hog_put,
};

void hog_init(struct hog *hog, struct world *w)
{
	struct epc_owner_config config = { .ops = &hog_ops, .owner = w->arena };

	memset(hog, 0, sizeof(*hog));
	assert(epc_owner_create(w->epc, &config, &hog->owner) == 0);
	while (hog->nr < sizeof(hog->frame) / sizeof(hog->frame[0]) &&
	       epc_alloc(w->epc, hog->owner, 0, &hog->frame[hog->nr]) == 0)
		epc_keep(w->epc, hog->frame[hog->nr++]);
}

void hog_fini(struct hog *hog, struct world *w)
{
	while (hog->nr > 0)
		epc_free(w->epc, hog->frame[--hog->nr]);
	epc_owner_destroy(hog->owner);
}

int build_create(struct build *b, struct world *w, uint64_t size, uint64_t more_flags)
{
	struct sgx_secs *secs = aligned_alloc(SGX_PAGE_SIZE, sizeof(*secs));
	int r;

	assert(secs);
	memset(b, 0, sizeof(*b));
	memset(secs, 0, sizeof(*secs));
	b->world = w;
	b->base = BUILD_BASE;
	b->size = size;
	b->attributes.flags = SGX_ATTR_MODE64BIT | more_flags;
	b->attributes.xfrm = SGX_XFRM_LEGACY;
	secs->size = size;
	secs->baseaddr = b->base;
	secs->ssa_frame_size = 1;
	secs->attributes = b->attributes;
	r = encl_open(w->registry, &b->encl);
	if (r == 0)
		r = encl_create(b->encl, secs);
	if (r == 0)
		b->measure = measure_create(1, size);
	free(secs);
	return r;
}

int build_add(struct build *b, uint64_t idx, const void *contents, uint64_t secinfo_flags)
{
	struct sgx_secinfo secinfo = { .flags = secinfo_flags };
	void *page = aligned_alloc(SGX_PAGE_SIZE, SGX_PAGE_SIZE);
	int r;

	assert(page);
	if (contents)
		memcpy(page, contents, SGX_PAGE_SIZE);
	else
		page_pattern(page, idx, 0);
	r = encl_add_page(b->encl, &encl_mm_none, idx * SGX_PAGE_SIZE, page, &secinfo,
			  !b->unmeasured);
	if (r == 0)
		measure_add(b->measure, idx * SGX_PAGE_SIZE, secinfo_flags);
	if (r == 0 && !b->unmeasured)
		measure_extend(b->measure, idx * SGX_PAGE_SIZE, page);
	free(page);
	return r;
}

int build_add_many(struct build *b, uint64_t first, uint64_t nr)
{
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < nr; i++)
		r = build_add(b, first + i, NULL, FLAGS_RW);
	return r;
}

int build_init(struct build *b)
{
	struct sgx_sigstruct *sig = aligned_alloc(SGX_PAGE_SIZE, SGX_PAGE_SIZE);
	uint8_t mrenclave[32];
	int r;

	assert(sig);
	if (!shared_signer)
		shared_signer = signer_create();
	measure_final(b->measure, mrenclave);
	b->measure = NULL;
	sigstruct_init(sig, mrenclave, b->attributes);
	sigstruct_sign(sig, shared_signer);
	r = encl_init(b->encl, &encl_mm_none, sig);
	free(sig);
	return r;
}

void build_fini(struct build *b)
{
	uint8_t unused[32];

	if (b->measure)
		measure_final(b->measure, unused);
	b->encl = encl_put(b->encl);
}

static uint64_t pattern_word(uint64_t idx, uint64_t version, uint64_t i)
{
	uint64_t x = idx * 0x9e3779b97f4a7c15ull + version * 0xbf58476d1ce4e5b9ull + i;

	x ^= x >> 29;
	x *= 0x94d049bb133111ebull;
	return x ^ (x >> 32);
}

void page_pattern(void *page, uint64_t idx, uint64_t version)
{
	uint64_t *words = page;

	for (uint64_t i = 0; i < SGX_PAGE_SIZE / sizeof(*words); i++)
		words[i] = pattern_word(idx, version, i);
}

bool page_has_pattern(const void *page, uint64_t idx, uint64_t version)
{
	const uint64_t *words = page;

	for (uint64_t i = 0; i < SGX_PAGE_SIZE / sizeof(*words); i++)
		if (words[i] != pattern_word(idx, version, i))
			return false;
	return true;
}

/* ---- an address space that looks at the page while it cannot leave ------------------------------- */

struct toucher {
	struct epc *epc;
	uint64_t idx, version, next;
	enum touch outcome;
	unsigned int seen;
};

static int toucher_map(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, unsigned int rwx)
{
	struct toucher *t = mm;
	void *page = window_at(epc_window(t->epc), win_off);

	t->seen++;
	t->outcome = page_has_pattern(page, t->idx, t->version) ? TOUCH_OK : TOUCH_WRONG;
	if (t->next != t->version)
		page_pattern(page, t->idx, t->next);
	return 0;
}

static int toucher_place(void *mm, struct encl *encl, uint64_t la, uint64_t win_off,
			 const void *bytes, unsigned int rwx)
{
	struct toucher *t = mm;
	int r;

	/* Read ahead: nobody has touched it. */
	if ((la - encl_base(encl)) / SGX_PAGE_SIZE != t->idx)
		return 0;
	r = window_give(epc_window(t->epc), win_off, bytes);
	/* Placing shows the page, too. */
	if (r == 0)
		toucher_map(mm, encl, la, win_off, rwx);
	return r < 0 ? r : 1;
}

static bool toucher_signal_pending(void *mm) { return false; }

enum touch touch_page(struct encl *encl, uint64_t idx, uint64_t version, uint64_t next,
		      struct encl_fault *ret_fault)
{
	static const struct encl_mm_ops ops = {
		.map = toucher_map,
		.place = toucher_place,
		.signal_pending = toucher_signal_pending,
	};
	struct toucher t = { .idx = idx, .version = version, .next = next };
	struct encl_mm mm = { .ops = &ops, .ctx = &t };
	struct encl_fault f;

	t.epc = encl_epc(encl);
	f = encl_fault(encl, &mm, encl_base(encl) + idx * SGX_PAGE_SIZE, ENCL_R, ENCL_R, true);
	if (ret_fault)
		*ret_fault = f;
	if (f.kind != ENCL_FAULT_DONE)
		return TOUCH_FAULT;
	return t.seen == 1 ? t.outcome : TOUCH_WRONG;
}
