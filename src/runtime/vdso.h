/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The vDSO that a client is told of: the kernel's own functions, and __vdso_sgx_enter_enclave.
 */
#ifndef SWSGX_RUNTIME_VDSO_H
#define SWSGX_RUNTIME_VDSO_H

#include <stddef.h>

/*
 * Make an ELF image in a mapping of its own (readable and executable) that exports every function of
 * @kernel_vdso (the image at AT_SYSINFO_EHDR; NULL: none), and __vdso_sgx_enter_enclave, which goes
 * to @enter_enclave.  The image stays for the life of the process.
 *
 *   -ENOMEM  no mapping to be had
 *   -EINVAL  @kernel_vdso is not an image that this code understands
 */
int vdso_build(const void *kernel_vdso, void *enter_enclave, void **ret_image, size_t *ret_bytes);

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

#endif
