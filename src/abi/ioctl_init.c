/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SGX_IOC_ENCLAVE_INIT: a SIGSTRUCT; there is no token, launch control lets every signer in.
 */
#include <asm/sgx.h>
#include <errno.h>

#include "abi/ioctl_priv.h"
#include "encl/encl.h"

long ioctl_init(struct encl *encl, const struct abi_caller *caller, uint64_t arg)
{
	struct sgx_sigstruct *sig = encl_ioctl_buffer(encl);
	struct sgx_enclave_init params;
	int r;

	r = encl_may_add(encl);
	if (r < 0)
		return r;
	if (abi_copy_in(caller, &params, arg, sizeof(params)) < 0)
		return -EFAULT;
	if (abi_copy_in(caller, sig, params.sigstruct, sizeof(*sig)) < 0)
		return -EFAULT;
	return encl_init(encl, caller->mm, sig);
}
