/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Sections on nodes, their shards, and sanitising: where a page comes from, and that a dirty EPC becomes clean in
 * an order that EREMOVE accepts.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "cpu/cpu_priv.h"
#include "epc/epc_priv.h"
#include "epc/owner.h"
#include "epc/pagelist.h"
#include "lib/fake_owner.h"
#include "lib/huge.h"
#include "lib/tap.h"

enum { SECTION = 64, NODES = 4 };

static void check_audit(struct epc *epc, const char *when)
{
	char why[200];
	unsigned int faults = epc_audit(epc, false, why, sizeof(why));

	TAP_CHECK(faults == 0, "audit %s%s%s", when, faults ? ": " : "", why);
}

/* ---- nodes: four in a ring, and the thread is where the test says ------------------------------ */

static unsigned int here;

static unsigned int node_here(void) { return here; }

static unsigned int ring(unsigned int from, unsigned int to)
{
	unsigned int d = (from + NODES - to) % NODES;

	return 10 + 10 * (d > NODES / 2 ? NODES - d : d);
}

static const struct epc_topology topology = { node_here, ring };

/* The sections' nodes, one digit each; '-' for none. */
static void machine_on(struct fake_machine *m, const char *nodes, const struct epc_topology *where,
		       unsigned int shards)
{
	struct epc_config config = { .topology = where, .shards = shards };
	struct cpu_config cpu;
	size_t i;

	cpu_config_default(&cpu, SECTION * SGX_PAGE_SIZE);
	for (i = 0; i < strlen(nodes); i++) {
		int node = nodes[i] == '-' ? -1 : nodes[i] - '0';

		if (i == 0)
			cpu.section[0].node = node;
		else
			TAP_MUST(cpu_config_add_section(&cpu, SECTION * SGX_PAGE_SIZE, node),
				 "a section on node %c", nodes[i]);
	}
	TAP_MUST(fake_machine_create_as(m, &cpu, &config) == 0, "an EPC on nodes %s", nodes);
}

/* Fill the EPC: the sections that the pages came from, in order, as the digits of their places. */
static void fill_order(struct fake_machine *m, unsigned int node, char *ret_order)
{
	unsigned int sections = epc_section_nr(m->epc), n = 0;
	struct fake_owner *owner;
	uint32_t i, nr;

	owner = fake_owner_create(m->epc, 1, sections * SECTION, true);
	here = node;
	for (i = 0; i < sections * SECTION; i++) {
		if (fake_use(owner, i, 0) < 0)
			break;
		nr = epc_page_nr(m->epc, owner->page[i].epc_page) / SECTION;
		if (n == 0 || ret_order[n - 1] != (char)('0' + nr))
			ret_order[n++] = (char)('0' + nr);
		if (n == 16)
			break;
	}
	ret_order[n] = '\0';
	TAP_CHECK(i == sections * SECTION && owner->wrong == 0, "every page can be had");
	fake_owner_put(owner);
}

static void check_order(const char *nodes, unsigned int node, const char *expected)
{
	struct fake_machine m;
	char order[17];

	machine_on(&m, nodes, &topology, 0);
	fill_order(&m, node, order);
	TAP_CHECK(!strcmp(order, expected), "sections on %s, thread on %u: the order is %s", nodes,
		  node, order);
	/* And again with pages that were used before. */
	fill_order(&m, node, order);
	TAP_CHECK(!strcmp(order, expected), "and again");
	check_audit(m.epc, "of sections on nodes");
	fake_machine_destroy(&m);
}

static void test_nodes(void)
{
	check_order("0", 0, "0");
	check_order("0", 3, "0");
	check_order("01", 0, "01");
	check_order("01", 1, "10");
	check_order("0123", 0, "0132");
	check_order("0123", 2, "2130");
	check_order("2200", 0, "2301");
	check_order("-1-0", 1, "1023"); /* none is named: as far as a remote one */
	check_order("01", 77, "10");    /* (77 + 4 - 1) % 4 == 0 */
	check_order("10", 1024, "10");  /* no node that Linux has: as on 0 */
}

