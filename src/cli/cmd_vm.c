/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * swsgx vm: guests with SGX on /dev/kvm, each with as much EPC as you like, beside an enclave of the host's, all from
 * one EPC.
 *
 * The first guest runs alone; then all run at once.  What a guest says must be the same, byte for byte: that its EPC
 * was taken from it must not show.
 */
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "arch/sgx.h"
#include "base/report.h"
#include "cli/cmd.h"
#include "cli/option.h"
#include "cli/runtime_path.h"
#include "cli/size.h"
#include "cli/vm_host.h"
#include "epc/epc.h"
#include "vmm/guest_args.h"
#include "vmm/vmm.h"

#define GUESTS_MAX  16u
#define FIXED_PAGES 40u /* of an enclave of the guest, beside its heap */
#define SLOTS       512u
#define HEAP_MAX    16000u /* of its address range */
#define RAM_BYTES   (32ull << 20)
#define EPC_MIN     (256u << 10)
#define EPC_MAX     (1ull << 30)

/* A format: the policies go into it. */
static const char help[] =
	"usage: swsgx vm [OPTIONS]\n"
	"\n"
	"Run guests with SGX on /dev/kvm. Each builds enclaves in EPC of its own, works in them "
	"and\n"
	"says what it saw; first one alone, then all at once, beside an enclave of the host's.\n"
	"\n"
	"  --guests N          how many (2)\n"
	"  --vcpus N           processors of each (1)\n"
	"  --epc SIZE          EPC of the host (1M)\n"
	"  --vepc SIZE         EPC that each guest has, and uses (1M)\n"
	"  --host SIZE         of the host's enclave (a quarter of --epc); 0: none\n"
	"  --rounds N          how often a guest goes through its pages (3)\n"
	"  --own-paging PAGES  the guest itself leaves only so many of its heap in its EPC\n"
	"  --interrupts USECS  interrupt guests that often\n"
	"  --policy NAME       how victims are chosen when the EPC is full:\n"
	"                      %s\n"
	"  --kernel FILE       another kernel for the guests\n"
	"  --say               print what the guest that ran alone said\n"
	"\n"
	"The exit status is 0 when all ended well and said the same, 1 when not.\n";

struct vm_options {
	uint64_t guests, vcpus, rounds, own_paging, interrupts;
	uint64_t epc, vepc, host;
	const char *policy;
	char kernel[RUNTIME_PATH_MAX];
	bool host_given, say;
};

/* ---- options --------------------------------------------------------------------------------------- */

enum {
	OPT_GUESTS = OPTION_LONG,
	OPT_VCPUS,
	OPT_EPC,
	OPT_VEPC,
	OPT_HOST,
	OPT_ROUNDS,
	OPT_OWN_PAGING,
	OPT_INTERRUPTS,
	OPT_POLICY,
	OPT_KERNEL,
	OPT_SAY,
};

static int parse_pages(const char *text, const char *option, uint64_t min, uint64_t *ret,
		       struct report *rep)
{
	int r = size_parse(text, option, ret, rep);

	if (r < 0)
		return r;
	if (*ret % SGX_PAGE_SIZE == 0 && *ret >= min && *ret <= EPC_MAX)
		return 0;
	report_hint(rep, "from %lluK to 1G, in pages of 4096 bytes", (unsigned long long)min >> 10);
	return report_fail(rep, -EINVAL, "cannot take '%s' for %s", text, option);
}

static int parse_one(int c, struct vm_options *o, struct report *rep)
{
	switch (c) {
	case OPT_GUESTS:
		return option_number(optarg, "--guests", 1, GUESTS_MAX, &o->guests, rep);
	case OPT_VCPUS:
		return option_number(optarg, "--vcpus", 1, VMM_VCPUS, &o->vcpus, rep);
	case OPT_EPC:
		return parse_pages(optarg, "--epc", EPC_MIN, &o->epc, rep);
	case OPT_VEPC:
		return parse_pages(optarg, "--vepc", EPC_MIN, &o->vepc, rep);
	case OPT_HOST:
		o->host_given = true;
		return parse_pages(optarg, "--host", 0, &o->host, rep);
	case OPT_ROUNDS:
		return option_number(optarg, "--rounds", 0, 1000000, &o->rounds, rep);
	case OPT_OWN_PAGING:
		return option_number(optarg, "--own-paging", 0, HEAP_MAX, &o->own_paging, rep);
	case OPT_INTERRUPTS:
		return option_number(optarg, "--interrupts", 0, 1000000000, &o->interrupts, rep);
	case OPT_POLICY:
		o->policy = optarg;
		return option_policy(o->policy, rep);
	case OPT_KERNEL:
		snprintf(o->kernel, sizeof(o->kernel), "%s", optarg);
		return 0;
	default:
		assert(c == OPT_SAY);
		o->say = true;
		return 0;
	}
}

