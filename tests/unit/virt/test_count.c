/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A guest whose working set is in the EPC takes not one exit, fault or leaf more for being oversubscribable: the same
 * program is run with raw EPC that nobody keeps, and counted.
 */
#include "vm.h"

enum { SECS = 0, FIRST = 1, PAGES = 100, VA = 200, EPC_PAGES = 256, ROUNDS = 200 };

struct count {
	uint64_t leaves, of_host, exits, faults;
};

static unsigned int hook_calls;

static void hook(void *ctx, const char *before) { hook_calls++; }

/* Half of the enclave is in the other file. */
static uint32_t at(uint32_t i) { return i % 2 ? VM_SECOND + i : FIRST + i; }

static bool program(struct vm *vm)
{
	static struct vm_evicted out;
	bool ok = vm_ecreate(vm, SECS) && vm_epa(vm, VA);

	for (uint32_t i = 0; i < PAGES; i++)
		ok = ok && vm_eadd(vm, SECS, at(i), i, FLAGS_RW);
	for (uint32_t round = 0; ok && round < ROUNDS; round++) {
		uint32_t page = at(round * 7 % PAGES);

		ok = cpu_ok(vm_simple(vm, SGX_EBLOCK, page)) &&
		     cpu_ok(vm_simple(vm, SGX_ETRACK, SECS)) &&
		     cpu_ok(vm_ewb(vm, page, VA, round, &out)) &&
		     cpu_ok(vm_eldu(vm, page, SECS, VA, round, &out));
	}
	for (uint32_t i = 0; i < PAGES; i++)
		ok = ok && cpu_ok(vm_simple(vm, SGX_EREMOVE, at(i)));
	return ok && cpu_ok(vm_simple(vm, SGX_EREMOVE, SECS));
}

static struct count count(struct vm *vm, const char *name)
{
	struct epc_stats stats;

	hook_calls = 0;
	TAP_CHECK(program(vm), "%s: the program runs", name);
	epc_stats_read(vm->w.epc, &stats);
	TAP_CHECK(stats.evictions == 0, "%s: nothing is taken from it", name);
	return (struct count){ vm->leaves, hook_calls, vm->exits, stats.faults };
}

/* Who leaves is for the policy alone to say: no page is passed over for having been used. */
static void test_batch(void)
{
	static struct vm vm;
	bool ok;

	vm_init(&vm, EPC_PAGES);
	ok = vm_ecreate(&vm, SECS);
	for (uint32_t i = 0; i < PAGES; i++)
		ok = ok && vm_eadd(&vm, SECS, at(i), i, FLAGS_RW);
	TAP_CHECK(ok && epc_reclaim(vm.w.epc) == 16,
		  "the first batch that is asked for is a whole one");
	vm_fini(&vm, "a batch");
}

int main(void)
{
	static struct vm plain, kept;
	struct count a, b;

	vm_init_plain(&plain, EPC_PAGES);
	vm_init(&kept, EPC_PAGES);
	virt_set_hook(kept.guest, hook, NULL);
	a = count(&plain, "EPC of its own");
	b = count(&kept, "oversubscribable");
	TAP_CHECK(a.leaves == b.leaves && a.leaves > 4 * ROUNDS, "%llu leaves of the guest in both",
		  (unsigned long long)b.leaves);
	TAP_CHECK(b.of_host == 0, "not one of the host's");
	TAP_CHECK(a.exits == 0 && b.exits == 0, "not one exit");
	TAP_CHECK(a.faults == b.faults && a.faults == PAGES + 2, "%llu faults, first touches all",
		  (unsigned long long)b.faults);
	virt_set_hook(kept.guest, NULL, NULL);
	vm_fini(&kept, "oversubscribable");
	vm_fini(&plain, "EPC of its own");
	test_batch();
	return tap_done();
}