/* Who runs on a node that is full gets pages of the other one, and nobody's page is evicted for that. */
static void test_full_node(void)
{
	struct fake_owner *full, *other;
	struct fake_machine m;
	struct epc_stats s;
	uint32_t i, far = 0;
	bool ok = true;

	machine_on(&m, "01", &topology, 0);
	TAP_CHECK(epc_node_nr(m.epc) == 2, "sections on two nodes");
	full = fake_owner_create(m.epc, 1, SECTION, true);
	other = fake_owner_create(m.epc, 2, SECTION, true);
	here = 0;
	for (i = 0; i < SECTION; i++)
		ok &= fake_use(full, i, EPC_MAY_RECLAIM) == 0;
	epc_stats_read(m.epc, &s);
	for (i = 0; i < SECTION - s.low; i++) {
		ok &= fake_use(other, i, EPC_MAY_RECLAIM) == 0;
		far += ok && epc_page_nr(m.epc, other->page[i].epc_page) >= SECTION;
	}
	TAP_CHECK(ok && far == SECTION - s.low, "node 0 is full: %u pages of node 1", far);
	TAP_CHECK(epc_background_once(m.epc) == 0, "down to the low watermark of all of it");
	epc_stats_read(m.epc, &s);
	TAP_CHECK(s.evictions == 0 && s.stalls == 0 && fake_resident(full) == SECTION,
		  "and nothing was evicted");
	for (; i < SECTION; i++)
		ok &= fake_use(other, i, EPC_MAY_RECLAIM) == 0;
	TAP_CHECK(ok && epc_background_once(m.epc) > 0, "below it the reserve is filled");
	fake_owner_put(full);
	fake_owner_put(other);
	check_audit(m.epc, "of a full node");
	fake_machine_destroy(&m);
	machine_on(&m, "0-1-0", &topology, 0);
	TAP_CHECK(epc_node_nr(m.epc) == 3, "and of no node: that is one more");
	fake_machine_destroy(&m);
}

/* The system's own answers: whatever they are, all of it can be had. */
static void test_system(void)
{
	struct epc_section_info info;
	struct fake_machine m;
	char order[17];

	machine_on(&m, "09", NULL, 0);
	fill_order(&m, 0, order);
	TAP_CHECK(strlen(order) == 2, "by the system's distances: %s", order);
	epc_section_read(m.epc, 1, &info);
	TAP_CHECK(info.first == SECTION && info.pages == SECTION && info.node == 9 &&
			  info.free == SECTION && info.dirty == 0 && info.allocs == SECTION &&
			  info.frees == SECTION,
		  "a section tells of itself");
	fake_machine_destroy(&m);
}

static void test_too_many(void)
{
	struct cpu_config cpu;
	unsigned int i;

	cpu_config_default(&cpu, SGX_PAGE_SIZE);
	for (i = 1; i < 8; i++)
		TAP_CHECK(cpu_config_add_section(&cpu, SGX_PAGE_SIZE, -1), "section %u", i);
	TAP_CHECK(!cpu_config_add_section(&cpu, SGX_PAGE_SIZE, -1) && cpu.page_nr == 8,
		  "eight sections are all that there can be");
	cpu_config_default(&cpu, SGX_PAGE_SIZE);
	TAP_CHECK(!cpu_config_add_section(&cpu, UINT64_MAX & ~4095ull, -1),
		  "nor so many pages that they have no number");
}

/* ---- shards ------------------------------------------------------------------------------------ */

