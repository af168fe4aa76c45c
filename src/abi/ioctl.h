/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The ioctls of /dev/sgx_enclave and /dev/sgx_vepc, as Linux has them: numbers, copy-in and copy-out, errno, order of
 * checks.  Structures are those of <asm/sgx.h>.  One file per ioctl; ioctl_table.c lists them.
 */
#ifndef SWSGX_ABI_IOCTL_H
#define SWSGX_ABI_IOCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct encl;
struct encl_mm;
struct vepc;

/*
 * What an ioctl needs from the process that calls it. Every member is mandatory.
 *
 * @copy_in, @copy_out: 0 or -EFAULT; any address is safe to pass
 * @source_check: ADD_PAGES reads from @addr: 0, -EFAULT when nothing is mapped there, -EACCES when the
 *                mapping may not be made executable (a noexec mount)
 * @is_provision_fd: @fd is an open /dev/sgx_provision
 */
struct abi_caller_ops {
	int (*copy_in)(void *ctx, void *to, uint64_t from, size_t bytes);
	int (*copy_out)(void *ctx, uint64_t to, const void *from, size_t bytes);
	int (*source_check)(void *ctx, uint64_t addr);
	bool (*is_provision_fd)(void *ctx, int fd);
};
struct abi_caller {
	const struct abi_caller_ops *ops;
	void *ctx;
	const struct encl_mm *mm;
};

#define ABI_ERESTARTSYS 512 /* as in the kernel: the caller restarts the call or makes it EINTR */

/* ioctl(fd of @encl, @request, @arg): 0 or -errno; -ENOTTY for a request that is none of ours. */
long abi_encl_ioctl(struct encl *encl, const struct abi_caller *caller, unsigned long request,
		    uint64_t arg);

/* The same for a raw EPC file: how many SECS could not be removed, or -errno. */
long abi_vepc_ioctl(struct vepc *vepc, unsigned long request, uint64_t arg);

#endif
