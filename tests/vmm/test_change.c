/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What a VMM does with a guest that runs: regions of EPC are made, moved, deleted and made anew; the guest is killed
 * with pages that are away, and reset.  Every frame is accounted for each time.
 */
#include "vmm/lib.h"

#include <errno.h>
#include <stdatomic.h>
#include <time.h>

#include "epc/backing.h"

#define REGION_BYTES (2ull << 20)
#define ELSEWHERE    (VMM_EPC_GPA + (8ull << 30))

static void wait_ms(unsigned int ms)
{
	struct timespec ts = { .tv_nsec = ms * 1000000l };

	nanosleep(&ts, NULL);
}

/* Somebody else needs EPC. */
static void take_some(struct host *h)
{
	for (int i = 0; i < 30; i++)
		epc_reclaim(h->w.epc);
}

static int region_add(struct vmm *vmm, unsigned int slot, uint64_t gpa, uint64_t off)
{
	const struct vmm_region region = { .gpa = gpa, .bytes = REGION_BYTES, .off = off };

	return vmm_region_add(vmm, slot, &region);
}

static atomic_uint built; /* processors that have their enclaves */

static uint64_t called(void *ctx, unsigned int vcpu, uint64_t what, uint64_t arg)
{
	(void)ctx, (void)vcpu, (void)arg;
	atomic_fetch_add(&built, what == CALL_BUILT);
	return 0;
}

static struct vmm *runner(struct host *h)
{
	struct vmm_config config = host_config(h, SCRIPT_RUN);

	config.vcpus = 2;
	config.args[ARG_PAGES] = 40;
	config.args[ARG_FLAGS] = FLAG_PATIENT;
	config.call = called;
	atomic_store(&built, 0);
	return guest_new(&config);
}

/* One whose EPC may go for a moment: what its kernel does to it has been done. */
static struct vmm *built_runner(struct host *h)
{
	struct vmm *vmm = runner(h);

	for (int i = 0; i < 6000 && atomic_load(&built) < 2; i++)
		wait_ms(10);
	return vmm;
}

/* It goes in and out of its enclaves: true once it has done so some times more. */
static bool goes_on(struct vmm *vmm)
{
	struct vmm_info before, now;

	vmm_info_read(vmm, &before);
	for (int i = 0; i < 1000; i++) {
		wait_ms(10);
		if (vmm_wait(vmm, 1, NULL) != -ETIMEDOUT)
			return false;
		vmm_info_read(vmm, &now);
		if (now.entries > before.entries + 20)
			return vmm_wait(vmm, 1, NULL) == -ETIMEDOUT;
	}
	return false;
}

static void check_alive(struct vmm *vmm, const char *name)
{
	struct report rep;
	int r;

	report_init(&rep);
	if (TAP_CHECK(goes_on(vmm), "%s: the guest goes on", name))
		return;
	r = vmm_wait(vmm, 1, &rep);
	printf("# %d %s\n", r, rep.what);
	print_said(vmm, 1);
}

static void test_regions(struct host *h)
{
	struct vmm *vmm = built_runner(h);

	check_alive(vmm, "at first");
	TAP_CHECK(region_add(vmm, 1, VMM_EPC_GPA, 0) == -EEXIST, "no two regions at one address");
	TAP_CHECK(region_add(vmm, 0, ELSEWHERE, 0) == -EEXIST, "a slot is taken");
	TAP_CHECK(region_add(vmm, 1, 0, 0) == -EINVAL, "no EPC where RAM is");
	TAP_CHECK(vmm_region_delete(vmm, 1) == -EINVAL, "an empty slot cannot go");
	for (int i = 0; i < 5; i++) {
		TAP_CHECK(region_add(vmm, 1, ELSEWHERE, REGION_BYTES) == 0 &&
				  vmm_region_move(vmm, 1, ELSEWHERE + REGION_BYTES) == 0,
			  "another is made, and moved");
		take_some(h);
		TAP_CHECK(vmm_region_move(vmm, 0, ELSEWHERE) == 0, "the guest's EPC moves away");
		take_some(h);
		wait_ms(20);
		TAP_CHECK(vmm_region_move(vmm, 0, VMM_EPC_GPA) == 0, "and back");
		check_alive(vmm, "moved");
		TAP_CHECK(vmm_region_delete(vmm, 0) == 0, "it is deleted");
		take_some(h);
		wait_ms(20);
		TAP_CHECK(region_add(vmm, 0, VMM_EPC_GPA, 0) == 0, "and made anew");
		check_alive(vmm, "made anew");
		TAP_CHECK(vmm_region_delete(vmm, 1) == 0, "the other goes");
	}
	vmm_kill(vmm);
	TAP_CHECK(vmm_wait(vmm, 0, NULL) == -EINTR, "it is killed");
	world_audit(&h->w, "regions");
	vmm_destroy(vmm);
	world_audit(&h->w, "regions, gone");
}

