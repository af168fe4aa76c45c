/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SGX_IOC_ENCLAVE_CREATE: a SECS, copied once, so that nobody can change it under the checks.
 */
#include <asm/sgx.h>
#include <errno.h>

#include "abi/ioctl_priv.h"
#include "encl/encl.h"

long ioctl_create(struct encl *encl, const struct abi_caller *caller, uint64_t arg)
{
	struct sgx_secs *secs = encl_ioctl_buffer(encl);
	struct sgx_enclave_create params;

	if (encl_created(encl))
		return -EINVAL;
	if (abi_copy_in(caller, &params, arg, sizeof(params)) < 0)
		return -EFAULT;
	if (abi_copy_in(caller, secs, params.src, sizeof(*secs)) < 0)
		return -EFAULT;
	return encl_create(encl, secs);
}
