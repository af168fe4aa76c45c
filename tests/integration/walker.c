/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * An SGX program that touches the pages of its heap in some order, lap by lap: for test_readahead, which reads what
 * swsgx counted.  The heap is so many per cent of the EPC that CPUID tells of.
 *
 *   walker PERCENT LAPS loop|back|stride|copy|random
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

enum { STRIDE = 3 };

/* The i-th page of a lap, of n. */
static uint32_t page_at(const char *order, uint32_t i, uint32_t n)
{
	if (!strcmp(order, "back"))
		return n - 1 - i;
	if (!strcmp(order, "stride"))
		return i * STRIDE % n + i * STRIDE / n % STRIDE;
	if (!strcmp(order, "copy"))
		return i % 2 * (n / 2) + i / 2;
	return strcmp(order, "random") ? i : (uint32_t)random() % n;
}

int main(int argc, char **argv)
{
	struct client_conf conf = { 0 };
	struct client_encl encl;
	uint32_t n, i, *page;
	int lap, laps;

	if (argc != 4)
		return 2;
	laps = atoi(argv[2]);
	n = (uint32_t)(client_epc_pages() * strtoul(argv[1], NULL, 10) / 100) / (2 * STRIDE) * 2 *
	    STRIDE;
	conf.heap_pages = n;
	page = calloc(n, sizeof(*page));
	if (!page || client_create(&encl, &conf) < 0)
		return 1;
	for (lap = 0; lap < laps; lap++) {
		for (i = 0; i < n; i++)
			page[i] = page_at(argv[3], i, n);
		if (!client_touch(&encl, 0, page, n, true))
			return 1;
	}
	printf("%lu touches\n", (unsigned long)n * (unsigned long)laps);
	client_destroy(&encl);
	free(page);
	return 0;
}
