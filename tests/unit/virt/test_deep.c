/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A guest with a hundred times the pages that the EPC has: the host's VA pages of it are evicted as well, and found again.
 *
 *   test_deep [pages [EPC pages]]
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "epc/backing.h"
#include "virt/virt_priv.h"
#include "vm.h"

enum { SECS = VM_SECOND, VA = VM_SECOND + 1 };

static struct vm vm;
static uint32_t nr = 2048, epc_nr = 16;

static struct virt_info info(void)
{
	struct virt_info ret;

	virt_info_read(vm.guest, &ret);
	return ret;
}

static uint64_t frames_used(void)
{
	struct epc_stats stats;

	epc_stats_read(vm.w.epc, &stats);
	return stats.owned + stats.tracked + stats.in_batch;
}

static uint32_t pick(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return (uint32_t)(*x >> 20) % nr;
}

static bool build(void)
{
	bool ok = vm_ecreate(&vm, SECS);

	for (uint32_t i = 0; ok && i < nr; i++)
		ok = vm_eadd(&vm, SECS, i, i, FLAGS_RW);
	return ok;
}

static unsigned int look_at_all(void)
{
	unsigned int bad = 0;

	for (uint32_t i = 0; i < nr; i++)
		bad += !vm_is_intact(&vm, i, i, FLAGS_RW);
	return bad;
}

/* Two processors, each at random. */
static void *processor(void *arg)
{
	uint64_t x = *(uint64_t *)arg;
	uintptr_t bad = 0;

	for (int i = 0; i < 1500; i++) {
		uint32_t page = pick(&x);

		if (i % 3 == 0)
			bad += vm_simple(&vm, SGX_EREMOVE, SECS).eax != SGX_CHILD_PRESENT;
		bad += vm_touch(&vm, page) != 0;
	}
	return (void *)bad;
}

static uintptr_t both_at_once(void)
{
	uint64_t seeds[2] = { 88172645463325252ull, 12345678912345ull };
	pthread_t threads[2];
	void *bad[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, processor, &seeds[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], &bad[i]);
	return (uintptr_t)bad[0] + (uintptr_t)bad[1];
}

/* Three pages at once, each with its version in another VA page, where that can be. */
static void test_instructions(void)
{
	static struct vm_evicted out;
	uint64_t x = 4711;
	bool ok = vm_epa(&vm, VA);

	for (int i = 0; ok && i < 40; i++) {
		uint32_t page = pick(&x);

		vm_reclaim(&vm);
		ok = cpu_ok(vm_simple(&vm, SGX_EBLOCK, page)) &&
		     cpu_ok(vm_simple(&vm, SGX_ETRACK, SECS)) &&
		     cpu_ok(vm_ewb(&vm, page, VA, (uint32_t)i, &out));
		vm_reclaim(&vm);
		ok = ok && cpu_ok(vm_eldu(&vm, page, SECS, VA, (uint32_t)i, &out)) &&
		     vm_is_intact(&vm, page, page, FLAGS_RW);
	}
	TAP_CHECK(ok, "its own driver evicts and loads, with all that it names away");
	TAP_CHECK(cpu_ok(vm_simple(&vm, SGX_EREMOVE, VA)), "and removes its VA page");
}

/* One that is away, with versions of pages, but not that of their SECS. */
static struct va *away_va(void)
{
	const struct kept *secs;
	struct va *va;

	guest_lock(vm.guest);
	secs = kept_of(vepc_page_locked(vm.file[1], 0));
	va = guest_va_first_locked(vm.guest);
	while (va && (va->page.level > 0 || !(va->flags & KEPT_AWAY) || va->page.used_nr == 0 ||
		      va == secs->slots.va))
		va = guest_va_next_locked(va);
	guest_unlock(vm.guest);
	return va;
}

/* A VA page that has been changed while it was away: pages whose versions it has are refused, others are not. */
static void test_tampered(void)
{
	unsigned int refused = 0, here = 0;
	uint8_t *bytes;
	struct va *va;

	vm_reclaim(&vm);
	va = away_va();
	TAP_MUST(va != NULL, "a VA page that is away");
	bytes = backing_page(epc_backing(vm.w.epc), va->slots.backing);
	bytes[1000] ^= 4;
	for (uint32_t i = 0; i < nr; i++) {
		int r = vm_touch(&vm, i);

		refused += r == -EIO;
		here += r == 0;
	}
	TAP_CHECK(refused > 0 && here > 0 && refused + here == nr && refused <= va->page.used_nr,
		  "one bit of a VA page changes: %u pages are refused, %u are not", refused, here);
	TAP_CHECK(info().lost >= refused && !info().dead,
		  "which is told, and all that comes of it");
	bytes[1000] ^= 4;
	TAP_CHECK(look_at_all() == 0, "the bit is put right: all pages are there");
}

static void test_deep(void)
{
	uintptr_t bad;

	vm_init_large(&vm, epc_nr, nr);
	TAP_CHECK(build(), "a guest with %u pages in an EPC of %u", nr, epc_nr);
	world_audit(&vm.w, "built");
	bad = look_at_all();
	TAP_CHECK(bad == 0, "each page is what it should be (%lu)", (unsigned long)bad);
	TAP_CHECK(info().va_pages > (nr + 511) / 512, "%lu VA pages, with a level above",
		  (unsigned long)info().va_pages);
	bad = both_at_once();
	TAP_CHECK(bad == 0, "two processors at once, at random (%lu)", (unsigned long)bad);
	test_instructions();
	bad = look_at_all();
	TAP_CHECK(bad == 0, "nothing was lost (%lu)", (unsigned long)bad);
	vm_reclaim(&vm);
	TAP_CHECK(info().va_resident == 1 && frames_used() == 1,
		  "all but the top VA page can go (%lu here, %lu frames)",
		  (unsigned long)info().va_resident, (unsigned long)frames_used());
	test_tampered();
	vm_reclaim(&vm);
	for (int i = 0; i < 3; i++)
		(void)(vepc_remove_all(vm.file[0]) + vepc_remove_all(vm.file[1]));
	vm_reclaim(&vm);
	TAP_CHECK(info().away == 0 && info().va_pages == 0,
		  "a guest that is reset needs no VA page, wherever they were");
	TAP_CHECK(build() && look_at_all() == 0, "and can be used anew");
	vm_fini(&vm, "deep");
}

/* It ends with VA pages of two levels away. */
static void test_end(void)
{
	vm_init_large(&vm, epc_nr, nr);
	TAP_MUST(build(), "another one");
	vm_reclaim(&vm);
	vm_fini(&vm, "the end of a deep guest");
}

int main(int argc, char **argv)
{
	if (argc > 1)
		nr = (uint32_t)strtoul(argv[1], NULL, 0);
	if (argc > 2)
		epc_nr = (uint32_t)strtoul(argv[2], NULL, 0);
	test_deep();
	test_end();
	return tap_done();
}
