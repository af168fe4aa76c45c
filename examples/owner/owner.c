/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* An owner of EPC pages: 200 blocks in an EPC of 64 pages. What is evicted goes to ordinary memory, and comes back. */
#include <stdio.h>
#include <string.h>
#include <swsgx/epc.h>

enum { BLOCKS = 200, EPC_PAGES = 64, ROUNDS = 5 };

struct blocks {
	struct swsgx_owner *owner;
	struct swsgx_page *page[BLOCKS]; /* NULL: not in the EPC */
	unsigned char saved[BLOCKS][SWSGX_PAGE_SIZE];
};

static bool get(void *blocks, uint64_t i)
{
	return true;
}
static void put(void *blocks, uint64_t i) {}
static bool may_go(void *blocks, uint64_t i, struct swsgx_page *page)
{
	return true;
}

static int save(void *arg, uint64_t i, struct swsgx_page *page)
{
	struct blocks *b = arg;

	memcpy(b->saved[i], swsgx_page_bytes(b->owner, page), SWSGX_PAGE_SIZE);
	b->page[i] = NULL;
	return 0;
}

static const struct swsgx_owner_ops ops = { "blocks", get, may_go, may_go, save, put };

/* Block i, in the EPC. */
static unsigned char *use(struct blocks *b, unsigned int i)
{
	if (b->page[i]) {
		swsgx_page_touch(b->owner, b->page[i]);
	} else {
		if (swsgx_page_alloc(b->owner, SWSGX_MAY_RECLAIM, &b->page[i]) < 0)
			return NULL;
		memcpy(swsgx_page_bytes(b->owner, b->page[i]), b->saved[i], SWSGX_PAGE_SIZE);
		swsgx_page_set_cookie(b->page[i], i);
		swsgx_page_track(b->owner, b->page[i]);
	}
	return swsgx_page_bytes(b->owner, b->page[i]);
}

int main(void)
{
	static struct blocks b;
	struct swsgx_epc_config config = { .bytes = EPC_PAGES * SWSGX_PAGE_SIZE };
	unsigned int n, wrong = 0;
	struct swsgx_epc *epc;
	char why[100];

	if (swsgx_epc_create(&config, &epc) < 0 ||
	    swsgx_owner_create(swsgx_group_root(epc), &ops, &b, &b.owner) < 0)
		return 1;
	for (n = 0; n < ROUNDS * BLOCKS; n++) {
		unsigned char *block = use(&b, n % BLOCKS);

		wrong += !block || block[n % SWSGX_PAGE_SIZE % BLOCKS] != n / BLOCKS;
		if (block)
			memset(block, (int)(n / BLOCKS + 1), SWSGX_PAGE_SIZE);
	}
	printf("%u uses of %u blocks in %u pages, %lu evictions, %u wrong\n", n, BLOCKS, EPC_PAGES,
	       (unsigned long)swsgx_group_count(swsgx_group_root(epc), "evictions"), wrong);
	for (n = 0; n < BLOCKS; n++)
		if (b.page[n] && swsgx_page_untrack(b.owner, b.page[n]) == 0)
			swsgx_page_free(b.owner, b.page[n]);
	wrong += swsgx_epc_audit(epc, why, sizeof(why));
	swsgx_owner_destroy(b.owner);
	swsgx_epc_destroy(epc);
	return wrong > 0;
}
