/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* An owner of EPC pages: 200 blocks in an EPC of 64 pages. What is evicted goes to ordinary memory, and comes back. */
#include <stdio.h>
#include <string.h>
#include <swsgx/epc.h>
enum { BLOCKS = 200, USES = 5 * BLOCKS, BYTES = SWSGX_PAGE_SIZE };
static struct swsgx_owner *owner;
static struct swsgx_page *page[BLOCKS]; /* NULL: not in the EPC */
static unsigned char saved[BLOCKS][BYTES];
static unsigned int n, saves;
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
	memcpy(saved[i], swsgx_page_bytes(owner, leaving), BYTES);
	if (++saves % 10 > 0)
		page[i] = NULL; /* else storage has failed, and the block stays in the EPC */
	return page[i] ? -1 : 0;
}
static const struct swsgx_owner_ops ops = { "blocks", get, may_go, may_go, save, put, NULL, { 0 } };
static unsigned char *use(unsigned int i)
{
	if (page[i]) {
		swsgx_page_touch(owner, page[i]);
	} else if (swsgx_page_alloc(owner, SWSGX_MAY_RECLAIM, &page[i]) == 0) {
		memcpy(swsgx_page_bytes(owner, page[i]), saved[i], BYTES);
		swsgx_page_set_cookie(page[i], i);
		swsgx_page_track(owner, page[i]);
	}
	return page[i] ? swsgx_page_bytes(owner, page[i]) : NULL;
}
int main(void)
{
	struct swsgx_epc *epc;
	if (swsgx_epc_create(&(struct swsgx_epc_config){ .bytes = 64 * BYTES }, &epc) < 0 ||
	    swsgx_owner_create(swsgx_group_root(epc), &ops, NULL, &owner) < 0)
		return 1;
	for (unsigned char *b; n < USES && (b = use(n % BLOCKS)); n++, memset(b, *b + 1, BYTES))
		if (*b != n / BLOCKS || memcmp(b, b + 1, BYTES - 1) != 0)
			break;
	printf("%u of %u uses found what they should; %u evictions failed\n", n, USES, saves / 10);
	return n < USES || swsgx_epc_audit(epc, 0, NULL, 0) > 0;
}
