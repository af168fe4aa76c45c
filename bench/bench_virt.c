/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What a touch costs that evicts one page and loads another: a guest's page beside a host enclave's, in the
 * manager's part of it; the maps of the two processes would be the same.
 *
 *   bench_virt [--json]
 *
 * Both have more pages than fit, touched in turn, and sixteen loads are a batch.  What a policy makes of that is not what is
 * measured here: the time is that of a load.  Goal: 1.5 times the host enclave's at most.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "epc/window.h"
#include "measure.h"
#include "option.h"
#include "vm.h"

enum { EPC_PAGES = 160, PAGES = 240, TOUCHES = 64, SAMPLES = 201 };

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench_virt: %s failed\n", what);
	exit(1);
}

/* ---- a host enclave ---------------------------------------------------------------------------------- */

static struct world host_world;

/* Neither side has a process that maps the page. */
static int map_nothing(void *ctx, struct encl *encl, uint64_t la, uint64_t win_off,
		       unsigned int rwx)
{
	return 0;
}

static int place(void *ctx, struct encl *encl, uint64_t la, uint64_t win_off, const void *bytes,
		 unsigned int rwx)
{
	int r = window_give(epc_window(host_world.epc), win_off, bytes);

	return r < 0 ? r : 1;
}

static bool never(void *ctx)
{
	return false;
}

static const struct encl_mm_ops mm_ops = { .map = map_nothing,
					   .place = place,
					   .signal_pending = never };
static const struct encl_mm mm = { .ops = &mm_ops };

static struct build host;
static uint32_t host_next;

static void host_begin(void)
{
	world_init(&host_world, EPC_PAGES, 0);
	if (build_create(&host, &host_world, 1 << 20, 0) < 0 ||
	    build_add_many(&host, 0, PAGES) < 0 || build_init(&host) < 0)
		die("a host enclave");
}

static void host_touch(void)
{
	struct encl_fault f = encl_fault(host.encl, &mm,
					 encl_base(host.encl) + (uint64_t)host_next * SGX_PAGE_SIZE,
					 ENCL_R, ENCL_R, true);

	if (f.kind != ENCL_FAULT_DONE)
		die("a touch of the host enclave");
	host_next = (host_next + 1) % PAGES;
}

/* ---- a guest's ------------------------------------------------------------------------------------------ */

static struct vm guest;
static uint32_t guest_next;

static void guest_begin(struct vm *vm, uint32_t pages)
{
	bool ok = vm_ecreate(vm, 0);

	for (uint32_t i = 0; i < pages; i++)
		ok = ok && vm_eadd(vm, 0, 1 + i, i, FLAGS_RW);
	if (!ok)
		die("a guest's enclave");
}

static void guest_touch(void)
{
	if (vm_touch(&guest, 1 + guest_next) != 0)
		die("a touch of the guest");
	guest_next = (guest_next + 1) % PAGES;
}

static uint64_t loads(struct epc *epc)
{
	struct epc_stats stats;

	epc_stats_read(epc, &stats);
	return stats.loads;
}

static double us_a_load(void (*touch)(void), struct epc *epc)
{
	uint64_t first = loads(epc), nr, ns = 0;

	do {
		uint64_t start = measure_thread_ns();

		for (unsigned int i = 0; i < TOUCHES; i++)
			touch();
		ns += measure_thread_ns() - start;
		nr = loads(epc) - first;
	} while (nr < TOUCHES / 2);
	return (double)ns / 1e3 / (double)nr;
}

static void faults(struct measure *m)
{
	int of_host = measure_row(m, "host enclave: evict one, load another", "us", -1, 0);
	int of_guest = measure_row(m, "guest: evict one, load another", "us", of_host, 1.5);
	for (unsigned int i = 0; i < 2 * PAGES; i++) {
		host_touch();
		guest_touch();
	}
	for (unsigned int n = 0; n < SAMPLES; n++) {
		measure_sample(m, of_host, us_a_load(host_touch, host_world.epc));
		measure_sample(m, of_guest, us_a_load(guest_touch, guest.w.epc));
	}
}

int main(int argc, char **argv)
{
	static struct measure m = { .title = "A page of a guest, and one of a host enclave" };

	m.json = option_parse(argc, argv, m.title, NULL, NULL);
	measure_pin(0);
	host_begin();
	vm_init(&guest, EPC_PAGES);
	guest_begin(&guest, PAGES);
	faults(&m);
	measure_print(&m);
	return 0;
}
