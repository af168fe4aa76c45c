/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SGX_IOC_ENCLAVE_REMOVE_PAGES: EREMOVE of trimmed and accepted pages.
 */
#include <asm/sgx.h>
#include <errno.h>

#include "abi/ioctl_priv.h"
#include "encl/encl.h"

long ioctl_remove_pages(struct encl *encl, const struct abi_caller *caller, uint64_t arg)
{
	struct sgx_enclave_remove_pages params;
	uint64_t count;
	int r;

	r = encl_may_edmm(encl);
	if (r < 0)
		return r;
	if (abi_copy_in(caller, &params, arg, sizeof(params)) < 0)
		return -EFAULT;
	r = encl_check_range(encl, params.offset, params.length);
	if (r < 0)
		return r;
	if (params.count)
		return -EINVAL;

	r = encl_remove_pages(encl, caller->mm, params.offset, params.length, &count);
	params.count = count;
	if (abi_copy_out(caller, arg, &params, sizeof(params)) < 0)
		return -EFAULT;
	return r;
}
