/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Guests on /dev/kvm for tests: a world with raw EPC in it, and the machine skipped where it has no KVM for us.
 */
#ifndef SWSGX_TESTS_VMM_LIB_H
#define SWSGX_TESTS_VMM_LIB_H

#include <string.h>

#include "base/report.h"
#include "cpu/cpu.h"
#include "lib/world.h"
#include "vepc/vepc.h"
#include "vmm/guest_args.h"
#include "vmm/vmm.h"

#define WAIT_MS 60000u

struct host {
	struct world w;
	struct vepc_registry *registry;
	const char *image;
};

static inline void host_init(struct host *h, uint32_t epc_pages, const char *image)
{
	struct report rep;

	report_init(&rep);
	if (vmm_probe(&rep) < 0) {
		static char text[256];

		TAP_SKIP_ALL(report_text(&rep, text, sizeof(text)));
	}
	world_init_caps(&h->w, epc_pages, 0, SGX_CPUID_ENCLV | SGX_CPUID_ENCLS_C);
	TAP_MUST(vepc_registry_create(h->w.epc, &h->registry) == 0, "raw EPC can be had");
	h->image = image;
}

static inline void host_fini(struct host *h, const char *name)
{
	TAP_CHECK(vepc_zombie_nr(h->registry) == 0, "%s: no zombie", name);
	vepc_registry_destroy(h->registry);
	world_fini(&h->w, name);
}

static inline struct vmm_config host_config(const struct host *h, uint64_t script)
{
	struct vmm_config config = {
		.epc = h->w.epc,
		.registry = h->registry,
		.image = h->image,
		.ram_bytes = 16u << 20,
		.epc_bytes = 2u << 20,
		.vcpus = 1,
	};

	config.args[ARG_SCRIPT] = script;
	config.args[ARG_SEED] = 7;
	return config;
}

static inline struct vmm *guest_new_stopped(const struct vmm_config *config)
{
	struct vmm *vmm = NULL;
	struct report rep;

	report_init(&rep);
	TAP_MUST(vmm_create(config, &vmm, &rep) == 0, "a guest is made %s", rep.what);
	return vmm;
}

static inline struct vmm *guest_new(const struct vmm_config *config)
{
	struct vmm *vmm = guest_new_stopped(config);
	struct report rep;

	report_init(&rep);
	TAP_MUST(vmm_start(vmm, &rep) == 0, "and started %s", rep.what);
	return vmm;
}

/* What the first @vcpus processors have said, as comments. */
static inline void print_said(const struct vmm *vmm, unsigned int vcpus)
{
	for (unsigned int i = 0; i < vcpus; i++) {
		printf("# processor %u said:\n", i);
		for (const char *line = vmm_said(vmm, i); *line; line += strcspn(line, "\n") + 1) {
			printf("# %.*s\n", (int)strcspn(line, "\n"), line);
			if (!strchr(line, '\n'))
				break;
		}
	}
}

/* It ends of itself, with 0. */
static inline bool guest_ends(struct vmm *vmm, const char *name)
{
	struct report rep;
	int r;

	report_init(&rep);
	r = vmm_wait(vmm, WAIT_MS, &rep);
	if (!TAP_CHECK(r == 0, "%s: it ends (%d %s)", name, r, rep.what))
		print_said(vmm, 1);
	return r == 0;
}

#endif
