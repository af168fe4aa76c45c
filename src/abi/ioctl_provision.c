/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SGX_IOC_ENCLAVE_PROVISION: whoever could open /dev/sgx_provision may have the provisioning key.
 *
 * As in Linux the state of the enclave does not matter, and CREATE forgets what came before it.
 */
#include <asm/sgx.h>
#include <errno.h>

#include "abi/ioctl_priv.h"
#include "encl/encl.h"

long ioctl_provision(struct encl *encl, const struct abi_caller *caller, uint64_t arg)
{
	struct sgx_enclave_provision params;

	if (abi_copy_in(caller, &params, arg, sizeof(params)) < 0)
		return -EFAULT;
	/* The kernel looks at the low 32 bits only. */
	if (!caller->ops->is_provision_fd(caller->ctx, (int)params.fd))
		return -EINVAL;
	return encl_provision(encl);
}
