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

#include "arch/sgx.h"
#include "base/report.h"
#include "cli/cmd.h"
#include "cli/option.h"
#include "cli/runtime_path.h"
#include "cli/size.h"
#include "cli/vm.h"
#include "vmm/vmm.h"

#define OWN_PAGING_MAX 16000u
#define EPC_MIN        (256u << 10)
#define EPC_MAX        (1ull << 30)

/* A format: the policies go into it. */
static const char help[] =
	"usage: swsgx vm [OPTIONS]\n"
	"\n"
	"Run guests with SGX on /dev/kvm. Each builds enclaves in EPC of its own, works\n"
	"in them and says what it saw; first one alone, then all at once, beside an\n"
	"enclave of the host's.\n"
	"\n"
	"  --guests N          how many (2)\n"
	"  --vcpus N           processors of each (1)\n"
	"  --epc SIZE          EPC of the host (1M)\n"
	"  --vepc SIZE         EPC that each guest has, and uses (1M)\n"
	"  --guest-min SIZE    of the host's EPC that each guest is promised (0)\n"
	"  --guest-max SIZE    that it may have at once\n"
	"  --host SIZE         of the host's enclave (a quarter of --epc); 0: none\n"
	"  --rounds N          how often a guest goes through its pages (3)\n"
	"  --own-paging PAGES  the guest itself leaves but so many of its heap in EPC\n"
	"  --interrupts USECS  interrupt guests that often\n"
	"  --policy NAME       how victims are chosen when the EPC is full:\n"
	"                      %s\n"
	"  --kernel FILE       another kernel for the guests\n"
	"  --say               print what the guest that ran alone said\n"
	"  --json              print one JSON object instead of a table\n"
	"\n"
	"The exit status is 0 when all ended well and said the same, 1 when not.\n";

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
	OPT_JSON,
	OPT_GUEST_MIN,
	OPT_GUEST_MAX,
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
		return option_number(optarg, "--guests", 1, VM_GUESTS_MAX, &o->guests, rep);
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
		return option_number(optarg, "--own-paging", 0, OWN_PAGING_MAX, &o->own_paging,
				     rep);
	case OPT_INTERRUPTS:
		return option_number(optarg, "--interrupts", 0, 1000000000, &o->interrupts, rep);
	case OPT_POLICY:
		o->policy = optarg;
		return option_policy(o->policy, rep);
	case OPT_KERNEL:
		snprintf(o->kernel, sizeof(o->kernel), "%s", optarg);
		return 0;
	case OPT_GUEST_MIN:
		return parse_pages(optarg, "--guest-min", 0, &o->guest_min, rep);
	case OPT_GUEST_MAX:
		return parse_pages(optarg, "--guest-max", EPC_MIN, &o->guest_max, rep);
	case OPT_JSON:
		o->json = true;
		return 0;
	default:
		assert(c == OPT_SAY);
		o->say = true;
		return 0;
	}
}

static int check(struct vm_options *o, struct report *rep)
{
	if (!vm_heap_pages(o)) {
		report_hint(rep, "256K for each processor is enough");
		return report_fail(rep, -EINVAL,
				   "cannot have an enclave for each processor in a "
				   "guest with that little EPC");
	}
	if (o->guest_max && o->guest_min > o->guest_max)
		return report_fail(rep, -EINVAL, "cannot promise a guest more than --guest-max");
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
		{ "json", no_argument, NULL, OPT_JSON },
		{ "guest-min", required_argument, NULL, OPT_GUEST_MIN },
		{ "guest-max", required_argument, NULL, OPT_GUEST_MAX },
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
	if (vmm_probe(&rep) < 0)
		return cli_fail(CLI_FAILED, &rep);
	r = vm_run(&o, &rep);
	if (r < 0)
		return cli_fail(r == -EINVAL ? CLI_USAGE : CLI_FAILED, &rep);
	return CLI_OK;
}
