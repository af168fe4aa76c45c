/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Where a thread comes in and goes out.
 *
 * At entry: RAX = CSSA, RBX = TCS, RCX = where EEXIT has to go, RDI = the request, RSP and RBP the
 * host's.  The stack of the thread ends at its TCS (see ../kv.h), so RBX is an empty stack.
 *
 * The host's callee-saved registers come back as they were (C code saves them), all others leave
 * cleared, since they may hold secrets.  No floating point is done in here, so the control words
 * of x87 and SSE don't matter and stay as they are.
 */
	.section .layout, "a"
	.globl kv_layout
	.hidden kv_layout
kv_layout:
	.zero	4096

	.text
	.globl enclave_entry
	.type enclave_entry, @function
enclave_entry:
	test	%eax, %eax
	jnz	.Lnested

	mov	%rsp, %rax
	mov	%rbx, %rsp
	push	%rax
	push	%rbp
	push	%rcx
	push	$0x2			/* RFLAGS as the ABI wants them: no DF, no AC */
	popfq
	sub	$8, %rsp		/* the ABI wants RSP at 16 bytes */
	xor	%ebp, %ebp
	call	enclave_main

	add	$8, %rsp
	pop	%rbx
	pop	%rbp
	pop	%rsp

	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	pxor	%xmm\n, %xmm\n
	.endr
	mov	$4, %eax		/* EEXIT */
	enclu

	/*
	 * The thread was interrupted in here and somebody enters again instead of resuming.  This
	 * enclave handles no exceptions of its own: leave, and touch nothing.
	 */
.Lnested:
	mov	%rcx, %rbx
	mov	$4, %eax
	enclu
	.size enclave_entry, . - enclave_entry

	.section .note.GNU-stack, "", @progbits
