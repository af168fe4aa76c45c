/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A guest on /dev/kvm whose pages are all in the EPC takes not one exit, fault or leaf more for being oversubscribable:
 * the same guest is run with EPC that nobody may take, and counted.
 */
#include "vmm/lib.h"

#include "virt/virt.h"
#include "vmm/vmm_priv.h"

enum { COUNTS = 8 };
static const char *const names[COUNTS] = {
	"exits",
	"ENCLS",
	"ENCLU",
	"entries",
	"faults of enclaves",
	"asynchronous exits",
	"pages brought",
	"leaves of the host's",
};

struct counts {
	uint64_t nr[COUNTS];
	char *said;
};

static uint64_t leaves;

static void hook(void *ctx, const char *before)
{
	(void)ctx, (void)before;
	leaves++;
}

static uint64_t faults_of(struct host *h)
{
	struct epc_stats stats;

	epc_stats_read(h->w.epc, &stats);
	return stats.faults;
}

static struct counts counts_of(struct host *h, const char *name, bool reserved)
{
	struct vmm_config config = host_config(h, SCRIPT_WORK);
	struct counts c = { .said = NULL };
	struct vmm_info info;
	struct report rep;
	struct vmm *vmm;
	uint64_t faults = faults_of(h);

	report_init(&rep);
	config.args[ARG_PAGES] = 80;
	config.args[ARG_ROUNDS] = 3;
	config.args[ARG_KEEP] = 30;
	config.reserved = reserved;
	vmm = guest_new_stopped(&config);
	leaves = 0;
	virt_set_hook(vmm->guest, hook, NULL);
	TAP_MUST(vmm_start(vmm, &rep) == 0, "%s: it starts", name);
	guest_ends(vmm, name);
	if (reserved) {
		unsigned int taken = 0;

		for (int i = 0; i < 20; i++)
			taken += epc_reclaim(h->w.epc);
		TAP_CHECK(taken == 0, "%s: nothing can be taken from it", name);
	}
	vmm_info_read(vmm, &info);
	TAP_CHECK(info.evictions == 0, "%s: nothing was", name);
	c.said = strdup(vmm_said(vmm, 0));
	memcpy(c.nr,
	       (uint64_t[COUNTS]){ info.exits, info.encls, info.enclu, info.entries,
				   info.enclave_faults, info.aexs, faults_of(h) - faults, leaves },
	       sizeof(c.nr));
	vmm_destroy(vmm);
	return c;
}

int main(int argc, char **argv)
{
	static struct host h;
	struct counts own, kept;

	(void)argc;
	host_init(&h, 1024, argv[1]);
	own = counts_of(&h, "EPC of its own", true);
	kept = counts_of(&h, "oversubscribable", false);
	for (int i = 0; i < COUNTS; i++)
		TAP_CHECK(own.nr[i] == kept.nr[i] && (own.nr[i] > 0) == (i < COUNTS - 1),
			  "%s: %llu, and %llu", names[i], (unsigned long long)own.nr[i],
			  (unsigned long long)kept.nr[i]);
	TAP_CHECK(!strcmp(own.said, kept.said), "and both say the same");
	free(own.said);
	free(kept.said);
	host_fini(&h, "the end");
	return tap_done();
}
