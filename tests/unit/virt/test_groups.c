/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Guests in groups: a guest that has been promised some EPC keeps it beside one that touches all it can, and one that
 * may have no more than so much has no more, version pages included.
 */
#include "epc/group.h"

#include <assert.h>

#include "vm.h"

enum { EPC_PAGES = 128, FILE_PAGES = 200, PROMISED = 40, AT_MOST = 60 };

struct small_vm {
	struct epc_group *group;
	struct virt_guest *guest;
	struct vepc *file;
};

static struct world w;
static struct vepc_registry *registry;

static void small_init(struct small_vm *vm, const char *name, struct epc_group_limits limits)
{
	TAP_MUST(epc_group_create(epc_group_root(w.epc), name, &limits, &vm->group) == 0 &&
			 virt_create_in(vm->group, w.epc, &vm->guest) == 0 &&
			 vepc_open(registry, &vm->file) == 0 &&
			 virt_keep(vm->guest, vm->file) == 0 &&
			 vepc_reserve(vm->file, 0, FILE_PAGES * SGX_PAGE_SIZE) == 0,
		 "a guest in group %s", name);
}

static unsigned int touch(struct small_vm *vm, uint64_t from, uint64_t to)
{
	unsigned int failed = 0;

	for (; from < to; from++)
		failed += vepc_fault(vm->file, from * SGX_PAGE_SIZE) != 0;
	return failed;
}

static uint32_t current(const struct small_vm *vm)
{
	struct epc_group_info info;

	epc_group_read(vm->group, &info);
	return info.current_pages;
}

int main(void)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct small_vm meek, noisy, narrow;
	unsigned int failed = 0, low = 0, high = 0;

	world_init_caps(&w, EPC_PAGES, 0, SGX_CPUID_ENCLV | SGX_CPUID_ENCLS_C);
	assert(vepc_registry_create(w.epc, &registry) == 0);
	limits.min_pages = PROMISED;
	limits.weight = 1;
	small_init(&meek, "meek", limits);
	small_init(&noisy, "noisy", EPC_GROUP_UNLIMITED);
	limits = EPC_GROUP_UNLIMITED;
	limits.max_pages = AT_MOST;
	small_init(&narrow, "narrow", limits);

	failed += touch(&narrow, 0, FILE_PAGES);
	high = current(&narrow);
	TAP_CHECK(failed == 0 && high <= AT_MOST && high > AT_MOST / 2,
		  "%u pages of a guest that touched %u", high, FILE_PAGES);
	failed += touch(&meek, 0, PROMISED + 10);
	for (unsigned int i = 0; i < 10; i++) {
		failed += touch(&noisy, 0, FILE_PAGES);
		failed += touch(&narrow, 0, FILE_PAGES);
		low += current(&meek) < PROMISED;
		high = current(&narrow) > high ? current(&narrow) : high;
	}
	TAP_CHECK(failed == 0 && low == 0, "the one with a promise still has %u pages",
		  current(&meek));
	TAP_CHECK(high <= AT_MOST, "the one with a limit never had more than %u", high);
	TAP_CHECK(current(&noisy) > 0, "the noisy one has the rest, %u", current(&noisy));

	vepc_put(meek.file);
	vepc_put(noisy.file);
	vepc_put(narrow.file);
	virt_put(meek.guest);
	virt_put(noisy.guest);
	virt_put(narrow.guest);
	TAP_CHECK(epc_group_destroy(meek.group) == 0 && epc_group_destroy(noisy.group) == 0 &&
			  epc_group_destroy(narrow.group) == 0,
		  "groups go when their guests have gone");
	vepc_registry_destroy(registry);
	world_fini(&w, "groups");
	return tap_done();
}