static void test_shards(void)
{
	static const unsigned int wanted[] = { 1, 2, 3, 7, 16, 1000 };
	struct fake_owner *a, *b;
	struct fake_machine m;
	unsigned int i;
	uint32_t p;
	bool ok;

	for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		machine_on(&m, "01", &topology, wanted[i]);
		a = fake_owner_create(m.epc, 1, 200, true);
		b = fake_owner_create(m.epc, 2, 100, false);
		for (p = 0, ok = true; p < 1000; p++)
			ok &= fake_use_surely(a, p * 7 % 200) && fake_use_surely(b, p % 100);
		TAP_CHECK(ok && a->wrong + b->wrong == 0,
			  "%u shards a section: nothing is lost, none is left idle", wanted[i]);
		TAP_CHECK(fake_resident(a) + fake_resident(b) + 16 >= 2 * SECTION,
			  "the whole EPC is in use");
		check_audit(m.epc, "of shards");
		fake_owner_put(a);
		fake_owner_put(b);
		check_audit(m.epc, "of empty shards");
		fake_machine_destroy(&m);
	}
}

/* ---- sanitising: an EPC that somebody has left behind -------------------------------------------- */

static bool no(struct epc_page *page) { return false; }

static int no_write(struct epc_page *page) { return -EIO; }

static void no_put(struct epc_page *page) {}

static const struct sgx_epc_page_ops keep_ops = { "keep", no, no, no, no_write, no_put, false };

#define NONE UINT32_MAX

static struct arena *arena;
static _Alignas(4096) struct sgx_secs secs;
static _Alignas(4096) unsigned char source[SGX_PAGE_SIZE], bytes[2][SGX_PAGE_SIZE];
static _Alignas(64) struct sgx_secinfo secinfo;

/* An enclave of a SECS and a page, which nobody will ever remove. */
static void leave_enclave(struct cpu *cpu, uint32_t secs_nr, uint32_t child_nr, void *at[2])
{
	struct cpu_pageinfo pi = { .srcpge = &secs, .secinfo = &secinfo, .secs = CPU_NO_PAGE };

	memset(&secs, 0, sizeof(secs));
	secs.size = 16 * SGX_PAGE_SIZE;
	secs.baseaddr = 1ull << 32;
	secs.ssa_frame_size = 1;
	secs.attributes.flags = SGX_ATTR_MODE64BIT;
	secs.attributes.xfrm = 3;
	memset(&secinfo, 0, sizeof(secinfo));
	cpu_set_bytes(cpu, secs_nr, at[0]);
	cpu_set_bytes(cpu, child_nr, at[1]);
	TAP_MUST(cpu_ok(encls_ecreate(cpu, &pi, secs_nr)), "a SECS at %u", secs_nr);
	secinfo.flags = SGX_SECINFO_R | SGX_SECINFO_W | SGX_SECINFO_TYPE(SGX_PT_REG);
	pi = (struct cpu_pageinfo){
		.linaddr = secs.baseaddr, .srcpge = source, .secinfo = &secinfo, .secs = secs_nr
	};
	TAP_MUST(cpu_ok(encls_eadd(cpu, &pi, child_nr)), "with a child at %u", child_nr);
}

