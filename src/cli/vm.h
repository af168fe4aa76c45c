/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * swsgx vm, between its files: what is asked for (cmd_vm.c), the guests that run (vm_run.c), and how what came of
 * it is shown (vm_show.c).
 */
#ifndef SWSGX_CLI_VM_H
#define SWSGX_CLI_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/runtime_path.h"
#include "vmm/vmm.h"

struct epc_stats;
struct report;
struct vm_host_use;
struct vm_show;

#define VM_GUESTS_MAX 16u

struct vm_options {
	uint64_t guests, vcpus, rounds, own_paging, interrupts;
	uint64_t epc, vepc, host;
	uint64_t guest_min, guest_max; /* of each guest's group; guest_max 0: no limit */
	const char *policy;
	char kernel[RUNTIME_PATH_MAX];
	bool host_given, say, json;
};

/* ---- vm_run.c ---- */

/* Heap pages of each processor's enclave, so that it fills its part of the guest's EPC; 0: too little. */
uint64_t vm_heap_pages(const struct vm_options *o);
/* First one guest alone, then all. 0, or -errno: something could not be done, or not all ended well. */
int vm_run(const struct vm_options *o, struct report *rep);

/* ---- vm_show.c ---- */

/* What came of one guest. */
struct vm_row {
	char name[16];
	struct vmm_info info;
	uint32_t peak_pages; /* EPC pages at most */
	double seconds;
	int end;           /* vmm_wait()'s */
	bool first;        /* it ran alone: what it said is what the others have to say */
	bool same;         /* and this one did */
	const char *why;   /* where end is below 0 */
	const char *words; /* what it said */
};

/* 0 or -ENOMEM. */
int vm_show_create(const struct vm_options *o, struct vm_show **ret_show);
void vm_show_destroy(struct vm_show *show);
void vm_show_head(struct vm_show *show);
void vm_show_row(struct vm_show *show, const struct vm_row *row);
void vm_show_host(struct vm_show *show, const struct vm_host_use *use);
void vm_show_epc(struct vm_show *show, const struct epc_stats *stats);
void vm_show_end(struct vm_show *show, bool ok, const char *words);
/* How far it is, to standard error: where that is a terminal one line that changes, else a line now and then. */
void vm_show_progress(struct vm_show *show, const char *line);

#endif
