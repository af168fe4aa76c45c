/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A process that makes ioctls: see caller.h.  The kernel copies, so that any address is safe.
 */
#include "abi/caller.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

static int copy_in(void *ctx, void *to, uint64_t from, size_t bytes)
{
	struct iovec local = { to, bytes }, remote = { (void *)from, bytes };
	struct caller *c = ctx;

	if (c->in_copy) {
		void (*in_copy)(struct caller * caller) = c->in_copy;

		c->in_copy = NULL;
		in_copy(c);
	}
	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)bytes ? 0 : -EFAULT;
}

static int copy_out(void *ctx, uint64_t to, const void *from, size_t bytes)
{
	struct iovec local = { (void *)from, bytes }, remote = { (void *)to, bytes };

	return process_vm_writev(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)bytes ? 0
										       : -EFAULT;
}

static int source_check(void *ctx, uint64_t addr)
{
	struct caller *c = ctx;
	unsigned char there;

	if (mincore((void *)addr, 1, &there) < 0)
		return -EFAULT;
	return addr == (uint64_t)c->noexec ? -EACCES : 0;
}

static bool is_provision_fd(void *ctx, int fd) { return fd == PROVISION_FD; }

static int mm_map(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, unsigned int rwx)
{
	return 0;
}

static int mm_place(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, const void *bytes,
		    unsigned int rwx)
{
	return encl_mm_none.ops->place(NULL, encl, la, win_off, bytes, rwx);
}

static bool mm_signal_pending(void *mm)
{
	struct caller *c = mm;

	if (c->signal_after < 0)
		return false;
	return c->signal_after-- == 0;
}

static const struct abi_caller_ops caller_ops = {
	.copy_in = copy_in,
	.copy_out = copy_out,
	.source_check = source_check,
	.is_provision_fd = is_provision_fd,
};
static const struct encl_mm_ops mm_ops = {
	.map = mm_map,
	.place = mm_place,
	.signal_pending = mm_signal_pending,
};

void caller_init(struct caller *c)
{
	memset(c, 0, sizeof(*c));
	c->mm = (struct encl_mm){ .ops = &mm_ops, .ctx = c };
	c->abi = (struct abi_caller){ .ops = &caller_ops, .ctx = c, .mm = &c->mm };
	c->signal_after = -1;
	c->noexec = mmap(NULL, SGX_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	assert(c->noexec != MAP_FAILED);
}

void caller_fini(struct caller *c) { munmap(c->noexec, SGX_PAGE_SIZE); }

long caller_ioctl(struct caller *c, struct encl *encl, unsigned long request, const void *arg)
{
	c->encl = encl;
	return abi_encl_ioctl(encl, &c->abi, request, (uint64_t)arg);
}

void *page_before_gap(void)
{
	uint8_t *p = mmap(NULL, 2 * SGX_PAGE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert(p != MAP_FAILED);
	/* Not unmapped: something else would be mapped there soon. */
	assert(mprotect(p + SGX_PAGE_SIZE, SGX_PAGE_SIZE, PROT_NONE) == 0);
	return p;
}

void page_before_gap_free(void *page) { munmap(page, SGX_PAGE_SIZE); }

void fill_secs(struct sgx_secs *secs, uint64_t pages, uint64_t attributes)
{
	memset(secs, 0, sizeof(*secs));
	secs->size = pages * SGX_PAGE_SIZE;
	secs->baseaddr = BUILD_BASE;
	secs->ssa_frame_size = 1;
	secs->attributes.flags = SGX_ATTR_MODE64BIT | attributes;
	secs->attributes.xfrm = SGX_XFRM_LEGACY;
}

struct encl *make_encl(struct caller *c, struct world *w, uint64_t pages, uint64_t attributes)
{
	struct sgx_secs *secs = malloc(sizeof(*secs));
	struct sgx_enclave_create arg = { .src = (uint64_t)secs };
	struct encl *encl;

	fill_secs(secs, pages, attributes);
	assert(encl_open(w->registry, &encl) == 0);
	assert(caller_ioctl(c, encl, SGX_IOC_ENCLAVE_CREATE, &arg) == 0);
	free(secs);
	return encl;
}

long add_zeroes(struct caller *c, struct encl *encl, uint64_t offset, uint64_t flags)
{
	static const uint8_t zeroes[SGX_PAGE_SIZE] __attribute__((aligned(SGX_PAGE_SIZE)));
	struct sgx_secinfo secinfo = { .flags = flags };
	struct sgx_enclave_add_pages arg = {
		.src = (uint64_t)zeroes,
		.offset = offset,
		.length = SGX_PAGE_SIZE,
		.secinfo = (uint64_t)&secinfo,
		.flags = SGX_PAGE_MEASURE,
	};

	return caller_ioctl(c, encl, SGX_IOC_ENCLAVE_ADD_PAGES, &arg);
}
