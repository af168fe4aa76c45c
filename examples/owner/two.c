/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Two owners on one EPC of 128 pages: "small" has been promised 48, "large" takes what it can get.  The EPC lies on two
 * nodes, what is evicted goes to a file in the folder that is named (.), and a thread evicts ahead of demand.  At the
 * end the numbers, as a table.  Status 0 when nothing was lost, and the promise was kept.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <swsgx/backing.h>
#include <swsgx/stats.h>

enum { BYTES = SWSGX_PAGE_SIZE, BLOCKS_MAX = 300, ROUNDS = 20 };

struct owner {
	const char *name;
	uint32_t blocks, min;
	struct swsgx_group *group;
	struct swsgx_owner *owner;
	struct swsgx_slots *slots;
	pthread_mutex_t lock; /* from looking into page[] until its bytes were used */
	struct swsgx_page *page[BLOCKS_MAX]; /* NULL: not in the EPC */
	int bad;
};

static bool get(void *arg, uint64_t i)
{
	return true;
}

static bool may_go(void *arg, uint64_t i, struct swsgx_page *page)
{
	return true;
}

static int save(void *arg, uint64_t i, struct swsgx_page *page)
{
	struct owner *o = arg;
	int r;

	pthread_mutex_lock(&o->lock);
	r = swsgx_slot_write(o->slots, (uint32_t)i, page);
	if (r == 0)
		o->page[i] = NULL;
	pthread_mutex_unlock(&o->lock);
	return r;
}

static void put(void *arg, uint64_t i) {}

static const struct swsgx_owner_ops ops = {
	.name = "two", .get = get, .reclaim = may_go, .block = may_go, .write = save, .put = put
};

/* Round @n finds what round @n - 1 has left. */
static int work(struct owner *o, struct swsgx_page *page, unsigned int n)
{
	unsigned char *bytes = swsgx_page_bytes(o->owner, page);
	int bad = bytes[0] != n || bytes[BYTES - 1] != n;

	memset(bytes, (int)n + 1, BYTES);
	return bad;
}

static int use(struct owner *o, uint32_t i, unsigned int n)
{
	struct swsgx_page *page;
	int r = 0;

	pthread_mutex_lock(&o->lock);
	page = o->page[i];
	if (page) {
		r = work(o, page, n);
		swsgx_page_touch(o->owner, page);
	}
	pthread_mutex_unlock(&o->lock);
	if (page)
		return r;
	/* Without the lock: it may be this owner that gives one up. */
	r = swsgx_page_alloc(o->owner, SWSGX_MAY_RECLAIM, &page);
	if (r < 0)
		return r;
	if (n == 0)
		memset(swsgx_page_bytes(o->owner, page), 0, BYTES);
	else
		r = swsgx_slot_read(o->slots, i, page);
	swsgx_owner_count(o->owner, page, SWSGX_FAULTS, 1);
	swsgx_owner_count(o->owner, page, SWSGX_LOADS, n > 0);
	swsgx_page_set_cookie(page, i);
	r = r < 0 ? r : work(o, page, n);
	o->page[i] = page;
	swsgx_page_track(o->owner, page);
	return r;
}

static void *run(void *arg)
{
	struct owner *o = arg;
	unsigned int n;
	uint32_t i;

	for (n = 0; n < ROUNDS; n++) {
		for (i = 0; i < o->blocks; i++)
			o->bad += use(o, i, n) != 0;
	}
	return NULL;
}

static void *background(void *arg)
{
	swsgx_background_run(arg);
	return NULL;
}

static int create(struct swsgx_epc *epc, struct owner *o)
{
	struct swsgx_group_limits limits = {
		.max = SWSGX_NO_LIMIT, .high = SWSGX_NO_LIMIT, .min = o->min, .weight = 100
	};

	pthread_mutex_init(&o->lock, NULL);
	return swsgx_group_create(swsgx_group_root(epc), o->name, &limits, &o->group) < 0 ||
	       swsgx_owner_create(o->group, &ops, o, &o->owner) < 0 ||
	       swsgx_slots_create(epc, o->blocks, &o->slots) < 0;
}

static void print_group(struct swsgx_group *group)
{
	struct swsgx_group_info info;

	swsgx_group_read(group, &info);
	printf("%-6s %6u %6u %8lu %9lu %8lu %7lu %9lu\n", info.name, info.current_pages,
	       info.peak_pages, info.count[SWSGX_ALLOCS], info.count[SWSGX_EVICTIONS],
	       info.count[SWSGX_LOADS], info.count[SWSGX_STALLS],
	       info.pressure[SWSGX_SOME].total_ns / 1000);
}

static void print_table(struct swsgx_epc *epc, struct owner *small, struct owner *large)
{
	struct swsgx_section_info section;
	struct swsgx_epc_info info;
	uint32_t i;

	swsgx_epc_read(epc, &info);
	printf("group   pages   peak   allocs evictions    loads  stalls  us stood\n");
	print_group(swsgx_group_root(epc));
	print_group(small->group);
	print_group(large->group);
	for (i = 0; swsgx_section_read(epc, i, &section) == 0; i++)
		printf("node %d: %u pages, %lu allocs, %lu loads\n", section.node, section.pages,
		       section.allocs, section.count[SWSGX_LOADS]);
	printf("watermarks %lu and %lu, %lu of %lu batches in the background\n", info.low,
	       info.high, info.background_batches, info.batches);
	printf("file: %lu pages written, %lu read\n", info.backing_written, info.backing_read);
}

int main(int argc, char *argv[])
{
	static struct owner small = { .name = "small", .blocks = 40, .min = 48 };
	static struct owner large = { .name = "large", .blocks = BLOCKS_MAX };
	struct swsgx_section_config section[] = { { .bytes = 64 * BYTES, .node = 0 },
						  { .bytes = 64 * BYTES, .node = 1 } };
	struct swsgx_epc_config config = { .backing_path = argc > 1 ? argv[1] : ".",
					   .backing_bytes_max = 4 << 20,
					   .section = section,
					   .section_nr = 2 };
	struct swsgx_group_info info;
	struct swsgx_epc *epc;
	pthread_t thread[2];
	char why[100];

	if (swsgx_epc_create(&config, &epc) < 0 || create(epc, &small) || create(epc, &large))
		return 1;
	if (pthread_create(&thread[0], NULL, background, epc) ||
	    pthread_create(&thread[1], NULL, run, &large))
		return 1;
	run(&small);
	pthread_join(thread[1], NULL);
	swsgx_background_stop(epc);
	pthread_join(thread[0], NULL);
	print_table(epc, &small, &large);
	swsgx_group_read(small.group, &info);
	if (swsgx_epc_audit(epc, 0, why, sizeof(why)) > 0)
		printf("audit: %s\n", why);
	else if (info.count[SWSGX_EVICTIONS] > 0 || small.bad || large.bad)
		printf("lost: %d and %d\n", small.bad, large.bad);
	else
		return 0;
	return 1;
}
