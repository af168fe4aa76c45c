/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The server of a guest's EPC faults: a thread that brings pages in.
 *
 * A page that the reclaimer takes is punched out of the window; the kernel takes it out of KVM's tables with
 * that.  When the guest touches it KVM looks for the memory behind, finds our mapping without an entry, and waits;
 * userfaultfd tells us.  The vCPU knows nothing of it.
 *
 * KVM touches memory as the kernel does, so this needs a userfaultfd for the kernel's faults too, which is a
 * privilege: a sysctl, or access to /dev/userfaultfd.
 *
 * A page that cannot be had becomes one that cannot be mapped, and KVM says EFAULT to the vCPU.  When it is
 * lost (its backing is damaged) that is the page's trouble alone, see enclave_lost(); when there is no EPC for
 * it the guest is stopped.
 */
#include "vmm/vmm_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vepc/vepc.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

#define EVENTS_AT_ONCE 16

int server_open(struct report *rep)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features =
					  UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), dev, r;

	if (fd < 0) {
		r = -errno;
		dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
		fd = dev < 0 ? -1 : ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
		if (dev >= 0)
			close(dev);
		if (fd < 0) {
			report_hint(rep, "get access to /dev/userfaultfd, or as root: sysctl "
					 "vm.unprivileged_userfaultfd=1");
			return report_fail(rep, r,
					   "cannot have a userfaultfd that serves KVM's accesses");
		}
	}
	if (ioctl(fd, UFFDIO_API, &api) < 0) {
		r = -errno;
		close(fd);
		report_hint(rep, "use Linux 5.14 or later");
		return report_fail(rep, r, "cannot have page faults of shared memory");
	}
	return fd;
}

int server_register(struct vmm *vmm, void *hva, uint64_t bytes)
{
	struct uffdio_register reg = { .range = { .start = (uintptr_t)hva, .len = bytes },
				       .mode = UFFDIO_REGISTER_MODE_MISSING |
					       UFFDIO_REGISTER_MODE_MINOR };

	return ioctl(vmm->uffd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

void server_unregister(struct vmm *vmm, void *hva, uint64_t bytes)
{
	struct uffdio_range range = { .start = (uintptr_t)hva, .len = bytes };

	(void)ioctl(vmm->uffd, UFFDIO_UNREGISTER, &range);
}

static void wake(struct vmm *vmm, uint64_t hva)
{
	struct uffdio_range range = { .start = hva, .len = PAGE };

	(void)ioctl(vmm->uffd, UFFDIO_WAKE, &range);
}

/* Which page of the raw EPC is at @hva; false: the region has gone. */
static bool page_at(struct vmm *vmm, uint64_t hva, struct vepc **ret_vepc, uint64_t *ret_off)
{
	bool found = false;

	lock_acquire(&vmm->lock);
	for (unsigned int i = 0; i < VMM_REGIONS && !found; i++) {
		const struct region *region = &vmm->region[i];

		found = hva - (uintptr_t)region->hva < region->at.bytes;
		if (!found)
			continue;
		*ret_vepc = vmm->vepc[region->at.file];
		*ret_off = region->at.off + (hva - (uintptr_t)region->hva);
	}
	lock_release(&vmm->lock);
	return found;
}

int server_show(struct vmm *vmm, uint64_t hva)
{
	struct uffdio_continue c = { .range = { .start = hva, .len = PAGE } };

	if (ioctl(vmm->uffd, UFFDIO_CONTINUE, &c) == 0)
		return 0;
	if (errno == EEXIST) {
		wake(vmm, hva);
		return 0;
	}
	return errno == EFAULT || errno == EAGAIN || errno == ENOENT ? -EAGAIN : -errno;
}

static void serve(struct vmm *vmm, uint64_t hva)
{
	struct vepc *vepc;
	uint64_t off;
	int r = -EAGAIN;

	hva &= ~(PAGE - 1);
	while (r == -EAGAIN && !atomic_load(&vmm->quit)) {
		if (!page_at(vmm, hva, &vepc, &off))
			break;
		r = vepc_fault(vepc, off);
		if (r == 0)
			r = server_show(vmm, hva);
	}
	if (r == 0) {
		atomic_fetch_add_explicit(&vmm->epc_faults, 1, memory_order_relaxed);
		return;
	}
	if (r != -EAGAIN) {
		if (r != -EIO)
			vmm_stop(vmm, r, "no EPC can be had for a guest's page");
		(void)mmap((void *)hva, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			   -1, 0);
	}
	wake(vmm, hva);
}

static void *server(void *arg)
{
	struct vmm *vmm = arg;
	struct uffd_msg msgs[EVENTS_AT_ONCE];
	struct pollfd fds[2] = { { .fd = vmm->uffd, .events = POLLIN },
				 { .fd = vmm->quit_fd, .events = POLLIN } };

	while (!atomic_load(&vmm->quit)) {
		ssize_t n;

		if (poll(fds, 2, -1) < 0)
			continue;
		n = read(vmm->uffd, msgs, sizeof(msgs));
		for (ssize_t i = 0; n > 0 && i < n / (ssize_t)sizeof(msgs[0]); i++)
			if (msgs[i].event == UFFD_EVENT_PAGEFAULT)
				serve(vmm, msgs[i].arg.pagefault.address);
	}
	return NULL;
}

int server_start(struct vmm *vmm, struct report *rep)
{
	int r;

	vmm->uffd = server_open(rep);
	if (vmm->uffd < 0)
		return vmm->uffd;
	vmm->quit_fd = eventfd(0, EFD_CLOEXEC);
	if (vmm->quit_fd < 0)
		return report_fail(rep, -errno, "cannot begin to serve page faults");
	r = pthread_create(&vmm->server, NULL, server, vmm);
	if (r)
		return report_fail(rep, -r, "cannot begin to serve page faults");
	vmm->serving = true;
	return 0;
}

void server_stop(struct vmm *vmm)
{
	uint64_t one = 1;

	if (vmm->serving) {
		atomic_store(&vmm->quit, true);
		(void)!write(vmm->quit_fd, &one, sizeof(one));
		pthread_join(vmm->server, NULL);
		vmm->serving = false;
	}
	if (vmm->uffd >= 0)
		close(vmm->uffd);
	if (vmm->quit_fd >= 0)
		close(vmm->quit_fd);
	vmm->uffd = vmm->quit_fd = -1;
}