static void test_kill(struct host *h)
{
	for (unsigned int i = 0; i < 6; i++) {
		struct vmm *vmm = runner(h);
		struct vmm_info info;

		/* At some moment: while it builds, while it runs. */
		wait_ms(30 + 60 * i);
		take_some(h);
		vmm_kill(vmm);
		TAP_CHECK(vmm_wait(vmm, 0, NULL) == -EINTR, "killed after %u ms", 30 + 60 * i);
		vmm_info_read(vmm, &info);
		if (i == 5)
			TAP_CHECK(info.evictions > info.loads, "with pages that are away");
		world_audit(&h->w, "killed");
		vmm_destroy(vmm);
	}
	world_audit(&h->w, "kills");
}

static void test_reset(struct host *h)
{
	struct vmm_config config = host_config(h, SCRIPT_LIFE);
	struct vmm *vmm = guest_new(&config);
	struct report rep;
	char *first;

	report_init(&rep);
	guest_ends(vmm, "before a reset");
	first = strdup(vmm_said(vmm, 0));
	TAP_CHECK(vmm_reset(vmm, &rep) == 0, "reset after its end %s", rep.what);
	TAP_CHECK(vmm_start(vmm, &rep) == 0, "started again");
	wait_ms(20);
	take_some(h);
	vmm_kill(vmm);
	TAP_CHECK(vmm_wait(vmm, 0, NULL) == -EINTR, "killed in the middle");
	TAP_CHECK(vmm_reset(vmm, &rep) == 0, "reset with enclaves in it %s", rep.what);
	world_audit(&h->w, "reset");
	TAP_CHECK(vmm_start(vmm, &rep) == 0, "started again");
	guest_ends(vmm, "after a reset");
	TAP_CHECK(!strcmp(first, vmm_said(vmm, 0)), "it says what it said the first time");
	vmm_destroy(vmm);
	free(first);
	world_audit(&h->w, "resets");
}

/* Somebody has written to the backing store: that page is lost, and its enclave; the guest is told, and no more. */
static void test_tampered(struct host *h)
{
	struct vmm *vmm = built_runner(h);
	struct backing *backing = epc_backing(h->w.epc);
	unsigned int hurt = 0;
	struct report rep;
	int r;

	report_init(&rep);
	TAP_CHECK(goes_on(vmm), "a guest to be hurt");
	for (int i = 0; i < 300 && !hurt; i++) {
		take_some(h);
		for (uint64_t page = 30; page < 60; page++) {
			uint32_t slot = vmm_backing_slot(vmm, page * SGX_PAGE_SIZE);

			if (slot == BACKING_NO_SLOT)
				continue;
			*(volatile uint8_t *)backing_page(backing, slot) ^= 1;
			hurt++;
		}
	}
	TAP_CHECK(hurt > 0, "pages are hurt while they are away");
	r = vmm_wait(vmm, 10000, &rep);
	TAP_CHECK(r == 93, "its kernel says that an enclave is lost (%d %s)", r, rep.what);
	TAP_CHECK(strstr(vmm_said(vmm, 0), "fault 14 error 80") ||
			  strstr(vmm_said(vmm, 1), "fault 14 error 80"),
		  "which it knows by #PF with the SGX bit");
	print_said(vmm, 2);
	vmm_kill(vmm);
	(void)vmm_wait(vmm, 0, NULL);
	TAP_CHECK(vmm_reset(vmm, &rep) == 0, "it can be reset %s", rep.what);
	TAP_CHECK(vmm_start(vmm, &rep) == 0 && goes_on(vmm), "and is as new");
	vmm_kill(vmm);
	vmm_destroy(vmm);
	world_audit(&h->w, "tampered");
}

int main(int argc, char **argv)
{
	static struct host h;

	(void)argc;
	host_init(&h, 512, argv[1]);
	test_regions(&h);
	test_kill(&h);
	test_reset(&h);
	test_tampered(&h);
	host_fini(&h, "the end");
	return tap_done();
}
