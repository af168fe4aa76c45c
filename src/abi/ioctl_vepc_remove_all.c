/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * /dev/sgx_vepc has one ioctl: SGX_IOC_VEPC_REMOVE_ALL, which takes no argument and wants a 0 in its place.
 *
 * Unlike those of an enclave it may be called by any number of threads at once.
 */
#include <asm/sgx.h>
#include <errno.h>

#include "abi/ioctl.h"
#include "vepc/vepc.h"

long abi_vepc_ioctl(struct vepc *vepc, unsigned long request, uint64_t arg)
{
	/* The kernel takes an ioctl number as 32 bits. */
	if ((uint32_t)request != (uint32_t)SGX_IOC_VEPC_REMOVE_ALL)
		return -ENOTTY;
	return arg ? -EINVAL : vepc_remove_all(vepc);
}
