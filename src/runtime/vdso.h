/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The vDSO that a client is told of: the kernel's own functions, and __vdso_sgx_enter_enclave.
 */
#ifndef SWSGX_RUNTIME_VDSO_H
#define SWSGX_RUNTIME_VDSO_H

#include <stddef.h>

/*
 * Make an ELF image in a mapping of its own (readable and executable) that exports every function of
 * @kernel_vdso (the image at AT_SYSINFO_EHDR; NULL: none), and __vdso_sgx_enter_enclave.  That is a copy of the
 * @enter_bytes at @enter, and the symbol's size says so: programs compare RIP with its range.  With no bytes it is
 * a jump to @enter.  The header's entry point is where it begins.  The image stays for the life of the process.
 *
 *   -ENOMEM  no mapping to be had
 *   -EINVAL  @kernel_vdso is not an image that this code understands
 */
int vdso_build(const void *kernel_vdso, const void *enter, size_t enter_bytes, void **ret_image,
	       size_t *ret_bytes);

/*
 * Make the auxiliary vector name @image: the one on the initial stack, which begins behind @envp (as
 * a constructor gets it), and so getauxval() and whoever walks the stack.
 *
 *   -ENOENT  there is no AT_SYSINFO_EHDR to replace (vdso=0)
 *   -EINVAL  @envp is not the array on the initial stack
 */
int vdso_patch_auxv(char **envp, const void *image);

/*
 * The same for the kernel's copy, which /proc/self/auxv shows.  @envp: patched already.
 * Needs no privilege, but CONFIG_CHECKPOINT_RESTORE: -EINVAL without it, or what prctl() said.
 */
int vdso_patch_proc_auxv(char **envp);
/* And let /proc/self/cmdline begin with the argument @first, one of those that the kernel has put on the stack. */
int vdso_patch_proc_args(const char *first);

#endif
