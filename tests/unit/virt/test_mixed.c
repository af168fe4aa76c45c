/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Several guests and a host enclave, each with more pages than its share of the EPC, reclaim from each other through
 * one manager; guests build, page and remove on their own account meanwhile, end with pages away, and others come.
 * Every instruction must end as it should, and every page keep its contents.
 */
#include <stdlib.h>
#include <string.h>

#include "vm.h"

enum {
	GUESTS = 3,
	CHILDREN = 30,
	SECS = 0,
	VA = 100,
	SPARE = 101,
	HOST_PAGES = 40,
	EPC_PAGES = 80
};
enum { SEEDS = 4, ROUNDS = 1500 };

struct party {
	struct vm vm;
	struct vm_evicted out;
	uint32_t at[CHILDREN]; /* the guest page of each child */
	int out_child;         /* evicted by the guest's own hand, or -1 */
	uint64_t evictions;    /* of those that have ended */
};

static struct world w;
static struct vepc_registry *registry;
static struct party party[GUESTS];
static struct build host;
static uint64_t version[HOST_PAGES];
static uint64_t rng;

static uint32_t pick(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 20) % n;
}

/* Half of the children are in the other file. */
static uint32_t place_of(uint32_t i) { return i % 2 ? VM_SECOND + i : 1 + i; }

static bool party_begin(struct party *p)
{
	bool ok;

	vm_join(&p->vm, &w, registry);
	p->out_child = -1;
	ok = vm_ecreate(&p->vm, SECS) && vm_epa(&p->vm, VA);
	for (uint32_t i = 0; i < CHILDREN; i++) {
		p->at[i] = place_of(i);
		ok = ok && vm_eadd(&p->vm, SECS, p->at[i], i, FLAGS_RW);
	}
	return ok;
}

static void party_end(struct party *p)
{
	struct virt_info info;

	virt_info_read(p->vm.guest, &info);
	p->evictions += info.evictions;
	vm_leave(&p->vm);
}

/* ---- what may happen ------------------------------------------------------------------------------------ */

static bool look(struct party *p)
{
	uint32_t i = pick(CHILDREN);

	return (int)i == p->out_child || vm_is_intact(&p->vm, p->at[i], i, FLAGS_RW);
}

static bool page_out(struct party *p)
{
	uint32_t i = pick(CHILDREN);

	if (p->out_child >= 0)
		return true;
	p->out_child = (int)i;
	return cpu_ok(vm_simple(&p->vm, SGX_EBLOCK, p->at[i])) &&
	       cpu_ok(vm_simple(&p->vm, SGX_ETRACK, SECS)) &&
	       cpu_ok(vm_ewb(&p->vm, p->at[i], VA, i, &p->out));
}

static bool page_in(struct party *p)
{
	int i = p->out_child;

	if (i < 0)
		return true;
	p->out_child = -1;
	return cpu_ok(vm_eldu(&p->vm, p->at[i], SECS, VA, (uint32_t)i, &p->out));
}

static bool rebuild(struct party *p)
{
	uint32_t i = pick(CHILDREN);

	if ((int)i == p->out_child)
		return true;
	return vm_simple(&p->vm, SGX_EREMOVE, SECS).eax == SGX_CHILD_PRESENT &&
	       cpu_ok(vm_simple(&p->vm, SGX_EREMOVE, p->at[i])) &&
	       vm_eadd(&p->vm, SECS, p->at[i], i, FLAGS_RW);
}

static bool host_uses(void)
{
	uint32_t i = pick(HOST_PAGES);

	version[i]++;
	return touch_page(host.encl, i, version[i] - 1, version[i], NULL) == TOUCH_OK;
}

static bool happen(void)
{
	struct party *p = &party[pick(GUESTS)];

	switch (pick(12)) {
	case 0:
		return page_out(p);
	case 1:
		return page_in(p);
	case 2:
		return rebuild(p);
	case 3:
	case 4:
	case 5:
		return host_uses();
	case 6:
		if (pick(40) > 0)
			return true;
		party_end(p);
		return party_begin(p);
	default:
		return look(p);
	}
}

static bool audit_holds(void)
{
	char why[200] = "";

	if (epc_audit(w.epc, false, why, sizeof(why)) == 0)
		return true;
	printf("# %s\n", why);
	return false;
}

static void run(uint64_t seed)
{
	struct epc_stats stats;
	uint64_t of_guests = 0;
	unsigned int i;
	bool ok = true;

	rng = seed * 0x9e3779b97f4a7c15ull;
	memset(version, 0, sizeof(version));
	world_init_caps(&w, EPC_PAGES, 0, SGX_CPUID_ENCLV | SGX_CPUID_ENCLS_C);
	TAP_MUST(vepc_registry_create(w.epc, &registry) == 0 &&
			 build_create(&host, &w, 1 << 20, 0) == 0 &&
			 build_add_many(&host, 0, HOST_PAGES) == 0 && build_init(&host) == 0,
		 "a host enclave");
	for (i = 0; i < GUESTS; i++) {
		party[i].evictions = 0;
		ok = ok && party_begin(&party[i]);
	}
	TAP_MUST(ok, "%u guests", GUESTS);
	for (i = 0; ok && i < ROUNDS; i++)
		ok = happen() && (i % 50 || audit_holds());
	TAP_CHECK(ok, "seed %u: %u steps, all as they should be", (unsigned int)seed, i);
	for (i = 0; i < GUESTS; i++) {
		party_end(&party[i]);
		TAP_CHECK(party[i].evictions > 0, "guest %u had %llu pages taken", i,
			  (unsigned long long)party[i].evictions);
		of_guests += party[i].evictions;
	}
	epc_stats_read(w.epc, &stats);
	TAP_CHECK(stats.evictions > of_guests, "the host enclave had %llu",
		  (unsigned long long)(stats.evictions - of_guests));
	for (i = 0; ok && i < HOST_PAGES; i++)
		ok = touch_page(host.encl, i, version[i], version[i], NULL) == TOUCH_OK;
	TAP_CHECK(ok, "and has every page");
	build_fini(&host);
	TAP_CHECK(vepc_zombie_nr(registry) == 0, "no zombie");
	vepc_registry_destroy(registry);
	world_fini(&w, "guests and a host enclave");
}

int main(void)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run(seed);
	return tap_done();
}
