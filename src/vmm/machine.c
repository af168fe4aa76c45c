/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A virtual machine's life: made, run, waited for, and taken apart in an order in which nobody is left waiting for
 * somebody who has gone.
 *
 * Its processors stop first.  Then its mappings go, which wakes whoever KVM still has waiting for a page; then the
 * server of those; and last the raw EPC, which every page of it goes back with.
 */
#include "vmm/vmm_priv.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "epc/epc.h"
#include "epc/group.h"
#include "vepc/vepc.h"
#include "vmm/kvm.h"

#define RAM_MIN (1ull << 20)
#define RAM_MAX (1ull << 30)

static int check_config(const struct vmm_config *config, struct report *rep)
{
	if (!config->vcpus || config->vcpus > VMM_VCPUS)
		return report_fail(rep, -EINVAL, "cannot have %u processors in a guest",
				   config->vcpus);
	if (config->ram_bytes % PAGE || config->ram_bytes < RAM_MIN || config->ram_bytes > RAM_MAX)
		return report_fail(rep, -EINVAL, "cannot have a guest with RAM of that size");
	if (!config->epc_bytes || config->epc_bytes % PAGE)
		return report_fail(rep, -EINVAL, "cannot have a guest with EPC of that size");
	return 0;
}

static int make_guest(struct vmm *vmm, struct report *rep)
{
	struct epc_group *group = vmm->config.group;
	int r = virt_create_in(group ? group : epc_group_root(vmm->epc), vmm->epc, &vmm->guest);

	if (r < 0)
		return report_fail(rep, r, "cannot have a guest on this processor");
	if (vmm->config.reserved)
		virt_reserve(vmm->guest);
	for (unsigned int i = 0; r == 0 && i < VMM_FILES; i++) {
		r = vepc_open(vmm->config.registry, &vmm->vepc[i]);
		if (r == 0)
			r = virt_keep(vmm->guest, vmm->vepc[i]);
	}
	return r < 0 ? report_fail(rep, r, "cannot have raw EPC") : 0;
}

static int make_kvm(struct vmm *vmm, struct report *rep)
{
	vmm->kvm_fd = kvm_open(rep);
	if (vmm->kvm_fd < 0)
		return vmm->kvm_fd;
	vmm->run_bytes = kvm_run_bytes(vmm->kvm_fd);
	vmm->vm_fd = kvm_vm_create(vmm->kvm_fd, rep);
	return vmm->vm_fd < 0 ? vmm->vm_fd : 0;
}

static int make_vcpus(struct vmm *vmm, struct report *rep)
{
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < vmm->config.vcpus; i++)
		r = vcpu_init(vmm, &vmm->vcpu[i], i);
	return r < 0 ? report_fail(rep, r, "cannot have a guest's processor") : 0;
}

static int make(struct vmm *vmm, struct report *rep)
{
	const struct vmm_region first = { .gpa = VMM_EPC_GPA, .bytes = vmm->config.epc_bytes };
	int r = make_kvm(vmm, rep);

	if (r == 0)
		r = cpuid_init(vmm, rep);
	if (r == 0)
		r = make_guest(vmm, rep);
	if (r == 0)
		r = server_start(vmm, rep);
	if (r == 0)
		r = memory_init(vmm, rep);
	if (r == 0)
		r = image_load(vmm, rep);
	if (r == 0)
		r = make_vcpus(vmm, rep);
	if (r < 0)
		return r;
	r = vmm_region_add(vmm, 0, &first);
	return r < 0 ? report_fail(rep, r, "cannot give EPC to a guest") : 0;
}

int vmm_create(const struct vmm_config *config, struct vmm **ret_vmm, struct report *rep)
{
	struct vmm *vmm;
	int r = check_config(config, rep);

	if (r < 0)
		return r;
	vmm = calloc(1, sizeof(*vmm));
	if (!vmm)
		return report_fail(rep, -ENOMEM, "cannot have a guest");
	vmm->config = *config;
	vmm->epc = config->epc;
	vmm->cpu = epc_cpu(config->epc);
	vmm->kvm_fd = vmm->vm_fd = vmm->uffd = vmm->quit_fd = -1;
	for (unsigned int i = 0; i < VMM_VCPUS; i++)
		vmm->vcpu[i].fd = -1;
	atomic_store(&vmm->end, END_NONE);
	lock_init(&vmm->change, LOCK_REGISTRY);
	lock_init(&vmm->lock, LOCK_PROCESS);
	r = make(vmm, rep);
	if (r < 0) {
		vmm_destroy(vmm);
		return r;
	}
	*ret_vmm = vmm;
	return 0;
}

void vmm_destroy(struct vmm *vmm)
{
	if (!vmm)
		return;
	vmm_kill(vmm);
	(void)vmm_wait(vmm, 0, NULL);
	for (unsigned int i = 0; i < vmm->config.vcpus; i++)
		vcpu_fini(&vmm->vcpu[i]);
	if (vmm->vm_fd >= 0)
		close(vmm->vm_fd);
	memory_fini(vmm);
	server_stop(vmm);
	if (vmm->kvm_fd >= 0)
		close(vmm->kvm_fd);
	for (unsigned int i = 0; i < VMM_FILES; i++)
		vepc_put(vmm->vepc[i]);
	virt_put(vmm->guest);
	free(vmm->cpuid);
	lock_fini(&vmm->change);
	lock_fini(&vmm->lock);
	free(vmm);
}

