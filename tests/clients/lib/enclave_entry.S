/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * How the test enclave is entered and left.  CSSA 0: the stack under the TCS, encl_main().  CSSA
 * above 0: the exception stack, encl_exception().  The host's callee-saved registers come back as
 * they were, so the vDSO function may be called as a C function.
 */
#include "encl_abi.h"

	.section encl_text, "ax", @progbits

	.macro ENCLU
	.byte 0x0f, 0x01, 0xd7
	.endm

	/* RSP RBP RIP R12..R15 of the host, into the block at \at. */
	.macro SAVE_HOST at
	movq %rsp, %gs:\at
	movq %rbp, %gs:\at+0x08
	movq %rcx, %gs:\at+0x10
	movq %r12, %gs:\at+0x18
	movq %r13, %gs:\at+0x20
	movq %r14, %gs:\at+0x28
	movq %r15, %gs:\at+0x30
	.endm
	.macro LOAD_HOST at
	movq %gs:\at, %rsp
	movq %gs:\at+0x08, %rbp
	movq %gs:\at+0x10, %rbx
	movq %gs:\at+0x18, %r12
	movq %gs:\at+0x20, %r13
	movq %gs:\at+0x28, %r14
	movq %gs:\at+0x30, %r15
	.endm

	.balign 64
	.globl encl_entry
	.hidden encl_entry
	.type encl_entry, @function
encl_entry:
	cmpq $0, %rax
	jne .Lexception

	movq %rax, %gs:GS_IN+0x00
	movq %rcx, %gs:GS_IN+0x08
	movq %rdx, %gs:GS_IN+0x10
	movq %rbx, %gs:GS_IN+0x18
	movq %rsp, %gs:GS_IN+0x20
	movq %rbp, %gs:GS_IN+0x28
	movq %rsi, %gs:GS_IN+0x30
	movq %rdi, %gs:GS_IN+0x38
	movq %r8, %gs:GS_IN+0x40
	movq %r9, %gs:GS_IN+0x48
	movq %r10, %gs:GS_IN+0x50
	movq %r11, %gs:GS_IN+0x58
	movq %r12, %gs:GS_IN+0x60
	movq %r13, %gs:GS_IN+0x68
	movq %r14, %gs:GS_IN+0x70
	movq %r15, %gs:GS_IN+0x78
	SAVE_HOST GS_HOST
	movq %rbx, %gs:GS_TCS
	cmpq $0, %gs:GS_OCALL_RSP
	jne .Locall_return

	movq %rbx, %rsp
	pushfq
	popq %gs:GS_IN+0x80
	cld
	xorl %ebp, %ebp
	xorl %eax, %eax
	movq %rax, %gs:GS_OUT+0x00
	movq %rax, %gs:GS_OUT+0x08
	movq %rax, %gs:GS_OUT+0x10
	movq %rax, %gs:GS_OUT+0x18
	movq %rax, %gs:GS_OUT+0x20
	call encl_main
.Lexit:
	LOAD_HOST GS_HOST
	movq %gs:GS_OUT+0x00, %rdi
	movq %gs:GS_OUT+0x08, %rsi
	movq %gs:GS_OUT+0x10, %rdx
	movq %gs:GS_OUT+0x18, %r8
	movq %gs:GS_OUT+0x20, %r9
	xorl %ecx, %ecx
	xorl %r10d, %r10d
	xorl %r11d, %r11d
	movl $4, %eax
	ENCLU
	ud2

	/* uint64_t encl_ocall(uint64_t rdi, uint64_t rsi): out, and back in by the next EENTER. */
	.globl encl_ocall
	.hidden encl_ocall
	.type encl_ocall, @function
encl_ocall:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, %gs:GS_OCALL_RSP
	movq %rdi, %gs:GS_OUT+0x00
	movq %rsi, %gs:GS_OUT+0x08
	jmp .Lexit
.Locall_return:
	movq %gs:GS_OCALL_RSP, %rsp
	movq $0, %gs:GS_OCALL_RSP
	movq %rdi, %rax
	movq $0, %gs:GS_OUT+0x00
	movq $0, %gs:GS_OUT+0x08
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

.Lexception:
	SAVE_HOST GS_HOST_EXC
	leaq -TB_EXC_TOP(%rbx), %rsp
	cld
	xorl %ebp, %ebp
	movq %rbx, %rdi
	movq %rax, %rsi
	call encl_exception
	cmpq $ENCL_EXC_NOTIFIED, %rax
	je encl_go_on
	LOAD_HOST GS_HOST_EXC
	movq %rax, %rdi
	xorl %esi, %esi
	xorl %edx, %edx
	xorl %ecx, %ecx
	movl $4, %eax
	ENCLU
	ud2
	/*
	 * ERESUME came here instead of to where the AEX was.  RDX is a copy of that state, below the stack it
	 * was on, so that an AEX in the middle of this finds room below in its turn.  GPRSGX has RSP at 32, RIP
	 * at 136, RFLAGS at 128.
	 */
