/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * /dev/kvm, call by call.  Descriptors are the caller's; everything is 0 or -errno.
 */
#ifndef SWSGX_VMM_KVM_H
#define SWSGX_VMM_KVM_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

struct report;

/* /dev/kvm with all that is needed of it: a descriptor, or -errno. */
int kvm_open(struct report *rep);
/* A virtual machine whose guest's accesses to the SGX MSRs come to user space. A descriptor, or -errno. */
int kvm_vm_create(int kvm_fd, struct report *rep);
/* @bytes 0 deletes the slot. */
int kvm_slot_set(int vm_fd, uint32_t slot, uint64_t gpa, uint64_t bytes, void *hva);
/* A processor: a descriptor, or -errno. @ret_run is mapped, kvm_run_bytes() long. */
int kvm_vcpu_create(int kvm_fd, int vm_fd, unsigned int id, struct kvm_run **ret_run);
size_t kvm_run_bytes(int kvm_fd);
/* What KVM can show a guest; malloc()ed, room for @more entries beside. NULL: no memory. */
struct kvm_cpuid2 *kvm_supported_cpuid(int kvm_fd, unsigned int more);

#endif
