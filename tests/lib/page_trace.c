/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* See page_trace.h. */
#include "lib/page_trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "epc/owner.h"
#include "epc/page.h"
#include "epc/policy.h"
#include "lib/fake_owner.h"

/* ---- traces -------------------------------------------------------------------------------- */

struct names {
	uint64_t *name;
	uint32_t *number; /* and one more; 0: nothing is there */
	size_t mask, used;
};

static void *alloc_or_die(size_t n, size_t bytes)
{
	void *p = calloc(n, bytes);

	if (!p) {
		perror("page_trace");
		exit(1);
	}
	return p;
}

/* The number of a page: 0 for the first that the trace names, and so on. */
static uint32_t names_number(struct names *names, uint64_t name)
{
	struct names bigger;
	size_t at, i;

	if (names->used * 2 > names->mask) {
		bigger.mask = names->mask * 2 + 1;
		bigger.name = alloc_or_die(bigger.mask + 1, sizeof(uint64_t));
		bigger.number = alloc_or_die(bigger.mask + 1, sizeof(uint32_t));
		bigger.used = names->used;
		for (i = 0; i <= names->mask; i++) {
			if (!names->number[i])
				continue;
			at = (names->name[i] * 0x9e3779b97f4a7c15ull >> 20) & bigger.mask;
			while (bigger.number[at])
				at = (at + 1) & bigger.mask;
			bigger.name[at] = names->name[i];
			bigger.number[at] = names->number[i];
		}
		free(names->name);
		free(names->number);
		*names = bigger;
	}
	at = (name * 0x9e3779b97f4a7c15ull >> 20) & names->mask;
	while (names->number[at] && names->name[at] != name)
		at = (at + 1) & names->mask;
	if (!names->number[at]) {
		names->name[at] = name;
		names->number[at] = (uint32_t)++names->used;
	}
	return names->number[at] - 1;
}

bool page_trace_read(struct page_trace *trace, const char *path)
{
	size_t len = strlen(path), room = 1 << 16;
	bool packed = len > 4 && !strcmp(path + len - 4, ".zst");
	struct names names = { .mask = 1023 };
	unsigned long long page;
	char command[1024];
	FILE *file;

	snprintf(command, sizeof(command), "zstd -dcq -- '%s'", path);
	file = packed ? popen(command, "r") : fopen(path, "r");
	if (!file)
		return false;
	names.name = alloc_or_die(names.mask + 1, sizeof(uint64_t));
	names.number = alloc_or_die(names.mask + 1, sizeof(uint32_t));
	memset(trace, 0, sizeof(*trace));
	trace->ref = alloc_or_die(room, sizeof(uint32_t));
	while (fscanf(file, "%llu", &page) == 1) {
		if (trace->nr == room) {
			room *= 2;
			trace->ref = realloc(trace->ref, room * sizeof(uint32_t));
			if (!trace->ref)
				exit(1);
		}
		trace->ref[trace->nr++] = names_number(&names, page);
	}
	trace->pages = (uint32_t)names.used;
	free(names.name);
	free(names.number);
	if (packed)
		pclose(file);
	else
		fclose(file);
	return trace->nr > 0;
}

/* ---- the optimum --------------------------------------------------------------------------- */

struct heap {
	struct {
		size_t next;
		uint32_t page;
	} * at;
	size_t nr;
};

