/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The guests of 'swsgx vm': one alone, and then all at once beside the host's enclave, each in a group of its own.
 *
 * What a guest says must be the same, byte for byte, as what the one said that ran alone.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "arch/sgx.h"
#include "base/report.h"
#include "cli/vm.h"
#include "cli/vm_host.h"
#include "epc/epc.h"
#include "epc/group.h"
#include "vmm/guest_args.h"

#define FIXED_PAGES 40u /* of an enclave of the guest, beside its heap */
#define SLOTS       512u
#define HEAP_MAX    16000u /* of its address range */
#define RAM_BYTES   (32ull << 20)
#define LOOK_MS     250u /* how often it is looked how far they are */

struct guest {
	struct vmm *vmm;
	struct epc_group *group;
	double begun, ended; /* 0: not yet */
	atomic_uint steps[VMM_VCPUS], of[VMM_VCPUS];
};

struct run {
	const struct vm_options *o;
	struct vm_host *host;
	struct vm_show *show;
	struct guest guest[VM_GUESTS_MAX];
	char *reference; /* what the one that ran alone said */
	double begun;
	bool ok;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

uint64_t vm_heap_pages(const struct vm_options *o)
{
	uint64_t pages = o->vepc / SGX_PAGE_SIZE / o->vcpus;
	uint64_t fixed = FIXED_PAGES + pages / SLOTS;

	if (pages <= fixed)
		return 0;
	return pages - fixed < HEAP_MAX ? pages - fixed : HEAP_MAX;
}

/* ---- one guest --------------------------------------------------------------------------------------- */

static uint64_t called(void *ctx, unsigned int vcpu, uint64_t what, uint64_t arg)
{
	struct guest *guest = ctx;

	if (what == CALL_PROGRESS) {
		atomic_store(&guest->steps[vcpu], (uint32_t)arg);
		atomic_store(&guest->of[vcpu], (uint32_t)(arg >> 32));
	}
	return 0;
}

static int make_group(struct run *run, struct guest *guest, unsigned int i, struct report *rep)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	char name[EPC_GROUP_NAME_BYTES];
	int r;

	limits.min_pages = (uint32_t)(run->o->guest_min / SGX_PAGE_SIZE);
	if (run->o->guest_max)
		limits.max_pages = (uint32_t)(run->o->guest_max / SGX_PAGE_SIZE);
	snprintf(name, sizeof(name), "guest%u", i + 1);
	r = epc_group_create(epc_group_root(vm_host_epc(run->host)), name, &limits, &guest->group);
	if (r == -ENOSPC) {
		report_hint(rep,
			    "take a smaller --guest-min: together they must be less than --epc");
		return report_fail(rep, -EINVAL, "cannot promise %lluK of EPC to each guest",
				   (unsigned long long)run->o->guest_min >> 10);
	}
	return r < 0 ? report_fail(rep, r, "cannot have a group for a guest") : 0;
}

static struct vmm_config config_of(const struct run *run, struct guest *guest)
{
	const struct vm_options *o = run->o;
	struct vmm_config config = {
		.epc = vm_host_epc(run->host),
		.registry = vm_host_registry(run->host),
		.group = guest->group,
		.image = o->kernel,
		.ram_bytes = RAM_BYTES,
		.epc_bytes = o->vepc,
		.vcpus = (unsigned int)o->vcpus,
		.tick_us = (uint32_t)o->interrupts,
		.tick_vector = VECTOR_TICK,
		.call = called,
		.call_ctx = guest,
	};

	config.args[ARG_SCRIPT] = SCRIPT_WORK;
	config.args[ARG_PAGES] = vm_heap_pages(o);
	config.args[ARG_ROUNDS] = o->rounds;
	config.args[ARG_KEEP] = o->own_paging;
	config.args[ARG_FLAGS] = o->interrupts ? FLAG_SPIN : 0;
	config.args[ARG_SEED] = 1;
	return config;
}

static int start(struct run *run, unsigned int i, struct report *rep)
{
	struct guest *guest = &run->guest[i];
	struct vmm_config config;
	int r = make_group(run, guest, i, rep);

	if (r < 0)
		return r;
	config = config_of(run, guest);
	r = vmm_create(&config, &guest->vmm, rep);
	guest->begun = now();
	return r < 0 ? r : vmm_start(guest->vmm, rep);
}

static void stop(struct guest *guest)
{
	vmm_destroy(guest->vmm);
	if (guest->group)
		(void)epc_group_destroy(guest->group);
	memset(guest, 0, sizeof(*guest));
}

static bool has_ended(struct guest *guest, unsigned int timeout_ms)
{
	if (!guest->ended && vmm_wait(guest->vmm, timeout_ms, NULL) != -ETIMEDOUT)
		guest->ended = now();
	return guest->ended > 0;
}

/* What all processors of a guest have said; NULL: no memory. */
static char *said_by(const struct vmm *vmm, uint64_t vcpus)
{
	size_t bytes = 1;
	char *said;

	for (unsigned int i = 0; i < vcpus; i++)
		bytes += strlen(vmm_said(vmm, i));
	said = calloc(1, bytes);
	for (unsigned int i = 0; said && i < vcpus; i++)
		strcat(said, vmm_said(vmm, i));
	return said;
}

