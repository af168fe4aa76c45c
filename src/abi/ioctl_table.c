/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The ioctls of /dev/sgx_enclave by number.
 *
 * A file takes one ioctl at a time: a second one, on another thread, is -EBUSY before anything else is
 * looked at, an unknown number included.
 */
#include "abi/ioctl.h"

#include <asm/sgx.h>
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "abi/ioctl_priv.h"
#include "encl/encl.h"

static_assert(sizeof(struct sgx_enclave_create) == 8, "ABI");
static_assert(sizeof(struct sgx_enclave_add_pages) == 48, "ABI");
static_assert(offsetof(struct sgx_enclave_add_pages, count) == 40, "ABI");
static_assert(sizeof(struct sgx_enclave_init) == 8, "ABI");
static_assert(sizeof(struct sgx_enclave_provision) == 8, "ABI");
static_assert(sizeof(struct sgx_enclave_restrict_permissions) == 40, "ABI");
static_assert(sizeof(struct sgx_enclave_modify_types) == 40, "ABI");
static_assert(sizeof(struct sgx_enclave_remove_pages) == 24, "ABI");
static_assert(ABI_ERESTARTSYS == ENCL_ERESTARTSYS, "the same number, seen from both sides");

typedef long (*ioctl_fn)(struct encl *encl, const struct abi_caller *caller, uint64_t arg);

static const struct {
	unsigned long request;
	ioctl_fn fn;
} ioctls[] = {
	{ SGX_IOC_ENCLAVE_CREATE, ioctl_create },
	{ SGX_IOC_ENCLAVE_ADD_PAGES, ioctl_add_pages },
	{ SGX_IOC_ENCLAVE_INIT, ioctl_init },
	{ SGX_IOC_ENCLAVE_PROVISION, ioctl_provision },
	{ SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, ioctl_restrict_permissions },
	{ SGX_IOC_ENCLAVE_MODIFY_TYPES, ioctl_modify_types },
	{ SGX_IOC_ENCLAVE_REMOVE_PAGES, ioctl_remove_pages },
};

long abi_encl_ioctl(struct encl *encl, const struct abi_caller *caller, unsigned long request,
		    uint64_t arg)
{
	long r = -ENOTTY;

	if (!encl_ioctl_begin(encl))
		return -EBUSY;
	/* The kernel takes an ioctl number as 32 bits. */
	for (size_t i = 0; i < sizeof(ioctls) / sizeof(ioctls[0]); i++) {
		if ((uint32_t)ioctls[i].request == (uint32_t)request) {
			r = ioctls[i].fn(encl, caller, arg);
			break;
		}
	}
	encl_ioctl_end(encl);
	return r;
}
