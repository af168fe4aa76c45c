/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * How long an instruction is.
 *
 * A library could tell, but it would live in every client's address space, beside that client's own copy: Debian has
 * Zydis as a shared library only, and Capstone's static one is as large as half of the runtime.  The unit test compares
 * this with Zydis.
 */
#ifndef SWSGX_RUNTIME_INSN_H
#define SWSGX_RUNTIME_INSN_H

#include <stddef.h>
#include <stdint.h>

#define INSN_MAX 15u

/*
 * The length in bytes of the 64-bit mode instruction at @code, of which @bytes can be read.  0: it is none, or goes on
 * behind them.  Operands are not looked at: some lengths are of instructions that raise #UD.
 *
 * SDM volume 2, "Instruction Format" and "Opcode Map"; for XOP, AMD's manual volume 3.
 */
size_t insn_length(const uint8_t *code, size_t bytes);

#endif