int vmm_start(struct vmm *vmm, struct report *rep)
{
	int r = 0;

	atomic_store(&vmm->running, vmm->config.vcpus);
	for (unsigned int i = 0; i < vmm->config.vcpus; i++) {
		r = vcpu_start(&vmm->vcpu[i]);
		if (r == 0)
			continue;
		atomic_fetch_sub(&vmm->running, vmm->config.vcpus - i);
		vmm_kill(vmm);
		return report_fail(rep, r, "cannot start a guest's processor");
	}
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* All processors have stopped; false: not by then. */
static bool stopped(struct vmm *vmm, unsigned int timeout_ms)
{
	uint64_t until = now_ms() + timeout_ms;
	unsigned int running;

	while ((running = atomic_load(&vmm->running))) {
		struct timespec wait = { .tv_nsec = 100000000 };

		if (timeout_ms && now_ms() >= until)
			return false;
		syscall(SYS_futex, &vmm->running, FUTEX_WAIT_PRIVATE, running, &wait, NULL, 0);
	}
	return true;
}

int vmm_wait(struct vmm *vmm, unsigned int timeout_ms, struct report *rep)
{
	int end;

	if (!stopped(vmm, timeout_ms))
		return -ETIMEDOUT;
	for (unsigned int i = 0; i < vmm->config.vcpus; i++) {
		atomic_store(&vmm->vcpu[i].reachable, false);
		if (vmm->vcpu[i].started)
			pthread_join(vmm->vcpu[i].thread, NULL);
		vmm->vcpu[i].started = false;
	}
	end = atomic_load(&vmm->end);
	if (end < 0 && rep)
		*rep = vmm->why;
	return end;
}

void vmm_kill(struct vmm *vmm)
{
	vmm_stop(vmm, -EINTR, "it was killed");
}

/* A SECS goes after its children, which may come after it, in its file or in another: all files twice. */
static bool empty_epc(struct vmm *vmm)
{
	long left = 0;

	for (unsigned int i = 0; i < 2 * VMM_FILES; i++) {
		long n = vepc_remove_all(vmm->vepc[i % VMM_FILES]);

		left = i < VMM_FILES ? 0 : left | n;
	}
	return left == 0;
}

int vmm_reset(struct vmm *vmm, struct report *rep)
{
	int r;

	if (!empty_epc(vmm))
		return report_fail(rep, -EBUSY, "cannot empty a guest's EPC");
	memory_clear(vmm);
	r = memory_remap(vmm);
	if (r == 0)
		r = image_load(vmm, rep);
	for (unsigned int i = 0; r == 0 && i < vmm->config.vcpus; i++)
		r = vcpu_reset(&vmm->vcpu[i]);
	if (r == 0)
		atomic_store(&vmm->end, END_NONE);
	return r < 0 ? report_fail(rep, r, "cannot reset a guest") : 0;
}

const char *vmm_said(const struct vmm *vmm, unsigned int vcpu)
{
	return vcpu < vmm->config.vcpus ? vmm->vcpu[vcpu].said : "";
}

uint32_t vmm_backing_slot(struct vmm *vmm, uint64_t off)
{
	return virt_backing_slot(vmm->guest, vmm->vepc[0], off);
}

static uint64_t read_count(const _Atomic uint64_t *nr)
{
	return atomic_load_explicit(nr, memory_order_relaxed);
}

void vmm_info_read(struct vmm *vmm, struct vmm_info *ret_info)
{
	struct virt_info virt;

	virt_info_read(vmm->guest, &virt);
	*ret_info = (struct vmm_info){ .epc_faults = atomic_load(&vmm->epc_faults),
				       .evictions = virt.evictions,
				       .loads = virt.loads };
	for (unsigned int i = 0; i < VMM_FILES; i++)
		ret_info->resident += vepc_resident(vmm->vepc[i]);
	for (unsigned int i = 0; i < vmm->config.vcpus; i++) {
		const struct vcpu_counts *c = &vmm->vcpu[i].counts;

		ret_info->exits += read_count(&c->exits);
		ret_info->encls += read_count(&c->encls);
		ret_info->enclu += read_count(&c->enclu);
		ret_info->forwarded += read_count(&c->forwarded);
		ret_info->entries += read_count(&c->entries);
		ret_info->aexs += read_count(&c->aexs);
		ret_info->enclave_faults += read_count(&c->enclave_faults);
		ret_info->interrupts += read_count(&c->interrupts);
	}
}

int vmm_probe(struct report *rep)
{
	int fd = kvm_open(rep), r;

	if (fd < 0)
		return fd;
	r = kvm_vm_create(fd, rep);
	close(fd);
	if (r < 0)
		return r;
	close(r);
	r = server_open(rep);
	if (r < 0)
		return r;
	close(r);
	return 0;
}