/* Heap pages of each processor's enclave, so that it fills its part of the guest's EPC; 0: too little. */
static uint64_t heap_of(const struct vm_options *o)
{
	uint64_t pages = o->vepc / SGX_PAGE_SIZE / o->vcpus;
	uint64_t fixed = FIXED_PAGES + pages / SLOTS;

	if (pages <= fixed)
		return 0;
	return pages - fixed < HEAP_MAX ? pages - fixed : HEAP_MAX;
}

static int check(struct vm_options *o, struct report *rep)
{
	if (!heap_of(o)) {
		report_hint(rep, "256K for each processor is enough");
		return report_fail(rep, -EINVAL,
				   "cannot have an enclave for each processor in a "
				   "guest with that little EPC");
	}
	if (!o->host_given)
		o->host = o->epc / 4 / SGX_PAGE_SIZE * SGX_PAGE_SIZE;
	return 0;
}

/* 0; -ECANCELED: help was asked for; -EINVAL. */
static int parse(int argc, char **argv, struct vm_options *o, struct report *rep)
{
	static const struct option options[] = {
		{ "guests", required_argument, NULL, OPT_GUESTS },
		{ "vcpus", required_argument, NULL, OPT_VCPUS },
		{ "epc", required_argument, NULL, OPT_EPC },
		{ "vepc", required_argument, NULL, OPT_VEPC },
		{ "host", required_argument, NULL, OPT_HOST },
		{ "rounds", required_argument, NULL, OPT_ROUNDS },
		{ "own-paging", required_argument, NULL, OPT_OWN_PAGING },
		{ "interrupts", required_argument, NULL, OPT_INTERRUPTS },
		{ "policy", required_argument, NULL, OPT_POLICY },
		{ "kernel", required_argument, NULL, OPT_KERNEL },
		{ "say", no_argument, NULL, OPT_SAY },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	int c, r;

	*o = (struct vm_options){
		.guests = 2, .vcpus = 1, .rounds = 3, .epc = 1u << 20, .vepc = 1u << 20
	};
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'h')
			return -ECANCELED;
		if (c == '?' || c == ':')
			return option_refuse(c, argv, "vm", rep);
		r = parse_one(c, o, rep);
		if (r < 0)
			return r;
	}
	if (optind < argc)
		return report_fail(rep, -EINVAL, "vm takes no '%s'", argv[optind]);
	return check(o, rep);
}

/* ---- guests ------------------------------------------------------------------------------------------ */

struct run {
	const struct vm_options *o;
	struct vm_host *host;
	struct vmm *vmm[GUESTS_MAX];
	char *reference; /* what the one that ran alone said */
	bool ok;
};

static struct vmm_config config_of(const struct run *run)
{
	const struct vm_options *o = run->o;
	struct vmm_config config = {
		.epc = vm_host_epc(run->host),
		.registry = vm_host_registry(run->host),
		.image = o->kernel,
		.ram_bytes = RAM_BYTES,
		.epc_bytes = o->vepc,
		.vcpus = (unsigned int)o->vcpus,
		.tick_us = (uint32_t)o->interrupts,
		.tick_vector = VECTOR_TICK,
	};

	config.args[ARG_SCRIPT] = SCRIPT_WORK;
	config.args[ARG_PAGES] = heap_of(o);
	config.args[ARG_ROUNDS] = o->rounds;
	config.args[ARG_KEEP] = o->own_paging;
	config.args[ARG_FLAGS] = o->interrupts ? FLAG_SPIN : 0;
	config.args[ARG_SEED] = 1;
	return config;
}

