/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Entering enclaves: through the vDSO's function with the callee-saved registers kept, and by ENCLU
 * instructions of our own with three kinds of AEP.
 */
#include "encl_abi.h"

	.text

	.macro ENCLU
	.byte 0x0f, 0x01, 0xd7
	.endm
	.macro FUNC name
	.globl \name
	.hidden \name
	.type \name, @function
	.balign 16
\name:
	.endm

	/* int vdso_enter(rdi, rsi, rdx, leaf ecx, r8, r9, run, fn) */
FUNC vdso_enter
	pushq %rbp
	movq %rsp, %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq 24(%rbp), %rax
	pushq 16(%rbp) /* run, and the stack is aligned to 16 */
	callq *%rax
	addq $8, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret
	.size vdso_enter, . - vdso_enter

	/* \name(rdi, rsi, tcs rdx, leaf rcx, out r8): save what the ABI wants, RBX and RAX in place. */
	.macro PROLOGUE
	pushq %rbp
	movq %rsp, %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushq %r8  /* -48(%rbp): out */
	pushq %rdx /* -56(%rbp): tcs */
	subq $8, %rsp
	movq %rdx, %rbx
	movq %rcx, %rax
	xorl %edx, %edx
	.endm
	.macro EPILOGUE
	pushq %rcx
	movq -48(%rbp), %rcx
	movq %rdi, 0(%rcx)
	movq %rsi, 8(%rcx)
	movq %rdx, 16(%rcx)
	movq %r8, 24(%rcx)
	movq %r9, 32(%rcx)
	movq %rax, 40(%rcx)
	popq 48(%rcx)
	movq %rbx, 56(%rcx)
	addq $24, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret
	.endm

FUNC enclu_self
	PROLOGUE
	leaq enclu_aep_self(%rip), %rcx
	.globl enclu_aep_self
	.hidden enclu_aep_self
enclu_aep_self:
	ENCLU
	cmpq $ENCL_EXC_DONE, %rdi
	jne 1f
	movl $3, %eax
	movq -56(%rbp), %rbx
	leaq enclu_aep_self(%rip), %rcx
	jmp enclu_aep_self
1:	EPILOGUE
	.size enclu_self, . - enclu_self

FUNC enclu_ud2
	PROLOGUE
	leaq enclu_aep_ud2(%rip), %rcx
	ENCLU
	EPILOGUE
	.globl enclu_aep_ud2
	.hidden enclu_aep_ud2
enclu_aep_ud2:
	ENCLU
	ud2
	.size enclu_ud2, . - enclu_ud2

FUNC enclu_range
	PROLOGUE
	leaq enclu_aep_range(%rip), %rcx
	ENCLU
	EPILOGUE
	.globl enclu_aep_range
	.hidden enclu_aep_range
	.globl enclu_aep_range_end
	.hidden enclu_aep_range_end
enclu_aep_range:
	/* What library OSes do here: count, look for pending work. RAX RBX RCX stay. */
	lock incq enclu_aex_count(%rip)
	movq -56(%rbp), %rdx
	cmpq %rdx, %rbx
	je 1f
	ud2
1:	xorl %edx, %edx
	ENCLU
enclu_aep_range_end:
	ud2
	.size enclu_range, . - enclu_range

	.bss
	.globl enclu_aex_count
	.balign 8
enclu_aex_count:
	.zero 8

	.section .note.GNU-stack, "", @progbits
