/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Copies from and to addresses that the client gave: any may be wild, or an enclave page that has to be
 * brought in first.  The copy is one instruction with an error exit; the first-level handler knows it.
 */
#include "runtime/rt.h"

#include <errno.h>

int rt_copy_user_bytes(void *to, const void *from, size_t bytes);
extern const char rt_copy_user_insn[], rt_copy_user_fault[];

int rt_copy_user(void *to, const void *from, size_t bytes)
{
	/* Above the user half the access is #GP, not #PF: the same answer, without the detour. */
	if ((uint64_t)to >> 47 || (uint64_t)from >> 47)
		return -EFAULT;
	return rt_copy_user_bytes(to, from, bytes);
}

bool rt_copy_user_fixup(ucontext_t *uc)
{
	if (uc->uc_mcontext.gregs[REG_RIP] != (greg_t)rt_copy_user_insn)
		return false;
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)rt_copy_user_fault;
	return true;
}

bool rt_peek_path(const char *path, char *ret_head, size_t bytes)
{
	/* Page by page: what lies behind the string may not be there. */
	for (size_t i = 0; i < bytes - 1; i++) {
		if ((i == 0 || ((uint64_t)(path + i) & 4095) == 0) &&
		    rt_copy_user(ret_head + i, path + i, 1))
			return false;
		ret_head[i] = path[i];
		if (!path[i])
			return true;
	}
	ret_head[bytes - 1] = 0;
	return true;
}
