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
