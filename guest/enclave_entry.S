/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Where threads of the guest's enclave come in and go out. */
#include "layout.h"

	/* A stack page for each TCS; its last two words are the way back. */
#define STACK_TOP ((ENCLAVE_STACK - ENCLAVE_TCS + 1) * 4096)
	/* Of the first SSA frame of a TCS: SSA pages go by twos where TCSs go by ones. */
#define GPR_OFF (4096 - 184)
#define GPR_RBX 24
#define GPR_RIP 136

	.section .text.entry, "ax"
	.globl enclave_entry
enclave_entry:
	/* RAX: CSSA; RBX: TCS; RCX: behind the EENTER. */
	test %eax, %eax
	jnz handler
	lea STACK_TOP(%rbx), %rax
	mov %rcx, -8(%rax)
	mov %rsp, -16(%rax)
	lea -16(%rax), %rsp
	mov %r8, %rcx
	call enclave_call
	mov %rax, %rsi
	jmp out

	/* Gone back to after an exception: the call comes to nothing. */
abandon:
	lea STACK_TOP - 16(%rbx), %rsp
	mov $0xdead, %esi
out:
	mov 8(%rsp), %rbx
	mov (%rsp), %rsp
leave:
	xor %ecx, %ecx
	xor %edx, %edx
	xor %edi, %edi
	mov $4, %eax /* EEXIT */
	.byte 0x0f, 0x01, 0xd7
	ud2

	/* Entered while a call of this thread has had an exception: have it abandoned. */
handler:
	lea enclave_entry - (ENCLAVE_CODE - ENCLAVE_TCS) * 4096(%rip), %rax
	mov %rbx, %rdx
	sub %rax, %rdx
	lea (ENCLAVE_SSA - ENCLAVE_TCS) * 4096 + GPR_OFF(%rax, %rdx, ENCLAVE_FRAMES), %rax
	mov %rbx, GPR_RBX(%rax)
	lea abandon(%rip), %rdx
	mov %rdx, GPR_RIP(%rax)
	mov %rcx, %rbx
	mov $0xa, %esi
	jmp leave

	.section .note.GNU-stack, "", @progbits