static int start(struct run *run, unsigned int i, struct report *rep)
{
	struct vmm_config config = config_of(run);
	int r = vmm_create(&config, &run->vmm[i], rep);

	return r < 0 ? r : vmm_start(run->vmm[i], rep);
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

/* A row of the table. */
static void print_guest(struct run *run, const char *name, struct vmm *vmm)
{
	struct vmm_info info;
	struct report rep;
	const char *how = "the same";
	char *said;
	int r;

	report_init(&rep);
	r = vmm_wait(vmm, 0, &rep);
	said = said_by(vmm, run->o->vcpus);
	vmm_info_read(vmm, &info);
	if (r)
		how = "failed";
	else if (!run->reference)
		how = "its word";
	else if (!said || strcmp(said, run->reference) != 0)
		how = "SOMETHING ELSE";
	run->ok = run->ok && r == 0 && strcmp(how, "SOMETHING ELSE") != 0;
	printf("%-8s %9llu %9llu %9llu %9llu %9llu %9llu %7llu %7llu  %s\n", name,
	       (unsigned long long)info.evictions, (unsigned long long)info.loads,
	       (unsigned long long)info.exits, (unsigned long long)info.encls,
	       (unsigned long long)info.enclu, (unsigned long long)info.entries,
	       (unsigned long long)info.aexs, (unsigned long long)info.interrupts, how);
	if (r < 0)
		printf("         %s\n", rep.what);
	else if (r)
		printf("         it ended with %d; its last words:\n%s", r, said ? said : "");
	if (!run->reference && r == 0)
		run->reference = said;
	else
		free(said);
}

static void print_head(const struct run *run)
{
	const struct vm_options *o = run->o;

	printf("%llu guest%s with %lluK of EPC and %llu processor%s each, of %lluK in all; %llu "
	       "heap "
	       "pages in each enclave\n\n",
	       (unsigned long long)o->guests, o->guests == 1 ? "" : "s",
	       (unsigned long long)o->vepc >> 10, (unsigned long long)o->vcpus,
	       o->vcpus == 1 ? "" : "s", (unsigned long long)o->epc >> 10,
	       (unsigned long long)heap_of(o));
	printf("%-8s %9s %9s %9s %9s %9s %9s %7s %7s  %s\n", "guest", "taken", "back", "exits",
	       "ENCLS", "ENCLU", "entries", "AEX", "ints", "said");
}

static int run_alone(struct run *run, struct report *rep)
{
	int r = start(run, 0, rep);

	if (r == 0) {
		print_head(run);
		print_guest(run, "alone", run->vmm[0]);
	}
	vmm_destroy(run->vmm[0]);
	run->vmm[0] = NULL;
	return r;
}

static int run_all(struct run *run, struct report *rep)
{
	char name[16];
	int r = vm_host_use(run->host, rep);

	for (unsigned int i = 0; r == 0 && i < run->o->guests; i++)
		r = start(run, i, rep);
	for (unsigned int i = 0; i < run->o->guests; i++) {
		snprintf(name, sizeof(name), "%u", i + 1);
		if (run->vmm[i] && r == 0)
			print_guest(run, name, run->vmm[i]);
	}
	return r;
}

static void print_host(struct run *run)
{
	struct vm_host_use use;
	struct epc_stats stats;

	vm_host_stop(run->host, &use);
	epc_stats_read(vm_host_epc(run->host), &stats);
	if (use.touched)
		printf("%-8s %9llu %9llu  %llu pages looked at, %llu wrong\n", "host",
		       (unsigned long long)use.evictions, (unsigned long long)use.loads,
		       (unsigned long long)use.touched, (unsigned long long)use.wrong);
	run->ok = run->ok && use.wrong == 0;
	printf("\nEPC: %llu pages; %llu evictions in %llu batches, %llu loads\n",
	       (unsigned long long)stats.pages, (unsigned long long)stats.evictions,
	       (unsigned long long)stats.batches, (unsigned long long)stats.loads);
}

static int run_vms(const struct vm_options *o, struct report *rep)
{
	struct run run = { .o = o, .ok = true };
	int r = vm_host_create(o->epc, o->host, o->policy, &run.host, rep);

	if (r < 0)
		return r;
	r = run_alone(&run, rep);
	if (r == 0)
		r = run_all(&run, rep);
	for (unsigned int i = 0; i < o->guests; i++)
		vmm_destroy(run.vmm[i]);
	if (r == 0)
		print_host(&run);
	if (r == 0 && o->say && run.reference)
		printf("\n%s", run.reference);
	free(run.reference);
	if (!vm_host_destroy(run.host, rep))
		return -EIO;
	if (r == 0 && !run.ok)
		return report_fail(rep, -EIO, "not all guests ended well");
	if (r == 0)
		printf("Every page has been given back.\n");
	return r;
}

int cmd_vm(int argc, char **argv)
{
	char policies[OPTION_POLICIES_BYTES];
	struct vm_options o;
	struct report rep;
	int r;

	report_init(&rep);
	r = parse(argc, argv, &o, &rep);
	if (r == -ECANCELED) {
		option_policies(policies);
		printf(help, policies);
		return CLI_OK;
	}
	if (r < 0)
		return cli_fail(CLI_USAGE, &rep);
	if (!o.kernel[0] && guest_kernel_path(o.kernel, sizeof(o.kernel), &rep) < 0)
		return cli_fail(CLI_FAILED, &rep);
	if (vmm_probe(&rep) < 0 || run_vms(&o, &rep) < 0)
		return cli_fail(CLI_FAILED, &rep);
	return CLI_OK;
}
