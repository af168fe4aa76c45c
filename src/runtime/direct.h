/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Programs that make their own system calls (direct.c).
 */
#ifndef SWSGX_RUNTIME_DIRECT_H
#define SWSGX_RUNTIME_DIRECT_H

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

struct rt_thread;

/*
 * Become the program at @path: never returns then.  -ENOEXEC it is none, -ENODEV the runtime could not start,
 * or what mapping it said.
 */
__attribute__((visibility("default"))) int swsgx_direct(const char *path, char **argv, char **envp);

/* Where by itself a program makes a call: RT_GATE_BYTES of its stack are in use. The last instruction jumps. */
void rt_gate(void);
extern const char rt_gate_jump[] __attribute__((visibility("hidden")));
/* SIGSYS outside of an enclave. */
void rt_direct_syscall(ucontext_t *uc, struct rt_thread *t);
#endif