static void heap_push(struct heap *heap, size_t next, uint32_t page)
{
	size_t i = heap->nr++;

	while (i > 0 && heap->at[(i - 1) / 2].next < next) {
		heap->at[i] = heap->at[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	heap->at[i].next = next;
	heap->at[i].page = page;
}

static void heap_pop(struct heap *heap)
{
	size_t i = 0, child, last = --heap->nr;

	while ((child = 2 * i + 1) < last) {
		if (child + 1 < last && heap->at[child + 1].next > heap->at[child].next)
			child++;
		if (heap->at[child].next <= heap->at[last].next)
			break;
		heap->at[i] = heap->at[child];
		i = child;
	}
	heap->at[i] = heap->at[last];
}

/* Evicts the page whose next use is farthest. */
unsigned long page_trace_optimum(const struct page_trace *trace, uint32_t epc_pages)
{
	size_t *next = alloc_or_die(trace->nr, sizeof(size_t));
	size_t *seen = alloc_or_die(trace->pages, sizeof(size_t));
	size_t *due = alloc_or_die(trace->pages, sizeof(size_t));
	bool *in = alloc_or_die(trace->pages, sizeof(bool));
	struct heap heap = { .at = alloc_or_die(trace->nr + 1, sizeof(*heap.at)) };
	unsigned long faults = 0;
	uint32_t resident = 0;
	size_t i;

	for (i = 0; i < trace->pages; i++)
		seen[i] = SIZE_MAX;
	for (i = trace->nr; i-- > 0;) {
		next[i] = seen[trace->ref[i]];
		seen[trace->ref[i]] = i;
	}
	for (i = 0; i < trace->nr; i++) {
		if (!in[trace->ref[i]]) {
			faults++;
			if (resident == epc_pages) {
				/* Entries that a later use has overtaken are stale. */
				while (!in[heap.at[0].page] ||
				       due[heap.at[0].page] != heap.at[0].next)
					heap_pop(&heap);
				in[heap.at[0].page] = false;
				heap_pop(&heap);
				resident--;
			}
			in[trace->ref[i]] = true;
			resident++;
		}
		due[trace->ref[i]] = next[i];
		heap_push(&heap, next[i], trace->ref[i]);
	}
	free(next);
	free(seen);
	free(due);
	free(in);
	free(heap.at);
	return faults;
}

/* ---- the manager --------------------------------------------------------------------------- */

struct bare {
	struct epc_page **resident;
};

static bool bare_yes(struct epc_page *page) { return true; }

static int bare_write(struct epc_page *page)
{
	struct bare *bare = epc_page_owner(page);

	bare->resident[epc_page_cookie(page)] = NULL;
	return 0;
}

static void bare_put(struct epc_page *page) {}

static const struct sgx_epc_page_ops bare_ops = {
	.name = "bare",
	.get = bare_yes,
	.reclaim = bare_yes,
	.block = bare_yes,
	.write = bare_write,
	.put = bare_put,
};

/*
 * A page that has come is mapped, and stays so until a policy wants to see its next use: a use in between
 * is seen by nobody, as with real page tables.  That next use is a soft fault.
 */
static bool bare_use(struct epc *epc, struct epc_page *page)
{
	if (!(atomic_load_explicit(&page->flags, memory_order_relaxed) & PAGE_REF_ARMED))
		return false;
	epc_touch(epc, page);
	return true;
}

unsigned long page_trace_faults(const struct page_trace *trace, uint32_t epc_pages,
				const char *policy, unsigned long *ret_soft)
{
	return page_trace_faults_of(trace, epc_pages, policy, 0, ret_soft);
}

/* @ret_larger: may be NULL. */
static unsigned long faults_of(const struct page_trace *trace, uint32_t epc_pages,
			       const char *policy, unsigned int nth, unsigned long *ret_soft,
			       struct epc_larger *ret_larger)
{
	struct bare bare = { alloc_or_die(trace->pages, sizeof(struct epc_page *)) };
	unsigned long faults = 0;
	struct fake_machine m;
	struct epc_owner *owner;
	struct epc_stats stats;
	struct epc_page *page;
	size_t i;

	*ret_soft = 0;
	if (fake_machine_create(&m, epc_pages, policy, NULL, 0) < 0)
		exit(1);
	do {
		if (epc_owner_create(m.epc,
				     &(struct epc_owner_config){ .ops = &bare_ops, .owner = &bare },
				     &owner) < 0)
			exit(1);
	} while (nth-- > 0);
	for (i = 0; i < trace->nr; i++) {
		page = bare.resident[trace->ref[i]];
		if (page) {
			*ret_soft += bare_use(m.epc, page);
			continue;
		}
		faults++;
		if (epc_alloc(m.epc, owner, EPC_MAY_RECLAIM | EPC_UNPLACED, &page) < 0)
			exit(1);
		epc_page_set_cookie(page, trace->ref[i]);
		bare.resident[trace->ref[i]] = page;
		epc_track(m.epc, page);
	}
	if (ret_larger) {
		epc_stats_read(m.epc, &stats);
		*ret_larger = stats.larger;
	}
	fake_machine_destroy(&m);
	free(bare.resident);
	return faults;
}

unsigned long page_trace_faults_of(const struct page_trace *trace, uint32_t epc_pages,
				   const char *policy, unsigned int nth, unsigned long *ret_soft)
{
	return faults_of(trace, epc_pages, policy, nth, ret_soft, NULL);
}

unsigned long page_trace_larger(const struct page_trace *trace, uint32_t epc_pages,
				const char *policy, struct epc_larger *ret_larger)
{
	unsigned long soft;

	return faults_of(trace, epc_pages, policy, 0, &soft, ret_larger);
}

void page_trace_fini(struct page_trace *trace) { free(trace->ref); }
