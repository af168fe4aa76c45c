/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Two EPCs that a program made with the installed API, three pages of one and five of the other, until its input ends. */
#include <stdio.h>
#include <swsgx/stats.h>

static void put(void *arg, uint64_t i) {}

static bool get(void *arg, uint64_t i) { return true; }

static bool never(void *arg, uint64_t i, struct swsgx_page *page) { return false; }

static int fail(void *arg, uint64_t i, struct swsgx_page *page) { return -1; }

static const struct swsgx_owner_ops ops = { "kept", get, never, never, fail, put, NULL, { 0 } };

static int hold(uint64_t bytes, unsigned int pages)
{
	struct swsgx_epc_config config = { .bytes = bytes };
	struct swsgx_owner *owner;
	struct swsgx_page *page;
	struct swsgx_epc *epc;
	unsigned int i;
	int r = swsgx_epc_create(&config, &epc);

	if (r == 0)
		r = swsgx_owner_create(swsgx_group_root(epc), &ops, NULL, &owner);
	for (i = 0; r == 0 && i < pages; i++) {
		r = swsgx_page_alloc(owner, 0, &page);
		if (r == 0)
			(void)swsgx_owner_count(owner, page, SWSGX_FAULTS, 10);
	}
	return r;
}

int main(void)
{
	if (hold(1 << 20, 3) < 0 || hold(64 << 20, 5) < 0)
		return 1;
	puts("ready");
	fflush(stdout);
	return getchar() != EOF;
}
