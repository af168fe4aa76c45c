/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The doors: the first instructions of every signal handler, the way into an enclave without a
 * signal (__vdso_sgx_enter_enclave), and the jump that loads a whole register file.
 *
 * What has to be right here, and cannot be in C: until the host's FS base is back no C may run (TLS,
 * the stack protector); while the selector says "block" no system call may be made but the
 * sigreturn in rt_restorer; and nothing may be pushed on a stack that belongs to an enclave.
 */
#include <asm/unistd.h>

#include "offsets.h"

#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define ARCH_GET_GS 0x1004

	.text

	.macro FUNC name
	.globl \name
	.hidden \name
	.type \name, @function
\name:
	.endm

/* Load FS and GS bases from two offsets of the thread block in %rcx. Clobbers rax, r8, r11. */
	.macro LOAD_BASES fs, gs
	cmpb $0, RT_T_FSGSBASE(%rcx)
	je 771f
	mov \fs(%rcx), %rax
	wrfsbase %rax
	mov \gs(%rcx), %rax
	wrgsbase %rax
	jmp 772f
771:	push %rdi
	push %rsi
	push %rcx
	mov $ARCH_SET_FS, %edi
	mov \fs(%rcx), %rsi
	mov $__NR_arch_prctl, %eax
	syscall
	mov (%rsp), %rcx
	mov $ARCH_SET_GS, %edi
	mov \gs(%rcx), %rsi
	mov $__NR_arch_prctl, %eax
	syscall
	pop %rcx
	pop %rsi
	pop %rdi
772:
	.endm

/* What C may change, from a ucontext's registers at RSP + uc; RSP, RIP and flags last. */
	.macro LOAD_GREGS uc
	mov \uc + RT_UC_R8 + 0(%rsp), %r8
	mov \uc + RT_UC_R8 + 8(%rsp), %r9
	mov \uc + RT_UC_R8 + 16(%rsp), %r10
	mov \uc + RT_UC_R8 + 24(%rsp), %r11
	mov \uc + RT_UC_R8 + 32(%rsp), %r12
	mov \uc + RT_UC_R8 + 40(%rsp), %r13
	mov \uc + RT_UC_R8 + 48(%rsp), %r14
	mov \uc + RT_UC_R8 + 56(%rsp), %r15
	mov \uc + RT_UC_R8 + 64(%rsp), %rdi
	mov \uc + RT_UC_R8 + 72(%rsp), %rsi
	mov \uc + RT_UC_R8 + 80(%rsp), %rbp
	mov \uc + RT_UC_R8 + 88(%rsp), %rbx
	mov \uc + RT_UC_R8 + 96(%rsp), %rdx
	mov \uc + RT_UC_R8 + 104(%rsp), %rax
	mov \uc + RT_UC_R8 + 112(%rsp), %rcx
	.endm

/*
 * The handler of every signal we install: rdi signal, rsi siginfo, rdx ucontext, (rsp) rt_restorer.
 * On one of our signal stacks the thread block is found from RSP; elsewhere the thread cannot be in
 * an enclave.
 *
 * A signal may come at any instruction of this, and finds one of three stretches (signal.c):
 *   before rt_sigentry_end  the one below has not begun: the new one is put off, and everything is left as it was
 *   while it is critical    put off as well: rt_signal_drain() has the last word
 *   from rt_return_go on    the one below is over: the new one changes what it goes back to, and it goes
 *                           back once more, from rt_return_go
 */
FUNC rt_sigentry
	endbr64
	cld
	mov %rsp, %rax
	sub rt_slot_base(%rip), %rax
	shr $32, %rax
	jnz .Lno_block
	mov %rsp, %rcx
	and $~RT_SLOT_MASK, %rcx
	movb $0, RT_T_SELECTOR(%rcx)
	lea -RT_B_BYTES(%rsp), %rsp
	mov %rcx, RT_B_THREAD(%rsp)
	xor %r8d, %r8d
	cmpb $0, RT_T_AWAY(%rcx)
	je .Lbases_right

	cmpb $0, RT_T_FSGSBASE(%rcx)
	je .Lsave_slow
	rdfsbase %rax
	mov %rax, RT_B_FS(%rsp)
	rdgsbase %rax
	mov %rax, RT_B_GS(%rsp)
	jmp .Lsaved