encl_go_on:
	movq %rdx, %rsp
	movl $9, %eax
	ENCLU /* EDECCSSA: from here on the frame is free */
	movl $3, %eax
	xorl %edx, %edx
	xrstor64 (%rsp)
	leaq NOTE_GPR(%rsp), %rsi
	movq 32(%rsi), %rdi
	movq 136(%rsi), %rax
	movq %rax, -8(%rdi)
	movq 128(%rsi), %rax
	movq %rax, -16(%rdi)
	movq 48(%rsi), %rax
	movq %rax, -24(%rdi) /* RSI */
	movq 56(%rsi), %rax
	movq %rax, -32(%rdi) /* RDI */
	movq 0(%rsi), %rax
	movq 8(%rsi), %rcx
	movq 16(%rsi), %rdx
	movq 24(%rsi), %rbx
	movq 40(%rsi), %rbp
	movq 64(%rsi), %r8
	movq 72(%rsi), %r9
	movq 80(%rsi), %r10
	movq 88(%rsi), %r11
	movq 96(%rsi), %r12
	movq 104(%rsi), %r13
	movq 112(%rsi), %r14
	movq 120(%rsi), %r15
	leaq -32(%rdi), %rsp
	popq %rdi
	popq %rsi
	popfq
	ret
	.size encl_entry, . - encl_entry

	/*
	 * void encl_regs(uint32_t *flag rdi, uint64_t n rsi, int level edx, void *out rcx, seed r8)
	 *
	 * Fill every register with seed + its number, turn until *flag or n times, dump them to out:
	 * 13 GPRs (rax rbx rdx rbp r8..r15 and the MXCSR), x87 (8 * 16), vector registers.
	 */
	.globl encl_regs
	.hidden encl_regs
	.type encl_regs, @function
encl_regs:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushq %rcx /* 8(%rsp): out */
	pushq %rdx /* 0(%rsp): level */
	subq $16, %rsp
	stmxcsr 0(%rsp)
	movl $0x7f80, 4(%rsp) /* round to zero, all masked: not the default */
	ldmxcsr 4(%rsp)
	fninit
	.irp i, 0, 1, 2, 3, 4, 5, 6
	movq $(200 + \i), 8(%rsp)
	fildll 8(%rsp)
	.endr

	cmpl $2, %edx
	je .Lfill512
	cmpl $1, %edx
	je .Lfill256
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	leaq 100 + \i(%r8), %rax
	movq %rax, %xmm\i
	punpcklqdq %xmm\i, %xmm\i
	.endr
	jmp .Lfilled
.Lfill256:
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	leaq 100 + \i(%r8), %rax
	vmovq %rax, %xmm\i
	vpunpcklqdq %xmm\i, %xmm\i, %xmm\i
	vinsertf128 $1, %xmm\i, %ymm\i, %ymm\i
	.endr
	jmp .Lfilled
.Lfill512:
	.irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	leaq 100 + \i(%r8), %rax
	vpbroadcastq %rax, %zmm\i
	.endr
	.irp i, 1, 2, 3, 4, 5, 6, 7
	leaq 300 + \i(%r8), %rax
	kmovq %rax, %k\i
	.endr
.Lfilled:
	leaq 0(%r8), %rax
	leaq 1(%r8), %rbx
	leaq 2(%r8), %rdx
	leaq 3(%r8), %rbp
	leaq 5(%r8), %r9
	leaq 6(%r8), %r10
	leaq 7(%r8), %r11
	leaq 8(%r8), %r12
	leaq 9(%r8), %r13
	leaq 10(%r8), %r14
	leaq 11(%r8), %r15
	leaq 4(%r8), %r8
.Lturn:
	testq %rdi, %rdi
	jz 1f
	cmpl $0, (%rdi)
	jne 2f
1:	decq %rsi
	jnz .Lturn
2:
	movq 24(%rsp), %rcx
	movq %rax, 0(%rcx)
	movq %rbx, 8(%rcx)
	movq %rdx, 16(%rcx)
	movq %rbp, 24(%rcx)
	movq %r8, 32(%rcx)
	movq %r9, 40(%rcx)
	movq %r10, 48(%rcx)
	movq %r11, 56(%rcx)
	movq %r12, 64(%rcx)
	movq %r13, 72(%rcx)
	movq %r14, 80(%rcx)
	movq %r15, 88(%rcx)
	movq $0, 96(%rcx)
	stmxcsr 96(%rcx)
	.irp i, 0, 1, 2, 3, 4, 5, 6
	fistpll 104 + 8 * \i(%rcx)
	.endr
	fninit
	movq 16(%rsp), %rdx
	cmpl $2, %edx
	je .Ldump512
	cmpl $1, %edx
	je .Ldump256
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movdqu %xmm\i, 256 + 64 * \i(%rcx)
	pxor %xmm\i, %xmm\i
	.endr
	jmp .Ldumped
.Ldump256:
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu %ymm\i, 256 + 64 * \i(%rcx)
	.endr
	vzeroall
	jmp .Ldumped
.Ldump512:
	.irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	vmovdqu64 %zmm\i, 256 + 64 * \i(%rcx)
	.endr
	.irp i, 1, 2, 3, 4, 5, 6, 7
	kmovq %k\i, 168 + 8 * \i(%rcx)
	kxorq %k\i, %k\i, %k\i
	.endr
	.irp i, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	vpxorq %zmm\i, %zmm\i, %zmm\i
	.endr
	vzeroall
.Ldumped:
	ldmxcsr 0(%rsp)
	addq $32, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret
	.size encl_regs, . - encl_regs

	.section .note.GNU-stack, "", @progbits
