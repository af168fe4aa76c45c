/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Offsets into struct rt_thread and struct sgx_enclave_run that entry.S uses; thread.c asserts them.
 */
#ifndef SWSGX_RUNTIME_OFFSETS_H
#define SWSGX_RUNTIME_OFFSETS_H

#define RT_T_SELECTOR      0
#define RT_T_AWAY          1
#define RT_T_FSGSBASE      2
#define RT_T_LOAD_XSAVE    3
#define RT_T_AWAY_SELECTOR 4
#define RT_T_BELOW_RSP     5
#define RT_T_CRITICAL      6
#define RT_T_DEFERRED_NR   7
#define RT_T_HOME_FS       8
#define RT_T_HOME_GS       16
#define RT_T_AWAY_FS       24
#define RT_T_AWAY_GS       32
#define RT_T_XFRM          40
#define RT_T_JUMP          48 /* rax rcx rdx rbx rbp rsi rdi r8 .. r15 rip cs rflags rsp ss */
#define RT_T_JUMP_RIP      168
#define RT_T_JUMP_RFLAGS   184
#define RT_T_JUMP_RSP      192
#define RT_T_STACK_PAGE    208
#define RT_T_XSAVE         256

/* struct rt_back, on the stack of each handler; the ucontext lies above it. */
#define RT_B_FS     0
#define RT_B_GS     8
#define RT_B_THREAD 16
#define RT_B_CODE   24
#define RT_B_IRET   32
#define RT_B_BYTES  72
#define RT_B_UC     80

#define RT_BACK_AWAY  1 /* with the away bases and selector */
#define RT_BACK_FOUND 2 /* with the bases that were found */
#define RT_BACK_HAND  4 /* without a sigreturn */
#define RT_BACK_JUMP  8 /* to rt_vdso_resume */

/* ucontext_t, and the XSAVE image of a signal frame. */
#define RT_UC_R8        40
#define RT_UC_RSP       160
#define RT_UC_EFL       176
#define RT_UC_FPREGS    224
#define RT_FP_XFEATURES 472

/* struct cpu_regs, as the vDSO entry builds it on the stack. */
#define RT_R_RAX    0
#define RT_R_RCX    8
#define RT_R_RDX    16
#define RT_R_RBX    24
#define RT_R_RSP    32
#define RT_R_RBP    40
#define RT_R_RSI    48
#define RT_R_RDI    56
#define RT_R_R8     64
#define RT_R_R9     72
#define RT_R_R10    80
#define RT_R_R11    88
#define RT_R_R12    96
#define RT_R_R13    104
#define RT_R_R14    112
#define RT_R_R15    120
#define RT_R_RFLAGS 128
#define RT_R_RIP    136
#define RT_R_BYTES  160

/* struct sgx_enclave_run */
#define RT_RUN_TCS            0
#define RT_RUN_FUNCTION       8
#define RT_RUN_VECTOR         12
#define RT_RUN_ERROR          14
#define RT_RUN_ADDR           16
#define RT_RUN_HANDLER        24
#define RT_RUN_RESERVED       40
#define RT_RUN_RESERVED_WORDS 27

#define RT_SLOT_MASK 0x3ffff

#define RT_GATE_BYTES 144 /* a return address, above it the red zone */

#endif