.Lsave_slow:
	mov %rsp, %r8
	push %rdi
	push %rsi
	push %rcx
	mov $ARCH_GET_FS, %edi
	lea RT_B_FS(%r8), %rsi
	mov $__NR_arch_prctl, %eax
	syscall
	mov $ARCH_GET_GS, %edi
	lea RT_B_GS(%r8), %rsi
	mov $__NR_arch_prctl, %eax
	syscall
	pop %rcx
	pop %rsi
	pop %rdi
.Lsaved:
	LOAD_BASES RT_T_HOME_FS, RT_T_HOME_GS
	mov $1, %r8d
.Lbases_right:
	incb RT_T_CRITICAL(%rcx)
	movb $0, RT_T_AWAY(%rcx)
FUNC rt_sigentry_end
	mov %rsp, %rcx
	call rt_signal
FUNC rt_return
	mov %eax, RT_B_CODE(%rsp)
FUNC rt_return_check
	mov RT_B_THREAD(%rsp), %rbx
	cmpb $0, RT_T_DEFERRED_NR(%rbx)
	je .Lnone_deferred
	mov %rsp, %rdi
	call rt_signal_drain
	test %al, %al
	jnz rt_return_check
.Lnone_deferred:
	decb RT_T_CRITICAL(%rbx)
FUNC rt_return_go
	mov RT_B_THREAD(%rsp), %rbx
	mov RT_B_CODE(%rsp), %r12d
	test $RT_BACK_AWAY | RT_BACK_FOUND, %r12d
	jz .Lbases_set
	movb $1, RT_T_AWAY(%rbx)
	lea RT_B_FS(%rsp), %r13
	test $RT_BACK_FOUND, %r12d
	jnz 1f
	lea RT_T_AWAY_FS(%rbx), %r13
1:	cmpb $0, RT_T_FSGSBASE(%rbx)
	je .Lset_slow
	mov (%r13), %rax
	wrfsbase %rax
	mov 8(%r13), %rax
	wrgsbase %rax
	jmp .Lset
.Lset_slow:
	mov $ARCH_SET_FS, %edi
	mov (%r13), %rsi
	mov $__NR_arch_prctl, %eax
	syscall
	mov $ARCH_SET_GS, %edi
	mov 8(%r13), %rsi
	mov $__NR_arch_prctl, %eax
	syscall
.Lset:
	test $RT_BACK_FOUND, %r12d
	jnz .Lbases_set
	mov RT_T_AWAY_SELECTOR(%rbx), %al
	mov %al, RT_T_SELECTOR(%rbx)
.Lbases_set:
	test $RT_BACK_HAND, %r12d
	jz rt_back

	/* What sigreturn does, but for the mask and the signal stack, which are as they were. */
	mov RT_B_UC + RT_UC_FPREGS(%rsp), %rdi
	mov RT_FP_XFEATURES(%rdi), %eax
	mov RT_FP_XFEATURES + 4(%rdi), %edx
	xrstor64 (%rdi)
	test $RT_BACK_JUMP, %r12d
	jz .Lby_iretq
	LOAD_GREGS RT_B_UC
	pushq RT_B_UC + RT_UC_EFL(%rsp)
FUNC rt_return_popfq
	popfq
	mov RT_B_UC + RT_UC_RSP(%rsp), %rsp
FUNC rt_return_jump
	jmp *rt_vdso_resume(%rip)
.Lby_iretq:
	LOAD_GREGS RT_B_UC
	lea RT_B_IRET(%rsp), %rsp
