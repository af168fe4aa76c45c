/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * One function an ioctl, and what they share.  Each is called with the enclave's ioctl slot held.
 */
#ifndef SWSGX_ABI_IOCTL_PRIV_H
#define SWSGX_ABI_IOCTL_PRIV_H

#include "abi/ioctl.h"

/* 0 or -EFAULT. */
static inline int abi_copy_in(const struct abi_caller *caller, void *to, uint64_t from,
			      size_t bytes)
{
	return caller->ops->copy_in(caller->ctx, to, from, bytes);
}

static inline int abi_copy_out(const struct abi_caller *caller, uint64_t to, const void *from,
			       size_t bytes)
{
	return caller->ops->copy_out(caller->ctx, to, from, bytes);
}

long ioctl_create(struct encl *encl, const struct abi_caller *caller, uint64_t arg);
long ioctl_add_pages(struct encl *encl, const struct abi_caller *caller, uint64_t arg);
long ioctl_init(struct encl *encl, const struct abi_caller *caller, uint64_t arg);
long ioctl_provision(struct encl *encl, const struct abi_caller *caller, uint64_t arg);
long ioctl_restrict_permissions(struct encl *encl, const struct abi_caller *caller, uint64_t arg);
long ioctl_modify_types(struct encl *encl, const struct abi_caller *caller, uint64_t arg);
long ioctl_remove_pages(struct encl *encl, const struct abi_caller *caller, uint64_t arg);

#endif
