/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * int enclave_call(uint64_t request, unsigned int function, struct sgx_enclave_run *run, void
 * *vdso)
 *
 * The vDSO's function keeps RBX and RBP only: after an exception in the enclave the other
 * callee-saved registers come back cleared.  So save them here.
 */
	.text
	.globl enclave_call
	.hidden enclave_call
	.type enclave_call, @function
enclave_call:
	.cfi_startproc
	push	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	mov	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	push	%rbx
	.cfi_rel_offset %rbx, -8
	push	%r12
	.cfi_rel_offset %r12, -16
	push	%r13
	.cfi_rel_offset %r13, -24
	push	%r14
	.cfi_rel_offset %r14, -32
	push	%r15
	.cfi_rel_offset %r15, -40

	push	%rdx			/* the seventh argument; RSP is at 16 bytes now */
	mov	%rcx, %rax
	mov	%esi, %ecx
	xor	%esi, %esi
	xor	%edx, %edx
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	call	*%rax

	lea	-40(%rbp), %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_endproc
	.size enclave_call, . - enclave_call

	.section .note.GNU-stack, "", @progbits