FUNC rt_return_iretq
	iretq
FUNC rt_return_end
	ud2
.Lno_block:
	/* Signals may come upon the handler of a fault: not here. */
	push %rdi
	push %rsi
	push %rdx
	xor %edi, %edi /* SIG_BLOCK */
	lea rt_sig_others(%rip), %rsi
	xor %edx, %edx
	mov $8, %r10d
	mov $__NR_rt_sigprocmask, %eax
	syscall
	call rt_thread_known
	pop %rdx
	pop %rsi
	pop %rdi
	push %rcx
	test %al, %al
	jz .Lunknown
	xor %ecx, %ecx
	xor %r8d, %r8d
	call rt_signal
	pop %rcx
	ret
.Lunknown:
	call rt_thread_borrow
	pop %rcx
	ret
	.size rt_sigentry, . - rt_sigentry

/*
 * The only system call that is allowed while the selector says "block": see rt_thread_arm_sud().  Unwinders
 * know a signal frame by these very bytes.
 */
	.balign 16
FUNC rt_restorer
	movq $__NR_rt_sigreturn, %rax
	syscall
	ud2
	/*
	 * A system call of a program that makes its own (direct.c), made for it: the return address is at the
	 * top of its stack, above it the red zone that was there.  RCX is the call's to destroy.
	 */
FUNC rt_gate
	syscall
	mov (%rsp), %rcx
	lea RT_GATE_BYTES(%rsp), %rsp
FUNC rt_gate_jump
	jmp *%rcx
	/* Where a handler ends (rt_return_go): the sigreturn of its frame. */
FUNC rt_back
	lea RT_B_UC(%rsp), %rsp
	mov $__NR_rt_sigreturn, %eax
	syscall
FUNC rt_back_end
	ud2
	.globl rt_restorer_end
	.hidden rt_restorer_end
rt_restorer_end:
	.size rt_restorer, . - rt_restorer

/*
 * The same for handlers of programs that make their own system calls, who are to be seen going back: the dispatch sees it here.
 * A SIGSYS that somebody sends at that very moment is in its place, and then it is done again.
 */
FUNC rt_direct_restorer
	movq $__NR_rt_sigreturn, %rax
	syscall
	jmp rt_direct_restorer
	.size rt_direct_restorer, . - rt_direct_restorer

/*
 * rt_call_client(sig, info, uc, handler, sp, blocked), with critical signals blocked: one that comes after the system call
 * finds the signal in RBX (rt_frame_waits()).
 */
FUNC rt_call_client
	mov %r8, %rsp
	mov %rdi, %rbx
	mov %rsi, %rbp
	mov %rdx, %r12
	mov %rcx, %r13
	mov $2, %edi /* SIG_SETMASK */
	mov %r9, %rsi
	xor %edx, %edx
	mov $8, %r10d
	mov $__NR_rt_sigprocmask, %eax
	syscall
	mov %rbx, %rdi
	mov %rbp, %rsi
	mov %r12, %rdx
	xor %eax, %eax
	jmp *%r13
FUNC rt_call_client_end
	.size rt_call_client, . - rt_call_client

/*
 * A handler that ran on the client's signal stack returns here, beside its own way: the kernel changes signal
 * stacks only for a thread that is on none.  On the stack: a struct rt_stack_change *, the address to go on at,
 * and the red zone.  Every register is the client's.
 */
FUNC rt_stack_stub
	push %rax
	push %rcx
	push %rdx
	push %rsi
	push %rdi
	push %r10
	push %r11
	pushfq
	mov 64(%rsp), %rdi
	xor %esi, %esi
	mov $__NR_sigaltstack, %eax
	syscall
	mov 64(%rsp), %rsi
	add $24, %rsi
	mov $2, %edi /* SIG_SETMASK */
	xor %edx, %edx
	mov $8, %r10d
	mov $__NR_rt_sigprocmask, %eax
	syscall
	popfq
	pop %r11
	pop %r10
	pop %rdi
	pop %rsi
	pop %rdx
	pop %rcx
	pop %rax
	lea 8(%rsp), %rsp
	ret $128
	.size rt_stack_stub, . - rt_stack_stub

