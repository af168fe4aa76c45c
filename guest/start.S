/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The guest's kernel where C cannot go: the first instructions, traps, and the way to user mode and back.
 */
#include "layout.h"
#include "vmm/guest_abi.h"

#define STACK_BYTES 16384
/* of struct percpu */
#define PC_SP     0
#define PC_ID     8
#define PC_RSP0   16

	.section .text.start, "ax"
	.globl start
start:
	cld
	lea stacks(%rip), %rax
	lea 1(%rdi), %rcx
	shl $14, %rcx
	lea (%rax, %rcx), %rsp
	mov %rdi, (PC_ID - STACK_BYTES)(%rsp)
	call kernel_main
1:	hlt
	jmp 1b

	.text
/* user_call(struct user_regs *): until user mode comes back by INT3, or has a fault. */
	.globl user_call
user_call:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, %rdx
	and $-STACK_BYTES, %rdx
	mov %rsp, PC_SP(%rdx)
	mov PC_RSP0(%rdx), %rcx
	mov %rsp, (%rcx)
	pushq $0x1b
	pushq 48(%rdi)
	pushq 72(%rdi)
	pushq $0x23
	pushq 40(%rdi)
	mov 0(%rdi), %rax
	mov 8(%rdi), %rbx
	mov 16(%rdi), %rcx
	mov 24(%rdi), %rsi
	mov 32(%rdi), %rdx
	mov 64(%rdi), %r8
	mov 56(%rdi), %rdi
	xor %ebp, %ebp
	iretq

/* As if user_call() had returned. */
	.globl user_back
user_back:
	mov %rsp, %rdx
	and $-STACK_BYTES, %rdx
	mov PC_SP(%rdx), %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

/* encls_insn(struct encls *): the instruction, with its registers in and out. A fault goes on at encls_fault. */
	.globl encls_insn, encls_at, encls_fault
encls_insn:
	push %rbx
	push %rdi
	mov 0(%rdi), %rax
	mov 8(%rdi), %rbx
	mov 16(%rdi), %rcx
	mov 24(%rdi), %rdx
	/* Flags that a leaf does not set stay. */
	xor %edi, %edi
encls_at:
	.byte 0x0f, 0x01, 0xcf
	pop %rdi
	mov %rax, 0(%rdi)
	mov %rbx, 8(%rdi)
	pushfq
	pop 32(%rdi)
	pop %rbx
	ret
encls_fault:
	pop %rdi
	pop %rbx
	ret

/* enclv_insn(): a fault, or nothing. */
	.globl enclv_insn, enclv_at
enclv_insn:
	push %rbx
	xor %eax, %eax
	xor %ebx, %ebx
	xor %ecx, %ecx
enclv_at:
	.byte 0x0f, 0x01, 0xc0
	pop %rbx
	ret

/* peek(address): the word there, or peek_fault() says that there was a fault. */
	.globl peek, peek_at
peek:
peek_at:
	mov (%rdi), %rax
	ret

	.macro TRAP n
	.balign 16
	.if \n == 8 || (\n >= 10 && \n <= 14) || \n == 17
	.else
	push $0
	.endif
	push $\n
	jmp trap_common
	.endm

	.balign 16
	.globl traps
traps:
	.set n, 0
	.rept 80
	TRAP n
	.set n, n + 1
	.endr

/* A #UD handler that knows of the VMM: what it executes for us never comes back here. */
	.globl trap_ud_forward
trap_ud_forward:
	out %al, $GUEST_PORT_UD
	push $0
	push $6
trap_common:
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	mov %rsp, %rdi
	cld
	call trap
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	add $16, %rsp
	iretq

/* ---- user mode ---- */
	.section .user, "ax"
	.globl user_enter, user_aep, user_peek, user_ud
user_enter:
	.byte 0x0f, 0x01, 0xd7
	int3
user_aep:
	.byte 0x0f, 0x01, 0xd7
	ud2
user_peek:
	mov (%rsi), %rsi
	int3
user_ud:
	ud2

	.section .rodata
	.balign 4096
	.globl enclave_code
enclave_code:
	.incbin ENCLAVE_BIN
	.balign 4096
	.zero 4096
	.balign 4096
	.globl enclave_signed
enclave_signed:
	.incbin ENCLAVE_SIGNED

	.section .bss
	.balign STACK_BYTES
	.globl stacks
stacks:
	.zero 8 * STACK_BYTES

	.section .note.GNU-stack, "", @progbits