/* It has ended. */
static void show(struct run *run, struct guest *guest, const char *name)
{
	struct epc_group_info info;
	struct report rep;
	char why[256];
	struct vm_row row = { .seconds = guest->ended - guest->begun, .first = !run->reference };
	char *said = said_by(guest->vmm, run->o->vcpus);

	report_init(&rep);
	epc_group_read(guest->group, &info);
	row.end = vmm_wait(guest->vmm, 0, &rep);
	vmm_info_read(guest->vmm, &row.info);
	snprintf(row.name, sizeof(row.name), "%s", name);
	row.peak_pages = info.peak_pages;
	row.why = report_text(&rep, why, sizeof(why));
	row.words = said ? said : "";
	row.same = row.end == 0 && said && (row.first || !strcmp(said, run->reference));
	run->ok = run->ok && row.same;
	vm_show_row(run->show, &row);
	if (row.first && row.same)
		run->reference = said;
	else
		free(said);
}

/* ---- all of them ---------------------------------------------------------------------------------------- */

static void progress(struct run *run, const char *who, unsigned int nr)
{
	uint64_t steps = 0, of = 0, taken = 0;
	unsigned int ended = 0;
	char line[128];

	for (unsigned int i = 0; i < nr; i++) {
		struct guest *guest = &run->guest[i];
		struct vmm_info info;

		vmm_info_read(guest->vmm, &info);
		taken += info.evictions;
		ended += guest->ended > 0;
		for (unsigned int k = 0; k < run->o->vcpus; k++) {
			steps += atomic_load(&guest->steps[k]);
			of += atomic_load(&guest->of[k]);
		}
	}
	snprintf(line, sizeof(line), "%s: %.0f s, %llu%% done, %llu pages taken, %u of %u ended",
		 who, now() - run->begun, of ? (unsigned long long)(100 * steps / of) : 0,
		 (unsigned long long)taken, ended, nr);
	vm_show_progress(run->show, line);
}

/* Rows in their order, each as soon as that guest and those before it have ended. */
static void wait_for(struct run *run, const char *who, unsigned int nr)
{
	char name[16];

	for (unsigned int i = 0; i < nr; i++) {
		while (!has_ended(&run->guest[i], LOOK_MS)) {
			for (unsigned int k = i + 1; k < nr; k++)
				(void)has_ended(&run->guest[k], 1);
			progress(run, who, nr);
		}
		snprintf(name, sizeof(name), "%u", i + 1);
		show(run, &run->guest[i], run->reference ? name : who);
	}
}

static int run_alone(struct run *run, struct report *rep)
{
	int r = start(run, 0, rep);

	if (r == 0) {
		vm_show_head(run->show);
		wait_for(run, "alone", 1);
	}
	stop(&run->guest[0]);
	return r;
}

static int run_all(struct run *run, struct report *rep)
{
	int r = vm_host_use(run->host, rep);

	for (unsigned int i = 0; r == 0 && i < run->o->guests; i++)
		r = start(run, i, rep);
	if (r == 0)
		wait_for(run, "together", (unsigned int)run->o->guests);
	for (unsigned int i = 0; i < run->o->guests; i++)
		stop(&run->guest[i]);
	return r;
}

/* Can they be kept? Better told before anything has run. */
static int try_promises(struct run *run, struct report *rep)
{
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < run->o->guests; i++)
		r = make_group(run, &run->guest[i], i, rep);
	for (unsigned int i = 0; i < run->o->guests; i++)
		stop(&run->guest[i]);
	return r;
}

static int run_guests(struct run *run, struct report *rep)
{
	struct vm_host_use use;
	struct epc_stats stats;
	int r = try_promises(run, rep);

	if (r == 0)
		r = run_alone(run, rep);
	/* Where it fails with the machine for itself it would only fail again. */
	if (r == 0 && run->ok)
		r = run_all(run, rep);
	vm_host_stop(run->host, &use);
	epc_stats_read(vm_host_epc(run->host), &stats);
	if (r < 0)
		return r;
	vm_show_host(run->show, &use);
	vm_show_epc(run->show, &stats);
	run->ok = run->ok && use.wrong == 0;
	return 0;
}

int vm_run(const struct vm_options *o, struct report *rep)
{
	struct run *run = calloc(1, sizeof(*run));
	int r = run ? vm_show_create(o, &run->show) : -ENOMEM;

	if (r < 0) {
		free(run);
		return report_fail(rep, r, "cannot have guests");
	}
	run->o = o;
	run->ok = true;
	run->begun = now();
	r = vm_host_create(o->epc, o->host, o->policy, &run->host, rep);
	if (r == 0) {
		r = run_guests(run, rep);
		if (!vm_host_destroy(run->host, r < 0 ? NULL : rep) && r == 0)
			r = -EIO;
	}
	if (r == 0)
		vm_show_end(run->show, run->ok, o->say ? run->reference : NULL);
	if (r == 0 && !run->ok)
		r = report_fail(rep, -EIO, "not all guests ended well");
	vm_show_destroy(run->show);
	free(run->reference);
	free(run);
	return r;
}