/* rt_copy_user_bytes(to, from, bytes): 0 or -EFAULT, see rt_copy_user_fixup(). */
FUNC rt_copy_user_bytes
	mov %rdx, %rcx
FUNC rt_copy_user_insn
	rep movsb
	xor %eax, %eax
	ret
FUNC rt_copy_user_fault
	mov $-14, %eax
	ret
	.size rt_copy_user_bytes, . - rt_copy_user_bytes

/*
 * __vdso_sgx_enter_enclave(rdi, rsi, rdx, ecx = leaf, r8, r9, run on the stack).
 *
 * Not a function of the usual ABI: the enclave sees rdi, rsi, rdx, r8, r9 and all else as they are,
 * and what it leaves in its registers is what the caller gets; only rbx and rbp are ours to restore.
 *
 * This is copied into the image that the client is told of, so it refers to nothing but itself, and the AEP is
 * its ENCLU, in the symbol's range: programs compare.  rt_vdso_way says how to enter: rt_vdso_fast, or for programs
 * whose FS is not the runtime's the ENCLU itself, which traps.
 */
	.balign 64
FUNC rt_vdso_code
	endbr64
	push %rbp
	mov %rsp, %rbp
	push %rbx
.Lagain:
	cmp $2, %ecx
	jb .Linvalid
	cmp $3, %ecx
	ja .Linvalid
	mov 16(%rbp), %rbx
	mov $RT_RUN_RESERVED_WORDS, %eax
.Lreserved:
	cmpq $0, RT_RUN_RESERVED - 8(%rbx, %rax, 8)
	jne .Linvalid
	dec %eax
	jnz .Lreserved
	mov %ecx, %eax
	mov RT_RUN_TCS(%rbx), %rbx
	lea rt_vdso_aep(%rip), %rcx
	jmp *rt_vdso_way(%rip)
	/* An AEX comes back here with RAX = 3, RBX = TCS, RCX = this address: ERESUME. */
FUNC rt_vdso_aep
	.byte 0x0f, 0x01, 0xd7
	/* EEXIT comes back here: RCX of the enclave on entry. */
	mov 16(%rbp), %rbx
	mov %eax, RT_RUN_FUNCTION(%rbx)
.Lexited:
	cmpq $0, RT_RUN_HANDLER(%rbx)
	jne .Lhandler
	xor %eax, %eax
.Lout:
	pop %rbx
	leave
	cld
	ret
.Linvalid:
	mov $-22, %eax
	jmp .Lout
	/* An exception: EAX is the leaf, vector, error code and address are in RDI, RSI, RDX. */
FUNC rt_vdso_exception
	mov 16(%rbp), %rbx
	mov %eax, RT_RUN_FUNCTION(%rbx)
	mov %di, RT_RUN_VECTOR(%rbx)
	mov %si, RT_RUN_ERROR(%rbx)
	mov %rdx, RT_RUN_ADDR(%rbx)
	jmp .Lexited

	/* handler(rdi, rsi, rdx, rsp, r8, r9, run): <= 0 is our result, else the leaf to go on with. */
.Lhandler:
	mov %rsp, %rcx
	mov %rbx, %rax
	mov %rsp, %rbx
	and $-16, %rsp
	push %rax
	push %rax
	cld
	mov RT_RUN_HANDLER(%rax), %rax
	lfence
	call *%rax
	mov %rbx, %rsp
	cmp $0, %eax
	jle .Lout
	mov %eax, %ecx
	jmp .Lagain
	.balign 8
FUNC rt_vdso_way
	.quad 0
FUNC rt_vdso_code_end
	.size rt_vdso_code, . - rt_vdso_code

