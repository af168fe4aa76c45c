/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What runs at CPL 0 of a guest in the hidden page tables: see hidden.c.  It is copied, so it refers to
 * nothing.
 */
	.section .rodata
	.globl hidden_code_go, hidden_code_end
	.hidden hidden_code_go, hidden_code_end

/*
 * RCX pairs at RSI of an address and how many words there become zero; then all translations are flushed, and
 * the state at RSP is what it goes on with.
 */
hidden_code_go:
1:	jrcxz 2f
	mov %rcx, %rdx
	mov (%rsi), %rdi
	mov 8(%rsi), %rcx
	xor %eax, %eax
	rep stosq
	mov %rdx, %rcx
	add $16, %rsi
	dec %rcx
	jmp 1b
2:	mov %cr3, %rax
	mov %rax, %cr3
	pop %rax
	pop %rcx
	pop %rdx
	pop %rbx
	pop %rbp
	pop %rsi
	pop %rdi
	pop %r8
	pop %r9
	pop %r10
	pop %r11
	pop %r12
	pop %r13
	pop %r14
	pop %r15
	iretq
hidden_code_end:

	.section .note.GNU-stack, "", @progbits