/* @broken: a machine check on this one, before anything is clean; NONE: on none. */
static void test_sanitise(const char *nodes, uint32_t secs_nr, uint32_t child_nr, uint32_t broken)
{
	uint32_t sections = (uint32_t)strlen(nodes), pages = sections * SECTION, i, order_of = 0;
	uint32_t good = broken == NONE ? pages : pages - 1;
	struct epc_owner_config keep = { .ops = &keep_ops, .owner = &secs };
	struct epc_config config = { .topology = &topology };
	struct epc_owner *owner;
	struct epc_stats stats;
	struct epc_page *page;
	struct cpu_config cc;
	struct epc *epc;
	bool clean = true;
	struct cpu *cpu;

	cpu_config_default(&cc, SECTION * SGX_PAGE_SIZE);
	for (i = 1; i < sections; i++)
		cpu_config_add_section(&cc, SECTION * SGX_PAGE_SIZE, (int)i);
	cpu = cpu_create(&cc);
	leave_enclave(cpu, secs_nr, child_nr, (void *[]){ bytes[0], bytes[1] });
	config.cpu = cpu;
	config.arena = arena;
	here = 0;
	TAP_MUST(epc_create(&config, &epc) == 0, "an EPC that is not clean");
	TAP_MUST(epc_owner_create(epc, &keep, &owner) == 0, "an owner");
	epc_stats_read(epc, &stats);
	TAP_CHECK(stats.dirty == pages && stats.free == 0, "all of it is dirty");
	if (broken != NONE)
		epc_poison(epc, broken);
	for (i = 0; i < pages && epc_alloc(epc, owner, EPC_UNPLACED, &page) == 0; i++) {
		clean &= !cpu_epcm_read(cpu, epc_page_nr(epc, page)).valid;
		if (epc_page_nr(epc, page) == secs_nr)
			order_of = i + 1;
	}
	TAP_CHECK(i == good && clean, "%u can be had, and none before it was clean", i);
	if (secs_nr < child_nr && broken == NONE)
		TAP_CHECK(order_of == pages, "the SECS last");
	epc_stats_read(epc, &stats);
	TAP_CHECK(stats.dirty == 0, "none is dirty any more");
	for (i = 0; i < pages; i++)
		if (i != broken)
			epc_free(epc, epc_page_at(epc, i));
	check_audit(epc, "after sanitising");
	epc_owner_destroy(owner);
	epc_destroy(epc);
	cpu_destroy(cpu);
}

/* As somebody has it who dies at the EREMOVE of a SECS that has waited for its turn, and is in no list. */
LOCK_ATTR(no_thread_safety_analysis)
static void die_at_eremove(struct epc *epc, struct cpu *cpu, uint32_t secs_nr)
{
	struct shard *shard = &epc->shard[0];

	shard_lock(epc, shard);
	if (shard->deferred.nr == 1 && pagelist_pop(epc->pages, &shard->deferred) == secs_nr &&
	    epcm_try_exclusive(&cpu->epcm[secs_nr]) == EPCM_GOT)
		raise(SIGKILL);
	_exit(0);
}

/* Some are free, some are used, one waits for its turn, the others have never been touched: each is what it was. */
static void test_died(void)
{
	enum { SECS_NR = 3, CHILD_NR = 17, HAD = 40, FREED = 10 };
	struct epc_owner_config keep = { .ops = &keep_ops, .owner = &secs };
	struct epc_page *page[SECTION], *last = NULL;
	struct epc_config config = { 0 };
	struct epc_owner *owner;
	struct epc_stats stats;
	struct cpu_config cc;
	unsigned int nr;
	struct epc *epc;
	struct cpu *cpu;
	void *at;
	int status;
	pid_t pid;

	cpu_config_default(&cc, SECTION * SGX_PAGE_SIZE);
	cpu = cpu_create(&cc);
	at = mmap(NULL, 2 * SGX_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		  0);
	TAP_MUST(cpu && at != MAP_FAILED, "a processor");
	leave_enclave(cpu, SECS_NR, CHILD_NR, (void *[]){ at, (char *)at + SGX_PAGE_SIZE });
	config.cpu = cpu;
	config.arena = arena;
	TAP_MUST(epc_create(&config, &epc) == 0 && epc->shard_nr == 1, "an EPC that is not clean");
	TAP_MUST(epc_owner_create(epc, &keep, &owner) == 0, "an owner");
	for (nr = 0; nr < HAD; nr++)
		TAP_MUST(epc_alloc(epc, owner, 0, &page[nr]) == 0, "a page");
	for (nr = HAD - FREED; nr < HAD; nr++)
		epc_free(epc, page[nr]);
	pid = fork();
	if (pid == 0)
		die_at_eremove(epc, cpu, SECS_NR);
	waitpid(pid, &status, 0);
	TAP_CHECK(WIFSIGNALED(status), "a process dies at the SECS, whose turn has come");
	check_audit(epc, "after that");
	epc_stats_read(epc, &stats);
	TAP_CHECK(stats.recovered == 1 && stats.free == FREED && stats.dirty == SECTION - HAD,
		  "%lu pages are free, and %lu dirty, the SECS among them",
		  (unsigned long)stats.free, (unsigned long)stats.dirty);
	for (nr = HAD - FREED; nr < SECTION; nr++) {
		if (epc_alloc(epc, owner, 0, &page[nr]) < 0)
			break;
		last = page[nr];
	}
	TAP_CHECK(nr == SECTION && epc_page_nr(epc, last) == SECS_NR &&
			  !cpu_epcm_read(cpu, SECS_NR).valid,
		  "all of them can be had (%u), and the SECS last", nr);
	while (nr > 0)
		epc_free(epc, page[--nr]);
	check_audit(epc, "at the end");
	epc_owner_destroy(owner);
	epc_destroy(epc);
	cpu_destroy(cpu);
	munmap(at, 2 * SGX_PAGE_SIZE);
}