/* By its name too: programs link to linux-vdso.so.1, and the dynamic linker knows the kernel's only. */
	.globl __vdso_sgx_enter_enclave
	.type __vdso_sgx_enter_enclave, @function
__vdso_sgx_enter_enclave:
	endbr64
	jmp *rt_vdso_function(%rip)
	.size __vdso_sgx_enter_enclave, . - __vdso_sgx_enter_enclave

/* The way without a trap: RAX leaf, RBX TCS, RCX the ENCLU that is not executed, everything else the caller's. */
FUNC rt_vdso_fast
	lea -(RT_R_BYTES + 8)(%rsp), %rsp
	mov %rax, RT_R_RAX(%rsp)
	mov %rcx, RT_R_RCX(%rsp)
	mov %rcx, RT_R_RIP(%rsp)
	mov %rdx, RT_R_RDX(%rsp)
	mov %rbx, RT_R_RBX(%rsp)
	lea (RT_R_BYTES + 8)(%rsp), %rax
	mov %rax, RT_R_RSP(%rsp)
	mov %rbp, RT_R_RBP(%rsp)
	mov %rsi, RT_R_RSI(%rsp)
	mov %rdi, RT_R_RDI(%rsp)
	mov %r8, RT_R_R8(%rsp)
	mov %r9, RT_R_R9(%rsp)
	mov %r10, RT_R_R10(%rsp)
	mov %r11, RT_R_R11(%rsp)
	mov %r12, RT_R_R12(%rsp)
	mov %r13, RT_R_R13(%rsp)
	mov %r14, RT_R_R14(%rsp)
	mov %r15, RT_R_R15(%rsp)
	pushfq
	popq RT_R_RFLAGS(%rsp)
	cld
	mov %rsp, %rbx
	and $-16, %rsp
	/*
	 * Is FS that of this thread's libc block?  One that shares another's has its id there, and whoever calls
	 * from the very page of stack that was looked at before has not changed: two threads that live never do.
	 * A block of libc's names itself twice; in front of another there need be nothing.
	 */
	mov %fs:0, %rax
	test %rax, %rax
	jz .Llook
	cmp %rax, %fs:16
	jne .Llook
	mov rt_self@GOTTPOFF(%rip), %rcx
	mov %fs:(%rcx), %rcx
	test %rcx, %rcx
	jz .Llook
	mov %rbx, %rax
	shr $12, %rax
	cmp %rax, RT_T_STACK_PAGE(%rcx)
	je .Lknown
.Llook:
	mov $__NR_gettid, %eax
	syscall
	mov rt_tid_offset(%rip), %rcx
	cmp %eax, %fs:(%rcx)
	jne .Lby_trap
.Lknown:
	mov %rbx, %rdi
	call rt_vdso_enclu
	/* It came back: vector, error code and address are in the slots of rdi, rsi, rdx. */
	addq $(rt_vdso_exception - rt_vdso_aep), RT_R_RCX(%rbx)
	/* A thread that libc does not know: the ENCLU itself has to trap (thread.c). Everything as it was. */
.Lby_trap:
	mov RT_R_RAX(%rbx), %rax
	mov RT_R_RCX(%rbx), %rcx
	mov RT_R_RDX(%rbx), %rdx
	mov RT_R_RSI(%rbx), %rsi
	mov RT_R_RDI(%rbx), %rdi
	mov RT_R_R8(%rbx), %r8
	mov RT_R_R9(%rbx), %r9
	mov RT_R_R10(%rbx), %r10
	mov RT_R_R11(%rbx), %r11
	mov RT_R_RSP(%rbx), %rsp
	mov RT_R_RBX(%rbx), %rbx
	jmp *%rcx
FUNC rt_vdso_end
	.size rt_vdso_fast, . - rt_vdso_fast

	.macro POP_GPRS
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
	.endm

