/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The host of 'swsgx vm': a processor with an EPC, and an enclave of the host's own beside the guests.
 */
#ifndef SWSGX_CLI_VM_HOST_H
#define SWSGX_CLI_VM_HOST_H

#include <stdbool.h>
#include <stdint.h>

struct epc;
struct report;
struct vepc_registry;
struct vm_host;

/* @enclave_bytes: of the host's enclave, 0 for none. @policy: NULL for the default. 0 or -errno. */
int vm_host_create(uint64_t epc_bytes, uint64_t enclave_bytes, const char *policy,
		   struct vm_host **ret_host, struct report *rep);
/* Nobody uses its EPC any more. False: not every page came back, and @rep says so. */
bool vm_host_destroy(struct vm_host *host, struct report *rep);

struct epc *vm_host_epc(struct vm_host *host);
struct vepc_registry *vm_host_registry(struct vm_host *host);

/* Its enclave is used from now on, page after page, until it is stopped. */
int vm_host_use(struct vm_host *host, struct report *rep);
struct vm_host_use {
	uint64_t touched,
		wrong; /* pages looked at; that were not as they were left, or were not there */
	uint64_t evictions, loads;
};
void vm_host_stop(struct vm_host *host, struct vm_host_use *ret_use);

#endif
