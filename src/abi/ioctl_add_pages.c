/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SGX_IOC_ENCLAVE_ADD_PAGES: page by page; the count is told whatever the outcome.
 */
#include <asm/sgx.h>
#include <errno.h>

#include "abi/ioctl_priv.h"
#include "encl/encl.h"

static int add_one(struct encl *encl, const struct abi_caller *caller,
		   const struct sgx_enclave_add_pages *params, uint64_t done,
		   const struct sgx_secinfo *secinfo)
{
	void *page = encl_ioctl_buffer(encl);
	uint64_t src = params->src + done;
	int r;

	r = encl_check_absent(encl, params->offset + done);
	if (r < 0)
		return r;
	r = caller->ops->source_check(caller->ctx, src);
	if (r < 0)
		return r;
	if (abi_copy_in(caller, page, src, SGX_PAGE_SIZE) < 0)
		return -EFAULT;
	return encl_add_page(encl, caller->mm, params->offset + done, page, secinfo,
			     params->flags & SGX_PAGE_MEASURE);
}

long ioctl_add_pages(struct encl *encl, const struct abi_caller *caller, uint64_t arg)
{
	struct sgx_enclave_add_pages params;
	struct sgx_secinfo secinfo;
	uint64_t done;
	int r;

	r = encl_may_add(encl);
	if (r < 0)
		return r;
	if (abi_copy_in(caller, &params, arg, sizeof(params)) < 0)
		return -EFAULT;
	if (params.src % SGX_PAGE_SIZE)
		return -EINVAL;
	r = encl_check_range(encl, params.offset, params.length);
	if (r < 0)
		return r;
	if (abi_copy_in(caller, &secinfo, params.secinfo, sizeof(secinfo)) < 0)
		return -EFAULT;
	r = encl_check_secinfo(&secinfo);
	if (r < 0)
		return r;

	for (done = 0; done < params.length; done += SGX_PAGE_SIZE) {
		if (caller->mm->ops->signal_pending(caller->mm->ctx)) {
			r = done ? 0 : -ABI_ERESTARTSYS;
			break;
		}
		r = add_one(encl, caller, &params, done, &secinfo);
		if (r < 0)
			break;
	}
	params.count = done;
	if (abi_copy_out(caller, arg, &params, sizeof(params)) < 0)
		return -EFAULT;
	return r;
}