/*
 * rt_go(thread): load the thread's jump and be gone, with what was critical at its end.  From rt_go_on on a signal
 * finds the thread where it is going, whatever instruction it is at.  IRETQ, which needs nothing of the stack that it goes
 * to, takes a good deal longer than POPFQ and a jump.
 */
FUNC rt_go
	mov %rdi, %rcx
FUNC rt_go_on
	movb $1, RT_T_AWAY(%rcx)
	movb $0, RT_T_CRITICAL(%rcx)
	cmpb $0, RT_T_DEFERRED_NR(%rcx)
	je .Lnot_kicked
FUNC rt_go_kick
	ud2
.Lnot_kicked:
	cmpb $0, RT_T_LOAD_XSAVE(%rcx)
	je .Lno_xsave
	mov RT_T_XFRM(%rcx), %eax
	mov RT_T_XFRM + 4(%rcx), %edx
	xrstor64 RT_T_XSAVE(%rcx)
.Lno_xsave:
	LOAD_BASES RT_T_AWAY_FS, RT_T_AWAY_GS
	mov RT_T_AWAY_SELECTOR(%rcx), %al
	mov %al, RT_T_SELECTOR(%rcx)
	cmpb $0, RT_T_BELOW_RSP(%rcx)
	je .Lby_iret
	mov RT_T_JUMP_RSP(%rcx), %rdx
	mov RT_T_JUMP_RIP(%rcx), %rax
	mov %rax, -16(%rdx)
	mov RT_T_JUMP_RFLAGS(%rcx), %rax
	mov %rax, -8(%rdx)
	lea RT_T_JUMP(%rcx), %rsp
	POP_GPRS
	mov (RT_T_JUMP_RSP - RT_T_JUMP_RIP)(%rsp), %rsp
	lea -8(%rsp), %rsp
	popfq
	jmp *-16(%rsp)
.Lby_iret:
	lea RT_T_JUMP(%rcx), %rsp
	POP_GPRS
	iretq
FUNC rt_go_end
	.size rt_go, . - rt_go

/* A trap, to be where a signal handler is: what was deferred comes now. */
FUNC rt_kick
	ud2
	ret
	.size rt_kick, . - rt_kick

/*
 * rt_execve(path, argv, envp, mask, deferred): execve(), with the signal mask *@mask unless that is NULL.  In a handler
 * the program that is executed would never have a signal that waits for its end: so if *@deferred do already, or one
 * comes before the call is made (signal.c), it is not made: -EINTR.
 */
FUNC rt_execve
	push %rbx
FUNC rt_execve_begun
	mov %rdx, %rbx
	test %rcx, %rcx
	jz .Lexecve
	cmpb $0, (%r8)
	jne rt_execve_late
	mov %rdi, %r8
	mov %rsi, %r9
	mov $2, %edi /* SIG_SETMASK */
	mov %rcx, %rsi
	xor %edx, %edx
	mov $8, %r10d
	mov $__NR_rt_sigprocmask, %eax
	syscall
	mov %r8, %rdi
	mov %r9, %rsi
.Lexecve:
	mov %rbx, %rdx
	mov $__NR_execve, %eax
	syscall
FUNC rt_execve_made
	pop %rbx
	ret
FUNC rt_execve_late
	mov $-4, %rax /* -EINTR */
	jmp rt_execve_made
	.size rt_execve, . - rt_execve

/* rt_clone_raw(flags, stack, ptid, ctid, tls, thread): as clone(); the child runs rt_direct_child(thread). */
FUNC rt_clone_raw
	mov %rcx, %r10
	mov %r9, -8(%rsi)
	sub $16, %rsi
	mov $__NR_clone, %eax
	syscall
	test %rax, %rax
	jz 1f
	ret
1:	xor %ebp, %ebp
	mov 8(%rsp), %rdi
	call rt_direct_child
	ud2
	.size rt_clone_raw, . - rt_clone_raw

	.section .note.GNU-stack, "", @progbits
