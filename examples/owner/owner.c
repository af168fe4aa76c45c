/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* An owner of EPC pages: 200 blocks in an EPC of 64 pages. What is evicted goes to ordinary memory, and comes back. */
#include <stdio.h>
#include <string.h>
#include <swsgx/epc.h>
enum { BLOCKS = 200, USES = 5 * BLOCKS };
static struct swsgx_owner *owner;
static struct swsgx_page *page[BLOCKS]; /* NULL: not in the EPC */
static unsigned char saved[BLOCKS][SWSGX_PAGE_SIZE];
static void put(void *arg, uint64_t i) {}
static bool get(void *arg, uint64_t i)
{
	return true;
}
static bool may_go(void *arg, uint64_t i, struct swsgx_page *leaving)
{
	return true;
}
static int save(void *arg, uint64_t i, struct swsgx_page *leaving)
{
	memcpy(saved[i], swsgx_page_bytes(owner, leaving), SWSGX_PAGE_SIZE);
	page[i] = NULL;
	return 0;
}
static const struct swsgx_owner_ops ops = { "blocks", get, may_go, may_go, save, put };
static unsigned char *use(unsigned int i)
{
	if (page[i]) {
		swsgx_page_touch(owner, page[i]);
	} else if (swsgx_page_alloc(owner, SWSGX_MAY_RECLAIM, &page[i]) == 0) {
		memcpy(swsgx_page_bytes(owner, page[i]), saved[i], SWSGX_PAGE_SIZE);
		swsgx_page_set_cookie(page[i], i);
		swsgx_page_track(owner, page[i]);
	}
	return page[i] ? swsgx_page_bytes(owner, page[i]) : NULL;
}
int main(void)
{
	struct swsgx_epc_config config = { .bytes = 64 * SWSGX_PAGE_SIZE };
	struct swsgx_epc *epc;
	unsigned int n = 0;
	if (swsgx_epc_create(&config, &epc) < 0 ||
	    swsgx_owner_create(swsgx_group_root(epc), &ops, NULL, &owner) < 0)
		return 1;
	for (unsigned char *block; n < USES && (block = use(n % BLOCKS)); n++)
		if (*block != n / BLOCKS || !memset(block, *block + 1, SWSGX_PAGE_SIZE))
			break;
	printf("%u of %u uses of %u blocks found what they should\n", n, USES, BLOCKS);
	return n < USES;
}
