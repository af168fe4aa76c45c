/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Several guests beside an enclave of the host, each with as much EPC as there is in all: none of them sees anything
 * of the others.
 */
#include "vmm/lib.h"

#include <pthread.h>
#include <stdatomic.h>

#define EPC_PAGES  256u
#define GUESTS     3u
#define HOST_PAGES 64u

struct toucher {
	struct build *build;
	atomic_bool stop;
	uint64_t touched, wrong;
};

/* The host's enclave: page after page, each as it was left, and then another. */
static void *touch(void *arg)
{
	struct toucher *t = arg;

	for (uint64_t round = 0; !atomic_load(&t->stop); round++) {
		for (uint64_t i = 0; i < HOST_PAGES; i++, t->touched++)
			t->wrong +=
				touch_page(t->build->encl, i, round, round + 1, NULL) != TOUCH_OK;
	}
	return NULL;
}

static char *alone(const struct vmm_config *config)
{
	struct vmm *vmm = guest_new(config);
	char *said;

	guest_ends(vmm, "alone");
	said = strdup(vmm_said(vmm, 0));
	vmm_destroy(vmm);
	return said;
}

static void together(const struct vmm_config *config, const char *want)
{
	struct vmm *vmm[GUESTS];
	struct vmm_info info;

	for (unsigned int i = 0; i < GUESTS; i++)
		vmm[i] = guest_new(config);
	for (unsigned int i = 0; i < GUESTS; i++) {
		guest_ends(vmm[i], "together");
		TAP_CHECK(!strcmp(vmm_said(vmm[i], 0), want),
			  "guest %u says what it says alone, byte for byte", i);
		vmm_info_read(vmm[i], &info);
		TAP_CHECK(info.evictions > 0, "and %llu of its pages were taken, %llu came back",
			  (unsigned long long)info.evictions, (unsigned long long)info.loads);
	}
	for (unsigned int i = 0; i < GUESTS; i++)
		vmm_destroy(vmm[i]);
}

int main(int argc, char **argv)
{
	struct toucher toucher = { 0 };
	struct vmm_config config;
	struct build build;
	pthread_t thread;
	static struct host h;
	char *said;

	(void)argc;
	host_init(&h, EPC_PAGES, argv[1]);
	config = host_config(&h, SCRIPT_WORK);
	config.epc_bytes = EPC_PAGES * SGX_PAGE_SIZE;
	config.args[ARG_PAGES] = 100;
	config.args[ARG_ROUNDS] = 4;
	said = alone(&config);
	TAP_MUST(build_create(&build, &h.w, 1u << 20, 0) == 0 &&
			 build_add_many(&build, 0, HOST_PAGES) == 0 && build_init(&build) == 0,
		 "an enclave of the host");
	toucher.build = &build;
	TAP_MUST(pthread_create(&thread, NULL, touch, &toucher) == 0, "and it is used");
	together(&config, said);
	atomic_store(&toucher.stop, true);
	pthread_join(thread, NULL);
	TAP_CHECK(toucher.wrong == 0 && toucher.touched > HOST_PAGES,
		  "all of %llu pages of the host's enclave are as they were left",
		  (unsigned long long)toucher.touched);
	build_fini(&build);
	free(said);
	host_fini(&h, "the end");
	return tap_done();
}
