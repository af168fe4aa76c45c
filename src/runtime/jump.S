/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * In front of libc's calls that save their caller's registers and stack (hooks_jump.c).  They have to find both as they were, and
 * to return to the caller more often than once: so they are jumped to, with nothing of ours below them.
 */
	.text

	.macro BEFORE name, c
	.globl \name
	.type \name, @function
\name:
	.cfi_startproc
	endbr64
	push %rdi
	.cfi_adjust_cfa_offset 8
	push %rsi
	.cfi_adjust_cfa_offset 8
	sub $8, %rsp
	.cfi_adjust_cfa_offset 8
	call \c
	add $8, %rsp
	.cfi_adjust_cfa_offset -8
	pop %rsi
	.cfi_adjust_cfa_offset -8
	pop %rdi
	.cfi_adjust_cfa_offset -8
	jmp *%rax
	.cfi_endproc
	.size \name, . - \name
	.endm

	BEFORE __sigsetjmp, rt_jump_sigsetjmp
	BEFORE setjmp, rt_jump_setjmp
	BEFORE getcontext, rt_jump_getcontext
	BEFORE swapcontext, rt_jump_swapcontext

	.section .note.GNU-stack, "", @progbits
