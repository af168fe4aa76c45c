/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * /dev/kvm, call by call: see kvm.h.  This is the only place that knows which of its features we use.
 *
 * Not here: what is done with a virtual machine (machine.c), and at its exits (vcpu.c).
 */
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/report.h"
#include "virt/vcpu.h"

#define CPUID_ENTRIES 256u

static const struct {
	int cap;
	const char *name;
} needed[] = {
	{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
	{ KVM_CAP_SYNC_MMU, "KVM_CAP_SYNC_MMU" },
	{ KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
	{ KVM_CAP_XSAVE, "KVM_CAP_XSAVE" },
	{ KVM_CAP_SYNC_REGS, "KVM_CAP_SYNC_REGS" },
	{ KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS" },
	{ KVM_CAP_SET_GUEST_DEBUG, "KVM_CAP_SET_GUEST_DEBUG" },
	{ KVM_CAP_X86_USER_SPACE_MSR, "KVM_CAP_X86_USER_SPACE_MSR" },
	{ KVM_CAP_X86_MSR_FILTER, "KVM_CAP_X86_MSR_FILTER" },
};

static int check_caps(int fd, struct report *rep)
{
	if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
		report_hint(rep, "see what /dev/kvm is: it does not answer as KVM does");
		return report_fail(rep, -EOPNOTSUPP,
				   "cannot use /dev/kvm, it is no KVM that we know");
	}
	if (ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_SGX_ATTRIBUTE) > 0) {
		report_hint(rep, "give guests its own SGX, or switch that off in the firmware");
		return report_fail(
			rep, -EOPNOTSUPP,
			"cannot execute SGX for guests of a processor that does it itself");
	}
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (ioctl(fd, KVM_CHECK_EXTENSION, needed[i].cap) > 0)
			continue;
		report_hint(rep, "use a newer kernel: all are in Linux 5.10 and later");
		return report_fail(rep, -EOPNOTSUPP, "cannot use KVM, it has no %s",
				   needed[i].name);
	}
	return 0;
}

int kvm_open(struct report *rep)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), r;

	if (fd < 0) {
		r = -errno;
		report_hint(rep, r == -EACCES ? "become a member of its group, or run as root"
					      : "load the module kvm_intel or kvm_amd, and have "
						"virtualisation switched on in the firmware");
		return report_fail(rep, r, "cannot open /dev/kvm");
	}
	r = check_caps(fd, rep);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

/* What the SGX MSRs hold is ours to say. */
static int filter_msrs(int vm_fd)
{
	uint8_t none = 0;
	struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_USER_SPACE_MSR,
				      .args = { KVM_MSR_EXIT_REASON_FILTER } };
	const uint32_t flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges = { { .flags = flags,
			      .nmsrs = 1,
			      .base = VIRT_MSR_FEATURE_CONTROL,
			      .bitmap = &none },
			    { .flags = flags,
			      .nmsrs = 4,
			      .base = VIRT_MSR_LEPUBKEYHASH0,
			      .bitmap = &none } },
	};

	if (ioctl(vm_fd, KVM_ENABLE_CAP, &cap) < 0 ||
	    ioctl(vm_fd, KVM_X86_SET_MSR_FILTER, &filter) < 0)
		return -errno;
	return 0;
}

int kvm_vm_create(int kvm_fd, struct report *rep)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = { 1 } };
	int fd = ioctl(kvm_fd, KVM_CREATE_VM, 0), r;

	if (fd < 0)
		return report_fail(rep, -errno, "cannot create a virtual machine");
	r = filter_msrs(fd);
	if (r < 0) {
		close(fd);
		return report_fail(rep, r, "cannot have the guest's MSRs");
	}
	/* Where KVM emulates the guest, ENCLS comes to us by itself then. Where it does not, nothing changes. */
	(void)ioctl(fd, KVM_ENABLE_CAP, &cap);
	return fd;
}

int kvm_slot_set(int vm_fd, uint32_t slot, uint64_t gpa, uint64_t bytes, void *hva)
{
	struct kvm_userspace_memory_region region = { .slot = slot,
						      .guest_phys_addr = gpa,
						      .memory_size = bytes,
						      .userspace_addr = (uintptr_t)hva };

	return ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -errno : 0;
}

size_t kvm_run_bytes(int kvm_fd)
{
	int bytes = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	return bytes > 0 ? (size_t)bytes : sizeof(struct kvm_run);
}

int kvm_vcpu_create(int kvm_fd, int vm_fd, unsigned int id, struct kvm_run **ret_run)
{
	int fd = ioctl(vm_fd, KVM_CREATE_VCPU, id), r;

	if (fd < 0)
		return -errno;
	*ret_run = mmap(NULL, kvm_run_bytes(kvm_fd), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*ret_run != MAP_FAILED)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

struct kvm_cpuid2 *kvm_supported_cpuid(int kvm_fd, unsigned int more)
{
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + (CPUID_ENTRIES + more) * sizeof(cpuid->entries[0]));

	if (!cpuid)
		return NULL;
	cpuid->nent = CPUID_ENTRIES;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0) {
		free(cpuid);
		return NULL;
	}
	return cpuid;
}
