/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SGX_IOC_ENCLAVE_MODIFY_TYPES: EMODT over a range.
 */
#include <asm/sgx.h>
#include <errno.h>

#include "abi/ioctl_priv.h"
#include "encl/encl.h"

#define PAGE_TYPE_MASK 0xffull

long ioctl_modify_types(struct encl *encl, const struct abi_caller *caller, uint64_t arg)
{
	struct sgx_enclave_modify_types params;
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
	if ((params.page_type & ~PAGE_TYPE_MASK) || params.result || params.count)
		return -EINVAL;

	r = encl_modify_types(encl, caller->mm, params.offset, params.length, params.page_type,
			      &result, &count);
	params.result = result;
	params.count = count;
	if (abi_copy_out(caller, arg, &params, sizeof(params)) < 0)
		return -EFAULT;
	return r;
}
