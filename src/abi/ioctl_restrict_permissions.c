/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS: EMODPR over a range.
 */
#include <asm/sgx.h>
#include <errno.h>

#include "abi/ioctl_priv.h"
#include "encl/encl.h"

long ioctl_restrict_permissions(struct encl *encl, const struct abi_caller *caller, uint64_t arg)
{
	struct sgx_enclave_restrict_permissions params;
	uint64_t result, count;
	int r;

	r = encl_may_edmm(encl);
	if (r < 0)
		return r;
	if (abi_copy_in(caller, &params, arg, sizeof(params)) < 0)
		return -EFAULT;
	r = encl_check_range(encl, params.offset, params.length);
	if (r < 0)
		return r;
	if (params.permissions & ~(uint64_t)SGX_SECINFO_RWX)
		return -EINVAL;
	if ((params.permissions & SGX_SECINFO_W) && !(params.permissions & SGX_SECINFO_R))
		return -EINVAL;
	if (params.result || params.count)
		return -EINVAL;

	r = encl_restrict_permissions(encl, caller->mm, params.offset, params.length,
				      params.permissions, &result, &count);
	params.result = result;
	params.count = count;
	if (abi_copy_out(caller, arg, &params, sizeof(params)) < 0)
		return -EFAULT;
	return r;
}