/* ---- memory for what is known of pages ---------------------------------------------------------- */

/* Pages that were never had take no memory; where the EPC is large, it comes as huge pages, ahead of them. */
static void test_gather(void)
{
	struct epc_owner_config keep = { .ops = &keep_ops, .owner = &secs };
	struct epc_config config = { .shards = 1 };
	struct cpu_config cpu;
	struct epc_owner *owner;
	struct fake_machine m;
	struct epc_page *page;
	uint32_t nr, in_first;
	char *records;

	cpu_config_default(&cpu, 1ull << 30);
	TAP_MUST(fake_machine_create_as(&m, &cpu, &config) == 0, "an EPC of 1 GiB");
	TAP_MUST(epc_owner_create(m.epc, &keep, &owner) == 0, "an owner");
	records = (char *)epc_page_at(m.epc, 0);
	in_first = (uint32_t)(HUGE_BYTES / ((char *)epc_page_at(m.epc, 1) - records));
	TAP_CHECK(huge_resident(records, 2 * HUGE_BYTES) == 0, "nothing is known of its pages");
	for (nr = 0; nr < in_first; nr++) {
		if (epc_alloc(m.epc, owner, EPC_UNPLACED, &page) < 0 ||
		    (nr == 0 && huge_resident(records, HUGE_BYTES) != HUGE_SMALL_NR))
			break;
	}
	TAP_CHECK(nr == in_first, "the first takes a huge page, which does for %u of %u", nr,
		  in_first);
	TAP_CHECK(huge_resident(records + HUGE_BYTES, HUGE_BYTES) == 0, "and no other");
	/* One record may be in both. */
	for (nr = 0; nr < 2; nr++)
		TAP_CHECK(epc_alloc(m.epc, owner, EPC_UNPLACED, &page) == 0, "another page");
	TAP_CHECK(huge_resident(records + HUGE_BYTES, HUGE_BYTES) == HUGE_SMALL_NR,
		  "those behind them take the next");
	fake_machine_destroy(&m);
}

int main(void)
{
	arena = arena_create(1u << 20);
	test_nodes();
	test_full_node();
	test_system();
	test_too_many();
	test_shards();
	test_sanitise("0", 3, 17, NONE);
	test_sanitise("0", 17, 3, NONE);
	test_sanitise("01", 3, SECTION + 5, NONE); /* its child is in another section */
	test_sanitise("01", SECTION + 5, 3, NONE);
	test_sanitise("01", 3, SECTION + 5, 3);
	test_sanitise("01", 3, SECTION + 5, SECTION + 5); /* the SECS can go all the same */
	test_sanitise("0", 17, 3, 3);
	test_sanitise("0", 17, 3, 17);
	test_died();
	if (huge_can_be_made())
		test_gather();
	else
		tap_skip("records in huge pages", "this system makes none");
	arena_destroy(arena);
	return tap_done();
}
